"""Building heights as people write them: under many names, in many units, as levels, or not at all."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

METRES_PER_LEVEL = 3.0
MOST_METRES, MOST_LEVELS = 1000.0, 200.0
FOOT = 0.3048
# Missing heights: log-normal, median 12 m, sigma 0.4 of the logarithm, cut to 7 to 60 m, so that buildings exceed BS
# and UE as in paper 1.
HEIGHT_MEDIAN, HEIGHT_SIGMA, HEIGHT_RANGE = 12.0, 0.4, (7.0, 60.0)
# A missing height is the median of the nearest known ones where so many buildings of the kind have one
NEAREST, LEAST_KNOWN, LEAST_SHARE = 5, 5, 0.1

# Names, after `normalised`; the first that can be read stands.
HEIGHT = (
    "height", "building_height", "building_h", "h", "height_m", "heightm", "height_agl", "hgt", "hgt_agl",
    "bldg_height", "bldgheight", "bldg_hgt", "bldg_ht", "bld_height", "buildingheight", "building_ht", "measuredheight",
    "measured_height", "est_height", "render_height", "roofheight_m", "mean_height", "avg_height", "max_height",
    "hoehe", "höhe", "gebaeudehoehe", "gebäudehöhe", "geb_hoehe", "gebhoehe", "hauteur", "altura", "altezza", "hoogte",
    "wysokosc", "wysokość", "vyska", "výška", "korkeus", "høyde", "höjd", "hojd", "высота", "高さ", "高度", "높이",
)  # fmt: skip
HEIGHT_FEET = (
    "heightroof", "height_roof", "height_ft", "heightft", "height_feet", "bldg_ht_ft", "hgt_ft", "building_height_ft",
)  # fmt: skip
LEVELS_NAMES = (
    "building_levels", "levels", "num_floors", "numfloors", "building_l", "building_level", "num_levels", "floors",
    "storeys", "stories", "storeysaboveground", "storeys_above_ground", "bldg_levels", "floor_count", "floorcount",
    "n_floors", "nb_floors", "no_floors", "number_of_floors", "numberoffloors", "nb_etages", "nb_etage", "etages",
    "geschosse", "anzahl_geschosse", "pisos", "num_pisos", "plantas", "piani", "verdiepingen", "этажность", "этажей",
)  # fmt: skip
MIN_HEIGHT = ("min_height", "building_min_height", "minheight", "render_min_height", "base_height")
MIN_LEVEL = ("building_min_level", "min_level", "min_floor")
ROOF_HEIGHT, ROOF_LEVELS = ("roof_height",), ("roof_levels",)
NAMES = (*HEIGHT, *HEIGHT_FEET, *LEVELS_NAMES, *MIN_HEIGHT, *MIN_LEVEL, *ROOF_HEIGHT, *ROOF_LEVELS)

EMPTY = {"", "-", "?", "nan", "none", "null", "n/a", "na", "unknown", "no", "<null>", "nil"}
_METRES = {
    1.0: "m m. mt mtr mts metre metres meter meters metro metros metri metros mètre mètres metru metrov metrów metrů "
    "meteri metriä м м. метр метра метров метри μ μέτρα μέτρο 米 公尺 メートル 미터 متر",
    1000.0: "km",
    0.1: "dm",
    0.01: "cm",
    0.001: "mm",
    FOOT: "ft ft. feet foot ' fuß fuss pied pieds pie pies piedi фут футов",
    0.0254: '" in in. inch inches',
    0.9144: "yd yard yards",
    METRES_PER_LEVEL: "level levels floor floors storey storeys story stories etage etagen étage étages geschoss "
    "geschosse stockwerk stockwerke piso pisos planta plantas piani verdiepingen этаж этажа этажей 层 階 층",
}
UNITS = {name: factor for factor, names in _METRES.items() for name in names.split()}
LEVEL_UNITS = dict.fromkeys(_METRES[METRES_PER_LEVEL].split(), 1.0)
_NUMBER = r"(\d+(?:[.,]\d*)?(?:e\d+)?|[.,]\d+|\d{1,3}(?:,\d{3})+\.\d+)"
_UNIT = r"([^\d\s.,;+*/()<>=-][^\d\s,;+*/()<>=-]*|)"
_ONE = re.compile(rf"{_NUMBER}\s*{_UNIT}")
_RANGE = re.compile(rf"{_NUMBER}\s*{_UNIT}\s*(?:-|–|—|\.\.+|…| to | bis | à )\s*{_NUMBER}\s*{_UNIT}")
_FEET_AND_INCHES = re.compile(rf"{_NUMBER}\s*(?:'|ft\.?|feet|foot)\s*{_NUMBER}\s*(?:\"|in\.?|inch|inches|)")
_BEFORE = re.compile(
    r"^(?:~|≈|\+(?=[\d.,])|=|ca\.?(?=[\s\d])|circa\s|c\.\s*|approx\.?|approximately|about\s|around\s|env\.?(?=[\s\d])|"
    r"environ\s|etwa\s|rund\s|aprox\.?|около\s|ок\.|约|約)\s*"
)
_AFTER = re.compile(r"\s*(?:\?|\(?\b(?:approx\.?|ca\.?|est\.?|estimated|geschätzt)\)?)$")
_QUOTES = str.maketrans("″”“′’‘`´−", "\"\"\"'''''-")
_GROUND_PLUS = re.compile(r"[gr]\s*\+\s*(\d+)")  # ground floor and three: G+3, R+3
_HSTORE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*=>\s*(?:"((?:[^"\\]|\\.)*)"|NULL)')


@dataclass(frozen=True)
class Height:
    """What tags say of a body's extent.

    Attributes:
        top: above ground, m; None: not known.
        levels: `top` was made from levels.
        base: of the floor above ground, m; None: not said.
        unreadable: what stands there and can't be read, as "height=tall", or None.
        doubt: what disagrees, or None.
    """

    top: float | None
    levels: bool = False
    base: float | None = None
    unreadable: str | None = None
    doubt: str | None = None


@lru_cache(maxsize=10_000)
def plain_name(key: str) -> str:
    """A name in lower case, `_` for colons, spaces and the like."""
    return re.sub(r"[^\w]+", "_", unicodedata.normalize("NFKC", key).strip().lower()).strip("_")


def normalised(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags under plain names: lower case, `_` for colons and spaces; what OSM exports nest or pack is unpacked.

    `tags` (a mapping, or JSON text) and `other_tags` (PostgreSQL's hstore text) are tags themselves. Empty values are
    left out; of two names that become one, the first that has a value stands.
    """
    flat: dict[str, Any] = {}
    for key, value in tags.items():
        name = plain_name(str(key))
        if name in ("tags", "other_tags", "all_tags", "osm_tags"):
            for inner, text in normalised(_unpacked(value)).items():
                flat.setdefault(inner, text)
        elif not (value is None or (isinstance(value, float) and math.isnan(value)) or value == ""):
            flat.setdefault(name, value)
    return flat


def _unpacked(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    text = str(value or "")
    if text.lstrip().startswith("{"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}
    return dict(_HSTORE.findall(text))


def read_height(tags: Mapping[str, Any], unit: float = 1.0) -> Height:
    """Top and floor of a body from its tags, under `normalised` names.

    A height stands before levels. Levels are 3 m each, and the roof's levels or height come on top of them.

    Args:
        tags: names to values.
        unit: metres of a bare number under another name than `height`, for files whose own unit is feet.
    """
    unreadable: list[str] = []
    top = _first(tags, HEIGHT[:1], metres, 1.0, unreadable)
    top = (
        top or _first(tags, HEIGHT[1:], metres, unit, unreadable) or _first(tags, HEIGHT_FEET, metres, FOOT, unreadable)
    )
    levels = _first(tags, LEVELS_NAMES, level_count, 1.0, unreadable)
    roof_levels = _first(tags, ROOF_LEVELS, level_count, 1.0, []) or 0.0
    roof = _first(tags, ROOF_HEIGHT, metres, 1.0, []) or roof_levels * METRES_PER_LEVEL
    counted = (levels or 0.0) * METRES_PER_LEVEL + roof if levels or roof_levels else None
    base = _first(tags, MIN_HEIGHT, metres, 1.0, unreadable)
    if base is None and (lowest := _first(tags, MIN_LEVEL, level_count, 1.0, unreadable)):
        base = lowest * METRES_PER_LEVEL
    doubt = None
    if top and levels and not 1.5 <= top / levels <= 30:
        doubt = f"{top:g} m with {levels:g} levels"
    said = unreadable[0] if unreadable else None
    return Height(top or counted, top is None and counted is not None, base, said, doubt)


def _first(
    tags: Mapping[str, Any], names: Sequence[str], read: Any, unit: float, unreadable: list[str]
) -> float | None:
    """The first readable value above 0; what has text that can't be read goes to `unreadable`."""
    for name in names:
        if (value := tags.get(name)) is None:
            continue
        found = read(value, unit)
        if found is not None and found > 0:
            return float(found)
        number = isinstance(value, (int, float)) and value <= 0  # how tables say that they don't know
        if found is None and not number and str(value).strip().lower() not in EMPTY:
            unreadable.append(f"{name}={value}")
    return None


def metres(value: Any, unit: float = 1.0) -> float | None:
    """A length in metres from a number or a text in any common spelling, None where it is none or above 1,000 m.

    `12`, `12,5 m`, `40 ft`, `12'6"`, `~10`, `ca. 12 metres`, `3;4` (the larger), `10-12` (the middle), `3 levels`.

    Args:
        value: of the tag.
        unit: metres of a bare number.
    """
    found = _quantity(value, UNITS, unit)
    return found if found is not None and 0 <= found < MOST_METRES else None


def level_count(value: Any, unit: float = 1.0) -> float | None:
    """A number of levels, None where it is none: `4`, `2,5`, `3;4` (the larger), `G+3`, `5 floors`."""
    text = _plain(value)
    if match := _GROUND_PLUS.fullmatch(text):
        return unit * (int(match[1][:4]) + 1)
    found = _quantity(text, LEVEL_UNITS, unit)
    return found if found is not None and 0 <= found <= MOST_LEVELS else None


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return ""
    text = str(value)[:200]
    if text.isascii() and text.isdigit():
        return text
    text = unicodedata.normalize("NFKC", text).strip().lower().translate(_QUOTES).replace("''", '"')
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return _AFTER.sub("", _BEFORE.sub("", text)).strip()


def _quantity(value: Any, units: Mapping[str, float], unit: float) -> float | None:
    text = _plain(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) * unit if abs(value) < 1e9 else None
    choices = [part for part in re.split(r"\s*[;|/]\s*|,\s+|\s+or\s+", text) if part]
    if len(choices) > 1:
        found = [v for part in choices if (v := _quantity(part, units, unit)) is not None]
        return max(found, default=None)
    if units is UNITS and (match := _FEET_AND_INCHES.fullmatch(text)):
        feet, inches = _number(match[1]), _number(match[2])
        return None if feet is None or inches is None else (feet + inches / 12) * FOOT
    if match := _RANGE.fullmatch(text):
        low, high = (_times(match[i], match[i + 1] or match[4], units, unit) for i in (1, 3))
        return None if low is None or high is None else (low + high) / 2
    if match := _ONE.fullmatch(text):
        return _times(match[1], match[2], units, unit)
    return None


def _times(number: str, name: str, units: Mapping[str, float], unit: float) -> float | None:
    value, factor = _number(number), units.get(name.strip()) if name.strip() else unit
    return None if value is None or factor is None else value * factor


def _number(text: str) -> float | None:
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+\.\d+", text):
        return float(text.replace(",", ""))
    if re.fullmatch(r"[1-9]\d{0,2},\d{3}", text):  # a thousand, or a comma and three decimals
        return None
    value = float(text.replace(",", "."))
    return value if math.isfinite(value) else None


def missing_heights(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Building heights for footprints without one: log-normal, median 12 m, σ 0.4, cut to 7 … 60 m."""
    return rng.lognormal(math.log(HEIGHT_MEDIAN), HEIGHT_SIGMA, count).clip(*HEIGHT_RANGE)


def from_neighbours(
    points: NDArray[np.float64], kinds: NDArray[np.str_], heights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Missing heights from the nearest buildings of the same kind, where enough of them are known: [N] m, else NaN.

    Args:
        points: [N, 2] middles of the buildings, m.
        kinds: [N] names.
        heights: [N] m, NaN where missing.
    """
    out = np.full(len(heights), np.nan)
    for kind in np.unique(kinds[np.isnan(heights)]):
        mine = kinds == kind
        known, missing = np.flatnonzero(mine & ~np.isnan(heights)), np.flatnonzero(mine & np.isnan(heights))
        if len(known) < max(LEAST_KNOWN, LEAST_SHARE * mine.sum()):
            continue
        from scipy.spatial import cKDTree

        _, nearest = cKDTree(points[known]).query(points[missing], k=NEAREST)
        out[missing] = np.median(heights[known[nearest]], axis=1)
    return out


def middles(footprints: NDArray[Any]) -> NDArray[np.float64]:
    """Centroids [N, 2] of the outlines, m."""
    return np.asarray(shapely.get_coordinates(shapely.centroid(footprints)))
