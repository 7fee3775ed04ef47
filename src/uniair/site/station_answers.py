"""What a model is asked about a station of a site: with nothing tuned, and by light heads beside other methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from uniair import metrics
from uniair.evaluation.zero_shot_suite import Figure
from uniair.models.universal import UniversalModel
from uniair.site import confidence, learning
from uniair.site.learning import Samples
from uniair.site.site import Site
from uniair.site.steps import Steps
from uniair.tasks import zero_shot
from uniair.training.heads import HeadTraining

POSITIONED = 60  # channels whose likelihood map is drawn, of those that no head learned from
STEP = 4.0  # m; of these maps
# rough seconds on two cores: what the progress bar makes its time left of
QUESTION, HEAD, OTHERS, EPOCH = 0.006, 8.0, 4.0, 3.0
Labelled = Mapping[tuple[str, str], Samples]


@dataclass(frozen=True)
class Questions:
    """What is asked, of which model.

    Attributes:
        model: packaged model or checkpoint folder.
        epochs: passes of each network from scratch over its labels; 0 leaves these networks out.
        seeds: runs of everything that learns, each with its own streets to test on; the first one's heads are kept.
        training: how heads are trained.
        seed: of the first run.
        clock: of the radios of a plan, see `Radio`; a file of sites says none.
        typed: options of learning that were given.
        curve: learn from fewer labels as well, to see how many it takes.
    """

    model: str = "small"
    epochs: int = 20
    seeds: int = 1
    training: HeadTraining = field(default_factory=HeadTraining)
    seed: int = 0
    clock: str = "absolute"
    typed: tuple[str, ...] = ()
    curve: bool = True


def ask(
    site: Site, station: int, labelled: Labelled, wanted: Questions, steps: Steps, links: int, knows_los: bool = True
) -> dict[str, Any]:
    """Answers about a station: `rows` of heads and what they are compared with, `zero_shot` and `position`.

    The last two are missing where no channels are known.

    Args:
        labelled: what each head learns from.
        links: how many there are, for the progress bar.
        knows_los: whether measured channels come with LOS; traced ones do.
    """
    named = site.stations[station]
    key = named.key or named.name
    out: dict[str, Any] = {"rows": _learn(site, station, labelled, wanted, steps)}
    if channels := labelled.get(("position", "channel")):
        compare = partial(_zero_shot, channels, channels.source == "traced" or knows_los)
        about = f"{named.name}: zero-shot"
        out["zero_shot"] = steps.once(f"{key}-zero_shot", about, QUESTION * links, compare)
        place = partial(_positions, site, station, channels, wanted.seed)
        out["position"] = steps.once(f"{key}-position", f"{named.name}: likelihood maps", 5.0, place)
    return out


def within(model: UniversalModel, site: Site) -> dict[str, dict[str, str]]:
    """Of each station, by its name, what lies within what the weights learned from: see `Scope.verdicts`."""
    return {
        named.name: site.scope(number, model.remarks(site.radio_of(number))).verdicts
        for number, named in enumerate(site.stations)
    }


def work(heads: int, networks: int, links: int, wanted: Questions) -> float:
    """Rough seconds that `ask` takes.

    Args:
        heads, networks: how many are learned.
    """
    return ((HEAD + OTHERS) * heads + EPOCH * wanted.epochs * networks) * wanted.seeds + QUESTION * links + 5.0


def _learn(site: Site, station: int, labelled: Labelled, wanted: Questions, steps: Steps) -> list[dict[str, Any]]:
    """Heads and what they are compared with: rows over all seeds."""
    rows, name, first = [], site.stations[station].name, wanted.seed
    for pair, samples in labelled.items():
        for seed in range(first, first + wanted.seeds):
            key, about = f"{site.stations[station].key or name}-{pair[0]}-{pair[1]}-{seed}", f"{name}: {pair[0]}"
            keep = seed == first
            head = partial(learning.head_rows, site, station, pair, samples, wanted.training, seed, keep, wanted.curve)
            rows += steps.once(key, about, HEAD, head)
            others = partial(learning.other_rows, pair, samples, wanted.training, seed, wanted.curve)
            rows += steps.once(f"{key}-others", f"{about}, baselines", OTHERS, others)
            if wanted.epochs and pair[1] == "channel":
                network = partial(learning.network_rows, pair, samples, wanted.epochs, seed)
                rows += steps.once(f"{key}-scratch", f"{about}, from scratch", EPOCH * wanted.epochs, network)
    return rows


def _zero_shot(channels: Samples, knows_los: bool) -> dict[str, Any]:
    """Answers about every channel with nothing tuned: figures as the suite has them, and P(LOS) of each link."""
    model, csi, env = channels.model, channels.batch.csi, channels.batch.environment
    radio = channels.batch.radio
    restored, normalised = (part.cpu() for part in zero_shot.feedback(model, csi, radio=radio))
    nmse, sgcs = metrics.nmse_db(restored, normalised), metrics.sgcs(restored, normalised)
    figures = [
        Figure("CSI feedback, NMSE", nmse, 0.0, "for all-zero", "dB"),
        Figure("CSI feedback, SGCS", sgcs, None, "", ""),
    ]
    out: dict[str, Any] = {}
    if knows_los:
        truth = channels.links.los if channels.source == "traced" else env.los.bool().numpy()
        probability = zero_shot.los(model, channels.asked(), env, radio).cpu().numpy()
        most = metrics.majority(truth)
        figures = [
            Figure("LOS from CSI, map and position", float(((probability > 0.5) == truth).mean()), most, "majority"),
            Figure("  macro-F1", metrics.macro_f1(probability > 0.5, truth), None, ""),
            Figure("  calibration error (ECE)", metrics.calibration_error(probability, truth), None, ""),
            *figures,
        ]
        out["probability_of_los"] = probability.round(4).tolist()
        out["los"] = truth.astype(int).tolist()
    return {"figures": [vars(figure) for figure in figures], "links": len(csi), "source": channels.source} | out


def _positions(site: Site, station: int, channels: Samples, seed: int) -> dict[str, Any]:
    """Likelihood maps of channels from the tested streets."""
    _, test = channels.divide(seed)
    chosen = np.sort(np.random.default_rng(seed).permutation(test)[:POSITIONED])
    answers = confidence.position_answers(
        channels.model,
        site,
        station,
        channels.asked()[chosen],
        channels.links.ue[chosen],
        STEP,
    )
    return {"links": chosen.tolist(), **answers, "figures": confidence.position_figures(answers)}


def figures(rows: dict[str, list[dict[str, Any]]], seed: int) -> dict[str, Any]:
    """Station → task → inputs → figures of the head that is kept."""
    out: dict[str, Any] = {}
    for name, found in rows.items():
        for row in found:  # more labels come later
            if row["seed"] == seed and row["method"].startswith("head "):
                out.setdefault(name, {}).setdefault(row["task"], {})[row["inputs"]] = row["figures"]
    return out
