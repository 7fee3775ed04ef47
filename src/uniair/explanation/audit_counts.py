"""How often channels of places whose map is right show what it says, and what it would say of buildings not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.environment import Environment
from uniair.explanation.audit import Seen, crossings, read
from uniair.explanation.channel_paths import ChannelPath
from uniair.explanation.map_buildings import map_buildings
from uniair.radio import Radio

PHANTOM = (14.0, 20.0, 12.0)  # m: width, depth and height of a building that is not there
TRIES, PHANTOMS = 80, 4  # places that they are looked for, and how many are put up
ROOM = 3.0  # m about them
Counts = dict[str, tuple[int, int]]


def counts_of(
    paths: Sequence[list[ChannelPath]], env: Environment, heights: NDArray[np.floating], radio: Radio,
    rng: np.random.Generator,
) -> Counts:  # fmt: skip
    """What the channels of one map show: name of a rate → how often it was seen, and in how many cases.

    What the map says falsely is counted on buildings that are put up where nothing stands: see `Rates.counted`.

    Args:
        paths: of N channels.
        env: N hypotheses with positions, in the frame of the map.
        heights: [H, W] m of the map, which is right.
    """
    assert env.bs is not None
    assert env.ue is not None
    size = float(np.asarray(env.size)[0])
    bs, ue = (np.asarray(at, dtype=np.float64) for at in (env.bs, env.ue))
    seen, buildings = _read(paths, env, heights, size, radio)
    free = crossings(bs, ue, buildings)[0].sum(1) == 0
    line = np.array([one.line for one in seen])
    said = [there for one in seen for _, there in one.said]
    out: Counts = {
        "line_free": (int(line[free].sum()), int(free.sum())),
        "line_blocked": (int(line[~free].sum()), int((~free).sum())),
        "reflection_said": (sum(said), len(said)),
    }
    boxes = phantoms(heights, size, np.concatenate([bs, ue])[:, :2], rng)
    changed = heights.astype(np.float32)
    for box in boxes:
        changed = np.where(pixels(box, len(heights), size), PHANTOM[2], changed).astype(np.float32)
    seen, buildings = _read(paths, env, changed, size, radio) if boxes else ([], buildings)
    whole = shapely.union_all(boxes)
    false = {i for i, outline in enumerate(buildings.footprints) if outline.centroid.within(whole)}
    found = [there for one in seen for number, there in one.said if number in false]
    return out | {"reflection_other": (sum(found), len(found))}


def _read(
    paths: Sequence[list[ChannelPath]], env: Environment, heights: NDArray[np.floating], size: float, radio: Radio
) -> tuple[list[Seen], Area]:
    buildings = map_buildings(heights, size)
    place = replace(env, map=heights[None], area=np.zeros(len(env), dtype=np.int64), los=None)
    return read(paths, place.seen_by(radio), radio, buildings), buildings


def phantoms(
    heights: NDArray[np.floating], size: float, kept: NDArray[np.float64], rng: np.random.Generator
) -> list[shapely.Polygon]:
    """Boxes on open ground, apart from each other, on which none of the points [P, 2] m that are kept free stands."""
    out: list[shapely.Polygon] = []
    for _ in range(TRIES):
        x, y = rng.uniform(0.1, 0.9, 2) * size
        box = shapely.box(x - PHANTOM[0] / 2, y - PHANTOM[1] / 2, x + PHANTOM[0] / 2, y + PHANTOM[1] / 2)
        room = box.buffer(ROOM)
        if (heights[pixels(room, len(heights), size)] > 0).any() or shapely.contains_xy(room, kept).any():
            continue
        if not any(room.intersects(other) for other in out):
            out.append(box)
        if len(out) == PHANTOMS:
            break
    return out


def pixels(outline: shapely.Geometry, count: int, size: float) -> NDArray[np.bool_]:
    """Which of `count` × `count` pixels of a map of a side of so many m have their middle in an outline."""
    centres = (np.arange(count) + 0.5) * (size / count)
    return np.asarray(shapely.contains_xy(outline, *np.meshgrid(centres, centres)))
