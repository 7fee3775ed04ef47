"""A calibration as `uniair bench doubt --save` keeps it, with numbers that a test can follow."""

from __future__ import annotations

from uniair.explanation.audit_rates import Rates
from uniair.explanation.calibrated import Calibration
from uniair.explanation.conformal import Promise
from uniair.explanation.doubt import Doubt

# wrong with sigmoid(-certainty): what an honest probability says of itself
HONEST = Doubt((0.0,) * 4, (1.0,) * 4, (-1.0, 0.0, 0.0, 0.0), 0.0)
RATES = Rates(line_free=0.9, line_blocked=0.1, reflection_said=0.5, reflection_other=0.25)


def calibration_of(weights: str, rates: Rates | None = RATES) -> Calibration:
    """Of the weights with a digest."""
    promise = Promise({0.8: 0.5, 0.9: 0.8, 0.95: 0.999})
    promises = dict.fromkeys(("los", "position", "beam"), promise)
    return Calibration(weights, {"los": HONEST, "place": HONEST}, promises, rates, {"places": 3, "links": 120})
