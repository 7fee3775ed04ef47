"""How often a channel shows what its map says: what an audit weighs its evidence by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from uniair.errors import InputError

LEAST = 20  # of the cases that a rate is counted in


@dataclass(frozen=True)
class Rates:
    """Probabilities of what one channel shows.

    Attributes:
        line_free, line_blocked: of a path of the straight line, where the map leaves that free and where it does not.
        reflection_said, reflection_other: of a path of the single reflection that a map says, off a building that is
            there and off one that is not.
    """

    line_free: float
    line_blocked: float
    reflection_said: float
    reflection_other: float

    def __post_init__(self) -> None:
        if not all(0 < value < 1 for value in asdict(self).values()):
            raise InputError(f"rates of an audit {asdict(self)}: give probabilities between 0 and 1")

    @property
    def line(self) -> tuple[float, float]:
        """Nats for a free line where its path is seen, and for a blocked one where it is not."""
        seen, unseen = self.line_free / self.line_blocked, (1 - self.line_blocked) / (1 - self.line_free)
        return math.log(seen), math.log(unseen)

    @property
    def reflection(self) -> tuple[float, float]:
        """Nats for a building that is not there where its reflection is seen, and where it is not."""
        said, other = self.reflection_said, self.reflection_other
        return math.log(other / said), math.log((1 - other) / (1 - said))

    @classmethod
    def counted(cls, cases: Mapping[str, tuple[int, int]]) -> Rates:
        """From how often each was seen, and in how many cases, by the names of the rates; none is 0 or 1 (Laplace).

        Raises:
            InputError: too few cases of one, or of two that should differ the one that should be rarer is not.
        """
        for name in (field.name for field in fields(cls)):
            if cases[name][1] < LEAST:
                raise InputError(f"{name}: {cases[name][1]} cases on validation places; at least {LEAST} are needed")
        found = cls(**{name: (seen + 1) / (count + 2) for name, (seen, count) in cases.items()})
        if found.line_free <= found.line_blocked or found.reflection_said <= found.reflection_other:
            raise InputError(f"rates of an audit {asdict(found)}: channels of these places don't show what maps say")
        return found

    def to_json(self) -> dict[str, float]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, entries: Any, where: str) -> Rates:
        """What `to_json` wrote.

        Raises:
            InputError: something else.
        """
        try:
            return cls(**{name: float(value) for name, value in entries.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{where}: not the rates of an audit ({error})") from error


ASSUMED = Rates(line_free=0.98, line_blocked=0.03, reflection_said=0.6, reflection_other=0.2)  # where none were counted
