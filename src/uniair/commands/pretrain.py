"""Train the universal model: environment and channel towers by contrast, reconstruction beside it.

TRAIN and VALIDATION are folders that `uniair trace` made, one or several each, of different places. The run writes its
log (metrics.jsonl), its state and, at its end, the model; killed and started again, it goes on bit for bit. Under
torchrun it trains on all processes. `small` and `tiny` learn any radio: every batch is seen by another one, drawn anew
(--radios one: by the links' own); `base` learns paper 1's. --start says which weights to begin from.

Example:
  uniair pretrain --config recipes/pretrain-one-radio.yaml --train runs/train --validation runs/validation --out runs/a
  uniair pretrain --config recipes/pretrain-small.yaml --train runs/train runs/train-mixed \
    --validation runs/validation --start runs/a --out runs/small
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from uniair.data.links import shards
from uniair.data.links.store import Store, Stores
from uniair.models.presets import PRESETS, preset
from uniair.tasks.alignment import Alignment
from uniair.training.distributed import world
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches, check_grounds, pretrain, write_card


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--train", type=str, nargs="+", required=True, help="links folders to train on")
    parser.add_argument("--validation", type=str, nargs="+", required=True, help="folders of other places, to watch")
    parser.add_argument("--out", type=str, required=True, help="folder for log, state and model")
    parser.add_argument("--preset", type=str, default="small", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--first_areas", type=int | None, default=None, help="of each folder, train on so many only")
    parser.add_argument("--radios", type=Literal["one", "any"] | None, default=None, help="instead of the preset's")
    parser.add_argument("--start", type=str | None, default=None, help="folder of weights to begin from")
    parser.add_class_arguments(Optimisation)
    parser.add_class_arguments(Batches, "batches")
    parser.add_class_arguments(Alignment, "task")


def run(options: Any) -> dict[str, Any]:
    """Trains and sums up the last validation figures."""
    chosen = preset(options.preset)
    chosen = chosen if options.radios is None else replace(chosen, radios=options.radios)
    out = Path(options.out)
    optimisation = Optimisation(**{name: options[name] for name in Optimisation.__dataclass_fields__})
    data = Stores([Store(folder).first(options.first_areas) for folder in options.train])
    # one folder is simply the validation's
    names = [Path(folder).name for folder in options.validation] if len(options.validation) > 1 else ["validation"]
    held_out = {name: shards.read(folder) for name, folder in zip(names, options.validation, strict=True)}
    for folder, store in product(options.validation, data.stores):
        check_grounds(store.manifest, shards.read_manifest(Path(folder)))
    with world() as here:
        start = None if options.start is None else Path(options.start)
        pretrain(chosen, data, held_out, options.task, options.batches, optimisation, out, here, start)
        if not here.main:
            return {}
    settings = {"optimisation": asdict(optimisation), "batches": asdict(options.batches), "task": asdict(options.task)}
    write_card(out, data, [Path(folder) for folder in options.validation], settings)
    last = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()][-1]
    figures = {k.removeprefix("validation/"): v for k, v in last.items() if k.split("/")[0] in held_out}
    for name, value in figures.items():
        print(f"{name:32} {value:8.4f}")
    return {"out": str(out), "steps": last["step"], "validation": figures}
