"""A whole channel from a part of it: a comb of pilots, some of the antennas, a narrow band, or the band beside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from uniair.angle_delay import REACH, TYPICAL, CellPaths, arrival
from uniair.complex_arrays import complex_tensor
from uniair.errors import InputError
from uniair.models.crnn import CELL
from uniair.models.universal import UniversalModel
from uniair.radio import SPEED_OF_LIGHT, Antennas, Array, Radio, Subcarriers
from uniair.tasks.path_fit import (
    EARLY,
    Dictionary,
    FittedPaths,
    Measured,
    added,
    channel,
    dictionary,
    fit,
    left_over,
    periods,
)

START = 8  # of CRNN's paths, the strongest
ADDED, ROUNDS = 2, 8  # paths that are looked for in what is left over, and how often
STEPS, LAST = 2, 6  # of the fit before and after each, and at the end
ENTRIES = 1_000_000  # measured entries × paths that are fitted together
# s: how fast power fades behind the first path, and how far a clock that starts there is off (validation places)
SPREAD, CLOCK_ERROR = 8e-8, 1e-8
UNLIKELY = 10.0  # power that may lie anywhere, over what CRNN takes to lie where it believes (validation places)
QUIET = 1e-4  # least noise that a fit takes to be there, over the measured power
GUESS = 0.1  # share of the measured power that is taken for noise at first, where none is known


def complete(model: UniversalModel, csi: Any, radio: Radio | None = None, *, known: Any, snr: Any = None) -> Tensor:
    """The CSI at every port and subcarrier from the entries that are known: complex64 [N, ports, subcarriers].

    The known entries are encoded as what a radio of those antennas and subcarriers measured. CRNN reads paths from the
    code, what is left over gives some more, and all are fitted to what was measured. Amplitude, phase and clock stay
    those of the measurement.

    Args:
        csi: complex [N, ports, subcarriers]; what stands where an entry is not known counts for nothing.
        radio: of the whole channel; None: the weights' own.
        known: bool [ports, subcarriers].
        snr: dB over the mean power of the known entries, one or [N]; None: estimated.

    Raises:
        InputError: see `measured_part`; known entries of fewer than two antennas or subcarriers.
    """
    radio = model.own_or(radio)
    measured = measured_part(csi, radio, known)
    found = [
        channel(_doubted(paths, part, belief), radio)
        for paths, part, belief in fitted_paths(model, measured, torch.as_tensor(known).bool(), snr)
    ]
    if not found:
        return torch.zeros(0, *radio.shape, dtype=torch.complex64)
    return torch.cat(found) * unit(measured.values)[1][:, None, None]


def fitted_paths(
    model: UniversalModel, measured: Measured, known: Tensor, snr: Any, rounds: int = ROUNDS
) -> Iterator[tuple[FittedPaths, Measured, Belief]]:
    """Paths that explain what was measured, some channels at a time: they, the channels, and what CRNN believed.

    Paths and channels are those of `unit` entries, which single precision holds the powers of.

    Args:
        known, snr: as for `complete`.
        rounds: in which more paths are looked for than CRNN reads.

    Raises:
        InputError: see `complete`.
    """
    values, _ = unit(measured.values)
    level = noise_power(values, snr)
    if not len(values):
        return
    paths, belief = read(model, measured, known, values.abs().square().mean(1))
    size = max(ENTRIES // (len(measured.port) * START * len(measured.radio.array.slants)), 1)
    for index in torch.split(torch.arange(len(values)), size):
        part = measured._replace(values=values[index])
        some = FittedPaths._make(value[index] for value in paths)
        fitted = _refined(some, part, None if level is None else level[index], rounds)
        yield fitted, part, Belief._make(value[index] for value in belief)


def unit(values: Tensor) -> tuple[Tensor, Tensor]:
    """Entries [N, ...] brought to a largest modulus near 1, and what each channel's were divided by: [N].

    Single precision holds the amplitudes of channels as weak as 1e-38, but not their powers. What is divided by is a
    power of two, so that nothing is rounded.
    """
    scale = 2.0 ** torch.frexp(values.abs().flatten(1).amax(1)).exponent.double()
    shape = (-1, *[1] * (values.ndim - 1))
    return (values.to(torch.complex128) / scale.view(shape)).to(torch.complex64), scale.float()


@torch.inference_mode()
def _refined(paths: FittedPaths, measured: Measured, noise: Tensor | None, rounds: int) -> FittedPaths:
    grid = dictionary(measured)
    # with less, what one path in a wrong place leaves over is taken for paths that are not there
    quiet = QUIET * measured.values.abs().square().mean(1)
    if noise is not None:
        return _pursued(paths, measured, grid, torch.maximum(noise, quiet), rounds)
    # what a fit leaves over; of the paths themselves, those that made up for others' errors are not kept
    noise = torch.maximum(_pursued(paths, measured, grid, None, rounds).noise, quiet)
    paths = _pursued(paths, measured, grid, noise, rounds)
    # a fit that went astray leaves over what is no noise, and its successor shows by how much
    left = torch.maximum(left_over(paths, measured).abs().square().mean(1), quiet)
    astray = left < noise / 2
    return fit(paths, measured, LAST, torch.where(astray, left, noise)) if astray.any() else paths


def _pursued(
    paths: FittedPaths, measured: Measured, grid: Dictionary, noise: Tensor | None, rounds: int
) -> FittedPaths:
    paths = fit(paths._replace(delay=grid.folded(paths.delay)), measured, STEPS, noise)
    for _ in range(rounds):
        paths = fit(added(paths, measured, grid, ADDED), measured, STEPS, noise)
    return fit(paths, measured, LAST, noise)


class Belief(NamedTuple):
    """Where CRNN takes the power of N channels to lie.

    Attributes:
        share: float32 [N, rows, columns] over direction cosines −1 … 1 and delays 0 … `REACH`.
        late: float64 [N] s that CRNN's clock is ahead of the measurement's.
    """

    share: Tensor
    late: Tensor

    def of(self, along: Tensor, delay: Tensor) -> Tensor:
        """Share of the cells of directions and delays [N, A, P] by the measurement's clock: [N, A, P]."""
        _, rows, columns = self.share.shape
        row = ((along + 1) / 2 * rows).long().clamp(0, rows - 1)
        column = ((delay + self.late[:, None, None]) / REACH * columns).long()
        share = self.share.flatten(1).gather(1, (row * columns + column.clamp(0, columns - 1)).flatten(1))
        inside = (column >= 0) & (column < columns)
        return share.view(row.shape) * inside + UNLIKELY / (rows * columns)


def _doubted(paths: FittedPaths, measured: Measured, belief: Belief) -> FittedPaths:
    """Paths together with those that measure the same, each with as much of the amplitude as is likely.

    Pilots far apart leave a delay open by multiples of a period, antennas far apart a direction. The mean of what may
    be is the estimate of least squared error.
    """
    steps = periods(measured)
    axes = [torch.arange(-(most // step), most // step + 1, dtype=torch.float64) * step
            for most, step in zip((2.0, REACH), steps, strict=True)]  # fmt: skip
    if len(axes[0]) * len(axes[1]) == 1:
        return paths
    side, time = (axis.flatten()[:, None] for axis in torch.meshgrid(*axes, indexing="ij"))
    along, delay = paths.along[:, None] + side, paths.delay[:, None] + time
    exist = (along.square() + paths.up[:, None].square() <= 1) & (delay > -EARLY * REACH) & (delay < REACH)
    weight = belief.of(along, delay) * (exist | ((side == 0) & (time == 0)))
    if measured.radio.clock == "first_path":
        weight = weight * (delay.clamp_max(0) / CLOCK_ERROR - delay.clamp_min(0) / SPREAD).exp().clamp_min(1e-30)
    turn = torch.polar((weight / weight.sum(1, keepdim=True)).double(), _phase(measured, side, time).expand_as(weight))
    gain = (paths.gain[:, :, None] * turn[:, None]).to(torch.complex64).flatten(2)
    sideways, up, late = (part.flatten(1) for part in (along.clamp(-1, 1), paths.up[:, None].expand_as(along), delay))
    return FittedPaths(sideways, up, late, gain, gain.abs().square(), paths.noise)


def _phase(measured: Measured, side: Tensor, time: Tensor) -> Tensor:
    """By how much paths turn at the measured entries, of which one stands for all, for that much aside and later."""
    radio = measured.radio
    layout = radio.array.layout
    place = float((layout - radio.array.centre)[int(measured.port[0]) % len(layout), 0])
    tone = float(radio.grid.frequencies[int(measured.tone[0])] - radio.grid.frequencies.mean())
    return 2 * math.pi * (side * place + time * tone)


def measured_part(csi: Any, radio: Radio, known: Any) -> Measured:
    """The known entries of CSI.

    Raises:
        InputError: a mask of another shape or without a known entry, CSI of another shape, NaN or a channel all zero in
            its known entries.
    """
    given = complex_tensor(csi, "CSI").cpu()
    try:
        mask = torch.as_tensor(np.asarray(known))
    except (TypeError, ValueError) as error:
        raise InputError(f"known is no mask; give bool {list(radio.shape)}: which entries are measured") from error
    if tuple(mask.shape) != radio.shape or mask.dtype != torch.bool:
        raise InputError(f"known has shape {tuple(mask.shape)} of {mask.dtype}, expected bool {list(radio.shape)}: "
                         "which ports and subcarriers are measured")  # fmt: skip
    if not mask.any():
        raise InputError("known holds no known entry: a channel can't be completed from nothing")
    if given.ndim != 3 or tuple(given.shape[1:]) != radio.shape:
        raise InputError(f"CSI has shape {tuple(given.shape)}, expected [N, {radio.shape[0]}, {radio.shape[1]}] of "
                         f"this radio: {radio}")  # fmt: skip
    port, tone = mask.nonzero().unbind(1)
    values = given[:, port, tone]
    if not torch.isfinite(torch.view_as_real(values)).all():
        raise InputError("CSI holds NaN or infinite values among its known entries; leave those samples out")
    if (values.abs().amax(1) == 0).any():
        raise InputError("a CSI is all zero in its known entries; leave out links without a channel")
    return Measured(values.to(torch.complex64), port, tone, radio)


def noise_power(values: Tensor, snr: Any) -> Tensor | None:
    """Power of the noise on each of measured entries [N, ...]: float32 [N]; None where it is not known.

    Raises:
        InputError: SNR that is NaN, or of another shape than one or [N].
    """
    if snr is None:
        return None
    try:
        ratio = torch.as_tensor(np.asarray(snr, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError("snr is not a number, or [N] of them, in dB") from error
    if ratio.shape not in ((), values.shape[:1]) or torch.isnan(ratio).any():
        raise InputError(f"snr has shape {tuple(ratio.shape)} or NaN, expected one number in dB or [N]")
    power = values.abs().square().flatten(1).mean(1).double()
    return (power / (1 + 10 ** (ratio / 10))).float()


def read(model: UniversalModel, measured: Measured, known: Tensor, power: Tensor) -> tuple[FittedPaths, Belief]:
    """CRNN's strongest paths of what is known, in the clock of the measurement; amplitudes are still to be fitted.

    Args:
        measured: of their own amplitude, which calibrated radios tell something by.
        power: [N] mean of an entry in the unit of the fit.

    Raises:
        InputError: too few antennas or subcarriers are known for a radio.
    """
    part = part_of(measured.radio, known)
    csi = measured.filled(measured.values)[:, known.any(1)][:, :, known.any(0)]
    checked, gain = model.check_csi(csi, part), measured.values.to(torch.complex128).abs().square().mean(1)
    model.warn(part, gain)
    code = model.encode_checked(checked, part, gain)
    with torch.inference_mode():
        paths, where = model.crnn.paths(code), model.crnn(code, part)[1]
    late = torch.zeros(len(csi), dtype=torch.float64)
    if part.clock == "first_path":
        late = TYPICAL / SPEED_OF_LIGHT - arrival(checked, part).cpu()
    cells = (paths.grid[0] // CELL, paths.grid[1] // CELL)
    share = (
        torch.full((len(csi), *cells), 1 / math.prod(cells)) if where is None else where.cpu().exp().view(-1, *cells)
    )
    return _started(paths, power, late, len(part.array.slants)), Belief(share, late)


def _started(paths: CellPaths, power: Tensor, late: Tensor, count: int) -> FittedPaths:
    """Paths of which each of `count` polarisations is expected to have its share of a power [N]."""
    size = paths.gain.abs().square() + (0 if paths.second is None else paths.second.abs().square())
    best = size.topk(min(START, size.shape[1]), 1).indices
    share, beam, delay = ((part / whole).gather(1, best).cpu() for part, whole in (
        (size, size.sum(1, keepdim=True)), (paths.beam, paths.grid[0] / 2), (paths.delay, paths.grid[1] / REACH)
    ))  # fmt: skip
    along = beam.double().clamp(-1, 1)
    up = torch.zeros_like(along) if paths.up is None else paths.up.gather(1, best).cpu().double()
    high = (1 - along.square()).clamp_min(0).sqrt()
    return FittedPaths(
        along, torch.clamp(up, -high, high), delay.double() - late[:, None],
        gain=torch.zeros(len(along), count, best.shape[1], dtype=torch.complex64),
        power=(share.clamp_min(1e-6) * power[:, None])[:, None].expand(-1, count, -1),
        noise=GUESS * power,
    )  # fmt: skip


def part_of(radio: Radio, known: Tensor) -> Radio:
    """The radio of the ports and subcarriers of which any entry is known; entries between them may be missing."""
    frequencies = radio.grid.frequencies[known.any(0).numpy()]
    return replace(radio, array=_array_of(radio.array, known.any(1)), grid=Subcarriers(frequencies))


def _array_of(array: Antennas, ports: Tensor) -> Antennas:
    if ports.all():
        return array
    trimmings = {"pattern": array.pattern, "polarisation": array.polarisation}
    if array.codebook is None:
        by_polarisation = ports.view(len(array.slants), -1)
        if (by_polarisation == by_polarisation[0]).all():
            return Array(array.layout[by_polarisation[0].numpy()], **trimmings)
    every = np.eye(len(ports)) if array.codebook is None else np.asarray(array.codebook)
    return Array(array.layout, codebook=every[ports.numpy()], **trimmings)
