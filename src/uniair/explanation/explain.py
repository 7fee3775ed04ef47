"""Why a channel fits a place: which of its paths the map explains, by which walls, and what each was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uniair.area.area import Area
from uniair.complex_arrays import complex_tensor, strongest
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.explanation.calibrated import Calibration
from uniair.explanation.channel_paths import ChannelPath, Resolution, channel_paths
from uniair.explanation.doubted import NONE, Doubted, doubted
from uniair.explanation.place_paths import PlacePath, Point, place_paths
from uniair.models.epnn import RaySum
from uniair.models.ray_launching import NOTICED, candidates
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks import zero_shot

SLACK = 1.5  # pixels by which a raster's walls are off
EXPECTED = 10.0  # dB behind the strongest candidate up to which a path should be seen
BESIDE = 2.0  # of what a candidate may miss a path by, within which the path may still be it
WORTH = 20.0  # dB of loss that count as much as standing at the edge of what the radio tells apart
NOISE = 0.25  # share of the power that paths make up, below which what is read of them is doubtful
WORTH_A_WORD = 0.02  # share of the power of a path that the sentence names


@dataclass(frozen=True)
class Effect:
    """What a part was worth, in nats; below 0 what spoke against.

    Attributes:
        place: by which the log-likelihood of the place falls without it.
        los: by which the log-odds of LOS fall without it.
    """

    place: float
    los: float


@dataclass(frozen=True)
class Explained:
    """A path of the channel and what may explain it.

    Attributes:
        path: that the channel was read as.
        by: number of the candidate in `Explanation.candidates`; None: nothing on the map explains it.
        effect: of taking it out of the CSI.
    """

    path: ChannelPath
    by: int | None
    effect: Effect


@dataclass(frozen=True)
class Explanation:
    """Why one channel fits its place, or does not.

    Attributes:
        paths: of the channel, strongest first.
        candidates: of the place; empty where map or a position is unknown.
        effects: of leaving each candidate out of what EPNN reads.
        together: of leaving all of them out. What single ones take away does not add up to it: where two say the same,
            neither is missed.
        missing: numbers of candidates that should be seen and are not.
        buildings: number and effect of each that was taken off the map, what changes the place most first; its effect
            is that of all that EPNN sees of it, not of its candidates alone.
        los: probability of LOS.
        fitted: share of the CSI's power that its paths make up; the rest is noise.
        doubt: how sure the answer is.
        user: x, y, m; None: unknown.
        remarks: what to know about it, a line each.
    """

    paths: tuple[Explained, ...]
    candidates: tuple[PlacePath, ...]
    effects: tuple[Effect, ...]
    together: Effect | None
    missing: tuple[int, ...]
    buildings: tuple[tuple[int, Effect], ...]
    los: float
    fitted: float
    doubt: Doubted
    user: Point | None
    remarks: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the power of the channel's paths, what the map explains."""
        return sum(one.path.share for one in self.paths if one.by is not None)

    def __str__(self) -> str:
        said = [] if self.fitted >= NOISE or not self.paths else [
            f"most of this channel is noise: its paths make up {100 * self.fitted:.0f} % of its power"
        ]  # fmt: skip
        for one in self.paths:
            if one.path.share < WORTH_A_WORD:
                continue
            place = f"{one.path.length:.1f} m at a direction cosine of {one.path.along:+.2f}"
            if one.by is None:
                why = "nothing explains" if self.together is None else "nothing on the map explains"
                said.append(f"{why} the path of {place}, {100 * one.path.share:.0f} % of the power")
                continue
            assert self.user is not None
            words = self.candidates[one.by].words(self.user)
            said.append(f"{words}, {place}, carries {100 * one.path.share:.0f} % ({one.effect.place:+.1f} nats)")
        for number in self.missing[:2] if self.fitted >= NOISE else ():  # what noise hides is not missing
            assert self.user is not None
            path = self.candidates[number]
            said.append(f"{path.words(self.user)}, {path.length:.1f} m, should be seen and is not")
        if self.buildings:
            number, effect = self.buildings[0]
            less = "less" if effect.place > 0 else "more"
            said.append(
                f"without building {number} the place would be {abs(effect.place):.1f} nats {less} likely, and the "
                f"log-odds of LOS {-effect.los:+.1f} nats"
            )
        if not self.paths:
            said.insert(0, "no path stands out of the noise, so that nothing is told of its ways")
        text = "; ".join(said) or "no path carries as much as the sentence names"
        return f"{text[0].upper()}{text[1:]}."

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; the paths' CSI is left out."""
        return {
            "sentence": str(self), "los": round(self.los, 4), "explained_share": round(self.share, 4),
            "fitted_share": round(self.fitted, 4), "doubt": self.doubt.to_json(),
            "paths": [
                {"along": round(one.path.along, 4), "up": round(one.path.up, 4), "length_m": round(one.path.length, 2),
                 "share": round(one.path.share, 5), "explained_by": one.by, "effect": asdict(one.effect)}
                for one in self.paths
            ],
            "candidates": [
                asdict(path) | {"effect": asdict(effect)}
                for path, effect in zip(self.candidates, self.effects, strict=True)
            ],
            "missing": list(self.missing),
            "buildings": [{"building": number} | asdict(effect) for number, effect in self.buildings],
            "remarks": list(self.remarks),
            "together": None if self.together is None else asdict(self.together),
        }  # fmt: skip


def explain(
    model: UniversalModel, csi: Any, env: Environment, radio: Radio | None = None, buildings: Area | None = None,
    taken_off: int = 0, calibration: Calibration | None = None,
) -> list[Explanation]:  # fmt: skip
    """Why each channel fits its place.

    Args:
        csi: complex [N, ports, subcarriers].
        env: N hypotheses; their `los` is ignored.
        radio: that measured them; None: the weights' own.
        buildings: of the one map that all share, so that walls get numbers; None: they are told by their place.
        taken_off: how many buildings, at most, are taken off the map one by one to see what each is worth; each needs
            its rays launched anew.
        calibration: of the weights, see `uniair.load_calibration`; None: how often answers are wrong is not told.

    Raises:
        InputError: as many CSI as hypotheses are wanted; see `UniversalModel.encode_channel`, `Environment.tensors`.
    """
    radio = model.own_or(radio)
    checked = model.check_csi(csi, radio)
    if len(env) != len(checked):
        raise InputError(f"{len(checked)} CSI and {len(env)} hypotheses; give one hypothesis for each CSI")
    own = strongest(complex_tensor(csi, "CSI").to(torch.complex128))  # as the model has it
    return [_one(model, own[i], alone(env, i), radio, buildings, taken_off, calibration) for i in range(len(checked))]


def alone(env: Environment, i: int) -> Environment:
    """One of N hypotheses with its own map."""
    number = i if env.area is None else int(np.asarray(env.area)[i])
    maps = env.map
    if maps is not None:
        maps = maps[[0 if len(maps) == 1 else number]]
    names = ("bs", "ue", "size", "carrier", "bearing", "downtilt", "first_path")
    picked = {name: None if (v := getattr(env, name)) is None else v[[i]] for name in names}
    return Environment(map=maps, **picked)


def _one(
    model: UniversalModel, csi: Tensor, env: Environment, radio: Radio, buildings: Area | None, taken_off: int,
    calibration: Calibration | None,
) -> Explanation:  # fmt: skip
    place = env.asked_by(radio)
    (parts,) = channel_paths(model, csi[None], radio)
    remarks = [
        *model.remarks(radio),
        *model.place_remarks(env.tensors()),
        *_unknown(env),
        *([NONE] if calibration is None else ()),
    ]
    # the channel as it is, and without each of its paths; the place as it is, without all and without each candidate
    rest = csi - torch.stack([torch.zeros_like(csi), *(path.part for path in parts)])
    channels = zero_shot.Channels(model, rest, radio)
    fitted = 1 - float((csi - (csi - rest).sum(0)).abs().square().sum() / csi.abs().square().sum())
    user = None if env.ue is None else (float(env.ue[0, 0]), float(env.ue[0, 1]))
    if _unknown(env) or model.epnn.paths is None:
        both = [channels.with_own(replace(place, los=torch.tensor([value]))) for value in (0.0, 1.0)]
        known, odds = list[PlacePath](), torch.stack(both, 1)[:, None] / model.temperature
    else:
        known, odds = _compared(model, channels, place, env, buildings)
    whole = odds[0, 0]
    taken = [_effect(whole, one) for one in odds[1:, 0]]
    answer = (whole[1] - whole[0])[None]
    if zero_shot.counts_gain(model, radio):
        answer = zero_shot.with_gain(answer, csi[None], radio, zero_shot.distance(place))
    los = torch.sigmoid(answer)
    fit, code = whole.amax()[None].cpu() * model.temperature, None if channels.searched else channels.embedding[:1]
    (doubt,) = doubted(model, csi[None], place, los, radio, calibration, fit, code)
    about = (float(los), min(max(fitted, 0.0), 1.0), doubt, user, tuple(remarks))
    if not odds.shape[1] > 1:
        explained = tuple(Explained(path, None, effect) for path, effect in zip(parts, taken, strict=True))
        return Explanation(explained, (), (), None, (), (), *about)
    together, *effects = (_effect(whole, one) for one in odds[0, 1:])
    by, missed = match(parts, known, radio, float(np.asarray(env.size)[0]) / env.map.shape[-1])
    explained = tuple(Explained(path, number, effect) for path, number, effect in zip(parts, by, taken, strict=True))
    walls: list[tuple[int, Effect]] = []
    if buildings is not None and taken_off:
        numbers = _concerned(explained, known, env, buildings)[:taken_off]
        walls = without_buildings(model, csi, place, radio, buildings, numbers)
    return Explanation(explained, tuple(known), tuple(effects), together, tuple(missed), tuple(walls), *about)


def _unknown(env: Environment) -> list[str]:
    missing = [name for name in ("map", "bs", "ue") if getattr(env, name) is None]
    return [f"not explained by walls: {', '.join(missing)} unknown"] if missing else []


def _effect(whole: Tensor, without: Tensor) -> Effect:
    """Of log-likelihoods [2] of NLOS and LOS with and without a part."""
    place = torch.logsumexp(whole, 0) - torch.logsumexp(without, 0)
    return Effect(round(float(place), 4), round(float((whole[1] - whole[0]) - (without[1] - without[0])), 4))


@torch.inference_mode()
def _compared(
    model: UniversalModel, channels: zero_shot.Channels, place: Environment, env: Environment, buildings: Area | None
) -> tuple[list[PlacePath], Tensor]:
    """The candidate paths of a place; log-likelihoods of the place as it is, without all, and without each of them.

    Returns:
        P candidates, and [K, 2 + P, 2] nats: of K channels, of NLOS and LOS.
    """
    checked = place.tensors()
    rays = model.epnn.paths
    assert rays is not None
    found = candidates(checked, torch.ones(1, dtype=torch.bool), rays.solid)
    each = rays.each(found)
    total = each.new_zeros(2, each.shape[1]).index_add(0, found.owner, each)[found.of]  # as EPNN adds them up
    sums = torch.cat([total, torch.zeros_like(total), total - each])
    n = len(sums)
    many = checked.select(torch.zeros(2 * n, dtype=torch.long))
    many = replace(many, los=torch.tensor([0.0, 1.0]).repeat_interleave(n))
    read = rays.ln(sums).repeat(2, 1)
    clock = torch.cat([found.clock, found.clock.new_zeros(1)])[found.of].expand(2 * n)
    code = functional.normalize(model.project_environment(model.epnn(many, rays=RaySum(read, clock))).float(), dim=-1)
    apart = zero_shot.distance(place)
    seen = channels.with_each_embedded(code, None if apart is None else apart.expand(2 * n))
    return place_paths(found, checked, buildings, env), (seen / model.temperature).view(-1, 2, n).mT


def _concerned(
    explained: Sequence[Explained], known: Sequence[PlacePath], env: Environment, buildings: Area
) -> list[int]:
    """Buildings that may matter: what stands in the straight line, then the walls of what is seen, then of the rest."""
    line = shapely.LineString([np.asarray(env.bs)[0, :2], np.asarray(env.ue)[0, :2]])
    order = [int(i) for i in shapely.STRtree(buildings.footprints).query(line, predicate="intersects")]
    for one in explained:
        order += [] if one.by is None else known[one.by].buildings
    for path in sorted(known, key=lambda path: path.loss):
        order += path.buildings
    return list(dict.fromkeys(order))


def without_buildings(
    model: UniversalModel, csi: Tensor, place: Environment, radio: Radio, buildings: Area, numbers: Sequence[int]
) -> list[tuple[int, Effect]]:
    """What each building is worth to a channel: all that EPNN sees of it is taken off the map."""
    if not numbers:
        return []
    heights = np.asarray(place.map[0])
    centres = (np.arange(len(heights)) + 0.5) * (float(np.asarray(place.size)[0]) / len(heights))
    x, y = np.meshgrid(centres, centres)
    maps = np.stack([heights] * (1 + len(numbers)))
    for one, number in zip(maps[1:], numbers, strict=True):
        one[shapely.contains_xy(buildings.footprints[number], x, y)] = 0
    k = len(maps)
    names = ("bs", "ue", "size", "carrier", "bearing", "downtilt", "first_path")
    held = {name: np.asarray(v).repeat(k, axis=0) for name in names if (v := getattr(place, name)) is not None}
    channels = zero_shot.Channels(model, csi[None], radio)
    odds = torch.stack([
        channels.with_each(Environment(map=maps, area=np.arange(k), los=np.full(k, value), **held))[0]
        for value in (0.0, 1.0)
    ], 1) / model.temperature  # fmt: skip
    found = [(number, _effect(odds[0], one)) for number, one in zip(numbers, odds[1:], strict=True)]
    return sorted(found, key=lambda one: -abs(one[1].place))


class Tolerance(NamedTuple):
    """By how much candidates [C] may miss a path that they explain.

    Attributes:
        along, up: [C] direction cosines; up is infinite of arrays that can't tell.
        length: [C] m.
    """

    along: NDArray[np.float64]
    up: NDArray[np.float64]
    length: NDArray[np.float64]


def match(
    paths: Sequence[ChannelPath], candidates: Sequence[PlacePath], radio: Radio, pixel: float
) -> tuple[list[int | None], list[int]]:
    """Which candidate explains each path, and which candidates should have been seen as paths and were not.

    A path is explained by the likeliest of the candidates that the radio can't tell from it; None where there is none.
    Missed are candidates as strong as the strongest that explains anything, near none of which there is any path.

    Args:
        pixel: m, of the map on which the candidates were found.

    Returns:
        A number or None a path, and numbers of candidates, strongest first.
    """
    if not candidates:
        return [None] * len(paths), []
    columns = [(c.along, c.up, c.length, c.loss, max(len(c.kind), 1)) for c in candidates]
    along, up, length, loss, bounces = np.array(columns, dtype=np.float64).T
    told = Resolution.of(radio)
    # an interaction on the raster is off by pixels, and a direction by what they are at the distance of the first one
    off = SLACK * pixel * bounces
    allowed = Tolerance(told.along / 2 + off / length, told.up / 2 + off / length, told.length / 2 + off)
    if radio.clock == "first_path":
        length = length - length[loss <= loss.min() + NOTICED].min()
    by: list[int | None] = []
    near = np.zeros(len(candidates), dtype=bool)
    for path in paths:
        side, above, late = told.off(path, along, up, length)
        far = (side / allowed.along) ** 2 + (above / allowed.up) ** 2 + (late / allowed.length) ** 2
        near |= far <= BESIDE**2
        cost = np.where(far <= 1, far + (loss - loss.min()) / WORTH, np.inf)
        best = int(cost.argmin())
        by.append(best if np.isfinite(cost[best]) else None)
    missed: list[int] = []
    for i in np.argsort(loss, kind="stable"):
        # one that lies beside another that is told is the same path once more
        again = any(
            abs(along[i] - along[j]) <= told.along and abs(length[i] - length[j]) <= allowed.length[i] for j in missed
        )
        if loss[i] <= loss.min() + EXPECTED and not near[i] and not again:
            missed.append(int(i))
    return by, missed
