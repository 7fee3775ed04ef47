"""What the sites of a federation agree on before anything is learned, and the head that they begin from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from uniair.data.links.loader import batch_of
from uniair.data.links.store import SAMPLE, Store
from uniair.errors import InputError
from uniair.federation.aggregate import AGGREGATES
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Task
from uniair.training.checkpoint import digest
from uniair.training.heads import Adaptation, SavedHead, embed

FORMAT = "uniair-federation/1"
SAMPLED = 8  # areas of the packaged sample, 757 links
SCALINGS = ("shift", "spread", "offset", "unit")  # a head's buffers


@dataclass(frozen=True)
class Federation:
    """How a head is learned together.

    Attributes:
        task: of the head, one of `TASKS`.
        inputs: `channel` or `environment`; the task's first where None.
        rounds: times that all sites learn and are aggregated.
        steps: minibatches that a site learns from in a round.
        batch: links of a minibatch.
        learning_rate: peak, of the first round; it falls to 0 as a cosine over the rounds.
        aggregate: `mean` (FedAvg), `median`, `trimmed` (mean), `krum` or `multi-krum`.
        poisoned: sites that the last four are to withstand.
        sites: fewest of a round.
        epsilon: of each site's differential privacy over all rounds; None: not private.
        delta: of it, below 1 over the links of every site.
        clip: largest gradient norm of a link where learning is private.
        seed: of the head's weights, and of batches where learning is not private.
    """

    task: str = "beam"
    inputs: str | None = None
    rounds: int = 30
    steps: int = 10
    batch: int = 64
    learning_rate: float = 0.05
    aggregate: str = "mean"
    poisoned: int = 1
    sites: int = 2
    epsilon: float | None = None
    delta: float = 1e-5
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        Adaptation(self.task, self.inputs)
        for name in ("rounds", "steps", "batch", "sites"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: give at least 1")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} {getattr(self, name)}: give a number above 0")
        if self.poisoned < 0:
            raise InputError(f"poisoned {self.poisoned}: give 0 or more")
        if self.aggregate not in AGGREGATES:
            raise InputError(f"aggregate {self.aggregate!r}: choose {', '.join(AGGREGATES)}")
        needed = AGGREGATES[self.aggregate].fewest(self.poisoned)
        if self.sites < needed:
            raise InputError(f"{self.aggregate} withstands {self.poisoned} poisoned sites among {needed} at least, not "
                             f"among {self.sites}; raise sites, or lower poisoned")  # fmt: skip
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise InputError(f"epsilon {self.epsilon}: give a number above 0, such as 8")
        if not 0 < self.delta < 1:
            raise InputError(f"delta {self.delta}: give a number between 0 and 1, below 1 over the links of a site")

    @property
    def adaptation(self) -> Adaptation:
        """The same, as a head's file says it."""
        return Adaptation(self.task, self.inputs, seed=self.seed)

    def rate(self, number: int) -> float:
        """Learning rate of a round, from 1."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (number - 1) / self.rounds))


@dataclass(frozen=True)
class Agreement:
    """What travels to every site once, as JSON; one whose own model or radio differs does not take part.

    Attributes:
        federation: how it is learned.
        weights: digest of the frozen model that embeds.
        preset: its name.
        widths: of the head.
        radio: of every site's links.
        scalings: the head's buffers, which nothing learns.
        begun: what the head began from, in words.
    """

    federation: Federation
    weights: str
    preset: str
    widths: tuple[int, ...]
    radio: Radio
    scalings: Mapping[str, list[float]]
    begun: str

    @classmethod
    def of(
        cls, model: UniversalModel, federation: Federation, radio: Radio, start: SavedHead | None = None,
        name: str = "",
    ) -> tuple[Agreement, Head]:  # fmt: skip
        """An agreement on a model, and the head that it begins from.

        Without one to start from, embeddings and targets are scaled as those of the packaged sample are: every site
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
        return cls(federation, digest(model), model.preset.name, head.widths, radio, scalings, begun), head

    @property
    def task(self) -> Task:
        """What is learned, on the sites' radio."""
        return TASKS[self.federation.task].on(self.radio)

    @property
    def private(self) -> bool:
        """Whether learning is."""
        return self.federation.epsilon is not None

    def head(self) -> Head:
        """A head of this shape and scalings; its weights are to be filled."""
        head = Head(self.widths)
        for name, values in self.scalings.items():
            getattr(head, name).copy_(torch.tensor(values))
        return head

    def refusal(self, weights: str, radio: Radio, links: int) -> str:
        """Why a site can't take part, with what to do; empty where it can.

        Args:
            weights: digest of the site's model.
            radio: of its links.
            links: that it learns from.
        """
        if weights != self.weights:
            return (f"its model has the digest {weights}, the federation's {self.weights} (preset {self.preset}); "
                    "give the same --model at both")  # fmt: skip
        if odd := self.radio.differs(radio):
            return (f"its links are of {radio}, the federation's of {self.radio} ({', '.join(odd)}); "
                    "give the server that --radio")  # fmt: skip
        delta = self.federation.delta
        if self.private and delta >= 1 / links:
            return f"delta {delta:g} is not below 1/{links}, one over the links that it learns from; lower --delta"
        return ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; what `from_json` reads."""
        return {
            "format": FORMAT, "federation": asdict(self.federation), "weights": self.weights, "preset": self.preset,
            "widths": list(self.widths), "radio": self.radio.to_json(),
            "scalings": {name: list(values) for name, values in self.scalings.items()}, "begun": self.begun,
        }  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Agreement:
        """What another process wrote.

        Raises:
            InputError: no agreement, or one of another version.
        """
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise InputError(
                    f"the server speaks {found['format']}, this site {FORMAT}; install one version at both"
                )
            known = {f.name for f in fields(Federation)}
            if unknown := sorted(found["federation"].keys() - known):
                raise InputError(f"the server asks for {', '.join(unknown)}; install one version of uniair at both")
            return cls(
                Federation(**found["federation"]), found["weights"], found["preset"], tuple(found["widths"]),
                Radio.from_json(found["radio"], "the server's radio"), found["scalings"], found["begun"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"what the server sent is no agreement of a federation ({error})") from error


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
