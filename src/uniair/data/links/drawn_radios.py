"""Radios drawn anew for every training batch, and what they do to the channels that they measure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.angle_delay import delayed
from uniair.complex_arrays import strongest
from uniair.environment import TALL, Batch, Environment
from uniair.noise import some_noisy
from uniair.propagation.paths import Paths
from uniair.radio import OFDM, ULA, UPA, Antennas, Array, Grid, Radio, Subcarriers

UNSEEN = "radios-v2.json"  # in `uniair.splits`
ENTRIES = 8192  # most ports × subcarriers
ANTENNAS = (4, 128)  # of a line, or of the line that some are left of
ROWS, COLUMNS = (2, 4, 8), (2, 4, 8, 16)  # of a panel
BETWEEN_ROWS = (0.5, 0.7, 0.8)  # wavelengths
APART = (0.4, 0.9)  # wavelengths, along the array, to hundredths
SUBCARRIERS = (12, 400)
BAND = (5e6, 400e6)  # Hz
RASTER, WIDEST = 15e3, 2e6  # Hz: subcarriers are multiples of the one apart, and at most the other
OWN = 0.4  # share of batches that the weights' own radio sees
SNR = (-10.0, 30.0)  # dB
POWER_ERROR = 1.5  # dB, of calibrated gains, standard deviation
CLOCK_ERROR = 5e-9  # s, of absolute clocks, standard deviation
HARDLY = 4 * CLOCK_ERROR  # s: of links with such an error one in 16,000 is off by more
GAIN_ERROR, PHASE_ERROR = 1.0, 15.0  # dB and degrees, of the ports, largest standard deviations
HEIGHTS_HIDDEN = 0.25  # share of areas of which occupancy alone is told


@dataclass(frozen=True)
class Drawn:
    """A radio and what its measurements suffer from.

    Attributes:
        radio: with the carrier of `Radio()`; that of the links is told beside it.
        downtilt: rad.
        noisy: share of links in noise, of an SNR drawn evenly from `SNR`.
        clock_error: standard deviation, s.
        gain_error, phase_error: of the ports, standard deviations, dB and rad.
    """

    radio: Radio
    downtilt: float = 0.0
    noisy: float = 0.3
    clock_error: float = 0.0
    gain_error: float = 0.0
    phase_error: float = 0.0


def draw(rng: np.random.Generator, polarised: bool = True) -> Drawn:
    """Any radio but those of `splits/radios-v2.json`, which stay unseen; often paper 1's. See also `may_draw`.

    Args:
        polarised: the paths know polarisation; else all antennas are vertical.
    """
    calibrated = bool(rng.random() < 0.5)
    if rng.random() < OWN:
        return Drawn(Radio(calibrated=calibrated, clock="first_path" if rng.random() < 0.25 else "absolute"))
    array, downtilt = _array(rng, polarised)
    ue = ULA(1)
    if array.polarisation == "horizontal":
        ue = ULA(1, polarisation="horizontal")
    elif len(array.slants) > 1 and rng.random() < 0.3:
        ue = ULA(1, polarisation="dual")
    clock = "first_path" if rng.random() < 0.5 else "absolute"
    radio = Radio(array, _grid(array.ports, rng), clock=clock, calibrated=calibrated, ue=ue)
    uncertain = rng.random() < 0.3
    return Drawn(
        radio, downtilt, noisy=0.5,
        clock_error=CLOCK_ERROR * float(clock == "absolute" and rng.random() < 0.5),
        gain_error=float(rng.uniform(0, GAIN_ERROR)) * uncertain,
        phase_error=math.radians(rng.uniform(0, PHASE_ERROR)) * uncertain,
    )  # fmt: skip


def _array(rng: np.random.Generator, polarised: bool) -> tuple[Antennas, float]:
    """An array and its tilt, rad."""
    directed = bool(rng.random() < 0.3)
    pattern = "tr38901" if directed else "isotropic"
    polarisation = (
        str(rng.choice(["vertical", "horizontal", "dual", "slanted"], p=[0.6, 0.05, 0.15, 0.2]))
        if polarised
        else "vertical"
    )
    trimmings: dict[str, Any] = {"pattern": pattern, "polarisation": polarisation}
    spacing = 0.5 if rng.random() < 0.5 else round(float(rng.uniform(*APART)), 2)
    while True:
        kind = rng.choice(["line", "panel", "some"], p=[0.5, 0.4, 0.1])
        array: Antennas
        if kind == "panel":
            rows, columns = (some[rng.integers(len(some))] for some in (ROWS, COLUMNS))
            array = UPA(rows, columns, float(rng.choice(BETWEEN_ROWS)), spacing, **trimmings)
        else:
            count = round(2 ** rng.uniform(*np.log2(ANTENNAS)))
            array = ULA(count, spacing, **trimmings)
            if kind == "some" and count >= 8:
                kept = np.sort(rng.choice(count, int(count * rng.uniform(0.5, 0.9)), replace=False))
                array = Array(array.layout[kept], **trimmings)
        if not _held_out(array):
            return array, math.radians(rng.uniform(0, 15)) if directed else 0.0


def _grid(ports: int, rng: np.random.Generator) -> Grid:
    fewest, most = SUBCARRIERS[0], _most(ports)
    while True:
        count = round(math.exp(rng.uniform(math.log(fewest), math.log(most))))
        band = math.exp(rng.uniform(math.log(BAND[0]), math.log(BAND[1])))
        grid: Grid = OFDM(count, _spacing(band, count))
        if rng.random() < 0.15 and count >= 24:  # what is left of a band
            kept = np.sort(rng.choice(count, int(count * rng.uniform(0.5, 0.9)), replace=False))
            grid = Subcarriers(grid.frequencies[kept])
        if grid not in unseen()[1]:
            return grid


def _most(ports: int) -> int:
    """Subcarriers at most of so many ports."""
    return max(min(SUBCARRIERS[1], ENTRIES // ports), SUBCARRIERS[0])


def _spacing(band: float, count: int) -> float:
    """Hz between so many subcarriers that share a band, Hz."""
    return min(max(round(band / count / RASTER) * RASTER, RASTER), WIDEST)


def may_draw(radio: Radio) -> bool:
    """Whether training may draw these antennas and this grid, or ones like them in all but the elements.

    Of lines, panels and OFDM grids alone, not of what is left of them. An array or grid that is not drawn may have
    neighbours that are: 63 and 65 antennas where 64 are kept for the test.
    """
    if not radio.differs(Radio(clock=radio.clock, calibrated=radio.calibrated, carrier=radio.carrier)):
        return True
    array, grid = radio.array, radio.grid
    if array.codebook is not None or _held_out(array) or grid in unseen()[1]:
        return False
    if isinstance(array, ULA):
        apart, fits = array.spacing, ANTENNAS[0] <= array.antennas <= ANTENNAS[1]
    elif isinstance(array, UPA):
        apart = array.horizontal
        fits = array.rows in ROWS and array.columns in COLUMNS and array.vertical in BETWEEN_ROWS
    else:
        raise TypeError(f"{array}: neither a line nor a panel")
    if not isinstance(grid, OFDM):
        raise TypeError(f"{grid}: no OFDM grid")
    count, spacing = grid.subcarriers, grid.spacing
    narrowest, widest = (_spacing(band, count) for band in BAND)
    return (
        fits and APART[0] <= apart <= APART[1] and round(apart, 2) == apart and not grid.first
        and SUBCARRIERS[0] <= count <= _most(array.ports) and narrowest <= spacing <= widest
        and (spacing % RASTER == 0 or spacing == WIDEST)
    )  # fmt: skip


def _held_out(array: Antennas) -> bool:
    layout = array.layout
    return any(layout.shape == one.layout.shape and np.allclose(layout, one.layout) for one in unseen()[0])


@lru_cache(maxsize=1)
def unseen() -> tuple[tuple[Antennas, ...], tuple[Grid, ...], tuple[float, ...]]:
    """Arrays (whatever their elements), grids and carriers, Hz, that no training draws."""
    held = json.loads((files("uniair.splits") / UNSEEN).read_text(encoding="utf-8"))
    radios = [Radio.from_json({"array": array}, UNSEEN) for array in held["arrays"]]
    grids = [Radio.from_json({"grid": grid}, UNSEEN).grid for grid in held["grids"]]
    return tuple(radio.array for radio in radios), tuple(grids), tuple(held["carriers"])


def measured(paths: Paths, environment: Environment, drawn: Drawn, rng: np.random.Generator) -> Batch:
    """A batch as the drawn radio measures it.

    Args:
        paths: of N links whose arrays lie along +x.
        environment: theirs, checked tensors.
    """
    radio = drawn.radio
    clean = strongest(paths.csi(radio, downtilt=drawn.downtilt))
    own = Radio(array=ULA(pattern=radio.array.pattern), clock=radio.clock)
    wide = clean if radio == own else paths.csi(own, downtilt=drawn.downtilt)
    if drawn.clock_error:
        late = torch.from_numpy(rng.normal(0, drawn.clock_error, len(clean)))
        clean, wide = delayed(clean, radio, late), delayed(wide, own, late)
    csi = some_noisy(clean * _errors(drawn, radio.array.ports, rng), drawn.noisy, SNR, rng)
    if radio.calibrated:
        error = 10 ** (rng.normal(0, POWER_ERROR, len(csi)) / 20)
        csi = csi * torch.from_numpy(error.astype(np.float32))[:, None, None]
    if environment.map is not None:
        hidden = torch.from_numpy(rng.random(len(environment.map)) < HEIGHTS_HIDDEN)[:, None, None]
        environment = replace(environment, map=torch.where(hidden & (environment.map > 0), TALL, environment.map))
    if radio.array.pattern != "isotropic":
        environment = replace(environment, downtilt=torch.full((len(csi),), drawn.downtilt))
    return Batch(csi, environment.seen_by(radio), radio, clean, wide)


def _errors(drawn: Drawn, ports: int, rng: np.random.Generator) -> Tensor:
    """What the ports are multiplied with: complex64 [ports, 1]."""
    if not (drawn.gain_error or drawn.phase_error):
        return torch.ones(ports, 1, dtype=torch.complex64)
    gain = 10 ** (rng.normal(0, drawn.gain_error, ports) / 20)
    return torch.from_numpy((gain * np.exp(1j * rng.normal(0, drawn.phase_error, ports))).astype(np.complex64))[:, None]
