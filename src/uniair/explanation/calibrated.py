"""What validation places taught about one set of weights: when answers are wrong, and how often channels show a map.

It is kept as `calibration.json` beside the weights, and fits no others; `uniair bench doubt --save` makes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniair.errors import InputError
from uniair.explanation.audit_rates import Rates
from uniair.explanation.conformal import Promise
from uniair.explanation.doubt import Doubt
from uniair.files import write_text

FILE, FORMAT = "calibration.json", "uniair-calibration/1"
CELLS = 32  # of an area's side, in which a set of positions is counted
AGAIN = "make it again with uniair bench doubt --save"
DOUBTS, PROMISES = ("los", "place"), ("los", "position", "beam")


@dataclass(frozen=True)
class Calibration:
    """Of one set of weights.

    Attributes:
        weights: their digest.
        doubts: whether the LOS answer is wrong (`los`), and whether the likeliest user of a station is (`place`).
        promises: sets of answers: `los`, `position` in `CELLS` × `CELLS` cells, and the strongest `beam` by the place
            alone, of weights for any radio.
        rates: for audits; None: they were not counted.
        about: what it was made on, for people.
    """

    weights: str
    doubts: Mapping[str, Doubt]
    promises: Mapping[str, Promise]
    rates: Rates | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes it in one step."""
        document = {
            "format": FORMAT, "weights": self.weights, "cells": CELLS,
            "doubts": {name: one.to_json() for name, one in self.doubts.items()},
            "promises": {name: one.to_json() for name, one in self.promises.items()},
            "rates": None if self.rates is None else self.rates.to_json(), "about": dict(self.about),
        }  # fmt: skip
        write_text(path, json.dumps(document, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path, weights: str) -> Calibration:
        """The calibration in a file.

        Args:
            weights: digest of those that it is asked for.

        Raises:
            InputError: of other weights, of another format, or broken.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise InputError(f"{path}: of format {document['format']!r}, this version reads {FORMAT!r}; {AGAIN}")
            if document["weights"] != weights:
                raise InputError(f"{path}: calibrated for weights {document['weights']}, these are {weights}; {AGAIN}, "
                                 "or remove it")  # fmt: skip
            if document["cells"] != CELLS:
                raise InputError(f"{path}: positions in {document['cells']} cells, here {CELLS}; {AGAIN}")
            doubts = {name: Doubt.from_json(document["doubts"][name], f"{path}: {name}") for name in DOUBTS}
            promises = {
                name: Promise.from_json(document["promises"][name], f"{path}: {name}")
                for name in PROMISES if name in document["promises"]
            }  # fmt: skip
            rates = None if document["rates"] is None else Rates.from_json(document["rates"], f"{path}: rates")
            return cls(weights, doubts, promises, rates, dict(document["about"]))
        except InputError:
            raise
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: not a calibration ({type(error).__name__}: {error}); {AGAIN}") from error
