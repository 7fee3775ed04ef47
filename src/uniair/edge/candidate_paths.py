"""`candidates` of `uniair.models.ray_launching` in NumPy: which paths may join a base station and users, by its rays.

The order of the operations is kept, in single precision, so that a path passes over the same pixels here as there. This
file is copied into edge packages: it imports NumPy alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rays import GRID, HALF, KINDS, Floats, Integers, Segments

SPEED_OF_LIGHT = 299_792_458.0
SUBCARRIER_PERIOD = SPEED_OF_LIGHT / 720e3
COSINE_OCTAVES, LENGTH_OCTAVES = 5, 7
OVER = len(KINDS)  # the kind that bends down from a roof
FEATURES = 2 * COSINE_OCTAVES + 2 * LENGTH_OCTAVES + len(KINDS) + 5
FEATURES_3D = FEATURES + 2 * COSINE_OCTAVES + 2 * LENGTH_OCTAVES + 8
LOW_STATION, LOW_WALL, FALL = 10.0, 2.0, 0.75  # m, m, share of the side
WALL_LOSS, CORNER_LOSS, NOTICED = 4.0, 18.0, 6.0  # dB
LEG, SAMPLES = 16, 64  # points at which roofs are looked for: of a last leg, of a straight line
NEAR, HIGHEST = 1.5, 100.0  # pixels, m
TYPICAL = 60.0  # m, of a first path whose length nothing tells


class Roofs(NamedTuple):
    """What weights for any radio are told beside the rays.

    Attributes:
        heights: float32 [256, 256] m of buildings, infinite where not known.
        carrier: Hz.
        downtilt: of the array, rad; 0 where its elements look everywhere.
    """

    heights: Floats
    carrier: float
    downtilt: float


class Candidates(NamedTuple):
    """P paths that may join the base station and users, as in `uniair.models.ray_launching`: [P] each."""

    length: Floats
    cosine: Floats
    kind: Integers
    turn: Floats
    closeness: Floats
    owner: Integers
    ahead: Floats
    up: Floats
    clearance: Floats
    loss: Floats

    def least(self, values: Floats, users: int) -> Floats:
        """The least of the values [P] of each user: [users]; infinite where there is no path."""
        out = np.full(users, np.inf, np.float32)
        np.minimum.at(out, self.owner, values)
        return out

    def clock(self, bs: NDArray[Any], ue: NDArray[Any]) -> Floats:
        """What a clock at the first path, `TYPICAL` long, leaves out of each path to users [U, 3], m: [U] m."""
        line = np.asarray(bs, np.float32) - np.asarray(ue, np.float32)
        noticed = self.loss <= self.least(self.loss, len(line))[self.owner] + np.float32(NOTICED)
        first = self.least(np.where(noticed, self.length, np.float32(np.inf)), len(line))
        return np.where(np.isinf(first), _size(line), first) - np.float32(TYPICAL)

    def features(self, clock: Floats) -> Floats:
        """What EPNN reads of each path: [P, FEATURES]; `clock`: [U] m that is left out of each."""
        phases = np.concatenate([
            _octaves(np.float32(math.pi) * self.cosine, COSINE_OCTAVES),
            _octaves(np.float32(2 * math.pi / SUBCARRIER_PERIOD) * (self.length - clock[self.owner]), LENGTH_OCTAVES),
        ], axis=1)  # fmt: skip
        plain = [self.closeness, np.log(self.length) / 5, self.cosine, self.turn, np.sin(self.turn / 2)]
        kinds = np.eye(len(KINDS) + 1, dtype=np.float32)[self.kind, :OVER]
        return _joined(phases, kinds, plain)

    def features_3d(self, clock: Floats) -> Floats:
        """As `features`, with elevation, clearance, and how much longer and weaker than the least each is."""
        later = self.length - self.least(self.length, len(clock))[self.owner]
        weaker = self.loss - self.least(self.loss, len(clock))[self.owner]
        phases = np.concatenate([
            _octaves(np.float32(math.pi) * self.up, COSINE_OCTAVES),
            _octaves(np.float32(2 * math.pi / SUBCARRIER_PERIOD) * later, LENGTH_OCTAVES),
        ], axis=1)  # fmt: skip
        plain = [
            self.up, self.ahead, np.log1p(later) / 5, self.kind == OVER, np.clip(self.clearance / 20, -1, 1),
            np.clip(self.clearance / 3, -1, 1), self.clearance > 0, weaker / 40,
        ]  # fmt: skip
        return np.concatenate([self.features(clock), _joined(phases, np.zeros((len(phases), 0)), plain)], axis=1)


def walls(heights: Floats, bs: Floats, size: np.float32) -> NDArray[np.bool_]:
    """What stops the rays of a station [3] m, of weights for any radio, on a map of heights: [256, 256]."""
    if bs[2] <= LOW_STATION:
        return np.asarray(heights > LOW_WALL)
    plan = np.round(bs[:2] / (size / np.float32(GRID)) * 16) / np.float32(16 * GRID)
    centre = (np.arange(GRID, dtype=np.float32) + np.float32(0.5)) / np.float32(GRID)
    away = np.hypot(centre - plan[0], centre[:, None] - plan[1])
    return np.asarray(heights > np.maximum(bs[2] * (1 - away / np.float32(FALL)), np.float32(LOW_WALL)))


def candidates(
    rays: Segments, bs: NDArray[Any], ue: NDArray[Any], size: float, roofs: Roofs | None = None
) -> Candidates:
    """Paths that may join a base station [3] and users [N, 3], m, on a map `size` m wide.

    Args:
        roofs: None: heights don't count, as for weights of one radio.
    """
    pixel = np.float32(size / GRID)
    bs, ue = np.asarray(bs, np.float32), np.asarray(ue, np.float32)
    x, y = (np.asarray(ue[:, axis, None] / pixel, np.float32) for axis in (0, 1))
    t = x * rays.direction[:, 0] + y * rays.direction[:, 1] - rays.along
    q = x * rays.direction[:, 1] - y * rays.direction[:, 0] - rays.aside
    # rays of one source drift apart from where they left it: the base station, or the corner
    spread = (t + rays.behind) * rays.width + np.float32(0.7)
    n, s = np.nonzero((np.abs(q) < spread) & (t > 0) & (t <= rays.length + HALF))
    t, q, spread, kind = t[n, s], q[n, s], spread[n, s], rays.kind[s]
    straight = np.array([name.endswith("D") for name in KINDS])
    flat = (rays.before[s] + np.where(straight[kind], np.hypot(t, q), t)) * pixel
    rise = bs[2] - ue[n, 2]
    length = np.maximum(np.hypot(flat, rise), np.float32(0.1))
    cosine, ahead = (share[s] * flat / length for share in (rays.cosine, rays.ahead))
    closeness, none = 1 - np.abs(q) / spread, np.zeros_like(length)
    turns = np.array([WALL_LOSS * name.count("R") + CORNER_LOSS * name.count("D") for name in KINDS], np.float32)
    loss = 20 * np.log10(length) + turns[kind]
    found = Candidates(length, cosine, kind, rays.turn[s], closeness, n, ahead, -rise / length, none, loss)
    if roofs is None:
        return found
    leg = rays.direction[s] * (t * pixel)[:, None]
    found = found._replace(clearance=_clearance(found, ue[n], leg, size, roofs.heights))
    return _in_array(_with_over_roofs(found, bs, ue, size, roofs), roofs.downtilt)


def _clearance(found: Candidates, ue: Floats, leg: Floats, size: float, heights: Floats) -> Floats:
    """By how much the last legs [P, 2] m, towards users [P, 3], pass over the roofs: [P] m."""
    share = (np.arange(LEG, dtype=np.float32) + HALF) / np.float32(LEG)
    back = share[:, None] * leg[:, None]  # from the user
    height = np.minimum(_heights_at(heights, ue[:, None, :2] - back, size), np.float32(HIGHEST))
    away, near = _size(back), NEAR * np.float32(size / GRID)
    level = np.sqrt(np.maximum(1 - found.up * found.up, np.float32(1e-6)))
    z = ue[:, 2:] - found.up[:, None] / level[:, None] * away
    far = (away > near) & (_size(leg)[:, None] - away > near)
    return np.where((height > 0) & far, z - height, np.float32(HIGHEST)).min(1, initial=HIGHEST)


def _with_over_roofs(found: Candidates, bs: Floats, ue: Floats, size: float, roofs: Roofs) -> Candidates:
    """With the paths that bend down from the main edge of each blocked straight line: `uniair.models.sight_line`."""
    u = (np.arange(SAMPLES, dtype=np.float32) + HALF) / np.float32(SAMPLES)
    line = ue - bs
    flat, distance = np.maximum(_size(line[:, :2]), np.float32(0.1)), np.maximum(_size(line), np.float32(0.1))
    height = _heights_at(roofs.heights, bs[:2] + u[:, None] * line[:, None, :2], size)
    away = np.minimum(u, 1 - u) * flat[:, None] > NEAR * np.float32(size / GRID)
    here = (height > 0) & away
    known = ~(np.isinf(height) & here).any(1)
    excess = np.minimum(height, np.float32(HIGHEST)) - (bs[2] + u * line[:, 2:])
    excess = np.where(here, excess, np.float32(-HIGHEST))
    wavelength = np.float32(SPEED_OF_LIGHT) / np.float32(roofs.carrier)
    # by their height over the line in Fresnel zones
    zones = excess * np.sqrt(2 / (wavelength * distance[:, None] * u * (1 - u)))
    main = zones.argmax(1)
    excess, nu = excess[np.arange(len(ue)), main], zones[np.arange(len(ue)), main] - np.float32(0.1)
    over = np.flatnonzero((excess > 0) & known)
    excess, place, line, flat, distance = excess[over], u[main[over]], line[over], flat[over], distance[over]
    up = excess + place * line[:, 2]  # of the edge above the base station
    before, after = np.hypot(place * flat, up), np.hypot((1 - place) * flat, line[:, 2] - up)
    rise, edge = up / before, np.sqrt(nu[over] * nu[over] + 1) + nu[over]
    loss = 20 * np.log10(before + after) + np.clip(6.9 + 20 * np.log10(np.maximum(edge, 1e-3)), 0, 80)
    towards = line[:, :2] / np.maximum(_size(line[:, :2]), np.float32(1e-12))[:, None]
    level = np.sqrt(np.maximum(1 - rise * rise, 0))
    more = Candidates(
        before + after, towards[:, 0] * level, np.full(len(over), OVER), np.abs(rise - line[:, 2] / distance),
        np.ones_like(level), over, towards[:, 1] * level, rise, -excess, loss,
    )  # fmt: skip
    pairs: list[Any] = list(zip(found, more, strict=True))
    return Candidates(*(np.concatenate(pair) for pair in pairs))


def _in_array(found: Candidates, downtilt: float) -> Candidates:
    """Directions in the frame of an array that is tilted down by so much, rad."""
    cosine, sine = np.cos(np.float32(downtilt)), np.sin(np.float32(downtilt))
    ahead, up = cosine * found.ahead - sine * found.up, sine * found.ahead + cosine * found.up
    return found._replace(ahead=ahead, up=up)


def _heights_at(heights: Floats, points: Floats, size: float) -> Floats:
    """Building heights at points [N, S, 2] m: [N, S] m; 0 off the map."""
    cell = np.floor(points / np.float32(size) * GRID).astype(np.int64)
    inside = ((cell >= 0) & (cell < GRID)).all(-1)
    column, row = np.moveaxis(cell.clip(0, GRID - 1), -1, 0)
    return np.where(inside, heights[row, column], np.float32(0))


def _size(vectors: Floats) -> Floats:
    """Norms along the last axis."""
    return np.asarray(np.sqrt((vectors * vectors).sum(-1)))


def _octaves(phase: Floats, count: int) -> Floats:
    return phase[:, None] * np.float32(2) ** np.arange(count, dtype=np.float32)


def _joined(phases: Floats, kinds: NDArray[Any], plain: list[Any]) -> Floats:
    parts = [np.sin(phases), np.cos(phases), kinds, np.stack(plain, axis=1)]
    return np.concatenate(parts, axis=1).astype(np.float32)
