"""A site's report: one HTML file with every picture inside, and its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray
from torch import Tensor

from uniair import metrics
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.evaluation.html import BS, CHANNEL, GROUND, UE, bullets, plain, png, table, write_page
from uniair.evaluation.tables import Table
from uniair.explanation.calibrated import Calibration
from uniair.files import write_text
from uniair.models.universal import UniversalModel
from uniair.site import confidence, draws, reasons
from uniair.site.extrapolation import reads_any_radio, said
from uniair.site.learning import Samples
from uniair.site.map_drawing import LAYERS, SiteMap
from uniair.site.map_layers import QUALITATIVE
from uniair.site.site import Site
from uniair.site.site_tables import curves, task_table, zero_shot_table
from uniair.tasks.precoding import as_vector
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Task
from uniair.training.heads import load_head

Labelled = dict[tuple[str, str], Samples]
TRAINED_HEIGHT = 7.0  # m; the campaigns of weights that know one radio raised lower buildings to it
ACROSS = 100  # cells of a map of what heads say everywhere, a side
SIDES = {"channel": "CSI", "environment": "map and position"}


@dataclass(frozen=True)
class Station:
    """What the report shows of one base station."""

    model: UniversalModel
    site: Site
    number: int
    labelled: Labelled
    links: Links | None
    rows: list[dict[str, Any]]
    zero_shot: dict[str, Any] | None
    position: dict[str, Any] | None
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return self.site.stations[self.number].name

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Tasks as they are on the site's radio."""
        return {name: task.on(self.site.radio) for name, task in TASKS.items()}

    @cached_property
    def cells(self) -> NDArray[np.float64]:
        """The open ground, [N, 3] m."""
        return confidence.ground(self.site, self.site.area.size / ACROSS)

    @cached_property
    def everywhere(self) -> dict[str, Tensor]:
        """What the heads on map and position say at each cell."""
        drawn = [name for name, task in self.tasks.items() if task.form in ("classes", "values")]
        return confidence.everywhere(self.model, self.site, self.number, drawn, self.cells)

    def tested(self, pair: tuple[str, str]) -> tuple[Tensor, NDArray[np.int64]]:
        """Outputs of a head on the streets that it did not learn from, and which links these are."""
        samples = self.labelled[pair]
        test = samples.divide(self.seed)[1]
        head, inputs, _ = load_head(self.site.head(*pair, self.number), self.model, pair[0])
        with torch.inference_mode():
            return head(samples.embeddings(inputs)[test]), test

    @cached_property
    def judged(self) -> dict[str, tuple[NDArray[Any], NDArray[np.bool_]]]:
        """Answers on the tested streets by name: how certain they say they are, and whether they were right."""
        out: dict[str, tuple[NDArray[Any], NDArray[np.bool_]]] = {}
        for task, pair in _classes(self):
            outputs, test = self.tested(pair)
            right = outputs.argmax(1) == task.target(self.labelled[pair].part(test))
            out[_head_name(task, pair)] = outputs.softmax(1).amax(1).double().numpy(), right.numpy()
        if self.zero_shot and "los" in self.zero_shot:
            p, los = np.array(self.zero_shot["probability_of_los"]), np.array(self.zero_shot["los"], dtype=bool)
            out["LOS, zero-shot"] = np.maximum(p, 1 - p), (p > 0.5) == los
        return out

    def axes(self, axes: Axes, title: str) -> None:
        """A map with the base station on it."""
        SiteMap(axes, self.site, title)
        axes.plot(*self.site.stations[self.number].position[:2], "^", color=BS, markersize=9, zorder=LAYERS["stations"])


def write_report(
    path: Path,
    model: UniversalModel,
    site: Site,
    labelled: dict[str, Labelled],
    links: dict[str, Links],
    found: dict[str, Any],
    seed: int,
    calibration: Calibration | None = None,
) -> None:
    """Draws what was found and writes it.

    Args:
        labelled: station → what each head learned from.
        links: station → traced links.
        found: `rows`, `zero_shot`, `position`, `draws` and, where they were looked for, `reasons` of each station.
        seed: of the heads that were kept.
        calibration: of the weights, if any.
    """
    sections = [("The site", f"{_about(site)} {radio_text(site)}", png(_overview(site)))]
    if lines := map_lines(site, found):
        sections.append(("The map", "What its file gives, and what was left out or guessed.", bullets(lines)))
    for number, named in enumerate(site.stations):
        one = Station(
            model, site, number, labelled[named.name], links.get(named.name), found["rows"][named.name],
            found["zero_shot"].get(named.name), found["position"].get(named.name), seed,
        )  # fmt: skip
        sections += list(_station(one))
        if why := found["reasons"].get(named.name):
            channels = labelled[named.name]["position", "channel"]
            told = reasons.section(site, number, channels, why, calibration, found["zero_shot"].get(named.name))
            sections.append((f"{named.name}: why, and how sure", *told))
    sections.append(("How it was made", "The same request in this folder gives the same figures.", _made(site)))
    title = f"{site.area.name}: what the radio does in these streets"
    write_page(path, title, "uniair site", sections, site.area.attribution)


def write_card(path: Path, site: Site, found: dict[str, Any]) -> None:
    """The site's card in Markdown: data, heads and limits."""
    parts = [f"# {site.area.name}", _about(site), radio_text(site)]
    if lines := map_lines(site, found):
        parts += ["## The map", "\n".join(f"- {line}" for line in lines)]
    for station in site.stations:
        name = station.name
        parts.append(f"## {name}")
        if name in found["zero_shot"]:
            parts.append(zero_shot_table(found["zero_shot"][name], found["position"][name]).markdown())
        parts += [task_table(found["rows"][name], task, site.radio).markdown() for task in _tasks(found["rows"][name])]
    parts += ["## Limits", *LIMITS, "## Source", site.area.attribution]
    write_text(path, "\n\n".join(parts) + "\n")


LIMITS = (
    "Heads hold for these base stations, this model and these streets alone; move a base station and they must learn "
    "anew. They were tested on other blocks of 20 m than they learned from, which are still blocks of the same square.",
    "Traced channels know flat ground, one material, no trees, cars or people, and isotropic users. Where heads "
    "learned from traced labels, measured ones will differ.",
)


def map_lines(site: Site, found: dict[str, Any]) -> list[str]:
    """What is known of the map: counts of its file, drawn heights of the square, and what hangs on these."""
    if site.area.reading is None:
        return []
    drawn = int(site.area.drawn.sum())
    here = f"in this square: {drawn:,} of {len(site.area.footprints):,} heights drawn"
    others = [line for name, one in found["draws"].items() for line in draws.sentences(name, one)]
    return [*(f"in the whole file: {line}" for line in site.area.reading.lines()[:1]),
            *site.area.reading.lines()[1:], here, *others]  # fmt: skip


def _users(site: Site) -> str:
    """Who was traced, and who is not among the links."""
    users = site.about.get("users")
    if users is None:
        return ""
    file = "" if users["file"] is None else f" of {users['file']}"
    left = "".join(f", {count:,} {reason} left out" for reason, count in users["left_out"].items())
    missed = {name: users["count"] - count for name, count in site.about["links"].items()}
    unreached = ", ".join(f"{count:,} from {name}" for name, count in missed.items() if count)
    return f" {users['count']:,} users{file}{left}{'; no path reaches ' + unreached if unreached else ''}."


def radio_text(site: Site) -> str:
    """The site's radio, what lies within what the weights learned from, and what to know about answers."""
    groups: dict[str, list[str]] = {}
    for name, verdicts in site.about.get("within", {}).items():
        groups.setdefault(said(verdicts), []).append(name)
    within = [f"{', '.join(names)}: {line}." for line, names in groups.items()]
    remarks = (f"{r[0].upper()}{r[1:]}." for r in site.about.get("remarks", ()))
    return " ".join([f"Radio: {site.radio}.", *within, *remarks])


def _about(site: Site) -> str:
    counts, measured = site.about["links"], site.about["measured"]
    learned = [f"{count:,} traced links of {name}" for name, count in counts.items()]
    learned += [f"{count:,} measured rows of {name}" for name, count in measured.items() if count]
    low = int((site.area.heights[site.area.obstacles] < TRAINED_HEIGHT).sum())
    warning = (
        f" {low} buildings are lower than {TRAINED_HEIGHT:g} m, which the model never saw: its map has no heights, so "
        "it takes them for walls, and what it says from the map is worth less."
    )
    seed, seeds = site.about["recipe"]["survey"]["seed"], site.about["recipe"]["seeds"]
    return (
        f"{site.area.size:.0f} × {site.area.size:.0f} m, {len(site.area.footprints)} buildings; {', '.join(learned)}."
        f"{_users(site)} "
        f"Where a station has measured labels for a task, its head learned from these and was tested on these. "
        f"Tested on whole blocks of 20 m that nothing learned from, a fifth of the links; seed {seed}, "
        f"{seeds} run{'s' if seeds > 1 else ''}. Made in {site.about['seconds'] / 60:.1f} minutes."
        + (warning if low and not reads_any_radio(site.model) else "")
    )


def _made(site: Site) -> str:
    recipe = site.about["recipe"]
    rows = [(key, plain(value)) for key, value in (recipe["survey"] | recipe).items() if key != "survey"]
    rows += [("model", f"{site.model}, weights {site.weights}"), ("uniair", site.about["uniair"])]
    limits = "".join(f"<p>{text}</p>" for text in LIMITS)
    return limits + table(("setting", "value"), rows, "text")


def _tasks(rows: Sequence[dict[str, Any]]) -> list[str]:
    there = {row["task"] for row in rows}
    return [task for task in TASKS if task in there]


def _overview(site: Site) -> Drawing:
    drawing = Drawing(figsize=(7.2, 7.2))
    axes = drawing.add_axes((0.07, 0.06, 0.88, 0.88))
    shown = SiteMap(axes, site, "Base stations and the lines of their arrays")
    for station in site.stations:
        x, y, _ = station.position
        axes.plot(x, y, "^", color=BS, markersize=11, zorder=LAYERS["stations"])
        shown.keep_clear(x, y)
        reach = site.area.size / 12 * np.array([np.cos(station.bearing), np.sin(station.bearing)])
        axes.plot([x - reach[0], x + reach[0]], [y - reach[1], y + reach[1]], color=BS, linewidth=2,
                  zorder=LAYERS["sectors"])  # fmt: skip
    for station in site.stations:
        shown.label(f"{station.name}, {station.position[2]:.3g} m", *station.position[:2], weight="bold")
    shown.name_streets()
    return drawing


def _station(one: Station) -> list[tuple[str, str, str]]:
    seen = one.name
    sections = []
    if one.links is not None:
        sections.append((
            f"{seen}: traced in {len(one.links):,} places",
            f"At {one.site.radio.carrier / 1e9:g} GHz, to isotropic users: "
            f"{', '.join(task.about for task in _known(one))}, first path's delay.",
            png(_layers(one, one.links)),
        ))  # fmt: skip
    if one.everywhere:
        sections.append((
            f"{seen}: what its heads say everywhere",
            "From map and position alone, at every open spot of the square.", png(_predicted(one)),
        ))  # fmt: skip
    if one.zero_shot is not None and one.position is not None:
        found = zero_shot_table(one.zero_shot, one.position)
        sections.append((f"{seen}: nothing tuned", "What the pretrained model answers from one comparison.",
                         table(found.head, found.rows)))  # fmt: skip
    tables = "".join(_html(task_table(one.rows, task, one.site.radio)) for task in _tasks(one.rows))
    sections += [
        (f"{seen}: heads beside models trained from scratch", "The same labels, the same tested streets. Tuned: "
         "parameters that were fitted on the labels.", tables),
        (f"{seen}: where the heads err", "Streets that nothing learned from.", png(_errors(one))),
        (f"{seen}: how many labelled positions do I need?", "Figures on the tested streets against the number of "
         "labels; crosses learned from all.", png(_few_shot(one))),
        (f"{seen}: when not to trust it", _trust(one), png(_confidence(one))),
    ]  # fmt: skip
    return sections


def _html(found: Table) -> str:
    return table(found.head, found.rows) + "<p></p>"


def _panels(drawing: Drawing, count: int) -> list[Axes]:
    """So many, two a row."""
    panels = list(drawing.subplots(-(-count // 2), 2, squeeze=False).ravel())
    for axes in panels[count:]:
        axes.axis("off")
    return panels[:count]


def _scatter(drawing: Drawing, axes: Axes, xy: NDArray[Any], values: Any, label: str, **style: Any) -> None:
    # with a rim, since the middle of a cyclic scale is as light as the ground
    look = {"s": 9, "linewidths": 0.3, "edgecolors": "#22252e", "zorder": LAYERS["users"], **style}
    points = axes.scatter(xy[:, 0], xy[:, 1], c=values, **look)
    drawing.colorbar(points, ax=axes, label=label, shrink=0.85)


def _two(axes: Axes, xy: NDArray[Any], yes: NDArray[np.bool_], looks: dict[str, str], size: float) -> None:
    """Where it is so and where it is not: name → colour of both, for the legend."""
    for mask, (name, colour), marker in zip((yes, ~yes), looks.items(), "ox", strict=True):
        width: dict[str, Any] = {"linewidths": 0 if marker == "o" else 0.9, "marker": marker}
        axes.scatter(xy[mask, 0], xy[mask, 1], s=size, color=colour, label=name, zorder=LAYERS["users"], **width)
    axes.legend(loc="lower right", fontsize=8, markerscale=2).set_zorder(LAYERS["labels"] + 1)


def _known(one: Station) -> list[Task]:
    """The tasks whose label is one number a link."""
    return [task for task in one.tasks.values() if task.label is not None]


def _layers(one: Station, links: Links) -> Drawing:
    """Every label, and the delay of the first path, at each UE."""
    tasks, batch = _known(one), batch_of(links)
    drawing = Drawing(figsize=(11, 4.5 * -(-(len(tasks) + 1) // 2)), layout="constrained")
    *panels, delay = _panels(drawing, len(tasks) + 1)
    for axes, task in zip(panels, tasks, strict=True):
        assert task.label is not None
        values = task.label.values(task.target(batch))
        if task.label.classes == 2:
            one.axes(axes, f"{task.title}: {100 * values.mean():.0f} %")
            _two(axes, links.ue, values, {task.title: CHANNEL, f"no {task.title}": UE}, 7)
        else:
            one.axes(axes, task.title)
            _scatter(drawing, axes, links.ue, values, task.unit, **_colours(task))
    one.axes(delay, "delay of the first path")
    first = np.minimum.reduceat(links.paths.delay, links.paths.offsets[:-1]) * 1e9
    _scatter(drawing, delay, links.ue, first, "ns", cmap="magma_r")
    return drawing


def _colours(task: Task) -> dict[str, Any]:
    """How a picture colours a task's answers."""
    if task.form != "classes":
        return {"cmap": task.colours}
    return {"cmap": task.colours, "vmin": 0, "vmax": 1 if task.outputs == 2 else task.outputs - 1}


def _predicted(one: Station) -> Drawing:
    drawing = Drawing(figsize=(5.2 * len(one.everywhere), 4.2), layout="constrained")
    panels = drawing.subplots(1, len(one.everywhere), squeeze=False)[0]
    for axes, (name, outputs) in zip(panels, one.everywhere.items(), strict=True):
        task = one.tasks[name]
        one.axes(axes, task.title)
        if task.form == "classes":
            shown = outputs.softmax(1)[:, 1] if task.outputs == 2 else outputs.argmax(1)
        else:
            shown = outputs[:, 0]
        _scatter(drawing, axes, one.cells, shown, task.unit, linewidths=0, **_colours(task))
    return drawing


def _errors(one: Station) -> Drawing:
    """The heads that read what a planner has, map and position; of other tasks those that read CSI."""
    pairs = [(name, "environment" if "environment" in task.inputs else task.inputs[0]) for name, task in TASKS.items()]
    pairs = [pair for pair in pairs if pair in one.labelled]
    drawing = Drawing(figsize=(11, 4.5 * -(-len(pairs) // 2)), layout="constrained")
    for axes, pair in zip(_panels(drawing, len(pairs)), pairs, strict=True):
        _draw_error(drawing, axes, one, pair)
    return drawing


def _draw_error(drawing: Drawing, axes: Axes, one: Station, pair: tuple[str, str]) -> None:
    """How far off each tested link is, in the unit of its form."""
    outputs, test = one.tested(pair)
    task, samples = one.tasks[pair[0]], one.labelled[pair]
    ue, truth = samples.links.ue[test], task.target(samples.part(test))
    title = f"{task.title}, {len(test)} links"
    if task.form == "classes":
        right = (outputs.argmax(1) == truth).numpy()
        one.axes(axes, f"{title}, {100 * right.mean():.0f} % right")
        _two(axes, ue, right, {"right": UE, "wrong": BS}, 14)
        return
    one.axes(axes, title)
    if task.form == "values":
        error = (outputs - truth)[:, 0]
        most = float(error.abs().quantile(0.95))
        _scatter(drawing, axes, ue, error, f"error, {task.unit}", cmap="coolwarm", s=14, vmin=-most, vmax=most)
        return
    if task.form == "place":
        error, label = (outputs - truth).norm(dim=1), f"error, {task.unit}"
    else:
        error, label = 1 - metrics.cosine_squared(as_vector(outputs), as_vector(truth)), "1 − squared cosine"
    _scatter(drawing, axes, ue, error, label, cmap="magma_r", s=14, vmin=0, vmax=error.quantile(0.95))


def _few_shot(one: Station) -> Drawing:
    tasks = _tasks(one.rows)
    drawing = Drawing(figsize=(12, 3.9 * -(-len(tasks) // 2)), layout="constrained")
    for axes, task in zip(_panels(drawing, len(tasks)), tasks, strict=True):
        found = curves(one.rows, task)
        shown = {key for cells in found.values() for figures in cells.values() for key in figures}
        metric = next(metric for metric in TASKS[task].metrics if metric.key in shown)
        axes.set_prop_cycle(color=QUALITATIVE)
        for method, cells in found.items():
            mean = [metric.scale * float(np.mean(cells[count][metric.key])) for count in cells]
            style = "-o" if method.startswith("head ") else ":" if method == "always the same" else "--."
            axes.plot(list(cells), mean, "x" if len(cells) == 1 else style, markersize=5, label=method)
        axes.set(title=TASKS[task].title, xscale="log", xlabel="labelled links", ylabel=metric.heading)
        counts = sorted({count for cells in found.values() for count in cells})
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return drawing


def _classes(one: Station, inputs: Sequence[str] = ("channel", "environment")) -> list[tuple[Task, tuple[str, str]]]:
    """The classifications that have a head, and the pairs."""
    tasks = [task for task in one.tasks.values() if task.form == "classes"]
    return [(task, pair) for task in tasks for pair in task.pairs if pair in one.labelled and pair[1] in inputs]


def _head_name(task: Task, pair: tuple[str, str]) -> str:
    return f"{task.title}, head on {SIDES[pair[1]]}"


def _trust(one: Station) -> str:
    """What the confidence is worth, in words."""
    said = []
    for task, pair in _classes(one, ["environment"]):
        least = confidence.trusted_from(*one.judged[_head_name(task, pair)])
        if least is None:
            said.append(
                f"{task.title}: no probability stated from the map was high enough for nine in ten to be right."
            )
            continue
        share = float((one.everywhere[task.name].softmax(1).amax(1) >= least).float().mean())
        said.append(
            f"{task.title}: of the answers from map and position that were stated with {100 * least:.0f} % or more, "
            f"nine in ten were right; {100 * share:.0f} % of the open ground has that. {task.otherwise}".strip()
        )
    for name, (stated, hit) in one.judged.items():
        found = confidence.reliability(stated, hit)
        said.append(f"{name}: says {100 * stated.mean():.0f} %, is right in {100 * hit.mean():.0f} % "
                    f"(calibration error {100 * found.error:.1f} %).")  # fmt: skip
    return " ".join(said)


def _confidence(one: Station) -> Drawing:
    certain = [task for task, _ in _classes(one, ["environment"])]
    drawing = Drawing(figsize=(12, 4.5 * -(-(len(certain) + 3) // 2)), layout="constrained")
    *panels, los, spread, diagonal = _panels(drawing, len(certain) + 3)
    for axes, task in zip(panels, certain, strict=True):
        one.axes(axes, f"certainty of {task.title}, head on map and position")
        probability = one.everywhere[task.name].softmax(1).amax(1)
        _scatter(drawing, axes, one.cells, probability, "stated probability", linewidths=0, cmap="viridis",
                 vmin=0, vmax=1)  # fmt: skip
    one.axes(los, "certainty of LOS, zero-shot")
    channels = one.labelled.get(("position", "channel"))
    if channels and one.zero_shot and "los" in one.zero_shot:
        p = np.array(one.zero_shot["probability_of_los"])
        _scatter(drawing, los, channels.links.ue, np.maximum(p, 1 - p), "probability", cmap="viridis", vmin=0.5, vmax=1)
    one.axes(spread, "spread of the position's likelihood, zero-shot")
    if channels and one.position:
        ue = channels.links.ue[one.position["links"]]
        _scatter(drawing, spread, ue, one.position["spread_m"], "m", cmap="viridis_r", s=30)
    diagonal.set_prop_cycle(color=QUALITATIVE)
    diagonal.plot([0, 1], [0, 1], color=GROUND, linewidth=0.8)
    for name, (stated, right) in one.judged.items():
        found = confidence.reliability(stated, right)
        many = found.count >= 5
        diagonal.plot(found.stated[many], found.right[many], "o-", markersize=4, label=name)
    if one.position:
        inside = [one.position["figures"][f"inside_{100 * level:.0f}"] for level in confidence.LEVELS]
        diagonal.plot(confidence.LEVELS, inside, "s--", markersize=5, label="Position, regions of the likelihood")
    diagonal.set(xlabel="stated probability", ylabel="share that was right", xlim=(0, 1), ylim=(0, 1),
                 title="does the stated certainty hold?")  # fmt: skip
    diagonal.legend(fontsize=7)
    return drawing
