"""Channels drawn for places without a measurement: whether their spreads and K factors are the tracer's.

Over all links together, which a sampler can meet that ignores the place; and link by link, by a proper score. Beside
them stand paths that the model reads back from the true channel, which are of its resolution and know everything; and
two that know nothing but LOS: clusters of TR 38.901, and links of other places.
"""

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
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.evaluation.umi_clusters import clusters
from uniair.models.universal import ReadPaths, UniversalModel
from uniair.radio import Radio
from uniair.tasks.generation import paths_of_place, sampled
from uniair.training.pretraining import check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 12, "full": 100}
SHADOWING = (1, 3, 6, 9, 12, 15, 20)  # dB; TR 38.901 has 3 for clusters
STATISTICS = {"delay": "delay spread, ns", "angle": "spread of the direction cosine", "k": "K factor, dB"}
SCORED = {"delay": "lg(delay spread)", "angle": "lg(spread of the direction cosine)", "k": "K factor, dB"}
LEAST = {"delay": 0.1, "angle": 1e-3}  # that a logarithm is taken of
MOST_K = 40.0  # dB
DRAWS = 16  # of each link, for the score
TRACED, READ = "traced", "read back from the true channel"
PLACE, TOLD = "the place's own paths", "the place's own paths, LOS given"
STANDARD, ANOTHER = "TR 38.901, LOS given", "a validation link, LOS given"
Columns = dict[str, list[float]]


def run(setup: Setup) -> dict[str, Any]:
    """How deep the shadows of samples are is chosen on validation places; figures are of the links."""
    store, known = setup.store("links"), setup.store("validation")
    check_split(known.areas, store.areas)
    areas = AREAS[setup.budget]
    setup.note(data=store.manifest["recipe"], validation=known.manifest["recipe"], areas=areas)
    usual = _usual(known, areas)
    made: dict[str, list[list[dict[str, Columns]]]] = {}
    for folder, data in (("validation", known), ("links", store)):
        made[folder] = [
            [setup.once(f"{folder}-{name}-{seed}", partial(_area, setup.model, links, usual, [seed, number]))
             for number, (name, links) in enumerate(some_areas(data, areas))]
            for seed in range(setup.seeds)
        ]  # fmt: skip
    errors = {
        db: np.mean([value for parts in made["validation"] for value in _distances(parts, str(db)).values()])
        for db in SHADOWING
    }
    rows: dict[str, Any] = {}
    for name in (PLACE, TOLD, READ, *map(str, SHADOWING), STANDARD, ANOTHER):
        rows[name] = {
            figure: {key: spread([[measure(parts, name)[key] for parts in made["links"]]]) for key in STATISTICS}
            for figure, measure in (("distance", _distances), ("score", _score))
        }
    chosen = min(SHADOWING, key=lambda db: errors[db])
    quantiles = {
        name: {key: np.quantile(_column(made["links"][0], name, key), (0.1, 0.5, 0.9)).tolist() for key in STATISTICS}
        for name in (TRACED, PLACE, READ, str(chosen), STANDARD, ANOTHER)
    }
    links = len(_column(made["links"][0], TRACED, "k"))
    return {"links": links, "areas": len(made["links"][0]), "chosen": chosen, "draws": DRAWS, "rows": rows,
            "quantiles": quantiles}  # fmt: skip


def _usual(known: Store, areas: int) -> dict[bool, Columns]:
    """Statistics of the validation links, LOS and NLOS apart."""
    out: dict[bool, Columns] = {los: {key: [] for key in STATISTICS} for los in (True, False)}
    for _, links in some_areas(known, areas):
        part = along_array(links)
        for key, values in traced(part).items():
            for value, los in zip(values, part.los, strict=True):
                out[bool(los)][key].append(value)
    if not all(columns["k"] for columns in out.values()):
        raise InputError(f"{known.folder}: no LOS or no NLOS link in {areas} areas; give places of both")
    return out


def _area(model: UniversalModel, links: Links, usual: dict[bool, Columns], seed: list[int]) -> dict[str, Columns]:
    """Of each link, as traced, by the place, read back, and of draws: statistics of one, and the score of all."""
    part = along_array(links)
    radio = Radio(carrier=part.one_radio().carrier)
    batch = batch_of(part, radio)
    place, told = (paths_of_place(model, env, radio) for env in (batch.environment.without("los"), batch.environment))
    read = model.read_paths(model.encode_channel(batch.csi, radio))
    draw, rng = torch.Generator().manual_seed(1000 * seed[0] + seed[1]), np.random.default_rng(seed)

    def another() -> Columns:
        which = [int(rng.integers(len(usual[bool(los)]["k"]))) for los in part.los]
        return {
            key: [usual[bool(los)][key][i] for los, i in zip(part.los, which, strict=True)] for key in STATISTICS
        }  # fmt: skip

    truth = traced(part)
    drawn: dict[str, list[Columns]] = {PLACE: [statistics(place)], TOLD: [statistics(told)], READ: [statistics(read)]}
    for db in SHADOWING:
        drawn[str(db)] = [statistics(sampled(place, db, draw)) for _ in range(DRAWS)]
    drawn[STANDARD] = [statistics(clusters(part.bs, part.ue, part.los, radio.carrier, rng)) for _ in range(DRAWS)]
    drawn[ANOTHER] = [another() for _ in range(DRAWS)]

    def score(key: str, some: list[Columns]) -> list[float]:
        return crps(_scored(key, [one[key] for one in some]), _scored(key, truth[key])).tolist()

    return {TRACED: truth} | {
        name: some[0] | {f"{key} score": score(key, some) for key in STATISTICS} for name, some in drawn.items()
    }


def _scored(key: str, values: Any) -> NDArray[np.float64]:
    """In the unit that is scored."""
    found = np.asarray(values, dtype=np.float64)
    return np.log10(np.maximum(found, LEAST[key])) if key in LEAST else found


def crps(draws: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continuous ranked probability score of N links, unbiased in the count of draws: E|X − y| − E|X − X'| / 2.

    Lower is better; of a single draw it is the absolute error (Gneiting and Raftery, "Strictly proper scoring rules,
    prediction, and estimation", 2007, eq. 21).

    Args:
        draws: [D, N].
        truth: [N].
    """
    count = len(draws)
    apart = np.abs(draws[:, None] - draws[None]).sum((0, 1)) / max(count * (count - 1), 1)
    return np.asarray(np.abs(draws - truth).mean(0) - apart / 2)


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
        key: float(ks_2samp(_column(parts, TRACED, key), _column(parts, name, key)).statistic) for key in STATISTICS
    }


def _score(parts: list[dict[str, Columns]], name: str) -> dict[str, float]:
    """Mean score over all links."""
    return {key: float(_column(parts, name, f"{key} score").mean()) for key in STATISTICS}


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """How far distributions lie apart, how well each link is told, and three quantiles."""
    about = f"{result['links']:,} links in {result['areas']} areas, {result['seeds']} seeds"
    said = {str(db): f"samples, paths shadowed by {db} dB" for db in SHADOWING}
    said[str(result["chosen"])] += ", chosen on validation places"

    def table(figure: str, names: Mapping[str, str]) -> Table:
        cells = (
            [said.get(name, name), *(plus_minus(row[figure][key]["mean"], row[figure][key]["spread"], 3)
                                     for key in STATISTICS)]
            for name, row in result["rows"].items()
        )  # fmt: skip
        return Table(["", *names.values()], list(cells))

    three = [
        [said.get(name, name), *(" / ".join(f"{value:.3g}" for value in row[key]) for key in STATISTICS)]
        for name, row in result["quantiles"].items()
    ]
    return [
        (f"Largest distance between the distributions and the tracer's (0 to 1), which a sampler that knows nothing of "
         f"the place can meet; {about}", table("distance", STATISTICS)),
        (f"How well each link is told: CRPS, lower is better, the absolute error where nothing is drawn; "
         f"{result['draws']} draws a link; {about}", table("score", SCORED)),
        ("10, 50 and 90 % of the links lie below", Table(["", *STATISTICS.values()], three)),
    ]  # fmt: skip


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """Distance and score against the shadows of samples; as lines the place's own paths and validation links drawn."""
    every = figure.subplots(1, 2)
    for axes, part in zip(every, ("distance", "score"), strict=True):
        for colour, (key, label) in enumerate(STATISTICS.items()):
            unit = result["rows"][ANOTHER][part][key]["mean"] if part == "score" else 1.0
            mean = [result["rows"][str(db)][part][key]["mean"] / unit for db in SHADOWING]
            axes.plot(SHADOWING, mean, "o-", color=f"C{colour}", label=label)
            for row, line in ((PLACE, ":"), (ANOTHER, "--")):
                axes.axhline(result["rows"][row][part][key]["mean"] / unit, color=f"C{colour}", linestyle=line)
        axes.set_xlabel("shadowing of paths, dB")
    every[0].set_ylabel("distance from the tracer")
    every[1].set_ylabel("CRPS over that of validation links")
    every[0].legend(fontsize="x-small", title="dotted: the place's own paths; dashed: validation links",
                    title_fontsize="xx-small")  # fmt: skip


GENERATED_STATISTICS = Benchmark("", ("links", "validation"), run, tables, draw)
