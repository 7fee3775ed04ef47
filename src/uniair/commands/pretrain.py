"""Train the universal model: environment and channel towers by contrast, reconstruction beside it.

TRAIN and VALIDATION are folders that `uniair trace` made, of different places. The run writes its log (metrics.jsonl),
its state and, at its end, the model; killed and started again, it goes on bit for bit. Under torchrun it trains on
all processes.

Example:
  uniair pretrain --config recipes/pretrain-small.yaml --train runs/train --validation runs/validation --out runs/small
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.data.links import shards
from uniair.data.links.store import Store
from uniair.models.presets import PRESETS, preset
from uniair.tasks.alignment import Alignment
from uniair.training.distributed import world
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches, check_grounds, pretrain, write_card


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--train", type=str, required=True, help="links folder to train on")
    parser.add_argument("--validation", type=str, required=True, help="links folder of other places, to watch")
    parser.add_argument("--out", type=str, required=True, help="folder for log, state and model")
    parser.add_argument("--preset", type=str, default="small", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--first_areas", type=int | None, default=None, help="train on the first so many areas only")
    parser.add_class_arguments(Optimisation)
    parser.add_class_arguments(Batches, "batches")
    parser.add_class_arguments(Alignment, "task")


def run(options: Any) -> dict[str, Any]:
    """Trains and sums up the last validation figures."""
    chosen = preset(options.preset)
    out = Path(options.out)
    optimisation = Optimisation(**{name: options[name] for name in Optimisation.__dataclass_fields__})
    data = Store(options.train).first(options.first_areas)
    held_out = shards.read(options.validation)
    check_grounds(data.manifest, shards.read_manifest(Path(options.validation)))
    with world() as here:
        pretrain(chosen, data, held_out, options.task, options.batches, optimisation, out, here)
        if not here.main:
            return {}
    settings = {"optimisation": asdict(optimisation), "batches": asdict(options.batches), "task": asdict(options.task)}
    write_card(out, data, Path(options.validation), settings)
    last = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()][-1]
    figures = {k.removeprefix("validation/"): v for k, v in last.items() if k.startswith("validation/")}
    for name, value in figures.items():
        print(f"{name:16} {value:8.4f}")
    return {"out": str(out), "steps": last["step"], "validation": figures}
