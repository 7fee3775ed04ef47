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
from uniair.data.links.store import Store
from uniair.models.presets import preset
from uniair.models.universal import UniversalModel
from uniair.tasks.alignment import Alignment
from uniair.training.distributed import World
from uniair.training.loop import Optimisation, run
from uniair.training.pretraining import Batches

MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the product that the matrix rate is measured with
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def matrix_rate(device: torch.device, kind: torch.dtype, times: int = 10) -> float:
    """Best rate of one large matrix product, FLOP/s."""
    side = MATRIX[device.type]
    a = torch.randn(side, side, device=device).to(kind)
    best = float("inf")
    for _ in range(times):
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
        model = UniversalModel(preset(size)).to(device)
        config = Optimisation(steps, precision=precision)

        def loss(_: int, model: UniversalModel = model) -> Mapping[str, Tensor]:
            return task.loss(model, batch, np.random.default_rng(seed))

        with FlopCounterMode(display=False) as counter:
            run(model, loss, replace(config, steps=1))
        began = _clock(device)
        run(model, loss, config)
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
