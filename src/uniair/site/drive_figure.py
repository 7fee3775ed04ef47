"""A drive test in a plan's report: measured beside predicted, as planned and calibrated, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from uniair.evaluation import html
from uniair.evaluation.html import CHANNEL, GROUND, UE
from uniair.site import drive_summary
from uniair.site.calibration import LEARNED, TESTED, DriveTest

MARGIN = 3.0  # dB about the points
PLANNED, CALIBRATED = ("as planned", CHANNEL), ("calibrated", UE)


def section(test: DriveTest, found: Mapping[str, Any], lines: Sequence[str]) -> tuple[str, str, str]:
    """A section as `plan_report.write` takes it.

    Args:
        found: `drive_summary.summary`'s figures, as a table.
        lines: what is said of them.
    """
    residuals = drive_summary.table(found)
    about = f"{test.log.name} over the plan. All other sections are as planned."
    content = html.png(draw(test), "Measured beside predicted RSRP, and how far they are apart") + html.bullets(lines)
    wide = f'<div class="wide">{html.table(residuals.head, residuals.rows)}</div>'
    return "Drive test", about, content + wide


def draw(test: DriveTest) -> Figure:
    """Two panels of measured against predicted RSRP, one point a sector and spot, and one of the errors' sizes.

    Where paths reach nothing of a half, its points are missing.
    """
    drawing = Figure(figsize=(12, 4.2), layout="constrained")
    panels = drawing.subplots(1, 3)
    measured = {half: test.log.rsrp[:, test.half == half] for half in (LEARNED, TESTED)}
    residuals = {half: test.residuals(half) for half in (LEARNED, TESTED)}
    everything = [measured[half] - one for half in measured for one in residuals[half]] + list(measured.values())
    known = np.concatenate([one[np.isfinite(one)] for one in everything])
    ends = (float(known.min()) - MARGIN, float(known.max()) + MARGIN)
    for number, (axes, (name, colour)) in enumerate(zip(panels, (PLANNED, CALIBRATED), strict=False)):
        for half, marker, shade, about in ((LEARNED, "x", GROUND, "learned from"), (TESTED, "o", colour, "tested on")):
            predicted = measured[half] - residuals[half][number]
            axes.plot(
                predicted.ravel(), measured[half].ravel(), marker, color=shade, alpha=0.6, markersize=3.5, label=about
            )
        _diagonal(axes, ends)
        axes.set(title=name, xlabel="predicted RSRP, dBm", ylabel="measured RSRP, dBm", xlim=ends, ylim=ends)
        axes.set_aspect("equal")
        axes.legend(loc="upper left", fontsize=8)
    for (name, colour), residual in zip((PLANNED, CALIBRATED), residuals[TESTED], strict=True):
        _distribution(panels[2], np.abs(residual[np.isfinite(residual)]), name, colour)
    panels[2].set(title="streets that nothing was learned from", xlabel="|measured less predicted|, dB",
                  ylabel="share of measurements, %", ylim=(0, 100))  # fmt: skip
    panels[2].set_xlim(left=0)
    panels[2].grid(alpha=0.3)
    panels[2].legend(loc="lower right", fontsize=8)
    return drawing


def _diagonal(axes: Axes, ends: tuple[float, float]) -> None:
    """Where measured is predicted, and 6 dB about it."""
    axes.plot(ends, ends, color="black", linewidth=0.8)
    for apart in (-6.0, 6.0):
        axes.plot(ends, [end + apart for end in ends], color="black", linewidth=0.6, linestyle=":")


def _distribution(axes: Axes, size: NDArray[np.float64], name: str, colour: str) -> None:
    """How much of the errors is below each size."""
    ordered = np.concatenate([[0.0], np.sort(size)])
    axes.step(ordered, 100 * np.arange(len(ordered)) / max(len(size), 1), color=colour, where="post", label=name)
