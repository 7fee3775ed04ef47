"""Vector files as GDAL reads them: GeoJSON in all its forms, GeoPackage, Shapefile, FlatGeobuf."""

from __future__ import annotations

import glob
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import shapely

from uniair.area.buildings import Outlines
from uniair.area.content import FLATGEOBUF, GEOPACKAGE, HEAD, JSON, SHAPEFILE, choose, head_of
from uniair.area.heights import NAMES, plain_name
from uniair.errors import InputError

MOST_FEATURES = 2_000_000
ROOM = 50_000  # features for which there is always room
MOST_LOOSE = 128 << 20  # bytes of JSON that must be put in order first, in memory
# what the rules read (`buildings`, `heights`, `positions`), ids, and a few names that make an example speak
COLUMNS = {
    *NAMES, "building", "building_part", "building_id", "class", "subtype", "type", "location", "layer", "level",
    "max_level", "is_underground", "building_levels_underground", "parking", "bridge", "man_made", "wall", "walls",
    "ruins", "collapsed", "demolished", "destroyed", "razed", "proposed", "construction", "tags", "other_tags",
    "all_tags", "osm_tags", "id", "osm_id", "osmid", "full_id", "osm_way_id", "name", "leisure", "landuse", "amenity",
    "natural", "highway", "fclass", "z", "z_m", "ue_height",
}  # fmt: skip
IDS = ("@id", "full_id", "osm_id", "osmid", "osm_way_id", "id")


def read_vector(path: Path, file: Path, kind: str) -> Outlines:
    """The features of a file that GDAL reads.

    Args:
        path: that the user gave, for messages.
        file: the same unpacked.
        kind: of `content`.

    Raises:
        InputError: pyogrio is missing, the file is broken or too large, or has several layers.
    """
    with _named(file, kind) as file:
        return _read_named(path, file, kind)


def _read_named(path: Path, file: Path, kind: str) -> Outlines:
    if kind == JSON:
        keys = top_level(head_of(file))
        stated = _stated_crs(path, file, keys)
        with _ordered(path, file, keys) as whole:
            return _read(path, whole, kind, stated, esri="geometryType" in keys)
    return _read(path, file, kind)


@contextmanager
def _named(file: Path, kind: str) -> Iterator[Path]:
    """The file under a name that GDAL takes for its kind: what JSON is called `.csv` is no table."""
    suffix = {JSON: ".json", FLATGEOBUF: ".fgb"}.get(kind, file.suffix)
    if kind == GEOPACKAGE and head_of(file, 72)[68:70] == b"GP":
        suffix = ".gpkg"
    lonely = kind == SHAPEFILE and not any(file.with_suffix(end).exists() for end in (".shx", ".SHX"))
    if (file.suffix.lower() == suffix.lower() and not lonely) or (
        kind == JSON and file.suffix.lower() in ("", ".geojson")
    ):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="uniair-") as folder:
        # beside a shapefile without its index GDAL writes one, which is not for the user's folder
        for part in file.parent.glob(f"{glob.escape(file.stem)}.*") if lonely else [file]:
            link = Path(folder) / f"{file.stem}{part.suffix if lonely else suffix}"
            try:
                link.symlink_to(part.resolve())
            except OSError:  # no links here
                shutil.copyfile(part, link)
        yield Path(folder) / f"{file.stem}{suffix}"


def _pyogrio(path: Path) -> Any:
    try:
        import pyogrio
    except ImportError as error:
        raise InputError(f"{path}: reading footprints needs pyogrio: pip install 'uniair[rt]'") from error
    return pyogrio


def _read(path: Path, file: Path, kind: str, stated: str | None = None, esri: bool = False) -> Outlines:
    pyogrio = _pyogrio(path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": True})
            layer = _layer(path, pyogrio, file)
            info = pyogrio.read_info(file, layer=layer)
            # GDAL's readers make room for as many as are asked for, and a file may say how many it holds, or not
            claimed = int(info["features"])
            most = min(MOST_FEATURES, 2 * max(claimed, ROOM)) if claimed >= 0 else MOST_FEATURES
            columns = [name for name in info["fields"].tolist() if plain_name(name) in COLUMNS]
            meta, ids, wkb, values = pyogrio.raw.read(
                file, layer=layer, columns=columns, return_fids=True, max_features=most + 1
            )
        except InputError:
            raise
        except (pyogrio.errors.DataSourceError, RuntimeError, ValueError, UnicodeError, OSError, NameError) as error:
            message = " ".join(str(error).replace(str(file), path.name).split())[:300]
            raise InputError(f"{path}: {kind} that can't be read ({message}); is the file whole?") from error
    if wkb is None:
        raise InputError(f"{path}: a table without geometries; export the outlines of buildings with it")
    if len(wkb) > most:
        todo = "cut an extract of one town" if most == MOST_FEATURES else f"it claims {claimed:,}; export it again"
        raise InputError(f"{path}: more than {most:,} features; {todo}")
    geometries = shapely.from_wkb(wkb, on_invalid="fix")
    lists = [column.tolist() for column in values]
    names = meta["fields"].tolist()
    tags: list[Mapping[str, Any]] = [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
    tags = tags or [{} for _ in geometries]
    known = [_name(tag, number) for tag, number in zip(tags, ids.tolist(), strict=True)]
    # GDAL says degrees of every GeoJSON, whatever stands in it
    crs = stated if kind == JSON and not esri else meta["crs"]
    return Outlines(geometries, tags, known, crs, _notes(path, file, said))


def _layer(path: Path, pyogrio: Any, file: Path) -> str:
    """The layer of buildings among those with geometries."""
    layers = [(str(name), kind) for name, kind in pyogrio.list_layers(file) if kind is not None]
    if not layers:
        raise InputError(f"{path}: holds no layer of geometries; export the outlines of buildings")
    areal = [name for name, kind in layers if "Polygon" in kind or kind in ("Unknown", "GeometryCollection")]
    names = areal or [name for name, _ in layers]
    if len(names) > 1:
        said = [n for n in names if "building" in map(plain_name, pyogrio.read_info(file, layer=n)["fields"].tolist())]
        names = said if len(said) == 1 else names
    return choose(path, names, "layers")


def _name(tags: Mapping[str, Any], number: int) -> str:
    for key in IDS:
        value = tags.get(key)
        if value not in (None, "") and value == value:
            return f"{key} {value}"
    return f"feature {number + 1}"


def _notes(path: Path, file: Path, said: list[warnings.WarningMessage]) -> tuple[str, ...]:
    texts = {" ".join(str(one.message).replace(str(file), path.name).split())[:200] for one in said}
    boring = ("Non closed ring", "SHAPE_RESTORE_SHX", "organizePolygons", "header.dbf", "winding", "crs property")
    return tuple(sorted(f"GDAL says: {text}" for text in texts if not any(word in text for word in boring)))


def top_level(head: bytes) -> dict[str, Any]:
    """Keys of a JSON object as far as its beginning shows them, in order; a value that goes on is None."""
    text = head.decode("utf-8", errors="ignore").lstrip("\ufeff\x1e \t\r\n")
    found: dict[str, Any] = {}
    decoder, at = json.JSONDecoder(), 1
    while match := re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*').match(text, at) if text[:1] == "{" else None:
        try:
            key = str(json.loads(match[1], strict=False))
            found[key] = None
            found[key], at = decoder.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            break
    return found


def _stated_crs(path: Path, file: Path, keys: dict[str, Any]) -> str | None:
    """What `crs` says at the beginning or the end of a GeoJSON file.

    Raises:
        InputError: a link, or a form that no one reads.
    """
    crs = keys.get("crs")
    if (crs is None and file.stat().st_size > HEAD // 2) or "crs" not in keys:
        with file.open("rb") as whole:
            whole.seek(max(0, file.stat().st_size - 65536))
            tail = whole.read().decode("utf-8", errors="ignore")
        for match in re.finditer(r'"crs"\s*:\s*(?=\{\s*"(?:type|properties)")', tail):
            try:
                found = json.JSONDecoder().raw_decode(tail, match.end())[0]
            except (ValueError, RecursionError):
                continue
            if found.get("type") in ("name", "EPSG", "link"):
                crs = found
    if not crs:
        return None
    about = crs.get("properties") if isinstance(crs, dict) else None
    if isinstance(about, dict) and (name := about.get("name", about.get("code"))):
        return f"EPSG:{name}" if str(name).isdigit() else str(name)
    if isinstance(crs, str):
        return crs
    raise InputError(
        f"{path}: its crs ({json.dumps(crs)[:120]}) names none; write its EPSG code, or reproject to degrees"
    )


@contextmanager
def _ordered(path: Path, file: Path, keys: dict[str, Any]) -> Iterator[Path]:
    """GeoJSON as GDAL reads it: features in lists, in collections of collections or in several documents, in line.

    Raises:
        InputError: not JSON, too large to put in order, or without features.
    """
    if _in_order(file, keys):
        yield file
        return
    if file.stat().st_size > MOST_LOOSE:
        raise InputError(f"{path}: JSON of another form than one FeatureCollection; save it as one")
    with tempfile.TemporaryDirectory(prefix="uniair-") as folder:
        line = Path(folder) / "features.geojsonl"
        with line.open("w", encoding="utf-8") as out:
            for feature in _features(_documents(path, file)):
                out.write(json.dumps(feature) + "\n")
        if not line.stat().st_size:
            raise InputError(
                f"{path}: neither a buildings.json (key 'buildings') nor GeoJSON with features in it; export it as one"
            )
        yield line


def _in_order(file: Path, keys: dict[str, Any]) -> bool:
    text = head_of(file).decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    if text.startswith("\x1e"):
        return True
    if keys.get("type") == "FeatureCollection":
        # one inside another, or one after another, is for us
        return text.count('"FeatureCollection"') == 1
    return keys.get("type") in ("Feature", "Topology") or "geometryType" in keys


def _documents(path: Path, file: Path) -> Iterator[Any]:
    """One JSON value after another, whatever lies between them."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error}); is the file whole?") from error
    decoder, at, space = json.JSONDecoder(), 0, re.compile(r"[\s\x1e,]*")
    while (at := space.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        try:
            document, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not valid JSON ({error}); is the file whole?") from error
        yield document


def _features(documents: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """Features of any nesting, deepest first in order."""
    stack, end = [documents], object()
    while stack:
        document = next(stack[-1], end)
        if document is end:
            stack.pop()
        elif isinstance(document, list):
            stack.append(iter(document))
        elif isinstance(document, dict):
            if isinstance(document.get("features"), list):
                stack.append(iter(document["features"]))
            elif document.get("type") == "Feature":
                yield document
            elif "coordinates" in document or document.get("type") == "GeometryCollection":
                yield {"type": "Feature", "properties": {}, "geometry": document}
