"""A site as a map that people recognise: buildings, streets, masts and sectors with their names, scale, north."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import PathPatch, Wedge
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from uniair.area.streets import FOOT, MAJOR, MINOR
from uniair.site.site import Site

GROUND, BUILDING, WALL, STREET, INK = "#ece8df", "#c3beb4", "#7d776d", "#ffffff", "#22252e"
WIDTHS = {MAJOR: 2.6, MINOR: 1.5, FOOT: 0.7}  # pt
HALF = 32.5  # degrees: a sector's wedge is as wide as the main lobe of TR 38.901's pattern
NAMED = 14  # streets at most
MANY = 24  # sectors, from which on masts alone are named
LAYERS = {"cells": 1, "streets": 2, "buildings": 3, "sectors": 4, "users": 6, "stations": 7, "labels": 8}  # upwards
HALO = [patheffects.withStroke(linewidth=2.6, foreground="white")]


class SiteMap:
    """A map of a site on matplotlib's axes, and the labels on it, none of which covers another.

    Args:
        axes: of a figure whose size is final, since labels are as large as their letters.
        site: whose ground it is.
        title: above it.
        streets: how strongly they are drawn, 0 to 1; less where cells lie below them.
    """

    def __init__(self, axes: Axes, site: Site, title: str = "", streets: float = 0.8) -> None:
        self.axes, self.site = axes, site
        self.taken: list[Bbox] = []
        figure = axes.get_figure(root=True)
        assert figure is not None
        self.renderer: RendererAgg = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        size = site.area.size
        axes.set(xlim=(0, size), ylim=(0, size), aspect="equal", facecolor=GROUND)
        axes.set_title(title, fontsize=11)
        _coordinates(axes, site)
        self._draw_streets(streets)
        self._draw_buildings()
        self._draw_scale()

    def _draw_streets(self, strength: float) -> None:
        streets = self.site.streets
        lines = LineCollection(
            [street.line for street in streets], colors=STREET, alpha=strength, capstyle="round",
            linewidths=[WIDTHS.get(street.kind, 1.0) * strength for street in streets], zorder=LAYERS["streets"],
        )  # fmt: skip
        self.axes.add_collection(lines)

    def _draw_buildings(self) -> None:
        patches = [PathPatch(_outline(plan)) for plan in self.site.area.footprints]
        bodies = PatchCollection(
            patches, facecolor=BUILDING, edgecolor=WALL, linewidth=0.4, zorder=LAYERS["buildings"]
        )  # fmt: skip
        self.axes.add_collection(bodies)

    def _draw_scale(self) -> None:
        """A bar of a round number of metres in the south-west, north in the north-east."""
        size = self.site.area.size
        target = size / 5
        power = 10 ** math.floor(math.log10(target))
        metres = power * next((n for n in (5, 2, 1) if n * power <= target), 1)
        x, y, rise = size * 0.03, size * 0.03, size * 0.012
        style: dict[str, Any] = {"color": INK, "linewidth": 2, "zorder": LAYERS["labels"], "solid_capstyle": "butt"}
        self.axes.plot([x, x, x + metres, x + metres], [y + rise, y, y, y + rise], path_effects=_rim(5), **style)
        self._text(x + metres / 2, y + rise, f"{metres:g} m", va="bottom")
        x, y, length = size * 0.965, size * 0.90, size * 0.05
        self.axes.annotate(
            "", (x, y + length), (x, y), zorder=LAYERS["labels"],
            arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 2, "path_effects": _rim(5)},
        )  # fmt: skip
        self._text(x, y, "N", va="top", weight="bold")
        self.taken += [self._box(0.02 * size, 0.02 * size, 0.05 * size + metres, 0.09 * size),
                       self._box(0.93 * size, 0.85 * size, size, size)]  # fmt: skip

    def draw_cells(self, image: NDArray[np.floating], extent: tuple[float, float, float, float]) -> None:
        """An image [rows, columns, 4] of colours, row 0 in the south, over metres (west, east, south, north)."""
        self.axes.imshow(image, origin="lower", extent=extent, interpolation="nearest", zorder=LAYERS["cells"])
        self.axes.set(xlim=(0, self.site.area.size), ylim=(0, self.site.area.size))

    def draw_ground(self, ground: shapely.Geometry, **style: Any) -> None:
        """Polygons over the cells, m: hatched, or with a rim."""
        for part in shapely.get_parts(ground):
            self.axes.add_patch(PathPatch(_outline(part), zorder=LAYERS["cells"] + 0.5, **style))

    def draw_sectors(self, sectors: Sequence[Mapping[str, Any]], colours: Sequence[str]) -> None:
        """Each sector as a wedge in its azimuth, those of one azimuth within each other, and a dot for the mast."""
        size = self.site.area.size
        for sector, radius, colour in zip(sectors, reaches(sectors, size / 13), colours, strict=True):
            middle = (sector["x_m"], sector["y_m"])
            start, end = (0, 360) if no_direction(sector) else _wedge(sector["azimuth_deg"])
            shape = Wedge(middle, radius, start, end, facecolor=colour, edgecolor=INK, linewidth=1, alpha=0.85,
                          zorder=LAYERS["sectors"])  # fmt: skip
            self.axes.add_patch(shape)
        for x, y in dict.fromkeys((sector["x_m"], sector["y_m"]) for sector in sectors):
            self.axes.plot(x, y, "o", color=INK, markersize=4.5, markeredgecolor="white", zorder=LAYERS["sectors"] + 1)
            self.keep_clear(x, y)

    def keep_clear(self, x: float, y: float) -> None:
        """No label stands on what is at this point."""
        half = self.site.area.size / 40
        self.taken.append(self._box(x - half, y - half, x + half, y + half))

    def name_sectors(self, sectors: Sequence[Mapping[str, Any]]) -> None:
        """Names at the ends of the wedges; of many, and of those without a direction, the masts' alone."""
        size = self.site.area.size
        if len(sectors) > MANY or all(map(no_direction, sectors)):
            masts = {sector["site"]: (sector["x_m"], sector["y_m"]) for sector in sectors}
            for name, (x, y) in masts.items():
                self.label(name, x, y + size / 30, weight="bold")
            return
        for sector, radius in zip(sectors, reaches(sectors, size / 13), strict=True):
            turn = math.radians(90 - sector["azimuth_deg"])
            far = radius + size / 50
            self.label(sector["sector"], sector["x_m"] + far * math.cos(turn), sector["y_m"] + far * math.sin(turn),
                       weight="bold")  # fmt: skip

    def name_streets(self) -> None:
        """The names of the longest streets along them, where there is room."""
        longest: dict[str, NDArray[np.float64]] = {}
        for street in self.site.streets:
            known = longest.get(street.name)
            if street.name and (known is None or _length(street.line) > _length(known)):
                longest[street.name] = street.line
        for name, line in sorted(longest.items(), key=lambda one: -_length(one[1]))[:NAMED]:
            any(self._along(name, line, part) for part in (0.5, 0.3, 0.7, 0.15, 0.85))

    def _along(self, name: str, line: NDArray[np.float64], part: float) -> bool:
        """Writes a name over a share of a line, turned as it runs there."""
        points = shapely.line_interpolate_point(
            shapely.linestrings(line), [part - 0.05, part, part + 0.05], normalized=True
        )
        (x0, y0), (x, y), (x1, y1) = shapely.get_coordinates(points)
        turn = math.degrees(math.atan2(y1 - y0, x1 - x0))
        turn = turn - 180 if turn > 90 else turn + 180 if turn < -90 else turn
        return self.label(name, x, y, here=True, rotation=turn, fontsize=7, color="#4b4f5c", rotation_mode="anchor")

    def label(self, text: str, x: float, y: float, here: bool = False, **style: Any) -> bool:
        """A text near a point where nothing else is written, with a line to it where that is not close by.

        Args:
            here: at the point or nowhere.

        Returns:
            Whether there was room.
        """
        places = [(0.0, 0.0)] if here else _around()
        for dx, dy in places:
            shown = self._text(x, y, text, dx, dy, **style)
            box = self._extent(shown)
            if self._inside(box) and not any(box.overlaps(other) for other in self.taken):
                self.taken.append(box)
                if math.hypot(dx, dy) > 16:
                    self.axes.annotate("", (x, y), (dx, dy), textcoords="offset points", zorder=LAYERS["labels"] - 1,
                                       arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.7})  # fmt: skip
                return True
            shown.remove()
        return False

    def _text(self, x: float, y: float, text: str, dx: float = 0.0, dy: float = 0.0, **style: Any) -> Text:
        known: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "color": INK, **style}
        return self.axes.annotate(
            text, (x, y), (dx, dy), textcoords="offset points", path_effects=HALO, zorder=LAYERS["labels"], **known
        )

    def _extent(self, shown: Text) -> Bbox:
        return shown.get_window_extent(self.renderer).padded(2)

    def _inside(self, box: Bbox) -> bool:
        frame = self.axes.get_window_extent()
        return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> Bbox:
        return Bbox(self.axes.transData.transform([(x0, y0), (x1, y1)]))


def no_direction(sector: Mapping[str, Any]) -> bool:
    """Whether a sector sends alike to all sides: a single element without a pattern."""
    return sector["pattern"] == "isotropic" and sector.get("rows", 0) * sector.get("columns", 0) == 1


def reaches(sectors: Sequence[Mapping[str, Any]], largest: float) -> list[float]:
    """Radii of the wedges: of several of one mast and azimuth, each within the one before."""
    seen: dict[tuple[float, float, int], int] = {}
    out = []
    for sector in sectors:
        key = (sector["x_m"], sector["y_m"], round(sector["azimuth_deg"] / 10) % 36)
        out.append(largest * 0.72 ** seen.get(key, 0))
        seen[key] = seen.get(key, 0) + 1
    return out


def _wedge(azimuth: float) -> tuple[float, float]:
    """From a compass azimuth to the angles between which it opens, anticlockwise from east."""
    return 90 - azimuth - HALF, 90 - azimuth + HALF


def _around() -> list[tuple[float, float]]:
    """Where a label may stand about its point, pt: the nearest places first."""
    turns = np.radians([90, 0, 180, 270, 45, 135, 315, 225])
    return [(0.0, 0.0), *((1.6 * r * math.cos(t), r * math.sin(t)) for r in (10, 18, 28, 42) for t in turns)]


def _rim(width: float) -> list[patheffects.AbstractPathEffect]:
    return [patheffects.withStroke(linewidth=width, foreground="white")]


def _length(line: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def _outline(plan: shapely.Polygon) -> Path:
    """A footprint with its holes."""
    rings = [shapely.orient_polygons(plan).exterior, *shapely.orient_polygons(plan).interiors]
    return Path.make_compound_path(*(Path(np.asarray(ring.coords)[:, :2], closed=True) for ring in rings))


def _coordinates(axes: Axes, site: Site) -> None:
    """Degrees on the axes where it is known where the place lies, else its metres."""
    place, size = site.georeference, site.area.size
    axes.tick_params(labelsize=8)
    if place is None:
        axes.set(xlabel="x, m", ylabel="y, m")
        return
    corners = place.to_degrees(np.array([[0.0, 0.0], [size, size]]))
    for axis, low, high, letters, number in (
        (axes.xaxis, corners[0, 0], corners[1, 0], "WE", 0), (axes.yaxis, corners[0, 1], corners[1, 1], "SN", 1),
    ):  # fmt: skip
        step = _round_step((high - low) / 4)
        ticks = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
        other = np.full(len(ticks), corners[:, 1 - number].mean())
        degrees = np.column_stack([ticks, other] if number == 0 else [other, ticks])
        digits = max(0, -math.floor(math.log10(step)))
        axis.set_major_locator(FixedLocator(place.to_metres(degrees)[:, number].tolist()))
        axis.set_major_formatter(FixedFormatter([f"{abs(v):.{digits}f}° {letters[int(v >= 0)]}" for v in ticks]))
    axes.tick_params(axis="y", labelrotation=90)
    for label in axes.get_yticklabels():
        label.set_verticalalignment("center")


def _round_step(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= value - 1e-12)
