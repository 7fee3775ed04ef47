"""Paths drawn as 3GPP TR 38.901 draws clusters of a street canyon (UMi), whatever the place: a baseline.

Steps 4 to 7 of 7.5 (delays, powers and azimuths of departure), tables 7.5-2 and 7.5-6. Each cluster is one path and the
sight line another, all of the sight line's zenith.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.models.universal import ReadPaths

LOWEST = 2.0  # GHz; below, the tables' formulas keep to it
WIDEST = 104.0  # degrees that a spread is cut off at
SHADOWING = 3.0  # dB of a cluster
WEAKEST = 25.0  # dB below the strongest; weaker clusters are left out


@dataclass(frozen=True)
class Sight:
    """Table 7.5-6 with the sight line free, or not.

    Attributes:
        delay, spread: mean and standard deviation of lg(delay spread, s), each a · lg(1 + f/GHz) + b.
        angle, angle_spread: of lg(azimuth spread of departure, degrees).
        k: mean and standard deviation of the K factor, dB; None: there is none.
        correlation: between delay spread, angle spread and K.
        proportion: of the delays' distribution to the delay spread.
        clusters: their count.
        scale: of azimuths, table 7.5-2.
    """

    delay: tuple[float, float]
    spread: tuple[float, float]
    angle: tuple[float, float]
    angle_spread: tuple[float, float]
    k: tuple[float, float] | None
    correlation: tuple[tuple[float, float, float], ...]
    proportion: float
    clusters: int
    scale: float


FREE = Sight((-0.24, -7.14), (0, 0.38), (-0.05, 1.21), (0, 0.41), (9, 5),
             ((1, 0.5, -0.7), (0.5, 1, -0.2), (-0.7, -0.2, 1)), 3.0, 12, 1.146)  # fmt: skip
BLOCKED = Sight((-0.24, -6.83), (0.16, 0.28), (-0.23, 1.53), (0.11, 0.33), None,
                ((1, 0, 0), (0, 1, 0), (0, 0, 1)), 2.1, 19, 1.273)  # fmt: skip


def clusters(
    bs: NDArray[np.floating],
    ue: NDArray[np.floating],
    los: NDArray[np.bool_],
    carrier: float,
    rng: np.random.Generator,
) -> ReadPaths:
    """A draw for each of N links; relative gains of 1 in total power, their phases random.

    Args:
        bs, ue: [N, 3] m, the array along x.
        los: [N].
        carrier: Hz.
    """
    width = max(FREE.clusters + 1, BLOCKED.clusters)
    cosine, delay, power = (np.zeros((len(los), width)) for _ in range(3))
    for sight, which in ((FREE, los), (BLOCKED, ~los)):
        rows = np.flatnonzero(which)
        late, strong, azimuth = _drawn(sight, len(rows), carrier, rng)
        line = np.asarray(ue[rows] - bs[rows], dtype=np.float64)
        level = np.linalg.norm(line[:, :2], axis=1)
        azimuth = np.arctan2(line[:, 1], line[:, 0])[:, None] + azimuth
        flat = level / np.maximum(np.linalg.norm(line, axis=1), 1e-9)
        count = azimuth.shape[1]
        cosine[rows, :count] = flat[:, None] * np.cos(azimuth)
        delay[rows, :count], power[rows, :count] = late, strong
    gain = np.sqrt(power) * np.exp(2j * np.pi * rng.random(power.shape))
    order = np.argsort(-power, axis=1)
    cosine, delay, gain = (np.take_along_axis(part, order, 1) for part in (cosine, delay, gain))
    return ReadPaths(torch.from_numpy(cosine).float(), torch.from_numpy(delay).float(),
                     torch.from_numpy(gain).to(torch.complex64))  # fmt: skip


def _drawn(
    sight: Sight, count: int, carrier: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Delays, s, powers and azimuths from the sight line, rad: [count, paths] each."""
    frequency = np.log10(1 + max(carrier / 1e9, LOWEST))

    def at(line: tuple[float, float]) -> float:
        return float(line[0] * frequency + line[1])

    normal = rng.standard_normal((count, 3)) @ np.linalg.cholesky(np.array(sight.correlation)).T
    spread = 10 ** (at(sight.delay) + at(sight.spread) * normal[:, :1])
    angle = np.minimum(10 ** (at(sight.angle) + at(sight.angle_spread) * normal[:, 1:2]), WIDEST)
    shape = (count, sight.clusters)
    late = -sight.proportion * spread * np.log(rng.uniform(1e-12, 1, shape))
    late = np.sort(late - late.min(1, keepdims=True), axis=1)
    power = np.exp(-late * (sight.proportion - 1) / (sight.proportion * spread))
    power *= 10 ** (-SHADOWING * rng.standard_normal(shape) / 10)
    power *= power >= power.max(1, keepdims=True) * 10 ** (-WEAKEST / 10)
    power /= power.sum(1, keepdims=True)
    if sight.k is None:
        azimuth = _azimuths(power, angle, np.full((count, 1), sight.scale), rng)
        return late, power, np.deg2rad(azimuth)
    k = sight.k[0] + sight.k[1] * normal[:, 2:]
    late = late / (0.7705 - 0.0433 * k + 0.0002 * k**2 + 0.000017 * k**3)
    scale = sight.scale * (1.1035 - 0.028 * k - 0.002 * k**2 + 0.0001 * k**3)
    power, line = power / (1 + 10 ** (k / 10)), 1 / (1 + 10 ** (-k / 10))
    # azimuths follow from the powers with the sight line's in the first cluster, which then stands where that does
    azimuth = _azimuths(np.column_stack([power[:, :1] + line, power[:, 1:]]), angle, scale, rng)
    azimuth -= azimuth[:, :1]
    still = np.zeros((count, 1))
    late, power, azimuth = (np.hstack(pair) for pair in ((still, late), (line, power), (still, azimuth)))
    return late, power, np.deg2rad(azimuth)


def _azimuths(
    power: NDArray[np.float64], angle: NDArray[np.float64], scale: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Step 7, from the sight line: [count, clusters] degrees."""
    fade = np.log(power.max(1, keepdims=True) / np.maximum(power, 1e-30))
    aside = 2 * (angle / 1.4) * np.sqrt(fade) / scale
    return rng.choice([-1.0, 1.0], power.shape) * aside + angle / 7 * rng.standard_normal(power.shape)
