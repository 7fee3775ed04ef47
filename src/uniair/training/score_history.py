"""How often several models were right along a stream, in rows of bounded number."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError

MODELS = ("begun", "answering", "shadow")
MOST = 256  # rows; of more, every two become one
STEPS, SECONDS, ANSWERS, COUNTS = 0, 1, 2, 3  # columns; then right and scored forecasts
RECENT = 500  # measured steps that the recent figures are of, at least


class ScoreHistory:
    """Right forecasts of each model and horizon over a stream.

    Args:
        future: horizons F.
        span: steps of a row; it doubles whenever there are too many rows.

    Attributes:
        rows: float64 [R, 3 + 4 F]: steps, seconds between them where times are known, number of the promotion that
            answered last (0: the model that it began with), forecasts scored [F], and of each model those right [F].
    """

    def __init__(self, future: int, span: int) -> None:
        self.future, self.span = future, span
        self.rows = np.zeros((1, COUNTS + (1 + len(MODELS)) * future))

    def add(self, seconds: float, hits: NDArray[np.int64], answers: int) -> None:
        """Takes one step.

        Args:
            seconds: since the step before.
            hits: [models, F] 1 where the beam forecast for this step was right, 0 where not, −1 where none was scored.
            answers: number of the promotion that answers.
        """
        if self.rows[-1, STEPS] >= self.span:
            if len(self.rows) == MOST:
                self.rows, self.span = together(self.rows), 2 * self.span
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows[:1])])
        row = self.rows[-1]
        row[STEPS] += 1
        row[SECONDS] += seconds
        row[ANSWERS] = answers
        row[COUNTS : COUNTS + self.future] += hits[0] >= 0
        row[COUNTS + self.future :] += (hits > 0).ravel()

    def figures(self, rows: NDArray[np.float64] | None = None) -> dict[str, Any]:
        """Steps, seconds, scored forecasts [F], and top-1 [F] of each model (null where nothing was scored), of all."""
        kept = (self.rows if rows is None else rows).sum(0)
        scored = kept[COUNTS : COUNTS + self.future]
        right = kept[COUNTS + self.future :].reshape(len(MODELS), self.future)
        top1 = {name: [float(r / n) if n else None for r, n in zip(one, scored, strict=True)]
                for name, one in zip(MODELS, right, strict=True)}  # fmt: skip
        return {"steps": int(kept[STEPS]), "seconds": float(kept[SECONDS]), "scored": scored.astype(int).tolist(),
                "top1": top1}  # fmt: skip

    def after(self, steps: int) -> dict[str, Any] | None:
        """`figures` of the rows that begin after so many steps; None where there is none."""
        later = np.cumsum(self.rows[:, STEPS]) - self.rows[:, STEPS] >= steps
        return self.figures(self.rows[later]) if later.any() else None

    def recent(self) -> dict[str, Any]:
        """`figures` of the last rows with `RECENT` steps or more."""
        back = np.cumsum(self.rows[::-1, STEPS])
        return self.figures(self.rows[-1 - int(np.searchsorted(back, RECENT)) :])

    def gains(self, steps: int) -> NDArray[np.float64]:
        """By how much the answers were right more often than the model that it began with, in every stretch of about so
        many steps that a row ends: [stretches, F], NaN where nothing was scored; of the whole where it is shorter.
        """
        right = self.rows[:, COUNTS + self.future :].reshape(len(self.rows), len(MODELS), self.future)
        sums = np.concatenate([right[:, 1] - right[:, 0], self.rows[:, COUNTS : COUNTS + self.future]], axis=1).cumsum(
            0
        )
        sums = np.concatenate([np.zeros_like(sums[:1]), sums])
        back = min(max(1, round(steps / self.span)), len(self.rows))
        lead, scored = np.split(sums[back:] - sums[:-back], 2, axis=1)
        return np.where(scored > 0, lead / np.maximum(scored, 1), np.nan)

    def behind(self) -> list[int]:
        """By how many right forecasts [F] the answers were ever behind the model that it began with, of all steps so
        far; as exact as the rows are short.
        """
        right = self.rows[:, COUNTS + self.future :].reshape(len(self.rows), len(MODELS), self.future)
        lead = np.cumsum(right[:, 1] - right[:, 0], axis=0)
        return [int(max(0.0, -lowest)) for lowest in lead.min(0)]

    def parts(self, count: int) -> list[dict[str, Any]]:
        """`figures` of `count` parts at most of about as many steps each, and `answers` at the end of each.

        Raises:
            InputError: fewer than one part.
        """
        if count < 1:
            raise InputError(f"a history in {count} parts: give at least 1")
        ends = np.cumsum(self.rows[:, STEPS])
        at = np.unique(np.searchsorted(ends, ends[-1] * np.arange(1, count + 1) / count - 0.5) + 1)
        cut = [0, *at.tolist()]
        return [self.figures(self.rows[a:b]) | {"answers": int(self.rows[b - 1, ANSWERS])}
                for a, b in pairwise(cut)]  # fmt: skip


def together(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every two rows as one."""
    pairs = rows.reshape(len(rows) // 2, 2, -1)
    out = pairs.sum(1)
    out[:, ANSWERS] = pairs[:, 1, ANSWERS]
    return np.asarray(out)
