"""Windows of past and future steps cut from measured drives, and passages to train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives import sensors
from uniair.data.drives.drive import Drive, RestoredDrive, read_drives
from uniair.data.drives.step_paths import StepPaths
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.radio import Radio

Steps = dict[str, NDArray[Any]]
Frames = Mapping[str, NDArray[np.float64]]

GAP = 1.75  # of a drive's median step: longer ones are a gap
SHORT = "drive, or part of one between gaps, shorter than a window: skipped"
GAPS = "gap in the time stamps: the drive is cut there"
UNKNOWN_FUTURE = "window with a future step whose beam is unknown: skipped"
LOST = "step without power: its token is the learned one for what is missing"
PARTIAL = "power with NaN beams: they are taken as weak as the weakest measured"
POINTS = 512  # of LiDAR that are kept of a step, the same share of every scan
CHANNEL = Radio().shape  # of the CSI that the towers read: paper 1's radio
NO_POSITION = "step without a position: its token is the learned one for what is missing"


@dataclass(frozen=True)
class Sensing:
    """How the sensors of a step become arrays.

    Attributes:
        sensors: those to read from disk, of `SENSORS`.
        image: height and width of a camera frame, pixels.
        cube: angles, ranges and velocities of the radar cube that are kept.
    """

    sensors: tuple[str, ...] = ()
    image: tuple[int, int] = (64, 112)
    cube: tuple[int, int, int] = (16, 64, 32)


@dataclass(frozen=True)
class Augmentation:
    """How a passage may differ from what was measured, in ways that a street allows.

    Attributes:
        reverse: share of the passages played backwards: the vehicle drives the other way. The receiver, whose beams
            each have a gain of their own, stays as it is.
        mirror: share of the passages whose left and right are exchanged, beam b ↔ B − 1 − b; of the receiver too.
        retimed: share of the passages driven at another speed, see `Passages`.
        pace: slowest and fastest of these, as a share of the speed that was driven.
    """

    reverse: float = 0.5
    mirror: float = 0.0
    retimed: float = 0.6
    pace: tuple[float, float] = (0.25, 4.0)

    def __post_init__(self) -> None:
        shares = (self.reverse, self.mirror, self.retimed)
        if not all(0 <= share <= 1 for share in shares) or not 0 < self.pace[0] <= self.pace[1]:
            raise InputError(
                f"augmentation of reverse, mirror, retimed {shares} and pace {self.pace}: give shares from 0 to 1, and "
                "the slowest pace before the fastest, above 0"
            )


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


def measured(drive: Drive, steps: NDArray[np.integer], frame: NDArray[np.float64], sensing: Sensing) -> Steps:
    """Arrays of a drive's steps, T of them. NaN, or a beam of −1, marks what is missing.

    `power` float32 [T, B], linear; `beam` int64 [T]; `los` float32 [T], 1 in line of sight, 0 where it is blocked;
    `position` float32 [T, 4], metres across and along the scenario's frame and metres per step in both directions, 0 at
    the first step; two that are NaN where the order of the steps is made up (`Passages`), as they followed each other:
    `sight`, as `los`, and `place` float32 [T, 2], `Drive.true_position` in the frame; and of the sensors asked for
    `camera` float32 [T, 3, H, W] from 0 to 1, `lidar` float32 [T, points, 3], m, `radar` float32 [T, angles, ranges,
    velocities], dB above the cube's median, `csi` complex64 [T, 32, 64].
    """
    out: Steps = {
        "power": drive.power[steps].astype(np.float32),
        "beam": drive.beam[steps].astype(np.int64),
        "los": sight(drive)[steps],
        "sight": sight(drive)[steps],
        "position": with_moves(drive.position[steps] @ frame.T),
        "place": (drive.true_position[steps] @ frame.T).astype(np.float32),
    }
    return out | sensed(drive, steps, sensing)


def sight(drive: Drive) -> NDArray[np.float32]:
    """Line of sight as labels [T], NaN where unknown."""
    return np.where(drive.los < 0, np.nan, drive.los).astype(np.float32)


def sensed(drive: Drive, steps: NDArray[np.integer], sensing: Sensing) -> Steps:
    """Arrays of the sensors' files, see `measured`."""
    out: Steps = {}
    for sensor in sensing.sensors:
        present = drive.has(sensor)[steps]
        shapes = {"camera": (3, *sensing.image), "lidar": (POINTS, 3), "radar": sensing.cube, "csi": CHANNEL}
        kind = np.complex64 if sensor == "csi" else np.float32
        values: NDArray[Any] = np.full((len(steps), *shapes[sensor]), np.nan, dtype=kind)
        for t in np.flatnonzero(present):
            step = int(steps[t])
            if sensor == "camera":
                values[t] = _frame(drive.file("camera", step), sensing.image).transpose(2, 0, 1) / 255
            elif sensor == "lidar":
                points = drive.lidar(step)
                values[t] = points[np.linspace(0, len(points) - 1, POINTS).astype(int)]
            elif sensor == "csi":
                values[t] = _channel(drive, step)
            else:
                values[t] = range_angle_velocity(drive.radar(step), sensing.cube)
        out[sensor] = values
    return out


@lru_cache(maxsize=16_384)  # 350 MB at the default size: training draws every frame hundreds of times
def _frame(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    return sensors.images([path], size)[0]


def _channel(drive: Drive, step: int) -> NDArray[np.complex64]:
    return _made(drive.file("paths", step)) if "csi" not in drive.files else _read(drive.file("csi", step))


@lru_cache(maxsize=16_384)  # 270 MB
def _made(path: Path) -> NDArray[np.complex64]:
    return StepPaths.read(path).csi()


@lru_cache(maxsize=16_384)
def _read(path: Path) -> NDArray[np.complex64]:
    csi = sensors.channel(path)
    if csi.shape != CHANNEL:
        raise InputError(f"{path}: CSI of {csi.shape[0]} × {csi.shape[1]}; the towers read {CHANNEL[0]} × {CHANNEL[1]}")
    return csi


def with_moves(position: NDArray[Any]) -> NDArray[np.float32]:
    """Places [T, 2] with the move from the step before, [T, 4]; a move from or to an unknown place is 0."""
    moved = np.diff(position, axis=0, prepend=position[:1])
    return np.concatenate([position, np.nan_to_num(moved)], axis=1).astype(np.float32)


def range_angle_velocity(cube: NDArray[np.complex64], size: tuple[int, int, int]) -> NDArray[np.float32]:
    """Baseband of a radar, [antennas, samples, chirps], as power over angle, range and velocity: float32 `size`, dB.

    A Fourier transform along each axis; near ranges and small velocities are kept, and the angle is interpolated.
    """
    angles, ranges, velocities = size
    spectrum = np.fft.fft(cube, axis=1)[:, :ranges]
    spectrum = np.fft.fftshift(np.fft.fft(spectrum, axis=2), axes=2)
    middle = spectrum.shape[2] // 2
    spectrum = spectrum[:, :, middle - velocities // 2 : middle - velocities // 2 + velocities]
    power = np.abs(np.fft.fftshift(np.fft.fft(spectrum, n=angles, axis=0), axes=0)) ** 2
    decibel = 10 * np.log10(np.maximum(power, 1e-20))
    return np.asarray(decibel - np.median(decibel), dtype=np.float32)


def stack(parts: Sequence[Steps]) -> Steps:
    """Windows of the same length as one batch; each array gets a first dimension."""
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


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


@dataclass(frozen=True)
class Passages:
    """Random passages of drives, augmented, to train on; drives shorter than a passage are padded with missing steps.

    A site's traffic has its own speeds, and a forecaster that has seen no others forecasts them everywhere. A retimed
    passage follows a drive at another pace: between its steps the course of the lobe's centre is interpolated, and
    every step becomes one that was measured in the same scenario, on this drive or another, with its lobe there. What
    is heard is always a measurement; only the order is new. The position is the drive's own, interpolated.

    Attributes:
        drives: to draw from, by their length.
        length: steps a passage.
        augmentation: of each passage.
        sensing: which sensors to read, and how.
        turned: the frame of each scenario; found from these drives by default.
    """

    drives: tuple[Drive, ...]
    length: int
    augmentation: Augmentation = Augmentation()
    sensing: Sensing = Sensing()
    turned: Frames | None = None

    NEAREST = 5  # measured steps of like centre that one is drawn from

    def __post_init__(self) -> None:
        if not self.drives:
            raise InputError("no drive is left to draw passages from; hold fewer out")
        if not self._segments:
            raise InputError("no drive has two steps in a row; there is nothing to forecast")

    def draw(self, count: int, rng: np.random.Generator) -> Steps:
        """`count` passages: arrays [count, length, ...] as `measured` gives them."""
        return stack([self._passage(int(i), rng) for i in rng.choice(len(self._share), count, p=self._share)])

    @cached_property
    def _frames(self) -> Frames:
        return self.turned or frames(self.drives)

    @cached_property
    def _segments(self) -> list[tuple[int, int, int]]:
        return [(n, a, b) for n, drive in enumerate(self.drives) for a, b in segments(drive) if b - a > 1]

    @cached_property
    def _share(self) -> NDArray[np.float64]:
        lengths = np.array([b - a for _, a, b in self._segments], dtype=np.float64)
        return np.asarray(lengths / lengths.sum())

    @cached_property
    def _centres(self) -> list[NDArray[np.float64]]:
        return [lobe_centre(drive.power) for drive in self.drives]

    @cached_property
    def _sight(self) -> list[NDArray[np.float32]]:
        return [sight(drive) for drive in self.drives]

    @cached_property
    def _measured(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Scenario → centres of all its measured steps, sorted, and the (drive, step) of each."""
        found: dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
        for scenario in {drive.scenario for drive in self.drives}:
            numbers = [n for n, drive in enumerate(self.drives) if drive.scenario == scenario]
            centre = np.concatenate([self._centres[n] for n in numbers])
            place = np.concatenate([np.column_stack([np.full(len(self.drives[n]), n), np.arange(len(self.drives[n]))])
                                    for n in numbers])  # fmt: skip
            known = np.isfinite(centre)
            order = np.argsort(centre[known], kind="stable")
            found[scenario] = centre[known][order], place[known][order]
        return found

    def _passage(self, segment: int, rng: np.random.Generator) -> Steps:
        number, begin, end = self._segments[segment]
        drive = self.drives[number]
        if rng.random() < self.augmentation.retimed and np.isfinite(self._centres[number][begin:end]).all():
            out = self._retimed(number, begin, end, rng)
        else:
            # it may hang over either end of the drive, so that a start is seen as often as the middle
            first = begin + int(rng.integers(2 - self.length, end - begin - 1))
            steps = np.arange(max(first, begin), min(first + self.length, end))
            out = measured(drive, steps, self._frames[drive.scenario], self.sensing)
        if rng.random() < self.augmentation.reverse:
            out = reversed_(out)
        if rng.random() < self.augmentation.mirror:
            out = mirrored(out)
        return padded(out, self.length)

    def _retimed(self, number: int, begin: int, end: int, rng: np.random.Generator) -> Steps:
        slowest, fastest = np.log(self.augmentation.pace)
        pace = np.exp(rng.uniform(slowest, fastest))
        whole = end - begin - 1.0
        start = rng.uniform(0, whole - min((self.length - 1) * pace, whole))
        time = start + pace * np.arange(self.length)
        time = time[: max(2, int((time <= whole).sum()))].clip(max=whole)
        course, drive = self._centres[number][begin:end], self.drives[number]
        course = np.convolve(np.pad(course, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
        centre, place = self._measured[drive.scenario]
        wanted = np.searchsorted(centre, np.interp(time, np.arange(end - begin), course))
        wanted = wanted + rng.integers(-(self.NEAREST // 2), self.NEAREST // 2 + 1, len(time))
        chosen = place[wanted.clip(0, len(place) - 1)]
        frame = self._frames[drive.scenario]
        out: Steps = {
            "power": np.stack([self.drives[n].power[step] for n, step in chosen]).astype(np.float32),
            "beam": np.array([self.drives[n].beam[step] for n, step in chosen], dtype=np.int64),
            "los": np.array([self._sight[n][step] for n, step in chosen], dtype=np.float32),
            "sight": np.full(len(chosen), np.nan, dtype=np.float32),
        }
        if self.sensing.sensors:
            parts = [sensed(self.drives[n], np.array([step]), self.sensing) for n, step in chosen]
            out |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        position = drive.position[begin:end] @ frame.T
        here = np.column_stack([np.interp(time, np.arange(end - begin), axis) for axis in position.T])
        out["position"], out["place"] = with_moves(here), np.full_like(here, np.nan, dtype=np.float32)
        return out


def lobe_centre(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of the best beam's lobe, in beams: [T, B] → [T], finer than a beam; NaN where no power is known.

    Mean of the beams within 6 of the best one, by the square of how far they stand above the weakest beam; those that
    stand less than 0.3 of the way to the best one count nothing.
    """
    lost = np.asarray(np.isnan(power).all(1))
    filled = np.where(lost[:, None], 0.0, power)
    low = np.nanmin(filled, axis=1, keepdims=True)
    height = (np.nan_to_num(filled - low)) / np.maximum(np.nanmax(filled, axis=1, keepdims=True) - low, 1e-30)
    beams = np.arange(power.shape[1])
    near = np.abs(beams - height.argmax(1)[:, None]) <= 6
    weight = np.where((height > 0.3) & near, height, 0) ** 2
    centre = (weight * beams).sum(1) / np.maximum(weight.sum(1), 1e-30)
    return np.asarray(np.where(lost, np.nan, centre))


def reversed_(steps: Steps) -> Steps:
    """The same steps backwards; the moves are those of the way back."""
    out = {name: values[::-1].copy() for name, values in steps.items()}
    return out | {"position": with_moves(out["position"][:, :2])}


def mirrored(steps: Steps) -> Steps:
    """Left and right exchanged, of beams [..., B], positions, pictures and antennas; LiDAR and radar, whose axes are
    not known here, become missing.
    """
    out = dict(steps)
    beams = steps["power"].shape[-1]
    out["power"] = steps["power"][..., ::-1].copy()
    out["beam"] = np.where(steps["beam"] < 0, -1, beams - 1 - steps["beam"])
    out["position"] = steps["position"] * np.array([-1, 1, -1, 1], dtype=np.float32)
    out["place"] = steps["place"] * np.array([-1, 1], dtype=np.float32)
    if "camera" in steps:
        out["camera"] = steps["camera"][..., ::-1].copy()
    if "csi" in steps:
        out["csi"] = steps["csi"][..., ::-1, :].copy()
    return out | {name: np.full_like(steps[name], np.nan) for name in ("lidar", "radar") if name in steps}


def padded(steps: Steps, length: int) -> Steps:
    """Arrays [T, ...] with missing steps after their last, [length, ...]."""
    out: Steps = {}
    for name, values in steps.items():
        more = (length - len(values), *values.shape[1:])
        out[name] = np.concatenate([values, np.full(more, -1 if name == "beam" else np.nan, dtype=values.dtype)])
    return out
