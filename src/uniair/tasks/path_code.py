"""A channel as bits by its paths: where the paths that were read from it lie, rounded, one after the other.

The user reads paths with the model, fits them to its whole CSI (see `completion`), tries how finely to round them and
says so; the base station writes them in closed form, for which it needs the radio and no weights. Paths come in the
order in which each explains most of what those before leave over, so that a beginning of whole paths is a code too.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from uniair import metrics
from uniair.angle_delay import REACH
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.bit_code import LONGEST, SHORTEST, BitString
from uniair.tasks.completion import fitted_paths, measured_part
from uniair.tasks.path_fit import EARLY, FittedPaths, Measured, cells, channel, columns_of

HEADER = 3  # bits that say how paths are rounded
# steps of rounding in what the radio tells apart along, upwards and in delay; bits of a gain's amplitude and phase
ROUNDINGS = (
    ((8, 8, 4), 3, 4),
    ((8, 8, 4), 3, 3),
    ((8, 8, 4), 2, 3),
    ((4, 4, 4), 3, 4),
    ((4, 4, 4), 2, 3),
    ((4, 4, 2), 3, 4),
    ((4, 4, 2), 2, 3),
    ((2, 2, 1), 2, 3),
)
DEEPEST = 21.0  # dB below the strongest that a gain may be; the last level says that a path is none
RIDGE = 1e-3  # over the number of measured entries, of amplitudes fitted to rounded paths
SNR = 30.0  # dB: what is weaker than so is not looked for


@dataclass(frozen=True)
class PathCode:
    """How the paths of a radio become bits.

    Attributes:
        radio: that measures channels and that they are written for.
    """

    radio: Radio

    @property
    def digest(self) -> str:
        """16 hexadecimal digits, of the radio and the format."""
        text = json.dumps(["uniair-path-code/2", self.radio.to_json(), ROUNDINGS, DEEPEST])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def roundings(self) -> tuple[Rounding, ...]:
        """In the order of the header's numbers."""
        return tuple(Rounding(self.radio, *values) for values in ROUNDINGS)

    @property
    def shortest(self) -> int:
        """Fewest bits that hold a path."""
        return max(SHORTEST, HEADER + min(one.each - one.phase for one in self.roundings))

    def encode(self, model: UniversalModel, csi: Any, length: int) -> BitString:
        """CSI complex [N, ports, subcarriers] → bit strings.

        Of the roundings the one is sent by which the directions of all subcarriers are met best (SGCS).

        Raises:
            InputError: a length that holds no path, or beyond `LONGEST`; see `completion.measured_part`.
        """
        self._check(length)
        everything = torch.ones(self.radio.shape, dtype=torch.bool)
        measured = measured_part(csi, self.radio, everything)
        found = [self._best(paths, part, length - HEADER)
                 for paths, part, _ in fitted_paths(model, measured, everything, SNR)]  # fmt: skip
        bits = torch.cat(found) if found else torch.zeros(0, length, dtype=torch.uint8)
        return BitString(bits, self.digest)

    def decode(self, sent: BitString) -> Tensor:
        """Bit strings → CSI complex64 [N, ports, subcarriers]; power and common phase mean nothing.

        Raises:
            InputError: written for another radio, of another length, or not of bits; cut before the first path ends.
        """
        if sent.code != self.digest:
            raise InputError(f"bit string of code {sent.code}, this is {self.digest}: both ends need the same radio")
        bits = torch.as_tensor(sent.bits).long()
        if bits.ndim != 2 or ((bits != 0) & (bits != 1)).any():
            raise InputError(f"bits have shape {tuple(bits.shape)} or other values than 0 and 1, expected [N, length]")
        self._check(bits.shape[1])
        number, body = _number(bits[:, :HEADER]), bits[:, HEADER:]
        out = torch.zeros(len(bits), *self.radio.shape, dtype=torch.complex64)
        for i, rounding in enumerate(self.roundings):
            if not (mine := number == i).any():
                continue
            if not rounding.paths(body.shape[1]):
                taken = HEADER + rounding.each - rounding.phase
                raise InputError(
                    f"{int(mine.sum())} of {len(bits)} bit strings hold no whole path in {bits.shape[1]} bits: "
                    f"the first takes {taken}; cut them less short"
                )
            out[mine] = channel(rounding.written(rounding.fields(body[mine])), self.radio)
        return out

    def _check(self, length: int) -> None:
        if not self.shortest <= length <= LONGEST:
            raise InputError(f"a path code of {length} bits: give {self.shortest} to {LONGEST}")

    def _best(self, paths: FittedPaths, measured: Measured, length: int) -> Tensor:
        """Header and paths by the best rounding of each channel: uint8 [N, HEADER + length]."""
        csi, tried, alike = measured.filled(measured.values), [], []
        for i, rounding in enumerate(self.roundings):
            if not rounding.paths(length):
                continue
            fields = rounding.rounded(paths, measured, rounding.paths(length))
            found = channel(rounding.written(fields), self.radio)
            alike.append(metrics.cosine_squared(found, csi).mean(1))
            body = rounding.bits(fields)
            head = _bits(torch.full((len(body),), i), HEADER)
            tried.append(torch.nn.functional.pad(torch.cat([head, body], 1), (0, length - body.shape[1])))
        best = torch.stack(alike).argmax(0)
        return torch.stack(tried)[best, torch.arange(len(best))].to(torch.uint8)


@dataclass(frozen=True)
class Rounding:
    """How finely the paths of a radio are told.

    Attributes:
        radio: whose paths.
        steps: in what the radio tells apart along, upwards and in delay.
        amplitude, phase: bits of a gain, of each polarisation.
    """

    radio: Radio
    steps: tuple[int, int, int]
    amplitude: int
    phase: int

    @cached_property
    def widths(self) -> tuple[int, int, int]:
        """Bits of a direction cosine along, upwards and of a delay."""
        spans = (2.0, 2.0, REACH)
        along, up, delay = (
            math.ceil(math.log2(span / size * steps - 1e-9)) if math.isfinite(size) else 0
            for span, size, steps in zip(spans, cells(self.radio), self.steps, strict=True)
        )
        return along, up, delay

    @property
    def each(self) -> int:
        """Bits of a path; the first takes `phase` less, as the channel's phase means nothing."""
        return sum(self._layout)

    def paths(self, length: int) -> int:
        """How many paths so many bits hold."""
        return (length + self.phase) // self.each

    def rounded(self, paths: FittedPaths, measured: Measured, count: int) -> Tensor:
        """Those that explain most, one after the other, with their gains fitted anew: int64 [N, count, fields]."""
        most = [2**width - 1 for width in self.widths]
        places = [
            ((paths.along + 1) / 2 * most[0]).round().long().clamp(0, most[0]),
            ((paths.up + 1) / 2 * most[1]).round().long().clamp(0, most[1]),
            ((paths.delay - self._first) / REACH * 2 ** self.widths[2]).round().long().clamp(0, most[2]),
        ]
        unset = (torch.zeros_like(places[0]),) * (len(self._layout) - 3)
        columns = columns_of(self.written(torch.stack([*places, *unset], -1)), measured)
        chosen, gain = _explaining(columns, measured, count, len(self.radio.array.slants))
        gain = gain * torch.polar(torch.ones(()), -gain[:, 0, 0].angle())[:, None, None]
        size = gain.abs() / gain.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
        level = (-20 * size.clamp_min(1e-9).log10() / self._level).round().long().clamp(0, 2**self.amplitude - 1)
        turn = (gain.angle() * 2**self.phase / (2 * math.pi)).round().long() % 2**self.phase
        fields = [place.gather(1, chosen) for place in places]
        fields += [part[:, i] for i in range(gain.shape[1]) for part in (level, turn)]
        none = torch.tensor([0, 0, 0, *(2**self.amplitude - 1, 0) * gain.shape[1]])
        out = none.expand(len(chosen), count, -1).clone()  # where fewer paths were found
        out[:, : chosen.shape[1]] = torch.stack(fields, -1)
        return out

    def written(self, fields: Tensor) -> FittedPaths:
        """Rounded paths [N, P, fields] as the base station writes them."""
        along, up = (
            fields[..., i] / (2**width - 1) * 2 - 1 if width else torch.zeros(fields.shape[:2])
            for i, width in enumerate(self.widths[:2])
        )
        delay = self._first + fields[..., 2].double() / 2 ** self.widths[2] * REACH
        level, turn = (fields[..., start::2].mT.double() for start in (3, 4))
        size = 10 ** (-level * self._level / 20) * (level < 2**self.amplitude - 1)
        gain = torch.polar(size, 2 * math.pi / 2**self.phase * turn).to(torch.complex64)
        high = (1 - along.double().square()).clamp_min(0).sqrt()
        return FittedPaths(along.double(), torch.clamp(up.double(), -high, high), delay, gain, gain.abs(),
                           torch.ones(len(fields)))  # fmt: skip

    def bits(self, fields: Tensor) -> Tensor:
        """int64 [N, P, fields] → [N, bits], without the first path's phase."""
        bits = torch.cat([_bits(fields[..., i], width) for i, width in enumerate(self._layout)], -1).flatten(1)
        return torch.cat([bits[:, : self._head], bits[:, self._head + self.phase :]], 1)

    def fields(self, bits: Tensor) -> Tensor:
        """What `bits` made, of a beginning of whole paths: int64 [N, P, fields]."""
        whole = torch.cat([bits[:, : self._head], bits.new_zeros(len(bits), self.phase), bits[:, self._head :]], 1)
        count = self.paths(bits.shape[1])
        rows = whole[:, : count * self.each].view(len(bits), count, self.each)
        return torch.stack([_number(part) for part in torch.split(rows, list(self._layout), -1)], -1)

    @property
    def _layout(self) -> tuple[int, ...]:
        return (*self.widths, *(self.amplitude, self.phase) * len(self.radio.array.slants))

    @property
    def _head(self) -> int:
        return sum(self.widths) + self.amplitude

    @property
    def _level(self) -> float:
        """DB from one amplitude to the next."""
        return DEEPEST / (2**self.amplitude - 1)

    @property
    def _first(self) -> float:
        return -EARLY * REACH if self.radio.clock == "first_path" else 0.0


def _explaining(columns: Tensor, measured: Measured, count: int, polarisations: int) -> tuple[Tensor, Tensor]:
    """Paths by orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad, 1993).

    Args:
        columns: what each adds to the measured entries in each polarisation, complex64 [N, M, polarisations · P].

    Returns:
        Which: int64 [N, K] of at most `count`; and their gains: complex64 [N, polarisations, K].
    """
    adjoint = columns.mH.resolve_conj()
    gram = (adjoint @ columns).to(torch.complex128)
    match = (adjoint @ measured.values[..., None])[..., 0].to(torch.complex128)
    links, paths = len(match), match.shape[1] // polarisations
    size = gram.diagonal(dim1=1, dim2=2).real.clamp_min(1e-9)
    left, free = match, torch.ones(links, paths)
    chosen = torch.zeros(links, 0, dtype=torch.int64)
    gain = match[:, :0]
    for _ in range(min(count, paths)):
        explained = (left.abs().square() / size).view(links, polarisations, paths).sum(1)
        best = torch.where(free > 0, explained, -1.0).argmax(1, keepdim=True)
        free = free.scatter(1, best, 0.0)
        chosen = torch.cat([chosen, best], 1)
        which = (chosen[:, None] + paths * torch.arange(polarisations)[:, None]).flatten(1)
        part = gram.gather(2, which[:, None].expand(-1, gram.shape[1], -1))
        ridge = RIDGE * columns.shape[1] * torch.eye(which.shape[1], dtype=gram.dtype)
        inner = part.gather(1, which[..., None].expand(-1, -1, which.shape[1])) + ridge
        gain = torch.linalg.solve(inner, match.gather(1, which))
        left = match - (part @ gain[..., None])[..., 0]
    return chosen, gain.to(torch.complex64).view(links, polarisations, -1)


def _bits(numbers: Tensor, width: int) -> Tensor:
    return (numbers[..., None] >> torch.arange(width - 1, -1, -1)) & 1


def _number(bits: Tensor) -> Tensor:
    return (bits << torch.arange(bits.shape[-1] - 1, -1, -1)).sum(-1)
