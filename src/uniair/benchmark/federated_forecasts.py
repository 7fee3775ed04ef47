"""A forecaster that streets learn together without sending drives, beside each alone and all in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.poisoned_sites import SCALE, scaling
from uniair.data.digest import data_digest
from uniair.data.drives.drive import Drive
from uniair.data.drives.windows import codebook, read_folder
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus
from uniair.federation.aggregate import AGGREGATES, require_flower
from uniair.federation.agreement import Federation
from uniair.models.forecast import WMLM
from uniair.progress import track
from uniair.training.checkpoint import digest
from uniair.training.forecast_adaptation import closed, learn, opened
from uniair.training.forecast_split import settings
from uniair.training.forecasting import PACKAGED, load_forecaster

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from uniair.federation.forecast_agreement import ForecastSite

POISONS = {"powers": "powers shuffled over the beams", "weights": f"parameters × {SCALE:g}"}
BASE, ALONE, POOLED = "not adapted", "each site alone", "all drives in one place"
PLANS = {
    "quick": Federation(task="forecast", rounds=8, steps=5, batch=32),
    "full": Federation(task="forecast", rounds=30, steps=10, batch=32),
}
WITHOUT_ROUNDS = "one optimiser; pooled takes the steps of all sites"  # tells runs from those made otherwise
Sites = Mapping[str, Sequence[Drive]]


class Trial:
    """One seed: what its runs share.

    Args:
        sites: drives of those that take part.
        others: of those that do not.
    """

    def __init__(self, model: WMLM, sites: Sites, others: Sites, plan: Federation) -> None:
        from uniair.federation.forecast_agreement import ForecastAgreement

        self.model, self.sites, self.others = model, sites, others
        self.agreement, self.start = ForecastAgreement.of(model, plan, "packaged")

    def described(self, model: nn.Module, without: Sequence[str] = ()) -> dict[str, float]:
        """Top-1 of held-out drives: of the sites but those named, and of those that took no part."""
        found = {}
        for where, sites in (("own", self.sites), ("new", self.others)):
            tops = [self._site(name, own).measured(model)["top1"] for name, own in sites.items() if name not in without]
            found[where] = float(np.mean(tops))
        return found

    def base(self) -> dict[str, Any]:
        """What all begin from."""
        return self.described(self.agreement.model(self.start, self.model))

    def alone(self) -> dict[str, Any]:
        """A forecaster of each site's own drives, there and on the new sites."""
        found = []
        for name, own in self.sites.items():
            model, others = self._without_rounds(name, own, self.steps), [one for one in self.sites if one != name]
            found.append([*self.described(model, without=others).values()])
        own_, new = np.mean(found, axis=0).tolist()
        return {"own": own_, "new": new}

    def pooled(self) -> dict[str, Any]:
        """One forecaster of all drives, of as many steps as all sites take together: each drive is seen as often."""
        every = [drive for own in self.sites.values() for drive in own]
        return self.described(self._without_rounds("pooled", every, self.steps * len(self.sites)))

    @property
    def steps(self) -> int:
        """That a site takes in all rounds."""
        return self.agreement.federation.rounds * self.agreement.federation.steps

    def _without_rounds(self, name: str, own: Sequence[Drive], steps: int) -> WMLM:
        """What `uniair forecast adapt` makes of drives, both factors of LoRA: one optimiser throughout."""
        config = self.agreement.config
        plan = replace(config.optimisation, steps=steps, schedule="whole_cosine")  # as the rounds' rate falls
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            model = opened(self.model, config)
            site = self._site(name, own).parts.passages(config.length, config.augmentation)
            learn(model, site, None, replace(config, optimisation=plan))
        return closed(model, config)

    def _site(self, name: str, own: Sequence[Drive]) -> ForecastSite:
        return self.agreement.site(name, self.model, own, None, True)

    def federated(self, aggregate: str, poison: str | None = None) -> dict[str, Any]:
        """One of a federation, whose last site is poisoned or not; the honest sites' figures, after every round too."""
        from uniair.federation.connection import run_here
        from uniair.federation.rounds import Rounds

        bad = list(self.sites)[-1]
        agreement = replace(self.agreement, federation=replace(self.agreement.federation, aggregate=aggregate))
        rounds = Rounds(agreement, self.start, self.model, None, wait=0.0, workers=1, say=lambda _: None)
        clients = [_client(name, self.model, own, poison if name == bad else None) for name, own in self.sites.items()]
        # parameters that grow without bound end a federation; those of its last round stay
        with suppress(InputError), np.errstate(over="ignore", invalid="ignore"):
            run_here(rounds, clients)
        curve = [
            float(np.mean([found["top1"] for name, found in each["figures"].items() if poison is None or name != bad]))
            for each in rounds.history
        ]
        curve += curve[-1:] * (agreement.federation.rounds - len(curve))
        made = agreement.model(rounds.arrays, self.model)
        return self.described(made) | {"honest": self.described(made, [bad])["own"], "curve": curve}


def _client(name: str, model: WMLM, own: Sequence[Drive], poison: str | None) -> Any:
    """A site; a poisoned one has learned from powers that say nothing, or sends parameters that are scaled."""
    from uniair.federation.site_client import SiteClient

    kind = scaling(SiteClient) if poison == "weights" else SiteClient
    return kind(name, model, shuffled(own) if poison == "powers" else own, seeded=True)


def shuffled(drives: Sequence[Drive]) -> list[Drive]:
    """The same drives with the powers of each step in an order of their own."""
    rng = np.random.default_rng(0)
    made = []
    for drive in drives:
        power = rng.permuted(drive.power, axis=1)
        made.append(replace(drive, power=power, beam=power.argmax(1).astype(np.int32)))
    return made


def run(setup: Setup) -> dict[str, Any]:
    """Every federation and seed; the site that a forecaster is usually tested on takes no part.

    Raises:
        InputError: too few sites, drives of another codebook than the packaged forecaster's, or a package is missing.
    """
    require_flower()
    folder, plan, model = setup.folders["drives"], PLANS[setup.budget], load_forecaster(PACKAGED)
    drives = read_folder(folder)
    if codebook(drives) != model.preset.beams:
        raise InputError(f"{folder}: {codebook(drives)} beams, the packaged forecaster has {model.preset.beams}")
    new = next(iter(settings(drives)[1:]), None)
    if new is None:
        raise InputError(f"{folder}: drives of one site alone; nothing is left out to measure on")
    out = {drive.scenario for drive in new.unseen}
    every: dict[str, list[Drive]] = {}
    for drive in drives:
        every.setdefault(drive.scenario, []).append(drive)
    sites, others = ({k: v for k, v in every.items() if (k in out) == left_out} for left_out in (False, True))
    plan = replace(plan, sites=len(sites))
    rules = [name for name, rule in AGGREGATES.items() if rule.fewest(plan.poisoned) <= len(sites)]
    setup.note(forecaster=digest(model), drives=data_digest(drives), sites=[*sites], new=[*others],
               plan=asdict(plan), rules=rules, without_rounds=WITHOUT_ROUNDS)  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in track(range(setup.seeds), "seed", "federated forecasts"):
        trial = Trial(model, sites, others, replace(plan, seed=seed))
        made: dict[str, Callable[[], dict[str, Any]]] = {
            "base": trial.base, "alone": trial.alone, "pooled": trial.pooled,
        }  # fmt: skip
        for rule in rules:
            made |= {rule: partial(trial.federated, rule)}
            made |= {f"{rule}, {poison}": partial(trial.federated, rule, poison) for poison in POISONS}
        for name, one in made.items():
            rows.setdefault(name, []).append(setup.once(f"{name}-{seed}", one))
    summed = {
        name: {key: {"mean": np.mean([one[key] for one in found], axis=0).tolist(),
                     "spread": np.std([one[key] for one in found], axis=0).tolist()} for key in found[0]}
        for name, found in rows.items()
    }  # fmt: skip
    return {"sites": {name: sum(map(len, own)) for name, own in sites.items()}, "new": [*others], "rules": rules,
            "rounds": plan.rounds, "steps": plan.rounds * plan.steps, "part": plan.part, "rows": summed}  # fmt: skip


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Federated beside alone and in one place; one poisoned site."""
    rows, rules = result["rows"], result["rules"]

    def shown(name: str, key: str) -> str:
        return plus_minus(rows[name][key]["mean"], rows[name][key]["spread"], 1, 100)

    steps = result["sites"].values()
    about = f"{len(steps)} sites of {min(steps):,} to {max(steps):,} steps, {result['rounds']} rounds, {result['part']}"
    each, every = result["steps"], result["steps"] * len(steps)
    kinds = {"base": BASE, "alone": f"{ALONE}, {each:,} minibatches, one optimiser",
             "pooled": f"{POOLED}, {every:,} minibatches, one optimiser"}  # fmt: skip
    kinds |= {name: f"federated, {name}, {len(steps)} × {each:,} minibatches" for name in rules}
    beside = Table(
        ["", "held-out drives of the sites", f"{', '.join(result['new'])}, which took no part"],
        [[said, shown(name, "own"), shown(name, "new")] for name, said in kinds.items()],
    )
    poisoned = Table(
        ["", "none", *POISONS.values()],
        [[name, *(shown(kind, "honest") for kind in (name, *(f"{name}, {poison}" for poison in POISONS)))]
         for name in rules],
    )  # fmt: skip
    return [
        (f"Top-1 of the beam, mean of the steps ahead, %: {about}, {result['seeds']} seeds", beside),
        (f"The same of the honest sites, one of {len(steps)} poisoned", poisoned),
    ]


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """Top-1 against rounds, without poison and with the last site's powers shuffled."""
    rows = result["rows"]
    for axes, poison in zip(figure.subplots(1, 2, sharey=True), ("", ", powers"), strict=True):
        for colour, rule in enumerate(result["rules"]):
            curve = 100 * np.array(rows[rule + poison]["curve"]["mean"])
            axes.plot(range(1, len(curve) + 1), curve, color=f"C{colour}", label=rule)
        for name, said, style in (("pooled", POOLED, "--"), ("alone", ALONE, ":"), ("base", BASE, "-.")):
            axes.axhline(100 * rows[name]["own"]["mean"], color="k", linestyle=style, linewidth=1, label=said)
        axes.set_xlabel("round")
        axes.set_title("one site's powers shuffled" if poison else "all sites honest", fontsize="medium")
    figure.axes[0].set_ylabel("top-1 of held-out drives, %")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")


FEDERATED_FORECASTS = Benchmark("", ("drives",), run, tables, draw)
