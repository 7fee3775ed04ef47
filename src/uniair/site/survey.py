"""From footprints and base stations to the links of a site, in chunks that a killed run need not trace again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.area import footprints
from uniair.area.area import Area
from uniair.area.positions import Positions, read_positions
from uniair.data.links import shards
from uniair.data.links.campaign import load_place
from uniair.data.links.links import Links
from uniair.data.recipe import RECIPE
from uniair.data.recipe import note_recipe as note_folder_recipe
from uniair.environment import BS_HEIGHT, UE_HEIGHT
from uniair.errors import InputError
from uniair.files import sha256
from uniair.propagation.ray_tracing import RayTracing, Scene, build_scene, trace_scene
from uniair.radio import Radio
from uniair.site.site import NOTE, Station, obstacles

CHUNK = 250  # UEs traced at once: what a killed run loses at most
LEAST_LINKS = 100  # of a station; fewer leave nothing to learn from and test on
EXAMPLE = "procedural:7"
EXAMPLE_STATIONS = ("400,400",)


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
        ray_tracing: see `RayTracing`; its carrier is the radio's.
        radio: of all base stations.
        users: file of positions or a track (`area.positions`) instead of drawn users.
    """

    place: str
    bs: tuple[str, ...]
    side: float = 200.0
    centre: str | None = None
    ue: int = 2000
    least_height: float = 0.0
    seed: int = 0
    ray_tracing: RayTracing = field(default_factory=RayTracing)
    radio: Radio = Radio()
    users: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ray_tracing", replace(self.ray_tracing, frequency=self.radio.carrier))


@dataclass(frozen=True)
class Ground:
    """The square that a survey is of.

    Attributes:
        area: south-west corner at the origin.
        stations: in it, named bs0, bs1, ….
        corner: of the square in the place's metres.
        own: users of a file, in the square and outdoors; None where they are drawn.
    """

    area: Area
    stations: tuple[Station, ...]
    corner: tuple[float, float]
    own: Positions | None = None

    def users(self, count: int, seed: int) -> NDArray[np.float64]:
        """Those of the file, or `count` drawn positions outdoors: [U, 3] m."""
        if self.own is not None:
            return self.own.points
        return self.area.drop(count, UE_HEIGHT, np.random.default_rng([seed, 0x517E]))

    def count(self, drawn: int) -> int:
        """How many users there are, of which `drawn` would be drawn."""
        return drawn if self.own is None else len(self.own)


def crop(survey: Survey) -> Ground:
    """Reads the place and lays the square.

    Raises:
        InputError: no such file, a base station that can't be read, lies outside the place or the square or inside a
            building, a square without buildings, or too few users in it.
    """
    if not survey.bs:
        raise InputError("--bs: give a base station, lon,lat[,height[,bearing]], or x,y,… where FILE is in metres")
    if not (np.isfinite(survey.side) and survey.side > 0):
        raise InputError(f"--side {survey.side:g}: must be above 0 m")
    if survey.users is None and survey.ue < LEAST_LINKS:
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
    area = cut(survey, place, (float(corner[0]), float(corner[1])))
    if not area.footprints:
        raise InputError(f"{survey.place}: no buildings within {survey.side:g} m about --bs; move it, or raise --side")
    stations = []
    for i, (row, position) in enumerate(zip(given, plan - corner, strict=True)):
        text, height = survey.bs[i], row[2] if len(row) > 2 else BS_HEIGHT
        if not ((position >= 0) & (position <= survey.side)).all():
            raise InputError(
                f"--bs {text}: lies outside the square of {survey.side:g} m; raise --side or move --centre"
            )
        if not 0.5 <= height <= 200:
            raise InputError(f"--bs {text}: height {height:g} m; give 0.5 to 200 m above ground")
        stood = np.array([[*position, height]])
        if area.inside_building(stood)[0]:
            roof = float(area.top(stood)[0])
            raise InputError(
                f"--bs {text}: stands inside a building at {height:g} m above ground; move it onto the street in "
                f"front, or give a height above its roof, which is {roof:.1f} m high"
            )
        bearing = float(np.radians(row[3])) if len(row) > 3 else 0.0
        stations.append(Station(f"bs{i}", (float(position[0]), float(position[1]), height), bearing))
    if len({s.position for s in stations}) < len(stations):
        raise InputError("--bs: two base stations stand at the same point; move one")
    found = (float(corner[0]), float(corner[1]))
    own = None if survey.users is None else _own_users(survey.users, place, area, found)
    return Ground(area, tuple(stations), found, own)


def cut(survey: Survey, place: Area, corner: tuple[float, float]) -> Area:
    """The square of a place, its low buildings raised; a roof on posts stays as high as it is."""
    area = place.crop(*corner, survey.side, name=place.name)
    raised = np.where(area.obstacles, np.maximum(area.heights, survey.least_height), area.heights)
    return replace(area, heights=raised)


def _own_users(path: str, place: Area, area: Area, corner: tuple[float, float]) -> Positions:
    """The users of a file that stand in the square and outdoors; the others are counted.

    Raises:
        InputError: the file can't be read, or too few are left to learn from.
    """
    found = read_positions(path, place)
    kept = replace(found, points=found.points - (*corner, 0.0)).outdoors(area)
    counts = {reason.replace("the area", "the square"): count for reason, count in kept.left_out.items()}
    if len(kept) < LEAST_LINKS:
        left = "".join(f", {count:,} {reason}" for reason, count in counts.items())
        raise InputError(
            f"{path}: {len(kept):,} of {len(found):,} positions stand outdoors in the square of {area.size:g} m{left}; "
            f"give at least {LEAST_LINKS}, or move --centre or raise --side"
        )
    return replace(kept, left_out=counts)


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
    digests = [sha256(file) for file in footprints.files(survey.place)]
    if len(digests) > 1:
        digests = [hashlib.sha256(" ".join(digests).encode()).hexdigest()]
    asked = asdict(survey) | {"place": load_place(survey.place, survey.seed).name if digests else survey.place}
    asked["radio"] = survey.radio.to_json()
    if survey.radio == Radio():
        del asked["radio"]  # paper 1's is what a site of the first version has, whose making goes on
    if survey.users is None:
        del asked["users"]  # likewise
    else:
        del asked["ue"]  # nothing is drawn
        asked["users"] = f"sha256:{sha256(Path(survey.users))}"
    source = f"sha256:{digests[0]}" if digests else survey.place
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
        scene = scene_of(ground.area, survey)
        for station, start, path in todo:
            part = ue[start : start + CHUNK]
            shards.write_shard(path, links_of(scene, ground, station, part, survey))
            yield len(part)
    if not (folder / "manifest.json").exists():
        shards.write_manifest(folder, {"ue": len(ue), "seed": survey.seed}, ground.area.attribution)


def scene_of(area: Area, survey: Survey) -> Scene:
    """What the tracer sees of a square.

    Raises:
        InputError: the tracer can't run here.
    """
    return build_scene(area, survey.ray_tracing)


def links_of(scene: Scene, ground: Ground, station: Station, ue: NDArray[np.float64], survey: Survey) -> Links:
    """The links of a station to those of the users [U, 3] m that a path reaches, in their order."""
    image = obstacles(ground.area, ground.stations)
    paths = trace_scene(scene, np.array([station.position]), ue, survey.ray_tracing)
    found = np.flatnonzero(paths.counts > 0)
    return Links(
        areas=(f"{ground.area.name}/{station.name}",), maps=image[None], mapped=np.ones(1, dtype=bool),
        sizes=np.array([ground.area.size], dtype=np.float32), area=np.zeros(len(found), dtype=np.int32),
        bs=np.tile(station.position, (len(found), 1)).astype(np.float32), ue=ue[found].astype(np.float32),
        bearing=np.full(len(found), station.bearing, dtype=np.float32),
        los=paths.los()[found], paths=paths.select(found), radios=(survey.radio,),
    )  # fmt: skip
