"""OpenStreetMap's buildings, from XML, PBF or Overpass's JSON, with their elements in any order."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from uniair.area.buildings import Outlines
from uniair.area.content import head_of
from uniair.area.reading import Tally
from uniair.errors import InputError

SAYS = ("building", "building:part")
MOST_JSON = 256 << 20  # bytes of Overpass's JSON, which is read in memory
Tags = dict[str, str]


@dataclass
class _Relation:
    members: list[tuple[int, str]]
    tags: Tags

    @property
    def says(self) -> bool:
        return any(key in self.tags for key in SAYS)


@dataclass
class Elements:
    """Nodes, and what may be outlines of buildings; the last of two of one id stands, and what was deleted is gone.

    Attributes:
        nodes: ids.
        longitudes, latitudes: of the nodes, degrees.
        ways: id to node ids, of all ways.
        tags: id of a way to its tags, where it says that it is a building.
        relations: id to members that are ways (id, role), and tags.
        points: buildings that are nodes.
        remark: what the server said, e.g. that its time was up.
    """

    nodes: array[int] = field(default_factory=lambda: array("q"))
    longitudes: array[float] = field(default_factory=lambda: array("d"))
    latitudes: array[float] = field(default_factory=lambda: array("d"))
    ways: dict[int, array[int]] = field(default_factory=dict)
    tags: dict[int, Tags] = field(default_factory=dict)
    relations: dict[int, _Relation] = field(default_factory=dict)
    points: list[int] = field(default_factory=list)
    remark: str = ""
    _made: int = -(1 << 62)

    def node(self, number: int, longitude: float, latitude: float) -> None:
        """A node; what is NaN or no degrees counts as missing."""
        if abs(longitude) <= 360 and abs(latitude) <= 90:
            self.nodes.append(number)
            self.longitudes.append(longitude)
            self.latitudes.append(latitude)

    def made_nodes(self, points: Iterable[tuple[float, float]]) -> list[int]:
        """Nodes of ids of their own at places (longitude, latitude); equal places are one node."""
        ids: dict[tuple[float, float], int] = {}
        for point in points:
            if point not in ids:
                self._made += 1
                ids[point] = self._made
                self.node(self._made, *point)
        return [ids[point] for point in points]

    def way(self, number: int, refs: Iterable[int], tags: Tags) -> None:
        """A way with all its nodes."""
        self.ways[number] = array("q", refs)
        self.tags.pop(number, None)
        if any(key in tags for key in SAYS):
            self.tags[number] = tags

    def relation(self, number: int, members: list[tuple[int, str]], tags: Tags) -> None:
        """A relation, where it may be of a building."""
        self.relations.pop(number, None)
        if any(key in tags for key in SAYS) or tags.get("type") in ("multipolygon", "building"):
            self.relations[number] = _Relation(members, tags)


def read_osm_xml(path: Path, file: Path, tally: Tally) -> Outlines:
    """Buildings of an .osm file, as the API, Overpass, JOSM and osmium write it.

    Raises:
        InputError: not whole, or no OpenStreetMap XML.
    """
    reader = _XmlReader()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text
    try:
        with file.open("rb") as source:
            parser.ParseFile(source)
    except (expat.ExpatError, ValueError, OverflowError, LookupError) as error:
        raise InputError(f"{path}: not a readable OpenStreetMap file ({error}); is the download whole?") from error
    return _outlines(reader.elements, tally)


class _XmlReader:
    """Takes expat's events; keeps one object at a time."""

    def __init__(self) -> None:
        self.elements = Elements()
        self.kind = ""
        self.remark = False

    def start(self, name: str, at: dict[str, str]) -> None:
        if name in ("node", "way", "relation"):
            self.kind, self.number = name, int(at["id"])
            self.gone = at.get("action") == "delete" or at.get("visible") == "false"
            self.tags: Tags = {}
            self.refs: list[int] = []
            self.points: list[tuple[float, float] | None] = []
            self.members: list[tuple[int, str]] = []
            self.inner: list[list[tuple[float, float] | None]] = []
            self.place = _place(at)
        elif name == "tag" and self.kind:
            self.tags[at["k"]] = at["v"]
        elif name == "nd" and self.kind == "way":
            self.refs.append(int(at.get("ref", 0)))
            self.points.append(_place(at))
        elif name == "nd" and self.inner:
            self.inner[-1].append(_place(at))
        elif name == "member" and self.kind == "relation" and at.get("type") == "way":
            self.members.append((int(at["ref"]), at.get("role", "")))
            self.inner.append([])
        elif name == "remark":
            self.remark = True

    def text(self, text: str) -> None:
        if self.remark:
            self.elements.remark = (self.elements.remark + text.strip())[:200]

    def end(self, name: str) -> None:
        self.remark = False
        if name != self.kind:
            return
        self.kind = ""
        elements = self.elements
        if self.gone:
            elements.ways.pop(self.number, None) if name == "way" else None
            elements.tags.pop(self.number, None) if name == "way" else None
            elements.relations.pop(self.number, None) if name == "relation" else None
        elif name == "node":
            if self.place is not None:
                elements.node(self.number, *self.place)
            if any(key in self.tags for key in SAYS):
                elements.points.append(self.number)
        elif name == "way":
            _add_way(elements, self.number, self.refs, self.points, self.tags)
        else:
            for (number, _), points in zip(self.members, self.inner, strict=True):
                if points and number not in elements.ways:
                    _add_way(elements, number, [], points, {})
            elements.relation(self.number, self.members, self.tags)


def _place(at: Mapping[str, Any]) -> tuple[float, float] | None:
    return (float(at["lon"]), float(at["lat"])) if "lon" in at and "lat" in at else None


def _add_way(
    elements: Elements, number: int, refs: list[int], points: list[tuple[float, float] | None], tags: Tags
) -> None:
    """A way by its nodes, or by places of its own (Overpass's `out geom`)."""
    known = [point for point in points if point is not None]
    if refs and any(refs):
        for ref, point in zip(refs, points, strict=False):
            if point is not None:
                elements.node(ref, *point)
        elements.way(number, refs, tags)
    else:
        elements.way(number, elements.made_nodes(known), tags)


def read_overpass_json(path: Path, file: Path, tally: Tally) -> Outlines:
    """Buildings of what Overpass answers with `[out:json]`.

    Raises:
        InputError: not whole, or no elements as Overpass writes them.
    """
    if file.stat().st_size > MOST_JSON:
        raise InputError(f"{path}: {file.stat().st_size >> 20:,} MB of JSON; save it as .osm or .osm.pbf")
    elements = Elements()
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
        elements.remark = str(document.get("remark", ""))[:200]
        for item in document["elements"]:
            _add_item(elements, item)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}: not a readable answer of Overpass ({type(error).__name__}: {error}); is the download whole?"
        ) from error
    return _outlines(elements, tally)


def _add_item(elements: Elements, item: Mapping[str, Any]) -> None:
    tags: Tags = {str(k): str(v) for k, v in (item.get("tags") or {}).items()}
    kind, number = item["type"], int(item.get("id", 0))
    if kind == "node":
        if (place := _place(item)) is not None:
            elements.node(number, *place)
        if any(key in tags for key in SAYS):
            elements.points.append(number)
    elif kind == "way":
        points = [_place(point) if point else None for point in item.get("geometry") or ()]
        _add_way(elements, number, [int(ref) for ref in item.get("nodes") or ()], points, tags)
    elif kind == "relation":
        members = [m for m in item.get("members") or () if m["type"] == "way"]
        for member in members:
            points = [_place(point) if point else None for point in member.get("geometry") or ()]
            if points and int(member["ref"]) not in elements.ways:
                _add_way(elements, int(member["ref"]), [], points, {})
        elements.relation(number, [(int(m["ref"]), str(m.get("role", ""))) for m in members], tags)


def read_osm_pbf(path: Path, file: Path, tally: Tally) -> Outlines:
    """Buildings of an .osm.pbf file, in three passes: what is tagged, its ways, their nodes.

    Raises:
        InputError: osmium is missing, or the file is not whole.
    """
    try:
        import osmium
    except ImportError as error:
        raise InputError(f"{path}: reading OpenStreetMap needs osmium: pip install 'uniair[rt]'") from error
    elements, kinds = Elements(), osmium.osm
    source = osmium.io.File(str(file), "o5m" if head_of(file, 2) == b"\xff\xe0" else "pbf")
    try:
        tagged = osmium.FileProcessor(source, kinds.WAY | kinds.RELATION)
        for item in tagged.with_filter(osmium.filter.KeyFilter(*SAYS, "type")):
            tags = {tag.k: tag.v for tag in item.tags}
            if item.deleted:
                continue
            if item.is_way():
                elements.way(item.id, [node.ref for node in item.nodes], tags)
            else:
                members = [(member.ref, member.role) for member in item.members if member.type == "w"]
                elements.relation(item.id, members, tags)
        wanted = {number for relation in elements.relations.values() for number, _ in relation.members}
        wanted -= elements.ways.keys()
        if wanted:
            ways = osmium.FileProcessor(source, kinds.WAY).with_filter(osmium.filter.IdFilter(wanted))
            for item in ways:
                elements.way(item.id, [node.ref for node in item.nodes], {})
        refs = {ref for way in elements.ways.values() for ref in way}
        if refs:
            for item in osmium.FileProcessor(source, kinds.NODE).with_filter(osmium.filter.IdFilter(refs)):
                if item.location.valid():
                    elements.node(item.id, item.location.lon, item.location.lat)
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise InputError(f"{path}: not a readable OpenStreetMap file ({error}); is the download whole?") from error
    return _outlines(elements, tally)


class _Places:
    """Where nodes are, by id."""

    def __init__(self, elements: Elements) -> None:
        ids = np.frombuffer(elements.nodes, dtype=np.int64) if elements.nodes else np.zeros(0, dtype=np.int64)
        # the last of several nodes of one id: unique gives the first, of the reversed list
        self.ids, last = np.unique(ids[::-1], return_index=True)
        longitude, latitude = (np.array(values)[::-1][last] for values in (elements.longitudes, elements.latitudes))
        self.degrees = np.column_stack([longitude, latitude])

    def of(self, refs: array[int]) -> NDArray[np.float64] | None:
        """Longitudes and latitudes [n, 2], None where one is not in the file."""
        wanted = np.frombuffer(refs, dtype=np.int64) if refs else np.zeros(0, dtype=np.int64)
        at = np.searchsorted(self.ids, wanted)
        if not len(self.ids) or (at == len(self.ids)).any() or (self.ids[at] != wanted).any():
            return None
        return np.asarray(self.degrees[at])


def _outlines(elements: Elements, tally: Tally) -> Outlines:
    if elements.remark:
        tally.notes.append(f"the server remarked: {elements.remark}")
    for number in elements.points:
        tally.leave_out("a point or line, no outline", f"node {number}")
    places = _Places(elements)
    geometries: list[shapely.Geometry] = []
    tags: list[Mapping[str, Any]] = []
    names: list[str] = []
    covered: dict[int, bool] = {}
    for number, relation in elements.relations.items():
        own = _own_tags(relation, elements)
        if own is None:
            continue
        name = f"relation {number}"
        geometry = _assembled(name, relation, elements, places, tally)
        if geometry is not None:
            outer = {way for way, role in relation.members if role != "inner"} - _parts(relation, elements)
            covered |= dict.fromkeys(outer, relation.says)
            geometries.append(geometry)
            tags.append(own)
            names.append(name)
    for number, own in elements.tags.items():
        name, refs = f"way {number}", elements.ways[number]
        if number in covered:
            if covered[number]:  # else the way is the relation, and has its tags
                tally.leave_out("outline of a relation that stands", name)
        elif len(refs) < 4 or refs[0] != refs[-1]:
            ring = places.of(refs)
            if ring is not None and len(ring) >= 4 and (ring[0] == ring[-1]).all():
                geometries.append(Polygon(ring))
                tags.append(own)
                names.append(name)
            else:
                tally.leave_out("an open outline", f"{name}, {len(refs)} nodes")
        elif (ring := places.of(refs)) is None:
            tally.leave_out("cut off at the border", name)
        else:
            geometries.append(Polygon(ring))
            tags.append(own)
            names.append(name)
    array_of = np.empty(len(geometries), dtype=object)
    array_of[:] = geometries
    return Outlines(array_of, tags, names, None)


def _parts(relation: _Relation, elements: Elements) -> set[int]:
    return {way for way, _ in relation.members if "building:part" in elements.tags.get(way, {})}


def _own_tags(relation: _Relation, elements: Elements) -> Tags | None:
    """Tags of the building that a relation is, or None: a multipolygon's own, or, as of old, its outer ways'."""
    outers = [elements.tags.get(way) for way, role in relation.members if role in ("outer", "outline", "")]
    if relation.says:
        # a relation of type building only gathers: its outline is a building by itself
        return None if relation.tags.get("type") == "building" and any(outers) else relation.tags
    plain = not set(relation.tags) - {"type", "source", "note", "created_by", "fixme"}
    if relation.tags.get("type") == "multipolygon" and plain and outers and all(outers):
        return outers[0]
    return None


def _assembled(
    name: str, relation: _Relation, elements: Elements, places: _Places, tally: Tally
) -> shapely.Geometry | None:
    """Area of a relation from its rings, holes and islands left and kept; None, and counted, where no ring closes."""
    lines: dict[str, list[shapely.Geometry]] = {"outer": [], "inner": []}
    missing = 0
    for way, role in dict.fromkeys(relation.members):
        if role == "part":
            continue
        refs = elements.ways.get(way)
        line = places.of(refs) if refs is not None and len(refs) > 1 else None
        if line is None:
            missing += 1
        else:
            lines["inner" if role == "inner" else "outer"].append(shapely.linestrings(line))
    both = [*lines["outer"], *lines["inner"]]
    if not both:
        tally.leave_out("a relation cut off at the border", name)
        return None
    ends = Counter(end for line in both for end in (line.coords[0], line.coords[-1]))
    if any(count % 2 for count in ends.values()):
        missing += 1
        lines = {role: _rings(found) for role, found in lines.items()}
    if not lines["outer"]:
        tally.leave_out("a relation cut off at the border", name)
        return None
    area = shapely.build_area(shapely.multilinestrings([*lines["outer"], *lines["inner"]]))
    if area is None or area.is_empty:
        tally.leave_out("a relation whose rings don't close", name)
        return None
    if missing and lines["inner"]:  # a hole whose outer ring is missing is no building
        holes = shapely.build_area(shapely.multilinestrings(lines["inner"]))
        area = area.difference(holes) if holes is not None else area
    if missing:
        tally.guess("a relation cut off at the border, its whole rings stand", name)
    return area


def _rings(lines: list[shapely.Geometry]) -> list[shapely.Geometry]:
    """The closed rings among lines joined at their ends."""
    if not lines:
        return []
    return [line for line in shapely.get_parts(shapely.line_merge(shapely.multilinestrings(lines))) if line.is_ring]
