"""Files of camera, LiDAR, radar and CSI, read when they are asked for."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data import matlab
from uniair.errors import InputError

PLY_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
PLY_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
PLY_TYPES |= {"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"}


def images(paths: Sequence[Path], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Camera images as uint8 [n, H, W, 3], row 0 at the top.

    Args:
        size: (H, W) in pixels to resize to; None keeps the size of the files.

    Raises:
        InputError: a file is missing or no image, or the files differ in size and no size is given.
    """
    from PIL import Image

    loaded = []
    for path in paths:
        try:
            with Image.open(path) as image:
                if size:
                    image.draft(
                        "RGB", size[::-1]
                    )  # JPEG decodes several times faster at an eighth to a half of its size
                    loaded.append(np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)))
                else:
                    loaded.append(np.asarray(image.convert("RGB")))
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; download the images again or leave the camera out") from error
        except Exception as error:  # a broken image fails in as many ways as there are formats
            raise InputError(f"{path}: not an image or damaged ({_line(error)}); download it again") from error
    if len({image.shape for image in loaded}) > 1:
        raise InputError(f"{paths[0].parent}: the images differ in size; give the size to resize them to")
    return np.stack(loaded) if loaded else np.zeros((0, *(size or (0, 0)), 3), dtype=np.uint8)


@np.errstate(over="ignore", invalid="ignore")  # what float32 cannot hold becomes infinite
def points(path: Path) -> NDArray[np.float32]:
    """LiDAR points as float32 [P, 3], m, in the sensor's frame.

    Reads PLY (ASCII and binary) and MATLAB files. A MATLAB array of one or two columns is a planar sweep, as in
    DeepSense scenarios 8 and 9: column 0 is the range, the rays are spread evenly over -90° to 90° about +x, z is 0.

    Raises:
        InputError: missing, truncated or of another kind.
    """
    if path.suffix.lower() != ".mat":
        return _ply(path)
    data = _mat(path)
    if data.ndim != 2 or not data.size or np.iscomplexobj(data):
        raise InputError(
            f"{path}: its data has shape {data.shape}, expected points [P, 3] or a sweep; download it again"
        )
    if data.shape[1] >= 3:
        return data[:, :3].astype(np.float32)
    angle = np.linspace(-np.pi / 2, np.pi / 2, len(data))
    return (data[:, :1] * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])).astype(np.float32)


@np.errstate(over="ignore", invalid="ignore")
def radar_cube(path: Path) -> NDArray[np.complex64]:
    """Radar baseband as complex64 [antennas, samples per chirp, chirps], [4, 256, 250] in DeepSense, from .npy or .mat.

    Raises:
        InputError: missing, truncated, a pickle, or not a complex cube.
    """
    cube = _mat(path) if path.suffix.lower() == ".mat" else array(path)
    if cube.ndim != 3 or not np.iscomplexobj(cube):
        raise InputError(f"{path}: holds {cube.dtype} {cube.shape}, expected a complex cube [4, 256, 250]")
    return np.array(cube, dtype=np.complex64)


def channel(path: Path) -> NDArray[np.complex64]:
    """CSI as complex64 [antennas, subcarriers], from .npy.

    Raises:
        InputError: missing, truncated, a pickle, not complex, or NaN.
    """
    csi = array(path)
    if csi.ndim != 2 or not np.iscomplexobj(csi) or not np.isfinite(csi).all():
        raise InputError(f"{path}: holds {csi.dtype} {csi.shape}, expected finite complex CSI [antennas, subcarriers]")
    return np.array(csi, dtype=np.complex64)


def array(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file, mapped into memory; never a pickle.

    Raises:
        InputError: missing, truncated, not `.npy`, or a pickle.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; download it again") from error
    except Exception as error:  # a broken header fails in the tokenizer, the parser or the mapping
        if "Python objects" in str(error):
            raise InputError(f"{path}: a pickle, which can run code; save it as a plain numeric array") from error
        raise InputError(f"{path}: truncated or not a .npy file ({_line(error)}); download it again") from error


def _mat(path: Path) -> NDArray[Any]:
    """The numeric variable `data` of a MATLAB file."""
    try:
        data = matlab.read(path, {"data"})["data"]
        if not isinstance(data, np.ndarray):
            raise ValueError("`data` is not an array of numbers")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; download it again") from error
    except (OSError, ValueError, LookupError, struct.error, zlib.error) as error:
        raise InputError(
            f"{path}: truncated, not a MATLAB file of version 5 to 7, or without `data` ({_line(error)}); download it "
            "again"
        ) from error
    return data


def _ply(path: Path) -> NDArray[np.float32]:
    """x, y, z of a PLY file's vertices."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); download it again") from error
    head = re.match(rb"ply\r?\n(.*?)end_header\r?\n", content, re.DOTALL)
    header = head[1].decode("latin-1") if head else ""
    form = re.search(r"^format (ascii|binary_little_endian|binary_big_endian)", header, re.MULTILINE)
    # the first element alone: what follows the vertices (faces) does not matter
    vertex = re.search(r"^element (\w+) (\d{1,12})\s*?$(.*?)(?=^element|\Z)", header, re.MULTILINE | re.DOTALL)
    if not head or not form or not vertex or vertex[1] != "vertex":
        raise InputError(f"{path}: not a PLY file of points; download it again")
    properties = re.findall(r"^property (\w+) (\w+)", vertex[3], re.MULTILINE)
    names = [name for _, name in properties]
    if (
        not {"x", "y", "z"} <= set(names)
        or len(set(names)) < len(names)
        or not {t for t, _ in properties} <= {*PLY_TYPES}
    ):
        raise InputError(f"{path}: its points have properties {names}, expected x, y and z; download it again")
    count, body = int(vertex[2]), content[head.end() :]
    try:
        if form[1] == "ascii":
            values = np.array(body.split(None, count * len(names))[: count * len(names)]).astype(np.float64)
            xyz = values.reshape(count, len(names))[:, [names.index(axis) for axis in "xyz"]]
        else:
            order = "<" if "little" in form[1] else ">"
            layout = np.dtype([(name, order + PLY_TYPES[kind]) for kind, name in properties])
            table = np.frombuffer(body, layout, count)
            xyz = np.column_stack([table[axis].astype(np.float64) for axis in "xyz"])
    except (ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: truncated, {count} points expected ({_line(error)}); download it again") from error
    return xyz.astype(np.float32)


def _line(error: Exception) -> str:
    """An error's first line: messages of ours are one line."""
    return (str(error) or type(error).__name__).splitlines()[0][:120]
