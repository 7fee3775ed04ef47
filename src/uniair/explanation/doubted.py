"""How sure an answer about a channel and its place is: by what can be seen, and what validation places make of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from uniair.environment import Batch, Environment
from uniair.explanation.calibrated import Calibration
from uniair.explanation.conformal import mass
from uniair.explanation.doubt import Signals, certainty, signals
from uniair.models.universal import UniversalModel, mean_gain
from uniair.radio import Radio
from uniair.tasks.beam import beam_gains
from uniair.tasks.generation import channel_of_place

NONE = "not calibrated: how often answers are wrong has not been measured for these weights"
LOS = ("NLOS", "LOS")


@dataclass(frozen=True)
class Doubted:
    """How sure the answers about one channel in its place are.

    Attributes:
        signals: what can be seen, one number each: see `doubt.Signals`.
        in_range: whether radio, place and power lie within what the weights have learned from.
        wrong: probability that the answer is wrong; None: not calibrated.
        los: promised coverage → the answers about LOS that belong to the set; empty: not calibrated.
        beams: the same of the strongest beam, by the place alone, numbers as in `Antennas.dft_codebook`; empty: not
            calibrated, or the place is not known.
        answer: what it is about, for people.
    """

    signals: Mapping[str, float]
    in_range: bool
    wrong: float | None = None
    los: Mapping[float, tuple[str, ...]] = field(default_factory=dict)
    beams: Mapping[float, tuple[int, ...]] = field(default_factory=dict)
    answer: str = "the LOS answer"

    def __str__(self) -> str:
        if self.wrong is None:
            return NONE
        words = [f"{self.answer} is wrong with {100 * self.wrong:.0f} %"]
        words += [f"{' or '.join(found)} holds with {100 * level:g} %" for level, found in self.los.items()][1:2]
        return "; ".join(words) + ("" if self.in_range else "; outside of what these weights have learned")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "wrong": None if self.wrong is None else round(self.wrong, 4), "in_range": self.in_range,
            "signals": {name: round(value, 4) for name, value in self.signals.items()},
            "los_sets": {f"{level:g}": list(found) for level, found in self.los.items()},
            "beam_sets": {f"{level:g}": list(found) for level, found in self.beams.items()},
        }  # fmt: skip


def doubted(
    model: UniversalModel, csi: Any, env: Environment, los: Tensor, radio: Radio, calibration: Calibration | None,
    fit: Tensor | None = None, code: Tensor | None = None,
) -> list[Doubted]:  # fmt: skip
    """How sure the answers about N channels in their places are.

    Args:
        csi: complex [N, ports, subcarriers].
        env: N hypotheses; their `los` is ignored.
        los: [N] probability of LOS, the answer.
        radio: that measured them.
        calibration: of the weights; None: what can be seen alone.
        fit, code: [N] cosine between each channel and its place, and [N, E] code of each, where they are at hand.

    Raises:
        InputError: see `doubt.signals`.
    """
    probability = los.detach().cpu().double()
    either = torch.stack([1 - probability, probability], 1)
    seen = signals(model, csi, env, certainty(either), radio, fit, code)
    plain = _seen(model, csi, env, radio, seen)
    if calibration is None:
        return plain
    wrong = calibration.doubts["los"].of(seen).tolist()
    sets = _named(calibration, "los", either)
    beams = _named(calibration, "beam", _beam_shares(model, env, radio, calibration))
    return [
        replace(
            one, wrong=wrong[i], los={level: tuple(LOS[k] for k in found[i]) for level, found in sets.items()},
            beams={level: tuple(found[i]) for level, found in beams.items()},
        )
        for i, one in enumerate(plain)
    ]  # fmt: skip


def doubted_places(
    model: UniversalModel, csi: Any, env: Environment, shares: Tensor, radio: Radio, calibration: Calibration | None,
    code: Tensor | None = None,
) -> list[Doubted]:  # fmt: skip
    """How sure it is that N channels came from the likeliest of K places: `beams` and `los` stay empty.

    Args:
        csi, radio, calibration, code: as for `doubted`.
        env: K hypotheses.
        shares: [N, K] probabilities of each.

    Raises:
        InputError: see `doubt.signals`.
    """
    chosen = env.tensors().select(shares.argmax(1))
    seen = signals(model, csi, chosen, certainty(shares.detach().cpu()), radio, code=code)
    plain = [replace(one, answer="the likeliest place") for one in _seen(model, csi, chosen, radio, seen)]
    if calibration is None:
        return plain
    wrong = calibration.doubts["place"].of(seen).tolist()
    return [replace(one, wrong=each) for one, each in zip(plain, wrong, strict=True)]


def _seen(model: UniversalModel, csi: Any, env: Environment, radio: Radio, seen: Signals) -> list[Doubted]:
    """What can be seen alone, not calibrated."""
    inside = not any(line.startswith("extrapolated") for line in model.remarks(radio))
    numbers = [dict(zip(Signals._fields, row, strict=True)) for row in torch.stack(list(seen), 1).tolist()]
    place = not model.place_remarks(env.tensors())
    usual = [
        not (model.power_remarks(gain, radio) or model.noise_remarks(one))
        for gain, one in zip(torch.split(mean_gain(csi), 1), torch.split(model.check_csi(csi, radio), 1), strict=True)
    ]
    return [Doubted(one, inside and place and power) for one, power in zip(numbers, usual, strict=True)]


def _beam_shares(model: UniversalModel, env: Environment, radio: Radio, calibration: Calibration) -> Tensor | None:
    """Share of the power that the place gives each beam, [N, beams]; None where that can't be told."""
    known = all(getattr(env, name) is not None for name in ("map", "bs", "ue"))
    if not known or "beam" not in calibration.promises or model.preset.radios != "any":
        return None
    told = beam_gains(Batch(channel_of_place(model, env.without("los"), radio), env, radio)).cpu()
    return told / told.sum(1, keepdim=True)


def _named(calibration: Calibration, name: str, shares: Tensor | None) -> dict[float, list[list[int]]]:
    """Level → numbers of the answers in the set of each of N links."""
    promise = calibration.promises.get(name)
    if promise is None or shares is None:
        return {}
    scores = mass(shares)
    return {
        level: [row.nonzero()[:, 0].tolist() for row in promise.sets(scores, level)] for level in promise.thresholds
    }
