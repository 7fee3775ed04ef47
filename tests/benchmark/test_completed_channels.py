"""Completion's figure: what is known of each part, every method, and a run that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import completed_channels
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.completed_channels import COMPLETION, parts
from uniair.benchmark.sampled_links import Sample
from uniair.data.links import shards


def test_parts_are_as_dense_as_they_say() -> None:
    for part in parts():
        assert part.known.shape == part.radio.shape
        if "1/" in part.name:
            assert float(part.known.float().mean()) == pytest.approx(1 / int(part.name.split("1/")[1]), rel=0.15)
        if "beside" in part.name:
            assert not part.known[:, part.judged].any()
    assert len({part.name for part in parts()}) == 8 + 5


def test_every_method_completes_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = [part for part in parts() if part.name in ("scattered, 1/4", "half the band")]
    monkeypatch.setattr(completed_channels, "parts", lambda: iter(some))
    monkeypatch.setattr(completed_channels, "SNRS", (0, 20))
    monkeypatch.setitem(completed_channels.BUDGETS, "quick", Sample(2, 3, 40))
    for name, seed, place in (("links", 6, "town"), ("train", 7, "elsewhere")):
        links = geometric_links(seed=seed, areas=2, per_area=20, place=place)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", links)
        shards.write_manifest(tmp_path / name, {}, "")
    folders = {name: tmp_path / name for name in ("links", "train")}
    setup = Setup(uniair.build("tiny"), tmp_path / "out", folders, seeds=1)
    result = perform("completion", COMPLETION, setup)
    assert list(result["rows"]) == ["scattered, 1/4, 0 dB", "scattered, 1/4, 20 dB", "half the band, 10 dB"]
    at = {name: row["mean"] for name, row in result["rows"]["scattered, 1/4, 20 dB"]["nmse_db"].items()}
    # three paths a link: found one by one they are known better than linearly
    assert at["LMMSE of the true paths"] < at["Newtonised OMP"] < at["linear"]
    assert at["UniAir"] < min(at["linear"], at["LMMSE of training places"])
    ((heading, table),) = COMPLETION.tables(result)
    assert "6 links" in heading
    assert len(table.rows) == 3

    def again(*_: object) -> None:
        pytest.fail("measured again")

    monkeypatch.setattr(completed_channels, "_measured", again)
    assert perform("completion", COMPLETION, setup) == result
