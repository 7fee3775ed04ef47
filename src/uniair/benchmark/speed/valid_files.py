"""A small valid file or folder of every kind that is read here, to be broken by `reader_fuzz`, and what reads it."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import box

from uniair.area import footprints
from uniair.area.area import Area
from uniair.area.georeference import Georeference
from uniair.area.positions import read_positions
from uniair.area.raster import building_heights, occupancy
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.store import Store
from uniair.propagation.paths import LOS, Paths
from uniair.radio import Radio
from uniair.site.measured import read_measured
from uniair.site.site import Site, Station

LONGITUDE, LATITUDE, USERS = 24.94, 60.17, 12
SQUARE = Area(
    "square", (box(30, 30, 60, 60),), np.array([12.0]), (0.0, 0.0, 200.0, 200.0),
    georeference=Georeference(LONGITUDE, LATITUDE),
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A reader and a valid input of it.

    Attributes:
        make: writes the input into an empty folder and returns the path that is read.
        read: reads it, and looks at what it found.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


# maps


def _houses() -> tuple[list[list[list[float]]], list[dict[str, str]]]:
    """Outlines in degrees and tags; one of each kind that the reader treats in its own way."""
    tags: list[dict[str, str]] = [
        {"building": "yes", "height": "12 m"}, {"building": "house", "building:levels": "3"}, {"building": "roof"},
        {"building": "yes", "height": "40'6\""}, {"building:part": "yes", "min_height": "4", "height": "9"},
        {"building": "no"}, {"building": "yes", "location": "underground"}, {"building": "office"},
    ]  # fmt: skip
    rings = []
    for i in range(len(tags)):
        x, y = LONGITUDE + 5e-4 * (i % 4), LATITUDE + 4e-4 * (i // 4)
        rings.append([[x, y], [x + 3e-4, y], [x + 3e-4, y + 2e-4], [x, y + 2e-4], [x, y]])
    return rings, tags


def _features() -> list[dict[str, Any]]:
    rings, tags = _houses()
    return [{"type": "Feature", "properties": tag, "geometry": {"type": "Polygon", "coordinates": [ring]}}
            for ring, tag in zip(rings, tags, strict=True)]  # fmt: skip


def _geojson(folder: Path) -> Path:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    return _text(
        folder / "town.geojson", json.dumps({"type": "FeatureCollection", "crs": crs, "features": _features()})
    )


def _lines(folder: Path) -> Path:
    return _text(folder / "town.geojsonl", "\n".join(map(json.dumps, _features())))


def _buildings_json(folder: Path) -> Path:
    houses = [{"p": [[10.0 * i, 5.0], [10.0 * i + 8, 5.0], [10.0 * i + 8, 17.0], [10.0 * i, 17.0]]} for i in range(6)]
    known: list[dict[str, float]] = [{"h": 9.5}, {"lv": 3}, {}, {"h": 20.0}, {"lv": 1}, {"h": 7.0}]
    return _text(
        folder / "buildings.json", json.dumps({"buildings": [a | b for a, b in zip(houses, known, strict=True)]})
    )


def _elements() -> tuple[list[tuple[int, float, float]], list[tuple[int, list[int], dict[str, str]]]]:
    """OpenStreetMap's nodes and ways."""
    nodes, ways = [], []
    for i, (ring, tag) in enumerate(zip(*_houses(), strict=True)):
        refs = [4 * i + k + 1 for k in range(4)]
        nodes += [(ref, x, y) for ref, (x, y) in zip(refs, ring, strict=False)]
        ways.append((i + 1, [*refs, refs[0]], tag))
    return nodes, ways


def _osm_text() -> str:
    from xml.sax.saxutils import quoteattr

    nodes, ways = _elements()
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", '<osm version="0.6" generator="uniair">']
    lines += [f'<node id="{i}" lon="{x:.7f}" lat="{y:.7f}"/>' for i, x, y in nodes]
    for i, refs, tags in ways:
        inside = [f'<nd ref="{ref}"/>' for ref in refs]
        inside += [f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags.items()]
        lines.append(f'<way id="{i}">{"".join(inside)}</way>')
    member = '<member type="way" ref="8" role="outer"/><tag k="type" v="multipolygon"/><tag k="building" v="yes"/>'
    return "\n".join([*lines, f'<relation id="1">{member}</relation>', "</osm>"])


def _osm(folder: Path) -> Path:
    return _text(folder / "town.osm", _osm_text())


def _osm_gz(folder: Path) -> Path:
    path = folder / "town.osm.gz"
    path.write_bytes(gzip.compress(_osm_text().encode(), mtime=0))
    return path


def _overpass(folder: Path) -> Path:
    nodes, ways = _elements()
    found: list[dict[str, Any]] = [{"type": "way", "id": i, "nodes": refs, "tags": tags} for i, refs, tags in ways]
    found += [{"type": "node", "id": i, "lon": x, "lat": y} for i, x, y in nodes]
    return _text(folder / "interpreter", json.dumps({"version": 0.6, "elements": found}))


def _pbf(folder: Path) -> Path:
    import osmium
    from osmium.osm import mutable

    nodes, ways = _elements()
    path = folder / "town.osm.pbf"
    with osmium.SimpleWriter(str(path)) as writer:
        for i, x, y in nodes:
            writer.add_node(mutable.Node(id=i, version=1, location=(x, y)))
        for i, refs, tags in ways:
            writer.add_way(mutable.Way(id=i, version=1, nodes=refs, tags=tags))
    return path


def _columns() -> tuple[NDArray[Any], list[str], list[NDArray[Any]]]:
    """Outlines as shapely's, names and columns."""
    rings, tags = _houses()
    names = ["building", "height", "min_height"]
    columns = [np.array([tag.get(name) for tag in tags], dtype=object) for name in names]
    return shapely.polygons([np.array(ring) for ring in rings]), names, columns


def _vector(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import pyogrio

        outlines, names, columns = _columns()
        pyogrio.raw.write(
            folder / name, shapely.to_wkb(outlines), columns, names, geometry_type="Polygon", crs="EPSG:4326"
        )
        return folder / name

    return make


def _parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    outlines, names, columns = _columns()
    table = pyarrow.table(
        {**dict(zip(names, map(list, columns), strict=True)), "geometry": list(shapely.to_wkb(outlines))}
    )
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}
    parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), folder / "town.parquet")
    return folder / "town.parquet"


def _wkt(folder: Path) -> Path:
    outlines, names, columns = _columns()
    path = folder / "town.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "geometry"])
        writer.writerows(zip(*columns, shapely.to_wkt(outlines), strict=True))
    return path


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "town.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a town/buildings.geojson", json.dumps({"type": "FeatureCollection", "features": _features()}))
    return folder / "town.zip"


def _read_map(path: Path) -> None:
    area = footprints.load(path)
    area.crop(area.bounds[0], area.bounds[1], 150.0).statistics()
    if area.reading is not None:
        json.dumps([area.reading.as_dict(), area.reading.lines()], allow_nan=False)


# positions


def _positions(name: str) -> Callable[[Path], Path]:
    xs, ys = LONGITUDE + np.linspace(1e-4, 9e-4, USERS), np.full(USERS, LATITUDE + 1e-4)

    def make(folder: Path) -> Path:
        if name.endswith(".csv"):
            rows = [f"{x:.7f},{y:.7f},1.5" for x, y in zip(xs, ys, strict=True)]
            return _text(folder / name, "\n".join(["lon,lat,z", *rows]))
        if name.endswith(".gpx"):
            points = [f'<trkpt lat="{y:.7f}" lon="{x:.7f}"><ele>3</ele></trkpt>' for x, y in zip(xs, ys, strict=True)]
            inside = f"<trk><trkseg>{''.join(points)}</trkseg></trk>"
            return _text(folder / name, f'<?xml version="1.0"?><gpx version="1.1">{inside}</gpx>')
        found = [{"type": "Feature", "properties": {"z": 1.5}, "geometry": {"type": "Point", "coordinates": [x, y]}}
                  for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]  # fmt: skip
        return _text(folder / name, json.dumps({"type": "FeatureCollection", "features": found}))

    return make


def _read_positions(path: Path) -> None:
    read_positions(path, SQUARE).outdoors(SQUARE)


# links


def _some_links() -> Links:
    n = USERS
    ue = np.column_stack([np.linspace(70, 190, n), np.full(n, 20.0), np.full(n, 1.5)]).astype(np.float32)
    angles: dict[str, Any] = dict.fromkeys(("aod_azimuth", "aod_zenith", "aoa_azimuth", "aoa_zenith"), np.full(n, 1.0))
    paths = Paths.from_rows(
        n, np.arange(n), gain=np.full(n, 1e-4 + 0j), delay=np.linspace(1e-7, 6e-7, n), interactions=np.full(n, LOS),
        **angles,
    )  # fmt: skip
    return Links(
        areas=("square/bs0",), maps=building_heights(SQUARE, 16)[None], mapped=np.ones(1, dtype=bool),
        sizes=np.array([200.0], dtype=np.float32), area=np.zeros(n, dtype=np.int32),
        bs=np.tile([10.0, 10.0, 6.0], (n, 1)).astype(np.float32), ue=ue, bearing=np.zeros(n, dtype=np.float32),
        los=np.ones(n, dtype=bool), paths=paths, radios=(Radio(),),
    )  # fmt: skip


def _links(folder: Path) -> Path:
    shards.write_shard(folder / "links" / "links-00000.safetensors", _some_links())
    shards.write_manifest(folder / "links", {"made": "to be broken"}, "made up")
    return folder / "links"


def _read_links(path: Path) -> None:
    """As training opens a folder, and as one that believes no checksum."""
    store = Store(path)
    [len(links) for links in store]
    shards.read(path)


def _read_unchecked(path: Path) -> None:
    shards.read(path, check=False).paths.csi(Radio(), 0.0)


# sites and tables


def _site(folder: Path) -> Path:
    site = Site(folder / "site", SQUARE, (Station("bs0", (10.0, 10.0, 6.0)),), "small", "0", SQUARE.georeference)
    site.write()
    return folder / "site"


def _read_site(path: Path) -> None:
    site = Site.read(path)
    _ = site.map, occupancy(site.area), site.heads(0), site.remarks()


def _measured() -> dict[str, NDArray[Any]]:
    return {"x": np.linspace(70, 190, USERS), "y": np.full(USERS, 20.0), "z": np.full(USERS, 1.5),
            "los": np.arange(USERS) % 2, "beam": np.arange(USERS) % 32,
            "path_loss_db": np.linspace(80, 120, USERS)}  # fmt: skip


def _table_csv(folder: Path) -> Path:
    rows = zip(*(column.tolist() for column in _measured().values()), strict=True)
    return _text(folder / "drive.csv", "\n".join([",".join(_measured()), *(",".join(map(str, row)) for row in rows)]))


def _table_npz(folder: Path) -> Path:
    np.savez(folder / "drive.npz", allow_pickle=False, **_measured())
    return folder / "drive.npz"


def _table_npy(folder: Path) -> Path:
    (folder / "drive").mkdir()
    csi = np.exp(1j * np.arange(USERS * 32 * 64)).reshape(USERS, 32, 64).astype(np.complex64)
    for name, column in {**_measured(), "csi": csi}.items():
        np.save(folder / "drive" / f"{name}.npy", column)
    return folder / "drive"


def _table_parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(_measured()), folder / "drive.parquet")
    return folder / "drive.parquet"


def _read_table(path: Path) -> None:
    read_measured(path, SQUARE, ["bs0"], None, (0.0, 0.0))


def _text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


READERS: dict[str, Reader] = {
    **{f"map {name}": Reader(make, _read_map) for name, make in {
        "geojson": _geojson, "geojson-lines": _lines, "buildings.json": _buildings_json, "osm": _osm, "osm.gz": _osm_gz,
        "overpass": _overpass, "pbf": _pbf, "geopackage": _vector("town.gpkg"), "shapefile": _vector("town.shp"),
        "flatgeobuf": _vector("town.fgb"), "geoparquet": _parquet, "wkt": _wkt, "zip": _zip,
    }.items()},
    **{f"positions {kind}": Reader(_positions(f"walk.{kind}"), _read_positions) for kind in ("csv", "gpx", "geojson")},
    "links": Reader(_links, _read_links),
    "links unchecked": Reader(_links, _read_unchecked),
    "site": Reader(_site, _read_site),
    "table csv": Reader(_table_csv, _read_table),
    "table npz": Reader(_table_npz, _read_table),
    "table npy": Reader(_table_npy, _read_table),
    "table parquet": Reader(_table_parquet, _read_table),
}  # fmt: skip
