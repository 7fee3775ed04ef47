"""Losses of sight as events: those warned of in time, and alarms that no loss follows.

A window a step before the loss is no warning, and a second of alarms is one false alarm, not ten: what a network that
hands over in time is worth is counted in losses and in runs of alarms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

TIMELY = 0.2  # s before a loss at which an alarm has to stand
TRIED = 400  # thresholds at most


def steps_ahead(seconds: float) -> int:
    """Steps of a length that a warning has to stand before a loss; a twentieth of one is forgiven."""
    return max(1, math.ceil(TIMELY / seconds - 0.05))


@dataclass(frozen=True)
class LossEvents:
    """What is watched in some drives, n steps in sight, and the losses of sight among them.

    Attributes:
        drive, step: int64 [n] where each step is, in order.
        soon: [n] whether sight is lost within the horizon, 1 or 0; NaN where that is not known.
        loss: int64 [E, 2] drive and first step without sight of each.
        horizon: steps after an alarm within which sight has to be lost.
        lead: steps before a loss at which an alarm has to stand.
        seconds: of a step.
    """

    drive: NDArray[np.int64]
    step: NDArray[np.int64]
    soon: NDArray[np.floating]
    loss: NDArray[np.int64]
    horizon: int
    lead: int
    seconds: float

    @cached_property
    def timely(self) -> NDArray[np.bool_]:
        """[E, n] the steps from which each loss is warned of in time."""
        ahead = self.loss[:, 1:] - self.step
        return (self.loss[:, :1] == self.drive) & (ahead >= self.lead) & (ahead <= self.horizon)

    @cached_property
    def asked(self) -> NDArray[np.bool_]:
        """[E] the losses that could be warned of in time: those before which a step is watched so early."""
        return np.asarray(self.timely.any(1))

    def figures(self, said: NDArray[np.bool_]) -> dict[str, Any]:
        """Losses that could be warned of (`events`) and that could not (`sudden`), those `warned` of, `false` alarms,
        `precision` and `recall` of events, and false alarms `per_minute` of what is watched; None where there is
        nothing to divide by.

        Alarms in consecutive steps, after none of which sight is lost within the horizon, are one false alarm; one that
        goes on for longer than the horizon is one for each horizon begun, so that an alarm that always stands is no
        good one. An alarm that came too late warns of nothing and is no false one.

        Args:
            said: [n] where the alarm stands.
        """
        events, warned = int(self.asked.sum()), int((self.timely & said).any(1).sum())
        on = np.flatnonzero(said & (self.soon == 0))
        apart = (np.diff(self.drive[on], prepend=-1) != 0) | (np.diff(self.step[on], prepend=-2) != 1)
        lengths = np.bincount(np.cumsum(apart) - 1, minlength=0)
        false = int(np.ceil(lengths / self.horizon).sum())
        minutes = float(np.isfinite(self.soon).sum() * self.seconds / 60)
        return {
            "events": events, "sudden": len(self.loss) - events, "warned": warned, "false": false,
            "precision": warned / (warned + false) if warned + false else None,
            "recall": warned / events if events else None, "per_minute": false / minutes if minutes else None,
        }  # fmt: skip

    def threshold(self, score: NDArray[np.floating]) -> float | None:
        """The score above which alarms have the highest F1 of events, the highest of several; None without an event.

        Args:
            score: [n] of validation drives.
        """
        if not self.asked.any():
            return None
        tried = np.unique(score)
        tried = tried if len(tried) <= TRIED else np.unique(np.quantile(score, np.linspace(0, 1, TRIED)))
        found = [self.figures(score >= one) for one in tried]
        f1 = np.array([2 * one["warned"] / (one["warned"] + one["false"] + one["events"]) for one in found])
        return float(tried[np.flatnonzero(f1 >= f1.max() - 1e-12)[-1]])
