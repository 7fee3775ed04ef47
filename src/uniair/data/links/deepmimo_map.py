"""The buildings of a DeepMIMO v4 scenario, and which of them are no obstacles because they are rooms.

An indoor scenario holds its room as a building: a box around base stations and users. What holds a base station, or
most of the users that a path reaches, is none that stands in the way, and what else stands in the room (tables) is no
wall of a city either: the map is unknown then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from uniair.area.area import Area, polygons_of
from uniair.data.import_report import ImportReport
from uniair.data.links.deepmimo_arrays import Array, file_of, reading, whole_array

MOST_HELD = 0.5  # share of users within buildings; the hulls of a city's hold some of its streets


@dataclass(frozen=True)
class Buildings:
    """What a scenario calls buildings.

    Attributes:
        footprints: plan views, m, in the scenario's coordinates.
        heights: [F] their extents in z, m.
        tops: [F] z of their highest points, m.
    """

    footprints: tuple[Polygon, ...]
    heights: Array
    tops: Array

    def hold(self, points: Array) -> NDArray[np.bool_]:
        """Which of points [N, 3] stand within the plan of one, below its top: [N]."""
        held = np.zeros(len(points), dtype=bool)
        for footprint, top in zip(self.footprints, self.tops.tolist(), strict=True):
            low = ~held & (points[:, 2] < top)
            held[low] = shapely.contains_xy(footprint, points[low, 0], points[low, 1])
        return held

    def area(self, name: str) -> Area:
        """As obstacles on flat ground."""
        west, south, east, north = (float(x) for x in shapely.total_bounds(np.asarray(self.footprints)))
        return Area(name, self.footprints, self.heights, (west, south, east, north))

    def digest(self, stations: Array) -> str:
        """Of the buildings and the base stations [B, 3] among them, to the decimetre: the same of the same street."""
        shapes = [shapely.normalize(footprint).wkb for footprint in shapely.set_precision(self.footprints, 0.1)]
        places = np.unique(np.round(stations, 1) + 0.0, axis=0)
        return hashlib.sha256(b"".join(sorted(shapes)) + places.tobytes()).hexdigest()[:16]


def is_indoors(name: str, buildings: Buildings, stations: Array, users: Iterable[Array], report: ImportReport) -> bool:
    """Whether the buildings are rooms; users within those that are none are counted.

    Args:
        name: of the scenario, for the report.
        stations: [B, 3] m.
        users: positions [N, 3] m of those that a path reaches, some at a time.
    """
    held = total = 0
    for points in users:
        held += int(buildings.hold(points).sum())
        total += len(points)
    if buildings.hold(stations).any() or held > MOST_HELD * total:
        report.leave("scenarios inside what they call a building: that is no obstacle, the map is unknown", name)
        return True
    report.leave("links to users within a building's outline: kept", name, held)
    return False


def buildings_of(folder: Path) -> Buildings | None:
    """The buildings of a v4 scenario, or None where it has none.

    A footprint is the plan view of a building's faces, convex hulls or meshes; its height is their extent in z.

    Raises:
        InputError: the geometry can't be read.
    """
    listing = folder / "objects.json"
    if not listing.exists():
        return None
    vertices = whole_array(file_of(folder, "vertices"), "vertices")
    footprints: list[Polygon] = []
    heights: list[float] = []
    tops: list[float] = []
    with reading(listing), np.errstate(invalid="ignore"):
        for thing in json.loads(listing.read_text(encoding="utf-8")):
            if thing["label"] != "buildings":
                continue
            faces = thing.get("face_vertex_idxs")  # a face is a list of vertices
            if faces is None:  # a scenario kept as meshes has its triangles in a file
                faces = whole_array(file_of(folder, "faces"), thing["mesh_key"]).astype(int)
            outlines = [vertices[face] for face in faces]
            z = np.concatenate(outlines)[:, 2] if outlines else np.zeros(1)
            height = float(np.ptp(z))
            plan = np.array([Polygon(outline[:, :2]) for outline in outlines], dtype=object)
            plan = shapely.make_valid(plan[shapely.area(plan) > 1e-3])  # walls are lines
            for polygon in polygons_of(shapely.union_all(plan, grid_size=0.01)) if height > 0 else ():
                footprints.append(polygon)
                heights.append(height)
                tops.append(float(z.max()))
    if not footprints:
        return None
    return Buildings(tuple(footprints), np.asarray(heights), np.asarray(tops))


def area_of(folder: Path) -> Area | None:
    """The buildings of a v4 scenario as obstacles, in its own coordinates, or None where it has none.

    Raises:
        InputError: the geometry can't be read.
    """
    found = buildings_of(folder)
    return None if found is None else found.area(folder.name)
