"""Bodies in and out: JSON for people, `.npy` and msgpack for arrays. Nothing is unpickled."""

from __future__ import annotations

import io
import json
import math
import tokenize
from collections.abc import Mapping
from typing import Any, TypeVar

import msgpack
import numpy as np
from fastapi import Request, Response
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from uniair.errors import InputError
from uniair.serve.schema import Body

JSON, NPY, MSGPACK = "application/json", "application/x-npy", "application/msgpack"
COMPLEX = ("complex64", "complex128")
M = TypeVar("M", bound=Body)


async def read(request: Request, model: type[M]) -> tuple[M, NDArray[Any] | None]:
    """A request's fields, and its CSI, complex [N, ports, subcarriers] or None where it gives none.

    In a .npy body the array is the CSI and the other fields are query parameters, each in JSON.

    Raises:
        HTTPException: 415 another content type, 422 fields that do not fit the schema.
        InputError: arrays that are none.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    body = await request.body()
    if kind == JSON:
        fields = validated(model, body)
        csi = getattr(fields, "csi", None)
        return fields, None if csi is None else _batched(_complex(csi.real, csi.imag))
    if kind == NPY:
        return validated(model, {name: _parsed(value) for name, value in request.query_params.items()}), _batched(
            read_npy(body)
        )
    if kind == MSGPACK:
        document = read_msgpack(body)
        packed = document.pop("csi", None)
        fields = validated(model, document)
        return fields, None if packed is None else _batched(unpacked(packed))
    raise HTTPException(415, f"content type {kind[:80] or 'missing'!r}: send {JSON}, {NPY} or {MSGPACK}")


def validated(model: type[M], source: bytes | Mapping[str, Any]) -> M:
    """The fields, checked.

    Raises:
        HTTPException: 422 with the first thing that is wrong.
    """
    try:
        return model.model_validate_json(source) if isinstance(source, bytes) else model.model_validate(source)
    except ValidationError as error:
        raise HTTPException(422, first_line(error.errors(include_url=False, include_input=False))) from error


def first_line(errors: Any) -> str:
    """The first of pydantic's findings in one line."""
    found = errors[0]
    where = ".".join(str(part) for part in found["loc"])
    line = f"{where or 'body'}: {found['msg']}"  # names may be the client's, and hold anything
    return " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())[:300]


def read_npy(body: bytes) -> NDArray[Any]:
    """A complex array from the bytes of a .npy file, without a copy.

    Its header is read before anything is made of its size, and the bytes must be as many as it says.

    Raises:
        InputError: not such a file, truncated, of Python objects, or of another type.
    """
    file = io.BytesIO(body)
    try:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except (ValueError, TypeError, SyntaxError, EOFError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise InputError("body: not a .npy file; write it with numpy.save") from error
    if dtype.hasobject or dtype.name not in COMPLEX:
        raise InputError(f"body: a .npy of {str(dtype)[:40]}; give complex64 or complex128")
    return _array(body[file.tell() :], shape, dtype, "F" if fortran else "C", "body")


def read_msgpack(body: bytes) -> dict[str, Any]:
    """A map with names as keys from msgpack bytes.

    Raises:
        InputError: not msgpack, truncated, or no map.
    """
    try:
        document = msgpack.unpackb(body, raw=False, strict_map_key=True, ext_hook=_no_extension)
    except (ValueError, msgpack.UnpackException, RecursionError, MemoryError) as error:
        raise InputError("body: not msgpack, or truncated") from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise InputError("body: the msgpack is no map with names as keys")
    return document


def unpacked(value: Any) -> NDArray[Any]:
    """A complex array from `{"shape", "dtype", "data"}`.

    Raises:
        InputError: another form, type or number of bytes.
    """
    try:
        shape, name, data = value["shape"], value["dtype"], value["data"]
        sides = tuple(int(side) for side in shape)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise InputError("csi: give a map of shape, dtype and data") from error
    if name not in COMPLEX or not isinstance(data, bytes):
        raise InputError("csi: give dtype complex64 or complex128, and data as bytes")
    return _array(data, sides, np.dtype(name).newbyteorder("<"), "C", "csi")


def packed(array: NDArray[Any]) -> dict[str, Any]:
    """The form that `unpacked` reads, of any type."""
    return {"shape": list(array.shape), "dtype": array.dtype.name, "data": np.ascontiguousarray(array).tobytes()}


def reply(request: Request, document: dict[str, Any], array: str | None = None) -> Response:
    """The answer in the form that was asked for.

    Args:
        document: NumPy arrays in it become lists in JSON (NaN null, of complex ones real and imag) and `packed` in
            msgpack.
        array: the entry that a .npy is made of; None: this answer is none, and JSON comes instead.
    """
    accepted = request.headers.get("accept", "")
    if NPY in accepted and array is not None:
        file = io.BytesIO()
        np.save(file, document[array], allow_pickle=False)
        return Response(file.getvalue(), media_type=NPY)
    if MSGPACK in accepted:
        return Response(msgpack.packb(document, default=packed), media_type=MSGPACK)
    return Response(json.dumps(document, default=_listed, separators=(",", ":")), media_type=JSON)


def _listed(value: Any) -> Any:
    """An array as lists with null for NaN and infinities, which JSON does not have; a complex one as its parts."""
    if value.dtype.kind == "c":
        return {"real": value.real.tolist(), "imag": value.imag.tolist()}
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        return [_listed(row) if row.ndim else float(row) if math.isfinite(row) else None for row in value]
    return value.tolist()


def _array(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any, name: str) -> NDArray[Any]:
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise InputError(f"{name}: {len(data)} bytes of data are not an array of {dtype.name} {list(shape)[:8]}")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _batched(csi: NDArray[Any]) -> NDArray[Any]:
    """[ports, subcarriers] of one link as [1, …]: a copy that torch may write to, in the machine's byte order."""
    native = csi.astype(csi.dtype.newbyteorder("="))
    return native[None] if native.ndim == 2 else native


def _complex(real: Any, imag: Any) -> NDArray[Any]:
    try:
        parts = np.asarray(real, dtype=np.float64), np.asarray(imag, dtype=np.float64)
    except ValueError as error:
        raise InputError("csi: rows of real or imag differ in length; give [N, antennas, subcarriers]") from error
    if parts[0].shape != parts[1].shape:
        raise InputError(f"csi: real is {list(parts[0].shape)}, imag {list(parts[1].shape)}; give both alike")
    return parts[0] + 1j * parts[1]


def _parsed(value: str) -> Any:
    """A query parameter: JSON, or the text itself."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")
