"""Adaptation of a forecaster to a site, from the powers that are measured there (paper 3, Section IV).

On site: in minutes, from the site's first drives, on a frozen base. Online ("dynamic learning"): along the stream that
it forecasts. The power that is measured at a step is the truth of what was forecast for it before, so every step that
has passed is a label, and nothing is learned from before it was measured.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uniair.data.drives.drive import Drive
from uniair.data.drives.passages import Augmentation, Passages
from uniair.data.drives.windows import Frames, Windows
from uniair.errors import InputError
from uniair.models.forecast import WMLM, Forecast
from uniair.tasks.beam_forecast import Forecasting, forecasts
from uniair.training.distributed import ALONE, World, is_small, threads
from uniair.training.forecasting import over_all, tensors
from uniair.training.loop import Optimisation, parameters, run

PARTS = {
    "head": "what reads the answers off the last block",
    "lora": "low-rank changes of the attention's projections",
    "all": "everything, for comparison",
}
HEADS = ("norm.", "around.", "by_beam.", "los.", "course.", "hazard.")
PROJECTIONS = r"blocks\.\d+\.(qkv|out)"
STEADY = Optimisation(
    steps=200, schedule="constant", learning_rate=2e-3, matrix_rate=0.0, warmup=0.0, adamw="heads", weight_decay=0.0
)
Part = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class SiteLearning:
    """What a forecaster learns from at a site.

    Attributes:
        batch, length: passages of a step, and their steps that are heard.
        replay: share of a batch that comes from earlier sites, so that they are not forgotten.
        task, augmentation: as in training.
        optimisation: AdamW at one rate by default.
    """

    batch: int = 32
    length: int = 8
    replay: float = 0.5
    task: Forecasting = Forecasting(hidden=0.0, lost=0.0)
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation = STEADY


@dataclass(frozen=True, kw_only=True)
class OnSite(SiteLearning):
    """How a forecaster is adapted to a site's first drives.

    Attributes:
        part: what learns, one of `PARTS`; of `all` at a tenth of the learning rate.
        rank: of LoRA.
    """

    part: str = "lora"
    rank: int = 8

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise InputError(f"no part {self.part!r} to adapt; choose one of {', '.join(PARTS)}")
        rank, steps, replay = self.rank, self.optimisation.steps, self.replay
        if rank < 1 or steps < 1 or not 0 <= replay < 1:
            raise InputError(f"rank {rank}, {steps} steps, replay {replay}: give at least 1, 1, and a share below 1")


@dataclass(frozen=True, kw_only=True)
class OnlineLearning(SiteLearning):
    """How a forecaster adapts to a site while it is used.

    Attributes:
        every: new steps after which it learns, `optimisation.steps` steps.
        memory: the site's latest drives that it learns from.
    """

    every: int = 20
    memory: int = 40
    replay: float = 0.25
    optimisation: Optimisation = replace(STEADY, steps=4, learning_rate=5e-4)


def adapt_on_site(
    model: WMLM, site: Passages, config: OnSite = OnSite(), earlier: Passages | None = None, world: World = ALONE
) -> tuple[WMLM, int]:
    """A copy of the model that has learned from a site, in eval mode, and how many parameters were tuned.

    LoRA's changes are added into the weights, so the copy is as quick and is saved, served and exported as any other.

    Args:
        site: passages of the site's drives, of `config.length` + F steps.
        earlier: the same of earlier sites, for replay.

    Raises:
        InputError: LoRA is wanted and peft is missing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.optimisation.seed)
        adapted = opened(model, config)
        tuned = sum(p.numel() for p in parameters(adapted).values())
        if config.part == "all":
            plan = config.optimisation
            config = replace(config, optimisation=replace(plan, learning_rate=plan.learning_rate / 10))
        learn(adapted, site, earlier, config, about="adapting", world=world)
    return closed(adapted, config), tuned


def opened(model: WMLM, config: OnSite) -> nn.Module:
    """A copy of the model of which a part learns; LoRA's factors are drawn from torch's generator, and change nothing.

    Raises:
        InputError: LoRA is wanted and peft is missing.
    """
    copied = copy.deepcopy(model)
    if config.part == "lora":
        return _with_lora(copied, config.rank)
    _tune(copied, lambda name: config.part == "all" or name.startswith(HEADS))
    return copied


def closed(adapted: Any, config: OnSite) -> WMLM:
    """What `opened` gave and has learned, in eval mode, LoRA's changes added into the weights."""
    model: WMLM = adapted.merge_and_unload() if config.part == "lora" else adapted
    return model.requires_grad_(True).eval()


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
    learner = Learner(model, config, windows.future, earlier, tuned)
    steps, parts = tensors(windows.steps()), []
    with threads(1 if is_small(model) else None):
        for index, known in blocks(windows, config.every, config.memory):
            learner.update(known, windows.frames)
            parts.append(forecasts(model.eval(), {k: v[index] for k, v in steps.items()}, windows.past))
    return Forecast(*(torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "power", "los")))


class Learner:
    """A model that learns while it is used, one update after the other; its moments go on from each to the next.

    All that is random is drawn from the seed and the number of the update.

    Args:
        model: changed in place; its parameters that are not tuned stay frozen.
        future: steps that it forecasts.
        earlier: passages of earlier sites, of `config.length` + `future` steps, for replay.
        tuned: which parameters learn, by name.
        updates: made before.
    """

    def __init__(
        self,
        model: nn.Module,
        config: OnlineLearning,
        future: int,
        earlier: Passages | None = None,
        tuned: Part = lambda name: True,
        updates: int = 0,
    ) -> None:
        _tune(model, tuned)
        self.model, self.config, self.future, self.earlier = model, config, future, earlier
        self.optimisers, self.updates = config.optimisation.optimisers(parameters(model)), updates

    def update(self, known: Sequence[Drive], turned: Frames) -> None:
        """Takes the steps of one update on what was measured so far; single steps teach nothing.

        Args:
            known: drives up to their present step.
            turned: the frame of each scenario.
        """
        drives = tuple(drive for drive in known if len(drive) > 1)
        if not drives:
            return
        config = self.config
        passages = Passages(drives, config.length + self.future, config.augmentation, turned=turned)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.optimisation.seed * 1_000_003 + self.updates)  # of dropout
            learn(self.model, passages, self.earlier, config, self.updates, self.optimisers)
        self.updates += 1


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
        yield slice(begin, end), [*passed, windows.drives[number].first_steps(present)]
        begin = end


def learn(
    model: nn.Module,
    site: Passages,
    earlier: Passages | None,
    config: SiteLearning,
    update: int = 0,
    optimisers: Sequence[torch.optim.Optimizer] | None = None,
    about: str = "",
    world: World = ALONE,
) -> None:
    """Takes gradient steps on passages of a site, and of earlier ones where there are any.

    Args:
        update: its number, of which the passages are drawn.
        optimisers: of the update before.
    """
    old, plan = round(config.batch * config.replay) if earlier else 0, config.optimisation

    def loss(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([plan.seed, update, number])
        batch = tensors(site.draw(config.batch - old, rng))
        if earlier and old:
            more = tensors(earlier.draw(old, rng))
            batch = {name: torch.cat([values, more[name]]) for name, values in batch.items()}
        draw = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        heard = config.task.hide({name: values[:, : config.length] for name, values in batch.items()}, draw)
        mine, full = ({name: world.share(values) for name, values in one.items()} for one in (heard, batch))
        return over_all(config.task.terms(model, mine, full), world)

    run(model, loss, plan, about=about, world=world, optimisers=optimisers)


def _tune(model: nn.Module, part: Part) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part(name))


def _with_lora(model: nn.Module, rank: int) -> nn.Module:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError("LoRA needs peft: pip install 'uniair[llm]', or adapt --part head") from error
    wrapped: nn.Module = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=PROJECTIONS))
    return wrapped
