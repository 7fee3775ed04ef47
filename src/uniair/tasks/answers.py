"""Typed answers with their units (paper 2, Table I), and why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

ToSite = Callable[[NDArray[np.floating]], NDArray[np.float64]]


@dataclass(frozen=True)
class Subject:
    """Whom an answer is about; what was not said, and is not known, is None.

    Attributes:
        user: number.
        station: name.
        position: x, y, z in m from the south-west corner, in the place of a user.
    """

    user: int | None = None
    station: str | None = None
    position: tuple[float, float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """What is known of it, the position as `ue`, as requests have it."""
        entries = {
            "user": self.user,
            "station": self.station,
            "ue": None if self.position is None else list(self.position),
        }
        return {name: value for name, value in entries.items() if value is not None}

    def __str__(self) -> str:
        user = None if self.user is None else f"user {self.user}"
        position = None if self.position is None else f"({self.position[0]:g} m, {self.position[1]:g} m)"
        return ", ".join(part for part in (user, position, self.station) if part)


@dataclass(frozen=True, eq=False)
class Answer:
    """Answers for N links; `str` gives a sentence a link.

    Attributes:
        task: its name.
        record: entries of one link's JSON, and their types.
        subjects: of each link, where an instruction named them; else empty.
    """

    task: ClassVar[str]
    record: ClassVar[Mapping[str, Any]]
    subjects: tuple[Subject, ...] = field(default=(), kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The task, and under `answers` one object a link, the units in the names."""
        return {"task": self.task, "answers": self.entries()}

    def entries(self) -> list[dict[str, Any]]:
        """The records, with what their links are."""
        if not self.subjects:
            return self.records()
        return [subject.to_json() | record for subject, record in zip(self.subjects, self.records(), strict=True)]

    def __str__(self) -> str:
        if not self.subjects:
            return "\n".join(self.sentences())
        pairs = ((str(subject), sentence) for subject, sentence in zip(self.subjects, self.sentences(), strict=True))
        return "\n".join(f"{who[:1].upper()}{who[1:]}: {sentence}" if who else sentence for who, sentence in pairs)

    def likeliest(self, count: int) -> Answer:
        """The same with the `count` likeliest of each link, where its task takes `candidates`."""
        raise NotImplementedError

    def records(self) -> list[dict[str, Any]]:
        """One object a link."""
        raise NotImplementedError

    def sentences(self) -> list[str]:
        """One a link."""
        raise NotImplementedError

    def in_site(self, back: ToSite, bearing: float) -> Answer:
        """The same in the frame of a site, where heads answer in that of the array, which lies along x.

        Args:
            back: positions [N, 2] m, from the array's frame into the site's.
            bearing: azimuth of the array in the site, rad.
        """
        return self


@dataclass(frozen=True)
class Order:
    """What is compared.

    Attributes:
        among: whom it is for, for people; may be empty.
        best_first: names of stations, or users.
        asked: `best` or `worst`: from which end people are told them.
    """

    among: str
    best_first: tuple[str, ...]
    asked: str = "best"

    def to_json(self) -> dict[str, Any]:
        """Best first, however it was asked."""
        return {"among": self.among, "best_first": self.best_first}

    def __str__(self) -> str:
        who = f"For {self.among}, {self.asked}" if self.among else self.asked.capitalize()
        names = self.best_first if self.asked == "best" else self.best_first[::-1]
        return f"{who} first: {', '.join(names)}."


@dataclass(frozen=True, eq=False)
class Answers:
    """Several answers to one instruction; `str` gives a sentence a link, and a line for each order.

    Attributes:
        parts: one of a task and a station each.
        orders: of a comparison.
        notes: what there is to know beside them.
    """

    parts: Sequence[Answer]
    orders: Sequence[Order] = ()
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The tasks, under `answers` one object a task and link, under `orders` what was compared, and notes."""
        tasks = list(dict.fromkeys(part.task for part in self.parts))
        return {
            "task": tasks[0] if len(tasks) == 1 else None, "tasks": tasks, "answers": self.entries(),
            "orders": [order.to_json() for order in self.orders], "notes": list(self.notes),
        }  # fmt: skip

    def entries(self) -> list[dict[str, Any]]:
        """The records of all, each with its task."""
        return [{"task": part.task} | entry for part in self.parts for entry in part.entries()]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.parts), *map(str, self.orders), *self.notes])


@dataclass(frozen=True)
class Declined:
    """Why there is no answer.

    Attributes:
        reason: `out_of_scope`, `not_honoured`, `missing_input`, or `language`.
        message: a sentence or two for people.
        task: what was understood; None where out of scope.
        missing: inputs that the task needs and that were not given.
        refused: phrases that nothing here can honour, as they were said.
    """

    reason: str
    message: str
    task: str | None = None
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The attributes, the reason under `declined`."""
        entries = asdict(self)
        return {"declined": entries.pop("reason"), **entries}

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Question:
    """What has to be said more clearly before there is an answer.

    Attributes:
        about: the argument: `user`, `station`, `position`, `carrier`, `candidates`, `comparison` or `number`.
        message: a sentence for people.
        choices: what it may be answered with, where these are few.
    """

    about: str
    message: str
    choices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The attributes, the argument under `question`."""
        return {"question": self.about, "message": self.message, "choices": list(self.choices)}

    def __str__(self) -> str:
        return self.message
