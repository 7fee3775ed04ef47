"""The radio that a channel is seen through: carrier, array, grid of subcarriers, clock, and what its amplitudes mean.

A channel is paths seen through a radio. The paths are what the place determines, the radio is known: it is named here,
once, and travels with links, weights, sites, requests and exports.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.errors import InputError

FORMAT = "uniair-radio/1"
SPEED_OF_LIGHT = 299_792_458.0
FINE = 8  # terms of a geometric series in one coarse step
CLOCKS = ("absolute", "first_path")
PATTERNS = ("isotropic", "tr38901")
# angles of the elements' polarisation from the vertical, rad, one a port that an element has
POLARISATIONS = {
    "vertical": (0.0,),
    "horizontal": (math.pi / 2,),
    "dual": (0.0, math.pi / 2),
    "slanted": (math.pi / 4, -math.pi / 4),
}
LOOKS = 65  # direction cosines an axis at which measured beams are looked for
SAME_CARRIER = 0.05  # carriers that differ by less see the same walls
MOST = 65_536  # antennas, beams or subcarriers
LARGEST = 1e6  # wavelengths, or the modulus of a codebook's weight
CARRIERS = (1e6, 1e13)  # Hz


def geometric(phase: Tensor, terms: int, first: Tensor | None = None) -> Tensor:
    """The series first · e^{j·phase·n} for n = 0 … terms − 1: complex64 [..., terms].

    A term is the product of a coarse (n = 0, 8, 16, …) and a fine step (0 to 7), so that 64 terms take 16 exponentials.
    Whole turns are taken off in float64, so that float32 does for the rest: the error stays below 1e-6.

    Args:
        phase: float64 [...], rad.
        first: complex64 [...], the series' first term; 1 if not given.
    """
    turns = (phase / (2 * math.pi)).unsqueeze(-1)

    def exponential(steps: Tensor) -> Tensor:
        turn = turns * steps
        angle = ((turn - turn.round()) * (2 * math.pi)).to(torch.float32)
        return torch.complex(torch.cos(angle), torch.sin(angle))

    steps = torch.arange(0, terms + FINE - 1, dtype=torch.float64, device=phase.device)
    fine, coarse = exponential(steps[:FINE]), exponential(steps[:terms:FINE])
    if first is not None:
        coarse = coarse * first.unsqueeze(-1)
    return (coarse.unsqueeze(-1) * fine.unsqueeze(-2)).flatten(-2)[..., :terms]


def _check_direction(direction: Tensor, components: tuple[int, ...]) -> None:
    if not direction.ndim or direction.shape[-1] not in components:
        raise InputError(f"array: directions have shape {tuple(direction.shape)}, expected [..., {components[-1]}]")


def _whole(self: Any, name: str, what: str, most: int = MOST) -> None:
    """Checks a count of a frozen dataclass, and makes it Python's own number, as JSON asks for."""
    value = getattr(self, name)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"{what} is {value!r:.60}; give a whole number from 1 to {most:,}")
    object.__setattr__(self, name, int(value))


def _number(self: Any, name: str, what: str, least: float = -math.inf, most: float = math.inf) -> None:
    """Checks a number of a frozen dataclass, above `least` and up to `most`, and makes it a float."""
    value = getattr(self, name)
    plain = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not plain or not least < value <= most or not math.isfinite(float(value)):
        limits = f" above {least:g}" * (least > -math.inf) + f", up to {most:g}" * (most < math.inf)
        raise InputError(f"{what} is {value!r:.60}; give a finite number{limits}")
    object.__setattr__(self, name, float(value))


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    """Real numbers as an array; strings, booleans and complex ones are none."""
    try:
        given = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
        if given.dtype.kind not in "iuf" and given.size:
            raise ValueError("of another kind")
        return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what} are not real numbers") from error


def _hertz(value: float) -> str:
    for unit, size in (("GHz", 1e9), ("MHz", 1e6), ("kHz", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.6g} {unit}"
    return f"{value:g} Hz"


@dataclass(frozen=True, kw_only=True)
class Antennas:
    """What every array has; use `ULA`, `UPA` or `Array`.

    An array stands in its own frame: x along it, z up, and y, its boresight, at right angles to both. A base station's
    bearing is the azimuth of that x.

    Attributes:
        pattern: of each element: `isotropic`, or `tr38901` (3GPP TR 38.901, table 7.3-1: 8 dBi towards the boresight).
        codebook: complex [beams, elements]: what is measured are beams, y_b = Σ_n conj(c_bn) h_n; None: the elements.
        polarisation: of each element: `vertical`, `horizontal`, or two ports each: `dual` (vertical and horizontal) or
            `slanted` (±45°, TR 38.901, 7.3.2, model 2). All elements of the first come before those of the second.
    """

    kind: ClassVar[str] = ""

    pattern: str = "isotropic"
    codebook: Any = None
    polarisation: str = "vertical"

    def _check(self) -> None:
        if self.polarisation not in POLARISATIONS:
            raise InputError(f"array: polarisation {self.polarisation!r:.40} is none of {', '.join(POLARISATIONS)}")
        if self.pattern not in PATTERNS:
            raise InputError(f"array: pattern {self.pattern!r} is none of {', '.join(PATTERNS)}")
        if self.codebook is not None:
            try:
                given = (
                    self.codebook.detach().resolve_conj().cpu() if isinstance(self.codebook, Tensor) else self.codebook
                )
                rows = np.asarray(given)
                if rows.dtype.kind not in "iufc":
                    raise ValueError("of another kind")
                rows = rows.astype(np.complex128)
            except (TypeError, ValueError, OverflowError) as error:
                raise InputError("array: the codebook is not a matrix of numbers [beams, elements]") from error
            elements = len(self.layout) * len(self.slants)
            if rows.ndim != 2 or not 1 <= len(rows) <= MOST or rows.shape[1] != elements or (
                not np.isfinite(rows).all()
            ):  # fmt: skip
                raise InputError(
                    f"array: the codebook has shape {rows.shape} or NaN, expected finite [beams, {elements}]"
                )
            if not rows.any() or np.abs(rows).max() > LARGEST:
                raise InputError(f"array: the codebook is all zero, or has weights above {LARGEST:g}")
            object.__setattr__(self, "codebook", tuple(map(tuple, rows.tolist())))  # hashable

    @property
    def layout(self) -> NDArray[np.float64]:
        """Where the elements are in the array's frame: [elements, 3] wavelengths."""
        raise NotImplementedError

    @property
    def slants(self) -> tuple[float, ...]:
        """Angles of an element's polarisations from the vertical, rad."""
        return POLARISATIONS[self.polarisation]

    @property
    def ports(self) -> int:
        """What is measured: beams where there is a codebook, else each polarisation of each element; see `Radio`."""
        return len(self.layout) * len(self.slants) if self.codebook is None else len(self.codebook)

    def alike(self, other: Antennas) -> bool:
        """Whether both measure the same, whatever kind they are of: a `UPA` of one row is a `ULA`."""
        layout = self.layout.shape == other.layout.shape and np.allclose(self.layout, other.layout, atol=1e-9)
        names = ("pattern", "codebook", "polarisation")
        return layout and all(getattr(self, name) == getattr(other, name) for name in names)

    @property
    def along_x(self) -> bool:
        """Whether the response follows from the direction cosine along x alone."""
        return False

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of the elements: [3] wavelengths; where a channel's phase is referred to."""
        return (self.layout.min(0) + self.layout.max(0)) / 2

    def response(self, direction: Tensor, gain: Tensor | None = None) -> Tensor:
        """What each port takes in from plane waves: gain · e^{−j2π p_n·d}: complex64 [..., ports].

        With paper 1's ULA, a_n = e^{−jπ n sinϑ cosφ} (paper 1, eq. 2).

        Args:
            direction: float64 [..., 3] unit vectors of departure in the array's frame.
            gain: complex64 [...]; of two polarisations [..., 2], what the wave is to each; 1 if not given.
        """
        _check_direction(direction, (3,))
        turns = direction @ torch.from_numpy(self.layout.T).to(direction.device)
        angle = (-2 * math.pi * (turns - turns.round())).to(torch.float32)
        out = torch.complex(torch.cos(angle), torch.sin(angle))
        return self._ports(out, direction, gain)

    def _ports(self, out: Tensor, direction: Tensor, gain: Tensor | None) -> Tensor:
        """Isotropic elements [..., elements] → ports, pattern and gain put on."""
        if self.pattern != "isotropic":
            out = out * self.amplitude(direction)[..., None].to(torch.float32)
        if len(self.slants) > 1:
            gain = out.new_ones(*out.shape[:-1], 2) if gain is None else gain
            out = (gain[..., None] * out[..., None, :]).flatten(-2)
        elif gain is not None:
            out = out * gain[..., None]
        if self.codebook is not None:
            out = out @ torch.tensor(self.codebook, dtype=torch.complex64, device=out.device).mH
        return out

    def amplitude(self, direction: Tensor) -> Tensor:
        """Of an element's pattern towards directions float64 [..., 3]: [...]; 1 for isotropic elements."""
        if self.pattern == "isotropic":
            return torch.ones_like(direction[..., 0])
        azimuth = torch.rad2deg(torch.atan2(direction[..., 0], direction[..., 1]))
        below = torch.rad2deg(torch.asin(direction[..., 2].clamp(-1, 1)))
        loss = (12 * (azimuth / 65).square()).clamp_max(30) + (12 * (below / 65).square()).clamp_max(30)
        amplitude: Tensor = 10 ** ((8 - loss.clamp_max(30)) / 20)
        return amplitude

    def dft_codebook(self) -> Tensor:
        """The beams that the array can choose from, as rows of unit norm: complex64 [ports, ports].

        DFT beams of a ULA; rows × columns of them of a UPA; of elements anywhere plane waves in front of the array,
        their direction cosines along it spread evenly. Where beams are measured, the choice is among these.
        """
        if self.codebook is not None:
            return torch.eye(self.ports, dtype=torch.complex64)
        return torch.kron(torch.eye(len(self.slants), dtype=torch.complex64), self._beams())

    def beam_cosines(self) -> NDArray[np.float64]:
        """Where the beams of `dft_codebook` point to: direction cosines along x and upwards, [ports, 2].

        A ULA's beams are cones about x: upwards is 0. Elements over half a wavelength apart look in several directions
        at once; the one nearest to the boresight is given.
        """
        if self.codebook is not None:
            return self._looked_at()
        return np.tile(self._directions(), (len(self.slants), 1))

    def _beams(self) -> Tensor:
        along = torch.from_numpy(self._directions()[:, 0])
        direction = torch.stack([along, (1 - along.square()).sqrt(), torch.zeros_like(along)], -1)
        turns = direction @ torch.from_numpy(self.layout.T)
        return torch.polar(torch.full_like(turns, len(along) ** -0.5), -2 * math.pi * turns).to(torch.complex64)

    def _directions(self) -> NDArray[np.float64]:
        count = len(self.layout)
        along = _folded(2 * np.arange(count) / count, 2.0)
        return np.column_stack([along, np.zeros_like(along)])

    def _looked_at(self) -> NDArray[np.float64]:
        """The directions in front of the array that measured beams take in most of."""
        axis = torch.linspace(-1, 1, LOOKS, dtype=torch.float64)
        up = axis if np.ptp(self.layout[:, 2]) else axis.new_zeros(1)
        along, up = (values.ravel() for values in torch.meshgrid(axis, up, indexing="ij"))
        ahead = 1 - along.square() - up.square()
        direction = torch.stack([along, ahead.clamp_min(0).sqrt(), up], -1)[ahead >= 0]
        best = self.response(direction).abs().argmax(0)
        found: NDArray[np.float64] = direction[best][:, [0, 2]].numpy()
        return found

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; entries at their defaults are left out."""
        entries: dict[str, Any] = {"kind": self.kind}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "codebook" and value is not None:
                value = [[[w.real, w.imag] for w in row] for row in value]
            if field.name not in Antennas.__dataclass_fields__ or value != field.default:
                entries[field.name] = value
        return dict(json.loads(json.dumps(entries)))


@dataclass(frozen=True)
class ULA(Antennas):
    """A uniform linear array along x: `antennas` elements, `spacing` wavelengths apart, element 0 at the BS."""

    kind: ClassVar[str] = "ula"

    antennas: int = 32
    spacing: float = 0.5

    def __post_init__(self) -> None:
        _whole(self, "antennas", "array: antennas")
        _number(self, "spacing", "array: spacing", 0, LARGEST)
        self._check()

    @property
    def layout(self) -> NDArray[np.float64]:
        """[antennas, 3] wavelengths."""
        out = np.zeros((self.antennas, 3))
        out[:, 0] = self.spacing * np.arange(self.antennas)
        return out

    def response(self, direction: Tensor, gain: Tensor | None = None) -> Tensor:
        """See `Antennas.response`; of isotropic elements the direction cosine along the array does: [..., 1]."""
        _check_direction(direction, (1, 3) if self.along_x else (3,))
        phase = -2 * math.pi * self.spacing * direction[..., 0]
        if self.along_x and self.codebook is None:
            return geometric(phase, self.antennas, gain)
        return self._ports(geometric(phase, self.antennas), direction, gain)

    @property
    def along_x(self) -> bool:
        """True of isotropic, vertically polarised elements."""
        return (self.pattern, self.polarisation) == ("isotropic", "vertical")

    def _beams(self) -> Tensor:
        """Beam b points to the direction cosine b / (spacing · antennas), modulo 1 / spacing."""
        return _dft(self.antennas)

    def _directions(self) -> NDArray[np.float64]:
        along = _folded(np.arange(self.antennas) / (self.spacing * self.antennas), 1 / self.spacing)
        return np.column_stack([along, np.zeros_like(along)])

    def __str__(self) -> str:
        return f"ULA of {self.antennas}, {self.spacing:g} λ apart{_trimmings(self)}"


@dataclass(frozen=True)
class UPA(Antennas):
    """A uniform planar array: `columns` along x, `rows` upwards; element r · columns + c is in row r and column c."""

    kind: ClassVar[str] = "upa"

    rows: int
    columns: int
    vertical: float = 0.5
    horizontal: float = 0.5

    def __post_init__(self) -> None:
        _whole(self, "rows", "array: rows", 1024)
        _whole(self, "columns", "array: columns", 1024)
        _number(self, "vertical", "array: vertical spacing", 0, LARGEST)
        _number(self, "horizontal", "array: horizontal spacing", 0, LARGEST)
        self._check()

    @property
    def layout(self) -> NDArray[np.float64]:
        """[antennas, 3] wavelengths."""
        row, column = np.divmod(np.arange(self.rows * self.columns), self.columns)
        out = np.zeros((self.rows * self.columns, 3))
        out[:, 0], out[:, 2] = self.horizontal * column, self.vertical * row
        return out

    def _beams(self) -> Tensor:
        """Beam v · columns + h is beam v of a column and beam h of a row."""
        return torch.kron(_dft(self.rows), _dft(self.columns))

    def _directions(self) -> NDArray[np.float64]:
        row, column = np.divmod(np.arange(self.rows * self.columns), self.columns)
        along = _folded(column / (self.horizontal * self.columns), 1 / self.horizontal)
        return np.column_stack([along, _folded(row / (self.vertical * self.rows), 1 / self.vertical)])

    def __str__(self) -> str:
        return f"UPA of {self.rows} × {self.columns}, {self.vertical:g} × {self.horizontal:g} λ apart{_trimmings(self)}"


@dataclass(frozen=True)
class Array(Antennas):
    """Elements anywhere.

    Attributes:
        positions: [antennas, 3] x, y, z in wavelengths.
    """

    kind: ClassVar[str] = "array"

    positions: Any

    def __post_init__(self) -> None:
        positions = _numbers(self.positions, "array: positions [antennas, 3], in wavelengths,")
        if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
            raise InputError(f"array: positions have shape {positions.shape}, expected [antennas, 3] in wavelengths")
        if not np.isfinite(positions).all():
            raise InputError("array: positions hold NaN or infinite values")
        if len(positions) > MOST or np.abs(positions).max() > LARGEST:
            raise InputError(f"array: more than {MOST:,} antennas, or one more than {LARGEST:g} wavelengths away")
        if len(np.unique(positions.round(9), axis=0)) < len(positions):
            raise InputError("array: two elements stand at the same position; give each once")
        object.__setattr__(self, "positions", tuple(map(tuple, positions.tolist())))
        self._check()

    @property
    def layout(self) -> NDArray[np.float64]:
        """[antennas, 3] wavelengths."""
        return np.array(self.positions, dtype=np.float64)

    def __str__(self) -> str:
        wide, deep, high = np.ptp(self.layout, axis=0)
        return f"array of {len(self.positions)} over {wide:g} × {deep:g} × {high:g} λ{_trimmings(self)}"


def _dft(count: int) -> Tensor:
    """DFT beams of so many elements as rows, unit norm: complex64 [count, count]."""
    steps = torch.arange(count, dtype=torch.float64)
    return geometric(-2 * math.pi / count * steps, count) / math.sqrt(count)


def _folded(cosine: NDArray[np.floating], period: float) -> NDArray[np.float64]:
    """Direction cosines that an array can't tell from others a period away, nearest to 0."""
    return np.asarray((cosine + period / 2) % period - period / 2, dtype=np.float64)


def _trimmings(array: Antennas) -> str:
    pattern = "" if array.polarisation == "vertical" else f", {array.polarisation} polarisation"
    pattern += "" if array.pattern == "isotropic" else f", pattern {array.pattern}"
    return pattern + ("" if array.codebook is None else f", {array.ports} beams measured")


@dataclass(frozen=True)
class OFDM:
    """`subcarriers` tones `spacing` hertz apart; 64 × 720 kHz is paper 1's 46.08 MHz.

    A comb is one of wider spacing, a band beside starts at another `first`: OFDM(64, 720e3, 46.08e6) is the next one.

    Attributes:
        first: frequency of subcarrier 0, Hz, from where the paths' gains have their phase (the carrier).
    """

    kind: ClassVar[str] = "ofdm"

    subcarriers: int = 64
    spacing: float = 720e3
    first: float = 0.0

    def __post_init__(self) -> None:
        _whole(self, "subcarriers", "grid: subcarriers")
        _number(self, "spacing", "grid: spacing", 0)
        _number(self, "first", "grid: first subcarrier")

    @property
    def bandwidth(self) -> float:
        """Occupied bandwidth, Hz."""
        return self.subcarriers * self.spacing

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Of the subcarriers from the carrier: [subcarriers] Hz."""
        return self.first + self.spacing * np.arange(self.subcarriers, dtype=np.float64)

    def response(self, delay: Tensor) -> Tensor:
        """e^{−j2π f_k τ}, f_k = k Δf (paper 1, eqs. 1 and 3): complex64 [..., subcarriers].

        Args:
            delay: float64 [...] s.
        """
        tones = geometric(-2 * math.pi * self.spacing * delay, self.subcarriers)
        return tones * geometric(-2 * math.pi * self.first * delay, 2)[..., 1:] if self.first else tones

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        entries: dict[str, Any] = {"kind": "ofdm", "subcarriers": self.subcarriers, "spacing": self.spacing}
        return entries | ({"first": self.first} if self.first else {})

    def __str__(self) -> str:
        first = f" from {_hertz(self.first)}" if self.first else ""
        return f"{self.subcarriers} × {_hertz(self.spacing)}{first}"


@dataclass(frozen=True)
class Subcarriers:
    """Any rising frequencies: pilots, resource-block centres, what is left of a band.

    Attributes:
        tones: Hz from the carrier, rising.
    """

    kind: ClassVar[str] = "subcarriers"

    tones: Any

    def __post_init__(self) -> None:
        tones = _numbers(self.tones, "grid: subcarrier frequencies, in Hz,")
        if tones.ndim != 1 or not tones.size or not np.isfinite(tones).all():
            raise InputError(f"grid: subcarrier frequencies have shape {tones.shape} or NaN, expected finite [K] Hz")
        if (np.diff(tones) <= 0).any():
            at = int((np.diff(tones) <= 0).argmax())
            raise InputError(
                f"grid: subcarriers out of order: {tones[at]:g} Hz is followed by {tones[at + 1]:g} Hz; sort them, and "
                "the CSI with them"
            )
        object.__setattr__(self, "tones", tuple(tones.tolist()))

    @property
    def subcarriers(self) -> int:
        """How many."""
        return len(self.tones)

    @property
    def bandwidth(self) -> float:
        """Occupied bandwidth, Hz: the span, and a subcarrier's share more, as `OFDM` counts it."""
        span: float = self.tones[-1] - self.tones[0]
        return span * len(self.tones) / max(len(self.tones) - 1, 1)

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """[subcarriers] Hz from the carrier."""
        return np.array(self.tones, dtype=np.float64)

    def response(self, delay: Tensor) -> Tensor:
        """See `OFDM.response`."""
        turns = delay[..., None] * torch.tensor(self.tones, dtype=torch.float64, device=delay.device)
        angle = (-2 * math.pi * (turns - turns.round())).to(torch.float32)
        return torch.complex(torch.cos(angle), torch.sin(angle))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"kind": "subcarriers", "tones": list(self.tones)}

    def __str__(self) -> str:
        return f"{len(self.tones)} subcarriers over {_hertz(self.bandwidth)}"


Grid: TypeAlias = OFDM | Subcarriers


@dataclass(frozen=True)
class Radio:
    """One radio; `Radio()` is paper 1's. Hashable, and equal where all of it is.

    Attributes:
        array: of the base station.
        grid: the subcarriers that are measured.
        carrier: Hz; positions of `array` are in its wavelengths.
        clock: `absolute`: delay 0 is the moment of transmission. `first_path`: the receiver's own, which starts near
            the first path, as every real receiver's does; a CSI then tells how much
            longer than the first the other paths are, and no more.
        calibrated: the amplitudes are gains, received over transmitted, so that the power of a CSI tells something.
        ue: the user's antennas, upright, their x to the east; of several a CSI is [N, UE ports, ports, subcarriers].
    """

    array: Antennas = ULA()
    grid: Grid = OFDM()
    carrier: float = 28e9
    clock: str = "absolute"
    calibrated: bool = False
    ue: Antennas = ULA(1)

    def __post_init__(self) -> None:
        for name, array in (("array", self.array), ("ue", self.ue)):
            if not isinstance(array, Antennas):
                raise InputError(f"radio: {name} is {type(array).__name__}; give a ULA, UPA or Array")
        if not isinstance(self.grid, OFDM | Subcarriers):
            raise InputError(f"radio: grid is {type(self.grid).__name__}; give OFDM or Subcarriers")
        _number(self, "carrier", "radio: carrier", CARRIERS[0], CARRIERS[1])
        if not isinstance(self.calibrated, bool | np.bool_):
            raise InputError(f"radio: calibrated is {self.calibrated!r:.60}; give true or false")
        object.__setattr__(self, "calibrated", bool(self.calibrated))
        if np.abs(self.grid.frequencies).max() > self.carrier / 2:
            raise InputError(
                f"radio: subcarriers as far as {_hertz(float(np.abs(self.grid.frequencies).max()))} from a carrier of "
                f"{_hertz(self.carrier)}; give their frequencies from the carrier, not from 0"
            )
        if self.clock not in CLOCKS:
            raise InputError(f"radio: clock {self.clock!r} is none of {', '.join(CLOCKS)}")
        if not np.ptp(self.array.layout, axis=0).any():
            raise InputError(
                "radio: an array without extent, of one antenna, sees delays alone; give at least 2 antennas"
            )
        if self.grid.subcarriers < 2:
            raise InputError("radio: a single subcarrier sees no delay; give at least 2")

    @property
    def shape(self) -> tuple[int, int]:
        """Of one CSI: ports × subcarriers."""
        return self.array.ports, self.grid.subcarriers

    @property
    def isotropic(self) -> bool:
        """Whether the antennas' gain towards the other end is the same everywhere, so that power tells of the place."""
        one = len(self.array.slants) == 1 and self.array.polarisation == self.ue.polarisation
        plain = [(array.pattern, array.codebook) == ("isotropic", None) for array in (self.array, self.ue)]
        return one and all(plain)

    def csi_shape(self, links: int) -> tuple[int, ...]:
        """Of the CSI of so many links."""
        return (links, *((self.ue.ports,) if self.ue.ports > 1 else ()), *self.shape)

    @property
    def wavelength(self) -> float:
        """At the carrier, m."""
        return SPEED_OF_LIGHT / self.carrier

    def differs(self, other: Radio) -> dict[str, tuple[str, str]]:
        """What differs from another radio by name: this one's, the other's."""
        same = {
            "array": self.array.alike(other.array),
            "grid": np.array_equal(self.grid.frequencies, other.grid.frequencies),
            "carrier": self.carrier == other.carrier, "clock": self.clock == other.clock,
            "amplitude": self.calibrated == other.calibrated, "ue": self.ue.alike(other.ue),
        }  # fmt: skip
        mine, theirs = self._described(), other._described()
        return {
            name: (mine[name], theirs[name] + " (other numbers)" * (mine[name] == theirs[name]))
            for name, alike in same.items()
            if not alike
        }

    def _described(self) -> dict[str, str]:
        power = "calibrated gains" if self.calibrated else "any power"
        return {"array": str(self.array), "grid": str(self.grid), "carrier": _hertz(self.carrier),
                "clock": self.clock, "amplitude": power, "ue": str(self.ue)}  # fmt: skip

    def __str__(self) -> str:
        clock = "absolute clock" if self.clock == "absolute" else "clock at the first path"
        power = ", calibrated gains" if self.calibrated else ""
        power += "" if self.ue == ULA(1) else f"; at the user {self.ue}"
        return f"{self.array}; {self.grid}; {_hertz(self.carrier)}; {clock}{power}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, with the version of the format: what manifests, weights, sites, requests and exports hold."""
        out = {"format": FORMAT, "array": self.array.to_json(), "grid": self.grid.to_json(),
               "carrier": self.carrier, "clock": self.clock, "calibrated": self.calibrated}  # fmt: skip
        return out if self.ue == ULA(1) else out | {"ue": self.ue.to_json()}

    @classmethod
    def from_json(cls, entries: Any, where: str = "radio") -> Radio:
        """The radio that `to_json` wrote; entries that are left out are paper 1's.

        Args:
            where: file or argument, for the message.

        Raises:
            InputError: another format, unknown entries or kinds, or values that no radio has.
        """
        if not isinstance(entries, Mapping):
            raise InputError(
                f"{where}: {type(entries).__name__}; a radio is an object with array, grid, carrier, clock"
            )
        given = dict(entries)
        if (version := given.pop("format", FORMAT)) != FORMAT:
            raise InputError(f"{where}: a radio of format {version!r}, this version reads {FORMAT!r}; update uniair")
        try:
            arrays = (ULA, UPA, Array)
            for name, kinds in (("array", arrays), ("ue", arrays), ("grid", (OFDM, Subcarriers))):
                if name in given:
                    given[name] = _of_kind(dict(given[name]), {kind.kind: kind for kind in kinds}, f"{where}: {name}")
            return cls(**given)
        except InputError:
            raise
        except (TypeError, ValueError, OverflowError, MemoryError) as error:
            raise InputError(f"{where}: not a radio ({error})") from error

    @classmethod
    def parse(cls, text: str) -> Radio:
        """A radio from the command line: JSON, or a file that holds it.

        Raises:
            InputError: neither, or no radio.
        """
        return cls.from_json(*_said(text))


def entries(text: str) -> dict[str, Any]:
    """What `Radio.parse` reads, as it was said: entries that are left out stay out.

    Raises:
        InputError: as `Radio.parse`.
    """
    said, where = _said(text)
    Radio.from_json(said, where)
    return dict(said)


def _said(text: str) -> tuple[Any, str]:
    """The JSON, and where it is from."""
    try:
        content = text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8")
        return json.loads(content), "radio" if content is text else text
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text[:60]}: neither a file with a radio nor JSON; see uniair.Radio") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{text[:60]}: not valid JSON ({error})") from error


def same_carrier(one: Radio, other: Radio) -> bool:
    """Whether walls and corners act alike at both carriers."""
    return abs(one.carrier / other.carrier - 1) <= SAME_CARRIER


def _of_kind(entries: dict[str, Any], kinds: Mapping[str, Any], where: str) -> Any:
    kind = entries.pop("kind", next(iter(kinds)))
    if kind not in kinds:
        raise InputError(f"{where}: kind {kind!r} is none of {', '.join(kinds)}")
    if entries.get("codebook") is not None:
        entries["codebook"] = [[complex(*weight) for weight in row] for row in entries["codebook"]]
    return kinds[kind](**entries)
