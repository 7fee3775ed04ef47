"""Zero-shot answers: compare a CSI with hypotheses about its environment (paper 1, III-B-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.universal import UniversalModel

SCALES = (0.8, 1.0, 1.2)


def los(model: UniversalModel, csi: Any, env: Environment) -> Tensor:
    """P(LOS) of each CSI in its environment, whose own `los` is ignored: float32 [N] (paper 1, eq. 13).

    Args:
        csi: as in `rank`.
        env: N hypotheses, with or without positions and map.

    Raises:
        InputError: see `UniversalModel.encode_channel` and `Environment.tensors`.
    """
    n = len(csi)
    return rank(model, csi, [replace(env, los=torch.full((n,), float(value))) for value in (0, 1)])[:, 1]


def rank(model: UniversalModel, csi: Any, envs: Environment | Sequence[Environment]) -> Tensor:
    """Probabilities over candidate environments: float32 [N, K], rows sum to 1.

    Args:
        csi: complex [N, 32, 64], or what `encode_channel` made of it, to ask several questions of one channel.
        envs: one `Environment` of K candidates that every CSI is compared with, or K environments of N hypotheses each
            (or of 1, which then serves every CSI), where candidate k of CSI i is `envs[k]`'s i-th.

    Raises:
        InputError: an environment in the sequence has neither N nor 1 hypotheses, or is wrong in itself.
    """
    return torch.softmax(similarity(model, csi, envs) / model.temperature, dim=-1)


def similarity(model: UniversalModel, csi: Any, envs: Environment | Sequence[Environment]) -> Tensor:
    """Cosine similarities behind `rank`: float32 [N, K]."""
    channel = csi if _is_embedding(model, csi) else model.encode_channel(csi)
    if isinstance(envs, Environment):
        return channel @ model.encode_environment(envs).mT
    columns = []
    for k, env in enumerate(envs):
        embedded = model.encode_environment(env)
        if len(embedded) not in (1, len(channel)):
            raise InputError(f"candidate environment {k} has {len(embedded)} hypotheses for {len(channel)} CSI")
        columns.append((channel * embedded).sum(-1))
    if not columns:
        raise InputError("no candidate environments to rank")
    return torch.stack(columns, dim=1)


def _is_embedding(model: UniversalModel, csi: Any) -> bool:
    return isinstance(csi, Tensor) and not csi.is_complex() and csi.shape[1:] == (model.preset.embedding,)


def scaled(env: Environment, factor: float) -> Environment:
    """The same picture taken to be `factor` times as large: the map's pixels and the pixel positions stay."""

    def plan(position: Any) -> Any:
        if position is None:
            return None
        return np.asarray(position) * np.array([factor, factor, 1.0], dtype=np.float32)

    return replace(env, bs=plan(env.bs), ue=plan(env.ue), size=np.asarray(env.size) * factor)


def scale(model: UniversalModel, csi: Any, env: Environment, factors: Sequence[float] = SCALES) -> Tensor:
    """Probabilities over scales of the area: float32 [N, len(factors)] (paper 1, IV-B)."""
    return rank(model, csi, [scaled(env, factor) for factor in factors])


def feedback(model: UniversalModel, csi: Any) -> tuple[Tensor, Tensor]:
    """CSI feedback: the CSI restored from its embedding, and the normalised CSI: complex64 [N, 32, 64] both."""
    return model.reconstruct_channel(model.encode_channel(csi)), model.normalise_channel(csi)


def position_likelihood(
    model: UniversalModel,
    csi: Any,
    map: Any,
    bs: Any,
    size: float,
    step: float = 2.0,
    height: float = 1.5,
) -> tuple[NDArray[np.float64], Tensor]:
    """Where the UE of each CSI may stand: the likelihood over a grid that covers the area.

    LOS is not told: a cell's likelihood is the sum over both hypotheses. Cells inside buildings get 0.

    Args:
        csi: complex [N, 32, 64], all from one BS.
        map: [H, W] building occupancy.
        bs: [3] m.
        size: side of the area, m.
        step: of the grid, m.
        height: of the UE, m.

    Returns:
        Grid coordinates [G], m (the same for x and y), and probabilities float32 [N, G, G], row = y, summing to 1.
    """
    if not (np.isfinite(size) and np.isfinite(step) and 0 < step <= size):
        raise InputError(f"likelihood map: step {step} m must lie above 0 and within the area's {size} m")
    occupied = np.asarray(map)
    grid = np.arange(step / 2, size, step)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    ue = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, height)]).astype(np.float32)
    pixel = np.minimum((ue[:, 1::-1] / size * occupied.shape[0]).astype(int), occupied.shape[0] - 1)
    outdoors = occupied[pixel[:, 0], pixel[:, 1]] == 0
    if not outdoors.any():
        raise InputError("likelihood map: the map is built over everywhere, there is no outdoor position to test")
    ue, n = ue[outdoors], int(outdoors.sum())
    candidates = Environment(
        map=occupied[None],
        bs=np.tile(np.asarray(bs, dtype=np.float32), (2 * n, 1)),
        ue=np.concatenate([ue, ue]),
        los=np.repeat([0.0, 1.0], n),
        size=np.full(2 * n, size, dtype=np.float32),
    )
    both = rank(model, csi, candidates)
    probability = torch.zeros(len(both), x.size, device=both.device)
    probability[:, torch.from_numpy(outdoors).to(both.device)] = both[:, :n] + both[:, n:]
    return grid, probability.view(-1, len(grid), len(grid))
