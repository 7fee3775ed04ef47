"""What a links folder holds, and what in it physics rules out, shard by shard in one pass.

The memory needed is a shard's, plus 8 bytes a link (to find links that are there twice) and the pictured areas.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.statistics import ABOVE_FREE_SPACE, EXAMPLES, Distribution, Findings, rounded, summary
from uniair.errors import InputError
from uniair.progress import track
from uniair.propagation.paths import DIFFRACTION, LOS, REFLECTION, SCATTERING, TRANSMISSION, UNKNOWN
from uniair.radio import SPEED_OF_LIGHT, Radio

PICTURES = 24


PICTURED_LINKS = 400  # of one area


SLACK = (0.1, 1e-3)  # m, and a share of the distance: one public set takes c for 0.3 m/ns


KINDS = {REFLECTION: "reflection", DIFFRACTION: "diffraction", SCATTERING: "scattering", TRANSMISSION: "transmission"}


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
        pictured: most areas kept for pictures a place.
        places: place → counts.
        areas: area name → (digest of map, size and radio, its links).
        radios: radio → its areas.
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

    pictured: int = 1
    findings: Findings = field(default_factory=Findings)
    places: dict[str, Place] = field(default_factory=dict)
    areas: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    radios: Counter[Radio] = field(default_factory=Counter)
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
    def carriers(self) -> list[float]:
        """Those that the areas were traced at, Hz."""
        return sorted({radio.carrier for radio in self.radios})

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
            radio = links.radios[i]
            ground = hashlib.blake2b(links.maps[i], key=links.sizes[i].tobytes(), digest_size=8)
            ground.update(repr(radio).encode())
            place = self.places.setdefault(name.split("/")[0], Place())
            known, before = self.areas.get(name, (b"", 0))
            if known != ground.digest():  # a reader may spread one area over shards
                if known:
                    self.findings.note("area_names", [name])
                place.areas += 1
                self.radios[radio] += 1
                self.sizes.append(float(links.sizes[i]))
                if links.mapped[i]:
                    self.coverage.append(float(links.built[i].mean()))
            self.areas[name] = (ground.digest(), before + int(count))
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
        wavelength = np.array([radio.wavelength for radio in links.radios])[links.area[link]]
        free_space = wavelength / (4 * np.pi * np.maximum(length, straight))
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
            "radios": [
                {"areas": areas, "says": str(radio), "radio": radio.to_json()}
                for radio, areas in self.radios.most_common()
            ],
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

    A pixel at a wall is half ground. Where heights are known, a point above them stands on a roof.
    """
    least = 0.0 if links.maps.dtype == np.uint8 else points[:, 2]
    pixels = links.maps.shape[-1]
    column, row = np.floor(points[:, :2] / links.sizes[links.area][:, None] * pixels).astype(int).T
    inside = links.mapped[links.area]
    for i, j in np.ndindex(3, 3):
        inside &= (
            links.maps[links.area, np.clip(row + i - 1, 0, pixels - 1), np.clip(column + j - 1, 0, pixels - 1)] > least
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
        map=links.built[area],
        size=float(links.sizes[area]),
        bs=np.concatenate([first[None], others[(others != first).any(1)]])[:, :2],
        ue=links.ue[shown, :2],
        los=links.los[shown],
    )


def links_statistics(folder: Path) -> LinksStatistics:
    """Reads, checks and sums up a links folder.

    Raises:
        InputError: the manifest or a shard is missing, damaged or against the sample contract, or there are no links.
    """
    manifest = shards.read_manifest(folder)
    listed, places = manifest["shards"], manifest.get("places")
    found = LinksStatistics(-(-PICTURES // max(len(places) if isinstance(places, list) else 0, 1)))
    for entry, links in zip(listed, track(shards.stream(folder), "shard", total=len(listed)), strict=True):
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
