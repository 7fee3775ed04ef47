"""Dense areas one by one: light heads on the frozen model beside networks from scratch and classical methods.

The runs that paper 1's Table III and Figs. 10 and 13 share. An area, seed and task is run once, whoever asks first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from uniair.benchmark.benchmark import Setup
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.environment import Batch
from uniair.evaluation.classical import methods, position_widths
from uniair.evaluation.tables import spread
from uniair.link_budget import excess_loss
from uniair.models.baselines import channel_side
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.tasks import zero_shot
from uniair.tasks.registry import TASKS
from uniair.training import supervised
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit

VIT_TASKS = ("position", "los", "beam")  # what has a Task-Specific ViT, and what the Task-General ViT does at once
Row = tuple[str, str, int, dict[str, float]]  # task, method, tuned parameters, figures


@dataclass(frozen=True)
class Budget:
    """What a comparison in dense areas may cost.

    Attributes:
        areas: how many of them; all where None.
        labels: links of an area to learn from; 80 % where None.
        epochs: passes over them of each network from scratch; the paper takes 1,000.
        heads: how the heads are trained.
    """

    areas: int | None
    labels: int | None
    epochs: int
    heads: HeadTraining = HeadTraining()


# full: of `small` on two cores a network takes some 5 minutes, and Table III, Figs. 10 and 13 train 40 per seed
BUDGETS = {"quick": Budget(2, 512, 100), "full": Budget(None, None, 20)}


@dataclass(frozen=True)
class DenseArea:
    """One area of a store; what its runs share is made when it is first asked for.

    Attributes:
        store: where it is, as number `number`.
        model: frozen.
    """

    store: Store
    number: int
    model: UniversalModel

    @cached_property
    def links(self) -> Links:
        """All its links."""
        return self.store[self.number]

    @cached_property
    def batch(self) -> Batch:
        """Their CSI and environments."""
        return batch_of(self.links)

    @cached_property
    def channel(self) -> Tensor:
        """Embeddings of their CSI: [N, E]."""
        return embed(self.model, self.batch, "channel")

    @cached_property
    def environment(self) -> Tensor:
        """Embeddings of map and positions, LOS unknown: [N, E]."""
        return embed(self.model, self.batch, "environment")

    def part(self, index: Any) -> Batch:
        """Some of its links."""
        return self.batch.select(index)


def compare(
    setup: Setup,
    tasks: Sequence[str],
    split: str = "random",
    labels: int | None = None,
    scratch: bool = True,
) -> dict[str, Any]:
    """Every method of the tasks in every dense area, `setup.seeds` times.

    Runs with the frozen model are kept in `toft` beside the setup's own folder, the paper's networks from
    scratch, which do not depend on the model's weights, in `supervised`.

    Args:
        split: `random` links to test on, as in paper 1, or whole `blocks`.
        labels: links to learn from; as the budget says where None.
        scratch: networks from scratch too, which take nearly all of the time.

    Returns:
        `areas` and their `size_m`; `rows`: task → method → tuned parameters and, of each figure, its mean over areas
        and seeds, its spread over seeds and its values by area; and what it was run with.

    Raises:
        InputError: no dense areas, folders with other runs, or an area with too few links.
    """
    budget = BUDGETS[setup.budget]
    store = setup.store("dense").first(budget.areas)
    labels = budget.labels if labels is None else labels
    data = {"data": store.manifest["recipe"], "split": split, "labels": labels}
    frozen, from_scratch = (replace(setup, out=setup.out.parent / name) for name in ("toft", "supervised"))
    frozen.note(**data, heads=asdict(budget.heads))
    trained = [task for task in tasks if task in VIT_TASKS and scratch]
    if trained:
        from_scratch.note(
            **data, weights="from scratch", preset=channel_side(setup.model.preset), epochs=budget.epochs,
            batch=supervised.BATCH, recipe=asdict(supervised.RECIPE),
        )  # fmt: skip
    sizes: list[float] = []
    found: dict[str, dict[str, dict[str, Any]]] = {task: {} for task in tasks}
    for number, name in enumerate(track(store.areas, "area")):
        area = DenseArea(store, number, setup.model)
        sizes.append(float(area.links.sizes[0]))
        for seed in range(setup.seeds):
            wanted = Adaptation(labels=labels, split=split, seed=seed)
            rows: list[Row] = []
            for task in trained:
                alone = partial(_vit, area, (task,), wanted, budget.epochs)
                rows += from_scratch.once(f"{name}-{task}-{seed}", alone)
            if trained:
                together = partial(_vit, area, VIT_TASKS, wanted, budget.epochs)
                rows += [row for row in from_scratch.once(f"{name}-general-{seed}", together) if row[0] in trained]
            for task in tasks:
                others = partial(_light, area, task, wanted, replace(budget.heads, seed=seed))
                rows += frozen.once(f"{name}-{task}-{seed}", others)
            for task, method, parameters, figures in rows:
                entry = found[task].setdefault(method, {"tuned_parameters": parameters, "runs": {}})
                entry["runs"].setdefault(name, []).append(figures)
    rows_by_task = {task: {method: entry | sum_up(entry.pop("runs")) for method, entry in methods.items()}
                    for task, methods in found.items()}  # fmt: skip
    return {"areas": list(store.areas), "size_m": sizes, "split": split, "labels": labels,
            "epochs": budget.epochs if trained else None, "rows": rows_by_task}  # fmt: skip


def sum_up(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Area → figures of each seed; becomes the `mean`, `spread` and `by_area` of each figure."""
    keys = next(iter(runs.values()))[0]
    spreads = {key: spread([[run[key] for run in area] for area in runs.values()]) for key in keys}
    return {new: {key: found[old] for key, found in spreads.items()}
            for new, old in (("mean", "mean"), ("spread", "spread"), ("by_area", "by_unit"))}  # fmt: skip


def _vit(area: DenseArea, tasks: Sequence[str], wanted: Adaptation, epochs: int) -> list[Row]:
    """A network from scratch: the Task-Specific ViT of one task, or the Task-General one of several."""
    learn, test = divide(area.links, wanted)
    device, chosen = area.model.device, [TASKS[task] for task in tasks]
    targets = [task.target(area.batch)[learn] for task in chosen]
    network = supervised.train_vit(
        chosen, area.batch.csi[learn].to(device), targets, area.model.preset, epochs, wanted.seed
    )
    outputs, held = network.predict(area.batch.csi[test].to(device)), area.part(test)
    method = "Task-General ViT" if len(tasks) > 1 else "Task-Specific ViT"
    parameters = sum(p.numel() for p in network.parameters())
    return [
        (task, method, parameters, TASKS[task].measure(out, held)) for task, out in zip(tasks, outputs, strict=True)
    ]


def _light(area: DenseArea, name: str, wanted: Adaptation, training: HeadTraining) -> list[Row]:
    """A task's light heads, zero-shot answers and classical methods."""
    task = TASKS[name]
    learn, test = divide(area.links, wanted)
    seen, held = area.part(learn), area.part(test)
    target, plan = task.target(seen), area.batch.environment.ue[:, :2]
    rows: list[Row] = []

    def add(method: str, outputs: Tensor, tuned: int = 0) -> None:
        rows.append((name, method, tuned, task.measure(outputs, held)))

    def head(method: str, z: Tensor, widths: tuple[int, ...] | None = None) -> None:
        made = fit(task, z[learn], target, training, widths)
        with torch.inference_mode():
            add(method, made(z[test]), made.parameter_count())

    if "channel" in task.inputs:
        head("TOFT from CSI", area.channel)
    if "environment" in task.inputs:
        head("TOFT from map and positions", area.environment)
    if {"channel", "environment"} <= set(task.inputs):
        both = torch.cat([area.channel[learn], area.environment[learn]])
        shared = fit(task, both, torch.cat([target, target]), training)
        with torch.inference_mode():
            for source, z in (("CSI", area.channel), ("map and positions", area.environment)):
                add(f"one head for both, from {source}", shared(z[test]), shared.parameter_count())
    for method, outputs in ZERO_SHOT.get(name, _nothing)(area, test, held):
        add(method, outputs)
    for _, other in methods(task):
        if not other.dense:
            continue
        if other.answer is None:
            head(other.name, plan, position_widths(task))
        else:
            add(other.name, other.answer(seen, target, held), other.tuned)
    return rows


def _nothing(_area: DenseArea, _test: Any, _held: Batch) -> list[tuple[str, Tensor]]:
    return []


def _zero_shot_los(area: DenseArea, test: Any, held: Batch) -> list[tuple[str, Tensor]]:
    env = held.environment
    nowhere, found = env.without("bs", "ue"), []
    for method, known, excess in (
        ("ZSL from CSI and map", nowhere, None),
        ("ZSL from CSI, its power and map", nowhere, excess_loss(held.csi, radio=held.radio)),
        ("ZSL from CSI, map and positions", env, None),
    ):
        odds = zero_shot.los_odds(area.model, area.channel[test].to(area.model.device), known)
        p = torch.sigmoid(odds if excess is None else zero_shot.with_power(odds, excess)).cpu()
        found.append((method, torch.stack([1 - p, p], 1).clamp_min(1e-9).log()))
    return found


# task → what the frozen model answers with nothing tuned, as a head's outputs
ZERO_SHOT: dict[str, Callable[[DenseArea, Any, Batch], list[tuple[str, Tensor]]]] = {"los": _zero_shot_los}
