"""From footprints and base stations to the links of a site, in chunks that a killed run need not trace again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.area.positions import Positions, read_positions
from uniair.data.links import shards
from uniair.data.links.campaign import load_place
from uniair.data.links.links import Links
from uniair.environment import BS_HEIGHT, UE_HEIGHT
from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing, Scene, build_scene, trace_scene
from uniair.propagation.sector import Sector
from uniair.radio import Radio
from uniair.site import indoors
from uniair.site.indoors import Indoors
from uniair.site.plan import Mast, Plan, bearing, read_plan
from uniair.site.site import Station, obstacles

CHUNK = 250  # UEs traced at once: what a killed run loses at most
LEAST_LINKS = 100  # of a station; fewer leave nothing to learn from and test on
LEARNED_FROM = "; some are learned from, some tested on"
POWER = 30.0  # dBm of a base station whose power nobody says
# the street-scale defaults find too little of what comes down from over the roofs; `uniair bench maps` measures it
OVER_ROOFS = RayTracing(samples=300_000, probe_users=30, every_edge=True)
EXAMPLE = "procedural:7"
EXAMPLE_STATIONS = ("400,400",)


@dataclass(frozen=True)
class Survey:
    """What is traced.

    Attributes:
        place: footprint file or folder, `sionna:NAME` or `procedural:SEED`.
        bs: base stations, each `lon,lat` where the place is geographic, else `x,y` in its metres, then, if wanted,
            `,height` in m above ground (`+3`: above the roof) and `,azimuth` of the boresight in degrees clockwise
            from north.
        side: of the square, m.
        centre: of the square, as `bs`; the middle of the base stations where None.
        ue: users outdoors; each station is traced to the same ones.
        least_height: lower buildings are raised to it, m; the model was trained on 7 m and more.
        seed: of the users, and of building heights that the file does not give.
        ray_tracing: see `RayTracing`; its carrier is the radio's.
        radio: of all base stations of `bs`.
        users: file of positions or a track (`area.positions`) instead of drawn users.
        sites: file of masts and sectors (`site.plan`) instead of `bs` and `radio`.
        power: of each base station of `bs`, dBm.
        indoor: users inside buildings, by floor, beside those outdoors; for `sites` alone, heads learn from streets.
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
    sites: str | None = None
    power: float = POWER
    indoor: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ray_tracing", replace(self.ray_tracing, frequency=self.radio.carrier))


@dataclass(frozen=True)
class Source(Station):
    """What is traced at once: a mast at one carrier, for all of its sectors there.

    Attributes:
        name: of the mast, and the carrier where it has several; what its links are called after the area's name.
        bearing: of its one array; 0 where there are several.
        radio: whose carrier the links have.
    """

    radio: Radio = Radio()


@dataclass(frozen=True)
class Ground:
    """The square that a survey is of.

    Attributes:
        area: south-west corner at the origin.
        stations: its sectors, one station each; those of `bs` are named bs0, bs1, ….
        corner: of the square in the place's metres.
        own: users of a file, in the square and outdoors; None where they are drawn.
        sources: what is traced.
        sectors: of each station.
        remarks: what to know about the sites that were given.
        inside: users inside buildings; None: none were asked for.
    """

    area: Area
    stations: tuple[Station, ...]
    corner: tuple[float, float]
    own: Positions | None = None
    sources: tuple[Source, ...] = ()
    sectors: tuple[Sector, ...] = ()
    remarks: tuple[str, ...] = ()
    inside: Indoors | None = None

    def users(self, count: int, seed: int) -> NDArray[np.float64]:
        """Those of the file, or `count` drawn positions outdoors: [U, 3] m."""
        if self.own is not None:
            return self.own.points
        return self.area.drop(count, UE_HEIGHT, np.random.default_rng([seed, 0x517E]))

    def traced(self, count: int, seed: int) -> NDArray[np.float64]:
        """Where the radio is traced to: all users outdoors, then the spots before the walls of those inside: [U, 3]."""
        outdoors = self.users(count, seed)
        return outdoors if self.inside is None else np.concatenate([outdoors, self.inside.spots])

    def count(self, drawn: int) -> int:
        """How many users there are outdoors, of which `drawn` would be drawn."""
        return drawn if self.own is None else len(self.own)

    def source(self, sector: int) -> Source:
        """What holds the paths of a sector."""
        wanted = self.sectors[sector]
        names = {wanted.mast, source_name(wanted.mast, wanted.carrier)}
        return next(source for source in self.sources if source.name in names)


def source_name(mast: str, carrier: float) -> str:
    """Of the links of a mast that has several carriers."""
    return f"{mast}@{carrier / 1e6:g}MHz"


def crop(survey: Survey) -> Ground:
    """Reads the place and lays the square.

    Raises:
        InputError: no such file, a base station or a file of sites that can't be read, a mast that lies outside the
            place or the square or below its roof, a square without buildings, or too few users in it.
    """
    if survey.seed < 0:
        raise InputError(f"--seed {survey.seed}: give a whole number from 0")
    if survey.sites is None and not survey.bs:
        raise InputError("--bs: give a base station, lon,lat[,height[,azimuth]], or x,y,… where FILE is in metres")
    if survey.sites is not None and survey.bs:
        raise InputError("--bs and --sites: give one; a file of sites has everything")
    if not (np.isfinite(survey.side) and survey.side > 0):
        raise InputError(f"--side {survey.side:g}: must be above 0 m")
    least = LEAST_LINKS if survey.sites is None else 1
    if survey.users is None and survey.ue < least:
        raise InputError(f"--ue {survey.ue}: give at least {least}" + LEARNED_FROM * (survey.sites is None))
    if survey.indoor < 0 or (survey.indoor and survey.sites is None):
        raise InputError(
            f"--indoor {survey.indoor}: users inside buildings are for --sites; give 0, or a file of sites"
        )
    place = load_place(survey.place, survey.seed)
    plan = read_plan(survey.sites) if survey.sites is not None else Plan(_typed(survey, place.georeference is not None))
    points = np.array([_metres(mast, place) for mast in plan.masts])
    x0, y0, x1, y1 = place.bounds
    for mast, (x, y) in zip(plan.masts, points, strict=True):
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            raise InputError(f"{_at(mast)}: lies outside {survey.place}, whose buildings cover {_extent(place)}")
    if survey.centre is None:
        middle = (points.min(0) + points.max(0)) / 2
    else:
        x, y = _numbers("--centre", survey.centre, 2)
        middle = _metres(Mast("", (x, y), True, 0.0, False, (), f"--centre {survey.centre}"), place)
    corner = middle - survey.side / 2
    area = cut(survey, place, (float(corner[0]), float(corner[1])))
    if not area.footprints:
        asked = "--bs" if survey.sites is None else survey.sites
        raise InputError(
            f"{survey.place}: no buildings within {survey.side:g} m about {asked}; move it, or raise --side"
        )
    stood = [_stood(mast, point - corner, area) for mast, point in zip(plan.masts, points, strict=True)]
    for i, position in enumerate(stood):
        if position[:2] in [other[:2] for other in stood[:i]]:
            raise InputError(f"{_at(plan.masts[i])}: two base stations stand at the same point; move one" + (
                "" if survey.sites is None else ", or give the sectors of a mast the name of one site"
            ))  # fmt: skip
    found = (float(corner[0]), float(corner[1]))
    own = None if survey.users is None else _own_users(survey, place, area, found)
    stations = [
        Station(sector.name, position, sector.bearing)
        for mast, position in zip(plan.masts, stood, strict=True)
        for sector in mast.sectors
    ]
    inside = indoors.draw(area, survey.indoor, np.random.default_rng([survey.seed, 0x1D])) if survey.indoor else None
    sources = _sources(survey, plan, stood)
    return Ground(area, tuple(stations), found, own, sources, plan.sectors, plan.remarks, inside)


def _typed(survey: Survey, degrees: bool) -> tuple[Mast, ...]:
    """The base stations of the command line, one sector each."""
    masts = []
    for i, text in enumerate(survey.bs):
        numbers, name, radio = _numbers("--bs", text, 4), f"bs{i}", survey.radio
        above_roof = len(numbers) > 2 and text.split(",")[2].strip().startswith("+")
        height = numbers[2] if len(numbers) > 2 else BS_HEIGHT
        if not 0.5 <= height <= 200:
            raise InputError(
                f"--bs {text}: height {height:g} m; give 0.5 to 200 m above ground, +3 for 3 m above a roof"
            )
        sector = Sector(
            name, name, bearing=bearing(numbers[3]) if len(numbers) > 3 else 0.0, downtilt=0.0, electrical=0.0,
            power=survey.power, carrier=radio.carrier, bandwidth=radio.grid.bandwidth,
            spacing=radio.grid.bandwidth / radio.grid.subcarriers, array=radio.array,
        )  # fmt: skip
        masts.append(Mast(name, (numbers[0], numbers[1]), degrees, height, above_roof, (sector,), f"--bs {text}"))
    return tuple(masts)


def _sources(survey: Survey, plan: Plan, stood: Sequence[tuple[float, float, float]]) -> tuple[Source, ...]:
    if survey.sites is None:
        return tuple(
            Source(mast.name, position, mast.sectors[0].bearing, survey.radio)
            for mast, position in zip(plan.masts, stood, strict=True)
        )
    out = []
    for mast, position in zip(plan.masts, stood, strict=True):
        carriers = dict.fromkeys(sector.carrier for sector in mast.sectors)
        for carrier in carriers:
            name = mast.name if len(carriers) == 1 else source_name(mast.name, carrier)
            out.append(Source(name, position, 0.0, Radio(carrier=carrier)))
    return tuple(out)


def _stood(mast: Mast, plan: NDArray[np.float64], area: Area) -> tuple[float, float, float]:
    """Where an antenna stands in the square, m.

    Raises:
        InputError: outside the square, below its roof, or above a roof that is not there.
    """
    typed = mast.where.startswith("--bs")
    if not ((plan >= 0) & (plan <= area.size)).all():
        raise InputError(f"{_at(mast)}: lies outside the square of {area.size:g} m; raise --side or move --centre")
    roof = float(area.top(plan[None])[0])
    if mast.above_roof:
        if not roof:
            column = "" if typed else ", above_roof_m"
            instead = "the height above ground, without +" if typed else "height_m"
            raise InputError(f"{mast.where}{column}: no roof there; give {instead}")
        return (float(plan[0]), float(plan[1]), roof + mast.height)
    position = (float(plan[0]), float(plan[1]), mast.height)
    if area.inside_building(np.array([position]))[0]:
        column = "" if typed else ", height_m"
        instead = "+3 for 3 m above it" if typed else "above_roof_m instead"
        raise InputError(
            f"{mast.where}{column}: stands inside a building at {mast.height:g} m above ground, below its roof of "
            f"{roof:.1f} m; give {instead}, or move it onto the street in front"
        )
    return position


def _at(mast: Mast) -> str:
    """Where a mast's position is given, for messages."""
    if mast.where.startswith("--"):
        return mast.where
    return f"{mast.where}, {'latitude and longitude' if mast.degrees else 'x_m and y_m'}"


def cut(survey: Survey, place: Area, corner: tuple[float, float]) -> Area:
    """The square of a place, its low buildings raised; a roof on posts stays as high as it is."""
    area = place.crop(*corner, survey.side, name=place.name)
    raised = np.where(area.obstacles, np.maximum(area.heights, survey.least_height), area.heights)
    return replace(area, heights=raised)


def _own_users(survey: Survey, place: Area, area: Area, corner: tuple[float, float]) -> Positions:
    """The users of a file that stand in the square and outdoors; the others are counted.

    Raises:
        InputError: the file can't be read, or too few are left to learn from.
    """
    path, least = str(survey.users), LEAST_LINKS if survey.sites is None else 1
    found = read_positions(path, place)
    kept = replace(found, points=found.points - (*corner, 0.0)).outdoors(area)
    counts = {reason.replace("the area", "the square"): count for reason, count in kept.left_out.items()}
    if len(kept) < least:
        left = "".join(f", {count:,} {reason}" for reason, count in counts.items())
        raise InputError(
            f"{path}: {len(kept):,} of {len(found):,} positions stand outdoors in the square of {area.size:g} m{left}; "
            f"give at least {least}, or move --centre or raise --side"
        )
    return replace(kept, left_out=counts)


def _numbers(option: str, text: str, most: int) -> list[float]:
    parts = text.split(",")
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if not (2 <= len(found) <= most and np.isfinite(found).all()):
        form = "lon,lat[,height[,azimuth]]" if most == 4 else "lon,lat"
        raise InputError(f"{option} {text}: not {form} (or x,y in metres); write numbers with commas and no spaces")
    return found


def _metres(mast: Mast, place: Area) -> NDArray[np.float64]:
    """A mast's position in the place's metres: [2].

    Raises:
        InputError: degrees where the place lies nowhere on Earth, or numbers that are none.
    """
    if not mast.degrees or (mast.where.startswith("--") and place.georeference is None):
        return np.array(mast.plan)
    if place.georeference is None:
        raise InputError(
            f"{mast.where}, latitude: degrees, but it is not known where on Earth {place.name} lies; give x_m and y_m"
        )
    longitude, latitude = mast.plan
    if not (abs(longitude) <= 180 and abs(latitude) <= 90):
        raise InputError(f"{mast.where}: not longitude, latitude in degrees; this place is geographic")
    return place.georeference.to_metres(np.array([mast.plan]))[0]


def _extent(place: Area) -> str:
    x0, y0, x1, y1 = place.bounds
    corners = np.array([[x0, y0], [x1, y1]])
    if place.georeference is None:
        return f"x {x0:.0f} to {x1:.0f} m, y {y0:.0f} to {y1:.0f} m"
    (west, south), (east, north) = place.georeference.to_degrees(corners)
    return f"{west:.4f} to {east:.4f}° east, {south:.4f} to {north:.4f}° north"


def trace_links(
    folder: Path, ground: Ground, survey: Survey, spots: NDArray[np.float64] | None = None
) -> Iterator[int]:
    """Traces what of the links is not there yet, and gives the number of UEs done after each chunk, those there first.

    Links without a path are left out. The chunks become one data set when the last one is there.

    Args:
        spots: [N, 3] m to trace to; the users where None.

    Raises:
        InputError: the tracer can't run here.
    """
    ue = ground.traced(survey.ue, survey.seed) if spots is None else spots
    if survey.sites is not None:
        ue = ue[by_neighbourhood(ue[:, :2])]
    starts = range(0, len(ue), CHUNK)
    work = [
        (source, start, folder / f"links-{number * len(starts) + i:05d}.safetensors")
        for number, source in enumerate(ground.sources)
        for i, start in enumerate(starts)
    ]
    todo = [job for job in work if not job[2].exists()]
    yield sum(len(ue[start : start + CHUNK]) for _, start, path in work if path.exists())
    if todo:
        scene = scene_of(ground.area, survey, todo[0][0].radio.carrier)
        carrier = todo[0][0].radio.carrier
        for source, start, path in todo:
            if source.radio.carrier != carrier:
                carrier = source.radio.carrier
                scene = scene_of(ground.area, survey, carrier)
            part = ue[start : start + CHUNK]
            shards.write_shard(path, links_of(scene, ground, source, part, survey))
            yield len(part)
    if not (folder / "manifest.json").exists():
        shards.write_manifest(folder, {"ue": len(ue), "seed": survey.seed}, ground.area.attribution)


def by_neighbourhood(plan: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order of positions [N, 2] in which neighbours come together: that of a Z-order curve (Morton, 1966).

    The tracer looks for chains of walls and edges from some users of a chunk for all of it: what it finds for one
    serves those about it. Over 1,000 places of Krems that halved the time, and the median difference from a map.
    """
    extent = max(float(np.ptp(plan, axis=0).max()), 1e-9)
    cell = ((plan - plan.min(0)) / extent * 65535).astype(np.int64)
    key = np.zeros(len(plan), dtype=np.int64)
    for bit in range(16):
        for axis in range(2):
            key |= ((cell[:, axis] >> bit) & 1) << (2 * bit + axis)
    return np.argsort(key, kind="stable")


def scene_of(area: Area, survey: Survey, carrier: float | None = None) -> Scene:
    """What the tracer sees of a square at a carrier, Hz; the survey's where not given.

    Raises:
        InputError: the tracer can't run here.
    """
    config = survey.ray_tracing
    return build_scene(area, config if carrier is None else replace(config, frequency=carrier))


def links_of(scene: Scene, ground: Ground, source: Source, ue: NDArray[np.float64], survey: Survey) -> Links:
    """The links of a mast to those of the users [U, 3] m that a path reaches, in their order."""
    image = obstacles(ground.area, ground.sources)
    config = replace(survey.ray_tracing, frequency=source.radio.carrier)
    paths = trace_scene(scene, np.array([source.position]), ue, config)
    found = np.flatnonzero(paths.counts > 0)
    return Links(
        areas=(f"{ground.area.name}/{source.name}",), maps=image[None], mapped=np.ones(1, dtype=bool),
        sizes=np.array([ground.area.size], dtype=np.float32), area=np.zeros(len(found), dtype=np.int32),
        bs=np.tile(source.position, (len(found), 1)).astype(np.float32), ue=ue[found].astype(np.float32),
        bearing=np.full(len(found), source.bearing, dtype=np.float32),
        los=paths.los()[found], paths=paths.select(found), radios=(source.radio,),
    )  # fmt: skip
