"""Every metric, defined once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 15  # of the confidence, in the calibration error
DELTA = 5.0  # Δ of the distance-based accuracy; scores of another one can't be compared


def nmse_db(estimate: Tensor, csi: Tensor) -> float:
    """10 log10 mean_i(‖Ĥ_i − H_i‖² / ‖H_i‖²), dB.

    Args:
        estimate, csi: complex [N, ...], both normalised per sample.
    """
    return float(10 * torch.log10(relative_error(estimate, csi).mean()))


def relative_error(estimate: Tensor, csi: Tensor) -> Tensor:
    """‖Ĥ_i − H_i‖² / ‖H_i‖² of each sample, which NMSE averages: float32 [N]."""
    return (estimate - csi).abs().square().flatten(1).sum(1) / csi.abs().square().flatten(1).sum(1)


def sgcs(estimate: Tensor, csi: Tensor) -> float:
    """Squared generalised cosine similarity |v̂ᴴv|² / (‖v̂‖²‖v‖²), mean over samples and subcarriers.

    Args:
        estimate, csi: complex [N, antennas, subcarriers].
    """
    return float(cosine_squared(estimate, csi).mean())


def cosine_squared(estimate: Tensor, truth: Tensor) -> Tensor:
    """|v̂ᴴv|² / (‖v̂‖²‖v‖²) along dimension 1, which SGCS averages: [N, ...]."""
    product = (estimate.conj() * truth).sum(1).abs().square()
    power = estimate.abs().square().sum(1) * truth.abs().square().sum(1)
    return product / power.clamp_min(1e-30)


def true_ranks(similarity: Tensor) -> Tensor:
    """How many candidates beat or tie the true one, on the diagonal: int64 [N]; 0 is a correct top-1."""
    true = similarity.diagonal()[:, None]
    return (similarity >= true).sum(1) - 1


def macro_f1(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Mean of the F1 scores of both classes."""
    scores = []
    for value in (False, True):
        hit = np.sum((predicted == value) & (truth == value))
        scores.append(2 * hit / max(np.sum(predicted == value) + np.sum(truth == value), 1))
    return float(np.mean(scores))


def calibration_error(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Expected calibration error of P(true) [N] over `BINS` equal-width bins of the winning class's confidence."""
    confidence = np.maximum(probability, 1 - probability)
    correct = (probability >= 0.5) == truth
    index = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    gap = np.abs(np.bincount(index, confidence, BINS) - np.bincount(index, correct, BINS))
    return float(gap.sum() / max(counts.sum(), 1))


def majority(truth: NDArray[np.bool_]) -> float:
    """Share of the more frequent class: what guessing it would score."""
    return float(max(truth.mean(), 1 - truth.mean()))


def top_k(logits: Tensor, beam: Tensor, k: int) -> float:
    """Share of the samples whose best beam is among the k likeliest.

    Args:
        logits: [N, B]; beam: int64 [N].
    """
    return float((logits.topk(k, 1).indices == beam[:, None]).any(1).float().mean())


def dba(logits: Tensor, beam: Tensor) -> float:
    """Distance-based accuracy: mean over K = 1 … 3 of 1 − mean(min(min over k ≤ K of |ŷ_k − y| / Δ, 1)), Δ = 5.

    Args:
        logits: [N, B]; beam: int64 [N].
    """
    distance = (logits.topk(3, 1).indices - beam[:, None]).abs() / DELTA
    return float((1 - distance.cummin(1).values.clamp(max=1)).mean())


def power_share(logits: Tensor, power: Tensor) -> float:
    """Power of the likeliest beam as a share of the best beam's, mean over samples.

    Args:
        logits, power: [N, B]; the power is linear.
    """
    chosen = power.gather(1, logits.argmax(1, keepdim=True))[:, 0]
    return float((chosen / power.max(1).values).mean())
