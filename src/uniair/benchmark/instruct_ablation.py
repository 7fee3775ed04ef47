"""AI²MMUM against its ablations, on the same data, seeds and budget (paper 2, Figs. 4 and 5)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.instruct import PAPER_PROJECTIONS, Design, InstructModel
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.tasks import instruct_loss
from uniair.tasks.registry import INSTRUCTIONS, TASKS
from uniair.training.heads import Adaptation, HeadTraining, fit
from uniair.training.instruction import (
    InstructTraining,
    Questions,
    build,
    calibrate,
    measure,
    questions,
    train,
    watched_loss,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Method:
    """One row: what it is called, and what it changes of the design.

    Attributes:
        towers: train the towers from scratch along with the rest.
        heads: light heads on the frozen embeddings instead, one a task.
    """

    what: str
    design: Mapping[str, Any] = field(default_factory=dict)
    towers: bool = False
    heads: bool = False


METHODS = {
    "AI²MMUM": Method("the method"),
    "FP": Method("fixed prompt: keywords without a learned prefix", {"prefix": 0}),
    "SP": Method("same prompt for all tasks", {"same_prompt": True}),
    "TE/TC": Method("towers trained from scratch", towers=True),
    "WL": Method("without LoRA", {"rank": 0}),
    "RL": Method("random language model", {"backbone": "random:"}),
    "SL": Method("language model with its weights shuffled", {"backbone": "shuffled:"}),
    "WM": Method("without language model", {"backbone": "none"}),
    "ST": Method("small transformer, trained whole", {"backbone": "transformer", "whole": True, "blocks": 0}),
    "LH": Method("light heads on the embeddings, one a task", heads=True),
    "RF": Method("radio token before the instruction", {"order": "radio_first"}),
    "AB": Method("all blocks", {"blocks": 0}),
    "NB": Method("all blocks, no beginning, no mean, heads as they are, LoRA on query and key",
                 {"blocks": 0, "start": (), "projections": PAPER_PROJECTIONS}),
}  # fmt: skip
RATES = (1e-3, 2e-3, 4e-3)  # of which each method takes its best on links that it does not learn from
MOST_RATES = 5  # with those beyond, half and twice, that are tried while the best stands at an end
MODALITIES = ("channel", "environment")
REPEATS = (20, 3)  # answers alone, and answers of 256, that are timed


@dataclass(frozen=True)
class Budget:
    """What the comparison may cost.

    Attributes:
        areas: dense areas of the channel's tasks; the environment's have one more.
        labels: links of an area to learn from; 80 % where None.
        training: of every method.
    """

    areas: int
    labels: int | None
    training: InstructTraining


FEW = InstructTraining(epochs=24, batch=32)  # where labels are few
BUDGETS = {"quick": Budget(1, 600, FEW), "full": Budget(2, None, InstructTraining(epochs=10))}


def run(
    setup: Setup, *, backbone: str = "smollm2-135m", dtype: str = "float32", labels: int = 0, dense_areas: int = 0,
    methods: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Every method in every area, `setup.seeds` times, each with its own best learning rate.

    The rate is the one of `RATES`, and of those beyond where the best is at their end, with the least loss, at the
    first seed, on the tenth of the labels that calibrates. What an answer costs is timed afterwards, row after row.

    Args:
        backbone: language model, name or folder.
        dtype: of its weights, float32 or bfloat16.
        labels: links of an area to learn from; 0: as the budget has it.
        dense_areas: of the channel's tasks; 0: as the budget has it. Runs are the same whatever it is.
        methods: rows to run, such as AI²MMUM WM RL ST; all where none is named. A folder goes on with others.

    Raises:
        InputError: a method is none of `METHODS`.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise InputError(f"--methods {unknown[0]}: choose of {', '.join(METHODS)}")
    budget = BUDGETS[setup.budget]
    budget = replace(budget, areas=dense_areas or budget.areas)
    if labels:
        budget = replace(budget, labels=labels, training=FEW)
    store = setup.store("dense").first(budget.areas + 1)
    places = [("channel", store, number) for number in range(budget.areas)]
    places.append(("environment", store, budget.areas))
    if "deepmimo" in setup.folders:
        places.append(("channel", setup.store("deepmimo"), 0))
    setup.note(
        data=store.manifest["recipe"], deepmimo="deepmimo" in setup.folders, labels=budget.labels,
        training=asdict(budget.training), backbone=backbone, dtype=dtype, rates=RATES,
    )  # fmt: skip
    named = [name for name in METHODS if name in (methods or METHODS)]
    rows: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {name: {} for name in named}
    jobs = [(name, *place, seed) for seed in range(setup.seeds) for place in places for name in named]
    for name, modality, data, number, seed in track(jobs, "run"):
        method, area = METHODS[name], data.areas[number]
        unit = partial(_one, setup, method, designed(method, backbone, dtype), modality, data, number, budget)
        key = f"{name.replace('/', '')}-{modality}-{area}"
        tried: dict[float, dict[str, Any]] = {}
        for rate in RATES[: len(RATES) if not method.heads else 1]:
            tried[rate] = setup.once(f"{key}-0-{rate:g}", partial(unit, 0, rate))
        while not method.heads and (rate := _beyond(tried)):
            tried[rate] = setup.once(f"{key}-0-{rate:g}", partial(unit, 0, rate))
        best = _best(tried)
        found = setup.once(f"{key}-{seed}-{best:g}", partial(unit, seed, best))
        rows[name].setdefault(f"{modality}: {area}", {}).setdefault("runs", []).append(found | {"rate": best})
    costs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in named}
    for name in named:
        design = designed(METHODS[name], backbone, dtype)
        for place in places[budget.areas - 1 : budget.areas + 1]:  # one of each modality
            once = partial(_cost, setup, METHODS[name], design, budget.labels, *place)
            costs[name][place[0]] = setup.once(f"cost-{name}-{place[0]}", once)
    return {
        "areas": [f"{modality}: {data.areas[number]}" for modality, data, number in places],
        "labels": budget.labels, "epochs": budget.training.epochs, "backbone": backbone, "dtype": dtype,
        "rows": {name: _sum_up(METHODS[name].what, areas, costs[name]) for name, areas in rows.items()},
    }  # fmt: skip


def _one(
    setup: Setup, method: Method, design: Mapping[str, Any], modality: str, data: Any, number: int, budget: Budget,
    seed: int, rate: float,
) -> dict[str, Any]:  # fmt: skip
    """Trains and measures one method on one area."""
    links, area = data[number], data.areas[number]
    dataset = questions(setup.model, area, links, (modality,), Adaptation(labels=budget.labels, seed=seed))
    if method.heads:
        return _light_heads(dataset, modality, seed)
    model = untrained(design, setup.model.preset.embedding, modality, seed)
    tower = None
    if method.towers:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tower = UniversalModel(setup.model.preset)
    folder = setup.out / "training" / f"{method.what}-{modality}-{area}-{seed}".replace("/", "-").replace(" ", "-")
    plan = replace(budget.training.optimisation, seed=seed, learning_rate=rate)
    train(model, dataset, replace(budget.training, optimisation=plan), folder, tower)
    watched = watched_loss(model, dataset, tower)
    figures = measure(model, dataset, calibrate(model, dataset, tower), tower)
    shutil.rmtree(folder)
    tuned = model.parameter_counts()["total"]
    if tower is not None:
        tuned += sum(p.numel() for p in _tower_parameters(tower, modality))
    return {"figures": figures, "tuned": tuned, "watched": watched}


def _light_heads(dataset: Questions, modality: str, seed: int) -> dict[str, Any]:
    """What a head a task gives that learns from the same labels (paper 1, III-B-2)."""
    z, figures, heads = dataset.embeddings[modality], {}, {}
    held = dataset.batch.select(dataset.test)
    for name in dataset.tasks(modality):
        task, truth = TASKS[name].on(dataset.batch.radio), dataset.targets[name]
        heads[name] = fit(task, z[dataset.learn], truth[dataset.learn], HeadTraining(seed=seed))
        out = heads[name](z[dataset.test]).detach()
        if truth.ndim == 1:
            out = out / instruct_loss.temperature(heads[name](z[dataset.watch]).detach(), truth[dataset.watch])
        figures[name] = task.measure(out, held)
    return {"figures": figures, "tuned": sum(head.parameter_count() for head in heads.values()), "watched": 0.0}


def _best(tried: Mapping[float, Mapping[str, Any]]) -> float:
    return min(tried, key=lambda rate: float(tried[rate]["watched"]))


def _beyond(tried: Mapping[float, Mapping[str, Any]]) -> float:
    """The rate to try next: beyond the best where that stands at an end; 0 where it does not, or enough were tried."""
    best = _best(tried)
    if len(tried) >= MOST_RATES:
        return 0.0
    return best / 2 if best == min(tried) else 2 * best if best == max(tried) else 0.0


def _cost(
    setup: Setup, method: Method, design: Mapping[str, Any], labels: int | None, modality: str, data: Any, number: int
) -> dict[str, float]:
    """What an answer to the modality's first task costs; what was learned makes no difference to it."""
    dataset = questions(setup.model, data.areas[number], data[number], (modality,), Adaptation(labels=labels))
    z, name = dataset.embeddings[modality], dataset.tasks(modality)[0]
    if method.heads:
        task = TASKS[name].on(dataset.batch.radio)
        head = fit(task, z, dataset.targets[name], HeadTraining(epochs=1, steps=1))
        return cost(head, head.parameter_count(), z)
    model = untrained(design, setup.model.preset.embedding, modality, 0).eval()
    return cost(lambda z: model(name, z), parameters_run(model), z)


def designed(method: Method, backbone: str, dtype: str) -> dict[str, Any]:
    """What a method's `Design` is made with, for a language model and the type of its weights."""
    design: dict[str, Any] = {
        "backbone": backbone,
        "dtype": "float32" if "whole" in method.design else dtype,  # small updates vanish in less
    } | dict(method.design)
    if str(design["backbone"]).endswith(":"):
        design["backbone"] += backbone
    return design


def untrained(design: Mapping[str, Any], embedding: int, modality: str, seed: int) -> InstructModel:
    """The model of a design before training, for the tasks of one modality."""
    tasks = {task: instruction for task, instruction in INSTRUCTIONS.items() if instruction.modality == modality}
    return build(Design(**design, embedding=embedding, seed=seed), tasks)


def _tower_parameters(tower: UniversalModel, modality: str) -> list[torch.nn.Parameter]:
    parts = (tower.cfenn, tower.project_channel) if modality == "channel" else (tower.epnn, tower.project_environment)
    return [p for part in parts for p in part.parameters()]


def parameters_run(model: InstructModel) -> int:
    """Parameters that an answer runs through; a table of words is looked up."""
    embeddings = 0 if model.llm is None else model.llm.get_input_embeddings().weight.numel()
    return sum(p.numel() for p in model.parameters()) - embeddings


def cost(answer: Callable[[Tensor], Tensor], parameters: int, embeddings: Tensor) -> dict[str, float]:
    """What an answer costs from an embedding on: parameters that it runs through, ms alone, answers/s of 256."""

    @torch.no_grad()
    def seconds(count: int, repeats: int) -> float:
        some = embeddings[torch.arange(count) % len(embeddings)]
        answer(some)
        took = []
        for _ in range(repeats):
            began = time.perf_counter()
            answer(some)
            took.append(time.perf_counter() - began)
        return float(np.median(took))

    alone, together = seconds(1, REPEATS[0]), seconds(256, REPEATS[1])
    return {"parameters": parameters, "latency_ms": 1e3 * alone, "answers_per_s": 256 / together}


def _sum_up(
    what: str, areas: dict[str, dict[str, list[dict[str, Any]]]], costs: dict[str, dict[str, float]]
) -> dict[str, Any]:
    out: dict[str, Any] = {"what": what, "areas": {}, "rates": {}, "tuned": {}, "cost": costs}
    for area, found in areas.items():
        runs = found["runs"]
        modality = area.split(":")[0]
        out["areas"][area] = {
            task: {key: spread([[run["figures"][task][key] for run in runs]]) for key in runs[0]["figures"][task]}
            for task in runs[0]["figures"]
        }
        out["tuned"][modality] = runs[0]["tuned"]
        out["rates"][area] = runs[0]["rate"]
    return out


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """A table per area, and one of what the methods cost."""
    labels = "80 % of the links" if result["labels"] is None else f"{result['labels']} links"
    out = []
    for area in result["areas"]:
        tasks = list(next(iter(result["rows"].values()))["areas"][area])
        lines = []
        for name, row in result["rows"].items():
            cells = [
                plus_minus(cell["mean"], cell["spread"], metric.digits, metric.scale)
                for task in tasks for metric in [TASKS[task].compared]
                for cell in [row["areas"][area][task][metric.key]]
            ]  # fmt: skip
            lines.append([f"{name}: {row['what']}", *cells])
        heading = (f"{area}: {labels} to learn from, {result['epochs']} epochs, backbone {result['backbone']}; "
                   f"mean ± spread over {result['seeds']} seeds")  # fmt: skip
        heads = [f"{TASKS[task].title}: {TASKS[task].compared.heading}" for task in tasks]
        out.append((heading, Table(["", *heads], lines)))
    lines = []
    for name, row in result["rows"].items():
        for modality, one in row["cost"].items():
            lines.append([
                f"{name}, {modality}", f"{row['tuned'][modality]:,}", f"{one['parameters']:,.0f}",
                f"{one['latency_ms']:.1f} ms", f"{one['answers_per_s']:,.0f}",
                ", ".join(f"{rate:g}" for area, rate in row["rates"].items() if area.startswith(modality)),
            ])  # fmt: skip
    head = ["", "tuned", "run through", "one answer", "answers/s of 256", "rates"]
    out.append(("What each costs, from the tower's embedding on", Table(head, lines)))
    return out


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Bars with error bars over seeds, a panel per task and area."""
    panels = [(area, task) for area in result["areas"]
              for task in next(iter(result["rows"].values()))["areas"][area]]  # fmt: skip
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure.set_size_inches(4 * columns, 2.6 * rows)
    for axes, (area, task) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        metric = TASKS[task].compared
        cells = [row["areas"][area][task][metric.key] for row in result["rows"].values()]
        means = [metric.scale * cell["mean"] for cell in cells]
        colours = ["#0072B2" if name == "AI²MMUM" else "#999999" for name in result["rows"]]
        axes.bar(
            range(len(means)), means, yerr=[metric.scale * cell["spread"] for cell in cells], color=colours, capsize=2
        )
        low, high = min(means), max(means)
        axes.set_ylim(max(0.0, low - 0.5 * (high - low) - 1e-3), high + 0.25 * (high - low) + 1e-3)
        axes.set_xticks(range(len(means)), list(result["rows"]), rotation=60, fontsize=7)
        better = "less" if metric.less_is_better else "more"
        axes.set_title(f"{TASKS[task].title}: {metric.heading} ({better} is better)\n{area}", fontsize=8)
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()


INSTRUCT = Benchmark(
    "paper 2, Figs. 4 and 5, bars without figures: the method ahead of all six ablations in nearly every task",
    ("dense",), run, tables, draw, may_use=("deepmimo",),
)  # fmt: skip
