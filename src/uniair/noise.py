"""White noise on CSI."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
