"""Line of sight lost before it is: the hazard of each step ahead, of which the chance within any time follows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

RARE = -4.0  # logit of a hazard before anything is learned: 2 % a step


class Hazard(nn.Linear):
    """A linear head for the logits of the hazards of the next steps; it begins with a loss being rare.

    Args:
        width: of what the head reads.
        steps: ahead.
    """

    def __init__(self, width: int, steps: int) -> None:
        super().__init__(width, steps)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, RARE)


def lost_within(hazard: Tensor) -> Tensor:
    """P(sight lost within 1 … H steps) = 1 − Π_{k ≤ h} (1 − λ_k), from the logits of λ [..., H]; never falls with h."""
    return -torch.expm1(functional.logsigmoid(-hazard).cumsum(-1))
