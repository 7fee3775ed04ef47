"""Typed answers with their units (paper 2, Table I), and why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

ToSite = Callable[[NDArray[np.floating]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Answer:
    """Answers for N links; `str` gives a sentence a link.

    Attributes:
        task: its name.
        record: entries of one link's JSON, and their types.
    """

    task: ClassVar[str]
    record: ClassVar[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The task, and under `answers` one object a link, the units in the names."""
        return {"task": self.task, "answers": self.records()}

    def __str__(self) -> str:
        return "\n".join(self.sentences())

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
class Declined:
    """Why there is no answer.

    Attributes:
        reason: `out_of_scope`, or `missing_input`.
        message: a sentence or two for people.
        task: what was understood; None where out of scope.
        missing: inputs that the task needs and that were not given.
    """

    reason: str
    message: str
    task: str | None = None
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The attributes, the reason under `declined`."""
        entries = asdict(self)
        return {"declined": entries.pop("reason"), **entries}

    def __str__(self) -> str:
        return self.message
