"""The map image against a brute-force raster, its orientation and its square fill."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon, box

from uniair.area import procedural
from uniair.area.area import Area
from uniair.area.raster import occupancy


def area_of(*footprints: Polygon, bounds: tuple[float, float, float, float]) -> Area:
    return Area("test", footprints, np.full(len(footprints), 10.0), bounds)


def test_row_0_is_south_and_column_0_is_west() -> None:
    image = occupancy(area_of(box(50, 75, 75, 100), bounds=(0, 0, 100, 100)), 4)
    expected = np.zeros((4, 4), dtype=np.uint8)
    expected[3, 2] = 1
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_bounds_shift_the_raster() -> None:
    here = occupancy(area_of(box(50, 75, 75, 100), bounds=(0, 0, 100, 100)), 32)
    there = occupancy(area_of(box(-950, 2075, -925, 2100), bounds=(-1000, 2000, -900, 2100)), 32)
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("bounds", [(0, 0, 100, 40), (0, 0, 40, 100)])
def test_an_oblong_area_is_filled_up_with_open_ground(bounds: tuple[float, float, float, float]) -> None:
    image = occupancy(area_of(box(*bounds), bounds=bounds), 50)
    expected = np.zeros((50, 50), dtype=np.uint8)
    expected[: int(bounds[3] / 2), : int(bounds[2] / 2)] = 1
    np.testing.assert_array_equal(image, expected)


def test_holes_and_ground_outside_the_area_stay_free() -> None:
    ring = Polygon([(-20, -20), (60, -20), (60, 60), (-20, 60)], [[(20, 20), (40, 20), (40, 40), (20, 40)]])
    far = box(500, 500, 600, 600)
    image = occupancy(area_of(ring, far, bounds=(0, 0, 100, 100)), 10)
    expected = np.zeros((10, 10), dtype=np.uint8)
    expected[:6, :6] = 1
    expected[2:4, 2:4] = 0
    np.testing.assert_array_equal(image, expected)


def test_no_buildings_is_an_empty_map() -> None:
    assert occupancy(area_of(bounds=(0, 0, 10, 10)), 16).sum() == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("pixels", [33, 64])
def test_equals_a_test_of_every_pixel_centre(seed: int, pixels: int) -> None:
    area = procedural.city(seed, 300.0).crop(20.0, 35.0, 160.0, 120.0, rotation=0.7)
    centres = (np.arange(pixels) + 0.5) * area.size / pixels
    x, y = np.meshgrid(centres, centres)
    expected = shapely.contains_xy(shapely.union_all(np.asarray(area.footprints)), x, y)
    np.testing.assert_array_equal(occupancy(area, pixels), expected)


def test_built_share_tends_to_the_coverage() -> None:
    area = procedural.city(4, 400.0)
    assert occupancy(area, 256).mean() == pytest.approx(area.statistics().coverage, abs=0.01)
