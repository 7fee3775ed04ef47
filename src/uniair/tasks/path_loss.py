"""How much weaker the signal is at a place, from map and positions (paper 2, Table I)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from uniair.environment import Batch
from uniair.tasks.answers import Answer
from uniair.tasks.task import Label, Metric, Task


@dataclass(frozen=True, eq=False)
class PathLoss(Answer):
    """How much weaker the signal is at the user.

    Attributes:
        db: float32 [N] dB.
    """

    task = "path_loss"
    record: ClassVar[Mapping[str, Any]] = {"path_loss_db": float}
    db: Tensor

    def records(self) -> list[dict[str, Any]]:
        """In dB."""
        return [{"path_loss_db": value} for value in self.db.tolist()]

    def sentences(self) -> list[str]:
        """With one decimal."""
        return [f"The path loss is {value:.1f} dB." for value in self.db.tolist()]


def path_loss(batch: Batch) -> Tensor:
    """−10 log10 of the channel's mean power over antennas and subcarriers: [N, 1] dB."""
    return -10 * torch.log10(batch.csi.abs().double().square().mean((1, 2)))[:, None].float()


def write(batch: Batch, measured: Tensor) -> Batch:
    """A batch whose channels have the measured path loss [N], dB."""
    amplitude = batch.csi.abs().square().mean((1, 2), keepdim=True).sqrt()
    wanted = (10 ** (-measured / 20)).to(torch.float32)
    return replace(batch, csi=batch.csi / amplitude * wanted[:, None, None])


PATH_LOSS = Task(
    name="path_loss",
    title="Path loss",
    about="path loss",
    inputs=("environment",),
    widths=(128, 64, 1),
    form="values",
    target=path_loss,
    loss=functional.mse_loss,
    measure=lambda out, batch: {"rmse_db": float(functional.mse_loss(out, path_loss(batch)).sqrt())},
    metrics=(Metric("rmse_db", "RMSE", "dB", 2, less_is_better=True),),
    headline="rmse_db",
    answers=PathLoss,
    answer=lambda out: PathLoss(out[:, 0]),
    words=lambda truth: f"{float(truth):.1f} dB",
    tool="predict_path_loss",
    tells="the path loss in dB",
    keywords="path loss",
    read="environment",
    phrases=("How strong is the path loss?",),
    label=Label("path_loss_db", "dB", write=write),
    known_from=("path_loss_db",),
    unit="dB",
    colours="viridis_r",
    note="The path loss is the mean over the antennas, before any beam's gain.",
    better=lambda answer: -answer.db,
)
