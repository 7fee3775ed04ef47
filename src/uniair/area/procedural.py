"""A seeded generator of city footprints, for tests, examples and data without a licence."""

from __future__ import annotations

import numpy as np
from shapely.geometry import Polygon, box

from uniair.area.area import Area, polygons_of


def city(seed: int, side: float = 800.0) -> Area:
    """A town of `side` × `side` metres: a jittered street grid, blocks split into plots, a building or a gap on each.

    Perimeter blocks, terraces and detached houses follow from how finely a block is split and how far buildings stand
    back. Heights are log-normal about a median of the town's own, 9 to 25 m.
    """
    rng = np.random.default_rng([seed, 0x0C17])
    street = rng.uniform(10.0, 22.0)
    pitch = rng.uniform(55.0, 120.0, size=2)
    median = rng.uniform(9.0, 25.0)
    plot = rng.uniform(14.0, 45.0)
    gap = rng.uniform(0.0, 0.3)
    lines = [np.arange(0.0, side + p, p) + rng.normal(0.0, 0.12 * p, int(np.ceil((side + p) / p))) for p in pitch]
    footprints: list[Polygon] = []
    for west, east in zip(lines[0][:-1], lines[0][1:], strict=True):
        for south, north in zip(lines[1][:-1], lines[1][1:], strict=True):
            half = street / 2
            for x0, y0, x1, y1 in _split((west + half, south + half, east - half, north - half), plot, rng):
                if rng.random() < gap:
                    continue
                back = rng.uniform(0.0, 0.18, size=4) * min(x1 - x0, y1 - y0)
                building: Polygon = box(x0 + back[0], y0 + back[1], x1 - back[2], y1 - back[3])
                if rng.random() < 0.25:  # an L shape
                    cx, cy = building.centroid.coords[0]
                    building = building.difference(box(cx, cy, x1, y1))
                footprints += polygons_of(building.intersection(box(0, 0, side, side)), least=20.0)
    heights = rng.lognormal(np.log(median), 0.35, len(footprints)).clip(7.0, 80.0)
    return Area(f"procedural_{seed}", tuple(footprints), heights, (0.0, 0.0, side, side), "uniair procedural generator")


def _split(
    block: tuple[float, float, float, float], plot: float, rng: np.random.Generator
) -> list[tuple[float, float, float, float]]:
    """Cuts a block across its longer side until every plot is at most about `plot` metres wide."""
    x0, y0, x1, y1 = block
    width, depth = x1 - x0, y1 - y0
    if min(width, depth) < 6.0:
        return []
    if max(width, depth) < plot * rng.uniform(1.0, 2.2):
        return [block]
    cut = rng.uniform(0.35, 0.65)
    if width > depth:
        x = x0 + cut * width
        return _split((x0, y0, x, y1), plot, rng) + _split((x, y0, x1, y1), plot, rng)
    y = y0 + cut * depth
    return _split((x0, y0, x1, y), plot, rng) + _split((x0, y, x1, y1), plot, rng)
