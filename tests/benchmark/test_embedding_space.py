"""The space of embeddings: closed forms of its measures, and a second model beside the first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import embedding_space
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.embedding_space import FIG3, compare, measure, parallel
from uniair.data.links import shards


def test_lines_of_one_direction_are_parallel_and_those_of_all_directions_are_not() -> None:
    rng = np.random.default_rng(0)
    environment = rng.normal(size=(400, 16))
    shift = rng.normal(size=16)
    assert parallel(environment + shift, environment) == pytest.approx(1)
    lengths = rng.uniform(0.5, 2, (400, 1))
    assert parallel(environment + lengths * shift, environment) == pytest.approx(1)
    assert abs(parallel(environment + rng.normal(size=(400, 16)), environment)) < 0.1


def test_measures_of_a_rotated_space() -> None:
    rng = np.random.default_rng(0)
    environment = rng.normal(size=(400, 8)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    found = measure((environment @ turn + 3).astype(np.float32), environment)
    assert set(found) == set(embedding_space.MEASURES)
    assert found["linear_r2"] == pytest.approx(1, abs=1e-4)
    assert found["gap"] == pytest.approx(3 * np.sqrt(8), rel=0.1)
    # two clusters far apart: their lines are parallel whoever is joined
    assert found["parallel"] > 0.8
    assert found["parallel_shuffled"] > 0.8
    apart = measure(rng.normal(size=(400, 8)).astype(np.float32), environment)
    assert apart["linear_r2"] < 0.05


def test_two_models_stand_side_by_side_and_seeds_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_space, "SHOWN", 30)
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=40))
    shards.write_manifest(tmp_path / "links", {}, "")
    torch.manual_seed(0)
    setup = Setup(uniair.build("tiny"), tmp_path / "fig3", {"links": tmp_path / "links"}, seeds=2)
    alone = perform("fig3", FIG3, setup)
    assert list(alone["models"]) == ["tiny"]
    (setup.out / "runs/tiny-1.json").unlink()
    assert perform("fig3", FIG3, setup) == alone
    two = Setup(setup.model, tmp_path / "two", setup.folders, seeds=1)
    both = compare(two, [("with CRNN", setup.model), ("without", uniair.build("tiny"))])
    assert both["models"]["with CRNN"]["pictures"] == alone["models"]["tiny"]["pictures"]
    assert FIG3.tables(both)[0][1].head[1:] == ("with CRNN", "without")
