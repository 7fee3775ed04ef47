"""What channel a place would give: by its environment alone, by the nearest user measured, and by their mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import ReadPaths, UniversalModel
from uniair.propagation.coverage import delay_spread
from uniair.radio import Radio
from uniair.tasks.generation import channel_of_place, paths_of_place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 12, "full": 100}
MEASURED = 10  # users of a BS that have been, where they are few
FEWEST = 12  # users of a BS that is asked about
METHODS = {
    "place": "its environment alone",
    "nearest": "nearest of all its BS's other users",
    "nearest_few": f"nearest of {MEASURED} of them",
    "mean": "mean of all of them",
    "mean_few": f"mean of {MEASURED} of them",
}
GROUPS = {"all": "all", "los": "LOS", "nlos": "NLOS"}
Columns = dict[str, list[float]]


def run(setup: Setup) -> dict[str, Any]:
    """Every link of a BS with enough of them; which users have been measured is drawn anew for each seed."""
    store = setup.store("links")
    setup.note(data=store.manifest["recipe"], areas=AREAS[setup.budget])
    units = []
    for number, (name, links) in enumerate(some_areas(store, AREAS[setup.budget])):
        units.append([setup.once(f"{name}-{seed}", partial(_area, setup.model, links, [seed, number]))
                      for seed in range(setup.seeds)])  # fmt: skip
    rows: dict[str, Any] = {}
    for group in GROUPS:
        for method in METHODS:
            found = [_figures(units, seed, method, group) for seed in range(setup.seeds)]
            rows.setdefault(group, {})[method] = {key: spread([[one[key] for one in found]]) for key in found[0]}
    asked = sum(len(unit[0]["los"]) for unit in units)
    apart = float(np.median(np.concatenate([unit[0]["apart"] for unit in units])))
    return {"areas": len(units), "links": asked, "apart_m": apart, "rows": rows}


def _figures(units: list[list[Columns]], seed: int, method: str, group: str) -> dict[str, float]:
    sgcs, error, los = (np.concatenate([np.asarray(unit[seed][key]) for unit in units])
                        for key in (f"{method}_sgcs", f"{method}_ns", "los"))  # fmt: skip
    chosen = np.ones(len(los), dtype=bool) if group == "all" else (los > 0) == (group == "los")
    return {"sgcs": float(sgcs[chosen].mean()), "delay_spread_ns": float(np.median(error[chosen]))}


def _area(model: UniversalModel, links: Links, seed: list[int]) -> Columns:
    """SGCS of the best precoders, and error of the delay spread, of each link by each method."""
    out: Columns = {key: [] for key in ("los", "apart", *(f"{m}_{k}" for m in METHODS for k in ("sgcs", "ns")))}
    rng = np.random.default_rng(seed)
    for part in along_array(links).split():
        batch = batch_of(part, Radio(carrier=part.one_radio().carrier))
        env, csi = batch.environment.without("los"), batch.csi
        csi = csi / csi.abs().square().mean((1, 2), keepdim=True).sqrt()
        truth, true_ns = (
            covariance(csi),
            1e9 * delay_spread(part.paths, np.abs(part.paths.gain.astype(np.complex128)) ** 2),
        )
        place = covariance(channel_of_place(model, env, batch.radio))
        place_ns = 1e9 * spread_of(paths_of_place(model, env, batch.radio)).cpu().numpy()
        for bs in np.unique(part.bs, axis=0):
            mine = np.flatnonzero((part.bs == bs).all(1))
            if len(mine) < FEWEST:
                continue
            apart = np.linalg.norm(part.ue[mine, None] - part.ue[mine], axis=-1)
            np.fill_diagonal(apart, np.inf)
            few = np.full_like(apart, np.inf)
            for i in range(len(mine)):
                kept = rng.permutation(np.delete(np.arange(len(mine)), i))[:MEASURED]
                few[i, kept] = apart[i, kept]
            guesses = {"place": (place[mine], place_ns[mine])}
            for name, known in (("", apart), ("_few", few)):
                nearest = mine[known.argmin(1)]
                guesses[f"nearest{name}"] = (truth[nearest], true_ns[nearest])
                weight = np.isfinite(known) / np.isfinite(known).sum(1, keepdims=True)
                mean = torch.einsum("ij,jab->iab", torch.from_numpy(weight).to(truth), truth[mine])
                guesses[f"mean{name}"] = (mean, weight @ true_ns[mine])
            for name, (guess, ns) in guesses.items():
                score = metrics.cosine_squared(strongest(guess), strongest(truth[mine]))
                out[f"{name}_sgcs"] += score.tolist()
                out[f"{name}_ns"] += np.abs(ns - true_ns[mine]).tolist()
            out["los"] += part.los[mine].astype(float).tolist()
            out["apart"] += apart.min(1).tolist()
    return out


def covariance(csi: Tensor) -> Tensor:
    """Over antennas: complex64 [N, ports, ports] of CSI [N, ports, subcarriers]."""
    return csi @ csi.mH / csi.shape[2]


def strongest(covariances: Tensor) -> Tensor:
    """The best precoder of each: [N, ports]."""
    return torch.linalg.eigh(covariances)[1][..., -1]


def spread_of(paths: ReadPaths) -> Tensor:
    """Root mean square delay spread of paths that a model read."""
    share = paths.gain.abs().square()
    share = share / share.sum(1, keepdim=True)
    mean = (share * paths.delay).sum(1, keepdim=True)
    return (share * (paths.delay - mean).square()).sum(1).sqrt()


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """SGCS of the best precoders and error of the delay spread, a row a method."""
    about = (f"{result['links']:,} links in {result['areas']} areas; the nearest other user stands "
             f"{result['apart_m']:.1f} m away (median)")  # fmt: skip
    out = []
    for key, what, digits in (("sgcs", "SGCS of the best precoder", 3),
                              ("delay_spread_ns", "Delay spread, median error in ns", 1)):  # fmt: skip
        rows = []
        for method, name in METHODS.items():
            found = [result["rows"][group][method][key] for group in GROUPS]
            rows.append([name, *(plus_minus(one["mean"], one["spread"], digits) for one in found)])
        out.append((f"{what}; {about}", Table(["the channel by", *GROUPS.values()], rows)))
    return out


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Bars by method: left SGCS, right the delay spread's error."""
    panels = (("sgcs", "SGCS of the best precoder"), ("delay_spread_ns", "error of the delay spread, ns (median)"))
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        place = np.arange(len(METHODS))
        for i, (group, name) in enumerate(GROUPS.items()):
            rows = [result["rows"][group][method][key] for method in METHODS]
            axes.barh(place + 0.27 * (i - 1), [row["mean"] for row in rows], 0.27,
                      xerr=[row["spread"] for row in rows], label=name)  # fmt: skip
        axes.set_yticks(place, list(METHODS.values()), fontsize="small")
        axes.set(xlabel=label)
    axes.invert_yaxis()
    axes.legend(fontsize="small")


GENERATION = Benchmark(
    "paper 3 names generation among what a wireless-anchored model is for; no figures", ("links",), run, tables, draw,
)  # fmt: skip
