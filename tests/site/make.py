"""Writes a small complete site without ray tracing: a few buildings, two base stations, links, a head for every task.

python tests/site/make.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from shapely.geometry import box
from torch.nn.functional import normalize

import uniair
from uniair.area.area import Area
from uniair.area.raster import building_heights
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.propagation.paths import LOS, REFLECTION, Paths
from uniair.propagation.sector import Sector
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.site import site_coverage
from uniair.site.covered import Covered
from uniair.site.site import Site, Station
from uniair.site.site_coverage import Planning
from uniair.site.survey import Ground, Source
from uniair.tasks.bit_code import learn
from uniair.tasks.feedback_code import KNOWN, FeedbackCode
from uniair.tasks.registry import TASKS
from uniair.tasks.side_information import learn_beside
from uniair.training.checkpoint import digest
from uniair.training.feedback_adaptation import save_feedback
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit, measure, save_head

SIDE, USERS, FREQUENCY = 150.0, 80, 28e9
PLACES = ((30.0, 75.0), (120.0, 70.0), (75.0, 20.0))  # of the base stations, m


def town(side: float = SIDE) -> Area:
    """Eight rectangular buildings on a square with streets between them."""
    corners = [(8, 8), (45, 30), (100, 12), (8, 95), (50, 110), (105, 95), (48, 62), (85, 50)]
    footprints = tuple(box(x, y, x + 22 + i, y + 16 + i) for i, (x, y) in enumerate(corners))
    heights = np.linspace(9.0, 20.0, len(footprints))
    return Area("town", footprints, heights, (0.0, 0.0, side, side), "made by a test")


def synthetic_paths(area: Area, bs: np.ndarray, ue: np.ndarray, seed: int = 0) -> Paths:
    """A direct path, weak where a building stands in the way, a ground reflection and an echo: links to `ue` [N, 3]."""
    n = len(ue)
    station = np.repeat(np.asarray(bs, dtype=np.float64).reshape(1, 3), n, axis=0)
    points = station[:, None, :2] + np.linspace(0.02, 0.98, 60)[None, :, None] * (ue - station)[:, None, :2]
    blocked = area.inside_building(points.reshape(-1, 2)).reshape(n, -1).any(1)
    mast = np.tile([area.size * 0.9, area.size * 0.5 + seed, 4.0], (n, 1))
    parts = []
    for target, loss in ((ue, np.where(blocked, 0.05, 1.0)), (ue * [1, 1, -1], 0.3), (mast, 0.2)):
        line = target - station
        distance = np.linalg.norm(line, axis=1)
        if target is mast:
            distance = distance + np.linalg.norm(ue - mast, axis=1)
        gain = loss * SPEED_OF_LIGHT / (4 * np.pi * FREQUENCY * distance)
        gain = gain * np.exp(-2j * np.pi * FREQUENCY * distance / SPEED_OF_LIGHT)
        zenith = np.arccos(line[:, 2] / np.linalg.norm(line, axis=1))
        kind = np.where(blocked, REFLECTION, LOS) if target is ue else np.full(n, REFLECTION)
        parts.append((gain, distance / SPEED_OF_LIGHT, np.arctan2(line[:, 1], line[:, 0]), zenith, kind))
    gain, delay, azimuth, zenith, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Paths.from_rows(
        n, np.tile(np.arange(n), 3), gain=gain, delay=delay, aod_azimuth=azimuth, aod_zenith=zenith,
        aoa_azimuth=azimuth, aoa_zenith=zenith, interactions=kind,
    )  # fmt: skip


def station_links(area: Area, station: Station, users: int = USERS, seed: int = 0, radio: Radio = Radio()) -> Links:
    """The links of one base station to users outdoors, in an area named `NAME/STATION`."""
    ue = area.drop(users, 1.5, np.random.default_rng([seed, len(station.name), users]))
    paths = synthetic_paths(area, np.asarray(station.position), ue, seed)
    return Links(
        areas=(f"{area.name}/{station.name}",), maps=building_heights(area)[None], mapped=np.ones(1, dtype=bool),
        sizes=np.array([area.size], dtype=np.float32), area=np.zeros(users, dtype=np.int32),
        bs=np.tile(station.position, (users, 1)).astype(np.float32), ue=ue.astype(np.float32),
        bearing=np.full(users, station.bearing, dtype=np.float32), los=paths.los(), paths=paths,
        radios=(radio,),
    ).validate("fixture")  # fmt: skip


def make_site(folder: Path, stations: int = 2, seed: int = 0, radio: Radio = Radio()) -> Site:
    """A site in `folder`: up to three base stations, the second with its array at 30°; the packaged `small` model."""
    area, model = town(), uniair.load("small")
    named = tuple(
        Station(f"bs{i}", (*PLACES[i], 6.0), float(np.radians(30.0)) if i == 1 else 0.0) for i in range(stations)
    )
    site = Site(
        folder, area, named, "small", digest(model),
        figures={station.name: {} for station in named}, about={"made": "tests/site/make.py", "seed": seed},
        radio=radio,
    )  # fmt: skip
    training = HeadTraining(epochs=1, steps=60, batch=32, seed=seed)
    for number, station in enumerate(named):
        links = station_links(area, station, seed=seed, radio=radio)
        shards.write_shard(folder / "links" / f"links-{number:05d}.safetensors", links)
        batch = batch_of(links)
        embedded = {inputs: embed(model, batch, inputs) for inputs in ("channel", "environment")}
        for name, task in ((name, task.on(radio)) for name, task in TASKS.items()):
            for inputs in task.inputs:
                wanted = Adaptation(task=name, inputs=inputs, split="blocks", seed=seed)
                learn, test = divide(links, wanted)
                z = embedded[inputs]
                head = fit(task, z[learn], task.target(batch)[learn], training)
                figures = measure(task, head, z[test], batch_of(links.select(test)))
                site.figures[station.name].setdefault(name, {})[inputs] = figures
                save_head(site.head(name, inputs, number), head, wanted, model, batch.radio, {"area": links.areas[0]})
    shards.write_manifest(folder / "links", {"made": "tests/site/make.py"}, area.attribution)
    site.write()
    return site


def add_code(site: Site, station: int, seed: int = 0) -> FeedbackCode:
    """Writes a code for a station's feedback that has learned from drawn embeddings, in a moment."""
    model, draw = uniair.load(site.model), torch.Generator().manual_seed(seed)
    z, place = (normalize(torch.randn(600, model.preset.embedding, generator=draw), dim=1) for _ in range(2))
    code = learn(z, site.weights, stages=3)
    beside = {name: learn_beside(code, z, place, (48, 96)) for name in KNOWN}
    found = FeedbackCode(site.radio, code, model, beside)
    save_feedback(site.feedback(station), found, {"made": "tests/site/make.py"})
    return found


def bare_site(folder: Path, model: Path, users: int, radio: Radio = Radio()) -> Site:
    """A site of one base station with its array at 30°, links and no heads, by the model of a checkpoint folder."""
    area, station = town(), Station("bs0", (*PLACES[0], 6.0), float(np.radians(30.0)))
    site = Site(folder, area, (station,), str(model), digest(uniair.load(str(model))), radio=radio)
    links = station_links(area, station, users, radio=radio)
    shards.write_shard(folder / "links" / "links-00000.safetensors", links)
    shards.write_manifest(folder / "links", {"made": "tests/site/make.py"}, area.attribution)
    site.write()
    return site


def cover(site: Site, power: float = 30.0) -> Covered:
    """Writes the coverage of a made site's base stations into its folder."""
    radio, links = site.radio, dict(zip((s.name for s in site.stations), site.links, strict=True))
    grid = radio.grid
    sectors = tuple(
        Sector(s.name, s.name, s.bearing, 0.0, 0.0, power, radio.carrier, grid.bandwidth,
               grid.bandwidth / grid.subcarriers, radio.array)
        for s in site.stations
    )  # fmt: skip
    sources = tuple(Source(s.name, s.position, s.bearing, radio) for s in site.stations)
    ground = Ground(site.area, site.stations, (0.0, 0.0), None, sources, sectors)
    ue = np.concatenate([links[site.stations[0].name].ue, [[3.0, 3.0, 1.5]]]).astype(np.float64)  # the last one unheard
    users = site_coverage.of_users(ground, ue, links, Planning())
    covered = Covered.of(ground, users, None, Planning())
    covered.write(site.folder)
    site.about["coverage"] = site_coverage.summary(ground, users, None, Planning())
    site.write()
    return covered


if __name__ == "__main__":
    print(make_site(Path(sys.argv[1])).folder / "site.json")
