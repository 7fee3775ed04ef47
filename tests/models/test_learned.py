"""What weights learned from: said where a radio or a place lies outside, kept with the weights."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.learned import Learned
from uniair.models.presets import PRESETS
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, Radio
from uniair.training.checkpoint import load_model, save_model

KNOWN = Learned(
    carrier=(1.0, 71.0), aperture=(2.0, 64.0), band=(5.0, 400.0), station=(4.0, 40.0), user=(1.5, 30.0),
    side=(120.0, 600.0),
)  # fmt: skip


def model() -> UniversalModel:
    torch.manual_seed(0)
    return UniversalModel(PRESETS["tiny"], learned=KNOWN).eval()


def test_what_lies_outside_is_said_with_both_ends() -> None:
    assert KNOWN.of_radio(Radio()) == ()
    assert KNOWN.of_radio(Radio(carrier=140e9)) == ("extrapolated: carrier 140 GHz, learned 1 to 71",)
    assert KNOWN.of_radio(Radio(carrier=73e9)) == ()  # not far
    odd = Radio(ULA(2), OFDM(4, 15e3), 28e9)
    assert [line.split()[1] for line in KNOWN.of_radio(odd)] == ["array's", "band"]
    assert KNOWN.of_place([6.0], [1.5], [200.0]) == ()
    assert KNOWN.of_place([6.0, 80.0], None, [50.0]) == (
        "extrapolated: area's side 50 m, learned 120 to 600",
        "extrapolated: station's height 80 m, learned 4 to 40",
    )


def test_answers_carry_it() -> None:
    any_radio = model()
    env = Environment(bs=[[10.0, 10.0, 90.0]], ue=[[30.0, 30.0, 1.5]], size=[200.0])
    with pytest.warns(RadioWarning, match="station's height 90 m, learned 4 to 40"):
        any_radio.encode_environment(env)
    roofs = np.zeros((1, 16, 16), np.float32)
    roofs[:, :4, :4] = 30.0
    with pytest.warns(RadioWarning, match="the station stands inside a building, below its roof"):
        any_radio.encode_environment(replace(env, map=roofs, bs=[[10.0, 10.0, 25.0]]))
    csi = np.random.default_rng(0).normal(size=(2, 32, 64)) + 0j
    far = Radio(carrier=140e9)
    with pytest.warns(RadioWarning, match="carrier 140 GHz, learned 1 to 71"):
        any_radio.encode_channel(csi, far)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        any_radio.encode_channel(csi, Radio(carrier=3.5e9))
        any_radio.encode_environment(replace(env, bs=[[10.0, 10.0, 25.0]]))


def test_channels_that_are_hardly_more_than_noise_are_counted() -> None:
    quiet = model()
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 32, 64)) + 1j * rng.normal(size=(2, 32, 64))
    wave = 10 * np.exp(0.3j * np.arange(64)) + 0 * noise[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet.encode_channel(noise)  # where it is not noted what was drawn nothing is said
    quiet.learned = replace(KNOWN, snr=(-10.0, 30.0))
    with pytest.warns(RadioWarning, match="2 of 3 channels are hardly to be told from noise, learned down to -10 dB"):
        quiet.encode_channel(np.concatenate([noise, wave]))
    with pytest.warns(RadioWarning, match="the channel is hardly to be told"):
        quiet.encode_channel(noise[:1])


def test_it_travels_with_the_weights(tmp_path: Path) -> None:
    save_model(model(), tmp_path)
    assert load_model(tmp_path).learned == KNOWN
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"carrier": [', '"carriers": ['))
    with pytest.raises(InputError, match="not what weights learned from"):
        load_model(tmp_path)


def test_power_that_no_link_had_is_said() -> None:
    known = replace(KNOWN, loss=(10.0, 1e5))
    calibrated = Radio(calibrated=True)
    usual, weak, strong = (float((SPEED_OF_LIGHT / 28e9 / (4 * np.pi * metres)) ** 2) for metres in (100, 1e7, 1e-3))
    assert known.of_power(np.array([usual]), calibrated) == ()
    assert known.of_power(np.array([weak]), Radio()) == ()  # whose power is not known anyway
    assert KNOWN.of_power(np.array([weak]), calibrated) == ()  # nothing is noted
    assert known.of_power(np.array([weak]), calibrated) == (
        "extrapolated: the channel is as weak as over 10,000 km of free space, learned 10 m to 100 km; "
        "are its gains received over transmitted?",
    )
    (line,) = known.of_power(np.array([usual, strong, strong]), calibrated)
    assert "2 of 3 channels are as strong as over 0.001 m of free space" in line
    asked = UniversalModel(PRESETS["tiny"], learned=known).eval()
    csi = np.random.default_rng(0).normal(size=(2, 32, 64)) + 0j  # as if a metre's tenth away
    with pytest.warns(RadioWarning, match="2 of 2 channels are as strong"):
        asked.encode_channel(csi, calibrated)
