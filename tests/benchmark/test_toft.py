"""Dense areas: every method of every task, runs that go on where they stopped and are shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import toft
from uniair.benchmark.benchmark import Setup
from uniair.benchmark.toft import Budget, compare
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.evaluation.classical import best_beam, log_distance
from uniair.tasks.registry import TASKS
from uniair.training.heads import HeadTraining

QUICK = HeadTraining(epochs=1, steps=20, batch=32)


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setitem(toft.BUDGETS, "quick", Budget(None, 40, 1, QUICK))
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=80))
    shards.write_manifest(tmp_path / "links", {}, "")
    return Setup(uniair.build("tiny"), tmp_path / "bench/one", {"dense": tmp_path / "links"}, seeds=2)


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}


def test_every_method_of_every_task_and_resuming(setup: Setup) -> None:
    found = compare(setup, tuple(TASKS))
    rows, embedding = found["rows"], setup.model.preset.embedding
    assert set(rows) == set(TASKS)
    assert rows["los"]["TOFT from CSI"]["tuned_parameters"] == 2 * (embedding + 1)
    assert rows["beam"]["MLP from position"]["tuned_parameters"] == 10_720
    for source in ("CSI", "map and positions"):
        shared = rows["beam"][f"one head for both, from {source}"]["tuned_parameters"]
        assert shared == rows["beam"]["TOFT from CSI"]["tuned_parameters"]
    for methods in rows.values():
        for row in methods.values():
            assert all(len(values) == 2 for values in row["by_area"].values())
            for key, mean in row["mean"].items():
                assert mean == pytest.approx(np.mean(row["by_area"][key]))
    runs = setup.out.parent / "toft/runs"
    before = written(runs.parent)
    assert len(before) == 2 * 2 * len(TASKS)
    lost = next(iter(before))
    (runs / lost).unlink()
    assert compare(setup, tuple(TASKS)) == found
    again = written(runs.parent)
    assert {name for name in again if again[name] != before[name]} == {lost}


def test_networks_from_scratch_are_trained_once_whatever_the_weights(setup: Setup, tmp_path: Path) -> None:
    beams = compare(setup, ("beam",))["rows"]["beam"]
    assert beams["Task-General ViT"]["tuned_parameters"] > beams["Task-Specific ViT"]["tuned_parameters"]
    before = written(setup.out.parent / "supervised")
    assert len(before) == 2 * 2 * 2  # areas, seeds, networks
    los = compare(replace(setup, out=setup.out.parent / "two"), ("los",))["rows"]["los"]
    after = written(setup.out.parent / "supervised")
    assert len(after) == 2 * 2 * 3
    assert {name: after[name] for name in before} == before
    assert los["Task-General ViT"]["tuned_parameters"] == beams["Task-General ViT"]["tuned_parameters"]

    other = replace(setup, model=uniair.build("tiny"))
    with pytest.raises(InputError, match="another weights"):
        compare(other, ("beam",))
    (setup.out.parent / "supervised").rename(tmp_path / "supervised")
    moved = replace(other, out=tmp_path / "one")
    assert compare(moved, ("beam",))["rows"]["beam"]["Task-General ViT"] == beams["Task-General ViT"]
    assert written(tmp_path / "supervised") == after


def test_settings_that_differ_are_refused(setup: Setup) -> None:
    compare(setup, ("path_loss",))
    with pytest.raises(InputError, match="another --out"):
        compare(setup, ("path_loss",), split="blocks")
    with pytest.raises(InputError, match="another --out"):
        compare(setup, ("path_loss",), labels=30)
    with pytest.raises(InputError, match="lower --labels"):
        compare(replace(setup, out=setup.out.parent / "b/c"), ("los",), labels=500)
    with pytest.raises(InputError, match="lower --labels"):
        compare(replace(setup, out=setup.out.parent / "d/e"), ("los",), labels=0)


def test_the_log_distance_law_is_found_again(links_batch: Batch) -> None:
    env = links_batch.environment
    truth = 61.4 + 20 * torch.log10((env.ue - env.bs).norm(dim=1, keepdim=True))
    torch.testing.assert_close(log_distance(links_batch, truth, links_batch), truth, atol=1e-3, rtol=0)


def test_the_best_beam_is_the_best_precoder_of_a_plane_wave_on_the_grid(links_batch: Batch) -> None:
    n, k = torch.arange(32)[:, None], torch.arange(64)
    wave = torch.exp(-2j * torch.pi * (5 * n / 32 + 3 * k / 64))[None].to(torch.complex64)
    one = Batch(wave, links_batch.environment.select([0]))
    assert TASKS["precoding"].measure(best_beam(one), one)["sgcs"] == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def links_batch() -> Batch:
    return batch_of(geometric_links(seed=4, areas=1, per_area=24))
