"""How much hangs on heights that a map does not give: the same users traced again with other drawn heights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.data.links.campaign import load_place
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.models.universal import UniversalModel
from uniair.site import survey
from uniair.site.site import Site
from uniair.site.survey import Ground, Survey
from uniair.tasks import zero_shot
from uniair.tasks.registry import TASKS

USERS = 250  # traced again, of each station


def other_draw(ground: Ground, wanted: Survey) -> Area:
    """The square as the next seed draws its heights; what the file gives is the same."""
    return survey.cut(wanted, load_place(wanted.place, wanted.seed + 1), ground.corner)


def compare(
    model: UniversalModel, site: Site, ground: Ground, number: int, links: Links, wanted: Survey
) -> dict[str, Any]:
    """Answers for users of one station with the heights of the site, and with those of another draw.

    Args:
        number: of the station.
        links: traced, of this station, as `station_links.links_of` gives them.
        wanted: what the site is of.

    Returns:
        `heights`, the mean of the drawn ones in both draws, m; `users` traced again, `reached` [2] of them in either
        draw, `both` in both; `rows`: what differs for these, by title. `inside`: the height of the roof, m, where the
        station stands inside a building in the other draw, and nothing was traced.
    """
    other, station = other_draw(ground, wanted), site.stations[number]
    drawn = ground.area.drawn
    out: dict[str, Any] = {"heights": [round(float(area.heights[drawn].mean()), 1) for area in (ground.area, other)]}
    position = np.array([station.position])
    if other.inside_building(position)[0]:
        return out | {"inside": round(float(other.top(position)[0]), 1)}
    ue = ground.users(wanted.ue, wanted.seed)
    ue = ue[np.unique(np.linspace(0, len(ue) - 1, min(USERS, len(ue))).astype(int))]
    source = next(source for source in ground.sources if source.name == station.name)
    again = survey.links_of(survey.scene_of(other, wanted), ground, source, ue, wanted)
    again = replace(again, maps=site.picture(other)[None])
    first, second = _shared(links.ue, again.ue)
    mine = np.isin(_keys(ue.astype(np.float32)), _keys(links.ue))
    pair = links.select(first), again.select(second)
    rows = _differences(model, *pair) if len(first) else {}
    return out | {"users": len(ue), "reached": [int(mine.sum()), len(again)], "both": len(first), "rows": rows}


def sentences(name: str, found: dict[str, Any]) -> list[str]:
    """What `compare` found, for people."""
    one, two = found["heights"]
    start = f"{name}: drawn heights average {one:g} m here and {two:g} m in another draw"
    if "inside" in found:
        return [
            f"{start}, in which it stands inside a building of {found['inside']:g} m; give a map that knows its roof"
        ]
    reached = f"; of {found['users']:,} users {found['reached'][0]:,} and {found['reached'][1]:,} are reached"
    rows = "; ".join(f"{title} {said}" for title, said in found["rows"].items())
    return [f"{start}{reached}." + (f" For the {found['both']:,} reached in both: {rows}." if rows else "")]


def _keys(ue: NDArray[np.float32]) -> NDArray[np.void]:
    return np.ascontiguousarray(ue).view([("", ue.dtype)] * ue.shape[1]).ravel()


def _shared(one: NDArray[np.float32], two: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of both that are the same positions."""
    _, first, second = np.intersect1d(_keys(one), _keys(two), return_indices=True)
    return first, second


@torch.inference_mode()
def _differences(model: UniversalModel, one: Links, two: Links) -> dict[str, str]:
    """Labels of the same users in both draws, and what the model answers with nothing tuned."""
    radio = one.one_radio()
    batches = batch_of(one), batch_of(two)
    rows = {}
    for task in (task.on(radio) for task in TASKS.values()):
        if task.label is None:
            continue
        here, there = (task.label.values(task.target(batch)) for batch in batches)
        if task.label.classes is None:
            apart = np.abs(here.astype(np.float64) - there)
            rows[task.title] = (
                f"{np.median(apart):.1f} {task.unit} apart in the middle, one in ten {_tenth(apart)} or more"
            )
        else:
            rows[task.title] = f"another one for {100 * float((here != there).mean()):.0f} %"
    answers = [zero_shot.los(model, batch.csi, batch.environment, radio).cpu().numpy() > 0.5 for batch in batches]
    rows["LOS, zero-shot"] = f"another answer for {100 * float((answers[0] != answers[1]).mean()):.0f} %"
    return rows


def _tenth(apart: NDArray[np.float64]) -> str:
    return f"{np.quantile(apart, 0.9):.1f}"
