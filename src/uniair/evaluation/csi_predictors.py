"""Predictors of a channel to come, tap by tap in angle and delay: persistence, autoregression, Kalman's filter.

A tap is an entry of the channel's unitary Fourier transform over ports and subcarriers; each is predicted by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.models.baselines import TapGRU
from uniair.radio import Radio
from uniair.tasks.completion import noise_power
from uniair.tasks.csi_forecast import snapshots
from uniair.tasks.moving_paths import Snapshots

ORDER = 4  # of the autoregression
CHUNK = 16_384  # taps that a network predicts together


def persistence(csi: Any, radio: Radio, *, time: Any, ahead: Any) -> Tensor:
    """The last snapshot at every time to come: complex64 [N, H, ports, subcarriers]; arguments as of `forecast_csi`."""
    measured = snapshots(csi, radio, time)
    return measured.values[:, -1:].expand(-1, len(_steps(measured, ahead)), -1, -1).clone()


def autoregression(csi: Any, radio: Radio, *, time: Any, ahead: Any, snr: Any, order: int = ORDER) -> Tensor:
    """A linear predictor a tap, fitted to its own past, run on from step to step.

    Args:
        csi, radio, time: as of `forecast_csi`.
        ahead: [H] s, whole steps after the last.
        snr: dB, one or [N]; has to be known.
        order: of the predictor.

    Raises:
        InputError: see `forecast_csi`; `ahead` between steps.
    """
    measured = snapshots(csi, radio, time)
    steps = _steps(measured, ahead)
    taps, noise = _taps(measured, snr)
    weight, _ = _fitted(taps, noise, order)
    return _run_on(taps[..., -order:].flip(-1), weight, steps, radio)


def kalman(csi: Any, radio: Radio, *, time: Any, ahead: Any, snr: Any, order: int = ORDER) -> Tensor:
    """Kalman's filter a tap, whose state follows its autoregression, and its prediction; see `autoregression`."""
    measured = snapshots(csi, radio, time)
    steps = _steps(measured, ahead)
    taps, noise = _taps(measured, snr)
    weight, driving = _fitted(taps, noise, order)
    carry = _carry(weight)
    level = noise[:, None, None].double()
    power = (taps.abs().square().mean(-1).double() - level).clamp_min(1e-9)
    state = torch.zeros_like(weight)
    spread = power[..., None, None] * torch.eye(order, dtype=weight.dtype)
    for now in taps.unbind(-1):
        state = (carry @ state[..., None])[..., 0]
        spread = carry @ spread @ carry.mH
        spread[..., 0, 0] += driving
        gain = spread[..., :, 0] / (spread[..., 0, 0].real + level)[..., None]
        state = state + gain * (now - state[..., 0])[..., None]
        spread = spread - gain[..., :, None] * spread[..., :1, :]
    return _run_on(state, weight, steps, radio)


@torch.inference_mode()
def predicted_by(network: TapGRU, csi: Any, radio: Radio, *, time: Any, ahead: Any, snr: Any) -> Tensor:
    """What a network that learned taps predicts, at the times that it learned; see `autoregression`."""
    measured = snapshots(csi, radio, time)
    if len(_steps(measured, ahead)) != network.future:
        raise InputError(f"ahead holds {np.size(ahead)} times for a network that learned {network.future}")
    taps, noise = _taps(measured, snr)
    each = noise[:, None].expand(-1, taps[0, ..., 0].numel()).flatten()
    out = [
        network(*part)
        for part in zip(*(torch.split(every, CHUNK) for every in (taps.flatten(0, 2), each)), strict=True)
    ]
    return _whole(torch.cat(out).view(*taps.shape[:3], -1).permute(0, 3, 1, 2), radio)


def _fitted(taps: Tensor, noise: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Coefficients a of x_t ≈ Σ_k a_k x_{t−k}: complex128 [N, ports, subcarriers, order], k from 1; and the power of
    what drives them.

    By least squares over the past and over its conjugate reversed (the modified covariance method), with the noise's
    power on the diagonal.
    """
    past = taps.to(torch.complex128).unfold(-1, order + 1, 1)  # [..., windows, order + 1], the oldest first
    both = torch.cat([past, past.flip(-1).conj()], -2)
    known, wanted = both[..., :-1].flip(-1), both[..., -1:]
    level = both.shape[-2] * noise.double()[:, None, None]
    gram = known.mH @ known + level[..., None, None] * torch.eye(order)
    weight = torch.linalg.solve(gram, known.mH @ wanted)
    left = (wanted - known @ weight).abs().square().mean((-2, -1))
    heard = noise.double()[:, None, None] * (1 + weight.abs().square().sum((-2, -1)))
    return weight[..., 0], (left - heard).clamp_min(1e-3 * left)


def _carry(weight: Tensor) -> Tensor:
    """What takes a state, the newest first, a step further: [..., order, order]."""
    order = weight.shape[-1]
    rest = torch.eye(order, dtype=weight.dtype)[:-1].expand(*weight.shape[:-1], -1, -1)
    return torch.cat([weight[..., None, :], rest], -2)


def _steps(measured: Snapshots, ahead: Any) -> list[int]:
    """Times to come as steps after the last snapshot.

    Raises:
        InputError: not whole ones, from 1 on.
    """
    step = float(measured.time.diff().mean())
    found = (np.asarray(ahead, dtype=np.float64).reshape(-1) - float(measured.time[-1])) / step
    whole = np.rint(found)
    if not np.isfinite(found).all() or (np.abs(found - whole) > 1e-3).any() or (whole < 1).any():
        raise InputError(
            f"ahead: {found.tolist()} steps after the last snapshot; this predictor knows whole ones alone"
        )
    return [int(count) for count in whole]


def _taps(measured: Snapshots, snr: Any) -> tuple[Tensor, Tensor]:
    """Taps [N, ports, subcarriers, T], and the power of noise on each: [N]."""
    noise = noise_power(measured.values, snr)
    assert noise is not None
    return torch.fft.fft2(measured.values, norm="ortho").permute(0, 2, 3, 1), noise


def _whole(taps: Tensor, radio: Radio) -> Tensor:
    return torch.fft.ifft2(taps, norm="ortho").view(*taps.shape[:2], *radio.shape)


def _run_on(state: Tensor, weight: Tensor, steps: list[int], radio: Radio) -> Tensor:
    """Predictions from states [N, ports, subcarriers, order], the newest first."""
    carry, state, out = _carry(weight), state.to(weight.dtype)[..., None], []
    for _ in range(max(steps)):
        state = carry @ state
        out.append(state[..., 0, 0])
    return _whole(torch.stack([out[count - 1] for count in steps], 1).to(torch.complex64), radio)
