"""What the forecast commands share: the drives of a folder, and what a forecaster reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser

import uniair
from uniair.data.drives.drive import Drive, carrier
from uniair.data.drives.passages import Passages
from uniair.data.drives.windows import codebook, read_folder
from uniair.errors import InputError
from uniair.evaluation.blockage_figures import require_losses
from uniair.models.forecast import SIZES, WMLM, ForecastPreset
from uniair.training.forecast_adaptation import SiteLearning
from uniair.training.forecast_split import Setting, sensing
from uniair.training.forecasting import load_forecaster

FOLDER = "folder of drives: uniair import deepsense, or uniair import twin"
TOWER = "universal model that csi is read through, where the forecaster does: packaged model or folder"
SCENARIOS = "use these alone, e.g. [scenario1]"


def packaged_or_given(parser: ArgumentParser) -> None:
    """Declares --drives, --model, --tower and --scenarios of a command that runs without options too."""
    parser.add_argument("--drives", type=str | None, default=None, help=f"{FOLDER}; the packaged ones if not given")
    parser.add_argument("--model", type=str | None, default=None,
                        help="folder of uniair forecast train; the packaged one if not given")  # fmt: skip
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--scenarios", type=list[str], default=[], help=SCENARIOS)


def drives_of(folder: Path, scenarios: Sequence[str]) -> list[Drive]:
    """The drives of a folder, of some scenarios alone where any are named.

    Raises:
        InputError: no drives there, or no such scenario.
    """
    drives = read_folder(folder)
    check_scenarios(folder, drives, scenarios)
    return [drive for drive in drives if not scenarios or drive.scenario in scenarios]


def are_drives(folder: Path) -> bool:
    """Whether a folder holds drives, and not links or something else."""
    return next(iter(folder.glob("drives-*.safetensors")), None) is not None


def check_scenarios(folder: Path, drives: Sequence[Drive], scenarios: Sequence[str]) -> None:
    """Raises an `InputError` where a scenario is none of the drives'."""
    if odd := set(scenarios) - {drive.scenario for drive in drives}:
        raise InputError(f"{folder}: no {min(odd)}; it has {', '.join({d.scenario: 0 for d in drives})}")


def check_drives(folder: Path, drives: Sequence[Drive], preset: ForecastPreset) -> None:
    """Raises an `InputError` where the drives' codebook is of another size than the model's, or their CSI of another
    carrier.
    """
    if codebook(drives) != preset.beams:
        raise InputError(f"{folder}: {codebook(drives)} beams for a model of {preset.beams}; train one for them")
    there = carrier(drives, preset.carrier)
    if "csi" in preset.modalities and there != preset.carrier:
        raise InputError(f"{folder}: CSI at {there / 1e9:g} GHz for a model of {preset.carrier / 1e9:g} GHz; train one "
                         "for them")  # fmt: skip


def check_sensors(folder: Path, drives: Sequence[Drive], preset: ForecastPreset) -> None:
    """Raises an `InputError` where no drive has a sensor that the model reads."""
    for sensor in sensing(preset).sensors:
        if not any(drive.has(sensor).any() for drive in drives):
            more = ", or make the drives with uniair twin" if sensor == "csi" else ""
            raise InputError(f"{folder}: no drive has {sensor} files; leave it out of --preset.modalities{more}")


def check_tasks(folder: Path, setting: Setting, preset: ForecastPreset) -> None:
    """Raises an `InputError` where the drives that are learned from can't teach what else is to be forecast."""
    if "position" in preset.tasks and not any(np.isfinite(drive.true_position).any() for drive in setting.train):
        raise InputError(f"{folder}: no drive says where the UE is; leave position out of --preset.tasks")
    if "blockage" in preset.tasks:
        try:
            require_losses({"training": setting.train, "validation": setting.validation})
        except InputError as error:
            raise InputError(f"{folder}: {error}, or leave blockage out of --preset.tasks") from error


def forecaster(folder: Path, tower: str) -> WMLM:
    """A trained forecaster; one that reads CSI gets the named tower."""
    return load_forecaster(folder, partial(uniair.load, tower))


def replayed(
    folder: Path | None, preset: ForecastPreset, config: SiteLearning, asked: Sequence[Drive] = ()
) -> Passages | None:
    """Passages of the drives of earlier sites; None where there is no folder, or none is left.

    Args:
        asked: drives that are forecast: those are no earlier ones, whatever folder they lie in, for who replays them
            has learned what is to come.

    Raises:
        InputError: no drives there, or of another codebook.
    """
    if folder is None:
        return None
    every = drives_of(folder, ())
    check_drives(folder, every, preset)
    measured = {drive.power.tobytes() for drive in asked}
    earlier = tuple(drive for drive in every if drive.power.tobytes() not in measured)
    if len(earlier) < len(every):
        print(f"{folder}: {len(every) - len(earlier)} of {len(every)} drives are forecast here, so not replayed")
    return Passages(earlier, config.length + preset.future, config.augmentation, sensing(preset)) if earlier else None


def sized(preset: ForecastPreset, size: str | None) -> ForecastPreset:
    """The preset at one of `SIZES`; as it is where none is given.

    Raises:
        InputError: no such size.
    """
    if size is None:
        return preset
    if size not in SIZES:
        raise InputError(f"--size {size!r}: choose {', '.join(SIZES)}")
    return replace(preset, width=SIZES[size])
