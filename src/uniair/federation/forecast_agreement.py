"""One forecaster of many sites: each round LoRA, or another part of it, learns from a site's drives for some steps.

Of LoRA's change B A of a weight only B learns and travels, and A is what every site draws from the same seed
(FFA-LoRA, Sun et al., 2024). What learns is linear in B, so the mean of sites is the mean of their forecasters; of both
factors it would not be, for mean(B) mean(A) is not mean(B A).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uniair.data.drives.drive import Drive
from uniair.data.drives.windows import codebook
from uniair.errors import InputError
from uniair.federation.aggregate import Arrays
from uniair.federation.agreement import Agreement, Federation, filled_in
from uniair.federation.privacy import Account, Noise
from uniair.files import write_text
from uniair.models.forecast import WMLM
from uniair.tasks.beam_forecast import figures, forecasts
from uniair.training.checkpoint import digest, save_model
from uniair.training.forecast_adaptation import STEADY, OnSite, closed, learn, opened
from uniair.training.forecast_split import Setting, sensing, settings
from uniair.training.loop import parameters

CARD = "federated.json"
FROZEN = ".lora_A."  # the factor by peft's name for it, which is drawn at random where the other begins at 0


@dataclass(frozen=True)
class ForecastAgreement(Agreement):
    """About a forecaster of beams, which every site has; LoRA's one factor, its heads or all of it learn."""

    counted = "steps"

    @classmethod
    def of(cls, model: WMLM, federation: Federation, name: str) -> tuple[ForecastAgreement, Arrays]:
        """An agreement on a forecaster, and the parameters that it begins from.

        Args:
            name: of the model, in words.

        Raises:
            InputError: LoRA is wanted and peft is missing.
        """
        agreement = cls(federation, digest(model), name)
        return agreement, [value.numpy().copy() for _, value in learned(agreement.opened(model))]

    @property
    def config(self) -> OnSite:
        """How a site learns."""
        plan = self.federation
        return OnSite(
            part=plan.part, rank=plan.rank, batch=plan.batch, replay=0.0,
            optimisation=replace(STEADY, steps=plan.steps, learning_rate=plan.peak, seed=plan.seed),
        )  # fmt: skip

    @property
    def headline(self) -> str:
        """Top-1 of the beam, mean over the steps ahead."""
        return "top1"

    def opened(self, model: WMLM) -> nn.Module:
        """A copy of the forecaster of which a part learns, as all begin from.

        Raises:
            InputError: LoRA is wanted and peft is missing.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.federation.seed)
            made = opened(model, self.config)
        for name, value in made.named_parameters():
            if FROZEN in name:
                value.requires_grad_(False)
        return made

    def model(self, arrays: Sequence[NDArray[np.float32]], model: WMLM) -> nn.Module:
        """A copy of the forecaster with such parameters in what learns.

        Raises:
            InputError: they are of another forecaster, or not finite.
        """
        filled = self.opened(model)
        filled_in(learned(filled), arrays, "forecaster")
        return filled

    def check(self, arrays: Sequence[NDArray[np.float32]], model: Any) -> None:
        """See `Agreement.check`."""
        self.model(arrays, model)

    def examples(self, own: Any) -> int:
        """Steps of the drives that a site learns from; see `Agreement.examples`."""
        return sum(len(drive) for drive in parts_of(own).train)

    def site(self, name: str, model: Any, own: Any, account: Account | None, seeded: bool) -> ForecastSite:
        """See `Agreement.site`; nothing is private here.

        Raises:
            InputError: drives of another codebook than the forecaster's.
        """
        if (beams := codebook(own)) != model.preset.beams:
            raise InputError(f"its drives have {beams} beams, the forecaster {model.preset.beams}; train one for them")
        return ForecastSite(name, self, model, own)

    def kept_at(self, out: Path) -> Path:
        """See `Agreement.kept_at`."""
        return out / f"federated-forecast-{self.federation.part}-{self.federation.seed}"

    def keep(self, out: Path, arrays: Sequence[Any], model: Any, about: Mapping[str, Any]) -> Path:
        """Writes the forecaster as `uniair forecast adapt` does, with a card; see `Agreement.keep`."""
        folder = self.kept_at(out)
        write_text(folder / CARD, json.dumps(dict(about), indent=1) + "\n")
        save_model(closed(self.model(arrays, model), self.config), folder)
        return folder

    @classmethod
    def of_json(cls, federation: Federation, found: Mapping[str, Any]) -> ForecastAgreement:
        """See `Agreement.of_json`."""
        return cls(federation, found["weights"], found["begun"])


@dataclass
class ForecastSite:
    """Learns from the drives of one site.

    Attributes:
        name: of the site.
        agreement: what is learned and how.
        base: the forecaster that all begin from.
        drives: its own, of which every fifth is held out, as `uniair forecast adapt` does.
    """

    name: str
    agreement: ForecastAgreement
    base: WMLM
    drives: Sequence[Drive]
    noise: Noise | None = None
    epsilon: float | None = None

    @cached_property
    def parts(self) -> Setting:
        """What is learned from, and what is held out."""
        return parts_of(self.drives, self.base)

    @property
    def examples(self) -> int:
        """Steps that it learns from."""
        return sum(len(drive) for drive in self.parts.train)

    def learn(self, arrays: Sequence[NDArray[np.float32]], number: int) -> Arrays:
        """Parameters after a round that began with the given ones."""
        agreement, config = self.agreement, self.agreement.config
        model = agreement.model(arrays, self.base)
        rate = agreement.federation.rate(number)
        plan = replace(config.optimisation, learning_rate=rate, seed=agreement.seed(self.name, number) % (1 << 31))
        passages = self.parts.passages(config.length, config.augmentation)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)  # of dropout
            learn(model, passages, None, replace(config, optimisation=plan), number)
        return [value.numpy().copy() for _, value in learned(model)]

    def figures(self, arrays: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """Top-1 of the held-out drives, of each step ahead and their mean."""
        return self.measured(self.agreement.model(arrays, self.base))

    def measured(self, model: nn.Module) -> dict[str, float]:
        """The same of any forecaster, which is left in eval mode."""
        model, past = model.eval(), self.base.preset.past
        found: list[list[float]] = []
        for _, steps in self.parts.parts.get("held out", {}).values():
            with torch.inference_mode():
                found.append([each["top1"] for each in figures(forecasts(model, steps, past), steps, past).values()])
        top = np.mean(found, axis=0)
        return {"top1": float(top.mean())} | {f"top1 of step {k + 1}": float(one) for k, one in enumerate(top)}


def parts_of(drives: Any, model: WMLM | None = None) -> Setting:
    """A site's drives, divided.

    Raises:
        InputError: these are no drives, or too few of them to learn from and to hold out.
    """
    if not isinstance(drives, Sequence) or not drives:
        raise InputError("a forecaster is learned from drives, this site has links; give a folder of drives")
    parts = settings(drives)[0] if model is None else settings(drives, sensing(model.preset), model.preset.ahead)[0]
    if not parts.train or not parts.test or not len(parts.cut(parts.test)):
        raise InputError(f"{len(parts.train)} of {len(drives)} drives to learn from and {len(parts.test)} held out, of "
                         "which none is long enough; give at least five")  # fmt: skip
    return parts


def learned(model: nn.Module) -> list[tuple[str, Tensor]]:
    """What of an opened forecaster is trained and travels, in order."""
    return [(name, value.detach()) for name, value in parameters(model).items()]
