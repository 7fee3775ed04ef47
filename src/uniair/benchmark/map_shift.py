"""Whether a channel tells the true map from one with something moved (paper 1, Fig. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.evaluation.faults import move_building
from uniair.evaluation.html import BS, CHANNEL, UE
from uniair.evaluation.tables import Table, spread
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIFTS = (1.0, 2.0, 4.0, 8.0, 16.0, 24.0)
NEAR = 15.0  # m from the straight line between BS and UE
MOVED = {
    "building": "a building near the link",
    "all": "all buildings",
    "building_and_positions": "that building, BS and UE",
}


def run(setup: Setup) -> dict[str, Any]:
    """How often, and how surely, the true map is preferred, against the shift; LOS and NLOS links apart.

    The building is a random one near the link (`near_building`), moved in a random direction. Whether its move changes
    a path is not known without tracing again, so links that a move does not touch are counted too.
    """
    store = setup.store("links")
    areas, links_per_area = (None, 20) if setup.full else (20, 10)
    setup.note(data=store.manifest["recipe"], areas=areas, links_per_area=links_per_area)
    units: list[list[dict[str, Any]]] = [[] for _ in range(setup.seeds)]
    for name, links in some_areas(store, areas):
        for seed in range(setup.seeds):
            rng = np.random.default_rng([seed, len(units[seed])])
            some = links.select(np.sort(rng.permutation(len(links))[:links_per_area]))
            units[seed].append(setup.once(f"{name}-{seed}", partial(_ask, setup.model, some, rng)))
    rows: dict[str, Any] = {}
    for moved in MOVED:
        for los in ("los", "nlos"):
            # [seeds, shifts, 3]: questions, right answers, sum of the true map's probability
            sums = np.array([np.sum([unit[moved][los] for unit in seed], axis=0) for seed in units])
            if (sums[..., 0] > 0).all():
                rows.setdefault(moved, {})[los] = [
                    {"asked": int(tested.sum()), "accuracy": spread([(right / tested).tolist()]),
                     "probability": spread([(probability / tested).tolist()])}
                    for tested, right, probability in sums.transpose(1, 2, 0)
                ]  # fmt: skip
    return {"areas": len(units[0]), "shifts_m": list(SHIFTS), "moved": rows}


def near_building(
    occupancy: NDArray[Any],
    size: float,
    bs: NDArray[np.floating],
    ue: NDArray[np.floating],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """A random building within `NEAR` of the line from BS to UE, or the nearest one: bool [R, R].

    None of it is true where the map has no building. A building is a connected part of the map: houses that touch are
    one.

    Args:
        occupancy: [R, R], or heights.
        size: side of the area, m.
        bs, ue: [2] m or more.
    """
    labels, count = ndimage.label(occupancy > 0)
    if not count:
        return np.zeros(occupancy.shape, dtype=bool)
    row, column = np.nonzero(occupancy)
    points = (np.column_stack([column, row]) + 0.5) * size / len(occupancy)
    line = ue[:2] - bs[:2]
    along = np.clip((points - bs[:2]) @ line / max(float(line @ line), 1e-9), 0, 1)
    off = np.linalg.norm(points - bs[:2] - along[:, None] * line, axis=1)
    distance = ndimage.minimum(off, labels[row, column], np.arange(1, count + 1))
    candidates = np.flatnonzero(distance <= max(NEAR, float(distance.min())))
    return np.asarray(labels == rng.choice(candidates) + 1)


def _ask(model: UniversalModel, links: Links, rng: np.random.Generator) -> dict[str, dict[str, list[list[float]]]]:
    """Sums over some links of an area: questions, right answers and probability [shifts, 3], by what moved and LOS.

    Left out: wrong maps that stand on the BS or the UE, which no channel is needed to refuse, and positions that would
    leave the area.
    """
    links = along_array(links)
    batch = batch_of(links)
    env, n, pixels = batch.environment, len(links), links.maps.shape[-1]
    channel = model.encode_channel(batch.csi)
    truth = [links.maps[a] for a in links.area]
    near = [near_building(truth[i], float(links.sizes[links.area[i]]), links.bs[i], links.ue[i], rng) for i in range(n)]
    every = [occupancy > 0 for occupancy in truth]
    angle = rng.uniform(0, 2 * np.pi, n)
    size = env.size.numpy()
    sums: dict[str, dict[str, list[list[float]]]] = {moved: {"los": [], "nlos": []} for moved in MOVED}
    for shift in SHIFTS:
        step = shift * np.column_stack([np.cos(angle), np.sin(angle)])  # x, y
        whole = np.rint(step * pixels / size[:, None]).astype(int)
        made = (whole * size[:, None] / pixels).astype(np.float32)  # what the pixels make of it, m
        for moved in MOVED:
            building = every if moved == "all" else near
            wrong = np.stack([move_building(truth[i], building[i], (whole[i, 1], whole[i, 0])) for i in range(n)])
            offset = np.zeros((n, 3), dtype=np.float32)
            if moved == "building_and_positions":
                offset[:, :2] = made
            bs, ue = links.bs + offset, links.ue + offset
            stays = np.array([part.any() for part in building])
            for position in (bs, ue):
                stays &= ((position[:, :2] >= 0) & (position[:, :2] <= size[:, None])).all(1)
                cell = np.clip((position[:, :2] / size[:, None] * pixels).astype(int), 0, pixels - 1)
                stays &= wrong[np.arange(n), cell[:, 1], cell[:, 0]] == 0
            tested = np.flatnonzero(stays)
            probability = np.full(n, 0.5)
            if len(tested):
                true = env.select(torch.from_numpy(tested))
                other = replace(
                    true,
                    map=torch.from_numpy(wrong[tested]),
                    area=torch.arange(len(tested)),
                    bs=bs[tested],
                    ue=ue[tested],
                )
                probability[tested] = zero_shot.rank(model, channel[tested], [true, other])[:, 0].cpu().numpy()
            right = np.where(probability == 0.5, 0.5, probability > 0.5)  # less than a pixel: nothing to tell
            for kind, chosen in (("los", stays & links.los), ("nlos", stays & ~links.los)):
                sums[moved][kind].append([float(chosen.sum()), float(right[chosen].sum()),
                                          float(probability[chosen].sum())])  # fmt: skip
    return sums


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """True map preferred, and its mean probability, against the shift."""
    head = ("moved", *(f"{shift:g} m" for shift in result["shifts_m"]))
    accuracy, probability = [], []
    for moved, kinds in result["moved"].items():
        for los, row in kinds.items():
            name = f"{MOVED[moved]}, {los.upper()}"
            accuracy.append((name, *(f"{100 * cell['accuracy']['mean']:.1f} %" for cell in row)))
            probability.append((name, *(f"{cell['probability']['mean']:.3f}" for cell in row)))
    cells = [cell for kinds in result["moved"].values() for row in kinds.values() for cell in row]
    most, spreads = max(c["asked"] for c in cells), max(c["accuracy"]["spread"] for c in cells)
    about = (
        f"True map preferred (chance 50 %; up to {most:,} questions per cell, ± at most {100 * spreads:.1f} over seeds)"
    )
    one = "Mean probability of the true map (the paper's one example, building, BS and UE moved: 0.564)"
    return [(about, Table(head, accuracy)), (one, Table(head, probability))]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """A panel for each thing that moves."""
    figure.set_size_inches(11, 3.8)
    panels = figure.subplots(1, len(result["moved"]), sharey=True, squeeze=False)[0]
    for axes, (moved, kinds) in zip(panels, result["moved"].items(), strict=True):
        for los, row in kinds.items():
            colour, style = {"los": (CHANNEL, "o-"), "nlos": (UE, "s-")}[los]
            mean, error = ([100 * cell["accuracy"][key] for cell in row] for key in ("mean", "spread"))
            axes.errorbar(result["shifts_m"], mean, error, fmt=style, color=colour, label=los.upper(), capsize=2)
        axes.axhline(50, color=BS, linestyle="--", label="chance")
        axes.set(xlabel="shift, m", title=MOVED[moved], xscale="log", xticks=SHIFTS)
        axes.set_xticks(SHIFTS, [f"{shift:g}" for shift in SHIFTS])
        axes.minorticks_off()
    panels[0].set_ylabel("true map preferred, % of links")
    panels[0].legend()


FIG8 = Benchmark(
    "Fig. 8: one example, building, BS and UE translated; the true map gets 0.564",
    ("links",), run, tables, draw,
)  # fmt: skip
