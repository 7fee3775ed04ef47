"""On-site adaptation: what head, LoRA and everything gain at a site that was never seen, and lose elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.forecast_comparison import Comparison, measured
from uniair.data.drives.passages import Passages
from uniair.data.drives.windows import read_folder
from uniair.errors import InputError
from uniair.evaluation.tables import Table
from uniair.models.forecast import WMLM
from uniair.training.forecast_adaptation import PARTS, OnSite, adapt_on_site
from uniair.training.forecast_split import FUTURE, Setting, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("top1", "top3", "dba")


def on_site(
    comparison: Comparison, site: int = 0, config: OnSite = OnSite(), parts: Sequence[str] = tuple(PARTS)
) -> dict[str, Any]:
    """Adapts a forecaster that was trained on all sites but one to that one; kept per seed in `comparison.out`.

    A fifth of the site's drives, whole ones, is tested on; the earlier sites' held-out drives show what is forgotten.

    Args:
        site: which of the sites is new, by its number among the settings that leave one out.

    Raises:
        InputError: there is one site alone, no drive is held out, or the folder holds other runs.
    """
    left_out = settings(comparison.drives)[1:]
    if not 0 <= site < len(left_out):
        raise InputError(f"site {site}: the drives have {len(left_out)} sites to leave out")
    setting = left_out[site]
    for where, test in (("the new site", settings(setting.unseen)[0].test), ("earlier sites", setting.test)):
        if not test:
            raise InputError(f"{setting.name}: no drive of {where} is held out; those whose number is a multiple of "
                             "five are: give more drives")  # fmt: skip
    plan = config.optimisation
    key = f"on-site-{site}-{plan.steps}-{plan.learning_rate:g}-{config.replay:g}-{'-'.join(parts)}"
    kept = comparison.kept()
    runs = [
        kept.once(f"{key}-{seed}", partial(_run, comparison, setting, seed, config, parts))
        for seed in range(comparison.seeds)
    ]
    summary: dict[str, Any] = {}
    for name in runs[0]:
        summary[name] = {"parameters": runs[0][name]["parameters"],
                         "seconds": float(np.mean([run[name]["seconds"] for run in runs]))}  # fmt: skip
        for where in ("site", "earlier"):
            for metric in METRICS:
                grid = np.array([run[name][where][metric] for run in runs])  # seeds × horizons
                summary[name].setdefault(where, {})[metric] = {
                    "mean": grid.mean(0).tolist(), "spread": grid.std(0).tolist()
                }  # fmt: skip
    return {"setting": setting.name, "seeds": comparison.seeds, "methods": summary}


def _run(
    comparison: Comparison, setting: Setting, seed: int, config: OnSite, parts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    own = settings(setting.unseen, setting.sensing)[0]  # the site's drives, divided as any scenario's are
    here = replace(setting, train=(*own.train, *own.validation), validation=(), test=own.test, unseen=())
    earlier = replace(setting, unseen=())
    base = comparison.wmlm(setting, seed)
    assert isinstance(base, WMLM)
    old = setting.passages(config.length, config.augmentation)
    new = Passages(here.train, config.length + FUTURE, config.augmentation, setting.sensing, setting.frames)
    out = {"base": {"parameters": 0, "seconds": 0.0, "site": _mean(base, here), "earlier": _mean(base, earlier)}}
    for part in parts:
        for replay in (None, old):
            began = time.perf_counter()
            plan = replace(config, part=part, optimisation=replace(config.optimisation, seed=seed))
            adapted, tuned = adapt_on_site(base, new, plan, replay)
            out[part + (" and replay" if replay else "")] = {
                "parameters": tuned, "seconds": time.perf_counter() - began, "site": _mean(adapted, here),
                "earlier": _mean(adapted, earlier),
            }  # fmt: skip
    return out


@torch.inference_mode()
def _mean(model: WMLM, setting: Setting) -> dict[str, list[float]]:
    """Figures on held-out drives, mean over scenarios: metric → horizons."""
    found = measured(model, setting)["held out"].values()
    return {m: np.mean([[h[m] for h in horizons.values()] for horizons in found], axis=0).tolist() for m in METRICS}


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Top-1 and DBA at each horizon, on the new site and on the earlier ones."""
    rows = []
    for name, found in result["methods"].items():
        cells = [" / ".join(f"{value:.3f}" for value in found[where][metric]["mean"])
                 for where in ("site", "earlier") for metric in ("top1", "dba")]  # fmt: skip
        rows.append([name, f"{found['parameters']:,}", f"{found['seconds']:.0f}", *cells])
    head = ["", "tuned", "s", "site top-1", "site DBA", "earlier top-1", "earlier DBA"]
    return [(f"{result['setting']}, {result['seeds']} seeds", Table(head, rows))]


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """Top-1 at each horizon: how much the new site gains, and what the earlier ones lose."""
    methods = result["methods"]
    for axes, (where, about) in zip(
        figure.subplots(1, 2, sharey=True), (("site", "the new site"), ("earlier", "earlier sites")), strict=True
    ):
        for i, (name, found) in enumerate(methods.items()):
            cell = found[where]["top1"]
            place = np.arange(len(cell["mean"])) + (i - (len(methods) - 1) / 2) / (len(methods) + 1)
            axes.bar(place, cell["mean"], 1 / (len(methods) + 1), yerr=cell["spread"], label=name)
        axes.set_xticks(range(FUTURE), [f"step {h}" for h in range(1, FUTURE + 1)])
        axes.set_title(f"top-1, held-out drives of {about}", fontsize="medium")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")


def run(setup: Setup) -> dict[str, Any]:
    """The first of the sites, with everything by default."""
    drives = tuple(read_folder(setup.folders["drives"]))
    return on_site(Comparison(drives, setup.out, setup.budget, setup.seeds))


ON_SITE = Benchmark(
    "", ("drives",), run, tables, draw,
)  # fmt: skip
