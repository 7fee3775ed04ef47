"""Windows of past and future steps cut from measured drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives.drive import Drive, RestoredDrive, read_drives
from uniair.data.drives.sensing import Sensing, Steps, measured, stack
from uniair.data.import_report import ImportReport
from uniair.errors import InputError

Frames = Mapping[str, NDArray[np.float64]]
GAP = 1.75  # of a drive's median step: longer ones are a gap
SHORT = "drive, or part of one between gaps, shorter than a window: skipped"
GAPS = "gap in the time stamps: the drive is cut there"
UNKNOWN_FUTURE = "window with a future step whose beam is unknown: skipped"
LOST = "step without power: its token is the learned one for what is missing"
PARTIAL = "power with NaN beams: they are taken as weak as the weakest measured"
NO_POSITION = "step without a position: its token is the learned one for what is missing"


@dataclass(frozen=True)
class Windows:
    """N windows of `past` + `future` steps without a gap.

    Attributes:
        drives: what they were cut from.
        drive: int64 [N] index into `drives`.
        start: int64 [N] first step.
        past, future: steps.
        frames: of each scenario, see `frames`.
    """

    drives: tuple[Drive, ...]
    drive: NDArray[np.int64]
    start: NDArray[np.int64]
    past: int
    future: int
    frames: Frames

    def __len__(self) -> int:
        return len(self.drive)

    @cached_property
    def scenario(self) -> NDArray[np.str_]:
        """[N] the scenario of each window."""
        return np.array([drive.scenario for drive in self.drives], dtype=np.str_)[self.drive]

    def select(self, which: NDArray[np.bool_] | NDArray[np.integer]) -> Windows:
        """Some of the windows."""
        return replace(self, drive=self.drive[which], start=self.start[which])

    def steps(self, index: NDArray[np.integer] | None = None, sensing: Sensing = Sensing()) -> Steps:
        """What was measured in windows `index`, all by default: arrays [n, past + future, ...], see `measured`."""
        chosen = np.arange(len(self)) if index is None else index
        if not len(chosen):
            raise InputError("no window: the drives are shorter than past + future steps")
        parts = [
            measured(
                self.drives[d],
                np.arange(s, s + self.past + self.future),
                self.frames[self.drives[d].scenario],
                sensing,
            )
            for d, s in zip(self.drive[chosen], self.start[chosen], strict=True)
        ]
        return stack(parts)


def frames(drives: Sequence[Drive]) -> Frames:
    """Scenario → rotation [2, 2] that turns its y axis to where its UEs are, seen from the BS, on average.

    The BS's bearing is not in the data. Where the traffic is stands in for it, which takes no label.
    """
    directions: dict[str, list[NDArray[np.float64]]] = {}
    for drive in drives:
        position = drive.position[np.isfinite(drive.position).all(1)]
        directions.setdefault(drive.scenario, []).append(
            position / np.maximum(np.linalg.norm(position, axis=1, keepdims=True), 1e-9)
        )
    out = {}
    for scenario, found in directions.items():
        x, y = np.concatenate(found).sum(0)
        length = np.hypot(x, y)
        out[scenario] = np.array([[y, -x], [x, y]]) / length if length > 0 else np.eye(2)
    return out


def cut(
    drives: Sequence[Drive],
    past: int = 5,
    future: int = 3,
    report: ImportReport | None = None,
    turned: Frames | None = None,
) -> Windows:
    """Every window of the drives that has no gap and whose future beams are known.

    Args:
        turned: the frame of each scenario; found from these drives by default.
        report: takes what was skipped and what is missing.

    Raises:
        InputError: no drive is long enough, or their codebooks differ in size.
    """
    if past < 1 or future < 1:
        raise InputError(f"windows of {past} past and {future} future steps: give at least one of each")
    report = ImportReport() if report is None else report
    codebook(drives)
    rows = []
    for number, drive in enumerate(drives):
        report.leave(LOST, drive.name, int(np.isnan(drive.power).all(1).sum()))
        report.leave(PARTIAL, drive.name, int((np.isnan(drive.power).any(1) & ~np.isnan(drive.power).all(1)).sum()))
        report.leave(NO_POSITION, drive.name, int(np.isnan(drive.position).any(1).sum()))
        parts = segments(drive)
        report.leave(GAPS, drive.name, len(parts) - 1)
        for begin, end in parts:
            starts = np.arange(begin, end - past - future + 1)
            report.leave(SHORT, drive.name, int(not len(starts)))
            known = np.array([(drive.beam[s + past : s + past + future] >= 0).all() for s in starts], dtype=bool)
            report.leave(UNKNOWN_FUTURE, drive.name, int((~known).sum()))
            rows += [(number, int(s)) for s in starts[known]]
    if not rows:
        raise InputError(
            f"no window of {past} past and {future} future steps in {len(drives)} drives; ask for shorter ones"
        )
    report.use("windows", len(rows))
    drive_index, start = np.array(rows, dtype=np.int64).T
    return Windows(tuple(drives), drive_index, start, past, future, turned or frames(drives))


def segments(drive: Drive) -> list[tuple[int, int]]:
    """First and last + 1 step of the parts of a drive between gaps in its time."""
    took = np.diff(drive.time)
    usual = np.median(took) if len(took) else 0.0
    breaks = np.flatnonzero(took > GAP * usual) + 1 if usual > 0 else np.array([], dtype=int)
    return list(pairwise([0, *breaks.tolist(), len(drive)]))


def codebook(drives: Sequence[Drive]) -> int:
    """Number of beams of the drives.

    Raises:
        InputError: there are no drives, or several codebooks.
    """
    sizes = {drive.power.shape[1]: drive.name for drive in drives}
    if len(sizes) != 1:
        found = ", ".join(f"{size} beams in {name}" for size, name in sizes.items()) or "no drives"
        raise InputError(f"{found}: forecasting needs drives of one codebook; import them apart")
    return next(iter(sizes))


def read_folder(folder: Path) -> list[Drive]:
    """All drives of a folder that `uniair import deepsense` or `uniair import twin` wrote; of `uniair forecast restore`
    without what was made, so that nothing learns from it or is measured against it.

    Raises:
        InputError: there is none, or a file is broken.
    """
    paths = [folder] if folder.is_file() else sorted(folder.glob("*.safetensors"))
    if not paths:
        raise InputError(f"{folder}: no drives; make them with uniair import deepsense")
    every = [drive for path in paths for drive in read_drives(path)]
    return [drive.as_measured() if isinstance(drive, RestoredDrive) else drive for drive in every]
