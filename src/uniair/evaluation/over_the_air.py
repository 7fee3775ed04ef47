"""What an attacker with one antenna elsewhere can send: one waveform, which its own channel brings to the base station.

On top of every channel that the base station measures then lies H_a[n, k] · w[k]: of a single path the steering vector
of the attacker's direction times w, of several a sum of those. It knows neither the channel under attack nor its phase,
so that one w serves for all links, and each link sees it under a phase that is drawn. It is taken to know when pilots
are sent, and to reach the base station with the power that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from uniair.attack import ascend, check_power, with_power
from uniair.errors import InputError

ENOUGH = 2.0  # nats by which an answer is wrong, beyond which a waveform need not push this link on


def received(channel: Tensor, waveform: Tensor, draw: torch.Generator) -> Tensor:
    """What the base station gets of a waveform: complex64 [N, ports, subcarriers], under a phase drawn for each.

    Args:
        channel: complex64 [N, ports, subcarriers], the attacker's own to the base station of each link.
        waveform: complex64 [subcarriers].

    Raises:
        InputError: channels of other subcarriers.
    """
    if channel.ndim != 3 or channel.shape[2:] != waveform.shape:
        raise InputError(
            f"attack: a waveform of {tuple(waveform.shape)} and the attacker's channels {tuple(channel.shape)}; "
            "expected [K] and [N, ports, K] of the same subcarriers"
        )
    turn = 2 * torch.pi * torch.rand(len(channel), generator=draw).to(channel.device)
    return channel * waveform * torch.polar(torch.ones_like(turn), turn)[:, None, None]


def random_waveform(subcarriers: int, draw: torch.Generator) -> Tensor:
    """White, of unit norm: complex64 [subcarriers]; what an attacker sends that knows nothing."""
    waveform = torch.randn(subcarriers, dtype=torch.complex64, generator=draw)
    return waveform / waveform.abs().square().sum().sqrt()


def learned_waveform(
    loss: Callable[[Tensor], Tensor], csi: Tensor, channel: Tensor, power_db: float, steps: int, draw: torch.Generator
) -> Tensor:
    """The waveform that raises the mean loss of N links the most, each under its own phase: complex64 [subcarriers].

    Args:
        loss: CSI [N, ports, subcarriers] → [N] nats; above `ENOUGH` more counts for nothing.
        csi: complex64 [N, ports, subcarriers] that it learns on.
        channel: the attacker's own, likewise.
        power_db: over each channel's power, at which it learns.
        steps: of ascent.

    Raises:
        InputError: no links, or see `attack.ascend` and `attack.check_power`.
    """
    check_power(power_db)
    if not len(csi) or csi.shape != channel.shape:
        raise InputError(
            f"attack: a waveform is learned on {tuple(csi.shape)} CSI with {tuple(channel.shape)} channels of the "
            "attacker; give as many of both, at least one"
        )
    phases = draw.get_state()

    def mean(waveform: Tensor) -> Tensor:
        draw.set_state(phases)  # the same phases at every step
        added = received(channel, waveform[0], draw)
        return loss(with_power(csi, added, power_db)).clamp_max(ENOUGH).mean()[None]

    start = random_waveform(csi.shape[2], torch.Generator().manual_seed(draw.initial_seed()))
    return ascend(mean, start[None].to(csi.device), steps)[0][0]
