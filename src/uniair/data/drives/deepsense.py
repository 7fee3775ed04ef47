"""DeepSense 6G: measured drives from the official folders, the challenge of 2022, or gathered arrays.

The data set is by Alkhateeb et al., "DeepSense 6G: A Large-Scale Real-World Multi-Modal Sensing and Communication
Dataset", IEEE Communications Magazine 2023, under CC BY-NC-SA 4.0: for benchmarks, never for a released checkpoint.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives import sensors
from uniair.data.drives.drive import SENSORS, Drive, escapes
from uniair.data.import_report import ImportReport
from uniair.errors import InputError

# what a column is called: the first of these names that the header has, in any case
COLUMNS = {
    "index": ("index",),
    "sequence": ("seq_index",),
    "time": ("time_stamp[utc]", "time_stamp"),
    "power": ("unit1_pwr_60ghz", "unit1_pwr_60ghz_1"),
    "label": ("unit1_beam_index", "unit1_beam"),
    "bs": ("unit1_loc",),
    "ue": ("unit2_loc_cal", "unit2_loc"),
    "true": ("unit2_loc_true",),  # of the digital twin
    "blockage": ("unit1_blockage",),
    "camera": ("unit1_rgb",),
    "lidar": ("unit1_lidar", "unit1_lidar_scr"),
    "radar": ("unit1_radar",),
    "csi": ("unit1_csi",),  # of drives of one's own; DeepSense has none
    "paths": ("unit1_paths",),  # of the digital twin
}
POSITIONS = ("bs", "ue", "true")
CELLS = ("power", "label", *POSITIONS, "blockage", *SENSORS)
EMPTY = ("", "nan", "none")
GATHERED = re.compile(r"scenario(\d+)_(seq_index|unit1_pwr_60ghz|unit1_loc|unit2_loc|unit2_loc_cal)_\d+-\d+\.npy")
GAP = 1.0  # s; a CSV without sequences is split where the next sample, due after 0.1 s, took longer than this

LOST = "step without measured power (file missing, all NaN or all zero): left out"
UNCHECKED = "window whose power is missing: its label is taken unchecked"
UNLABELLED = "window with neither power nor label: beam unknown"
PARTIAL = "power with NaN beams: the best of the others is taken"
CONTRADICTED = "beam label that its own power contradicts: recomputed"
NO_LABEL = "missing beam label: computed from the power"
NO_POSITION = "position missing, (0, 0) or NaN: kept as NaN"
NO_TIME = "drive whose time stamps are missing or run backwards: its time counts steps"
NO_SEQUENCE = "scenario without seq_index: split at gaps of a second, or one drive without time stamps"
NO_FILE = "file missing: left empty"
NO_POSITION_FILE = "position whose file is missing: kept as NaN"
# columns of vehicle-to-vehicle scenarios, and of the challenge of 2023 with x1_ before them
V2V = re.compile(r"(?:^|_)unit\d_(?:pwr[1-9]|overall-beam|gps[1-9]|rgb[1-9])$")
UNREAD = "file beside the gathered arrays: not read"


def read(source: str | Path, report: ImportReport, *, beams: int = 64) -> Iterator[Drive]:
    """Drive after drive of a DeepSense source, a file of powers or positions at a time.

    In memory at once: the references of one CSV and the powers of one drive; images, points and radar cubes stay on
    disk until they are asked for. A drive is one `seq_index`, in the order of `index`. Beams are recomputed from the
    power, from 0; `report` says which labels (from 1) differed and what else was left out or mended.

    Sources:
        - a scenario's folder, its CSV, or a folder of such folders. Drives are named `scenario9/00003`.
        - a challenge CSV (`unit1_rgb_1` to `_5`): row 17 is a drive `scenario32/window-00017` of five steps without
          time. Only the last step has a power and a label (the test set has neither), the UE is known at the first two.
          Windows overlap, so split them by scenario, never by drive.
        - a folder of gathered arrays `scenario1_unit1_pwr_60ghz_1-2422.npy`, …; time counts steps.
        `unit2_loc_cal` is taken for the UE where there is one.

    Args:
        beams: size of the codebook.

    Raises:
        InputError: nothing of the kind there, broken or inconsistent files, another number of beams.
    """
    source = Path(source)
    seen: set[str] = set()
    for name, drives in _scenarios(source, report, beams):
        used = 0
        for drive in drives:
            if drive.name in seen:
                raise InputError(f"{source}: holds the drive {drive.name} twice; read its folders one at a time")
            seen.add(drive.name)
            used += 1
            report.use("drives")
            report.use("samples", len(drive))
            yield drive.validate(str(source))
        if not used:
            raise InputError(f"{source}: {name} has no step with a measured power; {_advice(report)}")


def _advice(report: ImportReport) -> str:
    """What to do about powers that are not there."""
    missing = report.examples.get(f"power {NO_FILE}")
    return f"{missing[0]} is missing, unpack its folder too" if missing else "check that it was unpacked whole"


def _scenarios(source: Path, report: ImportReport, beams: int) -> Iterator[tuple[str, Iterator[Drive]]]:
    """Name and drives of each scenario, or of each CSV of the challenge."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if source.is_file():
        if source.suffix.lower() != ".csv":
            raise InputError(f"{source}: not a CSV; give a scenario's CSV or folder, or a folder of gathered arrays")
        tables = [source]
    else:
        gathered: dict[int, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        for path in sorted(source.glob("*.npy")):
            if match := GATHERED.fullmatch(path.name):
                gathered[int(match[1])][match[2]].append(path)
        if gathered:
            for path in sorted(source.glob("*.csv")):
                report.leave(UNREAD, path.name)
            for number in sorted(gathered):
                name = f"scenario{number}"
                yield name, _gathered(source, name, gathered[number], report, beams)
            return
        tables = _csv(source)
    if not tables:
        raise InputError(
            f"{source}: no CSV and no scenarioN_*.npy in this folder or its folders; unpack DeepSense here"
        )
    for path in tables:
        table = _Table.read(path)
        if steps := table.steps():
            yield path.stem, _windows(table, steps, report, beams)
        else:
            yield table.scenario, _sequences(table, report, beams)


def _csv(folder: Path) -> list[Path]:
    """The CSV of a scenario's folder, or those of the folders in it, by number."""
    own = sorted(folder.glob("*.csv"))
    if len(own) > 1:
        raise InputError(f"{folder}: holds {', '.join(path.name for path in own)}; give the one to read")
    return own or [
        path
        for inside in sorted(folder.iterdir(), key=lambda p: (int((re.findall(r"\d+", p.name) or ["0"])[0]), p.name))
        if inside.is_dir() and any(inside.glob("*.csv"))
        for path in _csv(inside)
    ]


@dataclass(frozen=True)
class _Table:
    """A CSV: the place of each column, by its name in lower case, and its rows."""

    path: Path
    columns: dict[str, int]
    rows: list[list[str]]

    @classmethod
    def read(cls, path: Path) -> _Table:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = csv.reader(file)
                header = [name.strip().lower() for name in next(lines, [])]
                rows = []
                for row in lines:
                    if row and len(row) != len(header):
                        raise InputError(
                            f"{path}: line {lines.line_num} has {len(row)} fields, its header {len(header)}; "
                            "download it again"
                        )
                    rows += [row] if row else []
        except (OSError, ValueError, csv.Error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: not a CSV in UTF-8 ({error}); download it again") from error
        if not rows:
            raise InputError(f"{path}: an empty CSV; download it again")
        return cls(path, {name: i for i, name in reversed(list(enumerate(header))) if name}, rows)

    @property
    def scenario(self) -> str:
        """`scenario9`, from the name of the CSV or its folder; otherwise the CSV's own name."""
        match = re.search(r"scenario\D?(\d+)", f"{self.path.stem}/{self.path.absolute().parent.name}", re.IGNORECASE)
        return f"scenario{match[1]}" if match else re.sub(r"\W+", "-", self.path.stem)

    def steps(self) -> int:
        """Steps per row: 5 in the CSVs of the challenge, 0 elsewhere."""
        numbered = (re.fullmatch(r"unit1_(?:rgb|lidar|radar)_(\d{1,2})", name) for name in self.columns)
        return max((int(match[1]) for match in numbered if match), default=0)

    def column(self, kind: str) -> int | None:
        """Where the column of a kind is, if the header has it."""
        return next((self.columns[name] for name in COLUMNS[kind] if name in self.columns), None)

    def cell(self, row: int, column: int) -> str:
        """A cell, its file name with the slashes of the official tables where it was written on Windows."""
        return self.rows[row][column].strip().replace("\\", "/")

    def numbers(self, kind: str) -> NDArray[np.float64] | None:
        """A column of whole numbers; None when the header lacks it."""
        if (column := self.column(kind)) is None:
            return None
        try:
            values = np.array([float(row[column]) for row in self.rows])
        except ValueError as error:
            raise InputError(f"{self.path}: column {COLUMNS[kind][0]}: {error}; download it again") from error
        _check_whole(values, f"{self.path}: column {COLUMNS[kind][0]}")
        return values


def _sequences(table: _Table, report: ImportReport, beams: int) -> Iterator[Drive]:
    """The drives of a scenario's CSV."""
    if table.column("power") is None and (several := sorted(n for n in table.columns if V2V.search(n))):
        raise InputError(
            f"{table.path}: of vehicles with several arrays and cameras each ({', '.join(several[:3])} …); this reader "
            f"takes one array, {COLUMNS['power'][0]}: give a scenario of a base station (1 to 34)"
        )
    if table.column("power") is None:
        raise InputError(f"{table.path}: has no column {COLUMNS['power'][0]}; give a scenario's own CSV")
    order, sequence = table.numbers("index"), table.numbers("sequence")
    order = np.arange(len(table.rows), dtype=np.float64) if order is None else order
    stamps = np.full(len(order), np.nan)
    if (column := table.column("time")) is not None:
        stamps = np.array([_seconds(row[column]) for row in table.rows])
    if sequence is None:
        report.leave(NO_SEQUENCE, table.scenario)
        late = np.abs(np.diff(_unwrap(stamps), prepend=stamps[0])) > GAP
        sequence = 1.0 + np.cumsum(late, dtype=np.float64)
    places = {kind: place for kind in CELLS if (place := table.column(kind)) is not None}
    for number, rows in _groups(sequence):
        rows = rows[np.argsort(order[rows], kind="stable")]
        name = f"{table.scenario}/{number:05d}"
        time = _unwrap(stamps[rows])
        timed = bool(np.isfinite(time).all() and (np.diff(time) >= 0).all())
        report.leave(NO_TIME, name, not timed)
        cells = {kind: [table.cell(row, place) for row in rows] for kind, place in places.items()}
        time = time if timed else order[rows] - order[rows[0]]
        yield from _assemble(table.path, name, cells, time, timed, report, beams)


def _windows(table: _Table, steps: int, report: ImportReport, beams: int) -> Iterator[Drive]:
    """The drives of five steps of a challenge CSV, a row each."""
    places: dict[str, list[int | None]] = {}
    for kind in CELLS:
        for name in COLUMNS[kind]:
            numbered = [table.columns.get(f"{name}_{step}") for step in range(1, steps + 1)]
            column = table.columns.get(name)
            if column is not None:  # the BS stands still; power and label are the last step's
                numbered = [column] * steps if kind == "bs" else [None] * (steps - 1) + [column]
            if any(place is not None for place in numbered):
                places[kind] = numbered
                break
    for number in range(1, len(table.rows) + 1):
        cells = {k: ["" if c is None else table.cell(number - 1, c) for c in of] for k, of in places.items()}
        match = re.search(r"scenario(\d+)", " ".join(cell for k in SENSORS for cell in cells.get(k, ())), re.IGNORECASE)
        scenario = f"scenario{match[1]}" if match else table.scenario
        name = f"{scenario}/window-{number:05d}"
        yield from _assemble(table.path, name, cells, np.arange(steps, dtype=np.float64), False, report, beams, True)


def _assemble(
    path: Path,
    name: str,
    cells: dict[str, list[str]],
    time: NDArray[np.float64],
    timed: bool,
    report: ImportReport,
    beams: int,
    window: bool = False,
) -> Iterator[Drive]:
    """A drive from the cells of a CSV, [T] a kind, with the values of its text files and the names of the others."""
    root, steps = path.parent, len(time)
    if bad := next((cell for kind in cells if kind != "label" for cell in cells[kind] if escapes(cell)), None):
        raise InputError(f"{path}: {bad!r} leads out of its folder; the file names of DeepSense begin with ./unit")
    reasons = {"power": f"power {NO_FILE}"} | dict.fromkeys(POSITIONS, NO_POSITION_FILE)
    absent = {kind: [_absent(root, cell) for cell in cells.get(kind, [""] * steps)] for kind in reasons}
    for kind, reason in reasons.items():
        report.leave(reason, next(compress(cells.get(kind, ()), absent[kind]), ""), sum(absent[kind]))
    power = np.full((steps, beams), np.nan)
    for step, cell in enumerate(cells.get("power", ())):
        if (values := _values(root, cell)) is not None:
            if values.size != beams:
                raise InputError(
                    f"{root / cell}: holds {values.size} powers, expected {beams}; download it again, or set beams"
                )
            power[step] = values
    positions = {}
    for unit in POSITIONS if "true" in cells else POSITIONS[:2]:
        column = cells.get(unit, [""] * steps)
        known = {cell: _values(root, cell) for cell in dict.fromkeys(column)}
        if short := next((cell for cell, v in known.items() if v is not None and v.size < 2), None):
            raise InputError(f"{root / short}: not the two lines latitude and longitude; download it again")
        positions[unit] = np.array([(np.nan, np.nan) if (v := known[cell]) is None else v[:2] for cell in column])
        due = np.array([bool(cell) for cell in column]) if window else np.ones(steps, dtype=bool)
        due &= ~np.array(absent[unit])
        _mend_positions(positions[unit], due, f"{name} {unit.upper()}", report)
    los = np.full(steps, -1, dtype=np.int8)
    for step, cell in enumerate(cells.get("blockage", ())):
        if (values := _values(root, cell)) is not None:
            if values.size != 1 or values[0] not in (0, 1):
                raise InputError(f"{root / cell}: not a blockage label, 0 or 1; download it again")
            los[step] = 1 - values[0]
    files = {}
    for sensor in SENSORS:
        if listed := cells.get(sensor):
            names = ["" if cell.lower() in EMPTY else str(PurePosixPath(cell)) for cell in listed]
            files[sensor] = tuple(cell if cell and os.path.isfile(root / cell) else "" for cell in names)
            missing = [step for step in range(steps) if not files[sensor][step]]
            report.leave(f"{sensor} {NO_FILE}", listed[missing[0]] or name if missing else "", len(missing))
    labels = None
    try:
        if "label" in cells:
            labels = np.array([np.nan if cell.lower() in EMPTY else float(cell) for cell in cells["label"]])
    except ValueError as error:
        raise InputError(f"{path}: beam label of {name}: {error}; download it again") from error
    beam = np.full(steps, -1, dtype=np.int32)
    drive = Drive(name, time, timed, power, beam, positions["bs"], positions["ue"], los, files, root,
                  positions.get("true"))  # fmt: skip
    yield from _with_beams(drive, labels, path, report, window)


def _gathered(
    source: Path, name: str, paths: dict[str, list[Path]], report: ImportReport, beams: int
) -> Iterator[Drive]:
    """The drives of one scenario's gathered arrays."""
    if several := next((found for found in paths.values() if len(found) > 1), None):
        raise InputError(f"{source}: {' and '.join(p.name for p in several)} hold the same; keep one")
    if "unit1_pwr_60ghz" not in paths:
        raise InputError(f"{source}: {name}_unit1_pwr_60ghz_1-N.npy is missing; download it too")
    arrays = {kind: sensors.array(found[0]) for kind, found in paths.items()}
    path, power = paths["unit1_pwr_60ghz"][0], arrays["unit1_pwr_60ghz"]
    count = len(power) if power.ndim else 0
    for kind, values in arrays.items():
        want = {"seq_index": (count,), "unit1_pwr_60ghz": (count, beams)}.get(kind, (count, 2))
        if values.dtype.kind not in "iuf" or values.shape != want:
            raise InputError(
                f"{paths[kind][0]}: holds {values.dtype} {values.shape}, expected numbers {want}; "
                "download it again, or set beams for another codebook"
            )
    if "seq_index" not in arrays:
        report.leave(NO_SEQUENCE, name)
    sequence = np.array(arrays.get("seq_index", np.ones(count)), dtype=np.float64)
    _check_whole(sequence, f"{paths.get('seq_index', [source])[0]}")
    unknown = np.full((count, 2), np.nan)
    for number, rows in _groups(sequence):
        label = f"{name}/{number:05d}"
        bs = np.array(arrays.get("unit1_loc", unknown)[rows], dtype=np.float64)
        ue = np.array(arrays.get("unit2_loc_cal", arrays.get("unit2_loc", unknown))[rows], dtype=np.float64)
        for unit, position in (("BS", bs), ("UE", ue)):
            _mend_positions(position, np.ones(len(rows), dtype=bool), f"{label} {unit}", report)
        time, beam = (rows - rows[0]).astype(np.float64), np.full(len(rows), -1, np.int32)
        los = np.full(len(rows), -1, dtype=np.int8)
        drive = Drive(label, time, False, np.array(power[rows], dtype=np.float64), beam, bs, ue, los)
        yield from _with_beams(drive, None, path, report)


def _with_beams(
    drive: Drive, labels: NDArray[np.float64] | None, path: Path, report: ImportReport, window: bool = False
) -> Iterator[Drive]:
    """The drive with the best beam of each step; steps without power are left out, or kept within a window.

    Args:
        labels: [T] the data set's own beams, from 1, NaN where missing; None when it has none.

    Yields:
        The drive, unless none of its steps is left.
    """
    power, name = drive.power, drive.name
    if (power < 0).any() or np.isinf(power).any():
        raise InputError(f"{path}: {name}: negative or infinite power; the powers of DeepSense are linear, not dB")

    def leave_steps(reason: str, steps: NDArray[np.bool_]) -> None:
        report.leave(reason, f"{name} step {np.argmax(steps)}", int(steps.sum()))

    lost = np.asarray(~(power > 0).any(axis=1))
    beam = np.nanargmax(np.where(lost[:, None], 0, power), axis=1).astype(np.int32)
    leave_steps(PARTIAL, ~lost & np.isnan(power).any(1))
    if labels is not None:
        leave_steps(CONTRADICTED, ~lost & np.isfinite(labels) & (labels != beam + 1))
        leave_steps(NO_LABEL, ~lost & ~np.isfinite(labels))
    if not window:
        leave_steps(LOST, lost)
        if not lost.all():
            files = {sensor: tuple(compress(names, ~lost)) for sensor, names in drive.files.items()}
            fields = ("time", "power", "bs", "ue", "los", *([] if drive.true is None else ["true"]))
            kept = {field: getattr(drive, field)[~lost] for field in fields}
            yield replace(drive, beam=beam[~lost], files=files, **kept)
        return
    beam[lost] = -1
    if labels is not None:
        usable = lost & np.isin(labels, np.arange(1, power.shape[1] + 1))
        beam[usable] = labels[usable].astype(np.int32) - 1
        leave_steps(UNCHECKED, usable)
    if beam[-1] < 0:
        report.leave(UNLABELLED, name)
    yield replace(drive, beam=beam)


def _mend_positions(positions: NDArray[np.float64], due: NDArray[np.bool_], name: str, report: ImportReport) -> None:
    """Sets (0, 0) and halves of positions [T, 2] to NaN in place, and reports those of the steps that are `due`."""
    unknown = np.isnan(positions).any(1) | (positions == 0).all(1)
    positions[unknown] = np.nan
    report.leave(NO_POSITION, f"{name} step {np.argmax(unknown & due)}", int((unknown & due).sum()))


def _groups(sequence: NDArray[np.float64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each sequence's number and rows, in the order of the file."""
    for number in dict.fromkeys(sequence.tolist()):
        yield int(number), np.flatnonzero(sequence == number)


def _check_whole(values: NDArray[np.float64], where: str) -> None:
    if not (np.abs(values) < 1e9).all() or (values % 1).any():
        raise InputError(f"{where}: holds what is not a whole number; download it again")


def _absent(root: Path, name: str) -> bool:
    """Whether a cell names a file that is not there."""
    return name.lower() not in EMPTY and not (root / name).is_file()


def _values(root: Path, name: str) -> NDArray[np.float64] | None:
    """The numbers of a text file; None where there is no name or no such file."""
    if name.lower() in EMPTY:
        return None
    try:
        return np.array((root / name).read_text(encoding="ascii").split(), dtype=np.float64)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{root / name}: not a text file of numbers ({error}); download it again") from error


def _seconds(stamp: str) -> float:
    """Seconds from midnight of `['16-45-05-799']` (milliseconds) or `16:45:05-799123` (microseconds); else NaN."""
    match = re.search(r"(\d{1,2})[-:](\d{1,2})[-:](\d{1,2})(?:[-.:](\d{1,9}))?\b", stamp)
    if not match:
        return np.nan
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(f"{match[3]}.{match[4] or 0}")


def _unwrap(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time of day that goes on past midnight (UTC, so in the late afternoon where DeepSense was measured)."""
    return np.unwrap(seconds, period=86400.0)
