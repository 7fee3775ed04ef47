"""What each departure from paper 1 is worth: variants of `small`, same data, same steps, same seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uniair.benchmark.suites import sample, zero_shot_suite
from uniair.data.links import Links
from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.presets import Preset
from uniair.tasks.alignment import Alignment
from uniair.training.checkpoint import load_model
from uniair.training.distributed import World
from uniair.training.pretraining import Batches, pretrain
from uniair.training.trainer import Optimisation

MEASURED_LINKS = 3000
COLUMNS = ("los", "los_map", "scale", "top1", "top5", "nmse_db")


@dataclass(frozen=True)
class Variant:
    """One row: what differs from the full recipe, as changes to the preset and the task."""

    what: str
    preset: dict[str, Any]
    task: dict[str, Any]


VARIANTS = {
    "full": Variant("the packaged recipe", {}, {}),
    "other_areas": Variant("negatives from other areas alone", {}, {"same_area_negatives": False}),
    "no_hypotheses": Variant("no explicit wrong hypotheses", {}, {"hypotheses": False}),
    "fixed_temperature": Variant("temperature fixed at 0.07", {}, {"learned_temperature": False}),
    "class_token": Variant("class token instead of the mean", {"pool": "class"}, {}),
    "no_corridor": Variant("no corridor from BS to UE", {"corridor": (0, 0)}, {}),
    "vector": Variant("positions as 8 plain numbers", {"positions": "vector"}, {}),
    "frequency": Variant("CSI by antenna and subcarrier", {"csi_domain": "frequency"}, {}),
    "joint": Variant("joint attention over map and positions", {"attention": "joint"}, {}),
}


def ablate(
    names: list[str],
    preset: Preset,
    data: Sequence[Links],
    held_out: Links,
    optimisation: Optimisation,
    out: Path,
    world: World,
) -> dict[str, dict[str, float]]:
    """Trains each variant into `out/NAME` (finished ones are kept) and measures it on a seeded sample of the
    held-out links, whole areas, at least `MEASURED_LINKS`.

    Returns:
        Zero-shot figures by variant, also in `out/ablation.json`.

    Raises:
        InputError: no such variant, or a place on both sides.
    """
    if unknown := sorted(set(names) - set(VARIANTS)):
        raise InputError(f"--variants: {', '.join(unknown)} unknown; choose among {', '.join(VARIANTS)}")
    measured = sample(held_out, MEASURED_LINKS, seed=0)
    figures: dict[str, dict[str, float]] = {}
    for name in names:
        variant, folder = VARIANTS[name], out / name
        result = folder / "figures.json"
        budget = {"preset": preset.name, "steps": optimisation.steps, "seed": optimisation.seed, "links": len(measured)}
        if not result.exists():
            shape, task = replace(preset, **variant.preset), replace(Alignment(), **variant.task)
            batches = Batches(areas=8, links_per_area=24)
            pretrain(shape, data, held_out, task, batches, optimisation, folder, world)
            values = zero_shot_suite(load_model(folder), measured).values()
            write_text(result, json.dumps({"budget": budget, "figures": values}))
        entry = json.loads(result.read_text(encoding="utf-8"))
        if entry["budget"] != budget:
            raise InputError(f"{result}: from a run with another budget {entry['budget']}; give another --out")
        figures[name] = entry["figures"]
    write_text(out / "ablation.json", json.dumps({"budget": budget, "figures": figures}, indent=1) + "\n")
    return figures
