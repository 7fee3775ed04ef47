"""Defences of the LOS answer that leave the weights alone: a majority over noisy copies, and a detector of attacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.environment import Batch
from uniair.evaluation.smoothing import Smoothing, certified_db, votes
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.explanation.doubt import Doubt, Signals, certainty, signals
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot

LOS_SNR = 0.0  # dB of the copies, at which answers about clean channels hardly change
FALSE_ALARMS = 0.05  # share of clean channels
# what each signal says of an attack, with the sign by which more of it is more suspicious
SIGNS = {"certainty": -1, "restored": 1, "fit": -1}
SAID = {"certainty": "certainty of the answer", "restored": "error of the channel restored from its code",
        "fit": "cosine of channel and place", "fitted": "all of them, as learned on training places"}  # fmt: skip
Columns = dict[str, list[float]]


def smoothed(
    right: Callable[[Tensor], Tensor], csi: Tensor, smoothing: Smoothing, draw: torch.Generator
) -> dict[str, Any]:
    """Whether the majority of noisy copies is right, and up to which power of an attack it stays so for certain.

    Args:
        right: CSI [N, ports, subcarriers] → bool [N], whether its answer is right.

    Returns:
        `right` [N] 0 or 1; `certified_db` [N] dB over the channel's power, −1000 of a wrong majority or none;
        `seconds` that it took.
    """
    began = time.perf_counter()
    yes = votes(right, csi, smoothing, draw)
    seconds = time.perf_counter() - began
    won = yes > smoothing.copies / 2
    reach = np.where(won, certified_db(yes, smoothing, csi.shape[1] * csi.shape[2]), -np.inf)
    return {"right": won.astype(float).tolist(), "certified_db": np.maximum(reach, -1e3).tolist(), "seconds": seconds}


def signals_of(model: UniversalModel, csi: Tensor, batch: Batch) -> Columns:
    """What can be seen of the LOS answers to CSI at the places of a batch, see `explanation.doubt`."""
    env = batch.environment.without("los")
    los = zero_shot.los(model, csi, env, batch.radio).cpu().double()
    seen = signals(model, csi, env, certainty(torch.stack([1 - los, los], 1)), batch.radio)
    return {name: column.tolist() for name, column in zip(Signals._fields, seen, strict=True)}


def detected(
    per_seed: Sequence[Sequence[Mapping[str, Columns]]], taught: Sequence[Sequence[Mapping[str, Columns]] | None]
) -> dict[str, Any]:
    """Signal → power → AUROC of attacked against clean channels, and the share caught at `FALSE_ALARMS`.

    Args:
        per_seed: [seeds][areas] power → signals; "" is clean.
        taught: [seeds] of training places, likewise, that a regression of all signals learns on; None: not made.
    """
    powers = [power for power in per_seed[0][0] if power]
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for parts, training in zip(per_seed, taught, strict=True):
        scores = {
            name: {p: sign * np.concatenate([part[p][name] for part in parts]) for p in ("", *powers)}
            for name, sign in SIGNS.items()
        }
        if training is not None:
            doubt = detector(training)
            scores["fitted"] = {p: doubt.of(_joined(parts, p)).numpy() for p in ("", *powers)}
        for name, by_power in scores.items():
            for power in powers:
                found.setdefault(name, {}).setdefault(power, []).append(told_apart(by_power[""], by_power[power]))
    return {
        name: {
            power: {"auroc": spread([[auroc for auroc, _ in values]]), "caught": spread([[c for _, c in values]])}
            for power, values in by_power.items()
        }
        for name, by_power in found.items()
    }


def detector(parts: Sequence[Mapping[str, Columns]]) -> Doubt:
    """A regression of signals to the probability that a channel was attacked, of whatever power, against clean ones."""
    powers = list(parts[0])
    each = [_joined(parts, power) for power in powers]
    labels = torch.cat([torch.full((len(one[0]),), power != "") for one, power in zip(each, powers, strict=True)])
    return Doubt.fitted(Signals(*(torch.cat(columns) for columns in zip(*each, strict=True))), labels)


def _joined(parts: Sequence[Mapping[str, Columns]], power: str) -> Signals:
    return Signals(
        *(torch.tensor([v for part in parts for v in part[power][name]]).double() for name in Signals._fields)
    )


def told_apart(clean: np.ndarray[Any, Any], odd: np.ndarray[Any, Any]) -> tuple[float, float]:
    """AUROC of scores that should be higher of what is odd, and its share above all but `FALSE_ALARMS` of the clean."""
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([np.zeros(len(clean)), np.ones(len(odd))])
    auroc = float(roc_auc_score(labels, np.concatenate([clean, odd])))
    return auroc, float((odd > np.quantile(clean, 1 - FALSE_ALARMS)).mean())


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """LOS by defence, and the detector."""
    powers = [f"{power:g}" for power in result["powers"]]
    rows, seen = [], []
    for weights, found in result["defences"].items():
        for how, about in (("plain", ""), ("smoothed", ", smoothed"),
                           ("through", ", smoothed, attacked through the noise"),
                           ("certified", ", smoothed: certified")):  # fmt: skip
            cells = [plus_minus(one["mean"], one["spread"], 1, 100) if (one := found[how].get(p)) else ""
                     for p in ("", *powers)]  # fmt: skip
            took = f"{found['ms'][how]:.1f}" if how in found["ms"] else ""
            rows.append((f"weights {weights}{about}", *cells, took))
    for weights, by_signal in result["detector"].items():
        for name, by_power in by_signal.items():
            cells = [f"{plus_minus(by_power[p]['auroc']['mean'], by_power[p]['auroc']['spread'], 3)} "
                     f"({100 * by_power[p]['caught']['mean']:.0f} %)" for p in powers]  # fmt: skip
            took = f"{result['defences'][weights]['ms']['signals']:.1f}"
            seen.append((f"{SAID[name]}, weights {weights}", *cells, took))
    for weights, by_power in result["slipped"].items():
        cells = []
        for row in (by_power[power] for power in powers):
            auroc = plus_minus(row["auroc"]["mean"], row["auroc"]["spread"], 3)
            caught, right = (100 * row[name]["mean"] for name in ("caught", "right"))
            cells.append(f"{auroc} ({caught:.0f} %), LOS right {right:.1f} %")
        seen.append((f"{SAID['fitted']}, attacked to slip past, weights {weights}", *cells, ""))
    head = [f"{power} dB" for power in powers]
    about = (
        f"LOS under white-box attacks, right, %: majority of {result['copies']} copies at SNR {LOS_SNR:g} dB, attacked "
        "as if unsmoothed, and through noisy copies; certified: no perturbation of that power turns it (99.9 %), which "
        f"so many copies can say up to {result['certifiable_db']:.1f} dB"
    )
    return [
        (about, Table(("", "clean", *head, "ms per channel"), rows)),
        (f"Detector: AUROC of channels attacked to mislead LOS (caught at {FALSE_ALARMS:.0%} false alarms)",
         Table(("signal", *head, "ms per channel"), seen)),
    ]  # fmt: skip
