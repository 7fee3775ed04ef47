"""Whether base station and user see each other (paper 1, III-B-2); with nothing tuned, `zero_shot.los` tells it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from uniair import metrics
from uniair.environment import Batch
from uniair.tasks.answers import Answer
from uniair.tasks.task import Label, Metric, Task


@dataclass(frozen=True, eq=False)
class LineOfSight(Answer):
    """Whether base station and user see each other.

    Attributes:
        probability: float32 [N], calibrated, of line of sight.
    """

    task = "los"
    record: ClassVar[Mapping[str, Any]] = {"los": bool, "probability_of_los": float}
    probability: Tensor

    @property
    def los(self) -> Tensor:
        """Which links are more likely in line of sight than not: bool [N]."""
        return self.probability > 0.5

    def records(self) -> list[dict[str, Any]]:
        """What is likelier, and the probability of line of sight."""
        return [{"los": p > 0.5, "probability_of_los": p} for p in self.probability.tolist()]

    def sentences(self) -> list[str]:
        """What is likelier, and its probability."""
        return [
            f"{'Line of sight' if p > 0.5 else 'No line of sight'} (probability {max(p, 1 - p):.0%})."
            for p in self.probability.tolist()
        ]


def los(batch: Batch) -> Tensor:
    """1 where there is line of sight: int64 [N]."""
    return batch.environment.los.long()


def write(batch: Batch, measured: Tensor) -> Batch:
    """A batch in which LOS is as it was measured, 1 or 0 [N]."""
    return replace(batch, environment=replace(batch.environment, los=measured.float()))


def measure(out: Tensor, batch: Batch) -> dict[str, float]:
    """Accuracy, macro-F1 and calibration error, beside the share of the more frequent class."""
    truth, probability = los(batch).bool().numpy(), out.softmax(1)[:, 1].numpy()
    return {
        "accuracy": float(((probability > 0.5) == truth).mean()),
        "macro_f1": metrics.macro_f1(probability > 0.5, truth),
        "ece": metrics.calibration_error(probability, truth),
        "majority": metrics.majority(truth),
    }


LOS = Task(
    name="los",
    title="LOS",
    about="line of sight or not",
    inputs=("channel", "environment"),
    widths=(128, 2),
    form="classes",
    target=los,
    loss=functional.cross_entropy,
    measure=measure,
    metrics=(
        Metric("accuracy", "right", "%"),
        Metric("macro_f1", "macro-F1", "%"),
        Metric("ece", "ECE", "%", less_is_better=True),
    ),
    headline="accuracy",
    answers=LineOfSight,
    answer=lambda logits: LineOfSight(logits.softmax(1)[:, 1]),
    words=lambda truth: "line of sight" if truth else "no line of sight",
    tool="identify_los",
    tells="whether base station and user are in line of sight",
    keywords="LOS status",
    read="channel",
    phrases=("Does the base station see the user?",),
    label=Label("los", "1 or 0", 2, write),
    known_from=("los",),
    unit="P(LOS)",
    better=lambda answer: answer.probability,
)
