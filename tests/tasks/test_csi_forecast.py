"""The channel a moment ahead: exact paths, any array, aliased shifts, turning directions; bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import uniair
from uniair import metrics
from uniair.benchmark.next_csi import Drawn
from uniair.data.links.loader import along_array
from uniair.data.links.store import SAMPLE, Store
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks.csi_forecast import forecast_csi
from uniair.tasks.moving_paths import MovingPaths, channel_at

LINE = Radio(ULA(16), OFDM(24, 720e3), clock="first_path")
PANEL = Radio(UPA(2, 4, polarisation="slanted"), OFDM(24, 720e3), clock="first_path")
TIME = 1e-3 * np.arange(12)
AHEAD = TIME[-1] + 1e-3 * np.array([1, 5])


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.build("tiny").eval()  # what it reads is of no use: the fit has to find the paths


def exact(radio: Radio, shift: float, rate: float = 0.0, links: int = 3) -> torch.Tensor:
    """Channels of three paths well apart at TIME and AHEAD, shifts up to `shift` Hz: [N, T + H, ports, subcarriers]."""
    rng = np.random.default_rng(0)
    spread = np.arange(3) / 3 + rng.uniform(0, 0.15, (links, 3))
    up = rng.uniform(-0.3, 0.3, (links, 3)) * (np.ptp(radio.array.layout[:, 2]) > 0)
    sides = (links, len(radio.array.slants), 3)
    gain = torch.from_numpy(rng.uniform(0.5, 1, sides) * np.exp(2j * np.pi * rng.random(sides))).to(torch.complex64)
    numbers = (1.2 * spread - 0.6, up, 4e-7 * spread, rng.uniform(-shift, shift, (links, 3)), np.full((links, 3), rate))
    paths = MovingPaths(*map(torch.from_numpy, numbers), gain, gain.abs(), torch.ones(links))
    return channel_at(paths, radio, torch.from_numpy(np.concatenate([TIME, AHEAD])))


@pytest.mark.parametrize(
    ("radio", "shift", "rate"),
    [(LINE, 50.0, 0.0), (LINE, 400.0, 0.0), (PANEL, 400.0, 0.0), (LINE, 2000.0, 0.0), (LINE, 300.0, 800.0)],
)
def test_exact_paths_are_forecast(model: UniversalModel, radio: Radio, shift: float, rate: float) -> None:
    every = exact(radio, shift, rate)
    past, truth = every[:, : len(TIME)], every[:, len(TIME) :]
    csi = noisy(past.flatten(1, 2), 30.0, np.random.default_rng(1)).view(past.shape)
    for snr in (30.0, None):
        found = forecast_csi(model, csi, radio, time=TIME, ahead=AHEAD, snr=snr)
        assert found.shape == truth.shape
        assert metrics.nmse_db(found[:, 0], truth[:, 0]) < -35
        assert metrics.nmse_db(found[:, 1], truth[:, 1]) < -27
    alone = forecast_csi(None, csi, radio, time=TIME, ahead=AHEAD, snr=30.0)  # and without a model
    assert metrics.nmse_db(alone[:, 0], truth[:, 0]) < -35
    assert metrics.nmse_db(alone[:, 1], truth[:, 1]) < -27
    assert metrics.nmse_db(past[:, -1], truth[:, 1]) > -10  # what stays is no answer


def test_amplitude_phase_and_clock_are_the_measurements(model: UniversalModel) -> None:
    every = exact(LINE, 200.0)
    past = every[:, : len(TIME)]
    one = forecast_csi(model, past, LINE, time=TIME, ahead=AHEAD, snr=40)
    other = forecast_csi(model, 3e-5j * past, LINE, time=TIME + 7.0, ahead=AHEAD + 7.0, snr=40)
    torch.testing.assert_close(other, 3e-5j * one, rtol=0, atol=1e-2 * 3e-5)
    weak = forecast_csi(model, 1e-25 * past.to(torch.complex128), LINE, time=TIME, ahead=AHEAD, snr=40)
    torch.testing.assert_close(1e25 * weak.to(torch.complex128), one.to(torch.complex128), rtol=0, atol=1e-2)
    assert forecast_csi(model, past[:0], LINE, time=TIME, ahead=AHEAD).shape == (0, 2, 16, 24)


def test_bad_input_is_one_line(model: UniversalModel) -> None:
    csi = exact(LINE, 100.0)[:, : len(TIME)]
    nothing, hole = csi.clone(), csi.clone()
    nothing[1], hole[0, 3, 2, 5] = 0, torch.nan
    uneven = TIME.copy()
    uneven[3] += 4e-4
    wrong: list[tuple[Any, Any, Any, str]] = [
        (csi[:, 0], TIME, AHEAD, r"expected \[N, T, 16, 24\]"),
        (csi[..., :20], TIME, AHEAD, "of this radio"),
        (csi, TIME[:5], AHEAD, "for CSI of 12 times"),
        (csi[:, :2], TIME[:2], AHEAD, "at least 3"),
        (csi, uneven, AHEAD, "even steps"),
        (csi, TIME[::-1], AHEAD, "even steps"),
        (csi, TIME, np.nan, "ahead holds NaN"),
        (csi, ["now"] * 12, AHEAD, "time is not an array of numbers"),
        (csi, TIME, "soon", "ahead is not an array of numbers"),
        (hole, TIME, AHEAD, "NaN or infinite"),
        (nothing, TIME, AHEAD, "all zero"),
    ]
    for given, time, ahead, says in wrong:
        with pytest.raises(InputError, match=says):
            forecast_csi(model, given, LINE, time=time, ahead=ahead)
    with pytest.raises(InputError, match="neither a model nor a radio"):
        forecast_csi(None, csi, time=TIME, ahead=AHEAD)
    with pytest.raises(InputError, match="-1 rounds"):
        forecast_csi(model, csi, LINE, time=TIME, ahead=AHEAD, rounds=-1)
    with pytest.raises(InputError, match="0 rounds"):
        forecast_csi(None, csi, LINE, time=TIME, ahead=AHEAD, rounds=0)


def test_what_the_packaged_weights_read_saves_rounds_and_an_untrained_model_saves_none() -> None:
    links = along_array(Store(SAMPLE)[0])
    drawn = Drawn.of(links.select(np.arange(12)), 28e9, kmh=30, past=16, snr=20, seed=[0])

    def error(model: UniversalModel | None) -> float:
        return metrics.nmse_db(forecast_csi(model, drawn.csi, **drawn.told, rounds=2)[:, -1], drawn.truth[:, -1])

    assert error(uniair.load("small")) < min(error(None), error(uniair.build("small").eval())) - 3
