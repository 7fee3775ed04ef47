"""Whether doubt tells wrong answers, and whether sets of answers hold what they promise, where nothing was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import uniair
from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.map_audit import counted
from uniair.benchmark.matching import some_areas
from uniair.benchmark.radios import CONDITIONS, Condition
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, batch_of
from uniair.environment import Batch, Environment
from uniair.errors import InputError
from uniair.evaluation.tables import Table
from uniair.explanation.audit_rates import Rates
from uniair.explanation.calibrated import CELLS, FILE, Calibration
from uniair.explanation.conformal import LEVELS, Promise, mass, of_right
from uniair.explanation.doubt import Doubt, Signals, certainty, signals
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks import zero_shot
from uniair.tasks.beam import beam_gains
from uniair.tasks.generation import channel_of_place
from uniair.training.checkpoint import digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 6, "full": 45}
LINKS = 40  # of one base station of an area
NAMES = (
    "paper 1's radio", "clock at the first path", "240 kHz, 15 MHz", "1.44 MHz, 92 MHz", "16 antennas",
    "panel of 4 × 8", "24 antennas", "52 × 1.44 MHz, 75 MHz", "SNR 0 dB",
)  # fmt: skip
ANSWERS = {"los": "LOS", "position": "position", "beam": "beam, by the place alone"}
DOUBTED = {"los": "LOS", "place": "which user of the base station"}
STRANGE = {"noise": "noise instead of a channel", "another map": "the map turned upside down"}
LEFT_OUT = 0.1  # share of the answers, the most doubtful
Columns = dict[str, list[float]]
Part = tuple[Condition, str, dict[str, Columns]]  # a radio, a place, and what was found there


def run(setup: Setup, *, save: Path | None = None) -> dict[str, Any]:
    """Fitted on validation places by radios that training draws; measured on test places by these and by others.

    Args:
        save: file that what was fitted is written to, or the checkpoint folder whose answers it is about; uniair
            explain, zeroshot, site and serve read it there. Nothing is written where it is not given.
    """
    conditions = [one for one in CONDITIONS if one.name in NAMES]
    stores = {name: setup.store(name) for name in ("validation", "links")}
    setup.note(data={name: store.manifest["recipe"] for name, store in stores.items()}, areas=AREAS[setup.budget],
               radios=[one.name for one in conditions])  # fmt: skip
    found: dict[str, list[Part]] = {}
    for group, store in stores.items():
        for number, (name, links) in enumerate(some_areas(store, AREAS[setup.budget])):
            for one in conditions:
                made = setup.once(f"{name}-{one.name}", partial(_area, setup.model, links, one, number))
                if made:
                    found.setdefault(group, []).append((one, name.split("/")[0], made))
    known = [part for part in found["validation"] if not part[0].unseen]
    doubts = {name: Doubt.fitted(*_told(known, name)) for name in DOUBTED}
    promises = {
        name: Promise.calibrated(_column([m for *_, m in known], name, "score"), _places(known, name))
        for name in ANSWERS if any(name in made for *_, made in known)
    }  # fmt: skip
    rates, counts = _rates(setup)
    about = {
        "places": len({place for _, place, _ in known}), "links": sum(len(made["los"]["wrong"]) for *_, made in known),
        "radios": list(dict.fromkeys(one.name for one, *_ in known)), "rates": counts, "uniair": uniair.__version__,
    }  # fmt: skip
    fitted = Calibration(digest(setup.model), doubts, promises, rates, about)
    if save is not None:
        fitted.write(save / FILE if save.is_dir() else save)
    groups = {
        "radios of training": [part for part in found["links"] if not part[0].unseen],
        "radios never drawn": [part for part in found["links"] if part[0].unseen],
    }
    return {
        "fitted": {name: one.to_json() for name, one in doubts.items()},
        "calibrated": {name: one.to_json() for name, one in promises.items()},
        "rates": None if rates is None else rates.to_json(),
        "about": about,
        "groups": {group: _measured(parts, doubts, promises) for group, parts in groups.items() if parts},
        "strange": _strange([m for *_, m in groups["radios of training"]], doubts["los"]),
    }


def _rates(setup: Setup) -> tuple[Rates | None, Any]:
    """How often channels of validation places show what their maps say; and in how many cases, or why not."""
    counts, places = counted(setup)
    try:
        return Rates.counted(counts), {"places": places, "cases": {name: count for name, (_, count) in counts.items()}}
    except InputError as error:
        return None, str(error)


def _area(model: UniversalModel, links: Links, condition: Condition, seed: int) -> dict[str, Columns]:
    """Signals and scores of some links of an area's first base station."""
    rng = np.random.default_rng([seed, 7])
    links = along_array(links)
    mine = np.flatnonzero((links.area == links.area[0]) & (links.bs == links.bs[0]).all(1))
    if len(mine) < LINKS // 2:
        return {}
    links = links.select(np.sort(rng.permutation(mine)[:LINKS]))
    batch = batch_of(links, replace(condition.radio, carrier=links.one_radio().carrier))
    env, csi, radio = batch.environment.without("los"), batch.csi, batch.radio
    if condition.impaired is not None:
        csi, _ = condition.impaired(csi, radio, rng)
    los = zero_shot.los(model, csi, env, radio).cpu().double()
    either = torch.stack([1 - los, los], 1)
    users = zero_shot.rank(model, csi, env, radio).cpu().double()
    likeliest = env.select(users.argmax(1))  # whose place is judged: the right one is not known
    wrong = (los > 0.5) != batch.environment.los.bool()
    out: dict[str, Columns] = {
        "los": _columns(signals(model, csi, env, certainty(either), radio), wrong),
        "place": _columns(signals(model, csi, likeliest, certainty(users), radio), metrics.true_ranks(users) > 0),
        "strange": _alien(model, csi, env, radio, rng),
    }  # fmt: skip
    out["los"]["score"] = of_right(mass(either), batch.environment.los.long()).tolist()
    out["position"] = _positions(model, csi, batch, radio)
    if model.preset.radios == "any":
        out["beam"] = _beams(model, batch, env)
    return out


def _columns(seen: Signals, wrong: Tensor) -> Columns:
    return {name: column.tolist() for name, column in zip(Signals._fields, seen, strict=True)} | {
        "wrong": wrong.double().tolist()
    }


def _positions(model: UniversalModel, csi: Tensor, batch: Batch, radio: Radio) -> Columns:
    """Scores of the cells that users stand in."""
    env = batch.environment
    assert env.map is not None
    size = float(env.size[0])
    area = int(env.area[0])
    _, likelihood = zero_shot.position_likelihood(
        model, csi, env.map[area].numpy(), env.bs[0].numpy(), size, size / CELLS, radio=radio
    )
    flat = likelihood.flatten(1).cpu()
    column, row = (env.ue[:, :2] / size * CELLS).long().clamp(0, CELLS - 1).unbind(1)
    return {
        "score": of_right(mass(flat), row * CELLS + column).tolist(),
        "size": [float((flat[0] > 0).sum())] * len(csi),
    }


def _beams(model: UniversalModel, batch: Batch, env: Environment) -> Columns:
    """Scores of the strongest beam among the shares of power that the place gives each."""
    told = beam_gains(replace(batch, csi=channel_of_place(model, env, batch.radio)))
    right = beam_gains(batch).argmax(1)
    scores = of_right(mass(told / told.sum(1, keepdim=True)), right)
    return {"score": scores.tolist()}


def _alien(model: UniversalModel, csi: Tensor, env: Environment, radio: Radio, rng: np.random.Generator) -> Columns:
    """Signals of the same places asked with what training never had."""
    out: Columns = {}
    noise = rng.normal(size=(*csi.shape, 2)).view(np.complex128)[..., 0].astype(np.complex64)
    wrong_map = replace(env, map=env.map.flip(1, 2)) if env.map is not None else env
    for name, given, place in (("noise", torch.from_numpy(noise), env), ("another map", csi, wrong_map)):
        los = zero_shot.los(model, given, place, radio).cpu().double()
        seen = signals(model, given, place, certainty(torch.stack([1 - los, los], 1)), radio)
        out |= {f"{name} {field}": column.tolist() for field, column in zip(Signals._fields, seen, strict=True)}
    return out


def _column(made: Sequence[dict[str, Columns]], name: str, column: str) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(one[name][column]) for one in made if name in one])


def _places(parts: Sequence[Part], name: str) -> NDArray[Any]:
    return np.concatenate([[place] * len(made[name]["score"]) for _, place, made in parts if name in made])


def _told(parts: Sequence[Part], name: str) -> tuple[Signals, Tensor]:
    made = [one for *_, one in parts]
    columns = [torch.from_numpy(_column(made, name, field)) for field in Signals._fields]
    return Signals(*columns), torch.from_numpy(_column(made, name, "wrong")) > 0


def _measured(parts: Sequence[Part], doubts: dict[str, Doubt], promises: dict[str, Promise]) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    out: dict[str, Any] = {"doubt": {}, "sets": {}}
    for name, doubt in doubts.items():
        told, wrong = _told(parts, name)
        stated = doubt.of(told).numpy()
        order = np.argsort(stated, kind="stable")
        right = 1 - wrong.double().numpy()[order]
        kept = round((1 - LEFT_OUT) * len(right))
        curve = np.cumsum(right) / np.arange(1, len(right) + 1)
        steps = np.linspace(0, len(right) - 1, 21).round().astype(int)
        out["doubt"][name] = {
            "answers": len(right),
            "auroc": float(roc_auc_score(wrong.numpy(), stated)) if wrong.any() else None,
            "right": float(right.mean()),
            "right_of_the_rest": float(right[:kept].mean()),
            "curve": curve[steps].tolist(),
        }
    for name, promise in promises.items():
        made = [one for *_, one in parts if name in one]
        if made:
            scores, places = _column(made, name, "score"), _places(parts, name)
            out["sets"][name] = {
                f"{level:g}": {
                    "held": float((held := scores <= promise.thresholds[level]).mean()),
                    "least": float(min(held[places == place].mean() for place in np.unique(places))),
                }
                for level in LEVELS
            }
    return out


def _strange(made: Sequence[dict[str, Columns]], doubt: Doubt) -> dict[str, float]:
    """AUROC of doubt between what is usual and what training never had."""
    from sklearn.metrics import roc_auc_score

    usual = doubt.of(Signals(*(torch.from_numpy(_column(made, "los", field)) for field in Signals._fields)))
    out = {}
    for name in STRANGE:
        strange = doubt.of(
            Signals(*(torch.from_numpy(_column(made, "strange", f"{name} {f}")) for f in Signals._fields))
        )
        labels = np.concatenate([np.zeros(len(usual)), np.ones(len(strange))])
        out[name] = float(roc_auc_score(labels, torch.cat([usual, strange]).numpy()))
    return out


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Doubt, and promises, a row a group of radios."""
    doubt, sets = [], []
    for group, found in result["groups"].items():
        for name, one in found["doubt"].items():
            doubt.append([f"{DOUBTED[name]}; {group}", f"{one['answers']:,}",
                          "none wrong" if one["auroc"] is None else f"{one['auroc']:.3f}",
                          f"{100 * one['right']:.1f} %", f"{100 * one['right_of_the_rest']:.1f} %"])  # fmt: skip
        for name, levels in found["sets"].items():
            cells = [f"{100 * one['held']:.1f} ({100 * one['least']:.1f})" for one in levels.values()]
            sets.append([f"{ANSWERS[name]}; {group}", *cells])
    heads = ["answer", "answers", "AUROC of wrong ones", "right", f"right without the {LEFT_OUT:.0%} most doubtful"]
    strange = [[about, f"{result['strange'][name]:.3f}"] for name, about in STRANGE.items()]
    rates = (
        [] if result["rates"] is None else [[name.replace("_", " "), f"{v:.3f}"] for name, v in result["rates"].items()]
    )
    counts = "How often channels of validation places show what maps say"
    more = [(counts, Table(["", "rate"], rates))] if rates else []
    return [
        *more,
        ("Doubt on test places, fitted on validation places", Table(heads, doubt)),
        (
            "Right answers in the sets, % (in the place with fewest)",
            Table(["promised", *map("{:.0%}".format, LEVELS)], sets),
        ),
        ("Doubt about LOS where there is nothing to know", Table(["instead of what was measured", "AUROC"], strange)),
    ]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Right answers among those that are doubted least, against how many are kept."""
    axes = figure.add_subplot()
    for group, found in result["groups"].items():
        for name, one in found["doubt"].items():
            axes.plot(np.linspace(0, 100, len(one["curve"])), [100 * share for share in one["curve"]],
                      label=f"{DOUBTED[name]}; {group}")  # fmt: skip
    axes.set(xlabel="answers kept, least doubtful first, %", ylabel="right, %")
    axes.legend(fontsize="x-small")


DOUBTS = Benchmark("paper 3 names trust as what is missing; no figures", ("validation", "links"), run, tables, draw)
