"""Matching: what a perfect and a blind model score, seeds, resuming and clear refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import matching
from uniair.benchmark.benchmark import Benchmark, Setup, perform
from uniair.benchmark.matching import FIG5, FIG6, FIG7
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.errors import InputError

LINKS = geometric_links(seed=3, areas=3, per_area=24)


def setup(tmp_path: Path, name: str, links: Links = LINKS) -> Setup:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", links)
    shards.write_manifest(tmp_path / "links", {}, "")
    torch.manual_seed(0)
    return Setup(uniair.build("tiny"), tmp_path / name, {"links": tmp_path / "links"}, seeds=2)


@pytest.mark.parametrize(("name", "benchmark"), [("fig5", FIG5), ("fig6", FIG6), ("fig7", FIG7)])
def test_each_figure_has_numbers_tables_and_a_picture_and_is_the_same_again(
    tmp_path: Path, name: str, benchmark: Benchmark
) -> None:
    one = setup(tmp_path, name)
    found = perform(name, benchmark, one)
    for heading, table in benchmark.tables(found):
        assert heading
        assert all(len(row) == len(table.head) for row in table.rows)
    assert (one.out / "figure.svg").stat().st_size > 5000
    for run in sorted((one.out / "runs").glob("*.json"))[:1] if name != "fig5" else ():
        run.unlink()
    assert perform(name, benchmark, one) == found


@pytest.mark.parametrize(("perfect", "accuracy"), [(True, 1.0), (False, 0.0)])
def test_a_model_that_knows_all_scores_one_and_one_that_ties_scores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perfect: bool, accuracy: float
) -> None:
    def similarity(_model: object, channel: torch.Tensor, _env: object) -> torch.Tensor:
        return torch.eye(len(channel)) * perfect

    monkeypatch.setattr(matching.zero_shot, "similarity", similarity)
    areas = FIG6.run(setup(tmp_path, "fig6"))
    assert areas["all"]["by_area"] == [accuracy] * 3
    assert areas["nlos"]["bins"][9 if perfect else 0] == 3
    assert areas["chance"] == pytest.approx(1 / 24)
    users = FIG7.run(setup(tmp_path, "fig7"))["users"]
    assert set(users) == set(matching.CROWDS)
    for rows in users.values():
        assert set(rows) <= {str(k) for k in matching.USERS}
        assert all(row["top1"]["mean"] == accuracy for row in rows.values())
    blind = users["mixed"]["5"]["probability"]
    assert perfect or blind == {"mean": pytest.approx(0.2), "spread": pytest.approx(0), "by_unit": [pytest.approx(0.2)]}
    one = FIG5.run(setup(tmp_path, "fig5"))
    assert one["accuracy"]["all"] == accuracy
    assert one["mean_similarity"]["own pair"] == perfect
    assert one["mean_similarity"]["pairs of the same BS"] == 0


def test_some_areas_are_spread_over_the_folder(tmp_path: Path) -> None:
    store = setup(tmp_path, "any").store("links")
    assert [name for name, _ in matching.some_areas(store, 2)] == [LINKS.areas[0], LINKS.areas[2]]
    assert [name for name, _ in matching.some_areas(store, None)] == list(LINKS.areas)


def test_areas_without_a_map_are_refused(tmp_path: Path) -> None:
    unmapped = replace(LINKS, mapped=np.zeros(3, dtype=bool), maps=np.zeros_like(LINKS.maps))
    with pytest.raises(InputError, match=r"town/00000 has no map; give a links folder with buildings"):
        FIG6.run(setup(tmp_path, "fig6", unmapped))


def test_the_histogram_counts_areas_in_tenths() -> None:
    axes = Figure().subplots()
    matching.histogram(axes, {"all": [0.05, 0.55, 0.58, 1.0]}, 0.01)
    assert [patch.get_height() for patch in axes.patches] == [1, 0, 0, 0, 0, 2, 0, 0, 0, 1]
