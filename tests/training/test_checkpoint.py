"""What stands beside the weights: format, preset and radio; the first version's folders, and a newer one's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import uniair
from uniair.errors import InputError
from uniair.models.presets import preset
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, Radio
from uniair.training.checkpoint import CONFIG, load_model, save_model

OTHER = Radio(ULA(16), OFDM(48, 240e3), 3.5e9, "first_path")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(UniversalModel(preset("tiny"), OTHER), tmp_path)
    return tmp_path


def changed(folder: Path, **entries: object) -> Path:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in (config | entries).items() if v is not None}))
    return folder


def test_weights_know_their_radio(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    assert config["format"] == "uniair-model/2"
    model = load_model(folder)
    assert model.radio == OTHER
    csi = torch.randn(2, 16, 48, dtype=torch.complex64)
    assert model.encode_channel(csi).shape == (2, 32)  # its own radio is the default
    assert model.reconstruct_channel(model.encode_channel(csi)).shape == (2, 16, 48)
    assert len(model.remarks(OTHER)) == 1  # the clock, which is searched for
    assert uniair.load("small").radio == Radio()


def test_a_folder_of_the_first_version_is_paper_1_s(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    first = {"antennas": config["beams"], "subcarriers": config["delays"], "corridor": config["line_window"]}
    gone = dict.fromkeys(("beams", "delays", "line_window", "format", "radio"))
    model = load_model(changed(folder, **first, **gone))
    assert model.radio == Radio()
    assert model.preset == preset("tiny")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"format": "uniair-model/3"}, "of format 'uniair-model/3', this version reads 'uniair-model/2'"),
        ({"radio": {"format": "uniair-radio/9"}}, "radio of format 'uniair-radio/9'"),
        ({"radio": {"carrier": -1}}, "carrier"),
        ({"colour": "red"}, "unknown entries"),
    ],
)
def test_what_is_newer_or_odd_is_refused_in_one_line(folder: Path, entries: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_model(changed(folder, **entries))
    assert "\n" not in str(caught.value)
