"""Nothing stands on both sides of a packaged split."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
import yaml

from tests.data.synthetic import synthetic_links
from uniair.data import splits
from uniair.data.drives.drive import Drive
from uniair.data.links.campaign import Campaign, plan, square_of
from uniair.data.splits import Split
from uniair.errors import InputError

ROOT = Path(__file__).parents[2]
FOOTPRINTS = ROOT.parent / "shared/data/buildings"


@pytest.mark.parametrize("name", splits.names())
def test_no_unit_stands_on_both_sides(name: str) -> None:
    split = splits.load(name)
    assert len(split.sides) >= 2
    assert all(split.sides.values())
    units = [unit for side in split.sides.values() for unit in side]
    assert len(units) == len(set(units))
    assert split.about


def test_there_is_a_split_of_every_kind() -> None:
    assert {splits.load(name).unit for name in splits.names()} == set(splits.UNITS)


def test_the_cities_are_those_of_the_recipes() -> None:
    split = splits.load("cities-v1")
    for side, places in split.sides.items():
        recipe = yaml.safe_load((ROOT / f"recipes/trace-{side}.yaml").read_text())
        assert sorted(recipe["places"]) == sorted(places)
    dense = yaml.safe_load((ROOT / "recipes/trace-dense.yaml").read_text())["places"]
    assert not set(dense) & set(split.sides["train"])


@pytest.mark.skipif(not FOOTPRINTS.is_dir(), reason="building footprints are not beside the checkout")
def test_no_ground_of_a_test_area_was_trained_on() -> None:
    split = splits.load("areas-v1")
    recipe = yaml.safe_load((ROOT / "recipes/trace-train.yaml").read_text())
    some = {"tondo", "kilamba"}  # the whole campaign takes two minutes
    root = {k: recipe[k] for k in ("areas", "bs", "ue", "seed")}
    campaign = Campaign(tuple(recipe["places"]), root=str(FOOTPRINTS), **root)
    ground: dict[tuple[str, str], list[shapely.Polygon]] = {}
    for place, number in plan(campaign)[: recipe["limit"]]:
        city = Path(place).name
        if city in some:
            name, square = square_of(campaign, place, number)
            for side, units in split.sides.items():
                if name in units:
                    ground.setdefault((city, side), []).append(square)
    for city in some:
        train, test = (shapely.union_all(ground[city, side]) for side in ("train", "test"))
        assert train.area > 0
        assert test.area > 0
        assert train.intersection(test).area == 0


def test_sides_of_links() -> None:
    links = synthetic_links(areas=4, links=60)
    stations = np.repeat([[10.0, 20.0, 6.0], [30.0, 40.0, 6.0]], 30, axis=0).astype(np.float32)
    links = replace(links, bs=stations[np.arange(60) % 60 // 30 * 30 % 60])
    by_area = Split("a", "area", {"train": ("town/00000", "town/00002"), "test": ("town/00001",)})
    assert set(np.array(links.areas)[links.area[by_area.side(links, "train")]]) <= {"town/00000", "town/00002"}
    assert not (by_area.side(links, "train") & by_area.side(links, "test")).any()
    by_bs = Split("b", "bs", {"train": ("town/00000@10,20",), "test": tuple(f"town/0000{i}@30,40" for i in range(4))})
    test = by_bs.side(links, "test")
    assert (links.bs[test] == [30, 40, 6]).all()
    assert test.sum() == (links.bs[:, 0] == 30).sum()
    by_place = Split("p", "place", {"train": ("town",), "test": ("city",)})
    assert by_place.side(links, "train").all()
    with pytest.raises(InputError, match="nothing of this data set"):
        by_place.side(links, "test")
    with pytest.raises(InputError, match="no side"):
        by_place.side(links, "train2")


def test_sides_of_drives() -> None:
    split = splits.load("drives-v1")
    one = np.ones((2, 2))
    drives = [
        Drive(name, np.arange(2.0), False, one, np.zeros(2, dtype=np.int32), one, one, np.zeros(2, dtype=np.int8))
        for side in split.sides.values()
        for name in side
    ]
    masks = [split.side(drives, side) for side in split.sides]
    assert np.sum(masks, axis=0).tolist() == [1] * len(drives)
    sites = splits.load("sites-a-v1")
    test = {d.scenario for d, held in zip(drives, sites.side(drives, "test"), strict=True) if held}
    assert test == {"scenario1", "scenario2", "scenario5"}
    with pytest.raises(InputError, match="does not divide this kind of data"):
        split.side(synthetic_links(), "train")


def test_a_split_that_leaks_cannot_be_made() -> None:
    with pytest.raises(InputError, match="krems stands in train and in test"):
        Split("x", "place", {"train": ("krems", "oslo"), "test": ("krems",)})
    with pytest.raises(InputError, match="is none of"):
        Split("x", "link", {"train": ("1",)})
    with pytest.raises(InputError, match="choose one of"):
        splits.load("cities-v9")


def test_few_shot_subsets_are_nested_seeded_and_fixed() -> None:
    settings = splits.few_shot_settings()
    for seed in settings["seeds"]:
        subsets = [splits.few_shot(8000, labels, seed) for labels in settings["labels"]]
        for small, large in pairwise(subsets):
            assert set(small) < set(large)
        assert all(len(set(s)) == n for s, n in zip(subsets, settings["labels"], strict=True))
    assert splits.few_shot(100, 5, 0).tolist() != splits.few_shot(100, 5, 1).tolist()
    assert splits.few_shot(100, 5, 0).tolist() == FIXED
    with pytest.raises(InputError, match="ask for 1 to 10"):
        splits.few_shot(10, 16, 0)


FIXED = [3, 11, 13, 20, 92]
