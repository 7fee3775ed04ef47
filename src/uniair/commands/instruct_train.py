"""Train AI²MMUM on an area of dense links: adapters, prefixes, LoRAs and heads around a frozen language model.

Each task is asked of the modality that it reads, the channel or map and positions. Positions are answered by a light
head on the embedding, which is better at them; --light '[]' asks the language model for them too. OUT gets config.json
and model.safetensors, a few MB; figures are of the links that were not learned from. A killed run goes on where it was.
Under torchrun it trains on all processes.

Example:
  uniair instruct train runs/dense --area sionna_etoile/00000 --out runs/instruct
  uniair instruct train runs/dense --area 0 --backbone ~/models/Qwen3-0.6B --out runs/instruct-qwen
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.commands.dense_area import area_number, lines
from uniair.data.links.shards import write_manifest, write_shard
from uniair.data.links.store import Store
from uniair.models.instruct import Design
from uniair.tasks.registry import INSTRUCTIONS
from uniair.training.checkpoint import digest
from uniair.training.distributed import world
from uniair.training.heads import Adaptation
from uniair.training.instruction import InstructTraining, build, calibrate, measure, questions, save_instruct, train
from uniair.training.loop import Optimisation

# light heads are ahead of the language model here on validation places, behind or level elsewhere
LIGHT = ("position",)


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("links", type=str, help="links folder")
    parser.add_argument("--out", type=str, required=True, help="folder for the trained model")
    parser.add_argument("--area", type=str, default="0", help="name or number of the area")
    parser.add_argument("--model", type=str, default="small", help="the frozen towers: packaged model or folder")
    parser.add_argument("--modalities", type=str, nargs="+", default=["channel", "environment"], help="what to ask of")
    parser.add_argument("--labels", type=int | None, default=None, help="links to learn from; 80 % where not given")
    parser.add_argument("--split", type=str, default="random", help="random links to test on (paper), or whole blocks")
    parser.add_argument("--sample", type=int, default=0, help="so many of the tested links go into OUT/sample")
    parser.add_class_arguments(Design, skip={"embedding", "light"})
    parser.add_argument("--light", type=tuple[str, ...] | None, default=None,
                        help="tasks that a light head answers by itself, after 200 passes over the links of its own; "
                        "where not given, position if it is asked for")  # fmt: skip
    parser.add_class_arguments(InstructTraining, "training", skip={"optimisation"})
    plan = asdict(InstructTraining.optimisation)
    parser.add_class_arguments(Optimisation, "training.optimisation", default=plan, skip={"seed"})


def run(options: Any) -> dict[str, Any]:
    """Trains, measures, saves and prints the table."""
    towers, store = uniair.load(options.model), Store(options.links)
    number = area_number(store, options.area)
    given = {name: options[name] for name in Design.__dataclass_fields__ if name in options and name != "light"}
    design = Design(**given, embedding=towers.preset.embedding)
    wanted = Adaptation(labels=options.labels, split=options.split, seed=design.seed)
    dataset = questions(towers, store.areas[number], store[number], tuple(options.modalities), wanted)
    light = tuple(options.light) if options.light is not None else tuple(t for t in LIGHT if t in dataset.targets)
    design = replace(design, light=light)
    model = build(design, {task: INSTRUCTIONS[task] for task in dataset.targets})
    out = Path(options.out)
    plan = replace(options.training.optimisation, seed=design.seed)
    learned_from = {"towers": digest(towers), "wanted": asdict(wanted), "data": store.manifest["recipe"]}
    with world() as here:
        train(model, dataset, replace(options.training, optimisation=plan), out, world=here, settings=learned_from)
        if not here.main:
            return {}
    temperatures = calibrate(model, dataset)
    figures = measure(model, dataset, temperatures)
    about = {"area": dataset.name, **learned_from, "model": towers.preset.name, "learned": len(dataset.learn),
             "tested": len(dataset.test), "figures": figures}  # fmt: skip
    save_instruct(out, model, temperatures, about)
    if options.sample:
        shown = store[number].select(dataset.test[: options.sample].numpy())
        write_shard(out / "sample" / "links-00000.safetensors", shown)
        write_manifest(out / "sample", {"part_of": store.manifest["recipe"]}, store.manifest["attribution"])
    counts = model.parameter_counts()
    print(f"{dataset.name}: learned from {len(dataset.learn):,} links, {counts['total']:,} tuned parameters")
    for line in lines(figures):
        print(line)
    print(f"→ {out}")
    return about | {"parameters": counts}
