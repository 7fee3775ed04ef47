"""What the sensors of a drive's steps give, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives import sensors
from uniair.data.drives.drive import Drive
from uniair.data.drives.step_paths import StepPaths
from uniair.errors import InputError
from uniair.radio import Radio

Steps = dict[str, NDArray[Any]]

POINTS = 512  # of LiDAR that are kept of a step, the same share of every scan
CHANNEL = Radio().shape  # of the CSI that the towers read: paper 1's radio


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
