"""The arrays of a DeepMIMO v4 scenario in their files, read some rows at a time; whatever is broken is one line."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from uniair.data import matlab
from uniair.errors import InputError

Array = NDArray[np.float64]
AGAIN = "is the file whole? download the scenario again"


@dataclass(frozen=True)
class Stored:
    """A numeric array in a file, read some rows at a time."""

    path: Path
    key: str
    shape: tuple[int, ...]

    @classmethod
    def at(cls, path: Path, key: str) -> Stored:
        """Reads no more than the shape."""
        with reading(path):
            if path.suffix == ".mat":
                return cls(path, key, matlab.read(path, (key,))[key].shape)
            with _npy(path, key) as (_, shape, _, _):
                return cls(path, key, shape)

    def rows(self, count: int) -> Iterator[Array]:
        """Yields float64 [up to count, …]."""
        with reading(self.path):
            if self.path.suffix == ".mat":
                whole = matlab.read(self.path, (self.key,))[self.key]
                yield from (float64(whole[start : start + count]) for start in range(0, len(whole), count))
                return
            with _npy(self.path, self.key) as (file, shape, by_column, dtype):
                if by_column:  # its rows are spread over the whole file
                    whole = np.frombuffer(file.read(), dtype).reshape(shape, order="F")
                    yield from (float64(whole[start : start + count]) for start in range(0, len(whole), count))
                    return
                for start in range(0, shape[0], count):
                    some = (min(count, shape[0] - start), *shape[1:])
                    values = np.frombuffer(file.read(math.prod(some) * dtype.itemsize), dtype)
                    yield float64(values.reshape(some))


@contextmanager
def _npy(path: Path, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
    """An array in a .npz or .npy file, open after its header: stream, shape, whether stored by column, type."""
    if path.suffix == ".npy":
        with path.open("rb") as file:
            yield _header(file, path.stat().st_size)
    else:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            yield _header(member, archive.getinfo(f"{key}.npy").file_size)


def _header(file: IO[bytes], size: int) -> tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_column, dtype = versions[version](file)
    if dtype.hasobject:
        raise ValueError(f"it holds {dtype}, not numbers")
    if not shape or min(shape) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"{size} bytes for an array of shape {shape}")
    return file, shape, by_column, dtype


@np.errstate(invalid="ignore")  # a NaN is looked for later
def float64(values: NDArray[Any]) -> Array:
    """Numbers in double precision.

    Raises:
        ValueError: they are none.
    """
    if values.dtype.kind not in "fiu":
        raise ValueError(f"it holds {values.dtype}, not numbers")
    return values.astype(np.float64)


def whole_array(path: Path, key: str) -> Array:
    """An array [N, 3] at once."""
    stored = Stored.at(path, key)
    if stored.shape[1:] != (3,):
        raise InputError(f"{path}: {key} has shape {stored.shape}, expected (N, 3); {AGAIN}")
    return require_metres(path, np.concatenate([np.zeros((0, 3)), *stored.rows(2**16)]))


def file_of(folder: Path, key: str) -> Path:
    """The file of a key, in whichever form it is.

    Raises:
        InputError: there is none.
    """
    for suffix in (".npz", ".npy", ".mat"):
        if (path := folder / f"{key}{suffix}").exists():
            return path
    raise InputError(f"{folder}: {key}.npz is missing; download the scenario again")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever the parsers of NumPy, MAT-files, JSON and shapely throw at a broken file into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a file of random bytes can make them raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: can't be read ({type(error).__name__}: {reason}); {AGAIN}") from error


def require_metres(path: Path, points: Array) -> Array:
    """The points [N, 3], when they can be metres."""
    if not (np.abs(points) < 1e8).all():  # more than any projection of the Earth gives
        raise InputError(f"{path}: a position is NaN or huge; positions must be in metres")
    return points
