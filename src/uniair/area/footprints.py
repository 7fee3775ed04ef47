"""Areas from files of building outlines, whatever their format: told by content, placed in metres, counted."""

from __future__ import annotations

import glob
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import Polygon

from uniair.area import content
from uniair.area.area import Area, polygons_of
from uniair.area.buildings import Bodies, Outlines, bodies, standing
from uniair.area.coordinates import FOOT, LARGEST, place
from uniair.area.geoparquet import read_parquet
from uniair.area.georeference import Georeference
from uniair.area.heights import METRES_PER_LEVEL, missing_heights
from uniair.area.openstreetmap import read_osm_pbf, read_osm_xml, read_overpass_json
from uniair.area.packaged_scenes import sionna_scene
from uniair.area.reading import DRAWN, GIVEN, LEVELS, Reading, Tally
from uniair.area.vector_files import read_vector, top_level
from uniair.area.wkt_tables import read_table
from uniair.errors import InputError

OPENSTREETMAP = "(c) OpenStreetMap contributors, ODbL 1.0"
SHAPEFILE_PARTS = (".shp", ".dbf", ".shx", ".prj", ".cpg")
MOST_JSON = 512 << 20  # bytes of a buildings.json, which is read in memory


@np.errstate(invalid="ignore", over="ignore")  # NaN and infinity in a file become an InputError, not a warning
def load(path: str | Path, seed: int = 0) -> Area:
    """The area in a file of building outlines.

    Accepts `buildings.json` (local metres), GeoJSON in all its forms, GeoPackage, Shapefile, FlatGeobuf, GeoParquet,
    tables with WKT, and OpenStreetMap extracts (XML, PBF, Overpass's JSON), also in gzip, bzip2, xz or zip. What a file
    is shows in its first bytes, not in its name. Coordinates of any CRS are projected to local metres about the centre
    of the buildings. A directory stands for the `buildings_exact.json` or `buildings.json` in it, else for the one file
    of buildings; `sionna:NAME` for a scene of the sionna-rt wheel.

    Args:
        path: of the file or folder.
        seed: draws the heights that neither the file nor the neighbours of a building give (`missing_heights`).

    Returns:
        The area; `Area.reading` counts what was left out or guessed.

    Raises:
        InputError: no such file, not one of these formats, broken, or without buildings.
    """
    if str(path).startswith("sionna:"):
        return sionna_scene(str(path).removeprefix("sionna:"))
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    name = path.name.split(".")[0] or path.name
    if path.is_dir():
        inside = [path / file for file in ("buildings_exact.json", "buildings.json") if (path / file).exists()]
        if inside:
            return _load_file(inside[0], path.name, seed)
    elif path.name.startswith("buildings"):
        name = path.parent.name or name
    return _load_file(path, name, seed)


def files(path: str | Path) -> list[Path]:
    """The files that `load` reads of a place, for checksums; none for a scene of the sionna-rt wheel."""
    path = Path(path)
    if path.is_dir():
        inside = [path / file for file in ("buildings_exact.json", "buildings.json") if (path / file).exists()]
        return inside[:1] or sorted(p for p in path.rglob("*") if p.is_file())[: content.MOST_FILES]
    beside = path.parent.glob(f"{glob.escape(path.stem)}.*") if path.suffix.lower() in SHAPEFILE_PARTS else ()
    return sorted(p for p in beside if p.suffix.lower() in SHAPEFILE_PARTS) or [path] * path.is_file()


def _load_file(path: Path, name: str, seed: int) -> Area:
    if path.is_file() and path.suffix.lower() in SHAPEFILE_PARTS[1:]:
        path = next((p for p in path.parent.glob(f"{glob.escape(path.stem)}.*") if p.suffix.lower() == ".shp"), path)
    with content.unpacked(path) as here:
        file = content.file_in(path, here) if here.is_dir() else here
        if here.is_dir() and content.kind_of(file) in (content.GZIP, content.BZIP2, content.XZ, content.ZIP):
            return _load_file(file, name, seed)
        try:
            return _area(path, file, name, seed)
        except (MemoryError, OSError) as error:
            what = error.strerror if isinstance(error, OSError) else "it needs more memory than there is"
            raise InputError(f"{path}: can't be read ({what}); cut an extract of one town") from error
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
                shapely.errors.ShapelyError) as error:  # fmt: skip
            if isinstance(error, InputError):
                raise
            message = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: a building in it can't be read ({type(error).__name__}: {message})") from error


def _area(path: Path, file: Path, name: str, seed: int) -> Area:
    """The area in one unpacked file."""
    tally = Tally()
    kind = content.kind_of(file)
    if kind == content.JSON:
        keys = top_level(content.head_of(file))
        if "buildings" in keys and "features" not in keys:
            return _in_metres(path, file, name, seed)
        if "elements" in keys and "features" not in keys:
            return _placed(path, name, read_overpass_json(path, file, tally), tally, seed)
        return _placed(path, name, read_vector(path, file, kind), tally, seed)
    if kind == content.OSM_XML:
        return _placed(path, name, read_osm_xml(path, file, tally), tally, seed)
    if kind == content.OSM_PBF:
        return _placed(path, name, read_osm_pbf(path, file, tally), tally, seed)
    if kind == content.PARQUET:
        return _placed(path, name, read_parquet(path, file), tally, seed)
    if kind == content.TABLE:
        return _placed(path, name, read_table(path, file), tally, seed)
    if kind in (content.GEOPACKAGE, content.SHAPEFILE, content.FLATGEOBUF):
        return _placed(path, name, read_vector(path, file, kind), tally, seed)
    empty = "" if file.stat().st_size else ": it is empty"
    raise InputError(f"{path}: not a footprint file{empty}; {content.ACCEPTED}")


def _placed(path: Path, name: str, outlines: Outlines, tally: Tally, seed: int) -> Area:
    """Outlines of a file as an area in metres."""
    tally.notes += outlines.notes
    found = standing(outlines, tally)
    if not found:
        raise _empty(path, tally)
    geometries = np.empty(len(found), dtype=object)
    geometries[:] = [building.geometry for building in found]
    where = place(path, geometries, [building.name for building in found], outlines.crs, tally)
    found = [replace(building, geometry=g) for building, g in zip(found, where.geometries, strict=True)]
    feet = where.unit < FOOT
    if feet:
        tally.notes.append("its CRS counts in feet: `height` without a unit is taken for metres, other names for feet")
    made = bodies(found, tally, seed, where.unit if feet else 1.0)
    if not made.footprints:
        raise _empty(path, tally)
    open_street_map = outlines.crs is None and any("building" in building.tags for building in found)
    attribution = OPENSTREETMAP if open_street_map else f"{path.name}: see the licence of its source"
    return _whole(name, made, attribution, where.georeference)


def _empty(path: Path, tally: Tally) -> InputError:
    left = f" ({tally.summary()})" if tally.left_out else ""
    return InputError(f"{path}: no buildings in it{left}; export an extract with building outlines")


def _in_metres(path: Path, file: Path, name: str, seed: int) -> Area:
    """`buildings.json`: local metres, heights and levels as they are, every outline a building."""
    if file.stat().st_size > MOST_JSON:
        raise InputError(f"{path}: {file.stat().st_size >> 20:,} MB of JSON; give it in several files")
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); is the file whole?") from error
    tally, footprints, given, sources = Tally(), list[Polygon](), list[float](), list[str]()
    for number, building in enumerate(document["buildings"], 1):
        height, source = _stated(building)
        outline = Polygon(building["p"], building.get("holes") or [])
        if not np.isfinite(shapely.get_coordinates(outline)).all():
            tally.leave_out("NaN or infinite coordinates", f"building {number}")
            continue
        for polygon in polygons_of(shapely.force_2d(outline)):
            footprints.append(polygon)
            given.append(height)
            sources.append(source)
    if not footprints:
        raise _empty(path, tally)
    _require_near(path, footprints)
    heights = np.asarray(given)
    drawn = missing_heights(len(heights), np.random.default_rng(seed))
    counts = {source: sources.count(source) for source in (GIVEN, LEVELS, DRAWN)}
    reading = Reading(len(footprints), 0, 0, counts, tally.left_out)
    made = Bodies(
        tuple(footprints),
        np.where(np.isnan(heights), drawn, heights),
        np.zeros(len(heights)),
        np.isnan(heights),
        reading,
    )
    return _whole(name, made, OPENSTREETMAP)


def _require_near(path: Path, footprints: list[Polygon]) -> None:
    """Raises `InputError` where one lies so far from the others that no town holds both."""
    corners = shapely.bounds(np.asarray(footprints, dtype=object))
    away = np.abs(corners - np.tile(np.median(corners[:, :2], axis=0), 2)).max(axis=1)
    if away.max() > LARGEST:
        far = int(np.argmax(away))
        raise InputError(
            f"{path}: outline {far + 1} reaches {away[far] / 1000:,.0f} km from the middle of the buildings; give "
            "metres, and one town"
        )


def _stated(building: dict[str, Any]) -> tuple[float, str]:
    """Height of an entry of `buildings.json`, m, and where it is from; NaN where it has none."""
    levels = building.get("lv")
    height = building.get("h") or (levels * METRES_PER_LEVEL if levels else None)
    if height is None or isinstance(height, bool) or not 0 < height < 1000:
        return math.nan, DRAWN
    return height, GIVEN if building.get("h") else LEVELS


def _whole(name: str, made: Bodies, attribution: str, georeference: Georeference | None = None) -> Area:
    x0, y0, x1, y1 = shapely.total_bounds(np.asarray(made.footprints))
    bounds = (float(x0), float(y0), float(x1), float(y1))
    return Area(
        name, made.footprints, made.heights, bounds, attribution, georeference, made.bases, made.drawn, made.reading
    )
