"""Areas from files: `buildings.json`, GeoJSON, OpenStreetMap extracts, and the scenes of the sionna-rt wheel."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon, shape

from uniair.area.area import Area, polygons_of
from uniair.area.georeference import Georeference
from uniair.errors import InputError

OPENSTREETMAP = "(c) OpenStreetMap contributors, ODbL 1.0"
METRES_PER_LEVEL = 3.0
# Missing heights: log-normal, median 12 m, sigma 0.4 of the logarithm, cut to 7 to 60 m, so that buildings exceed BS
# and UE as in paper 1.
HEIGHT_MEDIAN, HEIGHT_SIGMA, HEIGHT_RANGE = 12.0, 0.4, (7.0, 60.0)

Outline = tuple[shapely.Geometry, float | None]


@np.errstate(invalid="ignore", over="ignore")  # NaN and infinity in a file become an InputError, not a warning
def load(path: str | Path, seed: int = 0) -> Area:
    """The area in a file of building outlines.

    Accepts `buildings.json` (local metres), GeoJSON (longitude and latitude) and OpenStreetMap extracts (`.osm`,
    `.osm.gz`, `.osm.bz2`, `.osm.pbf`); geographic coordinates are projected to local metres about the centre of the
    buildings. A directory stands for the `buildings_exact.json` or `buildings.json` in it; `sionna:NAME` for a scene of
    the sionna-rt wheel.

    Args:
        seed: draws the heights that the file does not give (`missing_heights`).

    Raises:
        InputError: no such file, not one of these formats, broken, or without buildings.
    """
    if str(path).startswith("sionna:"):
        return sionna_scene(str(path).removeprefix("sionna:"))
    path = Path(path)
    if path.is_dir():
        inside = [path / name for name in ("buildings_exact.json", "buildings.json") if (path / name).exists()]
        if not inside:
            raise InputError(f"{path}: no buildings.json in this folder; give a footprint file")
        name, path = path.name, inside[0]
    else:
        name = path.parent.name if path.name.startswith("buildings") else path.name.split(".")[0]
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.name.endswith((".osm", ".osm.gz", ".osm.bz2", ".osm.pbf")):
        return _area(path, name, *_project(path, _read_osm(path)), seed=seed)
    if not path.name.endswith((".json", ".geojson")):
        raise InputError(f"{path}: not a footprint file; use buildings.json, .geojson, .osm.pbf or .osm.gz")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); is the file whole?") from error
    try:
        if isinstance(document, dict) and "buildings" in document:
            return _area(path, name, list(_read_buildings(document["buildings"])), seed=seed)
        if isinstance(document, dict) and document.get("type") in ("FeatureCollection", "Feature"):
            return _area(path, name, *_project(path, list(_read_geojson(document))), seed=seed)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, shapely.errors.ShapelyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: a building in it can't be read ({type(error).__name__}: {error})") from error
    raise InputError(f"{path}: neither a buildings.json (key 'buildings') nor a GeoJSON FeatureCollection")


def missing_heights(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Building heights for footprints without one: log-normal, median 12 m, σ 0.4, cut to 7 … 60 m."""
    return rng.lognormal(math.log(HEIGHT_MEDIAN), HEIGHT_SIGMA, count).clip(*HEIGHT_RANGE)


def _area(
    path: Path, name: str, outlines: Iterable[Outline], georeference: Georeference | None = None, *, seed: int
) -> Area:
    footprints: list[Polygon] = []
    given: list[float] = []
    for geometry, height in outlines:
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise InputError(f"{path}: a building outline has NaN or infinite coordinates")
        for polygon in polygons_of(geometry):
            footprints.append(polygon)
            given.append(height if height is not None and 0 < height < 1000 else math.nan)
    if not footprints:
        raise InputError(f"{path}: no buildings in it; export an extract with building outlines")
    heights = np.asarray(given)
    drawn = missing_heights(len(heights), np.random.default_rng(seed))
    heights = np.where(np.isnan(heights), drawn, heights)
    x0, y0, x1, y1 = shapely.total_bounds(np.asarray(footprints))
    bounds = (float(x0), float(y0), float(x1), float(y1))
    return Area(name, tuple(footprints), heights, bounds, OPENSTREETMAP, georeference)


def _read_buildings(buildings: list[dict[str, Any]]) -> Iterable[Outline]:
    for building in buildings:
        levels = building.get("lv")
        height = building.get("h") or (levels * METRES_PER_LEVEL if levels else None)
        yield Polygon(building["p"], building.get("holes") or []), height


def _read_geojson(document: dict[str, Any]) -> Iterable[Outline]:
    for feature in document.get("features", [document]):
        tags = feature.get("properties") or {}
        geometry = feature.get("geometry") or {}
        if geometry.get("type") in ("Polygon", "MultiPolygon") and tags.get("building", "yes") != "no":
            yield shape(geometry), _tagged_height(tags)


def _read_osm(path: Path) -> list[Outline]:
    try:
        import osmium
    except ImportError as error:
        raise InputError(f"{path}: reading OpenStreetMap needs osmium: pip install 'uniair[rt]'") from error
    outlines: list[Outline] = []
    wkb = osmium.geom.WKBFactory()
    try:
        areas = osmium.FileProcessor(str(path)).with_areas().with_filter(osmium.filter.KeyFilter("building"))
        for item in areas:
            if item.is_area():
                tags = {tag.k: tag.v for tag in item.tags}
                if tags["building"] != "no":
                    outlines.append((shapely.from_wkb(wkb.create_multipolygon(item)), _tagged_height(tags)))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a readable OpenStreetMap file ({error}); is the download whole?") from error
    return outlines


def _tagged_height(tags: dict[str, Any]) -> float | None:
    """OpenStreetMap's `height` in metres ("12", "12 m", "40 ft"), else `building:levels` × 3 m, else None."""
    for key in ("height", "building:height", "h"):
        if match := re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*(m|ft|'|)\s*", str(tags.get(key, ""))):
            metres = float(match[1].replace(",", "."))
            return metres * 0.3048 if match[2] in ("ft", "'") else metres
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*", str(tags.get("building:levels", ""))):
        return float(match[1]) * METRES_PER_LEVEL or None
    return None


def _project(path: Path, outlines: list[Outline]) -> tuple[list[Outline], Georeference | None]:
    """Longitude and latitude to local metres about the middle of the buildings, and where that is."""
    if not outlines:
        return [], None
    west, south, east, north = shapely.total_bounds(np.asarray([g for g, _ in outlines], dtype=object))
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise InputError(f"{path}: coordinates are not longitude and latitude in degrees (WGS 84)")
    georeference = Georeference(float(west + east) / 2, float(south + north) / 2)
    return [(shapely.transform(outline, georeference.to_metres), height) for outline, height in outlines], georeference


def sionna_scene(name: str) -> Area:
    """A city scene of the sionna-rt wheel (`munich`, `etoile`, `florence`, `san_francisco`) as footprints.

    A footprint is the plan view of a building's mesh, its height the mesh's extent in z.

    Raises:
        InputError: sionna-rt or plyfile is missing, or there is no such scene.
    """
    spec = find_spec("sionna")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("the packaged city scenes need sionna-rt: pip install 'uniair[rt]'")
    scenes = Path(next(iter(spec.submodule_search_locations))) / "rt" / "scenes"
    meshes = sorted((scenes / name / "meshes").glob("*.ply"))
    if not meshes:
        have = ", ".join(sorted(p.name for p in scenes.iterdir() if (p / "meshes").is_dir()))
        raise InputError(f"sionna:{name}: no such scene in the sionna-rt wheel; choose one of {have}")
    try:
        from plyfile import PlyData
    except ImportError as error:
        raise InputError("reading the packaged scenes needs plyfile: pip install 'uniair[rt]'") from error
    parts: dict[str, list[tuple[shapely.Geometry, float, float]]] = defaultdict(list)
    for path in meshes:
        building = re.sub(r"-(itu_\w+|roof|wall)$", "", path.stem)
        if re.search("ground|terrain|plane", building, re.I):
            continue
        data = PlyData.read(str(path))
        vertex = np.column_stack([data["vertex"][axis] for axis in "xyz"]).astype(float)
        triangles = np.stack(list(data["face"].data[data["face"].properties[0].name]))
        plan = shapely.polygons(vertex[triangles][:, :, :2])
        plan = plan[shapely.area(plan) > 1e-3]
        parts[building].append((shapely.union_all(plan, grid_size=0.01), vertex[:, 2].min(), vertex[:, 2].max()))
    footprints: list[Polygon] = []
    heights: list[float] = []
    for pieces in parts.values():
        height = max(p[2] for p in pieces) - min(p[1] for p in pieces)
        for polygon in polygons_of(shapely.union_all([p[0] for p in pieces])):
            if height > 0:
                footprints.append(polygon.simplify(0.05))
                heights.append(height)
    x0, y0, x1, y1 = shapely.total_bounds(np.asarray(footprints))
    bounds = (float(x0), float(y0), float(x1), float(y1))
    return Area(
        f"sionna_{name}", tuple(footprints), np.asarray(heights), bounds, f"sionna-rt (Apache-2.0), {OPENSTREETMAP}"
    )
