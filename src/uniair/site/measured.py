"""Measured labels of the user's own: NumPy, CSV or Parquet tables of positions and what was measured there.

One row a measurement. Columns:

x, y            position, m, in the metres that --bs is given in; or
lon, lat        degrees (WGS 84), where the footprints are geographic
z               height of the UE, m; 1.5 without it
station         name (bs0, bs1, …) or number of the base station, from 0; may be left out where there is one
csi             complex [N, ports, subcarriers], of the site's radio: in NumPy's `.npz` or folder an array as the
                others, beside NAME.csv or NAME.parquet the file NAME.csi.npy; its power counts where the radio's
                amplitudes are calibrated gains
and any column that a task's label has (`Task.label`), such as los, beam or path_loss_db; one that csi says too, as it
does the beam, is not needed beside it.

A `.npz` file, or a folder of `.npy` files, holds an array [N] of each column's name. A cell left empty or NaN is
refused: split rows that have different labels into files of their own, or leave the column out.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.area.georeference import Georeference
from uniair.environment import UE_HEIGHT, Batch
from uniair.errors import InputError
from uniair.radio import Radio
from uniair.tasks.registry import TASKS, columns
from uniair.tasks.task import Label

PLACE = ("x", "y", "lon", "lat", "z", "station")


@dataclass(frozen=True)
class Measured:
    """N measurements on a site, of all its stations.

    Attributes:
        ue: float64 [N, 3] positions, m from the site's south-west corner.
        station: int64 [N] number of the base station.
        labels: what was measured: csi complex64 [N, ports, subcarriers], and by their columns labels of tasks, int64 or
            float64 [N].
    """

    ue: NDArray[np.float64]
    station: NDArray[np.int64]
    labels: dict[str, NDArray[Any]]

    def of(self, station: int) -> Measured:
        """Those of one station."""
        mine = self.station == station
        return Measured(self.ue[mine], self.station[mine], {name: v[mine] for name, v in self.labels.items()})

    def __len__(self) -> int:
        return len(self.ue)

    def pairs(self) -> set[tuple[str, str]]:
        """The heads that can learn from it: (task, inputs)."""
        has = {"ue", *self.labels}
        return {
            (name, inputs)
            for task in TASKS.values() if has & set(task.known_from)
            for name, inputs in task.pairs if inputs != "channel" or "csi" in has
        }  # fmt: skip

    def fill(self, batch: Batch, last: str = "") -> Batch:
        """What was measured in the place of a batch's own CSI and labels; N must agree.

        Without CSI, channels stand in whose labels are the measured ones. They are read from these as from any channel,
        but no head reads it.

        Args:
            last: the task whose label is written last, so that it holds whatever else was measured.
        """
        csi = self.labels.get("csi")
        if csi is not None:
            batch = replace(batch, csi=torch.from_numpy(csi))
        for column, task in sorted(columns().items(), key=lambda one: one[1].name == last):
            said = csi is not None and "csi" in task.known_from
            if column in self.labels and not said and task.label is not None and task.label.write is not None:
                batch = task.label.write(batch, torch.from_numpy(self.labels[column]))
        return batch


def label_columns() -> tuple[str, ...]:
    """The columns that hold what was measured."""
    return (*columns(), "csi")


def read_measured(
    path: Path,
    area: Area,
    stations: Sequence[str],
    georeference: Georeference | None,
    corner: tuple[float, float],
    radio: Radio = Radio(),
) -> Measured:
    """Reads and checks a file of measurements.

    Args:
        area: the site, its south-west corner at the origin.
        stations: their names.
        georeference: of the site; None where positions are metres.
        corner: of the site in the metres of the footprints' file.
        radio: of the site: what measured the CSI, and whose beams are numbered.

    Raises:
        InputError: missing, not one of these formats, wrong or unknown columns, NaN, positions off the site, or CSI or
            beams that its radio can't have measured.
    """
    table = _read(path)
    known = (*PLACE, *label_columns())
    if unknown := sorted(set(table) - set(known)):
        raise InputError(f"{path}: unknown column {', '.join(unknown)}; the columns are {', '.join(known)}")
    if not set(table) & set(label_columns()):
        raise InputError(f"{path}: nothing was measured; give at least one column of {', '.join(label_columns())}")
    plan = ("x", "y") if georeference is None else ("lon", "lat")
    if missing := [name for name in plan if name not in table]:
        raise InputError(f"{path}: no column {', '.join(missing)}; positions are {' and '.join(plan)} here, as in --bs")
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        raise InputError(f"{path}: columns of different lengths, or empty: {lengths}")
    numbers = {name: _numbers(path, name, table[name]) for name in table if name not in ("station", "csi")}
    ground = np.column_stack([numbers[name] for name in plan])
    if georeference is None:
        ground = ground - corner
    elif (np.abs(ground) > (180, 90)).any():
        raise InputError(f"{path}: lon and lat are not degrees; are they swapped, or metres?")
    else:
        ground = georeference.to_metres(ground)
    off = ((ground < 0) | (ground > area.size)).any(1)
    if off.any():
        i = int(np.argmax(off))
        raise InputError(
            f"{path}: row {i + 1} of {len(ground)} lies off the site, at ({ground[i, 0]:.1f}, {ground[i, 1]:.1f}) m "
            f"of {area.size:.0f} × {area.size:.0f} m, as {int(off.sum())} do; raise --side, or leave them out"
        )
    labels: dict[str, NDArray[Any]] = {}
    for column, task in columns().items():
        if column in numbers and task.label is not None:
            labels[column] = _among(path, column, numbers[column], task.on(radio).label)
    if "csi" in table:
        labels["csi"] = _csi(path, table["csi"], radio)
    height = numbers.get("z", np.full(len(ground), UE_HEIGHT))
    return Measured(np.column_stack([ground, height]), _stations(path, table, stations, len(ground)), labels)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.exists():
        raise InputError(f"{path}: no such file; give a .npz, .csv or .parquet file, or a folder of .npy files")
    try:
        if path.is_dir():
            return {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        if path.suffix == ".npz":
            # opened here, because NumPy leaves a broken file open
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as text:
                reader = csv.DictReader(text, strict=True)
                rows = list(reader)
                table = {str(name).strip(): np.array([row[name] for row in rows]) for name in reader.fieldnames or ()}
        elif path.suffix == ".parquet":
            table = _parquet(path)
        else:
            raise InputError(f"{path}: not a table of measurements; use .npz, .csv, .parquet or a folder of .npy files")
        beside = path.with_suffix(".csi.npy")
        return table | ({"csi": np.load(beside, allow_pickle=False)} if beside.exists() else {})
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        MemoryError,
        ArithmeticError,
        RuntimeError,
        BadZipFile,
        TokenError,
        csv.Error,
        zlib.error,
    ) as error:
        message = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: can't be read ({message}); is the file whole?") from error


def _parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(f"{path}: Parquet needs pyarrow: pip install pyarrow, or give CSV or .npz") from error
    table = parquet.read_table(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _numbers(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    try:
        out = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: column {name} holds what is not a number ({error}); fill or leave it out") from error
    if out.ndim != 1:
        raise InputError(f"{path}: column {name} has shape {out.shape}, expected one number a row")
    if not np.isfinite(out).all():
        i = int(np.argmin(np.isfinite(out)))
        raise InputError(f"{path}: column {name} is NaN or infinite in row {i + 1}; leave such rows out")
    return out


def _among(path: Path, name: str, values: NDArray[np.float64], label: Label | None) -> NDArray[Any]:
    """The values, as whole numbers where they are classes."""
    classes = None if label is None else label.classes
    if classes is None:
        return values
    wrong = (values != np.round(values)) | (values < 0) | (values >= classes)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"{path}: column {name} is {values[i]:g} in row {i + 1}; give whole numbers, 0 to {classes - 1}"
        )
    return values.astype(np.int64)


def _csi(path: Path, values: NDArray[Any], radio: Radio) -> NDArray[np.complex64]:
    if not np.iscomplexobj(values) or values.ndim != 3 or values.shape[1:] != radio.shape:
        kind, sides = ("complex" if np.iscomplexobj(values) else values.dtype.name), map(str, values.shape[1:])
        raise InputError(
            f"{path}: csi is {kind} [{', '.join(['N', *sides])}], this site's radio has complex [N, {radio.shape[0]}, "
            f"{radio.shape[1]}] ({radio}); say by --radio which radio measured it"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{path}: csi holds NaN or infinite values; leave those rows out")
    peak = np.abs(values).max((1, 2))
    if (peak == 0).any():
        raise InputError(f"{path}: csi of row {int(np.argmin(peak)) + 1} is all zero; leave such rows out")
    if radio.calibrated:
        return values.astype(np.complex64)
    # measured channels may be as weak as 1e-30 in double precision, and their power is not calibrated
    return (values / peak[:, None, None]).astype(np.complex64)


def _stations(path: Path, table: dict[str, NDArray[Any]], names: Sequence[str], count: int) -> NDArray[np.int64]:
    if "station" not in table:
        if len(names) > 1:
            raise InputError(f"{path}: no column station; the site has {', '.join(names)}")
        return np.zeros(count, dtype=np.int64)
    known = {name: i for i, name in enumerate(names)} | {str(i): i for i in range(len(names))}
    given = [str(value).removesuffix(".0").strip() for value in table["station"].tolist()]
    if strange := sorted(set(given) - set(known)):
        raise InputError(f"{path}: no station {strange[0]!r}; the site has {', '.join(names)}")
    return np.array([known[name] for name in given], dtype=np.int64)
