"""Writes one small town in every footprint format that `uniair.area.footprints` reads.

    python tests/area/make.py FOLDER

The same call writes the same bytes.
"""

from __future__ import annotations

import bz2
import gzip
import json
import math
import sys
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Ring = list[tuple[float, float]]

LONGITUDE, LATITUDE = 15.6, 48.4
LEVELS, METRES, FEET, COURTYARD, DRAWN, NOT_A_BUILDING = range(6)


@dataclass(frozen=True)
class Building:
    """Parts (outline, holes) in local metres about the town's middle, and OpenStreetMap tags."""

    parts: tuple[tuple[Ring, tuple[Ring, ...]], ...]
    tags: dict[str, str]


def rectangle(x: float, y: float, width: float, depth: float) -> Ring:
    """Closed, anticlockwise from its south-west corner."""
    return [(x, y), (x + width, y), (x + width, y + depth), (x, y + depth), (x, y)]


def town(seed: int = 0) -> tuple[Building, ...]:
    """Six entries, named by the constants above; the last is tagged as no building."""
    x, y = np.random.default_rng(seed).uniform(-3.0, 3.0, 2).round(2).tolist()
    hole = rectangle(x + 70, y + 10, 10, 12)
    return (
        Building(((rectangle(x - 90, y - 80, 12, 30), ()),), {"building": "yes", "building:levels": "4"}),
        Building(((rectangle(x - 60, y - 70, 20, 10), ()),), {"building": "house", "height": "12 m"}),
        Building(((rectangle(x - 20, y - 75, 14, 14), ()),), {"building": "yes", "height": "40 ft"}),
        Building(
            ((rectangle(x + 60, y, 30, 30), (hole,)), (rectangle(x + 60, y + 50, 8, 9), ())),
            {"building": "yes", "height": "15", "type": "multipolygon"},
        ),
        Building(((rectangle(x - 50, y + 40, 25, 16), ()),), {"building": "yes"}),
        Building(((rectangle(x, y + 60, 10, 10), ()),), {"building": "no"}),
    )


def degrees(point: tuple[float, float]) -> tuple[float, float]:
    """Local metres to longitude and latitude with the WGS 84 radii of curvature at the town."""
    a, e2 = 6378137.0, 0.00669437999014
    w = 1 - e2 * math.sin(math.radians(LATITUDE)) ** 2
    north, east = a * (1 - e2) / w**1.5, a / math.sqrt(w) * math.cos(math.radians(LATITUDE))
    return LONGITUDE + math.degrees(point[0] / east), LATITUDE + math.degrees(point[1] / north)


def buildings_json(path: Path, seed: int = 0) -> None:
    """The town as `buildings.json`: local metres, holes, heights and levels where they are known."""
    known: dict[int, dict[str, float]] = {
        LEVELS: {"lv": 4},
        METRES: {"h": 12.0},
        FEET: {"h": 12.192},
        COURTYARD: {"h": 15},
    }
    entries: list[dict[str, Any]] = []
    for number, building in enumerate(town(seed)[:NOT_A_BUILDING]):
        for outline, holes in building.parts:
            entry: dict[str, Any] = {"p": outline[:-1], **known.get(number, {})}
            entries.append(entry | ({"holes": holes} if holes else {}))
    path.write_text(json.dumps({"city": "town", "buildings": entries}), encoding="utf-8")


def geojson(path: Path, seed: int = 0) -> None:
    """The town as a FeatureCollection, with a point and a street that are no buildings."""
    features: list[dict[str, Any]] = []
    for building in town(seed):
        polygons = [[[degrees(p) for p in ring] for ring in (outline, *holes)] for outline, holes in building.parts]
        many = len(polygons) > 1
        geometry = {"type": "MultiPolygon" if many else "Polygon", "coordinates": polygons if many else polygons[0]}
        features.append({"type": "Feature", "properties": building.tags, "geometry": geometry})
    features.append(
        {"type": "Feature", "properties": None, "geometry": {"type": "Point", "coordinates": degrees((0, 0))}}
    )
    street = {"type": "LineString", "coordinates": [degrees((-100, 0)), degrees((100, 0))]}
    features.append({"type": "Feature", "properties": {"highway": "residential"}, "geometry": street})
    features.append({"type": "Feature", "properties": {}, "geometry": None})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


def elements(seed: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The town as OpenStreetMap's nodes, then ways, then relations, numbered from 1."""
    ways: list[tuple[list[int], dict[str, str]]] = []
    relations: list[tuple[list[tuple[int, str]], dict[str, str]]] = []
    node = 0
    for building in town(seed):
        simple = len(building.parts) == 1 and not building.parts[0][1]
        members: list[tuple[int, str]] = []
        for outline, holes in building.parts:
            for ring in (outline, *holes):
                first = node + 1
                for point in ring[:-1]:
                    node += 1
                    yield "node", node, {"location": degrees(point)}
                ways.append(([*range(first, node + 1), first], building.tags if simple else {}))
                members.append((len(ways), "outer" if ring is outline else "inner"))
        if not simple:
            relations.append((members, building.tags))
    for number, (refs, tags) in enumerate(ways, 1):
        yield "way", number, {"refs": refs, "tags": tags}
    for number, (members, tags) in enumerate(relations, 1):
        yield "relation", number, {"members": members, "tags": tags}


def osm_xml(path: Path, seed: int = 0) -> None:
    """The town as OpenStreetMap XML, compressed if the name says so."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<osm version="0.6" generator="make.py">']
    for kind, number, what in elements(seed):
        head = f'<{kind} id="{number}" version="1"'
        if kind == "node":
            longitude, latitude = what["location"]
            lines.append(f'{head} lon="{longitude:.7f}" lat="{latitude:.7f}"/>')
            continue
        inside = [f'<nd ref="{ref}"/>' for ref in what.get("refs", ())]
        inside += [f'<member type="way" ref="{ref}" role="{role}"/>' for ref, role in what.get("members", ())]
        inside += [f'<tag k="{key}" v="{value}"/>' for key, value in what["tags"].items()]
        lines.append(f"{head}>{''.join(inside)}</{kind}>")
    data = "\n".join([*lines, "</osm>", ""]).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    path.write_bytes(data)


def osm_pbf(path: Path, seed: int = 0) -> None:
    """The town as an OpenStreetMap protocol buffer file."""
    import osmium
    from osmium.osm import mutable

    with osmium.SimpleWriter(str(path)) as writer:
        for kind, number, what in elements(seed):
            if kind == "node":
                writer.add_node(mutable.Node(id=number, version=1, location=what["location"]))
            elif kind == "way":
                writer.add_way(mutable.Way(id=number, version=1, nodes=what["refs"], tags=what["tags"]))
            else:
                members = [("w", ref, role) for ref, role in what["members"]]
                writer.add_relation(mutable.Relation(id=number, version=1, members=members, tags=what["tags"]))


def flat(seed: int) -> tuple[list[Any], dict[str, list[Any]]]:
    """Outlines in degrees as shapely's, a town's buildings one by one, and a column for each tag."""
    from shapely.geometry import MultiPolygon

    outlines, columns = [], {key: [] for key in ("building", "height", "building:levels")}
    for building in town(seed):
        polygons = [([degrees(p) for p in ring], [[degrees(p) for p in h] for h in holes])
                    for ring, holes in building.parts]  # fmt: skip
        outlines.append(MultiPolygon(polygons))
        for key, values in columns.items():
            values.append(building.tags.get(key))
    return outlines, columns


def vector(path: Path, seed: int = 0) -> None:
    """The town as GDAL writes it, in the format of the name; `.zip` is a shapefile's."""
    import pyogrio
    import shapely

    outlines, columns = flat(seed)
    target = path.with_suffix("") / "town.shp" if path.suffix == ".zip" else path
    target.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapefiles cut names at ten letters
        pyogrio.raw.write(
            target, shapely.to_wkb(np.array(outlines)), [np.array(v, dtype=object) for v in columns.values()],
            list(columns), geometry_type="MultiPolygon", crs="EPSG:4326",
        )  # fmt: skip
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for part in sorted(target.parent.iterdir()):
                archive.write(part, f"a town/{part.name}")
                part.unlink()
        target.parent.rmdir()


def geoparquet(path: Path, seed: int = 0) -> None:
    """The town as GeoParquet."""
    import pyarrow
    import shapely
    from pyarrow import parquet

    outlines, columns = flat(seed)
    table = pyarrow.table({**columns, "geometry": shapely.to_wkb(np.array(outlines)).tolist()})
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}
    parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)


def table(path: Path, seed: int = 0) -> None:
    """The town as a CSV of WKT, semicolons between."""
    import shapely

    outlines, columns = flat(seed)
    rows = [";".join([*columns, "WKT"])]
    rows += [";".join([*(v or "" for v in row), shapely.to_wkt(outline, rounding_precision=12)])
             for outline, *row in zip(outlines, *columns.values(), strict=True)]  # fmt: skip
    path.write_text("\n".join(rows), encoding="utf-8")


def overpass(path: Path, seed: int = 0) -> None:
    """The town as Overpass answers it in JSON, ways before nodes."""
    found: list[dict[str, Any]] = []
    for kind, number, what in elements(seed):
        item: dict[str, Any] = {"type": kind, "id": number, "tags": what.get("tags", {})}
        if kind == "node":
            item |= dict(zip(("lon", "lat"), what["location"], strict=True))
        elif kind == "way":
            item["nodes"] = what["refs"]
        else:
            item["members"] = [{"type": "way", "ref": ref, "role": role} for ref, role in what["members"]]
        found.append(item)
    path.write_text(json.dumps({"version": 0.6, "osm3s": {}, "elements": found[::-1]}), encoding="utf-8")


def lines(path: Path, seed: int = 0) -> None:
    """The town's features one a line, as a sequence of RFC 8142 where the name says `.geojsons`."""
    geojson(path, seed)
    mark = "\x1e" if path.suffix == ".geojsons" else ""
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    path.write_text("".join(f"{mark}{json.dumps(each)}\n" for each in features), encoding="utf-8")


FORMATS = {
    "buildings.json": buildings_json,
    "town.geojson": geojson,
    "town.osm": osm_xml,
    "town.osm.gz": osm_xml,
    "town.osm.bz2": osm_xml,
    "town.osm.pbf": osm_pbf,
    "town.geojsonl": lines,
    "town.geojsons": lines,
    "town.csv": table,
    "interpreter": overpass,
}
# the bytes of these depend on the clock or on a library's version
LIBRARY_FORMATS = {
    "town.gpkg": vector, "town.fgb": vector, "town.shp": vector, "town.zip": vector, "town.parquet": geoparquet,
}  # fmt: skip


def write(folder: Path, name: str, seed: int = 0) -> Path:
    """Writes one of the formats into a folder."""
    path = folder / name
    (FORMATS | LIBRARY_FORMATS)[name](path, seed)
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for each in FORMATS | LIBRARY_FORMATS:
        print(write(target, each))
