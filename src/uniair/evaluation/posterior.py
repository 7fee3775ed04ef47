"""Where a user may stand, after a likelihood over a grid."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Posterior:
    """What a log-likelihood over a grid, −inf where no UE can stand, says after every place was as likely before.

    Args:
        grid: [G] m, the same for x and y.
        log: [G, G], row = y.
    """

    def __init__(self, grid: NDArray[np.float64], log: Tensor) -> None:
        self.grid = grid
        self.probability = torch.softmax(log.double().flatten(), 0).view_as(log).numpy()

    def maximum(self) -> NDArray[np.float64]:
        """The most likely position: [2] m."""
        row, column = np.unravel_index(int(self.probability.argmax()), self.probability.shape)
        return np.array([self.grid[column], self.grid[row]])

    def mean(self) -> NDArray[np.float64]:
        """The mean position, which may lie in a building: [2] m."""
        return np.array([self.probability.sum(0) @ self.grid, self.probability.sum(1) @ self.grid])

    def above(self, position: NDArray[np.floating]) -> float:
        """Probability of all cells that are likelier than a position's; below p inside the smallest region of p."""
        step = 2 * self.grid[0]
        column, row = np.minimum(position[:2] / step, len(self.grid) - 1).astype(int)
        here = self.probability[row, column]
        return float(self.probability[self.probability > here].sum()) if here > 0 else 1.0


def mirrored(ue: NDArray[np.floating], bs: NDArray[np.floating]) -> NDArray[np.floating]:
    """The mirror image of each UE [N, 3] about the axis of its BS's array, which a direct path cannot tell from it."""
    return np.column_stack([ue[:, 0], 2 * bs[:, 1] - ue[:, 1], ue[:, 2]])
