"""What a folder of drives holds, and what in it physics rules out, file by file in one pass."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives.drive import FORMAT, Drive, RestoredDrive, losses, read_drives
from uniair.data.statistics import EXAMPLES, FARTHEST_UE, Distribution, Findings, rounded, summary
from uniair.errors import InputError
from uniair.files import sha256
from uniair.progress import track

SIGHT = {1: "in_sight", 0: "blocked", -1: "sight_unknown"}  # by the label of a step
TRACKED_STEPS = 4_000  # of one scenario


@dataclass
class Scenario:
    """Counts of one scenario.

    Attributes:
        lost: steps without a best beam.
        located: steps with a known position.
        seconds: length of its drives; 0 where time was not measured.
        sight: steps in line of sight, blocked, and of which neither is known.
        sight_lost: times that it is lost from one step of a drive to the next.
        sensors: sensor → steps with a file.
        tracks: [n, 3] of a drive: x east, y north of the BS, m, and the best beam's share of the codebook, 0 to 1.
    """

    drives: int = 0
    samples: int = 0
    lost: int = 0
    located: int = 0
    seconds: float = 0.0
    sight: Counter[str] = field(default_factory=Counter)
    sight_lost: int = 0
    sensors: Counter[str] = field(default_factory=Counter)
    tracks: list[NDArray[np.float64]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Counts."""
        counts = {name: getattr(self, name) for name in ("drives", "samples", "lost", "located")}
        if self.sight["in_sight"] or self.sight["blocked"]:  # of drives without labels there is nothing to count
            counts |= {**{name: self.sight[name] for name in SIGHT.values()}, "sight_lost": self.sight_lost}
        return counts | rounded({"seconds": self.seconds}) | {"sensors": dict(sorted(self.sensors.items()))}


@dataclass
class DrivesStatistics:
    """Statistics and findings of measured drives, filled in by `add`.

    Attributes:
        scenarios: scenario → counts.
        names: of all drives.
        steps: [drives] samples.
        beams: size B of the codebook → int64 [B] steps in which each beam was the best.
        power: B → float64 [2, B, B] sum, over steps with best beam b (rows), of each beam's power relative to the
            best's, and the number of steps in which that beam was measured.
        distance: UE from BS, m; all in row 0.
    """

    findings: Findings = field(default_factory=Findings)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    steps: list[int] = field(default_factory=list)
    beams: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    power: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.distance = Distribution(np.arange(0.0, 1001, 1))

    def add(self, drive: Drive) -> None:
        """Counts the steps of a drive, and apart from them those that a forecaster made."""
        if isinstance(drive, RestoredDrive):
            made = np.flatnonzero(drive.made)
            self.findings.note("made", [f"{drive.name} step {i}" for i in made[:EXAMPLES]], len(made))
            drive = drive.as_measured()
        if drive.name in self.names:
            self.findings.note("drive_names", [drive.name])
        if drive.files and not (drive.root and drive.root.is_dir()):
            self.findings.note("no_sensors", [drive.name])
        self.names.add(drive.name)
        self.steps.append(len(drive))
        known, size = drive.beam >= 0, drive.power.shape[1]
        position = drive.position
        located = np.isfinite(position).all(1)
        here = self.scenarios.setdefault(drive.scenario, Scenario())
        here.drives += 1
        here.samples += len(drive)
        here.lost += int((~known).sum())
        here.located += int(located.sum())
        here.seconds += float(drive.time[-1] - drive.time[0]) if drive.timed else 0.0
        here.sight.update({name: int((drive.los == value).sum()) for value, name in SIGHT.items()})
        here.sight_lost += losses(drive.los)
        here.sensors.update({sensor: int(drive.has(sensor).sum()) for sensor in drive.files})
        if sum(map(len, here.tracks)) < TRACKED_STEPS:
            here.tracks.append(np.column_stack([position, drive.beam / max(size - 1, 1)])[located & known])
        self.beams[size] = self.beams.get(size, np.zeros(size, dtype=np.int64)) + np.bincount(
            drive.beam[known], minlength=size
        )
        measured = known & (drive.power > 0).any(1)
        relative = drive.power[measured] / np.nanmax(drive.power[measured], axis=1, keepdims=True, initial=0)
        sums = self.power.setdefault(size, np.zeros((2, size, size)))
        np.add.at(sums[0], drive.beam[measured], np.nan_to_num(relative))
        np.add.at(sums[1], drive.beam[measured], np.isfinite(relative))
        away = np.linalg.norm(position[located], axis=1)
        self.distance.add(away, np.zeros(len(away), dtype=bool))
        far = np.flatnonzero(located)[away > FARTHEST_UE]
        self.findings.note("far_ue", [f"{drive.name} step {i}" for i in far[:EXAMPLES]], len(far))

    def as_json(self) -> dict[str, Any]:
        """What the card says in numbers."""
        distance = self.distance.as_json()
        return {
            "samples": sum(self.steps),
            "drives": len(self.steps),
            "scenarios": {name: scenario.as_json() for name, scenario in sorted(self.scenarios.items())},
            "steps_a_drive": summary(self.steps),
            "best_beams": {str(size): counts.tolist() for size, counts in sorted(self.beams.items())},
            "distance_m": {name: distance[name] for name in ("mean", "p10", "p50", "p90")},
        }


def drives_statistics(path: Path) -> DrivesStatistics:
    """Reads, checks and sums up a file of drives, or a folder of them.

    Raises:
        InputError: a file is missing, damaged, of another format or against the sample contract.
    """
    found = DrivesStatistics()
    if path.is_file():
        files, listed = [path], {}
    else:
        files = sorted(path.glob("*.safetensors"))
        listed = {Path(entry["file"]).name: entry["sha256"] for entry in drives_manifest(path).get("files", ())}
        files += [path / name for name in listed if path / name not in files]
    for file in track(files, "file"):
        if file.exists() and listed.get(file.name, digest := sha256(file)) != digest:
            raise InputError(
                f"{file}: checksum does not match the manifest; the file is damaged, copy or make it again"
            )
        for drive in read_drives(file):
            found.add(drive)
    if listed:
        found.findings.note("unlisted", [file.name for file in files if file.name not in listed])
    return found


def drives_manifest(folder: Path) -> dict[str, Any]:
    """The manifest that `uniair import` wrote beside drives; empty where there is none.

    Raises:
        InputError: not JSON, or of another format.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        valid = manifest["format"] == FORMAT and all(
            isinstance(f[k], str) for f in manifest["files"] for k in ("file", "sha256")
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a manifest of drives ({type(error).__name__}: {error}); import them again"
        ) from error
    if not valid:
        raise InputError(f"{path}: format {manifest['format']!r} is not {FORMAT!r}; it was not written by this version")
    return dict(manifest)
