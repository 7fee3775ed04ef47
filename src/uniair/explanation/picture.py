"""An explanation, and an audit, as a picture of the street."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniair.evaluation.html import BS, UE, draw_map
from uniair.explanation.audit import CELL, Audit
from uniair.explanation.explain import Explanation
from uniair.explanation.place_paths import PlacePath, Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEN, UNEXPLAINED, MISSED = "#0072b2", "#d55e00", "#777777"
REACH = 0.25  # of the area's side: how far an unexplained path is drawn


def draw_explanation(
    why: Explanation, occupied: NDArray[Any], size: float, bs: NDArray[np.floating], bearing: float = 0.0
) -> Figure:
    """A user's paths in the street: explained ones along their walls, others dashed, missed ones dotted.

    Args:
        occupied: [H, W] of the map.
        size: its side, m.
        bs: [3] m.
        bearing: azimuth of the array's axis, rad.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 7.6))
    axes = drawing.add_subplot()
    draw_map(axes, (np.asarray(occupied) > 0).astype(np.uint8), size)
    start = (float(bs[0]), float(bs[1]))
    axes.plot(*start, "^", color=BS, markersize=10, zorder=5, label="base station")
    if why.user is not None:
        axes.plot(*why.user, "o", color=UE, markersize=8, zorder=5, label="user")
    for one in reversed(why.paths):
        width = 1 + 4 * one.path.share
        if one.by is not None and why.user is not None:
            ways = _corners(start, why.candidates[one.by], why.user)
            axes.plot(*np.array(ways).T, color=SEEN, linewidth=width, label="_")
        else:
            side = np.sqrt(max(1 - one.path.along**2, 0.0))
            for turn in (side, -side):  # a line of elements can't tell in front from behind
                way = np.array([one.path.along, turn])
                cosine, sine = np.cos(bearing), np.sin(bearing)
                end = start + REACH * size * np.array(
                    [cosine * way[0] - sine * way[1], sine * way[0] + cosine * way[1]]
                )
                axes.plot(*np.array([start, end]).T, "--", color=UNEXPLAINED, linewidth=width, label="_")
    for number in why.missing:
        assert why.user is not None
        ways = _corners(start, why.candidates[number], why.user)
        axes.plot(*np.array(ways).T, ":", color=MISSED, linewidth=1.5, label="_")
    for colour, style, words in ((SEEN, "-", "explained by the map"), (UNEXPLAINED, "--", "not explained"),
                                 (MISSED, ":", "should be seen")):  # fmt: skip
        axes.plot([], [], style, color=colour, label=words)
    axes.legend(fontsize=7, loc="upper right")
    axes.set_title("\n".join(textwrap.wrap(str(why), 95)), fontsize=7.5, loc="left")
    return drawing


def _corners(start: Point, path: PlacePath, user: Point) -> list[Point]:
    """Where a way runs, as far as its corners are known: of many reflections the last leg."""
    return [start, *path.points, user] if path.whole else [path.points[-1], user]


def draw_audit(found: Audit, occupied: NDArray[Any], size: float, bs: NDArray[np.floating]) -> Figure:
    """Where channels contradict the map.

    Args:
        occupied: [H, W] of the map.
        size: its side, m.
        bs: [B, 3] m.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 6.4))
    axes = drawing.add_subplot()
    draw_map(axes, (np.asarray(occupied) > 0).astype(np.uint8), size)
    nats = np.where(found.contradicted > 0, found.contradicted, np.nan)
    reach = CELL * len(nats)
    image = axes.imshow(nats, origin="lower", extent=(0, reach, 0, reach), cmap="cividis", alpha=0.7, vmin=0)
    drawing.colorbar(image, ax=axes, shrink=0.8, label="nats for something that stands here")
    axes.plot(*np.asarray(bs)[:, :2].T, "^", color=BS, markersize=9)
    for number, one in enumerate(found.suspicions[:5], 1):
        axes.plot(*one.place, "s", color=UNEXPLAINED, markersize=11, fillstyle="none", markeredgewidth=2)
        axes.annotate(str(number), one.place, xytext=(7, 5), textcoords="offset points", fontsize=9)
    axes.set_title(f"{found.channels:,} channels", fontsize=10)
    return drawing
