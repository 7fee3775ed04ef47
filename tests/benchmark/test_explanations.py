"""What was traced as a radio tells it apart, and the three benchmarks of explanations on a few links."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

from uniair.benchmark import doubts, explanations, map_audit
from uniair.benchmark.benchmark import Benchmark, Setup, perform
from uniair.benchmark.radios import CONDITIONS
from uniair.data.links import shards
from uniair.data.links.loader import along_array
from uniair.explanation.calibrated import FILE, Calibration
from uniair.explanation.doubt import signals
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.training.checkpoint import digest


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    torch.manual_seed(0)
    return UniversalModel(replace(PRESETS["tiny"], radios="any")).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("links")
    shards.write_shard(out / "links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=24))
    shards.write_manifest(out, {}, "")
    return out


def test_traced_paths_are_told_apart_as_the_radio_does() -> None:
    links = along_array(geometric_links(seed=3, areas=1, per_area=6))
    for i in range(len(links)):
        one = links.select(np.array([i]))
        traced, parts = explanations.told_apart(one, Radio())
        shares = [path.share for path, _ in traced]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=0.05)
        whole = one.paths.csi(Radio())[0]
        assert float((parts.sum(0) - whole).abs().max() / whole.abs().max()) < 0.2
        for path, bend in traced:
            if np.isfinite(bend).all():  # once: by way of the bend the path is as long
                legs = np.linalg.norm(bend - one.bs[0, :2]) + np.linalg.norm(bend - one.ue[0, :2])
                assert legs <= path.length + 0.1


def goes_on(name: str, benchmark: Benchmark, setup: Setup, **options: object) -> dict[str, object]:
    found = perform(name, benchmark, setup, **options)
    next((setup.out / "runs").glob("*.json")).unlink()
    again = perform(name, benchmark, setup, **options)
    assert str(again["benchmark"]) == name
    for _, table in benchmark.tables(again):
        assert table.text()
    return found


def test_explanations_are_measured(
    model: UniversalModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanations, "LINKS", 2)
    found = goes_on(
        "explain", explanations.EXPLANATIONS, Setup(model, tmp_path / "explain", {"links": folder}, seeds=1)
    )
    row = found["rows"]["all"]  # type: ignore[index]
    assert row["links"] == 4
    assert 0 <= row["explained"] <= 1
    effect, gradient, random = (row[f"place_{order}"]["first"] for order in ("effect", "gradient", "random"))
    assert effect > random
    assert effect > gradient or effect == gradient == 1  # more than all there is no order can find


def test_audits_are_measured(
    model: UniversalModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_audit, "BUILDINGS", 1)
    monkeypatch.setattr(map_audit, "MOVES", (16.0,))
    setup = Setup(model, tmp_path / "audit", {"links": folder, "dense": folder}, seeds=1)
    found = perform("audit", map_audit.MAP_AUDIT, setup)
    assert found["rows"]["links"]["none"]["1"]["cases"] == 2
    assert found["rows"]["links"] == found["rows"]["dense"]
    (heading, few), (_, many) = map_audit.MAP_AUDIT.tables(found)
    assert "2 areas" in heading
    assert few.text() == many.text()


def test_doubt_is_measured_on_other_places_than_it_was_fitted_on(
    model: UniversalModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "LINKS", 16)
    monkeypatch.setattr(doubts, "NAMES", ("paper 1's radio", "24 antennas"))
    monkeypatch.setattr(doubts, "CELLS", 8)
    setup = Setup(model, tmp_path / "doubt", {"links": folder, "validation": folder}, seeds=1)
    found = goes_on("doubt", doubts.DOUBTS, setup, save=tmp_path)
    assert set(found["groups"]) == {"radios of training", "radios never drawn"}  # type: ignore[arg-type, call-overload]
    for of in found["groups"].values():  # type: ignore[attr-defined]
        assert {"los", "position", "beam"} == set(of["sets"])
    kept = Calibration.read(tmp_path / FILE, digest(model))
    assert kept.doubts["los"].to_json() == found["fitted"]["los"]  # type: ignore[index]
    assert set(kept.promises) == {"los", "position", "beam"}
    assert kept.about["places"] == 1
    assert kept.about["radios"] == ["paper 1's radio"]
    assert (kept.rates is None) == isinstance(kept.about["rates"], str)  # either counted, or why not


def test_doubt_about_a_place_is_told_of_the_likeliest_not_of_the_right_one(
    model: UniversalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = geometric_links(seed=3, areas=1, per_area=24)
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(doubts, "LINKS", 16)
    monkeypatch.setattr(doubts, "signals", lambda *given: asked.append(given[2].ue) or signals(*given))
    doubts._area(model, links, CONDITIONS[0], 0)
    own, likeliest = asked[:2]
    assert not own.equal(likeliest)  # these weights have learned nothing
    assert {tuple(one) for one in likeliest.tolist()} < {tuple(one) for one in own.tolist()}
