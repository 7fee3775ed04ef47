"""Users inside buildings: on which floors they are, and where the radio is traced to for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shapely.geometry import Point, box

from uniair.area.area import Area
from uniair.errors import InputError
from uniair.site import indoors

TOWER, SHED, HOUSE = box(10, 10, 30, 30), box(30, 10, 50, 30), box(60, 60, 80, 90)
AREA = Area("town", (TOWER, SHED, HOUSE), np.array([15.0, 3.5, 7.0]), (0.0, 0.0, 100.0, 100.0))


def test_users_are_spread_over_floors() -> None:
    found = indoors.draw(AREA, 600, np.random.default_rng(0))
    assert len(found) == 600
    assert np.allclose(found.points[:, 2], 3 * found.floor + 1.5)
    assert set(found.floor) == {0, 1, 2, 3, 4}
    assert AREA.inside_building(found.points).all()
    share = np.mean([TOWER.covers(Point(*point[:2])) for point in found.points])
    assert 0.5 < share < 0.63  # 5 × 400 m² of 5 × 400 + 400 + 2 × 600 m²


def test_spots_are_in_the_open_air_before_the_nearest_wall() -> None:
    found = indoors.draw(AREA, 300, np.random.default_rng(1))
    assert not AREA.inside_building(found.spots).any()
    assert np.allclose(found.spots[:, 2], found.points[:, 2])
    apart = np.linalg.norm(found.spots - found.points, axis=1)
    assert np.allclose(apart, found.depth + indoors.IN_FRONT)
    in_tower = np.array([TOWER.covers(Point(*point[:2])) for point in found.points])
    assert found.depth[in_tower & (found.floor > 1)].max() <= 10 + 1e-9
    # between tower and shed there is a wall above the shed's roof alone
    east = in_tower & (np.abs(found.spots[:, 0] - 30.5) < 1e-6)
    assert (found.floor[east] >= 1).all()


def test_no_floors_is_one_line() -> None:
    with pytest.raises(InputError, match="no building of 3 m or more"):
        indoors.draw(replace(AREA, heights=np.full(3, 2.5)), 10, np.random.default_rng(0))
