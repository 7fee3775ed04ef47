"""Small seeded links that tests of the learning side share."""

from __future__ import annotations

import os

# before torch comes, as the command line does: on a busy machine, threads that spin while they wait stop each other
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each of those that run the tests together
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from uniair.area import procedural
from uniair.area.raster import occupancy
from uniair.data.links.links import Links
from uniair.propagation.paths import LOS, REFLECTION, Paths
from uniair.radio import SPEED_OF_LIGHT

FREQUENCY = 28e9


def pytest_runtest_setup() -> None:
    """Untrained models are the same whatever ran before: before fixtures are made, too."""
    torch.manual_seed(0)


def geometric_links(seed: int, areas: int = 4, per_area: int = 12, place: str = "town") -> Links:
    """Links with a direct path (weakened where a building stands in the way) and two echoes; no ray tracer needed."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(areas):
        side = float(rng.uniform(120, 220))
        city = procedural.city(seed * 100 + number, side=400.0)
        area = city.crop(float(rng.uniform(0, 150)), float(rng.uniform(0, 150)), side, name=f"{place}/{number:05d}")
        bs = np.repeat(area.drop(3, 6.0, rng), -(-per_area // 3), axis=0)[:per_area]
        ue = area.drop(per_area, 1.5, rng)
        along = np.linspace(0.02, 0.98, 60)
        points = bs[:, None, :2] + along[None, :, None] * (ue - bs)[:, None, :2]
        blocked = area.inside_building(points.reshape(-1, 2)).reshape(per_area, -1).any(1)
        mirror = ue * [1, 1, -1]
        scatterer = np.column_stack([rng.uniform(0, side, (per_area, 2)), np.full(per_area, 4.0)])
        rows = []
        for target, loss, kind in ((ue, np.where(blocked, 0.05, 1.0), LOS), (mirror, 0.3, 1), (scatterer, 0.2, 1)):
            line = target - bs
            distance = np.linalg.norm(line, axis=1)
            if target is scatterer:
                distance = distance + np.linalg.norm(ue - scatterer, axis=1)
            gain = loss * SPEED_OF_LIGHT / (4 * np.pi * FREQUENCY * distance)
            gain = gain * np.exp(-2j * np.pi * FREQUENCY * distance / SPEED_OF_LIGHT)
            zenith = np.arccos(line[:, 2] / np.linalg.norm(line, axis=1))
            digit = np.where(blocked, REFLECTION, LOS) if kind == LOS else np.full(per_area, REFLECTION)
            rows.append((gain, distance / SPEED_OF_LIGHT, np.arctan2(line[:, 1], line[:, 0]), zenith, digit))
        gain, delay, azimuth, zenith, digit = (np.concatenate(column) for column in zip(*rows, strict=True))
        link = np.tile(np.arange(per_area), 3)
        paths = Paths.from_rows(
            per_area, link, gain=gain, delay=delay, aod_azimuth=azimuth, aod_zenith=zenith,
            aoa_azimuth=azimuth, aoa_zenith=zenith, interactions=digit,
        )  # fmt: skip
        parts.append(
            Links(
                areas=(area.name,),
                maps=occupancy(area, 64)[None],
                mapped=np.ones(1, dtype=bool),
                sizes=np.array([side], dtype=np.float32),
                area=np.zeros(per_area, dtype=np.int32),
                bs=bs.astype(np.float32),
                ue=ue.astype(np.float32),
                bearing=np.zeros(per_area, dtype=np.float32),
                los=paths.los(),
                paths=paths,
            )
        )
    return Links.concatenate(parts).validate("fixture")


@pytest.fixture(scope="session")
def links() -> Links:
    """48 links in 4 areas of one town."""
    return geometric_links(seed=1)


@pytest.fixture(scope="session")
def other_links() -> Links:
    """24 links in 2 areas of another town."""
    return geometric_links(seed=2, areas=2, place="elsewhere")
