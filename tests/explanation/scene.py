"""A street of straight walls whose channels follow from mirror images."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from uniair.environment import Environment
from uniair.propagation.paths import synthesise
from uniair.radio import SPEED_OF_LIGHT, Radio

SIZE, PIXELS = 128.0, 256
BS = np.array([20.0, 30.0, 6.0])
UE_HEIGHT = 1.5


def ground(*blocks: tuple[float, float, float, float], height: float = np.inf) -> np.ndarray:
    """A map [PIXELS, PIXELS] with blocks of x0, y0, x1, y1 in m."""
    out = np.zeros((PIXELS, PIXELS), dtype=np.float32)
    step = SIZE / PIXELS
    for x0, y0, x1, y1 in blocks:
        out[round(y0 / step) : round(y1 / step), round(x0 / step) : round(x1 / step)] = height
    return out


def place(walls: np.ndarray, ue: np.ndarray) -> Environment:
    """Users [N, 3] on one map."""
    n = len(ue)
    return Environment(
        map=walls[None], bs=np.tile(BS, (n, 1)).astype(np.float32), ue=ue.astype(np.float32),
        size=np.full(n, SIZE, dtype=np.float32), area=np.zeros(n, dtype=np.int64),
    )  # fmt: skip


def csi(ways: list[list[tuple[np.ndarray, float]]], radio: Radio) -> Tensor:
    """Channels of paths that leave towards a point and are as long as the way to it: each a point and an amplitude."""
    most = max(map(len, ways), default=1)
    gain, delay = torch.zeros(len(ways), most, dtype=torch.complex64), torch.zeros(len(ways), most, dtype=torch.float64)
    direction = torch.zeros(len(ways), most, 3, dtype=torch.float64)
    for i, paths in enumerate(ways):
        for j, (point, amplitude) in enumerate(paths):
            way = point - BS
            length = float(np.linalg.norm(way))
            delay[i, j], direction[i, j] = length / SPEED_OF_LIGHT, torch.from_numpy(way / length)
            gain[i, j] = amplitude * complex(math.cos(i + 2 * j), math.sin(i + 2 * j))
    axes = direction[..., :1] if radio.array.along_x else direction
    return synthesise(gain, delay, axes, radio)
