"""Uniform linear array and its DFT codebook."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FINE = 8  # terms of a geometric series in one coarse step


@dataclass(frozen=True)
class ULA:
    """A uniform linear array: `antennas` elements, `spacing` wavelengths apart, element 0 at the BS."""

    antennas: int = 32
    spacing: float = 0.5

    def response(self, sine: Tensor, gain: Tensor | None = None) -> Tensor:
        """The ULA's answer, gain · a_n with a_n = e^{−j2π·spacing·n·sine} (paper 1, eq. 2): complex64 [..., antennas].

        Args:
            sine: float64 [...] direction cosine along the array axis, sinϑ cosφ.
            gain: complex64 [...]; 1 if not given.
        """
        return geometric(-2 * math.pi * self.spacing * sine, self.antennas, gain)

    def codebook(self) -> Tensor:
        """DFT beams as rows, unit norm: complex64 [antennas, antennas]. Beam b points to sine = 2b/antennas (mod 2)."""
        steps = torch.arange(self.antennas, dtype=torch.float64)
        return geometric(-2 * math.pi / self.antennas * steps, self.antennas) / math.sqrt(self.antennas)


def geometric(phase: Tensor, terms: int, first: Tensor | None = None) -> Tensor:
    """The series first · e^{j·phase·n} for n = 0 … terms − 1: complex64 [..., terms].

    A term is the product of a coarse (n = 0, 8, 16, …) and a fine step (0 to 7), so that 64 terms take 16 exponentials.
    Whole turns are taken off in float64, so that float32 does for the rest: the error stays below 1e-6.

    Args:
        phase: float64 [...], rad.
        first: complex64 [...], the series' first term; 1 if not given.
    """
    turns = (phase / (2 * math.pi)).unsqueeze(-1)

    def exponential(steps: Tensor) -> Tensor:
        turn = turns * steps
        angle = ((turn - turn.round()) * (2 * math.pi)).to(torch.float32)
        return torch.complex(torch.cos(angle), torch.sin(angle))

    steps = torch.arange(0, terms + FINE - 1, dtype=torch.float64, device=phase.device)
    fine, coarse = exponential(steps[:FINE]), exponential(steps[:terms:FINE])
    if first is not None:
        coarse = coarse * first.unsqueeze(-1)
    return (coarse.unsqueeze(-1) * fine.unsqueeze(-2)).flatten(-2)[..., :terms]


@dataclass(frozen=True)
class OFDM:
    """`subcarriers` tones `spacing` hertz apart; 64 × 720 kHz is paper 1's 46.08 MHz."""

    subcarriers: int = 64
    spacing: float = 720e3

    @property
    def bandwidth(self) -> float:
        """Occupied bandwidth, Hz."""
        return self.subcarriers * self.spacing

    def response(self, delay: Tensor) -> Tensor:
        """e^{−j2π k Δf τ} for k = 0 … subcarriers − 1 (paper 1, eqs. 1 and 3): complex64 [..., subcarriers].

        Args:
            delay: float64 [...] s.
        """
        return geometric(-2 * math.pi * self.spacing * delay, self.subcarriers)
