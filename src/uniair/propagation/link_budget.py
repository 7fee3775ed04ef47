"""What a channel loses beyond free space, from its CSI alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.propagation.paths import SPEED_OF_LIGHT
from uniair.radio import OFDM

OVERSAMPLING = 8  # of delays and beams, for the peaks
FREQUENCY = 28e9  # Hz, of the carrier that the packaged model knows
FIRST_PATH = 10 ** (-12 / 10)  # a path counts from this share of the strongest delay's power on


def first_path(csi: Tensor, ofdm: OFDM = OFDM()) -> tuple[Tensor, Tensor]:
    """Delay, s, and sine along the array of the first path that stands out: float64 [N] both.

    The first local maximum over delay whose power is at least `FIRST_PATH` of the strongest; the strongest beam there.

    Args:
        csi: complex [N, antennas, subcarriers], element 0 at the BS, half a wavelength apart.
    """
    by_delay = torch.fft.ifft(csi, n=csi.shape[2] * OVERSAMPLING, dim=2)
    # all beams together have the power of all antennas together (Parseval), so that beams wait for the delay
    profile = by_delay.abs().square().sum(1)
    around = torch.stack([profile.roll(1, 1), profile, profile.roll(-1, 1)])
    peak = (around[1] >= around[0]) & (around[1] >= around[2])
    strong = peak & (profile >= FIRST_PATH * profile.amax(1, keepdim=True))
    delay = strong.float().argmax(1)
    then = by_delay[torch.arange(len(csi), device=csi.device), :, delay]
    beams = csi.shape[1] * OVERSAMPLING
    sine = 2 * torch.fft.ifft(then, n=beams, dim=1).abs().argmax(1).double() / beams
    return delay.double() / (ofdm.bandwidth * OVERSAMPLING), torch.where(sine > 1, sine - 2, sine)


def excess_loss(csi: Any, distance: Any = None, frequency: float = FREQUENCY, ofdm: OFDM = OFDM()) -> Tensor:
    """How much weaker a channel is than free space over the same distance, 20 log10(λ / 4πd) less its gain: [N] dB.

    About 0 in line of sight, a little below with reflections beside it; tens of dB where the line is blocked.

    Args:
        csi: complex [N, antennas, subcarriers], NumPy or torch, amplitudes as gains: received over transmitted,
            isotropic antennas.
        distance: [N] m from BS to UE; None: that of the first path's delay, which counts from the sender.
        frequency: of the carrier, Hz.

    Raises:
        InputError: CSI that are not complex [N, antennas, subcarriers], a channel that is all zero or not finite,
            distances of another shape or not above 0.
    """
    csi = csi if isinstance(csi, Tensor) else torch.as_tensor(np.ascontiguousarray(csi))  # [:, ::-1] is fine too
    if not csi.is_complex() or csi.ndim != 3:
        raise InputError(
            f"excess loss: CSI of type {csi.dtype} and shape {tuple(csi.shape)}, expected complex "
            "[N, antennas, subcarriers]"
        )
    gain = csi.abs().double().square().mean((1, 2))
    if not (torch.isfinite(gain) & (gain > 0)).all():
        raise InputError("excess loss: a CSI is all zero, or NaN or infinite; leave out links without a channel")
    if distance is None:
        # the first path is looked for on a fine grid, which is large
        delay = torch.cat([first_path(part, ofdm)[0] for part in torch.split(csi, 512)])
        distance = (delay * SPEED_OF_LIGHT).clamp_min(1.0)
    distance = torch.as_tensor(distance).to(gain)
    if distance.shape != gain.shape or not (torch.isfinite(distance) & (distance > 0)).all():
        raise InputError(
            f"excess loss: distances have shape {tuple(distance.shape)}, expected [{len(csi)}] finite, above 0 m"
        )
    free_space = SPEED_OF_LIGHT / (4 * math.pi * frequency * distance)
    return 20 * torch.log10(free_space) - 10 * torch.log10(gain)
