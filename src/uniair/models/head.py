"""Light networks on the frozen model's embeddings (paper 1, III-B-2)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """A multilayer perceptron between two fixed scalings, which are buffers and not counted as parameters.

    Args:
        widths: of the embedding, the hidden layers and the outputs: (128, 2) is paper 1's LOS head of 258 parameters,
            (128, 64, 32) its beam head of 10,336.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = widths
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.shift: Tensor
        self.spread: Tensor
        self.offset: Tensor
        self.unit: Tensor
        self.register_buffer("shift", torch.zeros(widths[0]))
        self.register_buffer("spread", torch.ones(widths[0]))
        self.register_buffer("offset", torch.zeros(widths[-1]))
        self.register_buffer("unit", torch.ones(widths[-1]))

    def forward(self, z: Tensor) -> Tensor:
        """Embeddings [N, widths[0]] → [N, widths[-1]]."""
        out: Tensor = self.layers((z - self.shift) / self.spread)
        return out * self.unit + self.offset

    def standardise(self, z: Tensor, target: Tensor | None = None) -> None:
        """Sets the scalings from training embeddings and, for a regression, its targets [N, widths[-1]]."""
        self.shift.copy_(z.mean(0))
        self.spread.copy_(z.std(0, correction=0).clamp_min(1e-4))
        if target is not None:
            self.offset.copy_(target.mean(0))
            self.unit.copy_(target.std(0, correction=0).clamp_min(1e-6))

    def parameter_count(self) -> int:
        """Tuned parameters."""
        return sum(p.numel() for p in self.parameters())
