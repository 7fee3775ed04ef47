"""Measured labels of the user's own: NumPy, CSV or Parquet tables of positions and what was measured there.

One row a measurement. Columns, in any order, in upper or lower case, under these names or those that `Terms.columns`
says:

x, y            position, m, in the metres that --bs is given in; or
lon, lat        degrees (WGS 84), where the footprints are geographic
z               height of the UE, m; 1.5 without it
station         name (bs0, bs1, …) or number of the base station, from 0; may be left out where there is one
csi             complex [N, ports, subcarriers], of the site's radio: in NumPy's `.npz` or folder an array as the
                others, beside NAME.csv or NAME.parquet the file NAME.csi.npy, .npz, .mat or .h5; its power counts
                where the radio's amplitudes are calibrated gains
rsrp            dBm, which `Terms.transmit_power` makes a path loss
and any column that a task's label has (`Task.label`), such as los, beam or path_loss_db; one that csi says too, as it
does the beam, is not needed beside it.

A `.npz` file, or a folder of `.npy` files, holds an array [N] of each column's name. A cell left empty or NaN is
refused: split rows that have different labels into files of their own, or leave the column out. Other columns (an
index, time stamps, what else a drive-test tool writes) are not read, and that is said; so are rows outside the square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.area.georeference import Georeference
from uniair.area.heights import plain_name
from uniair.complex_arrays import complex_array
from uniair.data.csi_files import SUFFIXES, ordered, read_csi
from uniair.environment import UE_HEIGHT, Batch, Environment
from uniair.errors import InputError
from uniair.radio import Radio
from uniair.site.measurement_columns import CELLS, PLACE, named, on_ground, plan_columns, texts, within
from uniair.site.measurement_table import Table, read_table
from uniair.tasks.registry import TASKS, columns
from uniair.tasks.task import Label, Task

LOSSES, RSRP = (10.0, 250.0), (-160.0, 0.0)  # dB and dBm; what lies outside is something else
MANY = 40  # rows; the first beam is missed among so many of a whole codebook by chance one time in four at most
CONTRADICTED = 0.5  # share of rows whose label CSI may contradict


@dataclass(frozen=True)
class Terms:
    """What a table of measurements does not say itself.

    Attributes:
        columns: our name of a column → what the table calls it.
        cells: what the station column holds → the station; rows of other cells are left out. Empty: names or numbers.
        transmit_power: of each resource element, antenna gains included, dBm: path loss is what RSRP lies below it.
        first_beam: number of the first beam, 0 or 1; None: 0, unless the table looks as if it were 1.
        axes: of CSI, see `read_csi`.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)
    transmit_power: float | None = None
    first_beam: int | None = None
    axes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = known_columns()
        if strange := sorted(set(self.columns) - set(known)):
            raise InputError(f"--columns {strange[0]}=…: no such column; name one of {', '.join(known)}")
        if self.first_beam not in (None, 0, 1):
            raise InputError(f"--first_beam {self.first_beam}: beams count from 0 or from 1")
        if self.transmit_power is not None and not -100 <= self.transmit_power <= 100:
            raise InputError(f"--transmit_power {self.transmit_power:g}: give dBm per resource element, −100 to 100")


@dataclass(frozen=True)
class Measured:
    """N measurements on a site, of all its stations.

    Attributes:
        ue: float64 [N, 3] positions, m from the site's south-west corner.
        station: int64 [N] number of the base station.
        labels: what was measured: csi complex64 [N, ports, subcarriers], and by their columns labels of tasks, int64 or
            float64 [N].
        remarks: what was left out of the table or changed in it, a line each.
    """

    ue: NDArray[np.float64]
    station: NDArray[np.int64]
    labels: dict[str, NDArray[Any]]
    remarks: tuple[str, ...] = ()

    def of(self, station: int) -> Measured:
        """Those of one station."""
        mine = self.station == station
        return Measured(
            self.ue[mine], self.station[mine], {name: v[mine] for name, v in self.labels.items()}, self.remarks
        )

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


def known_columns() -> tuple[str, ...]:
    """Our names of all columns."""
    return (*PLACE, *label_columns(), "rsrp")


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
    terms: Terms = Terms(),
) -> Measured:
    """Reads and checks a file of measurements.

    Args:
        area: the site, its south-west corner at the origin.
        stations: their names.
        georeference: of the site; None where positions are metres.
        corner: of the site in the metres of the footprints' file.
        radio: of the site: what measured the CSI, and whose beams are numbered.
        terms: what the table does not say itself.

    Raises:
        InputError: missing, not one of these formats, columns missing or misspelt, NaN, no position on the site,
            labels that can't be what their column says or that the CSI contradicts, stations that are none, or CSI or
            beams that its radio can't have measured.
    """
    table = read_table(path)
    found, unread = named(table, terms.columns, known_columns())
    csi = _csi(path, table, found, radio, terms)
    if csi is None and not set(found) & {*label_columns(), "rsrp"}:
        also = f" (not read: {', '.join(unread)}; name them with --columns, rsrp=… for instance)" if unread else ""
        raise InputError(
            f"{path}: nothing was measured; give at least one column of {', '.join(label_columns())}{also}"
        )
    plan = plan_columns(path, found, georeference)
    values: dict[str, Any] = {name: table.columns[column] for name, column in found.items() if name != "csi"}
    lengths = {name: len(column) for name, column in (values if csi is None else values | {"csi": csi}).items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        raise InputError(f"{path}: columns of different lengths, or empty: {lengths}")
    numbers = {name: table.numbers(found[name]) for name in values if name != "station"}
    ground = on_ground(path, np.column_stack([numbers[name] for name in plan]), area, georeference, corner)
    remarks = [f"{path.name}: not read: {', '.join(unread)}"] if unread else []
    station = _stations(path, table, found, stations, len(ground), terms)
    kept = (station >= 0) & within(ground, area)
    reasons = {"of other cells": station < 0, f"outside the square of {area.size:g} m": (station >= 0) & ~kept}
    for reason, rows in reasons.items():
        if rows.any():
            remarks.append(f"{path.name}: {int(rows.sum()):,} of {len(rows):,} rows {reason}: left out")
    if not kept.any():
        raise InputError(f"{path}: {_nothing_kept(ground, area, station)}")
    numbers = {name: column[kept] for name, column in numbers.items()}
    csi = None if csi is None else csi[kept]
    labels, said = _labels(path, numbers, csi, radio, terms)
    remarks += [f"{path.name}: {one}" for one in said]
    ue = np.column_stack([ground[kept], numbers.get("z", np.full(int(kept.sum()), UE_HEIGHT))])
    if indoors := int(area.inside_building(ue).sum()):
        remarks.append(f"{path.name}: {indoors:,} of {len(ue):,} rows stand inside buildings of the map")
    return Measured(ue, station[kept], labels, tuple(remarks))


def _nothing_kept(ground: NDArray[np.float64], area: Area, station: NDArray[np.int64]) -> str:
    if not within(ground, area).any():
        x, y = ground[0]
        return (
            f"row 1 of {len(ground)} lies off the site, at ({x:.1f}, {y:.1f}) m of {area.size:.0f} × {area.size:.0f} "
            "m, as all do; raise --side, or give positions as --bs"
        )
    cells = "" if (station >= 0).all() else f", {int((station < 0).sum())} are of other cells"
    return f"no row is of a station and on the site{cells}; raise --side, or name the cells with --cells"


def _labels(
    path: Path,
    numbers: Mapping[str, NDArray[np.float64]],
    csi: NDArray[np.complex64] | None,
    radio: Radio,
    terms: Terms,
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The tasks' labels by their columns, csi among them, and what to say of them."""
    labels: dict[str, NDArray[Any]] = {}
    said: list[str] = []
    numbers = dict(numbers)
    if "rsrp" in numbers and "path_loss_db" not in numbers:
        numbers["path_loss_db"] = _loss_of(path, numbers["rsrp"], terms.transmit_power)
        said.append(f"path loss is what rsrp lies below {terms.transmit_power:g} dBm")
    elif "rsrp" in numbers:
        said.append("rsrp is not read beside path_loss_db")
    for column, task in columns().items():
        if column not in numbers or task.label is None:
            continue
        label = task.on(radio).label
        if column == "beam":
            numbers[column] = _from_first(path, numbers[column], label, csi, terms.first_beam)
        if column == "path_loss_db":
            _require_losses(path, numbers[column])
        labels[column] = _among(path, column, numbers[column], label)
        if csi is not None and label is not None and label.classes and "csi" in task.known_from:
            said += _beside_csi(path, column, labels[column], task.on(radio), csi, radio)
    if csi is not None:
        labels["csi"] = csi
    return labels, said


def _loss_of(path: Path, rsrp: NDArray[np.float64], transmit_power: float | None) -> NDArray[np.float64]:
    """Path loss of received powers [N] dBm: [N] dB."""
    if transmit_power is None:
        raise InputError(
            f"{path}: rsrp becomes a path loss with --transmit_power, dBm of a resource element with antenna gains; "
            "give it, or path_loss_db instead"
        )
    odd = (rsrp < RSRP[0]) | (rsrp > RSRP[1])
    if odd.any():
        i = int(np.argmax(odd))
        raise InputError(
            f"{path}: column rsrp is {rsrp[i]:g} in row {i + 1}; give dBm, {RSRP[0]:g} to {RSRP[1]:g}, no reported "
            "indices or milliwatts, and leave rows without a measurement out"
        )
    return transmit_power - rsrp


def _require_losses(path: Path, losses: NDArray[np.float64]) -> None:
    if (losses < 0).any():
        i = int(np.argmax(losses < 0))
        raise InputError(
            f"{path}: column path_loss_db is {losses[i]:g} in row {i + 1}, a gain or a received power: give losses, "
            "above 0 dB, and received power in dBm as rsrp with --transmit_power"
        )
    odd = (losses < LOSSES[0]) | (losses > LOSSES[1])
    if odd.any():
        i = int(np.argmax(odd))
        raise InputError(
            f"{path}: column path_loss_db is {losses[i]:g} in row {i + 1}; give dB, {LOSSES[0]:g} to {LOSSES[1]:g}, "
            "and leave rows without a measurement out"
        )


def _from_first(
    path: Path,
    beams: NDArray[np.float64],
    label: Label | None,
    csi: NDArray[np.complex64] | None,
    first: int | None,
) -> NDArray[np.float64]:
    """Beams that count from 0; asks where it is not said and the table looks as if they counted from 1."""
    classes = None if label is None else label.classes
    if first is not None or csi is not None or classes is None or not len(beams):
        return beams - (first or 0)
    if beams.min() == 1 and beams.max() == classes:
        raise InputError(f"{path}: column beam counts from 1 to {classes}, here beams count from 0: say --first_beam 1")
    if len(beams) >= MANY and beams.min() > 0:
        raise InputError(
            f"{path}: column beam holds no 0 in {len(beams):,} rows, as where beams count from 1 (DeepSense, MATLAB); "
            "say which is the first: --first_beam 0 or --first_beam 1"
        )
    return beams


def _beside_csi(
    path: Path, column: str, given: NDArray[Any], task: Task, csi: NDArray[np.complex64], radio: Radio
) -> list[str]:
    """What to say where CSI says a label too, and says another.

    Raises:
        InputError: it does so in most rows.
    """
    csi = csi / np.abs(csi).max((1, 2), keepdims=True)  # whose squares would vanish in single precision
    own = task.target(Batch(torch.from_numpy(csi), Environment(), radio)).reshape(len(csi)).numpy()
    other = own != given
    if (own == given - 1).mean() > CONTRADICTED:
        raise InputError(
            f"{path}: column {column} counts from 1: it is one above what csi says in "
            f"{(own == given - 1).mean():.0%} of the rows; leave it out, csi says it too, or say --first_{column} 1"
        )
    if other.mean() > CONTRADICTED:
        i = int(np.argmax(other))
        raise InputError(
            f"{path}: column {column} is {given[i]} in row {i + 1} where csi says {own[i]}, and differs in "
            f"{int(other.sum()):,} of {len(own):,} rows; leave it out if csi is right, or check its axes and the order "
            "of rows"
        )
    return [f"{column} is taken from csi, which says another in {int(other.sum()):,} rows"] if other.any() else []


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


def _csi(
    path: Path, table: Table, named: Mapping[str, str], radio: Radio, terms: Terms
) -> NDArray[np.complex64] | None:
    """CSI of a table, or of the file beside it: [N, ports, subcarriers]; of several UE antennas the strongest."""
    beside = [file for suffix in SUFFIXES if (file := path.with_suffix(f".csi{suffix}")).exists() and file != path]
    if "csi" in named:
        values = complex_array(table.columns[named["csi"]], f"{path}: csi")
        if terms.axes:
            values = ordered(path, values, terms.axes)
    elif len(beside) > 1:
        raise InputError(f"{path}: {' and '.join(file.name for file in beside)} lie beside it; keep one")
    elif beside:
        path, values = beside[0], read_csi(beside[0], terms.axes)
    else:
        if terms.axes:
            raise InputError(f"{path}: --axes is of CSI, and there is none beside it, {path.stem}.csi.npy for instance")
        return None
    if values.ndim == 4 and values.shape[1] and values.shape[2:] == radio.shape:
        strongest = (np.abs(values) ** 2).sum((2, 3)).argmax(1)
        values = values[np.arange(len(values)), strongest]
    if values.ndim != 3 or values.shape[1:] != radio.shape:
        advice = "say by --radio which radio measured it, or by --axes which axis is which"
        if values.ndim == 3 and values.shape[:0:-1] == radio.shape:
            advice = "its axes are the other way round: --axes users,subcarriers,tx"
        raise InputError(
            f"{path}: csi is complex [{', '.join(['N', *map(str, values.shape[1:])])}], this site's radio has complex "
            f"[N, {radio.shape[0]}, {radio.shape[1]}] ({radio}); {advice}"
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


def _stations(
    path: Path, table: Table, named: Mapping[str, str], names: Sequence[str], count: int, terms: Terms
) -> NDArray[np.int64]:
    """Number of each row's station [N]; −1 where it is of a cell that `Terms.cells` does not name."""
    if "station" not in named:
        if len(names) > 1:
            cells = next((name for name in table.columns if plain_name(name) in CELLS), None)
            more = f"; if {cells} says it: --columns station={cells} and --cells CELL={names[0]}" if cells else ""
            raise InputError(f"{path}: no column station; the site has {', '.join(names)}{more}")
        for column in table.columns:
            if plain_name(column) in CELLS and len(several := list(dict.fromkeys(texts(table.columns[column])))) > 1:
                raise InputError(
                    f"{path}: column {column} holds {len(several)} cells ({', '.join(several[:3])} …) and the site has "
                    f"one station; say which is it: --columns station={column} --cells {several[0]}={names[0]}"
                )
        return np.zeros(count, dtype=np.int64)
    given = texts(table.columns[named["station"]])
    number = {name: i for i, name in enumerate(names)}
    if terms.cells:
        if strange := sorted(set(terms.cells.values()) - set(names)):
            raise InputError(f"--cells …={strange[0]}: no such station; the site has {', '.join(names)}")
        if absent := sorted(set(terms.cells) - set(given)):
            raise InputError(f"{path}: no cell {absent[0]} in column {named['station']} (--cells)")
        return np.array([number[terms.cells[text]] if text in terms.cells else -1 for text in given], dtype=np.int64)
    number |= {str(i): i for i in range(len(names))}
    found = set(given)
    if strange := sorted(found - set(number)):
        one = " (they count from 0)" if found <= {str(i) for i in range(1, len(names) + 1)} else ""
        cells = ""
        if not one and all(text.isdigit() for text in strange):
            cells = f"; are these cells? say --cells {strange[0]}={names[0]} for each that the site has"
        raise InputError(f"{path}: no station {strange[0]!r}; the site has {', '.join(names)}{one}{cells}")
    if len(names) > 1 and all(text.isdigit() for text in found) and "0" not in found:
        raise InputError(
            f"{path}: stations {', '.join(sorted(found))} and no 0: numbers that count from 1, or cells? write names: "
            f"{', '.join(names)}, or say --cells {min(found)}={names[0]} and so on"
        )
    return np.array([number[text] for text in given], dtype=np.int64)
