"""A sector: an antenna on a mast, where it looks, and what it sends."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.angle_delay import TONE
from uniair.errors import InputError
from uniair.propagation.antenna_pattern import MeasuredPattern
from uniair.radio import OFDM, ULA, UPA, Antennas, Radio

# resource blocks by subcarrier spacing, kHz, and channel bandwidth, MHz: TS 38.101-1, table 5.3.2-1 (FR1), and
# TS 38.101-2, table 5.3.2-1 (FR2)
RESOURCE_BLOCKS = {
    15: {5: 25, 10: 52, 15: 79, 20: 106, 25: 133, 30: 160, 35: 188, 40: 216, 45: 242, 50: 270},
    30: {5: 11, 10: 24, 15: 38, 20: 51, 25: 65, 30: 78, 35: 92, 40: 106, 45: 119, 50: 133, 60: 162, 70: 189, 80: 217,
         90: 245, 100: 273},
    60: {10: 11, 15: 18, 20: 24, 25: 31, 30: 38, 35: 44, 40: 51, 45: 58, 50: 65, 60: 79, 70: 93, 80: 107, 90: 121,
         100: 135},
}  # fmt: skip
RESOURCE_BLOCKS_FR2 = {60: {50: 66, 100: 132, 200: 264}, 120: {50: 32, 100: 66, 200: 132, 400: 264}}
FR2 = 24.25e9  # Hz; TS 38.104, table 5.1-1
MOST_PORTS, LEAST_TONES = 1024, 12  # of a channel that a model reads


@dataclass(frozen=True)
class Sector:
    """One sector. Angles are in radians, as everywhere in the library.

    Attributes:
        name: for people; unique in a plan.
        mast: that it is on.
        bearing: azimuth of the panel's x axis: the boresight's less 90°.
        downtilt: mechanical: of the boresight below the horizon.
        electrical: downtilt by the phases of the rows, below the boresight; a measured pattern holds its own.
        power: of all ports together over the bandwidth, dBm.
        carrier: Hz.
        bandwidth: of the channel, Hz.
        spacing: of the subcarriers, Hz.
        array: the panel.
        measured: the pattern of the whole antenna instead of the array's.
        pci: physical cell identity, 0 to 1007; None: not said.
    """

    name: str
    mast: str
    bearing: float
    downtilt: float
    electrical: float
    power: float
    carrier: float
    bandwidth: float
    spacing: float
    array: Antennas
    measured: MeasuredPattern | None = field(default=None, compare=False)
    pci: int | None = None

    @property
    def azimuth(self) -> float:
        """Of the boresight, clockwise from north: degrees, 0 to 360."""
        return math.degrees(-self.bearing) % 360

    @property
    def subcarriers(self) -> int:
        """How many there are: NR's, where the bandwidth is one of NR's; else all that the band has room for."""
        tables = RESOURCE_BLOCKS_FR2 if self.carrier >= FR2 else RESOURCE_BLOCKS
        blocks = tables.get(round(self.spacing / 1e3), {}).get(round(self.bandwidth / 1e6))
        return max(int(self.bandwidth / self.spacing), 1) if blocks is None else 12 * blocks

    @property
    def power_per_element(self) -> float:
        """Power of a resource element, dBm; the total is spread evenly over the subcarriers."""
        return self.power - 10 * math.log10(self.subcarriers)

    def radio(self, clock: str = "absolute") -> Radio:
        """The radio of the channel that a model reads: each element's ports, a tone every 720 kHz or closer.

        Electrical tilt is in the beams that are sent, and not in that channel. So many tones as the band holds, spread
        about the carrier: closer ones would tell nothing more of paths that are less than 1.39 µs longer than others.

        Args:
            clock: see `Radio`.

        Raises:
            InputError: the antenna is one, measured as a whole, or of more ports than a model is asked about.
        """
        if self.measured is not None:
            raise InputError(f"{self.name}: {self.measured.name} is a measured antenna, whose elements are not known")
        if len(self.array.layout) < 2 or not np.ptp(self.array.layout[:, 0]):
            raise InputError(f"{self.name}: {self.array} tells no direction; a model reads panels of two columns on")
        if self.array.ports > MOST_PORTS:
            raise InputError(f"{self.name}: {self.array.ports:,} ports; a model is asked about {MOST_PORTS:,} or fewer")
        step = max(min(int(TONE / self.spacing), self.subcarriers // LEAST_TONES), 1)
        count = max(self.subcarriers // step, 2)
        first = -step * self.spacing * (count - 1) / 2
        return Radio(self.array, OFDM(count, step * self.spacing, first), self.carrier, clock)

    def beams(self) -> NDArray[np.complex64]:
        """Weights of the beams that the sector is heard through: complex64 [beams, elements of one polarisation].

        A planar array sends one beam a column, the columns' DFT, all rows turned down by the electrical downtilt
        (w_r = e^{j2π r d sin θ} / √rows, TR 36.897, 5.2.2 with one tilt); other arrays have their own beams. Both
        polarisations send each beam, with half of the power.
        """
        plain = replace(self.array, codebook=None, polarisation="vertical")
        if not isinstance(plain, UPA):
            return np.asarray(plain.dft_codebook().numpy())
        turns = plain.vertical * np.arange(plain.rows) * math.sin(self.electrical)
        rows = np.exp(2j * math.pi * turns) / math.sqrt(plain.rows)
        columns = ULA(plain.columns).dft_codebook().numpy()
        return np.asarray(np.kron(rows[None], columns), dtype=np.complex64)

    def response(self, direction: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Amplitude gain of each beam towards unit vectors [P, 3] in the panel's frame: complex128 [P, beams]."""
        if self.measured is not None:
            return np.asarray(10 ** (self.measured.gains(direction)[:, None] / 20), dtype=np.complex128)
        plain = replace(self.array, codebook=self.beams(), polarisation="vertical")
        return np.asarray(plain.response(torch.from_numpy(direction)).numpy(), dtype=np.complex128)

    def element(self, direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Amplitude gain of a single element, or of the whole measured antenna: [P]."""
        if self.measured is not None:
            return np.asarray(10 ** (self.measured.gains(direction) / 20))
        return np.asarray(self.array.amplitude(torch.from_numpy(direction)).numpy())

    def digest(self) -> str:
        """Checksum of all that bears on what it sends, as hexadecimal digits: names don't."""
        numbers = (self.bearing, self.downtilt, self.electrical, self.power, self.carrier, self.bandwidth, self.spacing)
        pattern = None if self.measured is None else self.measured.digest()
        text = json.dumps([*map(float.hex, map(float, numbers)), self.array.to_json(), pattern])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def described(self) -> dict[str, Any]:
        """The sector in the units of a planner's table, as plain JSON."""
        array = self.array
        panel = {"panel": str(array)} if not isinstance(array, UPA) else {
            "rows": array.rows, "columns": array.columns, "polarisation": array.polarisation,
            "vertical_spacing": array.vertical, "horizontal_spacing": array.horizontal,
        }  # fmt: skip
        degrees = {"azimuth_deg": self.azimuth, "mechanical_tilt_deg": math.degrees(self.downtilt),
                   "electrical_tilt_deg": math.degrees(self.electrical)}  # fmt: skip
        return {
            "sector": self.name, "site": self.mast, **{name: round(value, 6) for name, value in degrees.items()},
            "power_dbm": self.power, "carrier_mhz": self.carrier / 1e6, "bandwidth_mhz": self.bandwidth / 1e6,
            "spacing_khz": self.spacing / 1e3, **panel,
            "pattern": array.pattern if self.measured is None else self.measured.name, "pci": self.pci,
        }  # fmt: skip
