"""What a channel's power adds to the question of LOS: read by weights that learned it, or by a rule beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import AreaBatches, batch_of
from uniair.data.links.store import Store
from uniair.environment import Environment
from uniair.evaluation.tables import Table, spread
from uniair.link_budget import excess_loss
from uniair.models.universal import UniversalModel, mean_gain
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KNOWN = {
    "map": "CSI and map, no positions",
    "positions": "CSI and positions, no map",
    "both": "CSI, map and positions",
}
WAYS = {"read": "read by the weights", "with": "by the rule"}  # the last is what the power alone is told by
BUDGETS = {"quick": (96, 60), "full": (512, None)}  # batches of 8 training areas to fit to, test areas
OFFSETS = (-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0)  # dB


def run(setup: Setup) -> dict[str, Any]:
    """Fits the two numbers of the rule to training links, and asks with and without power on test links.

    The rule is what `zero_shot.los` ships for weights of one radio; weights for any radio, which read the power
    themselves, are asked so too. Each seed draws training links for a fit of its own, so that one sees how sure the
    two numbers are. With positions the rule's distance is theirs, else the first path's.
    """
    train, test = setup.store("train"), setup.store("links")
    batches, areas = BUDGETS[setup.budget]
    rule = {"even_db": zero_shot.EVEN, "nats_per_db": zero_shot.NATS_PER_DB}
    setup.note(train=train.manifest["recipe"], links=test.manifest["recipe"], batches=batches, areas=areas, rule=rule)
    fits = [setup.once(f"fit-{seed}", partial(_fit, train, batches, seed)) for seed in range(setup.seeds)]
    units = []
    for name, links in some_areas(test, areas):
        found = setup.once(name, partial(_ask, setup.model, links))
        if setup.model.preset.radios == "any":
            found |= setup.once(f"{name}-read", partial(_read, setup.model, links))
        units.append(found)
    return {
        "areas": len(units),
        "links": int(sum(unit["links"] for unit in units)),
        "fit": {key: spread([[fit[key] for fit in fits]]) for key in fits[0]},
        "rule": rule,
        "rows": _pooled(units),
        "offsets_db": list(OFFSETS),
    }


def _fit(store: Store, batches: int, seed: int) -> dict[str, float]:
    """Log-odds of LOS, prior taken out, as a straight line over the excess loss: where it is even, and its slope."""
    draw = AreaBatches(store, 8, 32, augment=False)
    loss, truth = [], []
    for k in range(batches):
        batch = draw(np.random.default_rng([seed, k]))
        loss.append(excess_loss(batch.csi, radio=batch.radio).numpy())
        truth.append(batch.environment.los.numpy() > 0.5)
    is_los = np.concatenate(truth)
    line = LogisticRegression().fit(np.concatenate(loss)[:, None], is_los)
    slope = float(line.coef_[0, 0])
    prior = math.log(is_los.mean() / (1 - is_los.mean()))
    return {"links": float(len(is_los)), "even_db": (prior - float(line.intercept_[0])) / slope, "nats_per_db": -slope}


def _ask(model: UniversalModel, links: Links) -> dict[str, Any]:
    """P(LOS) of an area's links by what is known and, by the rule, by the error of the power, beside the truth."""
    batch = batch_of(links)
    env, channel = batch.environment, model.encode_channel(batch.csi)
    distance = torch.from_numpy(np.linalg.norm(links.ue.astype(float) - links.bs, axis=1))
    first, direct = (excess_loss(batch.csi, known, batch.radio) for known in (None, distance))
    found: dict[str, Any] = {"links": len(links), "is_los": links.los.tolist(), "excess": _rounded(first)}
    for known, place in _knowing(env).items():
        loss = first if known == "map" else direct
        odds = zero_shot.los_odds(model, channel, place)
        found[known] = _rounded(torch.sigmoid(odds))
        found[f"{known}, power"] = [_rounded(torch.sigmoid(zero_shot.with_power(odds, loss + off))) for off in OFFSETS]
    return found


def _read(model: UniversalModel, links: Links) -> dict[str, Any]:
    """P(LOS) of an area's links by what is known and by the error of the power, which the weights themselves read."""
    batch = batch_of(links)
    radio = replace(batch.radio, calibrated=True)
    csi, gain = model.check_csi(batch.csi, radio), mean_gain(batch.csi)
    codes = [model.encode_checked(csi, radio, gain * 10 ** (-off / 10)) for off in OFFSETS]
    found: dict[str, Any] = {}
    for known, env in _knowing(batch.environment).items():
        nlos, los = (model.encode_environment(replace(env, los=torch.full((len(links),), v))) for v in (0.0, 1.0))
        odds = [(code * (los - nlos)).sum(-1) / model.temperature for code in codes]
        found[f"{known}, power read"] = [_rounded(torch.sigmoid(one)) for one in odds]
    return found


def _knowing(env: Environment) -> dict[str, Environment]:
    """Places by what is known of them."""
    return {"map": env.without("bs", "ue"), "positions": env.without("map"), "both": env}


def _rounded(probability: Tensor) -> list[float]:
    return [round(float(p), 4) for p in probability]


def _pooled(units: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Accuracy and calibration error over all links: of the power alone, and of each knowledge without and with it."""
    truth = np.concatenate([unit["is_los"] for unit in units])

    def figures(probability: NDArray[np.float64]) -> dict[str, float]:
        return {
            "accuracy": float(((probability > 0.5) == truth).mean()),
            "ece": metrics.calibration_error(probability, truth),
        }

    loss = np.concatenate([unit["excess"] for unit in units])
    alone = [torch.sigmoid(torch.from_numpy(zero_shot.NATS_PER_DB * (zero_shot.EVEN - loss - off))) for off in OFFSETS]
    rows: dict[str, dict[str, Any]] = {
        "power": {"majority": metrics.majority(truth), "with": [figures(p.numpy()) for p in alone]}
    }
    for known in KNOWN:
        rows[known] = {"without": figures(np.concatenate([unit[known] for unit in units]))}
        for way, key in (("with", f"{known}, power"), ("read", f"{known}, power read")):
            if key in units[0]:
                rows[known][way] = [figures(p) for p in np.concatenate([unit[key] for unit in units], axis=1)]
    return rows


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Accuracy with and without the power, what a wrong power costs, and the fits."""
    rows, right = result["rows"], result["offsets_db"].index(0.0)

    def shown(found: dict[str, float]) -> list[str]:
        return [f"{100 * found['accuracy']:.1f} %", f"{100 * found['ece']:.1f} %"]

    majority = f"{100 * rows['power']['majority']:.1f} % majority"
    # of before, and of weights of one radio, there is the rule alone
    ways = {way: name for way, name in WAYS.items() if way in rows["map"]}
    cells = [["the power alone", majority, ""] + [""] * 2 * (len(ways) - 1) + shown(rows["power"]["with"][right])]
    cells += [
        [name, *shown(rows[known]["without"]), *(cell for way in ways for cell in shown(rows[known][way][right]))]
        for known, name in KNOWN.items()
    ]

    def off(name: str, row: list[dict[str, float]]) -> list[str]:
        return [name, *(f"{100 * found['accuracy']:.1f}" for found in row)]

    wrong = [off("the power alone", rows["power"]["with"])]
    wrong += [
        off(f"{name}, {WAYS[way]}", rows[known][way])
        for known, name in KNOWN.items() for way in ways
    ]  # fmt: skip
    named = [f"accuracy with power, {name}" for name in ways.values()]
    fit = result["fit"]
    numbers = [
        [name, f"{result['rule'][key]:g}", f"{fit[key]['mean']:.2f} ± {fit[key]['spread']:.2f}"]
        for key, name in (("even_db", "LOS and NLOS equally likely at, dB of excess loss"),
                          ("nats_per_db", "log-odds of LOS lost with each dB, nats"))
    ]  # fmt: skip
    return [
        (f"LOS on {result['links']:,} links in {result['areas']} areas",
         Table(["known", "accuracy", "ECE", *(cell for name in named for cell in (name, "ECE"))], cells)),
        ("Accuracy, %, where the power is taken for so many dB too weak",
         Table(["known", *(f"{off:+g} dB" for off in result["offsets_db"])], wrong)),
        (f"The rule, and fits to {fit['links']['mean']:,.0f} links of training places each",
         Table(["", "rule", f"fits, {result['seeds']} draws"], numbers)),
    ]  # fmt: skip


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Accuracy against the error of the power; dashed without it."""
    axes = figure.subplots()
    for i, (known, name) in enumerate(({"power": "the power alone"} | KNOWN).items()):
        row, colour = result["rows"][known], f"C{i}"
        told = row.get("read", row["with"])
        axes.plot(result["offsets_db"], [100 * found["accuracy"] for found in told], "o-", color=colour, label=name)
        if "without" in row:
            axes.axhline(100 * row["without"]["accuracy"], color=colour, linestyle="--", linewidth=0.8)
    axes.set_xlabel("power taken for so many dB too weak (dashed: without the power)")
    axes.set_ylabel("LOS accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()


LINK_BUDGET = Benchmark(
    "CSI are normalised one by one (IV-A); LOS 92.31 %",
    ("train", "links"), run, tables, draw,
)  # fmt: skip
