"""Streets of an OpenStreetMap extract, for maps that people recognise; nothing is traced along them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area import content
from uniair.area.area import Area
from uniair.area.footprints import files
from uniair.errors import InputError

# what a way is for, by its tag `highway`; those that are not named here (proposed, razed, …) are none
MAJOR, MINOR, FOOT = "major", "minor", "foot"
KINDS = {
    **dict.fromkeys(("motorway", "trunk", "primary", "secondary", "tertiary"), MAJOR),
    **dict.fromkeys(("motorway_link", "trunk_link", "primary_link", "secondary_link", "tertiary_link"), MAJOR),
    **dict.fromkeys(("unclassified", "residential", "living_street", "service", "road", "busway"), MINOR),
    **dict.fromkeys(("pedestrian", "footway", "path", "cycleway", "steps", "track", "bridleway"), FOOT),
}


@dataclass(frozen=True)
class Street:
    """A piece of a street.

    Attributes:
        name: as people call it; empty where the file does not say.
        kind: MAJOR, MINOR or FOOT.
        line: [N, 2] m.
    """

    name: str
    kind: str
    line: NDArray[np.float64]


def read_streets(place: str, area: Area) -> tuple[Street, ...]:
    """The streets within an area of an OpenStreetMap file (XML, PBF; packed or not); none of any other place.

    Args:
        place: what `footprints.load` reads.
        area: what was read and cut out of it, in whose metres the streets are.
    """
    found = files(place)
    if area.georeference is None or len(found) != 1:
        return ()
    with content.unpacked(found[0]) as here:
        if here.is_dir():
            return ()
        kind = content.kind_of(here)
        if kind not in (content.OSM_XML, content.OSM_PBF):
            return ()
        return _read(found[0], here, "osm" if kind == content.OSM_XML else _suffix(here), area)


def _suffix(file: Path) -> str:
    return "o5m" if content.head_of(file, 2) == b"\xff\xe0" else "pbf"


def _read(path: Path, file: Path, kind: str, area: Area) -> tuple[Street, ...]:
    """Two passes: ways, then their nodes, which may come in any order."""
    try:
        import osmium
    except ImportError:
        return ()  # XML was read without it
    source, kinds = osmium.io.File(str(file), kind), osmium.osm
    ways: list[tuple[str, str, list[int]]] = []
    degrees: dict[int, tuple[float, float]] = {}
    try:
        tagged = osmium.FileProcessor(source, kinds.WAY).with_filter(osmium.filter.KeyFilter("highway"))
        for item in tagged:
            what = KINDS.get(item.tags.get("highway", ""))
            if what is not None and item.tags.get("area") != "yes" and not item.deleted:
                ways.append((item.tags.get("name", ""), what, [node.ref for node in item.nodes]))
        if wanted := {ref for _, _, refs in ways for ref in refs}:
            for item in osmium.FileProcessor(source, kinds.NODE).with_filter(osmium.filter.IdFilter(wanted)):
                if item.location.valid():
                    degrees[item.id] = (item.location.lon, item.location.lat)
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise InputError(f"{path}: not a readable OpenStreetMap file ({error}); is the download whole?") from error
    out: list[Street] = []
    for name, what, refs in ways:
        known = [degrees[ref] for ref in refs if ref in degrees]  # an extract cuts ways off
        out += [Street(name, what, line) for line in _within(known, area)]
    return tuple(out)


def _within(degrees: list[tuple[float, float]], area: Area) -> list[NDArray[np.float64]]:
    """The pieces of a line that lie in the area, [N, 2] m each."""
    assert area.georeference is not None
    if len(degrees) < 2:
        return []
    metres = area.georeference.to_metres(np.array(degrees))
    if (metres.max(0) < area.bounds[:2]).any() or (metres.min(0) > area.bounds[2:]).any():
        return []
    cut = shapely.clip_by_rect(shapely.linestrings(metres), *area.bounds)
    pieces = [shapely.get_coordinates(part) for part in shapely.get_parts(cut) if part.geom_type == "LineString"]
    return [piece for piece in pieces if len(piece) > 1]
