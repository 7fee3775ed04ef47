"""Tracing as a step of making a site: what is there is not traced again, and the bar moves with every chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.store import Store
from uniair.site import survey
from uniair.site.steps import Steps
from uniair.site.survey import Ground, Survey

OVER_ROOFS = 0.06  # rough seconds a link on two cores, with `survey.OVER_ROOFS`


def traced(
    folder: Path, key: str, about: str, ground: Ground, wanted: Survey, steps: Steps, weight: float,
    spots: NDArray[np.float64] | None = None,
) -> dict[str, Links]:  # fmt: skip
    """The links of each source of a ground, by its name; a source that reaches nobody is missing.

    Args:
        folder: that keeps them.
        key, about: of the step.
        weight: of a link on the bar, rough seconds.
        spots: [N, 3] m to trace to; the users where None.

    Raises:
        InputError: the tracer can't run here.
    """
    done = 0

    def trace() -> None:
        nonlocal done
        for count in survey.trace_links(folder, ground, wanted, spots):
            steps.bar.update(weight * count)
            done += count

    steps.once(key, about, 0.0, trace)
    count = len(ground.traced(wanted.ue, wanted.seed)) if spots is None else len(spots)
    steps.bar.update(weight * (count * len(ground.sources) - done))
    return links_of(folder, ground.area.name)


def links_of(folder: Path, area: str) -> dict[str, Links]:
    """The links of each source of an area that a folder keeps, by its name; a source that reaches nobody is missing.

    Raises:
        InputError: there are none, or they are broken.
    """
    if not shards.read_manifest(folder)["links"]:
        return {}
    store = Store(folder)
    start = len(area) + 1
    return {name[start:]: links for name, links in zip(store.areas, store, strict=True) if len(links)}
