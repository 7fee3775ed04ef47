"""What was read from a footprint file: buildings, where their heights come from, what was left out or guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SOURCES = GIVEN, LEVELS, NEIGHBOURS, DRAWN = "given", "from levels", "from neighbours", "drawn"


@dataclass(frozen=True)
class Count:
    """How often, and one example: the object's id and what it says."""

    count: int
    example: str

    def __str__(self) -> str:
        return f"{self.count:,}" + (f" (e.g. {self.example})" if self.example else "")


@dataclass(frozen=True)
class Reading:
    """The counts of one file.

    Attributes:
        buildings: outlines that stand on the ground or start above it.
        parts: of them, parts of buildings with heights of their own.
        raised: of them, roofs, skybridges and other bodies that people walk under.
        heights: GIVEN, LEVELS, NEIGHBOURS and DRAWN: how many heights come from where.
        left_out: reason to what does not stand on the map.
        guessed: reason to what stands with something that the file does not say, or not clearly.
        notes: about the file as a whole: its CRS, where it lies.
    """

    buildings: int
    parts: int
    raised: int
    heights: Mapping[str, int]
    left_out: Mapping[str, Count] = field(default_factory=dict)
    guessed: Mapping[str, Count] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Plain sentences, the heights first: "1,195 of 1,195 heights drawn"."""
        known = ", ".join(f"{self.heights.get(k, 0):,} {k}" for k in SOURCES[:-1] if self.heights.get(k))
        out = [f"{self.heights.get(DRAWN, 0):,} of {self.buildings:,} heights drawn" + (f"; {known}" if known else "")]
        if self.parts or self.raised:
            out.append(
                f"{self.parts:,} parts of buildings, {self.raised:,} raised bodies (roofs, bridges, upper parts)"
            )
        out += [f"left out: {reason}: {count}" for reason, count in self.left_out.items()]
        out += [f"guessed: {reason}: {count}" for reason, count in self.guessed.items()]
        return [*out, *self.notes]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        groups = {
            name: {reason: {"count": c.count, "example": c.example} for reason, c in getattr(self, name).items()}
            for name in ("left_out", "guessed")
        }
        counts = {"buildings": self.buildings, "parts": self.parts, "raised": self.raised}
        return {**counts, "heights": dict(self.heights), **groups, "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Reading:
        """What `as_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        left_out, guessed = (
            {str(reason): Count(int(c["count"]), str(c["example"])) for reason, c in kept[name].items()}
            for name in ("left_out", "guessed")
        )
        heights = {str(source): int(count) for source, count in kept["heights"].items()}
        buildings, parts, raised = (int(kept[name]) for name in ("buildings", "parts", "raised"))
        return cls(buildings, parts, raised, heights, left_out, guessed, tuple(map(str, kept["notes"])))


@dataclass
class Tally:
    """Counts that grow while a file is read."""

    left_out: dict[str, Count] = field(default_factory=dict)
    guessed: dict[str, Count] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, example: str, count: int = 1) -> None:
        """Something does not stand on the map."""
        _add(self.left_out, reason, example, count)

    def guess(self, reason: str, example: str, count: int = 1) -> None:
        """Something stands otherwise than the file says, or as it does not say."""
        _add(self.guessed, reason, example, count)

    def summary(self) -> str:
        """What was left out, on one line, for an error message."""
        return "; ".join(f"{reason}: {count}" for reason, count in self.left_out.items())


def _add(counts: dict[str, Count], reason: str, example: str, count: int) -> None:
    before = counts.get(reason)
    counts[reason] = Count(count + (before.count if before else 0), before.example if before else example[:120])
