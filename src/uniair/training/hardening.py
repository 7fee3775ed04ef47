"""Adversarial fine-tuning: the channel tower learns to see through the worst perturbations, and else sees as before.

An attacked channel is drawn to where the weights had the clean one before, after Schlarmann et al., "Robust CLIP:
unsupervised adversarial fine-tuning of vision embeddings for robust large vision-language models", ICML 2024. That asks
for no label, map or question. The environment's tower, the blocks that both towers share and CRNN stay to the bit; all
answers gain at once.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uniair.attack import attacked
from uniair.data.links.links import Links
from uniair.data.links.loader import AreaBatches
from uniair.data.links.store import Stores
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.training.checkpoint import digest, save_model
from uniair.training.distributed import ALONE, World
from uniair.training.loop import Optimisation, run

TUNED = ("cfenn.", "project_channel.")  # what it shares with the environment's tower is named elsewhere


@dataclass(frozen=True)
class Hardening:
    """What is learned against.

    Attributes:
        weakest, strongest: dB of the perturbation over the channel's power, drawn evenly between them for each channel.
        ascent: steps of gradient ascent a channel is attacked with; each costs as much as the step of training itself.
        clean: weight of the clean channels' staying where they were, against 1 of the attacked ones'.
        steps: of training.
        learning_rate: peak of AdamW's, under a cosine.
        areas, links_per_area: of a batch.
        seed: of batches and attacks.
    """

    weakest: float = -40.0
    strongest: float = -25.0
    ascent: int = 2
    clean: float = 1.0
    steps: int = 300
    learning_rate: float = 1e-3
    areas: int = 6
    links_per_area: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weakest) and math.isfinite(self.strongest) and self.weakest <= self.strongest):
            raise InputError(f"hardening against {self.weakest} to {self.strongest} dB: give two finite powers, the "
                             "weakest first")  # fmt: skip
        for name in ("ascent", "steps", "areas", "links_per_area"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: give at least 1")
        if not self.clean >= 0 or not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"clean {self.clean}, learning_rate {self.learning_rate}: give a weight of at least 0 and a rate above"
            )

    def optimisation(self) -> Optimisation:
        """The matrices too by AdamW, without decay: the weights are good already."""
        return Optimisation(
            self.steps, learning_rate=self.learning_rate, matrix_rate=0.0, warmup=0.05, weight_decay=0.0,
            save_every=100, log_every=25, seed=self.seed,
        )  # fmt: skip


def harden(
    model: UniversalModel, data: Sequence[Links], plan: Hardening, out: Path | None = None, world: World = ALONE
) -> UniversalModel:
    """A copy whose channel tower has learned; with `out`, it is saved there, and a run that was killed goes on.

    Args:
        data: one `Links` an area, of training places; weights for any radio see each batch by another one.

    Raises:
        InputError: fewer areas than a batch has, links of another radio than weights for one, or see `run`.
    """
    any_radio = model.preset.radios == "any"
    batches = AreaBatches(data, plan.areas, plan.links_per_area, radios=any_radio)
    before, hardened = model.eval(), copy.deepcopy(model).to(world.device)
    before = before.to(world.device)
    for name, parameter in hardened.named_parameters():
        parameter.requires_grad_(name.startswith(TUNED))

    def loss(number: int) -> dict[str, Tensor | float]:
        rng = np.random.default_rng([plan.seed, number, world.rank])
        batch = batches(rng)
        if not any_radio and (odd := batch.radio.differs(replace(model.radio, calibrated=batch.radio.calibrated))):
            raise InputError(f"hardening: links of another radio than the weights': {', '.join(odd)}; trace them alike")
        power = torch.from_numpy(rng.uniform(plan.weakest, plan.strongest, len(batch)))
        draw = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        terms = moved(before, hardened, batch.to(world.device), power.to(world.device), plan.ascent, draw)
        return {**terms, "total": terms["attacked"] + plan.clean * terms["clean"], "samples_per_s": len(batch)}

    settings = {"hardening": asdict(plan), "start": digest(model), "areas": len(data), "processes": world.size,
                "data": data.recipes if isinstance(data, Stores) else None}  # fmt: skip
    run(hardened, loss, plan.optimisation(), about="hardening", world=world, out=out, settings=settings)
    hardened.requires_grad_(True)
    if out is not None:
        save_model(hardened, out)
    return hardened


def moved(
    before: UniversalModel, now: UniversalModel, batch: Batch, power_db: Tensor, ascent: int, draw: torch.Generator
) -> dict[str, Tensor]:
    """How far attacked and clean channels lie from where the weights had the clean ones before: 1 − cosine, means.

    Args:
        power_db: [N] of the attack on each.
        ascent: its steps.
    """

    def see(model: UniversalModel, csi: Tensor) -> Tensor:
        return model.channel_embedding(model.see(csi, batch.radio, carrier=batch.environment.carrier))

    with torch.no_grad():
        was = see(before, batch.csi)

    def away(csi: Tensor) -> Tensor:
        return 1 - (see(now, csi) * was).sum(-1)

    worst = attacked(away, batch.csi, power_db, ascent, draw)
    return {"attacked": away(worst).mean(), "clean": away(batch.csi).mean()}
