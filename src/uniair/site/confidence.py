"""Where a site's answers should not be trusted, and whether what they say of their own certainty holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.environment import UE_HEIGHT
from uniair.evaluation.posterior import Posterior
from uniair.models.universal import UniversalModel
from uniair.site.frame import log_likelihood, view
from uniair.site.site import Site
from uniair.training.heads import load_head

BINS = 10
LEVELS = (0.5, 0.9)
ENOUGH = 0.9  # share of answers that should be right where a station's answers are called trusted


@dataclass(frozen=True)
class Reliability:
    """How often answers are right, by how certain they say they are.

    Attributes:
        stated: [B] mean confidence in each bin that has answers.
        right: [B] share of right answers there.
        count: [B] answers there.
        error: expected calibration error.
    """

    stated: NDArray[np.float64]
    right: NDArray[np.float64]
    count: NDArray[np.int64]
    error: float


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Equal-width bins from 0 to 1 of the confidence [N] in answers that were right or not [N]."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    full = count > 0
    stated = np.bincount(which, confidence, bins)[full] / count[full]
    share = np.bincount(which, right, bins)[full] / count[full]
    gap = np.abs(stated - share) @ count[full] / max(len(confidence), 1)
    return Reliability(stated, share, count[full], float(gap))


def trusted_from(confidence: NDArray[np.floating], right: NDArray[np.bool_], enough: float = ENOUGH) -> float | None:
    """The least confidence from which on answers are right in at least `enough` of the cases; None: never.

    At least a twentieth of the answers, and 10, must lie above it.
    """
    order = np.argsort(-confidence, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero((share >= enough) & (np.arange(1, len(order) + 1) >= max(10, len(order) / 20)))
    return float(confidence[order[good[-1]]]) if len(good) else None


def ground(site: Site, step: float, height: float = UE_HEIGHT) -> NDArray[np.float64]:
    """The middles of outdoor cells of side `step`: [N, 3] m."""
    grid = np.arange(step / 2, site.area.size, step)
    x, y = np.meshgrid(grid, grid)
    cells = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, height)])
    return cells[~site.area.inside_building(cells)]


def everywhere(
    model: UniversalModel, site: Site, station: int, tasks: Sequence[str], cells: NDArray[np.floating]
) -> dict[str, Tensor]:
    """What the heads on map and position say at each cell [N, 3] m: task → outputs [N, K]; of those that are there."""
    there = [task for task in tasks if site.head(task, "environment", station).exists()]
    z = model.encode_environment(view(site, station).environment(cells)).cpu() if there else None
    found = {}
    for task in there:
        head, *_ = load_head(site.head(task, "environment", station), model, task)
        with torch.inference_mode():
            found[task] = head(z)
    return found


def position_answers(
    model: UniversalModel, site: Site, station: int, csi: Tensor, ue: NDArray[np.floating], step: float
) -> dict[str, list[float]]:
    """What the zero-shot likelihood map says of each channel, nothing tuned.

    Args:
        csi: complex [N, ports, subcarriers], or embeddings [N, E] where the clock is absolute.
        ue: where it was truly sent from: [N, 3] m.
        step: of the grid, m.

    Returns:
        A list [N] each: `error_m` of the likeliest cell; `spread_m`, the root mean square distance from the mean
        position; `above`, the probability of all places that are likelier than the true one.
    """
    grid, log = log_likelihood(model, site, station, csi, step, height=float(np.median(ue[:, 2])))
    x, y = np.meshgrid(grid, grid)
    out: dict[str, list[float]] = {"error_m": [], "spread_m": [], "above": []}
    for one, truth in zip(log.cpu(), ue, strict=True):
        posterior = Posterior(grid, one)
        mean = posterior.mean()
        off = (x - mean[0]) ** 2 + (y - mean[1]) ** 2
        out["error_m"].append(float(np.linalg.norm(posterior.maximum() - truth[:2])))
        out["spread_m"].append(float(np.sqrt((posterior.probability * off).sum())))
        out["above"].append(posterior.above(truth))
    return out


def position_figures(answers: dict[str, Any]) -> dict[str, float]:
    """Errors, and how many true positions lie in the smallest region of each of `LEVELS`."""
    error, above = np.array(answers["error_m"]), np.array(answers["above"])
    inside = {f"inside_{100 * level:.0f}": float((above < level).mean()) for level in LEVELS}
    return {"median_m": float(np.median(error)), "cdf90_m": float(np.quantile(error, 0.9)), **inside}
