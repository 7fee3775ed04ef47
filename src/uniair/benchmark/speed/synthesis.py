"""How fast paths become CSI, against one exponential per element."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from uniair.propagation.paths import synthesise
from uniair.radio import Radio

LINKS, PATHS, REPEATS = 20_000, 10, 5
FEW = 64  # links that the formula as it stands is timed on


def one_exponential_per_element(gain: Tensor, delay: Tensor, direction: Tensor, radio: Radio) -> Tensor:
    """The formula as it stands: an exponential for every path, antenna and subcarrier."""
    n, k = torch.from_numpy(radio.array.layout[:, :1]), torch.from_numpy(radio.grid.frequencies)[None]
    phase = -2 * math.pi * (n * direction[..., None] + k * delay[..., None, None])
    return (gain[..., None, None] * torch.polar(torch.ones_like(phase), phase)).sum(1).to(torch.complex64)


def synthesis_speed(seed: int = 0) -> dict[str, float]:
    """Links per second of both ways in one run, their ratio and the largest relative difference of an entry."""
    draw = torch.Generator().manual_seed(seed)
    gain = torch.randn(LINKS, PATHS, dtype=torch.complex64, generator=draw)
    delay = torch.rand(LINKS, PATHS, dtype=torch.float64, generator=draw) * 1e-6
    direction = torch.rand(LINKS, PATHS, 1, dtype=torch.float64, generator=draw) * 2 - 1
    out = torch.empty(LINKS, 32, 64, dtype=torch.complex64)

    def rate(method: Callable[..., Tensor], count: int, *more: Tensor) -> float:
        arguments = (gain[:count], delay[:count], direction[:count], Radio(), *more)
        method(*arguments)
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            method(*arguments)
            times.append(time.perf_counter() - start)
        return count / sorted(times)[REPEATS // 2]

    exact = one_exponential_per_element(gain[:FEW], delay[:FEW], direction[:FEW], Radio())
    quick = synthesise(gain[:FEW], delay[:FEW], direction[:FEW], Radio())
    fast, slow = rate(synthesise, LINKS, out), rate(one_exponential_per_element, FEW)
    difference = float(((quick - exact).abs().amax(dim=(1, 2)) / exact.abs().amax(dim=(1, 2))).max())
    return {"links_per_s": fast, "elementwise_links_per_s": slow, "ratio": fast / slow, "difference": difference}


def run(seed: int = 0) -> dict[str, Any]:
    """Measures and prints.

    Args:
        seed: of the paths.
    """
    speed = synthesis_speed(seed)
    print(f"{speed['links_per_s']:,.0f} links/s of 32 × 64 with {PATHS} paths")
    print(f"{speed['elementwise_links_per_s']:,.0f} links/s with one exponential per element ({speed['ratio']:.0f} ×)")
    print(f"largest difference {speed['difference']:.1e} of the largest entry")
    return dict(speed)
