"""The map image (paper 1, Fig. 4): square fill and a fixed raster of building occupancy."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area.area import Area


def occupancy(area: Area, pixels: int = 256) -> NDArray[np.uint8]:
    """Which pixel centres lie inside a building: uint8 [pixels, pixels], 1 = building.

    The area is filled up to a square of side `area.size` with open ground to the east and north, then scaled to the
    raster; a pixel is `area.size / pixels` metres (the scaling factor). Row 0 is y0, column 0 is x0. The model extracts
    the edges itself, so that any source of occupancy will do.
    """
    x0, y0 = area.bounds[:2]
    step = area.size / pixels
    out = np.zeros((pixels, pixels), dtype=np.uint8)
    for footprint in area.footprints:
        # only the pixels in the footprint's own box can be inside it
        west, south, east, north = footprint.bounds
        columns = np.arange(max(int((west - x0) / step - 0.5), 0), min(int((east - x0) / step + 0.5) + 1, pixels))
        rows = np.arange(max(int((south - y0) / step - 0.5), 0), min(int((north - y0) / step + 0.5) + 1, pixels))
        if len(columns) and len(rows):
            shapely.prepare(footprint)
            x, y = np.meshgrid(x0 + (columns + 0.5) * step, y0 + (rows + 0.5) * step)
            inside = shapely.contains_xy(footprint, x, y)
            out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] |= inside.astype(np.uint8)
    return out
