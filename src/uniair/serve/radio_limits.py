"""Radios that requests name: how large they may be, and how much their matched filters may take."""

from __future__ import annotations

import threading
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from uniair.angle_delay import elevations, filters
from uniair.errors import InputError
from uniair.radio import OFDM, ULA, Radio

PORTS, SUBCARRIERS = 1024, 4096
WEIGHTS = 65_536  # of a codebook
HIGHEST = 16.0  # wavelengths from the lowest to the highest element: as many directions upwards are looked at
WORK = 2**27  # of a request, see `work`
ROOM = 2**28  # bytes of matched filters that are kept
MOST = 48  # radios whose filters are kept

Wavelengths = Annotated[FiniteFloat, Field(ge=-1_000, le=1_000)]
Spacing = Annotated[FiniteFloat, Field(gt=0, le=100, description="In wavelengths.")]
Count = Annotated[int, Field(ge=1, le=PORTS)]
Hertz = Annotated[FiniteFloat, Field(ge=-1e12, le=1e12)]
Above = Annotated[FiniteFloat, Field(gt=0, le=1e12)]
Weight = Annotated[list[FiniteFloat], Len(2, 2)]


class Named(BaseModel):
    """A part of a radio: names that are not known are refused."""

    model_config = ConfigDict(extra="forbid")


class Elements(Named):
    """What every array has."""

    pattern: Literal["isotropic", "tr38901"] = "isotropic"
    polarisation: Literal["vertical", "horizontal", "dual", "slanted"] = Field(
        "vertical", description="Dual and slanted have two ports each, all of the first polarisation before the second."
    )
    codebook: Annotated[list[Annotated[list[Weight], Len(1, PORTS)]], Len(1, PORTS)] | None = Field(
        None, description="[beams, antennas] of [real, imaginary]: beams are measured, and not antennas."
    )


class Ula(Elements):
    """Antennas in a line."""

    kind: Literal["ula"]
    antennas: Count = ULA().antennas
    spacing: Spacing = ULA().spacing


class Upa(Elements):
    """Antennas in rows and columns."""

    kind: Literal["upa"]
    rows: Count
    columns: Count
    vertical: Spacing = 0.5
    horizontal: Spacing = 0.5


class Anywhere(Elements):
    """Antennas anywhere."""

    kind: Literal["array"]
    positions: Annotated[list[Annotated[list[Wavelengths], Len(3, 3)]], Len(1, PORTS)]


class Ofdm(Named):
    """Subcarriers a spacing apart, Hz."""

    kind: Literal["ofdm"]
    subcarriers: Annotated[int, Field(ge=2, le=SUBCARRIERS)] = OFDM().subcarriers
    spacing: Above = OFDM().spacing
    first: Hertz = 0.0


class Tones(Named):
    """Any rising frequencies, Hz from the carrier."""

    kind: Literal["subcarriers"]
    tones: Annotated[list[Hertz], Len(2, SUBCARRIERS)]


Antennas = Annotated[Ula | Upa | Anywhere, Field(discriminator="kind")]


class RadioOf(Named):
    """The radio that measured the CSI, as `uniair.Radio.to_json` gives it; what is left out is paper 1's."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "array": {"kind": "ula", "antennas": 16, "spacing": 0.5},
                "grid": {"kind": "ofdm", "subcarriers": 128, "spacing": 240e3},
                "carrier": Radio().carrier, "clock": "absolute", "calibrated": False,
            }
        },
    )  # fmt: skip

    format: str | None = None
    array: Antennas | None = None
    grid: Annotated[Ofdm | Tones, Field(discriminator="kind")] | None = None
    carrier: Above | None = None
    clock: Literal["absolute", "first_path"] | None = None
    calibrated: bool | None = None
    ue: Antennas | None = Field(
        None, description="The user's antennas: csi is then [N, UE ports, ports, subcarriers]; one where left out."
    )

    def checked(self) -> Radio:
        """The radio.

        Raises:
            InputError: one that can't be, or that is too large.
        """
        self._check_size()
        radio = Radio.from_json(self.model_dump(exclude_none=True))
        height = float(radio.array.layout[:, 2].max() - radio.array.layout[:, 2].min())
        if height > HIGHEST:
            raise InputError(f"radio: the array is {height:g} wavelengths high; {HIGHEST:g} or less are served")
        return radio

    def _check_size(self) -> None:
        """Before anything is made of it."""
        for array in (self.array, self.ue):
            if isinstance(array, Upa) and array.rows * array.columns > PORTS:
                raise InputError(f"radio: {array.rows} × {array.columns} antennas; {PORTS} or fewer are served")
            if array is not None and array.codebook is not None and sum(map(len, array.codebook)) > WEIGHTS:
                raise InputError(f"radio: a codebook of over {WEIGHTS:,} weights; fewer are served")


def work(radio: Radio) -> int:
    """How much one CSI of a radio costs: directions upwards × ports × subcarriers; 2,048 for paper 1's."""
    ports, subcarriers = radio.shape
    return len(elevations(radio.array.layout)) * radio.ue.ports * ports * subcarriers


class Room:
    """Forgets matched filters before those of ever-new radios fill the memory."""

    def __init__(self, beams: int) -> None:
        self.beams = beams
        self._taken: dict[Radio, int] = {}
        self._lock = threading.Lock()

    def note(self, radio: Radio) -> None:
        """A radio whose filters are about to be needed."""
        with self._lock:
            if radio in self._taken:
                return
            size = self._size(radio)
            if len(self._taken) >= MOST or sum(self._taken.values()) + size > ROOM:
                filters.cache_clear()
                self._taken.clear()
            self._taken[radio] = size

    def _size(self, radio: Radio) -> int:
        """Bytes, roughly: of filters, and of a codebook, which are Python's numbers."""
        codebook: Any = radio.array.codebook or ()
        rows = len(elevations(radio.array.layout)) * self.beams * radio.array.ports
        return 8 * (rows + radio.grid.subcarriers * 64) + 64 * sum(map(len, codebook))
