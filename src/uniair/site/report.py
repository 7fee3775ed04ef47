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

from uniair.area.raster import occupancy
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.evaluation.html import BS, CHANNEL, GROUND, UE, draw_map, png, table, write_page
from uniair.evaluation.tables import Table
from uniair.files import write_text
from uniair.models.universal import UniversalModel
from uniair.site import confidence
from uniair.site.learning import Samples
from uniair.site.site import Site
from uniair.site.site_tables import SHOWN, curves, task_table, zero_shot_table
from uniair.tasks.adaptation import TASKS, path_loss
from uniair.training.heads import load_head

Lessons = dict[tuple[str, str], Samples]
TRAINED_HEIGHT = 7.0  # m; the campaigns raised lower buildings to it
BEAMS = "hsv"  # the last beam points beside the first
# what planners ask: positions of channels, and the rest of places
ERRORS = (("position", "channel"), ("beam", "environment"), ("path_loss", "environment"), ("los", "environment"))
CLASSES = (("beam", "channel"), ("beam", "environment"), ("los", "channel"), ("los", "environment"))
NAMES = {"position": "Position", "los": "LOS", "beam": "Best beam", "path_loss": "Path loss", "precoding": "Precoder"}


@dataclass(frozen=True)
class Station:
    """What the report shows of one base station."""

    model: UniversalModel
    site: Site
    number: int
    lessons: Lessons
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
    def cells(self) -> NDArray[np.float64]:
        """The open ground, [N, 3] m."""
        return confidence.ground(self.site, self.site.area.size / 100)

    @cached_property
    def everywhere(self) -> dict[str, Tensor]:
        """What the heads on map and position say at each cell."""
        return confidence.everywhere(self.model, self.site, self.number, ("los", "beam", "path_loss"), self.cells)

    def tested(self, pair: tuple[str, str]) -> tuple[Tensor, NDArray[np.int64]]:
        """Outputs of a head on the streets that it did not learn from, and which links these are."""
        taught = self.lessons[pair]
        test = taught.divide(self.seed)[1]
        head, inputs = load_head(self.site.head(*pair, self.number), self.model, pair[0])
        with torch.inference_mode():
            return head(taught.embeddings(inputs)[test]), test

    def axes(self, axes: Axes, title: str) -> None:
        """A map with the base station on it."""
        draw_map(axes, occupancy(self.site.area), self.site.area.size)
        axes.plot(*self.site.stations[self.number].position[:2], "^", color=BS, markersize=9, zorder=5)
        axes.set_title(title, fontsize=10)


def write_report(
    path: Path,
    model: UniversalModel,
    site: Site,
    lessons: dict[str, Lessons],
    links: dict[str, Links],
    found: dict[str, Any],
    seed: int,
) -> None:
    """Draws what was found and writes it.

    Args:
        lessons: station → what each head learned from.
        links: station → traced links.
        found: `rows`, `zero_shot` and `position` of each station.
        seed: of the heads that were kept.
    """
    sections = [("The site", _about(site), png(_overview(site)))]
    for number, named in enumerate(site.stations):
        one = Station(
            model, site, number, lessons[named.name], links.get(named.name), found["rows"][named.name],
            found["zero_shot"].get(named.name), found["position"].get(named.name), seed,
        )  # fmt: skip
        sections += list(_station(one))
    sections.append(("How it was made", "The same request in this folder gives the same figures.", _made(site)))
    title = f"{site.area.name}: what the radio does in these streets"
    write_page(path, title, "uniair site", sections, site.area.attribution)


def write_card(path: Path, site: Site, found: dict[str, Any]) -> None:
    """The site's card in Markdown: data, heads and limits."""
    parts = [f"# {site.area.name}", _about(site)]
    for station in site.stations:
        name = station.name
        parts.append(f"## {name}")
        if name in found["zero_shot"]:
            parts.append(zero_shot_table(found["zero_shot"][name], found["position"][name]).markdown())
        parts += [task_table(found["rows"][name], task).markdown() for task in _tasks(found["rows"][name])]
    parts += ["## Limits", *LIMITS, "## Source", site.area.attribution]
    write_text(path, "\n\n".join(parts) + "\n")


LIMITS = (
    "Heads hold for these base stations, this model and these streets alone; move a base station and they must learn "
    "anew. They were tested on other blocks of 20 m than they learned from, which are still blocks of the same square.",
    "Traced channels know flat ground, one material, no trees, cars or people, and isotropic antennas. Where heads "
    "learned from traced labels, measured ones will differ.",
)


def _about(site: Site) -> str:
    counts, measured = site.about["links"], site.about["measured"]
    learned = [f"{count:,} traced links of {name}" for name, count in counts.items()]
    learned += [f"{count:,} measured rows of {name}" for name, count in measured.items() if count]
    low = int((site.area.heights < TRAINED_HEIGHT).sum())
    warning = (
        f" {low} buildings are lower than {TRAINED_HEIGHT:g} m, which the model never saw: its map has no heights, so "
        "it takes them for walls, and what it says from the map is worth less."
    )
    seed, seeds = site.about["recipe"]["survey"]["seed"], site.about["recipe"]["seeds"]
    return (
        f"{site.area.size:.0f} × {site.area.size:.0f} m, {len(site.area.footprints)} buildings; {', '.join(learned)}. "
        f"Where a station has measured labels for a task, its head learned from these and was tested on these. "
        f"Tested on whole blocks of 20 m that nothing learned from, a fifth of the links; seed {seed}, "
        f"{seeds} run{'s' if seeds > 1 else ''}. Made in {site.about['seconds'] / 60:.1f} minutes."
        + (warning if low else "")
    )


def _made(site: Site) -> str:
    recipe = site.about["recipe"]
    rows = [(key, _plain(value)) for key, value in (recipe["survey"] | recipe).items() if key != "survey"]
    rows += [("model", f"{site.model}, weights {site.weights}"), ("uniair", site.about["uniair"])]
    limits = "".join(f"<p>{text}</p>" for text in LIMITS)
    return limits + table(("setting", "value"), rows, "text")


def _plain(value: Any) -> str:
    """A setting as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(map(_plain, value))
    return "none" if value is None else str(value)


def _tasks(rows: Sequence[dict[str, Any]]) -> list[str]:
    there = {row["task"] for row in rows}
    return [task for task in TASKS if task in there]


def _overview(site: Site) -> Drawing:
    drawing = Drawing(figsize=(6, 5.5), layout="constrained")
    axes = drawing.subplots()
    draw_map(axes, occupancy(site.area), site.area.size)
    for station in site.stations:
        x, y, height = station.position
        axes.plot(x, y, "^", color=BS, markersize=11)
        axes.annotate(f"{station.name}, {height:g} m", (x, y), xytext=(8, 6), textcoords="offset points")
        reach = site.area.size / 12 * np.array([np.cos(station.bearing), np.sin(station.bearing)])
        axes.plot([x - reach[0], x + reach[0]], [y - reach[1], y + reach[1]], color=BS, linewidth=2)
    axes.set_title("Base stations and the lines of their arrays")
    return drawing


def _station(one: Station) -> list[tuple[str, str, str]]:
    seen = one.name
    sections = []
    if one.links is not None:
        sections.append((
            f"{seen}: traced in {len(one.links):,} places",
            "Path loss between isotropic antennas, line of sight, the best of 32 DFT beams and the delay of the first "
            "path.", png(_layers(one, one.links)),
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
    tables = "".join(_html(task_table(one.rows, task)) for task in _tasks(one.rows))
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


def _scatter(drawing: Drawing, axes: Axes, xy: NDArray[Any], values: Any, label: str, **style: Any) -> None:
    points = axes.scatter(xy[:, 0], xy[:, 1], c=values, **{"s": 7, "linewidths": 0, **style})
    drawing.colorbar(points, ax=axes, label=label, shrink=0.85)


def _layers(one: Station, links: Links) -> Drawing:
    drawing = Drawing(figsize=(11, 9), layout="constrained")
    (loss, los), (beam, delay) = drawing.subplots(2, 2)
    batch = batch_of(links)
    first = np.minimum.reduceat(links.paths.delay, links.paths.offsets[:-1]) * 1e9
    one.axes(loss, "path loss")
    _scatter(drawing, loss, links.ue, path_loss(batch)[:, 0], "dB", cmap="viridis_r")
    one.axes(los, f"line of sight: {100 * links.los.mean():.0f} %")
    for seen, colour, name in ((links.los, CHANNEL, "LOS"), (~links.los, UE, "NLOS")):
        los.scatter(*links.ue[seen, :2].T, s=7, color=colour, linewidths=0, label=name)
    los.legend(loc="upper right", fontsize=8)
    one.axes(beam, "best beam")
    _scatter(drawing, beam, links.ue, best_beams(batch), "beam", cmap=BEAMS, vmin=0, vmax=31)
    one.axes(delay, "delay of the first path")
    _scatter(drawing, delay, links.ue, first, "ns", cmap="magma_r")
    return drawing


def _predicted(one: Station) -> Drawing:
    drawing = Drawing(figsize=(5.2 * len(one.everywhere), 4.2), layout="constrained")
    panels = drawing.subplots(1, len(one.everywhere), squeeze=False)[0]
    for axes, (task, outputs) in zip(panels, one.everywhere.items(), strict=True):
        one.axes(axes, NAMES[task])
        if task == "los":
            _scatter(drawing, axes, one.cells, outputs.softmax(1)[:, 1], "P(LOS)", cmap="viridis", vmin=0, vmax=1)
        elif task == "beam":
            _scatter(drawing, axes, one.cells, outputs.argmax(1), "beam", cmap=BEAMS, vmin=0, vmax=31)
        else:
            _scatter(drawing, axes, one.cells, outputs[:, 0], "dB", cmap="viridis_r")
    return drawing


def _errors(one: Station) -> Drawing:
    """The heads that read what a planner has: positions from CSI, the rest from map and position."""
    pairs = [pair for pair in ERRORS if pair in one.lessons]
    drawing = Drawing(figsize=(11, 4.5 * -(-len(pairs) // 2)), layout="constrained")
    panels = drawing.subplots(-(-len(pairs) // 2), 2, squeeze=False).ravel()
    for axes in panels[len(pairs) :]:
        axes.axis("off")
    for axes, pair in zip(panels, pairs, strict=False):
        outputs, test = one.tested(pair)
        held, ue = one.lessons[pair].part(test), one.lessons[pair].links.ue[test]
        truth, title = TASKS[pair[0]].target(held), f"{NAMES[pair[0]]}, {len(test)} links"
        if pair[0] == "position":
            one.axes(axes, title)
            error = (outputs - truth).norm(dim=1)
            _scatter(drawing, axes, ue, error, "error, m", cmap="magma_r", s=14, vmin=0, vmax=error.quantile(0.95))
        elif pair[0] == "path_loss":
            one.axes(axes, title)
            error = (outputs - truth)[:, 0]
            most = float(error.abs().quantile(0.95))
            _scatter(drawing, axes, ue, error, "error, dB", cmap="coolwarm", s=14, vmin=-most, vmax=most)
        else:
            right = (outputs.argmax(1) == truth).numpy()
            one.axes(axes, f"{title}, {100 * right.mean():.0f} % right")
            for mask, colour, name in ((right, UE, "right"), (~right, BS, "wrong")):
                axes.scatter(*ue[mask, :2].T, s=14, color=colour, linewidths=0, label=name)
            axes.legend(loc="upper right", fontsize=8)
    return drawing


def _few_shot(one: Station) -> Drawing:
    tasks = _tasks(one.rows)
    drawing = Drawing(figsize=(12, 3.9 * -(-len(tasks) // 2)), layout="constrained")
    panels = drawing.subplots(-(-len(tasks) // 2), 2, squeeze=False).ravel()
    for axes in panels[len(tasks) :]:
        axes.axis("off")
    for axes, task in zip(panels, tasks, strict=False):
        found = curves(one.rows, task)
        shown = {key for cells in found.values() for figures in cells.values() for key in figures}
        key, heading, scale, _ = next(entry for entry in SHOWN[task] if entry[0] in shown)
        for method, cells in found.items():
            mean = [scale * float(np.mean(cells[count][key])) for count in cells]
            style = "-o" if method.startswith("head ") else ":" if method == "always the same" else "--."
            axes.plot(list(cells), mean, "x" if len(cells) == 1 else style, markersize=5, label=method)
        axes.set(title=NAMES[task], xscale="log", xlabel="labelled links", ylabel=heading)
        counts = sorted({count for cells in found.values() for count in cells})
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return drawing


def _judged(one: Station) -> dict[str, tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Answers on the tested streets by name: how certain they say they are, and whether they were right."""
    out: dict[str, tuple[NDArray[Any], NDArray[np.bool_]]] = {}
    for pair in CLASSES:
        if pair in one.lessons:
            outputs, test = one.tested(pair)
            right = outputs.argmax(1) == TASKS[pair[0]].target(one.lessons[pair].part(test))
            side = "CSI" if pair[1] == "channel" else "map and position"
            out[f"{NAMES[pair[0]]}, head on {side}"] = outputs.softmax(1).amax(1).double().numpy(), right.numpy()
    if one.zero_shot and "los" in one.zero_shot:
        p, los = np.array(one.zero_shot["probability_of_los"]), np.array(one.zero_shot["los"], dtype=bool)
        out["LOS, zero-shot"] = np.maximum(p, 1 - p), (p > 0.5) == los
    return out


def _trust(one: Station) -> str:
    """What the confidence is worth, in words."""
    said = []
    pair = ("beam", "environment")
    if "beam" in one.everywhere and pair in one.lessons:
        certain, right = _judged(one)["Best beam, head on map and position"]
        least = confidence.trusted_from(certain, right)
        if least is None:
            said.append("No stated probability was high enough for nine in ten best beams from the map to be right.")
        else:
            share = float((one.everywhere["beam"].softmax(1).amax(1) >= least).float().mean())
            said.append(
                f"Of the best beams from map and position that were stated with {100 * least:.0f} % or more, nine in "
                f"ten were right; {100 * share:.0f} % of the open ground has that. Elsewhere, sweep."
            )
    for name, (stated, hit) in _judged(one).items():
        found = confidence.reliability(stated, hit)
        said.append(f"{name}: says {100 * stated.mean():.0f} %, is right in {100 * hit.mean():.0f} % "
                    f"(calibration error {100 * found.error:.1f} %).")  # fmt: skip
    return " ".join(said)


def _confidence(one: Station) -> Drawing:
    drawing = Drawing(figsize=(12, 9), layout="constrained")
    (beam, los), (spread, diagonal) = drawing.subplots(2, 2)
    one.axes(beam, "certainty of the best beam, head on map and position")
    if "beam" in one.everywhere:
        certain = one.everywhere["beam"].softmax(1).amax(1)
        _scatter(drawing, beam, one.cells, certain, "stated probability", cmap="RdYlGn", vmin=0, vmax=1)
    one.axes(los, "certainty of LOS, zero-shot")
    heard = one.lessons.get(("position", "channel"))
    if heard and one.zero_shot and "los" in one.zero_shot:
        p = np.array(one.zero_shot["probability_of_los"])
        _scatter(drawing, los, heard.links.ue, np.maximum(p, 1 - p), "probability", cmap="RdYlGn", vmin=0.5, vmax=1)
    one.axes(spread, "spread of the position's likelihood, zero-shot")
    if heard and one.position:
        ue = heard.links.ue[one.position["links"]]
        _scatter(drawing, spread, ue, one.position["spread_m"], "m", cmap="RdYlGn_r", s=30)
    diagonal.plot([0, 1], [0, 1], color=GROUND, linewidth=0.8)
    for name, (stated, right) in _judged(one).items():
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


def best_beams(batch: Batch) -> NDArray[np.int64]:
    """Numbers of the best beams: [N]."""
    return TASKS["beam"].target(batch).numpy()
