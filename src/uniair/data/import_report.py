"""What a reader found, what it could not use, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5  # names kept a reason


@dataclass
class ImportReport:
    """Counts that a reader fills in while it streams, so that nothing is dropped in silence.

    Attributes:
        found: what was read and used, e.g. `{"links": 4522, "LOS links": 3805}`.
        left_out: reason → how many.
        examples: reason → the first few names.
        grounds: place → digest of its buildings and base stations, where they are known: what is the same under
            another name, splits can keep together.
    """

    found: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    grounds: dict[str, str] = field(default_factory=dict)

    def use(self, what: str, count: int = 1) -> None:
        """Counts something that was used."""
        self.found[what] += count

    def leave(self, reason: str, name: str, count: int = 1) -> None:
        """Counts `count` things left out or mended for `reason`; `name` says which or where."""
        if count == 0:
            return
        self.left_out[reason] += count
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES and name not in examples:
            examples.append(name)

    def as_json(self) -> dict[str, Any]:
        """The report for the manifest."""
        out = {"found": dict(self.found), "left_out": dict(self.left_out), "examples": self.examples}
        return out | ({"grounds": self.grounds} if self.grounds else {})
