"""Predictors of channels to come against sequences whose next values are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from uniair import metrics
from uniair.errors import InputError
from uniair.evaluation.csi_predictors import autoregression, kalman, persistence, predicted_by
from uniair.models.baselines import TapGRU
from uniair.noise import noisy
from uniair.radio import OFDM, ULA, Radio
from uniair.training.supervised import train_tap_gru

RADIO = Radio(ULA(4), OFDM(8, 720e3))
TIME = 1e-3 * np.arange(16)
AHEAD = TIME[-1] + 1e-3 * np.array([1, 4])


def turning(shifts: tuple[float, ...], seed: int = 0) -> torch.Tensor:
    """Channels whose every entry is a sum of exponentials: [2, T + H, 4, 8]."""
    rng = np.random.default_rng(seed)
    time = np.concatenate([TIME, AHEAD])
    weight = rng.standard_normal((2, len(shifts), 4, 8)) + 1j * rng.standard_normal((2, len(shifts), 4, 8))
    waves = np.exp(2j * np.pi * np.outer(shifts, time))
    return torch.from_numpy(np.einsum("nspk,st->ntpk", weight, waves)).to(torch.complex64)


@pytest.mark.parametrize("method", [autoregression, kalman])
def test_exponentials_are_run_on(method: Callable[..., torch.Tensor]) -> None:
    every = turning((120.0, -310.0))
    past, truth = every[:, : len(TIME)], every[:, len(TIME) :]
    found = method(past, RADIO, time=TIME, ahead=AHEAD, snr=70)
    assert metrics.nmse_db(found, truth) < -40
    heard = noisy(past.flatten(1, 2), 20.0, np.random.default_rng(0)).view(past.shape)
    assert metrics.nmse_db(method(heard, RADIO, time=TIME, ahead=AHEAD, snr=20), truth) < -10


def test_a_filter_by_hand() -> None:
    """One tap, order 1: Kalman's recursion written out."""
    radio = Radio(ULA(2), OFDM(2, 720e3))
    rng = np.random.default_rng(1)
    x = rng.standard_normal(16) + 1j * rng.standard_normal(16)
    taps = np.zeros((1, 16, 2, 2), dtype=complex)
    taps[0, :, 1, 0] = x
    csi = torch.fft.ifft2(torch.from_numpy(taps), norm="ortho")
    found = torch.fft.fft2(kalman(csi, radio, time=TIME, ahead=AHEAD[:1], snr=10, order=1), norm="ortho")
    noise = float(np.mean(np.abs(x) ** 2)) / 4 / 11
    a = (np.conj(x[:-1]) @ x[1:] + x[1:] @ np.conj(x[:-1])) / (
        np.sum(np.abs(x[:-1]) ** 2) + np.sum(np.abs(x[1:]) ** 2) + 30 * noise
    )
    errors = np.concatenate([x[1:] - a * x[:-1], np.conj(x[:-1]) - a * np.conj(x[1:])])
    left = np.mean(np.abs(errors) ** 2)
    driving = max(left - noise * (1 + abs(a) ** 2), 1e-3 * left)
    state, spread = 0j, float(np.mean(np.abs(x) ** 2)) - noise
    for value in x:
        state, spread = a * state, abs(a) ** 2 * spread + driving
        gain = spread / (spread + noise)
        state, spread = state + gain * (value - state), (1 - gain) * spread
    assert complex(found[0, 0, 1, 0]) == pytest.approx(complex(a * state), rel=1e-4)


def test_persistence_is_the_last() -> None:
    every = turning((50.0,))
    found = persistence(every[:, : len(TIME)], RADIO, time=TIME, ahead=AHEAD)
    assert torch.equal(found, every[:, len(TIME) - 1 : len(TIME)].expand(-1, 2, -1, -1))
    with pytest.raises(InputError, match="whole ones alone"):
        persistence(every[:, : len(TIME)], RADIO, time=TIME, ahead=TIME[-1] + 1.5e-3)


def test_a_network_learns_to_turn_taps() -> None:
    def draw(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([3, number])
        shifts = rng.uniform(-400, 400, 64)
        waves = np.exp(2j * np.pi * (np.outer(shifts, np.concatenate([TIME, AHEAD])) + rng.random((64, 1))))
        taps = torch.from_numpy(waves).to(torch.complex64)
        return taps[:, : len(TIME)], torch.full((64,), 1e-3), taps[:, len(TIME) :]

    network = train_tap_gru(draw, 2, 150, seed=0)
    past, noise, truth = draw(10_000)
    with torch.inference_mode():
        found = network(past, noise)
        torch.testing.assert_close(network(2j * past, 4 * noise), 2j * found)  # scale and phase are no matter
    assert float((found - truth).abs().square().mean()) < 0.5 * float((past[:, -1:] - truth).abs().square().mean())
    every = turning((120.0,))
    given: dict[str, Any] = {"time": TIME, "ahead": AHEAD, "snr": 30}
    assert predicted_by(network, every[:, : len(TIME)], RADIO, **given).shape == (2, 2, 4, 8)
    with pytest.raises(InputError, match="learned 1"):
        predicted_by(TapGRU(1), every[:, : len(TIME)], RADIO, **given)
