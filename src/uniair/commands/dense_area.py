"""What the instruct commands share: the dense area that is learned or tested in, and a line per task."""

from __future__ import annotations

import numpy as np

from uniair.data.links.store import Store
from uniair.errors import InputError


def area_number(store: Store, given: str) -> int:
    """Number of an area that is given by name or number.

    Raises:
        InputError: no such area, or one with too few links.
    """
    number = int(given) if given.isdecimal() else store.areas.index(given) if given in store.areas else -1
    if not 0 <= number < len(store.areas):
        some = ", ".join(store.areas[:5])
        raise InputError(f"--area {given}: none of the {len(store.areas)} areas there, such as {some}")
    if np.asarray(store.counts)[number] < 20:
        raise InputError(
            f"--area {given}: {store.counts[number]} links; give a dense area, such as of trace-dense.yaml"
        )
    return number


def lines(figures: dict[str, dict[str, float]]) -> list[str]:
    """A line per task."""
    return [f"{task:10} " + "  ".join(f"{k} {v:.3f}" for k, v in found.items()) for task, found in figures.items()]
