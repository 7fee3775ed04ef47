"""Where the user will be (paper 3, Table I, user mobility): the loss of the next positions, and their errors in m."""

from __future__ import annotations

import torch
from torch import Tensor

NEAR = 0.01  # m; below it the loss is no longer the distance, whose slope has a corner at 0


def misses(position: Tensor, place: Tensor) -> Tensor:
    """Distance of each forecast from where the UE then was: [N, T, F] m, NaN where that is not known.

    Args:
        position: [N, T, F, 2] m at t + 1 … t + F.
        place: [N, ≥ T, 2] m; steps beyond its last are not known.
    """
    length, future = position.shape[1:3]
    more = max(length + future - place.shape[1], 0)
    whole = torch.cat([place, place.new_full((len(place), more, 2), torch.nan)], dim=1)
    at = torch.arange(length)[:, None] + torch.arange(1, future + 1)
    return (position - whole[:, at.to(place.device)]).square().sum(-1).sqrt()


def term(position: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the distances that ADE averages, and how many are known; arguments as of `misses`."""
    length, future = position.shape[1:3]
    known = torch.isfinite(misses(position.detach(), place))
    at = (torch.arange(length)[:, None] + torch.arange(1, future + 1)).clamp(max=place.shape[1] - 1)
    wanted = place[:, at.to(place.device)].nan_to_num(0.0)
    error = ((position - wanted).square().sum(-1) + NEAR**2).sqrt() - NEAR
    return (error * known).sum(), known.sum()


def figures(position: Tensor, place: Tensor) -> dict[str, float]:
    """Errors of windows, m: `ade` mean over horizons, `fde` at the last one, `fde_p90` nine in ten are below, and `1`,
    `2` … of each horizon. Of windows whose every later place is known; none where there is none.

    Args:
        position: [N, F, 2] m; place: [N, ≥ F, 2] from the first later step on.
    """
    error = misses(position[:, None], torch.cat([place[:, :1], place], dim=1))[:, 0].double()
    error = error[torch.isfinite(error).all(1)]
    if not len(error):
        return {}
    found = {"ade": float(error.mean()), "fde": float(error[:, -1].mean()),
             "fde_p90": float(error[:, -1].quantile(0.9))}  # fmt: skip
    return found | {str(h): float(mean) for h, mean in enumerate(error.mean(0), 1)}
