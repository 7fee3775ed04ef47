"""A user's traced paths as the page draws them in the street."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.propagation.paths import DIFFRACTION, REFLECTION, SCATTERING, TRANSMISSION, Paths
from uniair.propagation.ray_geometry import Surfaces, corners, kinds

EVENTS = {REFLECTION: "reflected", DIFFRACTION: "diffracted", SCATTERING: "scattered", TRANSMISSION: "through a wall"}


def rays_of(surfaces: Surfaces, bs: NDArray[np.floating], ue: NDArray[np.floating], paths: Paths) -> dict[str, Any]:
    """The paths of one link, strongest first; what they go through is found again from the buildings at hand.

    Args:
        bs, ue: [3] m.
        paths: of one link.

    Returns:
        `rays`: `points` [N, 3] m, from the antenna to the user, `gain_db` between isotropic antennas, `delay_ns`,
        `events`; `not_drawn`: paths whose corners the buildings of the site don't give.
    """
    rays, lost = [], 0
    found = corners(surfaces, bs.astype(np.float64), ue.astype(np.float64), paths)
    for i, points in enumerate(found):
        if points is None:
            lost += 1
            continue
        events = kinds(int(paths.interactions[i])) or []
        rays.append({
            "points": points.round(2), "gain_db": round(20 * float(np.log10(max(abs(paths.gain[i]), 1e-20))), 2),
            "delay_ns": round(1e9 * float(paths.delay[i]), 2), "events": [EVENTS[event] for event in events],
        })  # fmt: skip
    return {"rays": rays, "not_drawn": lost}
