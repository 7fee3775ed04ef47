"""White noise on CSI: drawn, and told from the channel."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TELLING = 1000  # entries of a channel from which on noise can be told from it


def noisy(csi: Tensor, snr_db: float | NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """CSI complex64 [N, ports, subcarriers] in complex white Gaussian noise; the SNR is over each one's mean power.

    Args:
        snr_db: one, or [N]; infinite where there is no noise.
    """
    every = np.broadcast_to(np.asarray(snr_db, dtype=np.float64), (len(csi),))
    index = torch.from_numpy(np.flatnonzero(np.isfinite(every))).to(csi.device)
    snr = torch.from_numpy(10 ** (every[np.isfinite(every)] / 10).astype(np.float32)).to(csi.device)
    drawn = rng.standard_normal((len(index), *csi.shape[1:], 2), dtype=np.float32)
    # of an empty array view_as_complex would refuse the strides
    noise = torch.complex(*torch.from_numpy(drawn).to(csi.device).unbind(-1))
    power = csi[index].abs().square().mean((1, 2))
    return csi.index_add(0, index, noise * (power / (2 * snr)).sqrt()[:, None, None])


def some_noisy(csi: Tensor, share: float, snr_db: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """White noise on a share of the CSI, of an SNR drawn evenly between two; the others as they are."""
    chosen = rng.random(len(csi)) < share
    return noisy(csi, np.where(chosen, rng.uniform(*snr_db, len(csi)), np.inf), rng)


def estimated_snr(csi: Tensor) -> Tensor:
    """SNR of CSI [N, ports, subcarriers] in white noise, dB [N]; NaN of fewer than `TELLING` entries.

    A channel gathers in few of the cells that white noise fills evenly, so half the cells and more are noise alone:
    their median is ln 2 of its power. Of pure noise it comes out about −10 log10(√entries), and below. What paths
    between cells spill over all of them counts as noise: at 10 dB it says about one less.
    """
    if math.prod(csi.shape[1:]) < TELLING or not len(csi):
        return torch.full((len(csi),), math.nan)
    cells = torch.fft.fft2(csi.contiguous(), norm="ortho").abs().square().flatten(1)
    over = cells.mean(1) / (cells.median(1).values / math.log(2)).clamp(min=torch.finfo(cells.dtype).tiny) - 1
    return 10 * over.clamp(min=1e-6).log10().cpu()
