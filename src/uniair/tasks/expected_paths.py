"""Paths that a place is expected to have, which make those that it has cheaper to tell.

Both ends have the map and the user's position: the base station, say, sends its candidates once. A direction or delay
is then probable where a candidate lies, the likelier the less that one loses, and else as in any place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.ray_launching import Candidates, candidates
from uniair.models.sight_line import tilted
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.tasks.path_fit import cells
from uniair.tasks.path_laws import MICRO, PICO, WHOLE, Integers, PathLaws

MOST = 16  # candidates of a place, those that lose least
FAR = 10**9  # where a candidate that is none lies: far from anything


@dataclass(frozen=True, eq=False)
class ExpectedPaths:
    """Up to C candidates of each of N places, those that lose least first; the rest are `FAR`.

    Attributes:
        along, up: int64 [N, C] direction cosines of departure, 1e-6.
        delay: int64 [N, C] ps by the radio's clock.
        line: bool [N, C] whether it is the straight line.
    """

    along: Integers
    up: Integers
    delay: Integers
    line: np.ndarray

    def __len__(self) -> int:
        return len(self.along)

    def __getitem__(self, index: slice | np.ndarray) -> ExpectedPaths:
        """Of some of the places."""
        return ExpectedPaths(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def digest(self) -> str:
        """Of all of them, which both ends need alike."""
        return hashlib.sha256(b"".join(getattr(self, field.name).tobytes() for field in fields(self))).hexdigest()


def expected_paths(env: Environment, radio: Radio) -> ExpectedPaths:
    """Of N hypotheses about a place, as EPNN's rays find them; `los` is ignored.

    Raises:
        InputError: map or positions are unknown; see `Environment.tensors`.
    """
    if env.map is None or env.bs is None or env.ue is None:
        raise InputError("paths expected of a place: map, bs and ue have to be known")
    place = env.without("los").asked_by(radio).tensors()
    found = candidates(place, torch.ones(len(place), dtype=torch.bool), solid=True)
    found = _straightened(found, place)
    first = found.first() if radio.clock == "first_path" else torch.zeros(found.distinct)
    later = (found.length - first[found.owner]).double().numpy() / SPEED_OF_LIGHT
    told = (found.cosine.double().numpy() * MICRO, found.up.double().numpy() * MICRO, later * PICO)
    owner, loss = found.owner.numpy(), found.loss.numpy()
    order = np.lexsort((loss, owner))
    start = np.searchsorted(owner[order], np.arange(found.distinct))
    place_in_line = np.arange(len(order)) - start[owner[order]]
    kept = place_in_line < MOST
    row, column, which = owner[order][kept], place_in_line[kept], order[kept]
    along, up, delay = (np.full((found.distinct, MOST), FAR, dtype=np.int64) for _ in told)
    line = np.zeros((found.distinct, MOST), dtype=bool)
    for part, values in zip((along, up, delay), told, strict=True):
        part[row, column] = values[which].round().astype(np.int64)
    line[row, column] = found.kind.numpy()[which] == 0
    return ExpectedPaths(along, up, delay, line)[found.of.numpy()]


def _straightened(found: Candidates, place: Environment) -> Candidates:
    """With straight lines as the positions have them: rays meet a user from a little aside."""
    of = torch.zeros(found.distinct + 1, dtype=torch.long)
    of[found.of] = torch.arange(len(found.of))
    here = place.select(of[found.owner])
    way = (here.ue - here.bs).double()
    length = way.norm(dim=1)
    exact = tilted(way / length[:, None], None if here.downtilt is None else here.downtilt.double())
    line = found.kind == 0
    cosine, up, length = (
        torch.where(line, right, about.double())
        for right, about in ((exact[:, 0], found.cosine), (exact[:, 2], found.up), (length, found.length))
    )
    return replace(found, cosine=cosine, up=up, length=length)


def sizes(radio: Radio) -> list[int]:
    """What a radio tells apart along, upwards, 1e-6, and in delay, ps; 0 where it has no extent."""
    units = (MICRO, MICRO, PICO)
    return [round(size * unit) if np.isfinite(size) else 0 for size, unit in zip(cells(radio), units, strict=True)]


class Guess:
    """Which candidate a path may be, as more is told of it: masses [N, 1 + C], first that it is none of them."""

    def __init__(self, expected: ExpectedPaths, laws: PathLaws, rank: int, radio: Radio) -> None:
        free = expected.line[:, 0].astype(np.int64)
        self.weight = laws.candidate[free, rank].copy()
        self.expected, self.laws = expected, laws
        self.cells = sizes(radio)
        self.below = np.zeros((0, 0, 0), dtype=np.int64)

    def mixed(self, field: int, edges: Integers, anywhere: Integers) -> Integers:
        """Mass below each edge [N, edges] of a field, given that of any place [N or 1, edges]."""
        told = self.expected
        at = (told.along, told.up, told.delay)[field]
        off = (edges[None, None] - at[..., None]) * 1000 // self.cells[field]
        line, other = (law.up_to(off) for law in self.laws.beside[field])
        near = np.where(told.line[..., None], line, other)
        near -= near[..., :1]
        even = np.broadcast_to(anywhere * WHOLE // anywhere[:, -1:], (len(at), len(edges)))
        self.below = np.concatenate([even[:, None], near], 1)
        return (self.weight[..., None] * self.below).sum(1) // WHOLE

    def learn(self, chosen: Integers) -> None:
        """What a field was found to be [N], of what was last mixed."""
        rows, columns = np.arange(len(chosen))[:, None], np.arange(self.below.shape[1])[None]
        mass = self.below[rows, columns, chosen[:, None] + 1] - self.below[rows, columns, chosen[:, None]]
        found = self.weight * mass
        whole = found.sum(1, keepdims=True)
        found = np.where(whole > 0, found * WHOLE // np.maximum(whole, 1), self.weight)
        self.weight = found
