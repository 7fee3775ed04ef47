"""Small towns in degrees: outlines, GeoJSON features and OpenStreetMap files, all made up."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

LONGITUDE, LATITUDE = -9.14, 38.72
METRES = 111_320.0  # of a degree, nearly

Ring = list[list[float]]


def degrees(x: float, y: float, longitude: float = LONGITUDE, latitude: float = LATITUDE) -> list[float]:
    """Metres about a corner to longitude and latitude, true to a few per mille."""
    return [
        round(longitude + x / (METRES * math.cos(math.radians(latitude))), 9),
        round(latitude + y / METRES, 9),
    ]


def rectangle(x: float, y: float, width: float, depth: float, turn: float = 0.0, **at: float) -> Ring:
    """A closed ring in degrees, turned by `turn` radians about the corner of the town."""
    cos, sin = math.cos(turn), math.sin(turn)
    corners = ((x, y), (x + width, y), (x + width, y + depth), (x, y + depth), (x, y))
    return [degrees(cos * a - sin * b, sin * a + cos * b, **at) for a, b in corners]


def feature(ring: Ring, **properties: Any) -> dict[str, Any]:
    """A polygon with properties; `__` in a name stands for a colon."""
    named = {key.replace("__", ":"): value for key, value in properties.items()}
    return {"type": "Feature", "properties": named, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def collection(*features: Any, **more: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", **more, "features": list(features)}


def named_crs(name: str) -> dict[str, Any]:
    return {"crs": {"type": "name", "properties": {"name": name}}}


def projected(document: dict[str, Any], crs: str, swap: bool = False) -> dict[str, Any]:
    """The same features in another CRS, easting first unless swapped."""
    import pyproj

    to = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.column_stack(to.transform(xy[:, 0], xy[:, 1]))
        return out[:, ::-1] if swap else out

    moved = []
    for each in document["features"]:
        geometry = shapely.transform(shapely.geometry.shape(each["geometry"]), move)
        moved.append({**each, "geometry": shapely.geometry.mapping(geometry)})
    return json.loads(json.dumps({**document, "features": moved}))


def write(folder: Path, name: str, document: Any) -> Path:
    """Bytes and text as they are, anything else as JSON."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(document, (bytes, str)):
        document = json.dumps(document)
    path.write_bytes(document if isinstance(document, bytes) else document.encode())
    return path


class Osm:
    """An .osm file; ids count up from 1, or down from -1."""

    def __init__(self, sign: int = 1) -> None:
        self.parts: dict[str, list[str]] = {"n": [], "w": [], "r": []}
        self.count, self.sign = 0, sign

    def _id(self) -> int:
        self.count += 1
        return self.sign * self.count

    def node(self, x: float, y: float) -> int:
        longitude, latitude = degrees(x, y)
        number = self._id()
        self.parts["n"].append(f'<node id="{number}" version="1" lat="{latitude}" lon="{longitude}"/>')
        return number

    def line(self, nodes: list[int], **tags: str) -> int:
        number = self._id()
        inside = "".join(f'<nd ref="{node}"/>' for node in nodes) + self._tags(tags)
        self.parts["w"].append(f'<way id="{number}" version="1">{inside}</way>')
        return number

    def way(self, x: float, y: float, width: float, depth: float, **tags: str) -> int:
        corners = ((x, y), (x + width, y), (x + width, y + depth), (x, y + depth))
        nodes = [self.node(*corner) for corner in corners]
        return self.line([*nodes, nodes[0]], **tags)

    def relation(self, members: list[tuple[int, str]], **tags: str) -> int:
        number = self._id()
        inside = "".join(f'<member type="way" ref="{way}" role="{role}"/>' for way, role in members) + self._tags(tags)
        self.parts["r"].append(f'<relation id="{number}" version="1">{inside}</relation>')
        return number

    @staticmethod
    def _tags(tags: dict[str, str]) -> str:
        return "".join(f'<tag k="{key.replace("__", ":")}" v="{value}"/>' for key, value in tags.items())

    def text(self, order: str = "nwr") -> str:
        lines = [line for kind in order for line in self.parts[kind]]
        return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', '<osm version="0.6">', *lines, "</osm>", ""])
