"""A site's figures as tables: what the heads reach on streets that they did not learn from, beside everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uniair.evaluation.tables import Table
from uniair.evaluation.zero_shot_suite import Figure
from uniair.radio import Radio
from uniair.site.site import Site
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Metric


def curves(rows: Sequence[dict[str, Any]], task: str) -> dict[str, dict[int, dict[str, list[float]]]]:
    """Method → labels → figure → its values over seeds; all labels count as many as there are of the first seed.

    A method's name says what it learned from where the task has measured and traced labels.
    """
    mine = [row for row in rows if row["task"] == task]
    several = len({row["source"] for row in mine}) > 1
    out: dict[str, dict[int, dict[str, dict[int, float]]]] = {}
    for row in mine:
        cells = out.setdefault(f"{row['method']}, {row['source']}" if several else row["method"], {})
        every = next(r["labels"] for r in mine if r["all"] and r["source"] == row["source"])
        cell = cells.setdefault(every if row["all"] else row["labels"], {})
        for key, value in row["figures"].items():
            cell.setdefault(key, {})[row["seed"]] = value  # what looks at nothing is there for CSI and for the map
    return {
        method: {count: {key: list(of.values()) for key, of in cell.items()} for count, cell in cells.items()}
        for method, cells in out.items()
    }


def task_table(rows: Sequence[dict[str, Any]], task: str, radio: Radio = Radio()) -> Table:
    """All methods of a task with all their labels; mean over seeds, and ± where there are several."""
    mine = [row for row in rows if row["task"] == task]
    shown = [metric for metric in TASKS[task].metrics if any(metric.key in row["figures"] for row in mine)]
    tuned = {name: row["tuned"] for row in mine for name in (row["method"], f"{row['method']}, {row['source']}")}
    lines = []
    for method, cells in curves(rows, task).items():
        count = max(cells)
        values = [_cell(cells[count].get(metric.key), metric) for metric in shown]
        lines.append([method, f"{count:,}", f"{tuned[method]:,}", *values])
    return Table([TASKS[task].on(radio).about, "labels", "tuned", *(metric.heading for metric in shown)], lines)


def _cell(values: list[float] | None, metric: Metric) -> str:
    if not values:
        return ""
    mean = f"{metric.scale * float(np.mean(values)):.{metric.digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {metric.scale * float(np.std(values)):.{metric.digits}f}"


def zero_shot_table(found: dict[str, Any], position: dict[str, Any]) -> Table:
    """What one station's channels say with nothing tuned."""
    rows = []
    for entry in found["figures"]:
        name, value, reference = Figure(**entry).text()
        rows.append([name, value, reference])
    figures, channels = position["figures"], len(position["links"])
    rows += [
        [f"position by likelihood map, {channels} channels: median error", f"{figures['median_m']:.1f} m", ""],
        ["  90 % under", f"{figures['cdf90_m']:.1f} m", ""],
        ["  true position inside the region of 50 %", f"{100 * figures['inside_50']:.0f} %", "50 % is honest"],
        ["  true position inside the region of 90 %", f"{100 * figures['inside_90']:.0f} %", "90 % is honest"],
    ]
    return Table([f"zero-shot, {found['links']:,} {found['source']} channels", "", "reference"], rows)


def head_table(site: Site) -> Table:
    """The first figures of every head that was kept."""
    rows = []
    for name, tasks in site.figures.items():
        for task, by_inputs in tasks.items():
            for inputs, figures in by_inputs.items():
                shown = [
                    f"{metric.heading} {_cell([figures[metric.key]], metric)}"
                    for metric in TASKS[task].metrics
                    if metric.key in figures
                ]
                rows.append([f"{name} {task}", "CSI" if inputs == "channel" else "map and position", "; ".join(shown)])
    return Table(["head", "reads", "on streets that it did not learn from"], rows)
