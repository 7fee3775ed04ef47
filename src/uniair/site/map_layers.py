"""The layers of a coverage map and their colours, the same in the report and on the page of the service."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from uniair.site.covered import Covered
from uniair.site.site_coverage import MapCoverage

# Okabe and Ito (2008), "Color Universal Design": told apart with any of the usual kinds of colour vision
QUALITATIVE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
CLASSES = 8  # of a scale: as many as a reader tells apart in a legend
RSRP_EDGES = (-120.0, -110.0, -100.0, -90.0, -80.0, -70.0, -60.0)  # dBm; the same on every plan, to compare them
SINR_EDGES = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0)  # dB
RESIDUAL_EDGES = (-12.0, -6.0, -3.0, 3.0, 6.0, 12.0)  # dB


@dataclass(frozen=True)
class Scale:
    """How a quantity is coloured: in classes, dark for little and bright for much; residuals dark far from 0.

    Attributes:
        name: of the layer: `rsrp`, `sinr`, `throughput` or `residual`.
        title: for people.
        unit: of the values.
        factor: from the library's unit to it.
        edges: rising, between one class and the next.
        colours: of the classes, one more than edges, as #rrggbb. Brightness alone tells them apart, but for the sign of
            residuals.
    """

    name: str
    title: str
    unit: str
    factor: float
    edges: tuple[float, ...]
    colours: tuple[str, ...]

    def texts(self) -> list[str]:
        """What to write beside each class."""
        shown = [f"{edge:g}".replace("-", "−") for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(shown)]
        return [f"below {shown[0]}", *between, f"{shown[-1]} and more"]

    def classes(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """The class of each value in the library's unit; −1 of NaN."""
        found = np.digitize(values * self.factor, self.edges)
        return np.where(np.isnan(values), -1, found).astype(np.int64)


def scales(covered: Covered) -> tuple[Scale, ...]:
    """Those of a site: RSRP, SINR and throughput, whose classes reach up to what its sectors can give."""
    rates = covered.users.served.throughput, None if covered.maps is None else covered.maps.served.throughput
    most = max((float(np.nanmax(values)) for values in rates if values is not None and np.isfinite(values).any()),
               default=0.0) / 1e6  # fmt: skip
    step = _round_up(max(most, 1.0) / CLASSES)
    return (
        Scale("rsrp", "RSRP", "dBm", 1.0, RSRP_EDGES, _colours("viridis")),
        Scale("sinr", "SINR", "dB", 1.0, SINR_EDGES, _colours("plasma")),
        Scale("throughput", "Throughput", "Mbit/s", 1e-6, tuple(step * i for i in range(1, CLASSES)),
              _colours("YlGnBu_r")),
    )  # fmt: skip


def residuals() -> Scale:
    """That of a drive test, measured less predicted: purple where more was measured, orange where less was."""
    return Scale("residual", "measured less predicted", "dB", 1.0, RESIDUAL_EDGES,
                 _colours("PuOr", len(RESIDUAL_EDGES) + 1))  # fmt: skip


def _colours(name: str, classes: int = CLASSES) -> tuple[str, ...]:
    return tuple(to_hex(colour) for colour in colormaps[name](np.linspace(0.04, 0.98, classes)))


def _round_up(value: float) -> float:
    """To a number of one or two digits that is easily read."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * n for n in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if power * n >= value - 1e-9)


def sector_colours(covered: Covered) -> list[str]:
    """A colour for each sector; where there are more than colours, those that lie side by side get different ones."""
    apart = _apart(covered)
    chosen: list[int] = []
    for number in range(len(apart)):
        cost = np.zeros(len(QUALITATIVE))
        for other, colour in enumerate(chosen):
            cost[colour] += 1e-6 + apart[number, other]
        chosen.append(int(cost.argmin()))
    return [QUALITATIVE[colour] for colour in chosen]


def _apart(covered: Covered) -> NDArray[np.float64]:
    """How much two sectors should differ: [S, S]: those of a mast, those whose cells meet, then the near ones."""
    x, y = (np.array([float(sector[key]) for sector in covered.sectors]) for key in ("x_m", "y_m"))
    away = np.hypot(x[:, None] - x, y[:, None] - y)
    out = 1e-3 / (1 + away) + 1e6 * (away == 0)
    if covered.maps is not None:
        for one, two in _meetings(covered.maps):
            np.add.at(out, (one, two), 1.0)
            np.add.at(out, (two, one), 1.0)
    return np.asarray(out)


def _meetings(maps: MapCoverage) -> Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Servers of neighbouring cells that differ, along rows and along columns."""
    best = maps.served.best
    found = []
    for one, two in ((best[:, 1:], best[:, :-1]), (best[1:], best[:-1])):
        meet = (one != two) & (one >= 0) & (two >= 0)
        found.append((one[meet], two[meet]))
    return found
