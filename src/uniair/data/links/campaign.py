"""A ray-tracing campaign: places × areas × BSs × UEs → links on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import Polygon, box

from uniair.area import footprints, procedural
from uniair.area.area import Area
from uniair.area.positions import read_positions
from uniair.area.raster import building_heights
from uniair.data.links import engines, shards
from uniair.data.links.deployment import Deployment
from uniair.data.links.links import Links
from uniair.data.recipe import noted, traced_over_diagonals
from uniair.environment import BS_HEIGHT, UE_HEIGHT
from uniair.errors import InputError
from uniair.files import sha256
from uniair.progress import bar
from uniair.propagation.ray_tracing import (
    RayTracing,
    check_materials,
    give_memory_back,
    require_sionna,
    trace,
    tracer,
)
from uniair.radio import Radio


@dataclass(frozen=True)
class Campaign:
    """What to trace.

    Attributes:
        places: footprint files or folders, `sionna:NAME`, or `procedural:SEED`.
        root: folder that file names in `places` start from.
        areas: crops over all places; a place's share goes with the square root of its built-up ground.
        even: the same number of areas from every place instead.
        bs: base stations an area.
        ue: users an area; 5 BS × 30 UE is the paper's S1.
        users: file of positions or a track in the one place (`area.positions`) instead of drawn users; the areas are
            then the unturned squares of the largest side that hold some, whatever the number and the filters.
        side: smallest and largest side of a crop, m.
        rotate: turn each crop by a random angle.
        coverage: smallest and largest accepted share of ground under buildings.
        least_buildings: fewest buildings in a crop.
        least_height: lower buildings are raised to it, m (paper 1: buildings exceed BSs and UEs).
        bs_height: m.
        ue_height: m.
        pixels: raster of the stored maps.
        areas_per_shard: areas in one file, the unit of work and of resumption.
        seed: of everything drawn.
        deployment: what is drawn anew for each area, see `Deployment`.
        ray_tracing: see `RayTracing`.
    """

    places: tuple[str, ...]
    root: str = "."
    areas: int = 100
    even: bool = False
    bs: int = 5
    ue: int = 30
    users: str | None = None
    side: tuple[float, float] = (120.0, 260.0)
    rotate: bool = True
    coverage: tuple[float, float] = (0.05, 0.55)
    least_buildings: int = 4
    least_height: float = 7.0
    bs_height: float = BS_HEIGHT
    ue_height: float = UE_HEIGHT
    pixels: int = 256
    areas_per_shard: int = 20
    seed: int = 0
    deployment: Deployment = field(default_factory=Deployment)
    ray_tracing: RayTracing = field(default_factory=RayTracing)

    def __post_init__(self) -> None:
        if not self.places:
            raise InputError("campaign: no places; give footprint files, sionna:NAME or procedural:SEED")
        for name in ("areas", "bs", "ue", "pixels", "areas_per_shard"):
            if getattr(self, name) < 1:
                raise InputError(f"campaign: {name} must be at least 1")
        if self.seed < 0:
            raise InputError(f"campaign: seed is {self.seed}; give a whole number from 0")
        for name in ("bs_height", "ue_height"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"campaign: {name} is {getattr(self, name):g} m; give metres above ground")
        if self.users is not None and len(self.places) != 1:
            raise InputError("campaign: users stand in one place; give it alone")
        if not 0 < self.side[0] <= self.side[1]:
            raise InputError(f"campaign: side {self.side} must be two lengths in metres, the smaller first")

    def sources(self) -> list[str]:
        """The places with `root` in front of file names."""
        return [p if p.startswith(("sionna:", "procedural:")) else str(Path(self.root) / p) for p in self.places]


@lru_cache(maxsize=64)
def load_place(place: str, seed: int) -> Area:
    """The whole place, from a file, the sionna-rt wheel or the generator."""
    if place.startswith("procedural:"):
        number = place.removeprefix("procedural:")
        if not (number.isascii() and number.isdigit()):
            raise InputError(
                f"{place}: the seed of a generated town is a whole number from 0; say procedural:7, for instance"
            )
        return procedural.city(int(number))
    return footprints.load(place, seed)


def load_places(campaign: Campaign) -> list[Area]:
    """The whole places of a campaign, in order."""
    return [load_place(place, campaign.seed) for place in campaign.sources()]


def draw_crop(campaign: Campaign, place: str, number: int) -> tuple[Area, np.random.Generator]:
    """Area `number` of a place, the first crop that passes the filters, and the generator for its BSs and UEs.

    Depends on nothing but the seed, the place's name and the number: never on the workers or on other areas.

    Raises:
        InputError: no crop of the place passes the filters.
    """
    area, _, rng = _draw(campaign, place, number)
    return area, rng


def square_of(campaign: Campaign, place: str, number: int) -> tuple[str, Polygon]:
    """Name of area `number` and the ground that it covers in the place's own metres; what a split by area needs."""
    area, (x, y, side, rotation), _ = _draw(campaign, place, number)
    square = box(x, y, x + side, y + side)
    return area.name, affinity.rotate(square, rotation, origin="centroid", use_radians=True)


def _draw(
    campaign: Campaign, place: str, number: int
) -> tuple[Area, tuple[float, float, float, float], np.random.Generator]:
    city = load_place(place, campaign.seed)
    if campaign.users is not None:
        (x, y), _ = users_by_square(campaign)[0][number]
        rng = np.random.default_rng([campaign.seed, zlib.crc32(city.name.encode()), number])
        area = city.crop(x, y, campaign.side[1], name=f"{city.name}/{number:05d}")
        return _raised(campaign, area), (x, y, campaign.side[1], 0.0), rng
    rng = np.random.default_rng([campaign.seed, zlib.crc32(city.name.encode()), number])
    centres = _centres(place, campaign.seed)
    for _ in range(300):
        side = rng.uniform(*campaign.side)
        rotation = rng.uniform(0, 2 * np.pi) if campaign.rotate else 0.0
        x, y = centres[rng.integers(len(centres))] + rng.uniform(-side / 4, side / 4, 2) - side / 2
        area = city.crop(x, y, side, rotation=rotation, name=f"{city.name}/{number:05d}")
        seen = area.statistics()
        if seen.buildings >= campaign.least_buildings and campaign.coverage[0] <= seen.coverage <= campaign.coverage[1]:
            return _raised(campaign, area), (float(x), float(y), side, rotation), rng
    raise InputError(
        f"{place}: no crop of {campaign.side} m passes the filters; widen --coverage or lower --least_buildings"
    )


def _raised(campaign: Campaign, area: Area) -> Area:
    """With low buildings raised; a roof on posts stays as high as it is."""
    heights = np.where(area.obstacles, np.maximum(area.heights, campaign.least_height), area.heights)
    return replace(area, heights=heights, georeference=None)


@lru_cache(maxsize=8)
def users_by_square(
    campaign: Campaign,
) -> tuple[list[tuple[tuple[float, float], NDArray[np.float64]]], dict[str, int]]:
    """South-west corner and users [n, 3], m from it, of every square that holds some; how many users are left out.

    Raises:
        InputError: the file can't be read, or no user stands outdoors in a square with buildings.
    """
    city, side = load_place(campaign.sources()[0], campaign.seed), campaign.side[1]
    found = read_positions(str(campaign.users), city, campaign.ue_height).outdoors(city)
    origin = np.asarray(city.bounds[:2])
    cells, of = np.unique((found.points[:, :2] - origin) // side, axis=0, return_inverse=True)
    squares: list[tuple[tuple[float, float], NDArray[np.float64]]] = []
    left = dict(found.left_out)
    for number, (x, y) in enumerate((cells * side + origin).tolist()):
        users = found.points[of.ravel() == number] - (x, y, 0.0)
        if city.crop(x, y, side).footprints:
            squares.append(((x, y), users))
        else:
            left["in a square without buildings"] = left.get("in a square without buildings", 0) + len(users)
    if not squares:
        raise InputError(f"{campaign.users}: no position within {side:g} m of a building; is this the right place?")
    return squares, left


@lru_cache(maxsize=64)
def _centres(place: str, seed: int) -> NDArray[np.float64]:
    return shapely.get_coordinates(shapely.centroid(np.asarray(load_place(place, seed).footprints)))


def plan(campaign: Campaign) -> list[tuple[str, int]]:
    """(place, number) of every area, places interleaved so that any prefix covers them all."""
    places = campaign.sources()
    if campaign.users is not None:
        return [(places[0], number) for number in range(len(users_by_square(campaign)[0]))]
    cells = np.array([len({tuple(c) for c in (_centres(p, campaign.seed) // 200).astype(int)}) for p in places])
    weight = np.ones(len(places)) if campaign.even else np.sqrt(cells)
    share = weight / weight.sum() * campaign.areas
    quota = np.floor(share).astype(int)
    quota[np.argsort(quota - share, kind="stable")[: campaign.areas - quota.sum()]] += 1
    turns = [((k + 0.5) / q, i, k) for i, q in enumerate(quota) for k in range(q)]
    return [(places[i], k) for _, i, k in sorted(turns)]


def trace_area(campaign: Campaign, place: str, number: int) -> Links:
    """Traces one area; links without a path are left out."""
    area, rng = draw_crop(campaign, place, number)
    deployment, drawn = campaign.deployment, np.random.default_rng([campaign.seed, *area.name.encode()])
    config = deployment.tracer(campaign.ray_tracing, drawn)
    bs = deployment.stations(area, campaign.bs, campaign.bs_height, rng, drawn)
    if campaign.users is None:
        ue = deployment.users(area, campaign.ue, campaign.ue_height, rng, drawn)
    else:
        ue = users_by_square(campaign)[0][number][1]
    paths = trace(area, bs, ue, config)
    give_memory_back()
    found = np.flatnonzero(paths.counts > 0)
    heights = building_heights(area.select(np.flatnonzero(area.obstacles)), campaign.pixels)
    return Links(
        areas=(area.name,),
        maps=heights[None],
        mapped=np.ones(1, dtype=bool),
        sizes=np.array([area.size], dtype=np.float32),
        area=np.zeros(len(found), dtype=np.int32),
        bs=np.repeat(bs, len(ue), axis=0)[found].astype(np.float32),
        ue=np.tile(ue, (campaign.bs, 1))[found].astype(np.float32),
        bearing=np.zeros(len(found), dtype=np.float32),
        los=paths.los()[found],
        paths=paths.select(found),
        radios=(Radio(carrier=config.frequency),),
    )


def trace_shard(campaign: Campaign, areas: list[tuple[str, int]], path: Path) -> None:
    """Traces the areas of one shard and writes it."""
    shards.write_shard(path, Links.concatenate([trace_area(campaign, place, number) for place, number in areas]))


def trace_shard_elsewhere(campaign: Campaign, areas: list[tuple[str, int]], path: Path) -> None:
    """As `trace_shard`, on a machine that may not see the same files; a shard that is there stays.

    Raises:
        InputError: this machine does not see the campaign's folder or its places, or has another sionna-rt.
    """
    try:
        noted = json.loads((path.parent / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.parent}: no recipe.json here; give an --out that all workers share") from error
    if _recipe_here(campaign) != noted:
        raise InputError("the place files or sionna-rt differ here from those of the campaign; make them the same")
    if not path.exists():  # a worker that died after it wrote the shard
        trace_shard(campaign, areas, path)


def recipe(campaign: Campaign) -> dict[str, Any]:
    """The campaign as JSON, with the checksum of every source file: what `recipe.json` and the manifest hold."""
    sources = {}
    for place in campaign.sources():
        digests = [sha256(file) for file in footprints.files(place)]
        if len(digests) > 1:
            digests = [hashlib.sha256(" ".join(digests).encode()).hexdigest()]
        sources[load_place(place, campaign.seed).name] = f"sha256:{digests[0]}" if digests else place
    if len(sources) < len(campaign.places):
        raise InputError(
            f"campaign: two places have the same name ({', '.join(sources)}); give each once, rename a folder"
        )
    settings = asdict(campaign)
    settings["places"] = list(sources)
    if campaign.users is None:
        del settings["users"]  # campaigns from before there were any go on
    else:
        settings["users"] = f"sha256:{sha256(Path(campaign.users))}"
    del settings["root"]  # where the files lie on this machine changes nothing
    # another tracer may find other paths: a campaign does not go on with one
    return json.loads(
        json.dumps(
            {
                "campaign": settings,
                "sources": sources,
                "tracer": tracer(campaign.ray_tracing),
                "format": shards.FORMAT,  # shards of two formats don't belong together
            }
        )
    )


_recipe_here = lru_cache(maxsize=1)(recipe)  # a worker compares once, not before every shard


def run(
    campaign: Campaign,
    out: Path,
    workers: int = 2,
    limit: int | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
) -> dict[str, Any]:
    """Runs a campaign into `out` and returns its manifest.

    Shards that are there stay; a run that was killed goes on where it stopped and ends with the same bytes, whatever
    the engine and the number of workers.

    Args:
        workers: shards traced at the same time.
        limit: trace only this many areas of the plan now; the same call with a higher limit, or none, adds the rest.
        engine: processes of this machine, or Ray tasks.
        address: of a Ray cluster, whose machines must share `out` and the places; see `engines.on_ray`.

    Raises:
        InputError: `out` holds another campaign, a place can't be read, or the tracer can't run here or on a worker.
    """
    if workers < 1:
        raise InputError(f"campaign: workers is {workers}; it must be at least 1")
    if limit is not None and limit < 1:
        raise InputError(f"campaign: limit is {limit}; it must be at least 1")
    if address is not None and engine != "ray":
        raise InputError("campaign: an address is for --engine ray; add it, or leave --address out")
    require_sionna()
    if engine == "ray":  # its workers have other working directories
        users = None if campaign.users is None else str(Path(campaign.users).resolve())
        campaign, out = replace(campaign, root=str(Path(campaign.root).resolve()), users=users), out.resolve()
    _check_carriers(campaign)
    made, areas = recipe(campaign), plan(campaign)
    other = "another campaign (see recipe.json); give another --out, or the same settings"
    with noted(out, made, lambda found: traced_over_diagonals(found, made) or other, "links-*.safetensors"):
        _trace(campaign, areas, out, workers, limit, engine, address)
    attribution = "; ".join(sorted({load_place(p, campaign.seed).attribution for p in campaign.sources()}))
    return shards.write_manifest(out, made, attribution)


def _check_carriers(campaign: Campaign) -> None:
    """Raises `InputError` where the tracer knows no walls at a carrier that may be drawn."""
    config, deployment = campaign.ray_tracing, campaign.deployment
    for carrier in deployment.carriers or (config.frequency,):
        if deployment.vary_tracer:
            deployment.require_materials(carrier)
        else:
            check_materials(replace(config, frequency=carrier))


def _trace(
    campaign: Campaign,
    areas: list[tuple[str, int]],
    out: Path,
    workers: int,
    limit: int | None,
    engine: Literal["local", "ray"],
    address: str | None,
) -> None:
    """Traces the shards that `out` lacks; arguments as for `run`."""
    _clean(out)
    step = campaign.areas_per_shard
    work = [(areas[i : i + step], out / f"links-{i // step:05d}.safetensors") for i in range(0, len(areas), step)]
    if limit is not None:
        work = work[: -(-limit // step)]
    todo = [(part, path) for part, path in work if not path.exists()]
    total, left = (sum(len(part) for part, _ in jobs) for jobs in (work, todo))
    if engine == "ray":
        finished = engines.on_ray(partial(trace_shard_elsewhere, campaign), todo, workers, address)
    else:
        finished = engines.local(partial(trace_shard, campaign), todo, workers)
    with bar(total, "area", "tracing", total - left) as shown:
        for part, _ in finished:
            shown.update(len(part))
    _clean(out)
    if lost := {path.name for _, path in todo}.difference(os.listdir(out)):
        raise InputError(f"{out}: {len(lost)} shards were written elsewhere; give an --out that all workers share")


def _clean(out: Path) -> None:
    """Removes what killed workers left."""
    for unfinished in out.glob(".*.part"):
        if unfinished.is_file():
            unfinished.unlink(missing_ok=True)
