"""Whether a head tells who it learned from: membership inference by its losses, alone and beside reference heads'."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor
from torch.nn import functional

from uniair.models.head import Head
from uniair.tasks.task import Task
from uniair.training.heads import HeadTraining, fit

FALSE_ALARMS = 0.01  # of those that it did not learn from


@torch.inference_mode()
def losses_of(task: Task, head: Head, z: Tensor, target: Tensor) -> NDArray[np.float64]:
    """Of each link: cross-entropy of classes, the mean squared error of other outputs: [N]."""
    out = head(z)
    if task.form == "classes":
        return functional.cross_entropy(out, target, reduction="none").double().numpy()
    return (out - target).square().reshape(len(z), -1).mean(1).double().numpy()


class References:
    """Heads that an attacker trained on random halves of links like the attacked ones, which he is granted to have.

    Args:
        z, target: of all links, members and others.
        count: of heads.
        training: how each is trained.
    """

    def __init__(self, task: Task, z: Tensor, target: Tensor, count: int, training: HeadTraining, seed: int) -> None:
        rng = np.random.default_rng(seed)
        without = np.zeros(len(z))
        total = np.zeros(len(z))
        for _ in range(count):
            chosen = rng.permutation(len(z))[: len(z) // 2]
            head = fit(task, z[chosen], target[chosen], training)
            out = np.ones(len(z), dtype=bool)
            out[chosen] = False
            without += out
            total += np.where(out, losses_of(task, head, z, target), 0.0)
        # of a link that every head has seen nothing is known: it is worth what the mean is
        known = without > 0
        self.expected = np.where(known, total / np.maximum(without, 1), (total[known] / without[known]).mean())


def figures(scores: NDArray[np.float64], member: NDArray[np.bool_]) -> dict[str, float]:
    """AUROC, and the share of members that are found with 1 % false alarms.

    Args:
        scores: [N], more where a link is likelier a member.
        member: [N].
    """
    wrong, right, _ = roc_curve(member, scores)
    return {
        "auroc": float(roc_auc_score(member, scores)),
        "found": float(right[wrong <= FALSE_ALARMS].max(initial=0.0)),
    }


def attack(
    task: Task, head: Head, z: Tensor, target: Tensor, member: NDArray[np.bool_], references: References
) -> dict[str, dict[str, float]]:
    """Two attacks on a head, by their names.

    `loss`: links of small loss are taken for members (Yeom et al., 2018). `calibrated`: by how much it is smaller than
    that of heads that did not learn from the link (Watson et al., 2022; the means of Carlini et al.'s LiRA, 2022).
    """
    found = losses_of(task, head, z, target)
    return {"loss": figures(-found, member), "calibrated": figures(references.expected - found, member)}
