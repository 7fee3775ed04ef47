"""Short pretraining runs that are compared with each other: same held-out links, one thing changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uniair.benchmark.benchmark import Setup
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.evaluation.tables import plus_minus
from uniair.evaluation.zero_shot_suite import sample, zero_shot_suite
from uniair.models.presets import Preset
from uniair.tasks.alignment import Alignment
from uniair.training.distributed import World
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches, pretrain

MEASURED_LINKS = 3000
# recipes/pretrain-small.yaml, but for the number of steps
TASK = Alignment(reconstruction_weight=2.0, profile_weight=0.5, noisy=0.2)
OPTIMISATION = Optimisation(learning_rate=7e-4, matrix_rate=2e-3, warmup=0.05)
BATCHES = Batches(areas=6, links_per_area=32)
COLUMNS = {
    "los": "LOS", "los_map": "LOS, no positions", "scale": "scale", "top1": "top-1", "top1_nlos": "top-1 NLOS",
    "top5": "top-5", "nmse_db": "NMSE dB",
}  # fmt: skip


def trained(
    setup: Setup,
    key: str,
    shape: Preset,
    data: Sequence[Links],
    task: Alignment,
    optimisation: Optimisation,
) -> dict[str, float]:
    """Trains into the setup's `runs/KEY` and measures on whole areas of `--validation`, at least `MEASURED_LINKS`.

    A run that has finished is not made again; one that was stopped goes on from its last state.
    """

    def figures() -> dict[str, float]:
        held_out = shards.read(setup.folders["validation"])
        folder = setup.out / "runs" / key
        model = pretrain(shape, data, {"validation": held_out}, task, BATCHES, optimisation, folder, World.alone())
        return zero_shot_suite(model, sample(held_out, MEASURED_LINKS, seed=0)).values()

    found: dict[str, float] = setup.once(key, figures)
    return found


def cells(mean: dict[str, Any], spread: dict[str, Any]) -> list[str]:
    """One row of a table with the `COLUMNS`."""
    return [
        plus_minus(mean[c], spread[c], 2) if c.endswith("_db") else plus_minus(mean[c], spread[c], 1, 100)
        for c in COLUMNS
    ]
