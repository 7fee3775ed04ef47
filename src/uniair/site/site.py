"""The site folder: what `uniair site` makes, and what `uniair serve` and `uniair export` read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from uniair.area.area import Area
from uniair.area.coordinates import LARGEST
from uniair.area.georeference import Georeference
from uniair.area.raster import building_heights, occupancy
from uniair.area.reading import Reading
from uniair.area.streets import Street
from uniair.data.links.store import Store
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.releases.earlier import way_back
from uniair.releases.node import located
from uniair.site.extrapolation import Scope, reads_any_radio, remarks, scope
from uniair.tasks.registry import TASKS
from uniair.training.heads import SavedHead, load_head

FORMAT = "uniair-site/1"
NOTE, REPORT = "site.json", "report.html"
KEY = frozenset(ascii_lowercase + digits + "-")  # what names of files hold


@dataclass(frozen=True)
class Station:
    """A base station.

    Attributes:
        name: for people; unique in a site.
        position: x, y, z, m from the site's south-west corner.
        bearing: azimuth of its array's x, rad; 0 lies along +x.
        radio: its own; None: the site's.
        downtilt: of its array's boresight below the horizon, rad.
        source: whose links hold its paths, of a sector its mast's; empty: its own.
        key: in the names of its files, where its name comes from a file; empty: its name.
    """

    name: str
    position: tuple[float, float, float]
    bearing: float = 0.0
    radio: Radio | None = None
    downtilt: float = 0.0
    source: str = ""
    key: str = ""


@dataclass(frozen=True)
class Site:
    """A square of streets with base stations, the links traced in it, and heads that learned from them.

    Attributes:
        folder: where it is kept: `site.json`, `links/`, `heads/TASK-INPUTS-STATION.safetensors`, `report.html`.
        area: buildings, south-west corner at the origin.
        stations: in the order of their numbers.
        model: name of the packaged model, or a checkpoint folder.
        weights: digest of its weights; heads fit no other. Empty where no model was asked: a plan that it can't read.
        georeference: where it lies; None where its file was in metres.
        figures: station → task → inputs → figures of the head on streets that it did not learn from.
        about: how it was made, for people and for resuming; `coverage` is `site_coverage.summary`.
        radio: of its base stations, but for those that have their own.
        streets: of the extract, for maps; none where its file holds none.
    """

    folder: Path
    area: Area
    stations: tuple[Station, ...]
    model: str
    weights: str
    georeference: Georeference | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    radio: Radio = Radio()
    streets: tuple[Street, ...] = ()

    @cached_property
    def links(self) -> Store:
        """The links, one area a station: `NAME/STATION`, in the order of `stations`."""
        return Store(self.folder / "links")

    @property
    def traced(self) -> bool:
        """Whether it has links; one that was made of measurements alone has none."""
        return (self.folder / "links").is_dir()

    @cached_property
    def map(self) -> NDArray[Any]:
        """What the model is told of the site's buildings."""
        return self.picture(self.area)

    def picture(self, area: Area) -> NDArray[Any]:
        """What the model is told of the buildings of an area, the site's own or one to believe: [256, 256].

        Their heights, float32 m; of weights that know one radio, and no heights, what stands in the way: `obstacles`.
        """
        if reads_any_radio(self.model):
            return building_heights(area.select(np.flatnonzero(area.obstacles)))
        return obstacles(area, self.stations)

    @property
    def planned(self) -> bool:
        """Whether it is of a file of sites."""
        return "planning" in self.about

    def radio_of(self, station: int) -> Radio:
        """That of a station."""
        return self.stations[station].radio or self.radio

    def require_model(self) -> None:
        """Raises `InputError` where the model was not asked about the site, so that there is nothing to answer with."""
        if not self.weights:
            raise InputError(
                f"{self.folder}: holds the coverage of a file of sites, which the model was not asked about; give "
                "uniair site --sites a --model that reads its radio, or make a site with --bs"
            )

    def require_weights(self, digest: str) -> None:
        """Raises `InputError` where a model of this digest is not the one that its heads learned on."""
        if digest != self.weights:
            raise InputError(
                f"{self.folder}: its heads learned on other weights of {self.model} than those here; "
                f"run uniair site again{way_back(self.weights)}"
            )

    def remarks(self, station: int | None = None) -> tuple[str, ...]:
        """What to know about answers for a station, or all of them, that stands as the weights have not learned."""
        numbers = range(len(self.stations)) if station is None else [station]
        chosen = [(self.stations[number].name, self.stations[number].position) for number in numbers]
        return remarks(self.area, chosen, self.model, self._highest)

    def scope(self, station: int, of_radio: Sequence[str]) -> Scope:
        """Which parts of a question to a station lie within what the weights learned from.

        Args:
            of_radio: what the model remarks on the radio that is asked about.
        """
        return scope(self.area, self.stations[station].position, self.map, self.model, of_radio, self._highest)

    @property
    def _highest(self) -> float:
        """Of the users, m above ground."""
        return float((self.about.get("users") or {}).get("highest", UE_HEIGHT))

    def head(self, task: str, inputs: str, station: int) -> Path:
        """File of a head."""
        return self.folder / "heads" / f"{task}-{inputs}-{self._key(station)}.safetensors"

    def _key(self, station: int) -> str:
        return self.stations[station].key or self.stations[station].name

    def feedback(self, station: int) -> Path:
        """File of a station's own code for CSI feedback, which `uniair adapt --task feedback` makes."""
        return self.head("feedback", "channel", station)

    def heads(self, station: int) -> dict[tuple[str, str], Path]:
        """The heads of a station that are there, of tasks that are registered: (task, inputs) → file."""
        found = sorted((self.folder / "heads").glob(f"*-*-{self._key(station)}.safetensors"))
        named = ((path, path.name.split("-", 2)) for path in found)
        return {(task, inputs): path for path, (task, inputs, _) in named if task in TASKS}

    def saved_heads(self, station: int, model: UniversalModel) -> dict[tuple[str, str], SavedHead]:
        """The heads of a station on a model: (task, inputs) → head.

        Raises:
            InputError: see `load_head`; or outputs that stand for the ports of another array than the station's.
        """
        out = {}
        for pair, path in self.heads(station).items():
            out[pair] = load_head(path, model, pair[0])
            TASKS[pair[0]].remarks(
                out[pair].radio, self.radio_of(station), f"{self.folder}: links of {self.stations[station].name}"
            )
        return out

    def write(self) -> None:
        """Writes `site.json` in one step."""
        buildings = [
            {"p": _ring(f.exterior), "holes": [_ring(hole) for hole in f.interiors], "h": float(h)}
            | ({"base": float(base)} if base else {}) | ({"drawn": True} if drawn else {})
            for f, h, base, drawn in zip(
                self.area.footprints, self.area.heights, self.area.bases, self.area.drawn, strict=True
            )
        ]  # fmt: skip
        reading = self.area.reading
        document = {
            "format": FORMAT, "name": self.area.name, "size": self.area.size, "attribution": self.area.attribution,
            "georeference": None if self.georeference is None else asdict(self.georeference),
            "stations": list(map(_entry, self.stations)),
            "radio": self.radio.to_json(), "model": self.model, "weights": self.weights, "figures": self.figures,
            "about": self.about, "reading": None if reading is None else reading.as_dict(), "buildings": buildings,
            "streets": [{"name": s.name, "kind": s.kind, "line": s.line.round(2).tolist()} for s in self.streets],
        }  # fmt: skip
        write_text(self.folder / NOTE, json.dumps(document, indent=1) + "\n")

    @classmethod
    def read(cls, folder: str | Path) -> Site:
        """The site in a folder, or of `registry:NAME@VERSION`; of the first version's, which names no radio, paper 1's.

        Raises:
            InputError: no site there, a broken one, or one of another version, of a radio of a newer format, or as
                `located`.
        """
        path = located(folder)[0] / NOTE
        if not path.is_file():
            raise InputError(f"{path}: no such file; give a folder that uniair site made")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise InputError(
                    f"{path}: of format {document['format']!r}, this version reads {FORMAT!r}; run uniair site again"
                )
            return _of_document(path, document)
        except InputError as error:
            raise error if str(path) in str(error) else InputError(f"{path}: {error}") from error
        except (
            ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError,
            shapely.errors.ShapelyError,
        ) as error:  # fmt: skip
            raise InputError(f"{path}: not a site ({type(error).__name__}: {error}); run uniair site again") from error


@np.errstate(invalid="ignore", over="ignore")  # NaN and infinity become an InputError, not a warning
def _of_document(path: Path, document: dict[str, Any]) -> Site:
    """The site that `site.json` says, numbers and words checked.

    Raises:
        InputError, ValueError, TypeError, LookupError, AttributeError, ShapelyError: it says none.
    """
    size, place, buildings = float(document["size"]), document["georeference"], document["buildings"]
    outlines = tuple(Polygon(b["p"], b["holes"]) for b in buildings)
    corners = shapely.get_coordinates(np.asarray(outlines, dtype=object))
    if not 0 < size <= LARGEST:
        raise InputError(f"{path}: a side of {size:g} m; run uniair site again")
    if not ((corners >= -1) & (corners <= size + 1)).all():  # NaN is none of these
        raise InputError(f"{path}: a building that lies off the site; run uniair site again")
    reading = document.get("reading")  # a site of the first version has none, and no floors above ground
    area = Area(
        _word(document["name"]), outlines, np.array([_number(b["h"]) for b in buildings], dtype=np.float64),
        (0.0, 0.0, size, size), _word(document["attribution"]),
        bases=np.array([_number(b.get("base", 0.0)) for b in buildings], dtype=np.float64),
        drawn=np.array([bool(b.get("drawn")) for b in buildings], dtype=bool),
        reading=None if reading is None else Reading.from_dict(reading),
    )  # fmt: skip
    if place is not None:
        longitude, latitude, x, y = map(_number, (place["longitude"], place["latitude"], *place["corner"]))
        place = Georeference(longitude, latitude, (x, y))
        area = replace(area, georeference=place)
    stations = tuple(_station(entry, size) for entry in document["stations"])
    if not stations or len({station.name for station in stations}) < len(stations):
        raise InputError(f"{path}: no base stations, or two of one name; run uniair site again")
    figures, about = document["figures"], document["about"]
    for found in (figures, about, about.get("users") or {}):
        if not isinstance(found, dict):
            raise TypeError(f"{found!r:.40} where names and values are wanted")
    _number((about.get("users") or {}).get("highest", UE_HEIGHT))
    return Site(
        path.parent, area, stations, _word(document["model"]), _word(document["weights"]), place, figures, about,
        Radio.from_json(document.get("radio", {}), str(path)), tuple(map(_street, document.get("streets", ()))),
    )  # fmt: skip


def _entry(station: Station) -> dict[str, Any]:
    """A station as JSON; what is the site's, or nothing, is left out."""
    entry = asdict(replace(station, radio=None))
    kept = {name: value for name, value in entry.items() if value or name in ("name", "position", "bearing")}
    return kept | ({} if station.radio is None else {"radio": station.radio.to_json()})


def _station(entry: dict[str, Any], size: float) -> Station:
    x, y, z = map(_number, entry["position"])
    if not (0 <= x <= size and 0 <= y <= size and z > 0):
        raise ValueError(f"a base station at ({x:g}, {y:g}, {z:g}) m, off the site")
    key, downtilt = _word(entry.get("key", "")), _number(entry.get("downtilt", 0.0))
    if not set(key) <= KEY or abs(downtilt) >= np.pi / 2:
        raise ValueError(f"a base station with key {key!r:.40} and a downtilt of {downtilt:g} rad")
    radio = Radio.from_json(entry["radio"], NOTE) if "radio" in entry else None
    source = _word(entry.get("source", ""))
    return Station(_word(entry["name"]), (x, y, z), _number(entry["bearing"]), radio, downtilt, source, key)


def _street(entry: dict[str, Any]) -> Street:
    line = np.array([[_number(x), _number(y)] for x, y in entry["line"]], dtype=np.float64).reshape(-1, 2)
    return Street(_word(entry["name"]), _word(entry["kind"]), line)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(float(value)):
        raise ValueError(f"{value!r:.40} where a number is wanted")
    return float(value)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where a word is wanted")
    return value


def obstacles(area: Area, stations: Sequence[Station]) -> NDArray[np.uint8]:
    """Occupancy [256, 256] of the buildings that rise above the middle of a line from the lowest station to a user.

    The model learned where buildings exceed stations and users (paper 1) and takes whatever is on its map for a wall;
    what is lower than that lets such a line pass more often than not.
    """
    middle = (min(station.position[2] for station in stations) + UE_HEIGHT) / 2
    return occupancy(area.select(np.flatnonzero(area.heights >= middle)))


def _ring(ring: Any) -> list[list[float]]:
    return [[round(x, 3), round(y, 3)] for x, y in ring.coords[:-1]]
