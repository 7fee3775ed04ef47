"""What of a place lies outside what weights have learned from: stations too high or on roofs, users upstairs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

import uniair
from uniair.area.area import Area
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.models.learned import PAPER_1, Learned
from uniair.releases.node import located
from uniair.releases.release import PREFIX

SLACK = 4.0  # m above what was learned that answers still bear
MACRO = 15.0  # m: weights that learned higher stations know those over roofs
MOST_BELOW = 0.5  # share of the roofs that a station in the street may look over


@cache
def learned(model: str) -> Learned:
    """By what a packaged model, checkpoint folder or release says of itself; without that, what paper 1's campaign has.

    Raises:
        InputError: as `located`.
    """
    packaged = Path(uniair.__file__).parent / "weights" / model
    place = located(model)[0] if model.startswith(PREFIX) else Path(model)
    try:
        config = (packaged if packaged.is_dir() else place) / "config.json"
        return Learned.from_json(json.loads(config.read_text(encoding="utf-8"))["learned"], str(config))
    except (OSError, ValueError, LookupError, TypeError, InputError):  # of the first version, or no folder
        return PAPER_1


def remarks(
    area: Area, stations: Iterable[tuple[str, tuple[float, float, float]]], model: str, highest_user: float = UE_HEIGHT
) -> tuple[str, ...]:
    """What to know about answers for stations, (name, position in m), that the weights have not learned, a line each.

    Args:
        model: packaged model or checkpoint folder.
        highest_user: m above ground.
    """
    known, out = learned(model), []
    (_, tallest), (_, highest) = known.station, known.user
    over_roofs = tallest > MACRO
    within = f"the weights know stations up to {tallest:g} m" + (
        "" if over_roofs else ", in the street and below the roofs around"
    )
    roofs = area.heights[area.obstacles]
    for name, position in stations:
        height, roof = position[2], float(area.top(np.array([position]))[0])
        below = int((roofs < height).sum())
        said = [f"{height:g} m above ground"] if height > tallest + SLACK else []
        if not over_roofs and 0 < roof < height:
            said.append(f"on a roof of {roof:.0f} m")
        if not over_roofs and below > MOST_BELOW * len(roofs):
            said.append(f"over {below:,} of {len(roofs):,} roofs")
        if said:
            out.append(f"extrapolated: {name} stands {', '.join(said)}; {within}")
    if highest_user > highest + SLACK:
        out.append(
            f"extrapolated: users stand up to {highest_user:g} m above ground; the weights know up to {highest:g} m"
        )
    return tuple(out)
