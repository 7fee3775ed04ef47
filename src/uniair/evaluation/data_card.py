"""The data card: what a data set holds, how it was made and what is suspicious in it, as one HTML file and as JSON."""

from __future__ import annotations

import html
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives.drive import FORMAT as DRIVES
from uniair.data.drives.drive_statistics import DrivesStatistics, drives_manifest, drives_statistics
from uniair.data.links.campaign import Campaign
from uniair.data.links.link_statistics import PICTURES, LinksStatistics, Picture, links_statistics
from uniair.data.links.shards import FORMAT as LINKS
from uniair.data.links.shards import read_manifest
from uniair.data.statistics import Distribution
from uniair.errors import InputError
from uniair.evaluation.html import BS, CHANNEL, UE, draw_map, png, table, write_page
from uniair.files import write_text
from uniair.propagation.paths import free_space_gain
from uniair.propagation.ray_tracing import RayTracing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMAT = "uniair-data-card/1"
COLOURS = {"LOS": CHANNEL, "NLOS": UE}
COLUMNS = 6  # pictures in a line
MOST_KINDS = 12  # of interactions in the figure
Section = tuple[str, str, str]


def write_data_card(folder: Path) -> dict[str, Any]:
    """Checks a data set and writes `card.html` and `card.json` beside its manifest; the same data give the same bytes.

    Args:
        folder: of links or drives, or a file of drives.

    Returns:
        What `card.json` holds: `data` (format), `statistics` (metres, seconds, radians, dB), `findings` (suspicious
        things; empty in a sound data set), `command`, `recipe`, `account` and `attribution`.

    Raises:
        InputError: no data set, or one that is damaged or against the sample contract.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; give one that uniair trace or uniair import has written")
    if folder.match("links-*.safetensors"):
        raise InputError(f"{folder}: one shard of a data set; give its folder")
    home = folder.parent if folder.is_file() else folder
    drives = folder.is_file() or (any(folder.glob("*.safetensors")) and not any(folder.glob("links-*.safetensors")))
    found: LinksStatistics | DrivesStatistics
    if drives:
        found, manifest = drives_statistics(folder), drives_manifest(home)
        title, sections = _drives_title(found), _drives_sections(found)
    else:
        found, manifest = links_statistics(folder), read_manifest(folder)
        title, sections = _links_title(found), _links_sections(found)
    card = {
        "format": FORMAT,
        "data": DRIVES if drives else LINKS,
        "statistics": found.as_json(),
        "findings": dict(found.findings),
        "command": command(manifest),
        **{name: manifest.get(name) for name in ("recipe", "account", "attribution")},
    }
    sections = [sections[0], _findings(found.findings.lines()), *sections[1:], *_provenance(card)]
    write_page(
        home / "card.html", "UniAir data card", title, sections, str(card["attribution"] or "licence not stated")
    )
    write_text(home / "card.json", json.dumps(card, indent=1) + "\n")
    return card


def command(manifest: dict[str, Any]) -> str | None:
    """The one command that makes a data set again, from its recipe; None where the recipe is not one of ours."""
    recipe = manifest.get("recipe")
    if not isinstance(recipe, dict):
        return None
    try:
        words = _trace_command(manifest) if "campaign" in recipe else _import_command(recipe)
    except (KeyError, TypeError, AttributeError):
        return None
    return " ".join(shlex.quote(word) for word in words)


def _trace_command(manifest: dict[str, Any]) -> list[str]:
    recipe = manifest["recipe"]
    settings, sources = recipe["campaign"], recipe["sources"]
    files = any(source.startswith("sha256:") for source in sources.values())
    words = ["uniair", "trace"]
    words += [name if sources[name].startswith("sha256:") else sources[name] for name in settings["places"]]
    defaults = _flat(json.loads(json.dumps(asdict(Campaign(places=("",))))))
    for name, value in _flat(settings).items():
        if name != "places" and value != defaults.get(name):
            words += [f"--{name}", value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))]
    words += ["--root", "FOOTPRINTS"] if files else []
    words += ["--limit", str(manifest["areas"])] if manifest["areas"] < settings["areas"] else []
    return [*words, "--out", "DIR"]


def _import_command(recipe: dict[str, Any]) -> list[str]:
    words = ["uniair", "import", recipe["import"], recipe["source"]]
    defaults = _flat({"ray_tracing": asdict(RayTracing())})
    options = {"ray_tracing" if name == "config" else name: value for name, value in recipe["options"].items()}
    if radio := options.pop("radio", None):
        words += ["--radio", json.dumps(radio, separators=(",", ":"))]
    for name, value in _flat(options).items():
        if defaults.get(name) == value:
            continue
        if name == "bs" and recipe["import"] == "deepmimo":
            name = "base_stations"
        if name == "bearing":
            value = float(f"{math.degrees(value):.9g}")
        words += [f"--{name}", value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))]
    return [*words, "--out", "DIR"]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out


def _text(value: Any) -> str:
    """A setting for people: checksums short, lists without brackets."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    text = value if isinstance(value, str) else json.dumps(value)
    return text[: len("sha256:") + 12] if text.startswith("sha256:") else text


def _findings(lines: list[str]) -> Section:
    passed = "Checksums and the sample contract hold"
    if not lines:
        return "Checks", f"{passed}, and so does the physics: nothing suspicious was found.", ""
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return (
        "Checks",
        f"{passed}, but {len(lines)} thing{'s are' if lines[1:] else ' is'} suspicious:",
        f"<ul>{listed}</ul>",
    )


def _provenance(card: dict[str, Any]) -> Iterator[Section]:
    recipe, report = card["recipe"], card["account"]
    if isinstance(report, dict):
        rows = [(what, f"{count:,}", "") for what, count in report["found"].items()]
        rows += [
            (f"left out or mended: {reason}", f"{count:,}", ", ".join(report["examples"].get(reason, ())))
            for reason, count in report["left_out"].items()
        ]
        yield "What the reader found and left out", "Nothing was dropped in silence.", table(("", "", "e.g."), rows)
    if isinstance(recipe, dict) and recipe:
        again = f"<pre>{html.escape(card['command'])}</pre>" if card["command"] else ""
        settings = table(("setting", ""), [(name, _text(value)) for name, value in _flat(recipe).items()], "text")
        hint = "FOOTPRINTS is the folder of the places' footprints, " * ("FOOTPRINTS" in again)
        yield "How it was made", f"One command makes it again; {hint}DIR a new one. All settings:", again + settings


def _links_title(found: LinksStatistics) -> str:
    areas = sum(place.areas for place in found.places.values())
    return (
        f"{found.links:,} links in {areas:,} area{'s' * (areas > 1)} of {len(found.places)} "
        f"place{'s' * (len(found.places) > 1)}, {found.los / found.links:.1%} with line of sight"
    )


def _links_sections(found: LinksStatistics) -> list[Section]:
    at = " and ".join(f"{carrier / 1e9:.6g}" for carrier in found.carriers)
    lines = "Dashed lines are" if found.carriers[1:] else "The dashed line is"
    free = f"{lines} free space at {at} GHz; a LOS link's echoes lift it a little above."
    return [
        ("Places", "A place is the unit of the splits.", _places(found)),
        ("Radios", "Array, subcarriers, carrier and clock of the base stations. Paths were found at the carrier; the "
         "rest can be chosen anew.", _radios(found)),
        ("Areas", "Buildings in grey, and the links of one base station (red triangle): users that it sees in orange, "
         "users that it reaches by other paths alone in blue. Pink triangles are the other base stations.",
         png(_pictures(found))),
        ("Path loss", f"Loss over all paths of a link, between isotropic antennas. {free}", png(_path_loss(found))),
        ("Line of sight", "Share of links with line of sight over the distance, and how many links that is.",
         png(_line_of_sight(found))),
        ("Paths", "How many paths the links have, and what they went through: share of the paths, and mean share of a "
         "link's power.", png(_paths(found))),
        ("Delays", "First arrival and root-mean-square delay spread of the links, LOS and NLOS apart.",
         png(_delays(found))),
        ("Angles", "Azimuth spread (3GPP TR 38.901) at the base station and at the user, LOS and NLOS apart.",
         png(_angles(found))),
        ("Ground", "Sides of the areas, and the share of their square that is built on.", png(_ground(found))),
        ("In numbers", "Quantiles are exact to a bin of the histograms.", _numbers(found)),
    ]  # fmt: skip


def _places(found: LinksStatistics) -> str:
    values = found.as_json()
    rows = [
        (
            name,
            f"{place['areas']:,}",
            f"{place['links']:,}",
            _percent(place["los_share"]),
            _number(place["paths_a_link"]),
        )
        for name, place in (*values["places"].items(), ("all", values))
    ]
    return table(("place", "areas", "links", "LOS", "paths per link"), rows)


def _radios(found: LinksStatistics) -> str:
    rows = [(str(radio), f"{areas:,}") for radio, areas in found.radios.most_common()]
    return table(("radio", "areas"), rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _number(value: float | None, scale: float = 1.0) -> str:
    return "–" if value is None else f"{value * scale:.1f}"


def _numbers(found: LinksStatistics) -> str:
    names = {
        "distance, m": (found.distance, 1.0),
        "path loss, dB": (found.path_gain, -1.0),
        "first delay, ns": (found.first_delay, 1e9),
        "delay spread, ns": (found.delay_spread, 1e9),
        "azimuth spread at the BS, °": (found.departure_spread, 180 / math.pi),
        "azimuth spread at the UE, °": (found.arrival_spread, 180 / math.pi),
    }
    columns = ("mean", "p10", "p50", "p90", "median_los", "median_nlos")
    rows = []
    for name, (distribution, scale) in names.items():
        values = distribution.as_json()
        if scale < 0:  # the loss that a tenth of the links stay below is the gain that a tenth stay above
            values["p10"], values["p90"] = values["p90"], values["p10"]
        rows.append((name, *(_number(values[column], scale) for column in columns)))
    return table(("", "mean", "10 %", "median", "90 %", "median LOS", "median NLOS"), rows)


def _drawing(width: float, height: float, columns: int = 2, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes; matplotlib is imported when there is something to draw."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False)
    return drawing, list(grid.ravel())


def spread_over_places(pictures: dict[str, list[Picture]]) -> list[Picture]:
    """At most `PICTURES` pictures, as many of each place as there is room for, by name."""
    turns = max(map(len, pictures.values()), default=0)
    queue = [mine[turn] for turn in range(turns) for mine in pictures.values() if turn < len(mine)]
    return sorted(queue[:PICTURES], key=lambda picture: picture.name)


def _pictures(found: LinksStatistics) -> Figure:
    pictures = spread_over_places(found.pictures)
    columns = min(len(pictures), COLUMNS)
    rows = -(-len(pictures) // columns)
    side = min(13.2 / columns, 4.5)  # in
    drawing, panels = _drawing(side * columns, (side + 0.2) * rows, columns, rows)
    for axes in panels[len(pictures) :]:
        axes.axis("off")
    for axes, picture in zip(panels, pictures, strict=False):
        draw_map(axes, picture.map, picture.size)
        x, y = picture.ue.T
        for name, here in (("NLOS", ~picture.los), ("LOS", picture.los)):
            axes.scatter(x[here], y[here], s=4 if len(x) > 100 else 14, color=COLOURS[name], linewidths=0)
        x, y = picture.bs.T
        axes.scatter(x[1:], y[1:], s=18, color=BS, alpha=0.4, marker="^", linewidths=0)
        axes.scatter(x[:1], y[:1], s=60, color=BS, marker="^", edgecolors="white", linewidths=0.6)
        axes.set_title(f"{picture.name}, {picture.size:.0f} m", fontsize=8)
        axes.set(xlabel="", ylabel="", xticks=[], yticks=[])
    return drawing


def _path_loss(found: LinksStatistics) -> Figure:
    drawing, panels = _drawing(11, 4.4)
    counts = found.gain_over_distance
    # 5 m of the distance are too fine for a few thousand links
    step = 1 if found.links > 50_000 else 2
    counts = counts.reshape(2, -1, step, counts.shape[2]).sum(2)
    distance, loss = found.distance.edges[::step], -found.path_gain.edges
    far = distance[_extent(counts.sum((0, 2)))[1]]
    low, high = _extent(counts.sum((0, 1)))
    top = float(counts.max())
    at = np.geomspace(1.0, far, 200)
    for axes, row, name in ((panels[0], 1, "LOS"), (panels[1], 0, "NLOS")):
        image = axes.pcolormesh(
            distance, loss, np.ma.masked_equal(counts[row].T, 0), cmap="viridis", norm="log", vmin=1, vmax=max(top, 2)
        )
        for carrier in found.carriers:
            free = [-20 * math.log10(abs(free_space_gain(d, carrier))) for d in at]
            label = f"free space, {carrier / 1e9:.6g} GHz" if found.carriers[1:] else "free space"
            axes.plot(at, free, color=BS, linestyle="--", linewidth=1.5, label=label)
        axes.legend(loc="lower right")
        axes.set(title=f"{name}, {counts[row].sum():,} links", xlabel="distance, m", xlim=(0, far))
        axes.set_ylim(loss[low] + 4, loss[high] - 4)
    panels[0].set_ylabel("path loss, dB")
    drawing.colorbar(image, ax=panels, label=f"links in {distance[1]:g} m × 2 dB", pad=0.01)
    return drawing


def _extent(counts: NDArray[np.int64]) -> tuple[int, int]:
    """First and last edge of the bins that are not empty."""
    used = np.flatnonzero(counts)
    return int(used[0]), int(used[-1]) + 1


def _line_of_sight(found: LinksStatistics) -> Figure:
    drawing, (left, right) = _drawing(11, 3.4)
    edges, counts = found.los_over_distance()
    total = counts.sum(0)
    share = np.where(total >= 20, 100 * counts[1] / np.maximum(total, 1), np.nan)
    left.stairs(share, edges, color=COLOURS["LOS"], linewidth=2, baseline=None)
    left.axhline(100 * found.los / found.links, color="#777", linestyle=":", label="all distances")
    left.set(xlabel="distance, m", ylabel="links with LOS, %", xlim=(0, edges[-1]), ylim=(0, 103))
    left.legend()
    right.stairs(total, edges, color=COLOURS["NLOS"], fill=True, label="NLOS")
    right.stairs(counts[1], edges, color=COLOURS["LOS"], fill=True, label="LOS")
    right.set(xlabel="distance, m", ylabel="links", xlim=(0, edges[-1]))
    right.legend()
    return drawing


def _paths(found: LinksStatistics) -> Figure:
    kinds = list(found.kinds().items())
    if len(kinds) > MOST_KINDS:
        few = set(sorted((name for name, _ in kinds), key=lambda name: -found.kinds()[name][0])[: MOST_KINDS - 1])
        rest = [values for name, values in kinds if name not in few]
        others = (sum(paths for paths, _ in rest), sum(share for _, share in rest))
        kinds = [*(item for item in kinds if item[0] in few), ("others", others)]
    drawing, (left, right) = _drawing(11, max(3.4, 0.8 + 0.36 * len(kinds)))
    left.bar(list(found.path_counts), list(found.path_counts.values()), color=UE, width=0.9)
    left.set(xlabel="paths per link", ylabel="links", xlim=(0.3, max(found.path_counts) + 0.7))
    left.locator_params(axis="x", integer=True)
    total = sum(paths for _, (paths, _) in kinds)
    at = np.arange(len(kinds))
    right.barh(at - 0.2, [100 * paths / total for _, (paths, _) in kinds], 0.38, color=UE, label="of the paths")
    power = [100 * share / found.links for _, (_, share) in kinds]
    right.barh(at + 0.2, power, 0.38, color=CHANNEL, label="of a link's power")
    right.set_yticks(at, [name for name, _ in kinds])
    right.invert_yaxis()
    right.set(xlabel="share, %")
    right.legend()
    return drawing


def _compare(axes: Axes, distribution: Distribution, scale: float, label: str, group: int = 1) -> None:
    """The shares of LOS and of NLOS links in the bins, `group` together, without the rare largest values."""
    counts = distribution.counts.reshape(2, -1, group).sum(2)
    first, last = _extent(counts.sum(0) * (distribution.edges[:-1:group] < distribution.quantile(0.998)))
    edges = distribution.edges[::group][first : last + 1] * scale
    for row, name in ((0, "NLOS"), (1, "LOS")):
        if total := counts[row].sum():
            share = 100 * counts[row, first:last] / total
            axes.stairs(share, edges, color=COLOURS[name], fill=True, alpha=0.35)
            axes.stairs(share, edges, color=COLOURS[name], linewidth=1.8, label=f"{name}, {total:,} links")
    axes.set(xlabel=label, ylabel="links, %")
    axes.set_ylim(bottom=0)


def _delays(found: LinksStatistics) -> Figure:
    drawing, (left, right) = _drawing(11, 3.6)
    _compare(left, found.first_delay, 1e9, "first delay, ns", group=3)
    _compare(right, found.delay_spread, 1e9, "delay spread, ns", group=3)
    single = found.delay_spread.counts[:, 0] / np.maximum(found.delay_spread.counts.sum(1), 1)
    right.set_title(f"one path, so no spread: {single[0]:.1%} of NLOS, {single[1]:.1%} of LOS links", fontsize=10)
    right.set_xlim(left=max(1e9 * found.delay_spread.edges[3], 0.1))
    for axes in (left, right):
        axes.set_xscale("log")
        axes.locator_params(axis="x", subs=(1, 2, 5))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.legend(loc="upper left")
    return drawing


def _angles(found: LinksStatistics) -> Figure:
    drawing, (left, right) = _drawing(11, 3.4)
    _compare(left, found.departure_spread, 180 / math.pi, "azimuth spread at the BS, °")
    _compare(right, found.arrival_spread, 180 / math.pi, "azimuth spread at the UE, °")
    for axes in (left, right):
        axes.legend()
    return drawing


def _ground(found: LinksStatistics) -> Figure:
    drawing, (left, right) = _drawing(11, 2.8)
    left.hist(found.sizes, bins=20, color=UE, edgecolor="white")
    left.set(xlabel="side, m", ylabel="areas")
    right.hist([100 * share for share in found.coverage], bins=20, range=(0, 100), color=UE, edgecolor="white")
    unknown = len(found.sizes) - len(found.coverage)
    right.set(xlabel="built on, %", ylabel="areas", xlim=(0, 100), title=f"{unknown} without a map" if unknown else "")
    return drawing


def _drives_title(found: DrivesStatistics) -> str:
    return (
        f"{sum(found.steps):,} samples in {len(found.steps):,} drive{'s' * (len(found.steps) > 1)} of "
        f"{len(found.scenarios)} scenario{'s' * (len(found.scenarios) > 1)}"
    )


def _drives_sections(found: DrivesStatistics) -> list[Section]:
    sections = [
        ("Scenarios", "A scenario is the unit of the splits by site.", _scenarios(found)),
        ("Tracks", "Where the users were, x east and y north of the base station (red triangle); the colour is the "
         "best beam.", png(_tracks(found))),
    ]  # fmt: skip
    for size in sorted(found.beams):
        sections.append((f"Beams: codebook of {size}", "How often each beam was the best, and the mean power of every "
                         "beam, relative to the best one's, where a given beam is the best.",
                         png(_beams(found, size))))  # fmt: skip
    return [*sections, ("Drives", "How long the drives are, and how far from the base station.", png(_lengths(found)))]


def _scenarios(found: DrivesStatistics) -> str:
    rows = []
    for name, scenario in sorted(found.scenarios.items()):
        sensors = ", ".join(f"{n:,} {sensor}" for sensor, n in sorted(scenario.sensors.items())) or "–"
        time = f"{scenario.seconds:,.0f} s" if scenario.seconds else "–"
        counts = (scenario.drives, scenario.samples, scenario.located, scenario.lost)
        seen, blocked = scenario.sight["in_sight"], scenario.sight["blocked"]
        sight = f"in {seen:,} of {seen + blocked:,}, lost {scenario.sight_lost:,} times" if seen + blocked else "–"
        rows.append((name, *(f"{count:,}" for count in counts), sight, time, sensors))
    head = ("scenario", "drives", "samples", "with position", "without beam", "line of sight", "driving time",
            "sensor files")  # fmt: skip
    return table(head, rows)


def _tracks(found: DrivesStatistics) -> Figure:
    shown = dict(sorted(found.scenarios.items())[:PICTURES])
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    drawing, panels = _drawing(2.9 * max(columns, 2) + 0.8, 2.9 * rows, columns, rows)
    for axes in panels[len(shown) :]:
        axes.axis("off")
    for axes, (name, scenario) in zip(panels, shown.items(), strict=False):
        points = np.concatenate([np.zeros((0, 3)), *scenario.tracks])
        image = axes.scatter(
            points[:, 0], points[:, 1], c=points[:, 2], s=4, cmap="turbo", vmin=0, vmax=1, linewidths=0
        )
        axes.scatter(0, 0, s=80, color=BS, marker="^", edgecolors="white", linewidths=0.8)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_aspect("equal", adjustable="datalim")
    for axes in panels[::columns]:
        axes.set_ylabel("y, m", fontsize=8)
    for axes in panels[max(len(shown) - columns, 0) : len(shown)]:
        axes.set_xlabel("x, m", fontsize=8)
    bar = drawing.colorbar(image, ax=panels, ticks=[0, 1], shrink=0.6, pad=0.01)
    bar.ax.set_yticklabels(["first beam", "last beam"])
    return drawing


def _beams(found: DrivesStatistics, size: int) -> Figure:
    drawing, (left, right) = _drawing(11, 4.2)
    left.bar(np.arange(size), found.beams[size], width=1.0, color=UE)
    left.set(xlabel="beam, from 0", ylabel="samples in which it is the best", xlim=(-0.5, size - 0.5))
    power, measured = found.power[size]
    relative = np.full((size, size), np.nan)
    np.divide(power, measured, out=relative, where=measured > 0)
    shown = 10 * np.log10(np.maximum(relative, 1e-4))
    image = right.imshow(shown, origin="lower", cmap="magma", vmin=max(np.nanmin(shown, initial=0), -25), vmax=0)
    right.set(xlabel="beam", ylabel="best beam")
    drawing.colorbar(image, ax=right, label="power, dB of the best")
    return drawing


def _lengths(found: DrivesStatistics) -> Figure:
    drawing, (left, right) = _drawing(11, 2.8)
    left.hist(found.steps, bins=20, color=UE, edgecolor="white")
    left.set(xlabel="samples per drive", ylabel="drives")
    counts = found.distance.counts[0]
    if counts.any():
        first, last = _extent(counts)
        right.stairs(counts[first:last], found.distance.edges[first : last + 1], color=UE, fill=True)
    right.set(xlabel="distance from the base station, m", ylabel="samples")
    return drawing
