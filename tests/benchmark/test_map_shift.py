"""Shifted maps: the building near the link, and a model that sees the map or does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import map_shift
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.map_shift import FIG8, near_building
from uniair.data.links import shards


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(map_shift, "SHIFTS", (1.0, 8.0))
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=24))
    shards.write_manifest(tmp_path / "links", {}, "")
    torch.manual_seed(0)
    return Setup(uniair.build("tiny"), tmp_path / "fig8", {"links": tmp_path / "links"}, seeds=2)


def test_the_building_stands_near_the_line() -> None:
    occupancy = np.zeros((100, 100), dtype=np.uint8)  # 100 m
    occupancy[48:52, 40:45] = 1  # on the line
    occupancy[60:64, 60:65] = 1  # 10 m from it
    occupancy[90:95, 10:15] = 1  # 40 m from it
    bs, ue = np.array([10.0, 50.0, 6.0]), np.array([90.0, 50.0, 1.5])
    seen = {
        int(np.argwhere(near_building(occupancy, 100.0, bs, ue, np.random.default_rng(i)))[0][0]) for i in range(30)
    }
    assert seen == {48, 60}
    occupancy[48:64] = 0
    far = near_building(occupancy, 100.0, bs, ue, np.random.default_rng(0))  # none is near: the nearest
    assert far.sum() == 25
    assert not near_building(occupancy * 0, 100.0, bs, ue, np.random.default_rng(0)).any()


def test_the_curve_has_every_part_and_goes_on_where_it_stopped(setup: Setup) -> None:
    found = perform("fig8", FIG8, setup)
    assert found["shifts_m"] == [1.0, 8.0]
    assert set(found["moved"]) == set(map_shift.MOVED)
    runs = sorted((setup.out / "runs").glob("*.json"))
    assert len(runs) == 4
    runs[2].unlink()
    assert perform("fig8", FIG8, setup) == found
    assert len(FIG8.tables(found)) == 2


@pytest.mark.parametrize(("sees", "accuracy"), [(True, 1.0), (False, 0.5)])
def test_a_model_that_compares_maps_is_always_right_and_a_blind_one_half_the_time(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, sees: bool, accuracy: float
) -> None:
    def rank(_model: object, channel: torch.Tensor, envs: list[Any]) -> torch.Tensor:
        true, other = (env.map[env.area] for env in envs)
        inside = ((envs[1].bs[:, :2] >= 0) & (envs[1].bs[:, :2] <= envs[0].size.numpy()[:, None])).all()
        assert len(channel) == len(true) == len(other)
        assert inside
        better = (true != other).any(2).any(1) * (0.5 * sees)
        return torch.stack([0.5 + better, 0.5 - better], 1)

    monkeypatch.setattr(map_shift.zero_shot, "rank", rank)
    for kinds in FIG8.run(setup)["moved"].values():
        for row in kinds.values():
            assert row[1]["accuracy"]["mean"] == accuracy
            assert 0 < row[1]["asked"] <= 2 * 2 * 10
            assert 0.5 <= row[0]["accuracy"]["mean"] <= accuracy  # 1 m may be less than a pixel
