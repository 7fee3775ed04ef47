"""Paths fitted to the entries of a channel that were measured: amplitudes, directions and delays.

Amplitudes are Gaussian, each with a power of its own that the measurement tells (sparse Bayesian learning: Tipping,
"Sparse Bayesian learning and the relevance vector machine", 2001): what noise explains as well gets no power.
Directions and delays follow by Gauss-Newton steps with the amplitudes eliminated (variable projection).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.angle_delay import REACH
from uniair.radio import Radio

LEAST = 1e-9  # of noise and of paths' power, over the power of what was measured: what single precision tells
EARLY = 0.1  # of the delays told apart, how far before a receiver's own clock paths are looked for
CERTAIN = 12.0  # a gain's squared modulus over its variance from which on it is one: among many cells, noise reaches 9
STRIDE = 0.25  # cells that a direction or delay is expected to move by in one step


class Measured(NamedTuple):
    """M measured entries of N channels.

    Attributes:
        values: complex64 [N, M].
        port, tone: int64 [M] where in a CSI of the radio they stand: each once, one port's after the other's.
        radio: of the whole channel.
    """

    values: Tensor
    port: Tensor
    tone: Tensor
    radio: Radio

    def filled(self, values: Tensor) -> Tensor:
        """Values [N, M] in a CSI that is 0 elsewhere: complex64 [N, ports, subcarriers]."""
        out = values.new_zeros(len(values), *self.radio.shape)
        out[:, self.port, self.tone] = values
        return out

    def joint(self, ports: Tensor, tones: Tensor) -> Tensor:
        """Products of what ports [..., ports] and subcarriers [..., subcarriers] take in, at the entries: [..., M]."""
        if self.whole:  # without picking each factor of each entry
            return (ports[..., :, None] * tones[..., None, :]).flatten(-2)
        return ports[..., self.port] * tones[..., self.tone]

    @property
    def whole(self) -> bool:
        """Whether every entry is measured."""
        return len(self.port) == math.prod(self.radio.shape)


class FittedPaths(NamedTuple):
    """P paths of N channels, of every polarisation of the array its own amplitude.

    Attributes:
        along, up: float64 [N, P] direction cosines along the array and upwards.
        delay: float64 [N, P] s.
        gain: complex64 [N, polarisations, P], phase at the middle of array and band.
        power: float32 [N, polarisations, P] that each gain is expected to have.
        noise: float32 [N] power of the noise on an entry.
    """

    along: Tensor
    up: Tensor
    delay: Tensor
    gain: Tensor
    power: Tensor
    noise: Tensor


def cells(radio: Radio) -> tuple[float, float, float]:
    """What a radio tells apart along, upwards and in delay, s: one over its extents; infinite where it has none."""
    wide, _, high = (radio.array.layout.max(0) - radio.array.layout.min(0)).tolist()
    return 1 / max(wide, 1e-9), 1 / high if high > 1e-9 else math.inf, 1 / radio.grid.bandwidth


class Wave(NamedTuple):
    """What a radio takes in from P paths of N channels, element patterns left to the gains.

    Attributes:
        elements: complex64 [N, P, elements].
        ports: complex64 [N, polarisations, P, ports].
        tones: complex64 [N, P, subcarriers].
    """

    elements: Tensor
    ports: Tensor
    tones: Tensor

    def at(self, measured: Measured) -> Tensor:
        """What each path adds to the measured entries, for a gain of 1: [N, polarisations, P, M]."""
        return measured.joint(self.ports, self.tones[:, None])


def wave_of(along: Tensor, up: Tensor, delay: Tensor, radio: Radio) -> Wave:
    """Of directions and delays [N, P]."""
    elements = steering(along, up, radio)
    return Wave(elements, _ports(elements, radio), tones(delay, radio))


def steering(along: Tensor, up: Tensor, radio: Radio) -> Tensor:
    """What the elements take in from directions [N, P]: [N, P, elements]."""
    array = radio.array
    x, y, z = torch.from_numpy(array.layout - array.centre).to(along.device).T
    turns = along[..., None] * x + _ahead(along, up)[..., None] * y + up[..., None] * z
    return torch.polar(torch.ones_like(turns), -2 * math.pi * (turns - turns.round())).to(torch.complex64)


def _ahead(along: Tensor, up: Tensor) -> Tensor:
    return (1 - along.square() - up.square()).clamp_min(1e-4).sqrt()


def _ports(wave: Tensor, radio: Radio) -> Tensor:
    """Elements [N, P, elements] → [N, polarisations, P, ports]."""
    count = len(radio.array.slants)
    elements = wave.shape[-1]
    sides = [torch.nn.functional.pad(wave, (i * elements, (count - 1 - i) * elements)) for i in range(count)]
    out = torch.stack(sides, 1)
    if radio.array.codebook is None:
        return out
    return out @ torch.tensor(radio.array.codebook, dtype=torch.complex64, device=wave.device).mH


def tones(delay: Tensor, radio: Radio) -> Tensor:
    """What subcarriers take in from delays [N, P]: [N, P, subcarriers]."""
    turns = delay[..., None] * _offsets(radio, delay)
    return torch.polar(torch.ones_like(turns), -2 * math.pi * (turns - turns.round())).to(torch.complex64)


def _offsets(radio: Radio, like: Tensor) -> Tensor:
    """Frequencies of the subcarriers from the middle of the band: [subcarriers] Hz."""
    frequencies = radio.grid.frequencies
    return torch.from_numpy(frequencies - frequencies.mean()).to(like.device)


def channel(paths: FittedPaths, radio: Radio) -> Tensor:
    """What a radio whose middle is that of the fit measures: complex64 [N, ports, subcarriers]."""
    wave = (paths.gain[..., None] * _ports(steering(paths.along, paths.up, radio), radio)).sum(1)
    return wave.mT @ tones(paths.delay, radio)


def fit(paths: FittedPaths, measured: Measured, steps: int, noise: Tensor | None = None) -> FittedPaths:
    """Paths after so many steps of amplitudes, directions and delays, and the amplitudes once more.

    Args:
        noise: [N] power of the noise on an entry, where it is known.
    """
    if noise is not None:
        paths = paths._replace(noise=noise)
    for step in range(steps + 1):
        paths = _step(paths, measured, noise, move=step < steps)
    return _kept(paths)


def _kept(paths: FittedPaths) -> FittedPaths:
    """The paths that got an amplitude, as many as the channel of most has."""
    size = paths.gain.abs().square().sum(1)
    count = max(int((size > 0).sum(1).max()), 1)
    order = size.argsort(1, descending=True)[:, :count]
    by_path = (value.gather(1, order) for value in (paths.along, paths.up, paths.delay))
    every = order[:, None].expand(-1, paths.gain.shape[1], -1)
    along, up, delay = by_path
    return FittedPaths(along, up, delay, paths.gain.gather(2, every), paths.power.gather(2, every), paths.noise)


def _step(paths: FittedPaths, measured: Measured, noise: Tensor | None, move: bool) -> FittedPaths:
    y = measured.values
    wave = wave_of(paths.along, paths.up, paths.delay, measured.radio)
    columns = wave.at(measured).flatten(1, 2).mT
    # in double precision: paths closer than the radio tells apart make this nearly singular
    adjoint = columns.mH.resolve_conj()  # once, for every product
    gram = (adjoint @ columns).to(torch.complex128)
    match = (adjoint @ y[..., None])[..., 0].to(torch.complex128)
    sigma, floor = paths.noise.double()[:, None], LEAST * y.abs().square().mean(1, keepdim=True).double()
    found = weighed(gram, match, paths.power.flatten(1).double(), sigma, floor)
    rest = y - (columns @ found.mean[..., None].to(y.dtype))[..., 0]
    left = rest.abs().square().sum(1).double() / (y.shape[1] - 2 * found.told.sum(1)).clamp_min(0.1 * y.shape[1])
    paths = paths._replace(
        gain=found.gain.to(torch.complex64).view_as(paths.gain),
        power=found.power.float().view_as(paths.power),
        noise=(left if noise is None else noise.double()).clamp_min(floor[:, 0]).float(),
    )
    return _moved(paths, measured, wave, adjoint, rest, found.spread) if move else paths


class Weighed(NamedTuple):
    """What a measurement tells of Gaussian gains.

    Attributes:
        mean: complex128 [N, C] of each gain, given the power that it was expected to have.
        gain: the same, 0 where noise explains as well what it does.
        power: float64 [N, C] that each is expected to have from now on.
        told: float64 [N, C] how far each is measured, 0 to 1.
        spread: complex128 [N, C, C] covariance.
    """

    mean: Tensor
    gain: Tensor
    power: Tensor
    told: Tensor
    spread: Tensor


def weighed(gram: Tensor, match: Tensor, power: Tensor, sigma: Tensor, floor: Tensor) -> Weighed:
    """Gains by sparse Bayesian learning, one step.

    Args:
        gram, match: complex128 [N, C, C] and [N, C], products of the columns with one another and with the measurement.
        power: float64 [N, C] expected of each gain.
        sigma, floor: float64 [N, 1] noise, and the least power that is told.
    """
    # scaled by the powers no eigenvalue is below 1, where columns are alike and noise is next to nothing too
    scale = power.sqrt()[..., None] * power.sqrt()[..., None, :]
    one = torch.eye(power.shape[1], dtype=gram.dtype, device=gram.device)
    spread = scale * torch.linalg.inv(one + scale * gram / sigma[..., None])
    mean = (spread @ match[..., None])[..., 0] / sigma
    told = (1 - spread.diagonal(dim1=1, dim2=2).real / power).clamp(1e-6, 1)
    certain = mean.abs().square() / (power * (1 - told)).clamp_min(1e-30)
    # one after the other: of two that explain the same, each alone is doubtful
    least = certain.where(power > 1.01 * floor, math.inf).amin(1, keepdim=True)
    sure = (certain > CERTAIN) | (certain > least)
    gain = mean * sure
    return Weighed(mean, gain, (sure * gain.abs().square() / told).clamp_min(floor), told, spread)


def columns_of(paths: FittedPaths, measured: Measured) -> Tensor:
    """What each gain adds to the measured entries: [N, M, polarisations · P]."""
    return wave_of(paths.along, paths.up, paths.delay, measured.radio).at(measured).flatten(1, 2).mT


def slopes_of(
    paths: FittedPaths, measured: Measured, sizes: tuple[float, float, float], wave: Wave | None = None
) -> Tensor:
    """What a cell further along, later and, where the radio tells, upwards adds to them: [N, M, 2 or 3 · P].

    Args:
        wave: of the paths, where it is at hand.
    """
    radio, (along, up, late) = measured.radio, sizes
    if wave is None:
        wave = wave_of(paths.along, paths.up, paths.delay, radio)
    across, upwards, later = wave_slopes(paths.along, paths.up, paths.delay, paths.gain, radio, wave)
    slopes = [
        measured.joint(along * across, wave.tones),
        measured.joint(late * (paths.gain[..., None] * wave.ports).sum(1), later),
    ]
    if upwards is not None:
        slopes.append(measured.joint(up * upwards, wave.tones))
    return torch.cat(slopes, 1).mT


def wave_slopes(
    along: Tensor, up: Tensor, delay: Tensor, gain: Tensor, radio: Radio, wave: Wave
) -> tuple[Tensor, Tensor | None, Tensor]:
    """What ports take in more further along and upwards, with the gains, [N, P, ports] each, and subcarriers later:
    [N, P, subcarriers]; None upwards where the radio does not tell it.

    Args:
        gain: [N, polarisations, P].
        wave: of the same directions and delays.
    """
    x, y, z = torch.from_numpy(radio.array.layout - radio.array.centre).to(along.device).T
    ahead = _ahead(along, up)

    def turning(place: Tensor, cosine: Tensor) -> Tensor:
        slope = -2j * math.pi * (place - (cosine / ahead)[..., None] * y).to(torch.float32)
        return (gain[..., None] * _ports(slope * wave.elements, radio)).sum(1)

    later = wave.tones * (-2j * math.pi * _offsets(radio, delay).to(torch.float32))
    return turning(x, along), turning(z, up) if math.isfinite(cells(radio)[1]) else None, later


def _moved(
    paths: FittedPaths, measured: Measured, wave: Wave, adjoint: Tensor, rest: Tensor, spread: Tensor
) -> FittedPaths:
    """A Gauss-Newton step of directions and delays; moves of a cell's `STRIDE` are expected, so weak paths stay."""
    sizes = cells(measured.radio)
    slopes, sigma = slopes_of(paths, measured, sizes, wave), paths.noise.double()[:, None, None]
    both, turned = (adjoint @ slopes).to(torch.complex128), slopes.mH.resolve_conj()
    curve = (turned @ slopes).to(torch.complex128) - both.mH @ spread @ both / sigma
    pull = (turned @ rest[..., None]).real.double() / sigma
    stiff = torch.eye(curve.shape[-1], dtype=torch.float64, device=rest.device) / STRIDE**2
    step = torch.linalg.solve(curve.real / sigma + stiff, pull)[..., 0].clamp(-0.5, 0.5)
    moves = step.view(len(step), -1, paths.delay.shape[1])
    along = (paths.along + sizes[0] * moves[:, 0]).clamp(-1, 1)
    up = paths.up + sizes[1] * moves[:, 2] if moves.shape[1] > 2 else paths.up
    # a direction exists where its squared cosines do not exceed 1
    high = (1 - along.square()).clamp_min(0).sqrt()
    up = torch.clamp(up, -high, high)
    return paths._replace(along=along, up=up, delay=paths.delay + sizes[2] * moves[:, 1])


class Dictionary(NamedTuple):
    """Directions and delays on an oversampled grid, and what a radio takes in from them.

    Attributes:
        along, up: float64 [G]; delay: float64 [D] s, which are `period` in all.
        beams: complex64 [polarisations, G, ports]; waves: complex64 [D, subcarriers].
    """

    along: Tensor
    up: Tensor
    delay: Tensor
    beams: Tensor
    waves: Tensor
    period: float

    def taken(self, csi: Tensor) -> Tensor:
        """What each cell's matched filter takes in of CSI, entries not measured 0: [N, polarisations, G, D].

        Args:
            csi: complex64 [N, ports, subcarriers].
        """
        return self.beams.conj() @ (csi @ self.waves.mH)[:, None]

    def folded(self, delay: Tensor) -> Tensor:
        """Delays [N, P] s as the measured subcarriers tell them, which know no multiples of what the grid spans."""
        return self.delay[0] + (delay - self.delay[0]) % self.period

    def strongest(self, csi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Direction cosines along and upwards, and delay, from where most is taken in: float64 [N, 1] each."""
        power = self.taken(csi).abs().square().sum(1)
        best = power.flatten(1).argmax(1, keepdim=True)
        direction, late = best // power.shape[2], best % power.shape[2]
        return self.along[direction], self.up[direction], self.delay[late]


def periods(measured: Measured) -> tuple[float, float]:
    """Direction cosine along and delay, s, by which paths differ that the measured entries can't tell apart."""
    place = measured.radio.array.layout[:, 0]
    if measured.radio.array.codebook is None:
        place = place[(measured.port % len(place)).numpy()]
    return 1 / _step_of(place), 1 / _step_of(measured.radio.grid.frequencies[measured.tone.numpy()])


def _step_of(place: NDArray[np.float64]) -> float:
    """The widest lattice that all places stand on: its step; tiny where there is none."""
    gaps = np.diff(np.unique(place.round(9)))
    step, exact = 0.0, 1e-6 * np.ptp(place) + 1e-12
    for gap in gaps:
        while gap > exact:  # Euclid's
            step, gap = gap, step % gap
            if gap > step - exact:
                gap = 0.0
    return max(step, exact)


def dictionary(measured: Measured, oversampling: int = 2) -> Dictionary:
    """Of all directions in front of an array, and of the delays that the measured subcarriers tell apart."""
    radio = measured.radio
    sizes = cells(radio)
    axes = [
        torch.linspace(-1, 1, max(2 * math.ceil(oversampling / size), 1) + 1, dtype=torch.float64)
        if math.isfinite(size) else torch.zeros(1, dtype=torch.float64)
        for size in sizes[:2]
    ]  # fmt: skip
    along, up = (axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij"))
    seen = along.square() + up.square() <= 1
    period = min(REACH, periods(measured)[1])
    steps = max(math.ceil(oversampling * period / sizes[2]), 1)
    first = -EARLY * period if radio.clock == "first_path" else 0.0
    delay = first + period / steps * torch.arange(steps, dtype=torch.float64)
    wave = wave_of(along[None, seen], up[None, seen], delay[None], radio)
    return Dictionary(along[seen], up[seen], delay, wave.ports[0], wave.tones[0], period)


def added(paths: FittedPaths, measured: Measured, grid: Dictionary, count: int) -> FittedPaths:
    """Paths and the strongest of what they leave over, found one after the other; no more noise than is left."""
    rest = left_over(paths, measured)
    for _ in range(count):
        along, up, delay = grid.strongest(measured.filled(rest))
        new = FittedPaths(along, up, delay, paths.gain[..., :1] * 0, paths.power[..., :1] * 0, paths.noise)
        wave = columns_of(new, measured)
        gain = (wave.conj() * rest[..., None]).sum(1) / wave.abs().square().sum(1).clamp_min(1e-9)
        rest = rest - (wave * gain[:, None]).sum(-1)
        new = new._replace(gain=gain[..., None], power=gain[..., None].abs().square() + paths.noise[:, None, None])
        paths = joined(paths, new)
    return paths._replace(noise=torch.minimum(paths.noise, rest.abs().square().mean(1)))


def joined(paths: FittedPaths, more: FittedPaths) -> FittedPaths:
    """Both, with the noise of the first."""
    both = [torch.cat([old, new], -1) for old, new in zip(paths[:5], more[:5], strict=True)]
    return FittedPaths._make([*both, paths.noise])


def left_over(paths: FittedPaths, measured: Measured) -> Tensor:
    """What the paths do not explain of the measured entries: complex64 [N, M]."""
    return measured.values - (columns_of(paths, measured) @ paths.gain.flatten(1)[..., None])[..., 0]
