"""Held-out accuracy against the number of areas, of links per area, and of training steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.trained import COLUMNS, NEEDS, cells, heads, noted, stores, trained
from uniair.data.links.links import Links
from uniair.data.links.store import Stores
from uniair.evaluation.tables import Table
from uniair.models.presets import preset
from uniair.training.packaged_recipe import BATCHES, OPTIMISATION, TASK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = {"quick": 240, "full": 1000}
SHARES = (1 / 64, 1 / 16, 1 / 4, 1)  # of the areas and of the steps; links per area are in `LINKS`
LINKS = (2, 8, 32, 128)
FEWEST = 2 * BATCHES.areas
SHOWN = ("los", "scale", "top1", "top5")


class FewerLinks(Sequence[Links]):
    """Folders whose areas have at most `most` links each, the first ones."""

    def __init__(self, data: Stores, most: int) -> None:
        self.data, self.most = data, most

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> Links: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Links]: ...

    def __getitem__(self, index: int | slice) -> Links | Sequence[Links]:
        """One area, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        area = self.data[index]
        return area.select(np.arange(min(self.most, len(area))))


def run(setup: Setup) -> dict[str, Any]:
    """Three curves with four points each; every run has its own whole learning-rate schedule."""
    data, shape, steps = stores(setup), preset("tiny"), STEPS[setup.budget]
    setup.note(steps=steps, preset=shape.name, links=data.links, **noted(setup))
    curves: dict[str, list[dict[str, Any]]] = {"areas": [], "links per area": [], "steps": []}

    def point(curve: str, value: int, data: Sequence[Links], steps: int) -> None:
        found = [
            trained(setup, f"{curve.split()[0]}-{value}-{seed}", shape, data, TASK,
                    replace(OPTIMISATION, steps=steps, save_every=max(steps, 1), seed=seed))
            for seed in range(setup.seeds)
        ]  # fmt: skip
        curves[curve].append({
            "value": value,
            "mean": {c: float(np.mean([one[c] for one in found])) for c in COLUMNS},
            "spread": {c: float(np.std([one[c] for one in found])) for c in COLUMNS},
        })  # fmt: skip

    for share in SHARES:
        areas = max(FEWEST, round(share * len(data)))
        point("areas", areas, stores(setup, most=areas // 2), steps)
    for most in LINKS:
        point("links per area", most, FewerLinks(data, most), steps)
    for share in SHARES:
        point("steps", round(share * steps), data, round(share * steps))
    return {"steps": steps, "trained_preset": shape.name, "areas": len(data), "links": data.links, "curves": curves}


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """One table per curve."""
    rest = (f"`{result['trained_preset']}`, {result['areas']:,} areas, {result['links']:,} links and {result['steps']} "
            f"steps where not said otherwise, batches of {BATCHES.areas} areas with at most {BATCHES.links_per_area} "
            f"links of each; held-out places; %, ± over {result['seeds']} seeds")  # fmt: skip
    return [
        (f"Number of {curve}: {rest}",
         Table([curve, *heads()], [[f"{p['value']:,}", *cells(p["mean"], p["spread"])] for p in points]))
        for curve, points in result["curves"].items()
    ]  # fmt: skip


def draw(result: dict[str, Any], figure: Figure) -> None:
    """A panel per curve, a line per figure."""
    panels = figure.subplots(1, len(result["curves"]), sharey=True)
    for axes, (curve, points) in zip(panels, result["curves"].items(), strict=True):
        for column in SHOWN:
            axes.errorbar([p["value"] for p in points], [100 * p["mean"][column] for p in points],
                          [100 * p["spread"][column] for p in points], marker="o",
                          label=COLUMNS[column].name)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel(f"number of {curve}")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("held-out accuracy, %")
    panels[0].legend()


SCALING = Benchmark(
    "none; it trains once, on 2.25 million links for 100 epochs.",
    NEEDS, run, tables, draw,
)  # fmt: skip
