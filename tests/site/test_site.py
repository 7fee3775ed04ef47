"""`site.json`: what is written is read again, and what says no site is refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from uniair.area.area import Area
from uniair.area.georeference import Georeference
from uniair.area.reading import Count, Reading
from uniair.errors import InputError
from uniair.site.site import Site, Station, obstacles

READING = Reading(
    3, 1, 1, {"given": 1, "from levels": 1, "drawn": 1}, {"underground": Count(2, "way 7, location=underground")},
    {"floor of a roof": Count(1, "way 9")}, ("the middle lies at 48.4° N",),
)  # fmt: skip
AREA = Area(
    "town", (box(10, 10, 30, 30), box(40, 10, 60, 30), box(70, 10, 90, 30)), np.array([12.3456789, 5.0, 9.0]),
    (0.0, 0.0, 100.0, 100.0), "made by a test", None, np.array([0.0, 4.5, 0.0]), np.array([True, False, False]),
    READING,
)  # fmt: skip


def made(folder: Path) -> Site:
    place = Georeference(15.6, 48.4, (1.0, 2.0))
    site = Site(folder, AREA, (Station("bs0", (35.0, 50.0, 6.0)),), "small", "0", place)
    site.write()
    return site


def test_floors_draws_and_counts_are_read_again(tmp_path: Path) -> None:
    site, found = made(tmp_path), Site.read(tmp_path)
    assert np.array_equal(found.area.heights, AREA.heights)
    assert np.array_equal(found.area.bases, AREA.bases)
    assert np.array_equal(found.area.drawn, AREA.drawn)
    assert found.area.reading == READING
    assert found.georeference == site.georeference
    assert np.array_equal(found.map, site.map)


def test_a_site_of_the_first_version_stands_on_the_ground(tmp_path: Path) -> None:
    made(tmp_path)
    note = json.loads((tmp_path / "site.json").read_text())
    del note["reading"]
    for building in note["buildings"]:
        building.pop("base", None)
        building.pop("drawn", None)
    (tmp_path / "site.json").write_text(json.dumps(note))
    found = Site.read(tmp_path).area
    assert found.reading is None
    assert not found.bases.any()
    assert not found.drawn.any()


def test_people_walk_under_a_roof_on_the_models_map_too() -> None:
    station = (Station("bs0", (35.0, 50.0, 6.0)),)
    under = obstacles(AREA, station)[51, 128]
    assert not under
    assert obstacles(replace(AREA, bases=np.zeros(3)), station)[51, 128]


def _put(value: Any, *keys: Any) -> Callable[[Any], None]:
    def change(note: Any) -> None:
        for key in keys[:-1]:
            note = note[key]
        note[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _put(7, "model"), _put("x", "size"), _put(float("nan"), "size"), _put([], "stations"), _put("x", "about"),
        _put([1, 2], "stations", 0, "position"), _put([500, 2, 6], "stations", 0, "position"),
        _put("north", "stations", 0, "bearing"), _put(None, "stations", 0, "name"),
        _put("x", "georeference", "longitude"), _put([[0, 0], [1e308, 0], [1, 1]], "buildings", 0, "p"),
        _put([[0, 0], [1, float("nan")], [1, 1]], "buildings", 0, "p"), _put(-3, "buildings", 0, "h"),
        _put(50, "buildings", 0, "base"), _put({"heights": 3}, "reading"), _put({"users": "many"}, "about"),
        _put({"users": {"highest": "tall"}}, "about"),
    ],
)  # fmt: skip
def test_what_says_no_site_is_one_line(tmp_path: Path, change: Callable[[Any], None]) -> None:
    made(tmp_path)
    note = json.loads((tmp_path / "site.json").read_text())
    change(note)
    (tmp_path / "site.json").write_text(json.dumps(note))
    with pytest.raises(InputError, match=r"site\.json: ") as caught:
        Site.read(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
