"""Few-shot: the protocol's head, its split, what the features are, and that a run goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import fewshot
from uniair.benchmark.benchmark import Setup
from uniair.benchmark.embeddings import export_csi
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.propagation.paths import free_space_gain
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, Radio
from uniair.tasks import zero_shot
from uniair.training.heads import HeadTraining


def folder(path: Path, links: Links) -> Path:
    shards.write_shard(path / "links-00000.safetensors", links)
    shards.write_manifest(path, {}, "")
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fewshot, "EPOCHS", 2)
    monkeypatch.setattr(fewshot, "LEAST_LINKS", 20)
    monkeypatch.setattr(fewshot, "QUICK_LABELS", (16, 64, 8000))
    monkeypatch.setattr(fewshot, "HeadTraining", lambda **_: HeadTraining(epochs=1, steps=5))


def test_the_head_separates_what_a_line_separates() -> None:
    draw = torch.Generator().manual_seed(0)
    z = 1e-7 * (torch.randn(400, 8, generator=draw) + 3)  # small and off centre, as other models' may be
    z = torch.cat([z, torch.full((400, 1), 5.0)], 1)  # a constant is harmless
    truth = (z[:, 0] > 3e-7).long()
    head = fewshot.light_head(z, truth, torch.arange(200), (9, 2), seed=0)
    with torch.inference_mode():
        assert (head(z[200:]).argmax(1) == truth[200:]).float().mean() > 0.85


def test_the_test_links_are_the_same_for_every_count() -> None:
    unit = np.arange(1000, 1200)
    test, few = fewshot.permuted(unit, 16, seed=1)
    same, more = fewshot.permuted(unit, 64, seed=1)
    assert torch.equal(test, same)
    assert len(test) == 60
    assert torch.equal(more[:16], few)
    assert not set(test.tolist()) & set(fewshot.permuted(unit, 8000, seed=1)[1].tolist())
    assert len(fewshot.permuted(unit, 8000, seed=1)[1]) == 140
    assert fewshot.columns(200, fewshot.LABELS) == [16, 64, 8000]  # 8,000 or as many as there are
    assert not torch.equal(test, fewshot.permuted(unit, 16, seed=2)[0])


def test_features_are_the_models_own() -> None:
    model, batch = uniair.build("tiny").eval(), batch_of(geometric_links(seed=3, areas=1, per_area=20))
    found = fewshot.frozen_features(model, batch)
    assert {len(values) for values in found.values()} == {20}
    torch.testing.assert_close(found[fewshot.EMBEDDING], model.encode_channel(batch.csi))
    before = found["CFENN before the projection"]
    with torch.inference_mode():
        z = torch.nn.functional.normalize(model.project_channel(before), dim=1)
    torch.testing.assert_close(z, found[fewshot.EMBEDDING])
    assert found["CFENN tokens by beam"].shape == (20, 32 // 8 * model.preset.width)
    assert found[fewshot.RAW].shape == (20, 2 * 32 * 64)
    louder = fewshot.frozen_features(model, type(batch)(100 * batch.csi, batch.environment))
    assert (louder["link budget alone"] > found["link budget alone"]).all()
    torch.testing.assert_close(louder[fewshot.RAW], found[fewshot.RAW], atol=1e-4, rtol=1e-3)
    assert not model.cfenn._forward_hooks


@pytest.mark.parametrize("distance", [30.0, 90.0, 250.0])
def test_the_link_budget_of_a_direct_path_is_free_space(distance: float) -> None:
    csi = free_space_gain(distance, 28e9) * (
        ULA().response(torch.tensor([[0.3]], dtype=torch.float64))[:, :, None]
        * OFDM().response(torch.tensor([distance / SPEED_OF_LIGHT], dtype=torch.float64))[:, None]
    )
    found = fewshot.link_budget(csi.to(torch.complex64))[0]
    assert found.shape == (30,)
    at_one_metre = 10 * torch.atanh(found[17 + 10].double()) - 60  # against the level of −60 dB
    assert float(at_one_metre) == pytest.approx(20 * np.log10(abs(free_space_gain(1.0, 28e9))), abs=0.3)


@pytest.mark.usefixtures("quick")
def test_a_run_has_every_row_and_resumes(tmp_path: Path) -> None:
    cities = folder(tmp_path / "cities", geometric_links(seed=3, areas=2, per_area=120))
    dense = folder(tmp_path / "dense", geometric_links(seed=4, areas=2, per_area=40))
    export_csi(Store(cities), tmp_path / "csi.npy", fewshot.BEARING)
    np.save(tmp_path / "theirs.npy", np.load(tmp_path / "csi.npy")[:, :, 0].real.astype(np.float32) * 1e6)
    setup = Setup(uniair.build("tiny"), tmp_path / "out", {"deepmimo": cities, "dense": dense}, seeds=2)
    given = (tmp_path / "theirs.npy",)
    found = fewshot.FEWSHOT.run(setup, embeddings=given)
    for scope in fewshot.SCOPES:
        rows = found["scopes"][scope]["rows"]
        told = {row.format(*known) for known in fewshot.TOLD.items() for row in (fewshot.BEGUN, fewshot.CLASSICAL)}
        others = {*fewshot.ZSL.values(), fewshot.CALIBRATED, fewshot.GEOMETRY}
        assert set(rows["beam"]) | told | others == set(rows["los"])
        assert rows["los"][fewshot.GEOMETRY]["0"]["mean"] > 0.9
        assert "theirs" in rows["beam"]
        assert all(0 <= cell["mean"] <= 1 for row in rows["los"].values() for cell in row.values())
    assert set(found["scopes"]["city"]["rows"]["los"][fewshot.RAW]) == {"16", "64", "8000"}
    assert set(found["scopes"]["BS"]["rows"]["los"][fewshot.RAW]) == {
        "16",
        "8000",
    }  # 40 links a BS: the cell is left out
    text = "\n".join(heading + table.text() + table.markdown() for heading, table in fewshot.FEWSHOT.tables(found))
    assert "LWM 1.0, two OTHER cities" in text
    assert "0.89 to 0.94" in text
    fewshot.FEWSHOT.draw(found, matplotlib.figure.Figure())
    runs = sorted((setup.out / "runs").glob("*.json"))
    written = [path.stat().st_mtime_ns for path in runs]
    runs[0].unlink()
    again = fewshot.FEWSHOT.run(setup, embeddings=given)
    assert json.dumps(again) == json.dumps(found)
    assert [path.stat().st_mtime_ns for path in runs[1:]] == written[1:]


def test_what_a_head_for_los_is_told(tmp_path: Path) -> None:
    links = geometric_links(seed=3, areas=1, per_area=120)
    store = Store(folder(tmp_path / "mapped", links))
    model = uniair.build("tiny").eval()
    city = fewshot.City(store, 0, model, {})
    batch = batch_of(fewshot.turned(links))
    told, env = city.told, batch.environment
    assert list(told) == list(fewshot.TOLD)
    plain, power, located, mapped = told.values()
    gains = Radio(calibrated=True)
    torch.testing.assert_close(plain.z, model.encode_channel(batch.csi))
    for one in (power, located, mapped):
        torch.testing.assert_close(one.z, model.encode_channel(batch.csi, gains))
    torch.testing.assert_close(mapped.odds, zero_shot.los_odds(model, batch.csi, env, gains))
    torch.testing.assert_close(located.odds, zero_shot.los_odds(model, batch.csi, env.without("map"), gains))
    nowhere = zero_shot.los_odds(model, batch.csi, env.without("map", "bs", "ue"), gains)
    torch.testing.assert_close(power.odds, nowhere)
    assert [one.features.shape[1] for one in told.values()] == [2, 3, 5, 7]
    unit = np.arange(len(links))
    test, _ = fewshot.permuted(unit, 0, 1)
    found = city.informed(unit, 0, 1)
    hit = (nowhere[test] > 0) == (env.los[test] > 0)
    assert found["CSI, power: begun at zero-shot"] == pytest.approx(float(hit.float().mean()))
    assert sum("logistic" in row for row in found) == 0
    few = city.informed(unit, 64, 1)
    assert few["CSI, power, positions: logistic regression on those, excess length, distance"] > 0.85
    bare = replace(links, mapped=np.zeros(1, dtype=bool))
    without = fewshot.City(Store(folder(tmp_path / "bare", bare)), 0, model, {})
    assert list(without.told) == list(fewshot.TOLD)[:3]
    assert fewshot.GEOMETRY not in without.informed(unit, 0, 1)


def test_labels_of_one_class_draw_no_line() -> None:
    features, truth = np.arange(8.0)[:, None], torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    learn, test = torch.tensor([4, 5]), torch.arange(8)
    assert fewshot.classical(features, truth, learn, test).tolist() == [True] * 8
    learn = torch.tensor([0, 1, 6, 7])
    assert fewshot.classical(features, truth, learn, test).tolist() == [False] * 4 + [True] * 4


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    cities = folder(tmp_path / "cities", geometric_links(seed=3, areas=1, per_area=30))
    model = uniair.build("tiny")
    with pytest.raises(InputError, match="needs --dense"):
        fewshot.FEWSHOT.run(Setup(model, tmp_path / "fewshot", {"deepmimo": cities}))
    with pytest.raises(InputError, match="no city has 500 links"):
        fewshot.FEWSHOT.run(Setup(model, tmp_path / "fewshot", {"deepmimo": cities, "dense": cities}))
