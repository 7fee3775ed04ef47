"""Coordinates of a file, in whatever CRS it states, to local metres about the middle of the buildings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area.georeference import Georeference
from uniair.area.reading import Tally
from uniair.errors import InputError

LARGEST = 400_000.0  # m; beyond, a flat map is no map (the projection stretches by 5e-4 at its edge)
FOOT = 0.31  # m; a CRS with a shorter unit counts in feet
SKEWED, SQUARE, CORNERS = 0.12, 0.06, 24  # of `_skew`, and the corners that it takes to tell

Geometries = NDArray[Any]


@dataclass(frozen=True)
class Placed:
    """Geometries [N] in local metres, where they lie on Earth (None: not known), metres of the CRS's own unit."""

    geometries: Geometries
    georeference: Georeference | None
    unit: float = 1.0


def place(path: Path, geometries: Geometries, names: list[str], crs: str | None, tally: Tally) -> Placed:
    """Projects geometries to metres about their middle.

    Args:
        path: that the user gave, for messages.
        geometries: [N] outlines with finite coordinates.
        names: [N] how to find them in the file.
        crs: that the file states; None: it states none, and must be in degrees.
        tally: for notes.

    Raises:
        InputError: the CRS is not known or does not fit the coordinates, latitude and longitude are swapped, or the
            outlines lie thousands of kilometres apart.
    """
    if crs is None:
        return Placed(*_from_degrees(path, geometries, names, tally, stated=False))
    found = _crs(path, crs)
    unit = float(found.axis_info[0].unit_conversion_factor) if found.axis_info else 1.0
    if found.is_geographic:
        if not _is_wgs84(found):
            geometries = _transformed(path, geometries, found, crs)
        elif _latitude_first(found, crs):
            tally.notes.append(f"{crs} lists latitude first; the file was read as longitude, latitude, as GeoJSON is")
        return Placed(*_from_degrees(path, geometries, names, tally, stated=True))
    if found.is_projected or (found.is_bound and found.source_crs is not None and found.source_crs.is_projected):
        degrees = _transformed(path, geometries, found, crs)
        if _used_there(path, geometries, degrees, found):
            tally.notes.append(f"projected from {found.name}")
            return Placed(*_from_degrees(path, degrees, names, tally, stated=True), unit=unit)
        tally.notes.append(f"the coordinates lie outside where {found.name} is used: taken for metres of a local grid")
    elif found.is_geocentric or "Engineering" not in found.type_name:
        raise InputError(f"{path}: its CRS, {found.name}, is no map; reproject it to degrees (EPSG:4326)")
    else:
        tally.notes.append(f"{found.name} is a local grid: its metres stand, where on Earth is not known")
    local = shapely.transform(geometries, lambda xy: xy * unit)
    _require_extent(path, local, names)
    return Placed(local, None, unit)


def to_degrees(path: Path, geometries: Geometries, crs: str) -> Geometries | None:
    """Longitude and latitude of geometries in any CRS that has them; None where the CRS is a local grid.

    Raises:
        InputError: the CRS is not known, or does not have the coordinates.
    """
    found = _crs(path, crs)
    if not (found.is_geographic or found.is_projected):
        return None
    return geometries if found.is_geographic and _is_wgs84(found) else _transformed(path, geometries, found, crs)


def _crs(path: Path, crs: str) -> Any:
    try:
        import pyproj
    except ImportError as error:
        raise InputError(f"{path}: coordinates need pyproj: pip install 'uniair[rt]'") from error
    try:
        return pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise InputError(
            f"{path}: its CRS, {crs[:80]}, is not known; write an EPSG code, or reproject to degrees"
        ) from error


def _is_wgs84(crs: Any) -> bool:
    return crs.to_2d().equals("EPSG:4326", ignore_axis_order=True) or crs.to_2d().equals("OGC:CRS84")


def _latitude_first(crs: Any, name: str) -> bool:
    return "EPSG" in name.upper() and "::4326" in name and bool(crs.axis_info) and crs.axis_info[0].direction == "north"


def _transformed(path: Path, geometries: Geometries, crs: Any, name: str) -> Geometries:
    """Coordinates of a CRS, easting first, to longitude and latitude."""
    import pyproj

    try:
        transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise InputError(f"{path}: no way from its CRS, {name[:80]}, to degrees; reproject it to degrees") from error

    def degrees(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

    out = shapely.transform(geometries, degrees)
    if not np.isfinite(shapely.total_bounds(out)).all():
        raise InputError(f"{path}: coordinates that {name[:80]} does not have; is that the file's CRS?")
    return out


def _used_there(path: Path, geometries: Geometries, degrees: Geometries, crs: Any) -> bool:
    """Whether the coordinates lie where the CRS is meant for, within a few degrees.

    Raises:
        InputError: they don't, and can't be a local grid either.
    """
    area = crs.area_of_use
    if area is None:
        return True
    west, south, east, north = shapely.total_bounds(degrees)
    if east - west > 180:
        west, south, east, north = shapely.total_bounds(shapely.transform(degrees, _from_0_to_360))
    longitude, latitude = (west + east) / 2, (south + north) / 2
    inside = area.south - 3 <= latitude <= area.north + 3
    span = (area.east - area.west) % 360 or 360
    inside &= (longitude - area.west + 3) % 360 <= span + 6
    if inside or np.abs(shapely.total_bounds(geometries)).max() < 50_000:
        return bool(inside)
    swapped = shapely.transform(geometries, lambda xy: xy[:, ::-1])
    west, south, east, north = shapely.total_bounds(_transformed(path, swapped, crs, crs.name))
    hint = ""
    if area.south <= (south + north) / 2 <= area.north and area.west <= (west + east) / 2 <= area.east:
        hint = "; easting and northing are swapped"
    raise InputError(
        f"{path}: the coordinates lie at {_where(longitude, latitude)}, but {crs.name} is used in "
        f"{area.name or 'another part of the world'}{hint}; state the CRS that they are in"
    )


def _from_degrees(
    path: Path, geometries: Geometries, names: list[str], tally: Tally, stated: bool
) -> tuple[Geometries, Georeference]:
    """Longitude and latitude to local metres about the middle, and where that is."""
    west, south, east, north = shapely.total_bounds(geometries)
    if not (-360 <= west <= east <= 360 and -90 <= south <= north <= 90):
        if -90 <= west <= east <= 90 and -360 <= south <= north <= 360:
            raise InputError(f"{path}: latitude stands before longitude; write longitude first")
        have = f"x {west:.6g} to {east:.6g}, y {south:.6g} to {north:.6g}"
        todo = "state the CRS that they are in (GeoJSON: crs, Shapefile: .prj), or reproject to degrees"
        raise InputError(f"{path}: {have}: coordinates are not longitude and latitude in degrees (WGS 84); {todo}")
    if east - west > 180 or west < -180 or east > 180:
        geometries = shapely.transform(geometries, _from_0_to_360)
        west, south, east, north = shapely.total_bounds(geometries)
        tally.notes.append("the outlines lie on both sides of 180°, or count longitude from 0 to 360°: laid together")
    _refuse_far_apart(path, geometries, names, stated)
    longitude, latitude = float(west + east) / 2, float(south + north) / 2
    _refuse_swapped(path, geometries, longitude, latitude)
    georeference = Georeference((longitude + 180) % 360 - 180 if abs(longitude) > 180 else longitude, latitude)
    tally.notes.append(f"the middle lies at {_where(georeference.longitude, latitude)}")
    local = shapely.transform(geometries, georeference.to_metres)
    if not np.isfinite(shapely.total_bounds(local)).all():
        raise InputError(f"{path}: the outlines lie at {_where(longitude, latitude)}, too near a pole for a flat map")
    _require_extent(path, local, names)
    return local, georeference


def _from_0_to_360(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([degrees[:, 0] % 360, degrees[:, 1]])


def _where(longitude: float, latitude: float) -> str:
    return (
        f"{abs(latitude):.4f}° {'N' if latitude >= 0 else 'S'}, {abs(longitude):.4f}° {'E' if longitude >= 0 else 'W'}"
    )


def _refuse_far_apart(path: Path, geometries: Geometries, names: list[str], stated: bool) -> None:
    """Degrees so far apart that they are none, or that one outline lies elsewhere."""
    bounds = shapely.bounds(geometries)
    middle = np.median((bounds[:, :2] + bounds[:, 2:]) / 2, axis=0)
    off = np.maximum(np.abs(bounds[:, :2] - middle), np.abs(bounds[:, 2:] - middle))
    off[:, 0] *= np.cos(np.radians(min(abs(middle[1]), 85.0)))
    most = int(np.argmax(off.max(axis=1)))
    far = float(off[most].max()) * 111.2
    if far * 1000 > LARGEST:
        todo = "cut an extract of one town" if stated else "cut an extract of one town, or state the CRS of metres"
        raise InputError(
            f"{path}: {names[most]} reaches {far:,.0f} km from the middle of the buildings as degrees; {todo}"
        )


def _require_extent(path: Path, local: Geometries, names: list[str]) -> None:
    west, south, east, north = shapely.total_bounds(local)
    if max(east - west, north - south) > LARGEST:
        bounds = shapely.bounds(local)
        middle = np.median(bounds[:, :2], axis=0)
        most = names[int(np.argmax(np.abs(bounds[:, :2] - middle).max(axis=1)))]
        raise InputError(
            f"{path}: the buildings cover {(east - west) / 1000:,.0f} × {(north - south) / 1000:,.0f} km, with {most} "
            "at the edge; cut an extract of one town"
        )


def _refuse_swapped(path: Path, geometries: Geometries, longitude: float, latitude: float) -> None:
    """Buildings have right angles; where they have them only with the axes swapped, these are swapped.

    Raises:
        InputError: latitude stands before longitude.
    """
    some = geometries[:: max(1, len(geometries) // 500)]
    written, corners = _skew(some, latitude)
    swapped, _ = _skew(some, longitude)
    if abs(longitude) <= 85 and corners >= CORNERS and written > SKEWED and swapped < SQUARE:
        raise InputError(
            f"{path}: walls meet at right angles only if latitude stands before longitude; write longitude first, or "
            f"the place lies at {_where(longitude, latitude)}"
        )


def _skew(geometries: Geometries, latitude: float) -> tuple[float, int]:
    """Median |cos| of the corners that are nearer to a right angle than to a straight line, and their number."""
    scale = np.array([np.cos(np.radians(latitude)), 1.0])
    found: list[NDArray[np.float64]] = []
    for ring in shapely.get_exterior_ring(shapely.get_parts(geometries)):
        edges = np.diff(shapely.get_coordinates(ring), axis=0) * scale
        edges = edges[np.hypot(*edges.T) > 1e-5]  # a metre
        if len(edges) >= 4:
            after = np.roll(edges, -1, axis=0)
            cosine = np.abs((edges * after).sum(axis=1)) / (np.hypot(*edges.T) * np.hypot(*after.T))
            found.append(cosine[cosine < 0.7])
    angles = np.concatenate(found) if found else np.zeros(0)
    return (float(np.median(angles)) if len(angles) else 0.0), len(angles)
