"""What a site answers, looked at whole before any of it counts: a site may be broken, or may lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.common import FitRes, Parameters, parameters_to_ndarrays

from uniair.errors import InputError
from uniair.federation.aggregate import Arrays
from uniair.federation.agreement import Agreement

PRIVACY = ("epsilon", "noise_multiplier", "sampling_rate")  # what a private site says beside parameters


@dataclass(frozen=True)
class Answer:
    """Of one site and round.

    Attributes:
        arrays: parameters.
        examples: that it learned from.
        privacy: by the names in `PRIVACY`: ε that it has spent in all, noise, sampling; empty where nothing is private.
    """

    arrays: Arrays
    examples: int
    privacy: Mapping[str, float]


def read_answer(found: FitRes, agreement: Agreement, model: Any) -> Answer:
    """A site's answer.

    Raises:
        InputError: parameters of something else or not finite, examples that can't be counted, or without what private
            learning has to say.
    """
    arrays = _arrays(found.parameters)
    agreement.check(arrays, model)
    examples = found.num_examples
    if isinstance(examples, bool) or not isinstance(examples, int) or examples < 1:
        raise InputError(f"{examples!r} {agreement.counted}; a site learns from a whole number of them, 1 at least")
    most = agreement.federation.epsilon
    if most is None:
        return Answer(arrays, examples, {})
    privacy = {name: _number(found.metrics, name) for name in PRIVACY}
    for (name, value), largest in zip(privacy.items(), (most, math.inf, 1.0), strict=True):
        if not 0 < value <= largest:
            raise InputError(f"{name} {value:g}, which is not above 0 and up to {largest:g}")
    return Answer(arrays, examples, privacy)


def read_figures(found: Mapping[str, Any], agreement: Agreement) -> dict[str, float]:
    """What a site measured.

    Raises:
        InputError: without the headline, or no finite numbers.
    """
    return {name: _number(found, name) for name in dict.fromkeys((agreement.headline, *found))}


def _arrays(sent: Parameters) -> Arrays:
    try:
        found = parameters_to_ndarrays(sent)
    except Exception as error:  # whatever NumPy makes of bytes that are no array
        raise InputError(f"parameters that can't be read ({type(error).__name__})") from error
    if odd := [each for each in found if not isinstance(each, np.ndarray) or each.dtype.kind != "f"]:
        raise InputError(f"parameters that are no real numbers ({getattr(odd[0], 'dtype', type(odd[0]).__name__)})")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
        return [each.astype(np.float32) for each in found]


def _number(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} {value!r}; a finite number is needed" if name in found else f"it does not say {name}")
    return float(value)
