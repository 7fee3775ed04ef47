"""What noise, wrong timing, missing inputs, an old map and wrong positions cost the zero-shot answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from uniair import metrics
from uniair.angle_delay import delayed
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import percent, some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import TALL, Batch, Environment
from uniair.evaluation.html import BS, CHANNEL, GROUND, UE
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.sight_line import sight_line
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SNR_DB = (-10, -5, 0, 5, 10, 15, 20, 30)
TIMING_NS = (-100, -50, -20, -10, -5, -2, -1, 1, 2, 5, 10, 20, 50, 100)
OFF_M = (1, 2, 5, 10)
SHARES = (0.1, 0.3, 1.0)  # of an area's buildings
ADDED = (0.1, 0.3)  # boxes a building of the area
BOX_M = (8.0, 20.0)  # sides of an added box
TIE = 1e-6  # of cosines: the same candidate encoded twice may differ by rounding
AS_IT_IS = "as it is"
MISSING = {"map": ("map",), "BS": ("bs",), "UE": ("ue",), "BS and UE": ("bs", "ue")}
GEOMETRY = "los_geometry"
TASKS = {"los": "LOS", "scale": "scale", "top1": "match, top-1", "top5": "match, top-5"}
FAMILIES = {
    AS_IT_IS: "nothing changed",
    "snr": "SNR, dB",
    "timing": "timing offset, ns",
    "missing": "not given",
    "removed": "buildings gone from the map, %",
    "added": "buildings too many in the map, %",
    "bs_off": "BS position off, m",
    "ue_off": "UE position off, m",
}
Sums = dict[str, dict[str, dict[str, float]]]  # family → level → sums over links


def run(setup: Setup) -> dict[str, Any]:
    """Every answer under every condition; noise, directions and buildings are drawn anew for each seed.

    Beside LOS stands what the same map and positions tell of it without any channel.
    """
    store = setup.store("links")
    areas = 100 if setup.full else 6
    setup.note(data=store.manifest["recipe"], areas=areas)
    units: list[list[Sums]] = []  # [areas][seeds]
    for number, (name, links) in enumerate(some_areas(store, areas)):
        exact = setup.once(name, partial(_exact, setup.model, links))
        drawn = [setup.once(f"{name}-{seed}", partial(_drawn, setup.model, links, [seed, number]))
                 for seed in range(setup.seeds)]  # fmt: skip
        without = [setup.once(f"{name}-{seed}-no channel", partial(_without_channel, links, [seed, number]))
                   for seed in range(setup.seeds)]  # fmt: skip
        units.append([_beside(exact | one, told) for one, told in zip(drawn, without, strict=True)])
    rows: dict[str, Any] = {}
    for family in FAMILIES:
        for level in units[0][0][family]:
            total = [_added([unit[seed][family][level] for unit in units]) for seed in range(setup.seeds)]
            rows.setdefault(family, {})[level] = {key: spread([[values[key] for values in total]]) for key in total[0]}
    return {"areas": len(units), "links": int(sum(unit[0][AS_IT_IS][""]["links"] for unit in units)), "rows": rows}


def _beside(answers: Sums, geometry: Sums) -> Sums:
    """Sums with what geometry tells beside, where it is asked."""
    return {family: {level: sums | geometry.get(family, {}).get(level, {}) for level, sums in levels.items()}
            for family, levels in answers.items()}  # fmt: skip


def _added(parts: list[dict[str, float]]) -> dict[str, float]:
    """Sums of areas → shares, and NMSE in dB."""
    links = sum(part["links"] for part in parts)
    out = {key: sum(part[key] for part in parts) / links for key in (*TASKS, GEOMETRY) if key in parts[0]}
    if "error" in parts[0]:
        out["nmse_db"] = float(10 * np.log10(sum(part["error"] for part in parts) / links))
    return out


@dataclass(frozen=True)
class Places:
    """Hypotheses about N links, encoded once for any number of channels.

    Attributes:
        los: [2, N, E] embeddings of NLOS and LOS.
        scale: [3, N, E] of `zero_shot.SCALES`; the middle one is the place as it is given.
        truth: bool [N] LOS.
    """

    los: Tensor
    scale: Tensor
    truth: Tensor

    @classmethod
    def encode(cls, model: UniversalModel, env: Environment) -> Places:
        """All hypotheses of links whose own LOS is known."""
        return cls(
            torch.stack([model.encode_environment(replace(env, los=torch.full_like(env.los, v))) for v in (0, 1)]),
            torch.stack([model.encode_environment(zero_shot.scaled(env, factor)) for factor in zero_shot.SCALES]),
            env.los > 0,
        )

    def answers(self, channel: Tensor) -> dict[str, float]:
        """Sums over the links of right answers to their channels' embeddings [N, E].

        Links compete with all others for the match; among candidates that nothing tells apart, one is drawn.
        """
        nlos, los = (self.los * channel).sum(-1)
        match = channel @ self.scale[1].mT
        true = match.diagonal()[:, None]
        better, tied = (match > true + TIE).sum(1), ((match - true).abs() <= TIE).sum(1)
        return {
            "links": float(len(channel)),
            "los": float(((los > nlos).cpu() == self.truth).sum()),
            "scale": float(((self.scale * channel).sum(-1).argmax(0) == 1).sum()),
            **{f"top{k}": float(((k - better) / tied).clamp(0, 1).sum()) for k in (1, 5)},
        }


def feedback(model: UniversalModel, channel: Tensor, truth: Tensor) -> dict[str, float]:
    """Sum over links of the relative error of the CSI restored from `channel`, against the CSI without noise."""
    restored = model.reconstruct_channel(channel)
    return {"error": float(metrics.relative_error(restored, model.normalise_channel(truth)).sum())}


def _exact(model: UniversalModel, links: Links) -> Sums:
    """Conditions that nothing is drawn for."""
    batch = batch_of(links)
    env, csi = batch.environment, batch.csi
    places, channel = Places.encode(model, env), model.encode_channel(csi)

    def late(ns: float) -> dict[str, float]:
        seen = delayed(csi, batch.radio, torch.full((len(csi),), ns * 1e-9))
        z = model.encode_channel(seen)
        return places.answers(z) | feedback(model, z, seen)

    return {
        AS_IT_IS: {"": places.answers(channel) | feedback(model, channel, csi)},
        "timing": {str(ns): late(ns) for ns in TIMING_NS},
        "missing": {name: Places.encode(model, env.without(*hidden)).answers(channel)
                    for name, hidden in MISSING.items()},
    }  # fmt: skip


def _drawn(model: UniversalModel, links: Links, seed: list[int]) -> Sums:
    """Conditions with something random."""
    batch = batch_of(links)
    places, channel = Places.encode(model, batch.environment), model.encode_channel(batch.csi)
    found: Sums = {}
    for family, level, csi, env in _disturbed(batch, np.random.default_rng(seed)):
        if family == "snr":
            z = model.encode_channel(csi)
            answers = places.answers(z) | feedback(model, z, batch.csi)
        else:
            answers = Places.encode(model, env).answers(channel)
        found.setdefault(family, {})[level] = answers
    return found


def _without_channel(links: Links, seed: list[int]) -> Sums:
    """What maps and positions alone tell of LOS: as they are, and wrong as `_drawn` has them."""
    batch = batch_of(links)
    found: Sums = {AS_IT_IS: {"": {GEOMETRY: by_geometry(batch.environment)}}}
    for family, level, _, env in _disturbed(batch, np.random.default_rng(seed)):
        if family != "snr":
            found.setdefault(family, {})[level] = {GEOMETRY: by_geometry(env)}
    return found


def by_geometry(env: Environment) -> float:
    """Links that are in LOS where nothing on the map stands in the straight line, and not where something does."""
    return float((~sight_line(env).blocked == (env.los > 0)).sum())


def _disturbed(batch: Batch, rng: np.random.Generator) -> Iterator[tuple[str, str, Tensor, Environment]]:
    """Family, level, CSI and places of every condition with something random, always in the same order."""
    env = batch.environment

    def maps(change: Callable[[NDArray[Any], int], NDArray[Any]]) -> Environment:
        changed = np.stack([change(one, area) for area, one in enumerate(env.map.numpy())])
        return replace(env, map=torch.from_numpy(changed))

    def fewer(known: NDArray[Any], area: int, share: float) -> NDArray[Any]:
        return without_buildings(known, share, rng)

    def boxes(known: NDArray[Any], area: int, share: float) -> NDArray[Any]:
        here = env.area == area
        stand = torch.cat([env.bs[here, :2], env.ue[here, :2]]).numpy()
        return with_boxes(known, float(env.size[here][0]), stand, share, rng)

    for db in SNR_DB:
        yield "snr", str(db), noisy(batch.csi, db, rng), env
    for family, shares, change in (("removed", SHARES, fewer), ("added", ADDED, boxes)):
        for share in shares:
            yield family, f"{100 * share:.0f}", batch.csi, maps(partial(change, share=share))
    for who in ("bs", "ue"):
        for metres in OFF_M:
            off = moved(getattr(env, who), env.size, metres, rng)
            yield f"{who}_off", str(metres), batch.csi, replace(env, **{who: off})


def without_buildings(map: NDArray[Any], share: float, rng: np.random.Generator) -> NDArray[Any]:
    """The map with a share of its buildings (connected parts; at least one) gone."""
    labels, count = ndimage.label(map > 0)
    gone = rng.permutation(count)[: max(1, round(share * count))] + 1
    return np.where(np.isin(labels, gone), 0, map).astype(map.dtype)


def with_boxes(
    map: NDArray[Any], size: float, stand: NDArray[np.floating], share: float, rng: np.random.Generator
) -> NDArray[Any]:
    """The map with boxes of `BOX_M` more, `share` of the number of its buildings and at least one.

    Args:
        map: [R, R] occupancy, or heights: a box is as high as what is built somewhere, `TALL` where nothing is.
        size: side of the area, m.
        stand: [M, 2] m, where BSs and UEs stand; no box is put over them.
    """
    out, pixels, built = map.copy(), len(map), map[map > 0]
    cells = np.minimum(stand / size * pixels, pixels - 1).astype(int)
    tall = TALL if map.dtype.kind == "f" else 1
    wanted = max(1, round(share * ndimage.label(map > 0)[1]))
    for _ in range(100 * wanted):  # a crowded map may have no room
        low = rng.uniform(0, size, 2)
        x, y = np.minimum(np.stack([low, low + rng.uniform(*BOX_M, 2)]) / size * pixels, pixels).astype(int).T
        inside = (cells[:, 0] >= x[0]) & (cells[:, 0] < x[1]) & (cells[:, 1] >= y[0]) & (cells[:, 1] < y[1])
        if not inside.any():
            box = out[y[0] : y[1], x[0] : x[1]]
            np.maximum(box, rng.choice(built) if len(built) else tall, out=box)
            wanted -= 1
        if not wanted:
            break
    return out


def moved(position: Tensor, size: Tensor, metres: float, rng: np.random.Generator) -> Tensor:
    """Positions [N, 3] given `metres` off in a random direction, one for each place; kept within the area."""
    _, place = np.unique(position.numpy(), axis=0, return_inverse=True)
    angle = rng.uniform(0, 2 * np.pi, int(place.max()) + 1)[place]
    out = position.clone()
    out[:, :2] += metres * torch.from_numpy(np.column_stack([np.cos(angle), np.sin(angle)])).float()
    out[:, :2] = out[:, :2].clamp_min(0).minimum(size[:, None])
    return out


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """A table a family of conditions, what is unchanged above it."""
    usual = result["rows"][AS_IT_IS][""]
    columns = {"los": TASKS["los"], GEOMETRY: "LOS, no channel"} if GEOMETRY in usual else {}
    columns |= TASKS
    found = []
    for family, about in FAMILIES.items():
        if family == AS_IT_IS:
            continue
        rows = []
        for level, row in {AS_IT_IS: usual, **result["rows"][family]}.items():
            nmse = row.get("nmse_db") if "nmse_db" in next(iter(result["rows"][family].values())) else None
            cells = [percent(row[task]) if task in row else "" for task in columns]
            rows.append((level, *cells, plus_minus(nmse["mean"], nmse["spread"], 2) + " dB" if nmse else ""))
        found.append((f"{about} ({result['links']:,} links in {result['areas']} areas; ± over seeds)",
                      Table(("", *columns.values(), "feedback, NMSE"), rows)))  # fmt: skip
    return found


STYLES = {"los": (CHANNEL, "o"), "scale": (BS, "^"), "top1": (UE, "s"), "top5": (GROUND, "D")}


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Accuracies against SNR, timing, missing inputs and old maps, wrong positions; NMSE against SNR."""
    figure.set_size_inches(12, 7)
    grid = figure.subplots(2, 3)
    rows, usual = result["rows"], result["rows"][AS_IT_IS][""]
    for axes, family in ((grid[0, 0], "snr"), (grid[0, 1], "timing"), (grid[1, 0], "bs_off"), (grid[1, 1], "ue_off")):
        levels = dict(rows[family])
        if family != "snr":  # as it is belongs among them, at zero
            levels["0"] = usual
        levels = dict(sorted(levels.items(), key=lambda item: float(item[0])))
        _curves(axes, levels, [float(level) for level in levels], FAMILIES[family])
    grid[0, 1].set_xscale("symlog", linthresh=1)
    grid[0, 0].legend(loc="lower right")
    nmse = {float(level): row["nmse_db"] for level, row in rows["snr"].items()}
    mean, error = ([row[key] for row in nmse.values()] for key in ("mean", "spread"))
    grid[0, 2].errorbar(list(nmse), mean, error, fmt="o-", color=UE, capsize=2, label="noisy")
    grid[0, 2].axhline(usual["nmse_db"]["mean"], color=GROUND, linestyle=":", label="without noise")
    grid[0, 2].axhline(0, color=BS, linestyle="--", label="all-zero answer")
    grid[0, 2].set(xlabel=FAMILIES["snr"], ylabel="feedback, NMSE, dB")
    grid[0, 2].legend()
    worse = {AS_IT_IS: usual, **{f"no {name}": row for name, row in rows["missing"].items()}}
    worse |= {f"{level} % gone": row for level, row in rows["removed"].items()}
    worse |= {f"{level} % too many": row for level, row in rows["added"].items()}
    for task, (colour, marker) in STYLES.items():
        values = [100 * row[task]["mean"] for row in worse.values()]
        grid[1, 2].plot(values, list(worse), marker, color=colour, label=TASKS[task])
    told = {name: 100 * row[GEOMETRY]["mean"] for name, row in worse.items() if GEOMETRY in row}
    grid[1, 2].plot(list(told.values()), list(told), "x", color=CHANNEL)
    grid[1, 2].invert_yaxis()
    grid[1, 2].set(xlabel="right, %", xlim=(0, 100), title="missing inputs, old maps")
    grid[1, 2].grid(alpha=0.3)


def _curves(axes: Axes, levels: dict[str, Any], x: list[float], label: str) -> None:
    for task, (colour, marker) in STYLES.items():
        mean, error = ([100 * row[task][key] for row in levels.values()] for key in ("mean", "spread"))
        axes.errorbar(x, mean, error, fmt=f"{marker}-", color=colour, capsize=2, label=TASKS[task], markersize=4)
    if all(GEOMETRY in row for row in levels.values()):
        told = [100 * row[GEOMETRY]["mean"] for row in levels.values()]
        axes.plot(x, told, "x--", color=CHANNEL, label="LOS, no channel")
        axes.legend(fontsize="small")
    axes.set(xlabel=label, ylabel="right, %", ylim=(0, 100))


ROBUSTNESS = Benchmark(
    "",
    ("links",), run, tables, draw,
)  # fmt: skip
