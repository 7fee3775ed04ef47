"""Measured antenna patterns: two cuts of a whole antenna, from a Planet file (`.msi`, `.pln`), as gains."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError

DIPOLE = 2.15  # dBi of a half-wave dipole, which gains in dBd are over
CUTS = ("HORIZONTAL", "VERTICAL")
LEAST_POINTS, MOST_POINTS = 4, 36_000  # of a cut
MOST_LOSS = 200.0  # dB
SUFFIXES = (".msi", ".pln")
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class MeasuredPattern:
    """The pattern of a whole antenna, electrical downtilt included.

    Attributes:
        name: of the antenna.
        gain: towards its strongest direction, dBi.
        horizontal: [N, 2] degrees clockwise from the boresight, seen from above, and dB below `gain`.
        vertical: [M, 2] degrees below the horizon (180: behind, 270: upwards), and dB below `gain`.
        frequency: Hz; None: not said.
        tilt: electrical downtilt that the cuts hold, degrees; None: not said.
        remarks: what the file does not say and what was taken for it.
    """

    name: str
    gain: float
    horizontal: NDArray[np.float64]
    vertical: NDArray[np.float64]
    frequency: float | None = None
    tilt: float | None = None
    remarks: tuple[str, ...] = ()

    def digest(self) -> str:
        """Checksum of gain and cuts, as hexadecimal digits."""
        numbers = [np.array([self.gain]), self.horizontal, self.vertical]
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in numbers)).hexdigest()[:16]

    def loss(self, azimuth: NDArray[np.floating], below: NDArray[np.floating]) -> NDArray[np.float64]:
        """How far the gain lies below the strongest: [...] dB, at least 0.

        Horizontal projection interpolation: the horizontal cut, corrected by how far the vertical cut departs from it,
        in front and behind, weighted by the azimuth (Altair WinProp, antenna patterns, eq. HPI). It gives both cuts
        back, and holds for cuts with electrical tilt, which the sum of both (as of TR 38.901, table 7.3-1) does not.

        Args:
            azimuth: [...] degrees clockwise from the boresight.
            below: [...] degrees below the horizon, −90 to 90.
        """
        azimuth = np.asarray((np.asarray(azimuth, dtype=np.float64) + 180) % 360 - 180)
        below = np.asarray(below, dtype=np.float64)
        ahead, behind = _at(self.horizontal, np.array([0.0, 180.0]))
        rear = np.abs(azimuth) / 180
        front = (1 - rear) * (_at(self.vertical, below) - ahead)
        back = rear * (_at(self.vertical, 180 - below) - behind)
        found: NDArray[np.float64] = np.maximum(_at(self.horizontal, azimuth) + front + back, 0.0)
        return found

    def gains(self, direction: NDArray[np.floating]) -> NDArray[np.float64]:
        """Gain towards unit vectors [..., 3] in the antenna's frame, as `radio.Antennas` has it: [...] dBi.

        x is to the right of the boresight y, z is up.
        """
        x, y, z = np.moveaxis(np.asarray(direction, dtype=np.float64), -1, 0)
        return self.gain - self.loss(np.degrees(np.arctan2(x, y)), -np.degrees(np.arcsin(np.clip(z, -1, 1))))


def _at(cut: NDArray[np.float64], degrees: Any) -> NDArray[np.float64]:
    """A cut between its points, linear in dB."""
    return np.asarray(np.interp(degrees, cut[:, 0], cut[:, 1], period=360.0))


def read_pattern(path: str | Path) -> MeasuredPattern:
    """A Planet file: lines `NAME`, `FREQUENCY` (MHz), `GAIN` (dBd where it does not say dBi), `TILT`, then two cuts.

    Each cut is a line `HORIZONTAL N` or `VERTICAL N` and N lines of angle and attenuation, degrees and dB below the
    strongest. Files that write the attenuation with a minus are understood. Decimal commas too.

    Raises:
        InputError: no such file; no gain; a cut that is missing, cut short, out of order or not numbers. It names the
            line.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give an antenna pattern, .msi or .pln") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # manufacturers' names
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    said: dict[str, str] = {}
    cuts: dict[str, NDArray[np.float64]] = {}
    at = 0
    while at < len(lines):
        key, _, rest = lines[at][1].replace("\t", " ").partition(" ")
        if key.upper() in CUTS:
            count = _count(path, lines[at][0], key.upper(), rest)
            cuts[key.upper()] = _cut(path, key.upper(), lines[at][0], lines[at + 1 : at + 1 + count], count)
            at += count
        else:
            said.setdefault(key.upper(), rest.strip())
        at += 1
    for name in CUTS:
        if name not in cuts:
            raise InputError(f"{path}: no {name} cut; is the pattern file whole?")
    gain, remarks = _gain(path, said.get("GAIN"))
    first = lines[0][1]
    name = said.get("NAME") or (first if not _NUMBER.match(first) else path.stem)
    megahertz = _first_number(said.get("FREQUENCY", ""))
    return MeasuredPattern(
        name, gain, cuts["HORIZONTAL"], cuts["VERTICAL"], None if megahertz is None else megahertz * 1e6, _tilt(said),
        remarks,
    )  # fmt: skip


def _count(path: Path, line: int, name: str, text: str) -> int:
    count = _first_number(text)
    if count is None or not LEAST_POINTS <= count <= MOST_POINTS or count != int(count):
        raise InputError(
            f"{path}: line {line} says {name} {text!r:.20}; give the number of its points, 360 for instance"
        )
    return int(count)


def _cut(path: Path, name: str, start: int, lines: list[tuple[int, str]], count: int) -> NDArray[np.float64]:
    """The points of a cut, attenuations positive: [count, 2]."""
    points: list[list[float]] = []
    for line, text in lines:
        numbers = _NUMBER.findall(text)
        if text.split()[0].upper() in CUTS or len(numbers) < 2 or not _NUMBER.match(text):
            raise InputError(
                f"{path}: line {line} holds {text!r:.40}, not an angle and a loss: {name} ends after {len(points)} of "
                f"{count} points; is the file whole?"
            )
        points.append([float(number.replace(",", ".")) for number in numbers[:2]])
    if len(points) < count:
        raise InputError(
            f"{path}: {name} of line {start} ends after {len(points)} of {count} points; is the file whole?"
        )
    cut = np.array(points)
    if (cut[:, 1] <= 0).all():
        cut[:, 1] *= -1
    bad = (cut[:, 1] < 0) | (cut[:, 1] > MOST_LOSS)
    if bad.any():
        line, text = lines[int(np.argmax(bad))]
        raise InputError(
            f"{path}: line {line} holds {text!r:.40}; losses are dB below the strongest, 0 to {MOST_LOSS:g}"
        )
    turn = np.concatenate([np.diff(cut[:, 0]), [cut[0, 0] + 360 - cut[-1, 0]]])
    if (turn <= 0).any() or turn.max() > 90:
        raise InputError(f"{path}: {name}: angles must rise over one turn, from 0 to 359 for instance")
    return cut


def _gain(path: Path, text: str | None) -> tuple[float, tuple[str, ...]]:
    """Gain in dBi, and what the file does not say of it."""
    value = None if text is None else _first_number(text)
    if text is None or value is None:
        raise InputError(f"{path}: no GAIN; add a line such as GAIN 17.5 dBi")
    unit = text.upper().replace(" ", "")
    if "DBI" in unit:
        return value, ()
    said = () if "DBD" in unit else (f"{path.name}: GAIN {text} has no unit; taken for dBd, as the format has it",)
    return value + DIPOLE, said


def _tilt(said: dict[str, str]) -> float | None:
    """Electrical downtilt, degrees; `TILT MECHANICAL 3` is none."""
    for key in ("ELECTRICAL_TILT", "ELECTRICAL"):
        if (value := _first_number(said.get(key, ""))) is not None:
            return value
    text = said.get("TILT", "")
    return None if "MECH" in text.upper() else _first_number(text)


def _first_number(text: str) -> float | None:
    found = _NUMBER.search(text)
    return None if found is None else float(found[0].replace(",", "."))
