"""Whether channels tell which building of a map is wrong: not on it, too many, moved, or too low."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.environment import Batch, Environment
from uniair.evaluation.tables import Table
from uniair.explanation.audit import Audit, Suspicion, crossings, judge, read
from uniair.explanation.audit_counts import Counts, counts_of, pixels
from uniair.explanation.audit_rates import ASSUMED, Rates
from uniair.explanation.channel_paths import ChannelPath, channel_paths
from uniair.explanation.map_buildings import map_buildings
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 4, "full": 40}
MOST = {"quick": 300, "full": 1500}  # channels of an area
VALIDATED, COUNTED = {"quick": 6, "full": 45}, 100  # areas whose channels are counted, and how many of each
CHANNELS = (1, 10, 100, 1000)
BUILDINGS = 4  # of each area
MOVES = (4.0, 8.0, 16.0)  # m
CHANGES = {"removed": "a building that the map lacks", "added": "one that is not there",
           **{f"moved {d:g} m": f"one that stands {d:g} m from where it is" for d in MOVES},
           "lowered": "one that is higher than on the map"}  # fmt: skip
LOW = 1.0  # m: of a building whose height the map has wrong
ADDED = (14.0, 20.0, 12.0)  # m: width, depth and height of a building that is not there
TRIES = 60  # places that it is looked for
SAME = 0.3  # share of a building that must overlap
WITHIN = 8.0  # m about a building that counts as naming its place


def run(setup: Setup) -> dict[str, Any]:
    """Areas whose every link has one base station: each change by itself, judged by more and more of the channels.

    With validation places its rates are counted there; else they are assumed. Dense areas, where they are at hand, have
    the channels that areas of few users lack.
    """
    folders = [name for name in ("links", "dense", "validation") if name in setup.folders]
    told = {name: setup.store(name).manifest["recipe"] for name in folders}
    setup.note(data=told, areas=AREAS[setup.budget], most=MOST[setup.budget])
    rates = Rates.counted(counted(setup)[0]) if "validation" in folders else ASSUMED
    return {
        "rates": rates.to_json(), "assumed": rates is ASSUMED,
        "rows": {name: _rows(setup, name, rates) for name in folders if name != "validation"},
    }  # fmt: skip


def _rows(setup: Setup, folder: str, rates: Rates) -> dict[str, Any]:
    """Of one folder's areas: change → number of channels → what was found."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for number, (name, links) in enumerate(some_areas(setup.store(folder), AREAS[setup.budget])):
        found = partial(_area, setup.model, links, MOST[setup.budget], number, rates)
        for record in setup.once(f"{folder}-{name}", found):
            n = str(record["channels"]) if record["channels"] in CHANNELS else "all"
            rows.setdefault(record["change"], {}).setdefault(n, []).append(record)
    return {
        change: {
            n: {"cases": len(found)} | {
                key: float(np.mean([one[key] for one in found])) for key in ("channels", "first", "third", "suspicions")
            }
            for n, found in of.items()
        }
        for change, of in rows.items()
    }  # fmt: skip


def counted(setup: Setup) -> tuple[Counts, int]:
    """What channels of validation places show of their maps, and of how many places."""
    store, sums, places = setup.store("validation"), Counter[str](), 0
    for number, (name, links) in enumerate(some_areas(store, VALIDATED[setup.budget])):
        found = setup.once(f"rates-{name}", partial(_counts, setup.model, links, number))
        places += 1
        for key, (seen, cases) in found.items():
            sums[f"{key} seen"] += seen
            sums[key] += cases
    return {field.name: (sums[f"{field.name} seen"], sums[field.name]) for field in fields(Rates)}, places


def _counts(model: UniversalModel, links: Links, seed: int) -> Counts:
    rng = np.random.default_rng([seed, 3])
    batch = _of_one_station(links, COUNTED, rng)
    env = batch.environment
    assert env.map is not None
    heights = env.map[int(env.area[0])].numpy()
    return counts_of(channel_paths(model, batch.csi, batch.radio), env.without("los"), heights, batch.radio, rng)


def _of_one_station(links: Links, most: int, rng: np.random.Generator) -> Batch:
    """Some links of an area's first base station, by their own radio with a clock at the transmission."""
    links = along_array(links)
    first = links.select(np.flatnonzero((links.area == links.area[0]) & (links.bs == links.bs[0]).all(1)))
    links = first.select(np.sort(rng.permutation(len(first))[:most]))
    return batch_of(links, replace(links.one_radio(), clock="absolute"))


def _area(model: UniversalModel, links: Links, most: int, seed: int, rates: Rates) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    batch = _of_one_station(links, most, rng)
    env, radio = batch.environment, batch.radio
    assert env.map is not None
    heights, size = env.map[int(env.area[0])].numpy(), float(env.size[0])
    paths = channel_paths(model, batch.csi, radio)
    case = Case(paths, env.without("los"), radio, size, rng.permutation(len(batch)), rates)
    buildings = map_buildings(heights, size)
    crossed, _ = crossings(case.bs, case.ue, buildings)
    alone = (crossed & (crossed.sum(1) == 1)[:, None]).sum(0)
    out = [
        {"change": "none", "channels": n, "first": 0.0, "third": 0.0, "suspicions": len(found.suspicions)}
        for n, found, _ in case.judged(heights)
    ]
    # what shadows nobody and mirrors to nobody can't be told
    told = np.flatnonzero(alone >= 3)
    for number in rng.permutation(told)[:BUILDINGS]:
        outline = buildings.footprints[number]
        mask = pixels(outline, heights.shape[0], size)
        without = np.where(mask, 0, heights).astype(np.float32)
        out += _found("removed", case.judged(without), outline)
        for metres in MOVES:
            angle = rng.uniform(0, 2 * np.pi)
            shift = metres * np.array([np.cos(angle), np.sin(angle)])
            moved = shapely.affinity.translate(outline, *shift)
            changed = np.where(pixels(moved, heights.shape[0], size), heights[mask].max(), without)
            out += _found(f"moved {metres:g} m", case.judged(changed.astype(np.float32)), outline, moved)
        if heights[mask].max() > 2 * LOW:
            out += _found("lowered", case.judged(np.where(mask, LOW, heights).astype(np.float32)), outline)
    for _ in range(TRIES):
        x, y = rng.uniform(0.1, 0.9, 2) * size
        box = shapely.box(x - ADDED[0] / 2, y - ADDED[1] / 2, x + ADDED[0] / 2, y + ADDED[1] / 2)
        mask = pixels(box, heights.shape[0], size)
        outside = ~shapely.contains_xy(box, case.ue[:, :2])  # who would stand in it is left out
        lines = shapely.linestrings(np.stack([case.bs[:, :2], case.ue[:, :2]], 1))
        shadowed = (shapely.intersects(box, lines) & (crossed.sum(1) == 0) & outside).sum()
        inside_bs = shapely.contains_xy(box, case.bs[:, :2]).any()
        if not (heights[mask] > 0).any() and not inside_bs and shadowed >= 3:
            found = case.select(outside).judged(np.where(mask, ADDED[2], heights).astype(np.float32))
            out += _found("added", found, box)
            break
    return out


class Case:
    """The channels of an area, to be judged by one map after the other."""

    def __init__(
        self, paths: list[list[ChannelPath]], env: Environment, radio: Radio, size: float, order: NDArray[np.int64],
        rates: Rates,
    ) -> None:  # fmt: skip
        assert env.bs is not None
        assert env.ue is not None
        self.paths, self.env, self.radio, self.size, self.order, self.rates = paths, env, radio, size, order, rates
        self.bs, self.ue = env.bs.double().numpy(), env.ue.double().numpy()

    def select(self, kept: NDArray[np.bool_]) -> Case:
        """Some of the channels, in the order in which they stand."""
        index = np.flatnonzero(kept)
        order = np.cumsum(kept)[self.order[kept[self.order]]] - 1
        env = self.env.select(torch.from_numpy(index))
        return Case([self.paths[i] for i in index], env, self.radio, self.size, order, self.rates)

    def judged(self, heights: NDArray[np.floating]) -> list[tuple[int, Audit, Area]]:
        """By `CHANNELS` of the channels, as far as there are so many, and by all."""
        buildings = map_buildings(heights, self.size)
        area = np.zeros(len(self.paths), dtype=np.int64)
        seen = read(self.paths, replace(self.env, map=heights[None], area=area), self.radio, buildings)
        out = []
        for count in dict.fromkeys([*(n for n in CHANNELS if n < len(self.order)), len(self.order)]):
            some = self.order[:count]
            found = judge([seen[i] for i in some], self.bs[some], self.ue[some], self.size, buildings, self.rates)
            out.append((count, found, buildings))
        return out


def _found(change: str, judged: Sequence[tuple[int, Audit, Area]], *outlines: shapely.Geometry) -> list[dict[str, Any]]:
    """Whether the first suspicion, or one of the first three, is about a building that stands there or is said to."""
    about = shapely.union_all(outlines)
    out = []
    for count, found, buildings in judged:
        right = [_right(one, about, buildings) for one in found.suspicions[:3]]
        out.append({
            "change": change, "channels": count, "first": float(right[:1] == [True]), "third": float(any(right)),
            "suspicions": len(found.suspicions),
        })  # fmt: skip
    return out


def _right(one: Suspicion, about: shapely.Geometry, buildings: Area) -> bool:
    if one.change != "something here":
        outline = buildings.footprints[one.building]
        return bool(outline.intersection(about).area > SAME * outline.area)
    return bool(about.distance(shapely.Point(one.place)) <= WITHIN)


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """One table a folder: a row a change, columns by channels."""
    return [(_heading(result, rows), _table(rows)) for rows in result["rows"].values()]


def _heading(result: dict[str, Any], rows: dict[str, Any]) -> str:
    areas = max(one["cases"] for one in rows["none"].values())
    heading = f"Named first / among the first three, % (cases), by channels of one station; {areas} areas"
    if "all" in rows["none"]:
        heading += f" of {rows['none']['all']['channels']:,.0f} in the mean"
    return f"{heading}; rates {'assumed' if result['assumed'] else 'counted on validation places'}"


def _table(rows: dict[str, Any]) -> Table:
    counts = [n for n in (*map(str, CHANNELS), "all") if any(n in row for row in rows.values())]
    table = []
    for change, about in CHANGES.items():
        cells = []
        for n in counts:
            one = rows.get(change, {}).get(n)
            cells.append("" if one is None else f"{100 * one['first']:.0f} / {100 * one['third']:.0f} ({one['cases']})")
        table.append([about, *cells])
    false = [f"{rows['none'][n]['suspicions']:.2f}" if n in rows["none"] else "" for n in counts]
    return Table(["the map has", *counts], [*table, ["suspicions of a map that is right", *false]])


def draw(result: dict[str, Any], figure: Figure) -> None:
    """How often the building is named first, against channels, in the areas that have most of them."""
    axes = figure.add_subplot()
    *_, rows = result["rows"].values()
    for change, about in CHANGES.items():
        of = sorted((one["channels"], one["first"]) for one in rows.get(change, {}).values())
        axes.plot([n for n, _ in of], [100 * first for _, first in of], "o-", label=about)
    axes.set(xscale="log", xlabel="channels", ylabel="named first, %", ylim=(0, 100))
    axes.legend(fontsize="x-small")


MAP_AUDIT = Benchmark(
    "paper 1's Fig. 8 has one link and its map with a building moved; no figures of which building", ("links",), run,
    tables, draw, ("dense", "validation"),
)  # fmt: skip
