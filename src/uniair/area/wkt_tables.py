"""Tables with a column of outlines as text: Google Open Buildings, open-data portals, PostGIS exports."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import shapely

from uniair.area.buildings import Outlines
from uniair.area.heights import plain_name
from uniair.area.vector_files import COLUMNS, IDS, MOST_FEATURES
from uniair.errors import InputError

_WKT = re.compile(
    r"\s*(?:SRID=(\d+);)?\s*(?:MULTI)?POLYGON\b|\s*(?:SRID=(\d+);)?\s*GEOMETRYCOLLECTION\b", re.IGNORECASE
)
_HEX = re.compile(r"0[01][0-9A-Fa-f]{16,}")
LONGEST = 16 << 20  # characters of a cell


def read_table(path: Path, file: Path) -> Outlines:
    """The rows of a CSV whose column of geometries is WKT, EWKT or hexadecimal WKB.

    Args:
        path: that the user gave, for messages.
        file: the same unpacked.

    Raises:
        InputError: not text, or no column of outlines.
    """
    before = csv.field_size_limit(LONGEST)
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            return _read(path, text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}: a table that can't be read ({error}); is the file whole?") from error
    finally:
        csv.field_size_limit(before)


def _read(path: Path, text: TextIO) -> Outlines:
    sample = text.read(1 << 16)
    text.seek(0)
    rows = csv.reader(text, delimiter=_delimiter(sample), strict=False)
    first = next(rows, [])
    headless = _column(first) is not None
    header = [f"column {i + 1}" for i in range(len(first))] if headless else [name.strip() for name in first]
    data = _rows(first if headless else None, rows)
    start = [row for _, row in zip(range(50), data, strict=False)]
    place = next((i for row in start if (i := _column(row)) is not None), None)
    if place is None:
        raise InputError(
            f"{path}: a table without a column of outlines as WKT (POLYGON ((lon lat, …))); export geometries with it"
        )
    kept = [i for i, name in enumerate(header) if i != place and (plain_name(name) in COLUMNS or name in IDS)]
    cells: list[str] = []
    tags: list[Mapping[str, Any]] = []
    for row in (*start, *data):
        if len(row) > place and row[place].strip():
            cells.append(row[place].strip())
            tags.append({header[i]: row[i] for i in kept if i < len(row)})
        if len(cells) > MOST_FEATURES:
            raise InputError(f"{path}: more than {MOST_FEATURES:,} rows; cut an extract of one town")
    codes = {match[1] or match[2] for cell in cells if (match := _WKT.match(cell))} - {None}
    if len(codes) > 1:
        raise InputError(f"{path}: outlines of several SRIDs ({', '.join(sorted(codes))}); reproject them to one")
    plain_cells = np.array([re.sub(r"^SRID=\d+;", "", cell, flags=re.IGNORECASE) for cell in cells], dtype=object)
    hexadecimal = _HEX.match(cells[0]) is not None
    read = shapely.from_wkb if hexadecimal else shapely.from_wkt
    geometries = read(plain_cells, on_invalid="ignore")
    if hexadecimal:
        codes = {str(code) for code in shapely.get_srid(geometries[geometries != None]).tolist() if code > 0}  # noqa: E711
    names = [f"row {i + 1}" for i in range(len(cells))]
    return Outlines(geometries, tags, names, f"EPSG:{next(iter(codes))}" if codes else None)


def _rows(first: list[str] | None, rows: Iterator[list[str]]) -> Iterator[list[str]]:
    if first is not None:
        yield first
    yield from rows


def _column(row: list[str]) -> int | None:
    """Which cell of a row is an outline."""
    return next((i for i, cell in enumerate(row) if _WKT.match(cell[:80]) or _HEX.fullmatch(cell[:200].strip())), None)


def _delimiter(sample: str) -> str:
    """The commonest separator of the first line, where text in quotes and brackets does not count."""
    line = re.sub(r'"[^"]*"|\([^)]*\)*', "", sample.partition("\n")[0])
    found = max(",;\t|", key=line.count)
    return found if found in line else "\x1f"  # a single column, whose outlines have commas
