"""`Area`: checks, crops, statistics, and where BSs and UEs may stand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from uniair.area import procedural
from uniair.area.area import Area, polygons_of
from uniair.errors import InputError


def area_of(*footprints: Polygon, side: float = 100.0, heights: tuple[float, ...] | None = None) -> Area:
    return Area("test", footprints, np.array(heights or (10.0,) * len(footprints)), (0.0, 0.0, side, side), "licence")


def test_extents() -> None:
    area = Area("a", (), np.zeros(0), (-10.0, 5.0, 20.0, 15.0))
    assert (area.width, area.depth, area.size) == (30.0, 10.0, 30.0)


@pytest.mark.parametrize(
    ("footprints", "heights", "bounds", "words"),
    [
        ((), [], (0, 0, 0, 5), "not a rectangle"),
        ((), [], (0, 0, math.nan, 5), "not a rectangle"),
        ((), [], (0, 0, math.inf, 5), "not a rectangle"),
        ((box(0, 0, 1, 1),), [], (0, 0, 5, 5), "1 footprints but 0 heights"),
        ((box(0, 0, 1, 1),), [0.0], (0, 0, 5, 5), "above 0 m"),
        ((box(0, 0, 1, 1),), [math.nan], (0, 0, 5, 5), "finite"),
    ],
)
def test_impossible_areas_are_refused(
    footprints: tuple[Polygon, ...], heights: list[float], bounds: tuple[float, float, float, float], words: str
) -> None:
    with pytest.raises(InputError, match=f"area a: .*{words}"):
        Area("a", footprints, np.asarray(heights), bounds)


def test_require_buildings() -> None:
    area_of(box(0, 0, 5, 5)).require_buildings()
    with pytest.raises(InputError, match="area test has no buildings: choose another crop"):
        area_of().require_buildings()


def test_inside_building_knows_holes() -> None:
    courtyard = Polygon(box(10, 10, 50, 50).exterior, [box(20, 20, 40, 40).exterior.coords])
    points = np.array([[15.0, 15.0, 1.5], [30.0, 30.0, 1.5], [60.0, 60.0, 1.5]])
    assert area_of(courtyard).inside_building(points).tolist() == [True, False, False]
    assert area_of().inside_building(points).tolist() == [False, False, False]


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ((15.0, 15.0), r"UE 1 at \(15\.0, 15\.0\) m is inside a building: move it"),
        ((101.0, 5.0), "UE 1 at .* is outside the area"),
        ((5.0, -1.0), "UE 1 at .* is outside the area"),
        ((math.nan, 5.0), "UE position 1 is NaN or infinite"),
        ((5.0, math.inf), "UE position 1 is NaN or infinite"),
    ],
)
def test_require_outdoors(point: tuple[float, float], words: str) -> None:
    area = area_of(box(10, 10, 50, 50))
    good = (5.0, 5.0)
    area.require_outdoors(np.array([good, (0.0, 100.0)]), "UE")
    with pytest.raises(InputError, match=words):
        area.require_outdoors(np.array([good, point, good]), "UE")


def test_crop_moves_cuts_and_keeps_what_belongs_to_a_building() -> None:
    area = area_of(box(10, 10, 30, 20), box(60, 60, 70, 90), side=100.0, heights=(8.0, 20.0))
    crop = area.crop(20.0, 5.0, 45.0, 60.0)
    assert crop.bounds == (0.0, 0.0, 45.0, 60.0)
    assert crop.attribution == "licence"
    assert [f.bounds for f in crop.footprints] == [(0.0, 5.0, 10.0, 15.0), (40.0, 55.0, 45.0, 60.0)]
    assert crop.heights.tolist() == [8.0, 20.0]


def test_a_crop_turned_by_a_right_angle() -> None:
    # the crop's x axis points north, so what lies in the world's north-west comes to lie in the crop's north-east
    area = area_of(box(0, 80, 10, 100))
    crop = area.crop(0.0, 0.0, 100.0, rotation=math.pi / 2)
    np.testing.assert_allclose(crop.footprints[0].bounds, (80.0, 90.0, 100.0, 100.0), atol=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    x=st.floats(0, 100),
    y=st.floats(0, 100),
    width=st.floats(40, 150),
    depth=st.floats(40, 150),
    rotation=st.floats(-7, 7),
)
def test_crops_agree_with_the_world_about_what_is_inside(
    x: float, y: float, width: float, depth: float, rotation: float
) -> None:
    world = procedural.city(3, 250.0)
    crop = world.crop(x, y, width, depth, rotation)
    points = np.random.default_rng(0).uniform((1, 1), (width - 1, depth - 1), (200, 2))
    centre = np.array([x + width / 2, y + depth / 2])
    turn = np.array([[math.cos(rotation), -math.sin(rotation)], [math.sin(rotation), math.cos(rotation)]])
    there = (points - [width / 2, depth / 2]) @ turn.T + centre
    walls = shapely.boundary(shapely.union_all(np.asarray(world.footprints)))
    clear = shapely.distance(walls, shapely.points(there)) > 0.5  # a crop leaves slivers below 1 m² out
    assert (crop.inside_building(points) == world.inside_building(there))[clear].all()


def test_a_crop_without_buildings_can_be_cropped_again() -> None:
    empty = area_of(box(0, 0, 10, 10)).crop(50.0, 50.0, 40.0)
    assert empty.footprints == ()
    assert empty.crop(0.0, 0.0, 20.0).footprints == ()


@pytest.mark.parametrize(
    ("width", "depth", "x"), [(0.0, None, 0.0), (10.0, -1.0, 0.0), (math.nan, None, 0.0), (9.0, 9.0, math.inf)]
)
def test_impossible_crops_are_refused(width: float, depth: float | None, x: float) -> None:
    with pytest.raises(InputError, match="crop of"):
        area_of().crop(x, 0.0, width, depth)


def test_statistics() -> None:
    seen = area_of(box(0, 0, 50, 100), box(90, 90, 100, 100), heights=(10.0, 30.0)).statistics()
    assert seen.coverage == pytest.approx(0.51)
    assert seen.buildings == 2
    assert seen.mean_height == pytest.approx((5000 * 10 + 100 * 30) / 5100)
    assert area_of(box(0, 0, 50, 100)).statistics().openness == pytest.approx(25.0, abs=2.0)
    empty = area_of().statistics()
    assert (empty.coverage, empty.buildings, empty.mean_height) == (0.0, 0, 0.0)


def test_statistics_do_not_count_overlaps_twice() -> None:
    assert area_of(box(0, 0, 50, 100), box(0, 0, 50, 100)).statistics().coverage == pytest.approx(0.5)


@pytest.mark.parametrize("clearance", [1.0, 4.0])
def test_dropped_points_stand_clear_of_walls(clearance: float) -> None:
    area = procedural.city(2, 200.0)
    points = area.drop(300, 1.5, np.random.default_rng(0), clearance)
    assert points.shape == (300, 3)
    assert (points[:, 2] == 1.5).all()
    area.require_outdoors(points, "UE")
    plans = shapely.union_all(np.asarray(area.footprints))
    # GEOS draws the circles about corners as polygons, which lie a little inside
    assert shapely.distance(plans, shapely.points(points[:, :2])).min() >= 0.97 * clearance


def test_drop_is_uniform_and_seeded() -> None:
    area = area_of(box(0, 0, 50, 50))
    points = area.drop(4000, 6.0, np.random.default_rng(1), clearance=0.0)
    quarters = np.histogram2d(points[:, 0], points[:, 1], bins=2, range=[[0, 100], [0, 100]])[0]
    assert quarters[0, 0] == 0
    assert quarters[quarters > 0] == pytest.approx(np.full(3, 4000 / 3), rel=0.1)
    np.testing.assert_array_equal(points, area.drop(4000, 6.0, np.random.default_rng(1), clearance=0.0))


def test_no_room_to_drop() -> None:
    with pytest.raises(InputError, match="too little outdoor ground for 5 positions"):
        area_of(box(0, 0, 100, 100)).drop(5, 1.5, np.random.default_rng(0))


def test_polygons_of_keeps_every_polygon_of_a_metre_or_more() -> None:
    two = MultiPolygon([box(0, 0, 2, 2), box(5, 5, 6, 6)])
    nested = GeometryCollection(
        [two, LineString([(0, 0), (9, 9)]), box(20, 20, 20.5, 20.5), Point(1, 1), box(30, 0, 33, 1)]
    )
    assert [p.area for p in polygons_of(nested)] == [4.0, 1.0, 3.0]
    assert [p.area for p in polygons_of(nested, least=2.0)] == [4.0, 3.0]
    assert polygons_of(Polygon()) == []
