"""GeoParquet, as Overture Maps gives it; GDAL in pyogrio's wheel does not read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from uniair.area.buildings import Outlines
from uniair.area.heights import plain_name
from uniair.area.vector_files import COLUMNS, IDS, MOST_FEATURES
from uniair.errors import InputError


def read_parquet(path: Path, file: Path) -> Outlines:
    """The rows of a Parquet file whose geometries are WKB.

    Args:
        path: that the user gave, for messages.
        file: the same unpacked.

    Raises:
        InputError: pyarrow is missing, the file is broken or too large, or has no geometries.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(f"{path}: GeoParquet needs pyarrow: pip install 'uniair[rt]'") from error
    try:
        with parquet.ParquetFile(file) as source:
            schema, rows = source.schema_arrow, source.metadata.num_rows
            if rows > MOST_FEATURES:
                raise InputError(f"{path}: {rows:,} rows; cut an extract of one town")
            geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
            name = _geometry_column(path, geo, schema.names)
            kept = [c for c in schema.names if c != name and (plain_name(c) in COLUMNS or c in IDS)]
            table = source.read(columns=[name, *kept])
        wkb = table.column(name).to_pylist()
        lists = [table.column(c).to_pylist() for c in kept]
        geometries = shapely.from_wkb(np.array(wkb, dtype=object), on_invalid="fix")
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, AttributeError, LookupError,
            shapely.errors.ShapelyError) as error:  # fmt: skip
        message = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: GeoParquet that can't be read ({message}); is the file whole?") from error
    tags: list[Mapping[str, Any]] = [dict(zip(kept, row, strict=True)) for row in zip(*lists, strict=True)]
    tags = tags or [{} for _ in geometries]
    names = [next((f"{k} {t[k]}" for k in IDS if t.get(k)), f"row {i + 1}") for i, t in enumerate(tags)]
    return Outlines(geometries, tags, names, _crs(geo, name))


def _geometry_column(path: Path, geo: dict[str, Any], names: list[str]) -> str:
    name = geo.get("primary_column") or next((n for n in ("geometry", "geom", "wkb_geometry") if n in names), None)
    if name not in names:
        raise InputError(f"{path}: Parquet without a column of geometries; export it as GeoParquet")
    encoding = geo.get("columns", {}).get(name, {}).get("encoding", "WKB")
    if encoding != "WKB":
        raise InputError(f"{path}: geometries encoded as {encoding}; export it as GeoParquet with WKB")
    return str(name)


def _crs(geo: dict[str, Any], name: str) -> str | None:
    """The CRS of the file's metadata: absent, it is degrees; null, it is not known."""
    crs = geo.get("columns", {}).get(name, {}).get("crs", "OGC:CRS84" if geo else None)
    return json.dumps(crs) if isinstance(crs, dict) else crs
