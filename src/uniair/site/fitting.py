"""Heads for a handful of streets: as much weight decay as streets of their own labels ask for, and calibrated on them.

A site has a thousand labels, not paper 1's 8,000, and is asked about streets that none of them comes from. There a head
that fits its labels closely is worse than one that does not, and too sure of itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.models.head import Head
from uniair.tasks.instruct_loss import temperature
from uniair.tasks.task import Task
from uniair.training.heads import BLOCK, HeadTraining, fit

DECAYS = (1e-3, 3.0)  # of AdamW; the last one where there are too few labels to choose by
LEAST = 64  # labels that leave some to choose by
KEPT = 0.2  # share of the streets to choose by


def fit_on_streets(
    task: Task,
    z: Tensor,
    target: Tensor,
    places: NDArray[np.floating],
    config: HeadTraining,
    widths: tuple[int, ...] | None = None,
) -> Head:
    """`fit` with the weight decay that is best on a fifth of the labelled streets, then on all of them.

    The outputs of a classification are divided by the temperature that calibrates it on those streets.

    Args:
        places: [N, 2] m, where the UEs of the labels are.
    """
    rng = np.random.default_rng(config.seed)
    block = np.unique(np.floor(places / BLOCK), axis=0, return_inverse=True)[1]
    order = rng.permutation(int(block.max()) + 1)
    kept = torch.from_numpy(np.isin(block, order[: round(KEPT * len(order))]))
    if len(z) < LEAST or not kept.any():
        return fit(task, z, target, replace(config, weight_decay=DECAYS[-1]), widths)
    tried = []
    for decay in DECAYS:
        head = fit(task, z[~kept], target[~kept], replace(config, weight_decay=decay), widths)
        with torch.no_grad():
            said = head(z[kept])
            tried.append((float(task.loss(said, target[kept])), decay, said))
    _, decay, said = min(tried, key=lambda one: one[0])
    head = fit(task, z, target, replace(config, weight_decay=decay), widths)
    if not target.is_floating_point():
        head.unit.div_(temperature(said, target[kept]))
    return head
