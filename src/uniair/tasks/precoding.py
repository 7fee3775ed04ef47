"""The best precoder of one layer, which can't be asked by comparison (paper 2, Table I)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from uniair import metrics
from uniair.environment import Batch
from uniair.radio import Antennas
from uniair.tasks.answers import Answer
from uniair.tasks.task import Metric, Task


@dataclass(frozen=True, eq=False)
class Precoder(Answer):
    """What the array transmits to a user: port n, an antenna or a beam, sends weights[n] times the symbol.

    Attributes:
        weights: complex64 [N, ports] of unit norm, port 0 real.
    """

    task = "precoding"
    record: ClassVar[Mapping[str, Any]] = {"weights_real": list[float], "weights_imag": list[float]}
    weights: Tensor

    def records(self) -> list[dict[str, Any]]:
        """Real and imaginary parts."""
        return [{"weights_real": w.real.tolist(), "weights_imag": w.imag.tolist()} for w in self.weights]

    def sentences(self) -> list[str]:
        """All weights."""
        return [
            f"Precoder of {len(w)} complex weights: " + ", ".join(f"{v:.3f}" for v in w.tolist()) + "."
            for w in self.weights
        ]


def precoder(batch: Batch) -> Tensor:
    """The best precoder of one layer over the whole band, the CSI's first left singular vector: [N, 2·ports].

    It maximises |wᴴh| over the subcarriers' h. Real parts, then imaginary ones; port 0 is real and positive.
    """
    csi = batch.csi / batch.csi.abs().amax((1, 2), keepdim=True)
    vector = torch.linalg.eigh(csi @ csi.mH)[1][..., -1]  # of the largest eigenvalue
    vector = vector * torch.exp(-1j * vector[:, :1].angle())
    return torch.cat([vector.real, vector.imag], dim=1)


def as_vector(out: Tensor) -> Tensor:
    """[N, 2·ports] real → complex [N, ports]."""
    real, imaginary = out.chunk(2, dim=1)
    return torch.complex(real, imaginary)


def answer(out: Tensor) -> Precoder:
    """Outputs [N, 2·ports] at unit norm and with port 0 real."""
    vector = as_vector(out)
    vector = vector * torch.exp(-1j * vector[:, :1].angle())
    return Precoder(vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-12))


def of_array(array: Antennas) -> dict[str, Any]:
    """A weight a port."""
    return {"widths": (128, 128, 2 * array.ports)}


PRECODING = Task(
    name="precoding",
    title="Precoder",
    about="best precoder of one layer",
    inputs=("channel",),
    widths=(128, 128, 64),
    form="vector",
    target=precoder,
    loss=lambda out, truth: 1 - metrics.cosine_squared(as_vector(out), as_vector(truth)).mean(),
    measure=lambda out, batch: {
        "sgcs": float(metrics.cosine_squared(as_vector(out), as_vector(precoder(batch))).mean())
    },
    metrics=(Metric("sgcs", "SGCS", digits=3),),
    headline="sgcs",
    answers=Precoder,
    answer=answer,
    words=lambda _: "the channel's first singular vector",
    tool="compute_precoder",
    tells="the precoding weights of the base station's antennas for one layer",
    keywords="precoding",
    read="channel",
    phrases=("Which weights should the antennas use?",),
    known_from=("csi",),
    of_array=of_array,
)
