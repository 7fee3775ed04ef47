"""How fast pretraining runs, where a step's time goes, and how much of the machine's matrix rate it uses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from uniair.data.links.loader import AreaBatches
from uniair.data.links.store import SAMPLE, Store
from uniair.environment import Batch
from uniair.models import presets
from uniair.models.universal import UniversalModel
from uniair.training import loop
from uniair.training.distributed import World
from uniair.training.packaged_recipe import BATCHES, OPTIMISATION, TASK

MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the product that the matrix rate is measured with
PRODUCTS = 10
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOWERS = {"cfenn": "channel's tower", "epnn": "environment's tower", "crnn": "channel's decoder"}  # of the model


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
    """Whole training steps by the recipe of `small` (loss, gradient, both optimisers), in float32 and in bfloat16.

    Returns:
        For each precision samples_per_s, flops (of a step's matrix products), matrix_rate and share of it; `parts`: s
        a step in float32, of the drawing of a batch, which a thread does beside, each tower's forward pass, the rest
        of the loss, the gradient, and the optimisers.
    """
    device = World.alone().device
    shape = presets.preset(size)
    batches = AreaBatches(Store(folder), BATCHES.areas, BATCHES.links_per_area, radios=shape.radios == "any")
    began = time.perf_counter()
    batch = batches(np.random.default_rng(seed))
    drawing = time.perf_counter() - began
    batch, out = batch.to(device), {}
    parts: dict[str, float] = {}
    for precision, kind in PRECISIONS.items():
        torch.manual_seed(seed)
        model = UniversalModel(shape).to(device)
        config = replace(OPTIMISATION, steps=steps, precision=precision)

        def loss(_: int, model: UniversalModel = model) -> Mapping[str, Tensor]:
            return TASK.loss(model, batch, np.random.default_rng(seed))

        with FlopCounterMode(display=False) as counter:
            loop.run(model, loss, replace(config, steps=1))
        began = _clock(device)
        loop.run(model, loss, config)
        took = (_clock(device) - began) / steps
        rate = matrix_rate(device, kind)
        flops = counter.get_total_flops()
        out[precision] = {"samples_per_s": len(batch.csi) / took, "flops": flops, "matrix_rate": rate,
                          "share": flops / took / rate}  # fmt: skip
        if precision == "float32":
            parts = {"drawing a batch, beside": drawing} | _parts(model, batch, steps, seed)
            parts["optimisers"] = max(0.0, took - sum(parts.values()) + drawing)
    return {
        "preset": size, "device": device.type, "threads": torch.get_num_threads(), "samples": len(batch.csi),
        "precisions": out, "parts": parts,
    }  # fmt: skip


def _parts(model: UniversalModel, batch: Batch, steps: int, seed: int) -> dict[str, float]:
    """Seconds a step of the towers' forward passes, of the rest of the loss, and of the gradient."""
    device = model.device
    spent, began = dict.fromkeys(TOWERS.values(), 0.0), dict[nn.Module, float]()
    hooks = []
    for name, about in TOWERS.items():
        tower = getattr(model, name)

        def before(tower: nn.Module, _: Any) -> None:
            began[tower] = _clock(device)

        def after(tower: nn.Module, _: Any, __: Any, about: str = about) -> None:
            spent[about] += _clock(device) - began[tower]

        hooks += [tower.register_forward_pre_hook(before), tower.register_forward_hook(after)]
    forward = gradient = 0.0
    for _ in range(steps):
        model.zero_grad()
        start = _clock(device)
        total = TASK.loss(model, batch, np.random.default_rng(seed))["total"]
        middle = _clock(device)
        total.backward()  # type: ignore[no-untyped-call]
        forward, gradient = forward + middle - start, gradient + _clock(device) - middle
    for hook in hooks:
        hook.remove()
    rest = forward - sum(spent.values())
    return {name: value / steps for name, value in (spent | {"rest of the loss": rest, "gradient": gradient}).items()}


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
    whole = sum(found["parts"].values()) - found["parts"]["drawing a batch, beside"]
    print(f"a step of {found['samples']} samples in float32, {whole:.2f} s:")
    for name, seconds in found["parts"].items():
        print(f"  {name:24} {seconds:6.3f} s  {seconds / whole:4.0%}")
    return found
