"""Add a modality or a task to a trained AI²MMUM: what it answers already stays the same to the bit.

A new modality gets an adapter and a LoRA, a new task a prefix and a head; they alone are trained. DATA is

- a .npz or .safetensors file: representations [N, length] of a sensor (camera, radar, …) by an encoder of your own,
  under the modality's name; `target`, whole numbers [N] for classes or real [N] or [N, K] for values; perhaps `group`
  [N], whose samples (of an area, a drive) are held out together;
- or a links folder, which has channel and environment, with the labels of a task (--labels_of).

--joins makes a modality of several, read as one: a file then has an array for each of them. Without it a --modality
that the model has gets a further task. A fifth is held out and measured. A killed run goes on where it was.

The task is asked for by its name, --keywords or --phrases, wherever they stand in an instruction.

Example:
  uniair instruct add runs/instruct camera.npz --modality camera --task view --names free blocked --out runs/camera
  uniair instruct add instruct runs/dense --modality both --joins channel environment --task sight_by_both
    --labels_of los --out runs/both
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.commands.dense_area import lines
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.tasks.added import AddedTask
from uniair.training.addition import SPLITS, Begun, Labelled, add, label_links, read_labelled
from uniair.training.distributed import world
from uniair.training.instruction import InstructTraining, folder_of
from uniair.training.loop import Optimisation


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("run", type=str, help="trained model: folder of uniair instruct train or add, or instruct")
    parser.add_argument("data", type=str, help=".npz or .safetensors file, or links folder")
    parser.add_argument("--out", type=str, required=True, help="folder for the model with what is added")
    parser.add_argument("--modality", type=str, required=True, help="that the task reads; new, or the model's")
    parser.add_argument("--task", type=str, required=True, help="name of the new task")
    parser.add_argument("--joins", type=str, nargs="+", default=[], help="modalities that a new one joins")
    parser.add_argument(
        "--names", type=str, nargs="+", default=[], help="of the classes, or of values with their units"
    )
    parser.add_argument("--keywords", type=str | None, default=None, help="of its instruction; the name if not given")
    parser.add_argument("--phrases", type=str, nargs="+", default=[], help="other words that ask for it")
    parser.add_argument("--labels_of", type=str | None, default=None, help="task whose labels links give")
    parser.add_argument(
        "--area", type=str, nargs="+", default=[], help="names or numbers in the links; all if not given"
    )
    parser.add_argument("--split", type=str, default="random", help=f"of links, held out: {', '.join(SPLITS)}")
    parser.add_argument("--labels", type=int | None, default=None, help="to learn from; all not held out if not given")
    parser.add_argument("--model", type=str, default="small", help="towers that read links: packaged model or folder")
    parser.add_argument("--backbone", type=str | None, default=None, help="where its language model lies here")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the new weights and their training")
    parser.add_class_arguments(InstructTraining, "training", skip={"optimisation"})
    plan = asdict(InstructTraining.optimisation)
    parser.add_class_arguments(Optimisation, "training.optimisation", default=plan, skip={"seed"})


def run(options: Any) -> dict[str, Any]:
    """Trains, measures, saves and prints the figures."""
    begun = Begun.read(folder_of(options.run), options.backbone)
    parts = begun.reads(options.modality, options.joins)
    data = _links(options, begun, parts) if Path(options.data).is_dir() else _file(options, parts)
    task = AddedTask(
        options.task, options.modality, parts, data.form, tuple(options.names) or data.names or _numbered(data),
        options.keywords or options.task.replace("_", " "), tuple(options.phrases), options.labels_of or "",
    )  # fmt: skip
    plan = replace(options.training.optimisation, seed=options.seed)
    with world() as here:
        found = add(begun, data, task, options.joins, replace(options.training, optimisation=plan), Path(options.out),
                    options.labels, here)  # fmt: skip
        if not here.main:
            return {}
    print(f"{data.name}: {task.name} from {' and '.join(parts)}, learned from {found['learned']:,} samples, "
          f"{found['parameters']:,} tuned parameters, seed {options.seed}; {found['tested']:,} held out:")  # fmt: skip
    print(*lines({task.name: found["figures"]}), f"→ {options.out}", sep="\n")
    return found


def _file(options: Any, parts: tuple[str, ...]) -> Labelled:
    for name in ("labels_of", "area"):
        if options[name]:
            raise InputError(f"--{name}: is of links, and {options.data} is no folder; leave it out")
    if options.split != "random":
        raise InputError(
            f"--split {options.split}: is of links; a file says by its array group what is held out together"
        )
    return read_labelled(Path(options.data), parts)


def _links(options: Any, begun: Begun, parts: tuple[str, ...]) -> Labelled:
    if options.labels_of is None:
        raise InputError("--labels_of: not given; say whose labels the links give, such as los or position")
    towers, store = uniair.load(options.model), Store(options.data)
    begun.check_towers(towers)
    given = options.area or [str(number) for number in range(len(store.areas))]
    areas = [int(one) if one.isdecimal() else store.areas.index(one) if one in store.areas else -1 for one in given]
    if wrong := [one for one, number in zip(given, areas, strict=True) if not 0 <= number < len(store.areas)]:
        raise InputError(f"--area {wrong[0]}: none of the {len(store.areas)} areas there, such as {store.areas[0]}")
    return label_links(towers, store, areas, parts, options.labels_of, options.split)


def _numbered(data: Labelled) -> tuple[str, ...]:
    """Names of what has none."""
    if data.form == "classes":
        return tuple(str(number) for number in range(int(data.target.max()) + 1))
    return tuple(f"value_{number}" for number in range(data.target.shape[1]))
