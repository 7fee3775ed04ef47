"""A channel as bits by its paths: where the paths that were read from it lie, rounded, one after the other.

The user reads paths with the model and fits them to its whole CSI (see `completion`); the base station writes them in
closed form, for which it needs the radio and no weights. Paths come strongest first, so that a beginning of whole paths
is a code too.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uniair.angle_delay import REACH
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.bit_code import LONGEST, SHORTEST, BitString
from uniair.tasks.completion import fitted_paths, measured_part
from uniair.tasks.path_fit import EARLY, FittedPaths, Measured, cells, channel, columns_of

STEPS = (8, 8, 4)  # of rounding in what the radio tells apart along, upwards and in delay (validation places)
AMPLITUDE, PHASE = 3, 4  # bits of a gain
LEVEL = 2**-0.5  # from one amplitude to the next: 3 dB
RIDGE = 1e-3  # over the number of measured entries, of amplitudes fitted to rounded paths
SNR = 30.0  # dB: what is weaker than so is not looked for


@dataclass(frozen=True)
class PathCode:
    """How the paths of a radio are rounded.

    Attributes:
        radio: that measures channels and that they are written for.
    """

    radio: Radio

    @property
    def digest(self) -> str:
        """16 hexadecimal digits, of the radio and the format."""
        text = json.dumps(["uniair-path-code/1", self.radio.to_json(), STEPS, AMPLITUDE, PHASE])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def widths(self) -> tuple[int, int, int]:
        """Bits of a direction cosine along, upwards and of a delay."""
        spans = (2.0, 2.0, REACH)
        along, up, delay = (
            math.ceil(math.log2(span / size * steps - 1e-9)) if math.isfinite(size) else 0
            for span, size, steps in zip(spans, cells(self.radio), STEPS, strict=True)
        )
        return along, up, delay

    @property
    def each(self) -> int:
        """Bits of a path; the first takes `PHASE` less, as the channel's phase means nothing."""
        return sum(self.widths) + len(self.radio.array.slants) * (AMPLITUDE + PHASE)

    def paths(self, length: int) -> int:
        """How many paths so many bits hold.

        Raises:
            InputError: fewer than `SHORTEST` bits, or than one path takes, or more than `LONGEST`.
        """
        least = max(SHORTEST, self.each - PHASE)
        if not least <= length <= LONGEST:
            raise InputError(f"a path code of {length} bits: give {least} to {LONGEST}")
        return (length + PHASE) // self.each

    def encode(self, model: UniversalModel, csi: Any, length: int) -> BitString:
        """CSI complex [N, ports, subcarriers] → bit strings.

        Raises:
            InputError: see `paths` and `completion.measured_part`.
        """
        count, everything = self.paths(length), torch.ones(self.radio.shape, dtype=torch.bool)
        measured = measured_part(csi, self.radio, everything)
        found = [self._indices(paths, part, count) for paths, part, _ in fitted_paths(model, measured, everything, SNR)]
        fields = torch.cat(found) if found else torch.zeros(0, count, len(self._layout), dtype=torch.int64)
        bits = torch.cat([_bits(fields[..., i], width) for i, width in enumerate(self._layout)], -1).flatten(1)
        head = sum(self.widths) + AMPLITUDE
        bits = torch.cat([bits[:, :head], bits[:, head + PHASE :]], 1)
        return BitString(torch.nn.functional.pad(bits, (0, length - bits.shape[1])).to(torch.uint8), self.digest)

    def decode(self, sent: BitString) -> Tensor:
        """Bit strings → CSI complex64 [N, ports, subcarriers]; power and common phase mean nothing.

        Raises:
            InputError: written for another radio, of another length, or not of bits.
        """
        if sent.code != self.digest:
            raise InputError(f"bit string of code {sent.code}, this is {self.digest}: both ends need the same radio")
        bits = torch.as_tensor(sent.bits).long()
        if bits.ndim != 2 or ((bits != 0) & (bits != 1)).any():
            raise InputError(f"bits have shape {tuple(bits.shape)} or other values than 0 and 1, expected [N, length]")
        count, head = self.paths(bits.shape[1]), sum(self.widths) + AMPLITUDE
        whole = torch.cat([bits[:, :head], bits.new_zeros(len(bits), PHASE), bits[:, head:]], 1)
        rows = whole[:, : count * self.each].view(len(bits), count, self.each)
        fields = [_number(part) for part in torch.split(rows, list(self._layout), -1)]
        return channel(self._paths(torch.stack(fields, -1)), self.radio)

    @property
    def _layout(self) -> tuple[int, ...]:
        return (*self.widths, *(AMPLITUDE, PHASE) * len(self.radio.array.slants))

    @property
    def _first(self) -> float:
        return -EARLY * REACH if self.radio.clock == "first_path" else 0.0

    def _indices(self, paths: FittedPaths, measured: Measured, count: int) -> Tensor:
        """The strongest paths, rounded: int64 [N, count, fields]."""
        order = paths.gain.abs().square().sum(1).argsort(1, descending=True)[:, :count]
        order = torch.nn.functional.pad(order, (0, count - order.shape[1]))  # a path may be sent twice: half each
        along, up, delay = (value.gather(1, order) for value in (paths.along, paths.up, paths.delay))
        most = [2**width - 1 for width in self.widths]
        places = [
            ((along + 1) / 2 * most[0]).round().long().clamp(0, most[0]),
            ((up + 1) / 2 * most[1]).round().long().clamp(0, most[1]),
            ((delay - self._first) / REACH * 2 ** self.widths[2]).round().long().clamp(0, most[2]),
        ]
        unset = torch.zeros_like(places[0])
        gain = _refitted(self._paths(torch.stack([*places, *(unset,) * (len(self._layout) - 3)], -1)), measured)
        gain = gain * torch.polar(torch.ones(()), -gain[:, 0, 0].angle())[:, None, None]
        size = gain.abs() / gain.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
        level = (size.clamp_min(1e-9).log() / math.log(LEVEL)).round().long().clamp(0, 2**AMPLITUDE - 1)
        turn = (gain.angle() * 2**PHASE / (2 * math.pi)).round().long() % 2**PHASE
        gains = [part[:, i] for i in range(gain.shape[1]) for part in (level, turn)]
        return torch.stack([*places, *gains], -1)

    def _paths(self, fields: Tensor) -> FittedPaths:
        """Rounded paths [N, P, fields] as they are written."""
        along, up = (
            fields[..., i] / (2**width - 1) * 2 - 1 if width else torch.zeros(fields.shape[:2])
            for i, width in enumerate(self.widths[:2])
        )
        delay = self._first + fields[..., 2].double() / 2 ** self.widths[2] * REACH
        level, turn = (fields[..., start::2].mT.double() for start in (3, 4))
        gain = torch.polar(LEVEL**level, 2 * math.pi / 2**PHASE * turn).to(torch.complex64)
        high = (1 - along.double().square()).clamp_min(0).sqrt()
        return FittedPaths(along.double(), torch.clamp(up.double(), -high, high), delay, gain, gain.abs(),
                           torch.ones(len(fields)))  # fmt: skip


def _refitted(paths: FittedPaths, measured: Measured) -> Tensor:
    """Amplitudes of paths that were moved: complex64 [N, polarisations, P]."""
    wave = columns_of(paths, measured)
    gram = (wave.mH @ wave).to(torch.complex128)
    ridge = RIDGE * wave.shape[1] * torch.eye(wave.shape[2], dtype=torch.complex128)
    match = (wave.mH @ measured.values[..., None]).to(torch.complex128)
    return torch.linalg.solve(gram + ridge, match)[..., 0].to(torch.complex64).view_as(paths.gain)


def _bits(numbers: Tensor, width: int) -> Tensor:
    return (numbers[..., None] >> torch.arange(width - 1, -1, -1)) & 1


def _number(bits: Tensor) -> Tensor:
    return (bits << torch.arange(bits.shape[-1] - 1, -1, -1)).sum(-1)
