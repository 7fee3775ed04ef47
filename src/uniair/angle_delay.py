"""Any radio's CSI in physical units: its matched-filter response in direction cosine × delay. Nothing is learned here.

The grid has `beams` cells over the direction cosines −1 … 1 along the array and `delays` cells over 0 … `REACH`. On
paper 1's radio the response is the unitary Fourier transform over antennas and subcarriers; on any other radio it is
what matched filters at the same directions and delays take in, so that a path has one place and one amplitude on all
of them. The phase is referred to the middle of array and band, where a path between two cells keeps its phase.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.errors import InputError
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, Radio

# wavelengths and Hz: samples so far apart tell all direction cosines apart, and all delays up to `REACH`
SPACING, TONE = 0.5, 720e3
REACH = 1 / TONE  # s
WIDTH = 0.3  # of a Gaussian taper, of the aperture or band that the grid resolves: a path is then as wide as there
ARRIVAL = 10 ** (-9 / 10)  # a path has arrived where a peak reaches this share of the strongest
OVERSAMPLING = 8  # of the delays at which arrivals are looked for
VISIBLE = 0.1  # how far a cell's squared cosines may exceed 1, for the width of a beam
LEAST_EXTENT = 1e-3  # wavelengths; below, positions differ by rounding alone
TYPICAL = 60.0  # m: where a first path is put that nothing tells the length of


class Filters(NamedTuple):
    """Matched filters of a radio, complex64.

    Attributes:
        beams: [looks, beams, ports]; a look is a polarisation and, where the array has vertical extent, an elevation;
            all looks of the first polarisation come first.
        delays: [subcarriers, delays].
    """

    beams: Tensor
    delays: Tensor


class Seen(NamedTuple):
    """Channels in physical units.

    Attributes:
        csi: complex64 [N, ports, subcarriers] of unit mean power, phase and clock as the response has them.
        response: complex64 [N, beams, delays]; its strongest cell is real and positive.
        second: the same of the second polarisation; None of a single one, or where one is chosen.
        up: float32 [N, beams, delays] direction cosine upwards from which each cell is taken in; None where the array
            can't tell, or one elevation is chosen for all cells.
        conditions: float32 [N, features] what is known beside the response, see `models.conditions`; None: nothing.
    """

    csi: Tensor
    response: Tensor
    second: Tensor | None = None
    up: Tensor | None = None
    conditions: Tensor | None = None


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept may be used in training later
@torch.no_grad()
def filters(radio: Radio, beams: int, delays: int, device: torch.device = torch.device("cpu")) -> Filters:
    """The matched filters of a radio for a grid of so many cells.

    Above the aperture or the band that the grid's cells resolve, a Gaussian taper makes a path as wide as a cell;
    unweighted it would fall between two of them. Across the array's elevations (directions up and down) the filters
    stand half a beam apart.

    Raises:
        InputError: an array without extent along x, which sees no direction cosine.
    """
    array, layout = radio.array, _layout(radio)
    cosine = (torch.arange(beams, dtype=torch.float64) - beams // 2) / (beams // 2)
    rows = []
    for up, side in product(elevations(layout), _sides(layout)):
        across = side * (1 - cosine.square() - up * up).clamp_min(0).sqrt()
        # paper 1's elements lie at multiples of a half, so that a product is exact there
        turns = cosine[:, None] * torch.from_numpy(layout[:, 0])
        turns = turns + across[:, None] * torch.from_numpy(layout[:, 1]) + up * torch.from_numpy(layout[:, 2])
        rows.append(torch.polar(_taper(layout[:, 0], beams * SPACING).expand_as(turns), 2 * math.pi * turns))
    filter_ = torch.stack(rows)
    if (count := len(array.slants)) > 1:  # each looks at the ports of one polarisation
        filter_ = torch.cat([torch.nn.functional.pad(filter_, (i * len(layout), (count - 1 - i) * len(layout)))
                             for i in range(count)])  # fmt: skip
    if array.codebook is not None:
        # of what a plane wave leaves in the beams; where they hardly look, hardly anything is taken in
        filter_ = filter_ @ torch.tensor(array.codebook, dtype=torch.complex128).mT
        size = filter_.abs().square().sum(-1).amax().sqrt()
        filter_ = filter_ / (size * math.sqrt(array.ports))
    offset = radio.grid.frequencies - radio.grid.frequencies.mean()
    turns = torch.from_numpy(offset / (delays * TONE))[:, None] * torch.arange(delays, dtype=torch.float64)
    weights = _taper(offset, delays * TONE)[:, None].expand_as(turns)
    tones = torch.polar(weights * math.sqrt(delays), 2 * math.pi * turns)
    return Filters((filter_ * math.sqrt(beams)).to(torch.complex64).to(device), tones.to(torch.complex64).to(device))


def elevations(layout: NDArray[np.float64]) -> NDArray[np.float64]:
    """Direction cosines upwards that an array tells apart, half a beam from each other: [elevations].

    Elements on one line can't tell an elevation from an azimuth: paths are then taken to run level.
    """
    if np.linalg.matrix_rank(layout, tol=LEAST_EXTENT) < 2:
        return np.zeros(1)
    rows = len(np.unique(layout[:, 2].round(6)))
    if rows < 2:
        return np.zeros(1)
    height = np.ptp(layout[:, 2]) * rows / (rows - 1)
    count = max(1, math.ceil(2 * height))
    return np.arange(-count, count + 1) / (count + 0.5)


def levels(radio: Radio) -> Tensor:
    """Direction cosine upwards of each look of one polarisation, in the order of `filters`: float32 [looks]."""
    layout = _layout(radio)
    return torch.from_numpy(np.repeat(elevations(layout), len(_sides(layout)))).float()


def visible(level: Tensor, beams: int) -> Tensor:
    """Which cells of looks [L] some direction has; in the others are sidelobes and noise alone: bool [L, beams]."""
    cosine = (torch.arange(beams, device=level.device) - beams // 2) / (beams // 2)
    return cosine.square() + level[:, None].square() <= 1 + VISIBLE


def _sides(layout: NDArray[np.float64]) -> tuple[float, ...]:
    """Elements in depth tell what is in front of the array from what is behind."""
    return (1.0, -1.0) if np.ptp(layout[:, 1]) > LEAST_EXTENT else (1.0,)


def _layout(radio: Radio) -> NDArray[np.float64]:
    """Positions about the middle of the array: [antennas, 3] wavelengths.

    Raises:
        InputError: no extent along x.
    """
    layout = radio.array.layout - radio.array.centre
    if np.ptp(layout[:, 0]) < LEAST_EXTENT:
        raise InputError(f"radio: {radio.array} has no extent along x, so that it tells no direction along it; turn it")
    return layout


def _taper(place: NDArray[np.float64], resolved: float) -> Tensor:
    """Weights of elements or subcarriers, 1 in sum: equal, or Gaussian where they span more than `resolved`."""
    distinct = len(np.unique(place.round(9)))
    span = np.ptp(place) * distinct / max(distinct - 1, 1)
    weight = np.ones(len(place))
    if span > resolved * (1 + 1e-6):
        weight = np.exp(-0.5 * (place / (WIDTH * resolved)) ** 2)
    return torch.from_numpy(weight / weight.sum())


def see(
    csi: Tensor, radio: Radio, beams: int, delays: int, distance: Tensor | None = None, by_cell: bool = False
) -> Seen:
    """CSI of any power and common phase → the same, normalised, and its response on the grid.

    The power becomes 1 an entry on average, noise included (paper 1 normalises each CSI individually).

    Args:
        csi: complex64 [N, ports, subcarriers].
        distance: [N] m: what the first path's length is taken to be where the radio's clock starts at it; `TYPICAL`
            where None. Of a radio with an absolute clock the delays are left alone.
        by_cell: choose the elevation that takes in most for each cell, and keep both polarisations; else one elevation
            and polarisation is chosen for each channel.
    """
    filter_ = filters(radio, beams, delays, csi.device)
    if radio.clock == "first_path":
        length = torch.full((len(csi),), TYPICAL) if distance is None else distance
        csi = delayed(csi, radio, length.to(csi.device).double() / SPEED_OF_LIGHT - arrival(csi, radio))
    power = csi.abs().square().mean(dim=(1, 2), keepdim=True)
    csi = csi / power.clamp_min(1e-38).sqrt()
    if by_cell:
        return _by_cell(csi, radio, filter_)
    response = _respond(csi, filter_)
    cells = response.flatten(1)
    peak = cells.gather(1, cells.abs().argmax(dim=1, keepdim=True))
    csi = csi * (peak.conj() / peak.abs())[..., None]
    # taken in anew: turned afterwards it would differ in the last bit from what the released weights learned from
    return Seen(csi, _respond(csi, filter_))


def _respond(csi: Tensor, filter_: Filters) -> Tensor:
    elevations, beams, ports = filter_.beams.shape
    if elevations == 1:
        return filter_.beams[0] @ csi @ filter_.delays
    # delays first: there are fewer of them than elevations × beams
    every = (filter_.beams.view(-1, ports) @ (csi @ filter_.delays)).view(len(csi), elevations, beams, -1)
    strongest = every.abs().square().sum((2, 3)).argmax(1)
    return every[torch.arange(len(csi), device=csi.device), strongest]


def _by_cell(csi: Tensor, radio: Radio, filter_: Filters) -> Seen:
    """Normalised CSI → what each cell takes in from its own elevation."""
    looks, beams, ports = filter_.beams.shape
    polarisations = len(radio.array.slants)
    every = (filter_.beams.view(-1, ports) @ (csi @ filter_.delays)).view(
        len(csi), polarisations, looks // polarisations, beams, filter_.delays.shape[1]
    )
    up = None
    if every.shape[2] > 1:
        level = levels(radio).to(csi.device)
        power = every.abs().square().sum(1) * visible(level, beams)[..., None]
        best = power.argmax(1, keepdim=True)
        every = every.gather(2, best[:, None].expand(-1, polarisations, -1, -1, -1))
        up = level[best[:, 0]] if level.any() else None
    every = every[:, :, 0]
    strongest = every.abs().flatten(1).argmax(1, keepdim=True)
    peak = every.flatten(1).gather(1, strongest)
    turn = (peak.conj() / peak.abs().clamp_min(1e-30))[..., None]
    every = every * turn[..., None]
    return Seen(csi * turn, every[:, 0], every[:, 1] if polarisations > 1 else None, up)


def delayed(csi: Tensor, radio: Radio, delay: Tensor) -> Tensor:
    """CSI [N, ports, subcarriers] as if all its paths took `delay` [N] s longer; the middle of the band stays."""
    offset = torch.from_numpy(radio.grid.frequencies - radio.grid.frequencies.mean()).to(csi.device)
    turns = delay[:, None].double() * offset
    angle = (-2 * math.pi * (turns - turns.round())).to(torch.float32)
    return csi * torch.complex(angle.cos(), angle.sin())[:, None]


def arrival(csi: Tensor, radio: Radio) -> Tensor:
    """When the first path arrives by the receiver's clock: float64 [N] s.

    The earliest peak, in the half period before the strongest one, that reaches `ARRIVAL` of it, in the strongest beam
    of each delay. A Hann window over the band keeps sidelobes and noise from being taken for a path.
    """
    if not len(csi):
        return torch.zeros(0, dtype=torch.float64, device=csi.device)
    count = radio.grid.subcarriers
    window = torch.hann_window(count + 2, periodic=False, device=csi.device)[1:-1]
    steps = count * OVERSAMPLING
    # the look that takes in most, one after the other: of all together there may be more than memory holds
    taken, most = csi, csi.new_zeros(len(csi), dtype=torch.float32)
    for number, look in enumerate(filters(radio, 32, 64, csi.device).beams):
        now = look @ csi
        power = now.abs().square().sum((1, 2))
        taken = now if not number else torch.where((power > most)[:, None, None], now, taken)
        most = torch.maximum(most, power)
    if isinstance(radio.grid, OFDM):
        period = 1 / radio.grid.spacing
        by_delay = torch.fft.ifft(taken * window, n=steps, dim=2)
    else:
        period = count / radio.grid.bandwidth
        turns = torch.from_numpy(radio.grid.frequencies)[:, None] * torch.arange(steps) * (period / steps)
        wave = torch.polar(torch.ones_like(turns), 2 * math.pi * turns).to(csi.device, torch.complex64)
        by_delay = (taken * window) @ wave
    profile = by_delay.abs().square().amax(1)
    peak = (profile >= profile.roll(1, 1)) & (profile >= profile.roll(-1, 1))
    strongest = profile.argmax(1)
    # from half a period before the strongest peak up to it
    order = (strongest[:, None] - steps // 2 + 1 + torch.arange(steps // 2, device=csi.device)) % steps
    heights = profile.gather(1, order)
    arrived = peak.gather(1, order) & (heights >= ARRIVAL * heights[:, -1:])
    first = strongest + arrived.float().argmax(1) - (steps // 2 - 1)
    return first.double() * (period / steps)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _transforms(beams: int, delays: int, device: torch.device) -> Filters:
    """Of the radio on which the response is a unitary transform: `beams` antennas, `delays` subcarriers."""
    return filters(Radio(ULA(beams, SPACING), OFDM(delays, TONE)), beams, delays, device)


def frequency(response: Tensor) -> Tensor:
    """Response [N, beams, delays] → what as many antennas and subcarriers, half λ and `TONE` apart, would measure."""
    filter_ = _transforms(*response.shape[1:], response.device)
    return filter_.beams[0].mH @ response @ filter_.delays.mH


def respond(csi: Tensor) -> Tensor:
    """The inverse of `frequency`."""
    filter_ = _transforms(*csi.shape[1:], csi.device)
    return filter_.beams[0] @ csi @ filter_.delays


class CellPaths(NamedTuple):
    """P paths of N channels in the grid's cells, which need not be whole.

    Attributes:
        beam: [N, P] cells from direction cosine 0.
        delay: [N, P] cells from delay 0.
        gain: complex64 [N, P], phase at the middle of array and band.
        grid: beams and delays of the grid.
        second: complex64 [N, P] gain to the second polarisation; None: not read.
        up: [N, P] direction cosine upwards; None: not read, paths are taken to run level.
    """

    beam: Tensor
    delay: Tensor
    gain: Tensor
    grid: tuple[int, int]
    second: Tensor | None = None
    up: Tensor | None = None


def write(paths: CellPaths, radio: Radio, seen_by: Radio | None = None) -> Tensor:
    """What a radio measures of paths: complex64 [N, ports, subcarriers].

    Paths are taken to run in front of the array. Of two polarisations, the second is the first's own where it is not
    read.

    Args:
        seen_by: the radio that the paths were read with, to whose middle their phases are referred, and whose element
            pattern and polarisations their gains hold; None: `radio` itself. One of a single polarisation tells of no
            other.
    """
    beams, delays = paths.grid
    array, layout = radio.array, _layout(radio)
    along = (2 / beams * paths.beam).clamp(-1, 1)
    # of a cone about the axis, what is higher than the cone allows is as high as it does; a root has no slope at 0
    rest = (1 - along.square()).clamp_min(1e-9)
    up = (
        torch.zeros_like(along)
        if paths.up is None
        else torch.minimum(torch.maximum(paths.up, -rest.sqrt()), rest.sqrt())
    )
    ahead = (rest - up.square()).clamp_min(1e-9).sqrt() if paths.up is not None else rest.sqrt()
    gains = _gains(paths, array.slants, array.slants if seen_by is None else seen_by.array.slants)
    if seen_by is not None and seen_by != radio:
        moved = _moved(torch.stack([along, ahead, up], -1), paths.delay * (REACH / delays), radio, seen_by)
        gains = [gain * moved for gain in gains]

    def wave(bins: Tensor, count: int, place: NDArray[np.float64]) -> Tensor:
        n = torch.from_numpy(place).to(bins.device, torch.float32)
        phase = -2 * math.pi / count * bins[..., None] * n
        return torch.polar(torch.ones_like(phase), phase)

    steering = wave(paths.beam, beams, layout[:, 0] / SPACING)
    if layout[:, 1].any():
        steering = steering * wave(ahead * (beams / 2), beams, layout[:, 1] / SPACING)
    if paths.up is not None and layout[:, 2].any():
        steering = steering * wave(up * (beams / 2), beams, layout[:, 2] / SPACING)
    steering = torch.cat([steering * gain[..., None] for gain in gains], -1)
    if array.codebook is not None:
        steering = steering @ torch.tensor(array.codebook, dtype=torch.complex64, device=steering.device).mH
    offset = radio.grid.frequencies - radio.grid.frequencies.mean()
    return steering.mT @ wave(paths.delay, delays, offset / TONE)


def _gains(paths: CellPaths, slants: tuple[float, ...], seen: tuple[float, ...]) -> list[Tensor]:
    """Gains [N, P] to elements of some slants, from those to elements of the slants that they were seen by.

    An element takes in cos s of the vertical and sin s of the horizontal field (TR 38.901, eq. 7.3-4).
    """
    read = [paths.gain, paths.gain if paths.second is None else paths.second][: len(seen)]
    if slants == seen:
        return read
    ours, theirs = (torch.tensor([[math.cos(s), math.sin(s)] for s in each]) for each in (slants, seen))
    turned = torch.linalg.solve(theirs.T, ours.T).to(paths.gain)  # a column for each of ours
    return list((torch.stack(read, -1) @ turned).unbind(-1))


def _moved(direction: Tensor, delay: Tensor, radio: Radio, seen_by: Radio) -> Tensor:
    """What the gain of a path of direction [N, P, 3] is multiplied with from one radio to another: complex64 [N, P]."""
    direction = direction.double()
    off = torch.from_numpy(radio.array.centre - seen_by.array.centre).to(direction.device)
    band = radio.carrier + radio.grid.frequencies.mean() - seen_by.carrier - seen_by.grid.frequencies.mean()
    turns = direction @ off + delay.double() * float(band)
    angle = (-2 * math.pi * (turns - turns.round())).to(torch.float32)
    pattern = (radio.array.amplitude(direction) / seen_by.array.amplitude(direction)).to(torch.float32)
    return torch.complex(angle.cos(), angle.sin()) * pattern
