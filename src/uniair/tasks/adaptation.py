"""Task-oriented fine-tuning (TOFT): a light head on frozen embeddings (paper 1, III-B-2, and paper 2's Table I)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from uniair import losses, metrics
from uniair.environment import Batch


@dataclass(frozen=True)
class HeadTask:
    """What a head learns.

    Attributes:
        about: one line for people.
        inputs: which embedding it reads: `channel` (CSI), `environment` (map and positions), or either.
        widths: of the head, from the embedding's 128 numbers to the outputs.
        regression: whether outputs are scaled as the targets are.
        target: the labels of a batch, [N] or [N, outputs].
        loss: of outputs and labels: scalar.
        measure: figures of outputs on a batch.
    """

    about: str
    inputs: tuple[str, ...]
    widths: tuple[int, ...]
    regression: bool
    target: Callable[[Batch], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[Tensor, Batch], dict[str, float]]


def position(batch: Batch) -> Tensor:
    """Where the UE stands: [N, 2] m."""
    return batch.environment.ue[:, :2]


def los(batch: Batch) -> Tensor:
    """1 where there is line of sight: int64 [N]."""
    return batch.environment.los.long()


def beam_gains(batch: Batch) -> Tensor:
    """Power that each beam of the array's DFT codebook (`ULA.codebook`) takes in over all subcarriers: [N, beams]."""
    return torch.fft.ifft(batch.csi, dim=1, norm="ortho").abs().square().sum(-1)


def beam(batch: Batch) -> Tensor:
    """The best beam: int64 [N]."""
    return beam_gains(batch).argmax(1)


def path_loss(batch: Batch) -> Tensor:
    """−10 log10 of the channel's mean power over antennas and subcarriers: [N, 1] dB."""
    return -10 * torch.log10(batch.csi.abs().double().square().mean((1, 2)))[:, None].float()


def precoder(batch: Batch) -> Tensor:
    """The best precoder of one layer over the whole band, the CSI's first left singular vector: [N, 2·antennas].

    It maximises |wᴴh| over the subcarriers' h. Real parts, then imaginary ones; antenna 0 is real and positive.
    """
    csi = batch.csi / batch.csi.abs().amax((1, 2), keepdim=True)
    vector = torch.linalg.eigh(csi @ csi.mH)[1][..., -1]  # of the largest eigenvalue
    vector = vector * torch.exp(-1j * vector[:, :1].angle())
    return torch.cat([vector.real, vector.imag], dim=1)


def as_vector(out: Tensor) -> Tensor:
    """[N, 2·antennas] real → complex [N, antennas]."""
    real, imaginary = out.chunk(2, dim=1)
    return torch.complex(real, imaginary)


def _measure_position(out: Tensor, batch: Batch) -> dict[str, float]:
    error = (out - position(batch)).norm(dim=1)
    return {"cdf90_m": float(error.quantile(0.9)), "median_m": float(error.median()), "mean_m": float(error.mean())}


def _measure_los(out: Tensor, batch: Batch) -> dict[str, float]:
    truth, probability = los(batch).bool().numpy(), out.softmax(1)[:, 1].numpy()
    return {
        "accuracy": float(((probability > 0.5) == truth).mean()),
        "macro_f1": metrics.macro_f1(probability > 0.5, truth),
        "ece": metrics.calibration_error(probability, truth),
        "majority": metrics.majority(truth),
    }


def _measure_beam(out: Tensor, batch: Batch) -> dict[str, float]:
    gains = beam_gains(batch)
    best, found = gains.max(1), out.topk(3, dim=1).indices
    hit = found == best.indices[:, None]
    share = gains.gather(1, found[:, :1])[:, 0] / best.values
    return {"top1": float(hit[:, 0].float().mean()), "top3": float(hit.any(1).float().mean()),
            "power_share": float(share.mean())}  # fmt: skip


TASKS = {
    "position": HeadTask(
        "where the UE stands", ("channel",), (128, 128, 64, 32, 2), True, position,
        lambda out, truth: (out - truth).square().sum(1).mean() / 2, _measure_position,
    ),
    "los": HeadTask(
        "line of sight or not", ("channel", "environment"), (128, 2), False, los, functional.cross_entropy, _measure_los
    ),
    "beam": HeadTask(
        "best of 32 DFT beams", ("channel", "environment"), (128, 64, 32), False, beam, losses.focal, _measure_beam
    ),
    "path_loss": HeadTask(
        "path loss", ("environment",), (128, 64, 1), True, path_loss, functional.mse_loss,
        lambda out, batch: {"rmse_db": float(functional.mse_loss(out, path_loss(batch)).sqrt())},
    ),
    "precoding": HeadTask(
        "best precoder of one layer", ("channel",), (128, 128, 64), False, precoder,
        lambda out, truth: 1 - metrics.cosine_squared(as_vector(out), as_vector(truth)).mean(),
        lambda out, batch: {
            "sgcs": float(metrics.cosine_squared(as_vector(out), as_vector(precoder(batch))).mean())
        },
    ),
}  # fmt: skip
