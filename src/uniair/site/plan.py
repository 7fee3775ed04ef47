"""Sites as engineers describe them: a table, GeoJSON or YAML of masts and their sectors.

What people type, compass azimuths and degrees of downtilt, becomes the library's radians here, and nowhere else.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import Point, shape

from uniair.area.coordinates import to_degrees
from uniair.area.heights import plain_name
from uniair.errors import InputError
from uniair.propagation.antenna_pattern import SUFFIXES, MeasuredPattern, read_pattern
from uniair.propagation.sector import Sector
from uniair.radio import POLARISATIONS, UPA

PATTERNS = {"iso": "isotropic", "isotropic": "isotropic", "tr38901": "tr38901"}
MOST_SECTORS = 300
SAME_FREQUENCY = 0.2  # of a carrier; a pattern measured farther away is remarked on


@dataclass(frozen=True)
class Column:
    """A quantity of a sector.

    Attributes:
        about: with its unit, for messages.
        least, most: of a number.
        default: where it is left out; None: it must be there, or is one of several.
        also: other names that are understood.
    """

    about: str
    least: float = -math.inf
    most: float = math.inf
    default: float | None = None
    also: tuple[str, ...] = ()


NUMBERS = {
    "latitude": Column("degrees north", -90, 90, also=("lat",)),
    "longitude": Column("degrees east", -180, 180, also=("lon", "lng", "long")),
    "x_m": Column("metres east in the place's own grid", also=("x",)),
    "y_m": Column("metres north in the place's own grid", also=("y",)),
    "height_m": Column("metres of the antenna above ground", 0.5, 300, also=("height",)),
    "above_roof_m": Column("metres of the antenna above the roof", 0.1, 100, also=("above_roof",)),
    "azimuth_deg": Column("degrees of the boresight clockwise from north", -360, 360, also=("azimuth",)),
    "mechanical_tilt_deg": Column("degrees below the horizon", -90, 90, 0.0, ("mechanical_tilt", "m_tilt")),
    "electrical_tilt_deg": Column("degrees below the boresight", -90, 90, also=("electrical_tilt", "e_tilt")),
    "power_dbm": Column("dBm of all ports together", -60, 80, also=("power",)),
    "carrier_mhz": Column("MHz", 400, 120_000, also=("carrier", "frequency_mhz")),
    "bandwidth_mhz": Column("MHz of the channel", 1, 2000, also=("bandwidth",)),
    "spacing_khz": Column("kHz between subcarriers", 1, 1000, also=("spacing", "subcarrier_spacing_khz", "scs_khz")),
    "rows": Column("elements of a column", 1, 64, 1),
    "columns": Column("elements of a row", 1, 64, 1),
    "vertical_spacing": Column("wavelengths between rows", 0.05, 10, 0.5),
    "horizontal_spacing": Column("wavelengths between columns", 0.05, 10, 0.5),
    "pci": Column("physical cell identity", 0, 1007),
}
WORDS = ("site", "sector", "polarisation", "pattern")
REQUIRED = ("azimuth_deg", "power_dbm", "carrier_mhz", "bandwidth_mhz", "spacing_khz")
WHOLE = ("rows", "columns", "pci")
NAMES = {
    **{other: name for name, column in NUMBERS.items() for other in (name, *column.also)},
    **{name: name for name in WORDS}, "site_name": "site", "polarization": "polarisation",
}  # fmt: skip
DEGREES, METRES = ("longitude", "latitude"), ("x_m", "y_m")
HEIGHTS = ("height_m", "above_roof_m")


@dataclass(frozen=True)
class Mast:
    """A mast and its sectors, where its file says that it stands.

    Attributes:
        name: of the site.
        plan: longitude and latitude, degrees, or x and y, m.
        degrees: which of both.
        height: m.
        above_roof: whether it counts from the roof, else from the ground.
        sectors: one or more.
        where: file and row, for messages.
    """

    name: str
    plan: tuple[float, float]
    degrees: bool
    height: float
    above_roof: bool
    sectors: tuple[Sector, ...]
    where: str


@dataclass(frozen=True)
class Plan:
    """The masts of a file, and what to know about how it was read."""

    masts: tuple[Mast, ...]
    remarks: tuple[str, ...] = ()

    @property
    def sectors(self) -> tuple[Sector, ...]:
        """Of all masts, in their order."""
        return tuple(sector for mast in self.masts for sector in mast.sectors)


@dataclass(frozen=True)
class Row:
    """One sector as the file has it: plain names to values, and where it stands for messages."""

    where: str
    values: Mapping[str, Any]

    def fail(self, column: str, what: str) -> InputError:
        """The error of a value."""
        return InputError(f"{self.where}, {column}: {what}")

    def given(self, column: str) -> bool:
        """Whether there is a value."""
        value = self.values.get(column)
        return not (value is None or (isinstance(value, str) and not value.strip()))

    def word(self, column: str, default: str = "") -> str:
        """Text without spaces around it."""
        return str(self.values[column]).strip() if self.given(column) else default

    def number(self, name: str) -> float:
        """A number within its limits, or its default.

        Raises:
            InputError: it is missing and must be there, no number, or out of its limits.
        """
        column, value = NUMBERS[name], self.values.get(name)
        if not self.given(name):
            if column.default is None:
                raise self.fail(name, f"missing; give {column.about}")
            return column.default
        try:
            found = math.nan if isinstance(value, bool) else float(str(value).strip().replace(",", "."))
        except ValueError:
            found = math.nan
        if not column.least <= found <= column.most:  # NaN is not
            raise self.fail(name, f"{value!r:.40}; give {column.about}{_limits(column)}")
        if name in WHOLE and found != int(found):
            raise self.fail(name, f"{value!r:.40}; give a whole number")
        return found


def _limits(column: Column) -> str:
    return "" if math.isinf(column.least) else f", {column.least:g} to {column.most:g}"


def read_plan(path: str | Path) -> Plan:
    """Masts and sectors from `.csv`, `.geojson` (or `.json`) and `.yaml` (or `.yml`); `docs/site.md` has the columns.

    Raises:
        InputError: no such file, not readable, columns that are missing or hold what they can't, positions in two
            coordinate systems, a site in two places, or a pattern file that can't be read. It names row and column.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path, str], list[Row]]] = {
        ".csv": _csv_rows, ".geojson": _geojson_rows, ".json": _geojson_rows, ".yaml": _yaml_rows, ".yml": _yaml_rows,
    }  # fmt: skip
    read = readers.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path}: sites are read from .csv, .geojson and .yaml; save it as one of them")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: can't be read ({why}); give a table of sites") from error
    rows = read(path, text)
    if not 0 < len(rows) <= MOST_SECTORS:
        raise InputError(f"{path}: {len(rows)} sectors; give 1 to {MOST_SECTORS}")
    return _plan(path, rows)


def _csv_rows(path: Path, text: str) -> list[Row]:
    mark = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    rows: list[Row] = []
    try:
        header = next(reader, [])
        for cells in reader:
            where = f"{path}: row {reader.line_num}"
            if len(cells) > len(header):
                raise InputError(f"{where}: {len(cells)} values under {len(header)} columns; quote texts with {mark}")
            if any(cell.strip() for cell in cells):
                rows.append(Row(where, dict(zip(header, cells, strict=False))))
    except csv.Error as error:
        raise InputError(f"{path}: a table that can't be read ({error})") from error
    return rows


def _geojson_rows(path: Path, text: str) -> list[Row]:
    """Points; a feature is a sector, or a mast whose property `sectors` lists them."""
    document = _json(path, text)
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise InputError(f"{path}: no features; give a FeatureCollection of points")
    crs = _crs(path, document)
    rows = []
    for number, feature in enumerate(features, 1):
        where = f"{path}: feature {number}"
        try:
            point = shape(feature["geometry"])
            values = dict(feature.get("properties") or {})
        except (TypeError, KeyError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            raise InputError(f"{where}: no geometry that is read here; give a point") from error
        if not isinstance(point, Point) or point.is_empty:
            raise InputError(f"{where}, geometry: a {point.geom_type}; give a point")
        if "crs" in feature and _crs(Path(where), feature) != crs:
            raise InputError(f"{where}, crs: another one than the file's; give all sites in one CRS")
        if crs is not None:
            moved = to_degrees(path, shapely.points([[point.x, point.y]]), crs)
            if moved is None:
                raise InputError(f"{path}: crs: {crs[:60]} lies nowhere on Earth; give degrees")
            point = moved[0]
        for name, value in zip(DEGREES, (point.x, point.y), strict=True):
            values.setdefault(name, value)
        rows += _nested(where, values)
    return rows


def _crs(path: Path, document: Mapping[str, Any]) -> str | None:
    """What a GeoJSON of before RFC 7946 says of its CRS."""
    if not (said := document.get("crs")):
        return None
    try:
        return str(said["properties"]["name"])
    except (TypeError, KeyError) as error:
        raise InputError(f"{path}: crs: not of the form {{'properties': {{'name': 'EPSG:4326'}}}}") from error


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error


def _yaml_rows(path: Path, text: str) -> list[Row]:
    """A list of masts under `sites`, each with a list `sectors`; what `defaults` holds is every sector's."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())[:200]})") from error
    sites = document.get("sites") if isinstance(document, dict) else None
    defaults = document.get("defaults") or {} if isinstance(document, dict) else {}
    if not isinstance(sites, list) or not isinstance(defaults, dict):
        raise InputError(f"{path}: no list of sites; see docs/site.md for an example")
    rows = []
    for number, entry in enumerate(sites, 1):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: site {number}: not names and values")
        rows += _nested(f"{path}: site {number}", {**defaults, **entry})
    return rows


def _nested(where: str, values: dict[str, Any]) -> list[Row]:
    """A mast with a list of sectors, or a sector of its own."""
    if "sectors" not in values:
        return [Row(where, values)]
    sectors = values.pop("sectors")
    if not isinstance(sectors, list) or not sectors or not all(isinstance(one, dict) for one in sectors):
        raise InputError(f"{where}, sectors: give a list of names and values, one a sector")
    return [Row(f"{where}, sector {number}", {**values, **one}) for number, one in enumerate(sectors, 1)]


def _plan(path: Path, rows: list[Row]) -> Plan:
    unknown = dict.fromkeys(name for row in rows for name in row.values if plain_name(str(name)) not in NAMES)
    rows = [Row(row.where, _plain(row)) for row in rows]
    systems = [_system(row) for row in rows]
    for row, system in zip(rows, systems, strict=True):
        if system != systems[0]:
            raise row.fail(
                system[0], f"a position in {_said(system)}, those before are in {_said(systems[0])}; give one"
            )
    remarks = [f"{path.name}: not read: {', '.join(map(str, unknown))}"] if unknown else []
    if silent := sum(not any(row.given(name) for name in ("rows", "columns", "pattern")) for row in rows):
        remarks.append(
            f"{path.name}: {silent} of {len(rows)} sectors say neither panel nor pattern: one isotropic element"
        )
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.word("site") or _missing(row, "site", "the name of the mast"), []).append(row)
    masts = [_mast(path, name, of, systems[0], remarks) for name, of in groups.items()]
    names = [sector.name.casefold() for mast in masts for sector in mast.sectors]  # as columns of databases
    for row, name in zip((row for of in groups.values() for row in of), names, strict=True):
        if names.count(name) > 1:
            raise row.fail("sector", f"two sectors are named {name}; give each a name of its own")
    return Plan(tuple(masts), tuple(dict.fromkeys(remarks)))


def _plain(row: Row) -> dict[str, Any]:
    """Values under our names.

    Raises:
        InputError: two columns are the same quantity.
    """
    out: dict[str, Any] = {}
    for name, value in row.values.items():
        ours = NAMES.get(plain_name(str(name)))
        if ours in out:
            raise row.fail(str(name), f"given twice, as {ours} too; leave one out")
        if ours is not None:
            out[ours] = value
    return out


def _missing(row: Row, column: str, about: str) -> str:
    raise row.fail(column, f"missing; give {about}")


def _system(row: Row) -> tuple[str, str]:
    """The two columns of its position."""
    found = [pair for pair in (DEGREES, METRES) if any(row.given(name) for name in pair)]
    if not found:
        raise row.fail("latitude", "missing; give latitude and longitude, or x_m and y_m")
    if len(found) > 1:
        raise row.fail(METRES[0], "a second position beside latitude and longitude; give one")
    return found[0]


def _said(system: tuple[str, str]) -> str:
    return "degrees" if system == DEGREES else "metres"


def _mast(path: Path, name: str, rows: list[Row], system: tuple[str, str], remarks: list[str]) -> Mast:
    """A site of one position and height.

    Raises:
        InputError: its rows disagree, or hold what they can't.
    """
    place = [(row.number(system[0]), row.number(system[1]), _height(row)) for row in rows]
    for row, one in zip(rows, place, strict=True):
        height = HEIGHTS[one[2][1]]
        for column, mine, first in zip((*system, height), one, place[0], strict=True):
            if mine != first:
                raise row.fail(
                    column, f"site {name} stands elsewhere, or higher, in the rows before; give it another name"
                )
    sectors = tuple(_sector(path, name, i, len(rows), row, remarks) for i, row in enumerate(rows, 1))
    x, y, (metres, above_roof) = place[0]
    return Mast(name, (x, y), system == DEGREES, metres, above_roof, sectors, rows[0].where)


def _height(row: Row) -> tuple[float, bool]:
    """Metres, and whether from the roof."""
    said = [name for name in HEIGHTS if row.given(name)]
    if len(said) != 1:
        raise row.fail("height_m", "give it, above ground, or above_roof_m" + ", not both" * (len(said) > 1))
    return row.number(said[0]), said[0] == "above_roof_m"


def _sector(path: Path, mast: str, number: int, count: int, row: Row, remarks: list[str]) -> Sector:
    for column in REQUIRED:
        row.number(column)
    carrier = row.number("carrier_mhz") * 1e6
    panel, measured = _antenna(path, row)
    tilt = row.number("electrical_tilt_deg") if row.given("electrical_tilt_deg") else 0.0
    if measured is not None:
        tilt = _measured_tilt(row, measured, remarks)
        if measured.frequency and abs(measured.frequency / carrier - 1) > SAME_FREQUENCY:
            remarks.append(f"{row.word('pattern')}: measured at {measured.frequency / 1e6:g} MHz, "
                           f"used at {carrier / 1e6:g} MHz")  # fmt: skip
        remarks += measured.remarks
    if tilt and panel.rows == 1 and measured is None:
        raise row.fail(
            "electrical_tilt_deg", "a panel of one row can't turn its beam down; give rows, or a mechanical tilt"
        )
    return Sector(
        row.word("sector") or (f"{mast}-{number}" if count > 1 else mast), mast,
        bearing=bearing(row.number("azimuth_deg")), downtilt=math.radians(row.number("mechanical_tilt_deg")),
        electrical=math.radians(tilt), power=row.number("power_dbm"), carrier=carrier,
        bandwidth=_bandwidth(row), spacing=row.number("spacing_khz") * 1e3, array=panel, measured=measured,
        pci=int(row.number("pci")) if row.given("pci") else None,
    )  # fmt: skip


def bearing(azimuth: float) -> float:
    """Azimuth of an array's x axis, rad from east, whose boresight looks to a compass azimuth, degrees."""
    turned = -azimuth % 360
    return math.radians(turned if turned <= 180 else turned - 360)


def _bandwidth(row: Row) -> float:
    bandwidth = row.number("bandwidth_mhz") * 1e6
    if bandwidth < 12 * row.number("spacing_khz") * 1e3:
        raise row.fail("bandwidth_mhz", "narrower than a resource block of 12 subcarriers; is it in MHz?")
    if bandwidth > row.number("carrier_mhz") * 1e6 / 2:
        raise row.fail("bandwidth_mhz", "wider than half the carrier; is it in MHz?")
    return bandwidth


def _antenna(path: Path, row: Row) -> tuple[UPA, MeasuredPattern | None]:
    """The panel, and the pattern of the whole antenna if it was measured."""
    polarisation = row.word("polarisation", "vertical").lower()
    if polarisation not in POLARISATIONS:
        raise row.fail("polarisation", f"{polarisation!r:.40} is none of {', '.join(POLARISATIONS)}")
    rows, columns = int(row.number("rows")), int(row.number("columns"))
    said, measured, pattern = row.word("pattern", "iso"), None, "isotropic"
    if said.lower().endswith(SUFFIXES):
        try:
            measured = _pattern_of(path.parent / said)
        except InputError as error:
            raise row.fail("pattern", str(error)) from error
        if rows * columns > 1:
            raise row.fail("pattern", f"{said} is that of the whole antenna; leave rows and columns out")
    elif said.lower() in PATTERNS:
        pattern = PATTERNS[said.lower()]
    else:
        raise row.fail("pattern", f"{said!r:.60}; give iso, tr38901, or a file of .msi or .pln")
    vertical, horizontal = row.number("vertical_spacing"), row.number("horizontal_spacing")
    return UPA(rows, columns, vertical, horizontal, pattern=pattern, polarisation=polarisation), measured


_pattern_of = lru_cache(maxsize=64)(read_pattern)  # sectors share theirs


def _measured_tilt(row: Row, pattern: MeasuredPattern, remarks: list[str]) -> float:
    """The electrical tilt that the cuts hold; what the row says must agree.

    Raises:
        InputError: it does not.
    """
    wanted = row.number("electrical_tilt_deg") if row.given("electrical_tilt_deg") else None
    if pattern.tilt is not None and wanted is not None and abs(pattern.tilt - wanted) > 0.05:
        raise row.fail(
            "electrical_tilt_deg",
            f"{wanted:g}, but {row.word('pattern')} was measured at {pattern.tilt:g}; give the pattern of that tilt",
        )
    if pattern.tilt is None and wanted:
        remarks.append(
            f"{row.word('pattern')} does not say its electrical tilt; taken for the {wanted:g}° of the table"
        )
    return pattern.tilt if pattern.tilt is not None else wanted or 0.0
