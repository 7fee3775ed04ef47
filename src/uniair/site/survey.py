"""From footprints and base stations to the links of a site, in chunks that a killed run need not trace again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.data.links import shards
from uniair.data.links.campaign import load_place
from uniair.data.links.links import Links
from uniair.data.recipe import RECIPE
from uniair.data.recipe import note_recipe as note_folder_recipe
from uniair.errors import InputError
from uniair.files import sha256
from uniair.propagation.ray_tracing import RayTracing, build_scene, trace_scene
from uniair.radio import Radio
from uniair.site.site import NOTE, UE_HEIGHT, Station, obstacles

CHUNK = 250  # UEs traced at once: what a killed run loses at most
LEAST_LINKS = 100  # of a station; fewer leave nothing to learn from and test on
EXAMPLE = "procedural:7"
EXAMPLE_STATIONS = ("400,400",)
BS_HEIGHT = 6.0  # m, as the model was trained


@dataclass(frozen=True)
class Survey:
    """What is traced.

    Attributes:
        place: footprint file or folder, `sionna:NAME` or `procedural:SEED`.
        bs: base stations, each `lon,lat` where the place is geographic, else `x,y` in its metres, then, if wanted,
            `,height` in m and `,bearing` in degrees.
        side: of the square, m.
        centre: of the square, as `bs`; the middle of the base stations where None.
        ue: users outdoors; each station is traced to the same ones.
        least_height: lower buildings are raised to it, m; the model was trained on 7 m and more.
        seed: of the users, and of building heights that the file does not give.
        ray_tracing: see `RayTracing`.
    """

    place: str
    bs: tuple[str, ...]
    side: float = 200.0
    centre: str | None = None
    ue: int = 2000
    least_height: float = 0.0
    seed: int = 0
    ray_tracing: RayTracing = field(default_factory=RayTracing)


@dataclass(frozen=True)
class Ground:
    """The square that a survey is of.

    Attributes:
        area: south-west corner at the origin.
        stations: in it, named bs0, bs1, ….
        corner: of the square in the place's metres.
    """

    area: Area
    stations: tuple[Station, ...]
    corner: tuple[float, float]

    def users(self, count: int, seed: int) -> NDArray[np.float64]:
        """Positions outdoors: [count, 3] m."""
        return self.area.drop(count, UE_HEIGHT, np.random.default_rng([seed, 0x517E]))


def crop(survey: Survey) -> Ground:
    """Reads the place and lays the square.

    Raises:
        InputError: no such file, a base station that can't be read, lies outside the place or the square or inside a
            building, or a square without buildings.
    """
    if not survey.bs:
        raise InputError("--bs: give a base station, lon,lat[,height[,bearing]], or x,y,… where FILE is in metres")
    if not (np.isfinite(survey.side) and survey.side > 0):
        raise InputError(f"--side {survey.side:g}: must be above 0 m")
    if survey.ue < LEAST_LINKS:
        raise InputError(f"--ue {survey.ue}: give at least {LEAST_LINKS}; some are learned from, some tested on")
    place = load_place(survey.place, survey.seed)
    given = [_numbers("--bs", text, 4) for text in survey.bs]
    wanted = np.array([row[:2] for row in given])
    plan = _metres("--bs", place, wanted, survey.bs)
    x0, y0, x1, y1 = place.bounds
    for text, (x, y) in zip(survey.bs, plan, strict=True):
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            raise InputError(f"--bs {text}: lies outside {survey.place}, whose buildings cover {_extent(place)}")
    if survey.centre is None:
        middle = (plan.min(0) + plan.max(0)) / 2
    else:
        middle = _metres("--centre", place, np.array([_numbers("--centre", survey.centre, 2)]), (survey.centre,))[0]
    corner = middle - survey.side / 2
    area = place.crop(float(corner[0]), float(corner[1]), survey.side, name=place.name)
    area = replace(area, heights=np.maximum(area.heights, survey.least_height))
    if not area.footprints:
        raise InputError(f"{survey.place}: no buildings within {survey.side:g} m about --bs; move it, or raise --side")
    stations = []
    for i, (row, position) in enumerate(zip(given, plan - corner, strict=True)):
        text, height = survey.bs[i], row[2] if len(row) > 2 else BS_HEIGHT
        if not ((position >= 0) & (position <= survey.side)).all():
            raise InputError(
                f"--bs {text}: lies outside the square of {survey.side:g} m; raise --side or move --centre"
            )
        if area.inside_building(position[None])[0]:
            raise InputError(f"--bs {text}: stands inside a building; move it onto the street in front")
        if not 0.5 <= height <= 200:
            raise InputError(f"--bs {text}: height {height:g} m; give 0.5 to 200 m above ground")
        bearing = float(np.radians(row[3])) if len(row) > 3 else 0.0
        stations.append(Station(f"bs{i}", (float(position[0]), float(position[1]), height), bearing))
    if len({s.position for s in stations}) < len(stations):
        raise InputError("--bs: two base stations stand at the same point; move one")
    return Ground(area, tuple(stations), (float(corner[0]), float(corner[1])))


def _numbers(option: str, text: str, most: int) -> list[float]:
    parts = text.split(",")
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if not (2 <= len(found) <= most and np.isfinite(found).all()):
        form = "lon,lat[,height[,bearing]]" if most == 4 else "lon,lat"
        raise InputError(f"{option} {text}: not {form} (or x,y in metres); write numbers with commas and no spaces")
    return found


def _metres(option: str, place: Area, points: NDArray[np.float64], texts: Sequence[str]) -> NDArray[np.float64]:
    if place.georeference is None:
        return points
    for text, (longitude, latitude) in zip(texts, points, strict=True):
        if not (abs(longitude) <= 180 and abs(latitude) <= 90):
            raise InputError(f"{option} {text}: not longitude, latitude in degrees; this place is geographic")
    return place.georeference.to_metres(points)


def _extent(place: Area) -> str:
    x0, y0, x1, y1 = place.bounds
    corners = np.array([[x0, y0], [x1, y1]])
    if place.georeference is None:
        return f"x {x0:.0f} to {x1:.0f} m, y {y0:.0f} to {y1:.0f} m"
    (west, south), (east, north) = place.georeference.to_degrees(corners)
    return f"{west:.4f} to {east:.4f}° east, {south:.4f} to {north:.4f}° north"


def recipe(survey: Survey, **settings: Any) -> dict[str, Any]:
    """The survey as JSON, with its source's checksum: what a site folder is of."""
    path = Path(survey.place)
    found = [path, path / "buildings_exact.json", path / "buildings.json"]
    file = next((f for f in found if f.is_file()), None)
    asked = asdict(survey) | {"place": survey.place if file is None else load_place(survey.place, survey.seed).name}
    source = survey.place if file is None else f"sha256:{sha256(file)}"
    return dict(json.loads(json.dumps({"survey": asked, "source": source} | settings)))


def note_recipe(folder: Path, made: dict[str, Any]) -> None:
    """Notes in a folder what is made there, or finds that the same was begun, and removes what a killed run left.

    Raises:
        InputError: the folder holds another site, or something else.
    """
    begun = (folder / RECIPE).exists()
    if not begun and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "a site without its recipe" if (folder / NOTE).exists() else "something else"
        raise InputError(f"{folder}: holds {what}; give a new or empty folder as --out")
    note_folder_recipe(folder, made, lambda found: f"another site{_difference(found, made)}; give another --out")
    for unfinished in folder.glob("**/.*.part"):
        unfinished.unlink(missing_ok=True)


def _difference(found: Any, made: dict[str, Any]) -> str:
    """Which settings differ, for the message."""
    if not isinstance(found, dict):
        return ""
    flat = [{**{k: v for k, v in r.items() if k != "survey"}, **(r.get("survey") or {})} for r in (found, made)]
    names = [name for name in flat[1] if flat[0].get(name) != flat[1][name]]
    return f" (other {', '.join(names)})" if names else ""


def trace_links(folder: Path, ground: Ground, survey: Survey) -> Iterator[int]:
    """Traces what of the links is not there yet, and gives the number of UEs done after each chunk, those there first.

    Links without a path are left out. The chunks become one data set when the last one is there.

    Raises:
        InputError: the tracer can't run here, or too few links have a path.
    """
    ue = ground.users(survey.ue, survey.seed)
    starts = range(0, len(ue), CHUNK)
    work = [
        (station, start, folder / f"links-{number * len(starts) + i:05d}.safetensors")
        for number, station in enumerate(ground.stations)
        for i, start in enumerate(starts)
    ]
    todo = [job for job in work if not job[2].exists()]
    yield sum(len(ue[start : start + CHUNK]) for _, start, path in work if path.exists())
    if todo:
        scene = build_scene(ground.area, survey.ray_tracing)
        image = obstacles(ground.area, ground.stations)
        for station, start, path in todo:
            part = ue[start : start + CHUNK]
            paths = trace_scene(scene, np.array([station.position]), part, survey.ray_tracing)
            found = np.flatnonzero(paths.counts > 0)
            links = Links(
                areas=(f"{ground.area.name}/{station.name}",), maps=image[None], mapped=np.ones(1, dtype=bool),
                sizes=np.array([ground.area.size], dtype=np.float32), area=np.zeros(len(found), dtype=np.int32),
                bs=np.tile(station.position, (len(found), 1)).astype(np.float32), ue=part[found].astype(np.float32),
                bearing=np.full(len(found), station.bearing, dtype=np.float32),
                los=paths.los()[found], paths=paths.select(found),
                radios=(Radio(carrier=survey.ray_tracing.frequency),),
            )  # fmt: skip
            shards.write_shard(path, links)
            yield len(part)
    if not (folder / "manifest.json").exists():
        shards.write_manifest(folder, {"ue": survey.ue, "seed": survey.seed}, ground.area.attribution)
