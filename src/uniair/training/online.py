"""Adaptation at the edge: a forecaster learns from the stream it forecasts (paper 3, Section IV, "dynamic learning").

Nothing is labelled by hand. The power that is measured at a step is the truth of what was forecast for it before, so
every step that has passed is a label. Nothing is learned from before it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from uniair.data.drives.drive import Drive
from uniair.data.drives.windows import Augmentation, Passages, Windows
from uniair.models.forecast import Forecast
from uniair.tasks.beam_forecast import Forecasting, forecasts
from uniair.training.forecasting import tensors

Part = Callable[[str], bool]


@dataclass(frozen=True)
class OnlineLearning:
    """How a forecaster adapts to a site while it is used.

    Attributes:
        every: new steps after which it learns.
        updates: gradient steps it then takes.
        rate: learning rate of AdamW.
        batch, length: passages of a gradient step, and their steps that are heard.
        memory: the site's latest drives that it learns from.
        replay: share of a batch that comes from earlier sites, so that they are not forgotten.
        task: as in training.
        augmentation: of the passages.
        seed: of passages.
    """

    every: int = 20
    updates: int = 4
    rate: float = 5e-4
    batch: int = 32
    length: int = 8
    memory: int = 40
    replay: float = 0.25
    task: Forecasting = field(default_factory=lambda: Forecasting(hidden=0.0, lost=0.0))
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0


def adapt_online(
    model: nn.Module,
    windows: Windows,
    config: OnlineLearning,
    earlier: Passages | None = None,
    tuned: Part = lambda name: True,
) -> Forecast:
    """What the model said about each window of one site, in their order, learning as it went: fields [N, F + 1, B].

    Args:
        model: changed in place; its parameters that are not tuned stay frozen.
        windows: of the site's drives, in the order in which they were driven.
        earlier: passages of earlier sites, of `config.length` + F steps, for replay.
        tuned: which parameters learn, by name.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(tuned(name))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=config.rate, weight_decay=0.0)
    steps = tensors(windows.steps())
    parts = []
    for update, (index, known) in enumerate(blocks(windows, config.every, config.memory)):
        if known:
            length = config.length + windows.future
            passages = Passages(tuple(known), length, config.augmentation, turned=windows.frames)
            learn(model, optimiser, passages, earlier, config, update)
        parts.append(forecasts(model.eval(), {k: v[index] for k, v in steps.items()}, windows.past))
    return Forecast(*(torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "power", "los")))


def blocks(windows: Windows, every: int, memory: int) -> Iterator[tuple[slice, list[Drive]]]:
    """Windows to forecast in one go, and what had been measured when the first of them was forecast.

    Yields:
        The windows, `every` at most and of one drive, and the last `memory` drives, the running one up to its present
        step.
    """
    begin = 0
    while begin < len(windows):
        number = int(windows.drive[begin])
        same = windows.drive[begin : begin + every] == number
        end = begin + int(same.argmin() if not same.all() else len(same))
        present = int(windows.start[begin]) + windows.past
        passed = list(windows.drives[max(0, number - memory) : number])
        yield slice(begin, end), [d for d in (*passed, first_steps(windows.drives[number], present)) if len(d) > 1]
        begin = end


def first_steps(drive: Drive, count: int) -> Drive:
    """The drive as it was known after its first `count` steps."""
    kept = {name: getattr(drive, name)[:count] for name in ("time", "power", "beam", "bs", "ue")}
    return replace(drive, **kept, files={sensor: names[:count] for sensor, names in drive.files.items()})


def learn(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    passages: Passages,
    replay: Passages | None,
    config: OnlineLearning,
    update: int,
) -> None:
    """Takes `config.updates` gradient steps on passages of a site, and of earlier ones where there is replay.

    Args:
        update: its number, of which the passages are drawn.
    """
    old = round(config.batch * config.replay) if replay else 0
    model.train()
    for number in range(config.updates):
        rng = np.random.default_rng([config.seed, update, number])
        batch = tensors(passages.draw(config.batch - old, rng))
        if replay and old:
            more = tensors(replay.draw(old, rng))
            batch = {name: torch.cat([values, more[name]]) for name, values in batch.items()}
        draw = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        heard = config.task.hide({name: values[:, : config.length] for name, values in batch.items()}, draw)
        loss: Tensor = config.task.terms(model, heard, batch).means()["total"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
