"""A channel as bits by its paths: where the paths that were read from it lie, rounded, one after the other.

The user reads paths with the model, fits them to its whole CSI (see `completion`), tries how finely to round them and
says so; the base station writes them in closed form, for which it needs the radio and no weights. Paths come in the
order in which each explains most of what those before leave over, and bits are shared out by how probable they are, so
that a beginning is a code too: of the whole paths that it determines.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from uniair import metrics
from uniair.errors import InputError
from uniair.models.universal import UniversalModel, check_writable
from uniair.radio import Radio
from uniair.tasks.bit_code import LONGEST, SHORTEST, BitString
from uniair.tasks.completion import fitted_paths, measured_part
from uniair.tasks.expected_paths import ExpectedPaths
from uniair.tasks.path_fit import FittedPaths, Measured, channel
from uniair.tasks.path_laws import PathLaws, packaged_laws
from uniair.tasks.path_rounding import DEEPEST, GAINS, Rounding

HEADER = 3  # bits that say how paths are rounded
# steps of rounding in what the radio tells apart along, upwards and in delay; bits of a gain's amplitude and phase
ROUNDINGS = (
    ((16, 16, 8), 4, 5),
    ((16, 16, 8), 3, 3),
    ((8, 8, 4), 3, 4),
    ((8, 8, 4), 2, 3),
    ((4, 4, 4), 2, 2),
    ((4, 4, 2), 3, 3),
    ((2, 2, 2), 2, 3),
    ((2, 2, 1), 2, 3),
)
SNR = 30.0  # dB: what is weaker than so is not looked for


@dataclass(frozen=True)
class PathCode:
    """How the paths of a radio become bits.

    Attributes:
        radio: that measures channels and that they are written for.
        laws: how probable paths are.
    """

    radio: Radio
    laws: PathLaws = field(default_factory=packaged_laws, repr=False)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits, of the radio, the laws and the format."""
        text = json.dumps(["uniair-path-code/3", self.radio.to_json(), ROUNDINGS, DEEPEST, self.laws.digest])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def roundings(self) -> tuple[Rounding, ...]:
        """In the order of the header's numbers; the last is of one length, which always holds a path."""
        *by_law, plain = ROUNDINGS
        return (*(Rounding(self.radio, *values, self.laws) for values in by_law), Rounding(self.radio, *plain))

    @property
    def shortest(self) -> int:
        """Fewest bits that hold a path of every channel."""
        return max(SHORTEST, HEADER + self.roundings[-1].first + 1)

    def digest_beside(self, expected: ExpectedPaths | None) -> str:
        """16 hexadecimal digits, of what both ends expect of places too."""
        if expected is None:
            return self.digest
        return hashlib.sha256((self.digest + expected.digest).encode()).hexdigest()[:16]

    def encode(self, model: UniversalModel, csi: Any, length: int, expected: ExpectedPaths | None = None) -> BitString:
        """CSI complex [N, ports, subcarriers] → bit strings.

        Of the roundings the one is sent by which the directions of all subcarriers are met best (SGCS).

        Args:
            expected: of the N places, see `expected_paths`, which the base station knows too; None: nothing is.

        Raises:
            InputError: a length that holds no path, or beyond `LONGEST`; not as many places; see
                `completion.measured_part`.
        """
        self._check(length)
        everything = torch.ones(self.radio.shape, dtype=torch.bool)
        measured = measured_part(csi, self.radio, everything)
        _check_places(expected, len(measured.values), "channels")
        found: list[Tensor] = []
        for paths, part, _ in fitted_paths(model, measured, everything, SNR):
            begin = sum(map(len, found))
            here = None if expected is None else expected[begin : begin + len(part.values)]
            found.append(self._best(paths, part, length - HEADER, here))
        bits = torch.cat(found) if found else torch.zeros(0, length, dtype=torch.uint8)
        return BitString(bits, self.digest_beside(expected))

    def decode(self, sent: BitString, radio: Radio | None = None, expected: ExpectedPaths | None = None) -> Tensor:
        """Bit strings → CSI complex64 [N, ports, subcarriers]; power and common phase mean nothing.

        Args:
            radio: to write the channels for: another array of such antennas, or another band; None: the code's.
            expected: of the places, as the sender has it.

        Raises:
            InputError: written for another radio or beside other places, of another length, or not of bits; cut before
                the first path ends; a radio that would see what was not seen.
        """
        if sent.code != (code := self.digest_beside(expected)):
            raise InputError(
                f"bit string of code {sent.code}, this is {code}: both ends need the same radio, laws and places"
            )
        bits = torch.as_tensor(sent.bits).long()
        if bits.ndim != 2 or ((bits != 0) & (bits != 1)).any():
            raise InputError(f"bits have shape {tuple(bits.shape)} or other values than 0 and 1, expected [N, length]")
        self._check(bits.shape[1])
        _check_places(expected, len(bits), "bit strings")
        out_radio = self.radio if radio is None else radio
        check_writable(out_radio, self.radio, turned=False)
        # gains hold what the antennas that measured them made of a direction, delays start with their clock
        for what, seen, wanted in (("pattern", self.radio.array.pattern, out_radio.array.pattern),
                                   ("clock", self.radio.clock, out_radio.clock)):  # fmt: skip
            if seen != wanted:
                raise InputError(f"paths told by a radio of {what} {seen} can't be written for {wanted}: give its own")
        number, body = _number(bits[:, :HEADER]), bits[:, HEADER:]
        out = torch.zeros(len(bits), *out_radio.shape, dtype=torch.complex64)
        for i, rounding in enumerate(self.roundings):
            if not (mine := number == i).any():
                continue
            here = None if expected is None else expected[mine.numpy()]
            fields = rounding.fields(body[mine], here)
            empty = int((fields[..., GAINS::2] == rounding.none).all(-1).all(-1).sum())
            if empty:
                raise InputError(
                    f"{empty} of {len(bits)} bit strings hold no whole path in their {bits.shape[1]} bits; "
                    "cut them less short"
                )
            out[mine] = channel(_seen_at(rounding.written(fields), self.radio, out_radio), out_radio)
        return out

    def _check(self, length: int) -> None:
        if not self.shortest <= length <= LONGEST:
            raise InputError(f"a path code of {length} bits: give {self.shortest} to {LONGEST}")

    def _best(self, paths: FittedPaths, measured: Measured, length: int, expected: ExpectedPaths | None) -> Tensor:
        """Header and paths by the best rounding of each channel: uint8 [N, HEADER + length]."""
        csi, found, alike = measured.filled(measured.values), [], []
        for rounding in self.roundings:
            fields = rounding.rounded(paths, measured, length, expected)
            written = channel(rounding.written(fields), self.radio)
            there = written.abs().amax((1, 2)) > 0
            alike.append(torch.where(there, metrics.cosine_squared(written, csi).mean(1), -1.0))
            found.append(fields)
        best = torch.stack(alike).argmax(0)
        out = torch.zeros(len(csi), HEADER + length, dtype=torch.uint8)
        for i, rounding in enumerate(self.roundings):
            mine = best == i
            out[mine, :HEADER] = _bits(torch.tensor(i), HEADER).to(torch.uint8)
            here = None if expected is None else expected[mine.numpy()]
            out[mine, HEADER:] = rounding.bits(found[i][mine], length, here)
        return out


def _check_places(expected: ExpectedPaths | None, count: int, what: str) -> None:
    if expected is not None and len(expected) != count:
        raise InputError(f"paths expected of {len(expected)} places for {count} {what}: give one each")


def _seen_at(paths: FittedPaths, measured: Radio, written: Radio) -> FittedPaths:
    """Paths whose gains have the phase of another band's middle."""
    shift = (written.carrier + written.grid.frequencies.mean()) - (measured.carrier + measured.grid.frequencies.mean())
    turn = torch.polar(torch.ones_like(paths.delay), -2 * math.pi * shift * paths.delay).to(torch.complex64)
    return paths._replace(gain=paths.gain * turn[:, None])


def _bits(numbers: Tensor, width: int) -> Tensor:
    return (numbers[..., None] >> torch.arange(width - 1, -1, -1)) & 1


def _number(bits: Tensor) -> Tensor:
    return (bits << torch.arange(bits.shape[-1] - 1, -1, -1)).sum(-1)
