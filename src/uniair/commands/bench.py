"""Measure: `pretraining` trains variants on the same budget, `synthesis` times CSI from paths.

pretraining needs --train, --validation and --out; each variant departs from the packaged recipe in one thing and is
measured on the held-out places, and one that has finished is not trained again.

Example:
  uniair bench pretraining --train runs/train --validation runs/validation --out runs/ablation --steps 300
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.benchmark.ablation import COLUMNS, VARIANTS, ablate
from uniair.benchmark.synthesis import synthesis_speed
from uniair.data import shards
from uniair.data.store import Store
from uniair.errors import InputError
from uniair.models.presets import PRESETS, preset
from uniair.training.distributed import world
from uniair.training.trainer import Optimisation


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("suite", choices=["pretraining", "synthesis"], help="what to measure")
    parser.add_argument("--train", type=str | None, default=None, help="links folder to train on")
    parser.add_argument("--validation", type=str | None, default=None, help="links folder of other places")
    parser.add_argument("--out", type=str | None, default=None, help="folder for the runs and ablation.json")
    parser.add_argument("--preset", type=str, default="small", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--variants", type=list[str], default=list(VARIANTS), help=f"which of {', '.join(VARIANTS)}")
    parser.add_argument("--steps", type=int, default=300, help="training steps of each variant")
    parser.add_argument("--learning_rate", type=float, default=7e-4, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and test signals")


def run(options: Any) -> dict[str, Any]:
    """Measures and prints the table."""
    if options.suite == "synthesis":
        speed = synthesis_speed(seed=options.seed)
        print(f"{speed['links_per_s']:,.0f} links/s of 32 × 64 with 10 paths")
        print(
            f"{speed['elementwise_links_per_s']:,.0f} links/s with one exponential an element ({speed['ratio']:.0f} ×)"
        )
        print(f"largest difference {speed['difference']:.1e} of the largest entry")
        return dict(speed)
    for name in ("train", "validation", "out"):
        if options[name] is None:
            raise InputError(f"pretraining needs --{name}; see uniair bench --help")
    optimisation = Optimisation(
        steps=options.steps, learning_rate=options.learning_rate, warmup=0.1, save_every=500, seed=options.seed
    )
    data, held_out = Store(options.train), shards.read(options.validation)
    with world() as here:
        figures = ablate(
            options.variants, preset(options.preset), data, held_out, optimisation, Path(options.out), here
        )
    places = ", ".join(sorted(set(held_out.places)))
    print(f"a sample of the {len(held_out):,} links of {places}; {options.steps} steps, seed {options.seed}")
    print(f"{'':42}" + "".join(f"{column:>9}" for column in COLUMNS))
    for name, values in figures.items():
        cells = [values[c] if c.endswith("_db") else 100 * values[c] for c in COLUMNS]
        print(f"{VARIANTS[name].what:42}" + "".join(f"{cell:9.1f}" for cell in cells))
    return {"steps": options.steps, "seed": options.seed, "figures": figures}
