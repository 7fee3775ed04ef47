"""Train variants of `small` on the same budget and compare them on held-out places.

Each variant departs from the packaged recipe in one thing. A variant that has finished is not trained again.

Example: uniair bench --train runs/train --validation runs/validation --out runs/ablation --steps 300
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.benchmark.ablation import COLUMNS, VARIANTS, ablate
from uniair.data import shards
from uniair.models.presets import PRESETS, preset
from uniair.training.distributed import world
from uniair.training.trainer import Optimisation


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--train", type=str, required=True, help="links folder to train on")
    parser.add_argument("--validation", type=str, required=True, help="links folder of other places, to measure on")
    parser.add_argument("--out", type=str, required=True, help="folder for the runs and ablation.json")
    parser.add_argument("--preset", type=str, default="small", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--variants", type=list[str], default=list(VARIANTS), help=f"which of {', '.join(VARIANTS)}")
    parser.add_argument("--steps", type=int, default=300, help="training steps of each variant")
    parser.add_argument("--learning_rate", type=float, default=7e-4, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")


def run(options: Any) -> dict[str, Any]:
    """Trains, measures and prints the table."""
    optimisation = Optimisation(
        steps=options.steps, learning_rate=options.learning_rate, warmup=0.1, save_every=100, seed=options.seed
    )
    train_links, held_out = shards.read(options.train), shards.read(options.validation)
    with world() as here:
        figures = ablate(
            options.variants, preset(options.preset), train_links, held_out, optimisation, Path(options.out), here
        )
    print(
        f"{len(held_out):,} links of {', '.join(sorted(set(held_out.places)))}; "
        f"{options.steps} steps, seed {options.seed}"
    )
    print(f"{'':42}" + "".join(f"{column:>9}" for column in COLUMNS))
    for name, values in figures.items():
        cells = [values[c] if c.endswith("_db") else 100 * values[c] for c in COLUMNS]
        print(f"{VARIANTS[name].what:42}" + "".join(f"{cell:9.1f}" for cell in cells))
    return {"steps": options.steps, "seed": options.seed, "figures": figures}
