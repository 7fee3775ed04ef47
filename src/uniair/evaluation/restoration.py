"""Powers that nobody measured, put into a drive: lost steps restored, and steps after its end rolled out.

What was made is marked as made (`RestoredDrive.made`), so that the drive as it was measured can always be had back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.data.drives.drive import RESTORED, ROLLED_OUT, USUAL_STEP, Drive, RestoredDrive
from uniair.data.drives.sensing import Sensing, measured
from uniair.data.drives.windows import segments
from uniair.errors import InputError
from uniair.models.forecast import WMLM, impute, roll_out


@dataclass
class Made:
    """What was made of some drives, and what could not be.

    Attributes:
        restored, rolled_out: steps.
        early: lost steps before the first power of a drive or after a gap, whose unit is not known.
        labelled: lost steps whose best beam is known: a power that contradicts it would be no restoration.
        ended: drives whose last part has no power to go on from.
    """

    restored: int = 0
    rolled_out: int = 0
    early: int = 0
    labelled: int = 0
    ended: list[str] = field(default_factory=list)


def restore(
    model: WMLM, drive: Drive, ahead: int, frame: NDArray[np.float64], sensing: Sensing, made: Made | None = None
) -> RestoredDrive:
    """A drive with its lost powers restored, and `ahead` more steps rolled out.

    A lost step is restored from those before it and from its own other modalities; parts between gaps in time are
    taken each by itself. Steps that are rolled out follow at the drive's usual pace, with no position, label or file.

    Args:
        model: in eval mode, of the drive's codebook.
        ahead: steps after the end; 0: none.
        frame: of the drive's scenario, see `windows.frames`; sensing: the sensors that the model reads.
        made: takes what was made, and what could not be.

    Raises:
        InputError: a negative number of steps, or a model that reads no power.
    """
    if ahead < 0:
        raise InputError(f"{ahead} steps ahead: give 0 or more")
    if "power" not in model.preset.modalities:
        raise InputError(f"a model of {', '.join(model.preset.modalities)} knows no receiver's unit of power; give one "
                         "that reads power")  # fmt: skip
    made = Made() if made is None else made
    power, beam, marks = drive.power.copy(), drive.beam.copy(), np.zeros(len(drive), dtype=np.int8)
    lost = np.asarray(~np.isfinite(power).any(1))
    later = np.zeros((0, power.shape[1]))
    for begin, end in segments(drive):
        here = np.arange(begin, end)
        known = np.flatnonzero(~lost[here])
        first = begin + int(known[0]) if len(known) else end
        asked = here[lost[here] & (here > first) & (beam[here] < 0)]
        made.early += int(lost[begin:first].sum())
        made.labelled += int((lost[first:end] & (beam[first:end] >= 0)).sum())
        steps = {name: torch.from_numpy(values)[None] for name, values in measured(drive, here, frame, sensing).items()}
        if len(asked):
            power[asked] = impute(model, steps)[0].double().numpy()[asked - begin]
            beam[asked], marks[asked] = power[asked].argmax(1), RESTORED
        if end == len(drive) and ahead and len(known):
            later = roll_out(model, steps, ahead)[0].double().numpy()
    if ahead and not len(later):
        made.ended.append(drive.name)
    made.restored += int((marks == RESTORED).sum())
    made.rolled_out += len(later)
    return _longer(drive, power, beam, marks, later)


def _longer(
    drive: Drive, power: NDArray[np.float64], beam: NDArray[np.int32], marks: NDArray[np.int8],
    later: NDArray[np.float64],
) -> RestoredDrive:  # fmt: skip
    """The drive with other powers and beams, and steps after its end."""
    count = len(later)
    took = np.diff(drive.time)
    pace = float(np.median(took)) if len(took) and np.median(took) > 0 else USUAL_STEP if drive.timed else 1.0
    unknown = np.full((count, 2), np.nan)
    own = {one.name: getattr(drive, one.name) for one in fields(Drive)} | {
        "time": np.append(drive.time, drive.time[-1] + pace * np.arange(1, count + 1)),
        "power": np.concatenate([power, later]),
        "beam": np.append(beam, later.argmax(1)).astype(np.int32),
        "bs": np.concatenate([drive.bs, np.repeat(drive.bs[-1:], count, axis=0)]),
        "ue": np.concatenate([drive.ue, unknown]),
        "los": np.append(drive.los, np.full(count, -1)).astype(np.int8),
        "files": {sensor: (*names, *("",) * count) for sensor, names in drive.files.items()},
        "true": None if drive.true is None else np.concatenate([drive.true, unknown]),
    }
    return RestoredDrive(**own, made=np.append(marks, np.full(count, ROLLED_OUT)).astype(np.int8))
