"""What of a question lies outside what weights have learned from: radio, mast, users, side, clutter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


IN, OUT, UNKNOWN = "in range", "extrapolated", "unknown"


@dataclass(frozen=True)
class Scope:
    """Whether what a question is about lies within what the weights learned from: each `IN`, `OUT` or `UNKNOWN`.

    Attributes:
        radio: carrier, array, band; of weights that know one radio, whether it is that one.
        mast: height, roof and neighbours of the station.
        users: their heights.
        side: of the square.
        clutter: how densely and how high it is built.
        why: what lies outside, a line each.
    """

    radio: str
    mast: str
    users: str
    side: str
    clutter: str
    why: tuple[str, ...] = ()

    @property
    def verdicts(self) -> dict[str, str]:
        """By part, as every answer says them."""
        return {name: value for name, value in asdict(self).items() if name != "why"}


def said(verdicts: Mapping[str, str]) -> str:
    """Verdicts for people: "in range: radio, mast; extrapolated: side; unknown: clutter"."""
    groups = {verdict: [name for name, one in verdicts.items() if one == verdict] for verdict in (IN, OUT, UNKNOWN)}
    return "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in groups.items() if names)


def scope(
    area: Area,
    position: tuple[float, float, float],
    map: NDArray[Any],
    model: str,
    of_radio: Sequence[str],
    highest_user: float = UE_HEIGHT,
) -> Scope:
    """Where a station's answers lie.

    Args:
        position: of the station, m.
        map: what the model is told of the buildings, see `Site.picture`.
        model: packaged model or checkpoint folder.
        of_radio: what the model remarks on the radio, see `UniversalModel.remarks`.
        highest_user: m above ground.
    """
    known = learned(model)
    other = ("extrapolated",) if reads_any_radio(model) else ("extrapolated", "converted")
    low = known.of_place(station=position[2]) if position[2] < known.station[0] else ()
    parts: dict[str, tuple[str, ...] | None] = {
        "radio": tuple(line for line in of_radio if line.startswith(other)),
        "mast": (*remarks(area, [("it", position)], model), *low),
        "users": remarks(area, [], model, highest_user),
        "side": known.of_place(side=area.size),
        "clutter": known.of_clutter(map),
    }
    verdicts = {name: UNKNOWN if lines is None else OUT if lines else IN for name, lines in parts.items()}
    return Scope(**verdicts, why=tuple(line for lines in parts.values() for line in lines or ()))


def learned(model: str) -> Learned:
    """By what a packaged model, checkpoint folder or release says of itself; without that, what paper 1's campaign has.

    Raises:
        InputError: as `located`.
    """
    config = _config(model)
    try:
        return Learned.from_json(config["learned"], model)
    except (LookupError, InputError):  # of the first version, or no folder
        return PAPER_1


def reads_any_radio(model: str) -> bool:
    """Whether the weights of a packaged model, checkpoint folder or release read any radio, and building heights."""
    return _config(model).get("radios") == "any"


@cache
def _config(model: str) -> Mapping[str, Any]:
    packaged = Path(uniair.__file__).parent / "weights" / model
    place = located(model)[0] if model.startswith(PREFIX) else Path(model)
    try:
        config = (packaged if packaged.is_dir() else place) / "config.json"
        return dict(json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


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
