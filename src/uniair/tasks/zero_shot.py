"""Zero-shot answers: compare a CSI with hypotheses about its environment (paper 1, III-B-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.tasks.code_search import search_code

SCALES = (0.8, 1.0, 1.2)
MARGIN = 5.0  # nats; measured on six areas: the maximum stays where it is and 1 % of the probability moves
# what `uniair bench linkbudget` fits to links of training places: LOS and NLOS are equally likely at so many dB of
# excess loss, and a dB more divides the odds of LOS by e^0.46
EVEN, NATS_PER_DB = 5.55, 0.46


def los(model: UniversalModel, csi: Any, env: Environment, excess: Any = None) -> Tensor:
    """P(LOS) of each CSI in its environment, whose own `los` is ignored: float32 [N] (paper 1, eq. 13).

    The model takes a CSI's power out, as the paper does. Where that power is a gain it tells much about LOS: given the
    excess loss, its odds and those of the model are multiplied (Bayes' rule, the two taken to be independent).

    Args:
        csi: as in `rank`.
        env: N hypotheses, with or without positions and map.
        excess: [N] dB, `uniair.propagation.link_budget.excess_loss`; None: the power is not known or means nothing.

    Raises:
        InputError: see `UniversalModel.encode_channel` and `Environment.tensors`; an excess loss that is not [N] finite
            numbers.
    """
    n = len(csi)
    seen = similarity(model, csi, [replace(env, los=torch.full((n,), float(value))) for value in (0, 1)])
    odds = (seen[:, 1] - seen[:, 0]) / model.temperature
    if excess is not None:
        loss = torch.as_tensor(excess).to(odds)
        if loss.shape != odds.shape or not torch.isfinite(loss).all():
            raise InputError(f"excess loss has shape {tuple(loss.shape)} or NaN, expected [{n}] finite dB, one a CSI")
        odds = odds + NATS_PER_DB * (EVEN - loss)
    return torch.sigmoid(odds)


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


def feedback(model: UniversalModel, csi: Any, search: int = 0) -> tuple[Tensor, Tensor]:
    """CSI feedback: the CSI restored from its code, and the normalised CSI: complex64 [N, 32, 64] both.

    Args:
        csi: complex [N, 32, 64].
        search: steps by which the sender improves the code before it sends, see `search_code`; 0 sends the embedding.

    Raises:
        InputError: see `search_code`.
    """
    return model.reconstruct_channel(search_code(model, csi, search)), model.normalise_channel(csi)


def position_likelihood(
    model: UniversalModel,
    csi: Any,
    map: Any,
    bs: Any,
    size: float,
    step: float = 2.0,
    height: float = 1.5,
    coarse: float | None = None,
) -> tuple[NDArray[np.float64], Tensor]:
    """Where the UE of each CSI may stand: the likelihood over a grid that covers the area.

    LOS is not told: a cell's likelihood is the sum over both hypotheses. Cells inside buildings get 0.

    Args:
        csi: complex [N, 32, 64], all from one BS, or their embeddings.
        map: [H, W] building occupancy.
        bs: [3] m.
        size: side of the area, m.
        step: of the grid, m.
        height: of the UE, m.
        coarse: see `position_log_likelihood`.

    Returns:
        Grid coordinates [G], m (the same for x and y), and probabilities float32 [N, G, G], row = y, summing to 1.

    Raises:
        InputError: a step that does not fit the area, or no outdoor cell.
    """
    grid, log = position_log_likelihood(model, csi, map, bs, size, step, height, coarse)
    return grid, torch.softmax(log.flatten(1), dim=1).view_as(log)


def position_log_likelihood(
    model: UniversalModel,
    csi: Any,
    map: Any,
    bs: Any,
    size: float,
    step: float = 2.0,
    height: float = 1.5,
    coarse: float | None = None,
) -> tuple[NDArray[np.float64], Tensor]:
    """The logarithm of `position_likelihood`, up to a constant a CSI; what several BSs say of one UE adds up.

    The candidates are encoded once, however many CSI are asked about.

    Args:
        coarse: spacing of a first pass, m: only hypotheses (cell and LOS) within `MARGIN` of its best one, and their
            neighbours, are then asked at `step`; the others keep the value of the first pass.

    Returns:
        Grid coordinates [G], m, and float32 [N, G, G], −inf inside buildings.

    Raises:
        InputError: see `position_likelihood`.
    """
    if not (np.isfinite(size) and np.isfinite(step) and 0 < step <= size):
        raise InputError(f"likelihood map: step {step} m must lie above 0 and within the area's {size} m")
    if coarse is not None and not step <= coarse <= size:
        raise InputError(f"likelihood map: coarse step {coarse} m must lie between the step and the area's {size} m")
    occupied = np.asarray(map)
    grid = np.arange(step / 2, size, step)
    pixel = np.minimum((grid / size * occupied.shape[0]).astype(int), occupied.shape[0] - 1)
    outdoors = occupied[np.ix_(pixel, pixel)] == 0
    if not outdoors.any():
        raise InputError("likelihood map: the map is built over everywhere, there is no outdoor position to test")
    channel = csi if _is_embedding(model, csi) else model.encode_channel(csi)

    def ask(hypotheses: NDArray[np.bool_]) -> Tensor:
        """Log-likelihoods of hypotheses [2, G, G], LOS last: [N, number of them]."""
        los, row, column = np.nonzero(hypotheses)
        candidates = Environment(
            map=occupied[None],
            bs=np.tile(np.asarray(bs, dtype=np.float32), (len(los), 1)),
            ue=np.column_stack([grid[column], grid[row], np.full(len(los), height)]).astype(np.float32),
            los=los,
            size=np.full(len(los), size, dtype=np.float32),
        )
        return channel @ model.encode_environment(candidates).mT / model.temperature

    log = torch.full((len(channel), 2, *outdoors.shape), -torch.inf, device=channel.device)
    asked = np.repeat(outdoors[None], 2, axis=0)
    if coarse is not None:
        block = (grid // coarse).astype(int)
        blocks, nearest = int(block[-1]) + 1, _nearest_outdoors(grid, coarse, outdoors)
        first = log.new_full((len(channel), 2, blocks, blocks), -torch.inf)
        row, column = (block[index] for index in np.nonzero(nearest))
        first[:, :, row, column] = ask(np.repeat(nearest[None], 2, axis=0)).view(len(channel), 2, -1)
        best = first.amax((1, 2, 3), keepdim=True)
        likely = (max_pool2d(first, 3, stride=1, padding=1) >= best - MARGIN).any(0).cpu().numpy()
        log = first[:, :, block][..., block].masked_fill(~torch.from_numpy(outdoors).to(log.device), -torch.inf)
        asked &= likely[:, block][..., block]
    log[:, torch.from_numpy(asked).to(log.device)] = ask(asked)
    return grid, torch.logsumexp(log, dim=1)


def _nearest_outdoors(grid: NDArray[np.float64], coarse: float, outdoors: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of each block of side `coarse`, the outdoor cell nearest to its middle: bool [G, G]."""
    row, column = np.nonzero(outdoors)
    off = np.abs(grid % coarse - coarse / 2)
    order = np.argsort(off[row] ** 2 + off[column] ** 2, kind="stable")
    block = (grid // coarse).astype(int)
    _, kept = np.unique(block[row[order]] * len(grid) + block[column[order]], return_index=True)
    out = np.zeros_like(outdoors)
    out[row[order][kept], column[order][kept]] = True
    return out
