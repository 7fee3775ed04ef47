"""AI²MMUM trained on an area's links: all tasks of a modality in one run (paper 2, IV)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.backbone import Backbone, load_backbone
from uniair.models.instruct import PAPER_PROJECTIONS, Design, Instruction, InstructModel, Modality
from uniair.models.router import fit_router, load_router
from uniair.models.universal import UniversalModel
from uniair.releases.earlier import way_back
from uniair.releases.node import located
from uniair.tasks import instruct_loss
from uniair.tasks.added import AddedTask
from uniair.tasks.asking import Assistant, phrases
from uniair.tasks.registry import INSTRUCTIONS, TASKS
from uniair.tasks.task import Task
from uniair.training.checkpoint import CONFIG, WEIGHTS, digest, fill, read_tensors
from uniair.training.distributed import ALONE, World
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit
from uniair.training.loop import Optimisation, run

FORMAT = "uniair-instruct/4"
EARLIER = ("uniair-instruct/1", "uniair-instruct/2", "uniair-instruct/3")  # are read too
# what models of the first format were made with
FIRST_FORMAT = {"projections": PAPER_PROJECTIONS, "blocks": 0, "start": ()}
PACKAGED = Path(__file__).parents[1] / "weights" / "instruct"
SAMPLE = PACKAGED / "sample"  # links of the packaged model's area that it did not learn from
ROUTER = "router.safetensors"
WATCHED = 0.1  # share of the links to learn from that only calibrate


@dataclass(frozen=True)
class InstructTraining:
    """How adapters, prefixes, LoRAs and heads are trained, but for light heads, which take `HeadTraining`'s defaults.

    Attributes:
        epochs: passes over the links; in each, every task of a modality is asked about each link once.
        batch: links a step, over all processes.
        optimisation: its `steps` are the fewest that are made, however few links there are.
    """

    epochs: int = 24
    batch: int = 128
    optimisation: Optimisation = Optimisation(
        steps=1, schedule="whole_cosine", learning_rate=2e-3, matrix_rate=0.0, warmup=0.05, adamw="heads",
        weight_decay=1e-2, save_every=100, log_every=10,
    )  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """N samples as questions: inputs and labels, computed once.

    Attributes:
        name: of the area or file.
        embeddings: modality → representations [N, length].
        targets: task → labels.
        learn, watch, test: indices to train on, to calibrate on, to measure on.
        definitions: of the tasks, by name.
    """

    name: str
    embeddings: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    learn: Tensor
    watch: Tensor
    test: Tensor
    definitions: Mapping[str, Task] = field(default_factory=lambda: TASKS)

    def tasks(self, modality: str) -> list[str]:
        """The tasks that are asked of a modality."""
        return [task for task in self.targets if self.definitions[task].read == modality]


@dataclass(frozen=True, kw_only=True)
class Questions(Samples):
    """An area's links as questions.

    Attributes:
        batch: CSI and environments of its N links.
    """

    batch: Batch


def questions(
    towers: UniversalModel, name: str, links: Links, modalities: tuple[str, ...], wanted: Adaptation
) -> Questions:
    """An area's questions about the given modalities.

    Args:
        wanted: split, labels and seed; a tenth of the labels is kept for calibration.

    Raises:
        InputError: too few links, or an unknown modality.
    """
    known = {i.modality for i in INSTRUCTIONS.values()}
    if unknown := set(modalities) - known:
        raise InputError(f"modality {unknown.pop()!r}: choose of {', '.join(sorted(known))}")
    learn, test = divide(links, wanted)
    batch = batch_of(links)
    return Questions(
        name, {m: embed(towers, batch, m) for m in modalities},
        {task: TASKS[task].target(batch) for task, i in INSTRUCTIONS.items() if i.modality in modalities},
        *parts(name, learn, wanted.seed), torch.from_numpy(test), batch=batch,
    )  # fmt: skip


def parts(name: str, learn: NDArray[np.int64], seed: int) -> tuple[Tensor, Tensor]:
    """Samples to train on, and a tenth of them that only calibrates.

    Raises:
        InputError: too few.
    """
    cut = len(learn) - int(WATCHED * len(learn))
    if cut == len(learn):
        raise InputError(f"{name}: {len(learn)} links to learn from; give at least {round(1 / WATCHED)}")
    learn = np.random.default_rng(seed).permutation(learn)
    return torch.from_numpy(learn[:cut]), torch.from_numpy(learn[cut:])


def train(
    model: InstructModel,
    asked: Samples,
    config: InstructTraining,
    out: Path,
    tower: UniversalModel | None = None,
    world: World = ALONE,
    added: Mapping[str, nn.Parameter] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> InstructModel:
    """Trains into `out`; a run that was killed goes on from its last state to the same weights.

    Modalities take turns, step by step; a step asks every task of its modality about the same links. Light heads are
    fitted on their own first, as `uniair adapt` fits them.

    Args:
        tower: trained along with the model instead of reading the frozen embeddings (the ablations TE and TC).
        added: what alone is trained, by name (`InstructModel.add`); None: all that can be.
        settings: that a run which goes on must share too.

    Raises:
        InputError: as `run`; light heads where a tower is trained along, or for all tasks of a modality.
    """
    light = [task for task in asked.targets if task in model.design.light]
    told = {m: [task for task in asked.tasks(m) if task not in light] for m in asked.embeddings}
    modalities = list(told)
    if bare := [m for m, tasks in told.items() if not tasks]:
        raise InputError(f"light {', '.join(light)}: of the {bare[0]} nothing is left for the language model to answer")
    if light and tower is not None:
        raise InputError(f"light {', '.join(light)}: light heads read frozen embeddings; leave them out here")
    for task in light:
        z, truth = asked.embeddings[asked.definitions[task].read][asked.learn], asked.targets[task][asked.learn]
        head = fit(asked.definitions[task], z, truth, HeadTraining(seed=config.optimisation.seed))
        model.head(task).load_state_dict(head.state_dict())
    named: dict[str, nn.Parameter] = model.tuned() if added is None else dict(added)
    named = {name: one for name, one in named.items() if not name.startswith(tuple(f"heads.{t}." for t in light))}
    instruct_loss.standardise(
        model,
        {m: z[asked.learn] for m, z in asked.embeddings.items()},
        {task: truth[asked.learn] for task, truth in asked.targets.items() if task not in light},
        asked.definitions,
        [m for m in asked.embeddings if f"adapters.{m}.layers.0.weight" in named],
    )
    if tower is not None:
        named = named | {f"tower.{name}": parameter for name, parameter in tower.train().named_parameters()}
    device = next(iter(named.values())).device
    size = min(config.batch, len(asked.learn))
    per_epoch = max(1, len(asked.learn) // size)
    plan, batches = config.optimisation, config.epochs * per_epoch * len(modalities)
    plan = replace(plan, steps=max(plan.steps, batches // plan.accumulate))

    def loss(number: int) -> dict[str, Tensor | float]:
        turn, modality = number // len(modalities), modalities[number % len(modalities)]
        order = np.random.default_rng([plan.seed, turn // per_epoch]).permutation(len(asked.learn))
        index = world.share(asked.learn[order[turn % per_epoch * size :][:size]])
        z = asked.embeddings[modality][index].to(device) if tower is None else _tower(tower, asked, modality, index)
        terms = {
            task: instruct_loss.loss(model, asked.definitions[task], z, asked.targets[task][index].to(device))
            for task in told[modality]
        }
        return {"total": torch.stack(list(terms.values())).sum(), **terms, "questions_per_s": size * len(terms)}

    own = {"design": asdict(model.design), **asdict(config), "area": asked.name, "processes": world.size,
           "links": len(asked.learn), "modalities": modalities, "tower": tower is not None,
           **(settings or {})}  # fmt: skip
    run(model, loss, plan, trained=named, about="AI²MMUM", world=world, out=out, settings=own)
    model.zero_grad()  # what is not trained may stand in the way of the gradient
    return model


def _tower(tower: UniversalModel, asked: Samples, modality: str, index: Tensor) -> Tensor:
    """Embeddings with a gradient into the tower: [n, E]."""
    assert isinstance(asked, Questions)
    if modality == "channel":
        return tower.channel_embedding(tower.see(asked.batch.csi[index].to(tower.device), asked.batch.radio))
    env = asked.batch.environment.select(index).without("los")
    return tower.environment_embedding(Batch(asked.batch.csi[:0], env).to(tower.device).environment)


@torch.no_grad()
def answers(model: InstructModel, task: str, z: Tensor, batch: int = 256) -> Tensor:
    """A task's outputs for embeddings [N, E], on the CPU: [N, outputs]."""
    device = next(model.parameters()).device
    return torch.cat([model(task, part.to(device)).cpu() for part in torch.split(z, batch)])


def calibrate(model: InstructModel, asked: Samples, tower: UniversalModel | None = None) -> dict[str, float]:
    """The temperatures that calibrate the classifications, fitted on `asked.watch`: task → temperature."""
    return {
        task: instruct_loss.temperature(answers(model, task, _embedded(tower, asked, task, asked.watch)), truth)
        for task, truth in ((task, truth[asked.watch]) for task, truth in asked.targets.items() if truth.ndim == 1)
    }


@torch.no_grad()
def watched_loss(model: InstructModel, asked: Samples, tower: UniversalModel | None = None) -> float:
    """The loss, of all tasks together, on `asked.watch`: what choices are made by."""
    device = next(model.parameters()).device
    total = 0.0
    for task, truth in asked.targets.items():
        z = _embedded(tower, asked, task, asked.watch).to(device)
        total += float(instruct_loss.loss(model, asked.definitions[task], z, truth[asked.watch].to(device)))
    return total


@torch.no_grad()
def measure(
    model: InstructModel, asked: Questions, temperatures: Mapping[str, float], tower: UniversalModel | None = None
) -> dict[str, dict[str, float]]:
    """Each task's figures on `asked.test`, classifications calibrated."""
    held = asked.batch.select(asked.test)
    figures = {}
    for task in asked.targets:
        out = answers(model, task, _embedded(tower, asked, task, asked.test)) / temperatures.get(task, 1.0)
        figures[task] = asked.definitions[task].measure(out, held)
    return figures


@torch.no_grad()
def _embedded(tower: UniversalModel | None, asked: Samples, task: str, index: Tensor) -> Tensor:
    modality = asked.definitions[task].read
    if tower is None:
        return asked.embeddings[modality][index]
    return torch.cat([_tower(tower.eval(), asked, modality, part).cpu() for part in torch.split(index, 256)])


def save_instruct(
    folder: Path,
    model: InstructModel,
    temperatures: dict[str, float],
    about: dict[str, Any],
    added: Sequence[AddedTask] = (),
    router: Path | None = None,
) -> None:
    """Writes what was trained, a few MB: `config.json`, `model.safetensors` and a router; the backbone is not copied.

    Args:
        about: towers' preset and weights, data, figures: for people, but for `towers`, the digest that a model is
            only used with.
        added: tasks that it learned later, in their order.
        router: of the model that it began as, which stays as it is; None: one is fitted.
    """
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: v.detach().cpu().contiguous() for name, v in model.kept().items()}, temporary)
    if router is not None:
        with atomic_path(folder / ROUTER) as temporary:
            shutil.copyfile(router, temporary)
    elif language := language_of(model):
        fit_router(language, phrases(model.instructions)).save(folder / ROUTER)
    later = {task.name for task in added}
    config = {
        "format": FORMAT, "design": asdict(model.design),
        "modalities": {m.name: {"length": m.length, "joins": m.joins} for m in model.modalities.values()},
        "tasks": [task for task in model.instructions if task not in later],
        "added": [asdict(task) for task in added], "temperatures": temperatures, "about": about,
    }  # fmt: skip
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")


def language_of(model: InstructModel, place: str | None = None) -> Backbone | None:
    """What reads instructions: the language model that the design names, from another place if given, or the
    backbone.
    """
    return load_backbone(place or model.design.language) if model.design.language else model.backbone


def load_instruct(folder: Path, backbone: str | None = None) -> tuple[InstructModel, dict[str, Any]]:
    """A trained model in eval mode and its `config.json`.

    Args:
        folder: or `registry:NAME@VERSION`.
        backbone: another name or folder of the same language model.

    Raises:
        InputError: not such a folder, a broken one, a backbone of another size, or as `located`.
    """
    folder, _ = located(folder)
    config = read_config(folder)
    try:
        if config["format"] == EARLIER[0]:
            config["design"] |= FIRST_FORMAT
        if config["format"] in EARLIER:
            if config["design"].get("light", 0):
                raise InputError(f"{folder / CONFIG}: has light networks beside the backbone, which this version does "
                                 "not; train it anew")  # fmt: skip
            config["design"]["light"] = ()
        elif config["format"] != FORMAT:
            raise InputError(f"{folder / CONFIG}: of format {config['format']!r}, this version reads {FORMAT!r}")
        given: dict[str, Any] = config["design"]
        design = Design(**given | {name: tuple(given[name]) for name in ("projections", "start", "light")})
        tasks = {task: INSTRUCTIONS[task] for task in config["tasks"]}
        if unknown := [task for task in given["light"] if task not in tasks]:
            raise InputError(f"{folder / CONFIG}: light heads for {unknown[0]!r}, which is none of its tasks")
        later = added_tasks(config)
        modalities = {name: Modality(name, int(one["length"]), tuple(one["joins"]))
                      for name, one in config.get("modalities", {}).items()}  # fmt: skip
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, InputError) and str(folder / CONFIG) in str(error):
            raise
        raise InputError(f"{folder / CONFIG}: not an instruct model's config ({error!r})") from error
    model = build(design, tasks, None if design.language else backbone)
    for task in later:
        if task.modality not in {*modalities, *model.modalities}:
            raise InputError(
                f"{folder / CONFIG}: task {task.name} reads {task.modality}, which is none of its modalities"
            )
        modality = None if task.modality in model.modalities else modalities[task.modality]
        model.add({task.name: Instruction(task.modality, task.keywords, len(task.names))}, modality)
    fill(model.kept(), read_tensors(folder / WEIGHTS), folder / WEIGHTS, f"another backbone than {design.backbone!r}")
    return model.eval(), config


def folder_of(name: str) -> Path:
    """Where a model lies: the packaged one is called `instruct`."""
    return PACKAGED if name == "instruct" else Path(name)


def read_config(folder: Path) -> dict[str, Any]:
    """What stands beside the weights of a trained model.

    Raises:
        InputError: no such folder, or not JSON.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder / CONFIG}: no such file; give a folder that uniair instruct train wrote")
    try:
        return dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{folder / CONFIG}: not an instruct model's config ({error!r})") from error


def added_tasks(config: Mapping[str, Any]) -> list[AddedTask]:
    """The tasks that a saved model learned later, from its `config.json`."""
    lists = ("parts", "names", "phrases")
    return [AddedTask(**task | {name: tuple(task[name]) for name in lists}) for task in config.get("added", ())]


def build(design: Design, tasks: Mapping[str, Any] = INSTRUCTIONS, backbone: str | None = None) -> InstructModel:
    """An untrained model of a design, with its backbone loaded.

    Raises:
        InputError: light heads for a task that is none of them.
    """
    if unknown := [task for task in design.light if task not in tasks]:
        raise InputError(f"light {unknown[0]!r}: choose of {', '.join(tasks)}")
    name = backbone or design.backbone
    return InstructModel(design, tasks, None if name == "none" else load_backbone(name, design.seed, design.dtype))


def load_assistant(folder: Path, towers: UniversalModel, backbone: str | None = None) -> Assistant:
    """A trained model that is asked in plain English, routed by its own backbone.

    Args:
        towers: those that it was trained on.
        backbone: another name or folder of the same language model.

    Raises:
        InputError: as `load_instruct`, or other towers, or tasks missing.
    """
    folder, _ = located(folder)
    model, config = load_instruct(folder, backbone)
    if config["about"]["towers"] != digest(towers):
        raise InputError(f"{folder}: learned on the embeddings of another model; give the towers it was trained with"
                         f"{way_back(config['about']['towers'])}")  # fmt: skip
    if not (language := language_of(model, backbone)):
        raise InputError(f"{folder}: has no language model that could read an instruction")
    router = load_router(language, folder / ROUTER)
    if missing := set(router.labels) & set(TASKS) - set(model.instructions):
        raise InputError(f"{folder}: learned nothing about {', '.join(sorted(missing))}; train it on both modalities")
    return Assistant(
        model, towers, router, config["temperatures"], tasks=config["tasks"], learned=config["about"].get("area"),
        added=[task.task(model.modalities[task.modality].length) for task in added_tasks(config)],
        later={name: told["areas"] or [told["data"]] for name, told in config["about"].get("added", {}).items()},
    )  # fmt: skip
