"""What a data set holds, and what in it physics rules out: links or drives, file by file in one pass.

The memory needed is a shard's, plus 8 bytes a link (to find links that are there twice) and the pictured areas.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from uniair.data import shards
from uniair.data.drives import FORMAT, Drive, read_drives
from uniair.data.links import Links
from uniair.errors import InputError
from uniair.files import sha256
from uniair.propagation.paths import DIFFRACTION, LOS, REFLECTION, SCATTERING, SPEED_OF_LIGHT, TRANSMISSION, UNKNOWN

EXAMPLES = 5  # named a finding
PICTURES = 24
PICTURED_LINKS = 400  # of one area
TRACKED_STEPS = 4_000  # of one scenario
SLACK = (0.1, 1e-3)  # m, and a share of the distance: one public set takes c for 0.3 m/ns
ABOVE_FREE_SPACE = 3.0  # dB; paths that a tracer merged add up
FARTHEST_UE = 1_000.0  # m from the BS of a drive
KINDS = {REFLECTION: "reflection", DIFFRACTION: "diffraction", SCATTERING: "scattering", TRANSMISSION: "transmission"}
FINDINGS = {
    "shorter": "paths shorter than the straight line from BS to UE; check delays (s) and positions (m)",
    "los_length": "LOS paths longer than the straight line from BS to UE; check delays (s) and positions (m)",
    "los_flag": "links whose LOS flag contradicts the interactions of their paths",
    "bs_indoors": "links whose BS stands inside, or on, a building of the map; check the map's row order and unit",
    "ue_indoors": "links whose UE stands inside a building of the map; check the map's row order and unit",
    "above_free_space": f"paths over {ABOVE_FREE_SPACE:g} dB above free space over their own length; check the gains",
    "area_names": "areas with the name of another area that has another map or size; give each its own number",
    "empty_areas": "areas without links",
    "twice": "links that are there twice (same area, BS, bearing and UE); leave the copies out",
    "unlisted": "files that the manifest does not list; delete them, or make the data set again",
    "drive_names": "drives with the name of another drive; leave the copies out",
    "far_ue": f"steps with the UE over {FARTHEST_UE:g} m from its BS; check the order of latitude and longitude",
    "no_sensors": "drives whose folder of sensor files is gone; give read_drives their new root",
}


class Findings(dict[str, dict[str, Any]]):
    """Suspicious things that the contract allows: key of `FINDINGS` → what, count, and the first few examples."""

    def note(self, key: str, where: Iterable[str], count: int | None = None) -> None:
        """Adds things; `where` says where each is, `count` how many there are when `where` stops early."""
        some = list(where)
        if some:
            entry = self.setdefault(key, {"what": FINDINGS[key], "count": 0, "examples": []})
            entry["count"] += len(some) if count is None else count
            entry["examples"] += some[: EXAMPLES - len(entry["examples"])]

    def lines(self) -> list[str]:
        """For people, a line a finding."""
        return [
            f"{f['count']:,} {f['what']} ({', '.join(f['examples'])}{', …' if f['count'] > len(f['examples']) else ''})"
            for f in self.values()
        ]


class Distribution:
    """Histogram of a quantity, NLOS and LOS apart; values beyond the ends count in the end bins.

    Attributes:
        edges: [bins + 1].
        counts: int64 [2, bins], row 1 is LOS.
        total: float64 [2] sum of the values.
    """

    def __init__(self, edges: NDArray[np.float64]) -> None:
        self.edges, self.total = edges, np.zeros(2)
        self.counts = np.zeros((2, len(edges) - 1), dtype=np.int64)

    def bins(self, values: NDArray[np.floating]) -> NDArray[np.intp]:
        """The bin of each value."""
        return np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, len(self.edges) - 2)

    def add(self, values: NDArray[np.floating], los: NDArray[np.bool_]) -> None:
        """Counts values [N] of links with or without LOS [N]."""
        np.add.at(self.counts, (los.astype(int), self.bins(values)), 1)
        self.total += np.bincount(los, values, 2)

    def quantile(self, share: float, row: int | None = None) -> float:
        """The value that `share` of the links stay below, to a bin's width; NaN without links."""
        counts = self.counts.sum(0) if row is None else self.counts[row]
        cumulated = np.concatenate([[0], np.cumsum(counts)])
        if not cumulated[-1]:
            return float("nan")
        at = share * cumulated[-1]
        i = min(int(np.searchsorted(cumulated, at, side="right")) - 1, len(counts) - 1)
        return float(np.interp(at, cumulated[i : i + 2], self.edges[i : i + 2]))

    def as_json(self) -> dict[str, Any]:
        """Mean and quantiles of all links, and the medians with and without LOS."""
        links = int(self.counts.sum())
        quantiles = {f"p{round(100 * share)}": self.quantile(share) for share in (0.1, 0.5, 0.9)}
        medians = {"median_nlos": self.quantile(0.5, 0), "median_los": self.quantile(0.5, 1)}
        return rounded({"mean": float(self.total.sum()) / links if links else None, **quantiles, **medians})


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Five digits, which is what the histograms are good for; None for NaN, which JSON lacks."""
    return {k: None if v is None or np.isnan(v) else float(f"{v:.5g}") for k, v in values.items()}


@dataclass
class Place:
    """Counts of one place."""

    areas: int = 0
    links: int = 0
    los: int = 0
    paths: int = 0

    def as_json(self) -> dict[str, Any]:
        """Counts, LOS share and paths a link."""
        return {"areas": self.areas, "links": self.links} | rounded(
            {"los_share": self.los / self.links, "paths_a_link": self.paths / self.links}
            if self.links
            else {"los_share": None, "paths_a_link": None}
        )


@dataclass(frozen=True)
class Picture:
    """An area as its picture shows it: the UEs of one BS.

    Attributes:
        name: of the area.
        map: uint8 [R, R]; zeros where unknown.
        size: m.
        bs: [B, 2] all BSs, m; the first is the one whose links are shown.
        ue: [n, 2] m.
        los: bool [n] to the first BS.
    """

    name: str
    map: NDArray[np.uint8]
    size: float
    bs: NDArray[np.float32]
    ue: NDArray[np.float32]
    los: NDArray[np.bool_]


@dataclass
class LinksStatistics:
    """Statistics and findings of a links data set, filled in by `add`.

    Attributes:
        carrier: Hz; None where the recipe does not say.
        pictured: most areas kept for pictures a place.
        places: place → counts.
        areas: area name → (digest of map and size, its links).
        sizes: [areas] m.
        coverage: [areas with a known map] share of the square under buildings.
        path_counts: paths a link → links.
        interactions: code of `Paths.interactions` → (paths, sum over links of their share of the link's power).
        distance: BS to UE in space, m.
        path_gain: 10 log10 Σ|a|², dB.
        gain_over_distance: int64 [2, distance bins, path gain bins], row 1 is LOS.
        first_delay: s.
        delay_spread: root mean square, weighted by power, s; 0 with one path.
        departure_spread, arrival_spread: circular azimuth spread √(−2 ln |Σ p e^{jφ}| / Σ p) (3GPP TR 38.901) at the
            BS and at the UE, rad.
    """

    carrier: float | None = None
    pictured: int = 1
    findings: Findings = field(default_factory=Findings)
    places: dict[str, Place] = field(default_factory=dict)
    areas: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    sizes: list[float] = field(default_factory=list)
    coverage: list[float] = field(default_factory=list)
    path_counts: Counter[int] = field(default_factory=Counter)
    interactions: dict[int, tuple[int, float]] = field(default_factory=dict)
    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    _seen: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))

    def __post_init__(self) -> None:
        delay, angle = np.logspace(-11, -4, 211), np.radians(np.arange(0, 181, 2))  # 30 bins a decade
        self.distance, self.path_gain = Distribution(np.arange(0.0, 2001, 5)), Distribution(np.arange(-260.0, 1, 2))
        self.gain_over_distance = np.zeros((2, 400, 130), dtype=np.int64)
        self.first_delay, self.delay_spread = Distribution(delay), Distribution(delay)
        self.departure_spread, self.arrival_spread = Distribution(angle), Distribution(angle)

    @property
    def links(self) -> int:
        """How many."""
        return sum(place.links for place in self.places.values())

    @property
    def los(self) -> int:
        """Links with LOS."""
        return sum(place.los for place in self.places.values())

    def add(self, links: Links, where: str) -> None:
        """Counts the links of a shard.

        Args:
            where: the shard, for the findings.
        """
        self._add_areas(links)
        self._add_links(links)
        self._check_links(links, where)
        self._check_paths(links, where)

    def _add_areas(self, links: Links) -> None:
        counts = np.bincount(links.area, minlength=len(links.areas))
        for i, (name, count) in enumerate(zip(links.areas, counts, strict=True)):
            ground = hashlib.blake2b(links.maps[i], key=links.sizes[i].tobytes(), digest_size=8).digest()
            place = self.places.setdefault(name.split("/")[0], Place())
            known, before = self.areas.get(name, (b"", 0))
            if known != ground:  # a reader may spread one area over shards
                if known:
                    self.findings.note("area_names", [name])
                place.areas += 1
                self.sizes.append(float(links.sizes[i]))
                if links.mapped[i]:
                    self.coverage.append(float(links.maps[i].mean()))
            self.areas[name] = (ground, before + int(count))
            pictures = self.pictures.setdefault(name.split("/")[0], [])
            if count and not before and len(pictures) < self.pictured:
                pictures.append(_picture(links, i))

    def _add_links(self, links: Links) -> None:
        paths, los = links.paths, links.los
        places = links.places[links.area]
        for name in np.unique(places):
            here, place = places == name, self.places[str(name)]
            place.links += int(here.sum())
            place.los += int(los[here].sum())
            place.paths += int(paths.counts[here].sum())
        self.path_counts.update(paths.counts.tolist())
        link, n = paths.link_of_path, len(links)
        power = np.abs(paths.gain.astype(np.complex128)) ** 2
        total = np.maximum(np.bincount(link, power, n), 1e-30)
        share = power / total[link]
        codes, index = np.unique(paths.interactions, return_inverse=True)
        for code, count, part in zip(codes, np.bincount(index), np.bincount(index, share), strict=True):
            before = self.interactions.get(int(code), (0, 0.0))
            self.interactions[int(code)] = (before[0] + int(count), before[1] + float(part))
        distance, gain = _distance(links), 10 * np.log10(total)
        delay = paths.delay.astype(np.float64)
        mean = np.bincount(link, share * delay, n)
        self.distance.add(distance, los)
        self.path_gain.add(gain, los)
        at = (los.astype(int), self.distance.bins(distance), self.path_gain.bins(gain))
        np.add.at(self.gain_over_distance, at, 1)
        self.first_delay.add(np.minimum.reduceat(delay, paths.offsets[:-1]) if n else delay, los)
        self.delay_spread.add(np.sqrt(np.bincount(link, share * (delay - mean[link]) ** 2, n)), los)
        angles = (self.departure_spread, paths.aod_azimuth), (self.arrival_spread, paths.aoa_azimuth)
        for spread, azimuth in angles:
            x, y = (np.bincount(link, share * f(azimuth.astype(np.float64)), n) for f in (np.cos, np.sin))
            spread.add(np.sqrt(-2 * np.log(np.clip(np.hypot(x, y), 1e-12, 1))), los)

    def _note(self, key: str, bad: NDArray[np.bool_], links: Links, where: str, link: NDArray[np.int64]) -> None:
        """Notes the rows of `bad`, whose links are `link`."""
        first = link[np.flatnonzero(bad)[:EXAMPLES]]
        self.findings.note(key, [f"{links.areas[links.area[i]]} link {i} of {where}" for i in first], int(bad.sum()))

    def _check_links(self, links: Links, where: str) -> None:
        every = np.arange(len(links))
        known = np.ones(len(links), dtype=bool)
        known[links.paths.link_of_path[links.paths.interactions == UNKNOWN]] = False
        traced = links.paths.los()
        self._note("los_flag", (links.los != traced) & (traced | known), links, where, every)
        self._note("bs_indoors", _indoors(links, links.bs), links, where, every)
        self._note("ue_indoors", _indoors(links, links.ue), links, where, every)
        keys = _keys(links)
        order = np.argsort(keys, kind="stable")
        again = np.zeros(len(links), dtype=bool)
        again[order[1:]] = keys[order[1:]] == keys[order[:-1]]
        at = np.searchsorted(self._seen, keys)
        again |= np.append(self._seen, 0)[at] == keys
        self._note("twice", again, links, where, every)
        new = order[~again[order]]
        self._seen = np.insert(self._seen, at[new], keys[new])

    def _check_paths(self, links: Links, where: str) -> None:
        link = links.paths.link_of_path
        straight = _distance(links)[link]
        length = links.paths.delay.astype(np.float64) * SPEED_OF_LIGHT
        slack = SLACK[0] + SLACK[1] * straight
        direct = links.paths.interactions == LOS
        self._note("shorter", length < straight - slack, links, where, link)
        self._note("los_length", direct & (length > straight + slack), links, where, link)
        if self.carrier:
            free_space = SPEED_OF_LIGHT / self.carrier / (4 * np.pi * np.maximum(length, straight))
            above = np.abs(links.paths.gain) > free_space * 10 ** (ABOVE_FREE_SPACE / 20)
            self._note("above_free_space", above, links, where, link)

    def finish(self) -> LinksStatistics:
        """Itself, with what only the whole data set shows."""
        self.findings.note("empty_areas", [name for name, (_, count) in self.areas.items() if not count])
        return self

    def kinds(self) -> dict[str, tuple[int, float]]:
        """How paths come: kind → (paths, sum over links of their share of the link's power), fewest interactions first.

        Kinds are LOS, `1 reflection`, `2 reflections + 1 diffraction` and so on, whatever the order of interactions.
        """
        kinds: dict[str, tuple[int, float]] = {}
        for code, (count, share) in sorted(self.interactions.items(), key=lambda item: (item[0] < 0, item[0])):
            paths, power = kinds.get(kind(code), (0, 0.0))
            kinds[kind(code)] = (paths + count, power + share)
        return kinds

    def los_over_distance(self, step: float = 25.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Edges of the distance every `step` m up to the farthest link, and NLOS and LOS links between, [2, bins]."""
        bins = round(step / self.distance.edges[1])
        counts = self.distance.counts.reshape(2, -1, bins).sum(2)
        last = int(np.flatnonzero(counts.sum(0))[-1]) + 1
        return self.distance.edges[::bins][: last + 1], counts[:, :last]

    def as_json(self) -> dict[str, Any]:
        """What the card says in numbers: metres, seconds, radians, dB."""
        everywhere = Place(
            *(sum(getattr(p, k) for p in self.places.values()) for k in ("areas", "links", "los", "paths"))
        )
        edges, counts = self.los_over_distance(50.0)
        return {
            **everywhere.as_json(),
            "places": {name: place.as_json() for name, place in sorted(self.places.items())},
            "links_with_paths": {str(paths): links for paths, links in sorted(self.path_counts.items())},
            "interactions": {
                name: {"paths": count} | rounded({"power_share": share / self.links})
                for name, (count, share) in self.kinds().items()
            },
            "los_share_over_distance": [
                {"to_m": float(to), "links": int(n + y)} | rounded({"los_share": y / (n + y) if n + y else None})
                for to, n, y in zip(edges[1:], *counts, strict=True)
            ],
            "distance_m": self.distance.as_json(),
            "path_gain_db": self.path_gain.as_json(),
            "first_delay_s": self.first_delay.as_json(),
            "delay_spread_s": self.delay_spread.as_json(),
            "departure_azimuth_spread_rad": self.departure_spread.as_json(),
            "arrival_azimuth_spread_rad": self.arrival_spread.as_json(),
            "area_size_m": summary(self.sizes),
            "building_coverage": summary(self.coverage) | {"mapped_areas": len(self.coverage)},
        }


def summary(values: Iterable[float]) -> dict[str, float | None]:
    """Mean, least, median and most; None without values."""
    array = np.array(list(values), dtype=np.float64)
    if not array.size:
        return dict.fromkeys(("mean", "min", "median", "max"))
    return rounded({"mean": array.mean(), "min": array.min(), "median": np.median(array), "max": array.max()})


def kind(code: int) -> str:
    """A code of `Paths.interactions` in words."""
    if code <= LOS:
        return "LOS" if code == LOS else "unknown"
    digits = Counter(map(int, str(code)))
    return " + ".join(f"{digits[d]} {name}{'s' * (digits[d] > 1)}" for d, name in KINDS.items() if digits[d]) or "other"


def _distance(links: Links) -> NDArray[np.float64]:
    """BS to UE, m: [N]."""
    return np.asarray(np.linalg.norm(links.ue.astype(np.float64) - links.bs, axis=1))


def _indoors(links: Links, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which points [N, 3] stand in a building that takes up their pixel and all pixels around it: bool [N].

    A pixel at a wall is half ground.
    """
    pixels = links.maps.shape[-1]
    column, row = np.floor(points[:, :2] / links.sizes[links.area][:, None] * pixels).astype(int).T
    inside = links.mapped[links.area]
    for i, j in np.ndindex(3, 3):
        inside &= (
            links.maps[links.area, np.clip(row + i - 1, 0, pixels - 1), np.clip(column + j - 1, 0, pixels - 1)] > 0
        )
    return inside


def _keys(links: Links) -> NDArray[np.uint64]:
    """A number for each link that follows from its area's name, its BS, bearing and UE: uint64 [N]."""
    names = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in links.areas]
    keys = np.frombuffer(b"".join(names), dtype=np.uint64)[links.area]
    where = np.column_stack([links.bs, links.ue, links.bearing, links.bearing]) + np.float32(0)  # no −0
    for column in where.view(np.uint64).T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)  # as SplitMix64 mixes
        keys ^= keys >> np.uint64(31)
    return keys


def _picture(links: Links, area: int) -> Picture:
    mine = np.flatnonzero(links.area == area)
    first = links.bs[mine[0]]
    others = np.unique(links.bs[mine], axis=0)
    shown = mine[(links.bs[mine] == first).all(1)]
    shown = shown[:: -(-len(shown) // PICTURED_LINKS)]
    return Picture(
        name=links.areas[area],
        map=links.maps[area],
        size=float(links.sizes[area]),
        bs=np.concatenate([first[None], others[(others != first).any(1)]])[:, :2],
        ue=links.ue[shown, :2],
        los=links.los[shown],
    )


def carrier_of(recipe: Any) -> float | None:
    """The carrier of a campaign's or a reader's recipe, Hz; None where it does not say."""
    try:
        if "campaign" in recipe:
            return float(recipe["campaign"]["ray_tracing"]["frequency"])
        if recipe["import"] == "sionna":
            return float(recipe["options"].get("config", {}).get("frequency", 28e9))
        return float(recipe["options"].get("carrier", 28e9)) if recipe["import"] == "wair-d" else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def links_statistics(folder: Path) -> LinksStatistics:
    """Reads, checks and sums up a links folder.

    Raises:
        InputError: the manifest or a shard is missing, damaged or against the sample contract, or there are no links.
    """
    manifest = shards.read_manifest(folder)
    listed, places = manifest["shards"], manifest.get("places")
    found = LinksStatistics(
        carrier_of(manifest.get("recipe")), -(-PICTURES // max(len(places) if isinstance(places, list) else 0, 1))
    )
    bar = tqdm(shards.stream(folder), total=len(listed), unit="shard", disable=None, leave=False)
    for entry, links in zip(listed, bar, strict=True):
        if (entry.get("areas"), entry.get("links")) != (len(links.areas), len(links)):
            raise InputError(
                f"{folder / 'manifest.json'}: {entry['file']} holds {len(links.areas)} areas and {len(links)} links, "
                f"not {entry.get('areas')} and {entry.get('links')}; make or download the data set again"
            )
        found.add(links, Path(entry["file"]).name)
    if not found.links:
        raise InputError(f"{folder}: the data set has no links; make or download it again")
    names = {Path(entry["file"]).name for entry in listed}
    found.findings.note("unlisted", sorted(p.name for p in folder.glob("links-*.safetensors") if p.name not in names))
    return found.finish()


@dataclass
class Scenario:
    """Counts of one scenario.

    Attributes:
        lost: steps without a best beam.
        located: steps with a known position.
        seconds: length of its drives; 0 where time was not measured.
        sensors: sensor → steps with a file.
        tracks: [n, 3] of a drive: x east, y north of the BS, m, and the best beam's share of the codebook, 0 to 1.
    """

    drives: int = 0
    samples: int = 0
    lost: int = 0
    located: int = 0
    seconds: float = 0.0
    sensors: Counter[str] = field(default_factory=Counter)
    tracks: list[NDArray[np.float64]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Counts."""
        counts = {name: getattr(self, name) for name in ("drives", "samples", "lost", "located")}
        return counts | rounded({"seconds": self.seconds}) | {"sensors": dict(sorted(self.sensors.items()))}


@dataclass
class DrivesStatistics:
    """Statistics and findings of measured drives, filled in by `add`.

    Attributes:
        scenarios: scenario → counts.
        names: of all drives.
        steps: [drives] samples.
        beams: size B of the codebook → int64 [B] steps in which each beam was the best.
        power: B → float64 [2, B, B] sum, over steps with best beam b (rows), of each beam's power relative to the
            best's, and the number of steps in which that beam was measured.
        distance: UE from BS, m; all in row 0.
    """

    findings: Findings = field(default_factory=Findings)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    steps: list[int] = field(default_factory=list)
    beams: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    power: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.distance = Distribution(np.arange(0.0, 1001, 1))

    def add(self, drive: Drive) -> None:
        """Counts the steps of a drive."""
        if drive.name in self.names:
            self.findings.note("drive_names", [drive.name])
        if drive.files and not (drive.root and drive.root.is_dir()):
            self.findings.note("no_sensors", [drive.name])
        self.names.add(drive.name)
        self.steps.append(len(drive))
        known, size = drive.beam >= 0, drive.power.shape[1]
        position = drive.position
        located = np.isfinite(position).all(1)
        here = self.scenarios.setdefault(drive.scenario, Scenario())
        here.drives += 1
        here.samples += len(drive)
        here.lost += int((~known).sum())
        here.located += int(located.sum())
        here.seconds += float(drive.time[-1] - drive.time[0]) if drive.timed else 0.0
        here.sensors.update({sensor: int(drive.has(sensor).sum()) for sensor in drive.files})
        if sum(map(len, here.tracks)) < TRACKED_STEPS:
            here.tracks.append(np.column_stack([position, drive.beam / max(size - 1, 1)])[located & known])
        self.beams[size] = self.beams.get(size, np.zeros(size, dtype=np.int64)) + np.bincount(
            drive.beam[known], minlength=size
        )
        measured = known & (drive.power > 0).any(1)
        relative = drive.power[measured] / np.nanmax(drive.power[measured], axis=1, keepdims=True, initial=0)
        sums = self.power.setdefault(size, np.zeros((2, size, size)))
        np.add.at(sums[0], drive.beam[measured], np.nan_to_num(relative))
        np.add.at(sums[1], drive.beam[measured], np.isfinite(relative))
        away = np.linalg.norm(position[located], axis=1)
        self.distance.add(away, np.zeros(len(away), dtype=bool))
        far = np.flatnonzero(located)[away > FARTHEST_UE]
        self.findings.note("far_ue", [f"{drive.name} step {i}" for i in far[:EXAMPLES]], len(far))

    def as_json(self) -> dict[str, Any]:
        """What the card says in numbers."""
        distance = self.distance.as_json()
        return {
            "samples": sum(self.steps),
            "drives": len(self.steps),
            "scenarios": {name: scenario.as_json() for name, scenario in sorted(self.scenarios.items())},
            "steps_a_drive": summary(self.steps),
            "best_beams": {str(size): counts.tolist() for size, counts in sorted(self.beams.items())},
            "distance_m": {name: distance[name] for name in ("mean", "p10", "p50", "p90")},
        }


def drives_statistics(path: Path) -> DrivesStatistics:
    """Reads, checks and sums up a file of drives, or a folder of them.

    Raises:
        InputError: a file is missing, damaged, of another format or against the sample contract.
    """
    found = DrivesStatistics()
    if path.is_file():
        files, listed = [path], {}
    else:
        files = sorted(path.glob("*.safetensors"))
        listed = {Path(entry["file"]).name: entry["sha256"] for entry in drives_manifest(path).get("files", ())}
        files += [path / name for name in listed if path / name not in files]
    for file in tqdm(files, unit="file", disable=None, leave=False):
        if file.exists() and listed.get(file.name, digest := sha256(file)) != digest:
            raise InputError(
                f"{file}: checksum does not match the manifest; the file is damaged, copy or make it again"
            )
        for drive in read_drives(file):
            found.add(drive)
    if listed:
        found.findings.note("unlisted", [file.name for file in files if file.name not in listed])
    return found


def drives_manifest(folder: Path) -> dict[str, Any]:
    """The manifest that `uniair import` wrote beside drives; empty where there is none.

    Raises:
        InputError: not JSON, or of another format.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        valid = manifest["format"] == FORMAT and all(
            isinstance(f[k], str) for f in manifest["files"] for k in ("file", "sha256")
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a manifest of drives ({type(error).__name__}: {error}); import them again"
        ) from error
    if not valid:
        raise InputError(f"{path}: format {manifest['format']!r} is not {FORMAT!r}; it was not written by this version")
    return dict(manifest)
