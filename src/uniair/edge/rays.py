"""`launch` of `uniair.models.ray_launching` in NumPy: the rays of a base station over the map.

As an ONNX graph it would be some 30,000 nodes: 40 steps a ray with table look-ups, ten kinds of rays, and as many
candidates as the map happens to give. The order of the operations is kept, in single precision, so that a ray ends on
the same pixel here as there. This file is copied into edge packages: it imports NumPy alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

GRID, RAYS, DEPTH, CORNERS, FAN, MARCH, LEVELS = 256, 256, 3, 16, 24, 40, 5
FAN_ANGLES, BESIDE, LEAST_JUMP = (-2.1, 2.1), np.float32(1.2), 4.0
KINDS = ("", "R", "RR", "RRR", "D", "DR", "DRR", "RD", "RDR", "RRD")
HALF = np.float32(0.5)


class Segments(NamedTuple):
    """Straight pieces of a base station's rays, as in `uniair.models.ray_launching`: [S, 2] or [S], pixels."""

    direction: Floats
    along: Floats
    aside: Floats
    length: Floats
    before: Floats
    behind: Floats
    cosine: Floats
    ahead: Floats
    turn: Floats
    kind: Integers
    width: Floats


class Rays(NamedTuple):
    """Rays between two walls: start and direction [N, 2], the rest [N]."""

    start: Floats
    direction: Floats
    before: Floats
    behind: Floats
    cosine: Floats
    ahead: Floats
    turn: Floats
    alive: NDArray[np.bool_]


class Terrain:
    """A map [256, 256] as rays see it: how far one may step from a pixel, and which way a wall faces."""

    def __init__(self, walls: NDArray[np.bool_]) -> None:
        built = walls.astype(np.float32)
        step = np.where(built > 0, 0, 0.7).astype(np.float32)
        for level in range(LEVELS):
            cell = 2**level
            near = built.reshape(GRID // cell, cell, GRID // cell, cell).max((1, 3))
            near = sliding_window_view(np.pad(near, 1), (3, 3)).max((2, 3))
            step = np.where(near.repeat(cell, 0).repeat(cell, 1) == 0, np.float32(cell), step)
        self.side = GRID + 2
        self.step = np.pad(step, 1, constant_values=-1.0).ravel()
        blurred = built
        for _ in range(2):
            total, count = (sum(np.pad(x, 2)[i : i + GRID, j : j + GRID] for i in range(5) for j in range(5))
                            for x in (blurred, np.ones_like(built)))  # fmt: skip
            blurred = np.asarray(total / count, dtype=np.float32)
        around = np.pad(blurred, 2, mode="edge")
        slope = np.stack([around[1:-1, :-2] - around[1:-1, 2:], around[:-2, 1:-1] - around[2:, 1:-1]], -1).reshape(
            -1, 2
        )
        size = np.sqrt(slope[:, :1] * slope[:, :1] + slope[:, 1:] * slope[:, 1:])
        self.normal = slope / np.maximum(size, np.float32(1e-12))

    def march(self, rays: Rays) -> tuple[Floats, NDArray[np.bool_], Floats]:
        """Rays until they meet a wall: length [N], whether they did, and the wall's normal [N, 2]."""
        place, length = rays.start, np.zeros(len(rays.start), np.float32)
        for _ in range(MARCH):
            length = length + np.maximum(self.step[self._pixel(place)], 0)
            place = rays.start + length[:, None] * rays.direction
        at = self._pixel(place)
        return length, self.step[at] == 0, self.normal[at]

    def _pixel(self, place: Floats) -> Integers:
        column, row = np.clip(place + 1, 0, self.side - 1).astype(np.int64).T
        return np.asarray(row * self.side + column)


def launch(walls: NDArray[np.bool_], bs: NDArray[Any]) -> Segments:
    """Rays of a base station, reflected and diffracted in all `KINDS`.

    Args:
        walls: [256, 256] where they are; bs: [2], pixels.
    """
    terrain = Terrain(walls)
    azimuth = (np.arange(RAYS, dtype=np.float32) + HALF) * np.float32(2 * math.pi / RAYS)
    direction = _direction(azimuth)
    none = np.zeros(RAYS, np.float32)
    start = np.asarray(bs, np.float32) + direction
    rays = Rays(start, direction, none + 1, none + 1, direction[:, 0], direction[:, 1], none, none == 0)
    pieces = []
    for reflections in range(DEPTH + 1):
        length, hit, normal = terrain.march(rays)
        pieces.append(_flown(rays, length, "R" * reflections, 2 * math.pi / RAYS))
        if reflections == DEPTH:
            break
        fan = _diffracted(rays, length, hit)
        for after in range(DEPTH - reflections):
            reach, met, facing = terrain.march(fan)
            kind = "R" * reflections + "D" + "R" * after
            pieces.append(_flown(fan, reach, kind, (FAN_ANGLES[1] - FAN_ANGLES[0]) / FAN))
            fan = _reflected(fan, reach, met, facing)
        rays = _reflected(rays, length, hit, normal)
    joined: list[Any] = [np.concatenate(part) for part in zip(*pieces, strict=True)]
    drawn = joined[Segments._fields.index("length")] > 0
    return Segments(*(part[drawn] for part in joined))


def _direction(angle: Floats) -> Floats:
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _flown(rays: Rays, length: Floats, kind: str, width: float) -> Segments:
    """The pieces that the rays draw until they meet a wall after `length`."""
    along = rays.start[:, 0] * rays.direction[:, 0] + rays.start[:, 1] * rays.direction[:, 1]
    aside = rays.start[:, 0] * rays.direction[:, 1] - rays.start[:, 1] * rays.direction[:, 0]
    return Segments(
        rays.direction, along, aside, np.where(rays.alive, length, np.float32(-1)), rays.before, rays.behind,
        rays.cosine, rays.ahead, rays.turn, np.full(len(length), KINDS.index(kind)),
        np.full(len(length), width, np.float32),
    )  # fmt: skip


def _reflected(rays: Rays, length: Floats, hit: NDArray[np.bool_], normal: Floats) -> Rays:
    """The rays after the walls that they met."""
    along = (rays.direction * normal).sum(-1, keepdims=True)
    return rays._replace(
        start=rays.start + (length - np.float32(0.7))[:, None] * rays.direction + HALF * normal,
        direction=np.where(along < 0, rays.direction - 2 * along * normal, -rays.direction),
        before=rays.before + length, behind=rays.behind + length, alive=rays.alive & hit,
    )  # fmt: skip


def _diffracted(rays: Rays, length: Floats, hit: NDArray[np.bool_]) -> Rays:
    """Fans [CORNERS · FAN] from the corners that the rays [RAYS], met walls after `length`, pass."""
    rolled: list[Any] = [np.roll(values, -1, 0) for values in rays]
    beside = Rays(*rolled)
    beyond = np.roll(length, -1)
    gap = rays.start - beside.start
    together = rays.alive & beside.alive & (np.sqrt((gap * gap).sum(-1)) < 6)
    together &= (rays.direction * beside.direction).sum(-1) > np.float32(0.98)
    stopped = np.where(length < beyond, hit, np.roll(hit, -1))
    jump = np.where(together & stopped, np.abs(length - beyond), np.float32(0))
    jump = np.where(jump > LEAST_JUMP, jump, np.float32(0))
    first = np.argsort(-jump, kind="stable")[:CORNERS]
    jump, second = jump[first], (first + 1) % RAYS
    swap = (length < beyond)[first]
    near, far = np.where(swap, first, second), np.where(swap, second, first)
    passing, stopping, reach = rays.direction[far], rays.direction[near], length[near]
    shadow = np.sign(passing[:, 0] * stopping[:, 1] - passing[:, 1] * stopping[:, 0])
    away = np.stack([passing[:, 1], -passing[:, 0]], -1) * shadow[:, None]
    corner = rays.start[far] + (reach + 1)[:, None] * passing + BESIDE * away
    turn = np.tile(np.linspace(*FAN_ANGLES, FAN, dtype=np.float32), CORNERS)
    angle = np.arctan2(passing[:, 1], passing[:, 0]).repeat(FAN) + shadow.repeat(FAN) * turn
    return Rays(
        corner.repeat(FAN, 0), _direction(angle), (rays.before[far] + reach).repeat(FAN), np.zeros_like(turn),
        rays.cosine[far].repeat(FAN), rays.ahead[far].repeat(FAN), turn, (jump > 0).repeat(FAN),
    )  # fmt: skip
