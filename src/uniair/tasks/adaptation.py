"""Task-oriented fine-tuning (TOFT): a light head on frozen embeddings (paper 1, III-B-2, and paper 2's Table I)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.models.head import Head
from uniair.tasks.task import Task as HeadTask


@dataclass(frozen=True)
class HeadTraining:
    """How a head is trained: AdamW under a cosine, in minibatches.

    Attributes:
        epochs: passes over the labels; at least `steps` steps are made, however few labels there are.
        steps: fewest steps.
        batch: labels a step.
        learning_rate: peak.
        weight_decay: of AdamW.
        seed: of weights and order.
    """

    epochs: int = 200
    steps: int = 2000
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    seed: int = 0


def fit(
    task: HeadTask,
    z: Tensor,
    target: Tensor,
    config: HeadTraining = HeadTraining(),
    widths: tuple[int, ...] | None = None,
) -> Head:
    """Trains a head on embeddings [N, E] and labels that were computed once.

    Args:
        widths: of another head than the task's; the first must be E.

    Raises:
        InputError: embeddings and labels of different lengths, NaN, or none.
    """
    if len(z) != len(target) or not len(z):
        raise InputError(f"{len(z)} embeddings and {len(target)} labels: give one label an embedding, at least one")
    if not (torch.isfinite(z).all() and torch.isfinite(target.float()).all()):
        raise InputError("embeddings or labels hold NaN or infinite values; leave those samples out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = Head(widths or (z.shape[1], *task.widths[1:]))
        order = torch.Generator().manual_seed(config.seed)
        head.standardise(z, target if task.regression else None)
        # in the target's own units the loss would be of any size
        scale = float(head.unit.square().mean()) if task.regression else 1.0
        size = min(config.batch, len(z))
        steps = max(config.steps, config.epochs * (len(z) // size))
        optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        shuffled = torch.randperm(0)
        for _ in range(steps):
            if len(shuffled) < size:
                shuffled = torch.cat([shuffled, torch.randperm(len(z), generator=order)])
            drawn, shuffled = shuffled[:size], shuffled[size:]
            optimizer.zero_grad()
            (task.loss(head(z[drawn]), target[drawn]) / scale).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return head.eval()
