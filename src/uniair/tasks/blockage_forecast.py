"""Blockage before it happens: the likelihood of a loss of line of sight within the next steps, and its figures.

A loss is an event in time, and drives end before some of them: the hazards of the next steps are learned as in discrete
survival analysis (Singer and Willett, "It's about time", J. Educational Statistics 1993), a step that was seen to
survive k steps says so of these and nothing of later ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uniair.errors import InputError


def outcomes(los: Tensor, length: int, steps: int) -> tuple[Tensor, Tensor]:
    """What came of each step ahead: whether it was at risk and seen, and whether sight was lost there.

    Args:
        los: [N, T] 1, 0 or NaN.
        length: first steps to look ahead from; steps: H of them ahead.

    Returns:
        Two bool [N, length, H]: sight was held up to t + h − 1 and is known at t + h; it was lost at t + h.
    """
    more = max(length + steps - los.shape[1], 0)
    whole = torch.cat([los, los.new_full((len(los), more), torch.nan)], dim=1)
    at = torch.arange(length, device=los.device)[:, None] + torch.arange(steps + 1, device=los.device)
    seen = whole[:, at]
    held = (seen[..., :-1] == 1).int().cumprod(-1).bool()
    asked = held & torch.isfinite(seen[..., 1:])
    return asked, asked & (seen[..., 1:] == 0)


def term(hazard: Tensor, los: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of what came after each step in sight, summed, and how many of these steps there are.

    Args:
        hazard: logits [N, T, H]; los: [N, ≥ T].
    """
    asked, lost = outcomes(los, *hazard.shape[1:])
    loss = functional.binary_cross_entropy_with_logits(hazard, lost.to(hazard.dtype), reduction="none")
    return (loss * asked).sum(), asked[..., 0].sum()


def lost_ahead(los: Tensor, past: int, steps: int) -> Tensor:
    """Whether sight is lost within 1 … H steps of the last of `past`: [N, H] 1, 0; NaN where it is not in sight now, or
    not known long enough.

    Args:
        los: [N, past + …].
    """
    asked, lost = outcomes(los[:, past - 1 :], 1, steps)
    gone = lost[:, 0].int().cumsum(1) > 0
    held = asked[:, 0].int().cumprod(1).bool()
    return torch.where(gone, 1.0, torch.where(held, 0.0, torch.nan))


@dataclass(frozen=True)
class Alarm:
    """A score above which a loss of sight is announced.

    Attributes:
        threshold: of the score.
    """

    threshold: float

    @classmethod
    def chosen(cls, score: NDArray[np.floating], lost: NDArray[np.bool_]) -> Alarm:
        """The threshold of the highest F1 on validation windows; the highest one of several.

        Raises:
            InputError: sight is never lost in them.
        """
        from sklearn.metrics import precision_recall_curve

        if not lost.any():
            raise InputError("sight is never lost in the validation windows; a threshold can't be chosen on them")
        precision, recall, threshold = precision_recall_curve(lost, score)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = np.flatnonzero(f1[:-1] >= f1[:-1].max() - 1e-12)
        return cls(float(threshold[best[-1]]))

    def figures(self, score: NDArray[np.floating], lost: NDArray[np.bool_]) -> dict[str, float]:
        """Precision, recall and F1 at the threshold, AUPRC (average precision) of the score, and the share that is
        lost, which is the AUPRC of guessing.

        Raises:
            InputError: sight is never lost, or always.
        """
        from sklearn.metrics import average_precision_score

        if lost.all() or not lost.any():
            raise InputError(f"sight is {'always' if lost.any() else 'never'} lost in {len(lost)} windows: no AUPRC")
        said = score >= self.threshold
        hits = int((said & lost).sum())
        precision, recall = hits / max(int(said.sum()), 1), hits / int(lost.sum())
        return {
            "auprc": float(average_precision_score(lost, score)), "precision": precision, "recall": recall,
            "f1": 2 * hits / (int(said.sum()) + int(lost.sum())), "base_rate": float(lost.mean()),
        }  # fmt: skip

    def leads(self, score: NDArray[np.floating], step: NDArray[np.integer], event: NDArray[np.integer]) -> list[int]:
        """How many steps before each loss of sight it was announced without being taken back; 0 where it was not.

        Args:
            score: [n] of windows of one drive, in any order; step: [n] their last heard step.
            event: first steps without sight.
        """
        said = dict(zip(step.tolist(), (score >= self.threshold).tolist(), strict=True))
        out = []
        for first in event.tolist():
            ahead = 0
            while said.get(first - ahead - 1, False):
                ahead += 1
            out.append(ahead)
        return out
