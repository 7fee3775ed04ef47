"""Files of CSI: NumPy's, MATLAB's of every version and HDF5, complex however they store it, with axes in order."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.complex_arrays import complex_array
from uniair.data import matlab
from uniair.errors import InputError

SUFFIXES = (".npy", ".npz", ".mat", ".h5", ".hdf5")
AXES = ("users", "rx", "tx", "subcarriers")  # the order that the model takes
# other words for them
SAID = {
    "users": ("users", "user", "ue", "n", "samples", "links", "time", "snapshots", "packets"),
    "rx": ("rx", "ue_antennas", "rx_antennas", "receive"),
    "tx": ("tx", "antennas", "ports", "bs_antennas", "tx_antennas", "transmit", "beams"),
    "subcarriers": ("subcarriers", "subcarrier", "tones", "frequencies", "frequency"),
}
CALLED = ("csi", "h", "channel", "channels")  # what an array of CSI is called
HDF5 = b"\x89HDF\r\n\x1a\n"
MATLAB_BLOCK = 512  # bytes before the HDF5 of a MATLAB v7.3 file
MOST_BYTES = 1 << 34  # of one array; a small file can claim to unpack to anything


def read_csi(path: Path, axes: Sequence[str] = (), variable: str | None = None) -> NDArray[Any]:
    """The CSI of a file, complex [users, subcarriers' and antennas' axes as stored], or in order where axes are named.

    Complex numbers may be stored as such, as records of real and imaginary part, or as two arrays of one name that end
    in `real` and `imag` (also `re` and `im`). Of MATLAB's files the axes are MATLAB's, in v7.3 too, where HDF5 turns
    their order around.

    Args:
        path: `.npy`, `.npz`, `.mat` or HDF5; what it is shows in its first bytes.
        axes: what each axis of the array is, of `AXES`: the result is then [users, tx, subcarriers], or
            [users, rx, tx, subcarriers] where rx is named.
        variable: which array to take; None: the only one, or the one called csi, h or channel.

    Raises:
        InputError: missing, broken, of Python objects, not complex, several arrays, or axes that do not fit.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give CSI as {', '.join(SUFFIXES)}")
    with reading(path):
        found = dict(_arrays(path))
    name, values = _chosen(path, found, variable)
    csi = complex_array(values, f"{path}: {name}")
    return ordered(path, csi, axes) if axes else csi


def parse_axes(text: str | None) -> tuple[str, ...]:
    """`users,rx,tx,subcarriers` as names of `AXES`; none of no text.

    Raises:
        InputError: a name that is none, twice the same, or users, tx or subcarriers missing where it must be there.
    """
    if not text:
        return ()
    known = {word: name for name, words in SAID.items() for word in words}
    given = [part.strip().lower() for part in text.split(",")]
    if strange := [part for part in given if part not in known]:
        raise InputError(f"--axes {text}: no axis {strange[0]!r}; name them of {', '.join(AXES)}, in the file's order")
    names = tuple(known[part] for part in given)
    if len(set(names)) < len(names):
        raise InputError(f"--axes {text}: an axis is named twice; name each axis of the file once")
    if lost := [name for name in ("tx", "subcarriers") if name not in names]:
        raise InputError(f"--axes {text}: no {lost[0]}; CSI has users, tx and subcarriers, and rx of several antennas")
    return names


def ordered(path: Path, csi: NDArray[Any], axes: Sequence[str]) -> NDArray[Any]:
    """CSI whose axes are named as [users, tx, subcarriers], or [users, rx, tx, subcarriers].

    Raises:
        InputError: another number of axes than are named.
    """
    if csi.ndim != len(axes):
        raise InputError(
            f"{path}: csi has {csi.ndim} axes {list(csi.shape)}, --axes names {len(axes)}: {','.join(axes)}"
        )
    order = [axes.index(name) for name in AXES if name in axes]
    csi = csi.transpose(order)
    return csi if "users" in axes else csi[None]


def _arrays(path: Path) -> Iterator[tuple[str, Any]]:
    """Name and values of each array in a file."""
    with path.open("rb") as file:
        head = file.read(MATLAB_BLOCK + len(HDF5))
    if head.startswith(b"\x93NUMPY"):
        yield path.stem, _npy(path)
    elif head.startswith(b"PK"):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                yield name, arrays[name]
    elif HDF5 in (head[: len(HDF5)], head[MATLAB_BLOCK:]):
        yield from _hdf5(path)
    elif head.startswith(b"MATLAB") or head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        names = _Names()
        matlab.read(path, names)
        wanted = [name for name in names.found if name.lower() in CALLED]
        for name, values in matlab.read(path, wanted or names.found).items():
            yield name, _of_cells(values)
    else:
        raise InputError(f"{path}: no file of CSI that is read here; give {', '.join(SUFFIXES)}")


def _npy(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise InputError(
            f"{path}: holds Python objects, whose reading could run code; save plain numbers: "
            "np.save(file, np.stack(list(csi)))"
        ) from error


def _hdf5(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        h5py = import_module("h5py")
    except ImportError as error:
        raise InputError(
            f"{path}: HDF5 and MATLAB v7.3 need h5py: pip install h5py, or save it with MATLAB's -v7 or as .npy"
        ) from error
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("#refs#"):
                found[name] = _of_dataset(file, item, h5py)

        file.visititems(visit)
    yield from found.items()


def _of_dataset(file: Any, item: Any, h5py: Any) -> Any:
    """An array in its writer's order: MATLAB's is by column, and HDF5 shows it turned around."""
    if item.size is None or item.size * max(item.dtype.itemsize, 1) > MOST_BYTES:
        return np.zeros(0)
    values = item[()]
    if h5py.check_ref_dtype(item.dtype) is not None:  # cells
        values = np.array([None, *(_of_dataset(file, file[ref], h5py) for ref in np.ravel(values))], dtype=object)[1:]
        return values
    return np.asarray(values).T if "MATLAB_class" in item.attrs else values


class _Names:
    """Notes every name that is looked for in it, and holds none: the variables' names without their values."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __contains__(self, name: object) -> bool:
        self.found.append(str(name))
        return False


def _of_cells(values: Any) -> Any:
    """Cells [N] as an array of objects; anything else as it is."""
    if not isinstance(values, list):
        return values
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _chosen(path: Path, found: Mapping[str, Any], variable: str | None) -> tuple[str, Any]:
    """The array that is CSI."""
    found = _paired({name: values for name, values in found.items() if isinstance(values, np.ndarray)})
    if variable is not None:
        if variable not in found:
            raise InputError(f"{path}: no array {variable!r}; it has {', '.join(found) or 'none'}")
        return variable, found[variable]
    named = [name for name in found if name.rpartition("/")[2].lower() in CALLED]
    large = [name for name, values in found.items() if math.prod(values.shape) > 1 and values.dtype.kind in "cVOfiu"]
    choice = named if len(named) == 1 else large if len(large) == 1 else None
    if choice is None:
        have = ", ".join(f"{name} {list(values.shape)}" for name, values in list(found.items())[:8]) or "none"
        raise InputError(f"{path}: which array is CSI is not clear ({have}); call it csi, and no other so")
    return choice[0], found[choice[0]]


def _paired(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same with two arrays `…real` and `…imag` as one of complex numbers."""
    out = dict(found)
    for real, imaginary in (("real", "imag"), ("re", "im")):
        for name in list(found):
            other = name[: -len(real)] + imaginary
            if name.lower().endswith(real) and other in out and name in out:
                parts = out.pop(name), out.pop(other)
                if parts[0].shape == parts[1].shape and all(part.dtype.kind in "fiu" for part in parts):
                    out[name[: -len(real)].rstrip("_./") or "csi"] = parts[0] + 1j * parts[1]
    return out


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever libraries raise at a damaged file into one line.

    Raises:
        InputError: the block failed.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: holds more than this machine's memory; save it in parts") from error
    except Exception as error:  # NumPy, h5py, pyarrow, csv and zlib each fail in ways of their own at a damaged file
        kind = "cut short" if isinstance(error, EOFError | zipfile.BadZipFile) else type(error).__name__
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: can't be read ({kind}: {reason}); is the file whole?") from error
