"""A modality or task added to a trained AI²MMUM, whose encoders and other weights stay frozen (paper 2, III-A)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.data.csi_files import reading
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.models.instruct import InstructModel, Modality
from uniair.models.router import load_router
from uniair.models.universal import UniversalModel
from uniair.tasks.added import AddedTask, figures
from uniair.tasks.asking import representation
from uniair.tasks.registry import TASKS
from uniair.tasks.task import NEEDS
from uniair.training.checkpoint import CONFIG, STATE, digest, read_tensors
from uniair.training.distributed import ALONE, World
from uniair.training.heads import blocks, embed, hold_out
from uniair.training.instruction import (
    ROUTER,
    InstructTraining,
    Questions,
    Samples,
    added_tasks,
    answers,
    calibrate,
    language_of,
    load_instruct,
    parts,
    save_instruct,
    train,
)

TARGET, GROUP = "target", "group"  # keys of a file beside its modalities' names
SPLITS = ("random", "blocks", "areas")


@dataclass(frozen=True)
class Labelled:
    """N samples of some modalities, each with a label.

    Attributes:
        name: of the file, or of the areas that are its links.
        representations: modality → float32 [N, length].
        target: int64 [N], a class each, or float32 [N, K] values.
        unit: int64 [N], the number of what is held out whole, from 0.
        names: of the classes or values, where the data tell them; else empty.
        areas: that its links are of; empty: it is a file.
    """

    name: str
    representations: Mapping[str, Tensor]
    target: Tensor
    unit: NDArray[np.int64]
    names: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()

    @property
    def form(self) -> Literal["classes", "values"]:
        """What the labels are: whole numbers are classes."""
        return "values" if self.target.is_floating_point() else "classes"

    def together(self, modalities: Sequence[str]) -> Tensor:
        """Representations of some modalities, one after another: [N, their lengths together]."""
        return torch.cat([self.representations[name] for name in modalities], 1)

    def digest(self) -> str:
        """Tells these samples from others."""
        found = hashlib.sha256(self.unit.tobytes())
        for values in (*self.representations.values(), self.target):
            found.update(values.numpy().tobytes())
        return found.hexdigest()[:16]


def read_labelled(path: Path, modalities: Sequence[str]) -> Labelled:
    """The samples of a `.npz` or `.safetensors` file.

    Its arrays: one named as each modality, real [N, length]; `target`, whole numbers [N] (or true and false), which are
    classes from 0, or real [N] or [N, K]; and perhaps `group`, whole numbers [N]: samples of one group, such as an area
    or a drive, are held out together.

    Raises:
        InputError: missing, broken, an array too few or too many, of another shape or type, NaN or infinite values.
    """
    if clash := {TARGET, GROUP} & set(modalities):
        raise InputError(f"modality {clash.pop()}: that is what a file calls something else; give another name")
    found = read_arrays(path)
    wanted = (*modalities, TARGET)
    if odd := [name for name in wanted if name not in found] or [
        name for name in found if name not in (*wanted, GROUP)
    ]:
        raise InputError(f"{path}: {odd[0]} is {'not there' if odd[0] in wanted else 'unknown'}; "
                         f"give {', '.join(wanted)}, and {GROUP} where samples belong together")  # fmt: skip
    rows = len(np.atleast_1d(found[TARGET]))
    for name, values in found.items():
        if len(np.atleast_1d(values)) != rows or (name in modalities and values.ndim != 2):
            raise InputError(f"{path}: {name} is {list(values.shape)}, {TARGET} {list(found[TARGET].shape)}; "
                             "give a row, or a number, for each sample")  # fmt: skip
    group = found.get(GROUP, np.arange(rows))
    if group.ndim != 1 or group.dtype.kind not in "iu":
        raise InputError(f"{path}: {GROUP} is {group.dtype} {list(group.shape)}; give whole numbers [N]")
    try:
        seen = {name: representation(name, found[name]) for name in modalities}
        target = _target(found[TARGET])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Labelled(path.name, seen, target, np.unique(group, return_inverse=True)[1].astype(np.int64))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a `.npz` or `.safetensors` file, by name.

    Raises:
        InputError: missing, broken, or of another kind.
    """
    if not path.is_file() or path.suffix not in (".npz", ".safetensors"):
        raise InputError(f"{path}: no such file, or of another kind; give .npz or .safetensors")
    if path.suffix == ".safetensors":
        half = (torch.bfloat16, torch.float16)  # NumPy has no bfloat16
        return {k: (v.float() if v.dtype in half else v).numpy() for k, v in read_tensors(path).items()}
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _target(values: NDArray[Any]) -> Tensor:
    if values.dtype.kind in "biu":
        if values.ndim != 1 or values.min(initial=0) < 0 or values.max(initial=0) >= max(len(values), 2):
            raise InputError(f"{TARGET}: whole numbers {list(values.shape)} from {values.min(initial=0)} to "
                             f"{values.max(initial=0)}; give classes [N] from 0, or values with a point")  # fmt: skip
        return torch.from_numpy(values.astype(np.int64))
    return representation(TARGET, values[:, None] if values.ndim == 1 else values)


def label_links(
    towers: UniversalModel, store: Store, areas: Sequence[int], modalities: Sequence[str], task: str, split: str
) -> Labelled:
    """The links of some areas as samples, with the labels of a registered task.

    Args:
        split: what is held out: `random` links, whole `blocks` of 20 m × 20 m, or whole `areas`.

    Raises:
        InputError: a modality that links do not have, or a task or split that is not there or can't be.
    """
    if task not in TASKS or TASKS[task].form == "vector":
        able = [name for name, one in TASKS.items() if one.form != "vector"]
        raise InputError(f"labels {task!r}: choose of {', '.join(able)}")
    if other := [name for name in modalities if name not in NEEDS]:
        raise InputError(f"modality {other[0]}: links have {' and '.join(NEEDS)}; give a file with its representations")
    if split not in SPLITS or (split == "areas" and len(areas) < 2):
        raise InputError(
            f"split {split!r} of {len(areas)} areas: choose of {', '.join(SPLITS)}, the last of two or more"
        )
    each = [store[number] for number in areas]
    links = Links.concatenate(each)
    batch = batch_of(links)
    unit = {
        "random": np.arange(len(links)),
        "blocks": blocks(links),
        "areas": np.repeat(np.arange(len(each)), [len(one) for one in each]),
    }[split]
    definition, target = TASKS[task], TASKS[task].target(batch)
    names = tuple(definition.answers.record)
    if definition.form == "classes":
        names = tuple(definition.words(torch.tensor(k)) for k in range(definition.outputs))
    elif len(names) != definition.outputs:
        names = tuple(f"{task}_{number}" for number in range(definition.outputs))
    called = tuple(store.areas[number] for number in areas)
    return Labelled(
        ", ".join(called), {name: embed(towers, batch, name) for name in modalities}, target, unit, names, called
    )


@dataclass(frozen=True)
class Begun:
    """A trained model that something is added to.

    Attributes:
        folder: where it lies.
        model: itself.
        config: its `config.json`.
    """

    folder: Path
    model: InstructModel
    config: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, backbone: str | None = None) -> Begun:
        """A model that `uniair instruct train` or `add` wrote.

        Raises:
            InputError: as `load_instruct`, or its router was fitted on another backbone than the one that is here.
        """
        model, config = load_instruct(folder, backbone)
        if language := language_of(model, backbone):
            load_router(language, folder / ROUTER)
        return cls(folder, model, config)

    @property
    def added(self) -> tuple[AddedTask, ...]:
        """What it learned later."""
        return tuple(added_tasks(self.config))

    def reads(self, modality: str, joins: Sequence[str]) -> tuple[str, ...]:
        """The modalities whose representations make one up that is there or is to be added."""
        there = self.model.modalities.get(modality)
        return tuple(joins) or (there.joins if there is not None else ()) or (modality,)

    def check_towers(self, towers: UniversalModel) -> None:
        """Raises `InputError` where it learned on the embeddings of another model."""
        if self.config["about"].get("towers") != digest(towers):
            raise InputError(f"{self.folder}: learned on the embeddings of another model; give the towers it was "
                             "trained with as --model")  # fmt: skip


def add(
    begun: Begun,
    data: Labelled,
    task: AddedTask,
    joins: Sequence[str],
    config: InstructTraining,
    out: Path,
    labels: int | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Adds a task to a trained model, and the modality that it reads where that is new; trains these alone into `out`.

    A run that was killed goes on to the same weights.

    Args:
        joins: modalities that a new one joins.
        labels: samples to learn from; all that are not tested on where None.

    Returns:
        Figures on samples that it did not learn from, and what there is to know beside them.

    Raises:
        InputError: names, lengths or labels that do not fit, too few samples, or `out` holds another model.
    """
    model, seed = begun.model, config.optimisation.seed
    task.check_words(begun.added)
    new = None
    if task.modality not in model.modalities or joins:
        length = sum(data.representations[name].shape[1] for name in task.parts)
        new = Modality(task.modality, length, tuple(joins))
    for name in task.parts:
        found, there = data.representations[name].shape[1], model.modalities.get(name)
        if there is not None and found != there.length:
            raise InputError(f"{data.name}: {name} has {found} numbers, the model's {there.length}; give its own kind")
    if len(task.names) != (width := _outputs(data, task)):
        raise InputError(f"{data.name}: {width} {task.form}, but {len(task.names)} names; give one for each")
    if (out / CONFIG).exists() and not (out / STATE).exists():
        raise InputError(f"{out}: holds another model; give another --out")
    learn, test = hold_out(data.unit, labels, seed)
    if data.form == "classes" and len(np.unique(data.target.numpy()[learn])) < 2:
        raise InputError(f"{data.name}: all {len(learn)} samples to learn from are of one class; give more")
    samples = Samples(
        data.name, {task.modality: data.together(task.parts)}, {task.name: data.target}, *parts(data.name, learn, seed),
        torch.from_numpy(test), {task.name: task.task(sum(data.representations[name].shape[1] for name in task.parts))},
    )  # fmt: skip
    fresh = model.add({task.name: samples.definitions[task.name].instruction}, new, seed)
    settings = {"added": asdict(task), "data": data.digest(), "begun": _kept_digest(model, fresh)}
    train(model, samples, config, out, world=world, added=fresh, settings=settings)
    outputs = answers(model, task.name, samples.embeddings[task.modality][samples.test])
    report: dict[str, Any] = {
        "data": data.name, "areas": list(data.areas), "learned": len(samples.learn), "tested": len(test), "seed": seed,
        "parameters": sum(p.numel() for p in fresh.values()), "figures": figures(data.form, outputs, data.target[test]),
    }  # fmt: skip
    if world.main:
        about = dict(begun.config["about"])
        about["added"] = about.get("added", {}) | {task.name: report}
        router = begun.folder / ROUTER
        save_instruct(
            out, model, begun.config["temperatures"] | calibrate(model, samples), about, (*begun.added, task),
            router if router.exists() else None,
        )  # fmt: skip
    return report


def _outputs(data: Labelled, task: AddedTask) -> int:
    """How many classes or values the labels have; of classes as many as are named, where the last ones are rare."""
    if data.form == "values":
        return data.target.shape[1]
    return max(int(data.target.max()) + 1, len(task.names))


def _kept_digest(model: InstructModel, fresh: Mapping[str, Tensor]) -> str:
    """Tells what was there before from another model."""
    found = hashlib.sha256()
    for name, value in model.kept().items():
        if name not in fresh:
            found.update(value.detach().cpu().float().numpy().tobytes())
    return found.hexdigest()[:16]


def with_added(
    dataset: Questions, towers: UniversalModel, model: InstructModel, tasks: Sequence[AddedTask]
) -> Questions:
    """An area's questions with those of added tasks whose labels links tell."""
    needed = {part for task in tasks for part in task.parts} - dataset.embeddings.keys()
    made = {**dataset.embeddings, **{part: embed(towers, dataset.batch, part) for part in needed}}
    definitions = {task.name: task.task(model.modalities[task.modality].length) for task in tasks}
    return replace(
        dataset,
        embeddings=made | {task.modality: torch.cat([made[part] for part in task.parts], 1) for task in tasks},
        targets={**dataset.targets, **{name: one.target(dataset.batch) for name, one in definitions.items()}},
        definitions={**dataset.definitions, **definitions},
    )
