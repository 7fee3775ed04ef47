"""Heads on an area's links: embeddings computed once, a part of the links to learn from, the rest to measure on."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.splits import few_shot
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.releases.earlier import FIRST, way_back
from uniair.releases.node import located
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Task
from uniair.training import zero_shot_start
from uniair.training.checkpoint import digest, fill, read_header, read_tensors
from uniair.training.distributed import ALONE, World
from uniair.training.loop import Optimisation, run

FORMAT = "uniair-head/1"
BLOCK = 20.0  # m; side of the squares that the split by streets leaves out whole


@dataclass(frozen=True)
class Adaptation:
    """What is learned from what.

    Attributes:
        task: one of `TASKS`.
        inputs: `channel` or `environment`; the task's first where None.
        labels: links to learn from; 80 % of the area's where None.
        split: `random` links of the area, as in paper 1 (8,000 of 10,000), or whole `blocks` of 20 m × 20 m.
        seed: of the split, the labels, the head's weights and their order.
    """

    task: str = "beam"
    inputs: str | None = None
    labels: int | None = None
    split: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError(f"no task {self.task!r}; choose one of {', '.join(TASKS)}")
        allowed = TASKS[self.task].inputs
        if self.inputs not in (None, *allowed):
            raise InputError(f"{self.task} is not learned from {self.inputs!r}; choose {' or '.join(allowed)}")
        if self.split not in ("random", "blocks"):
            raise InputError(f"split {self.split!r}: choose random or blocks")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: give a whole number from 0")

    @property
    def reads(self) -> str:
        """The embedding that the head reads."""
        return self.inputs or TASKS[self.task].inputs[0]


@dataclass(frozen=True)
class Fitted:
    """A head with its figures on the links that it did not learn from."""

    head: Head
    figures: dict[str, float]
    learned: int
    tested: int


def embed(model: UniversalModel, batch: Batch, inputs: str) -> Tensor:
    """Embeddings of a batch's CSI, or of its map and positions with LOS unknown: float32 [N, E], on the CPU."""
    if inputs == "channel":
        return model.encode_channel(batch.csi, batch.radio).cpu()
    return model.encode_environment(batch.environment.without("los")).cpu()


def divide(links: Links, adaptation: Adaptation) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Links to learn from and links to test on, a fifth of all: indices.

    Raises:
        InputError: fewer links than labels asked for, or none to test on.
    """
    unit = np.arange(len(links)) if adaptation.split == "random" else blocks(links)
    return hold_out(unit, adaptation.labels, adaptation.seed)


def blocks(links: Links) -> NDArray[np.int64]:
    """Number of the square of `BLOCK` metres that each link's user stands in: [N]."""
    cells = np.column_stack([links.area, np.floor(links.ue[:, :2] / BLOCK)]).astype(np.int64)
    return np.unique(cells, axis=0, return_inverse=True)[1]


def hold_out(unit: NDArray[np.int64], labels: int | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Samples to learn from and samples to test on, a fifth of all or a little more, no unit in both: indices.

    Args:
        unit: [N] number of what is held out whole, from 0.
        labels: samples to learn from; all that are not tested on where None.

    Raises:
        InputError: fewer samples than labels asked for, or none to test on.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(unit.max(initial=-1)) + 1)
    share = np.cumsum(np.bincount(unit, minlength=len(order))[order]) / max(len(unit), 1)
    held = np.isin(unit, order[: int(np.searchsorted(share, 0.2)) + 1])
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    labels = len(train) if labels is None else labels
    if not len(test) or labels > len(train) or labels < 1:
        raise InputError(f"{labels} labels asked for, but {len(train)} links are there to learn from; lower --labels")
    return train[few_shot(len(train), labels, seed)], test


@dataclass(frozen=True)
class HeadTraining:
    """How a head is trained: AdamW under a cosine, in minibatches.

    Attributes:
        epochs: passes over the labels; at least `steps` steps are made, however few labels there are.
        steps: fewest steps.
        batch: labels a step.
        learning_rate: peak.
        weight_decay: of AdamW.
        seed: of weights and order.
    """

    epochs: int = 200
    steps: int = 2000
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or min(self.epochs, self.steps, self.seed) < 0 or self.epochs + self.steps < 1:
            raise InputError(
                f"{self.epochs} epochs, {self.steps} steps, batch {self.batch}, seed {self.seed}: give whole numbers "
                "from 0, a batch of at least 1, and epochs or steps"
            )
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise InputError(
                f"learning_rate {self.learning_rate}, weight_decay {self.weight_decay}: give a rate above 0 and a "
                "decay from 0"
            )

    def optimisation(self, batches: int) -> Optimisation:
        """With at least so many steps."""
        return Optimisation(
            max(self.steps, batches), learning_rate=self.learning_rate, matrix_rate=0.0, warmup=0.0, adamw="heads",
            weight_decay=self.weight_decay, clip=0.0, seed=self.seed,
        )  # fmt: skip


def fit(
    task: Task,
    z: Tensor,
    target: Tensor,
    config: HeadTraining = HeadTraining(),
    widths: tuple[int, ...] | None = None,
    world: World = ALONE,
    start: Head | None = None,
) -> Head:
    """Trains a head on embeddings [N, E] and labels that were computed once.

    Args:
        widths: of another head than the task's; the first must be E.
        start: a head to go on from, which stays as it is; its scalings stay too. None: random weights.

    Raises:
        InputError: embeddings and labels of different lengths, NaN, or none.
    """
    if len(z) != len(target) or not len(z):
        raise InputError(f"{len(z)} embeddings and {len(target)} labels: give one label an embedding, at least one")
    if not (torch.isfinite(z).all() and torch.isfinite(target.float()).all()):
        raise InputError("embeddings or labels hold NaN or infinite values; leave those samples out")
    if start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = Head(widths or (z.shape[1], *task.widths[1:]))
        head.standardise(z, target if task.regression else None)
    else:
        head = copy.deepcopy(start)
    # in the target's own units the loss would be of any size
    scale = float(head.unit.square().mean()) if task.regression else 1.0
    size = min(config.batch, len(z))
    order, shuffled = torch.Generator().manual_seed(config.seed), torch.randperm(0)

    def loss(_: int) -> dict[str, Tensor]:
        nonlocal shuffled
        if len(shuffled) < size:
            shuffled = torch.cat([shuffled, torch.randperm(len(z), generator=order)])
        drawn, shuffled = world.share(shuffled[:size]), shuffled[size:]
        return {"total": task.loss(head(z[drawn]), target[drawn]) / scale}

    return run(head, loss, config.optimisation(config.epochs * (len(z) // size)), world=world)


def from_zero_shot(adaptation: Adaptation, wanted: bool | None = None) -> bool:
    """Whether a head begins at zero-shot: where it is asked for, or where it can and nothing is said.

    Raises:
        InputError: asked for where no zero-shot answer is linear in what the head reads.
    """
    can = (adaptation.task, adaptation.reads) == ("los", "channel")
    if wanted and not can:
        raise InputError(f"zero_shot: a head for {adaptation.task} from {adaptation.reads} has no zero-shot answer to "
                         "begin at, one for los from the channel has; leave it out")  # fmt: skip
    return can if wanted is None else wanted


def adapt(
    model: UniversalModel,
    links: Links,
    adaptation: Adaptation,
    training: HeadTraining = HeadTraining(),
    radio: Radio | None = None,
    world: World = ALONE,
    zero_shot: bool | None = None,
) -> Fitted:
    """Trains a head on one area's links and measures it on the rest.

    Args:
        training: of heads that don't begin at zero-shot.
        radio: that sees the links; None: their own. Of a calibrated one the embeddings hold the power too.
        zero_shot: whether the head begins at the zero-shot answer, see `zero_shot_start`; None: where it can.

    Raises:
        InputError: too few links, or as few classes as one among the labels; `zero_shot` of another head than of LOS
            from the channel.
    """
    starts = from_zero_shot(adaptation, zero_shot)
    learn, test = divide(links, adaptation)
    batch = batch_of(links, radio)
    task = TASKS[adaptation.task].on(batch.radio)
    z, target = embed(model, batch, adaptation.reads), task.target(batch)
    if not (task.regression or starts) and target.ndim == 1 and len(np.unique(target[learn].numpy())) < 2:
        raise InputError(f"{adaptation.task}: all {len(learn)} labels are of one class; raise --labels")
    if starts:
        asked = zero_shot_start.direction(model, float(batch.environment.size.median()), batch.radio)
        head = zero_shot_start.fit_from_zero_shot(z[learn].double() @ asked, z[learn], target[learn]).head(asked)
    else:
        head = fit(task, z[learn], target[learn], training, world=world)
    figures = measure(task, head, z[test], batch_of(links.select(test), batch.radio))
    return Fitted(head, figures, len(learn), len(test))


@torch.inference_mode()
def measure(task: Task, head: Head, z: Tensor, batch: Batch) -> dict[str, float]:
    """A task's figures of a head on embeddings and the batch that they are of."""
    return task.measure(head(z), batch)


def save_head(
    path: Path, head: Head, adaptation: Adaptation, model: UniversalModel, radio: Radio, about: dict[str, Any]
) -> None:
    """Writes a head of a few kB: safetensors with task, inputs, radio and the model's digest in its metadata.

    Args:
        radio: that its labels came from.
    """
    header = {
        "format": FORMAT, "task": adaptation.task, "inputs": adaptation.reads, "preset": model.preset.name,
        "weights": digest(model), "widths": list(head.widths), "radio": radio.to_json(),
        "adaptation": asdict(adaptation), "about": about,
    }  # fmt: skip
    with atomic_path(path) as temporary:
        save_file(dict(head.state_dict()), temporary, metadata={"uniair": json.dumps(header, sort_keys=True)})
    write_text(path.with_suffix(".json"), json.dumps(header, indent=1, sort_keys=True) + "\n")


class SavedHead(NamedTuple):
    """What a head's file holds.

    Attributes:
        head: in eval mode.
        inputs: the embedding that it reads.
        radio: that its labels came from.
    """

    head: Head
    inputs: str
    radio: Radio


def load_head(path: Path, model: UniversalModel, task: str) -> SavedHead:
    """A head that fits the model and the task.

    Those of the first version name neither radio nor weights: paper 1's, and those that were packaged then.

    Args:
        path: or `registry:NAME@VERSION`.

    Raises:
        InputError: missing, broken, of another preset, other weights or another task, of a radio of a newer format, or
            as `located`.
    """
    path, release = located(path)
    weights = digest(model)
    if release is not None and release.kind == "head":
        release.require_weights(weights)
    header = read_header(path, "make it with uniair adapt")
    try:
        head = Head(tuple(header["widths"]))
        found = {key: header[key] for key in ("format", "task", "inputs", "preset")}
        learned = header.get("radio", {})
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a head of uniair ({error}); make it with uniair adapt") from error
    if found["format"] != FORMAT or found["preset"] != model.preset.name or found["task"] != task:
        raise InputError(
            f"{path}: a head for {found['task']} on preset {found['preset']}, not for {task} on {model.preset.name}; "
            "train one with uniair adapt"
        )
    if (learned_on := str(header.get("weights", FIRST))) != weights:
        raise InputError(f"{path}: a head for other weights of {found['preset']}; train one with uniair adapt"
                         f"{way_back(learned_on)}")  # fmt: skip
    fill(head.state_dict(), read_tensors(path), path, "a head of other widths")
    return SavedHead(head.eval(), str(found["inputs"]), Radio.from_json(learned, str(path)))
