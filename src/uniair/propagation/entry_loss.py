"""What a building's wall and rooms cost: the outdoor-to-indoor model of 3GPP TR 38.901, 7.4.3. A model, no tracing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError

WALLS = ("low", "high")
PER_METRE = 0.5  # dB per metre of way inside (table 7.4.3-2)


def wall_loss(carrier: float, walls: str = "low") -> float:
    """Loss of an outer wall (table 7.4.3-2, materials of table 7.4.3-1): dB.

    Args:
        carrier: Hz.
        walls: `low`: plain glass and concrete, 3 to 7; `high`: coated glass and concrete, 7 to 3.

    Raises:
        InputError: other walls.
    """
    if walls not in WALLS:
        raise InputError(f"walls {walls!r:.40} are none of {', '.join(WALLS)}")
    gigahertz = carrier / 1e9
    glass, coated, concrete = 2 + 0.2 * gigahertz, 23 + 0.3 * gigahertz, 5 + 4 * gigahertz
    shares = {"low": ((0.3, glass), (0.7, concrete)), "high": ((0.7, coated), (0.3, concrete))}[walls]
    return float(5 - 10 * np.log10(sum(share * 10 ** (-loss / 10) for share, loss in shares)))


def entry_loss(depth: NDArray[np.floating], carrier: float, walls: str = "low") -> NDArray[np.float64]:
    """Wall and rooms together, the median over buildings: [N] dB.

    The model's own spread over buildings (4.4 dB behind low-loss walls, 6.5 dB behind high-loss ones) is not drawn.

    Args:
        depth: [N] m from the outer wall to the user.
        carrier, walls: see `wall_loss`.
    """
    return wall_loss(carrier, walls) + PER_METRE * np.asarray(depth, dtype=np.float64)
