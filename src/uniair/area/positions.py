"""Positions of users of one's own: a table, a GPX track, or points of any vector file, in the metres of a place."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area import content
from uniair.area.area import Area
from uniair.area.coordinates import to_degrees
from uniair.area.heights import metres, plain_name
from uniair.area.vector_files import read_vector
from uniair.errors import InputError

HEIGHT = 1.5  # of a user above ground, m
MOST = 2_000_000
HIGHEST = 1000.0  # m
X = ("x", "x_m", "east", "easting")
Y = ("y", "y_m", "north", "northing")
LONGITUDE = ("lon", "longitude", "lng", "long", "x_lon", "gps_lon", "gps_longitude")
LATITUDE = ("lat", "latitude", "y_lat", "gps_lat", "gps_latitude")
Z = ("z", "z_m", "height", "height_m", "ue_height", "h")


@dataclass(frozen=True)
class Positions:
    """Users in an area.

    Attributes:
        points: [N, 3] m in the area's own coordinates; the third is the height above ground.
        rows: [N] their numbers in the file, from 0.
        left_out: reason to how many do not stand there.
    """

    points: NDArray[np.float64]
    rows: NDArray[np.int64]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.points)

    def outdoors(self, area: Area) -> Positions:
        """Those within the area and outside its buildings; the others are counted.

        Raises:
            InputError: none is.
        """
        x0, y0, x1, y1 = area.bounds
        x, y = self.points[:, 0], self.points[:, 1]
        off = (x < x0) | (x > x1) | (y < y0) | (y > y1)
        inside = ~off & area.inside_building(self.points)
        kept = ~(off | inside)
        if not kept.any():
            raise InputError(
                f"area {area.name}: of {len(self):,} positions {int(off.sum()):,} lie outside it and "
                f"{int(inside.sum()):,} inside buildings; give positions on its streets"
            )
        counts = {"outside the area": int(off.sum()), "inside a building": int(inside.sum())}
        left = {reason: count for reason, count in counts.items() if count}
        return Positions(self.points[kept], self.rows[kept], {**self.left_out, **left})


def read_positions(path: str | Path, area: Area, height: float = HEIGHT) -> Positions:
    """Positions from a file, in the metres of an area.

    A table (CSV with commas, semicolons or tabs) has the columns x and y, in the place's own metres, or lon and lat,
    and z where users stand at heights of their own. Of GPX all points count, of GeoJSON and other vector files the
    points, and the corners of lines. What a CRS is stated for is projected; other vector files are in degrees where it
    is known where on Earth the area lies, else in the area's metres.

    Args:
        path: of the file; what it is shows in its first bytes.
        area: the whole place, or a crop that still knows where on Earth it lies.
        height: above ground where the file says none, m.

    Raises:
        InputError: no such file, no positions in it, not numbers, or degrees in an area that lies nowhere on Earth.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give positions as CSV, GeoJSON or GPX")
    with content.unpacked(path) as file:
        if file.is_dir():
            file = content.file_in(path, file)
        kind = content.kind_of(file)
        if kind == content.GPX:
            plan, degrees, heights = _read_gpx(path, file), True, None
        elif kind == content.TABLE:
            plan, degrees, heights = _read_table(path, file)
        elif kind in (content.JSON, content.GEOPACKAGE, content.SHAPEFILE, content.FLATGEOBUF):
            plan, degrees, heights = _read_vector(path, file, kind, area)
        else:
            raise InputError(f"{path}: no positions that are read here; give CSV with x,y or lon,lat, GeoJSON or GPX")
    if not 0 < len(plan) <= MOST:
        raise InputError(f"{path}: {len(plan):,} positions; give 1 to {MOST:,}")
    heights = np.full(len(plan), height) if heights is None else np.where(np.isnan(heights), height, heights)
    _require_numbers(path, plan, heights)
    if degrees:
        plan = _from_degrees(path, plan, area)
    return Positions(np.column_stack([plan, heights]), np.arange(len(plan)), {})


def _require_numbers(path: Path, plan: NDArray[np.float64], heights: NDArray[np.float64]) -> None:
    bad = ~np.isfinite(plan).all(axis=1)
    if bad.any():
        raise InputError(f"{path}: position {int(np.argmax(bad)) + 1} is NaN or infinite; leave it out")
    high = ~((heights > 0) & (heights <= HIGHEST))
    if high.any():
        i = int(np.argmax(high))
        raise InputError(f"{path}: height {heights[i]:g} m of position {i + 1}; give metres above ground")


def _from_degrees(path: Path, degrees: NDArray[np.float64], area: Area) -> NDArray[np.float64]:
    if area.georeference is None:
        raise InputError(
            f"{path}: longitude and latitude, but it is not known where on Earth {area.name} lies; give x and y in its "
            "own metres"
        )
    if (np.abs(degrees) > (360, 90)).any():
        raise InputError(f"{path}: longitude and latitude are no degrees; are they swapped, or metres?")
    return area.georeference.to_metres(degrees)


def _read_gpx(path: Path, file: Path) -> NDArray[np.float64]:
    """Longitude and latitude [N, 2] of track points, else route points, else waypoints."""
    found: dict[str, list[tuple[float, float]]] = {"trkpt": [], "rtept": [], "wpt": []}

    def start(name: str, at: dict[str, str]) -> None:
        if (kind := name.rpartition(":")[2]) in found:
            found[kind].append((float(at["lon"]), float(at["lat"])))

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        with file.open("rb") as source:
            parser.ParseFile(source)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not readable GPX ({error}); is the file whole?") from error
    return np.array(next((points for points in found.values() if points), []), dtype=float).reshape(-1, 2)


def _read_table(path: Path, file: Path) -> tuple[NDArray[np.float64], bool, NDArray[np.float64] | None]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            text.seek(0)
            mark = max(",;\t|", key=first.count)
            rows = [row for row in csv.reader(text, delimiter=mark) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: a table that can't be read ({error}); save it as CSV in UTF-8") from error
    header = [plain_name(name) for name in rows[0]] if rows else []
    degrees = any(name in header for name in LONGITUDE)
    names = (LONGITUDE, LATITUDE) if degrees else (X, Y)
    columns = [next((header.index(name) for name in group if name in header), None) for group in names]
    if None in columns:
        if len(header) in (2, 3) and all(_number(cell, mark) is not None for cell in rows[0]):
            raise InputError(f"{path}: a table without a header; name the columns x,y or lon,lat in its first line")
        raise InputError(f"{path}: no columns x and y, nor lon and lat, among {', '.join(rows[0])[:120]}")
    plan = np.array([[_cell(path, i, row, c, mark) for c in columns] for i, row in enumerate(rows[1:], 2)], dtype=float)
    at = next((header.index(name) for name in Z if name in header), None)
    heights = None
    if at is not None:
        heights = np.array([_height_in(path, i, row[at] if at < len(row) else "", mark)
                            for i, row in enumerate(rows[1:], 2)])  # fmt: skip
    return plan.reshape(-1, 2), degrees, heights


def _cell(path: Path, line: int, row: list[str], column: int | None, mark: str) -> float:
    value = _number(row[column], mark) if column is not None and column < len(row) else None
    if value is None:
        shown = row[column] if column is not None and column < len(row) else ""
        raise InputError(f"{path}: line {line} holds {shown[:40]!r} for a position; write numbers, or leave it out")
    return value


def _height_in(path: Path, line: int, text: str, mark: str) -> float:
    """NaN of an empty cell."""
    value = _number(text, mark) if text.strip() else np.nan
    if value is None:
        raise InputError(f"{path}: line {line} holds {text[:40]!r} for a height; write metres as a number, or nothing")
    return value


def _number(text: str, mark: str) -> float | None:
    text = text.strip()
    if mark != ",":  # decimal commas need another separator
        text = re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", text)
    try:
        return float(text)
    except ValueError:
        return None


def _read_vector(
    path: Path, file: Path, kind: str, area: Area
) -> tuple[NDArray[np.float64], bool, NDArray[np.float64] | None]:
    """Points, and corners of lines; outlines are no positions."""
    read = read_vector(path, file, kind)
    kinds = ("Point", "MultiPoint", "LineString", "MultiLineString")
    kept = [i for i, g in enumerate(read.geometries) if g is not None and g.geom_type in kinds and not g.is_empty]
    if not kept:
        raise InputError(f"{path}: no points or lines in it; give positions or a track")
    geometries = read.geometries[kept]
    said = [_height_of(path, read.names[i], read.tags[i]) for i in kept]
    heights = np.repeat(np.array(said, dtype=float), shapely.get_num_coordinates(geometries))
    if read.crs is None:
        return shapely.get_coordinates(geometries), area.georeference is not None, heights
    degrees = to_degrees(path, geometries, read.crs)
    if degrees is None:
        return shapely.get_coordinates(geometries), False, heights
    return shapely.get_coordinates(degrees), True, heights


def _height_of(path: Path, feature: str, tags: Mapping[str, Any]) -> float:
    """NaN of a feature that says none."""
    own = {plain_name(name): value for name, value in tags.items()}
    said = next((own[name] for name in Z if own.get(name) not in (None, "") and own[name] == own[name]), None)
    if said is None:
        return np.nan
    if (value := metres(said)) is None:
        raise InputError(f"{path}: {feature} says {str(said)[:40]!r} for a height; give metres, or nothing")
    return value
