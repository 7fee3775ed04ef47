"""The report of a planned site: one HTML file with its maps, curves and tables inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from uniair.evaluation.html import bullets, plain, png, table, write_page
from uniair.site import site_coverage
from uniair.site.covered import Covered
from uniair.site.map_drawing import BUILDING, INK, LAYERS, SiteMap
from uniair.site.map_layers import Scale, scales, sector_colours
from uniair.site.site import Site
from uniair.site.site_coverage import OUTDOORS, MapCoverage, Numbers

SIDE, LEGEND, EDGE = 6.6, 2.3, 0.55  # of a map, of the room for its legend and about it, inches
HOLE = "#d3002d"  # rim of what is below the hole's RSRP
NOBODY: dict[str, Any] = {"facecolor": "#f6f4ef", "hatch": "//////", "edgecolor": "#9a958b", "linewidth": 0.0}
MOST_MAPS = 12  # sectors whose own map is drawn
FLOORS = "sD^vP*X"  # markers of the floors, from the ground floor up
Section = tuple[str, str, str]


def write(
    path: Path,
    site: Site,
    covered: Covered,
    remarks: Sequence[str],
    limits: Sequence[str],
    more: Iterable[Section] = (),
) -> None:
    """Draws the coverage of a site and writes it.

    Args:
        remarks: what was guessed or left out.
        limits: of all that is said.
        more: further sections after those about coverage: heading, a line of explanation, content as HTML.
    """
    figures = site.about["coverage"]
    sections: list[Section] = [("Sectors", _about(site, covered), png(_overview(site, covered), "Masts and sectors"))]
    sections.append(("What they give", "Users that no path reaches count as holes.",
                     bullets(site_coverage.lines(figures, covered.planning))))  # fmt: skip
    if covered.maps is not None:
        sections += _mapped(site, covered, covered.maps)
    sections += [
        ("Users", _users_about(covered), png(_users(site, covered), "Users by RSRP, holes marked") + _floors(covered)),
        ("How RSRP, SINR and throughput are distributed", "Share of the users, or of the open ground, that has less.",
         png(_distributions(covered), "Cumulative distributions")),
        ("Sector by sector", "", sector_tables(figures["sectors"], covered)),
        *more,
        ("What was guessed or left out", "In the map, the file of sites and the users.",
         bullets(remarks or ["nothing"])),
        ("Limits", "", bullets(limits)),
        ("How it was made", "The same request in this folder gives the same figures.", _made(site)),
    ]  # fmt: skip
    write_page(path, f"{site.area.name}: coverage of {_count(len(covered.sectors), 'sector')}", _subtitle(site),
               sections, site.area.attribution)  # fmt: skip


def _subtitle(site: Site) -> str:
    return f"uniair site, version {site.about['uniair']}, {site.about['seconds'] / 60:.1f} minutes"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _about(site: Site, covered: Covered) -> str:
    size, masts = site.area.size, {(sector["x_m"], sector["y_m"]) for sector in covered.sectors}
    where = "" if site.georeference is None else " at {1:.5f}° N, {0:.5f}° E".format(
        *site.georeference.to_degrees(np.array([[size / 2, size / 2]]))[0]
    )  # fmt: skip
    streets = f", {_count(len({s.name for s in site.streets if s.name}), 'named street')}" if site.streets else ""
    return (
        f"{size:.0f} × {size:.0f} m about its middle{where}; {_count(len(site.area.footprints), 'building')}{streets}; "
        f"{_count(len(covered.sectors), 'sector')} on {_count(len(masts), 'mast')}."
    )


def _canvas(site: Site, title: str, streets: float = 0.8) -> tuple[Figure, SiteMap]:
    """A figure of a final size with a map, and room for a legend in the east of it."""
    width, height = EDGE + SIDE + LEGEND, 2 * EDGE + SIDE
    drawing = Figure(figsize=(width, height))
    axes = drawing.add_axes((EDGE / width, EDGE / height, SIDE / width, SIDE / height))
    return drawing, SiteMap(axes, site, title, streets)


def _legend(axes: Axes, parts: Sequence[Any], title: str) -> None:
    found = axes.legend(
        handles=parts, title=title, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, frameon=False,
        fontsize=8.5, alignment="left",
    )  # fmt: skip
    found.get_title().set_fontsize(9.5)


def _overview(site: Site, covered: Covered) -> Figure:
    drawing, shown = _canvas(site, "Masts and sectors")
    colours = sector_colours(covered)
    _sectors(shown, covered, colours)
    parts = [
        Patch(facecolor=colour, edgecolor=INK, label=_named(sector))
        for sector, colour in zip(covered.sectors, colours, strict=True)
    ]
    _legend(shown.axes, parts[:40], "sector, height, azimuth, downtilt")
    return drawing


def _named(sector: Mapping[str, Any]) -> str:
    down = sector["mechanical_tilt_deg"] + sector["electrical_tilt_deg"]
    return f"{sector['sector']}, {sector['height_m']:.1f} m, {sector['azimuth_deg']:g}°, {down:g}°"


def _sectors(shown: SiteMap, covered: Covered, colours: Sequence[str]) -> None:
    shown.draw_sectors(covered.sectors, colours)
    shown.name_sectors(covered.sectors)
    shown.name_streets()


def _mapped(site: Site, covered: Covered, maps: MapCoverage) -> list[Section]:
    """The sections of maps: the best server, what the best gives, and each sector by itself."""
    colours, hole = sector_colours(covered), covered.planning.hole
    out = [("Best server", "Of each cell of open ground, 1.5 m up: the sector that is received best there.",
            png(_servers(site, covered, maps, colours), "Map of best servers"))]  # fmt: skip
    about = {
        "rsrp": f"Of a resource element in the best server's strongest beam; ground below {hole:g} dBm is rimmed.",
        "sinr": f"In the best server, the others sending on {100 * covered.planning.load:g} % of their resource "
        "elements.",
        "throughput": "Of a user alone in the best server, on one layer.",
    }
    for scale in scales(covered):
        values = getattr(maps.served, scale.name)
        drawing = _layer(site, covered, maps, scale, values, hole if scale.name == "rsrp" else None)
        out.append((scale.title, about[scale.name], png(drawing, f"Map of {scale.title}")))
    if len(covered.sectors) > 1:
        rsrp, many = scales(covered)[0], len(covered.sectors)
        first = f" The first {MOST_MAPS} of {many}." if many > MOST_MAPS else ""
        out.append(("RSRP of each sector", f"Whoever serves; the scale is that of the map above.{first}",
                    png(_each(site, covered, maps, rsrp), "Map of each sector's RSRP")))  # fmt: skip
    return out


def _draw_cells(
    shown: SiteMap, maps: MapCoverage, classes: NDArray[np.int64], colours: Sequence[str], ground: NDArray[np.bool_]
) -> None:
    """Cells of the open ground in the colours of their classes; those of −1, which no ray came by, hatched."""
    known = np.array([*(to_rgba(colour) for colour in colours), (0.0, 0.0, 0.0, 0.0)])
    shown.draw_cells(known[np.where(ground, classes, -1)], _extent(maps))
    shown.draw_ground(_cells_as_ground(maps, ground & (classes < 0)), **NOBODY)


def _extent(maps: MapCoverage) -> tuple[float, float, float, float]:
    cells, (x, y) = maps.cells, maps.cells.corner
    return (x, x + cells.side * cells.columns, y, y + cells.side * cells.rows)


def _open(site: Site, maps: MapCoverage) -> NDArray[np.bool_]:
    """Which cells are open ground: those inside buildings have no throughput, not even 0."""
    return ~np.isnan(maps.served.throughput)


def _servers(site: Site, covered: Covered, maps: MapCoverage, colours: Sequence[str]) -> Figure:
    drawing, shown = _canvas(site, "Best server", 0.4)
    ground = _open(site, maps)
    _draw_cells(shown, maps, maps.served.best, colours, ground)
    _sectors(shown, covered, colours)
    parts = [
        Patch(facecolor=colour, edgecolor=INK, label=f"{name}, {_share(maps.served.best[ground] == i)}")
        for i, (name, colour) in enumerate(zip(covered.names, colours, strict=True))
    ]
    _legend(shown.axes, [*parts[:40], *_nobody(maps.served.best[ground] < 0), _built()], "share of the open ground")
    return drawing


def _layer(
    site: Site, covered: Covered, maps: MapCoverage, scale: Scale, values: Numbers, hole: float | None
) -> Figure:
    drawing, shown = _canvas(site, scale.title, 0.4)
    ground = _open(site, maps)
    # what no ray came by has no throughput, but is told apart from what has too little SINR for any
    classes = np.where(maps.served.best < 0, -1, scale.classes(values))
    _draw_cells(shown, maps, classes, scale.colours, ground)
    extra = []
    if hole is not None:
        low = ground & ~(values >= hole)
        shown.draw_ground(_cells_as_ground(maps, low), fill=False, edgecolor=HOLE, linewidth=0.8)
        extra = [Line2D([], [], color=HOLE, linewidth=1.4, label=f"below {hole:g} dBm, {_share(low[ground])}")]
    _sectors(shown, covered, ["#ffffff"] * len(covered.sectors))
    parts = [
        Patch(facecolor=colour, edgecolor=INK, linewidth=0.4, label=f"{text}, {_share(classes[ground] == i)}")
        for i, (colour, text) in enumerate(zip(scale.colours, scale.texts(), strict=True))
    ]
    nobody = maps.served.best[ground] < 0
    _legend(shown.axes, [*parts[::-1], *_nobody(nobody), *extra, _built()], f"{scale.unit}, share of the open ground")
    return drawing


def _nobody(unreached: NDArray[np.bool_]) -> list[Patch]:
    if not unreached.any():
        return []
    return [Patch(**NOBODY, label=f"no ray came by, {_share(unreached)}")]


def _built() -> Patch:
    return Patch(facecolor=BUILDING, edgecolor=INK, linewidth=0.4, label="building")


def _share(mask: NDArray[np.bool_]) -> str:
    share = 100 * float(mask.mean()) if mask.size else 0.0
    return f"{share:.1f} %" if share >= 0.05 or not share else "< 0.1 %"


def _cells_as_ground(maps: MapCoverage, mask: NDArray[np.bool_]) -> shapely.Geometry:
    """The ground of some cells, m."""
    x0, _, y0, _ = _extent(maps)
    row, column = np.nonzero(mask)
    west, south, side = x0 + column * maps.cells.side, y0 + row * maps.cells.side, maps.cells.side
    return shapely.union_all(shapely.box(west, south, west + side, south + side))


def _each(site: Site, covered: Covered, maps: MapCoverage, scale: Scale) -> Figure:
    shown = covered.sectors[:MOST_MAPS]
    columns = min(3, len(shown))
    rows, side, edge = -(-len(shown) // columns), 2.8, 0.55
    drawing = Figure(figsize=(columns * (side + edge), rows * (side + edge)))
    ground = _open(site, maps)
    for number, sector in enumerate(shown):
        row, column = divmod(number, columns)
        box = ((column * (side + edge) + 0.5 * edge) / drawing.get_figwidth(),
               1 - ((row + 1) * (side + edge) - 0.35 * edge) / drawing.get_figheight(),
               side / drawing.get_figwidth(), side / drawing.get_figheight())  # fmt: skip
        one = SiteMap(drawing.add_axes(box), site, sector["sector"], streets=0.3)
        one.axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
        _draw_cells(one, maps, scale.classes(maps.rsrp[number]), scale.colours, ground)
        one.draw_sectors([sector], ["#ffffff"])
    return drawing


def _users_about(covered: Covered) -> str:
    outdoors, inside = (covered.users.floor == OUTDOORS).sum(), (covered.users.floor != OUTDOORS).sum()
    said = f"{_count(int(outdoors), 'user')} in the street by RSRP of the best server"
    return said + (f", {inside:,} inside buildings, by floor in the table." if inside else ".")


def _users(site: Site, covered: Covered) -> Figure:
    """Dots in the street, markers by floor inside buildings; holes ringed, those that no path reaches crossed."""
    drawing, shown = _canvas(site, "Users")
    users, scale, hole = covered.users, scales(covered)[0], covered.planning.hole
    classes, rsrp = scale.classes(users.served.rsrp), users.served.rsrp
    colours = np.array([*scale.colours, "none"], dtype=object)[classes]
    floors = sorted(set(users.floor[users.floor != OUTDOORS].tolist()))
    marks: list[Any] = []
    for floor in [OUTDOORS, *floors]:
        marker = "." if floor == OUTDOORS else FLOORS[min(floor, len(FLOORS) - 1)]
        size = 50 if floor == OUTDOORS else 22
        mine = (users.floor == floor) & np.isfinite(rsrp)
        low = mine & ~(rsrp >= hole)
        for mask, rim, width in ((mine & ~low, INK, 0.4), (low, HOLE, 1.3)):
            shown.axes.scatter(users.points[mask, 0], users.points[mask, 1], s=size, marker=marker, c=colours[mask],
                               edgecolors=rim, linewidths=width, zorder=LAYERS["users"])  # fmt: skip
        name = "in the street" if floor == OUTDOORS else f"floor {floor}" + ("+" if floor >= len(FLOORS) - 1 else "")
        marks.append(Line2D([], [], linestyle="", marker=marker, color="#8a8f9c", markeredgecolor=INK,
                            markersize=9 if marker == "." else 5, label=name))  # fmt: skip
    lost = np.isnan(rsrp)
    shown.axes.scatter(users.points[lost, 0], users.points[lost, 1], s=26, marker="x", c=HOLE, linewidths=1.4,
                       zorder=LAYERS["users"])  # fmt: skip
    _sectors(shown, covered, ["#ffffff"] * len(covered.sectors))
    parts = [
        Patch(facecolor=colour, edgecolor=INK, linewidth=0.4, label=text)
        for colour, text in zip(scale.colours, scale.texts(), strict=True)
    ]
    holes = ~lost & ~(rsrp >= hole)
    parts_of = [
        *parts[::-1],
        Line2D([], [], linestyle="", marker="o", markerfacecolor="white", markeredgecolor=HOLE, markersize=6,
               label=f"hole: below {hole:g} dBm, {holes.sum():,}"),
        Line2D([], [], linestyle="", marker="x", color=HOLE, label=f"hole: no path, {lost.sum():,}"),
        *(marks if floors else []),
    ]  # fmt: skip
    _legend(shown.axes, parts_of, "RSRP, dBm")
    return drawing


def _floors(covered: Covered) -> str:
    """A row each floor, where there are users inside buildings."""
    users, rows = covered.users, []
    for floor in sorted(set(users.floor.tolist()) - {OUTDOORS}):
        rsrp = users.served.rsrp[users.floor == floor]
        known = rsrp[np.isfinite(rsrp)]
        rows.append((f"{floor}", f"{len(rsrp):,}", _share(~(rsrp >= covered.planning.hole)),
                     f"{np.median(known):.1f} dBm" if len(known) else "–"))  # fmt: skip
    head = ("floor", "users", f"below {covered.planning.hole:g} dBm", "median RSRP")
    return table(head, rows) if rows else ""


def _distributions(covered: Covered) -> Figure:
    users, maps = covered.users, covered.maps
    outdoors = users.floor == OUTDOORS
    groups = {"users in the street": (outdoors, users.served, "#0072b2", "-"),
              "users inside buildings": (~outdoors, users.served, "#d55e00", "--")}  # fmt: skip
    drawing = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, scale in zip(drawing.subplots(1, 3), scales(covered), strict=True):
        for name, (mask, served, colour, style) in groups.items():
            if mask.any():
                _curve(axes, getattr(served, scale.name)[mask] * scale.factor, name, colour, style)
        if maps is not None:
            ground = ~np.isnan(maps.served.throughput)
            _curve(axes, getattr(maps.served, scale.name)[ground] * scale.factor, "open ground", "#009e73", ":")
        if scale.name == "rsrp":
            axes.axvline(covered.planning.hole, color=HOLE, linewidth=1)
        step = scale.edges[1] - scale.edges[0]
        ends = (scale.edges[0] - (2 if scale.edges[0] <= 0 else 1) * step, scale.edges[-1] + 2 * step)
        axes.set(xlabel=f"{scale.title}, {scale.unit}", xlim=ends, ylim=(0, 1), ylabel="share below")
        axes.grid(alpha=0.3)
    drawing.axes[0].legend(fontsize=8)
    return drawing


def _curve(axes: Axes, values: Numbers, name: str, colour: str, style: str) -> None:
    """The share of all that has less; those that have nothing are below everything."""
    known = np.sort(values[np.isfinite(values)])
    lost = len(values) - len(known)
    share = np.arange(lost, len(values) + 1) / len(values)  # from the axis on: they have less than anything on it
    axes.step([-1e3, *known], share, style, where="post", color=colour, linewidth=1.8, label=name)


def sector_tables(rows: Sequence[Mapping[str, Any]], covered: Covered) -> str:
    """What was put in, and what came out: a row each sector.

    Args:
        rows: `site_coverage.summary`'s `sectors`.
    """
    given, found = [], []
    ground = np.zeros((0, 0)) if covered.maps is None else ~np.isnan(covered.maps.served.throughput)
    for number, (one, sector) in enumerate(zip(rows, covered.sectors, strict=True)):
        panel = str(sector["panel"]) if "panel" in sector else (
            f"{sector['rows']} × {sector['columns']} {sector['polarisation']}"
        )  # fmt: skip
        name, median = str(one["sector"]), one["median_rsrp_dbm"]
        given.append((
            name, f"{sector['height_m']:.1f} m", f"{one['azimuth_deg']:g}°", f"{one['mechanical_tilt_deg']:g}°",
            f"{one['electrical_tilt_deg']:g}°", f"{one['power_dbm']:g} dBm", f"{one['carrier_mhz']:g} MHz",
            f"{one['bandwidth_mhz']:g} MHz", panel, str(one["pattern"]), "–" if one["pci"] is None else f"{one['pci']}",
        ))  # fmt: skip
        share = "–" if covered.maps is None else _share(covered.maps.served.best[ground] == number)
        found.append((name, f"{one['reached']:,}", f"{one['best_server']:,}", f"{one['los']:,}",
                      "–" if median is None else f"{median:.1f} dBm", share))  # fmt: skip
    head = ("sector", "height", "azimuth", "tilt", "electrical", "power", "carrier", "bandwidth", "panel", "pattern",
            "PCI")  # fmt: skip
    out = ("sector", "users reached", "best server of", "in sight", "median RSRP", "best server of the ground")
    return f'<div class="wide">{table(head, given)}</div><p></p>{table(out, found)}'


def _made(site: Site) -> str:
    recipe = site.about["recipe"]
    rows = [(key, plain(value)) for key, value in (recipe["survey"] | recipe).items() if key != "survey"]
    rows += [(key, plain(value)) for key, value in site.about["planning"].items() if key not in ("cell", "rays")]
    return table(("setting", "value"), rows, "text")
