"""Arithmetic coding: exact, as short as probabilities allow, and read as far as bits determine it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from uniair.tasks.arithmetic_code import Interval, Reader

BELOW = np.array([0, 1, 3, 60, 64], dtype=np.int64)


def written(symbols: list[int]) -> Interval:
    out = Interval()
    for symbol in symbols:
        out.narrow(int(BELOW[symbol]), int(BELOW[symbol + 1] - BELOW[symbol]), int(BELOW[-1]))
    return out


def cost(symbols: list[int]) -> float:
    return float(sum(math.log2(BELOW[-1] / (BELOW[s + 1] - BELOW[s])) for s in symbols))


@pytest.mark.parametrize("seed", range(20))
def test_symbols_come_back_and_take_what_they_are_worth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = rng.choice(4, size=rng.integers(1, 60), p=np.diff(BELOW) / BELOW[-1]).tolist()
    length = math.ceil(cost(symbols)) + 1
    numbers = written(symbols).numbers(length)
    assert 0 < len(numbers) <= 4
    for number in numbers:
        assert 0 <= number < 2**length
        reader = Reader(number, length)
        assert [reader.read(BELOW) for _ in symbols] == symbols
    assert not written(symbols).numbers(math.floor(cost(symbols)) - 1)


def test_a_cut_string_is_read_as_far_as_all_its_continuations_agree() -> None:
    symbols = [0, 2, 1, 3, 0, 2]
    length = math.ceil(cost(symbols)) + 1
    number = written(symbols).numbers(length)[0]
    for cut in range(length):
        reader, found = Reader(number >> (length - cut), cut), []
        while len(found) < len(symbols) and (symbol := reader.read(BELOW)) is not None:
            found.append(symbol)
        assert found == symbols[: len(found)]
        assert cost(found) <= cut


def test_no_bits_determine_nothing() -> None:
    assert Reader(0, 0).read(BELOW) is None
    assert Reader(0, 0).read(np.array([0, 5], dtype=np.int64)) == 0  # but what is certain
