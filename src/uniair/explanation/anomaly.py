"""Whether something is wrong with a channel or with its map, by what the models give already.

Two signals of `doubt` are enough: how well a channel is restored from its code, which suffers where it is not one that
a place could give, and how well it fits its place. Without labels each is measured in spreads of channels that were as
they should be, and the odder one counts; with a few a logistic regression weighs them, and the code too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.explanation import doubt
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

FEWEST = 8  # channels that can say what is usual


@dataclass(frozen=True)
class Seen:
    """Of N channels and their places.

    Attributes:
        restored: float64 [N] dB of error that is left when a channel is restored from its code.
        fit: float64 [N] cosine between channel and place, of LOS and NLOS the better one.
        code: float32 [N, E] of the channel.
    """

    restored: NDArray[np.float64]
    fit: NDArray[np.float64]
    code: NDArray[np.float32]

    @classmethod
    def of(cls, model: UniversalModel, csi: Any, env: Environment, radio: Radio | None = None) -> Seen:
        """What the model sees.

        Raises:
            InputError: see `UniversalModel.encode_channel` and `Environment.tensors`.
        """
        code = model.encode_channel(csi, radio)
        found = doubt.signals(model, csi, env, torch.zeros(len(code)), radio, code=code)
        return cls(found.restored.numpy(), found.fit.numpy(), code.numpy())

    @property
    def signals(self) -> NDArray[np.float64]:
        """[N, 2], higher where something is odd."""
        return np.column_stack([self.restored, -self.fit])


@dataclass(frozen=True)
class Usual:
    """What is usual, by channels of other places that were as they should be.

    Attributes:
        middle, spread: of both signals, [2].
        code_middle, code_spread: of the code, [E].
    """

    middle: NDArray[np.float64]
    spread: NDArray[np.float64]
    code_middle: NDArray[np.float32]
    code_spread: NDArray[np.float32]

    @classmethod
    def fitted(cls, seen: Seen) -> Usual:
        """Of channels that are as they should be.

        Raises:
            InputError: fewer than `FEWEST`.
        """
        if len(seen.fit) < FEWEST:
            raise InputError(f"{len(seen.fit)} channels do not say what is usual; give {FEWEST} at least")
        signals, code = seen.signals, seen.code
        return cls(signals.mean(0), np.maximum(signals.std(0), 1e-6), code.mean(0), np.maximum(code.std(0), 1e-6))

    def scaled(self, seen: Seen) -> NDArray[np.float64]:
        """Both signals in spreads of what is usual, [N, 2]."""
        return (seen.signals - self.middle) / self.spread

    def score(self, seen: Seen) -> NDArray[np.float64]:
        """How odd each channel is, [N]: as its odder signal, in spreads of what is usual."""
        return np.asarray(self.scaled(seen).max(1))

    def features(self, seen: Seen) -> NDArray[np.float64]:
        """What `Trained` reads, [N, 2 + E]: both signals, and the code with as much weight as one of them in all."""
        code = (seen.code - self.code_middle) / self.code_spread / np.sqrt(seen.code.shape[1])
        return np.concatenate([self.scaled(seen), code], axis=1)


@dataclass(frozen=True)
class Trained:
    """A light head for one kind of anomaly.

    Attributes:
        usual: what it is measured against.
        weight: [2 + E]; bias: nats.
    """

    usual: Usual
    weight: NDArray[np.float64]
    bias: float

    @classmethod
    def fitted(cls, usual: Usual, normal: Seen, odd: Seen) -> Trained:
        """A logistic regression of a few labelled channels.

        Raises:
            InputError: none of a kind.
        """
        from sklearn.linear_model import LogisticRegression

        if not len(normal.fit) or not len(odd.fit):
            raise InputError("a head for anomalies learns from channels of both kinds; give one of each at least")
        features = np.concatenate([usual.features(normal), usual.features(odd)])
        model = LogisticRegression(C=1.0, max_iter=1000).fit(
            features, np.repeat([0, 1], [len(normal.fit), len(odd.fit)])
        )
        return cls(usual, model.coef_[0], float(model.intercept_[0]))

    def score(self, seen: Seen) -> NDArray[np.float64]:
        """Log-odds of an anomaly, [N]."""
        return np.asarray(self.usual.features(seen) @ self.weight + self.bias)
