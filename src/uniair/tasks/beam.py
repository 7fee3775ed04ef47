"""Which beam of the array's DFT codebook serves a user best (paper 1, III-B-2 and Table III)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from uniair import losses
from uniair.environment import Batch
from uniair.radio import ULA
from uniair.tasks.answers import Answer, ToSite
from uniair.tasks.task import Label, Metric, Task

BEAMS = 32


@dataclass(frozen=True, eq=False)
class Beam(Answer):
    """Which beam of the array's DFT codebook serves a user best.

    Attributes:
        probabilities: float32 [N, beams], calibrated; rows sum to 1. Beam b points to the direction cosine 2b/beams
            (mod 2) along the array.
        bearing: azimuth of the array, rad; None: unknown.
    """

    task = "beam"
    record: ClassVar[Mapping[str, Any]] = {
        "beam": int, "direction_cosine": float, "azimuths_rad": list[float], "probability": float,
        "probabilities": list[float],
    }  # fmt: skip
    probabilities: Tensor
    bearing: float | None = None

    @property
    def index(self) -> Tensor:
        """The likeliest beam: int64 [N]."""
        return self.probabilities.argmax(1)

    def direction_cosine(self) -> Tensor:
        """Of the likeliest beam along the array, from −1 to 1: float32 [N]."""
        return (2 * self.index / self.probabilities.shape[1] + 1) % 2 - 1

    def records(self) -> list[dict[str, Any]]:
        """The likeliest beam and all probabilities; where the bearing is known, with the directions on the ground."""
        rows = zip(self.index.tolist(), self.direction_cosine().tolist(), self.probabilities.tolist(), strict=True)
        return [
            {"beam": i, "direction_cosine": c, "probability": p[i], "probabilities": p} | self._azimuths(c)
            for i, c, p in rows
        ]

    def _azimuths(self, cosine: float) -> dict[str, Any]:
        """Left of the array's axis, and its mirror image: a line of antennas can't tell them apart."""
        if self.bearing is None:
            return {}
        return {"azimuths_rad": [self.bearing + math.acos(cosine), self.bearing - math.acos(cosine)]}

    def sentences(self) -> list[str]:
        """The likeliest beam, its direction and its probability."""
        return [
            f"Beam {r['beam']} of {self.probabilities.shape[1]}, towards direction cosine {r['direction_cosine']:.2f} "
            f"along the array (probability {r['probability']:.0%})."
            for r in self.records()
        ]

    def in_site(self, back: ToSite, bearing: float) -> Beam:
        """With directions on the ground."""
        return replace(self, bearing=bearing)


def beam_gains(batch: Batch) -> Tensor:
    """Power that each beam of the array's DFT codebook (`ULA.codebook`) takes in over all subcarriers: [N, beams]."""
    return torch.fft.ifft(batch.csi, dim=1, norm="ortho").abs().square().sum(-1)


def beam(batch: Batch) -> Tensor:
    """The best beam: int64 [N]."""
    return beam_gains(batch).argmax(1)


def write(batch: Batch, measured: Tensor) -> Batch:
    """A batch whose channels are the measured best beams [N] alone, which no head may read."""
    channel = ULA().dft_codebook()[measured.long()][:, :, None].expand(-1, -1, batch.csi.shape[2])
    return replace(batch, csi=channel.contiguous())


def measure(out: Tensor, batch: Batch) -> dict[str, float]:
    """How often the best beam is the likeliest, or among the three likeliest, and the share of its power achieved."""
    gains = beam_gains(batch)
    best, found = gains.max(1), out.topk(3, dim=1).indices
    hit = found == best.indices[:, None]
    share = gains.gather(1, found[:, :1])[:, 0] / best.values
    return {"top1": float(hit[:, 0].float().mean()), "top3": float(hit.any(1).float().mean()),
            "power_share": float(share.mean())}  # fmt: skip


BEAM = Task(
    name="beam",
    title="Best beam",
    about="best of 32 DFT beams",
    inputs=("channel", "environment"),
    widths=(128, 64, BEAMS),
    form="classes",
    target=beam,
    loss=losses.focal,
    measure=measure,
    metrics=(
        Metric("top1", "top-1", "%"),
        Metric("top3", "top-3", "%"),
        Metric("power_share", "share of the best beam's power", "%", of_channel=True),
    ),
    headline="top1",
    answers=Beam,
    answer=lambda logits: Beam(logits.softmax(1)),
    words=lambda truth: f"beam {truth}",
    tool="select_beam",
    tells="the best beam of the base station's DFT codebook",
    keywords="beam selection",
    read="environment",
    phrases=("Which beam should serve it?",),
    label=Label("beam", f"best of the {BEAMS} DFT beams, 0 to {BEAMS - 1}", BEAMS, write),
    known_from=("beam", "csi"),
    unit="beam",
    colours="hsv",  # the last beam points beside the first
    otherwise="Elsewhere, sweep.",
)
