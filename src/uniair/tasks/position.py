"""Where the UE stands, read off its channel (paper 1, III-B-2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from uniair.environment import Batch
from uniair.tasks.answers import Answer, ToSite
from uniair.tasks.task import Metric, Task


@dataclass(frozen=True, eq=False)
class Position(Answer):
    """Where users are.

    Attributes:
        xy: float32 [N, 2] m, east and north of the area's south-west corner.
    """

    task = "position"
    record: ClassVar[Mapping[str, Any]] = {"x_m": float, "y_m": float}
    xy: Tensor

    def records(self) -> list[dict[str, Any]]:
        """East and north, m."""
        return [{"x_m": x, "y_m": y} for x, y in self.xy.tolist()]

    def sentences(self) -> list[str]:
        """With one decimal."""
        return [f"The user is {x:.1f} m east and {y:.1f} m north of the area's corner." for x, y in self.xy.tolist()]

    def in_site(self, back: ToSite, bearing: float) -> Position:
        """Turned back."""
        return replace(self, xy=torch.from_numpy(back(self.xy.double().numpy())).float())


def position(batch: Batch) -> Tensor:
    """Where the UE stands: [N, 2] m."""
    return batch.environment.ue[:, :2]


def measure(out: Tensor, batch: Batch) -> dict[str, float]:
    """Quantiles and mean of the distance from the true position, m."""
    error = (out - position(batch)).norm(dim=1)
    return {"cdf90_m": float(error.quantile(0.9)), "median_m": float(error.median()), "mean_m": float(error.mean())}


POSITION = Task(
    name="position",
    title="Position",
    about="where the UE stands",
    inputs=("channel",),
    widths=(128, 128, 64, 32, 2),
    form="place",
    target=position,
    loss=lambda out, truth: (out - truth).square().sum(1).mean() / 2,
    measure=measure,
    metrics=(
        Metric("median_m", "median", "m", less_is_better=True),
        Metric("cdf90_m", "90 % under", "m", less_is_better=True),
        Metric("mean_m", "mean", "m", less_is_better=True),
    ),
    headline="cdf90_m",
    answers=Position,
    answer=Position,
    words=lambda truth: f"{truth[0]:.1f} m east, {truth[1]:.1f} m north",
    tool="estimate_position",
    tells="where the user is, in metres",
    keywords="position",
    read="channel",
    phrases=("Where is this user?",),
    known_from=("ue",),
    unit="m",
)
