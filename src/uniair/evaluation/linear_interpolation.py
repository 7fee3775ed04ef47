"""A channel completed by straight lines between its known entries: over the subcarriers, then over the ports."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.radio import Radio
from uniair.tasks.completion import measured_part


def interpolated(csi: Any, radio: Radio, *, known: Any) -> Tensor:
    """CSI complex64 [N, ports, subcarriers]; beyond the outermost known entries, as those.

    Args:
        csi, known: as for `completion.complete`.

    Raises:
        InputError: see `measured_part`.
    """
    measured = measured_part(csi, radio, known)
    mask, out = np.asarray(known), measured.filled(measured.values)
    full = np.flatnonzero(mask.any(1))
    tones = radio.grid.frequencies
    for port in full:
        here = np.flatnonzero(mask[port])
        out[:, port] = out[:, port, here] @ _lines(tones[here], tones)
    return (out[:, full].mT @ _lines(full.astype(np.float64), np.arange(len(mask), dtype=np.float64))).mT


def _lines(known: NDArray[np.float64], wanted: NDArray[np.float64]) -> Tensor:
    """Weights of the known places for the wanted ones: complex64 [known, wanted]."""
    rows = [np.interp(wanted, known, one) for one in np.eye(len(known))]
    return torch.from_numpy(np.stack(rows)).to(torch.complex64)
