"""How probable rounded paths are: what their bits are shared out by.

Laws are counted on paths of training places in physical units, so that they hold for any radio: how far below the
strongest a path is, by which in order it comes; delays and directions, but for the first path's, by how far they are
from it. Integers throughout, since both ends of a link need the same to the bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError

Integers = NDArray[np.int64]
FORMAT = "uniair-path-laws/1"
WHOLE = 1 << 20  # mass of a law
UNSEEN = WHOLE >> 6  # shared out evenly, for what was never seen
EXPECTED = 4  # paths of a channel that candidates of its place are compared with
RANKS = 6  # first, second and so on; later paths follow the last law
MICRO, PICO, MILLI = 1e6, 1e12, 1e3  # units of direction cosines, delays in s and dB
AMPLITUDES = ("of one polarisation", "of the first of two", "of the second", "of the second where the first is none")
NONE = 10**9  # dB / 1000 that a path that is none lies below the strongest


def _both(*knots: float) -> list[float]:
    return sorted({-x for x in knots} | set(knots))


_COSINES = _both(0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.45, 0.65, 1.0)
_NANOSECONDS = (0, 2, 5, 10, 15, 20, 30, 40, 60, 80, 100, 130, 160, 200, 250, 320, 400, 500, 640, 800, 1000, 1400)
KNOTS: Mapping[str, list[int]] = {
    "amplitude": [round(x * MILLI) for x in (0, 0.5, 1, *range(2, 27), 30)] + [NONE],
    "up": [round(x * MICRO) for x in _COSINES],
    "apart": [round(x * MICRO) for x in [-2.0, -1.4, *_COSINES, 1.4, 2.0]],
    "delay": [x * 1000 for x in (-150, -60, -30, -15, -8, -4, *_NANOSECONDS)],
    "later": [round(x * 1000) for x in _both(*_NANOSECONDS)],
    "beside": [round(x * 1000) for x in _both(0, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16)],
}


class Law(NamedTuple):
    """A piecewise even distribution: ascending knots, and the mass below each, from 0 to `WHOLE`."""

    knots: Integers
    below: Integers

    @classmethod
    def counted(cls, values: Integers, knots: list[int]) -> Law:
        """Of values that were seen; each piece is taken to have been seen half a time more."""
        at = np.array(knots, dtype=np.int64)
        seen = np.histogram(np.clip(values, at[0], at[-1]), at)[0] + 0.5
        return cls(at, np.round(np.concatenate([[0], np.cumsum(seen / seen.sum())]) * WHOLE).astype(np.int64))

    def up_to(self, values: Integers) -> Integers:
        """Mass below each value."""
        x = np.clip(values, self.knots[0], self.knots[-1])
        i = np.clip(np.searchsorted(self.knots, x, "right") - 1, 0, len(self.knots) - 2)
        rise, run = self.below[i + 1] - self.below[i], self.knots[i + 1] - self.knots[i]
        return self.below[i] + rise * (x - self.knots[i]) // run


def even(count: int) -> Integers:
    """Below each of so many symbols and of all, where none is likelier."""
    return np.arange(count + 1, dtype=np.int64)


def shared(below: Integers) -> Integers:
    """What is below each symbol [..., symbols + 1], the unseen with its even share."""
    count = below.shape[-1] - 1
    return below - below[..., :1] + (UNSEEN // count + 1) * even(count)


@dataclass(frozen=True, eq=False)
class PathLaws:
    """Laws of what is told of a path.

    Attributes:
        amplitude: [`AMPLITUDES`][rank] dB / 1000 below the strongest gain.
        up: of the first path's cosine upwards, 1e-6.
        delay: of the first path's delay, ps, by the radio's clock.
        apart, higher, later: of cosines along and upwards and of delays, less the first path's.
        beside: [cosine along, upwards, delay][the straight line, another] how far a path lies from the candidate that
            it is, in thousandths of what the radio tells apart.
        candidate: int64 [2, EXPECTED, 1 + candidates] how probable it is that the first path, the second, and so on
            is none of a place's candidates, or which in their order: where the straight line is not free, and where it
            is. Each adds up to `WHOLE`.
    """

    amplitude: tuple[tuple[Law, ...], ...]
    up: Law
    delay: Mapping[str, Law]
    apart: Law
    higher: Law
    later: Law
    beside: tuple[tuple[Law, Law], ...]
    candidate: Integers

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all masses."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def of_amplitude(self, what: int, rank: int) -> Law:
        """Of paths that come in that order; `what` of `AMPLITUDES`."""
        return self.amplitude[what][min(rank, RANKS - 1)]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; knots are `KNOTS`."""
        return {
            "format": FORMAT, "knots": dict(KNOTS),
            "amplitude": [[law.below.tolist() for law in laws] for laws in self.amplitude],
            "delay": {clock: law.below.tolist() for clock, law in sorted(self.delay.items())},
            **{name: getattr(self, name).below.tolist() for name in ("up", "apart", "higher", "later")},
            "beside": [[law.below.tolist() for law in laws] for laws in self.beside],
            "candidate": self.candidate.tolist(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: Any) -> PathLaws:
        """What `to_json` wrote.

        Raises:
            InputError: something else.
        """
        if not isinstance(told, dict) or told.get("format") != FORMAT or told.get("knots") != dict(KNOTS):
            raise InputError(f"laws of paths: expected {FORMAT} with this version's knots")

        def law(name: str, below: list[int]) -> Law:
            found = Law(np.array(KNOTS[name], dtype=np.int64), np.array(below, dtype=np.int64))
            if found.below.shape != found.knots.shape or (np.diff(found.below) < 0).any() or found.below[-1] != WHOLE:
                raise InputError(f"laws of paths: masses of {name} don't rise to {WHOLE}")
            return found

        try:
            return cls(
                tuple(tuple(law("amplitude", below) for below in laws) for laws in told["amplitude"]),
                law("up", told["up"]), {clock: law("delay", below) for clock, below in told["delay"].items()},
                law("apart", told["apart"]), law("apart", told["higher"]), law("later", told["later"]),
                tuple((law("beside", line), law("beside", other)) for line, other in told["beside"]),
                np.array(told["candidate"], dtype=np.int64),
            )  # fmt: skip
        except KeyError as error:
            raise InputError(f"laws of paths: {error} is missing") from error


@lru_cache(maxsize=1)
def packaged_laws() -> PathLaws:
    """Those that are counted on our training places."""
    return PathLaws.from_json(json.loads(files("uniair.tasks").joinpath("path_laws.json").read_text("utf-8")))
