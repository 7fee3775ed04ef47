"""A better code for the same decoder: what a sender with time to spare does before it feeds its channel back."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from uniair import metrics
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

RATE, BETAS = 0.01, (0.7, 0.9)  # of Adam: chosen on validation places
CHUNK = 128  # channels that are searched for together: they fit the cache


def search_code(model: UniversalModel, csi: Any, steps: int, radio: Radio | None = None) -> Tensor:
    """Codes that CRNN restores each CSI from best, sought from the CSI's embedding on: float32 [N, E] of unit norm.

    One pass of the encoder only guesses at the code that suits the decoder. The sender knows the channel, so where it
    has the decoder too, it can follow the error's slope for a while and then send what it found: the same number of
    values, decoded as before, and still nothing of the model is tuned. The code drifts away from the embedding, which
    remains what questions about the channel are asked of.

    Args:
        csi: complex [N, ports, subcarriers].
        steps: how far each search goes, a step costing a pass through the decoder and back; 0 gives the embeddings.
        radio: that measured them; None: the weights' own.

    Raises:
        InputError: negative steps, or see `UniversalModel.check_csi`.
    """
    if steps < 0:
        raise InputError(f"code search of {steps} steps: give 0 (the embedding as it is) or more")
    radio = model.own_or(radio)
    start, truth = model.encode_channel(csi, radio), model.normalise_channel(csi, radio)
    found = [
        _search(model, *part, steps, radio)
        for part in zip(torch.split(start, CHUNK), torch.split(truth, CHUNK), strict=True)
    ]
    return torch.cat(found) if found else start


def _search(model: UniversalModel, start: Tensor, truth: Tensor, steps: int, radio: Radio) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        truth = truth.clone()  # tensors of inference mode cannot be differentiated through
        z = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([z], RATE, BETAS)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            restored, _ = model.crnn(normalize(z, dim=-1), radio)
            error = metrics.relative_error(restored, truth).clamp_min(1e-12)
            # in the logarithm every channel counts alike, however well its search has gone
            (z.grad,) = torch.autograd.grad(error.log().sum(), z)
            optimiser.step()
        return normalize(z.detach(), dim=-1)
