"""What attacks on CSI cost each answer against their power, and what defences buy and cost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import uniair
from uniair.attack import attacked, with_power
from uniair.benchmark import attack_defences
from uniair.benchmark.adaptive_attacks import past_a_detector, through_noise
from uniair.benchmark.attack_defences import LOS_SNR, detected, detector, signals_of, smoothed
from uniair.benchmark.attacked_answers import BEAM, LOS, POSITION, USER, Answer, Victims, answers, embedded
from uniair.benchmark.attacked_forecasts import forecasts_under_attack
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.evaluation.html import BS, CHANNEL, GROUND, UE
from uniair.evaluation.over_the_air import learned_waveform, random_waveform, received
from uniair.evaluation.smoothing import Smoothing, certified_db
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot
from uniair.training.checkpoint import digest
from uniair.training.pretraining import check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNED_AT = -10.0  # dB at which a waveform is learned; it is sent at any
CLEAN, NOISE, RANDOM, WAVEFORM, WHITE = "clean", "noise", "random waveform", "learned waveform", "white box"
FORECAST = "beams forecast"
AS_IT_IS, HARDENED = "as they are", "fine-tuned"
Outcomes = dict[str, dict[str, dict[str, list[float]]]]  # attack → power → answer → outcome of each link


@dataclass(frozen=True)
class AttackBudget:
    """How much is attacked, and how hard.

    Attributes:
        areas, links: of the test; links of each area, all of one base station.
        train: areas that a waveform and a detector learn on.
        steps, restarts: of each attack.
        powers: dB over the channel's power.
        copies: of smoothing.
        windows: of the forecasts.
    """

    areas: int
    links: int
    train: int
    steps: int
    restarts: int
    powers: tuple[float, ...]
    copies: int
    windows: int


BUDGETS = {
    "quick": AttackBudget(6, 16, 6, 20, 1, (-40, -30, -20, -10), 100, 200),
    "full": AttackBudget(45, 30, 24, 50, 2, (-50, -40, -35, -30, -25, -20, -15, -10, -5, 0), 1000, 2000),
}


def run(setup: Setup, *, hardened: Path | None = None) -> dict[str, Any]:
    """Every answer under every attack, of the weights and of fine-tuned ones; what is random is drawn anew a seed.

    Args:
        hardened: weights of uniair harden, if at hand: attacked anew, to be measured beside those that they began from.
    """
    budget, store = BUDGETS[setup.budget], setup.store("links")
    train = setup.store("train") if "train" in setup.folders else None
    if train is not None:
        check_split(train.areas, store.areas)
    models = {AS_IT_IS: setup.model}
    if hardened is not None:
        models[HARDENED] = uniair.load(str(hardened))
    for model in models.values():
        if odd := [radio for radio in store.radios if zero_shot.searched(model, radio) or radio.ue.ports > 1]:
            raise InputError(f"{store.folder}: links of {odd[0]}; give links of one antenna at the user and, to these "
                             "weights, of an absolute clock: they search for any other")  # fmt: skip
    setup.note(
        data=store.manifest["recipe"], train=None if train is None else train.manifest["recipe"], areas=budget.areas,
        links=budget.links, hardened=None if hardened is None else digest(models[HARDENED]),
    )  # fmt: skip
    found: dict[str, list[list[dict[str, Any]]]] = {}  # weights → [seeds][areas]
    learned: dict[str, list[dict[str, Any] | None]] = {}
    for seed in range(setup.seeds):
        for name, model in models.items():
            taught = None
            if train is not None:
                taught = setup.once(f"learned-{name}-{seed}", partial(_learned, model, train, budget, seed))
            learned.setdefault(name, []).append(taught)
            parts = []
            for number, (area, links) in enumerate(some_areas(store, budget.areas)):
                victims = Victims.of_area(links, budget.links, np.random.default_rng([seed, number]))
                if victims is not None:
                    one = partial(_area, model, victims, budget, taught, [seed, number])
                    parts.append(setup.once(f"{area}-{name}-{seed}", one))
            if not parts:
                raise InputError(f"{store.folder}: no base station with three users, of whom one attacks; trace more")
            found.setdefault(name, []).append(parts)
    forecasts = [
        setup.once(f"forecasts-{seed}",
                   partial(forecasts_under_attack, budget.powers, budget.windows, budget.steps, seed))
        for seed in range(setup.seeds)
    ]  # fmt: skip
    first = found[AS_IT_IS][0]
    return {
        "areas": len(first),
        "left_out": min(budget.areas, len(store)) - len(first),
        "links": sum(len(part["outcomes"][CLEAN][""][LOS]) for part in first),
        "powers": list(budget.powers),
        "steps": budget.steps,
        "copies": budget.copies,
        "certifiable_db": max(
            float(certified_db(np.array([budget.copies]), Smoothing(LOS_SNR, budget.copies), math.prod(radio.shape))[0])
            for radio in store.radios
        ),
        "answers": {name: _answers(per_seed) for name, per_seed in found.items()},
        "forecasts": {
            attack: {power: spread([[one[attack][power] for one in forecasts]]) for power in by_power}
            for attack, by_power in forecasts[0].items()
        },
        "defences": {name: _defended(per_seed, budget) for name, per_seed in found.items()},
        "detector": {
            name: detected([[p["signals"] for p in parts] for parts in per_seed],
                           [None if one is None else one["detector"] for one in learned[name]])
            for name, per_seed in found.items()
        },
        "slipped": {} if train is None else {
            name: _slipped(per_seed, [one["detector"] for one in learned[name] if one is not None])
            for name, per_seed in found.items()
        },
    }  # fmt: skip


def _slipped(per_seed: list[list[dict[str, Any]]], taught: list[Any]) -> dict[str, Any]:
    """Of attacks past the detector: power → LOS that are right, AUROC, and the share caught."""
    seen = [[{"": p["signals"][""], **{power: one["signals"] for power, one in p["slipped"].items()}} for p in parts]
            for parts in per_seed]  # fmt: skip
    caught = detected(seen, taught)["fitted"]
    for power, row in caught.items():
        right = [np.concatenate([p["slipped"][power][LOS] for p in parts]) for parts in per_seed]
        row["right"] = spread([[float(one.mean()) for one in right]])
    return dict(caught)


def _learned(model: UniversalModel, train: Store, budget: AttackBudget, seed: int) -> dict[str, Any]:
    """What training places teach: a waveform for each answer, and signals of clean and of attacked channels."""
    draw = torch.Generator().manual_seed(seed)
    parts, signals = [], []
    for number, (_, links) in enumerate(some_areas(train, budget.train)):
        victims = Victims.of_area(links, budget.links, np.random.default_rng([seed, number, 1]))
        if victims is None:
            continue
        asked = answers(model, victims.batch)
        parts.append((victims, asked))
        clean, worst = victims.batch.csi, {}
        for power in budget.powers:
            worst[f"{power:g}"] = attacked(_lowers(model, victims, asked[LOS]), clean, power, budget.steps, draw)
        signals.append({p: signals_of(model, csi, victims.batch) for p, csi in {"": clean, **worst}.items()})
    if not parts:
        raise InputError(f"{train.folder}: no base station with three users, of whom one attacks; trace more")
    csi = torch.cat([victims.batch.csi for victims, _ in parts])
    channel = torch.cat([victims.attacker for victims, _ in parts])
    sizes = [len(victims.batch) for victims, _ in parts]
    waveforms = {}
    for name in parts[0][1]:

        def loss(received: Tensor, name: str = name) -> Tensor:
            each = zip(torch.split(received, sizes), parts, strict=True)
            return torch.cat([_lowers(model, victims, asked[name])(mine) for mine, (victims, asked) in each])

        found = learned_waveform(loss, csi, channel, LEARNED_AT, budget.steps, draw)
        waveforms[name] = torch.view_as_real(found).tolist()
    return {"waveforms": waveforms, "detector": signals, "links": sum(sizes)}


def _lowers(model: UniversalModel, victims: Victims, answer: Answer) -> Any:
    """The loss that an attacker on an answer raises."""
    return lambda csi: -answer.margin(embedded(model, csi, victims.batch))


def _area(
    model: UniversalModel, victims: Victims, budget: AttackBudget, taught: Mapping[str, Any] | None, seed: list[int]
) -> dict[str, Any]:
    """Outcomes of all attacks on an area's links, and of the defences of LOS."""
    batch, draw = victims.batch, torch.Generator().manual_seed(1000 * seed[0] + seed[1])
    asked, clean = answers(model, batch), batch.csi

    def outcome(csi: Tensor, *names: str) -> dict[str, list[float]]:
        with torch.no_grad():
            z = embedded(model, csi, batch)
            return {name: asked[name].outcome(z).tolist() for name in names or asked}

    out: Outcomes = {CLEAN: {"": outcome(clean)}, NOISE: {}, RANDOM: {}, WHITE: {}}
    worst_of_los = {"": clean}
    for power in budget.powers:
        key = f"{power:g}"
        white = torch.randn(clean.shape, dtype=clean.dtype, generator=draw)
        out[NOISE][key] = outcome(with_power(clean, white, power))
        waveform = random_waveform(clean.shape[2], draw)
        out[RANDOM][key] = outcome(with_power(clean, received(victims.attacker, waveform, draw), power))
        out[WHITE][key] = {}
        for name, answer in asked.items():
            worst = attacked(_lowers(model, victims, answer), clean, power, budget.steps, draw, budget.restarts)
            out[WHITE][key] |= outcome(worst, name)
            if name == LOS:
                worst_of_los[key] = worst
        if taught is not None:
            out.setdefault(WAVEFORM, {})[key] = {}
            for name, pairs in taught["waveforms"].items():
                sent = received(victims.attacker, torch.view_as_complex(torch.tensor(pairs)), draw)
                out[WAVEFORM][key] |= outcome(with_power(clean, sent, power), name)
    smoothing = Smoothing(LOS_SNR, budget.copies)

    def right(csi: Tensor) -> Tensor:
        with torch.no_grad():
            return asked[LOS].outcome(embedded(model, csi, batch)) > 0

    began = time.perf_counter()
    right(clean)
    plain = time.perf_counter() - began
    voted = {power: smoothed(right, csi, smoothing, draw) for power, csi in worst_of_los.items()}
    through = {}
    for power in budget.powers:
        loss = through_noise(lambda csi: asked[LOS].margin(embedded(model, csi, batch)), clean, LOS_SNR, draw)
        worst = attacked(loss, clean, power, budget.steps, draw, budget.restarts)
        through[f"{power:g}"] = smoothed(right, worst, smoothing, draw)["right"]
    slipped: dict[str, Any] = {}
    if taught is not None:
        loss = past_a_detector(model, batch, asked[LOS].margin, detector(taught["detector"]))
        for power in budget.powers:
            worst = attacked(loss, clean, power, budget.steps, draw, budget.restarts)
            slipped[f"{power:g}"] = outcome(worst, LOS) | {"signals": signals_of(model, worst, batch)}
    began = time.perf_counter()
    signals = {power: signals_of(model, csi, batch) for power, csi in worst_of_los.items()}
    ms = 1e3 / len(clean)
    return {
        "outcomes": out,
        "smoothed": {power: one["right"] for power, one in voted.items()},
        "through_noise": through,
        "slipped": slipped,
        "certified_db": voted[""]["certified_db"],
        "signals": signals,
        "ms": {"plain": plain * ms, "smoothed": voted[""]["seconds"] * ms,
               "signals": (time.perf_counter() - began) / len(signals) * ms},
    }  # fmt: skip


def _answers(per_seed: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Attack → power → answer → share of right ones, of positions the median error, over the links of all areas."""
    first = per_seed[0][0]["outcomes"]

    def value(parts: list[dict[str, Any]], attack: str, power: str, name: str) -> float:
        every = np.concatenate([part["outcomes"][attack][power][name] for part in parts])
        return float(np.median(every) if name == POSITION else every.mean())

    return {
        attack: {
            power: {name: spread([[value(parts, attack, power, name) for parts in per_seed]]) for name in names}
            for power, names in by_power.items()
        }
        for attack, by_power in first.items()
    }


def _defended(per_seed: list[list[dict[str, Any]]], budget: AttackBudget) -> dict[str, Any]:
    """LOS with and without smoothing: right under the attack on the unsmoothed answer and under that through the noise,
    certified, and what it takes.
    """
    plain, smooth, certified, through = {}, {}, {}, {}
    for power in ("", *(f"{power:g}" for power in budget.powers)):
        attack = WHITE if power else CLEAN
        values = [np.concatenate([p["outcomes"][attack][power][LOS] for p in parts]) for parts in per_seed]
        plain[power] = spread([[float(one.mean()) for one in values]])
        values = [np.concatenate([p["smoothed"][power] for p in parts]) for parts in per_seed]
        smooth[power] = spread([[float(one.mean()) for one in values]])
        if power:
            reach = [np.concatenate([p["certified_db"] for p in parts]) for parts in per_seed]
            certified[power] = spread([[float((one >= float(power)).mean()) for one in reach]])
            values = [np.concatenate([p["through_noise"][power] for p in parts]) for parts in per_seed]
            through[power] = spread([[float(one.mean()) for one in values]])
    every = [part["ms"] for parts in per_seed for part in parts]
    ms = {name: float(np.median([one[name] for one in every])) for name in every[0]}
    return {"plain": plain, "smoothed": smooth, "through": through, "certified": certified, "ms": ms}


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Every attack, the defences of LOS, and the detector."""
    return [*(_attack_table(result, name) for name in result["answers"]), *attack_defences.tables(result)]


def _attack_table(result: dict[str, Any], weights: str) -> tuple[str, Table]:
    names = (LOS, USER, BEAM, POSITION)
    rows = []
    for attack, by_power in result["answers"][weights].items():
        for power, row in by_power.items():
            cells = [plus_minus(row[n]["mean"], row[n]["spread"], 1, 1 if n == POSITION else 100) for n in names]
            told = result["forecasts"].get(attack, {}).get(power) if weights == AS_IT_IS else None
            cells.append("" if told is None else plus_minus(told["mean"], told["spread"], 1, 100))
            rows.append((f"{attack}{f', {power} dB' * bool(power)}", *cells))
    left = f", {result['left_out']} areas without three users of a base station left out" * bool(result["left_out"])
    heading = (
        f"Weights {weights}: right answers, %, and median error of positions, m; {result['links']:,} links in "
        f"{result['areas']} areas{left}; power over the channel's; {result['steps']} steps of ascent"
    )
    return heading, Table(("", LOS, USER, BEAM, "position, m", FORECAST), rows)


def draw(result: dict[str, Any], figure: Figure) -> None:
    """An answer a panel: each attack against its power, the fine-tuned weights dashed."""
    styles = {NOISE: (GROUND, "o"), RANDOM: (BS, "^"), WAVEFORM: (UE, "s"), WHITE: (CHANNEL, "D")}
    panels = (LOS, USER, BEAM, POSITION, FORECAST)
    figure.set_size_inches(12, 6.5)
    grid = figure.subplots(2, 3).ravel()
    powers = [f"{power:g}" for power in result["powers"]]
    for axes, name in zip(grid, panels, strict=False):
        for weights, line in ((AS_IT_IS, "-"), (HARDENED, "--")):
            every = result["answers"].get(weights, {})
            if name == FORECAST:
                every = {a: {p: {name: v} for p, v in row.items()} for a, row in result["forecasts"].items()}
            scale = 1 if name == POSITION else 100
            for attack, by_power in every.items() if name != FORECAST or weights == AS_IT_IS else ():
                if attack == CLEAN:
                    axes.axhline(scale * by_power[""][name]["mean"], color=GROUND, linestyle=":", linewidth=0.8)
                    continue
                mean, error = ([scale * by_power[p][name][part] for p in powers] for part in ("mean", "spread"))
                colour, marker = styles[attack]
                axes.errorbar(result["powers"], mean, error, fmt=f"{marker}{line}", color=colour, capsize=2,
                              markersize=4, label=f"{attack}{', fine-tuned' * (weights == HARDENED)}")  # fmt: skip
        axes.set(title=name, xlabel="perturbation over channel, dB")
        axes.set_ylabel("median error, m" if name == POSITION else "right, %")
        if name != POSITION:
            axes.set_ylim(0, 102)
    grid[5].axis("off")
    grid[5].legend(*grid[0].get_legend_handles_labels(), loc="center", title="dotted: clean")


ATTACKS = Benchmark("paper 3 asks for security; no figures", ("links",), run, tables, draw, may_use=("train",))
