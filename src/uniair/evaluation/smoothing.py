"""Randomised smoothing: the majority of a model's answers about noisy copies, and the power that can't turn it.

Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019. The channel is
normalised before the noise comes, as the model does anyway, so that the noise is the same whatever a perturbation does
to the power.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta, norm
from torch import Tensor

from uniair.errors import InputError


@dataclass(frozen=True)
class Smoothing:
    """How noisy the copies are, and how many there are.

    Attributes:
        snr_db: of each copy over the channel's mean power.
        copies: whose majority is the answer.
        confidence: with which the certificate holds, over the draw of the noise.
    """

    snr_db: float = 0.0
    copies: int = 100
    confidence: float = 0.999

    def __post_init__(self) -> None:
        if not math.isfinite(self.snr_db) or self.copies < 2 or not 0.5 < self.confidence < 1:
            raise InputError(
                f"smoothing by {self.copies} copies of SNR {self.snr_db} dB at confidence {self.confidence}: give at "
                "least 2, a finite SNR, and a confidence between 0.5 and 1"
            )


def noisy_copies(csi: Tensor, snr_db: float, copies: int, draw: torch.Generator) -> Tensor:
    """CSI of unit mean power in white noise: complex64 [copies, N, ports, subcarriers]."""
    power = csi.abs().square().mean((1, 2), keepdim=True)
    if not (power > 0).all():
        raise InputError("smoothing: a channel is all zero; leave out links without a channel")
    noise = torch.randn(copies, *csi.shape, dtype=csi.dtype, generator=draw).to(csi.device)
    return csi / power.sqrt() + 10 ** (-snr_db / 20) * noise


def votes(
    answer: Callable[[Tensor], Tensor], csi: Tensor, smoothing: Smoothing, draw: torch.Generator
) -> NDArray[np.int64]:
    """How many of the noisy copies of N channels are answered yes: [N].

    Args:
        answer: CSI [N, ports, subcarriers] → bool [N].
    """
    total = torch.zeros(len(csi), dtype=torch.int64)
    for _ in range(smoothing.copies):
        total += answer(noisy_copies(csi, smoothing.snr_db, 1, draw)[0]).cpu().long()
    return total.numpy()


def certified_db(yes: NDArray[np.int64], smoothing: Smoothing, entries: int) -> NDArray[np.float64]:
    """The power over the channel's up to which no perturbation turns the majority of endlessly many copies: [N] dB.

    σ Φ⁻¹(p) of theorem 1, p being the lower bound by Clopper and Pearson of the majority's share; both sides of a vote
    are bounded at once. −∞ where the vote was too close.

    Args:
        yes: [N] of `votes`.
        entries: complex numbers of a channel, ports × subcarriers.
    """
    most = np.maximum(yes, smoothing.copies - yes)
    # either side might have been the majority: half of the risk to each
    least = beta.ppf((1 - smoothing.confidence) / 2, most, smoothing.copies - most + 1)
    radius = norm.ppf(np.maximum(least, 0.5)) * 10 ** (-smoothing.snr_db / 20) / math.sqrt(2 * entries)
    radius = np.minimum(radius, math.sqrt(2))
    # the radius is a chord between normalised channels; a perturbation turns the channel by an angle of that chord
    reach = radius * np.sqrt(1 - radius**2 / 4)
    with np.errstate(divide="ignore"):
        return np.asarray(20 * np.log10(reach), dtype=np.float64)
