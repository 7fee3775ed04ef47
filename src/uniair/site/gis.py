"""A site's coverage as files that a GIS opens: GeoTIFF, GeoPackage, GeoJSON, KML, CSV."""

from __future__ import annotations

import csv
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.area.georeference import Georeference
from uniair.errors import InputError
from uniair.site.calibration import HALVES, DriveTest
from uniair.site.covered import Covered
from uniair.site.site_coverage import OUTDOORS, MapCoverage, UserCoverage

RASTER, PACKAGE, DRIVE_TEST = "coverage.tif", "site.gpkg", "drive_test"
CALIBRATED = "calibrated"  # folder of the same files
DEGREES = "EPSG:4326"
# a layer of `Received` to its name in a file, the factor of its unit there, and digits
LAYERS = {
    "rsrp": ("rsrp_dbm", 1.0, 2), "path_loss": ("path_loss_db", 1.0, 2), "los": ("los", 1.0, 0),
    "delay_spread": ("delay_spread_ns", 1e9, 2), "departure_spread": ("departure_spread_deg", 180 / np.pi, 2),
    "arrival_spread": ("arrival_spread_deg", 180 / np.pi, 2), "first_delay": ("first_delay_ns", 1e9, 2),
    "beam": ("beam", 1.0, 0), "beam_gain": ("beam_gain_db", 1.0, 2),
}  # fmt: skip
Fields = Mapping[str, NDArray[Any]]


def export(folder: Path, area: Area, covered: Covered) -> list[Path]:
    """Writes everything, or nothing where something fails.

    Vectors are in degrees (EPSG:4326), the raster in the place's own projection, a transverse Mercator about its
    middle, so that its cells are those that were computed. Where the place lies nowhere on Earth, all are in its own
    metres without a CRS, and there is no KML.

    Args:
        folder: made where it is missing; files of the same names are replaced, and what else an earlier export left
            there, of a drive test or of maps that this one is without, is removed: it would contradict this one.
        area: the site's square, with its place on Earth.
        covered: without maps there is no raster; a drive test has files of its own, and what it calibrates a folder
            `CALIBRATED` of the same files.

    Returns:
        The files.

    Raises:
        InputError: `folder` is a file, can't be written to, or pyogrio or rasterio is missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as name:
            _write(Path(name), area, covered, "as planned")
            if covered.calibrated is not None:
                (Path(name) / CALIBRATED).mkdir()
                _write(Path(name) / CALIBRATED, area, covered.calibrated, CALIBRATED)
            files = names(area, covered)
            for file in files:
                (folder / file).parent.mkdir(exist_ok=True)
                os.replace(Path(name) / file, folder / file)
        for file in EVERY:
            if file not in files:
                (folder / file).unlink(missing_ok=True)
        with suppress(OSError):  # what else is in it is not ours
            (folder / CALIBRATED).rmdir()
    except ImportError as error:
        raise InputError(f"--export needs pyogrio and rasterio ({error}): pip install 'uniair[rt]'") from error
    except OSError as error:
        raise InputError(f"--export {folder}: can't be written to ({error.strerror or error})") from error
    return [folder / file for file in files]


def names(area: Area, covered: Covered) -> list[str]:
    """The files that `export` writes, as paths within its folder, in alphabetical order."""
    on_earth, again = area.georeference is not None, covered.calibrated
    files = _names(on_earth, covered.maps is not None, covered.drive_test is not None)
    if again is not None:
        files += [f"{CALIBRATED}/{name}" for name in _names(on_earth, again.maps is not None, False)]
    return sorted(files)


def _names(on_earth: bool, mapped: bool, driven: bool) -> list[str]:
    points = ["users", "sectors", *([DRIVE_TEST] if driven else [])]
    files = [PACKAGE, "links.csv", "users.csv", *(f"{name}.geojson" for name in ("buildings", *points))]
    files += [f"{DRIVE_TEST}.csv"] if driven else []
    files += [f"{name}.kml" for name in points] if on_earth else []
    return [*files, RASTER] if mapped else files


EVERY = (*_names(True, True, True), *(f"{CALIBRATED}/{name}" for name in _names(True, True, False)))


def _write(folder: Path, area: Area, covered: Covered, prediction: str) -> None:
    place, names, users, maps = area.georeference, covered.names, covered.users, covered.maps
    people, masts = _users(users, names), _sectors(covered)
    layers: dict[str, tuple[NDArray[Any], Fields]] = {
        "users": (shapely.points(users.points[:, :2]), people),
        "sectors": (shapely.points(np.column_stack([masts["x_m"], masts["y_m"]])), masts),
        "buildings": (np.asarray(area.footprints, dtype=object), _buildings(area)),
    }
    if covered.drive_test is not None:
        spots, measured = _measured(covered.drive_test)
        layers[DRIVE_TEST] = (shapely.points(spots[:, :2]), measured)
        _table(folder / f"{DRIVE_TEST}.csv", {"spot": measured["spot"], **_where(spots, place), **measured})
    for number, (name, (geometry, fields)) in enumerate(layers.items()):
        shapes = geometry if place is None else shapely.transform(geometry, place.to_degrees)
        crs = None if place is None else DEGREES
        _vector(folder / PACKAGE, shapes, fields, crs, "GPKG", name, append=number > 0)
        _vector(folder / f"{name}.geojson", shapes, fields, crs, "GeoJSON", name)
        if place is not None and name != "buildings":
            _vector(folder / f"{name}.kml", shapes, {"Name": next(iter(fields.values())).astype(str), **fields}, crs,
                    "LIBKML", name)  # fmt: skip
    where = _where(users.points, place)
    _table(folder / "users.csv", {"user": people["user"], **where, **people})
    _table(folder / "links.csv", _links(users, names))
    if maps is not None:
        _raster(folder / RASTER, maps, names, place, {"attribution": area.attribution, "prediction": prediction})


def _where(points: NDArray[np.float64], place: Georeference | None) -> dict[str, NDArray[Any]]:
    if place is None:
        return {}
    longitude, latitude = place.to_degrees(points).T.round(7)
    return {"longitude": longitude, "latitude": latitude}


def _named(number: NDArray[np.int64], names: Sequence[str]) -> NDArray[Any]:
    return np.array([names[i] if i >= 0 else "" for i in number], dtype=object)


def _users(users: UserCoverage, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """One row a user: who serves them, how well, and the RSRP of every sector."""
    served, best = users.served, np.maximum(users.served.best, 0)
    x, y, z = users.points.T.round(3)
    out: dict[str, NDArray[Any]] = {
        "user": np.arange(len(users.points)), "x_m": x, "y_m": y, "z_m": z,
        "indoors": (users.floor != OUTDOORS).astype(np.int32), "floor": np.maximum(users.floor, 0),
        "best_server": _named(served.best, names), "sinr_db": served.sinr.round(2),
        "throughput_mbps": (served.throughput / 1e6).round(3),
    }  # fmt: skip
    for layer, (name, values) in _converted(users).items():
        out[name] = values[best, np.arange(len(best))]
        if layer == "rsrp":
            out |= {f"{name}_{sector}": values[i] for i, sector in enumerate(names)}
    return out


def _converted(users: UserCoverage) -> dict[str, tuple[str, NDArray[Any]]]:
    """Layers in their files' units: name there, and values [S, U]."""
    found = {}
    for layer, (name, factor, digits) in LAYERS.items():
        values = users.layers[layer]
        whole = values.dtype.kind in "bi"
        found[layer] = (name, values.astype(np.int32) if whole else (values * factor).round(digits))
    return found


def _links(users: UserCoverage, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """One row a user and sector."""
    count = len(users.points)
    out = {"user": np.tile(np.arange(count), len(names)), "sector": np.repeat(np.array(names, dtype=object), count)}
    return out | {name: values.ravel() for name, values in _converted(users).values()}


def _measured(test: DriveTest) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """Positions [M, 3] m and columns of all measurements, one row a spot and sector."""
    log = test.log
    sector, spot = np.nonzero(log.measured)
    where, measured = log.spots[spot], log.rsrp[sector, spot]
    values = {"measured_dbm": measured}
    for name, predicted in (("planned", test.planned), ("calibrated", test.calibrated)):
        values |= {f"{name}_dbm": predicted[sector, spot], f"{name}_residual_db": measured - predicted[sector, spot]}
    x, y, z = where.T.round(3)
    return where, {
        "spot": spot, "x_m": x, "y_m": y, "z_m": z, "sector": _named(sector, test.names),
        "half": np.array([HALVES[half] for half in test.half.tolist()], dtype=object)[spot],
        "rows": log.rows[sector, spot], **{name: one.round(2) + 0.0 for name, one in values.items()},
    }  # fmt: skip


def _sectors(covered: Covered) -> dict[str, NDArray[Any]]:
    rows = covered.sectors
    out: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if all(value is None for value in values):
            continue
        numbers = all(value is None or isinstance(value, int | float) for value in values)
        out[name] = np.array([np.nan if value is None else value for value in values]) if numbers else np.array(
            ["" if value is None else str(value) for value in values], dtype=object
        )  # fmt: skip
    return out


def _buildings(area: Area) -> dict[str, NDArray[Any]]:
    return {
        "building": np.arange(len(area.footprints)), "height_m": area.heights.round(2), "base_m": area.bases.round(2),
        "height_drawn": area.drawn.astype(np.int32),
    }  # fmt: skip


def _vector(
    path: Path, geometry: NDArray[Any], fields: Fields, crs: str | None, driver: str, layer: str, append: bool = False
) -> None:
    from pyogrio.errors import DataSourceError
    from pyogrio.raw import write

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # a place in metres of its own has none
        try:
            write(
                path, shapely.to_wkb(geometry), [np.ascontiguousarray(values) for values in fields.values()],
                list(fields), field_mask=[_absent(values) for values in fields.values()], layer=layer, driver=driver,
                crs=crs, geometry_type=geometry[0].geom_type, append=append,
            )  # fmt: skip
        except DataSourceError as error:
            raise OSError(f"{path.name}: {error}") from error


def _absent(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)


def _table(path: Path, columns: Fields) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        shown = [
            ["" if gone else value for value, gone in zip(v.tolist(), _absent(v), strict=True)]
            for v in columns.values()
        ]
        rows.writerows(zip(*shown, strict=True))


def _raster(
    path: Path, maps: MapCoverage, names: Sequence[str], place: Georeference | None, tags: Mapping[str, str]
) -> None:
    """One band a layer; row 0 is in the north there."""
    import rasterio
    from rasterio.crs import CRS

    cells, served = maps.cells, maps.served
    bands = {
        "rsrp": (served.rsrp, "dBm"), "sinr": (served.sinr, "dB"), "throughput": (served.throughput / 1e6, "Mbit/s"),
        "best_server": (np.where(served.best < 0, np.nan, served.best), "number of the sector"),
        **{f"rsrp_{name}": (values, "dBm") for name, values in zip(names, maps.rsrp, strict=True)},
    }  # fmt: skip
    shift = (0.0, 0.0) if place is None else place.corner
    west, north = cells.corner[0] + shift[0], cells.corner[1] + shift[1] + cells.rows * cells.side
    with rasterio.open(
        path, "w", driver="GTiff", width=cells.columns, height=cells.rows, count=len(bands), dtype="float32",
        crs=None if place is None else CRS.from_string(place.proj4), nodata=float("nan"), compress="deflate",
        transform=rasterio.Affine(cells.side, 0.0, west, 0.0, -cells.side, north),
    ) as file:  # fmt: skip
        for number, (name, (values, unit)) in enumerate(bands.items(), 1):
            file.write(values[::-1].astype(np.float32), number)
            file.set_band_description(number, name)
            file.set_band_unit(number, unit)
        file.update_tags(**tags, sectors=", ".join(f"{i}: {name}" for i, name in enumerate(names)))
