"""Passages of drives to train on, as they were measured and as a street would allow them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives.drive import Drive
from uniair.data.drives.sensing import Sensing, Steps, measured, sensed, sight, stack, with_moves
from uniair.data.drives.windows import Frames, frames, segments
from uniair.errors import InputError


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
