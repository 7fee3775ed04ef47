"""Few labels: light heads on frozen features in DeepMIMO cities, and heads of our own in dense areas.

Heads for LOS also by what is told them, each set of inputs beside classical features of the same: CSI alone, CSI and
its power, and positions too. They begin at zero-shot (`training.zero_shot_start`).

Protocol of the cities' other heads: CSI of 32 antennas, the BS's ULA turned by −135° about z; links with paths only;
features standardised on the training labels; LOS by one linear layer, the best of 32 DFT beams by 64 hidden units;
AdamW 1e-3, weight decay 1e-3, 300 epochs, batch 256; test on 30 % of a seeded permutation, for all heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.style
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.embeddings import read_embeddings
from uniair.benchmark.toft import DenseArea
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.data.splits import few_shot_settings
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.evaluation.classical import los_features
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.files import sha256
from uniair.link_budget import excess_loss, first_path
from uniair.models.head import Head
from uniair.models.sight_line import sight_line
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.propagation.paths import free_space_gain
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.tasks import zero_shot
from uniair.tasks.registry import TASKS
from uniair.training import loop
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit, measure
from uniair.training.zero_shot_start import fit_from_zero_shot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEARING = math.radians(-90 - 135)  # DeepMIMO's own array lies at −90°
LABELS = (16, 64, 256, 512, 1024, 8000)
QUICK_LABELS = (16, 64, 512)
PART = 512  # links whose first paths are looked for at once
LEAST_LINKS = 500  # of a city or BS; smaller ones are samples
TEST = 0.3
EPOCHS, BATCH = 300, 256
PLAN = loop.Optimisation(
    schedule="constant", learning_rate=1e-3, matrix_rate=0.0, warmup=0.0, adamw="heads", weight_decay=1e-3, clip=0.0
)
HIDDEN: Mapping[str, tuple[int, ...]] = {"los": (), "beam": (64,)}
CLASSES = {"los": 2, "beam": 32}

EMBEDDING = "CFENN embedding"
RAW = "raw CSI"
BUDGET = "link budget alone"
SCOPES = {"city": "all BSs of a city together", "BS": "each BS by itself"}
ZSL = {
    False: "ZSL from CSI, its power by a rule outside the model, no labels",
    True: "ZSL from CSI and positions, no labels",
}
CALIBRATED = "CFENN embedding of calibrated CSI"
# what heads for LOS are told, and the classical features of the same; the last of cities that have a map
TOLD: Mapping[str, str] = {
    "CSI": "delay spread, K factor",
    "CSI, power": "delay spread, K factor, excess loss",
    "CSI, power, positions": "those, excess length, distance",
    "CSI, power, positions, map": "those, the sight line over the map",
}
BEGUN = "{}: begun at zero-shot"
CLASSICAL = "{}: logistic regression on {}"
GEOMETRY = "the sight line over the map alone, no channel"
# LWM 1.0 (frozen, its own input format) and raw CSI with the same heads on two other DeepMIMO cities at 28 GHz, by
# labels: lowest and highest accuracy. No like-for-like comparison: other cities.
ELSEWHERE: Mapping[str, Mapping[str, Mapping[int, tuple[float, float]]]] = {
    "los": {"LWM 1.0": {16: (0.89, 0.94), 64: (0.95, 0.96), 512: (0.97, 0.97)}},
    "beam": {
        "LWM 1.0": {16: (0.17, 0.25), 64: (0.30, 0.40), 512: (0.57, 0.59)},
        "raw CSI": {16: (0.23, 0.27), 64: (0.39, 0.48), 512: (0.77, 0.79)},
    },
}
DENSE = {
    "position from CSI": ("position", "channel", "cdf90_m"),
    "LOS from CSI": ("los", "channel", "accuracy"),
    "beam from CSI": ("beam", "channel", "top1"),
    "beam from map and position": ("beam", "environment", "top1"),
}


def turned(links: Links) -> Links:
    """The same links with every array at the protocol's bearing."""
    return replace(links, bearing=np.full_like(links.bearing, BEARING))


def light_head(features: Tensor, target: Tensor, learn: Tensor, widths: tuple[int, ...], seed: int) -> Head:
    """The protocol's head on standardised features: trained on the labels of `learn`.

    Args:
        features: [N, widths[0]]; the scaling that `learn` gives goes into the head.
        target: int64 [N] classes.
        learn: int64 [L] what may be seen.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(widths).to(features.device)
    seen = features[learn]
    head.shift.copy_(seen.mean(0))
    # of any size: other models' embeddings may be small
    spread_ = seen.std(0, correction=0)
    head.spread.copy_(torch.where(spread_ > 0, spread_, 1.0))
    scaled, truth = (seen - head.shift) / head.spread, target[learn]
    order = torch.Generator().manual_seed(seed)
    batches = [part for _ in range(EPOCHS) for part in torch.split(torch.randperm(len(seen), generator=order), BATCH)]

    def loss(number: int) -> dict[str, Tensor]:
        return {"total": functional.cross_entropy(head.layers(scaled[batches[number]]), truth[batches[number]])}

    return loop.run(head, loss, replace(PLAN, steps=len(batches)))


def frozen_features(model: UniversalModel, batch: Batch) -> dict[str, Tensor]:
    """What the frozen model and the CSI themselves give to a head: float32 [N, width] each, on the CPU.

    The embedding; the tower's output before the projection; both; the tower's tokens averaged over delays, beam patch
    by beam patch, from the last block that the towers do not share; the normalised CSI. The model takes a CSI's power
    out, so the link budget that it can't know stands beside the embedding, beside the CSI, and alone (no model).
    """
    middle = [*model.cfenn.blocks, *model.cfenn.shared][max(len(model.cfenn.blocks), 1) - 1]
    towers: list[Tensor] = []
    tokens: list[Tensor] = []
    hooks = [
        model.cfenn.register_forward_hook(lambda _module, _inputs, out: towers.append(out.cpu())),
        middle.register_forward_hook(lambda _module, _inputs, out: tokens.append(by_row(model, out).cpu())),
    ]
    try:
        embedding = embed(model, batch, "channel")
    finally:
        for hook in hooks:
            hook.remove()
    tower = torch.cat(towers)
    budget = link_budget(batch.csi)
    raw = torch.view_as_real(model.normalise_channel(batch.csi)).flatten(1).cpu()
    return {
        EMBEDDING: embedding,
        "CFENN before the projection": tower,
        "CFENN embedding and before it": torch.cat([embedding, tower], 1),
        "CFENN tokens by beam": torch.cat(tokens),
        "CFENN embedding and link budget": torch.cat([embedding, budget], 1),
        RAW: raw,
        "raw CSI and link budget": torch.cat([raw, budget], 1),
        BUDGET: budget,
    }


def link_budget(csi: Tensor) -> Tensor:
    """Power gain of a CSI, and the same at 1 m if it fell as in free space along the first path: float32 [N, 30].

    Both in dB, against levels 5 dB apart that no label chose: tanh of the distance to each in units of 10 dB, so that a
    linear head can put a threshold anywhere. Line of sight leaves the second near 20 log10(λ / 4π).
    """
    gain = 10 * torch.log10(csi.abs().double().square().mean((1, 2)))
    metre = 20 * math.log10(abs(free_space_gain(1.0, Radio().carrier))) - excess_loss(csi)
    levels = (torch.arange(-150.0, -69.0, 5.0), torch.arange(-110.0, -49.0, 5.0))
    return torch.cat(
        [((db[:, None] - at) / 10).tanh() for db, at in zip((gain, metre), levels, strict=True)], 1
    ).float()


def by_row(model: UniversalModel, tokens: Tensor) -> Tensor:
    """CFENN's tokens without the class token, averaged over columns: [N, 1 + rows · columns, W] → [N, rows · W]."""
    rows = model.preset.beams // model.preset.csi_patch[0]
    return tokens[:, 1:].reshape(len(tokens), rows, -1, tokens.shape[2]).mean(2).flatten(1)


@dataclass(frozen=True)
class TurnedCity:
    """One city of the store with its arrays turned by the protocol.

    Attributes:
        store: where it is, as number `number`.
        model: frozen.
        given: other models' embeddings of its links, by their name.
    """

    store: Store
    number: int
    model: UniversalModel
    given: Mapping[str, Tensor]

    @cached_property
    def batch(self) -> Batch:
        """CSI by the protocol, and what is known of the place."""
        return batch_of(turned(self.store[self.number]))


class Told(NamedTuple):
    """What heads for LOS learn from where so much is known of a city's links.

    Attributes:
        odds: [N] zero-shot log-odds, nats.
        z: [N, E] embeddings.
        features: [N, F] classical, see `FEATURES`.
    """

    odds: Tensor
    z: Tensor
    features: NDArray[np.float64]


def classical(features: NDArray[np.float64], truth: Tensor, learn: Tensor, test: Tensor) -> Tensor:
    """LOS of the test links by a logistic regression on features that the labels scale: bool [T]."""
    if (truth[learn] == truth[learn][0]).all():  # no line to draw between labels of one class
        return truth[learn][:1].expand(len(test)) > 0
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features[learn.numpy()], truth[learn].numpy())
    return torch.from_numpy(model.predict(features[test.numpy()]) > 0)


class City(TurnedCity):
    """What the few-shot runs of a city share, made when it is first asked for."""

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """All that heads are trained on: [links, width] each, where the model is."""
        made = frozen_features(self.model, self.batch) | dict(self.given)
        return {name: values.to(self.model.device) for name, values in made.items()}

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """Classes of each task: int64 [links]."""
        return {task: TASKS[task].target(self.batch) for task in HIDDEN}

    @cached_property
    def told(self) -> dict[str, Told]:
        """By `TOLD`."""
        csi, env, plain = self.batch.csi, self.batch.environment, self.batch.radio
        gains, located = replace(plain, calibrated=True), env.without("map")
        apart = (env.ue - env.bs).norm(dim=1)
        # the delay is looked for on a fine grid, which is large
        delay = torch.cat([first_path(part, plain)[0] for part in torch.split(csi, PART)])
        shape = torch.from_numpy(los_features(csi, plain))
        nowhere, loss = located.without("bs", "ue"), excess_loss(csi, radio=plain)
        over = [shape, excess_loss(csi, apart, plain), delay * SPEED_OF_LIGHT - apart, apart]
        known = [(plain, nowhere, [shape]), (gains, nowhere, [shape, loss]), (gains, located, over)]
        if env.map is not None:
            line = sight_line(env)
            known.append((gains, env, [*over, line.blocked, line.excess]))
        z = {radio: self.model.encode_channel(csi, radio) for radio in (plain, gains)}
        return {
            name: Told(zero_shot.los_odds(self.model, z[radio], place, radio).cpu(), z[radio].cpu(),
                       torch.column_stack([column.double() for column in features]).numpy())
            for name, (radio, place, features) in zip(TOLD, known, strict=False)
        }  # fmt: skip

    def informed(self, unit: NDArray[np.int64], labels: int, seed: int) -> dict[str, float]:
        """Row → share of the unit's test links whose LOS is found; of 0 labels there is zero-shot alone."""
        test, learn = permuted(unit, labels, seed)
        truth, found = self.targets["los"], {}
        for name, told in self.told.items():
            line = fit_from_zero_shot(told.odds[learn], told.z[learn], truth[learn])
            says = {BEGUN: line.odds(told.odds[test], told.z[test]) > 0}
            if labels:
                says[CLASSICAL] = classical(told.features, truth, learn, test)
            for row, hit in says.items():
                found[row.format(name, TOLD[name])] = float((hit == (truth[test] > 0)).double().mean())
        if not labels and self.batch.environment.map is not None:
            clear = ~sight_line(self.batch.environment.select(test)).blocked
            found[GEOMETRY] = float((clear == (truth[test] > 0)).double().mean())
        if labels:
            z, seen = self.told["CSI, power"].z.to(self.model.device), truth.to(self.model.device)
            head = light_head(z, seen, learn, (z.shape[1], *HIDDEN["los"], CLASSES["los"]), seed)
            with torch.inference_mode():
                found[CALIBRATED] = float((head(z[test]).argmax(1) == seen[test]).double().mean())
        return found

    def accuracy(self, unit: NDArray[np.int64], labels: int, seed: int) -> dict[str, dict[str, float]]:
        """Task → features → share of the unit's test links whose class the head finds."""
        test, learn = permuted(unit, labels, seed)
        found: dict[str, dict[str, float]] = {}
        for task, hidden in HIDDEN.items():
            truth = self.targets[task].to(self.model.device)
            for name, features in self.features.items():
                head = light_head(features, truth, learn, (features.shape[1], *hidden, CLASSES[task]), seed)
                with torch.inference_mode():
                    hit = head(features[test]).argmax(1) == truth[test]
                found.setdefault(task, {})[name] = float(hit.float().mean())
        return found

    def zero_shot(self, unit: NDArray[np.int64], located: bool, seed: int) -> float:
        """LOS accuracy on the same test links without a label: from positions, or from the CSI's power instead."""
        test, _ = permuted(unit, 1, seed)
        channel, tested = self.features[EMBEDDING][test], self.batch.select(test)
        if located:
            probability = zero_shot.los(self.model, channel, tested.environment)
        else:
            odds = zero_shot.los_odds(self.model, channel, tested.environment.without("bs", "ue"))
            probability = torch.sigmoid(zero_shot.with_power(odds, excess_loss(tested.csi)))
        return float(((probability.cpu() > 0.5).long() == self.targets["los"][test]).float().mean())


def permuted(unit: NDArray[np.int64], labels: int, seed: int) -> tuple[Tensor, Tensor]:
    """Links to test on, 30 % of a seeded permutation of the unit's, and the first `labels` of the others."""
    order = torch.from_numpy(unit[np.random.default_rng(seed).permutation(len(unit))])
    test = round(TEST * len(unit))
    return order[:test], order[test : test + labels]


def columns(links: int, labels: Sequence[int]) -> list[int]:
    """The label counts that a unit of so many links has; the protocol's largest stands for all that it has."""
    available = links - round(TEST * links)
    return [n for n in labels if n <= available or n == LABELS[-1]]


def units(links: Links, scope: str) -> dict[str, NDArray[np.int64]]:
    """What gets heads of its own, by name: all links of a city, or those of each of its BSs that has enough."""
    if scope == "city":
        return {"all": np.arange(len(links))}
    which = np.unique(links.bs, axis=0, return_inverse=True)[1]
    found = {f"BS {b + 1}": np.flatnonzero(which == b) for b in range(int(which.max()) + 1)}
    return {name: index for name, index in found.items() if len(index) >= LEAST_LINKS}


def run(setup: Setup, *, embeddings: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Cities and dense areas, every seed.

    Args:
        embeddings: .npy files, other models' embeddings of the --deepmimo links; a row is named as its file.

    Raises:
        InputError: a links folder is missing, an embeddings file does not fit, or no city is large enough.
    """
    cities, dense = setup.store("deepmimo"), setup.store("dense")
    chosen = [i for i in range(len(cities)) if cities.counts[i] >= LEAST_LINKS]
    if not chosen:
        raise InputError(f"{cities.folder}: no city has {LEAST_LINKS} links; import DeepMIMO's city scenarios")
    given = {path.stem: read_embeddings(path, cities) for path in embeddings}
    setup.note(
        deepmimo=cities.manifest["shards"], dense=dense.manifest["shards"],
        embeddings={path.stem: sha256(path) for path in embeddings},
    )  # fmt: skip
    labels = LABELS if setup.full else QUICK_LABELS
    made = [City(cities, i, setup.model, {k: areas[i] for k, areas in given.items()}) for i in chosen]
    return {
        "labels": list(labels),
        "cities": [cities.areas[city.number] for city in made],
        "scopes": _cities(setup, made, labels),
        "dense": _dense(setup, dense),
    }


def _cities(setup: Setup, cities: Sequence[City], labels: Sequence[int]) -> dict[str, Any]:
    """Scope → links to learn from in each unit, and task → features → labels → accuracy."""
    out: dict[str, Any] = {}
    for scope in SCOPES:
        cells: dict[str, dict[str, dict[str, list[list[float]]]]] = {task: {} for task in HIDDEN}
        learned = {}
        for city in track(cities, "city", scope):
            place = city.store.areas[city.number]
            for unit, index in units(city.store[city.number], scope).items():
                key = f"{place}-{unit}"
                learned[key] = len(index) - round(TEST * len(index))
                jobs: dict[int, Callable[[int], Any]] = {
                    count: partial(city.accuracy, index, count) for count in columns(len(index), labels)
                }
                for count, job in jobs.items():
                    runs = [setup.once(f"{key}-{count}-{seed}", partial(job, seed)) for seed in range(setup.seeds)]
                    for task, methods in runs[0].items():
                        for name in methods:
                            cell = cells[task].setdefault(name, {}).setdefault(str(count), [])
                            cell.append([one[task][name] for one in runs])
                for count in (0, *jobs):
                    told = [
                        setup.once(f"{key}-told-{count}-{seed}", partial(city.informed, index, count, seed))
                        for seed in range(setup.seeds)
                    ]
                    for name in told[0]:
                        cell = cells["los"].setdefault(name, {}).setdefault(str(count), [])
                        cell.append([one[name] for one in told])
                for located, name in ZSL.items():
                    zsl = [
                        setup.once(f"{key}-zsl-{located}-{seed}", partial(city.zero_shot, index, located, seed))
                        for seed in range(setup.seeds)
                    ]
                    cells["los"].setdefault(name, {}).setdefault("0", []).append(zsl)
        rows = {
            task: {name: {n: spread(cell) for n, cell in row.items()} for name, row in methods.items()}
            for task, methods in cells.items()
        }
        out[scope] = {"learned": learned, "rows": rows}
    return out


def _dense(setup: Setup, store: Store) -> dict[str, Any]:
    labels, training = few_shot_settings()["labels"], HeadTraining()
    if not setup.full:
        store, labels, training = store.first(2), labels[::2], HeadTraining(epochs=20, steps=400)
    found: dict[str, dict[str, list[list[float]]]] = {row: {} for row in DENSE}
    for number in track(range(len(store)), "area", "dense"):
        area = DenseArea(store, number, setup.model)
        for count in labels:
            job = partial(dense_figures, area, count, training)
            runs = [
                setup.once(f"{store.areas[number]}-{count}-{seed}", partial(job, seed)) for seed in range(setup.seeds)
            ]
            for row in DENSE:
                found[row].setdefault(str(count), []).append([one[row] for one in runs])
    rows = {row: {n: spread(cell) for n, cell in cells.items()} for row, cells in found.items()}
    return {"areas": list(store.areas), "labels": labels, "rows": rows}


def dense_figures(area: DenseArea, labels: int, training: HeadTraining, seed: int) -> dict[str, float]:
    """Each row of `DENSE` from so many labels, or from the 80 % of the links that there are.

    Raises:
        InputError: the area has too few links.
    """
    learn, test = divide(area.links, Adaptation(seed=seed))
    if labels < len(learn):
        learn, test = divide(area.links, Adaptation(labels=labels, seed=seed))
    held, found = area.part(test), {}
    for row, (task, inputs, figure) in DENSE.items():
        z, target = area.channel if inputs == "channel" else area.environment, TASKS[task].target(area.batch)
        head = fit(TASKS[task], z[learn], target[learn], replace(training, seed=seed))
        found[row] = measure(TASKS[task], head, z[test], held)[figure]
    return found


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """LOS and beams in the cities, both ways; then the dense areas."""
    labels, out = [str(n) for n in result["labels"]], []
    titles = {"los": "LOS accuracy", "beam": "top-1 of 32 beams"}
    head = ["labels", *("all, at most 8,000" if n == str(LABELS[-1]) else n for n in labels)]
    for scope, found in result["scopes"].items():
        where = f"{len(result['cities'])} DeepMIMO cities, {SCOPES[scope]}; mean ± spread over seeds"
        for task, methods in found["rows"].items():
            wide = labels if task == "beam" else ["0", *labels]
            rows = [[name, *(_cell(cells.get(n)) for n in wide)] for name, cells in methods.items()]
            for name, known in ELSEWHERE[task].items():
                ranges = {str(n): _range(low, high) for n, (low, high) in known.items()}
                rows.append([f"{name}, two OTHER cities", *(ranges.get(n, "") for n in wide)])
            out.append((f"{titles[task]}: {where}", Table([head[0], *wide[: -len(labels)], *head[1:]], rows)))
    dense = result["dense"]
    rows = []
    for row, cells in dense["rows"].items():
        metres = DENSE[row][2].endswith("_m")
        name = f"{row}, {'CDF90 in m' if metres else 'accuracy'}"
        rows.append([name, *(_cell(cells[str(n)], 2 if metres else 3) for n in dense["labels"])])
    head = ["labels", *("80 %, at most 8,000" if n == LABELS[-1] else str(n) for n in dense["labels"])]
    out.append((f"TOFT in {len(dense['areas'])} dense areas; mean ± spread over seeds", Table(head, rows)))
    return out


def _cell(value: dict[str, Any] | None, digits: int = 3) -> str:
    return "" if value is None else plus_minus(value["mean"], value["spread"], digits)


def _range(low: float, high: float) -> str:
    return f"{low:.2f} to {high:.2f}" if low < high else f"{low:.2f}"


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Accuracy against labels in the cities, each BS by itself, and TOFT in dense areas."""
    figure.set_size_inches(12, 8)
    (los, beam), (dense, error) = figure.subplots(2, 2)
    methods = result["scopes"]["BS"]["rows"]
    for axes, task in ((los, "los"), (beam, "beam")):
        rows = {name: cells for name, cells in methods[task].items() if set(cells) != {"0"}}
        if task == "los":  # other features of the model are in the table
            rows = {n: cells for n, cells in rows.items() if n in (EMBEDDING, BUDGET) or n not in methods["beam"]}
        for number, (name, cells) in enumerate(rows.items()):
            _curve(axes, cells, name, number)
        for marker, (name, known) in zip("_x", ELSEWHERE[task].items(), strict=False):
            low, high = np.array(list(known.values())).T
            axes.errorbar([float(n) for n in known], (low + high) / 2, (high - low) / 2, fmt=marker, color="black",
                          capsize=4, label=f"{name}, two OTHER cities")  # fmt: skip
    for name, style in zip(ZSL.values(), ("--", ":"), strict=True):
        if level := result["scopes"]["BS"]["rows"]["los"].get(name):
            los.axhline(level["0"]["mean"], color="grey", linestyle=style, label=name)
    for number, (row, cells) in enumerate(result["dense"]["rows"].items()):
        _curve(error if DENSE[row][2].endswith("_m") else dense, cells, row, number)
    los.set(ylabel="LOS accuracy, BSs of DeepMIMO cities")
    beam.set(ylabel="top-1 of 32 beams, BSs of DeepMIMO cities")
    dense.set(ylabel="accuracy, dense areas")
    error.set(ylabel="CDF90 of the position, m, dense areas", yscale="log")
    for axes in (los, beam, dense, error):
        axes.set(xlabel="labels", xscale="log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)


def _curve(axes: Axes, cells: dict[str, Any], name: str, number: int) -> None:
    cells = {n: cell for n, cell in cells.items() if n != "0"}  # the axis is logarithmic
    colours = [style["color"] for style in matplotlib.style.library["tableau-colorblind10"]["axes.prop_cycle"]]
    mean, deviation = ([cell[key] for cell in cells.values()] for key in ("mean", "spread"))
    axes.errorbar([float(n) for n in cells], mean, deviation, label=name, color=colours[number % len(colours)],
                  marker="osD^vP*X<>"[(number + number // 10) % 10], markersize=4, capsize=3)  # fmt: skip


FEWSHOT = Benchmark(
    paper="",
    needs=("deepmimo", "dense"),
    run=run,
    tables=tables,
    draw=draw,
)
