"""What a channel loses beyond free space, from its CSI alone."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from uniair.angle_delay import TONE, filters
from uniair.complex_arrays import complex_tensor, strongest
from uniair.errors import InputError
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, Radio

OVERSAMPLING = 8  # of delays and beams, for the peaks
LEAST_BAND = 10e6  # Hz
FIRST_PATH = 10 ** (-12 / 10)  # a path counts from this share of the strongest delay's power on


def first_path(csi: Tensor, radio: Radio = Radio()) -> tuple[Tensor, Tensor]:
    """Delay, s, and direction cosine along the array of the first path that stands out: float64 [N] both.

    The first local maximum over delay whose power is at least `FIRST_PATH` of the strongest; the strongest beam there.

    Args:
        csi: complex [N, ports, subcarriers], element 0 at the BS.
    """
    delay, then = _first_delay(csi, radio)
    return delay, _strongest_direction(then, radio)


def tells_length(radio: Radio) -> bool:
    """Whether a first path's delay tells its length: an absolute clock, 10 MHz of band, and no delay twice in reach."""
    grid = radio.grid
    return (
        radio.clock == "absolute" and isinstance(grid, OFDM)
        and grid.bandwidth >= LEAST_BAND and grid.spacing <= TONE * (1 + 1e-9)
    )  # fmt: skip


def _first_delay(csi: Tensor, radio: Radio) -> tuple[Tensor, Tensor]:
    """Delay of the first path that stands out, float64 [N] s, and what every port took in then, [N, ports]."""
    by_delay, period = _by_delay(csi, radio)
    # all beams together have the power of all antennas together (Parseval), so that beams wait for the delay
    profile = by_delay.abs().square().sum(1)
    around = torch.stack([profile.roll(1, 1), profile, profile.roll(-1, 1)])
    peak = (around[1] >= around[0]) & (around[1] >= around[2])
    strong = peak & (profile >= FIRST_PATH * profile.amax(1, keepdim=True))
    delay = strong.float().argmax(1)
    then = by_delay[torch.arange(len(csi), device=csi.device), :, delay]
    return delay.double() * (period / profile.shape[1]), then


def _by_delay(csi: Tensor, radio: Radio) -> tuple[Tensor, float]:
    """CSI over `OVERSAMPLING` times as many delays as subcarriers: [N, ports, delays], and the s that they span."""
    grid, steps = radio.grid, radio.grid.subcarriers * OVERSAMPLING
    if isinstance(grid, OFDM):
        return torch.fft.ifft(csi, n=steps, dim=2), 1 / grid.spacing
    period = grid.subcarriers / grid.bandwidth
    turns = torch.from_numpy(grid.frequencies)[:, None] * torch.arange(steps, dtype=torch.float64) * (period / steps)
    wave = torch.polar(torch.full_like(turns, 1 / steps), 2 * math.pi * turns)
    return csi @ wave.to(csi.device, csi.dtype), period


def _strongest_direction(then: Tensor, radio: Radio) -> Tensor:
    """Direction cosine along the array of the strongest plane wave in snapshots [N, ports]: float64 [N]."""
    array = radio.array
    if array == ULA(array.ports):
        beams = array.ports * OVERSAMPLING
        cosine = 2 * torch.fft.ifft(then, n=beams, dim=1).abs().argmax(1).double() / beams
        return torch.where(cosine > 1, cosine - 2, cosine)
    beams = 64 * OVERSAMPLING
    filter_ = filters(radio, beams, 2, then.device).beams
    taken = (filter_.to(then.dtype) @ then.mT).abs().amax(0)  # [beams, N], the best elevation
    return (taken.argmax(0).double() - beams // 2) / (beams // 2)


def excess_loss(csi: Any, distance: Any = None, radio: Radio = Radio()) -> Tensor:
    """How much weaker a channel is than free space over the same distance, 20 log10(λ / 4πd) less its gain: [N] dB.

    About 0 in line of sight, a little below with reflections beside it; tens of dB where the line is blocked.

    Args:
        csi: complex [N, ports, subcarriers], NumPy or torch, or [N, UE antennas, ports, subcarriers], of which the
            strongest counts; amplitudes as gains: received over transmitted, isotropic antennas.
        distance: [N] m from BS to UE; None: that of the first path's delay, which counts from the sender.
        radio: that measured them.

    Raises:
        InputError: CSI that are not complex [N, ports, subcarriers], a channel that is all zero or not finite,
            distances of another shape or not above 0, or none where the radio's delays tell no length; elements that
            are not isotropic or not measured one by one, whose gain towards the user is not known.
    """
    csi = complex_tensor(csi, "excess loss: CSI")
    if csi.ndim not in (3, 4) or tuple(csi.shape[-2:]) != radio.shape:
        raise InputError(
            f"excess loss: CSI has shape {tuple(csi.shape)}, expected [N, antennas, subcarriers] of this radio: {radio}"
        )
    if not radio.isotropic:
        raise InputError(f"excess loss: needs isotropic elements, measured one by one, and this is {radio.array}")
    csi = strongest(csi)
    gain = csi.abs().double().square().mean((1, 2))
    if not (torch.isfinite(gain) & (gain > 0)).all():
        raise InputError("excess loss: a CSI is all zero, or NaN or infinite; leave out links without a channel")
    if distance is None:
        if not tells_length(radio):
            why = "the clock starts at the first path" if radio.clock == "first_path" else f"of the grid, {radio.grid}"
            raise InputError(f"excess loss: the first path's length is not known ({why}); give distances")
        # the first path is looked for on a fine grid, which is large
        delay = torch.cat([_first_delay(part, radio)[0] for part in torch.split(csi, 512)])
        distance = (delay * SPEED_OF_LIGHT).clamp_min(1.0)
    try:
        distance = torch.as_tensor(distance).to(gain)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("excess loss: distances are not numbers, [N] m") from error
    if distance.shape != gain.shape or not (torch.isfinite(distance) & (distance > 0)).all():
        raise InputError(
            f"excess loss: distances have shape {tuple(distance.shape)}, expected [{len(csi)}] finite, above 0 m"
        )
    free_space = SPEED_OF_LIGHT / (4 * math.pi * radio.carrier * distance)
    return 20 * torch.log10(free_space) - 10 * torch.log10(gain)
