"""Where traced paths run: their corners, found again from directions, delays and walls.

Links keep of a path the directions at both ends, its delay and what happens to it, in order. Between two such events a
ray is straight, a mirror turns it, and where it is diffracted the part from the transmitter and that from the receiver
meet. So its corners follow; that it then ends at the user and is as long as its delay says is the proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.propagation.paths import DIFFRACTION, LOS, REFLECTION, SCATTERING, TRANSMISSION, UNKNOWN, Paths
from uniair.propagation.ray_tracing import standing
from uniair.radio import SPEED_OF_LIGHT

MISS = 0.5  # m; by how much a ray may pass its end, or differ in length: corners of buildings are kept to a millimetre
TRIED = 4  # surfaces along a ray, of which the first that closes the path is taken: rays graze corners
STARTS = 1e-3  # m before which a ray meets nothing: it starts on a surface
EDGE = 5e-3  # m by which a hit may lie beside its surface
ALONG = 1e-3  # rad; rays that meet at less are one line
Point = NDArray[np.float64]
Leg = tuple[list[Point], Point]  # corners so far, and the direction from the last of them on


@dataclass(frozen=True)
class Surfaces:
    """The surfaces of an area's buildings and its ground, as the tracer has them.

    Attributes:
        start, along: [W, 2] m, walls from one corner to the next.
        low, high: [W] m.
        plans: [R] polygons of level surfaces, roofs and floors.
        level: [R] m.
    """

    start: NDArray[np.float64]
    along: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    plans: NDArray[np.object_]
    level: NDArray[np.float64]

    @classmethod
    def of(cls, area: Area) -> Surfaces:
        """Those of an area."""
        bases = standing(area)
        starts, alongs, lows, highs = [np.zeros((0, 2))], [np.zeros((0, 2))], [np.zeros(0)], [np.zeros(0)]
        for plan, base, top in zip(area.footprints, bases, area.heights, strict=True):
            for ring in (plan.exterior, *plan.interiors):
                corners = np.asarray(ring.coords)[:, :2]
                starts.append(corners[:-1])
                alongs.append(np.diff(corners, axis=0))
                lows.append(np.full(len(corners) - 1, base))
                highs.append(np.full(len(corners) - 1, top))
        raised = np.flatnonzero(bases > 0)
        plans = np.asarray([*area.footprints, *(area.footprints[i] for i in raised)], dtype=object)
        level = np.concatenate([area.heights, bases[raised]])
        start, along = np.concatenate(starts), np.concatenate(alongs)
        return cls(start, along, np.concatenate(lows), np.concatenate(highs), plans, level)

    def met(self, point: Point, direction: Point) -> Iterator[tuple[float, Point]]:
        """What a ray meets, nearest first: distance, and the unit normal there."""
        found = [*self._walls(point, direction), *self._levels(point, direction)]
        return iter(sorted(found, key=lambda hit: hit[0])[:TRIED])

    def _walls(self, point: Point, direction: Point) -> list[tuple[float, Point]]:
        apart = self.start - point[:2]
        with np.errstate(divide="ignore", invalid="ignore"):  # of rays along a wall
            turn = _cross(direction[:2], self.along)
            far, share = _cross(apart, self.along) / turn, _cross(apart, direction[:2]) / turn
            z = point[2] + far * direction[2]
            length = np.linalg.norm(self.along, axis=1)
            beside = np.maximum(-share, share - 1) * length
            hit = (far > STARTS) & (beside <= EDGE) & (z >= self.low - EDGE) & (z <= self.high + EDGE)
        normals = np.column_stack([self.along[:, 1], -self.along[:, 0], np.zeros(len(length))])
        return [(float(far[i]), normals[i] / length[i]) for i in np.flatnonzero(hit)]

    def _levels(self, point: Point, direction: Point) -> list[tuple[float, Point]]:
        up = np.array([0.0, 0.0, 1.0])
        if abs(direction[2]) < 1e-9:
            return []
        found = []
        if (far := -point[2] / direction[2]) > STARTS:
            found.append((float(far), up))
        far = (self.level - point[2]) / direction[2]
        ahead = np.flatnonzero(far > STARTS)
        x, y = (point[:2, None] + direction[:2, None] * far[ahead]).reshape(2, -1)
        over = ahead[shapely.contains_xy(self.plans[ahead], x, y)] if len(ahead) else ahead
        return [*found, *((float(far[i]), up) for i in over)]


def _cross(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0])


def corners(surfaces: Surfaces, bs: Point, ue: Point, paths: Paths) -> list[NDArray[np.float64] | None]:
    """The paths of one link from their beginning to their end, through every interaction, strongest first.

    Args:
        bs, ue: [3] m.
        paths: of one link.

    Returns:
        [interactions + 2, 3] m of each path; None where the walls at hand don't give one of its directions and length.
    """
    out: list[NDArray[np.float64] | None] = []
    for i in range(len(paths.gain)):
        leaving = _unit(float(paths.aod_azimuth[i]), float(paths.aod_zenith[i]))
        arriving = _unit(float(paths.aoa_azimuth[i]), float(paths.aoa_zenith[i]))
        length = float(paths.delay[i]) * SPEED_OF_LIGHT
        out.append(_course(surfaces, (bs, leaving), (ue, arriving), length, kinds(int(paths.interactions[i]))))
    return out


def kinds(interactions: int) -> list[int] | None:
    """The interactions of a path from its transmitter on; None where they are not known."""
    if interactions == UNKNOWN:
        return None
    return [] if interactions == LOS else [int(digit) for digit in str(interactions)]


def _unit(azimuth: float, zenith: float) -> Point:
    sine = np.sin(zenith)
    return np.array([sine * np.cos(azimuth), sine * np.sin(azimuth), np.cos(zenith)])


def _course(
    surfaces: Surfaces, sent: tuple[Point, Point], heard: tuple[Point, Point], length: float, events: list[int] | None
) -> NDArray[np.float64] | None:
    """The corners of a path of some length between two ends and the directions there."""
    if events is None:
        return None
    turns = [i for i, kind in enumerate(events) if kind in (DIFFRACTION, SCATTERING)]
    if len(turns) > 1:
        return None  # between two such events no direction is known
    if not turns:
        for points, direction in _legs(surfaces, *sent, events):
            far = float((heard[0] - points[-1]) @ direction)
            miss = np.linalg.norm(points[-1] + far * direction - heard[0])
            found = np.array([*points, heard[0]])
            if far > 0 and miss <= MISS and abs(_length(found) - length) <= MISS:
                return found
        return None
    for points, direction in _legs(surfaces, *sent, events[: turns[0]]):
        for others, back in _legs(surfaces, *heard, events[: turns[0] : -1]):
            middle = _meeting(points[-1], direction, others[-1], back)
            if middle is None:
                continue
            found = np.array([*points, middle, *others[::-1]])
            if abs(_length(found) - length) <= MISS:
                return found
    return None


def _legs(surfaces: Surfaces, point: Point, direction: Point, events: list[int]) -> Iterator[Leg]:
    """The ways on which a ray may have met mirrors (and walls that it passes), nearest surfaces first."""
    if not events:
        yield [point], direction
        return
    if events[0] not in (REFLECTION, TRANSMISSION):
        return
    for far, normal in surfaces.met(point, direction):
        turned = direction - 2 * (direction @ normal) * normal if events[0] == REFLECTION else direction
        for points, last in _legs(surfaces, point + far * direction, turned, events[1:]):
            yield [point, *points], last


def _meeting(one: Point, ahead: Point, two: Point, back: Point) -> Point | None:
    """Where a ray from either end come closest, if they do meet ahead of both."""
    between, turn = two - one, float(ahead @ back)
    if 1 - abs(turn) < ALONG**2 / 2:  # one line: wherever it is bent by so little, it looks the same
        return (one + two) / 2 if turn < 0 else None
    far = float(between @ (ahead - turn * back)) / (1 - turn**2)
    near = float(between @ (turn * ahead - back)) / (1 - turn**2)
    if far < -EDGE or near < -EDGE:
        return None
    first, second = one + far * ahead, two + near * back
    return (first + second) / 2 if np.linalg.norm(first - second) <= MISS else None


def _length(points: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
