"""CSI feedback counted in bits: SGCS of every subband beside the standard's codebooks, on several radios."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.evaluation.enhanced_type_ii_codebook import COMBINATIONS, enhanced_type_ii
from uniair.evaluation.port_panel import panel_of, subband_directions
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.evaluation.type_i_codebook import type_i
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.radio import OFDM, UPA, Radio
from uniair.tasks.feedback_code import KNOWN, LENGTHS, FeedbackCode
from uniair.tasks.path_code import PathCode
from uniair.training.feedback_adaptation import SUBBANDS, Channels, learned, places_of
from uniair.training.pretraining import check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = {"embedding": 0, "searched": 30}
RADIOS = {
    "paper 1's radio": Radio(clock="first_path"),
    "32 ports, 8 × 2 × 2": Radio(UPA(2, 8, polarisation="slanted"), OFDM(52, 360e3), clock="first_path"),
    "panel of 8 × 8": Radio(UPA(8, 8), clock="first_path"),
}
BESIDE = ("", *(f" + {known}" for known in KNOWN))
PER_AREA = 64  # most links of a training area that codes are learned from
Sums = dict[str, list[float]]


@dataclass(frozen=True)
class BitBudget:
    """How much is measured.

    Attributes:
        areas, links: of the test; links of each area.
        codes: training channels that a code is learned from.
    """

    areas: int
    links: int
    codes: int


BUDGETS = {"quick": BitBudget(8, 12, 4096), "full": BitBudget(60, 50, 32_768)}


def run(setup: Setup) -> dict[str, Any]:
    """SGCS and bits of every method on the same links; codes are learned anew for each seed."""
    budget, train = BUDGETS[setup.budget], setup.store("train")
    store = setup.store("links")
    check_split(train.areas, store.areas)
    setup.note(data=store.manifest["recipe"], train=train.manifest["recipe"], areas=budget.areas, links=budget.links)
    found: dict[str, dict[str, list[list[list[float]]]]] = {}
    carrier, areas = store.one_radio().carrier, list(some_areas(store, budget.areas))
    for radio_name, plain in RADIOS.items():
        radio, rows = replace(plain, carrier=carrier), found.setdefault(radio_name, {})
        code = cache(partial(learned_code, setup.model, train, radio, budget.codes))
        for number, (name, links) in enumerate(track(areas, "area", radio_name)):
            some = links.select(np.arange(len(links))[: budget.links])
            standard = setup.once(f"{name}-{radio_name}-standard", partial(_standard, some, radio))
            ours = [
                setup.once(f"{name}-{radio_name}-{seed}", partial(_ours, setup.model, some, radio, code, seed))
                for seed in range(setup.seeds)
            ]
            paths = setup.once(f"{name}-{radio_name}-paths", partial(_paths, setup.model, some, radio))
            for key, value in (standard | paths).items():
                rows.setdefault(key, [[] for _ in areas])[number] = [value]
            for key in ours[0]:
                rows.setdefault(key, [[] for _ in areas])[number] = [one[key] for one in ours]
    return {
        "areas": [name for name, _ in areas], "subbands": SUBBANDS,
        "links": sum(min(len(links), budget.links) for _, links in areas),
        "radios": {name: str(replace(radio, carrier=carrier)) for name, radio in RADIOS.items()},
        "listed": {name: panel_of(radio).listed for name, radio in RADIOS.items()},
        "rows": {name: {key: _mean(values) for key, values in rows.items()} for name, rows in found.items()},
    }  # fmt: skip


def _mean(values: list[list[list[float]]]) -> dict[str, Any]:
    """[areas][seeds] sums of links, bits and SGCS → their means over links, spread over seeds."""
    sums = np.array(values).sum(0)
    by_seed = sums[:, 1:] / sums[:, :1]
    return {"bits": float(by_seed[:, 0].mean()), "sgcs": spread([by_seed[:, 1].tolist()])}


def learned_code(model: UniversalModel, train: Store, radio: Radio, count: int, seed: int) -> FeedbackCode:
    """From about so many channels of training places."""
    batches = islice(places_of(train, radio, PER_AREA, seed), -(-count // PER_AREA))
    return learned(model, Channels.of(model, batches), radio, seed)


def _alike(precoders: Tensor, target: Tensor) -> float:
    """SGCS of rank 1, summed over links."""
    alike = metrics.cosine_squared(precoders.transpose(1, 2), target.transpose(1, 2))
    return float(alike.mean((1, 2)).sum())


def _standard(links: Links, radio: Radio) -> Sums:
    """Links, bits and SGCS of the codebooks, summed over the links of an area."""
    csi = batch_of(links, radio).csi
    target = subband_directions(csi, radio, SUBBANDS)
    reports = {"Type I": type_i(csi, radio, SUBBANDS)}
    for number in COMBINATIONS:
        if number < 7 or radio.array.ports >= 32:
            reports[f"eType II, {number}"] = enhanced_type_ii(csi, radio, number, SUBBANDS)
    return {
        name: [float(len(csi)), float(report.bits.sum()), _alike(report.precoders, target)]
        for name, report in reports.items()
    }


def _paths(model: UniversalModel, links: Links, radio: Radio) -> Sums:
    """The same of paths that are fitted, rounded and written again."""
    csi, code, out = batch_of(links, radio).csi, PathCode(radio), {}
    target = subband_directions(csi, radio, SUBBANDS)
    for length in (one for one in LENGTHS if one >= code.each):
        restored = code.decode(code.encode(model, csi, length))
        alike = _alike(subband_directions(restored, radio, SUBBANDS), target)
        out[f"paths, {length}"] = [float(len(csi)), float(len(csi) * length), alike]
    return out


def _ours(model: UniversalModel, links: Links, radio: Radio, code: Any, seed: int) -> Sums:
    """The same of the model's codes, from the embedding as it is and with search."""
    batch = batch_of(links, radio)
    csi, target, out = batch.csi, subband_directions(batch.csi, radio, SUBBANDS), {}
    places = {name: model.encode_environment(batch.environment.without(*unknown)) for name, unknown in KNOWN.items()}
    own: FeedbackCode = code(seed)
    for name, steps in STEPS.items():
        for length in LENGTHS:
            sent = own.encode(csi, length, steps)
            for known, place in ((None, None), *places.items()):
                written = subband_directions(own.decode(sent, None, known, place), radio, SUBBANDS)
                by = name if known is None else f"{name} + {known}"
                out[f"{by}, {length}"] = [float(len(csi)), float(len(csi) * length), _alike(written, target)]
    return out


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """A table a radio: bits and SGCS."""
    out = []
    for name, rows in result["rows"].items():
        body = [[key, f"{row['bits']:.1f}", plus_minus(row["sgcs"]["mean"], row["sgcs"]["spread"], 4)]
                for key, row in rows.items()]  # fmt: skip
        known = "" if result["listed"][name] else "; a panel that the standard does not list, by its formulas"
        counts = f"{result['links']} links in {len(result['areas'])} areas"
        heading = f"SGCS over {result['subbands']} subbands, {name}: {result['radios'][name]}; {counts}{known}"
        out.append((heading, Table(["feedback", "bits", "SGCS"], body)))
    return out


def draw(result: dict[str, Any], figure: Figure) -> None:
    """SGCS against bits, a panel a radio."""
    every = figure.subplots(1, len(result["rows"]), sharey=True)
    for axes, (name, rows) in zip(np.atleast_1d(every), result["rows"].items(), strict=True):
        for method in ("Type I", "eType II", "paths", *(f"{name}{known}" for name in STEPS for known in BESIDE)):
            some = [row for key, row in rows.items() if key.split(",")[0] == method]
            points = sorted((row["bits"], row["sgcs"]["mean"]) for row in some)
            axes.plot(*zip(*points, strict=True), marker="o", label=method)
        axes.set(title=name, xlabel="bits", xscale="log")
        axes.grid(alpha=0.3)
    every[0].set_ylabel("SGCS")
    every[0].legend(fontsize="small")


FEEDBACK = Benchmark("", ("links", "train"), run, tables, draw)
