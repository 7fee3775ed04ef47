"""Symbols as bits by their probabilities: exact arithmetic coding, of which every beginning tells what it determines.

Intervals are exact (integers without end), so that both ends agree to the bit, and a cut string is read as far as all
its continuations agree (Rissanen and Langdon, "Arithmetic coding", 1979). Libraries code into whole words of 32 bits,
which can neither be cut anywhere nor be as short as feedback is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Interval:
    """What symbols so far leave of [0, 1): from `low` / `scale` on, `width` / `scale` wide."""

    def __init__(self) -> None:
        self.low, self.width, self.scale = 0, 1, 1

    def narrow(self, below: int, mass: int, whole: int) -> None:
        """To a symbol of `mass` of `whole`, with `below` for those before it."""
        self.low = self.low * whole + self.width * below
        self.width *= mass
        self.scale *= whole

    def numbers(self, length: int) -> range:
        """Those of so many bits whose every continuation lies inside; none where bits are too few."""
        return range(-(-(self.low << length) // self.scale), ((self.low + self.width) << length) // self.scale)


class Reader:
    """The symbols that bits determine, one after the other."""

    def __init__(self, number: int, length: int) -> None:
        self.number, self.length, self.interval = number, length, Interval()

    def read(self, below: NDArray[np.int64]) -> int | None:
        """The next symbol, of masses that add up to `below` [symbols + 1]; None: the bits leave it open."""
        now, whole = self.interval, int(below[-1])
        # in units of 1 / (scale · whole · 2^length)
        place = (self.number * now.scale - (now.low << self.length)) * whole
        symbol = int(np.searchsorted(below, place // (now.width << self.length), "right")) - 1
        end = ((self.number + 1) * now.scale - (now.low << self.length)) * whole
        if not 0 <= symbol < len(below) - 1 or end > int(below[symbol + 1]) * (now.width << self.length):
            return None
        self.interval.narrow(int(below[symbol]), int(below[symbol + 1] - below[symbol]), whole)
        return symbol
