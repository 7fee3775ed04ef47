"""WAIR-D (arXiv 2212.02159), scenarios 1 and 2, as links."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from uniair.data.import_report import ImportReport
from uniair.data.links.links import Links
from uniair.data.links.source_radio import overridden
from uniair.errors import InputError
from uniair.propagation.paths import LOS, UNKNOWN, Paths
from uniair.radio import SPEED_OF_LIGHT, Radio

CARRIERS = {
    2.6e9: "H_2_6_G.npy",
    6e9: "H_6_0_G.npy",
    28e9: "H_28_0_G.npy",
    60e9: "H_60_0_G.npy",
    100e9: "H_100_0_G.npy",
}
UNIT = 0.5  # m
BS_HEIGHT, UE_HEIGHT = 6.0, 1.5  # m
SCENARIO_1 = [f"bs{b}_ue{u}" for b in range(5) for u in range(30)]
BAD_AREA = "09117"  # of scenario 1, damaged as published; scenario 2 has no such number
MOST_UNITS = 20_000  # 10 km; larger areas and images are damage, not data
MOST_PIXELS = 5_000


def read(
    source: Path,
    report: ImportReport,
    *,
    carrier: float = 28e9,
    pixels: int = 256,
    radio: Mapping[str, Any] | None = None,
) -> Iterator[Links]:
    """Streams the links of WAIR-D, an area a chunk, named `wair_d_1/00000` (scenario, folder).

    WAIR-D says nothing of arrays and subcarriers: they are paper 1's, unless `radio` says others.

    Args:
        source: the folder with `scenario_1` and `scenario_2`, one of the two, or a single area's folder.
        carrier: 2.6, 6, 28, 60 or 100 GHz, in Hz.
        pixels: raster of the maps.
        radio: entries of a `Radio` with the array, grid and clock instead.

    Raises:
        InputError: no areas, another carrier, or a radio of another carrier; a file that is missing, broken or in
            other units, or a pickle that asks for anything but NumPy arrays (nothing of it runs).
    """
    if carrier not in CARRIERS:
        have = ", ".join(f"{known / 1e9:g}" for known in CARRIERS)
        raise InputError(f"WAIR-D has no gains at {carrier / 1e9:g} GHz; choose a carrier of {have} GHz (in Hz)")
    seen = overridden(Radio(carrier=carrier), radio, "WAIR-D: what is read", ", or choose it with --carrier")
    for folder in _areas(Path(source)):
        if folder.name == BAD_AREA:
            report.leave("areas known to be bad", f"wair_d_1/{BAD_AREA}")
            continue
        links = _read_area(folder, report, seen, pixels)
        if len(links):
            report.use("links", len(links))
            report.use("LOS links", int(links.los.sum()))
            yield links.validate(str(folder))


def carriers(folder: Path) -> dict[float, Paths]:
    """One area's paths at each of the five carriers, Hz: the same links in the same order.

    Raises:
        InputError: not an area's folder, or as `read`.
    """
    if not _is_area(Path(folder)):
        raise InputError(f"{folder}: not an area's folder; give one such as scenario_1/00000")
    return {hz: links.paths for hz in CARRIERS for links in read(folder, ImportReport(), carrier=hz, pixels=1)}


def _is_area(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("Info.npy", "Path.npy"))


def _areas(source: Path) -> list[Path]:
    """The folders of the areas in `source`, in order."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give the WAIR-D folder with scenario_1 or scenario_2 in it")
    if _is_area(source):
        return [source]
    scenarios = [folder for name in ("scenario_1", "scenario_2") if (folder := source / name).is_dir()] or [source]
    areas = []
    for scenario in scenarios:
        found = sorted(child for child in scenario.iterdir() if child.is_dir() and child.name.isdigit())
        if not found:
            raise InputError(f"{scenario}: no WAIR-D areas (folders 00000, 00001, …) in it; unpack the data set there")
        areas += found
    return areas


@np.errstate(over="ignore", invalid="ignore")  # absurd numbers in a file become an InputError, not a warning
def _read_area(folder: Path, report: ImportReport, radio: Radio, pixels: int) -> Links:
    """The links of one area that have a path; none, where there is none."""
    where = folder / "Path.npy"
    entries, gains = _load_dict(where), _load_dict(folder / CARRIERS[radio.carrier])
    for key, entry in entries.items():
        if not (isinstance(entry, dict) and {"taud", "dod", "doa"} <= entry.keys()):
            raise InputError(f"{where}: {key!r} is not a dict of taud, dod and doa; download the file again")
    scenario, extent, bs, ue, keys = _geometry(folder / "Info.npy", entries)
    name = f"wair_d_{scenario}/{folder.name}"

    counts = np.array([getattr(entries[key]["taud"], "size", 1) if key in entries else 0 for key in keys])
    found = np.flatnonzero(counts)
    report.leave("links without a path", name, len(keys) - len(found))
    bs, ue, counts, keys = bs[found], ue[found], counts[found], [keys[i] for i in found]
    delay = _join(where, "taud", keys, [entries[key]["taud"] for key in keys], counts) * 1e-9
    dod = _join(where, "dod", keys, [entries[key]["dod"] for key in keys], counts, 2)
    doa = _join(where, "doa", keys, [entries[key]["doa"] for key in keys], counts, 2)
    gain = _join(folder / CARRIERS[radio.carrier], "gain", keys, [gains.get(key) for key in keys], counts)
    for angle, column in (("dod", dod), ("doa", doa)):
        if ((column[:, 0] < -1e-3) | (column[:, 0] > np.pi + 1e-3) | (np.abs(column[:, 1]) > 2 * np.pi + 1e-3)).any():
            raise InputError(f"{where}: {angle} is not zenith and azimuth in radians; download the file again")

    link = np.repeat(np.arange(len(keys)), counts)
    first = np.lexsort((delay, link))[np.cumsum(counts) - counts]  # the path of least delay of each link
    distance = np.hypot(np.linalg.norm(ue - bs, axis=1) * UNIT, BS_HEIGHT - UE_HEIGHT)
    _require_nanoseconds(where, keys, delay[first], distance)
    turn = np.abs(np.angle(np.exp(1j * (dod - doa)[first, 1])))
    # the set's own rule takes c = 0.3 m/ns, 0.07 % off
    straight = np.abs(0.3e9 * delay[first] - distance) <= 0.01 + 1e-3 * distance
    los = (np.pi - turn <= 1e-5) & straight
    interactions = np.full(len(delay), UNKNOWN)
    interactions[first[los]] = LOS

    occupancy, mapped = _map(folder / "environment.png", report, name, extent, bs, ue, los, pixels)
    return Links(
        areas=(name,),
        maps=occupancy[None],
        mapped=np.array([mapped]),
        sizes=np.array([extent.max() * UNIT], dtype=np.float32),
        area=np.zeros(len(keys), dtype=np.int32),
        bs=np.column_stack([bs * UNIT, np.full(len(keys), BS_HEIGHT)]).astype(np.float32),
        ue=np.column_stack([ue * UNIT, np.full(len(keys), UE_HEIGHT)]).astype(np.float32),
        bearing=np.zeros(len(keys), dtype=np.float32),
        los=los,
        paths=Paths.from_rows(
            len(keys),
            link,
            # WAIR-D's channel formula takes absolute frequencies, so that its gains lack the carrier's phase
            gain=gain * np.exp(-2j * np.pi * radio.carrier * delay),
            delay=delay,
            aod_azimuth=dod[:, 1],
            aod_zenith=dod[:, 0],
            aoa_azimuth=doa[:, 1],
            aoa_zenith=doa[:, 0],
            interactions=interactions,
        ),
        radios=(radio,),
    )


def _geometry(
    path: Path, entries: dict[str, Any]
) -> tuple[int, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Scenario, (W, H), BS [N, 2] and UE [N, 2] of each link in units, and the links' keys."""
    info = _load(path)
    if not (isinstance(info, np.ndarray) and info.dtype.kind in "fiu" and np.isfinite(info).all()):
        raise InputError(f"{path}: not a list of finite numbers; download the file again")
    info = info.ravel().astype(np.float64)
    scenario = 1 if entries.keys() <= set(SCENARIO_1) else 2
    if (scenario == 1 and info.size != 2 + 4 * len(SCENARIO_1)) or info.size < 6 or info.size % 2:
        raise InputError(f"{path}: {info.size} numbers do not fit scenario {scenario}; download the file again")
    if info[:2].min() < 1 or info[:2].max() > MOST_UNITS:
        raise InputError(f"{path}: an area of {info[0]:g} × {info[1]:g} units of 0.5 m; download the file again")
    if scenario == 1:
        table = info[2:].reshape(-1, 4)
        bs, ue, keys = table[:, :2], table[:, 2:], SCENARIO_1
    else:
        ue = info[4:].reshape(-1, 2)
        bs, keys = np.broadcast_to(info[2:4], ue.shape), [f"bs0_ue{i:05d}" for i in range(len(ue))]
    if unknown := entries.keys() - set(keys):
        raise InputError(f"{path}: no position for {min(unknown, key=repr)!r} of Path.npy; download the area again")
    return scenario, info[:2], bs, ue, keys


def _join(
    path: Path, what: str, keys: list[str], values: list[Any], counts: NDArray[np.integer], *columns: int
) -> NDArray[Any]:
    """The links' arrays one after the other: [P, *columns]."""
    for key, value, count in zip(keys, values, counts, strict=True):
        shape, kinds = (int(count), *columns), "fc" if what == "gain" else "f"
        if not (isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in kinds):
            have = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "missing or not an array"
            raise InputError(f"{path}: {what} of {key} is {have}, expected shape {shape}; download the file again")
        if not np.isfinite(value).all():
            raise InputError(f"{path}: {what} of {key} holds NaN or infinite values; download the file again")
    return np.concatenate([np.zeros((0, *columns)), *values])


def _require_nanoseconds(
    path: Path, keys: list[str], shortest: NDArray[np.float64], distance: NDArray[np.float64]
) -> None:
    """Refuses first arrivals (s, of nanoseconds) that geometry rules out."""
    if len(keys) and shortest.max() < 1e-12:
        raise InputError(f"{path}: delays look like seconds; taud is in nanoseconds, multiply it by 1e9")
    ratio = shortest * SPEED_OF_LIGHT / distance
    if (ratio < 0.99).any():
        i = int(ratio.argmin())
        raise InputError(
            f"{path}: {keys[i]} arrives after {shortest[i] * 1e9:g} ns over {distance[i]:.1f} m, faster than light; "
            "taud is in nanoseconds and a unit of Info.npy is 0.5 m"
        )
    if len(keys) and np.median(ratio) > 10:
        raise InputError(
            f"{path}: first arrivals take {np.median(ratio):.0f} times as long as a straight line; taud is in "
            "nanoseconds and a unit of Info.npy is 0.5 m"
        )


def _map(
    path: Path,
    report: ImportReport,
    name: str,
    extent: NDArray[np.float64],
    bs: NDArray[np.float64],
    ue: NDArray[np.float64],
    los: NDArray[np.bool_],
    pixels: int,
) -> tuple[NDArray[np.uint8], bool]:
    """Occupancy uint8 [pixels, pixels] of the square on the area's longer side, and whether it is known.

    Published readers disagree about the image's row order. The one that puts fewer BSs and UEs into buildings is
    right, then the one where fewer buildings stand in a LOS link; the official reader's (row 0 = y 0) breaks a tie.
    """
    if not path.exists():
        report.leave("areas without environment.png", name)
        return np.zeros((pixels, pixels), dtype=np.uint8), False
    image = _buildings(path)

    def inside(image: NDArray[np.bool_], xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (units) are in a building; outside the image is open ground."""
        column, row = np.moveaxis(np.floor(xy / extent * image.shape[::-1]).astype(int), -1, 0)
        on = (row >= 0) & (row < image.shape[0]) & (column >= 0) & (column < image.shape[1])
        return on & image[np.where(on, row, 0), np.where(on, column, 0)]

    devices = np.unique(np.concatenate([bs, ue]), axis=0)
    lines = bs[los, None] + np.linspace(0.05, 0.95, 16)[:, None] * (ue - bs)[los, None]
    image = min((image, image[::-1]), key=lambda way: (inside(way, devices).sum(), inside(way, lines).sum()))
    report.leave("BSs and UEs inside a building of the map", name, int(inside(image, devices).sum()))
    centres = (np.arange(pixels) + 0.5) * extent.max() / pixels
    return inside(image, np.stack(np.meshgrid(centres, centres), axis=-1)).astype(np.uint8), True


def _buildings(path: Path) -> NDArray[np.bool_]:
    """Where an image is darker than grey 0.9: bool [rows, columns]."""
    try:
        with Image.open(path) as image:
            if max(image.size) > MOST_PIXELS:
                raise ValueError(f"{image.size[0]} × {image.size[1]} pixels")
            colours = image.convert("RGBA")
    except Exception as error:  # Pillow's decoders fail in ways of their own
        raise InputError(f"{path}: not a readable image ({_line(error)}); download it again") from error
    white = Image.new("RGBA", colours.size, "white")
    return np.asarray(Image.alpha_composite(white, colours).convert("L")) < 0.9 * 255


def _load_dict(path: Path) -> dict[str, Any]:
    content = _load(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no dict; download the file again")
    return content


def _load(path: Path) -> Any:
    """A `.npy` file: an array of numbers, or the dict of arrays in a pickle."""
    try:
        file = io.BytesIO(path.read_bytes())
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, fortran, dtype = header(file)
        if dtype.hasobject:
            return _plain(_Unpickler(file, encoding="latin1").load())
        return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; the area is incomplete, download it again") from error
    except _ForbiddenError as error:
        raise InputError(
            f"{path}: refuses to load: the pickle asks for {_line(error)}; WAIR-D holds NumPy arrays and nothing else, "
            "get the file from a source that you trust"
        ) from error
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise InputError(f"{path}: not a readable WAIR-D file ({_line(error)}); download it again") from error


def _line(error: Exception) -> str:
    """The error's message on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class _ForbiddenError(Exception):
    """Names what a pickle asks for and must not get."""


class _DType:
    """Stands in for `numpy.dtype` while a pickle is read."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def read(self, data: bytes | str) -> NDArray[Any]:
        """The numbers in raw bytes (text in a pickle of Python 2)."""
        if not re.fullmatch(r"[fciu]\d+", self.code):
            raise ValueError(f"an array of type {self.code!r}")
        return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, self.order + self.code)


class _Array:
    """Stands in for `numpy.ndarray` while a pickle is read.

    NumPy's own reconstruction trusts the types and flags in the file, and a crafted or damaged one can make it follow
    bytes as pointers.
    """

    def __init__(self, *_: Any) -> None:
        self.values: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.code.startswith("O"):  # the outermost array, of one dict
            (self.values,) = data
        else:
            self.values = dtype.read(data).reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: _DType, data: bytes | str) -> NDArray[Any]:
    return dtype.read(data).reshape(())


# NumPy 1 and 2 name their modules differently
_ADMITTED: dict[str, Any] = {
    **dict.fromkeys(("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), _Array),
    **dict.fromkeys(("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _scalar),
    "numpy.ndarray": _Array,
    "numpy.dtype": _DType,
    "_codecs.encode": str.encode,
}


class _Unpickler(pickle._Unpickler):  # the one in C allots as much memory as a damaged file asks for
    """Reads plain containers and NumPy arrays; every other name in a pickle is refused, and nothing of it runs."""

    def find_class(self, module: str, name: str) -> Any:
        """Our stand-in for a NumPy name.

        Raises:
            _ForbiddenError: any other name.
        """
        if f"{module}.{name}" not in _ADMITTED:
            raise _ForbiddenError(f"{module}.{name}")
        return _ADMITTED[f"{module}.{name}"]


def _plain(value: Any, depth: int = 2) -> Any:
    """Dicts of arrays, `depth` within each other, the stand-ins resolved."""
    if isinstance(value, _Array):
        return _plain(value.values, depth)
    if isinstance(value, dict):
        if depth == 0:
            raise ValueError("dicts nested too deep")
        return {key: _plain(item, depth - 1) for key, item in value.items()}
    return value
