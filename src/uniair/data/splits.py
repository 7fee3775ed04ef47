"""Benchmark splits: files in the package that say which city, area, base station or drive stands on which side.

A split is versioned: its file never changes, a better one gets a new number. Between the sides nothing is shared, which
`Split` checks when it is made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives.drive import Drive
from uniair.data.links.links import Links
from uniair.errors import InputError

FOLDER = Path(__file__).parents[1] / "splits"
UNITS = ("place", "area", "bs", "drive", "scenario")


@dataclass(frozen=True)
class Split:
    """Which units stand on which side.

    Attributes:
        name: `cities-v1`, for instance.
        unit: `place` (a city), `area` (`city/number`), `bs` (`area@x,y`, whole metres), `drive`
            (`scenario/sequence`) or `scenario` (of drives).
        sides: side (`train`, `validation`, `test`) → its units.
        about: what it is for and how it was drawn.
    """

    name: str
    unit: str
    sides: dict[str, tuple[str, ...]]
    about: str = ""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InputError(f"split {self.name}: unit {self.unit!r} is none of {', '.join(UNITS)}")
        seen: dict[str, str] = {}
        for side, units in self.sides.items():
            for unit in units:
                if unit in seen:
                    raise InputError(f"split {self.name}: {unit} stands in {seen[unit]} and in {side}")
                seen[unit] = side

    def units(self, data: Links | Sequence[Drive]) -> NDArray[np.str_]:
        """The unit of every link, or of every drive: str [N].

        Raises:
            InputError: a split of links was given drives, or the other way round.
        """
        if isinstance(data, Links) != (self.unit in ("place", "area", "bs")):
            raise InputError(f"split {self.name} is by {self.unit}; it does not divide this kind of data")
        if not isinstance(data, Links):
            return np.array([drive.name if self.unit == "drive" else drive.scenario for drive in data], dtype=np.str_)
        if self.unit == "place":
            return np.asarray(data.places[data.area])
        if self.unit == "area":
            return np.array(data.areas)[data.area]
        stations, which = np.unique(
            np.column_stack([data.area, np.round(data.bs[:, :2])]).astype(np.int64), axis=0, return_inverse=True
        )
        return np.array([f"{data.areas[a]}@{x},{y}" for a, x, y in stations])[which]

    def side(self, data: Links | Sequence[Drive], side: str) -> NDArray[np.bool_]:
        """Which links, or drives, stand on a side: bool [N]. Units that the split doesn't name stand on none.

        Raises:
            InputError: the split has no such side, or none of the data stands there.
        """
        if side not in self.sides:
            raise InputError(f"split {self.name}: no side {side!r}; it has {', '.join(self.sides)}")
        found = np.isin(self.units(data), self.sides[side])
        if not found.any():
            raise InputError(f"split {self.name}: nothing of this data set is in {side}; is it the right data?")
        return found


def names() -> list[str]:
    """The packaged splits; few-shot labels and the radios that no training draws are of other kinds."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if not path.stem.startswith(("few-shot-", "radios-")))


def load(name: str) -> Split:
    """A packaged split.

    Raises:
        InputError: there is none of that name.
    """
    if name not in names():
        raise InputError(f"no split {name!r}; choose one of {', '.join(names())}")
    found = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    sides = {side: tuple(units) for side, units in found["sides"].items()}
    return Split(name, found["unit"], sides, found["about"])


def few_shot(available: int, labels: int, seed: int) -> NDArray[np.int64]:
    """Which `labels` of the `available` training samples a few-shot run may see, sorted: int64 [labels].

    Of one seed, the smaller subsets lie in the larger ones. The sizes and seeds of the benchmark are in
    `few-shot-v1.json`.

    Raises:
        InputError: there are fewer samples than labels.
    """
    if not 0 < labels <= available:
        raise InputError(f"few-shot subset of {labels} labels from {available} samples: ask for 1 to {available}")
    return np.sort(np.argsort(np.random.PCG64(seed).random_raw(available), kind="stable")[:labels])


def few_shot_settings() -> dict[str, list[int]]:
    """`labels` and `seeds` of the benchmark's few-shot curves."""
    found = json.loads((FOLDER / "few-shot-v1.json").read_text(encoding="utf-8"))
    return {key: found[key] for key in ("labels", "seeds")}
