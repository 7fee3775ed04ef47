"""The map image (paper 1, Fig. 4): square fill and a fixed raster of building occupancy, or of building heights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from uniair.area.area import Area


def occupancy(area: Area, pixels: int = 256) -> NDArray[np.uint8]:
    """Which pixel centres lie inside a building: uint8 [pixels, pixels], 1 = building.

    The area is filled up to a square of side `area.size` with open ground to the east and north, then scaled to the
    raster; a pixel is `area.size / pixels` metres (the scaling factor). Row 0 is y0, column 0 is x0. The model extracts
    the edges itself, so that any source of occupancy will do. A body that people walk under (`Area.obstacles`) is no
    building here.
    """
    out = np.zeros((pixels, pixels), dtype=np.uint8)
    for _, window, inside in _covered(area, np.flatnonzero(area.obstacles), pixels):
        out[window] |= inside.astype(np.uint8)
    return out


def building_heights(area: Area, pixels: int = 256) -> NDArray[np.float32]:
    """Height of the highest top above each pixel centre, m: float32 [pixels, pixels], 0 on open ground.

    Laid out as `occupancy`. Bodies that start above the ground, such as roofs and skybridges, count with their tops.
    """
    out = np.zeros((pixels, pixels), dtype=np.float32)
    for i, window, inside in _covered(area, np.arange(len(area.footprints)), pixels):
        np.maximum(out[window], np.float32(area.heights[i]), out=out[window], where=inside)
    return out


def _covered(
    area: Area, chosen: NDArray[np.integer], pixels: int
) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.bool_]]]:
    """Footprint number, the window of its own box in the raster, and which of the window's centres lie inside it."""
    x0, y0 = area.bounds[:2]
    step = area.size / pixels
    for i in chosen:
        footprint: Polygon = area.footprints[i]
        # only the pixels in the footprint's own box can be inside it
        west, south, east, north = footprint.bounds
        columns = np.arange(max(int((west - x0) / step - 0.5), 0), min(int((east - x0) / step + 0.5) + 1, pixels))
        rows = np.arange(max(int((south - y0) / step - 0.5), 0), min(int((north - y0) / step + 0.5) + 1, pixels))
        if len(columns) and len(rows):
            shapely.prepare(footprint)
            x, y = np.meshgrid(x0 + (columns + 0.5) * step, y0 + (rows + 0.5) * step)
            window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            yield int(i), window, np.asarray(shapely.contains_xy(footprint, x, y))
