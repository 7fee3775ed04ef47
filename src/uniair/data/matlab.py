"""MAT-files of level 5 (MATLAB's -v6 and -v7): arrays of numbers, text, cells and structs.

SciPy reads more, but a damaged file can crash the process inside its compiled code; here every length is checked
against the file. Source: MathWorks, MAT-File Format, "Level 5 MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15  # kinds of elements beside those of numbers
CELL, STRUCT, TEXT, NUMERIC = 1, 2, 4, range(6, 16)  # classes of matrices
COMPLEX = 0x800
TEXTS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}  # kinds of elements with characters
MOST_BYTES = 1 << 30  # of one variable; a small file can claim to unpack to anything


def read(path: Path, names: Container[str]) -> dict[str, Any]:
    """The variables of those names that the file has.

    Numbers are an array of the file's shape, text is a string, a cell is the flat list of its entries, a struct the
    flat list of its entries as dictionaries from field to value.

    Raises:
        ValueError, LookupError, struct.error, zlib.error: not such a file, broken, or a variable holds something else.
    """
    data = memoryview(path.read_bytes())
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(bytes(data[124:128]))
    if order is None:
        raise ValueError("not a MAT-file of level 5; save it with -v7, for instance")
    found, at = {}, 128
    while at < len(data):
        kind, body, at = _element(data, at, order)
        if kind == COMPRESSED:
            kind, body, _ = _element(memoryview(zlib.decompressobj().decompress(body, MOST_BYTES)), 0, order)
        if kind != MATRIX:
            raise ValueError(f"an element of kind {kind} stands for a variable")
        name = bytes(_head(body, order)[2]).decode("ascii")
        if name in names:
            found[name] = _value(body, order)
    return found


def _element(data: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Kind and content of the element at `at`, and where the next one starts."""
    kind, length = struct.unpack_from(f"{order}II", data, at)
    start = at + 8
    if kind >> 16:  # up to four bytes are packed into the tag
        kind, length, start = kind & 0xFFFF, kind >> 16, at + 4
    if length > (4 if start < at + 8 else len(data) - start):
        raise ValueError(f"an element of {length} bytes is cut short")
    end = start + length
    return kind, data[start:end], end if kind == COMPRESSED else -(-end // 8) * 8


def _head(body: memoryview, order: str) -> tuple[int, tuple[int, ...], memoryview, int]:
    """Flags, shape and name of a matrix, and where its content starts."""
    _, flags, at = _element(body, 0, order)
    _, shape, at = _element(body, at, order)
    _, name, at = _element(body, at, order)
    return *struct.unpack_from(f"{order}I", flags), struct.unpack(f"{order}{len(shape) // 4}i", shape), name, at


def _value(body: memoryview, order: str) -> Any:
    if not body:
        return np.zeros((0, 0))  # an entry that was never set
    flags, shape, _, at = _head(body, order)
    kind = flags & 0xFF
    if min(shape, default=-1) < 0 or kind not in (CELL, STRUCT, TEXT, *NUMERIC):
        raise ValueError(f"a matrix of class {kind}, flags {flags:#x} and shape {shape} is not supported")
    count = math.prod(shape)
    if kind == TEXT:
        stored, content, _ = _element(body, at, order)
        ending = {"<": "-le", ">": "-be"}[order] if TEXTS[stored] == "utf-16" else ""
        return bytes(content).decode(TEXTS[stored] + ending)
    if kind in NUMERIC:
        stored, content, at = _element(body, at, order)
        real = np.frombuffer(content, order + NUMBERS[stored]).reshape(shape, order="F")
        if not flags & COMPLEX:
            return real
        stored, content, _ = _element(body, at, order)
        return real + 1j * np.frombuffer(content, order + NUMBERS[stored]).reshape(shape, order="F")
    fields = [""]
    if kind == STRUCT:
        _, width, at = _element(body, at, order)
        _, text, at = _element(body, at, order)
        (step,) = struct.unpack(f"{order}i", width)
        fields = [bytes(text[i : i + step]).split(b"\0")[0].decode("ascii") for i in range(0, len(text), step)]
    if count * len(fields) * 8 > len(body):
        raise ValueError(f"{count} entries in {len(body)} bytes")
    entries = []
    for _ in range(count):
        entry = {}
        for field in fields:
            _, content, at = _element(body, at, order)
            entry[field] = _value(content, order)
        entries.append(entry)
    return entries if kind == STRUCT else [entry[""] for entry in entries]
