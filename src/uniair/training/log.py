"""The metrics log: one JSON object a line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.files import write_text


class Log:
    """What training says, without waiting for the device before a line is due.

    Args:
        path: `metrics.jsonl`, whose lines from beyond `start` are dropped; None writes nothing.
        start: step that a run resumes at.
    """

    def __init__(self, path: Path | None, start: int, device: torch.device) -> None:
        self.path = path
        if path is not None:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            write_text(path, "".join(line + "\n" for line in lines if _step(line) <= start))
        self.health = torch.zeros((), device=device)  # NaN from the first loss or gradient on that isn't finite
        self.latest: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Counts amounts from now."""
        self.since, self.amounts = time.perf_counter(), dict[str, float]()

    def add(self, terms: Mapping[str, Tensor | float]) -> None:
        """A step's terms, of which the last ones are logged, and its amounts, which are added up."""
        for name, value in terms.items():
            if isinstance(value, Tensor):
                self.latest[name] = value
            else:
                self.amounts[name] = self.amounts.get(name, 0.0) + value
            if name in ("total", "gradient_norm"):
                self.health.add_(value, alpha=0)

    def check(self, step: int) -> None:
        """Raises `InputError` where a loss or gradient was not finite."""
        if not torch.isfinite(self.health):
            raise InputError(f"step {step}: the loss is not finite; lower the learning rate or check the data")

    def report(self, step: int, rate: float) -> None:
        """The latest terms, and amounts per second since the report before."""
        if self.path is not None:
            took = time.perf_counter() - self.since
            speeds = {name: amount / took for name, amount in self.amounts.items()}
            self.write(step, lr=rate, **{name: float(value) for name, value in self.latest.items()}, **speeds)
        self.restart()

    def write(self, step: int, **values: float | str) -> None:
        """One line: the step and the values, floats to six digits."""
        rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **rounded}) + "\n")


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62  # a half-written last line
