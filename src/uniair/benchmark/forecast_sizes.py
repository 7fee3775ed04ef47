"""How large a forecaster is worth it: WMLM of several sizes against the share of the drives that it learned from.

Every size learns from the same drives, the first ones of each street in an order that the seed draws, so that a larger
share holds the smaller ones; a recurrent network stands beside. Steps of training are the same for all, and validation
drives choose the weights, so what is seldom seen is not learned by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.forecast_comparison import RETIMED, Comparison, measured, summary
from uniair.data.drives.drive import Drive
from uniair.data.drives.passages import Augmentation
from uniair.data.drives.windows import read_folder
from uniair.errors import InputError
from uniair.evaluation.tables import Table
from uniair.models.forecast import SIZES, WMLM
from uniair.progress import track
from uniair.training.forecast_split import Setting, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL = 64  # width that the learning rate is of; a wider model learns at a rate that is lower in proportion
WIDTHS = {"quick": (SMALL, SIZES["2m"]), "full": (SMALL, SIZES["2m"], SIZES["20m"])}
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
METRICS = {"top1": "top-1", "dba": "DBA", "nmse_db": "NMSE dB"}


@dataclass(frozen=True)
class Sizes:
    """One run of the benchmark.

    Attributes:
        comparison: drives, seeds, budget and training.
        widths: of WMLM; those of the budget if empty.
        shares: of the training drives.
    """

    comparison: Comparison
    widths: tuple[int, ...] = ()
    shares: tuple[float, ...] = field(default=SHARES)

    def wmlm(self, width: int, setting: Setting, seed: int) -> nn.Module:
        """WMLM of a width, trained at a rate of its own."""
        training = self.comparison.training
        plan = training.optimisation
        plan = replace(plan, learning_rate=plan.learning_rate * min(1.0, SMALL / width))
        own = replace(self.comparison, training=replace(training, optimisation=plan))
        return own.wmlm(setting, seed, replace(own.codebook, width=width))

    def run(self) -> dict[str, Any]:
        """Every size, share and seed with the first site left out.

        Raises:
            InputError: there is one site alone, no drive is held out, or the folder holds other runs.
        """
        every = settings(self.comparison.drives)
        if len(every) < 2 or not every[1].test:
            raise InputError("sizes are compared on drives that were held out and on a site that was left out: give "
                             "drives of two sites, some of whose numbers are multiples of five")  # fmt: skip
        setting, kept = every[1], self.comparison.kept()
        methods: dict[str, Any] = {RETIMED: lambda s, seed: self.comparison.gru(s, seed, Augmentation())}
        widths = self.widths or WIDTHS[self.comparison.budget]
        methods |= {f"WMLM, {self.parameters(width)}": partial(self.wmlm, width) for width in widths}
        cells: dict[str, list[dict[str, Any]]] = {}
        for name, share in track([(n, s) for n in methods for s in self.shares], "size"):
            runs = []
            for seed in range(self.comparison.seeds):
                key = f"sizes-{name}-{share:g}-{seed}".replace(" ", "_").replace(",", "")
                runs.append(kept.once(key, partial(self.point, methods[name], setting, share, seed)))
            cells.setdefault(name, []).append({
                "share": share, "drives": runs[0]["drives"], "steps": float(np.mean([run["steps"] for run in runs])),
                "parts": {part: summary([run["parts"][part] for run in runs]) for part in runs[0]["parts"]},
            })  # fmt: skip
        return {"setting": setting.name, "sizes": cells}

    def point(self, method: Any, setting: Setting, share: float, seed: int) -> dict[str, Any]:
        """Figures of a method that learned from a share of the drives."""
        fewer = replace(setting, train=some(setting.train, share, seed))
        parts = measured(method(fewer, seed), fewer)
        return {"drives": len(fewer.train), "steps": sum(map(len, fewer.train)), "parts": parts}

    def parameters(self, width: int) -> str:
        """How many a WMLM of a width has, for people."""
        with torch.device("meta"):
            count = WMLM(replace(self.comparison.codebook, width=width)).parameter_counts()["total"]
        return f"{count / 1e6:.{2 if count < 1e6 else 1}f} M"


def some(drives: tuple[Drive, ...], share: float, seed: int) -> tuple[Drive, ...]:
    """A share of the drives of each scenario, one at least; a larger share of the same seed holds the smaller."""
    drawn = np.random.default_rng(seed).permutation(len(drives))
    chosen: set[int] = set()
    for scenario in dict.fromkeys(drive.scenario for drive in drives):
        own = [int(i) for i in drawn if drives[i].scenario == scenario]
        chosen |= set(own[: max(1, round(share * len(own)))])
    return tuple(drive for i, drive in enumerate(drives) if i in chosen)


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """A table for held-out drives and one for the site left out: rows are sizes and shares."""
    out = []
    for part in ("held out", "unseen"):
        rows = []
        for name, points in result["sizes"].items():
            for point in points:
                found = point["parts"][part]
                cells = [
                    " / ".join(f"{at[metric]['mean']:.{1 if metric == 'nmse_db' else 3}f}" for at in found.values())
                    for metric in METRICS
                ]
                spread = max(at["top1"]["spread"] for at in found.values())
                rows.append([name, f"{point['drives']:,}", f"{point['steps']:,.0f}", *cells, f"{spread:.3f}"])
        named = {"held out": "held-out drives of streets that it learned", "unseen": "drives of streets left out"}[part]
        head = ["", "drives", "steps of them", *METRICS.values(), "± top-1"]
        out.append((f"{result['setting']}, {named}; {result['seeds']} seeds", Table(head, rows)))
    return out


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """Top-1, mean over the steps ahead, against the steps that were learned from; a line a size."""
    for axes, part in zip(figure.subplots(1, 2, sharey=True), ("held out", "unseen"), strict=True):
        for name, points in result["sizes"].items():
            top1 = [[at["top1"] for at in point["parts"][part].values()] for point in points]
            axes.errorbar(
                [point["steps"] for point in points], [np.mean([at["mean"] for at in found]) for found in top1],
                [np.mean([at["spread"] for at in found]) for found in top1], marker="o", capsize=2,
                label=name, ls="--" if name == RETIMED else "-",
            )  # fmt: skip
        axes.set(title=f"{result['setting']}, {part} drives", xlabel="steps of drives learned from", xscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("top-1, mean over the steps ahead")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")


def run(setup: Setup) -> dict[str, Any]:
    """The sizes of the budget, with everything else by default."""
    drives = tuple(read_folder(setup.folders["drives"]))
    return Sizes(Comparison(drives, setup.out, setup.budget, setup.seeds)).run()


FORECAST_SIZES = Benchmark(
    "paper 3, IV: a backbone of up to 2.4 billion parameters; no comparison of sizes.", ("drives",), run, tables, draw,
)  # fmt: skip
