"""What is a building: outlines with tags → bodies with a floor and a top, in metres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiLineString, Polygon

from uniair.area.area import CLEARANCE, polygons_of
from uniair.area.heights import (
    HEIGHT_MEDIAN,
    METRES_PER_LEVEL,
    from_neighbours,
    level_count,
    middles,
    missing_heights,
    normalised,
    read_height,
)
from uniair.area.reading import DRAWN, GIVEN, LEVELS, NEIGHBOURS, SOURCES, Reading, Tally

NOT_STANDING = {
    "no", "false", "0", "none", "ruins", "ruin", "proposed", "planned", "collapsed", "construction", "demolished",
    "destroyed", "razed", "removed", "dismantled",
}  # fmt: skip
GONE = ("ruins", "collapsed", "demolished", "destroyed", "razed", "proposed", "construction")  # said by a tag =yes
GROUND = {  # where nothing says `building`; what has a height, and data that uses these names otherwise, may be some
    "landuse": {
        "grass", "forest", "meadow", "farmland", "cemetery", "recreation_ground", "village_green", "orchard",
        "vineyard", "allotments", "basin", "reservoir", "greenfield", "brownfield", "quarry", "flowerbed", "greenery",
    },
    "leisure": {"park", "garden", "pitch", "playground", "nature_reserve", "golf_course", "dog_park", "common"},
    "natural": {"water", "wood", "scrub", "grassland", "wetland", "heath", "beach", "sand", "bare_rock", "grass"},
    "amenity": {"parking", "bicycle_parking", "parking_space", "grave_yard"},
    "highway": {"pedestrian", "footway", "service", "residential", "platform"},
}  # fmt: skip
YES = {"yes", "true", "1", "1.0", "t", "y"}
ROOFS = {"roof", "canopy", "carport"}
BRIDGES = {"bridge", "skybridge", "skyway", "footbridge"}
MEDIANS = {None: HEIGHT_MEDIAN, "roof": 5.0, "bridge": 9.0}  # of drawn heights, by what is open below; m
ROOF_THICKNESS, BRIDGE_DEPTH = 0.5, 4.0  # m, where nothing is said of the floor
NARROW = 0.5  # m; a strip of an outline that its parts leave is no building where it is narrower than twice this
MOST_GROUND = 1e7  # m²; the largest buildings cover one or two million
MINE = 0.5  # share of a part's plan that lies in the outline that it belongs to


@dataclass(frozen=True)
class Outlines:
    """What a file holds, before anything is decided: in the file's own coordinates.

    Attributes:
        geometries: [N] shapely geometries of any type, None where a feature has none.
        tags: [N] names and values as the file has them.
        names: [N] how to find the object in the file, e.g. `way 60`.
        crs: that the file states, in any form that pyproj reads; None: it states none.
        notes: about the file.
    """

    geometries: NDArray[Any]
    tags: list[Mapping[str, Any]]
    names: list[str]
    crs: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Building:
    """One outline that stands, its tags under `normalised` names."""

    geometry: shapely.Geometry
    tags: Mapping[str, Any]
    name: str
    part: bool

    @property
    def kind(self) -> str:
        """`house`, `roof`, …; "" where nothing is said but that it is one."""
        for name in ("building_part", "building") if self.part else ("building", "class", "subtype"):
            if (value := _text(self.tags, name)) and value not in YES:
                return value
        return ""


@dataclass(frozen=True)
class Bodies:
    """Buildings as prisms: `footprints`, `heights`, `bases` and `drawn` of an `Area`, and the counts."""

    footprints: tuple[Polygon, ...]
    heights: NDArray[np.float64]
    bases: NDArray[np.float64]
    drawn: NDArray[np.bool_]
    reading: Reading


def _text(tags: Mapping[str, Any], name: str) -> str:
    return "" if name not in tags else str(tags.get(name, "")).strip().lower()


def standing(outlines: Outlines, tally: Tally) -> list[Building]:
    """The outlines that are buildings; the others are counted by reason.

    Where any feature says `building` or `building:part`, those that don't are none; where none does, parks, car parks
    and lakes are none.
    """
    tags = [normalised(t) for t in outlines.tags]
    said = any(_says(t) for t in tags)
    out: list[Building] = []
    for geometry, own, name in zip(outlines.geometries, tags, outlines.names, strict=True):
        if said and not _says(own):
            tally.leave_out("not tagged as building", _example(name, own))
        elif reason := _no_building(own) or (None if said else _ground(own)):
            tally.leave_out(reason, _example(name, own))
        elif (area := _areal(geometry)) is None:
            if geometry is None or geometry.is_empty:
                tally.leave_out("without a geometry", name)
            else:
                tally.leave_out("a point or line, no outline", f"{name}, {geometry.geom_type}")
        elif not np.isfinite(shapely.get_coordinates(area)).all():
            tally.leave_out("NaN or infinite coordinates", name)
        else:
            out.append(Building(area, own, name, _is_part(own)))
    return out


def _says(tags: Mapping[str, Any]) -> bool:
    return "building" in tags or "building_part" in tags


def _is_part(tags: Mapping[str, Any]) -> bool:
    """OSM's `building:part` on what is no `building` itself; Overture's building_part, which names its building."""
    own = _text(tags, "building")
    if _text(tags, "building_part") not in ("", *NOT_STANDING) and own in ("", *NOT_STANDING):
        return True
    return own == "" and ("building_id" in tags or _text(tags, "type") == "building_part")


def _no_building(tags: Mapping[str, Any]) -> str | None:
    """Why tags say that nothing stands there, or None."""
    for name in ("building_part",) if _is_part(tags) else ("building", "class"):
        if (value := _text(tags, name)) in NOT_STANDING:
            return f"{name.replace('_', ':')}={value}"
    if gone := next((name for name in GONE if _text(tags, name) == "yes"), None):
        return f"{gone}=yes"
    return "underground" if _underground(tags) else None


def _ground(tags: Mapping[str, Any]) -> str | None:
    """What is open ground by its tags, or None."""
    if read_height(tags).top is not None:
        return None
    found = next((name for name, values in GROUND.items() if _text(tags, name) in values), None)
    return None if found is None else f"{found}={_text(tags, found)}"


def _underground(tags: Mapping[str, Any]) -> bool:
    if _text(tags, "is_underground") in YES or _text(tags, "location") == "underground":
        return True
    kind = _text(tags, "building")
    if kind in ("underground", "basement", "subway"):
        return True
    if _text(tags, "parking") == "underground" and kind in ("parking", "garage", "garages"):
        return True
    above = level_count(tags.get("building_levels", tags.get("num_floors", "")))
    if above == 0 and not _number(tags, "roof_levels") and (_number(tags, "building_levels_underground") or 0) > 0:
        return True
    deep = any((value := _number(tags, name)) is not None and value < 0 for name in ("layer", "level", "max_level"))
    return deep and not above and read_height(tags).top is None


def _number(tags: Mapping[str, Any], name: str) -> float | None:
    if name not in tags:
        return None
    try:
        value = float(str(tags.get(name, "")).strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _example(name: str, tags: Mapping[str, Any]) -> str:
    told = [f"{k}={v}" for k, v in tags.items() if isinstance(v, (str, bool, int, float)) and not k.endswith("id")]
    return ", ".join([name, *told[:2]])


def _areal(geometry: shapely.Geometry | None) -> shapely.Geometry | None:
    """The geometry where it has ground, as polygons on the plan; closed lines are outlines."""
    if geometry is None or geometry.is_empty:
        return None
    if isinstance(geometry, Polygon):
        return shapely.force_2d(geometry) if geometry.has_z else geometry
    if isinstance(geometry, LineString) and geometry.is_closed and len(geometry.coords) >= 4:
        return Polygon(shapely.get_coordinates(geometry))
    if isinstance(geometry, MultiLineString):
        rings = [area for line in geometry.geoms if (area := _areal(line)) is not None]
        return shapely.multipolygons(rings) if len(rings) == len(geometry.geoms) else None
    polygons = [p for p in shapely.get_parts(shapely.get_parts(geometry)) if p.geom_type == "Polygon"]
    return shapely.force_2d(shapely.multipolygons(polygons)) if polygons else None


@dataclass
class _Body:
    """A polygon of a building while its extent is worked out; m."""

    plan: Polygon
    of: Building
    top: float
    base: float
    source: str


def bodies(buildings: list[Building], tally: Tally, seed: int, unit: float = 1.0) -> Bodies:
    """Floors and tops of buildings whose geometries are in metres.

    Parts replace the outline that they cover. Heights that are not given come from levels, else from neighbours of the
    same kind (`from_neighbours`), else are drawn (`missing_heights`).

    Args:
        buildings: of `standing`, projected.
        tally: for what is left out or guessed.
        seed: of drawn heights.
        unit: see `read_height`.
    """
    found = [body for building in buildings for body in _bodies_of(building, tally, unit)]
    found = _once(_without_covered(found, tally), tally)
    heights = np.array([body.top for body in found])
    # the parts of a tower are no neighbours of a house
    kinds = np.array([f"part {body.of.kind}" if body.of.part else body.of.kind for body in found], dtype=str)
    plans = np.array([body.plan for body in found], dtype=object)
    if np.isnan(heights).any():
        near = from_neighbours(middles(plans), kinds, heights)
        drawn = missing_heights(len(found), np.random.default_rng(seed))
        drawn *= np.array([MEDIANS[_open_below(body.of)] for body in found]) / HEIGHT_MEDIAN
        for i in np.flatnonzero(np.isnan(heights)):
            found[i].source = DRAWN if np.isnan(near[i]) else NEIGHBOURS
        heights = np.where(np.isnan(heights), np.where(np.isnan(near), drawn, near), heights)
    # a body in the air of no known height is a level high
    lifted = np.array([math.isnan(body.top) and body.base >= h for body, h in zip(found, heights, strict=True)])
    heights = np.where(lifted, np.array([body.base for body in found]) + METRES_PER_LEVEL, heights)
    bases = np.array([_floor(body, height, tally) for body, height in zip(found, heights.tolist(), strict=True)])
    sources = [body.source for body in found]
    reading = Reading(
        len(found), sum(body.of.part for body in found), int((bases >= CLEARANCE).sum()),
        {source: sources.count(source) for source in SOURCES},
        tally.left_out, tally.guessed, tuple(tally.notes),
    )  # fmt: skip
    drawn_ones = np.array([source == DRAWN for source in sources], dtype=bool)
    return Bodies(tuple(body.plan for body in found), heights, bases, drawn_ones, reading)


def _bodies_of(building: Building, tally: Tally, unit: float) -> list[_Body]:
    polygons = polygons_of(building.geometry)
    if not polygons:
        tally.leave_out("smaller than 1 m²", building.name)
    if (ground := sum(polygon.area for polygon in polygons)) > MOST_GROUND:
        tally.leave_out("larger than any building", f"{building.name}, {ground / 1e6:,.0f} km²")
        return []
    seen = read_height(building.tags, unit)
    if seen.unreadable:
        tally.guess("a height that can't be read", f"{building.name}, {seen.unreadable}")
    if seen.doubt:
        tally.guess("height and levels disagree, the height stands", f"{building.name}, {seen.doubt}")
    top, source = (math.nan, DRAWN) if seen.top is None else (seen.top, LEVELS if seen.levels else GIVEN)
    base = math.nan if seen.base is None else seen.base
    return [_Body(polygon, building, top, base, source) for polygon in polygons]


def _open_below(building: Building) -> str | None:
    """`roof` or `bridge` where people pass underneath, or None."""
    tags = building.tags
    if building.kind in ROOFS or _text(tags, "wall") == "no" or _text(tags, "walls") == "no":
        return "roof"
    spans = _text(tags, "bridge") not in ("", *NOT_STANDING) or _text(tags, "man_made") == "bridge"
    return "bridge" if building.kind in BRIDGES or (spans and (_number(tags, "layer") or 1) > 0) else None


def _floor(body: _Body, top: float, tally: Tally) -> float:
    """Height of a body's floor, below its top; m."""
    kind = _open_below(body.of)
    if not math.isnan(body.base):
        if body.base < top:
            return body.base
        tally.guess("min_height not below the top", f"{body.of.name}, min_height {body.base:g} m, top {top:g} m")
        if not kind:
            return 0.0
    if not kind:
        return 0.0
    tally.guess(f"floor of a {kind}", body.of.name)
    return max(top - (ROOF_THICKNESS if kind == "roof" else BRIDGE_DEPTH), top / 2)


def _without_covered(found: list[_Body], tally: Tally) -> list[_Body]:
    """Outlines less the ground of their parts; a part of no height takes its outline's."""
    parts = [body for body in found if body.of.part]
    if not parts:
        return found
    plans = np.array([part.plan for part in parts], dtype=object)
    tree = shapely.STRtree(plans)
    out: list[_Body] = []
    for body in found:
        if body.of.part:
            continue
        near = tree.query(body.plan, predicate="intersects")
        mine = near[shapely.area(shapely.intersection(plans[near], body.plan)) >= MINE * shapely.area(plans[near])]
        for i in mine:
            if math.isnan(parts[i].top) and not math.isnan(body.top):
                parts[i].top, parts[i].source = body.top, body.source
                tally.guess("a part of no height has its outline's", parts[i].of.name)
        rest = polygons_of(body.plan.difference(shapely.union_all(plans[mine]))) if len(mine) else [body.plan]
        wide = [piece for piece in rest if not len(mine) or not piece.buffer(-NARROW).is_empty]
        if not wide:
            tally.leave_out("an outline whose parts stand instead", body.of.name)
        out += [_Body(piece, body.of, body.top, body.base, body.source) for piece in wide]
    return out + parts


def _once(found: list[_Body], tally: Tally) -> list[_Body]:
    """Without outlines that are there twice with the same floor; a known height stands before a missing one."""
    plans = np.array([body.plan for body in found], dtype=object)
    shapes = shapely.to_wkb(shapely.normalize(shapely.transform(plans, lambda xy: xy.round(2))))
    seen: dict[tuple[bytes, float], _Body] = {}
    for body, shape in zip(found, shapes.tolist(), strict=True):
        key = (shape, 0.0 if math.isnan(body.base) else body.base)
        if (first := seen.setdefault(key, body)) is body:
            continue
        tally.leave_out("the same outline twice", body.of.name)
        if math.isnan(first.top) or body.top > first.top:
            seen[key] = body
    return list(seen.values())
