"""The radios' table: impairments against their closed form, every row, and a run that goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import radios
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.radios import CONDITIONS, DECODED, ELSEWHERE, RADIOS, Condition
from uniair.data.links import shards
from uniair.data.links.drawn_radios import unseen
from uniair.data.links.loader import batch_of
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, Radio


def test_impairments_do_what_they_say() -> None:
    links, rng = geometric_links(seed=3, areas=1, per_area=60), np.random.default_rng
    csi = batch_of(links).csi
    off, truth = radios.miscalibrated(csi, Radio(), rng(0), 20)
    phase = (off / csi).angle()
    torch.testing.assert_close(phase, phase[:, :, :1].expand_as(phase), atol=1e-4, rtol=0)  # of the element alone
    assert float(phase[:, :, 0].std()) == pytest.approx(np.deg2rad(20), rel=0.05)
    assert truth is csi
    later, same = radios.jittered(csi, Radio(), rng(0), 50)
    assert later is same
    turn = (later[:, :, 1:] / later[:, :, :-1] / (csi[:, :, 1:] / csi[:, :, :-1])).angle()[:, 0, 0]
    delay = -turn / (2 * torch.pi * 720e3)
    torch.testing.assert_close(delay.double(), torch.from_numpy(rng(0).uniform(-50, 50, 60) * 1e-9), atol=1e-9, rtol=0)
    noisy, truth = radios.in_noise(csi, Radio(), rng(0), 0)
    assert truth is csi
    ratio = (csi.abs().square().mean() / (noisy - csi).abs().square().mean()).log10()
    assert float(ratio) == pytest.approx(0, abs=0.1)


def test_every_radio_has_its_row_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = (
        Condition("paper 1's radio"),
        Condition("clock", Radio(ULA(8), OFDM(16), clock="first_path")),
        next(one for one in CONDITIONS if one.name == "SNR 0 dB"),
    )
    monkeypatch.setattr(radios, "CONDITIONS", some)
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=6))
    shards.write_manifest(tmp_path / "links", {"made": "by a test"}, "")
    setup = Setup(uniair.build("tiny"), tmp_path / "out", {"links": tmp_path / "links"}, seeds=2)
    result = perform("radios", RADIOS, setup)
    assert [*result["rows"]] == [*(one.name for one in some), *(f"to {name}" for name in DECODED)]
    assert result["seen"] == {"links": {"areas": 2, "links": 12}}
    (heading, seen), (_, decoded) = RADIOS.tables(result)
    assert "12 links in 2 areas" in heading
    assert len(seen.rows) == 3
    assert len(decoded.rows) == len(DECODED)
    assert Radio.from_json(result["radios"]["clock"]["radio"]) == some[1].radio

    def again(*_: object) -> None:
        pytest.fail("measured again")

    monkeypatch.setattr(radios, "_area", again)
    monkeypatch.setattr(radios, "_decode", again)
    assert perform("radios", RADIOS, setup) == result


def test_weights_of_any_radio_are_asked_on_masts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radios, "CONDITIONS", (Condition("paper 1's radio"), Condition("8 antennas", Radio(ULA(8)))))
    monkeypatch.setattr(radios, "ELSEWHERE", {name: rows[:1] for name, rows in ELSEWHERE.items()})
    links = geometric_links(seed=3, areas=2, per_area=6)
    for name, carrier in (("links", 28e9), ("masts", 3.5e9)):
        here = replace(links, radios=(Radio(carrier=carrier),) * 2)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", here)
        shards.write_manifest(tmp_path / name, {"made": "by a test"}, "")
    model = UniversalModel(PRESETS["tiny"]).eval()
    setup = Setup(model, tmp_path / "out", {name: tmp_path / name for name in ("links", "masts")}, seeds=1)
    result = perform("radios", RADIOS, setup)
    assert set(result["seen"]) == {"links", "masts"}
    (_, seen), _ = RADIOS.tables(result)
    assert [row[0] for row in seen.rows] == ["paper 1's radio", "8 antennas*", ELSEWHERE["masts"][0].name]


def test_every_held_out_array_and_grid_is_measured() -> None:
    arrays, grids, _ = unseen()
    assert {one.radio.grid for one in CONDITIONS} >= set(grids)
    layouts = {one.radio.array.layout.round(6).tobytes() for one in CONDITIONS}
    assert layouts >= {array.layout.round(6).tobytes() for array in arrays}
    assert not radios.is_unseen(Radio())


def test_the_conditions_are_those_that_people_have() -> None:
    assert len({one.name for one in CONDITIONS}) == len(CONDITIONS)
    assert {one.radio.array.ports for one in CONDITIONS} >= {8, 16, 32, 64}
    assert any(one.radio.clock == "first_path" for one in CONDITIONS)
