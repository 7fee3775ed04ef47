"""Channels drawn for places without a measurement: whether their spreads and K factors vary as the tracer's do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import ReadPaths, UniversalModel
from uniair.radio import Radio
from uniair.tasks.generation import paths_of_place, sampled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 12, "full": 100}
SHADOWING = (1, 2, 3, 6, 9)  # dB; TR 38.901 has 3 for clusters
STATISTICS = {"delay": "delay spread, ns", "angle": "spread of the direction cosine", "k": "K factor, dB"}
MOST_K = 40.0  # dB
PLACE = "the place's own paths"
Columns = dict[str, list[float]]


def run(setup: Setup) -> dict[str, Any]:
    """How deep the shadows of samples are is chosen on validation places; figures are of the links."""
    store, known = setup.store("links"), setup.store("validation")
    areas = AREAS[setup.budget]
    setup.note(data=store.manifest["recipe"], validation=known.manifest["recipe"], areas=areas)
    made: dict[str, list[list[dict[str, Columns]]]] = {}
    for folder, data in (("validation", known), ("links", store)):
        made[folder] = [
            [setup.once(f"{folder}-{name}-{seed}", partial(_area, setup.model, links, [seed, number]))
             for number, (name, links) in enumerate(some_areas(data, areas))]
            for seed in range(setup.seeds)
        ]  # fmt: skip
    chosen = min(SHADOWING, key=lambda db: np.mean([*_distances(made["validation"][0], str(db)).values()]))
    rows: dict[str, Any] = {}
    for name in (PLACE, *map(str, SHADOWING)):
        found = [_distances(parts, name) for parts in made["links"]]
        rows[name] = {key: spread([[one[key] for one in found]]) for key in STATISTICS}
    quantiles = {
        name: {key: np.quantile(_column(made["links"][0], name, key), (0.1, 0.5, 0.9)).tolist() for key in STATISTICS}
        for name in ("traced", PLACE, str(chosen))
    }
    links = len(_column(made["links"][0], "traced", "k"))
    return {"links": links, "areas": len(made["links"][0]), "chosen": chosen, "rows": rows, "quantiles": quantiles}


def _area(model: UniversalModel, links: Links, seed: list[int]) -> dict[str, Columns]:
    """Statistics of each link as traced, of its place's paths, and of a sample of each depth of shadows."""
    part = along_array(links)
    radio = Radio(carrier=part.one_radio().carrier)
    place = paths_of_place(model, batch_of(part, radio).environment.without("los"), radio)
    draw = torch.Generator().manual_seed(1000 * seed[0] + seed[1])
    out = {"traced": traced(part), PLACE: statistics(place)}
    return out | {str(db): statistics(sampled(place, db, draw)) for db in SHADOWING}


def traced(links: Links) -> Columns:
    """Of the paths as the tracer found them."""
    paths = links.paths
    owner, first = paths.link_of_path, paths.offsets[:-1]
    along = np.sin(paths.aod_zenith) * np.cos(paths.aod_azimuth - links.bearing[owner])
    width = int(paths.counts.max())
    cosine, delay, gain = (torch.zeros(len(links), width, dtype=kind)
                           for kind in (torch.float32, torch.float32, torch.complex64))  # fmt: skip
    column = np.arange(len(owner)) - first[owner]
    for tensor, values in ((cosine, along), (delay, paths.delay), (gain, paths.gain)):
        tensor[owner, column] = torch.from_numpy(np.ascontiguousarray(values)).to(tensor.dtype)
    return statistics(ReadPaths(cosine, delay, gain))


def statistics(paths: ReadPaths) -> Columns:
    """Root mean square delay spread and spread of the cosine, and the strongest path over all others, of each link."""
    power = paths.gain.abs().square().double()
    share = power / power.sum(1, keepdim=True)

    def deviation(values: Tensor) -> Tensor:
        mean = (share * values).sum(1, keepdim=True)
        return (share * (values - mean).square()).sum(1).sqrt()

    strongest = share.amax(1)
    k = 10 * (strongest / (1 - strongest).clamp_min(1e-12)).log10()
    return {
        "delay": (1e9 * deviation(paths.delay.double())).tolist(),
        "angle": deviation(paths.cosine.double()).tolist(),
        "k": k.clamp(-MOST_K, MOST_K).tolist(),
    }


def _column(parts: list[dict[str, Columns]], name: str, key: str) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(part[name][key]) for part in parts])


def _distances(parts: list[dict[str, Columns]], name: str) -> dict[str, float]:
    """Kolmogorov and Smirnov's distance of each statistic from the tracer's, over all links."""
    from scipy.stats import ks_2samp

    return {
        key: float(ks_2samp(_column(parts, "traced", key), _column(parts, name, key)).statistic) for key in STATISTICS
    }


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """How far distributions lie apart, and three quantiles of each."""
    about = f"{result['links']:,} links in {result['areas']} areas, {result['seeds']} draws"
    said = {PLACE: PLACE} | {str(db): f"samples, paths shadowed by {db} dB" for db in SHADOWING}
    said[str(result["chosen"])] += ", chosen on validation places"
    apart = [
        [said[name], *(plus_minus(row[key]["mean"], row[key]["spread"], 3) for key in STATISTICS)]
        for name, row in result["rows"].items()
    ]
    three = [
        [said.get(name, "traced"), *(" / ".join(f"{value:.3g}" for value in row[key]) for key in STATISTICS)]
        for name, row in result["quantiles"].items()
    ]
    return [
        (f"Largest distance between the distributions and the tracer's (0 to 1); {about}",
         Table(["", *STATISTICS.values()], apart)),
        ("10, 50 and 90 % of the links lie below", Table(["", *STATISTICS.values()], three)),
    ]  # fmt: skip


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """The distance against the shadows of samples, the place's own paths as lines."""
    axes = figure.subplots()
    for colour, (key, label) in enumerate(STATISTICS.items()):
        mean, error = ([result["rows"][str(db)][key][part] for db in SHADOWING] for part in ("mean", "spread"))
        axes.errorbar(SHADOWING, mean, error, fmt="o-", color=f"C{colour}", label=label)
        axes.axhline(result["rows"][PLACE][key]["mean"], color=f"C{colour}", linestyle=":")
    axes.set(xlabel="shadowing of paths, dB (dotted: the place's own paths)", ylabel="distance from the tracer")
    axes.legend(fontsize="small")


GENERATED_STATISTICS = Benchmark("", ("links", "validation"), run, tables, draw)
