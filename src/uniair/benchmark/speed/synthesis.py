"""How fast paths become CSI, against one exponential an element."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from uniair.propagation.paths import synthesise
from uniair.radio import OFDM, ULA


def one_exponential_an_element(gain: Tensor, delay: Tensor, sine: Tensor, array: ULA, ofdm: OFDM) -> Tensor:
    """The formula as it stands: an exponential for every path, antenna and subcarrier."""
    n = torch.arange(array.antennas)[:, None]
    k = torch.arange(ofdm.subcarriers)[None]
    phase = -2 * math.pi * (array.spacing * n * sine[..., None, None] + ofdm.spacing * k * delay[..., None, None])
    return (gain[..., None, None] * torch.polar(torch.ones_like(phase), phase)).sum(1).to(torch.complex64)


def synthesis_speed(links: int = 20_000, paths: int = 10, repeats: int = 5, seed: int = 0) -> dict[str, float]:
    """Links per second of both ways in one run, their ratio and the largest relative difference of an entry."""
    draw = torch.Generator().manual_seed(seed)
    gain = torch.randn(links, paths, dtype=torch.complex64, generator=draw)
    delay = torch.rand(links, paths, dtype=torch.float64, generator=draw) * 1e-6
    sine = torch.rand(links, paths, dtype=torch.float64, generator=draw) * 2 - 1

    out = torch.empty(links, 32, 64, dtype=torch.complex64)

    def rate(method: Callable[..., Tensor], count: int, *more: Tensor) -> float:
        arguments = (gain[:count], delay[:count], sine[:count], ULA(), OFDM(), *more)
        method(*arguments)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            method(*arguments)
            times.append(time.perf_counter() - start)
        return count / sorted(times)[repeats // 2]

    few = 64
    exact = one_exponential_an_element(gain[:few], delay[:few], sine[:few], ULA(), OFDM())
    quick = synthesise(gain[:few], delay[:few], sine[:few], ULA(), OFDM())
    fast, slow = rate(synthesise, links, out), rate(one_exponential_an_element, few)
    difference = float(((quick - exact).abs().amax(dim=(1, 2)) / exact.abs().amax(dim=(1, 2))).max())
    return {"links_per_s": fast, "elementwise_links_per_s": slow, "ratio": fast / slow, "difference": difference}
