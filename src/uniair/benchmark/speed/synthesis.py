"""How fast paths become CSI, against one exponential an element."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from uniair.propagation.paths import synthesise
from uniair.radio import Radio


def one_exponential_per_element(gain: Tensor, delay: Tensor, direction: Tensor, radio: Radio) -> Tensor:
    """The formula as it stands: an exponential for every path, antenna and subcarrier."""
    n, k = torch.from_numpy(radio.array.layout[:, :1]), torch.from_numpy(radio.grid.frequencies)[None]
    phase = -2 * math.pi * (n * direction[..., None] + k * delay[..., None, None])
    return (gain[..., None, None] * torch.polar(torch.ones_like(phase), phase)).sum(1).to(torch.complex64)


def synthesis_speed(links: int = 20_000, paths: int = 10, repeats: int = 5, seed: int = 0) -> dict[str, float]:
    """Links per second of both ways in one run, their ratio and the largest relative difference of an entry."""
    draw = torch.Generator().manual_seed(seed)
    gain = torch.randn(links, paths, dtype=torch.complex64, generator=draw)
    delay = torch.rand(links, paths, dtype=torch.float64, generator=draw) * 1e-6
    direction = torch.rand(links, paths, 1, dtype=torch.float64, generator=draw) * 2 - 1

    out = torch.empty(links, 32, 64, dtype=torch.complex64)

    def rate(method: Callable[..., Tensor], count: int, *more: Tensor) -> float:
        arguments = (gain[:count], delay[:count], direction[:count], Radio(), *more)
        method(*arguments)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            method(*arguments)
            times.append(time.perf_counter() - start)
        return count / sorted(times)[repeats // 2]

    few = 64
    exact = one_exponential_per_element(gain[:few], delay[:few], direction[:few], Radio())
    quick = synthesise(gain[:few], delay[:few], direction[:few], Radio())
    fast, slow = rate(synthesise, links, out), rate(one_exponential_per_element, few)
    difference = float(((quick - exact).abs().amax(dim=(1, 2)) / exact.abs().amax(dim=(1, 2))).max())
    return {"links_per_s": fast, "elementwise_links_per_s": slow, "ratio": fast / slow, "difference": difference}
