"""`Area`: building footprints with heights in local metres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon, box

from uniair.area.georeference import Georeference
from uniair.area.reading import Reading
from uniair.errors import InputError

CLEARANCE = 2.0  # m; people walk under a body whose floor is this high, so it is no obstacle on the plan


@dataclass(frozen=True)
class AreaStatistics:
    """What a crop looks like, for listing and filtering.

    coverage: share of the ground under buildings, 0 to 1; bodies that people walk under don't count.
    buildings: number of footprints.
    openness: median distance from outdoor ground to the nearest wall, m.
    mean_height: mean building height weighted by footprint, m.
    """

    coverage: float
    buildings: int
    openness: float
    mean_height: float


@dataclass(frozen=True)
class Area:
    """Building footprints, their heights and the rectangle that they cover.

    x points east, y north, both in metres. A crop has its south-west corner at the origin.

    Attributes:
        name: where it is from, e.g. `krems/0012`.
        footprints: outlines (holes allowed), m.
        heights: [len(footprints)] building heights above ground, m.
        bounds: (x0, y0, x1, y1), m.
        attribution: licence line of the source, carried into every file made from the area.
        georeference: where on Earth the metres lie; None where the source does not say, or once an area is turned.
        bases: [len(footprints)] floors of the bodies above ground, m: 0 for a wall that starts on the ground, more for
            roofs on posts, skybridges and parts of a building above others. Left out: all 0.
        drawn: bool [len(footprints)], heights that the source does not give and that were drawn. Left out: none.
        reading: what the file that it was read from held, in counts; a crop keeps its place's.
    """

    name: str
    footprints: tuple[Polygon, ...]
    heights: NDArray[np.float64]
    bounds: tuple[float, float, float, float]
    attribution: str = ""
    georeference: Georeference | None = None
    bases: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    drawn: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    reading: Reading | None = None

    def __post_init__(self) -> None:
        for name, kind in (("bases", np.float64), ("drawn", np.bool_)):
            # `replace` with other footprints alone: nothing is known of their floors, so they stand on the ground
            if len(getattr(self, name)) != len(self.footprints):
                object.__setattr__(self, name, np.zeros(len(self.footprints), dtype=kind))
        x0, y0, x1, y1 = self.bounds
        if not (np.isfinite(self.bounds).all() and x1 > x0 and y1 > y0):
            raise InputError(f"area {self.name}: bounds {self.bounds} are not a rectangle in metres")
        if len(self.footprints) != len(self.heights):
            raise InputError(f"area {self.name}: {len(self.footprints)} footprints but {len(self.heights)} heights")
        if not (np.isfinite(self.heights).all() and (self.heights > 0).all()):
            raise InputError(f"area {self.name}: building heights must be finite and above 0 m")
        if not ((self.bases >= 0) & (self.bases < self.heights)).all():
            raise InputError(f"area {self.name}: the floor of a building must lie from 0 m to below its top")

    @property
    def width(self) -> float:
        """East-west extent, m."""
        return self.bounds[2] - self.bounds[0]

    @property
    def depth(self) -> float:
        """North-south extent, m."""
        return self.bounds[3] - self.bounds[1]

    @property
    def size(self) -> float:
        """Side of the square that the area fills (paper 1, Fig. 4), m."""
        return max(self.width, self.depth)

    def require_buildings(self) -> None:
        """Raise `InputError` where there is no building to reflect from."""
        if not self.footprints:
            raise InputError(
                f"area {self.name} has no buildings: choose another crop, or check that the file has building outlines"
            )

    @property
    def obstacles(self) -> NDArray[np.bool_]:
        """[len(footprints)] bodies that nobody walks under: those whose floor lies below `CLEARANCE`."""
        return self.bases < CLEARANCE

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> Area:
        """The area with these of its buildings alone."""
        chosen = np.asarray(indices, dtype=int)
        return replace(
            self, footprints=tuple(self.footprints[i] for i in chosen), heights=self.heights[chosen],
            bases=self.bases[chosen], drawn=self.drawn[chosen],
        )  # fmt: skip

    def inside_building(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which of the points [N, 2 or 3] (m) stand inside a building: bool [N].

        Under a raised body there is room. With a third column (height, m), a point within one is inside too, and one
        above a roof is not.
        """
        if not self.footprints:
            return np.zeros(len(points), dtype=bool)
        inside = np.asarray(shapely.contains_xy(self._union(), points[:, 0], points[:, 1]))
        if points.shape[1] > 2:
            inside[inside] = points[inside, 2] <= self.top(points[inside])
            for i in np.flatnonzero(~self.obstacles):
                within = (points[:, 2] >= self.bases[i]) & (points[:, 2] <= self.heights[i])
                inside |= within & shapely.contains_xy(self.footprints[i], points[:, 0], points[:, 1])
        return inside

    def top(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Height of the highest roof over each of the points [N, 2 or 3] (m): [N] m, 0 on open ground."""
        out = np.zeros(len(points))
        tree = shapely.STRtree(self.footprints)
        point, body = tree.query(shapely.points(points[:, :2]), predicate="intersects")
        np.maximum.at(out, point, self.heights[body])
        return out

    def require_outdoors(self, points: NDArray[np.floating], what: str) -> None:
        """Raise `InputError` where a BS or UE stands inside a building or outside the area.

        Args:
            points: [N, 2 or 3] positions, m.
            what: "BS" or "UE", for the message.
        """
        x0, y0, x1, y1 = self.bounds
        outside = (points[:, 0] < x0) | (points[:, 0] > x1) | (points[:, 1] < y0) | (points[:, 1] > y1)
        if not np.isfinite(points).all():
            raise InputError(f"{what} position {int(np.argmin(np.isfinite(points).all(1)))} is NaN or infinite")
        for bad, where in (
            (outside, f"outside the area {self.bounds}"),
            (self.inside_building(points), "inside a building"),
        ):
            if bad.any():
                i = int(np.argmax(bad))
                x, y = points[i, :2]
                raise InputError(
                    f"{what} {i} at ({x:.1f}, {y:.1f}) m is {where}: move it outdoors within area {self.name}"
                )

    def crop(
        self,
        x: float,
        y: float,
        width: float,
        depth: float | None = None,
        rotation: float = 0.0,
        name: str | None = None,
    ) -> Area:
        """The rectangle of `width` × `depth` metres whose south-west corner is (x, y).

        `rotation` (radians, anticlockwise) turns the rectangle about its centre; the crop's own axes stay x and y and
        its south-west corner becomes the origin. Footprints are cut at the border.

        Raises:
            InputError: width or depth is not above 0.
        """
        depth = width if depth is None else depth
        if not (width > 0 and depth > 0 and math.isfinite(x + y + width + depth + rotation)):
            raise InputError(f"crop of {width} × {depth} m at ({x}, {y}): sizes must be above 0")
        window = box(0.0, 0.0, width, depth)
        cos, sin = math.cos(rotation), math.sin(rotation)
        cx, cy = x + width / 2, y + depth / 2
        # world -> crop: rotate by −rotation about the centre, then move the corner to the origin
        to_crop = [cos, sin, -sin, cos, width / 2 - cos * cx - sin * cy, depth / 2 + sin * cx - cos * cy]
        to_world = [cos, -sin, sin, cos, cx - cos * width / 2 + sin * depth / 2, cy - sin * width / 2 - cos * depth / 2]
        near = np.flatnonzero(
            shapely.intersects(affinity.affine_transform(window, to_world), np.asarray(self.footprints))
        )
        footprints: list[Polygon] = []
        origin: list[int] = []
        for i in near:
            part = affinity.affine_transform(self.footprints[i], to_crop).intersection(window)
            for polygon in polygons_of(part):
                footprints.append(polygon)
                origin.append(int(i))
        return replace(
            self,
            name=name or f"{self.name}@{x:.0f},{y:.0f},{width:.0f}x{depth:.0f},{math.degrees(rotation):.0f}",
            footprints=tuple(footprints),
            heights=self.heights[origin],
            bases=self.bases[origin],
            drawn=self.drawn[origin],
            bounds=(0.0, 0.0, float(width), float(depth)),
            georeference=self.georeference.moved(x, y) if self.georeference and not rotation else None,
        )

    def statistics(self) -> AreaStatistics:
        """Coverage, count, street openness and mean height."""
        if not self.footprints:
            return AreaStatistics(0.0, 0, self.size / 2, 0.0)
        union = self._union()
        x0, y0, x1, y1 = self.bounds
        step = self.size / 32
        x, y = np.meshgrid(np.arange(x0 + step / 2, x1, step), np.arange(y0 + step / 2, y1, step))
        points = shapely.points(x.ravel(), y.ravel())
        with np.errstate(divide="ignore", invalid="ignore"):  # of walls that are shorter than any number
            distance = shapely.distance(union, points)
        outdoors = distance > 0
        areas = shapely.area(np.asarray(self.footprints))
        return AreaStatistics(
            coverage=float(union.area / (self.width * self.depth)),
            buildings=len(self.footprints),
            openness=float(np.median(distance[outdoors])) if outdoors.any() else 0.0,
            mean_height=float(np.average(self.heights, weights=areas)),
        )

    def drop(self, count: int, height: float, rng: np.random.Generator, clearance: float = 1.0) -> NDArray[np.float64]:
        """`count` outdoor positions drawn uniformly, at least `clearance` metres from any wall: [count, 3], m.

        Raises:
            InputError: the area has too little outdoor ground.
        """
        x0, y0, x1, y1 = self.bounds
        walls = self._union().buffer(clearance) if self.footprints else Polygon()
        # a raised body leaves room under and above it, not within
        within = ~self.obstacles & (self.bases - clearance < height) & (height < self.heights + clearance)
        if within.any():
            bodies = [self.footprints[i].buffer(clearance) for i in np.flatnonzero(within)]
            walls = shapely.union_all(np.asarray([walls, *bodies]))
        shapely.prepare(walls)
        found: list[NDArray[np.float64]] = []
        have = 0
        for _ in range(100):
            points = rng.uniform((x0, y0), (x1, y1), size=(2 * count + 16, 2))
            points = points[~shapely.contains_xy(walls, points[:, 0], points[:, 1])]
            found.append(points)
            have += len(points)
            if have >= count:
                break
        else:
            raise InputError(f"area {self.name} has too little outdoor ground for {count} positions")
        ground = np.concatenate(found)[:count]
        return np.column_stack([ground, np.full(count, height)])

    def drop_at_walls(
        self, count: int, low: float, high: float, rng: np.random.Generator, clearance: float = 1.0
    ) -> NDArray[np.float64]:
        """`count` positions drawn uniformly along the walls, `clearance` metres in front of them: [count, 3], m.

        Heights are drawn evenly from `low` to `high`, or to the top of the wall where that is lower.

        Raises:
            InputError: no wall is as high as `low`, or none stands free.
        """
        walls = np.flatnonzero(self.obstacles & (self.heights >= low))
        lines = shapely.boundary(shapely.buffer(np.asarray(self.footprints, dtype=object)[walls], clearance))
        lengths = shapely.length(lines)
        x0, y0, x1, y1 = self.bounds
        found: list[NDArray[np.float64]] = []
        have = 0
        for _ in range(100 if lengths.sum() > 0 else 0):
            wall = rng.choice(len(walls), 2 * count + 16, p=lengths / lengths.sum())
            plan = shapely.get_coordinates(
                shapely.line_interpolate_point(lines[wall], rng.uniform(0, 1, len(wall)), normalized=True)
            )
            top = np.maximum(np.minimum(high, self.heights[walls[wall]]), low)
            points = np.column_stack([plan, rng.uniform(low, top)])
            within = (plan > (x0, y0)).all(1) & (plan < (x1, y1)).all(1)
            # of two houses side by side, no wall stands free between them
            points = points[within & ~np.asarray(shapely.contains_xy(self._union(), plan[:, 0], plan[:, 1]))]
            found.append(points[~self.inside_building(points)])
            have += len(found[-1])
            if have >= count:
                return np.concatenate(found)[:count]
        raise InputError(f"area {self.name} has too few walls of {low:g} m for {count} positions")

    def drop_on_roofs(
        self, count: int, above: tuple[float, float], highest: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """`count` positions drawn uniformly over the roofs, so many metres above them: [count, 3], m.

        Args:
            above: least and most over the roof, m.
            highest: no position is higher above ground, m.

        Raises:
            InputError: no roof is low enough.
        """
        plan = [self.footprints[i] for i in np.flatnonzero(self.obstacles & (self.heights + above[0] <= highest))]
        roofs = shapely.union_all(np.asarray(plan, dtype=object)) if plan else Polygon()
        shapely.prepare(roofs)
        x0, y0, x1, y1 = self.bounds
        found: list[NDArray[np.float64]] = []
        have = 0
        for _ in range(100 if plan else 0):
            points = rng.uniform((x0, y0), (x1, y1), size=(8 * count + 16, 2))
            points = points[shapely.contains_xy(roofs, points[:, 0], points[:, 1])]
            height = np.minimum(self.top(points) + rng.uniform(*above, len(points)), highest)
            clear = height >= self.top(points) + above[0]  # a tower may stand on a lower roof
            found.append(np.column_stack([points, height])[clear])
            have += len(found[-1])
            if have >= count:
                return np.concatenate(found)[:count]
        raise InputError(f"area {self.name} has no roof below {highest - above[0]:g} m for {count} positions")

    def _union(self) -> Polygon | MultiPolygon:
        # frozen dataclass: the cache goes past the guard, and the value never changes
        cached = self.__dict__.get("_cached_union")
        if cached is None:
            cached = shapely.union_all(np.asarray(self.footprints, dtype=object)[self.obstacles])
            shapely.prepare(cached)
            object.__setattr__(self, "_cached_union", cached)
        return cached


def polygons_of(geometry: shapely.Geometry, least: float = 1.0) -> list[Polygon]:
    """The valid polygons of a geometry with at least `least` m² of ground; slivers and lines are left out."""
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry)
    # twice, because a mended outline can be a collection of multipolygons
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return [p for p in parts if isinstance(p, Polygon) and p.area >= least]
