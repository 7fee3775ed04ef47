"""Users inside buildings, floor by floor, and the spots in front of the wall where the radio is traced to for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError

FLOOR = 3.0  # m; a user on floor n, from 0, is 3 n + 1.5 m up (TR 38.901, table 7.2-1 and its note)
IN_FRONT = 0.5  # m of a spot from the wall
ROUNDS = 50


@dataclass(frozen=True)
class Indoors:
    """N users inside buildings.

    Attributes:
        points: [N, 3] m.
        spots: [N, 3] m in front of the nearest outer wall, at the user's height: what is traced.
        depth: [N] m from that wall to the user.
        floor: [N] from 0, the ground floor.
    """

    points: NDArray[np.float64]
    spots: NDArray[np.float64]
    depth: NDArray[np.float64]
    floor: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.points)


def draw(area: Area, count: int, rng: np.random.Generator) -> Indoors:
    """Users drawn evenly over the floors of all buildings.

    Raises:
        InputError: no building has a floor with a wall to the open air.
    """
    bodies = np.flatnonzero(area.obstacles & (area.heights >= FLOOR))
    if not len(bodies):
        raise InputError(f"area {area.name}: no building of {FLOOR:g} m or more for users indoors; leave --indoor out")
    floors = (area.heights[bodies] // FLOOR).astype(int)
    weights = shapely.area(np.asarray(area.footprints, dtype=object)[bodies]) * floors
    parts: list[tuple[NDArray[np.float64], ...]] = []
    have = 0
    for _ in range(ROUNDS):
        chosen = rng.choice(len(bodies), 2 * count + 16, p=weights / weights.sum())
        x0, y0, x1, y1 = np.array([area.footprints[bodies[i]].bounds for i in chosen]).T
        plan = np.column_stack([rng.uniform(x0, x1), rng.uniform(y0, y1)])
        floor = rng.integers(0, floors[chosen])
        own = np.asarray([area.footprints[bodies[i]] for i in chosen], dtype=object)
        inside = shapely.contains_xy(own, plan[:, 0], plan[:, 1])
        parts.append(_in_front(area, plan[inside], floor[inside]))
        have += len(parts[-1][0])
        if have >= count:
            points, spots, depth, levels = (np.concatenate(column)[:count] for column in zip(*parts, strict=True))
            return Indoors(points, spots, depth, levels.astype(np.int64))
    raise InputError(f"area {area.name}: too few walls to the open air for {count} users indoors; leave --indoor out")


def _in_front(area: Area, plan: NDArray[np.float64], floor: NDArray[np.integer]) -> tuple[NDArray[np.float64], ...]:
    """Points, spots, depths and floors of the users whose nearest wall has open air before it."""
    order, found = [], []
    for level in np.unique(floor):
        z = FLOOR * level + UE_HEIGHT
        mine = plan[floor == level]
        solid = shapely.union_all(np.asarray(area.footprints, dtype=object)[(area.bases <= z) & (area.heights >= z)])
        points = shapely.points(mine)
        line = shapely.shortest_line(points, shapely.boundary(solid))
        wall = shapely.get_coordinates(shapely.get_point(line, -1))
        depth = np.linalg.norm(wall - mine, axis=1)
        outwards = (wall - mine) / np.maximum(depth, 1e-9)[:, None]
        spots = np.column_stack([wall + IN_FRONT * outwards, np.full(len(mine), z)])
        x0, y0, x1, y1 = area.bounds
        within = (spots[:, :2] > (x0, y0)).all(1) & (spots[:, :2] < (x1, y1)).all(1)
        kept = within & (depth > 0) & ~area.inside_building(spots)
        up = np.column_stack([mine, np.full(len(mine), z)])
        order.append(np.flatnonzero(floor == level)[kept])
        found.append((up[kept], spots[kept], depth[kept], np.full(int(kept.sum()), level)))
    if not found:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
    as_drawn = np.argsort(np.concatenate(order))  # the first of them are no lower than the last
    return tuple(np.concatenate(column)[as_drawn] for column in zip(*found, strict=True))
