"""Whether drifting calibration, jammers, blocked panels or wrong maps are noticed: AUROC, without labels and with few.

What is usual is learned on validation places, labels come from there, and test places are asked. The baseline learns
principal components of training places too, as the model did, and is given the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.evaluation.faults import building_moved, drifted, jammed, silenced
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.explanation.anomaly import Seen, Trained, Usual
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.radio import Radio
from uniair.training.pretraining import check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SNR = 20.0  # dB of every channel, odd or not
LABELS = (4, 16, 64)  # channels, half of them odd
GROUP = 16  # channels of a place that are judged together
COMPONENTS = 32  # of the baseline
MOVED = 16.0  # m
PCA, BOTH = "principal components", "both"
Faulty = tuple[Tensor, Environment]


@dataclass(frozen=True)
class AnomalyBudget:
    """How much is measured.

    Attributes:
        areas, links: of the validation and of the test folder; links of each area.
        learned: training areas of which the baseline learns, as many links of each.
    """

    areas: int
    links: int
    learned: int


BUDGETS = {"quick": AnomalyBudget(8, 32, 120), "full": AnomalyBudget(40, 64, 480)}


def _calibration(phase: float, gain: float) -> Callable[..., Faulty]:
    return lambda csi, env, radio, other, rng: (drifted(csi, phase, gain, rng), env)


def _jammer(power: float) -> Callable[..., Faulty]:
    return lambda csi, env, radio, other, rng: (jammed(csi, radio, power, rng), env)


def _panel(share: float) -> Callable[..., Faulty]:
    return lambda csi, env, radio, other, rng: (silenced(csi, share, rng), env)


def _another_map(csi: Tensor, env: Environment, radio: Radio, other: Tensor, rng: np.random.Generator) -> Faulty:
    return csi, replace(env, map=other[:1].expand(len(env.map), -1, -1))


def _building(csi: Tensor, env: Environment, radio: Radio, other: Tensor, rng: np.random.Generator) -> Faulty:
    pixels = max(round(MOVED / float(env.size[0]) * env.map.shape[1]), 1)
    moved = np.stack([building_moved(one, pixels, rng) for one in env.map.numpy()])
    return csi, replace(env, map=torch.from_numpy(moved))


# each, from the least to the worst, takes channels, places, radio, another place's map and what is drawn
ANOMALIES: dict[str, Callable[..., Faulty]] = {
    "calibration drift, 10° and 0.5 dB": _calibration(10, 0.5),
    "calibration drift, 30° and 1.5 dB": _calibration(30, 1.5),
    "calibration drift, 60° and 3 dB": _calibration(60, 3),
    "jammer, −10 dB": _jammer(-10),
    "jammer, 0 dB": _jammer(0),
    "jammer, 10 dB": _jammer(10),
    "an eighth of the panel silent": _panel(1 / 8),
    "a quarter of the panel silent": _panel(1 / 4),
    "half of the panel silent": _panel(1 / 2),
    f"a building moved {MOVED:g} m": _building,
    "the map of another place": _another_map,
}


@dataclass(frozen=True)
class Observed:
    """Channels of several places in one state.

    Attributes:
        seen: what the model sees of them.
        profile: [N, ports · subcarriers] log power of each channel over beams and delays, for the baseline.
        area: [N] the place of each.
    """

    seen: Seen
    profile: NDArray[np.float32]
    area: NDArray[np.int64]

    def select(self, which: NDArray[np.integer]) -> Observed:
        """Some of them."""
        seen = Seen(self.seen.restored[which], self.seen.fit[which], self.seen.code[which])
        return Observed(seen, self.profile[which], self.area[which])


def profile(csi: Tensor) -> NDArray[np.float32]:
    """Log power of channels [N, ports, subcarriers] over beams and delays, each channel's mean taken off: [N, P]."""
    power = torch.fft.fft2(csi).abs().square().flatten(1)
    level = (power / power.mean(1, keepdim=True)).clamp_min(1e-4).log10()
    return np.asarray((level - level.mean(1, keepdim=True)).numpy(), dtype=np.float32)


def observed(
    model: UniversalModel, store: Store, budget: AnomalyBudget, rng: np.random.Generator
) -> dict[str, Observed]:
    """The channels of a folder's places as they should be, under "", and with each anomaly; noise and faults are drawn.

    Raises:
        InputError: fewer than two places: there is no other map.
    """
    areas = [links.select(np.arange(len(links))[: budget.links]) for _, links in some_areas(store, budget.areas)]
    if len(areas) < 2:
        raise InputError(f"{store.folder}: {len(areas)} place; a wrong map takes two at least")
    batches = [batch_of(links) for links in areas]
    found: dict[str, list[Observed]] = {}
    for number, batch in enumerate(batches):
        other = batches[number - 1].environment.map
        states: dict[str, Callable[..., Faulty]] = {"": lambda csi, env, *_: (csi, env), **ANOMALIES}
        for name, fault in states.items():
            csi, env = fault(batch.csi, batch.environment, batch.radio, other, rng)
            csi = noisy(csi, SNR, rng)
            here = np.full(len(csi), number)
            found.setdefault(name, []).append(Observed(Seen.of(model, csi, env, batch.radio), profile(csi), here))
    return {name: _joined(parts) for name, parts in found.items()}


def _joined(parts: Sequence[Observed]) -> Observed:
    columns = [np.concatenate([getattr(one.seen, name) for one in parts]) for name in ("restored", "fit", "code")]
    return Observed(Seen(*columns), np.concatenate([one.profile for one in parts]),
                    np.concatenate([one.area for one in parts]))  # fmt: skip


def auroc(normal: NDArray[np.floating], odd: NDArray[np.floating]) -> float:
    """Probability that an odd channel scores higher than a normal one."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([0, 1], [len(normal), len(odd)]), np.concatenate([normal, odd])))


def grouped(score: NDArray[np.floating], area: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean scores of `GROUP` channels of one place at a time, what is left over left out; of fewer where a place has no
    more.
    """
    out = []
    for number in np.unique(area):
        here = score[area == number]
        size = min(GROUP, len(here))
        out += here[: len(here) // size * size].reshape(-1, size).mean(1).tolist()
    return np.array(out)


class Components:
    """The baseline: principal components of the profiles of channels that were as they should be."""

    def __init__(self, profiles: NDArray[np.float32], seed: int) -> None:
        from sklearn.decomposition import PCA

        self.found = PCA(min(COMPONENTS, len(profiles) - 1), random_state=seed).fit(profiles)

    def seen(self, one: Observed) -> Seen:
        """What they see, as the model's: how well channels are restored, and codes; nothing of the place."""
        code = self.found.transform(one.profile)
        left = np.square(one.profile - self.found.inverse_transform(code)).mean(1)
        return Seen(left.astype(np.float64), np.zeros(len(left)), code.astype(np.float32))


def learned(train: Store, budget: AnomalyBudget, rng: np.random.Generator) -> NDArray[np.float32]:
    """Profiles of channels of training places."""
    areas = (links.select(np.arange(len(links))[: budget.links]) for _, links in some_areas(train, budget.learned))
    return np.concatenate([profile(noisy(batch_of(links).csi, SNR, rng)) for links in areas])


def measured(
    model: UniversalModel, train: Store, validation: Store, test: Store, budget: AnomalyBudget, seed: int
) -> dict[str, dict[str, float]]:
    """Anomaly → method → AUROC."""
    known = observed(model, validation, budget, np.random.default_rng([seed, 0]))
    asked = observed(model, test, budget, np.random.default_rng([seed, 1]))
    profiles = [known[""].profile, learned(train, budget, np.random.default_rng([seed, 2]))]
    components = Components(np.concatenate(profiles), seed)
    usual, plain = Usual.fitted(known[""].seen), Usual.fitted(components.seen(known[""]))

    methods: dict[str, Callable[[Observed], NDArray[np.float64]]] = {
        PCA: lambda one: components.seen(one).restored,
        "restored": lambda one: usual.scaled(one.seen)[:, 0],
        "fit": lambda one: usual.scaled(one.seen)[:, 1],
        BOTH: lambda one: usual.score(one.seen),
    }
    heads: dict[str, tuple[Usual, Callable[[Observed], Seen]]] = {
        f"{PCA}, ": (plain, components.seen), "": (usual, lambda one: one.seen)
    }  # fmt: skip
    out: dict[str, dict[str, float]] = {}
    for number, name in enumerate(ANOMALIES):
        row = {method: auroc(score(asked[""]), score(asked[name])) for method, score in methods.items()}
        for method in (PCA, BOTH):
            groups = [grouped(methods[method](asked[state]), asked[state].area) for state in ("", name)]
            row[f"{method}, {GROUP} channels"] = auroc(*groups)
        for labels in LABELS:
            rng = np.random.default_rng([seed, number, labels])
            some = [known[state].select(rng.permutation(len(known[state].area))[: labels // 2]) for state in ("", name)]
            for who, (normal, see) in heads.items():
                head = Trained.fitted(normal, see(some[0]), see(some[1]))
                row[f"{who}{labels} labels"] = auroc(head.score(see(asked[""])), head.score(see(asked[name])))
        out[name] = row
    return out


def run(setup: Setup) -> dict[str, Any]:
    """Every anomaly, by every method; noise, faults and labels are drawn anew for each seed."""
    budget = BUDGETS[setup.budget]
    test, validation, train = (setup.store(name) for name in ("links", "validation", "train"))
    check_split(validation.areas, test.areas)
    check_split(train.areas, test.areas)
    setup.note(data=test.manifest["recipe"], validation=validation.manifest["recipe"], train=train.manifest["recipe"],
               areas=budget.areas, links=budget.links, learned=budget.learned)  # fmt: skip
    runs = [
        setup.once(f"anomalies-{seed}", partial(measured, setup.model, train, validation, test, budget, seed))
        for seed in range(setup.seeds)
    ]
    rows = {
        name: {method: spread([[one[name][method] for one in runs]]) for method in found}
        for name, found in runs[0].items()
    }
    return {"rows": rows, "snr": SNR, "areas": min(budget.areas, len(test)), "links": budget.links}


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """AUROC, without labels and with: rows are anomalies, columns methods."""
    rows = result["rows"]
    methods = list(next(iter(rows.values())))

    def table(chosen: list[str]) -> Table:
        cells = (
            [name, *(plus_minus(row[one]["mean"], row[one]["spread"], 2) for one in chosen)]
            for name, row in rows.items()
        )
        return Table(["", *chosen], list(cells))

    about = f"channels at {result['snr']:g} dB, {result['areas']} test places of {result['links']} links at most"
    return [
        (f"AUROC without labels; {about}; what is usual from validation places",
         table([name for name in methods if "labels" not in name])),
        (f"AUROC of single channels with labels from validation places, half of them odd; {about}",
         table([name for name in methods if "labels" in name])),
    ]  # fmt: skip


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """AUROC of each anomaly, a mark a method."""
    axes, rows = figure.subplots(), result["rows"]
    for method in next(iter(rows.values())):
        axes.plot([row[method]["mean"] for row in rows.values()], range(len(rows)), "o", ms=4, label=method)
    axes.set_yticks(range(len(rows)), list(rows), fontsize="x-small")
    axes.invert_yaxis()
    axes.axvline(0.5, color="grey", ls=":")
    axes.set_xlabel("AUROC")
    axes.legend(fontsize="xx-small")


ANOMALY = Benchmark("", ("links", "validation", "train"), run, tables, draw)
