"""What each part of the recipe is worth: variants of it, same data, same steps, same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.trained import COLUMNS, NEEDS, TRAIN, cells, heads, noted, stores, trained
from uniair.evaluation.tables import Table
from uniair.models.presets import preset
from uniair.training.packaged_recipe import OPTIMISATION, TASK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = {"quick": 150, "full": 1000}
SHOWN = ("scale", "top1", "top5")


@dataclass(frozen=True)
class Variant:
    """What differs from the full recipe, as changes to the preset, the task and the optimisation, and the folders."""

    what: str
    preset: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    optimisation: dict[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = TRAIN


VARIANTS = {
    "full": Variant("the recipe"),
    "no_rays": Variant("no rays over the map", {"rays": 0}),
    "no_corridor": Variant("no window along the line from BS to UE", {"line_window": (0, 0)}),
    "vector": Variant("positions as 8 plain numbers, no rays, no such window",
                      {"positions": "vector", "rays": 0, "line_window": (0, 0)}),
    "mean": Variant("mean of the tokens", {"pool": "mean"}),
    "class_token": Variant("class token", {"pool": "class"}),
    "joint": Variant("joint attention over map and positions", {"attention": "joint"}),
    "no_hypotheses": Variant("no explicit wrong hypotheses", task={"hypotheses": False}),
    "no_bare_los": Variant("LOS without positions not asked for itself", task={"bare_los": 0.0}),
    "other_areas": Variant("negatives from other areas alone", task={"same_area_negatives": False}),
    "fixed_temperature": Variant("temperature fixed at 0.07", task={"learned_temperature": False}),
    "no_place": Variant("channels not told by places", task={"place_profile_weight": 0.0}),
    "one_campaign": Variant("any radio, but one carrier and low masts alone", folders=("train",)),
    "one_radio": Variant("one radio, carrier and clock, flat maps", {"radios": "one"}, folders=("train",)),
    "adamw": Variant("AdamW for the matrices too", optimisation={"matrix_rate": 0.0}),
}  # fmt: skip
QUICK = (
    "full",
    "no_rays",
    "vector",
    "mean",
    "no_hypotheses",
    "no_bare_los",
    "no_place",
    "one_campaign",
    "one_radio",
    "adamw",
)


def run(setup: Setup) -> dict[str, Any]:
    """Every variant with every seed, trained at `tiny` from scratch; `quick` trains fewer variants and shorter."""
    links, shape = stores(setup).links, preset("tiny")
    names = VARIANTS if setup.full else QUICK
    steps = STEPS[setup.budget]
    setup.note(steps=steps, preset=shape.name, links=links, **noted(setup))
    rows = {}
    for name in names:
        variant = VARIANTS[name]
        found = [
            trained(
                setup, f"{name}-{seed}", replace(shape, **variant.preset), stores(setup, variant.folders),
                replace(TASK, **variant.task),
                replace(OPTIMISATION, steps=steps, save_every=steps, seed=seed, **variant.optimisation),
            )
            for seed in range(setup.seeds)
        ]  # fmt: skip
        rows[name] = {
            "what": variant.what,
            "mean": {c: float(np.mean([one[c] for one in found])) for c in COLUMNS},
            "spread": {c: float(np.std([one[c] for one in found])) for c in COLUMNS},
        }
    return {"steps": steps, "trained_preset": shape.name, "training_links": links, "rows": rows}


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """One row a variant."""
    heading = (f"`{result['trained_preset']}`, {result['steps']} steps on {result['training_links']:,} links, held-out "
               f"validation places; %, mean ± spread over {result['seeds']} seeds")  # fmt: skip
    rows = [[row["what"], *cells(row["mean"], row["spread"])] for row in result["rows"].values()]
    return [(heading, Table(["", *heads()], rows))]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Bars: how much is lost without each part."""
    axes = figure.subplots()
    full = result["rows"]["full"]["mean"]
    others = {name: row for name, row in result["rows"].items() if name != "full"}
    at = np.arange(len(others))
    for i, column in enumerate(SHOWN):
        change = [100 * (row["mean"][column] - full[column]) for row in others.values()]
        axes.barh(at + (i - 1) * 0.27, change, 0.25, label=COLUMNS[column].name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(at, [row["what"] for row in others.values()])
    axes.invert_yaxis()
    axes.set_xlabel("change against the full recipe, percentage points")
    axes.legend()


ABLATION = Benchmark(
    "trains its own recipe alone (III-A-2 argues for CRNN, III-A-3 for MSNN).",
    NEEDS, run, tables, draw,
)  # fmt: skip
