"""The buildings of a map that is a raster: what hangs together on it."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area.area import Area

LEAST_AREA = 4  # pixels; less is no building
HIGHEST = 300.0  # m: one whose height is not known


def map_buildings(heights: NDArray[np.floating], size: float) -> Area:
    """Outlines and heights of what stands on a map; what touches is one building.

    Args:
        heights: [H, W] m, 0 on open ground, infinite where not known; row 0 is y 0.
        size: side of the map, m.
    """
    from scipy.ndimage import label, maximum

    number, count = label(heights > 0, structure=np.ones((3, 3)))
    top = np.where(np.isinf(heights), HIGHEST, heights)
    numbers = np.arange(1, count + 1)
    tops = np.asarray(maximum(top, number, numbers)) if count else np.zeros(0)
    kept = np.flatnonzero(np.bincount(number.ravel(), minlength=count + 1)[1:] >= LEAST_AREA)
    # rows of pixels of one building, joined
    rim = np.pad(number, ((0, 0), (1, 1)))
    row, begin = np.nonzero((rim[:, 1:] != rim[:, :-1]) & (rim[:, 1:] > 0))
    end = np.nonzero((rim[:, 1:] != rim[:, :-1]) & (rim[:, :-1] > 0))[1]
    step = size / len(heights)
    rows = shapely.box(begin * step, row * step, end * step, (row + 1) * step)
    owner = number[row, begin] if len(row) else row
    outlines = [shapely.union_all(rows[owner == i + 1]).simplify(0.0) for i in kept]
    return Area("map", tuple(outlines), np.asarray(tops[kept], dtype=np.float64), (0.0, 0.0, size, size))
