"""A site's own part: its links are embedded once, and each round a head learns from them for some steps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.federation.aggregate import Arrays
from uniair.federation.agreement import Agreement, parameters
from uniair.federation.privacy import Account, Noise, learn_privately, noise_for, sampling_rate
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.training.heads import divide, embed, measure

MOMENTUM = 0.9


@dataclass(frozen=True)
class SiteData:
    """What a site learns from and measures on; nothing of it leaves the site.

    Attributes:
        z, target: of the links to learn from.
        held_z, held: of the fifth that is held out.
    """

    z: Tensor
    target: Tensor
    held_z: Tensor
    held: Batch

    @classmethod
    def of(cls, model: UniversalModel, links: Links, agreement: Agreement) -> SiteData:
        """Of a site's links, divided as `uniair adapt` divides them.

        Raises:
            InputError: as `divide`, or the head agreed on is of other widths than the task's.
        """
        learn, test = divide(links, agreement.federation.adaptation)
        batch = batch_of(links)
        z = embed(model, batch, agreement.federation.adaptation.reads)
        if (agreement.widths[0], agreement.widths[-1]) != (z.shape[1], agreement.task.outputs):
            raise InputError(f"the head agreed on maps {agreement.widths[0]} numbers to {agreement.widths[-1]}, here "
                             f"{z.shape[1]} to {agreement.task.outputs}; install one version at both")  # fmt: skip
        return cls(z[learn], agreement.task.target(batch)[learn], z[test], batch_of(links.select(test), batch.radio))


@dataclass
class SiteTraining:
    """Learns on one site.

    Attributes:
        name: of the site.
        agreement: what is learned and how.
        data: its own.
        account: of its privacy; of a federation that is private.
        seeded: sampling and noise of private learning come from the seed, so that a simulation can be repeated; they
            protect nothing then.
    """

    name: str
    agreement: Agreement
    data: SiteData
    account: Account | None = None
    seeded: bool = False

    @property
    def links(self) -> int:
        """That it learns from."""
        return len(self.data.z)

    @property
    def noise(self) -> Noise | None:
        """Of private learning, for all rounds."""
        plan = self.agreement.federation
        if plan.epsilon is None:
            return None
        return noise_for(plan.epsilon, plan.delta, sampling_rate(self.links, plan.batch), plan.rounds * plan.steps)

    @property
    def epsilon(self) -> float | None:
        """What was spent so far."""
        return None if self.account is None else self.account.spent(self.agreement.federation.delta)

    def learn(self, arrays: Sequence[NDArray[np.float32]], number: int) -> Arrays:
        """Parameters after a round that began with the given ones.

        Raises:
            InputError: the round would spend more privacy than was agreed on.
        """
        agreement, data, plan = self.agreement, self.data, self.agreement.federation
        head = filled(agreement, arrays)
        # in the target's own units the loss would be of any size
        scale = float(head.unit.square().mean()) if agreement.task.regression else 1.0
        optimiser = torch.optim.SGD(head.parameters(), lr=plan.rate(number), momentum=MOMENTUM)

        def loss(out: Tensor, target: Tensor) -> Tensor:
            return agreement.task.loss(out, target) / scale

        head.train()
        seed = int.from_bytes(hashlib.sha256(f"{plan.seed}/{self.name}/{number}".encode()).digest()[:7])
        if (noise := self.noise) is not None:
            assert self.account is not None
            assert plan.epsilon is not None
            self.account.check(noise, plan.steps, plan.epsilon, plan.delta)
            learn_privately(
                head, data.z, data.target, loss, optimiser, noise=noise, batch=plan.batch, steps=plan.steps,
                clip=plan.clip, account=self.account, seed=seed if self.seeded else None,
            )  # fmt: skip
            self.account.save()
        else:
            size, shuffled = min(plan.batch, self.links), torch.randperm(0)
            order = torch.Generator().manual_seed(seed)
            for _ in range(plan.steps):
                if len(shuffled) < size:
                    shuffled = torch.cat([shuffled, torch.randperm(self.links, generator=order)])
                drawn, shuffled = shuffled[:size], shuffled[size:]
                optimiser.zero_grad()
                torch.autograd.backward(loss(head(data.z[drawn]), data.target[drawn]))
                optimiser.step()
        return [value.numpy() for _, value in parameters(head)]

    def figures(self, arrays: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """Of the links held out, by a head with such parameters."""
        return measure(self.agreement.task, filled(self.agreement, arrays).eval(), self.data.held_z, self.data.held)


def filled(agreement: Agreement, arrays: Sequence[NDArray[np.float32]]) -> Head:
    """The head agreed on, with such parameters.

    Raises:
        InputError: they are of another head, or not finite.
    """
    head = agreement.head()
    named = parameters(head)
    if [tuple(value.shape) for _, value in named] != [np.shape(values) for values in arrays]:
        raise InputError("parameters of a head of other widths; install one version of uniair at server and sites")
    for (name, value), found in zip(named, arrays, strict=True):
        if not np.isfinite(found).all():
            raise InputError(f"{name} holds NaN or infinite values; lower the learning rate")
        value.copy_(torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32)))
    return head
