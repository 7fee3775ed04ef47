"""Maps of what sectors send over a square of ground, from Sionna RT's `RadioMapSolver`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing, Scene, require_sionna
from uniair.propagation.sector import Sector

STEP = 0.5  # degrees between the entries of a pattern's table
MOST_CELLS = 4_000_000


@dataclass(frozen=True)
class Cells:
    """Square cells over an area, row 0 in the south.

    Attributes:
        side: of a cell, m.
        rows, columns: how many.
        corner: x, y of the south-west one's own south-west corner, m.
        height: of the map above ground, m.
    """

    side: float
    rows: int
    columns: int
    corner: tuple[float, float]
    height: float = UE_HEIGHT

    @classmethod
    def over(cls, area: Area, side: float, height: float = UE_HEIGHT) -> Cells:
        """Cells that cover an area.

        Raises:
            InputError: none, or millions.
        """
        if not (side > 0 and area.width * area.depth / side**2 <= MOST_CELLS):
            raise InputError(f"--cell {side:g}: must be above 0 m, and give at most {MOST_CELLS:,} cells")
        # a side that divides the area but for rounding adds no cell
        rows, columns = (math.ceil(extent / side - 1e-6) for extent in (area.depth, area.width))
        return cls(side, rows, columns, (area.bounds[0], area.bounds[1]), height)

    @property
    def centres(self) -> NDArray[np.float64]:
        """[rows, columns, 3] m."""
        x = self.corner[0] + self.side * (np.arange(self.columns) + 0.5)
        y = self.corner[1] + self.side * (np.arange(self.rows) + 0.5)
        return np.stack([*np.meshgrid(x, y), np.full((self.rows, self.columns), self.height)], -1)


@dataclass(frozen=True)
class SectorMap:
    """What a sector sends to each cell, averaged over it; NaN where no ray came by.

    Attributes:
        rsrp: [rows, columns] dBm of a resource element, each ray in the beam that is strongest in its direction: the
            envelope of the beams. Links have one beam for all of their paths, which is less, or the same.
        mean_rsrp: [rows, columns] dBm, the mean power over the beams.
    """

    rsrp: NDArray[np.float64]
    mean_rsrp: NDArray[np.float64]


def sector_map(
    scene: Scene,
    sector: Sector,
    position: tuple[float, float, float],
    cells: Cells,
    config: RayTracing = RayTracing(),
    samples: int = 10_000_000,
) -> SectorMap:
    """Maps one sector, to users who take in both polarisations.

    Args:
        scene: see `ray_tracing.build_scene`, at the sector's carrier.
        position: of its mast, m.
        config: depth, reflection, diffraction, transmission and seed are meant.
        samples: rays; a cell that few of them pass has a value that is off by a decibel or more.

    Raises:
        InputError: sionna-rt or LLVM missing.
    """
    rsrp = mean = _decibels(_path_gain(scene, sector, position, cells, config, samples, _envelope))
    if sector.measured is None and len(sector.beams()) > 1:
        mean = _decibels(_path_gain(scene, sector, position, cells, config, samples, _mean))
    return SectorMap(*(np.where(np.isfinite(gain), sector.power_per_element + gain, np.nan) for gain in (rsrp, mean)))


Combine = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _decibels(gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of nothing minus infinity."""
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(gain))


def _envelope(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(power.max(-1))


def _mean(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(power.mean(-1))


def _path_gain(
    scene: Scene,
    sector: Sector,
    position: tuple[float, float, float],
    cells: Cells,
    config: RayTracing,
    samples: int,
    combine: Combine,
) -> NDArray[np.float64]:
    """Power gain, the sector's antenna included: [rows, columns]; the scene's own transmitters and array come back."""
    rt = require_sionna()
    import mitsuba as mi

    kept, devices = scene.tx_array, list(scene.transmitters.values())
    for device in devices:
        scene.remove(device.name)
    try:
        # two crossed ports with half of the power each are a circular wave: off a lossless wall its two parts don't mix
        slants = sector.array.slants
        weights = np.array([1.0, 1.0j] if len(slants) > 1 else [1.0 + 0j]) / math.sqrt(len(slants))
        polarisation = "VH" if len(slants) > 1 else "H" if slants[0] else "V"
        pattern = rt.antenna_pattern.PolarizedAntennaPattern(
            v_pattern=_looked_up(_table(sector, combine)), polarization=polarisation
        )
        scene.tx_array = rt.AntennaArray(pattern, mi.Point3f(0, 0, 0))
        look = (sector.bearing + math.pi / 2, sector.downtilt, 0.0)
        scene.add(rt.Transmitter("sector", position=[float(v) for v in position], orientation=[float(v) for v in look]))
        middle = (cells.corner[0] + cells.side * cells.columns / 2, cells.corner[1] + cells.side * cells.rows / 2)
        found = rt.RadioMapSolver()(
            scene,
            center=mi.Point3f(*map(float, middle), cells.height),
            orientation=mi.Point3f(0, 0, 0),
            # a little less, so that rounding adds no row
            size=mi.Point2f(cells.side * (cells.columns - 0.01), cells.side * (cells.rows - 0.01)),
            cell_size=mi.Point2f(cells.side, cells.side),
            precoding_vec=(mi.Float(weights.real.tolist()), mi.Float(weights.imag.tolist())),
            samples_per_tx=samples,
            max_depth=config.depth,
            specular_reflection=config.reflection,
            refraction=config.transmission,
            diffraction=config.diffraction,
            seed=config.seed,
        )
        return np.asarray(found.path_gain.numpy(), dtype=np.float64)[0]
    finally:
        scene.remove("sector")
        scene.tx_array = kept
        for device in devices:
            scene.add(device)


def _table(sector: Sector, combine: Combine) -> NDArray[np.float32]:
    """Amplitude by zenith angle (0 to 180°, rows) and azimuth (−180° to 180° from the boresight, to the left)."""
    zenith = np.radians(np.arange(0, 180 + STEP / 2, STEP))
    azimuth = np.radians(np.arange(-180, 180 + STEP / 2, STEP))
    rows = []
    for angle in zenith:  # one at a time: arrays have hundreds of elements
        sine = math.sin(angle)
        direction = np.column_stack(
            [-sine * np.sin(azimuth), sine * np.cos(azimuth), np.full(len(azimuth), math.cos(angle))]
        )
        rows.append(np.sqrt(combine(np.abs(sector.response(direction)) ** 2)))
    return np.asarray(rows, dtype=np.float32)


def _looked_up(table: NDArray[np.float32]) -> Callable[[Any, Any], Any]:
    """A pattern function of Sionna RT's from a table of amplitudes, linear between its entries."""
    import drjit as dr
    import mitsuba as mi

    rows, columns = table.shape
    values = mi.Float(table.ravel())
    pair: Any = mi.Complex2f

    def pattern(theta: Any, phi: Any) -> Any:
        turned = phi - 2 * dr.pi * dr.floor((phi + dr.pi) / (2 * dr.pi))
        row = dr.clip(theta / dr.pi, 0, 1) * (rows - 1)
        column = dr.clip((turned + dr.pi) / (2 * dr.pi), 0, 1) * (columns - 1)
        r, c = dr.minimum(mi.UInt(row), rows - 2), dr.minimum(mi.UInt(column), columns - 2)
        u, v = row - mi.Float(r), column - mi.Float(c)

        def at(i: int, j: int) -> Any:
            return dr.gather(mi.Float, values, (r + i) * columns + c + j)

        amplitude = (1 - u) * ((1 - v) * at(0, 0) + v * at(0, 1)) + u * ((1 - v) * at(1, 0) + v * at(1, 1))
        return pair(amplitude, 0)

    return pattern
