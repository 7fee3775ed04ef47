"""What a map file is, told from its first bytes and never from its name, and its contents out of their wrapping."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from uniair.errors import InputError

HEAD = 1 << 20  # bytes that tell
MOST_BYTES = 4 << 30  # out of a wrapping
MOST_RATIO, SURE = 200, 64 << 20  # text is never packed tighter; files below SURE bytes may be anything
MOST_FILES = 10_000
JSON, OSM_XML, OSM_PBF, SHAPEFILE, GEOPACKAGE, FLATGEOBUF, PARQUET, TABLE = (
    "JSON", "OpenStreetMap XML", "OpenStreetMap PBF", "Shapefile", "GeoPackage", "FlatGeobuf", "Parquet", "table",
)  # fmt: skip
GPX, GZIP, BZIP2, XZ, ZIP = "GPX", "gzip", "bzip2", "xz", "zip"
ACCEPTED = (
    "use GeoJSON, GeoPackage, Shapefile, FlatGeobuf, GeoParquet, a CSV of WKT, buildings.json, or OpenStreetMap's .osm "
    "or .pbf"
)
_MAGIC = {
    b"\x1f\x8b": GZIP, b"BZh": BZIP2, b"\xfd7zXZ\x00": XZ, b"PK\x03\x04": ZIP, b"PAR1": PARQUET,
    b"SQLite format 3\x00": GEOPACKAGE, b"fgb\x03fgb": FLATGEOBUF, b"\x00\x00\x27\x0a": SHAPEFILE,
    b"\xff\xe0\x04o5m2": OSM_PBF,
}  # fmt: skip
_WIDE = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_NAMED = re.compile(r"building|footprint|gebaeude|gebäude|geb[aä]ud|batiment|bâtiment|edific|pand", re.IGNORECASE)


def head_of(path: Path, size: int = HEAD) -> bytes:
    """The first bytes of a file.

    Raises:
        InputError: it can't be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error


def encoding_of(head: bytes) -> str:
    """`utf-8`, or what a byte order mark or a pattern of zeros says of text."""
    for mark, name in _WIDE.items():
        if head.startswith(mark):
            return name
    if len(head) >= 4 and 0 in head[:4] and not head.startswith(b"\x00\x00\x27\x0a"):
        if head[1] == 0 and head[0]:
            return "utf-16-le"
        if head[0] == 0 and head[1]:
            return "utf-16-be"
    return "utf-8"


def kind_of(path: Path) -> str | None:
    """One of the kinds above, or None where the bytes are none of them.

    Raises:
        InputError: what it is can be said, but it is no map that is read here.
    """
    head = head_of(path, 1 << 16)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[4:15] == b"\x0a\x09OSMHeader":
        return OSM_PBF
    text = head.decode(encoding_of(head), errors="replace").lstrip("\ufeff \t\r\n")
    if text[:1] in ("{", "[", "\x1e"):
        return JSON
    if text[:1] == "<":
        return _xml_kind(path, text)
    first = text.partition("\n")[0].strip()
    # a letter of another code page is no reason to refuse a table, a control character is
    separated = any(mark in first for mark in ",;\t|") or "POLYGON" in text[:4096].upper()
    return TABLE if first.replace("\t", " ").isprintable() and separated else None


def _xml_kind(path: Path, text: str) -> str | None:
    match = re.search(r"<([A-Za-z_][\w:.-]*)", re.sub(r"<!--.*?(-->|$)|<\?.*?\?>", "", text, flags=re.S))
    root = match[1].lower() if match else ""
    if root == "osm":
        return OSM_XML
    if root == "gpx":
        return GPX
    if root == "html" or text[:14].lower() == "<!doctype html":
        raise InputError(f"{path}: a web page, no map; the server answered with a message, download the file again")
    if root == "osmchange":
        raise InputError(f"{path}: a file of OpenStreetMap changes; apply it to an extract, and give that")
    raise InputError(f"{path}: XML of the kind <{root}>; save it as GeoJSON or GeoPackage (QGIS does), and give that")


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The file or folder inside any gzip, bzip2, xz or zip, with text as UTF-8; temporary where it differs from `path`.

    Raises:
        InputError: the wrapping is broken, or holds more than `MOST_BYTES`.
    """
    with tempfile.TemporaryDirectory(prefix="uniair-") as folder:
        here = path
        for layer in range(3):
            kind = None if here.is_dir() else kind_of(here)
            target = Path(folder) / str(layer) / here.name.removesuffix(here.suffix if layer or kind else "")
            if kind in (GZIP, BZIP2, XZ):
                target = target.with_name(target.name or "unpacked")
                _unpack(path, kind, here, target)
            elif kind == ZIP:
                _unzip(path, here, target)
            elif kind in (JSON, TABLE) and (name := encoding_of(head_of(here, 4))) != "utf-8":
                target = target.with_name("utf8.txt")
                _reencode(path, here, target, name)
            else:
                break
            here = target
        yield here


def _unpack(path: Path, kind: str, here: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    openers: dict[str, Callable[..., Any]] = {GZIP: gzip.open, BZIP2: bz2.open, XZ: lzma.open}
    try:
        with openers[kind](here, "rb") as source, target.open("wb") as out:
            _copy(path, source, out, here.stat().st_size)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: {kind} that can't be unpacked ({error}); is the download whole?") from error


def _copy(path: Path, source: IO[bytes], out: IO[bytes], packed: int) -> None:
    written = 0
    while block := source.read(1 << 20):
        written += len(block)
        if written > MOST_BYTES or (written > SURE and written > MOST_RATIO * packed):
            raise InputError(f"{path}: unpacks to more than {written >> 20:,} MB; cut an extract of one town")
        out.write(block)


def _unzip(path: Path, here: Path, target: Path) -> None:
    target.mkdir(parents=True)
    try:
        with zipfile.ZipFile(here) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX")]
            if len(members) > MOST_FILES or sum(m.file_size for m in members) > MOST_BYTES:
                raise InputError(f"{path}: a zip of {len(members):,} files; unpack it, and give the one of buildings")
            for member in members:
                # names that lead out of the folder, or are too long, lie flat in it
                flat = target / re.sub(r"[^\w.-]+", "_", member.filename)[-120:].lstrip(".")
                with archive.open(member) as source, flat.open("wb") as out:
                    _copy(path, source, out, max(member.compress_size, 1))
    except (
        OSError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        LookupError,  # a member without a name
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise InputError(
            f"{path}: a zip that can't be unpacked ({str(error)[:200]}); is the download whole?"
        ) from error


def _reencode(path: Path, here: Path, target: Path, encoding: str) -> None:
    target.parent.mkdir(parents=True)
    try:
        with here.open(encoding=encoding, newline="") as source, target.open("w", encoding="utf-8", newline="") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (UnicodeError, OSError) as error:
        raise InputError(f"{path}: not whole text in {encoding} ({error}); save it as UTF-8") from error


def choose(path: Path, names: list[str], what: str) -> str:
    """The one of several files or layers that is of buildings by its name.

    Raises:
        InputError: none is, or several are.
    """
    if len(names) == 1:
        return names[0]
    named = [name for name in names if _NAMED.search(name)]
    if len(named) != 1:
        some = ", ".join(sorted(names)[:8]) + (", …" if len(names) > 8 else "")
        raise InputError(f"{path}: {len(names)} {what} ({some}); give one of buildings alone")
    return named[0]


def file_in(path: Path, folder: Path) -> Path:
    """The file of buildings in a folder: the only one of a known kind, or the only one so named.

    Args:
        path: that the user gave, for messages.
        folder: that or its unpacked contents.

    Raises:
        InputError: there is none, or not just one.
    """
    found: list[Path] = []
    for number, file in enumerate(sorted(folder.rglob("*"))):
        if number > MOST_FILES:
            break
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in _BESIDE:
            try:
                kind = kind_of(file)
            except InputError:
                continue
            if kind is not None:
                found.append(file)
    if not found:
        raise InputError(f"{path}: no buildings.json in this folder, nor another file of buildings; {ACCEPTED}")
    by_name = {str(file.relative_to(folder)): file for file in found}
    return by_name[choose(path, list(by_name), "files")]


_BESIDE = {".dbf", ".shx", ".prj", ".cpg", ".qpj", ".qml", ".qmd", ".xml", ".txt", ".md", ".pdf", ".html", ".json~"}
