"""How fast pretraining runs, and how much of the machine's matrix rate it uses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from uniair.data.links.loader import AreaBatches
from uniair.data.links.store import SAMPLE, Store
from uniair.models import presets
from uniair.models.universal import UniversalModel
from uniair.tasks.alignment import Alignment
from uniair.training import loop
from uniair.training.distributed import World
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches

MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the product that the matrix rate is measured with
PRODUCTS = 10
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def matrix_rate(device: torch.device, kind: torch.dtype) -> float:
    """Best rate of one large matrix product in `PRODUCTS` turns, FLOP/s."""
    side = MATRIX[device.type]
    a = torch.randn(side, side, device=device).to(kind)
    best = float("inf")
    for _ in range(PRODUCTS):
        began = _clock(device)
        a @ a
        best = min(best, _clock(device) - began)
    return 2 * side**3 / best


def training_speed(folder: Path, size: str = "small", steps: int = 10, seed: int = 0) -> dict[str, Any]:
    """Whole training steps (loss, gradient, both optimisers) on one batch, in float32 and in bfloat16.

    Returns:
        For each precision samples_per_s, flops (of a step's matrix products), matrix_rate and share of it.
    """
    device = World.alone().device
    batch = AreaBatches(Store(folder), Batches.areas, Batches.links_per_area)(np.random.default_rng(seed)).to(device)
    task, out = Alignment(), {}
    for precision, kind in PRECISIONS.items():
        torch.manual_seed(seed)
        model = UniversalModel(presets.preset(size)).to(device)
        config = Optimisation(steps, precision=precision)

        def loss(_: int, model: UniversalModel = model) -> Mapping[str, Tensor]:
            return task.loss(model, batch, np.random.default_rng(seed))

        with FlopCounterMode(display=False) as counter:
            loop.run(model, loss, replace(config, steps=1))
        began = _clock(device)
        loop.run(model, loss, config)
        took = (_clock(device) - began) / steps
        rate = matrix_rate(device, kind)
        flops = counter.get_total_flops()
        out[precision] = {"samples_per_s": len(batch.csi) / took, "flops": flops, "matrix_rate": rate,
                          "share": flops / took / rate}  # fmt: skip
    return {"preset": size, "device": device.type, "threads": torch.get_num_threads(), "precisions": out}


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def run(train: Path | None = None, preset: str = "small", seed: int = 0) -> dict[str, Any]:
    """Measures and prints.

    Args:
        train: links folder; the packaged links if not given.
        preset: size of the model, a preset's name.
        seed: of weights and batch.
    """
    found = training_speed(train or SAMPLE, preset, seed=seed)
    for precision, speed in found["precisions"].items():
        rate = f"{speed['share']:.0%} of the {speed['matrix_rate'] / 1e9:,.0f} GFLOP/s of one large product"
        print(f"{found['preset']} in {precision} ({found['device']}): {speed['samples_per_s']:,.0f} samples/s, {rate}")
    return found
