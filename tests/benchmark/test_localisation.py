"""Zero-shot positioning: the posterior's closed forms, mirror images, several BSs, and a run that goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import localisation
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.localisation import POSITIONING
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.evaluation.posterior import Posterior, mirrored


def all_hear(links: Links) -> Links:
    """The same UEs for each of the area's three BSs."""
    ue = links.ue.copy()
    for area in range(len(links.areas)):
        mine = np.flatnonzero(links.area == area)
        ue[mine] = np.concatenate([links.ue[mine[: len(mine) // 3]]] * 3)
    return replace(links, ue=ue)


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", all_hear(geometric_links(3, areas=2, per_area=12)))
    shards.write_manifest(tmp_path / "links", {}, "")
    monkeypatch.setattr(localisation, "STEPS_M", {"quick": 8.0, "full": 4.0})
    monkeypatch.setattr(localisation, "speed_of", lambda *_: {
        "size_m": 200.0, "step_m": 1.0, "threads": 1, "device": "cpu",
        "links": {"los": {"cells": 1, "every_cell_s": 1.0, "two_passes_s": 1.0, "moved": 0.0}},
    })  # fmt: skip
    torch.manual_seed(0)
    return Setup(uniair.build("tiny"), tmp_path / "positioning", {"links": tmp_path / "links"}, seeds=2)


def test_a_posterior_by_hand() -> None:
    grid = np.array([1.0, 3.0, 5.0])
    probability = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.6, 0.1], [0.0, 0.0, 0.2]])
    found = Posterior(grid, probability.log())
    np.testing.assert_allclose(found.maximum(), [3, 3])
    np.testing.assert_allclose(found.mean(), [0.1 * 1 + 0.6 * 3 + 0.3 * 5, 0.1 * 1 + 0.7 * 3 + 0.2 * 5])
    assert found.above(np.array([3.5, 2.5])) == 0
    assert found.above(np.array([5.5, 5.5])) == pytest.approx(0.6)
    assert found.above(np.array([5.5, 3.0])) == pytest.approx(0.8)
    assert found.above(np.array([0.5, 5.5])) == 1  # where no UE can stand


def test_a_mirror_image_has_the_same_distance_and_the_same_angle_to_the_array() -> None:
    ue, bs = np.array([[10.0, 20.0, 1.5]]), np.array([[4.0, 12.0, 6.0]])
    image = mirrored(ue, bs)
    np.testing.assert_allclose(image, [[10, 4, 1.5]])
    assert np.linalg.norm(image - bs) == pytest.approx(np.linalg.norm(ue - bs))


def test_a_likelihood_that_peaks_at_the_ue_finds_it_and_more_stations_sharpen_it(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = [setup.store("links")[i] for i in range(2)]
    of_size = {float(area.sizes[0]): area for area in links}
    rng = np.random.default_rng(0)

    def likelihood(_model: Any, csi: torch.Tensor, _map: Any, bs: Any, size: float, step: float, height: float) -> Any:
        assert height == pytest.approx(1.5)
        area = of_size[size]
        grid = np.arange(step / 2, size, step)
        x, y = np.meshgrid(grid, grid)
        log = []
        for ue in area.ue[(area.bs == bs).all(1)]:
            heard = ue[:2] + rng.normal(0, 12, 2)  # each BS is off by itself
            log.append(-((x - heard[0]) ** 2 + (y - heard[1]) ** 2) / (2 * 12**2))
        assert len(log) == len(csi)
        return grid, torch.from_numpy(np.stack(log)).float()

    monkeypatch.setattr(localisation, "position_log_likelihood", likelihood)
    found = POSITIONING.run(setup)
    one = found["one"]["all"]
    assert one["errors"]["maximum"]["median_m"] < 25 < one["errors"]["random"]["median_m"]
    assert one["errors"]["mirrored"]["median_m"] <= one["errors"]["maximum"]["median_m"]
    assert 0.3 < one["regions"]["0.5"] < 0.7
    assert 0.7 < one["regions"]["0.9"] <= 1
    medians = [found["several"]["all"][k]["mean"]["median_m"]["mean"] for k in ("1", "2", "3")]
    assert medians[2] < medians[0]
    assert found["several"]["all"]["3"]["asked"] == 2 * 2 * 4


def test_every_table_and_a_run_that_goes_on(setup: Setup) -> None:
    found = perform("positioning", POSITIONING, setup)
    groups = len(found["one"])
    assert found["step_m"] == 8.0
    assert len(POSITIONING.tables(found)) == groups + 3
    for _, table in POSITIONING.tables(found):
        assert all(len(row) == len(table.head) for row in table.rows)
    next((setup.out / "runs").glob("links-town*")).unlink()
    assert perform("positioning", POSITIONING, setup) == found
    masts = replace(setup, folders=setup.folders | {"masts": setup.folders["links"]}, out=setup.out.with_name("masts"))
    both = perform("positioning", POSITIONING, masts)
    assert all(both["masts"][part] == both[part] == found[part] for part in ("areas", "one", "several"))
    assert len(POSITIONING.tables(both)) == 2 * (groups + 2) + 1


def test_seconds_are_measured_for_both_ways(tmp_path: Path) -> None:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(3, areas=1, per_area=12))
    shards.write_manifest(tmp_path / "links", {}, "")
    store = Setup(uniair.build("tiny"), tmp_path, {"links": tmp_path / "links"}).store("links")
    found = localisation.speed_of(uniair.build("tiny"), store, step=4.0)
    assert found["threads"] == torch.get_num_threads()
    for row in found["links"].values():
        assert row["every_cell_s"] > 0
        assert row["cells"] > 100
        assert 0 <= row["moved"] < 0.5
