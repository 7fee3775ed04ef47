"""CSI feedback counted in bits: SGCS of every subband beside the standard's codebooks, on several radios."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uniair.benchmark import feedback_latency
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.feedback_latency import latency
from uniair.benchmark.feedback_methods import (
    PATHS,
    PATHS_BESIDE,
    PER_AREA,
    FromTrainingPlaces,
    QuantisedAutoencoder,
    Sums,
    by_code,
    by_paths,
    standard,
)
from uniair.benchmark.sampled_links import Sample, SampledLinks
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.evaluation.port_panel import panel_of
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.files import write_text
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.radio import OFDM, UPA, Radio
from uniair.tasks.feedback_code import KNOWN
from uniair.tasks.path_code import PathCode
from uniair.tasks.path_laws import PathLaws
from uniair.training.feedback_adaptation import SUBBANDS, DecoderTraining, adapt_feedback, places_of
from uniair.training.heads import Adaptation, divide
from uniair.training.path_statistics import counted_laws
from uniair.training.pretraining import check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = {"embedding": 0, "searched": 30}
RADIOS = {
    "paper 1's radio": Radio(clock="first_path"),
    "32 ports, 8 × 2 × 2": Radio(UPA(2, 8, polarisation="slanted"), OFDM(52, 360e3), clock="first_path"),
    "panel of 8 × 8": Radio(UPA(8, 8), clock="first_path"),
}
Learned = Callable[[int], FromTrainingPlaces]  # of a seed
BESIDE = ("", *(f" + {known}" for known in KNOWN))
GENERAL, SPECIFIC = "autoencoder of training places", "autoencoder of the place"
OWN = "the place's own code"


@dataclass(frozen=True)
class Learning:
    """What is learned beside the model's codes of training places.

    Attributes:
        steps: of each autoencoder.
        areas, links: dense areas that are learned from, and links of each; a fifth of them is tested on.
        decoder: how a place's own decoder is tuned.
        repeats: of what is timed.
    """

    steps: int
    areas: int
    links: int
    decoder: DecoderTraining
    repeats: int


BUDGETS = {"quick": Sample(8, 12, 4096), "full": Sample(60, 50, 32_768)}
LEARNING = {
    "quick": Learning(400, 1, 1000, DecoderTraining(steps=100), 10),
    "full": Learning(3000, 2, 10_000, DecoderTraining(), 50),
}


def run(setup: Setup, *, save: Path | None = None) -> dict[str, Any]:
    """SGCS and bits of every method on the same links; what learns does so anew for each seed.

    With --dense also of what has learned from the place itself, in the dense areas.

    Args:
        save: file that laws of paths are written to, counted on the training places first; codes of paths go by the
            packaged ones (tasks/path_laws.json), which were made so.
    """
    sampled, own = SampledLinks.of(setup, BUDGETS[setup.budget]), LEARNING[setup.budget]
    radios = {name: sampled.at_carrier(plain) for name, plain in RADIOS.items()}
    if save is not None:
        write_text(save, json.dumps(_laws(setup.model, sampled).to_json()) + "\n")
    found: dict[str, dict[str, Any]] = {}
    places: dict[str, dict[str, Any]] = {}
    times: dict[str, dict[str, Any]] = {}
    for name, radio in radios.items():
        count = sampled.sample.train
        general = cache(partial(FromTrainingPlaces, setup.model, sampled.train, radio, count, own.steps))
        found[name] = _everywhere(setup, sampled, name, radio, general)
        if "dense" in setup.folders:
            places[name] = _on_places(setup, sampled, own, name, radio, general)
        timed = partial(_latency, sampled.areas[0][1], radio, general, own.repeats)
        times[name] = setup.once(f"{name}-latency-{PathCode(radio).digest}", timed)
    return {
        "areas": [name for name, _ in sampled.areas], "subbands": SUBBANDS, "links": sampled.count,
        "radios": {name: str(radio) for name, radio in radios.items()},
        "listed": {name: panel_of(radio).listed for name, radio in radios.items()},
        "rows": found, "places": places, "latency": times,
    }  # fmt: skip


def _everywhere(setup: Setup, sampled: SampledLinks, name: str, radio: Radio, general: Learned) -> dict[str, Any]:
    """Every method that knows nothing of the place, and side information, over the test areas."""
    rows: dict[str, list[list[list[float]]]] = {}
    for area, links in track(sampled.areas, "area", name):
        ours = [setup.once(f"{area}-{name}-{seed}", partial(_ours, links, radio, general, seed))
                for seed in range(setup.seeds)]  # fmt: skip
        scratch = [setup.once(f"{area}-{name}-{seed}-autoencoder", partial(_autoencoder, links, radio, general, seed))
                   for seed in range(setup.seeds)]  # fmt: skip
        alone = setup.once(f"{area}-{name}-standard", partial(_standard, links, radio))
        alone |= setup.once(f"{area}-{name}-paths-{PathCode(radio).digest}", partial(_paths, setup, links, radio))
        _add(rows, [alone])
        _add(rows, [one | other for one, other in zip(ours, scratch, strict=True)])
    return {key: _mean(values) for key, values in rows.items()}


def _laws(model: UniversalModel, sampled: SampledLinks) -> PathLaws:
    """Of the three radios, and of a clock at the transmission, on training places."""
    radios = [sampled.at_carrier(radio) for radio in (*RADIOS.values(), Radio())]
    areas = -(-sampled.sample.train // (len(radios) * PER_AREA))
    batches = (batch for radio in radios for batch in islice(places_of(sampled.train, radio, PER_AREA, 0), areas))
    return counted_laws(model, batches)


def _standard(links: Links, radio: Radio) -> Sums:
    return standard(batch_of(links, radio))


def _paths(setup: Setup, links: Links, radio: Radio) -> Sums:
    return by_paths(setup.model, batch_of(links, radio))


def _latency(links: Links, radio: Radio, general: Learned, repeats: int) -> dict[str, Any]:
    return latency(general(0).code, batch_of(links, radio), STEPS, repeats)


def _ours(links: Links, radio: Radio, general: Learned, seed: int) -> Sums:
    batch = batch_of(links, radio)
    parts = [by_code(name, general(seed).code, batch, steps) for name, steps in STEPS.items()]
    return {key: value for part in parts for key, value in part.items()}


def _autoencoder(links: Links, radio: Radio, general: Learned, seed: int) -> Sums:
    return general(seed).autoencoder.sums(GENERAL, batch_of(links, radio))


def _on_places(
    setup: Setup, sampled: SampledLinks, own: Learning, name: str, radio: Radio, general: Learned
) -> dict[str, Any]:
    """What has learned from a place itself, beside what has not, on a fifth of its links."""
    dense: Store = setup.store("dense").first(own.areas)
    check_split(sampled.train.areas, dense.areas)
    apart = replace(setup, out=setup.out / "places")
    apart.note(data=dense.manifest["recipe"], train=sampled.train.manifest["recipe"], links=own.links)
    rows: dict[str, list[list[list[float]]]] = {}
    for area, whole in track(zip(dense.areas, dense, strict=True), "area", f"{name}, dense", total=len(dense)):
        links = whole.select(np.random.default_rng(0).permutation(len(whole))[: own.links])
        _add(rows, [
            apart.once(f"{area}-{name}-{seed}", partial(_on_place, setup, links, own, radio, general, seed))
            for seed in range(setup.seeds)
        ])  # fmt: skip
    return {key: _mean(values) for key, values in rows.items()}


def _on_place(setup: Setup, links: Links, own: Learning, radio: Radio, general: Learned, seed: int) -> Sums:
    wanted, code = Adaptation(seed=seed), general(seed).code
    learn, test = divide(links, wanted)
    batch = batch_of(links, radio)
    held, mine = batch.select(test), batch.csi[learn]
    fitted = adapt_feedback(setup.model, links, wanted, own.decoder, radio, code)
    out = standard(held) | by_code("embedding", code, held, 0, beside=False) | by_code(OWN, fitted.code, held, 0)
    out |= general(seed).autoencoder.sums(GENERAL, held)
    return out | QuantisedAutoencoder.trained(mine, own.steps, seed).sums(SPECIFIC, held)


def _add(rows: dict[str, list[list[list[float]]]], found: list[Sums]) -> None:
    """Notes an area's sums of all seeds, of each key."""
    for key in found[0]:
        rows.setdefault(key, []).append([one[key] for one in found])


def _mean(values: list[list[list[float]]]) -> dict[str, Any]:
    """[areas][seeds] sums of links, bits and SGCS → their means over links, spread over seeds."""
    sums = np.array(values).sum(0)
    by_seed = sums[:, 1:] / sums[:, :1]
    return {"bits": float(by_seed[:, 0].mean()), "sgcs": spread([by_seed[:, 1].tolist()])}


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """Tables of bits and SGCS, one a radio, and how long it takes."""
    out = []
    counts = f"{result['links']} links in {len(result['areas'])} areas"
    for part, where in (("rows", counts), ("places", "a fifth of the links of dense areas")):
        for name, rows in result[part].items():
            body = [[key, f"{row['bits']:.1f}", plus_minus(row["sgcs"]["mean"], row["sgcs"]["spread"], 4)]
                    for key, row in rows.items()]  # fmt: skip
            known = "" if result["listed"][name] else "; a panel that the standard does not list, by its formulas"
            heading = f"SGCS over {result['subbands']} subbands, {name}: {result['radios'][name]}; {where}{known}"
            out.append((heading, Table(["feedback", "bits", "SGCS"], body)))
    return [_saved(result), *out, feedback_latency.table(result["latency"])]


def _saved(result: dict[str, Any]) -> tuple[str, Table]:
    """Bits of paths that reach the SGCS of each of the standard's codebooks, and what share that is of its own."""
    body = []
    for name, rows in result["rows"].items():
        curves = [_curve(rows, method) for method in (PATHS, PATHS_BESIDE)]
        for key, row in rows.items():
            if key.split(",")[0] not in ("Type I", "eType II") or not all(len(bits) for bits, _ in curves):
                continue
            cells = [name, key, f"{row['bits']:.1f}", f"{row['sgcs']['mean']:.4f}"]
            for bits, sgcs in curves:
                reached = float(np.interp(row["sgcs"]["mean"], sgcs, bits, left=math.nan, right=math.nan))
                known = not math.isnan(reached)
                cells.append(
                    f"{reached:.1f} ({100 * reached / row['bits']:.0f} %)" if known else "beyond what was tried"
                )
            body.append(cells)
    return ("Bits by which paths reach what the standard's codebooks reach, between the lengths that were tried",
            Table(["radio", "codebook", "bits", "SGCS", PATHS, PATHS_BESIDE], body))  # fmt: skip


def _curve(rows: dict[str, Any], method: str) -> tuple[list[float], list[float]]:
    """Bits and SGCS of a method's lengths, as far as more bits are better."""
    points = sorted((row["bits"], row["sgcs"]["mean"]) for key, row in rows.items() if key.split(",")[0] == method)
    best = [(bits, sgcs) for i, (bits, sgcs) in enumerate(points) if all(sgcs > other for _, other in points[:i])]
    return [bits for bits, _ in best], [sgcs for _, sgcs in best]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """SGCS against bits, a panel a radio."""
    every = figure.subplots(1, len(result["rows"]), sharey=True)
    ours = [f"{name}{known}" for name in STEPS for known in BESIDE]
    for axes, (name, rows) in zip(np.atleast_1d(every), result["rows"].items(), strict=True):
        for method in ("Type I", "eType II", PATHS, PATHS_BESIDE, GENERAL, *ours):
            some = [row for key, row in rows.items() if key.split(",")[0] == method]
            points = sorted((row["bits"], row["sgcs"]["mean"]) for row in some)
            axes.plot(*zip(*points, strict=True), marker="o", label=method)
        axes.set(title=name, xlabel="bits", xscale="log")
        axes.grid(alpha=0.3)
    every[0].set_ylabel("SGCS")
    every[0].legend(fontsize="small")


FEEDBACK = Benchmark("", ("links", "train"), run, tables, draw, may_use=("dense",))
