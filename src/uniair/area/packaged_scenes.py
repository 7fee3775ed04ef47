"""The city scenes of the sionna-rt wheel as areas."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import Polygon

from uniair.area.area import Area, polygons_of
from uniair.errors import InputError

ATTRIBUTION = "sionna-rt (Apache-2.0), (c) OpenStreetMap contributors, ODbL 1.0"


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
    return Area(f"sionna_{name}", tuple(footprints), np.asarray(heights), bounds, ATTRIBUTION)
