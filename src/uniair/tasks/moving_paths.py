"""Paths fitted to snapshots of a channel whose UE moves: beside amplitude, direction and delay, a Doppler shift.

As `path_fit`, for whole channels at several times: a path is a product of what ports, subcarriers and times take in, so
that all products of paths are products of small matrices.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from uniair.radio import Radio
from uniair.tasks.path_fit import (
    LEAST,
    STRIDE,
    Dictionary,
    Measured,
    cells,
    dictionary,
    wave_of,
    wave_slopes,
    weighed,
)

ADDED, ROUNDS = 2, 12  # paths that are looked for in what is left over, and how often (chosen on validation places)
STEPS, LAST = 2, 6  # of the fit before and after each, and at the end
OVERSAMPLING = 2  # of the grid of shifts


class Snapshots(NamedTuple):
    """N channels at T times.

    Attributes:
        values: complex64 [N, T, ports, subcarriers].
        time: float64 [T] s, rising.
        radio: that measured them.
    """

    values: Tensor
    time: Tensor
    radio: Radio


class MovingPaths(NamedTuple):
    """P paths of N channels, of every polarisation of the array its own amplitude.

    Attributes:
        along, up, delay: as of `FittedPaths`.
        shift: float64 [N, P] Doppler at time 0, Hz.
        rate: float64 [N, P] by which it changes, Hz/s: a path's direction turns while its UE passes by.
        gain: complex64 [N, polarisations, P] at time 0, phase at the middle of array and band.
        power: float32 [N, polarisations, P] that each gain is expected to have.
        noise: float32 [N] power of the noise on an entry.
    """

    along: Tensor
    up: Tensor
    delay: Tensor
    shift: Tensor
    rate: Tensor
    gain: Tensor
    power: Tensor
    noise: Tensor


class _Product(NamedTuple):
    """Rows [N, C, ports], [N, C, subcarriers] and [N, C, T] whose products are C columns of a measurement."""

    port: Tensor
    tone: Tensor
    time: Tensor

    def with_(self, other: _Product) -> Tensor:
        """Inner products with other columns: complex128 [N, C, C']."""
        parts = (mine.conj() @ theirs.mT for mine, theirs in zip(self, other, strict=True))
        found = torch.ones((), dtype=torch.complex128)
        for part in parts:
            found = found * part.to(torch.complex128)
        return found

    def of(self, values: Tensor) -> Tensor:
        """Inner products with measurements [N, T, ports, subcarriers]: complex128 [N, C]."""
        by_tone = values.flatten(1, 2) @ self.tone.mH  # [N, T · ports, C]
        by_port = (by_tone.view(*values.shape[:3], -1) * self.port.conj().mT[:, None]).sum(2)
        return (by_port * self.time.conj().mT).sum(1).to(torch.complex128)

    def sum(self, weight: Tensor) -> Tensor:
        """Columns weighted [N, C] and added up: complex64 [N, T, ports, subcarriers]."""
        rows = (weight[..., None] * self.time).mT[:, :, None] * self.port.mT[:, None]  # [N, T, ports, C]
        return rows @ self.tone[:, None]


def turning(shift: Tensor, rate: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What times take in from Doppler shifts and their rates [N, P], and its slopes by both: [N, P, T] each."""
    turns = shift[..., None] * time + rate[..., None] * time.square() / 2
    wave = torch.polar(torch.ones_like(turns), 2 * math.pi * (turns - turns.round())).to(torch.complex64)
    slope = 2j * math.pi * time.to(torch.float32)
    return wave, wave * slope, wave * (slope * time.to(torch.float32) / 2)


def _columns(paths: MovingPaths, time: Tensor, radio: Radio) -> _Product:
    """What each gain adds: polarisations · P columns."""
    wave = wave_of(paths.along, paths.up, paths.delay, radio)
    count = wave.ports.shape[1]
    turn = turning(paths.shift, paths.rate, time)[0]
    return _Product(wave.ports.flatten(1, 2), wave.tones.repeat(1, count, 1), turn.repeat(1, count, 1))


def _slopes(paths: MovingPaths, measured: Snapshots, sizes: tuple[float, ...]) -> _Product:
    """What a cell further along, later, in shift, its rate and, where the radio tells, upwards adds: 4 P or 5 P."""
    along, up, late, fast, faster = sizes
    place = (paths.along, paths.up, paths.delay)
    wave = wave_of(*place, measured.radio)
    across, upwards, later = wave_slopes(*place, paths.gain, measured.radio, wave)
    ports = (paths.gain[..., None] * wave.ports).sum(1)
    turn, by_shift, by_rate = turning(paths.shift, paths.rate, measured.time)
    parts = [
        (along * across, wave.tones, turn), (ports, late * later, turn),
        (ports, wave.tones, fast * by_shift), (ports, wave.tones, faster * by_rate),
    ]  # fmt: skip
    if upwards is not None:
        parts.append((up * upwards, wave.tones, turn))
    return _Product(*(torch.cat(rows, 1) for rows in zip(*parts, strict=True)))


def channel_at(paths: MovingPaths, radio: Radio, time: Tensor) -> Tensor:
    """What the radio measures at times [T], s: complex64 [N, T, ports, subcarriers]."""
    return _columns(paths, time, radio).sum(paths.gain.flatten(1))


def pursued(paths: MovingPaths, measured: Snapshots, noise: Tensor | None, rounds: int = ROUNDS) -> MovingPaths:
    """Paths that explain the snapshots: those given, moved, and the strongest of what they leave over.

    Args:
        paths: to begin with, or none; their shifts are found anew.
        noise: [N] power of the noise on an entry; None: estimated.
        rounds: in which `ADDED` more are looked for.
    """
    grid = dictionary_of(measured)
    paths = _with_shifts(paths, measured)
    for number in range(rounds + 1):
        if number:
            paths = added(paths, measured, grid, ADDED)
        if paths.along.shape[1]:
            paths = fit(paths, measured, LAST if number == rounds else STEPS, noise)
    return paths


def fit(paths: MovingPaths, measured: Snapshots, steps: int, noise: Tensor | None) -> MovingPaths:
    """As `path_fit.fit`."""
    if noise is not None:
        paths = paths._replace(noise=noise)
    for step in range(steps + 1):
        paths = _step(paths, measured, noise, move=step < steps)
    size = paths.gain.abs().square().sum(1)
    count = max(int((size > 0).sum(1).max()), 1)
    order = size.argsort(1, descending=True)[:, :count]
    every = order[:, None].expand(-1, paths.gain.shape[1], -1)
    by_path = [value.gather(1, order) for value in paths[:5]]
    by_gain = [value.gather(2, every) for value in paths[5:7]]
    return MovingPaths._make([*by_path, *by_gain, paths.noise])


def _step(paths: MovingPaths, measured: Snapshots, noise: Tensor | None, move: bool) -> MovingPaths:
    y = measured.values
    entries = y[0].numel()
    columns = _columns(paths, measured.time, measured.radio)
    sigma = paths.noise.double()[:, None]
    floor = LEAST * y.abs().square().flatten(1).mean(1, keepdim=True).double()
    found = weighed(columns.with_(columns), columns.of(y), paths.power.flatten(1).double(), sigma, floor)
    rest = y - columns.sum(found.mean.to(y.dtype))
    left = rest.abs().square().flatten(1).sum(1).double()
    left = left / (entries - 2 * found.told.sum(1)).clamp_min(0.1 * entries)
    paths = paths._replace(
        gain=found.gain.to(torch.complex64).view_as(paths.gain),
        power=found.power.float().view_as(paths.power),
        noise=(left if noise is None else noise.double()).clamp_min(floor[:, 0]).float(),
    )
    return _moved(paths, measured, columns, rest, found.spread) if move else paths


def _moved(paths: MovingPaths, measured: Snapshots, columns: _Product, rest: Tensor, spread: Tensor) -> MovingPaths:
    """A Gauss-Newton step of directions, delays and shifts, amplitudes eliminated."""
    lasts = float(measured.time[-1] - measured.time[0])
    sizes = (*cells(measured.radio), 1 / lasts, 1 / lasts**2)
    slopes, sigma = _slopes(paths, measured, sizes), paths.noise.double()[:, None, None]
    both = columns.with_(slopes)
    curve = slopes.with_(slopes) - both.mH @ spread @ both / sigma
    pull = slopes.of(rest).real[..., None] / sigma
    stiff = torch.eye(curve.shape[-1], dtype=torch.float64) / STRIDE**2
    step = torch.linalg.solve(curve.real / sigma + stiff, pull)[..., 0].clamp(-0.5, 0.5)
    moves = step.view(len(step), -1, paths.delay.shape[1])
    along = (paths.along + sizes[0] * moves[:, 0]).clamp(-1, 1)
    up = paths.up + sizes[1] * moves[:, 4] if moves.shape[1] > 4 else paths.up
    high = (1 - along.square()).clamp_min(0).sqrt()
    return paths._replace(
        along=along, up=torch.clamp(up, -high, high), delay=paths.delay + sizes[2] * moves[:, 1],
        shift=paths.shift + sizes[3] * moves[:, 2], rate=paths.rate + sizes[4] * moves[:, 3],
    )  # fmt: skip


def dictionary_of(measured: Snapshots) -> Dictionary:
    """Directions and delays that new paths are looked for at."""
    ports, subcarriers = measured.radio.shape
    port, tone = torch.meshgrid(torch.arange(ports), torch.arange(subcarriers), indexing="ij")
    return dictionary(Measured(measured.values[:, -1].flatten(1), port.flatten(), tone.flatten(), measured.radio))


def _shifts(time: Tensor) -> Tensor:
    """Doppler shifts that regular times tell apart, oversampled: float64 [S] Hz."""
    step = float(time.diff().min())
    count = OVERSAMPLING * (round(float(time[-1] - time[0]) / step) + 1)
    return (torch.arange(count, dtype=torch.float64) - count // 2) / (count * step)


def _waves(shifts: Tensor, time: Tensor) -> Tensor:
    """What times take in from steady shifts: complex64 [S, T]."""
    return turning(shifts[None], torch.zeros_like(shifts)[None], time)[0][0]


def _with_shifts(paths: MovingPaths, measured: Snapshots) -> MovingPaths:
    """Paths with the shift at which each takes in most by itself."""
    shifts = _shifts(measured.time)
    waves = _waves(shifts, measured.time)  # [S, T]
    columns = _columns(
        paths._replace(shift=torch.zeros_like(paths.along), rate=torch.zeros_like(paths.along)),
        measured.time,
        measured.radio,
    )
    by_tone = measured.values.flatten(1, 2) @ columns.tone.mH
    series = (by_tone.view(*measured.values.shape[:3], -1) * columns.port.conj().mT[:, None]).sum(2)  # [N, T, C]
    taken = (waves.conj() @ series).abs().square()
    taken = taken.view(*taken.shape[:2], *paths.gain.shape[1:]).sum(2)  # [N, S, P]
    return paths._replace(shift=shifts[taken.argmax(1)], rate=torch.zeros_like(paths.along))


def added(paths: MovingPaths, measured: Snapshots, grid: Dictionary, count: int) -> MovingPaths:
    """Paths and the strongest of what they leave over, found one after the other; no more noise than is left."""
    radio, time = measured.radio, measured.time
    rest = measured.values - channel_at(paths, radio, time)
    shifts = _shifts(time)
    waves = _waves(shifts, time)
    nothing = rest.new_zeros(len(rest), paths.gain.shape[1], 1)
    for _ in range(count):
        taken = grid.taken(rest.flatten(0, 1))
        taken = taken.view(*rest.shape[:2], *taken.shape[1:])  # [N, T, polarisations, G, D]
        shape = taken.shape[2:]
        power = (waves.conj() @ taken.flatten(2)).abs().square()
        power = power.view(*power.shape[:2], *shape).sum(2)  # [N, S, G, D]
        best = power.flatten(1).argmax(1)
        fast, direction, late = (
            best // (shape[1] * shape[2]), best // shape[2] % shape[1], best % shape[2]
        )  # fmt: skip
        new = MovingPaths(
            grid.along[direction, None], grid.up[direction, None], grid.delay[late, None], shifts[fast, None],
            torch.zeros_like(shifts[fast, None]), nothing, nothing.abs(), paths.noise,
        )  # fmt: skip
        column = _columns(new, time, radio)
        gain = column.of(rest) / column.with_(column).diagonal(dim1=1, dim2=2).real
        rest = rest - column.sum(gain.to(rest.dtype))
        power = gain.abs().square()[..., None].float() + paths.noise[:, None, None]
        new = new._replace(gain=gain[..., None].to(torch.complex64), power=power)
        paths = MovingPaths._make(
            [*(torch.cat(pair, -1) for pair in zip(paths[:7], new[:7], strict=True)), paths.noise]
        )
    return paths._replace(noise=torch.minimum(paths.noise, rest.abs().square().flatten(1).mean(1)))
