"""The worst perturbation of a power: what noise is by chance, this is by somebody who knows the model.

Projected gradient ascent (Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018)
over all perturbations of exactly that power: a sphere, and not the ball of all that are at most as strong.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from uniair.errors import InputError

Loss = Callable[[Tensor], Tensor]  # perturbed rows [N, ...] → [N], which the attacker raises


def attacked(
    loss: Loss, clean: Tensor, power_db: float | Tensor, steps: int, draw: torch.Generator, restarts: int = 1
) -> Tensor:
    """What a receiver gets where the perturbation raises a loss as far as the ascent finds.

    Args:
        clean: [N, ...] real or complex, as CSI [N, ports, subcarriers]; each row is attacked by itself.
        power_db: of the perturbation over the row's own power, dB, one or [N]; −∞ is none.
        steps: of gradient ascent from each random start; 0 is the best of the starts.
        restarts: random starts.

    Returns:
        [N, ...] like `clean`; where the power is −∞, `clean` to the bit.

    Raises:
        InputError: see `with_power` and `ascend`; or no start.
    """
    if restarts < 1:
        raise InputError(f"attack from {restarts} starts: give at least 1")
    check_power(power_db)
    if not torch.isfinite(torch.as_tensor(power_db)).any() or not len(clean):
        return clean

    def of(direction: Tensor) -> Tensor:
        return loss(with_power(clean, direction, power_db))

    def found() -> tuple[Tensor, Tensor]:
        return ascend(of, torch.randn(clean.shape, dtype=clean.dtype, generator=draw).to(clean.device), steps)

    direction, best = found()
    for _ in range(1, restarts):
        other, raised = found()
        direction = torch.where(_beside(raised > best, clean), other, direction)
        best = torch.maximum(raised, best)
    return with_power(clean, direction, power_db)


def ascend(loss: Loss, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The direction of unit norm in which a loss was highest on the way up, [N, ...] like `start`, and that loss, [N].

    Each step goes along the normalised slope, the first as far as the sphere's radius, the last hardly, and back to the
    sphere. Of a linear loss the end is the slope's own direction, which is the closed-form optimum.

    Raises:
        InputError: negative steps; a loss or slope that is not finite, after which a weak attack would pass for a
            strong defence.
    """
    if steps < 0:
        raise InputError(f"attack of {steps} steps: give 0 or more")
    with torch.inference_mode(False), torch.enable_grad():
        direction = unit(start.clone())
        best, found = torch.full((len(start),), -torch.inf, device=start.device), direction
        for step in range(steps + 1):
            direction = direction.detach().requires_grad_()
            raised = loss(direction)
            if not torch.isfinite(raised).all():
                raise InputError(f"attack: the loss is not finite at step {step}; leave such samples out")
            better = raised.detach() > best
            best = torch.where(better, raised.detach(), best)
            found = torch.where(_beside(better, direction), direction.detach(), found)
            if step < steps:
                (slope,) = torch.autograd.grad(raised.sum(), direction)
                if not torch.isfinite(slope.abs()).all():
                    raise InputError(f"attack: the loss has no slope at step {step}; leave such samples out")
                direction = unit(direction.detach() + (1 - step / steps) * unit(slope))
        return found, best


def with_power(clean: Tensor, perturbation: Tensor, power_db: float | Tensor) -> Tensor:
    """Rows [N, ...] with a perturbation of any size, which gets the power `power_db` over each row's own.

    Raises:
        InputError: see `check_power`.
    """
    check_power(power_db)
    amplitude = 10 ** (torch.as_tensor(power_db, dtype=torch.float64, device=clean.device) / 20)
    if not amplitude.any():
        return clean
    scale = (_norm(clean).double() * _beside(amplitude, clean)).to(clean.real.dtype)
    added = clean + scale * unit(perturbation)
    return added if amplitude.ndim == 0 else torch.where(_beside(amplitude > 0, clean), added, clean)


def check_power(power_db: float | Tensor) -> None:
    """Raises `InputError` where a power is NaN or endless."""
    power = torch.as_tensor(power_db, dtype=torch.float64)
    if power.isnan().any() or (power == math.inf).any():
        raise InputError("attack: its power is NaN or infinite; give dB over the channel's power, or -inf for none")


def unit(rows: Tensor) -> Tensor:
    """Rows [N, ...] of unit norm; a row of zeros stays."""
    return rows / _norm(rows).clamp_min(torch.finfo(rows.real.dtype).tiny)


def _norm(rows: Tensor) -> Tensor:
    """Of each row, [N, 1, ...]; of channels whose squares single precision would lose, too."""
    size = rows.abs()
    peak = size.detach().flatten(1).amax(1).clamp_min(torch.finfo(size.dtype).tiny)
    return _beside(peak * (size / _beside(peak, rows)).flatten(1).square().sum(1).sqrt(), rows)


def _beside(values: Tensor, rows: Tensor) -> Tensor:
    """[N], or one, as it is broadcast over rows [N, ...]."""
    return values if values.ndim == 0 else values.view(-1, *[1] * (rows.ndim - 1))
