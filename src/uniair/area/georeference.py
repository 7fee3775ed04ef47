"""Where on Earth an area lies: longitude and latitude against its own metres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError


@dataclass(frozen=True)
class Georeference:
    """A transverse Mercator projection (WGS 84) about a point, then a shift: metres east and north.

    Attributes:
        longitude, latitude: of the projection's own origin, degrees.
        corner: projected x and y of the area's origin (0, 0), m.
    """

    longitude: float
    latitude: float
    corner: tuple[float, float] = (0.0, 0.0)

    @property
    def proj4(self) -> str:
        """The projection, whose metres are those of the area and `corner` more."""
        return f"+proj=tmerc +lat_0={self.latitude} +lon_0={self.longitude} +ellps=WGS84 +units=m +no_defs"

    def to_metres(self, degrees: NDArray[np.floating]) -> NDArray[np.float64]:
        """Longitude and latitude [N, 2], degrees → x and y [N, 2], m."""
        x, y = _projection(self.longitude, self.latitude).transform(degrees[:, 0], degrees[:, 1])
        return np.column_stack([x, y]) - self.corner

    def to_degrees(self, metres: NDArray[np.floating]) -> NDArray[np.float64]:
        """Metres x and y [N, 2] → longitude and latitude [N, 2], degrees."""
        x, y = (metres[:, :2] + np.asarray(self.corner)).T
        return np.column_stack(_projection(self.longitude, self.latitude).transform(x, y, direction="INVERSE"))

    def moved(self, x: float, y: float) -> Georeference:
        """That of an area whose origin lies at (x, y) of this one, unturned."""
        return replace(self, corner=(self.corner[0] + x, self.corner[1] + y))


@lru_cache(maxsize=8)
def _projection(longitude: float, latitude: float) -> Any:
    try:
        import pyproj
    except ImportError as error:
        raise InputError("longitude and latitude need pyproj: pip install 'uniair[rt]'") from error
    local = pyproj.CRS.from_proj4(f"+proj=tmerc +lat_0={latitude} +lon_0={longitude} +ellps=WGS84")
    return pyproj.Transformer.from_crs("EPSG:4326", local, always_xy=True)
