"""Which of the array's beams serves a user best (paper 1, III-B-2 and Table III)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from uniair import losses
from uniair.environment import Batch
from uniair.radio import ULA, Antennas, Radio
from uniair.tasks.answers import Answer, ToSite
from uniair.tasks.task import Label, Metric, Task

BEAMS = Radio().array.ports  # of paper 1's radio


@dataclass(frozen=True, eq=False)
class Beam(Answer):
    """Which of the array's beams serves a user best.

    Attributes:
        probabilities: float32 [N, beams], calibrated; rows sum to 1. See `Antennas.beam_cosines` for where beams point
            to: beam b of half a wavelength's spacing to the direction cosine 2b/beams (mod 2) along the array.
        bearing: azimuth of the array, rad; None: unknown.
        array: whose beams they are; None: a ULA of half a wavelength's spacing.
        named: how many of the likeliest beams are named.
    """

    task = "beam"
    record: ClassVar[Mapping[str, Any]] = {
        "beam": int, "direction_cosine": float, "azimuths_rad": list[float], "probability": float,
        "probabilities": list[float],
    }  # fmt: skip
    probabilities: Tensor
    bearing: float | None = None
    array: Antennas | None = None
    named: int = 1

    @property
    def index(self) -> Tensor:
        """The likeliest beam: int64 [N]."""
        return self.probabilities.argmax(1)

    def direction_cosine(self) -> Tensor:
        """Of the likeliest beam along the array, from −1 to 1: float32 [N]."""
        return self._cosines()[:, 0].to(torch.float32)

    def records(self) -> list[dict[str, Any]]:
        """The likeliest beam and all probabilities; where the bearing is known, with the directions on the ground.

        Of an array with several rows `direction_cosine_up` says how the beam rises.
        """
        rows = zip(self.index.tolist(), self._cosines().tolist(), self.probabilities.tolist(), strict=True)
        return [
            {"beam": i, "direction_cosine": c, "probability": p[i], "probabilities": p}
            | ({} if self.array is None or isinstance(self.array, ULA) else {"direction_cosine_up": up})
            | self._azimuths(c, up)
            | ({"candidates": self._candidates(p)} if self.named > 1 else {})
            for i, (c, up), p in rows
        ]

    def _candidates(self, probabilities: list[float]) -> list[dict[str, Any]]:
        """The likeliest beams, with their probabilities."""
        order = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
        return [{"beam": i, "probability": probabilities[i]} for i in order[: self.named]]

    def likeliest(self, count: int) -> Beam:
        """The `count` likeliest are named."""
        return replace(self, named=count)

    def _cosines(self) -> Tensor:
        """Of the likeliest beam along the array and upwards: float64 [N, 2]."""
        array = ULA(self.probabilities.shape[1]) if self.array is None else self.array
        return torch.from_numpy(array.beam_cosines())[self.index].clamp(-1, 1)

    def _azimuths(self, along: float, up: float) -> dict[str, Any]:
        """Left of the array's axis, and its mirror image: antennas in a line or a plane can't tell them apart."""
        if self.bearing is None:
            return {}
        turn = math.atan2(math.sqrt(max(0.0, 1 - along**2 - up**2)), along)
        return {"azimuths_rad": [self.bearing + turn, self.bearing - turn]}

    def sentences(self) -> list[str]:
        """The likeliest beam, its direction and its probability, and those that come next where they are asked for."""
        return [
            f"Beam {r['beam']} of {self.probabilities.shape[1]}, towards direction cosine {r['direction_cosine']:.2f} "
            f"along the array (probability {r['probability']:.0%})." + _then(r.get("candidates", ())[1:])
            for r in self.records()
        ]

    def in_site(self, back: ToSite, bearing: float) -> Beam:
        """With directions on the ground."""
        return replace(self, bearing=bearing)


def _then(others: Sequence[Mapping[str, Any]]) -> str:
    named = ", ".join(f"{other['beam']} ({other['probability']:.0%})" for other in others)
    return f" Then {named}." if named else ""


def beam_gains(batch: Batch) -> Tensor:
    """Power that each of the array's beams (`Antennas.dft_codebook`) takes in over all subcarriers: [N, beams]."""
    array = batch.radio.array
    if isinstance(array, ULA) and array.codebook is None:
        by_polarisation = batch.csi.reshape(len(batch), len(array.slants), array.antennas, batch.csi.shape[2])
        return torch.fft.ifft(by_polarisation, dim=2, norm="ortho").abs().square().sum(-1).flatten(1)
    return (array.dft_codebook().to(batch.csi).conj() @ batch.csi).abs().square().sum(-1)


def beam(batch: Batch) -> Tensor:
    """The best beam: int64 [N]."""
    return beam_gains(batch).argmax(1)


def write(batch: Batch, measured: Tensor) -> Batch:
    """A batch whose channels are the measured best beams [N] alone, which no head may read."""
    channel = batch.radio.array.dft_codebook()[measured.long()][:, :, None].expand(-1, -1, batch.csi.shape[2])
    return replace(batch, csi=channel.contiguous())


def measure(out: Tensor, batch: Batch) -> dict[str, float]:
    """How often the best beam is the likeliest, or among the three likeliest, and the share of its power achieved."""
    gains = beam_gains(batch)
    best, found = gains.max(1), out.topk(3, dim=1).indices
    hit = found == best.indices[:, None]
    share = gains.gather(1, found[:, :1])[:, 0] / best.values
    return {"top1": float(hit[:, 0].float().mean()), "top3": float(hit.any(1).float().mean()),
            "power_share": float(share.mean())}  # fmt: skip


def of_array(array: Antennas) -> dict[str, Any]:
    """As many beams as ports."""
    kind = "DFT" if array.codebook is None else "measured"
    return {
        "about": f"best of {array.ports} {kind} beams",
        "widths": (128, 64, array.ports),
        "label": Label("beam", f"best of the array's {array.ports} beams, from 0", array.ports, write),
        "answer": lambda logits: Beam(logits.softmax(1), array=array),
        "colours": BEAM.colours if isinstance(array, ULA) and array.codebook is None else "viridis",
    }


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
    label=Label("beam", f"best of the array's DFT beams, from 0 ({BEAMS} of paper 1's radio)", BEAMS, write),
    known_from=("beam", "csi"),
    unit="beam",
    colours="twilight_shifted",  # the last beam of a line points beside the first
    otherwise="Elsewhere, sweep.",
    candidates=True,
    of_array=of_array,
)
