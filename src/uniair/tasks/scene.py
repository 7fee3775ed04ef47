"""What can be asked about: the users and stations that there are, what is known of their links, and the radio."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from uniair.environment import PER_HYPOTHESIS, Environment
from uniair.errors import InputError
from uniair.radio import Radio
from uniair.tasks.answers import Answer
from uniair.tasks.task import Task

Outputs = Callable[[str, Tensor], Tensor]  # task, embeddings [N, E] → a head's outputs


class NoLinkError(InputError):
    """Nothing is known between a station and a user."""


@dataclass(frozen=True, eq=False)
class Given:
    """What is known of N links; any part may be missing.

    Attributes:
        csi: complex [N, ports, subcarriers], or that of one link.
        environment: of each.
        radio: that measured the CSI; None: the one of the labels.
        representations: of modalities that no tower here makes, [N, length], or those of one link.
    """

    csi: Any = None
    environment: Environment | None = None
    radio: Radio | None = None
    representations: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Whether no link's own data are given."""
        return self.csi is None and self.environment is None and not self.representations


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to ask about; nothing is known of any link here, which is for those that know some.

    Attributes:
        stations: their names, in the order of their numbers; empty: not known.
        users: how many there are, numbered from 0.
        radio: of all stations.
        size: side of the square that holds them, m; None: not known.
        here: station and user that are meant where none is named; None: no user.
    """

    stations: tuple[str, ...] = ()
    users: int = 0
    radio: Radio = Radio()
    size: float | None = None
    here: tuple[int, int | None] = (0, None)

    @property
    def brings(self) -> bool:
        """Whether what is in front came along with the question, and is no user that has a number."""
        return False

    # what is known

    def front(self, station: int) -> Given:
        """What is meant where no user is named, as a station sees it."""
        return Given() if self.here[1] is None else self.links(station, (self.here[1],))

    def links(self, station: int, users: Sequence[int]) -> Given:
        """The links of users to a station.

        Raises:
            NoLinkError: one that is not known.
        """
        raise NoLinkError("nothing is known of any user; give csi, or map, bs, ue and size")

    def place(self, station: int, positions: NDArray[np.float64]) -> Given:
        """Users at positions [N, 3], m from the south-west corner, as a station sees them.

        Raises:
            NoLinkError: there is no map.
        """
        raise NoLinkError("no map is known to stand on; give map, bs, ue and size")

    def reads(self, station: int, task: Task) -> tuple[str, ...]:
        """Which of a task's inputs can be read for a station, the preferred one first."""
        return (task.read,)

    def outputs(self, station: int, inputs: str) -> Outputs | None:
        """A station's own heads; None: it has none."""
        return None

    def in_place(self, answer: Answer, station: int) -> Answer:
        """An answer in the frame of the place."""
        return answer

    # for people, and from what they say

    @property
    def said_users(self) -> str:
        """The users."""
        one = "one user, 0" if self.users == 1 else "no users that have numbers"
        return f"users 0 to {self.users - 1}" if self.users > 1 else one

    @property
    def said_stations(self) -> str:
        """The stations."""
        names = ", ".join(self.stations)
        several = "stations" if len(self.stations) > 1 else "one station,"
        return f"{several} {names}" if names else "no stations that have names"

    def user(self, number: float) -> int | str:
        """The user of a number; else what to say."""
        if number == round(number) and 0 <= number < self.users:
            return round(number)
        return f"user {number:g}: here are {self.said_users}; which one?"

    def station(self, number: float) -> int | str:
        """The station of a number, from 0; else what to say, also where names end in numbers that say otherwise."""
        ends = [re.search(r"(\d+)\D*$", name) for name in self.stations]
        counted = [int(end[1]) for end in ends if end is not None]
        there = number == round(number) and 0 <= number < len(self.stations)
        if there and (len(counted) < len(ends) or number not in counted or counted[round(number)] == number):
            return round(number)
        return f"station {number:g}: here {'is' if len(self.stations) == 1 else 'are'} {self.said_stations}; which one?"


@dataclass(frozen=True, eq=False)
class Rows(Scene):
    """Links that were given as arrays: user i is row i, and the station has no name."""

    given: Given = Given()

    @classmethod
    def of(cls, given: Given, radio: Radio) -> Rows:
        """The rows of what was given, seen by a radio."""
        csi, place = given.csi, given.environment
        count = 0 if csi is None else 1 if np.ndim(csi) == 2 else len(csi)
        if csi is None and place is not None:
            count = max((len(value) for name in PER_HYPOTHESIS if np.ndim(value := getattr(place, name))), default=0)
        if csi is None and place is None:
            count = max((len(np.atleast_2d(value)) for value in given.representations.values()), default=0)
        size = None if place is None or place.size is None else float(np.asarray(place.size).min())
        return cls((), count, radio, size, given=given)

    def front(self, station: int) -> Given:
        """All of them."""
        return self.given

    def links(self, station: int, users: Sequence[int]) -> Given:
        """Some rows."""
        index = np.asarray(users)
        csi, place = self.given.csi, self.given.environment
        if csi is not None and np.ndim(csi) > 2:
            csi = csi[index]
        if place is not None and self.users > 1:
            picked = {name: value[index] for name in PER_HYPOTHESIS if (value := getattr(place, name)) is not None}
            if place.area is None and place.map is not None and len(place.map) > 1:
                picked["area"] = index
            place = replace(place, **picked)
        seen = {name: np.atleast_2d(value)[index] for name, value in self.given.representations.items()}
        return replace(self.given, csi=csi, environment=place, representations=seen)

    def place(self, station: int, positions: NDArray[np.float64]) -> Given:
        """Elsewhere on the first row's map, of the same station."""
        known = self.given.environment
        if known is None or known.map is None or known.bs is None or known.size is None:
            return super().place(station, positions)
        n, first = len(positions), 0 if known.area is None else int(known.area[0])
        bs, size = np.tile(np.asarray(known.bs)[:1], (n, 1)), np.tile(np.asarray(known.size)[:1], n)
        moved = Environment(
            map=known.map[first : first + 1], bs=bs, ue=positions.astype(np.float32), size=size,
            area=np.zeros(n, dtype=np.int64),
        )  # fmt: skip
        told = {name: value[:1].repeat(n) for name in ("carrier", "bearing", "downtilt", "first_path")
                if (value := getattr(known, name)) is not None}  # fmt: skip
        return Given(environment=replace(moved, **told))
