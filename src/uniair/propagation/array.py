"""Uniform linear array and its DFT codebook."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ULA:
    """A uniform linear array: `antennas` elements, `spacing` wavelengths apart, element 0 at the BS."""

    antennas: int = 32
    spacing: float = 0.5

    def response(self, sine: Tensor) -> Tensor:
        """a_n = e^{−j2π·spacing·n·sine} (paper 1, eq. 2): complex64 [..., antennas].

        Args:
            sine: [...] direction cosine along the array axis, sinϑ cosφ.
        """
        return geometric(-2 * math.pi * self.spacing * sine, self.antennas)

    def codebook(self) -> Tensor:
        """DFT beams as rows, unit norm: complex64 [antennas, antennas]. Beam b points to sine = 2b/antennas (mod 2)."""
        steps = torch.arange(self.antennas, dtype=torch.float64)
        return geometric(-2 * math.pi / self.antennas * steps, self.antennas) / math.sqrt(self.antennas)


def geometric(phase: Tensor, terms: int) -> Tensor:
    """e^{j·phase·n} for n = 0 … terms − 1 by doubling: one exponential a series, then products: complex64 [..., terms].

    The ratio is kept in float64 while the series doubles, so the error stays below 1e-6 at 64 terms.
    """
    powers = torch.polar(torch.ones_like(phase), phase).unsqueeze(-1)
    series = torch.ones_like(powers)
    ratio = powers
    while series.shape[-1] < terms:
        series = torch.cat([series, series * ratio], dim=-1)
        ratio = ratio * ratio
    return series[..., :terms].to(torch.complex64)
