"""Heads learned by federations: beside each site alone and all links in one place, under poison, and with privacy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.membership import References, attack
from uniair.benchmark.poisoned_sites import SCALE, scaling
from uniair.benchmark.public_head import PublicPlaces
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus
from uniair.federation.aggregate import AGGREGATES, require_flower
from uniair.federation.agreement import Federation
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Task
from uniair.training.heads import HeadTraining, SavedHead, fit, measure
from uniair.training.pretraining import check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from uniair.federation.aggregate import Arrays
    from uniair.federation.head_agreement import HeadAgreement, SiteData
    from uniair.federation.site_client import SiteClient

SITES = 8
POISONS = {"labels": "labels flipped", "weights": f"parameters × {SCALE:g}"}
ALONE, POOLED = "each site alone", "all links in one place"
PUBLIC, TOGETHER = "a head of public places, as it is", "it, learned on from all links in one place"
FURTHER = "it, learned on by the federation"


@dataclass(frozen=True)
class Budget:
    """What a comparison may cost.

    Attributes:
        new: sites that take no part, on which heads are measured too.
        plan: of the federations that are not private.
        private: steps, minibatches and learning rate of private ones; few large minibatches bear noise best.
        epsilons: of the private ones.
        references: heads of the attacker.
        heads: how heads are trained alone, in one place, and by the attacker.
        public: areas of public places that a head to begin from learns from.
    """

    new: int
    plan: Federation
    private: Federation
    epsilons: tuple[float, ...]
    references: int
    heads: HeadTraining
    public: int


PLAN = Federation(sites=SITES)
PRIVATE = replace(PLAN, steps=5, batch=1024, learning_rate=0.2, delta=1e-4)
# two layers under the focal loss take larger and more steps; chosen on one seed of validation places
OF_TASK: dict[str, dict[str, Any]] = {"beam": {"steps": 20, "learning_rate": 0.5}}
# from a head of public places; chosen on validation places
PRIVATE_FURTHER: dict[str, dict[str, Any]] = {"beam": {"learning_rate": 0.02}}  # noise undoes much of a head of layers
POOLED_FURTHER: dict[str, Any] = {"learning_rate": 5e-4}
BUDGETS = {
    "quick": Budget(
        4, replace(PLAN, rounds=20, steps=5), replace(PRIVATE, rounds=20), (2.0, 8.0), 4,
        HeadTraining(epochs=1, steps=1000), 40,
    ),
    "full": Budget(
        8, replace(PLAN, rounds=60), replace(PRIVATE, rounds=60), (1.0, 2.0, 4.0, 8.0, 16.0), 16, HeadTraining(), 240,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One task and seed; what its runs share is made when it is first asked for."""

    model: UniversalModel
    sites: Mapping[str, Links]
    others: Mapping[str, Links]
    plan: Federation
    budget: Budget
    public: PublicPlaces | None = None

    @cached_property
    def begun(self) -> tuple[HeadAgreement, Arrays]:
        """What all begin from."""
        from uniair.federation.head_agreement import HeadAgreement

        radio = next(iter(self.sites.values())).one_radio()
        return HeadAgreement.of(self.model, self.plan, radio)

    @cached_property
    def public_head(self) -> SavedHead:
        """What others can begin from, without a link of any site."""
        assert self.public is not None
        return self.public.head(self.plan.task, self.training)

    @cached_property
    def begun_publicly(self) -> tuple[HeadAgreement, Arrays]:
        """What those begin from that begin from it."""
        from uniair.federation.head_agreement import HeadAgreement

        radio = next(iter(self.sites.values())).one_radio()
        return HeadAgreement.of(self.model, self.plan, radio, self.public_head, "a head of public places")

    @property
    def task(self) -> Task:
        """What is learned."""
        return self.begun[0].task

    @cached_property
    def data(self) -> dict[str, SiteData]:
        """Of the sites."""
        return self._embedded(self.sites)

    @cached_property
    def new(self) -> dict[str, SiteData]:
        """Of those that take no part."""
        return self._embedded(self.others)

    @cached_property
    def pool(self) -> tuple[Tensor, Tensor, Any]:
        """All links of the sites, and which are learned from."""
        every = self.data.values()
        held = [self.task.target(each.held) for each in every]
        z = torch.cat([*(each.z for each in every), *(each.held_z for each in every)])
        member = np.arange(len(z)) < sum(len(each.z) for each in every)
        return z, torch.cat([*(each.target for each in every), *held]), member

    @cached_property
    def references(self) -> References:
        """The attacker's."""
        z, target, _ = self.pool
        return References(self.task, z, target, self.budget.references, self.budget.heads, self.plan.seed)

    def _embedded(self, sites: Mapping[str, Links]) -> dict[str, SiteData]:
        from uniair.federation.head_agreement import SiteData

        return {name: SiteData.of(self.model, links, self.begun[0]) for name, links in sites.items()}

    def figure(self, head: Head, sites: Mapping[str, SiteData], without: Sequence[str] = ()) -> float:
        """The task's headline on the links held out, the mean over sites."""
        found = [
            measure(self.task, head, each.held_z, each.held)[self.task.headline]
            for name, each in sites.items()
            if name not in without
        ]
        return float(np.mean(found))

    def described(self, head: Head, attacked: bool = False) -> dict[str, Any]:
        """A head's figures; those of attacks on it, where asked for."""
        found: dict[str, Any] = {"own": self.figure(head, self.data), "new": self.figure(head, self.new)}
        if attacked:
            found["attacks"] = attack(self.task, head, *self.pool, self.references)
        return found

    def alone(self) -> dict[str, Any]:
        """A head of each site's own links, on its own and on the new sites."""
        heads = {name: fit(self.task, each.z, each.target, self.training) for name, each in self.data.items()}
        own = [self.figure(head, {name: self.data[name]}) for name, head in heads.items()]
        return {"own": float(np.mean(own)), "new": float(np.mean([self.figure(h, self.new) for h in heads.values()]))}

    def pooled(self) -> dict[str, Any]:
        """One head of all sites' links."""
        return self.described(self._pooled(self.training), attacked=True)

    def as_public(self) -> dict[str, Any]:
        """The head of public places, which nobody has changed: what a federation from it must be better than."""
        return self.described(self.public_head.head, attacked=True)

    def pooled_further(self) -> dict[str, Any]:
        """The same, learned on from all sites' links."""
        training = replace(self.training, **POOLED_FURTHER)
        return self.described(self._pooled(training, self.public_head.head), attacked=True)

    def _pooled(self, training: HeadTraining, start: Head | None = None) -> Head:
        z, target, member = self.pool
        return fit(self.task, z[member], target[member], training, start=start).eval()

    @property
    def training(self) -> HeadTraining:
        """Of the heads without a federation."""
        return replace(self.budget.heads, seed=self.plan.seed)

    def federated(
        self, plan: Federation, poison: str | None = None, attacked: bool = False, public: bool = False
    ) -> dict[str, Any]:
        """One head of a federation, whose last site is poisoned or not; begun from the public head, or from nothing.

        Its figures are those of the head, of the honest sites alone, and the headline after every round.
        """
        from uniair.federation.connection import run_here
        from uniair.federation.rounds import Rounds

        begun, begin = self.begun_publicly if public else self.begun
        agreement, bad = replace(begun, federation=plan), list(self.data)[-1]
        rounds = Rounds(agreement, begin, self.model, None, wait=0.0, workers=1, say=lambda _: None, rehearsal=True)
        clients = [_client(name, self, poison if name == bad else None) for name in self.data]
        # parameters that grow without bound end a federation; the head of its last round stays
        with suppress(InputError), np.errstate(over="ignore", invalid="ignore"):
            run_here(rounds, clients)
        head = agreement.head(rounds.arrays).eval()
        key, shown = agreement.task.headline, [each["figures"] for each in rounds.history if each.get("figures")]
        curve = [float(np.mean([found[key] for found in figures.values()])) for figures in shown]
        curve += curve[-1:] * (plan.rounds - len(curve))
        found = self.described(head, attacked)
        found |= {"honest": self.figure(head, self.data, without=[bad]), "curve": curve, "rounds": float(rounds.done)}
        if plan.epsilon is not None:
            found["noise"] = float(np.mean(list(rounds.history[-1]["noise_multiplier"].values())))
            found["epsilon"] = rounds.about()["privacy"]["epsilon"]
        return found


def _client(name: str, trial: Trial, poison: str | None) -> SiteClient:
    """A site; a poisoned one learns from wrong labels, or sends parameters that are scaled."""
    from uniair.federation.head_agreement import HeadAgreement, HeadSite
    from uniair.federation.site_client import SiteClient

    class Embedded(SiteClient):
        def made(self, agreement: Any, account: Any) -> HeadSite:
            assert isinstance(agreement, HeadAgreement)
            return agreement.site(self.name, self.model, self.own, account, self.seeded, data)

    data = trial.data[name]
    if poison == "labels":
        data = replace(data, target=flipped(trial.task, data.target))
    kind = scaling(Embedded) if poison == "weights" else Embedded
    return kind(name, trial.model, trial.sites[name], seeded=True)


def flipped(task: Task, target: Tensor) -> Tensor:
    """Labels as a poisoned site has them: classes in reverse, other targets mirrored at their mean."""
    return task.outputs - 1 - target if task.form == "classes" else 2 * target.mean(0) - target


def run(setup: Setup, *, by: str = "area", tasks: tuple[str, ...] = ("los", "beam")) -> dict[str, Any]:
    """Every federation, task and seed.

    Args:
        by: what a site is: area, or place.
        tasks: that heads are learned of.

    Raises:
        InputError: too few sites, an unknown task, or a package is missing.
    """
    require_flower(private=True)
    from uniair.federation.simulation import sites_of

    if odd := [name for name in tasks if name not in TASKS]:
        raise InputError(f"--tasks {odd[0]}: choose of {', '.join(TASKS)}")
    budget, store = BUDGETS[setup.budget], setup.store("links")
    every = sites_of(store, by)
    if len(every) <= SITES:
        raise InputError(f"{store.folder}: {len(every)} {by}s with enough links, more than {SITES} are needed; "
                         "give a larger folder")  # fmt: skip
    chosen = np.linspace(0, len(every) - 1, min(len(every), SITES + budget.new)).round().astype(int)
    # every so many-th is new, so that both are of all the folder
    public = PublicPlaces(setup.model, setup.store("train"), budget.public) if "train" in setup.folders else None
    if public is not None:
        check_split(public.store.areas, store.areas)
    new = set(chosen[np.linspace(0, len(chosen) - 1, len(chosen) - SITES).round().astype(int)].tolist())
    named = list(every.items())
    sites = {named[i][0]: named[i][1] for i in chosen.tolist() if i not in new}
    others = {named[i][0]: named[i][1] for i in sorted(new)}
    setup.note(
        data=store.manifest["recipe"], by=by, sites=[*sites], new=[*others], plan=asdict(budget.plan), of_task=OF_TASK,
        private=asdict(budget.private), references=budget.references, heads=asdict(budget.heads),
        public=None if public is None else {
            "data": public.store.manifest["recipe"], "areas": public.areas, "private": PRIVATE_FURTHER,
            "pooled": POOLED_FURTHER,
        },
    )  # fmt: skip
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {task: {} for task in tasks}
    for task in tasks:
        for seed in track(range(setup.seeds), "seed", task):
            plan = replace(budget.plan, task=task, seed=seed, **OF_TASK.get(task, {}))
            trial = Trial(setup.model, sites, others, plan, budget, public)
            for name, made in _runs(trial).items():
                runs[task].setdefault(name, []).append(setup.once(f"{task}-{name}-{seed}", made))
    links = {name: len(each) for name, each in sites.items()}
    rows = {task: {name: _summed(found) for name, found in made.items()} for task, made in runs.items()}
    return {"by": by, "sites": links, "new": [*others], "rounds": budget.plan.rounds, "delta": budget.private.delta,
            "headlines": {task: TASKS[task].headline for task in tasks}, "epsilons": list(budget.epsilons),
            "public": None if public is None else public.described(), "rows": rows}  # fmt: skip


def _runs(trial: Trial) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is run of a task and seed, by name."""
    made: dict[str, Callable[[], dict[str, Any]]] = {"alone": trial.alone, "pooled": trial.pooled}

    def add(
        name: str, plan: Federation, poison: str | None = None, attacked: bool = False, public: bool = False
    ) -> None:
        made[name] = lambda: trial.federated(plan, poison, attacked, public)

    for aggregate in AGGREGATES:
        plan = replace(trial.plan, aggregate=aggregate)
        add(aggregate, plan, attacked=aggregate == "mean")
        for poison in POISONS:
            add(f"{aggregate}, {poison}", plan, poison)
    for epsilon in trial.budget.epsilons:
        private = replace(trial.budget.private, task=trial.plan.task, seed=trial.plan.seed, epsilon=epsilon)
        add(f"epsilon {epsilon:g}", private, attacked=True)
    if trial.public is None:
        return made
    made |= {"public": trial.as_public, "public, pooled": trial.pooled_further}
    add("public, federated", trial.plan, attacked=True, public=True)
    for epsilon in trial.budget.epsilons:
        private = replace(trial.budget.private, task=trial.plan.task, seed=trial.plan.seed, epsilon=epsilon)
        private = replace(private, **PRIVATE_FURTHER.get(trial.plan.task, {}))
        add(f"public, epsilon {epsilon:g}", private, attacked=True, public=True)
    return made


def _summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds of every number, in place."""
    first = found[0]
    out: dict[str, Any] = {}
    for key, value in first.items():
        those = [each[key] for each in found]
        if isinstance(value, dict):
            out[key] = _summed(those)
        elif isinstance(value, list):
            out[key] = np.mean(those, axis=0).tolist()
        else:
            out[key] = {"mean": float(np.mean(those)), "spread": float(np.std(those))}
    return out


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Of each task: federated beside alone and in one place; one poisoned site of eight; privacy."""
    found: list[tuple[str, Table]] = []
    links = result["sites"].values()
    about = f"{len(links)} {result['by']}s of {min(links)} to {max(links)} links"
    for name, rows in result["rows"].items():
        task = TASKS[name]
        metric = task.compared

        def shown(entry: dict[str, float], metric: Any = metric) -> str:
            return plus_minus(entry["mean"], entry["spread"], metric.digits, metric.scale)

        kinds = {"alone": ALONE, "pooled": POOLED} | {key: f"federated, {key}" for key in AGGREGATES}
        begun = {}
        if (public := result.get("public")) is not None:  # results of before have none
            begun = {"public": f"{PUBLIC} ({public['areas']} areas, {public['links']:,} links)"}
            kinds |= begun | {"public, pooled": TOGETHER, "public, federated": FURTHER}
        found.append(
            (f"{task.title}: {metric.heading}, {about}, {result['rounds']} rounds, {result['seeds']} seeds",
             Table(["", "held-out links of the sites", f"{len(result['new'])} sites that took no part"],
                   [[said, shown(rows[key]["own"]), shown(rows[key]["new"])] for key, said in kinds.items()])),
        )  # fmt: skip
        found.append(
            (f"{task.title}: {metric.heading} of the honest sites, one of {SITES} poisoned",
             Table(["", "none", *POISONS.values()],
                   [[key, *(shown(rows[kind]["honest"]) for kind in (key, *(f"{key}, {poison}" for poison in POISONS)))]
                    for key in AGGREGATES])),
        )  # fmt: skip
        private = {f"epsilon {epsilon:g}": f"ε = {epsilon:g}" for epsilon in result["epsilons"]}
        if begun:
            private |= begun | {"public, federated": f"{FURTHER}, not private"}
            private |= {f"public, {key}": f"{FURTHER}, ε = {key.split()[1]}" for key in [*private] if "epsilon" in key}
        found.append(
            (f"{task.title}: privacy of a link, δ = {result['delta']:g}, and who is found by membership inference",
             Table(["", metric.heading, "noise, of the clip", "AUROC by loss", "AUROC, calibrated", "found at 1 %"],
                   [[said, shown(rows[key]["own"]), f"{rows[key]['noise']['mean']:.1f}" if "noise" in rows[key] else "",
                     *_attacked(rows[key]["attacks"])]
                    for key, said in ({"pooled": POOLED, "mean": "federated, not private"} | private).items()])),
        )  # fmt: skip
    return found


def _attacked(attacks: dict[str, Any]) -> list[str]:
    cells = [
        plus_minus(attacks[kind]["auroc"]["mean"], attacks[kind]["auroc"]["spread"], 3)
        for kind in ("loss", "calibrated")
    ]
    found = attacks["calibrated"]["found"]
    return [*cells, plus_minus(found["mean"], found["spread"], 1, 100) + " %"]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Of each task the headline against rounds, and against ε."""
    axes = figure.subplots(len(result["rows"]), 2, squeeze=False)
    for (left, right), (name, rows) in zip(axes, result["rows"].items(), strict=True):
        metric = TASKS[name].compared
        for colour, key in enumerate(AGGREGATES):
            curve = rows[key]["curve"]
            left.plot(range(1, len(curve) + 1), metric.scale * np.array(curve), color=f"C{colour}", label=key)
        flat = [("pooled", POOLED, "--"), ("alone", ALONE, ":")]
        if "public" in rows:
            flat.append(("public", PUBLIC, "-."))
            curve = metric.scale * np.array(rows["public, federated"]["curve"])
            left.plot(range(1, len(curve) + 1), curve, color="C5", label="mean, from public places")
        for key, said, style in flat:
            for one in (left, right):
                one.axhline(
                    metric.scale * rows[key]["own"]["mean"], color="k", linestyle=style, linewidth=1, label=said
                )
        for begun, shade in (("", "C0"), ("public, ", "C5")):
            private = [rows[key]["own"] for e in result["epsilons"] if (key := f"{begun}epsilon {e:g}") in rows]
            right.errorbar(
                result["epsilons"][: len(private)], [metric.scale * each["mean"] for each in private],
                [metric.scale * each["spread"] for each in private], fmt="o-", color=shade,
            )  # fmt: skip
        right.axhline(metric.scale * rows["mean"]["own"]["mean"], color="C0", linewidth=1)
        right.set_xscale("log")
        right.set_xticks(result["epsilons"], [f"{epsilon:g}" for epsilon in result["epsilons"]])
        right.set_xticks([], minor=True)
        left.set_ylabel(f"{TASKS[name].title}: {metric.heading}", fontsize="small")
        left.set_xlabel("round", fontsize="small")
        right.set_xlabel(f"ε at δ = {result['delta']:g} (solid: not private)", fontsize="small")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")


FEDERATED = Benchmark(
    "", ("links",), run, tables, draw, may_use=("train",),
)  # fmt: skip
