"""How probable paths are, counted on channels of training places: see `PathLaws`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.environment import Batch
from uniair.models.universal import UniversalModel
from uniair.tasks.completion import fitted_paths, measured_part
from uniair.tasks.expected_paths import ExpectedPaths, expected_paths, sizes
from uniair.tasks.path_code import SNR, PathCode
from uniair.tasks.path_laws import (
    AMPLITUDES,
    EXPECTED,
    KNOTS,
    MILLI,
    NONE,
    RANKS,
    WHOLE,
    Integers,
    Law,
    PathLaws,
    packaged_laws,
)
from uniair.tasks.path_rounding import ALONG, DELAY, UP, Rounding

PATHS = 8  # of a channel that are counted: more than most codes hold
FIELDS = (ALONG, UP, DELAY)
PASSES = 15  # of expectation and maximisation (Dempster, Laird and Rubin, 1977)


@dataclass(frozen=True)
class Found:
    """Paths of one radio's channels in their places: the first of N channels each, the second, and so on, up to P.

    Attributes:
        rounding: by which they are told.
        placed: int64 [N, P, 3] their directions and delays.
        there: bool [N, P] whether there are so many.
        expected: of the places.
    """

    rounding: Rounding
    placed: Integers
    there: NDArray[np.bool_]
    expected: ExpectedPaths

    def at(self, field: int) -> Integers:
        """Where they lie: [N, P]."""
        return self.rounding.at(field, 2 * self.placed[..., field])


def counted_laws(model: UniversalModel, batches: Iterable[Batch]) -> PathLaws:
    """Laws of the paths that are read from the channels of batches, each seen by a radio in known places.

    A law of what was never seen, such as another clock's delays, is the packaged one.
    """
    seen: dict[str, list[Integers]] = defaultdict(list)
    found = [part for batch in batches for part in _found(model, batch, seen)]
    known = packaged_laws()

    def law(kind: str, name: str, before: Law) -> Law:
        return Law.counted(np.concatenate(seen[name]), KNOTS[kind]) if name in seen else before

    amplitude = tuple(
        tuple(law("amplitude", f"{what} {rank}", known.amplitude[i][rank]) for rank in range(RANKS))
        for i, what in enumerate(AMPLITUDES)
    )
    delay = {clock: law("delay", f"delay {clock}", before) for clock, before in known.delay.items()}
    anywhere = replace(
        known, amplitude=amplitude, up=law("up", "up", known.up), delay=delay,
        apart=law("apart", "apart", known.apart), higher=law("apart", "higher", known.higher),
        later=law("later", "later", known.later),
    )  # fmt: skip
    return _beside_candidates(found, anywhere)


def _found(model: UniversalModel, batch: Batch, seen: dict[str, list[Integers]]) -> list[Found]:
    """Paths of one radio's channels by the finest of the roundings; what they show is added to what was seen."""
    radio = batch.radio
    everything = torch.ones(radio.shape, dtype=torch.bool)
    rounding, expected = PathCode(radio).roundings[0], expected_paths(batch.environment, radio)
    out: list[Found] = []
    for paths, part, _ in fitted_paths(model, measured_part(batch.csi, radio, everything), everything, SNR):
        placed, gains = rounding.ordered(paths, part, PATHS)
        begin = sum(len(one.placed) for one in out)
        there = _amplitudes(rounding, gains[-1], seen)[:, : placed.shape[1]]
        one = Found(rounding, placed.numpy(), there, expected[begin : begin + len(placed)])
        seen[f"delay {radio.clock}"].append(one.at(DELAY)[:, 0])
        later = there & (np.arange(placed.shape[1]) > 0)
        for name, field in (("apart", ALONG), ("higher", UP), ("later", DELAY)):
            if rounding.widths[field]:
                seen[name].append((one.at(field) - one.at(field)[:, :1])[later])
        if rounding.widths[UP]:
            seen["up"].append(one.at(UP)[:, 0])
        out.append(one)
    return out


def _amplitudes(rounding: Rounding, gain: Tensor, seen: dict[str, list[Integers]]) -> NDArray[np.bool_]:
    """Counts how far below the strongest gains [N, polarisations, K] are; returns which paths are there [N, PATHS]."""
    size = gain.abs()
    under = -20 * (size / size.amax((1, 2), keepdim=True)).clamp_min(1e-12).log10()
    found = (under * MILLI).round().long()
    below = torch.nn.functional.pad(found, (0, PATHS - found.shape[-1]), value=NONE).numpy()
    deepest = rounding.at_level(rounding.none)
    for rank in range(PATHS):
        last = min(rank, RANKS - 1)
        if rounding.gains == 1:
            seen[f"{AMPLITUDES[0]} {last}"].append(below[:, 0, rank])
            continue
        missing = below[:, 0, rank] >= deepest
        seen[f"{AMPLITUDES[1]} {last}"].append(below[:, 0, rank])
        seen[f"{AMPLITUDES[2]} {last}"].append(below[~missing, 1, rank])
        seen[f"{AMPLITUDES[3]} {last}"].append(below[missing, 1, rank])
    return np.asarray((below < deepest).any(1))


def _beside_candidates(found: list[Found], laws: PathLaws) -> PathLaws:
    """Laws beside candidates: which one a path is, if one, and how far from it, so that paths are likeliest."""
    knots = np.array(KNOTS["beside"])
    count = laws.candidate.shape[2]
    weight = np.full((2, EXPECTED, count), 0.5 / (count - 1))
    weight[..., 0] = 0.5
    pieces = np.full((3, 2, len(knots) - 1), 1 / (len(knots) - 1))
    samples = [_compared(one, rank, laws, knots) for one in found for rank in range(min(EXPECTED, one.there.shape[1]))]
    for _ in range(PASSES):
        which = np.full_like(weight, 0.5)
        where = np.full_like(pieces, 0.5)
        for some in samples:
            near = np.ones(some.other.shape)
            for field, step in some.step.items():
                piece = some.piece[field]
                near *= np.where(piece >= 0, np.minimum(pieces[field][some.other, piece] * step[piece], 1), 0.0)
            share = weight[some.free, some.rank] * np.concatenate([some.anywhere[:, None], near], 1)
            share /= share.sum(1, keepdims=True)
            np.add.at(which[:, some.rank], some.free, share)
            for field in some.step:
                inside = some.piece[field] >= 0
                np.add.at(where[field], (some.other[inside], some.piece[field][inside]), share[:, 1:][inside])
        weight, pieces = which / which.sum(2, keepdims=True), where / where.sum(2, keepdims=True)
    candidate = np.round(weight * WHOLE).astype(np.int64)
    candidate[..., 0] += WHOLE - candidate.sum(2)
    below = np.concatenate([np.zeros((3, 2, 1)), np.cumsum(pieces, 2)], 2)
    masses = np.round(below * WHOLE).astype(np.int64)
    beside = tuple((Law(knots, line), Law(knots, other)) for line, other in masses)
    return replace(laws, beside=beside, candidate=candidate)


class Compared(NamedTuple):
    """M paths that come in one order beside the candidates of their places.

    Attributes:
        rank: which order.
        free: int64 [M] whether the straight line is free.
        other: int64 [M, C] 0 where a candidate is the straight line, 1 where it is another.
        anywhere: [M] how probable the path is in any place.
        piece: of each field, of the law beside candidates the piece that each puts the path in, −1 beyond: [M, C].
        step: of each field that is told, the share of each piece that a step of rounding takes.
    """

    rank: int
    free: Integers
    other: Integers
    anywhere: NDArray[np.float64]
    piece: dict[int, Integers]
    step: dict[int, NDArray[np.float64]]


def _compared(one: Found, rank: int, laws: PathLaws, knots: Integers) -> Compared:
    rounding, mine = replace(one.rounding, laws=laws), np.flatnonzero(one.there[:, rank])
    placed, expected = one.placed[mine], one.expected[mine]
    bits = rounding.place_bits(rank, placed)
    pieces, steps = {}, {}
    for field, values, size in zip(
        FIELDS, (expected.along, expected.up, expected.delay), sizes(rounding.radio), strict=True
    ):
        if rounding.widths[field]:
            off = (one.at(field)[mine, rank, None] - values) * 1000 // size
            piece = np.searchsorted(knots, off, "right") - 1
            pieces[field] = np.where((piece >= 0) & (piece < len(knots) - 1), piece, -1)
            width = np.diff(rounding.at(field, np.array([-1, 1])))[0] * 1000 / size
            steps[field] = width / np.diff(knots)
    other = 1 - expected.line.astype(np.int64)
    return Compared(rank, 1 - other[:, 0], other, 2.0**-bits, pieces, steps)
