"""One head of many sites: links are embedded once, and each round the head learns from them for some steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import SAMPLE, Store
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.federation.aggregate import Arrays
from uniair.federation.agreement import Agreement, Federation, filled_in
from uniair.federation.privacy import Account, Noise, learn_privately, noise_for, sampling_rate
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Task
from uniair.training.checkpoint import digest
from uniair.training.heads import SavedHead, divide, embed, measure, save_head

MOMENTUM = 0.9
SAMPLED = 8  # areas of the packaged sample, 757 links
SCALINGS = ("shift", "spread", "offset", "unit")  # a head's buffers


@dataclass(frozen=True)
class HeadAgreement(Agreement):
    """About a head; a site whose radio differs does not take part either.

    Attributes:
        preset: name of the frozen model that embeds.
        widths: of the head.
        radio: of every site's links.
        scalings: the head's buffers, which nothing learns.
    """

    preset: str
    widths: tuple[int, ...]
    radio: Radio
    scalings: Mapping[str, list[float]]

    @classmethod
    def of(
        cls, model: UniversalModel, federation: Federation, radio: Radio, start: SavedHead | None = None,
        name: str = "",
    ) -> tuple[HeadAgreement, Arrays]:  # fmt: skip
        """An agreement on a model, and the parameters that it begins from.

        Without a head to start from, embeddings and targets are scaled as those of the packaged sample are: every site
        has it, so that nothing has to be told about any site's own.

        Args:
            radio: of the sites.
            start: a head to begin from, and `name` the file that it is of.

        Raises:
            InputError: that head reads other inputs, or learned on another radio.
        """
        task, reads = TASKS[federation.task].on(radio), federation.adaptation.reads
        if start is not None:
            if start.inputs != reads:
                raise InputError(f"{name}: a head that reads the {start.inputs}, not the {reads}; give --inputs")
            if start.radio != radio:
                odd = ", ".join(start.radio.differs(radio))
                raise InputError(f"{name}: learned on {start.radio}, the sites have {radio} ({odd}); give --radio")
            head = start.head
        else:
            head = fresh(model, task, reads, radio, federation.seed)
        scalings = {name: getattr(head, name).tolist() for name in SCALINGS}
        begun = name or "random weights, scaled as the packaged sample's embeddings"
        agreement = cls(federation, digest(model), begun, model.preset.name, head.widths, radio, scalings)
        return agreement, [value.numpy().copy() for _, value in parameters(head)]

    @property
    def task(self) -> Task:
        """What is learned, on the sites' radio."""
        return TASKS[self.federation.task].on(self.radio)

    @property
    def headline(self) -> str:
        """The figure that a round is told by."""
        return self.task.headline

    def head(self, arrays: Sequence[NDArray[np.float32]]) -> Head:
        """The head agreed on, with such parameters.

        Raises:
            InputError: they are of another head, or not finite.
        """
        head = Head(self.widths)
        for name, values in self.scalings.items():
            getattr(head, name).copy_(torch.tensor(values))
        filled_in(parameters(head), arrays, "head")
        return head

    def check(self, arrays: Sequence[NDArray[np.float32]], model: Any) -> None:
        """See `Agreement.check`."""
        self.head(arrays)

    def examples(self, own: Any) -> int:
        """See `Agreement.examples`."""
        if not isinstance(own, Links):
            raise InputError("a head is learned from links, this site has drives; give a links folder")
        return len(divide(own, self.federation.adaptation)[0])

    def refusal(self, weights: str, own: Any) -> str:
        """See `Agreement.refusal`."""
        links = self.examples(own)
        if why := super().refusal(weights, own):
            return why
        if odd := self.radio.differs(radio := own.one_radio()):
            return (f"its links are of {radio}, the federation's of {self.radio} ({', '.join(odd)}); "
                    "give the server that --radio")  # fmt: skip
        delta = self.federation.delta
        if self.private and delta >= 1 / links:
            return f"delta {delta:g} is not below 1/{links}, one over the links that it learns from; lower --delta"
        return ""

    def site(
        self, name: str, model: Any, own: Any, account: Account | None, seeded: bool, data: SiteData | None = None
    ) -> HeadSite:
        """See `Agreement.site`.

        Args:
            data: of the links, where they are embedded already.
        """
        return HeadSite(name, self, data or SiteData.of(model, own, self), account, seeded)

    @property
    def more(self) -> str:
        """See `Agreement.more`."""
        return f", {self.radio}"

    def kept_at(self, out: Path) -> Path:
        """See `Agreement.kept_at`."""
        adaptation = self.federation.adaptation
        return out / f"federated-{adaptation.task}-{adaptation.reads}-{adaptation.seed}.safetensors"

    def keep(self, out: Path, arrays: Sequence[Any], model: Any, about: Mapping[str, Any]) -> Path:
        """Writes the head as `uniair adapt` does; see `Agreement.keep`."""
        path, adaptation = self.kept_at(out), self.federation.adaptation
        save_head(path, self.head(arrays).eval(), adaptation, model, self.radio, {"federated": dict(about)})
        return path

    def to_json(self) -> dict[str, Any]:
        """See `Agreement.to_json`."""
        return super().to_json() | {
            "preset": self.preset, "widths": list(self.widths), "radio": self.radio.to_json(),
            "scalings": {name: list(values) for name, values in self.scalings.items()},
        }  # fmt: skip

    @classmethod
    def of_json(cls, federation: Federation, found: Mapping[str, Any]) -> HeadAgreement:
        """See `Agreement.of_json`."""
        return cls(
            federation, found["weights"], found["begun"], found["preset"], tuple(found["widths"]),
            Radio.from_json(found["radio"], "the server's radio"), found["scalings"],
        )  # fmt: skip


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
    def of(cls, model: UniversalModel, links: Links, agreement: HeadAgreement) -> SiteData:
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
class HeadSite:
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
    agreement: HeadAgreement
    data: SiteData
    account: Account | None = None
    seeded: bool = False

    @property
    def examples(self) -> int:
        """Links that it learns from."""
        return len(self.data.z)

    @property
    def noise(self) -> Noise | None:
        """Of private learning, for all rounds."""
        plan = self.agreement.federation
        if plan.epsilon is None:
            return None
        return noise_for(plan.epsilon, plan.delta, sampling_rate(self.examples, plan.batch), plan.rounds * plan.steps)

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
        head = agreement.head(arrays)
        # in the target's own units the loss would be of any size
        scale = float(head.unit.square().mean()) if agreement.task.regression else 1.0
        optimiser = torch.optim.SGD(head.parameters(), lr=plan.rate(number), momentum=MOMENTUM)

        def loss(out: Tensor, target: Tensor) -> Tensor:
            return agreement.task.loss(out, target) / scale

        head.train()
        seed = agreement.seed(self.name, number)
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
            size, shuffled = min(plan.batch, self.examples), torch.randperm(0)
            order = torch.Generator().manual_seed(seed)
            for _ in range(plan.steps):
                if len(shuffled) < size:
                    shuffled = torch.cat([shuffled, torch.randperm(self.examples, generator=order)])
                drawn, shuffled = shuffled[:size], shuffled[size:]
                optimiser.zero_grad()
                torch.autograd.backward(loss(head(data.z[drawn]), data.target[drawn]))
                optimiser.step()
        return [value.numpy() for _, value in parameters(head)]

    def figures(self, arrays: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """Of the links held out, by a head with such parameters."""
        return measure(self.agreement.task, self.agreement.head(arrays).eval(), self.data.held_z, self.data.held)


def fresh(model: UniversalModel, task: Task, reads: str, radio: Radio, seed: int) -> Head:
    """A head that has learned nothing, scaled by what the radio would see of the packaged sample."""
    # only scalings come of it, so paths at the sample's carrier do for any
    seen = [batch_of(part, replace(radio, carrier=part.one_radio().carrier)) for part in Store(SAMPLE).first(SAMPLED)]
    z, target = [embed(model, batch, reads) for batch in seen], [task.target(batch) for batch in seen]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head((z[0].shape[1], *task.widths[1:]))
    head.standardise(torch.cat(z), torch.cat(target) if task.regression else None)
    return head


def parameters(head: Head) -> list[tuple[str, Tensor]]:
    """What of a head is trained and travels, in order."""
    return [(name, value.detach()) for name, value in head.named_parameters()]
