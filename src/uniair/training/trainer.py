"""The training loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from uniair.environment import Batch
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.tasks.alignment import Alignment
from uniair.training.checkpoint import load_state, save_model, save_state, unique
from uniair.training.distributed import World
from uniair.training.log import Log

COLDEST = math.log(0.01)
LEAST_MATRIX = 16  # a matrix with fewer rows or columns is a bundle of vectors to Muon


@dataclass(frozen=True)
class Optimisation:
    """Muon and AdamW under cosine annealing with warm-up restarts (paper 1, IV-B, has AdamW alone).

    Attributes:
        steps: training steps in all.
        cycles: warm-up restarts + 1, of equal length.
        learning_rate: peak of each cycle, of AdamW.
        matrix_rate: peak of Muon, which trains the matrices; 0 leaves them to AdamW, as in the paper.
        warmup: share of a cycle.
        weight_decay: on matrices only.
        clip: largest gradient norm.
        precision: `float32`, or `bfloat16` for the matrix products where the hardware is faster at them.
        save_every: steps between checkpoints.
        log_every: steps between lines of the log.
        seed: of weights and batches.
    """

    steps: int = 10_000
    cycles: int = 1
    learning_rate: float = 5e-4
    matrix_rate: float = 2e-3
    warmup: float = 0.03
    weight_decay: float = 0.05
    clip: float = 1.0
    precision: str = "float32"
    save_every: int = 500
    log_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision {self.precision!r}: choose float32 or bfloat16")

    def share(self, step: int) -> float:
        """Learning rate of a step as a share of its peak, from 0."""
        cycle = self.steps / self.cycles
        at = (step % cycle) / cycle
        if at < self.warmup:
            return (step % cycle + 1) / (self.warmup * cycle + 1)
        return 0.5 * (1 + math.cos(math.pi * (at - self.warmup) / (1 - self.warmup)))

    def optimisers(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        """Muon for matrices that mix features, AdamW for the rest: embeddings of patches, biases, norms, tokens."""
        trained = list(model.parameters())
        mixing = [p for p in trained if self.matrix_rate and p.ndim == 2 and min(p.shape) >= LEAST_MATRIX]
        others = [p for p in trained if all(p is not m for m in mixing)]
        groups = [{"params": [p for p in others if p.ndim > 1], "weight_decay": self.weight_decay},
                  {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip
        out: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.98), eps=1e-6)
        ]
        if mixing:
            out.append(torch.optim.Muon(
                mixing, lr=self.matrix_rate, weight_decay=self.weight_decay, adjust_lr_fn="match_rms_adamw"
            ))  # fmt: skip
        return out


def train(
    model: UniversalModel,
    task: Alignment,
    batches: Callable[[np.random.Generator], Batch],
    config: Optimisation,
    out: Path,
    world: World,
    validate: Callable[[UniversalModel], dict[str, float]] | None = None,
    also: dict[str, Any] | None = None,
) -> UniversalModel:
    """Trains into `out` and returns the model; a run that was killed goes on bit for bit where it stopped.

    Batch and masks of a step are drawn from (seed, step, rank) alone, so nothing but weights and moments is state.

    Args:
        validate: figures of the model in eval mode, logged at every checkpoint.
        also: settings of the data that a resumed run must share.

    Raises:
        InputError: the loss is no longer finite, or `out` holds a run with other settings.
    """
    model.to(world.device).train()
    settings: dict[str, Any] = {"preset": asdict(model.preset), "task": asdict(task), "optimisation": asdict(config)}
    settings = json.loads(json.dumps(settings | {"processes": world.size} | (also or {})))
    optimisers = config.optimisers(model)
    peaks = [(group, group["lr"]) for optimiser in optimisers for group in optimiser.param_groups]
    start = load_state(unique(model), optimisers, settings, out)
    log = Log(out / "metrics.jsonl", start) if world.main else None
    model.log_temperature.requires_grad_(task.learned_temperature)  # DDP waits for the gradient of what is trained
    wrapped: Any = DistributedDataParallel(model) if world.size > 1 else model
    clock, seen, waited = time.perf_counter(), 0, 0.0
    # makes the next batch while the model works on this one; on one core, or its threads would stall the model's
    ahead = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))

    def draw(step: int) -> tuple[Batch, np.random.Generator]:
        rng = np.random.default_rng([config.seed, step, world.rank])
        return batches(rng), rng

    upcoming = ahead.submit(draw, start)
    for step in tqdm(
        range(start, config.steps), initial=start, total=config.steps, unit="step", disable=None if world.main else True
    ):
        asked = time.perf_counter()
        batch, rng = upcoming.result()
        waited += time.perf_counter() - asked
        upcoming = ahead.submit(draw, step + 1)
        batch = batch.to(world.device)
        with torch.autocast(world.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            terms = task.loss(wrapped, batch, rng)
        if not torch.isfinite(terms["total"]):
            raise InputError(f"step {step}: the loss is not finite; lower --learning_rate or check the data")
        for group, peak in peaks:
            group["lr"] = peak * config.share(step)
        model.zero_grad()
        terms["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for optimiser in optimisers:
            optimiser.step()
        with torch.no_grad():
            model.log_temperature.clamp_(min=COLDEST)
        seen += len(batch.csi) * world.size
        done = step + 1
        if log and (done % config.log_every == 0 or done == config.steps):
            took = time.perf_counter() - clock
            values = {k: float(v.detach()) for k, v in terms.items()}
            log.write(
                done,
                lr=config.learning_rate * config.share(step),
                samples_per_s=seen / took,
                waiting=waited / took,
                **values,
            )
            clock, seen, waited = time.perf_counter(), 0, 0.0
        if log and (done % config.save_every == 0 or done == config.steps):
            save_state(unique(model), optimisers, done, settings, out, settings["preset"])
            if validate:
                log.write(done, **{f"validation/{k}": v for k, v in validate(model.eval()).items()})
                model.train()
                clock, seen, waited = time.perf_counter(), 0, 0.0
    ahead.shutdown(cancel_futures=True)
    if world.main:
        save_model(model, out)
    if world.size > 1:
        torch.distributed.barrier()  # the others may read it now
    return model.eval()
