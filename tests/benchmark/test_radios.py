"""The radios' table: impairments against their closed form, every row, and a run that goes on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import radios
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.radios import CONDITIONS, DECODED, ELSEWHERE, RADIOS, Condition
from uniair.data.links import shards
from uniair.data.links.drawn_radios import may_draw, unseen
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.models.presets import PRESETS
from uniair.models.sight_line import sight_line
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
    links = shards.read(tmp_path / "links")
    in_sight = ~sight_line(batch_of(links).environment).blocked.numpy()
    assert result["seen"] == {"links": {"areas": 2, "links": 12, "by_geometry": int((in_sight == links.los).sum())}}
    (heading, seen), (_, decoded) = RADIOS.tables(result)
    assert "12 links in 2 areas" in heading
    assert len(seen.rows) == 1 + 3  # what the map alone tells first
    assert seen.rows[0][1] == f"{100 * (in_sight == links.los).mean():.1f}"
    told = [round(12 * result["rows"][one.name]["los_map"]["mean"]) for one in some[:2]]
    assert told == [_right_without_positions(setup.model, links, one.radio) for one in some[:2]]
    assert len(decoded.rows) == len(DECODED)
    assert Radio.from_json(result["radios"]["clock"]["radio"]) == some[1].radio

    def again(*_: object) -> None:
        pytest.fail("measured again")

    for measured in ("_area", "_without_positions", "_geometry", "_decode"):
        monkeypatch.setattr(radios, measured, again)
    assert perform("radios", RADIOS, setup) == result


def _right_without_positions(model: UniversalModel, links: Links, radio: Radio) -> int:
    right = 0
    for area in links.split():
        batch = batch_of(area, radio)
        p = uniair.zero_shot.los(model, batch.csi, batch.environment.without("bs", "ue"), radio)
        right += int(((p > 0.5).numpy() == area.los).sum())
    return right


def test_a_folder_of_before_goes_on_with_what_is_new_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radios, "CONDITIONS", (Condition("paper 1's radio"),))
    monkeypatch.setattr(radios, "DECODED", {})
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", geometric_links(seed=3, areas=1, per_area=6))
    shards.write_manifest(tmp_path / "links", {"made": "by a test"}, "")
    setup = Setup(uniair.build("tiny"), tmp_path / "out", {"links": tmp_path / "links"}, seeds=1)
    name = Store(tmp_path / "links").areas[0]
    before = {"links": 6.0, "los": 5.0, "scale": 4.0, "top1": 3.0, "error": 6.0}
    setup.once(f"{name}-paper 1's radio-0", lambda: before)
    row = radios.run(setup)["rows"]["paper 1's radio"]
    assert {key: row[key]["mean"] for key in ("los", "scale", "top1")} == pytest.approx(
        {"los": 5 / 6, "scale": 4 / 6, "top1": 3 / 6}
    )
    assert "los_map" in row


def test_a_page_of_before_has_its_columns_and_no_others() -> None:
    figures = {key: {"mean": 0.5, "spread": 0.0} for key in ("los", "scale", "top1", "nmse_db")}
    result = {"seen": {"links": {"areas": 1, "links": 6}}, "rows": {"paper 1's radio": figures}}
    (_, seen), _ = RADIOS.tables(result)
    assert list(seen.head) == ["seen by", "LOS", "scale", "top-1", "feedback, NMSE"]
    assert [row[0] for row in seen.rows] == ["paper 1's radio"]


def test_weights_of_any_radio_are_asked_on_masts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radios, "CONDITIONS", (Condition("paper 1's radio"), Condition("8 antennas", Radio(ULA(8)))))
    monkeypatch.setattr(radios, "ELSEWHERE", {name: rows[:1] for name, rows in ELSEWHERE.items()})
    links = geometric_links(seed=3, areas=2, per_area=6)
    for name, carrier in (("links", 28e9), ("masts", 3.5e9)):
        here = replace(links, radios=(Radio(carrier=carrier),) * 2)
        if name == "masts":
            here = replace(here, los=~here.los)  # areas of the same names, of which geometry tells the rest
        shards.write_shard(tmp_path / name / "links-00000.safetensors", here)
        shards.write_manifest(tmp_path / name, {"made": "by a test"}, "")
    model = UniversalModel(PRESETS["tiny"]).eval()
    setup = Setup(model, tmp_path / "out", {name: tmp_path / name for name in ("links", "masts")}, seeds=1)
    result = perform("radios", RADIOS, setup)
    assert set(result["seen"]) == {"links", "masts"}
    assert result["seen"]["masts"]["by_geometry"] == 12 - result["seen"]["links"]["by_geometry"]
    (_, seen), _ = RADIOS.tables(result)
    named = [f"no channel: --{name}'s maps and positions alone" for name in ("links", "masts")]
    assert [row[0] for row in seen.rows] == [*named, "paper 1's radio", "8 antennas*", ELSEWHERE["masts"][0].name]


def test_carriers_that_training_may_draw_are_no_unseen_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radios, "CONDITIONS", (Condition("paper 1's radio"),))
    monkeypatch.setattr(radios, "DECODED", {})
    links = geometric_links(seed=3, areas=1, per_area=6)
    for name, carrier in (("links", 28e9), ("held_out", 24.5e9), ("learned", 3.5e9)):
        shards.write_shard(
            tmp_path / name / "links-00000.safetensors", replace(links, radios=(Radio(carrier=carrier),))
        )
        shards.write_manifest(tmp_path / name, {"made": "by a test"}, "")

    def asked(carriers: str) -> dict[str, Any]:
        folders = {"links": tmp_path / "links", "carriers": tmp_path / carriers}
        return perform("radios", RADIOS, Setup(uniair.build("tiny"), tmp_path / carriers / "out", folders, seeds=1))

    (_, seen), _ = RADIOS.tables(asked("held_out"))
    assert seen.rows[-1][0] == "any mast, carriers of no training*"
    with pytest.raises(InputError, match=r"links at 3\.5 GHz, which training may draw"):
        asked("learned")


def test_every_held_out_array_grid_and_carrier_is_measured() -> None:
    arrays, grids, carriers = unseen()
    recipe = yaml.safe_load((Path(__file__).parents[2] / "recipes/trace-test-carriers.yaml").read_text())
    assert [float(one) for one in recipe["deployment"]["carriers"]] == list(carriers)
    assert {one.radio.grid for one in CONDITIONS} >= set(grids)
    layouts = {one.radio.array.layout.round(6).tobytes() for one in CONDITIONS}
    assert layouts >= {array.layout.round(6).tobytes() for array in arrays}
    assert all(not may_draw(Radio(array)) for array in arrays)
    assert all(not may_draw(Radio(grid=grid)) for grid in grids)


def test_what_lies_beyond_the_draw_is_marked_as_what_is_held_out_is() -> None:
    marked = {one.name for one in (*CONDITIONS, *ELSEWHERE["masts"], *ELSEWHERE["mixed"]) if one.unseen}
    assert marked >= {
        "timing off by up to ±50 ns", "comb of every fourth subcarrier", "8 antennas", "240 kHz, 15 MHz",
        "phases of the antennas off by 20° rms", "masts, panel of 8 × 8, slanted polarisations",
    }  # fmt: skip
    assert not marked & {
        "paper 1's radio", "calibrated gains", "clock at the first path", "16 antennas", "SNR -5 dB", "SNR 10 dB",
        "16 antennas, 20 MHz, clock at the first path", "masts of 25 m over the roofs, 3.5 GHz",
    }  # fmt: skip
    assert not Condition("", impaired=partial(radios.jittered, nanoseconds=20)).unseen
    assert Condition("", impaired=partial(radios.in_noise, snr_db=-11)).unseen


def test_the_conditions_are_those_that_people_have() -> None:
    assert len({one.name for one in CONDITIONS}) == len(CONDITIONS)
    assert {one.radio.array.ports for one in CONDITIONS} >= {8, 16, 32, 64}
    assert any(one.radio.clock == "first_path" for one in CONDITIONS)
