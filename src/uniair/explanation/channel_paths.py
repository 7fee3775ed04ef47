"""The few paths that a channel was read as, each with what it adds to the CSI."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.tasks.completion import fitted_paths, measured_part, unit
from uniair.tasks.path_fit import FittedPaths, Measured, cells, channel, periods

Numbers = NDArray[np.float64]
MOST = 8  # paths that are told apart
ROUNDS = 3  # in which paths are looked for that CRNN did not read; more of them find no more that are strong
LEAST = 1e-3  # share of the power of a path that is told


@dataclass(frozen=True)
class ChannelPath:
    """A path, or several that the radio can't tell apart.

    Attributes:
        along, up: direction cosines of departure in the array's frame; up is 0 of arrays that can't tell.
        length: m by the channel's own clock: of one that starts at the first path, m behind it.
        share: of the power of all paths.
        part: complex64 [ports, subcarriers] what it adds to the CSI.
    """

    along: float
    up: float
    length: float
    share: float
    part: Tensor


@dataclass(frozen=True)
class Resolution:
    """What a radio tells apart.

    Attributes:
        along, up: direction cosines; up is infinite of arrays that can't tell.
        length: m.
        along_period, length_period: by which directions and lengths may differ and look the same.
    """

    along: float
    up: float
    length: float
    along_period: float
    length_period: float

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, radio: Radio) -> Resolution:
        """The resolution of a radio."""
        wide, high, late = cells(radio)
        every = torch.ones(radio.shape, dtype=torch.bool).nonzero()
        side, time = periods(Measured(torch.zeros(1, len(every)), every[:, 0], every[:, 1], radio))
        return cls(wide, high, late * SPEED_OF_LIGHT, side, time * SPEED_OF_LIGHT)

    def off(self, path: ChannelPath, along: Numbers, up: Numbers, length: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """By how much a path misses directions and lengths [C], as far as the radio can tell: each at least 0."""
        side = (path.along - along + self.along_period / 2) % self.along_period - self.along_period / 2
        late = (path.length - length + self.length_period / 2) % self.length_period - self.length_period / 2
        return np.abs(side), np.abs(path.up - up) * np.isfinite(self.up), np.abs(late)


def channel_paths(model: UniversalModel, csi: Tensor, radio: Radio, progress: bool = False) -> list[list[ChannelPath]]:
    """The paths of N channels, strongest first; what the radio can't tell apart is one.

    CRNN reads them from the code, and they are fitted to the CSI; what noise explains as well is no path.

    Args:
        csi: complex [N, ports, subcarriers].
        progress: show how far it is.

    Raises:
        InputError: see `completion.measured_part`.
    """
    known = torch.ones(radio.shape, dtype=torch.bool)
    measured = measured_part(csi, radio, known)
    found = (
        FittedPaths._make(value[[i]] for value in fitted)
        for fitted, _, _ in fitted_paths(model, measured, known, None, ROUNDS)
        for i in range(len(fitted.noise))
    )
    sizes = unit(measured.values)[1].tolist()
    each = zip(track(found, "channel", total=len(csi), show=progress), sizes, strict=True)
    return [[replace(path, part=size * path.part) for path in _told_apart(one, radio)] for one, size in each]


def _told_apart(fitted: FittedPaths, radio: Radio) -> list[ChannelPath]:
    """The paths of one channel."""
    power = fitted.gain[0].abs().square().sum(0).double()
    wide, high, late = cells(radio)
    along, up, delay = (value[0].tolist() for value in (fitted.along, fitted.up, fitted.delay))
    groups: list[list[int]] = []
    for i in power.argsort(descending=True)[: int((power > 0).sum())].tolist():
        for group in groups:
            first = group[0]
            if (
                abs(along[i] - along[first]) <= wide
                and abs(up[i] - up[first]) <= high
                and abs(delay[i] - delay[first]) <= late
            ):
                group.append(i)
                break
        else:
            groups.append([i])
    found = [_joined(fitted, power, group, radio) for group in groups]
    return sorted((path for path in found if path.share >= LEAST), key=lambda path: -path.share)[:MOST]


def _joined(fitted: FittedPaths, power: Tensor, group: list[int], radio: Radio) -> ChannelPath:
    index = torch.tensor(group)
    weight = power[index] / power[index].sum()
    along, up, delay = (float((value[0, index] * weight).sum()) for value in (fitted.along, fitted.up, fitted.delay))
    picked = FittedPaths(
        fitted.along[:, index], fitted.up[:, index], fitted.delay[:, index], fitted.gain[..., index],
        fitted.power[..., index], fitted.noise,
    )  # fmt: skip
    share = float(power[index].sum() / power.sum())
    return ChannelPath(along, up, delay * SPEED_OF_LIGHT, share, channel(picked, radio)[0])
