"""Short pretraining runs that are compared with each other: same held-out links, one thing changed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from uniair.benchmark.benchmark import Setup
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.store import Stores
from uniair.evaluation.tables import plus_minus
from uniair.evaluation.zero_shot_suite import sample, zero_shot_suite
from uniair.models.presets import Preset
from uniair.models.universal import RadioWarning
from uniair.radio import OFDM, UPA, Radio
from uniair.tasks.alignment import Alignment
from uniair.training.distributed import World
from uniair.training.loop import Optimisation
from uniair.training.packaged_recipe import BATCHES
from uniair.training.pretraining import pretrain

MEASURED_LINKS = 1500  # of each folder
TRAIN, VALIDATION = ("train", "train_mixed"), ("validation", "validation_mixed")
NEEDS = (*TRAIN, *VALIDATION)


@dataclass(frozen=True)
class Column:
    """A figure on held-out links.

    Attributes:
        name: as tables show it.
        folder: of the links.
        radio: that sees them.
        figure: of `zero_shot_suite`.
    """

    name: str
    folder: str
    radio: Radio
    figure: str


UNSEEN = Radio(UPA(4, 8), OFDM(106, 180e3))
FIRST_PATH = Radio(clock="first_path")
CALIBRATED = Radio(calibrated=True)
COLUMNS = {
    "los": Column("LOS", "validation", Radio(), "los"),
    "los_map": Column("LOS, no positions", "validation", Radio(), "los_map"),
    "scale": Column("scale", "validation", Radio(), "scale"),
    "top1": Column("top-1", "validation", Radio(), "top1"),
    "top5": Column("top-5", "validation", Radio(), "top5"),
    "nmse_db": Column("NMSE dB", "validation", Radio(), "nmse_db"),
    "unseen_top1": Column("unseen radio, top-1", "validation", UNSEEN, "top1"),
    "first_path_top1": Column("first-path clock, top-1", "validation", FIRST_PATH, "top1"),
    "mixed_los": Column("masts, LOS", "validation_mixed", CALIBRATED, "los"),
    "mixed_top1": Column("masts, top-1", "validation_mixed", CALIBRATED, "top1"),
}


def stores(setup: Setup, folders: Sequence[str] = TRAIN, most: int | None = None) -> Stores:
    """What is trained on: all areas of the folders, or at most so many of each."""
    return Stores([setup.store(name).first(most) for name in folders])


def noted(setup: Setup) -> dict[str, Any]:
    """The recipes of the folders, by name."""
    return {name: setup.store(name).manifest["recipe"] for name in NEEDS}


def trained(
    setup: Setup,
    key: str,
    shape: Preset,
    data: Sequence[Links],
    task: Alignment,
    optimisation: Optimisation,
) -> dict[str, float]:
    """Trains into the setup's `runs/KEY` and measures on whole areas of both validation folders.

    A run that has finished is not made again; one that was stopped goes on from its last state.
    """

    def figures() -> dict[str, float]:
        held_out = {name: shards.read(setup.folders[name]) for name in VALIDATION}
        folder = setup.out / "runs" / key
        watched = held_out if shape.radios == "any" else {}  # weights of one radio are trained beside links of it alone
        model = pretrain(shape, data, watched, task, BATCHES, optimisation, folder, World.alone())
        asked = dict.fromkeys((column.folder, column.radio) for column in COLUMNS.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RadioWarning)  # some have learned less than they are asked
            found = {
                (name, radio): zero_shot_suite(model, sample(held_out[name], MEASURED_LINKS, seed=0), radio=radio)
                for name, radio in asked
            }
        return {key: found[one.folder, one.radio].values()[one.figure] for key, one in COLUMNS.items()}

    found: dict[str, float] = setup.once(key, figures)
    return found


def cells(mean: dict[str, Any], spread: dict[str, Any]) -> list[str]:
    """One row of a table with the `COLUMNS`."""
    return [
        plus_minus(mean[c], spread[c], 2) if c.endswith("_db") else plus_minus(mean[c], spread[c], 1, 100)
        for c in COLUMNS
    ]


def heads() -> list[str]:
    """The heads of that table's columns."""
    return [column.name for column in COLUMNS.values()]
