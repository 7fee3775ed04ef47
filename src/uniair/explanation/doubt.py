"""How likely an answer is wrong, by what can be seen without knowing the right one.

Signals are the answer's own certainty, how well the channel is restored from its code, how well it fits its place, and
how far radio and place lie outside what the weights have learned from. A logistic regression on validation places turns
them into a probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from uniair import metrics
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.learned import Learned
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks import zero_shot

CERTAIN = 20.0  # nats beyond which certainty is certainty


class Signals(NamedTuple):
    """Of N answers, float64 [N] each.

    Attributes:
        certainty: nats: log-odds of the answer that was given.
        restored: dB of error that is left when a channel is restored from its code.
        fit: cosine between a channel and its place, of LOS and NLOS the better one.
        outside: octaves by which carrier, array, band, heights and side together lie outside what was learned.
    """

    certainty: Tensor
    restored: Tensor
    fit: Tensor
    outside: Tensor


@dataclass(frozen=True)
class Doubt:
    """A logistic regression from signals to the probability that an answer is wrong.

    Attributes:
        middle, spread: of each signal on the places that it was fitted on.
        weight: of each signal in units of its spread; nats.
        bias: nats.
    """

    middle: tuple[float, ...]
    spread: tuple[float, ...]
    weight: tuple[float, ...]
    bias: float

    def of(self, signals: Signals) -> Tensor:
        """Probability that each of N answers is wrong: float64 [N]."""
        return torch.sigmoid(self.log_odds(signals))

    def log_odds(self, signals: Signals) -> Tensor:
        """The same as log-odds: float64 [N] nats."""
        columns = torch.stack(list(signals), 1).double()
        scaled = (columns - torch.tensor(self.middle)) / torch.tensor(self.spread)
        return scaled.double() @ torch.tensor(self.weight).double() + self.bias

    @classmethod
    def fitted(cls, signals: Signals, wrong: Tensor) -> Doubt:
        """The regression of answers that were right or wrong, bool [N].

        Raises:
            InputError: none was wrong, or all were.
        """
        from sklearn.linear_model import LogisticRegression

        if wrong.all() or not wrong.any():
            raise InputError(
                f"{len(wrong)} answers, all of them {'wrong' if wrong.any() else 'right'}: nothing to learn; give more"
            )
        columns = torch.stack(list(signals), 1).double().numpy()
        middle, spread = columns.mean(0), np.maximum(columns.std(0), 1e-6)
        model = LogisticRegression(C=1.0).fit((columns - middle) / spread, wrong.numpy())
        weight = model.coef_[0]
        return cls(tuple(middle.tolist()), tuple(spread.tolist()), tuple(weight.tolist()), float(model.intercept_[0]))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, entries: Any, where: str) -> Doubt:
        """What `to_json` wrote.

        Raises:
            InputError: something else.
        """
        try:
            if not isinstance(entries, Mapping) or set(entries) != {field.name for field in fields(cls)}:
                raise ValueError(f"expected {', '.join(field.name for field in fields(cls))}")
            columns = {name: tuple(map(float, entries[name])) for name in ("middle", "spread", "weight")}
            if any(len(column) != len(Signals._fields) for column in columns.values()):
                raise ValueError(f"expected {len(Signals._fields)} signals")
            return cls(**columns, bias=float(entries["bias"]))
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: not what doubt was fitted to ({error})") from error


def signals(
    model: UniversalModel, csi: Any, env: Environment, certainty: Tensor, radio: Radio | None = None,
    fit: Tensor | None = None, code: Tensor | None = None,
) -> Signals:  # fmt: skip
    """What can be seen of N answers.

    Args:
        csi: complex [N, ports, subcarriers].
        env: their places; `los` is ignored.
        certainty: [N] log-odds of the answers, nats.
        radio: that measured them; None: the weights' own.
        fit, code: [N] of the signals, and [N, E] what `encode_channel` makes of the CSI, where they are at hand.

    Raises:
        InputError: see `UniversalModel.encode_channel` and `Environment.tensors`.
    """
    radio = model.own_or(radio)
    seen = model.normalise_channel(csi, radio)
    restored = model.reconstruct_channel(model.encode_channel(csi, radio) if code is None else code, radio)
    error = 10 * metrics.relative_error(restored, seen).double().clamp_min(1e-6).log10()
    if fit is None:
        both = [replace(env, los=torch.full((len(env),), value)) for value in (0.0, 1.0)]
        fit = zero_shot.similarity(model, csi, both, radio).amax(1)
    return Signals(certainty.double().clamp(-CERTAIN, CERTAIN), error, fit.double(), outside(model.learned, radio, env))


def outside(learned: Learned | None, radio: Radio, env: Environment) -> Tensor:
    """Octaves by which a radio and N places lie outside what was learned, all quantities together: float64 [N]."""
    count = len(env)
    if learned is None:
        return torch.zeros(count, dtype=torch.float64)
    extent = float(np.ptp(radio.array.layout, axis=0).max())
    values: list[tuple[str, Any]] = [
        ("carrier", radio.carrier / 1e9), ("aperture", extent), ("band", radio.grid.bandwidth / 1e6),
        ("station", None if env.bs is None else np.asarray(env.bs)[:, 2]),
        ("user", None if env.ue is None else np.asarray(env.ue)[:, 2]),
        ("side", None if env.size is None else np.asarray(env.size)),
    ]  # fmt: skip
    total = np.zeros(count)
    for name, value in values:
        if value is not None:
            low, high = getattr(learned, name)
            value = np.maximum(np.asarray(value, dtype=np.float64), 1e-3)
            total += np.maximum(0, np.log2(max(low, 1e-3) / value)) + np.maximum(0, np.log2(value / max(high, 1e-3)))
    return torch.from_numpy(total)


def certainty(probability: Tensor) -> Tensor:
    """Log-odds of the likeliest of K answers, probabilities [N, K]: float64 [N] nats."""
    best = probability.double().amax(1).clamp(1e-9, 1 - 1e-9)
    return (best / (1 - best)).log()
