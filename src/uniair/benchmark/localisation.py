"""Zero-shot positioning: where the likelihood over an area is highest, with one BS and with several."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import percent, some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.data.links.store import Store
from uniair.evaluation import classical
from uniair.evaluation.html import BS, CHANNEL, GROUND, UE
from uniair.evaluation.posterior import Posterior, mirrored
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import UniversalModel
from uniair.tasks.zero_shot import position_likelihood, position_log_likelihood

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS_M = {"quick": 2.0, "full": 1.0}
STATIONS = (1, 2, 3)
NEAR = 5.0  # m
REGIONS = (0.5, 0.9)
METHODS = {
    "maximum": "most likely cell",
    "mirrored": "  to the UE or its mirror image, whichever is nearer",
    "mean": "mean of the posterior",
    "geometry": "geometry: first path and beam",
    "geometry_mirrored": "  to the UE or its mirror image, whichever is nearer",
    "centre": "middle of the open ground",
    "random": "random open cell",
}
Columns = dict[str, list[Any]]


def run(setup: Setup) -> dict[str, Any]:
    """One BS over every link, then one, two and three BSs over the UEs with paths to at least three BSs.

    A UE's BSs are drawn anew for each seed; the second joins the first, and the third both. There, LOS is that of the
    first BS, so that a row's UEs are the same for any number of BSs. The UE's height is known. Masts, where their links
    are at hand, are measured in the same way.
    """
    store = setup.store("links")
    areas, step = 40 if setup.full else 8, STEPS_M[setup.budget]
    told = {name: setup.store(name).manifest["recipe"] for name in ("links", "masts") if name in setup.folders}
    setup.note(data=told, areas=areas, step_m=step)
    found = {name: _folder(setup, name, areas, step) for name in told}
    speed = setup.once("speed", partial(speed_of, setup.model, store))
    return {"step_m": step, **found.pop("links"), **found, "speed": speed}


def _folder(setup: Setup, folder: str, areas: int, step: float) -> dict[str, Any]:
    """Of some areas of a folder: every link by itself, and UEs with several BSs."""
    alone: list[Columns] = []
    several: list[Columns] = []
    for name, links in some_areas(setup.store(folder), areas):
        found = setup.once(f"{folder}-{name}-{setup.seeds}", partial(_area, setup.model, links, step, setup.seeds))
        alone.append(found["alone"])
        several.append(found["several"])
    return {"areas": len(alone), "one": _one(_joined(alone)), "several": _several(_joined(several), setup.seeds)}


def _joined(parts: list[Columns]) -> dict[str, NDArray[Any]]:
    return {key: np.concatenate([np.asarray(part[key], dtype=np.float64) for part in parts]) for key in parts[0]}


def summary(error: NDArray[np.floating]) -> dict[str, float]:
    """Of positioning errors, m: median, 90th percentile and share under `NEAR`."""
    return {"median_m": float(np.median(error)), "cdf90_m": float(np.quantile(error, 0.9)),
            "near": float((error < NEAR).mean())}  # fmt: skip


def _by_los(los: NDArray[np.floating]) -> dict[str, NDArray[np.bool_]]:
    groups = {"all": np.ones(len(los), dtype=bool), "los": los > 0, "nlos": los == 0}
    return {name: group for name, group in groups.items() if group.any()}


def _one(columns: dict[str, NDArray[Any]]) -> dict[str, Any]:
    out = {}
    for name, group in _by_los(columns["los"]).items():
        cdf = {key: np.quantile(columns[key][group], np.linspace(0, 1, 51)).round(2).tolist() for key in METHODS}
        out[name] = {
            "links": int(group.sum()), "cdf_m": cdf,
            "errors": {key: summary(columns[key][group]) for key in METHODS},
            "regions": {str(level): float((columns["above"][group] < level).mean()) for level in REGIONS},
        }  # fmt: skip
    return out


def _several(columns: dict[str, NDArray[Any]], seeds: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, group in _by_los(columns["los"]).items() if len(columns["los"]) else ():
        for count in STATIONS:
            for key in ("maximum", "mean"):
                chosen = group & (columns["stations"] == count)
                runs = [summary(columns[key][chosen & (columns["seed"] == seed)]) for seed in range(seeds)
                        if (chosen & (columns["seed"] == seed)).any()]  # fmt: skip
                if runs:
                    entry = {figure: spread([[run[figure] for run in runs]]) for figure in runs[0]}
                    error = np.quantile(columns[key][chosen], np.linspace(0, 1, 51)).round(2).tolist()
                    out.setdefault(name, {}).setdefault(str(count), {})[key] = entry | {"cdf_m": error}
            if chosen.any():
                inside = {str(level): float((columns["above"][chosen] < level).mean()) for level in REGIONS}
                out[name][str(count)] |= {"regions": inside, "asked": int(chosen.sum())}
    return out


def _area(model: UniversalModel, links: Links, step: float, seeds: int) -> dict[str, Columns]:
    """Errors and the like of one area's links alone, and of its UEs with several BSs."""
    alone: Columns = {key: [] for key in ("los", "above", *METHODS)}
    several: Columns = {key: [] for key in ("seed", "stations", "los", "maximum", "mean", "above")}
    for part in along_array(links).split():  # BSs of one bearing share a frame
        grid, log = likelihoods(model, part, step)
        _look_alone(part, grid, log, alone)
        _look_together(part, grid, log, seeds, several)
    return {"alone": alone, "several": several}


def likelihoods(model: UniversalModel, links: Links, step: float) -> tuple[NDArray[np.float64], Tensor]:
    """Log-likelihoods of one area's links whose arrays lie along +x: grid [G], m, and float32 [N, G, G]."""
    batch = batch_of(links)
    size, log = float(links.sizes[0]), []
    stations, of_station = np.unique(links.bs, axis=0, return_inverse=True)
    for number, bs in enumerate(stations):
        mine = torch.from_numpy(np.flatnonzero(of_station == number))
        height = float(np.median(links.ue[mine, 2]))
        grid, found = position_log_likelihood(model, batch.csi[mine], links.maps[0], bs, size, step, height)
        log.append(found.cpu())
    order = np.argsort(of_station, kind="stable")
    return grid, torch.cat(log)[np.argsort(order)]


def _look_alone(links: Links, grid: NDArray[np.float64], log: Tensor, out: Columns) -> None:
    posterior = [Posterior(grid, one) for one in log]
    mirror = mirrored(links.ue, links.bs)
    row, column = np.nonzero(torch.isfinite(log[0]).numpy())
    ground = np.column_stack([grid[column], grid[row]])
    drawn = ground[np.random.default_rng(0).integers(len(ground), size=len(links))]

    def error(found: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(np.linalg.norm(found - truth[:, :2], axis=1))

    geometry = classical.geometry(batch_of(links), float(np.median(links.ue[:, 2])))
    maximum = np.stack([one.maximum() for one in posterior])
    found = {
        "maximum": error(maximum, links.ue),
        "mirrored": np.minimum(error(maximum, links.ue), error(maximum, mirror)),
        "mean": error(np.stack([one.mean() for one in posterior]), links.ue),
        "geometry": error(geometry, links.ue),
        "geometry_mirrored": np.minimum(error(geometry, links.ue), error(geometry, mirror)),
        "centre": error(np.broadcast_to(ground.mean(0), (len(links), 2)), links.ue),
        "random": error(drawn, links.ue),
    }
    for key, values in found.items():
        out[key] += values.round(3).tolist()
    out["los"] += links.los.astype(int).tolist()
    out["above"] += [one.above(ue) for one, ue in zip(posterior, links.ue, strict=True)]


def _look_together(links: Links, grid: NDArray[np.float64], log: Tensor, seeds: int, out: Columns) -> None:
    ues, of_ue = np.unique(links.ue, axis=0, return_inverse=True)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for number, ue in enumerate(ues):
            order = rng.permutation(np.flatnonzero(of_ue == number))
            for count in STATIONS if len(order) >= max(STATIONS) else ():
                used = order[:count]
                posterior = Posterior(grid, log[used].sum(0))
                out["seed"].append(seed)
                out["stations"].append(count)
                out["los"].append(int(links.los[order[0]]))
                for key in ("maximum", "mean"):
                    off = getattr(posterior, key)() - ue[:2]
                    out[key].append(round(float(np.linalg.norm(off)), 3))
                out["above"].append(posterior.above(ue))


def speed_of(model: UniversalModel, store: Store, size: float = 200.0, step: float = 1.0) -> dict[str, Any]:
    """Seconds for the likelihood map of one CSI in the area nearest to `size` m, every cell and in two passes.

    One LOS and one NLOS link where the area has both, since the second pass asks about what is likely: the more the
    channel leaves open, the longer it takes. `moved` is the probability that two passes put elsewhere.
    """
    links = along_array(min(store, key=lambda area: abs(float(area.sizes[0]) - size))).split()[0]
    side = float(links.sizes[0])
    out: dict[str, Any] = {"size_m": round(side, 1), "step_m": step, "threads": torch.get_num_threads(),
                           "device": model.device.type, "links": {}}  # fmt: skip
    for kind, chosen in (("los", links.los), ("nlos", ~links.los)):
        if not chosen.any():
            continue
        one = links.select(np.flatnonzero(chosen)[:1])
        place = (batch_of(one).csi, one.maps[0], one.bs[0], side)
        position_likelihood(model, *place, step=side / 20)  # warm-up
        taken, found = {}, {}
        for name, coarse in (("every_cell", None), ("two_passes", 4 * step)):
            start = time.perf_counter()
            _, probability = position_likelihood(model, *place, step, coarse=coarse)
            found[name] = probability.cpu()
            taken[f"{name}_s"] = time.perf_counter() - start
        off = (found["every_cell"] - found["two_passes"]).abs().sum() / 2
        out["links"][kind] = taken | {"cells": int((found["every_cell"] > 0).sum()), "moved": float(off)}
    return out


GROUPS = {"all": "all links", "los": "LOS", "nlos": "NLOS"}
FIGURES = ("median", "90 % under", f"within {NEAR:g} m")


def _cells(entry: dict[str, Any]) -> tuple[str, str, str]:
    if isinstance(entry["near"], float):
        return f"{entry['median_m']:.1f} m", f"{entry['cdf90_m']:.1f} m", f"{100 * entry['near']:.1f} %"
    median, far = (plus_minus(entry[key]["mean"], entry[key]["spread"], 1) + " m" for key in ("median_m", "cdf90_m"))
    return median, far, percent(entry["near"])


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Errors with one BS by LOS, with several, calibration and speed; the errors and the calibration of masts too."""
    found = _errors(result, f"cells of {result['step_m']:g} m, nothing tuned")
    if "masts" in result:
        of_masts = _errors(result["masts"], f"cells of {result['step_m']:g} m, nothing tuned")
        found += [(f"Masts: {heading}", table) for heading, table in of_masts]
    speed = result["speed"]
    about = (f"Likelihood map of one CSI, {speed['size_m']:g} m at {speed['step_m']:g} m, {speed['threads']} threads "
             f"({speed['device']})")  # fmt: skip
    cells = [(kind.upper(), f"{row['cells']:,}", f"{row['every_cell_s']:.2f} s", f"{row['two_passes_s']:.2f} s",
              f"{100 * row['moved']:.1f} %") for kind, row in speed["links"].items()]  # fmt: skip
    found.append((about, Table(("link", "open cells", "every cell", "two passes", "probability moved"), cells)))
    return found


def _errors(result: dict[str, Any], how: str) -> list[tuple[str, Table]]:
    """Of one folder; `how` they were measured."""
    found = []
    for group, entry in result["one"].items():
        rows = [(about, *_cells(entry["errors"][key])) for key, about in METHODS.items()]
        about = f"One BS, {GROUPS[group]}: {entry['links']:,} links, {how}"
        found.append((about, Table(("positioning error", *FIGURES), rows)))
    rows = []
    regions = [(f"1 BS, {GROUPS[group]}", *(f"{100 * entry['regions'][str(p)]:.1f} %" for p in REGIONS))
               for group, entry in result["one"].items()]  # fmt: skip
    for group, counts in result["several"].items():
        for count, entry in counts.items():
            name = f"{count} BS, first one {GROUPS[group]}" if group != "all" else f"{count} BS, all UEs"
            rows.append((f"{name}: {METHODS['maximum']}", *_cells(entry["maximum"])))
            rows.append((f"{name}: {METHODS['mean']}", *_cells(entry["mean"])))
            if group == "all" and count != "1":
                regions.append((name, *(f"{100 * entry['regions'][str(p)]:.1f} %" for p in REGIONS)))
    if rows:
        heading = f"UEs with paths to at least {max(STATIONS)} BSs (± over draws of the BSs)"
        found.append((heading, Table(("positioning error", *FIGURES), rows)))
    head = ("UEs inside the smallest region of", *(f"{100 * p:.0f} %" for p in REGIONS))
    return [*found, ("Calibration of the map", Table(head, regions))]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Error CDFs: one BS beside geometry and guessing; one, two and three BSs."""
    figure.set_size_inches(10, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    share = np.linspace(0, 100, 51)
    colours = {"los": CHANNEL, "nlos": UE}
    for group, colour in colours.items():
        if group in result["one"]:
            cdf = result["one"][group]["cdf_m"]
            left.plot(cdf["maximum"], share, color=colour, label=f"likelihood, {GROUPS[group]}")
            left.plot(cdf["geometry"], share, "--", color=colour, label=f"geometry, {GROUPS[group]}")
    left.plot(result["one"]["all"]["cdf_m"]["random"], share, ":", color=BS, label="random open cell")
    left.set(title="one BS", ylabel="share of links, %")
    for count, entry in result["several"].get("all", {}).items():
        colour = {"1": GROUND, "2": UE, "3": CHANNEL}[count]
        for key, style in (("maximum", "-"), ("mean", "--")):
            right.plot(entry[key]["cdf_m"], share, style, color=colour, label=f"{count} BS, {key}")
    right.set(title="several BSs")
    for axes in (left, right):
        axes.set(xlabel="positioning error, m", xscale="symlog", xlim=(0, None), ylim=(0, 100))
        if axes.lines:
            axes.legend(fontsize="small")


POSITIONING = Benchmark(
    "",
    ("links",), run, tables, draw, ("masts",),
)  # fmt: skip
