"""The sample contract of measured drives, and how they are kept: one safetensors file per scenario."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uniair.data.drives import sensors
from uniair.data.drives.step_paths import StepPaths
from uniair.errors import InputError
from uniair.files import atomic_path

FORMAT = "uniair-drives/2"
SENSORS = ("camera", "lidar", "radar", "csi", "paths")
TYPES = {"time": "float64", "power": "float64", "beam": "int32", "bs": "float64", "ue": "float64", "los": "int8",
         "steps": "int32", "true": "float64", "made": "int8"}  # fmt: skip
OPTIONAL = ("true", "made")  # tensors that a file may lack
USUAL_STEP = 0.1  # s, of drives that do not say: ten a second
SEMI_MAJOR_AXIS, ECCENTRICITY_SQUARED = 6378137.0, 0.00669437999014  # WGS 84, m


@dataclass(frozen=True)
class Drive:
    """One pass of a UE by a BS, T time steps; what every reader of measurements gives.

    Attributes:
        name: `scenario/sequence`; the part before the slash is the unit of the splits by site.
        time: float64 [T] s, from midnight of the first step's day; counts steps where `timed` is False.
        timed: whether `time` was measured; without it a missing step still shows as a jump of the count.
        power: float64 [T, B] received power of each beam, linear, in the receiver's own unit; NaN where it was lost.
        beam: int32 [T] the best beam, from 0; -1 where neither power nor label is known.
        bs, ue: float64 [T, 2] latitude and longitude, °; NaN where unknown.
        los: int8 [T] 1 where BS and UE see each other, 0 where something blocks the view, -1 where unknown.
        files: sensor (one of `SENSORS`) → [T] file names below `root`, "" where one is missing; a sensor that
            the scenario lacks has no entry.
        root: folder of the files; None where there are none.
        true: float64 [T, 2] latitude and longitude where the UE really was, °, NaN where unknown; None where `ue`, as
            it was received, is all that is known. The digital twin knows it.
    """

    name: str
    time: NDArray[np.float64]
    timed: bool
    power: NDArray[np.float64]
    beam: NDArray[np.int32]
    bs: NDArray[np.float64]
    ue: NDArray[np.float64]
    los: NDArray[np.int8]
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    root: Path | None = None
    true: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.time)

    @property
    def scenario(self) -> str:
        """The name's part before the slash."""
        return self.name.split("/")[0]

    @property
    def position(self) -> NDArray[np.float64]:
        """[T, 2] the UE from the BS, m, x east and y north; NaN where unknown.

        On the plane that touches the WGS 84 ellipsoid at the BS, with the ellipsoid's two radii of curvature there:
        x = N cosφ Δλ, y = M Δφ, N = a / √(1 − e² sin²φ), M = N (1 − e²) / (1 − e² sin²φ). Within 200 m of the BS it
        is a centimetre or two from the exact projection, below what GPS resolves.
        """
        return self._from_bs(self.ue)

    @property
    def true_position(self) -> NDArray[np.float64]:
        """[T, 2] as `position`, of where the UE really was; the received position where nothing else is known."""
        return self._from_bs(self.ue if self.true is None else self.true)

    def _from_bs(self, where: NDArray[np.float64]) -> NDArray[np.float64]:
        latitude = np.deg2rad(self.bs[:, 0])
        w = 1 - ECCENTRICITY_SQUARED * np.sin(latitude) ** 2
        across = SEMI_MAJOR_AXIS / np.sqrt(w)
        north, east = np.deg2rad(where - self.bs).T
        return np.column_stack([across * np.cos(latitude) * east, across * (1 - ECCENTRICITY_SQUARED) / w * north])

    def has(self, sensor: str) -> NDArray[np.bool_]:
        """[T] the steps with a file of one of `SENSORS`; with CSI also those whose paths it is made from."""
        if sensor == "csi" and "csi" not in self.files:
            return self.has("paths")
        return np.array([bool(name) for name in self.files.get(sensor, ("",) * len(self))], dtype=bool)

    def camera(
        self, steps: Sequence[int] | NDArray[np.integer], size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        """Images of the given steps, uint8 [n, H, W, 3], resized to (H, W) = `size` when it is given.

        Raises:
            InputError: a step without an image, a file that is missing or damaged.
        """
        return sensors.images([self.file("camera", int(step)) for step in steps], size)

    def lidar(self, step: int) -> NDArray[np.float32]:
        """Points of a step, float32 [P, 3], m, in the sensor's frame; errors as `camera`."""
        return sensors.points(self.file("lidar", step))

    def radar(self, step: int) -> NDArray[np.complex64]:
        """Baseband cube of a step, complex64 [4, 256, 250] antennas × samples × chirps; errors as `camera`."""
        return sensors.radar_cube(self.file("radar", step))

    def csi(self, step: int) -> NDArray[np.complex64]:
        """Channel of a step, complex64 [antennas, subcarriers]: its file, or what paper 1's radio makes of its paths;
        errors as `camera`.
        """
        return sensors.channel(self.file("csi", step)) if "csi" in self.files else self.paths(step).csi()

    def paths(self, step: int) -> StepPaths:
        """Paths of a step, from which any radio's CSI is made; errors as `camera`."""
        return StepPaths.read(self.file("paths", step))

    def file(self, sensor: str, step: int) -> Path:
        """Where a step's file of a sensor lies; errors as `camera`."""
        names = self.files.get(sensor)
        if self.root is None or names is None or not names[step]:
            raise InputError(f"{self.name}: step {step} has no {sensor} file; ask has({sensor!r}) first")
        return self.root / names[step]

    def first_steps(self, count: int) -> Drive:
        """The drive as it was known after its first `count` steps."""
        names = [name for name in TYPES if name != "steps" and getattr(self, name, None) is not None]
        kept = {name: getattr(self, name)[:count] for name in names}
        return replace(self, **kept, files={sensor: files[:count] for sensor, files in self.files.items()})

    def validate(self, where: str) -> Drive:
        """Itself, when the contract holds.

        Args:
            where: file or data set, for the message.

        Raises:
            InputError: shapes that disagree, time that runs backwards, powers that are not linear, a beam that its
                power contradicts, coordinates off the Earth, files outside the root.
        """
        t, b = self.time.size, self.power.shape[-1] if self.power.ndim else 0
        where = f"{where}: {self.name}"
        if not re.fullmatch(r"[^/\s]+/[^/\s]+", self.name):
            raise InputError(f"{where!r}: a drive's name is scenario/sequence")
        shapes = {"time": (t,), "power": (t, b), "beam": (t,), "bs": (t, 2), "ue": (t, 2), "los": (t,)}
        shapes |= {} if self.true is None else {"true": (t, 2)}
        for name, want in shapes.items():
            if (have := getattr(self, name).shape) != want:
                raise InputError(f"{where}: {name} has shape {have}, expected {want}; make or download it again")
        if not t or not b:
            raise InputError(f"{where}: holds {t} steps of {b} beams; make or download it again")
        if not np.isfinite(self.time).all() or (np.diff(self.time) < 0).any():
            raise InputError(f"{where}: time holds NaN or runs backwards; make or download it again")
        if (self.power < 0).any() or np.isinf(self.power).any():
            raise InputError(f"{where}: power is negative or infinite; give linear power, not dB")
        if self.beam.min() < -1 or self.beam.max() >= b:
            raise InputError(f"{where}: beams from {self.beam.min()} to {self.beam.max()}, expected 0 to {b - 1}")
        measured = (self.power > 0).any(1)
        best = self.power[measured, self.beam[measured]]
        if (self.beam[measured] < 0).any() or not np.array_equal(
            best, np.nanmax(self.power[measured], axis=1, initial=0)
        ):
            raise InputError(f"{where}: a beam is not the one of highest power; make it again")
        known = [self.bs, self.ue] if self.true is None else [self.bs, self.ue, self.true]
        if (np.abs(np.concatenate(known)) > [90, 180]).any():
            raise InputError(
                f"{where}: positions are not latitude and longitude in degrees; check their order and unit"
            )
        if not np.isin(self.los, (-1, 0, 1)).all():
            raise InputError(f"{where}: los holds other values than 1, 0 and -1 for unknown; make it again")
        for sensor, names in self.files.items():
            if sensor not in SENSORS or len(names) != t:
                raise InputError(f"{where}: {len(names)} {sensor} files for {t} steps of {', '.join(SENSORS)}")
            if (bad := next(filter(escapes, names), None)) is not None:
                raise InputError(f"{where}: {sensor} file {bad!r} lies outside its folder; names are relative")
        return self


RESTORED, ROLLED_OUT = 1, 2


@dataclass(frozen=True, kw_only=True)
class RestoredDrive(Drive):
    """A drive some of whose powers, and their best beams, a forecaster made.

    Attributes:
        made: int8 [T] 0 where nothing was made, `RESTORED` where a step's power was lost, `ROLLED_OUT` where the whole
            step comes after the end of the drive.
    """

    made: NDArray[np.int8]

    def as_measured(self) -> Drive:
        """The drive without what was made: as it was before, to the bit."""
        own = {one.name: getattr(self, one.name) for one in fields(Drive)}
        restored = self.made == RESTORED
        own["power"] = np.where(restored[:, None], np.nan, self.power)
        own["beam"] = np.where(restored, -1, self.beam).astype(np.int32)
        return Drive(**own).first_steps(int((self.made != ROLLED_OUT).sum()))

    def validate(self, where: str) -> Drive:
        """As of `Drive`; also that every power which was made is there, and that only the last steps are rolled out."""
        super().validate(where)
        about = f"{where}: {self.name}"
        if self.made.shape != self.time.shape or not np.isin(self.made, (0, RESTORED, ROLLED_OUT)).all():
            raise InputError(f"{about}: made says for each step 0, {RESTORED} or {ROLLED_OUT}; make it again")
        after = self.made == ROLLED_OUT
        if after.all() or (np.diff(after.astype(int)) < 0).any() or not (self.power[self.made > 0] > 0).any(1).all():
            raise InputError(f"{about}: steps are rolled out before its end, or made without a power; make it again")
        return self


def escapes(reference: str) -> bool:
    """Whether a file name that a data set gives leads out of the data set's folder."""
    path = PurePosixPath(reference)
    return path.is_absolute() or ".." in path.parts


def losses(los: NDArray[Any]) -> int:
    """How often line of sight [T], 1 or true where it is there, is lost from one step to the next."""
    return int(((los[:-1] == 1) & (los[1:] == 0)).sum())


def step_time(drives: Sequence[Drive]) -> float | None:
    """Usual time between two steps, s; None where no drive measured it."""
    took = [np.diff(drive.time) for drive in drives if drive.timed and len(drive) > 1]
    return float(np.median(np.concatenate(took))) if took else None


def carrier(drives: Iterable[Drive], otherwise: float) -> float:
    """The carrier of the drives' paths, Hz; `otherwise` where they keep none.

    Raises:
        InputError: drives of several carriers.
    """
    kept = [drive for drive in drives if drive.has("paths").any()]
    found = {drive.paths(int(drive.has("paths").argmax())).carrier for drive in kept}
    if len(found) > 1:
        raise InputError(
            f"drives at {' and '.join(f'{one / 1e9:g}' for one in sorted(found))} GHz; import those of one carrier"
        )
    return found.pop() if found else otherwise


def write_drives(path: Path, drives: Iterable[Drive]) -> None:
    """Writes the drives of a scenario as one safetensors file; the same drives give the same bytes.

    Sensor files stay where they are: their names go into the metadata, with the folder that they lie in.

    Raises:
        InputError: no drives, or drives of several codebooks or folders, or of which some know the true positions or
            are restored.
    """
    kept = list(drives)
    if not kept or len({(d.power.shape[1], d.root, d.true is None, type(d)) for d in kept}) > 1:
        raise InputError(
            f"{path}: {len(kept)} drives; a file holds one or more, of one codebook and one folder, all with true "
            "positions or none, all restored or none"
        )
    names = [name for name in TYPES if name != "steps" and getattr(kept[0], name, None) is not None]
    tensors = {name: np.concatenate([getattr(d, name) for d in kept]) for name in names}
    tensors["steps"] = np.array([len(drive) for drive in kept])
    tensors = {name: np.ascontiguousarray(values, dtype=TYPES[name]) for name, values in tensors.items()}
    # one key: safetensors writes several in an order that changes from run to run
    header = {
        "format": FORMAT,
        "root": None if kept[0].root is None else os.path.abspath(kept[0].root),
        "drives": [{"name": d.name, "timed": d.timed, "files": dict(d.files)} for d in kept],
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"uniair": json.dumps(header, sort_keys=True)})


def read_drives(path: Path, root: Path | None = None) -> list[Drive]:
    """Reads and validates the drives of one file; of `RestoredDrive` where a forecaster made some of it.

    Args:
        root: folder of the sensor files, when they have moved since the file was written.

    Raises:
        InputError: missing, truncated, of another format, or against the sample contract.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; make it with uniair import")
    try:
        with safe_open(path, framework="numpy") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {}).get("uniair", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error}); make it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path}: not a file of format {FORMAT!r}; it was not written by this version of uniair")
    try:
        if {name: TYPES[name] for name in OPTIONAL} | {
            name: values.dtype.name for name, values in tensors.items()
        } != TYPES:
            raise ValueError(f"its tensors are {sorted(tensors)}, expected {sorted(TYPES)}")
        ends = np.cumsum(tensors.pop("steps"), dtype=np.int64)
        if any(len(values) != ends[-1] for values in tensors.values()) or (np.diff(ends, prepend=0) < 1).any():
            raise ValueError("step counts and arrays disagree")
        folder = root or (None if header["root"] is None else Path(header["root"]))
        kind = RestoredDrive if "made" in tensors else Drive
        drives = [
            kind(
                name=str(entry["name"]),
                timed=bool(entry["timed"]),
                files={str(k): tuple(map(str, names)) for k, names in entry["files"].items()},
                root=folder,
                **{name: values[end - steps : end] for name, values in tensors.items()},
            )
            for entry, end, steps in zip(header["drives"], ends, np.diff(ends, prepend=0), strict=True)
        ]
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: broken ({type(error).__name__}: {error}); make it again") from error
    return [drive.validate(str(path)) for drive in drives]
