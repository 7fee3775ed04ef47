"""What a radio can resolve and what is known beside the response: a few numbers that the towers read."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.angle_delay import TONE
from uniair.radio import SPEED_OF_LIGHT, Radio

# Hz, Hz, m: what is told as 0
USUAL_CARRIER, USUAL_BAND, USUAL_DISTANCE = Radio().carrier, Radio().grid.bandwidth, 100.0
RADIO_FEATURES = 16


def of_radio(radio: Radio, links: int, carrier: Tensor | None = None, gain: Tensor | None = None) -> Tensor:
    """What CFENN is told of N channels: float32 [N, RADIO_FEATURES].

    Apertures, spacing, band and subcarrier spacing; carrier; clock, pattern, polarisation, beams; and of calibrated
    gains, the free-space distance over which as much would be lost.

    Args:
        carrier: [N] Hz; None: the radio's.
        gain: [N] mean power of an entry of the CSI, received over transmitted; None: not known.
    """
    fixed = torch.tensor(_fixed(radio), dtype=torch.float32)
    device = None if gain is None else gain.device
    carriers = torch.full((links,), radio.carrier) if carrier is None else carrier
    out = fixed.to(carriers.device).repeat(links, 1)
    rate = (carriers.double() / USUAL_CARRIER).log10()
    if gain is None or not (radio.calibrated and radio.isotropic):
        told, distance = torch.zeros(links), torch.zeros(links)
    else:
        told = torch.ones(links, device=device)
        distance = (free_space_distance(gain, carriers.to(gain.device)) / USUAL_DISTANCE).log10()
    last = torch.stack([value.to(out) for value in (rate, told, distance, distance.square() / 2)], 1)
    return torch.cat([out, last], 1)


def free_space_distance(gain: Tensor, carrier: Tensor | float) -> Tensor:
    """Over how many metres of free space as much power is lost between isotropic antennas: float64 [N].

    Args:
        gain: [N] received power over transmitted.
        carrier: Hz.
    """
    wavelength = SPEED_OF_LIGHT / torch.as_tensor(carrier).double()
    return wavelength / (4 * math.pi) / gain.double().clamp_min(1e-38).sqrt()


@lru_cache(maxsize=64)
def _fixed(radio: Radio) -> tuple[float, ...]:
    layout, array = radio.array.layout, radio.array
    wide, deep, high = (_extent(layout[:, axis]) for axis in range(3))
    spacing = wide / max(len(np.unique(layout[:, 0].round(6))), 1)
    gap = float(np.diff(radio.grid.frequencies).max())
    return (
        math.log2(max(wide, 0.1) / 16) / 2, math.log2(1 + deep), math.log2(1 + high), 2 * spacing - 1,
        math.log2(len(layout) / 32) / 3, math.log2(radio.grid.bandwidth / USUAL_BAND) / 3, math.log2(gap / TONE) / 3,
        float(radio.clock == "first_path"), float(array.pattern != "isotropic"), float(len(array.slants) > 1),
        float(array.codebook is not None), float(array.slants[0]),
    )  # fmt: skip


def _extent(place: NDArray[np.float64]) -> float:
    """Of so many elements, wavelengths: the span, and an element's share more."""
    count = len(np.unique(place.round(6)))
    return float(np.ptp(place) * count / max(count - 1, 1))
