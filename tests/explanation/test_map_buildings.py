"""What hangs together on a raster."""

from __future__ import annotations

import numpy as np

from uniair.explanation.map_buildings import HIGHEST, map_buildings


def test_blocks_become_outlines_with_their_heights() -> None:
    heights = np.zeros((64, 64))
    heights[10:20, 5:25] = 12
    heights[12:14, 6:8] = 20
    heights[40:50, 40:60] = np.inf
    heights[1, 1] = 3  # less than a building
    found = map_buildings(heights, 128.0)
    assert [outline.bounds for outline in found.footprints] == [(10, 20, 50, 40), (80, 80, 120, 100)]
    assert found.heights.tolist() == [20, HIGHEST]


def test_open_ground_has_none() -> None:
    assert map_buildings(np.zeros((32, 32)), 100.0).footprints == ()
