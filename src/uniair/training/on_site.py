"""Adaptation of a forecaster to one site in minutes, from its first drives, on a frozen base (paper 3, Section IV).

The labels are the powers that were measured there. `uniair.training.online` is for what comes after: it goes on
learning while the forecaster is used.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from uniair.data.drives.windows import Augmentation, Passages
from uniair.errors import InputError
from uniair.models.forecast import WMLM
from uniair.tasks.beam_forecast import Forecasting
from uniair.training.online import OnlineLearning, learn

PARTS = {
    "head": "what reads the answers off the last block",
    "lora": "low-rank changes of the attention's projections",
    "all": "everything, for comparison",
}
HEADS = ("norm.", "around.", "by_beam.", "los.")
PROJECTIONS = r"blocks\.\d+\.(qkv|out)"


@dataclass(frozen=True)
class OnSite:
    """How a forecaster is adapted.

    Attributes:
        part: what learns, one of `PARTS`.
        rank: of LoRA.
        steps: gradient steps.
        rate: learning rate of AdamW; a tenth of it where everything learns.
        batch, length: passages of a step, and their steps that are heard.
        replay: share of a batch that comes from earlier sites, so that they are not forgotten.
        task, augmentation: as in training.
        seed: of LoRA's weights and of the passages.
    """

    part: str = "lora"
    rank: int = 8
    steps: int = 200
    rate: float = 2e-3
    batch: int = 32
    length: int = 8
    replay: float = 0.5
    task: Forecasting = field(default_factory=lambda: Forecasting(hidden=0.0, lost=0.0))
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise InputError(f"no part {self.part!r} to adapt; choose one of {', '.join(PARTS)}")
        if self.rank < 1 or self.steps < 1 or not 0 <= self.replay < 1:
            raise InputError(
                f"rank {self.rank}, {self.steps} steps, replay {self.replay}: give at least 1, at least 1, and a share "
                "below 1"
            )


def adapt_on_site(
    model: WMLM, site: Passages, config: OnSite = OnSite(), earlier: Passages | None = None
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
        torch.manual_seed(config.seed)
        adapted: Any = copy.deepcopy(model)
        adapted = _with_lora(adapted, config.rank) if config.part == "lora" else _tuned(adapted, config.part)
        parameters = [p for p in adapted.parameters() if p.requires_grad]
        rate = config.rate / 10 if config.part == "all" else config.rate
        optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
        plan = OnlineLearning(
            updates=config.steps, rate=rate, batch=config.batch, length=config.length, replay=config.replay,
            task=config.task, seed=config.seed,
        )  # fmt: skip
        learn(adapted, optimiser, site, earlier, plan, 0)
    if config.part == "lora":
        adapted = adapted.merge_and_unload()
    adapted.requires_grad_(True)
    return adapted.eval(), sum(p.numel() for p in parameters)


def _tuned(model: nn.Module, part: str) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part == "all" or name.startswith(HEADS))
    return model


def _with_lora(model: nn.Module, rank: int) -> nn.Module:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError("LoRA needs peft: pip install 'uniair[llm]', or adapt --part head") from error
    wrapped: nn.Module = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=PROJECTIONS))
    return wrapped
