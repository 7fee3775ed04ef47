"""Rays launched over the map: which paths may join a base station and a user, before anything is learned.

A two-dimensional shooting-and-bouncing-rays pass on the raster. It is coarse: walls are pixels, and nothing has an
amplitude. Heights enter the path length; where they are told, walls are those that stand up to a station's rays, a path
knows how far above the roofs its last leg passes, and one more bends down from the highest roof on the straight line.
EPNN learns what each candidate is worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from uniair.angle_delay import TONE, TYPICAL
from uniair.environment import Environment
from uniair.models.sight_line import HIGHEST, NEAR, heights_at, sight_line, tilted
from uniair.radio import SPEED_OF_LIGHT

GRID = 256  # pixels a side that rays are launched on
RAYS = 256
DEPTH = 3  # interactions, of which one may be a diffraction
CORNERS = 16  # of each kind: seen by the base station, and seen in a wall
FAN = 24  # rays that leave a corner
FAN_ANGLES = (-2.1, 2.1)  # rad from the ray that passes the corner, towards its shadow
BESIDE = 1.2  # pixels from the wall at which a fan begins: the raster's steps are not to catch its rays
LEAST_JUMP = 4.0  # pixels between the ends of two neighbouring rays with a corner between them
MARCH = 40  # steps of a ray; one that has not met a wall by then ends there
LOOK = 8  # steps between two looks at which rays still go on; divides MARCH
KEPT_STATIONS = 64  # whose rays are kept, at most: a quarter of a MB each
CHUNK = 1024  # users that are looked at together
LEVELS = 5  # a step is up to 2^(LEVELS − 1) pixels
SUBCARRIER_PERIOD = SPEED_OF_LIGHT / TONE  # metres of path after which the phase between two tones of the grid repeats
COSINE_OCTAVES, LENGTH_OCTAVES = 5, 7
KINDS = ("", "R", "RR", "RRR", "D", "DR", "DRR", "RD", "RDR", "RRD")  # reflections and a diffraction, in order
LAUNCHED = ("", "D", "DR", "DRR", "R", "RD", "RDR", "RR", "RRD", "RRR")  # `KINDS` as the pieces stand one by one
OVER = len(KINDS)  # the kind that bends down from a roof
FEATURES = 2 * COSINE_OCTAVES + 2 * LENGTH_OCTAVES + len(KINDS) + 5
FEATURES_3D = FEATURES + 2 * COSINE_OCTAVES + 2 * LENGTH_OCTAVES + 8
LOW_STATION = 10.0  # m: rays of lower stations meet every wall
LOW_WALL = 2.0  # m: lower things stop no ray
FALL = 0.75  # of the map's side, over which the rays of higher stations fall to the ground
WALL_LOSS, CORNER_LOSS = 4.0, 18.0  # dB that a reflection and a diffraction take, roughly
NOTICED = 6.0  # dB: the first path within so many of the strongest is where a receiver's clock starts
LEG = 16  # points of a path's last leg at which roofs are looked for


class Segments(NamedTuple):
    """Straight pieces of the rays of B base stations, S each; lengths in pixels.

    Attributes:
        direction: [B, S, 2] unit vectors.
        along, aside: [B, S] scalar and cross product of start and direction, from which a point's place is found.
        length: [B, S]; −1 where there is no such piece.
        before: [B, S] length of the path up to its start.
        behind: [B, S] of that, what lies since the rays left one point.
        cosine, ahead: [B, S] cosines between the departure and the array's axis, and its boresight.
        turn: [B, S] angle of a diffraction, rad; 0 where there is none.
        kind: [S] which of `KINDS`.
        width: [S] rad between neighbouring rays.
    """

    direction: Tensor
    along: Tensor
    aside: Tensor
    length: Tensor
    before: Tensor
    behind: Tensor
    cosine: Tensor
    ahead: Tensor
    turn: Tensor
    kind: Tensor
    width: Tensor


class Terrain:
    """Maps as rays see them: how far one may step from a pixel, and which way a wall faces."""

    def __init__(self, maps: Tensor) -> None:
        built = maps.float()
        if maps.shape[1:] != (GRID, GRID):
            built = functional.interpolate(built[:, None], size=(GRID, GRID), mode="area")[:, 0]
        built = (built >= 0.5).float()
        pyramid = [built]
        for _ in range(LEVELS - 1):
            pyramid.append(functional.max_pool2d(pyramid[-1], 2))
        step = torch.zeros_like(pyramid[-1])
        for level in reversed(range(LEVELS)):  # from the coarsest, whose free steps are the longest
            step = torch.where((step == 0) & (_around(pyramid[level]) == 0), float(2**level), step)
            if level:
                step = step.repeat_interleave(2, 1).repeat_interleave(2, 2)
        step = torch.where((step == 0) & (built == 0), 0.7, step)
        self.side = GRID + 2
        self.step = functional.pad(step, (1, 1, 1, 1), value=-1.0).flatten()
        self.stride = self.step.clamp_min(0)
        around = functional.pad(_blurred(_blurred(built)), (2, 2, 2, 2), mode="replicate")
        slope = torch.stack(
            [around[:, 1:-1, :-2] - around[:, 1:-1, 2:], around[:, :-2, 1:-1] - around[:, 2:, 1:-1]], -1
        )
        self.normal = functional.normalize(slope.reshape(-1, 2), dim=-1)

    def pixel(self, base: Tensor, place: Tensor) -> Tensor:
        """Flat index of the pixel of `place` [2, ...]; what lies beyond the map is on its rim."""
        column, row = (place + 1).clamp_(0, self.side - 1).long()
        return row.mul_(self.side).add_(column).add_(base)

    def march(self, base: Tensor, start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rays [B, N, 2] until they meet a wall: length [B, N], whether they did, and the wall's normal [B, N, 2]."""
        shape = start.shape[:-1]
        base = base.expand(shape).flatten()
        # x and y each in one piece: small tensors cost what their strides do
        start, way = (part.flatten(0, 1).mT.contiguous() for part in (start, direction))
        length = start.new_zeros(start.shape[1])
        going, of, begin, toward, flown = None, base, start, way, length
        for number in range(1, MARCH + 1):
            step = self.stride.take(self.pixel(of, (flown * toward).add_(begin)))
            flown = flown + step
            if not number % LOOK:  # most have met a wall early on: those that stand still are left out
                length = flown if going is None else length.index_copy(0, going, flown)
                moving = step.nonzero()[:, 0]
                going = moving if going is None else going[moving]
                of, flown = of[moving], flown[moving]
                begin, toward = begin[:, moving], toward[:, moving]
        at = self.pixel(base, (length * way).add_(start)).view(shape)
        return length.view(shape), self.step[at] == 0, self.normal[at]


class Rays(NamedTuple):
    """B × N rays between two walls: start and direction [B, N, 2], the rest [B, N], as in `Segments`."""

    start: Tensor
    direction: Tensor
    before: Tensor
    behind: Tensor
    cosine: Tensor
    ahead: Tensor
    turn: Tensor
    alive: Tensor

    def flown(self, length: Tensor, kind: str, width: float) -> Segments:
        """The pieces that the rays draw until they meet a wall after `length`."""
        along = (self.start * self.direction).sum(-1)
        aside = self.start[..., 0] * self.direction[..., 1] - self.start[..., 1] * self.direction[..., 0]
        every = torch.ones_like(length[0])
        return Segments(
            self.direction, along, aside, torch.where(self.alive, length, -1.0), self.before, self.behind, self.cosine,
            self.ahead, self.turn, (KINDS.index(kind) * every).long(), width * every,
        )  # fmt: skip

    def reflected(self, length: Tensor, hit: Tensor, normal: Tensor) -> Rays:
        """The rays after the walls that they met."""
        along = (self.direction * normal).sum(-1, keepdim=True)
        return self._replace(
            start=self.start + (length - 0.7)[..., None] * self.direction + 0.5 * normal,
            direction=torch.where(along < 0, self.direction - 2 * along * normal, -self.direction),
            before=self.before + length, behind=self.behind + length, alive=self.alive & hit,
        )  # fmt: skip

    def diffracted(self, length: Tensor, hit: Tensor) -> Rays:
        """Fans [B, CORNERS · FAN] from the corners that the rays [B, RAYS], met walls after `length`, pass.

        A corner is where neighbouring rays that left the same wall the same way end at very different distances.
        """
        beside = Rays(*(values.roll(-1, 1) for values in self))
        beyond = length.roll(-1, 1)
        together = self.alive & beside.alive & ((self.start - beside.start).norm(dim=-1) < 6)
        together &= (self.direction * beside.direction).sum(-1) > 0.98
        stopped = torch.where(length < beyond, hit, hit.roll(-1, 1))
        jump = torch.where(together & stopped, (length - beyond).abs(), 0.0)
        jump, first = torch.where(jump > LEAST_JUMP, jump, 0.0).topk(CORNERS, dim=1)
        second = (first + 1) % RAYS
        swap = (length < beyond).gather(1, first)
        near, far = torch.where(swap, first, second), torch.where(swap, second, first)

        def at(values: Tensor, ray: Tensor) -> Tensor:
            return values.gather(1, ray[..., None].expand(-1, -1, 2) if values.ndim == 3 else ray)

        def fanned(values: Tensor) -> Tensor:
            return values.repeat_interleave(FAN, dim=1)

        passing, stopping, reach = at(self.direction, far), at(self.direction, near), at(length, near)
        shadow = torch.sign(passing[..., 0] * stopping[..., 1] - passing[..., 1] * stopping[..., 0])
        away = torch.stack([passing[..., 1], -passing[..., 0]], -1) * shadow[..., None]
        corner = at(self.start, far) + (reach + 1)[..., None] * passing + BESIDE * away
        turn = torch.linspace(*FAN_ANGLES, FAN, device=length.device).repeat(CORNERS).expand(len(length), -1)
        angle = fanned(torch.atan2(passing[..., 1], passing[..., 0])) + fanned(shadow) * turn
        return Rays(
            fanned(corner), torch.stack([angle.cos(), angle.sin()], -1), fanned(at(self.before, far) + reach),
            torch.zeros_like(turn), fanned(at(self.cosine, far)), fanned(at(self.ahead, far)), turn, fanned(jump > 0),
        )  # fmt: skip


def _around(cells: Tensor) -> Tensor:
    """The largest of each cell of [A, H, W] and the eight around it; several times as fast as pooling, and the same."""
    wide = functional.pad(cells, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _blurred(maps: Tensor) -> Tensor:
    """Means over the 5 × 5 pixels around each of [A, H, W], as far as they are on the map; faster than pooling too."""
    height, width = maps.shape[1:]
    wide, total = functional.pad(maps, (2, 2, 2, 2)), torch.zeros_like(maps)
    for row in range(5):
        for column in range(5):
            total += wide[:, row : row + height, column : column + width]
    at = torch.arange(max(height, width), device=maps.device)
    rows, columns = ((at[:side] + 2).clamp_max(side - 1) - (at[:side] - 2).clamp_min(0) + 1 for side in (height, width))
    return total / (rows[:, None] * columns)


@torch.no_grad()
def launch(maps: Tensor, area: Tensor, bs: Tensor) -> Segments:
    """Rays of B base stations, reflected and diffracted in each of the `KINDS` of ways.

    Args:
        maps: [A, H, W] where walls are.
        area: int64 [B] the map of each.
        bs: [B, 2] position in pixels of a `GRID` × `GRID` map.
    """
    terrain = Terrain(maps)
    count = len(area)
    base = (area * terrain.side**2)[:, None]
    azimuth = (torch.arange(RAYS, device=bs.device) + 0.5) * (2 * math.pi / RAYS)
    direction = torch.stack([azimuth.cos(), azimuth.sin()], -1).expand(count, -1, -1)
    none = bs.new_zeros(count, RAYS)
    # a base station on a wall's pixel gets off it
    rays = Rays(
        bs[:, None] + direction, direction, none + 1, none + 1, direction[..., 0], direction[..., 1], none, none == 0
    )
    # rays of all kinds of as many interactions fly together: the way is many small operations
    flying, pieces = {"": rays}, {}
    for interactions in range(DEPTH + 1):
        starts = torch.cat([some.start for some in flying.values()], 1)
        directions = torch.cat([some.direction for some in flying.values()], 1)
        sizes = [some.alive.shape[1] for some in flying.values()]
        ends = zip(*(torch.split(part, sizes, 1) for part in terrain.march(base, starts, directions)), strict=True)
        following = {}
        for (kind, rays), (length, hit, normal) in zip(flying.items(), ends, strict=True):
            fan = "D" in kind
            width = (FAN_ANGLES[1] - FAN_ANGLES[0]) / FAN if fan else 2 * math.pi / RAYS
            pieces[kind] = rays.flown(length, kind, width)
            if interactions < DEPTH:
                following[f"{kind}R"] = rays.reflected(length, hit, normal)
                if not fan:
                    following[f"{kind}D"] = rays.diffracted(length, hit)
        flying = following
    ordered = [pieces[kind] for kind in LAUNCHED]
    joined = [torch.cat(part, dim=int(part[0].ndim > 1)) for part in zip(*ordered, strict=True)]
    drawn = (joined[Segments._fields.index("length")] > 0).any(0)
    return Segments(*(part[:, drawn] if part.ndim > 1 else part[drawn] for part in joined))


def falling(pixels: int, height: Tensor, plan: Tensor) -> Tensor:
    """Heights up to which walls let the rays of B stations pass: [B, pixels, pixels] m, `LOW_WALL` of low ones.

    They fall from the station to the ground, as lines to users do who are far away.

    Args:
        height: [B] m; plan: [B, 2] as shares of the side.
    """
    centre = (torch.arange(pixels, device=plan.device) + 0.5) / pixels
    away = torch.hypot(centre - plan[:, :1, None], centre[:, None] - plan[:, 1:, None])
    return (height[:, None, None] * (1 - away / FALL)).clamp_min(LOW_WALL)


def _kept(maps: Tensor, area: Tensor, bs: Tensor) -> Segments:
    """As `launch`; a few stations' rays are kept, since who asks about a place asks several questions of it."""
    if maps.device.type != "cpu" or len(bs) > KEPT_STATIONS:
        return launch(maps, area, bs)
    return _of_bytes(*(part.numpy().tobytes() for part in (maps, area, bs)), tuple(maps.shape))


@lru_cache(maxsize=8)
def _of_bytes(maps: bytes, area: bytes, bs: bytes, shape: tuple[int, ...]) -> Segments:
    with torch.inference_mode(False):  # for training too
        walls = torch.frombuffer(bytearray(maps), dtype=torch.bool).view(shape)
        where = torch.frombuffer(bytearray(area), dtype=torch.int64)
        return launch(walls, where, torch.frombuffer(bytearray(bs), dtype=torch.float32).view(-1, 2))


@dataclass(frozen=True)
class Candidates:
    """Candidate paths of distinct hypotheses: those that differ in LOS alone share theirs.

    Attributes:
        length: [P] m.
        cosine: [P] cosine between the departure and the array's axis.
        kind: int64 [P] which of `KINDS`.
        turn: [P] angle of the diffraction, rad; 0 where there is none.
        closeness: [P] 1 where the ray meets the user, towards 0 where it is as far off as its neighbour.
        owner: int64 [P] which of the U distinct hypotheses it belongs to.
        of: int64 [N] the distinct hypothesis of each; U, which owns none, where the map or a position is unknown.
        distinct: U.
        ahead, up: [P] cosines between the departure and the array's boresight, and its own upright.
        clearance: [P] m by which the last leg passes over roofs, below 0 where it would pass through one.
        loss: [P] dB, roughly: of the length, the walls and the corner, or of the edge that it bends down from.
        clock: [U] m that the radio's clock leaves out of each path, so that the first is `TYPICAL` long; 0 of an
            absolute clock.
        departure: [P, 2] unit vectors on the plan.
        bend: [P, 2] m where the last interaction is; at the base station where there is none.
        before: [P] m on the plan up to there.
    """

    length: Tensor
    cosine: Tensor
    kind: Tensor
    turn: Tensor
    closeness: Tensor
    owner: Tensor
    of: Tensor
    distinct: int
    ahead: Tensor
    up: Tensor
    clearance: Tensor
    loss: Tensor
    clock: Tensor
    departure: Tensor
    bend: Tensor
    before: Tensor

    def features(self) -> Tensor:
        """What EPNN reads of each path, its delay and direction as the phases that they turn: [P, FEATURES]."""
        cosine_octaves = 2.0 ** torch.arange(COSINE_OCTAVES, device=self.cosine.device)
        length_octaves = 2.0 ** torch.arange(LENGTH_OCTAVES, device=self.cosine.device)
        phases = torch.cat([
            math.pi * self.cosine[:, None] * cosine_octaves,
            2 * math.pi / SUBCARRIER_PERIOD * (self.length - self.clock[self.owner])[:, None] * length_octaves,
        ], dim=1)  # fmt: skip
        plain = [self.closeness, self.length.log() / 5, self.cosine, self.turn, (self.turn / 2).sin()]
        kinds = functional.one_hot(self.kind, len(KINDS) + 1)[:, :OVER]
        return torch.cat([phases.sin(), phases.cos(), kinds, torch.stack(plain, dim=1)], dim=1)

    def least(self, values: Tensor) -> Tensor:
        """The least of the values [P] of each distinct hypothesis: [U]; infinite where it has no path."""
        none = values.new_full((self.distinct,), math.inf)
        return none.scatter_reduce(0, self.owner, values, "amin")

    def first(self) -> Tensor:
        """Length of the first path that a receiver would notice: [U] m; infinite where there is none."""
        noticed = self.loss <= self.least(self.loss)[self.owner] + NOTICED
        return self.least(torch.where(noticed, self.length, math.inf))

    def features_3d(self) -> Tensor:
        """As `features`, with elevation, clearance, and how much longer and weaker than the least a path is."""
        cosine_octaves = 2.0 ** torch.arange(COSINE_OCTAVES, device=self.cosine.device)
        length_octaves = 2.0 ** torch.arange(LENGTH_OCTAVES, device=self.cosine.device)
        later = self.length - self.least(self.length)[self.owner]
        weaker = self.loss - self.least(self.loss)[self.owner]
        phases = torch.cat([
            math.pi * self.up[:, None] * cosine_octaves,
            2 * math.pi / SUBCARRIER_PERIOD * later[:, None] * length_octaves,
        ], dim=1)  # fmt: skip
        plain = [
            self.up, self.ahead, later.log1p() / 5, (self.kind == OVER).float(), (self.clearance / 20).clamp(-1, 1),
            (self.clearance / 3).clamp(-1, 1), (self.clearance > 0).float(), weaker / 40,
        ]  # fmt: skip
        return torch.cat([self.features(), phases.sin(), phases.cos(), torch.stack(plain, dim=1)], dim=1)


@torch.no_grad()
def candidates(environment: Environment, usable: Tensor, solid: bool = False) -> Candidates:
    """Paths that may join BS and UE of N hypotheses, found by rays over the map.

    Args:
        usable: bool [N] where map and both positions are known.
        solid: heights count: see the module.
    """
    index = usable.nonzero()[:, 0]
    tilt = torch.zeros_like(environment.size) if environment.downtilt is None else environment.downtilt
    carrier = torch.zeros_like(tilt) if environment.carrier is None or not solid else environment.carrier
    counts = torch.zeros_like(tilt) if environment.first_path is None or not solid else environment.first_path
    columns = [environment.area.float(), environment.size, tilt * solid, carrier, counts]
    rows = torch.cat([torch.stack(columns, 1), environment.bs, environment.ue], dim=1)[index]
    rows, where = torch.unique(rows, dim=0, return_inverse=True)
    of = torch.full_like(environment.area, len(rows))
    of[index] = where
    area, (size, tilt, carrier, counts), bs, ue = rows[:, 0].long(), rows[:, 1:5].unbind(1), rows[:, 5:8], rows[:, 8:]
    pixel = (size / GRID)[:, None]
    rise = bs[:, 2] - ue[:, 2]
    plan, user = bs[:, :2] / pixel, ue[:, :2] / pixel
    stations = torch.cat([area[:, None].float(), bs[:, 2:] * solid, (plan * 16).round()], dim=1)
    stations, which = torch.unique(stations, dim=0, return_inverse=True)
    # low stations of a map meet the same walls
    own = torch.where(stations[:, 1:2] > LOW_STATION, stations[:, 1:], 0.0)
    grounds, local = torch.unique(torch.cat([stations[:, :1], own], 1), dim=0, return_inverse=True)
    heights = environment.map[grounds[:, 0].long()]
    limit = grounds.new_full((), LOW_WALL if solid else 0.0)
    if own.any():
        limit = falling(heights.shape[-1], grounds[:, 1], grounds[:, 2:] / 16 / GRID)
    rays = _kept(heights > limit, local, stations[:, 2:] / 16)
    parts = [_meet(rays, which[i : i + CHUNK], user[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]
    n = torch.cat([part[0] + i * CHUNK for i, part in enumerate(parts)])
    s, t, q, spread = (torch.cat([part[k] for part in parts]) for k in range(1, 5))
    which, kind = which[n], rays.kind[s]
    straight = torch.tensor([name.endswith("D") for name in KINDS], device=kind.device)
    # a corner sends to every point behind it: the straight line from it counts, not the ray that came near
    reach = torch.where(straight[kind], torch.hypot(t, q), t)
    flat = (rays.before[which, s] + reach) * pixel[n, 0]
    length = torch.hypot(flat, rise[n]).clamp_min(0.1)
    cosine = rays.cosine[which, s] * flat / length
    up, ahead, clearance = -rise[n] / length, rays.ahead[which, s] * flat / length, torch.zeros_like(length)
    forward = rays.direction[which, s]
    begin = rays.along[which, s, None] * forward
    begin = begin + rays.aside[which, s, None] * torch.stack([forward[:, 1], -forward[:, 0]], 1)
    found = Candidates(
        length, cosine, kind, rays.turn[which, s], 1 - q.abs() / spread, n, of, len(rows), ahead, up, clearance,
        _loss(length, kind), torch.zeros_like(size), torch.stack([rays.cosine[which, s], rays.ahead[which, s]], 1),
        begin * pixel[n], rays.before[which, s] * pixel[n, 0],
    )  # fmt: skip
    if not solid:
        return _by_clock(found, counts, (bs - ue).norm(dim=1))
    here = Environment(
        map=environment.map, bs=bs, ue=ue, size=size, area=area, carrier=carrier if carrier.any() else None
    )
    found = replace(found, clearance=_clearance(here, n, forward * (t * pixel[n, 0])[:, None], up))
    found = _in_array(_with_over_roofs(found, here), tilt)
    return _by_clock(found, counts, (bs - ue).norm(dim=1))


def _loss(length: Tensor, kind: Tensor) -> Tensor:
    """Of paths that rays find: [P] dB."""
    turns = [WALL_LOSS * name.count("R") + CORNER_LOSS * name.count("D") for name in KINDS]
    return 20 * length.log10() + torch.tensor(turns, device=length.device)[kind]


def _by_clock(found: Candidates, counts: Tensor, straight: Tensor) -> Candidates:
    """With the clocks that start at the first path, `counts` [U] 1; the straight line's where no ray arrives, [U] m."""
    first = found.first()
    first = torch.where(first.isinf(), straight, first)
    return replace(found, clock=(first - TYPICAL) * counts)


def _clearance(here: Environment, n: Tensor, leg: Tensor, up: Tensor) -> Tensor:
    """By how much the last legs [P, 2] m, towards users n [P], pass over the roofs: [P] m."""
    share = (torch.arange(LEG, device=leg.device) + 0.5) / LEG
    back = share[:, None] * leg[:, None]  # from the user
    owner = here.select(n)
    height = heights_at(owner, owner.ue[:, None, :2] - back).clamp_max(HIGHEST)
    away = back.norm(dim=-1)
    z = owner.ue[:, 2:] - up[:, None] / (1 - up.square()).clamp_min(1e-6).sqrt()[:, None] * away
    far = away > NEAR * (owner.size / here.map.shape[-1])[:, None]
    far &= (leg.norm(dim=1)[:, None] - away) > NEAR * (owner.size / here.map.shape[-1])[:, None]
    return torch.where((height > 0) & far, z - height, HIGHEST).amin(1)


def _with_over_roofs(found: Candidates, here: Environment) -> Candidates:
    """With the paths that bend down from the main edge of each blocked straight line."""
    line = sight_line(here)
    over = (line.blocked & line.known).nonzero()[:, 0]
    towards = functional.normalize(here.ue[over, :2] - here.bs[over, :2], dim=1)
    level = (1 - line.rise[over].square()).clamp_min(0).sqrt()
    drop = (here.ue[over, 2] - here.bs[over, 2]) / line.distance[over]
    none = torch.zeros_like(level)
    edge = line.place[over] * (here.ue[over, :2] - here.bs[over, :2]).norm(dim=1)

    def more(name: str, values: Tensor) -> Tensor:
        return torch.cat([getattr(found, name), values])

    return replace(
        found, length=more("length", line.length[over]), cosine=more("cosine", towards[:, 0] * level),
        kind=more("kind", torch.full_like(over, OVER)), turn=more("turn", (line.rise[over] - drop).abs()),
        closeness=more("closeness", none + 1), owner=more("owner", over), ahead=more("ahead", towards[:, 1] * level),
        up=more("up", line.rise[over]), clearance=more("clearance", -line.excess[over]),
        loss=more("loss", 20 * line.length[over].log10() + line.loss[over]), departure=more("departure", towards),
        bend=more("bend", here.bs[over, :2] + edge[:, None] * towards), before=more("before", edge),
    )  # fmt: skip


def _in_array(found: Candidates, downtilt: Tensor) -> Candidates:
    """Directions in the frame of the tilted arrays, [U] rad."""
    direction = tilted(torch.stack([found.cosine, found.ahead, found.up], 1), downtilt[found.owner])
    return replace(found, ahead=direction[:, 1], up=direction[:, 2])


def _meet(rays: Segments, which: Tensor, ue: Tensor) -> tuple[Tensor, ...]:
    """Pieces that come near users [N, 2] of base stations [N]: user, piece, way along it, way off it, their spread."""
    forward_x, forward_y = rays.direction[..., 0][which], rays.direction[..., 1][which]
    t = ue[:, :1] * forward_x + ue[:, 1:] * forward_y - rays.along[which]
    q = ue[:, :1] * forward_y - ue[:, 1:] * forward_x - rays.aside[which]
    # rays of one source drift apart from where they left it: the base station, or the corner
    spread = (t + rays.behind[which]) * rays.width + 0.7
    n, s = ((q.abs() < spread) & (t > 0) & (t <= rays.length[which] + 0.5)).nonzero(as_tuple=True)
    return n, s, t[n, s], q[n, s], spread[n, s]
