"""LOS, scale, matching and feedback over every held-out link, by place, and how well calibrated the answers are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.feedback import SEARCHED, fidelity
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.evaluation.tables import Table
from uniair.evaluation.zero_shot_suite import Figure, answer, figures_of, untrained
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PAPER = {"los_map": "92.31 %", "scale": "90.11 %"}
EVERY = 8  # of the links, one is taken for the code search, which costs a hundred passes
SHOWN = {
    "los": "LOS", "los_geometry": "LOS, no channel", "los_map": "LOS, no positions", "scale": "scale", "top1": "top-1",
    "top5": "top-5",
}  # fmt: skip


def run(setup: Setup) -> dict[str, Any]:
    """The suite on every link of `--links`; nothing is drawn, so the spread is that of the places."""
    store = setup.store("links")
    setup.note(links=store.manifest["recipe"])

    def figures(model: UniversalModel) -> dict[str, Any]:
        links = shards.read(setup.folders["links"])
        answers = answer(model, links, progress=True)
        place = links.places[answers.area]
        by_place = {name: figures_of(answers.select(place == name)) for name in sorted(set(links.places))}
        return {
            "figures": {key: vars(figure) for key, figure in figures_of(answers).items()},
            "by_place": {name: {key: f.value for key, f in found.items()} for name, found in by_place.items()},
        }

    models = {"model": setup.model, "untrained": untrained(setup.model)}
    # under "model" and "untrained" folders of before hold LOS with power by the rule for weights of one radio
    found = {name: setup.once(f"{name}-calibrated", partial(figures, model)) for name, model in models.items()}
    return {"links": store.links, "areas": len(store), "search": setup.once("search", partial(_search, setup))} | found


def _search(setup: Setup) -> dict[str, Any]:
    """CSI feedback with and without the sender's search for a better code, on every `EVERY`th link."""
    links = shards.read(setup.folders["links"])
    kept = links.select(np.arange(0, len(links), EVERY))
    restored: dict[int, list[Any]] = {0: [], SEARCHED: []}
    for area in track(kept.split(), "area", "code search"):
        csi = batch_of(area).csi
        for steps, parts in restored.items():
            parts.append(zero_shot.feedback(setup.model, csi, steps))
    return {
        str(steps): fidelity(*(torch.cat(part) for part in zip(*parts, strict=True)))
        for steps, parts in restored.items()
    } | {"links": len(kept)}


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """All links, and place by place."""
    places = result["model"]["by_place"]
    rows = []
    for key, entry in result["model"]["figures"].items():
        name, value, reference = Figure(**entry).text()
        values = [found[key] for found in places.values() if key in found]
        spread = f"{100 * np.std(values):.1f}" if entry["unit"] == "%" else f"{np.std(values):.2f}"
        plain = Figure(**result["untrained"]["figures"][key]).text()[1]
        rows.append([name, value, spread, plain, reference, PAPER.get(key, "")])
    head = ["", result["preset"], "± over places", "untrained", "reference", "paper"]
    shown = _shown(result)
    by_place = [
        [name, *(f"{100 * found[key]:.1f}" for key in shown), f"{found['nmse_db']:.2f}"]
        for name, found in places.items()
    ]
    search = result["search"]
    fed_back = [
        [name, *(f"{search[str(steps)][key]:.{digits}f}" for steps in (0, SEARCHED))]
        for key, name, digits in (("nmse_db", "NMSE, dB", 2), ("sgcs", "SGCS", 3))
    ]
    return [
        (f"{result['links']:,} links in {result['areas']} areas of {len(places)} places", Table(head, rows)),
        ("Place by place, %, and NMSE in dB", Table(["place", *shown.values(), "NMSE"], by_place)),
        (f"CSI feedback when the sender improves its code against the decoder first, {search['links']:,} links",
         Table(["", "the embedding", f"after {SEARCHED} steps"], fed_back)),
    ]  # fmt: skip


def _shown(result: dict[str, Any]) -> dict[str, str]:
    """Those of `SHOWN` that a result has: of before it tells nothing of geometry."""
    return {key: name for key, name in SHOWN.items() if key in result["model"]["figures"]}


def draw(result: dict[str, Any], figure: Drawing) -> None:
    """Each place's figures as points, the mean over all links as a bar."""
    axes, shown = figure.subplots(), _shown(result)
    for i, key in enumerate(shown):
        axes.bar(i, 100 * result["model"]["figures"][key]["value"], color="#9ecae1")
        values = [100 * found[key] for found in result["model"]["by_place"].values()]
        axes.plot(np.full(len(values), i), values, "o", color="#08519c", markersize=4)
        axes.plot(i, 100 * result["untrained"]["figures"][key]["value"], "x", color="black")
    axes.set_xticks(range(len(shown)), list(shown.values()))
    axes.set_ylabel("accuracy, % (points: places, crosses: untrained)")
    axes.set_ylim(0, 100)


ZERO_SHOT = Benchmark(
    "LOS 92.31 % and scale 90.11 % over 250,000 links of WAIR-D (IV-B, IV-D-4).", ("links",), run, tables, draw,
)  # fmt: skip
