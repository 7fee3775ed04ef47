"""Dense areas one by one: beams (paper 1, Table III), positions (Fig. 10), LOS (Fig. 13), light heads alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import matplotlib.style

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.toft import compare
from uniair.evaluation.tables import Table, plus_minus
from uniair.tasks.registry import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# mean over the paper's ten areas, %
TABLE3_PAPER = {
    "Task-Specific ViT": "95.29",
    "Task-General ViT": "78.07",
    "TOFT from CSI": "95.13",
    "MLP from position": "88.01",
    "TOFT from map and positions": "90.16",
}
PAPER = {"beam": TABLE3_PAPER}
# the paper gives differences alone
FIG10_PAPER = {"Task-Specific ViT": "TOFT + 0.78", "Task-General ViT": "TOFT + 4.63"}
FIG13_PAPER = {
    "ZSL from CSI, map and positions": "over 90 in most; 92.31 of all links",
    "TOFT from CSI": "above both ViTs",
}
COLOURS = [style["color"] for style in matplotlib.style.library["tableau-colorblind10"]["axes.prop_cycle"]]
MARKERS = "osD^vP*X<>"


def short(areas: Sequence[str]) -> list[str]:
    """Areas by their place alone, where each has one of its own."""
    places = [area.split("/")[0].removeprefix("sionna_").replace("_", " ") for area in areas]
    return places if len(set(places)) == len(places) else list(areas)


def area_table(
    result: dict[str, Any], task: str, key: str, paper: Mapping[str, str], scale: float = 1.0, digits: int = 1
) -> Table:
    """One figure of a task: a row a method, a column an area, then mean ± spread over seeds, and the paper's mean.

    Args:
        result: of `compare`.
        key: the figure.
        paper: the paper's mean, by method; no column where empty.
        scale: 100 for percent.
    """
    head = ["", "tuned", *short(result["areas"]), "mean ± seeds", *(["paper"] if paper else [])]
    rows = []
    for method, row in result["rows"][task].items():
        cells = [f"{scale * value:.{digits}f}" for value in row["by_area"][key]]
        mean = plus_minus(row["mean"][key], row["spread"][key], digits, scale)
        rows.append([method, f"{row['tuned_parameters']:,}", *cells, mean, *([paper.get(method, "")] if paper else [])])
    return Table(head, rows)


def budget_note(result: dict[str, Any]) -> str:
    """What the methods learned from, for a heading."""
    labels = "80 % of an area's links" if result["labels"] is None else f"{result['labels']:,} links per area"
    split = "at random" if result["split"] == "random" else "by blocks of 20 m"
    epochs = "" if result["epochs"] is None else f", ViTs from scratch {result['epochs']} epochs (paper: 1,000)"
    return f"{labels} to learn from, split {split}, seeds: {result['seeds']}{epochs}"


def draw_areas(axes: Axes, result: dict[str, Any], task: str, key: str, label: str, scale: float = 1.0) -> None:
    """A marker per method and area."""
    for i, (method, row) in enumerate(result["rows"][task].items()):
        axes.plot([scale * value for value in row["by_area"][key]], linestyle=":", linewidth=0.8, label=method,
                  color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)])  # fmt: skip
    axes.set_xticks(range(len(result["areas"])), short(result["areas"]), rotation=30, ha="right")
    axes.set(xlabel="area", ylabel=label)
    axes.grid(axis="y", alpha=0.3)


def _legend(figure: Figure) -> None:
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=8)


def _run(tasks: Sequence[str], scratch: bool, setup: Setup) -> dict[str, Any]:
    return compare(setup, tasks, scratch=scratch) | {"seeds": setup.seeds}


def _table3(result: dict[str, Any]) -> list[tuple[str, Table]]:
    return [
        (f"Top-1 beams, %; {budget_note(result)}", area_table(result, "beam", "top1", TABLE3_PAPER, 100)),
        ("Share of the best beam's power, %", area_table(result, "beam", "power_share", {}, 100)),
    ]


def _draw_table3(result: dict[str, Any], figure: Figure) -> None:
    draw_areas(figure.subplots(), result, "beam", "top1", "top-1 accuracy, %", 100)
    _legend(figure)


def _fig10(result: dict[str, Any]) -> list[tuple[str, Table]]:
    table = area_table(result, "position", "cdf90_m", FIG10_PAPER)
    sizes = [f"{size:.0f}" for size in result["size_m"]]
    side = ["side of the area, m", "", *sizes, f"{sum(result['size_m']) / len(sizes):.0f}", ""]
    return [
        (f"Positioning error, CDF90, m; {budget_note(result)}", Table(table.head, [*table.rows, side])),
        ("Positioning error, median, m", area_table(result, "position", "median_m", {})),
    ]


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def _draw_fig10(result: dict[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    draw_areas(axes, result, "position", "cdf90_m", "positioning error, CDF90, m")
    _logarithmic(axes)
    names = [f"{area}, {size:.0f} m" for area, size in zip(short(result["areas"]), result["size_m"], strict=True)]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_xlabel("area and its side")
    _legend(figure)


def _fig13(result: dict[str, Any]) -> list[tuple[str, Table]]:
    table = area_table(result, "los", "accuracy", FIG13_PAPER, 100)
    row = next(iter(result["rows"]["los"].values()))  # the same links for every method
    cells = [f"{100 * value:.1f}" for value in row["by_area"]["majority"]]
    mean = plus_minus(row["mean"]["majority"], row["spread"]["majority"], 1, 100)
    most = ["the more frequent class", "0", *cells, mean, ""]
    return [
        (f"LOS or NLOS, accuracy, %; {budget_note(result)}", Table(table.head, [*table.rows, most])),
        ("LOS or NLOS, macro-F1, %", area_table(result, "los", "macro_f1", {}, 100)),
    ]


def _draw_fig13(result: dict[str, Any], figure: Figure) -> None:
    draw_areas(figure.subplots(), result, "los", "accuracy", "LOS accuracy, %", 100)
    _legend(figure)


def _heads(result: dict[str, Any]) -> list[tuple[str, Table]]:
    tables, note = [], f"; {budget_note(result)}"
    for name in result["rows"]:
        metric = TASKS[name].compared
        table = area_table(result, name, metric.key, PAPER.get(name, {}), metric.scale, metric.digits)
        tables.append((f"{TASKS[name].title}: {metric.heading}{note}", table))
        note = ""
    return tables


def _draw_heads(result: dict[str, Any], figure: Figure) -> None:
    rows = -(-len(result["rows"]) // 2)
    figure.set_size_inches(12, 3.7 * rows)
    panels = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes, name in zip(panels, result["rows"], strict=False):
        metric = TASKS[name].compared
        draw_areas(axes, result, name, metric.key, f"{TASKS[name].title}: {metric.heading}", metric.scale)
        axes.legend(fontsize=7)
        if metric.unit == "m":
            _logarithmic(axes)
    for axes in panels[len(result["rows"]) :]:
        axes.set_visible(False)


def _run_heads(setup: Setup) -> dict[str, Any]:
    return _run(tuple(TASKS), False, setup)


TABLE3 = Benchmark(
    paper="Table III: top-1 in ten areas; CSI-based TOFT within 0.2 points of the Task-Specific ViT, position-based "
    "TOFT 2.2 points above the MLP",
    needs=("dense",), run=partial(_run, ("beam",), True), tables=_table3, draw=_draw_table3,
)  # fmt: skip
FIG10 = Benchmark(
    paper="Fig. 10: CDF90 of TOFT 0.78 m below the Task-Specific ViT and 4.63 m below the Task-General ViT on average",
    needs=("dense",), run=partial(_run, ("position",), True), tables=_fig10, draw=_draw_fig10,
)  # fmt: skip
FIG13 = Benchmark(
    paper="Fig. 13: TOFT above both ViTs, ZSL above 90 % in most areas; 92.31 % over 250,000 unseen samples",
    needs=("dense",), run=partial(_run, ("los",), True), tables=_fig13, draw=_draw_fig13,
)  # fmt: skip
HEADS = Benchmark(
    paper="Tables II and III; networks from scratch, which take hours, stand in table3, fig10 and fig13",
    needs=("dense",),
    run=_run_heads, tables=_heads, draw=_draw_heads,
)  # fmt: skip
