"""The channel a moment ahead, from snapshots of it: paths that turn by Doppler shifts, begun from what CRNN reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.complex_arrays import complex_tensor
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.completion import GUESS, QUIET, measured_part, noise_power, read, unit
from uniair.tasks.moving_paths import ROUNDS, MovingPaths, Snapshots, channel_at, pursued

LEAST_TIMES = 3
UNEVEN = 1e-3  # of a step
ENTRIES = 500_000  # entries of snapshots that are fitted together


def forecast_csi(
    model: UniversalModel | None,
    csi: Any,
    radio: Radio | None = None,
    *,
    time: Any,
    ahead: Any,
    snr: Any = None,
    rounds: int = ROUNDS,
) -> Tensor:
    """The CSI at times to come: complex64 [N, H, ports, subcarriers].

    Args:
        model: whose CRNN reads the paths that the fit begins from; None: it begins from none.
        csi: complex [N, T, ports, subcarriers], amplitude and phase comparable from snapshot to snapshot.
        radio: that measured it; None: the weights' own.
        time: [T] s, rising, in even steps.
        ahead: [H] s, by the same clock; Doppler shifts of more than half a turn a step are told only where `ahead` is a
            whole number of steps after the last.
        snr: dB, one or [N]; None: estimated.
        rounds: in which the fit looks for paths beside those that it begins from.

    Raises:
        InputError: shapes or times that do not fit, NaN, a channel that is all zero; neither model nor radio; rounds
            that find no path.
    """
    if model is not None:
        radio = model.own_or(radio)
    elif radio is None:
        raise InputError("neither a model nor a radio; say which radio measured the CSI")
    if rounds < (model is None):
        raise InputError(f"{rounds} rounds: give 0 or more, and without a model 1 at least")
    measured = snapshots(csi, radio, time)
    to_come = _times(ahead, "ahead").reshape(-1)
    if not torch.isfinite(to_come).all():
        raise InputError("ahead holds NaN or infinite values; give times in s")
    if not len(measured.values):
        return torch.zeros(0, len(to_come), *radio.shape, dtype=torch.complex64)
    now = measured.time[-1]
    values, scale = unit(measured.values)
    level = noise_power(values, snr)
    size = max(ENTRIES // measured.values[0].numel(), 1)
    found = []
    for index in torch.split(torch.arange(len(measured.values)), size):
        part = Snapshots(values[index], measured.time - now, radio)
        paths = fitted(model, part, scale[index], None if level is None else level[index], rounds)
        found.append(channel_at(paths, radio, to_come - now))
    return torch.cat(found) * scale[:, None, None, None]


@torch.inference_mode()
def fitted(
    model: UniversalModel | None, measured: Snapshots, scale: Tensor, noise: Tensor | None, rounds: int = ROUNDS
) -> MovingPaths:
    """Paths of snapshots.

    Args:
        model: see `forecast_csi`.
        scale: [N] that the snapshots were divided by.
        noise: [N] power of the noise on an entry; None: estimated.
        rounds: see `forecast_csi`.
    """
    begun = _none(measured) if model is None else _read(model, measured, scale)
    if noise is None:
        noise = pursued(begun, measured, None, rounds).noise
    power = measured.values.abs().square().flatten(1).mean(1)
    return pursued(begun, measured, torch.maximum(noise, QUIET * power), rounds)


def _read(model: UniversalModel, measured: Snapshots, scale: Tensor) -> MovingPaths:
    """What CRNN reads off the last snapshot."""
    known, last = torch.ones(measured.radio.shape, dtype=torch.bool), measured.values[:, -1]
    own = measured_part(last * scale[:, None, None], measured.radio, known)
    start, _ = read(model, own, known, last.abs().square().mean((1, 2)))
    still = torch.zeros_like(start.along)
    return MovingPaths(start.along, start.up, start.delay, still, still, start.gain, start.power, start.noise)


def _none(measured: Snapshots) -> MovingPaths:
    """No path at all."""
    power = measured.values.abs().square().flatten(1).mean(1)
    place = torch.zeros(len(power), 0, dtype=torch.float64)
    gain = torch.zeros(len(power), len(measured.radio.array.slants), 0, dtype=torch.complex64)
    return MovingPaths(place, place, place, place, place, gain, gain.abs(), GUESS * power)


def snapshots(csi: Any, radio: Radio, time: Any) -> Snapshots:
    """CSI at several times, checked.

    Raises:
        InputError: see `forecast_csi`.
    """
    given, at = complex_tensor(csi, "CSI").to(torch.complex64), _times(time, "time")
    if given.ndim != 4 or tuple(given.shape[2:]) != radio.shape:
        raise InputError(f"CSI has shape {tuple(given.shape)}, expected [N, T, {radio.shape[0]}, {radio.shape[1]}] of "
                         f"this radio: {radio}")  # fmt: skip
    if at.shape != given.shape[1:2] or len(at) < LEAST_TIMES or not torch.isfinite(at).all():
        raise InputError(f"time has shape {tuple(at.shape)} for CSI of {given.shape[1]} times; give one number a "
                         f"snapshot, s, of at least {LEAST_TIMES}")  # fmt: skip
    steps = at.diff()
    if (steps <= 0).any() or float(steps.max() - steps.min()) > UNEVEN * float(steps.mean()):
        raise InputError("time does not rise in even steps; leave odd snapshots out, or give them in order")
    if not torch.isfinite(torch.view_as_real(given)).all():
        raise InputError("CSI holds NaN or infinite values; leave those links out")
    if (given.abs().amax((1, 2, 3)) == 0).any() or (given[:, -1].abs().amax((1, 2)) == 0).any():
        raise InputError("a CSI is all zero; leave out links without a channel")
    return Snapshots(given, at, radio)


def _times(given: Any, name: str) -> Tensor:
    """float64, s."""
    try:
        return torch.from_numpy(np.array(given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not an array of numbers; give times in s") from error
