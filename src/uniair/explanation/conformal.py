"""Sets of answers that hold the right one as often as promised (split conformal prediction).

Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005. Links of one place are alike, and a promise is
for places never seen: thresholds are such that the mean over calibration places, less its standard error, holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.errors import InputError

LEVELS = (0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Promise:
    """Scores up to which answers belong to the set, by level.

    Attributes:
        thresholds: level → score.
    """

    thresholds: Mapping[float, float]

    def sets(self, scores: Tensor, level: float) -> Tensor:
        """Which answers belong to it: bool, as scores of every answer [N, K], see `mass`.

        Raises:
            InputError: a level that was not calibrated.
        """
        if level not in self.thresholds:
            raise InputError(f"level {level:g}: calibrated are {', '.join(f'{one:g}' for one in self.thresholds)}")
        kept = scores <= self.thresholds[level]
        # never none: the likeliest is always in it
        return kept | (scores == scores.amin(1, keepdim=True))

    @classmethod
    def calibrated(cls, scores: NDArray[np.floating], places: NDArray[Any]) -> Promise:
        """From the scores of the right answers [N] and the place of each."""
        found = {}
        order = np.sort(np.unique(scores))
        by_place = [np.sort(scores[places == place]) for place in np.unique(places)]
        for level in LEVELS:
            held = np.stack([np.searchsorted(one, order, side="right") / (len(one) + 1) for one in by_place])
            error = held.std(0, ddof=1) / np.sqrt(len(held)) if len(held) > 1 else np.zeros(len(order))
            enough = np.flatnonzero(held.mean(0) - error >= level)
            found[level] = float(order[enough[0]]) if len(enough) else 1.0
        return cls(found)

    def to_json(self) -> dict[str, float]:
        """As plain JSON."""
        return {f"{level:g}": threshold for level, threshold in self.thresholds.items()}

    @classmethod
    def from_json(cls, entries: Any, where: str) -> Promise:
        """What `to_json` wrote.

        Raises:
            InputError: something else.
        """
        try:
            return cls({float(level): float(threshold) for level, threshold in entries.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{where}: not what was calibrated ({error})") from error


def mass(probability: Tensor) -> Tensor:
    """Score of each of K answers, probabilities [N, K]: the probability of all that are likelier, and half its own.

    Romano, Sesia, Candès, "Classification with valid and adaptive coverage", 2020, with the mean in place of a draw.
    """
    ordered, order = probability.double().sort(dim=1, descending=True)
    before = ordered.cumsum(1) - ordered / 2
    return torch.zeros_like(before).scatter(1, order, before)


def of_right(scores: Tensor, right: Tensor) -> Tensor:
    """The scores of the right answers, int64 [N]: [N]."""
    return scores.gather(1, right[:, None])[:, 0]
