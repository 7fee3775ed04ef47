"""Where a map contradicts the channels that were measured on it: buildings that are not so, and what it lacks.

Each suspicion is a likelihood ratio over all channels: how much better would what is seen be explained if this
building were not there, or were higher, or if something stood here. What a channel shows is whether it has a path of
the straight line, whether it has the single reflections that the map says, and where an unexplained path would bend if
it bent once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.complex_arrays import complex_tensor, strongest
from uniair.environment import Environment, heights
from uniair.errors import InputError
from uniair.explanation.audit_rates import ASSUMED, Rates
from uniair.explanation.calibrated import Calibration
from uniair.explanation.channel_paths import ChannelPath, Resolution, channel_paths
from uniair.explanation.explain import match
from uniair.explanation.map_buildings import map_buildings
from uniair.explanation.place_paths import PlacePath, place_paths, turned_back
from uniair.models.ray_launching import candidates
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

Change = Literal["not there", "elsewhere", "higher", "something here"]
TAKEN = "weighed by rates that were assumed: how often channels show what maps say was not counted for these weights"
APART = 5.0  # m, within which users see alike what one station shows: chosen on validation places
RADII = ((3.0, 4.0), (6.0, 1.0), (10.0, 0.0), (15.0, 0.0))  # m of what may stand somewhere, and nats for its rarity
FOUND_HERE = 0.3  # nats for a bend of an unexplained path in a cell
CELL = 4.0  # m
SHARP = 0.05  # of what a radio tells apart, by which a strong path's fit may be off
STANDS = 0.5  # m, by which positions may be off
PART = 0.05  # of the power that the path of the straight line has at least
WEAK = 15.0  # dB behind the strongest candidate, from which on a reflection need not be seen
CLOSE = 20.0  # m that a building may stand from where the map has it
TIE = 1.0  # nats within which two cells are as likely
SURE = 5.0  # nats from which on a suspicion is told


@dataclass(frozen=True)
class Suspicion:
    """What would explain the channels better.

    Attributes:
        change: what differs from the map.
        building: number on the map; of `something here` the nearest one, −1 where there is none.
        place: x, y, m: of the building's middle, or where something stands.
        nats: log-likelihood ratio to the map as it is.
        channels: how many of them say so.
    """

    change: Change
    building: int
    place: tuple[float, float]
    nats: float
    channels: int

    def __str__(self) -> str:
        x, y = self.place
        at = f"at ({x:.0f}, {y:.0f}) m"
        said = {
            "not there": f"building {self.building} {at} is not there, or lower",
            "elsewhere": f"building {self.building} stands {at} rather than where the map has it",
            "higher": f"building {self.building} {at} is higher than on the map",
            "something here": f"something that the map lacks stands {at}",
        }[self.change]
        return f"{said}: {self.nats:.1f} nats by {self.channels:,} channels"


@dataclass(frozen=True)
class Audit:
    """What N channels say of a map.

    Attributes:
        suspicions: strongest first; of those below `SURE` nats none.
        contradicted: [rows, columns] nats for something that stands in each cell of `CELL` m, row 0 at y = 0.
        explained: share of the channels' power that the map explains, mean.
        channels: N.
        rates: that evidence was weighed by.
        remarks: what to know about it, a line each.
    """

    suspicions: tuple[Suspicion, ...]
    contradicted: NDArray[np.float64]
    explained: float
    channels: int
    rates: Rates = ASSUMED
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; the field of cells is left out."""
        return {
            "channels": self.channels, "explained_share": round(self.explained, 4),
            "suspicions": [
                {"change": one.change, "building": one.building, "place_m": [round(float(v), 1) for v in one.place],
                 "nats": round(one.nats, 2), "channels": one.channels, "sentence": str(one)}
                for one in self.suspicions
            ],
            "rates": self.rates.to_json(), "remarks": list(self.remarks),
        }  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One channel in its place.

    Attributes:
        line: whether it has the path of the straight line.
        bends: [B, 2] m where its unexplained paths would bend if once.
        said: number of the building and whether it is seen, for each single reflection that the map says.
        explained: share of its power that the map explains.
    """

    line: bool
    bends: NDArray[np.float64]
    said: tuple[tuple[int, bool], ...]
    explained: float


def audit(
    model: UniversalModel, csi: Any, env: Environment, radio: Radio | None = None, buildings: Area | None = None,
    progress: bool = False, calibration: Calibration | None = None,
) -> Audit:  # fmt: skip
    """Compares the channels of one map with it.

    Args:
        csi: complex [N, ports, subcarriers].
        env: N hypotheses on one map, with positions; `los` is ignored.
        radio: that measured them; None: the weights' own.
        buildings: of the map, m; None: what hangs together on it.
        progress: show how far it is.
        calibration: of the weights, see `uniair.load_calibration`; where it has no rates they are assumed, and that is
            said.

    Raises:
        InputError: several maps, or none, or positions that are unknown; see `UniversalModel.encode_channel`.
    """
    radio = model.own_or(radio)
    model.check_csi(csi, radio)
    own = strongest(complex_tensor(csi, "CSI"))  # of their own power, which tells something of a calibrated radio
    place = env.asked_by(radio)
    place.tensors()  # what is wrong in it is said before the channels are read
    if env.map is None or env.bs is None or env.ue is None:
        raise InputError("audit: map, bs and ue have to be known; what is not known can't be contradicted")
    if len(env.map) > 1:
        raise InputError(f"audit: {len(env.map)} maps; give the channels of one map")
    if not len(own) == len(env) > 0:
        raise InputError(f"audit: {len(own)} CSI and {len(env)} hypotheses; give as many of both, at least one")
    if buildings is None:
        size = float(np.asarray(env.size)[0])
        buildings = map_buildings(heights(torch.as_tensor(np.asarray(env.map)))[0].numpy(), size)
    return audit_paths(model, channel_paths(model, own, radio, progress), place, radio, buildings, calibration)


def audit_paths(
    model: UniversalModel, paths: Sequence[list[ChannelPath]], env: Environment, radio: Radio, buildings: Area,
    calibration: Calibration | None = None,
) -> Audit:  # fmt: skip
    """As `audit`, of channels whose paths are read already."""
    seen = read(paths, env.asked_by(radio), radio, buildings)
    size = float(np.asarray(env.size)[0])
    counted = None if calibration is None else calibration.rates
    bs, ue = (np.asarray(at, dtype=np.float64) for at in (env.bs, env.ue))
    found = judge(seen, bs, ue, size, buildings, ASSUMED if counted is None else counted)
    remarks = [*model.remarks(radio), *model.place_remarks(env.tensors()), *([TAKEN] if counted is None else ())]
    voices = voices_of(bs, ue).sum()
    if voices < len(paths) - 0.5:
        remarks.append(f"{len(paths):,} channels count as {voices:,.0f}: users within {APART:g} m share one voice")
    return replace(found, remarks=tuple(remarks))


def read(paths: Sequence[list[ChannelPath]], env: Environment, radio: Radio, buildings: Area) -> list[Seen]:
    """What each channel shows in its place.

    Args:
        paths: of N channels.
        env: N hypotheses on one map.
        buildings: of the map, in its frame.
    """
    bearing = np.zeros(len(env)) if env.bearing is None else np.asarray(env.bearing)
    names = ("bs", "ue", "size", "carrier", "bearing", "downtilt", "first_path")
    out: dict[int, Seen] = {}
    for angle in np.unique(bearing):
        index = np.flatnonzero(bearing == angle)
        picked = {name: v[index] for name in names if (v := getattr(env, name)) is not None}
        mine = Environment(map=env.map, area=np.zeros(len(index), dtype=np.int64), **picked)
        out |= dict(zip(index.tolist(), _read([paths[i] for i in index.tolist()], mine, radio, buildings), strict=True))
    return [out[i] for i in range(len(env))]


def _read(paths: Sequence[list[ChannelPath]], env: Environment, radio: Radio, buildings: Area) -> list[Seen]:
    """As `read`, of arrays that all lie one way."""
    place = env.tensors()
    assert place.map is not None
    found = candidates(place, torch.ones(len(place), dtype=torch.bool), solid=True)
    pixel = float(place.size[0]) / place.map.shape[-1]
    every = place_paths(found, place, buildings, env)
    owner, of = found.owner.numpy(), found.of.numpy()
    order = np.argsort(owner, kind="stable")
    begin = np.searchsorted(owner[order], np.arange(found.distinct + 1))
    out = []
    for i, seen in enumerate(paths):
        mine = [every[j] for j in order[begin[of[i]] : begin[of[i] + 1]]]
        one = _seen(seen, mine, place.select(torch.tensor([i])), radio, pixel)
        out.append(replace(one, bends=turned_back(torch.from_numpy(one.bends), place, env)))
    return out


def _seen(seen: list[ChannelPath], known: list[PlacePath], place: Environment, radio: Radio, pixel: float) -> Seen:
    bs, ue = place.bs[0].double().numpy(), place.ue[0].double().numpy()
    on_line = [straight(path, bs, ue, radio) for path in seen]
    by, _ = match(seen, known, radio, pixel)
    unexplained = [path for path, number, line in zip(seen, by, on_line, strict=True) if number is None and not line]
    strongest = min((path.loss for path in known), default=0.0)
    used = {number for number in by if number is not None}
    said: dict[int, bool] = {}
    for number, path in enumerate(known):
        if path.kind == "R" and path.loss <= strongest + WEAK:
            building = path.buildings[0]
            said[building] = said.get(building, False) or number in used
    explained = sum(path.share for path in seen) - sum(path.share for path in unexplained)
    strong = any(line and path.share > PART for path, line in zip(seen, on_line, strict=True))
    return Seen(strong, bends(unexplained, bs, ue, radio), tuple(said.items()), explained)


def straight(path: ChannelPath, bs: NDArray[np.float64], ue: NDArray[np.float64], radio: Radio) -> bool:
    """Whether a path is that of the straight line, whose place a raster does not blur.

    One that bends close by comes later and from aside: it is told apart by far less than a cell of the radio's.
    """
    way, told = ue - bs, Resolution.of(radio)
    length = float(np.linalg.norm(way))
    expected = length if radio.clock == "absolute" else 0.0
    side, up, late = told.off(path, *np.array([[way[0] / length], [way[2] / length], [expected]]))
    return bool(
        side[0] <= SHARP * told.along + STANDS / length
        and up[0] <= SHARP * told.up + STANDS / length
        and late[0] <= SHARP * told.length + STANDS
    )


def bends(
    paths: Sequence[ChannelPath], bs: NDArray[np.float64], ue: NDArray[np.float64], radio: Radio
) -> NDArray[np.float64]:
    """Where paths would bend if once, in front of the array: [B, 2] m; behind a clock of its own none is known.

    A point on the ellipse about both ends whose paths are that long, where the departure meets it.
    """
    out = []
    flat = ue[:2] - bs[:2]
    for path in paths if radio.clock == "absolute" else ():
        level = 1 - path.along**2 - path.up**2
        if level <= 0:
            continue
        whole = np.sqrt(max(path.length**2 - (ue[2] - bs[2]) ** 2, 0.0))
        for side in (1.0, -1.0):  # a line of elements can't tell in front from behind
            way = np.array([path.along, side * np.sqrt(level)])
            way /= np.linalg.norm(way)
            rest = 2 * (whole - way @ flat)
            if whole > np.linalg.norm(flat) + 1 and rest > 1e-6:
                out.append(bs[:2] + way * (whole**2 - flat @ flat) / rest)
    return np.array(out).reshape(-1, 2)


def judge(
    seen: Sequence[Seen], bs: NDArray[np.float64], ue: NDArray[np.float64], size: float, buildings: Area,
    rates: Rates = ASSUMED,
) -> Audit:  # fmt: skip
    """Suspicions from what N channels show.

    Args:
        bs, ue: [N, 3] m.
        size: side of the map, m.
        rates: by which the evidence is weighed.
    """
    there, absent = rates.line
    on_line = np.array([one.line for one in seen])
    crossed, over = crossings(bs, ue, buildings)  # [N, B]: stands in the line; lies below it
    blockers = crossed.sum(1)
    suspicions = []
    alone = crossed & (blockers == 1)[:, None]
    gone = np.where(on_line, there, -absent)[:, None] * alone
    raised = np.where(on_line, -there, absent)[:, None] * (over & (blockers == 0)[:, None])
    for one, row in zip(seen, gone, strict=True):
        for building, mirrors in one.said:
            row[building] += rates.reflection[0 if mirrors else 1]
    voices = voices_of(bs, ue)
    middles = np.array([[f.centroid.x, f.centroid.y] for f in buildings.footprints]).reshape(-1, 2)
    changes: tuple[tuple[Change, NDArray[np.float64]], ...] = (("not there", gone), ("higher", raised))
    for change, said in changes:
        for number, whole in enumerate(voices @ said):
            if whole >= SURE:
                x, y = middles[number]
                suspicions.append(Suspicion(change, number, (x, y), float(whole), int((said[:, number] > 0).sum())))
    nats, votes = _field(seen, blockers, bs, ue, voices, size, buildings, rates)
    suspicions = _moved(suspicions, _somethings(nats, votes, buildings), buildings)
    suspicions.sort(key=lambda one: -one.nats)
    return Audit(tuple(suspicions), nats, float(np.mean([one.explained for one in seen])), len(seen), rates)


def voices_of(bs: NDArray[np.float64], ue: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of each of N channels [N]: users close to one another share the voice of one, from each station.

    What hides the straight line of one hides it from the next; counted as independent, a right map is soon suspected.
    """
    from scipy.spatial import cKDTree

    station = np.unique(bs, axis=0, return_inverse=True)[1].reshape(-1)
    out = np.ones(len(ue))
    for number in range(station.max() + 1):
        own = np.flatnonzero(station == number)
        out[own] /= cKDTree(ue[own]).query_ball_point(ue[own], APART, return_length=True)
    return out


def crossings(
    bs: NDArray[np.float64], ue: NDArray[np.float64], buildings: Area
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which buildings stand in each straight line, and which it passes over: bool [N, B] both."""
    n, many = len(bs), len(buildings.footprints)
    crossed, over = np.zeros((n, many), dtype=bool), np.zeros((n, many), dtype=bool)
    if not many:
        return crossed, over
    lines = shapely.linestrings(np.stack([bs[:, :2], ue[:, :2]], 1))
    tree = shapely.STRtree(buildings.footprints)
    link, body = tree.query(lines, predicate="intersects")
    parts = shapely.intersection(lines[link], np.asarray(buildings.footprints, dtype=object)[body])
    ends = shapely.points(bs[link, :2])
    flat = np.linalg.norm(ue[link, :2] - bs[link, :2], axis=1)
    # the line falls towards the user: it is lowest over a building where it is nearest to the user
    far = np.array([shapely.hausdorff_distance(end, part) for end, part in zip(ends, parts, strict=True)])
    height = bs[link, 2] + (ue[link, 2] - bs[link, 2]) * np.clip(far / np.maximum(flat, 1e-6), 0, 1)
    stands = buildings.heights[body] > height
    crossed[link[stands], body[stands]] = True
    over[link[~stands], body[~stands]] = True
    return crossed, over


def _field(
    seen: Sequence[Seen], blockers: NDArray[np.int64], bs: NDArray[np.float64], ue: NDArray[np.float64],
    voices: NDArray[np.float64], size: float, buildings: Area, rates: Rates,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:  # fmt: skip
    """Nats for something round that stands about each cell of open ground, and channels for it: [rows, columns] both.

    Of several radii the likeliest counts: a small thing before the station could shadow anybody, but is rarely there.
    """
    count = max(int(np.ceil(size / CELL)), 1)
    x, y = np.meshgrid(*2 * [(np.arange(count) + 0.5) * CELL])
    centres = np.column_stack([x.ravel(), y.ravel()])
    free = blockers == 0
    on_line = np.array([one.line for one in seen])[free]
    there, absent = rates.line
    votes = np.where(on_line, -there, absent) * voices[free]
    away = _from_lines(centres, bs[free, :2], ue[free, :2])
    ends = np.minimum(_nearest(centres, bs[:, :2]), _nearest(centres, ue[:, :2]))
    bend = np.concatenate([one.bends for one in seen])
    voice = np.repeat(voices, [len(one.bends) for one in seen])
    if len(bend) and buildings.footprints:  # at a wall of the map a bend contradicts nothing
        beside = shapely.STRtree(buildings.footprints).query(shapely.points(bend), "dwithin", distance=CELL)[0]
        bend, voice = np.delete(bend, beside, axis=0), np.delete(voice, beside)
    best, speak = np.full(len(centres), -np.inf), np.zeros(len(centres), dtype=np.int64)
    for radius, rarity in RADII:
        inside = away <= radius
        nats = inside @ votes - rarity
        near = np.zeros((len(centres), 0), dtype=bool)
        if len(bend):
            near = np.abs(np.linalg.norm(centres[:, None] - bend[None], axis=2) - radius) <= CELL
        nats = np.where(ends < radius, -np.inf, nats + FOUND_HERE * (near @ voice))
        speak = np.where(nats > best, (inside & ~on_line).sum(1) + near.sum(1), speak)
        best = np.maximum(best, nats)
    built = buildings.inside_building(centres)
    shape = (count, count)
    return np.where(built, np.minimum(best, 0.0), best).reshape(shape), speak.reshape(shape)


def _from_lines(
    points: NDArray[np.float64], begin: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances of points [C, 2] from segments [N, 2]: [C, N] m."""
    way = end - begin
    to = points[:, None] - begin[None]
    share = (to * way).sum(2) / np.maximum((way * way).sum(1), 1e-9)
    return np.asarray(np.linalg.norm(to - np.clip(share, 0, 1)[..., None] * way, axis=2))


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point [C, 2] to the nearest of others [N, 2]: [C] m."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(others).query(points)[0])


def _moved(told: list[Suspicion], somethings: list[Suspicion], buildings: Area) -> list[Suspicion]:
    """Of a building that is not there and of something close to it, one suspicion: it stands elsewhere."""
    out, used = [], set()
    for one in told:
        near = [
            (other.nats, i) for i, other in enumerate(somethings)
            if one.change == "not there" and i not in used
            and buildings.footprints[one.building].distance(shapely.Point(other.place)) <= CLOSE
        ]  # fmt: skip
        if near:
            _, i = max(near)
            other = somethings[i]
            used.add(i)
            one = Suspicion(
                "elsewhere", one.building, other.place, one.nats + other.nats, one.channels + other.channels
            )
        out.append(one)
    return out + [one for i, one in enumerate(somethings) if i not in used]


def _somethings(field: NDArray[np.float64], votes: NDArray[np.int64], buildings: Area) -> list[Suspicion]:
    """One of each spot, spots being cells that hang together."""
    from scipy.ndimage import label

    number, count = label(field >= SURE, structure=np.ones((3, 3)))
    tree = shapely.STRtree(buildings.footprints)
    out = []
    for spot in range(1, count + 1):
        # lines from one station leave open how far away it stands: the middle of what they leave is taken
        most = field[number == spot].max()
        likely = np.argwhere((number == spot) & (field >= most - TIE))
        row, column = likely[np.linalg.norm(likely - likely.mean(0), axis=1).argmin()]
        place = ((column + 0.5) * CELL, (row + 0.5) * CELL)
        nearest = int(tree.nearest(shapely.Point(place))) if buildings.footprints else -1
        out.append(Suspicion("something here", nearest, place, float(most), int(votes[row, column])))
    return out
