"""Tables as people read them, and figures with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Table:
    """A table as people read it; cells are text, the first column is a name."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """For a terminal."""
        lines = [self.head, *self.rows]
        width = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, width, strict=True))
            )
            for line in lines
        )

    def markdown(self) -> str:
        """For the results page."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        return "\n".join("| " + " | ".join(line) + " |" for line in (self.head, rule, *self.rows))


def plus_minus(mean: float, spread: float, digits: int, scale: float = 1.0) -> str:
    """Mean ± spread as tables show them; the mean alone where nothing varied: one seed, or nothing drawn."""
    value = f"{scale * mean:.{digits}f}"
    return f"{value} ± {scale * spread:.{digits}f}" if spread else value


def spread(values: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Figures [units, seeds] → mean over both, spread of the seeds' means (standard deviation), mean of each unit."""
    grid = np.asarray(values, dtype=np.float64)
    return {"mean": float(grid.mean()), "spread": float(grid.mean(0).std()), "by_unit": grid.mean(1).tolist()}
