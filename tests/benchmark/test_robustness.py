"""Robustness: each disturbance against its closed form, ties, and a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import robustness
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.robustness import ROBUSTNESS, Places
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.models.sight_line import sight_line

LINKS = geometric_links(seed=3, areas=2, per_area=12)
RNG = np.random.default_rng


def test_buildings_go_and_come() -> None:
    occupancy = np.zeros((100, 100), dtype=np.uint8)
    for i in range(10):
        occupancy[10 * i : 10 * i + 5, 10:20] = 1
    assert robustness.without_buildings(occupancy, 0.3, RNG(0)).sum() == 7 * 50
    assert robustness.without_buildings(occupancy, 0.01, RNG(0)).sum() == 9 * 50
    assert robustness.without_buildings(occupancy, 1.0, RNG(0)).sum() == 0
    assert robustness.without_buildings(occupancy * 0, 0.3, RNG(0)).sum() == 0
    stand = RNG(1).uniform(0, 200, (30, 2))
    more = robustness.with_boxes(occupancy * 0, 200.0, stand, 0.3, RNG(0))
    assert 4**2 <= more.sum() <= 11**2  # one box of 8 to 20 m in pixels of 2 m
    cell = (stand / 2).astype(int)
    assert (more[cell[:, 1], cell[:, 0]] == 0).all()
    more = robustness.with_boxes(occupancy, 200.0, stand, 0.3, RNG(0))
    assert (more >= occupancy).all()
    assert more.sum() > occupancy.sum()
    heights = np.where(occupancy, 12.5, 0).astype(np.float32)
    assert np.unique(robustness.with_boxes(heights, 200.0, stand, 0.3, RNG(0))).tolist() == [0, 12.5]
    assert np.unique(robustness.with_boxes(heights * 0, 200.0, stand, 0.3, RNG(0))).tolist() == [0, np.inf]


def test_positions_are_off_by_the_metres_said_and_one_bs_stays_one() -> None:
    bs = torch.tensor([[50.0, 50.0, 6.0]] * 3 + [[60.0, 20.0, 6.0], [1.0, 1.0, 6.0]])
    found = robustness.moved(bs, torch.full((5,), 100.0), 5.0, RNG(0))
    torch.testing.assert_close((found - bs)[:4].norm(dim=1), torch.full((4,), 5.0))
    assert len(found[:3].unique(dim=0)) == 1
    assert (found[:, 2] == 6).all()
    assert ((found[:, :2] >= 0) & (found[:, :2] <= 100)).all()


def test_answers_against_hand_worked_embeddings() -> None:
    z = torch.eye(4)
    los = torch.stack([z[[1, 1, 2, 3]], z[[0, 0, 3, 2]]])  # LOS fits link 0, NLOS link 1 and so on
    scale = torch.stack([0.5 * z, z, 0 * z])
    found = Places(los, scale, torch.tensor([True, False, True, True])).answers(z)
    assert found == {"links": 4, "los": 2, "scale": 4, "top1": 4, "top5": 4}
    blind = Places(los, torch.ones(3, 4, 4), torch.tensor([True, False, True, True])).answers(z)
    assert blind["top1"] == pytest.approx(1)  # one of four, four times
    assert blind["top5"] == 4


def test_every_condition_is_there_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("SNR_DB", (-10, 30)), ("TIMING_NS", (-5, 20)), ("OFF_M", (1, 10)), ("SHARES", (0.3, 1.0))):
        monkeypatch.setattr(robustness, name, few)
    shards.write_shard(tmp_path / "links/links-00000.safetensors", LINKS)
    shards.write_manifest(tmp_path / "links", {}, "")
    torch.manual_seed(0)
    setup = Setup(uniair.build("tiny"), tmp_path / "robustness", {"links": tmp_path / "links"}, seeds=2)
    found = perform("robustness", ROBUSTNESS, setup)
    assert set(found["rows"]) == set(robustness.FAMILIES)
    assert found["links"] == len(LINKS)
    unknown = found["rows"]["missing"]["BS and UE"]
    told_apart = found["rows"][robustness.AS_IT_IS][""]
    assert unknown["top1"]["mean"] < told_apart["top1"]["mean"] + 0.5
    assert unknown["top1"]["mean"] <= 2 * 2 / 12  # map and LOS alone: at best one of each LOS class
    assert "nmse_db" in found["rows"]["snr"]["30"]
    assert len(ROBUSTNESS.tables(found)) == len(robustness.FAMILIES) - 1
    assert json.loads((setup.out / "result.json").read_text()) == found
    told = {family: set(levels) for family, levels in found["rows"].items()
            if all("los_geometry" in row for row in levels.values())}  # fmt: skip
    assert set(told) == {robustness.AS_IT_IS, "removed", "added", "bs_off", "ue_off"}
    env = [batch_of(links).environment for links in LINKS.split()]
    right = sum(int((~sight_line(one).blocked == (one.los > 0)).sum()) for one in env)
    assert told_apart["los_geometry"]["mean"] == pytest.approx(right / len(LINKS))
    # without a building nothing is blocked, whatever the channel says
    assert found["rows"]["removed"]["100"]["los_geometry"]["mean"] == pytest.approx(LINKS.los.mean())
    runs = sorted((setup.out / "runs").glob("*.json"))
    assert len(runs) == 2 * (1 + 2 + 2)
    runs[1].unlink()
    assert perform("robustness", ROBUSTNESS, setup) == found


def test_without_a_channel_the_same_maps_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[torch.Tensor]] = [[], []]
    model, batch = uniair.build("tiny"), batch_of(LINKS)
    monkeypatch.setattr(robustness.Places, "encode", lambda model, env: seen[0].append(env.map) or _Nothing())
    robustness._drawn(model, LINKS, [0, 1])
    for *_, env in robustness._disturbed(batch, RNG([0, 1])):
        seen[1].append(env.map)
    changed = len(robustness.SHARES) + len(robustness.ADDED) + 2 * len(robustness.OFF_M)
    assert len(seen[0]) == 1 + changed  # the place as it is first
    for one, other in zip(seen[0][1:], seen[1][len(robustness.SNR_DB) :], strict=True):
        assert torch.equal(one, other)


class _Nothing:
    def answers(self, channel: torch.Tensor) -> dict[str, float]:
        return {}
