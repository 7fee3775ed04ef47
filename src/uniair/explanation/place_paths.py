"""The candidate paths of one place, as EPNN has them, with the walls and corners that they meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.environment import Environment
from uniair.models.ray_launching import KINDS, OVER, Candidates

Point = tuple[float, float]
COMPASS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")
TIMES = ("", "once", "twice", "three times")


@dataclass(frozen=True)
class PlacePath:
    """A way on which a signal may get from the base station to the user.

    Attributes:
        kind: letters from the base station on: R a reflection, D a corner; `over` a roof's edge; empty the straight
            line.
        along, up: direction cosines of departure in the array's frame.
        length: m.
        loss: dB that it takes, roughly.
        points: x, y, m, where its first and last interactions are, as far as they are known, in order.
        buildings: number of the building at each of these points; −1 where none is told.
    """

    kind: str
    along: float
    up: float
    length: float
    loss: float
    points: tuple[Point, ...]
    buildings: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every interaction has its point; of three and more the last one alone has."""
        return len(self.points) == (1 if self.kind == "over" else len(self.kind))

    def words(self, user: Point) -> str:
        """What it is, for people.

        Args:
            user: x, y, m.
        """
        if not self.kind:
            return "the straight line"
        where = [_wall(point, building, user) for point, building in zip(self.points, self.buildings, strict=True)]
        if self.kind == "over":
            return f"the roof's edge of {where[0]}"
        if self.kind == "R":
            return f"a reflection off {where[0]}"
        if self.kind == "D":
            return f"the corner of {where[0]}"
        reflections = TIMES[self.kind.count("R")]
        bends = " and a corner" if "D" in self.kind else ""
        last = "the corner of " if self.kind.endswith("D") else ""
        return f"reflected {reflections}{bends}, last at {last}{where[-1]}"


def place_paths(
    found: Candidates, checked: Environment, buildings: Area | None, env: Environment | None = None
) -> list[PlacePath]:
    """The candidates of hypotheses, in their order.

    Args:
        found: of `checked`.
        checked: tensors, turned so that the arrays lie along +x.
        buildings: whose walls these are; None: walls are told by their place alone.
        env: the one hypothesis that `checked` was made of, whose frame the points are told in; None: `checked` itself.
    """
    assert checked.bs is not None
    first_of = torch.zeros(found.distinct + 1, dtype=torch.long)
    first_of[found.of] = torch.arange(len(found.of))
    bs = checked.bs[first_of[found.owner], :2].double()
    last, before = found.bend.double(), found.before.double()
    to = last - bs
    # the first leg leaves along `departure`; with it, the way on to the last interaction is `before` long
    ahead = (found.departure.double() * to).sum(1)
    first_leg = (before.square() - to.square().sum(1)) / (2 * (before - ahead)).clamp_min(1e-6)
    first = bs + first_leg[:, None] * found.departure.double()
    at_first, at_last = (points.numpy() if env is None else turned_back(points, checked, env)
                         for points in (first, last))  # fmt: skip
    out = []
    counts = [1 if int(kind) == OVER else len(KINDS[int(kind)]) for kind in found.kind]
    ends = [
        () if not count else (at_last[i],) if count == 1 else (at_first[i], at_last[i]) if count == 2 else (at_last[i],)
        for i, count in enumerate(counts)
    ]
    walls = iter(nearest_buildings([point for some in ends for point in some], buildings))
    for i, some in enumerate(ends):
        kind = "over" if int(found.kind[i]) == OVER else KINDS[int(found.kind[i])]
        out.append(PlacePath(
            kind, float(found.cosine[i]), float(found.up[i]), float(found.length[i]), float(found.loss[i]),
            tuple((float(x), float(y)) for x, y in some), tuple(next(walls) for _ in some),
        ))  # fmt: skip
    return out


def turned_back(points: torch.Tensor, checked: Environment, env: Environment) -> NDArray[np.float64]:
    """Points [P, 2] m of a checked environment in the frame of what it was made of: [P, 2] m."""
    bearing = 0.0 if env.bearing is None else float(np.asarray(env.bearing).reshape(-1)[0])
    old, new = float(np.asarray(env.size).reshape(-1)[0]), float(checked.size[0])
    x, y = (points - new / 2).numpy().T
    cosine, sine = math.cos(bearing), math.sin(bearing)
    return np.column_stack([cosine * x - sine * y + old / 2, sine * x + cosine * y + old / 2])


def nearest_buildings(points: Sequence[NDArray[np.float64]], buildings: Area | None) -> list[int]:
    """The building whose outline is nearest to each of the points; −1 where there are none."""
    if buildings is None or not buildings.footprints or not points:
        return [-1] * len(points)
    tree = shapely.STRtree(buildings.footprints)
    return [int(i) for i in tree.nearest(shapely.points(np.array(points)))]


def _wall(point: Point, building: int, user: Point) -> str:
    name = "the wall" if building < 0 else f"building {building}"
    return f"{name} {away(point, user)} of the user"


def away(point: Point, user: Point) -> str:
    """How far and in which direction a point lies from a user."""
    x, y = point[0] - user[0], point[1] - user[1]
    sector = round(math.atan2(y, x) / (math.pi / 4)) % 8
    return f"{math.hypot(x, y):.0f} m {COMPASS[sector]}"
