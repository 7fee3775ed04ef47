"""What the sites of a federation agree on before anything is learned."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.errors import InputError
from uniair.federation.aggregate import AGGREGATES, Arrays
from uniair.federation.privacy import Account, Noise
from uniair.training.forecast_adaptation import STEADY, OnSite
from uniair.training.heads import Adaptation

FORMAT = "uniair-federation/1"
FORECAST = "forecast"
OF_HEADS = 0.05  # learning rate


@dataclass(frozen=True)
class Federation:
    """How a head, or a forecaster, is learned together.

    Attributes:
        task: of the head, one of `TASKS`; or `forecast`, of a forecaster of beams.
        inputs: of a head: `channel` or `environment`; the task's first where None.
        part: of a forecaster: what of it learns, one of `PARTS`.
        rank: of LoRA, where that learns.
        rounds: times that all sites learn and are aggregated.
        steps: minibatches that a site learns from in a round.
        batch: links, or passages of drives, of a minibatch.
        learning_rate: peak, of the first round; it falls to 0 as a cosine over the rounds. None: 0.05 of a head, and of
            a forecaster what adapts it to one site.
        aggregate: `mean` (FedAvg), `median`, `trimmed` (mean), `krum` or `multi-krum`.
        poisoned: sites that the last four are to withstand.
        sites: fewest of a round.
        epsilon: of each site's differential privacy over all rounds, of heads; None: not private.
        delta: of it, below 1 over the links of every site.
        clip: largest gradient norm of a link where learning is private.
        seed: of the head's weights, and of batches where learning is not private.
    """

    task: str = "beam"
    inputs: str | None = None
    part: str = "lora"
    rank: int = 8
    rounds: int = 30
    steps: int = 10
    batch: int = 64
    learning_rate: float | None = None
    aggregate: str = "mean"
    poisoned: int = 1
    sites: int = 2
    epsilon: float | None = None
    delta: float = 1e-5
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task == FORECAST:
            OnSite(part=self.part, rank=self.rank)
            if self.inputs is not None or self.epsilon is not None:
                given = "inputs" if self.inputs is not None else "epsilon"
                raise InputError(f"{given}: heads have it, a forecaster reads its own drives; leave it out")
        else:
            Adaptation(self.task, self.inputs)
        for name in ("rounds", "steps", "batch", "sites"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: give at least 1")
        for name, value in (("learning_rate", self.peak), ("clip", self.clip)):
            if not 0 < value < math.inf:
                raise InputError(f"{name} {value}: give a number above 0")
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

    @property
    def peak(self) -> float:
        """Learning rate of the first round."""
        if self.learning_rate is not None:
            return self.learning_rate
        return OF_HEADS if self.task != FORECAST else STEADY.learning_rate / (10 if self.part == "all" else 1)

    def rate(self, number: int) -> float:
        """Learning rate of a round, from 1."""
        return self.peak * 0.5 * (1 + math.cos(math.pi * (number - 1) / self.rounds))


class Site(Protocol):
    """What learns at a site; nothing of its data leaves it."""

    @property
    def examples(self) -> int:
        """That it learns from, by which a mean weighs it."""

    @property
    def noise(self) -> Noise | None:
        """Of private learning, for all rounds."""

    @property
    def epsilon(self) -> float | None:
        """What was spent so far."""

    def learn(self, arrays: Sequence[NDArray[np.float32]], number: int) -> Arrays:
        """Parameters after a round that began with the given ones.

        Raises:
            InputError: it can't be learned so.
        """

    def figures(self, arrays: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """Of what the site held out, with such parameters."""


@dataclass(frozen=True)
class Agreement(ABC):
    """What travels to every site once, as JSON; one whose own model differs does not take part.

    Attributes:
        federation: how it is learned.
        weights: digest of the model that every site has.
        begun: what is begun from, in words.
    """

    federation: Federation
    weights: str
    begun: str

    counted = "links"  # what a site learns from

    @property
    @abstractmethod
    def headline(self) -> str:
        """The figure that a round is told by."""

    @property
    def private(self) -> bool:
        """Whether learning is."""
        return self.federation.epsilon is not None

    @abstractmethod
    def check(self, arrays: Sequence[NDArray[np.float32]], model: Any) -> None:
        """Refuses parameters of something else.

        Raises:
            InputError: they are of other shapes, or not finite.
        """

    @abstractmethod
    def examples(self, own: Any) -> int:
        """That a site learns from.

        Raises:
            InputError: it has nothing to learn from, or to hold out.
        """

    def refusal(self, weights: str, own: Any) -> str:
        """Why a site can't take part, with what to do; empty where it can.

        Args:
            weights: digest of the site's model.
            own: links, or drives.
        """
        if weights != self.weights:
            return (f"its model has the digest {weights}, the federation's {self.weights}; give the same --model at "
                    "both")  # fmt: skip
        return ""

    @abstractmethod
    def site(self, name: str, model: Any, own: Any, account: Account | None, seeded: bool) -> Site:
        """What learns at a site.

        Args:
            own: links, or drives.
            account: of its privacy, where learning is private.
            seeded: noise comes from the seed, so that a simulation can be repeated; it protects nothing then.
        """

    @property
    def more(self) -> str:
        """What else than the model the sites have to have in common, for people."""
        return ""

    @abstractmethod
    def kept_at(self, out: Path) -> Path:
        """Where `keep` writes."""

    @abstractmethod
    def keep(self, out: Path, arrays: Sequence[Any], model: Any, about: Mapping[str, Any]) -> Path:
        """Writes what was learned, as it is without a federation; returns where.

        Args:
            about: for its card: rounds, sites, aggregate, privacy.
        """

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; what `read` reads."""
        return {"format": FORMAT, "federation": asdict(self.federation), "weights": self.weights, "begun": self.begun}

    @classmethod
    @abstractmethod
    def of_json(cls, federation: Federation, found: Mapping[str, Any]) -> Agreement:
        """What `to_json` wrote."""

    def seed(self, site: str, number: int) -> int:
        """Of a site's round."""
        told = f"{self.federation.seed}/{site}/{number}"
        return int.from_bytes(hashlib.sha256(told.encode()).digest()[:7])


def read(text: str, heads: type[Agreement], forecasters: type[Agreement]) -> Agreement:
    """What another process wrote, as one of the two.

    Raises:
        InputError: no agreement, or one of another version.
    """
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise InputError(f"the server speaks {found['format']}, this site {FORMAT}; install one version at both")
        known = {f.name for f in fields(Federation)}
        if unknown := sorted(found["federation"].keys() - known):
            raise InputError(f"the server asks for {', '.join(unknown)}; install one version of uniair at both")
        federation = Federation(**found["federation"])
        return (forecasters if federation.task == FORECAST else heads).of_json(federation, found)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"what the server sent is no agreement of a federation ({error})") from error


def filled_in(named: Sequence[tuple[str, Tensor]], arrays: Sequence[NDArray[np.float32]], what: str) -> None:
    """Fills parameters with those that came.

    Raises:
        InputError: they are of other shapes, or not finite.
    """
    if [tuple(value.shape) for _, value in named] != [np.shape(values) for values in arrays]:
        raise InputError(f"parameters of a {what} of other widths; install one version of uniair at server and sites")
    for (name, value), found in zip(named, arrays, strict=True):
        if not np.isfinite(found).all():
            raise InputError(f"{name} holds NaN or infinite values; lower the learning rate")
        value.copy_(torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32)))
