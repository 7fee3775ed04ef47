"""Typed answers of the five tasks, with their units (paper 2, Table I)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answer:
    """Answers for N links; `str` gives a sentence a link."""

    task: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """The task, and under `answers` one object a link, the units in the names."""
        return {"task": self.task, "answers": self._records()}

    def __str__(self) -> str:
        return "\n".join(self._sentences())

    def _records(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _sentences(self) -> list[str]:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Position(Answer):
    """Where users are.

    Attributes:
        xy: float32 [N, 2] m, east and north of the area's south-west corner.
    """

    task = "position"
    xy: Tensor

    def _records(self) -> list[dict[str, Any]]:
        return [{"x_m": x, "y_m": y} for x, y in self.xy.tolist()]

    def _sentences(self) -> list[str]:
        return [f"The user is {x:.1f} m east and {y:.1f} m north of the area's corner." for x, y in self.xy.tolist()]


@dataclass(frozen=True, eq=False)
class LineOfSight(Answer):
    """Whether base station and user see each other.

    Attributes:
        probability: float32 [N], calibrated, of line of sight.
    """

    task = "los"
    probability: Tensor

    @property
    def los(self) -> Tensor:
        """Which links are more likely in line of sight than not: bool [N]."""
        return self.probability > 0.5

    def _records(self) -> list[dict[str, Any]]:
        return [{"los": p > 0.5, "probability_of_los": p} for p in self.probability.tolist()]

    def _sentences(self) -> list[str]:
        return [
            f"{'Line of sight' if p > 0.5 else 'No line of sight'} (probability {max(p, 1 - p):.0%})."
            for p in self.probability.tolist()
        ]


@dataclass(frozen=True, eq=False)
class Precoder(Answer):
    """What the array transmits to a user: antenna n sends weights[n] times the symbol.

    Attributes:
        weights: complex64 [N, antennas] of unit norm, antenna 0 real.
    """

    task = "precoding"
    weights: Tensor

    def _records(self) -> list[dict[str, Any]]:
        return [{"weights_real": w.real.tolist(), "weights_imag": w.imag.tolist()} for w in self.weights]

    def _sentences(self) -> list[str]:
        return [
            f"Precoder of {len(w)} complex weights: " + ", ".join(f"{v:.3f}" for v in w.tolist()) + "."
            for w in self.weights
        ]


@dataclass(frozen=True, eq=False)
class Beam(Answer):
    """Which beam of the array's DFT codebook serves a user best.

    Attributes:
        probabilities: float32 [N, beams], calibrated; rows sum to 1. Beam b points to the direction cosine 2b/beams
            (mod 2) along the array.
    """

    task = "beam"
    probabilities: Tensor

    @property
    def index(self) -> Tensor:
        """The likeliest beam: int64 [N]."""
        return self.probabilities.argmax(1)

    def direction_cosine(self) -> Tensor:
        """Of the likeliest beam along the array, from −1 to 1: float32 [N]."""
        return (2 * self.index / self.probabilities.shape[1] + 1) % 2 - 1

    def _records(self) -> list[dict[str, Any]]:
        rows = zip(self.index.tolist(), self.direction_cosine().tolist(), self.probabilities.tolist(), strict=True)
        return [{"beam": i, "direction_cosine": c, "probability": p[i], "probabilities": p} for i, c, p in rows]

    def _sentences(self) -> list[str]:
        return [
            f"Beam {r['beam']} of {self.probabilities.shape[1]}, towards direction cosine {r['direction_cosine']:.2f} "
            f"along the array (probability {r['probability']:.0%})."
            for r in self._records()
        ]


@dataclass(frozen=True, eq=False)
class PathLoss(Answer):
    """How much weaker the signal is at the user.

    Attributes:
        db: float32 [N] dB.
    """

    task = "path_loss"
    db: Tensor

    def _records(self) -> list[dict[str, Any]]:
        return [{"path_loss_db": value} for value in self.db.tolist()]

    def _sentences(self) -> list[str]:
        return [f"The path loss is {value:.1f} dB." for value in self.db.tolist()]


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
