"""What is a building: tags, undergrounds, roofs and bridges, parts, and the counts of all that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniair.area import footprints
from uniair.area.area import Area
from uniair.area.raster import building_heights, occupancy
from uniair.errors import InputError

from . import towns
from .towns import Osm, collection, feature, rectangle


def load(folder: Path, *features: Any) -> Area:
    return footprints.load(towns.write(folder, "town.geojson", collection(*features)))


def load_osm(folder: Path, town: Osm) -> Area:
    return footprints.load(towns.write(folder, "town.osm", town.text()))


def left_out(area: Area) -> dict[str, int]:
    assert area.reading is not None
    return {reason: count.count for reason, count in area.reading.left_out.items()}


def guessed(area: Area) -> dict[str, int]:
    assert area.reading is not None
    return {reason: count.count for reason, count in area.reading.guessed.items()}


def test_where_one_feature_says_building_the_others_are_none(tmp_path: Path) -> None:
    area = load(
        tmp_path,
        feature(rectangle(0, 0, 20, 20), building="yes", height="12"),
        feature(rectangle(0, 60, 200, 140), leisure="garden", building=None),
        feature(rectangle(100, 0, 60, 40), natural="water"),
    )
    assert len(area.footprints) == 1
    assert area.footprints[0].area == pytest.approx(400, rel=0.01)
    assert left_out(area) == {"not tagged as building": 2}
    assert "leisure=garden" in area.reading.left_out["not tagged as building"].example  # type: ignore[union-attr]


def test_where_none_says_building_all_are(tmp_path: Path) -> None:
    assert len(load(tmp_path, feature(rectangle(0, 0, 9, 9)), feature(rectangle(30, 0, 9, 9), id=3)).footprints) == 2


def test_nested_tags_count(tmp_path: Path) -> None:
    area = load(
        tmp_path,
        feature(rectangle(0, 0, 20, 20), type="way", id=4, tags={"building": "barn", "height": "31"}, meta={}),
        feature(rectangle(40, 0, 20, 20), type="way", id=5, tags={"building": "no"}, meta={}),
        feature(rectangle(80, 0, 99, 99), type="way", id=6, tags={"landuse": "grass"}, meta={}),
    )
    assert area.heights.tolist() == [31.0]
    assert left_out(area) == {"building=no": 1, "not tagged as building": 1}


@pytest.mark.parametrize(
    "tags",
    [
        {"building": "no"}, {"building": "ruins"}, {"building": "proposed"}, {"building": "collapsed"},
        {"building": "construction"}, {"building": "demolished"}, {"building": False}, {"building": "False"},
        {"building": "yes", "demolished": "yes"}, {"building": "yes", "ruins": "yes"},
        {"building": "garage", "location": "underground", "height": "6"}, {"building": "yes", "layer": "-1"},
        {"building": "yes", "layer": "-2", "building:levels": "0"},
        {"building": "yes", "building:levels": "0", "building:levels:underground": "3"},
        {"building": "garages", "parking": "underground"}, {"building": "yes", "is_underground": True},
    ],
)  # fmt: skip
def test_what_does_not_stand(tmp_path: Path, tags: dict[str, Any]) -> None:
    house = feature(rectangle(0, 0, 20, 20), building="yes", height=9)
    area = load(tmp_path, house, feature(rectangle(40, 0, 80, 80)) | {"properties": tags})
    assert len(area.footprints) == 1
    assert sum(left_out(area).values()) == 1


@pytest.mark.parametrize(
    "tags",
    [
        {"building": "yes", "layer": "-1", "building:levels": "2"}, {"building": "yes", "layer": "-1", "height": "6"},
        {"building": "abandoned"}, {"building": "yes", "layer": "1"}, {"building": "yes", "is_underground": False},
        {"building": "yes", "building:levels": "0"}, {"building": "yes", "building:levels:underground": "1"},
    ],
)  # fmt: skip
def test_what_stands_all_the_same(tmp_path: Path, tags: dict[str, Any]) -> None:
    assert len(load(tmp_path, feature(rectangle(40, 0, 80, 80)) | {"properties": tags}).footprints) == 1


def test_overture_undergrounds(tmp_path: Path) -> None:
    area = load(
        tmp_path,
        feature(rectangle(0, 0, 20, 20), height=8.0, is_underground=False, level=None),
        feature(rectangle(40, 0, 80, 90), height=None, is_underground=True, level=-1),
        feature(rectangle(200, 0, 80, 90), height=None, is_underground=None, level=-2),
    )
    assert area.heights.tolist() == [8.0]
    assert left_out(area) == {"underground": 2}


def street() -> Osm:
    """A street from west to east, with a bridge of two floors over it, and a canopy to the north."""
    town = Osm()
    town.way(0, 0, 160, 30, building="yes", height="20")
    town.way(0, 50, 160, 30, building="yes", height="20")
    town.way(70, 30, 12, 20, building="bridge", height="11", min_height="5")
    town.way(20, 100, 30, 20, building="roof", height="6", amenity="fuel")
    return town


def test_people_walk_under_bridges_and_canopies(tmp_path: Path) -> None:
    area = load_osm(tmp_path, street())
    x0, y0 = area.bounds[:2]
    under = np.array([[x0 + 76, y0 + 40, 1.5], [x0 + 35, y0 + 110, 1.5], [x0 + 76, y0 + 10, 1.5]])
    assert area.inside_building(under).tolist() == [False, False, True]
    assert area.inside_building(under + np.array([0, 0, 6.0])).tolist() == [
        True,
        False,
        True,
    ]  # 7.5 m up, within the bridge
    area.require_outdoors(under[:2], "UE")
    assert area.bases.tolist() == [0.0, 0.0, 5.0, 5.5]
    assert area.obstacles.tolist() == [True, True, False, False]
    assert guessed(area) == {"floor of a roof": 1}
    assert area.reading is not None
    assert area.reading.raised == 2


def test_rasters_of_raised_bodies(tmp_path: Path) -> None:
    area = load_osm(tmp_path, street())
    cell = area.size / 160
    row, column = int(40 / cell), int(76 / cell)
    assert occupancy(area, 160)[row, column] == 0
    assert building_heights(area, 160)[row, column] == 11.0
    assert building_heights(area, 160)[int(10 / cell), column] == 20.0


def test_drops_may_stand_under_a_roof_but_not_in_it(tmp_path: Path) -> None:
    town = Osm()
    town.way(0, 0, 100, 100, building="roof", height="6", min_height="4")
    town.way(-20, 0, 10, 100, building="yes", height="9")
    area = load_osm(tmp_path, town)
    users = area.drop(200, 1.5, np.random.default_rng(0))
    assert (users[:, 0] > area.bounds[0] + 20).mean() > 0.8
    stations = area.drop(50, 5.0, np.random.default_rng(0), clearance=0.5)
    assert not area.inside_building(stations).any()


def test_roofs_and_bridges_of_which_little_is_said(tmp_path: Path) -> None:
    town = Osm()
    town.way(0, 0, 20, 20, building="roof")
    town.way(40, 0, 20, 20, building="carport", height="3")
    town.way(80, 0, 20, 20, building="bridge")
    town.way(120, 0, 20, 20, building="yes", building__min_level="1", building__levels="4")
    town.way(160, 0, 20, 20, building="yes", min_height="30", height="9")
    area = load_osm(tmp_path, town)
    roof, carport, bridge, *others = area.heights.tolist()
    assert 2.5 < roof < 12.0
    assert 5.0 < bridge < 25.0
    assert [carport, *others] == [3.0, 12.0, 9.0]
    assert area.bases.tolist() == [roof - 0.5, 2.5, max(bridge - 4.0, bridge / 2), 3.0, 0.0]
    assert guessed(area)["min_height not below the top"] == 1
    assert area.reading is not None
    assert area.drawn.tolist() == [True, False, True, False, False]


def test_parts_replace_the_outline_that_they_cover(tmp_path: Path) -> None:
    town = Osm()
    town.way(0, 0, 50, 50, building="office", height="70")
    town.way(0, 0, 50, 50, building__part="yes", height="8")
    town.way(10, 10, 20, 20, building__part="yes", height="70", min_height="8")
    town.way(100, 0, 25, 25, building__part="yes", height="11")
    area = load_osm(tmp_path, town)
    found = sorted((round(p.area, -1), h, b) for p, h, b in zip(area.footprints, area.heights, area.bases, strict=True))
    assert found == [(400, 70.0, 8.0), (620, 11.0, 0.0), (2500, 8.0, 0.0)]
    assert left_out(area) == {"an outline whose parts stand instead": 1}
    raster = building_heights(area, 128)
    assert set(np.unique(raster).tolist()) == {0.0, 8.0, 11.0, 70.0}
    assert area.reading is not None
    assert area.reading.parts == 3


def test_an_outline_keeps_the_ground_that_its_parts_leave(tmp_path: Path) -> None:
    town = Osm()
    town.way(0, 0, 60, 40, building="yes", height="30")
    town.way(0, 0, 20, 40, building__part="yes", height="12")
    town.way(100, 0, 20, 20, building="yes", height="14")
    town.way(100, 0, 20, 20, building__part="yes")
    area = load_osm(tmp_path, town)
    found = sorted((round(p.area, -1), h) for p, h in zip(area.footprints, area.heights, strict=True))
    assert found == [(400, 14.0), (800, 12.0), (1600, 30.0)]
    assert guessed(area) == {"a part of no height has its outline's": 1}


def test_overture_parts_know_their_building(tmp_path: Path) -> None:
    area = load(
        tmp_path,
        feature(rectangle(0, 0, 40, 40), id="a", height=50.0, has_parts=True),
        feature(rectangle(0, 0, 20, 40), id="b", building_id="a", height=9.0),
        feature(rectangle(20, 0, 20, 40), id="c", building_id="a", height=50.0),
    )
    assert sorted(area.heights.tolist()) == [9.0, 50.0]


def test_the_same_outline_twice_stands_once(tmp_path: Path) -> None:
    ring = rectangle(0, 0, 20, 20)
    area = load(tmp_path, feature(ring, building="yes"), feature(ring[::-1], building="yes", height=9))
    assert area.heights.tolist() == [9.0]
    assert left_out(area) == {"the same outline twice": 1}


def test_heights_from_levels_neighbours_and_the_draw_are_counted(tmp_path: Path) -> None:
    houses = [feature(rectangle(30 * i, 0, 20, 20), building="house", height=str(7 + i % 2)) for i in range(8)]
    area = load(
        tmp_path,
        *houses,
        feature(rectangle(240, 0, 20, 20), building="house"),
        feature(rectangle(270, 0, 20, 20), building="house", building__levels="4"),
        feature(rectangle(300, 0, 20, 20), building="church", height="tall"),
    )
    assert area.reading is not None
    assert area.reading.heights == {
        "given": 8, "from levels": 1, "from neighbours": 1, "drawn": 1,
    }  # fmt: skip
    assert area.reading.lines()[0] == "1 of 11 heights drawn; 8 given, 1 from levels, 1 from neighbours"
    assert area.drawn.tolist() == [False] * 10 + [True]
    assert guessed(area) == {"a height that can't be read": 1}
    assert area.reading.guessed["a height that can't be read"].example == "feature 11, height=tall"
    assert area.crop(area.bounds[2] - 15, area.bounds[1], 40.0).drawn.tolist() == [True]
    assert area.reading.as_dict()["heights"]["drawn"] == 1


def test_geometries_that_are_no_outlines_are_counted(tmp_path: Path) -> None:
    ring = rectangle(0, 0, 20, 20)
    point = {"type": "Point", "coordinates": ring[0]}
    area = load(
        tmp_path,
        feature(ring, building="yes", height=5),
        {"type": "Feature", "properties": {"building": "yes"}, "geometry": point},
        {"type": "Feature", "properties": {"building": "yes"}, "geometry": None},
        {"type": "Feature", "properties": {"building": "yes"}, "geometry": {"type": "Polygon", "coordinates": []}},
        {
            "type": "Feature", "properties": {"building": "yes", "height": 6},
            "geometry": {"type": "LineString", "coordinates": rectangle(40, 0, 20, 20)},
        },
        {
            "type": "Feature", "properties": {"building": "yes", "height": 7},
            "geometry": {"type": "GeometryCollection", "geometries": [
                {"type": "Polygon", "coordinates": [rectangle(80, 0, 20, 20)]}, point]},
        },
        feature([[*corner, 120.0] for corner in rectangle(120, 0, 20, 20)], building="yes", height=8),
        feature(rectangle(160, 0, 0.5, 0.5), building="yes", height=8),
    )  # fmt: skip
    assert area.heights.tolist() == [5.0, 6.0, 7.0, 8.0]
    assert left_out(area) == {
        "a point or line, no outline": 1, "without a geometry": 2, "smaller than 1 m²": 1,
    }  # fmt: skip


def test_a_part_of_what_is_no_building_stands(tmp_path: Path) -> None:
    town = Osm()
    town.way(0, 0, 20, 20, building="no", building__part="yes", height="9")
    assert load_osm(tmp_path, town).heights.tolist() == [9.0]


def test_parks_and_lakes_alone_are_no_buildings(tmp_path: Path) -> None:
    park, lake = feature(rectangle(40, 0, 99, 99), leisure="park"), feature(rectangle(0, 150, 60, 60), natural="water")
    parking = feature(rectangle(150, 0, 30, 30), amenity="parking")
    untagged = feature(rectangle(0, 0, 20, 20))
    area = footprints.load(towns.write(tmp_path, "mixed.geojson", collection(untagged, park, lake, parking)))
    assert len(area.footprints) == 1
    assert area.reading is not None
    assert set(area.reading.left_out) == {"leisure=park", "natural=water", "amenity=parking"}
    with pytest.raises(InputError, match="leisure=park: 1"):
        footprints.load(towns.write(tmp_path, "park.geojson", collection(park)))
    tall = feature(rectangle(40, 0, 30, 30), amenity="parking", height="12")  # a multi-storey car park
    assert footprints.load(towns.write(tmp_path, "tall.geojson", collection(tall))).heights.tolist() == [12.0]
    used = feature(rectangle(40, 0, 30, 30), landuse="residential")  # a city's own column
    assert len(footprints.load(towns.write(tmp_path, "use.geojson", collection(used))).footprints) == 1
