"""The training loop. Whoever trains brings parameters and a loss; schedule, optimisers, state and log are here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from uniair.errors import InputError
from uniair.progress import track
from uniair.training.checkpoint import State
from uniair.training.distributed import ALONE, World, agree, average, is_small, threads
from uniair.training.log import Log

LEAST_MATRIX = 16  # a matrix with fewer rows or columns is a bundle of vectors to Muon
CHOICES = {
    "precision": ("float32", "bfloat16"), "schedule": ("cosine", "whole_cosine", "constant"),
    "adamw": ("towers", "heads"),
}  # fmt: skip
# of a batch, by its number: `total`, which is minimised, and other terms for the log; what is no tensor is an amount,
# such as of samples, and logged per second
Loss = Callable[[int], Mapping[str, Tensor | float]]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Optimisation:
    """Schedule and optimisers: Muon and AdamW under a cosine (paper 1, IV-B, has AdamW alone, and warm-up restarts).

    Attributes:
        steps: training steps in all.
        cycles: warm-up restarts + 1, of equal length.
        schedule: after the warm-up: `cosine` falls from its end to 0; `whole_cosine` is a cosine over all steps, of
            which the warm-up cuts the beginning; `constant`.
        learning_rate: peak of each cycle, of AdamW.
        matrix_rate: peak of Muon, which trains the matrices; 0 leaves them to AdamW, as in the paper.
        warmup: share of a cycle.
        adamw: `towers`, as CLIP has it: β₂ 0.98, ε 1e-6, matrices alone decay; `heads`: 0.999, 1e-8, and all decays.
        weight_decay: of what decays.
        clip: largest gradient norm; 0: any.
        accumulate: batches a step; their gradients are averaged.
        precision: `float32`, or `bfloat16` for the matrix products where the hardware is faster at them.
        save_every: steps between states that a killed run goes on from.
        log_every: steps between lines of the log.
        seed: of weights and batches.
    """

    steps: int = 10_000
    cycles: int = 1
    schedule: str = "cosine"
    learning_rate: float = 5e-4
    matrix_rate: float = 2e-3
    warmup: float = 0.03
    adamw: str = "towers"
    weight_decay: float = 0.05
    clip: float = 1.0
    accumulate: int = 1
    precision: str = "float32"
    save_every: int = 500
    log_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} {getattr(self, name)!r}: choose {', '.join(choices[:-1])} or {choices[-1]}")
        for name in ("cycles", "accumulate", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: give at least 1")

    def share(self, step: int) -> float:
        """Learning rate of a step as a share of its peak, from 0."""
        cycle = self.steps / self.cycles
        at = (step % cycle) / cycle
        if self.schedule == "whole_cosine":
            rise = (step % cycle + 1) / max(1, round(self.warmup * cycle))
            return min(rise, 0.5 * (1 + math.cos(math.pi * at)))
        if at < self.warmup:
            return (step % cycle + 1) / (self.warmup * cycle + 1)
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (at - self.warmup) / (1 - self.warmup)))

    def optimisers(self, trained: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
        """Muon for matrices that mix features, AdamW for the rest: embeddings of patches, biases, norms, tokens."""
        mixing = [p for p in trained.values() if self.matrix_rate and p.ndim == 2 and min(p.shape) >= LEAST_MATRIX]
        others = [p for p in trained.values() if all(p is not m for m in mixing)]
        out: list[torch.optim.Optimizer] = []
        if self.adamw == "heads":
            out.append(torch.optim.AdamW(others, lr=self.learning_rate, weight_decay=self.weight_decay))
        else:
            groups = [{"params": [p for p in others if p.ndim > 1], "weight_decay": self.weight_decay},
                      {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip
            out.append(torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.98), eps=1e-6))
        if mixing:
            out.append(torch.optim.Muon(
                mixing, lr=self.matrix_rate, weight_decay=self.weight_decay, adjust_lr_fn="match_rms_adamw"
            ))  # fmt: skip
        for group in (group for optimiser in out for group in optimiser.param_groups):
            group["initial_lr"] = group["lr"]
        return out


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What of a model is trained, by name; what is shared once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def run(
    model: Model,
    loss: Loss,
    config: Optimisation,
    *,
    trained: Mapping[str, nn.Parameter] | None = None,
    about: str = "",
    world: World = ALONE,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
    best: str | None = None,
    after: Callable[[], object] | None = None,
    optimisers: Sequence[torch.optim.Optimizer] | None = None,
    dropout: bool = True,
) -> Model:
    """Trains a model in place and returns it in eval mode; with `out`, a run that was killed goes on bit for bit.

    Weights and moments alone are state, so a loss must draw all that is random from the number that it is given. On
    several processes each takes the loss of its share of a batch, and their gradients are averaged.

    Args:
        trained: its parameters that learn, and others', by name; those that want a gradient by default.
        about: what is trained, for the progress on stderr; nothing is shown without.
        out: folder for log and state; None keeps nothing.
        settings: all of them, which a run that goes on must share; JSON.
        validate: figures of the model in eval mode, logged and looked at before every state.
        best: the figure by whose lowest value parameters are chosen in the end, instead of the last ones.
        after: called after every step, as to keep a parameter in its range.
        optimisers: of an earlier call, whose moments go on.
        dropout: False trains in eval mode.

    Raises:
        InputError: a loss or gradient that is not finite, or `out` holds a run with other settings.
    """
    trained = parameters(model) if trained is None else trained
    params = list(trained.values())
    device = params[0].device
    state = State(trained, config.optimisers(trained) if optimisers is None else optimisers)
    if out is not None:
        state.load(out, settings or {})
    if world.size > 1:
        agree(params)
    model.train(dropout)
    log = Log(out / "metrics.jsonl" if out is not None and world.main else None, state.step, device)
    todo, shown = range(state.step, config.steps), bool(about) and world.main
    with threads(1 if is_small(model) else None):
        for step in track(todo, "step", about, total=config.steps, done=state.step, show=shown):
            done = step + 1
            logged, saved = (done % n == 0 or done == config.steps for n in (config.log_every, config.save_every))
            for group in (group for optimiser in state.optimisers for group in optimiser.param_groups):
                group["lr"] = group["initial_lr"] * config.share(step)
            for optimiser in state.optimisers:
                optimiser.zero_grad()
            terms = _backward(loss, step, config, device)
            if world.size > 1:
                average(params, world.size)
            if config.clip or logged or saved:
                norm = nn.utils.clip_grad_norm_(params, config.clip or math.inf)
                terms["gradient_norm"] = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            log.add(terms)
            for optimiser in state.optimisers:
                optimiser.step()
            if after is not None:
                after()
            if logged or saved:
                log.check(done)
            if logged:
                log.report(done, config.learning_rate * config.share(step))
            if saved and validate is not None:
                model.eval()
                found = validate()
                model.train(dropout)
                log.write(done, **found)
                log.restart()
                state.keep(found, best)
            state.step = done
            if saved and out is not None:
                state.save(out, settings or {}, world.main)
    if validate is not None:
        state.finish()
    return model.eval()


def _backward(loss: Loss, step: int, config: Optimisation, device: torch.device) -> dict[str, Tensor | float]:
    """Adds the gradient of a step's batches up; their terms' means, and their amounts."""
    terms: dict[str, Any] = {}
    for number in range(step * config.accumulate, (step + 1) * config.accumulate):
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            found = loss(number)
        (found["total"] / config.accumulate).backward()  # type: ignore[union-attr]
        for name, value in found.items():
            part = value.detach() / config.accumulate if isinstance(value, Tensor) else value
            terms[name] = terms[name] + part if name in terms else part
    return terms
