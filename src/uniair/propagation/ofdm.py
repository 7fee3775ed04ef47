"""The OFDM grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from uniair.propagation.array import geometric


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
