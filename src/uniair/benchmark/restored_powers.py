"""Powers that nobody measured: steps of a drive that were lost are restored, and steps to come are rolled out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.data.digest import data_digest
from uniair.data.drives.drive import Drive
from uniair.data.drives.sensing import Sensing, measured
from uniair.data.drives.windows import codebook, frames, read_folder, segments
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.forecast import WMLM, impute, roll_out
from uniair.training.checkpoint import digest
from uniair.training.forecast_split import settings
from uniair.training.forecasting import PACKAGED, load_forecaster

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEARD, AFTER = 6, 2  # steps before what is asked for, and after what was lost
LOST = (1, 2, 4)  # steps in a row
AHEAD = 8  # steps that are rolled out
LENGTH = HEARD + AHEAD
WINDOWS = {"quick": 200, "full": 4000}
MODEL, LAST, BETWEEN, MOVING = "WMLM", "the last one", "between the last and the next one", "moving on as before"
Steps = dict[str, Tensor]


def run(setup: Setup) -> dict[str, Any]:
    """Windows of held-out drives, drawn anew for each seed; the packaged forecaster, which knows the twin alone.

    Raises:
        InputError: drives of another codebook, or none long enough.
    """
    folder, model = setup.folders["drives"], load_forecaster(PACKAGED)
    drives = read_folder(folder)
    if codebook(drives) != model.preset.beams:
        raise InputError(f"{folder}: {codebook(drives)} beams, the packaged forecaster has {model.preset.beams}")
    most = WINDOWS[setup.budget]
    setup.note(forecaster=digest(model), drives=data_digest(drives), windows=most)
    runs = [setup.once(str(seed), partial(_run, model, drives, most, seed)) for seed in range(setup.seeds)]
    summed = {
        what: {
            name: {steps: {key: spread([[one[what][name][steps][key] for one in runs]]) for key in found}
                   for steps, found in by_steps.items()}
            for name, by_steps in methods.items()
        }
        for what, methods in runs[0].items() if what != "windows"
    }  # fmt: skip
    return {"windows": runs[0]["windows"], "scenarios": len({drive.scenario for drive in drives}), **summed}


def _run(model: WMLM, drives: list[Drive], most: int, seed: int) -> dict[str, Any]:
    steps = windows(drives, most, seed)
    restored: dict[str, dict[str, Any]] = {}
    for lost in LOST:
        asked = slice(HEARD, HEARD + lost)
        here = {name: values[:, : HEARD + lost + AFTER] for name, values in steps.items()}
        for name, powers in {
            MODEL: impute(model, hidden(here, asked))[:, asked],
            LAST: here["power"][:, HEARD - 1 : HEARD].expand(-1, lost, -1),
            BETWEEN: between(here["power"][:, HEARD - 1], here["power"][:, HEARD + lost], lost),
        }.items():
            restored.setdefault(name, {})[str(lost)] = figures(powers, here["power"][:, asked])
    before = {name: values[:, :HEARD] for name, values in steps.items()}
    rolled: dict[str, dict[str, Any]] = {}
    for name, powers in {
        MODEL: roll_out(model, before, AHEAD),
        LAST: before["power"][:, -1:].expand(-1, AHEAD, -1),
        MOVING: moving_on(before["power"], AHEAD),
    }.items():
        rolled[name] = {
            str(k + 1): figures(powers[:, k : k + 1], steps["power"][:, HEARD + k : HEARD + k + 1])
            for k in range(AHEAD)
        }
    return {"windows": len(steps["power"]), "restored": restored, "rolled_out": rolled}


def windows(drives: list[Drive], most: int, seed: int) -> Steps:
    """Stretches of held-out drives of which every power was measured: power [N, LENGTH, B], beam [N, LENGTH].

    Raises:
        InputError: none.
    """
    parts: list[Steps] = []
    turned = frames(drives)
    for drive in settings(drives)[0].test:
        for begin in (at for first, end in segments(drive) for at in range(first, end - LENGTH + 1, 2)):
            found = measured(drive, np.arange(begin, begin + LENGTH), turned[drive.scenario], Sensing())
            if np.isfinite(found["power"]).all() and (found["power"].max(1) > 0).all():
                parts.append({name: torch.from_numpy(found[name]) for name in ("power", "beam")})
    if not parts:
        raise InputError(f"no held-out drive has {LENGTH} measured steps in a row; give longer drives")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(parts))[:most])
    return {name: torch.stack([parts[i][name] for i in chosen]) for name in ("power", "beam")}


def hidden(steps: Steps, asked: slice) -> Steps:
    """The same with some steps not measured."""
    out = {name: values.clone() for name, values in steps.items()}
    out["power"][:, asked], out["beam"][:, asked] = torch.nan, -1
    return out


def between(before: Tensor, after: Tensor, count: int) -> Tensor:
    """Powers on the straight line from one to the other, [N, B] each: [N, count, B]."""
    share = (torch.arange(count) + 1)[:, None] / (count + 1)
    return before[:, None] * (1 - share) + after[:, None] * share


def moving_on(power: Tensor, count: int) -> Tensor:
    """The last powers moved on by as many beams a step as the best one has moved so far: [N, T, B] → [N, count, B].

    Where nothing moves in from, the weakest power stands.
    """
    beams = power.shape[2]
    best = power.argmax(2).double()
    pace = (best[:, -1] - best[:, 0]) / (power.shape[1] - 1)
    shift = (pace[:, None] * (torch.arange(count) + 1)).round().long()
    source = torch.arange(beams) - shift[..., None]
    last = power[:, -1][:, None].expand(-1, count, -1)
    moved = last.gather(2, source.clamp(0, beams - 1))
    return torch.where((source >= 0) & (source < beams), moved, last.amin(2, keepdim=True))


def figures(powers: Tensor, truth: Tensor) -> dict[str, float]:
    """NMSE of linear powers and top-1 of the best beam, [N, T, B] each."""
    estimate, known = powers.flatten(0, 1).double(), truth.flatten(0, 1).double()
    return {
        "nmse_db": metrics.nmse_db(estimate, known),
        "top1": float((estimate.argmax(1) == known.argmax(1)).double().mean()),
    }


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Lost steps restored, and steps rolled out."""

    def table(rows: Mapping[str, Any], words: Callable[[str], str]) -> Table:
        every = list(next(iter(rows.values())))
        cells = [
            [name, *(f"{plus_minus(found[k]['nmse_db']['mean'], found[k]['nmse_db']['spread'], 1)} / "
                     f"{plus_minus(found[k]['top1']['mean'], found[k]['top1']['spread'], 1, 100)}" for k in every)]
            for name, found in rows.items()
        ]  # fmt: skip
        return Table(["", *map(words, every)], cells)

    about = f"{result['windows']:,} windows of {result['scenarios']} streets, {result['seeds']} draws"
    return [
        (f"Powers of lost steps restored, NMSE, dB / best beam right, %: {about}",
         table(result["restored"], lambda k: f"{k} lost" + (" in a row" if k != "1" else ""))),
        (f"Powers rolled out, NMSE, dB / best beam right, %, from {HEARD} steps heard",
         table(result["rolled_out"], lambda k: f"step {k}")),
    ]  # fmt: skip


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """NMSE and top-1 against the steps rolled out."""
    for axes, (key, label, scale) in zip(
        figure.subplots(1, 2), (("nmse_db", "NMSE, dB", 1), ("top1", "best beam right, %", 100)), strict=True
    ):
        for name, found in result["rolled_out"].items():
            mean, error = ([scale * one[key][part] for one in found.values()] for part in ("mean", "spread"))
            axes.errorbar(range(1, len(found) + 1), mean, error, fmt="o-", markersize=4, capsize=2, label=name)
        axes.set(xlabel="steps rolled out", ylabel=label)
    figure.axes[0].legend(fontsize="small")


RESTORED_POWERS = Benchmark("", ("drives",), run, tables, draw)
