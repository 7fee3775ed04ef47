"""Whether explanations are true: named paths and walls beside the tracer's own, and what deleting them does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.angle_delay import TONE
from uniair.area.area import Area
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.environment import Batch, Environment
from uniair.evaluation.tables import Table
from uniair.explanation.channel_paths import ChannelPath, Resolution
from uniair.explanation.explain import Explanation, explain, without_buildings
from uniair.explanation.map_buildings import map_buildings
from uniair.models.ray_launching import launch
from uniair.models.universal import UniversalModel
from uniair.propagation.paths import Paths
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 6, "full": 60}
LINKS = 12  # of an area, at random
STRONG = 0.01  # share of the power of a traced path that counts
SAME_WALL = 6.0  # m between where a path bends and where it is said to
TAKEN_OFF, WALLS = 4, 12  # buildings that the explanation tries, and others nearby that it did not name
ORDERS = {"effect": "explanation", "gradient": "gradient × path", "attention": "attention", "strongest": "power",
          "random": "random"}  # fmt: skip
ANSWERS = ("place", "los")
Record = dict[str, Any]
Traced = tuple[ChannelPath, NDArray[np.float64]]  # and where it bends, if once and known: [2] m, else NaN


def run(setup: Setup) -> dict[str, Any]:
    """Some links of each of some areas, by the radio that they were traced for, absolute delays."""
    store = setup.store("links")
    setup.note(data=store.manifest["recipe"], areas=AREAS[setup.budget], links=LINKS)
    records: list[Record] = []
    for number, (name, links) in enumerate(some_areas(store, AREAS[setup.budget])):
        records += setup.once(name, partial(_area, setup.model, links, number))
    groups = {"all": records, "los": [r for r in records if r["los"]], "nlos": [r for r in records if not r["los"]]}
    return {"links": len(records), "rows": {name: _figures(of) for name, of in groups.items() if of}}


def _area(model: UniversalModel, links: Links, seed: int) -> list[Record]:
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(links))[:LINKS])
    links = along_array(links.select(chosen))
    batch = batch_of(links, replace(links.one_radio(), clock="absolute"))
    return [_link(model, links.select(np.array([i])), batch.select(torch.tensor([i])), rng) for i in range(len(links))]


def _link(model: UniversalModel, links: Links, batch: Batch, rng: np.random.Generator) -> Record:
    env, radio = batch.environment.without("los"), batch.radio
    env = replace(env, map=env.map[env.area], area=torch.zeros(1, dtype=torch.long))
    size = float(env.size[0])
    buildings = map_buildings(env.map[0].numpy(), size)
    began = time.perf_counter()
    (why,) = explain(model, batch.csi, env, radio, buildings)
    took = time.perf_counter() - began
    began = time.perf_counter()
    launch(env.map > 2, torch.zeros(1, dtype=torch.long), env.bs[:, :2] / size * 256)
    rays = time.perf_counter() - began
    (why,) = explain(model, batch.csi, env, radio, buildings, TAKEN_OFF)
    traced, parts = told_apart(links, radio)
    out: Record = {"los": bool(links.los[0]), "seconds": took, "rays_seconds": rays, "explained": why.share}
    out |= _named(why, traced)
    if len(traced) > 1:
        out |= _deleted(model, batch, env, why, traced, parts, rng)
    out |= _walls(model, batch, env, why, buildings)
    return out


def told_apart(links: Links, radio: Radio) -> tuple[list[Traced], Tensor]:
    """The traced paths of one link as the radio tells them apart, strongest first.

    Returns:
        Each, and what each adds to the CSI: complex64 [G, ports, subcarriers].
    """
    paths, told = links.paths, Resolution.of(radio)
    power = np.abs(paths.gain.astype(np.complex128)) ** 2
    direction, _ = paths.departures()
    length = paths.delay.astype(np.float64) * SPEED_OF_LIGHT
    group = np.full(len(power), -1)
    for i in range(len(power)):  # strongest first
        if group[i] < 0:
            near = (np.abs(direction[:, 0] - direction[i, 0]) <= told.along) & (
                np.abs(length - length[i]) <= told.length
            )
            if np.isfinite(told.up):
                near &= np.abs(direction[:, 2] - direction[i, 2]) <= told.up
            group[near & (group < 0)] = i
    numbers, which = np.unique(group, return_inverse=True)
    share = np.bincount(which, weights=power) / power.sum()
    kept = [g for g in np.argsort(-share, kind="stable") if share[g] >= STRONG]
    whole = Paths.from_rows(len(numbers), which, cross=paths.cross, **{k: getattr(paths, k) for k in Paths.PER_PATH})
    parts = whole.csi(radio)[torch.tensor(kept)]
    out = []
    for place, g in enumerate(kept):
        i = numbers[g]
        once = len(str(int(paths.interactions[i])).replace("0", "")) == 1
        path = ChannelPath(
            float(direction[i, 0]), float(direction[i, 2]), float(length[i]), float(share[g]), parts[place]
        )
        out.append((path, _bend(links, direction[i], length[i]) if once else np.full(2, np.nan)))
    return out, parts


def _bend(links: Links, way: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """Where a path that leaves so and is so long bends, if once."""
    bs, ue = links.bs[0].astype(np.float64), links.ue[0].astype(np.float64)
    straight = ue - bs
    rest = 2 * (length - way @ straight)
    return np.asarray(bs + way * (length**2 - straight @ straight) / rest)[:2] if rest > 1e-3 else np.full(2, np.nan)


def _named(why: Explanation, traced: Sequence[Traced]) -> Record:
    """Walls that were named, how many of them rightly, and how many there were."""
    found, right, there, seen = 0, 0, 0, 0
    bends = np.array([bend for _, bend in traced]).reshape(-1, 2)
    for one in why.paths:
        if one.by is not None and len(why.candidates[one.by].points) == 1:
            found += 1
            gap = np.linalg.norm(bends - np.array(why.candidates[one.by].points[0]), axis=1)
            right += bool((gap <= SAME_WALL).any())
    named = [why.candidates[one.by].points[0] for one in why.paths if one.by is not None
             and len(why.candidates[one.by].points) == 1]  # fmt: skip
    for bend in bends[np.isfinite(bends).all(1)]:
        there += 1
        seen += any(np.linalg.norm(np.array(point) - bend) <= SAME_WALL for point in named)
    return {"walls_named": found, "walls_right": right, "walls_there": there, "walls_seen": seen}


def _deleted(
    model: UniversalModel, batch: Batch, env: Environment, why: Explanation,
    traced: Sequence[Traced], parts: Tensor, rng: np.random.Generator,
) -> Record:  # fmt: skip
    """By each order: whether the path that is named first changes the answer most, and the area under the curves."""
    radio = batch.radio
    csi = batch.csi
    single = torch.cat([csi, *(csi - part for part in parts)])
    whole, *without = _answers(model, single, env, radio)
    scores = _scores(model, csi, env, radio, why, traced, parts, rng)
    out: Record = {}
    for a, answer in enumerate(ANSWERS):
        change = np.array([abs(whole[a] - one[a]) for one in without])
        for order, score in scores[answer].items():
            ranked = np.argsort(-score, kind="stable")
            steps = [csi - parts[ranked[:k].tolist()].sum(0) for k in range(1, len(parts))]
            kept = [parts[ranked[:k].tolist()].sum(0)[None] for k in range(1, len(parts))]
            gone, back = (
                np.array([one[a] for one in _answers(model, torch.cat(some), env, radio)]) for some in (steps, kept)
            )
            out[f"{answer}_{order}"] = {
                "first": bool(ranked[0] == change.argmax()),
                "deletion": float(np.abs(whole[a] - gone).mean()), "insertion": float(np.abs(whole[a] - back).mean()),
            }  # fmt: skip
    return out


def _answers(model: UniversalModel, csi: Tensor, env: Environment, radio: Radio) -> list[tuple[float, float]]:
    """Log-likelihood of the place and log-odds of LOS of each of K channels, nats."""
    both = [replace(env, los=torch.tensor([value])) for value in (0.0, 1.0)]
    odds = zero_shot.similarity(model, csi, both, radio).double() / model.temperature
    return list(zip(torch.logsumexp(odds, 1).tolist(), (odds[:, 1] - odds[:, 0]).tolist(), strict=True))


def _scores(
    model: UniversalModel, csi: Tensor, env: Environment, radio: Radio, why: Explanation,
    traced: Sequence[Traced], parts: Tensor, rng: np.random.Generator,
) -> dict[str, dict[str, NDArray[np.float64]]]:  # fmt: skip
    """What each order makes of the traced paths: answer → order → [G]."""
    told = Resolution.of(radio)
    nearest = np.full(len(why.paths), -1)
    for i, one in enumerate(why.paths):
        columns = np.array([(path.along, path.up, path.length) for path, _ in traced]).T
        side, above, late = told.off(one.path, *columns)
        far = (side / told.along) ** 2 + (above / told.up) ** 2 + (late / told.length) ** 2
        nearest[i] = far.argmin() if far.min() <= 2 else -1
    power = np.array([path.share for path, _ in traced])
    out: dict[str, dict[str, NDArray[np.float64]]] = {}
    attended = attention(model, csi, radio, traced)
    for a, answer in enumerate(ANSWERS):
        effect = np.zeros(len(traced))
        for i, one in enumerate(why.paths):
            if nearest[i] >= 0:
                effect[nearest[i]] = max(effect[nearest[i]], abs(getattr(one.effect, answer)))
        out[answer] = {"effect": effect, "gradient": gradient(model, csi, env, radio, parts, a), "attention": attended,
                       "strongest": power, "random": rng.random(len(traced))}  # fmt: skip
    return out


def gradient(
    model: UniversalModel, csi: Tensor, env: Environment, radio: Radio, parts: Tensor, answer: int
) -> NDArray[np.float64]:
    """Of an answer by the CSI, times each path's part in it: [G]."""
    place = env.seen_by(radio)
    with torch.inference_mode(False), torch.enable_grad():
        given = csi.clone().requires_grad_()
        channel = model.channel_embedding(model.see(given, radio))
        odds = []
        for value in (0.0, 1.0):
            code = model.encode_environment(replace(place, los=torch.tensor([value]))).clone()
            odds.append((channel * code).sum() / model.temperature)
        asked = torch.logsumexp(torch.stack(odds), 0) if answer == 0 else odds[1] - odds[0]
        (slope,) = torch.autograd.grad(asked, given)
    return np.abs((slope.conj() * parts).real.sum((1, 2)).numpy())


@torch.inference_mode()
def attention(model: UniversalModel, csi: Tensor, radio: Radio, traced: Sequence[Traced]) -> NDArray[np.float64]:
    """Attention, rolled out over the blocks (Abnar and Zuidema, 2020), to the patch in which each path lies: [G]."""
    tower, preset = model.cfenn, model.preset
    seen = model.see(csi, radio)
    first = tower.class_token.expand(1, 1, -1)
    if tower.told is not None:
        first = first + tower.told(seen.conditions)[:, None]
    tokens = tower.patches(tower._planes(seen)).flatten(2).transpose(1, 2) + tower.positions
    x = tower.ln_pre(torch.cat([first, tokens], dim=1))
    flow = torch.eye(x.shape[1])
    for block in (*tower.blocks, *tower.shared):
        q, k, _ = block._heads(x)
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)[0].mean(0)
        flow = (weights + torch.eye(len(weights))) / 2 @ flow
        x = block(x)
    received = flow.mean(0)[1:]
    columns = preset.delays // preset.csi_patch[1]
    out = []
    for path, _ in traced:
        beam = round(path.along * (preset.beams // 2)) % preset.beams
        row = (beam + preset.beams // 2) % preset.beams // preset.csi_patch[0]
        delay = round(path.length / SPEED_OF_LIGHT * TONE * preset.delays) % preset.delays
        out.append(float(received[row * columns + delay // preset.csi_patch[1]]))
    return np.array(out)


def _walls(model: UniversalModel, batch: Batch, env: Environment, why: Explanation, buildings: Area) -> Record:
    """Whether of the buildings near the straight line one that was named changes the answer most, taken off the map."""
    named = dict(why.buildings)
    bs, ue = env.bs[0, :2].numpy(), env.ue[0, :2].numpy()
    near = np.argsort([outline.distance(shapely.LineString([bs, ue])) for outline in buildings.footprints])
    others = [int(i) for i in near if int(i) not in named][:WALLS]
    if not named or not others:
        return {}
    rest = without_buildings(model, batch.csi[0], env.seen_by(batch.radio), batch.radio, buildings, others)
    out: Record = {}
    for answer in ANSWERS:
        said, left = (max(abs(getattr(effect, answer)) for _, effect in some) for some in (why.buildings, rest))
        out[f"wall_{answer}"] = {"first": bool(said >= left), "others": len(others)}
    return out


def _figures(records: Sequence[Record]) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if len(values) else None

    named, right, there, seen = (sum(r[f"walls_{k}"] for r in records) for k in ("named", "right", "there", "seen"))
    out: dict[str, Any] = {
        "links": len(records), "explained": mean([r["explained"] for r in records]),
        "wall_precision": right / named if named else None, "wall_recall": seen / there if there else None,
        "milliseconds": 1e3 * float(np.median([r["seconds"] for r in records])),
        "rays_milliseconds": 1e3 * float(np.median([r["rays_seconds"] for r in records])),
    }  # fmt: skip
    for answer in ANSWERS:
        out[f"wall_first_{answer}"] = mean([r[f"wall_{answer}"]["first"] for r in records if f"wall_{answer}" in r])
        for order in ORDERS:
            some = [r[f"{answer}_{order}"] for r in records if f"{answer}_{order}" in r]
            keys = ("first", "deletion", "insertion")
            out[f"{answer}_{order}"] = {"links": len(some)} | {key: mean([one[key] for one in some]) for key in keys}
    return out


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Walls that were named; and what deleting the first-named path does, an order a row."""
    names = {"all": "all", "los": "LOS", "nlos": "NLOS"}
    rows = result["rows"]
    walls = [
        [names[group], f"{row['links']:,}", _percent(row["explained"]), _percent(row["wall_precision"]),
         _percent(row["wall_recall"]), _percent(row["wall_first_place"]), f"{row['milliseconds']:.0f}",
         f"{row['rays_milliseconds']:.0f}"]
        for group, row in rows.items()
    ]  # fmt: skip
    heads = ["links", "number", "power explained", "named walls that are right", "walls that are named",
             "named building matters most", "ms", "ms, new rays"]  # fmt: skip
    out = [(f"{result['links']:,} links beside what was traced", Table(heads, walls))]
    for answer, what in (("place", "likelihood of the place"), ("los", "LOS")):
        table = [
            [name, _percent(row["first"]), f"{row['deletion']:.2f}", f"{row['insertion']:.2f}"]
            for order, name in ORDERS.items()
            if (row := rows["all"][f"{answer}_{order}"])["first"] is not None
        ]
        count = rows["all"][f"{answer}_effect"]["links"]
        out.append((
            f"{what}: {count:,} links of several paths; mean change in nats while paths are deleted (more is better) "
            "and what is missing while they are put in (less is better), in each order",
            Table(["order", "the first changes it most", "deletion", "insertion"], table),
        ))  # fmt: skip
    return out


def draw(result: dict[str, Any], figure: Figure) -> None:
    """How often the path that is named first changes the answer most, by order."""
    axes = figure.add_subplot()
    place = np.arange(len(ORDERS))
    for i, (answer, what) in enumerate((("place", "likelihood of the place"), ("los", "LOS"))):
        shares = [result["rows"]["all"][f"{answer}_{order}"]["first"] or 0 for order in ORDERS]
        axes.barh(place + 0.4 * i, [100 * share for share in shares], 0.4, label=what)
    axes.set_yticks(place + 0.2, list(ORDERS.values()))
    axes.invert_yaxis()
    axes.set(xlabel="the path named first changes the answer most, %", xlim=(0, 100))
    axes.legend(fontsize="small")


EXPLANATIONS = Benchmark(
    "paper 3 names explainability as what keeps such models out of critical use; no figures", ("links",), run, tables,
    draw,
)  # fmt: skip
