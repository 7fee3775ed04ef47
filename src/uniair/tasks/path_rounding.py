"""How finely the paths of a channel are told, and what is told of them as bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uniair.angle_delay import REACH
from uniair.radio import Radio
from uniair.tasks.arithmetic_code import Interval, Reader
from uniair.tasks.expected_paths import ExpectedPaths, Guess
from uniair.tasks.path_fit import EARLY, FittedPaths, Measured, cells, columns_of
from uniair.tasks.path_laws import EXPECTED, MICRO, MILLI, NONE, PICO, Integers, PathLaws, even, shared

DEEPEST = 21.0  # dB below the strongest that a gain may be; the last level says that a path is none
RIDGE = 1e-3  # over the number of measured entries, of amplitudes fitted to rounded paths
FEWEST = 10  # bits that a path takes at least, about: how many are tried
ALONG, UP, DELAY, GAINS = 0, 1, 2, 3  # fields of a path: a level and a turn of each gain from the last on


class Symbol(NamedTuple):
    """Of `whole` a symbol's mass, and that of those below it: integers, or arrays [N]."""

    below: Integers
    mass: Integers
    whole: Integers

    @classmethod
    def of(cls, below: Integers, chosen: Integers) -> Symbol:
        """Chosen [N] of what is `below` each: [N or 1, symbols + 1]."""
        rows = np.arange(len(chosen)) if len(below) > 1 else np.zeros(len(chosen), dtype=np.int64)
        start = below[rows, chosen]
        return cls(start, below[rows, chosen + 1] - start, below[rows, -1])

    @property
    def bits(self) -> np.ndarray:
        """What they take, each."""
        return np.log2(self.whole) - np.log2(self.mass)


@dataclass(frozen=True)
class Rounding:
    """How finely the paths of a radio are told.

    Attributes:
        radio: whose paths.
        steps: in what the radio tells apart along, upwards and in delay.
        amplitude, phase: bits of a gain, of each polarisation, were all equally likely.
        laws: that bits are shared out by; None: evenly.
    """

    radio: Radio
    steps: tuple[int, int, int]
    amplitude: int
    phase: int
    laws: PathLaws | None = None

    @cached_property
    def widths(self) -> tuple[int, int, int]:
        """Bits of a direction cosine along, upwards and of a delay, were all equally likely."""
        spans = (2.0, 2.0, REACH)
        along, up, delay = (
            math.ceil(math.log2(max(span / size * steps - 1e-9, 1.0)))  # 0 of what the radio has no extent in
            for span, size, steps in zip(spans, cells(self.radio), self.steps, strict=True)
        )
        return along, up, delay

    @property
    def gains(self) -> int:
        """Polarisations, each with a gain of its own."""
        return len(self.radio.array.slants)

    @property
    def none(self) -> int:
        """The level of a gain that is none."""
        return 2**self.amplitude - 1

    @property
    def first(self) -> int:
        """Most bits of the first path where all is equally likely; the channel's phase means nothing."""
        return sum(self.widths) + self.gains * (self.amplitude + self.phase) - self.phase

    def rounded(
        self, paths: FittedPaths, measured: Measured, length: int, expected: ExpectedPaths | None = None
    ) -> Tensor:
        """Paths that explain most, one after the other, their gains fitted anew, as many as so many bits tell.

        Args:
            expected: of the place; None: nothing is.

        Returns:
            int64 [N, K, fields]; where there are fewer paths, or not even one fits, all gains are none.
        """
        placed, gains = self.ordered(paths, measured, max(length // FEWEST, 1))
        each = self._bits_of_places(placed, expected)
        out = self._nothing(len(placed), len(gains)).clone()
        for count, gain in enumerate(gains, 1):
            fields = self._fields(placed[:, :count], gain)
            fits = self._bits_of(fields, each[:, :count]) + 1 <= length
            out[fits, :count] = fields[fits]
        return out

    def ordered(self, paths: FittedPaths, measured: Measured, count: int) -> tuple[Tensor, Sequence[Tensor]]:
        """Rounded places int64 [N, K, 3] of those that explain most, one after the other; gains, see `explaining`."""
        most = [2**width - 1 for width in self.widths]
        places = [
            ((paths.along + 1) / 2 * most[ALONG]).round().long().clamp(0, most[ALONG]),
            ((paths.up + 1) / 2 * most[UP]).round().long().clamp(0, most[UP]),
            ((paths.delay - self._begin / PICO) / REACH * 2 ** self.widths[DELAY]).round().long().clamp(0, most[DELAY]),
        ]
        unset = (torch.zeros_like(places[0]),) * (2 * self.gains)
        columns = columns_of(self.written(torch.stack([*places, *unset], -1)), measured)
        chosen, gains = explaining(columns, measured, count, self.gains)
        return torch.stack([place.gather(1, chosen) for place in places], -1), gains

    def _fields(self, placed: Tensor, gain: Tensor) -> Tensor:
        """Of places [N, K, 3] and gains [N, polarisations, K]."""
        gain = gain * torch.polar(torch.ones(()), -gain[:, 0, 0].angle())[:, None, None]
        size = gain.abs() / gain.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
        level = (-20 * size.clamp_min(1e-9).log10() / self._level).round().long().clamp(0, self.none)
        level[:, 0, 0].clamp_(max=self.none - 1)  # the first path is there
        turn = (gain.angle() * 2**self.phase / (2 * math.pi)).round().long() % 2**self.phase
        turn = torch.where(level < self.none, turn, 0)
        return torch.cat([placed, torch.stack([level, turn], -1).transpose(1, 2).flatten(2)], -1)

    def _nothing(self, links: int, count: int) -> Tensor:
        return torch.tensor([0, 0, 0, *(self.none, 0) * self.gains]).expand(links, count, -1)

    def written(self, fields: Tensor) -> FittedPaths:
        """Rounded paths [N, P, fields] as the base station writes them."""
        along, up = (
            fields[..., i] / (2**width - 1) * 2 - 1 if width else torch.zeros(fields.shape[:2])
            for i, width in enumerate(self.widths[:2])
        )
        delay = self._begin / PICO + fields[..., DELAY].double() / 2 ** self.widths[DELAY] * REACH
        level, turn = (fields[..., start::2].mT.double() for start in (GAINS, GAINS + 1))
        size = 10 ** (-level * self._level / 20) * (level < self.none)
        gain = torch.polar(size, 2 * math.pi / 2**self.phase * turn).to(torch.complex64)
        high = (1 - along.double().square()).clamp_min(0).sqrt()
        return FittedPaths(along.double(), torch.clamp(up.double(), -high, high), delay, gain, gain.abs(),
                           torch.ones(len(fields)))  # fmt: skip

    def bits(self, fields: Tensor, length: int, expected: ExpectedPaths | None = None) -> Tensor:
        """What `rounded` found for so many bits: uint8 [N, length]."""
        there = (fields[..., GAINS::2] < self.none).any(-1)
        numbers = [self._number(row[there[i]], length, _of(expected, i)) for i, row in enumerate(fields)]
        rows = [[int(bit) for bit in f"{number:0{length}b}"] for number in numbers]
        return torch.tensor(rows, dtype=torch.uint8).view(-1, length)

    def _number(self, paths: Tensor, length: int, expected: ExpectedPaths | None) -> int:
        """Of one channel's paths [P, fields]; of its last ones none where they turn out not to fit."""
        for count in range(len(paths), 0, -1):
            now = Interval()
            for symbol in self._symbols(paths[None, :count].numpy(), expected):
                now.narrow(int(symbol.below[0]), int(symbol.mass[0]), int(symbol.whole[0]))
            alone = now.numbers(length)
            for symbol in self._end(count):
                now.narrow(int(symbol.below[0]), int(symbol.mass[0]), int(symbol.whole[0]))
            # without an end, what follows must not be read as a path
            for number in now.numbers(length)[:1] or alone:
                if len(self._read(Reader(number, length), expected)) == count:
                    return number
        raise AssertionError("the first path fits")

    def fields(self, bits: Tensor, expected: ExpectedPaths | None = None) -> Tensor:
        """What bits [N, length] determine: int64 [N, K, fields], later gains none where there are fewer paths."""
        length = bits.shape[1]
        numbers = [int("".join(map(str, row)), 2) for row in bits.tolist()]
        found = [self._read(Reader(number, length), _of(expected, i)) for i, number in enumerate(numbers)]
        out = self._nothing(len(bits), max(map(len, found), default=0)).clone()
        for row, paths in zip(out, found, strict=True):
            if paths:
                row[: len(paths)] = torch.tensor(paths)
        return out

    def _read(self, reader: Reader, expected: ExpectedPaths | None) -> list[list[int]]:
        """Whole paths of one channel."""
        out: list[list[int]] = []
        while True:
            rank, path = len(out), [0] * (GAINS + 2 * self.gains)
            missing = False
            for which in range(self.gains):
                level = reader.read(self._levels(rank, which, missing)[0])
                if level is None:
                    return out
                path[GAINS + 2 * which] = level
                missing = level == self.none
            if all(level == self.none for level in path[GAINS::2]):
                return out
            first, guess = None if not out else np.array(out[:1]), self._guess(rank, expected)
            for field, width in enumerate(self.widths):
                if width:
                    place = reader.read(self._places(field, first, guess)[0])
                    if place is None:
                        return out
                    path[field] = place
                    if guess is not None:
                        guess.learn(np.array([place]))
            for which in range(self.gains):
                if path[GAINS + 2 * which] < self.none and (out or which):
                    turn = reader.read(even(2**self.phase))
                    if turn is None:
                        return out
                    path[GAINS + 2 * which + 1] = turn
            out.append(path)

    def _symbols(self, fields: Integers, expected: ExpectedPaths | None) -> Iterator[Symbol]:
        """Of one channel's paths, all of which are there: [1, P, fields]."""
        for rank in range(fields.shape[1]):
            path, missing = fields[:, rank], False
            for which in range(self.gains):
                level = path[:, GAINS + 2 * which]
                yield Symbol.of(self._levels(rank, which, missing), level)
                missing = bool(level[0] == self.none)
            yield from self._symbols_of_place(rank, path, fields[:, 0] if rank else None, expected)
            for which in range(self.gains):
                if path[0, GAINS + 2 * which] < self.none and (rank or which):
                    yield Symbol.of(even(2**self.phase)[None], path[:, GAINS + 2 * which + 1])

    def _symbols_of_place(
        self, rank: int, path: Integers, first: Integers | None, expected: ExpectedPaths | None
    ) -> Iterator[Symbol]:
        """Direction and delay of paths [N, fields] that come in that order."""
        guess = self._guess(rank, expected)
        for field, width in enumerate(self.widths):
            if width:
                yield Symbol.of(self._places(field, first, guess), path[:, field])
                if guess is not None:
                    guess.learn(path[:, field])

    def _guess(self, rank: int, expected: ExpectedPaths | None) -> Guess | None:
        if expected is None or self.laws is None or rank >= EXPECTED:
            return None
        return Guess(expected, self.laws, rank, self.radio)

    def _end(self, rank: int) -> Iterator[Symbol]:
        """That there is no path of this rank."""
        none = np.array([self.none])
        for which in range(self.gains):
            yield Symbol.of(self._levels(rank, which, bool(which)), none)

    def _bits_of(self, fields: Tensor, places: np.ndarray) -> Tensor:
        """What so many paths take: [N], given what their places take [N, K]."""
        found, total = fields.numpy(), np.zeros(len(fields))
        for rank in range(found.shape[1]):
            levels = found[:, rank, GAINS::2]
            there = levels < self.none
            for which in range(self.gains):
                spent = Symbol.of(self._levels(rank, which, False), levels[:, which]).bits
                if which:
                    alone = Symbol.of(self._levels(rank, which, True), levels[:, which]).bits
                    spent = np.where(there[:, 0], spent, alone)
                total += np.where(there.any(1), spent, 0.0)
            total += np.where(there.any(1), places[:, rank], 0.0) + self.phase * there.sum(1)
        return torch.from_numpy(total - self.phase)

    def _bits_of_places(self, placed: Tensor, expected: ExpectedPaths | None = None) -> np.ndarray:
        """What directions and delays take: [N, K]."""
        found = placed.numpy()
        return np.stack([self.place_bits(rank, found, expected) for rank in range(found.shape[1])], 1)

    def place_bits(self, rank: int, placed: Integers, expected: ExpectedPaths | None = None) -> np.ndarray:
        """What direction and delay take of the paths that come in that order: [N], of rounded places [N, K, 3]."""
        symbols = self._symbols_of_place(rank, placed[:, rank], placed[:, 0] if rank else None, expected)
        return np.sum([symbol.bits for symbol in symbols], axis=0) + np.zeros(len(placed))

    def _levels(self, rank: int, which: int, missing: bool) -> Integers:
        """Below each level of a polarisation's gain: [1, levels + 1]."""
        count = 2**self.amplitude
        if self.laws is None:
            return even(count)[None]
        edges = [0, *(self.at_level(level) for level in range(1, count)), NONE]
        what = 0 if self.gains == 1 else 1 + which + (1 if which and missing else 0)
        return shared(self.laws.of_amplitude(what, rank).up_to(np.array(edges)))[None]

    def at_level(self, level: int) -> int:
        """Where a level of amplitude begins, dB / 1000 below the strongest."""
        return (2 * level - 1) * int(DEEPEST * MILLI) // (2 * self.none)

    def _places(self, field: int, first: Integers | None, guess: Guess | None) -> Integers:
        """Below each direction cosine or delay of a path, given the first one's fields [N, …]: [N or 1, steps + 1]."""
        count = 2 ** self.widths[field]
        if self.laws is None:
            return even(count)[None]
        laws, edges = self.laws, self.at(field, 2 * np.arange(count + 1, dtype=np.int64) - 1)
        if first is not None:
            law = (laws.apart, laws.higher, laws.later)[field]
            below = law.up_to(edges[None] - self.at(field, 2 * first[:, field])[:, None])
        elif field == ALONG:
            below = even(count)[None]
        else:
            below = (laws.up if field == UP else laws.delay[self.radio.clock]).up_to(edges)[None]
        below = shared(below)
        return below if guess is None else shared(guess.mixed(field, edges, below))

    def at(self, field: int, halves: Integers) -> Integers:
        """Where half steps lie: cosines in 1e-6, delays in ps."""
        if field == DELAY:
            return self._begin + halves * round(REACH * PICO) // 2 ** (self.widths[DELAY] + 1)
        return halves * int(MICRO) // (2 ** self.widths[field] - 1) - int(MICRO)

    @property
    def _level(self) -> float:
        """DB from one amplitude to the next."""
        return DEEPEST / self.none

    @property
    def _begin(self) -> int:
        """The earliest delay, ps."""
        return -round(EARLY * REACH * PICO) if self.radio.clock == "first_path" else 0


def _of(expected: ExpectedPaths | None, number: int) -> ExpectedPaths | None:
    return None if expected is None else expected[number : number + 1]


def explaining(columns: Tensor, measured: Measured, count: int, polarisations: int) -> tuple[Tensor, Sequence[Tensor]]:
    """Paths by orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad, 1993).

    Args:
        columns: what each adds to the measured entries in each polarisation, complex64 [N, M, polarisations · P].

    Returns:
        Which: int64 [N, K] of at most `count`; and the gains of the first, of the first two, and so on, fitted
        together: complex64 [N, polarisations, 1], … [N, polarisations, K].
    """
    adjoint = columns.mH.resolve_conj()
    gram = (adjoint @ columns).to(torch.complex128)
    match = (adjoint @ measured.values[..., None])[..., 0].to(torch.complex128)
    links, paths = len(match), match.shape[1] // polarisations
    size = gram.diagonal(dim1=1, dim2=2).real.clamp_min(1e-9)
    left, free = match, torch.ones(links, paths)
    chosen = torch.zeros(links, 0, dtype=torch.int64)
    gains = []
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
        gains.append(gain.to(torch.complex64).view(links, polarisations, -1))
    return chosen, gains
