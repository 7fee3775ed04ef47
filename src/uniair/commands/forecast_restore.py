"""Fill in the powers that a receiver lost along drives, and with --ahead roll out what comes after their end.

What was made is marked as made in the drives that come out, and counted by uniair data check; whatever learns
from drives or is measured on them takes these as they were measured. Without --model the packaged forecaster makes it.

Example:
  uniair forecast restore --drives runs/drives --out runs/restored
  uniair forecast restore --drives runs/drives --model runs/wmlm --ahead 5 --out runs/restored
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.drives import FOLDER, SCENARIOS, TOWER, check_drives, drives_of, forecaster
from uniair.data.drives.drive import Drive, write_drives
from uniair.data.drives.windows import frames
from uniair.errors import InputError
from uniair.evaluation.restoration import Made, restore
from uniair.progress import track
from uniair.training.forecast_split import sensing
from uniair.training.forecasting import PACKAGED


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--drives", type=str, required=True, help=FOLDER)
    parser.add_argument("--out", type=str, required=True, help="folder for the drives with what was made")
    parser.add_argument("--model", type=str | None, default=None,
                        help="folder of uniair forecast train; the packaged one if not given")  # fmt: skip
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--scenarios", type=list[str], default=[], help=SCENARIOS)
    parser.add_argument("--ahead", type=int, default=0, help="steps after the end of each drive that are rolled out")


def run(options: Any) -> dict[str, Any]:
    """Makes what is missing, writes the drives and says what could not be made."""
    folder, out = Path(options.drives), Path(options.out)
    drives, model = drives_of(folder, options.scenarios), forecaster(Path(options.model or PACKAGED), options.tower)
    check_drives(folder, drives, model.preset)
    by_file: dict[Path, list[Drive]] = {}
    for drive in drives:
        by_file.setdefault(out / f"drives-{drive.scenario}.safetensors", []).append(drive)
    _check_out(folder, out, list(by_file))
    made, turned, sensors = Made(), frames(drives), sensing(model.preset)
    whole = {
        path: [restore(model, drive, options.ahead, turned[drive.scenario], sensors, made) for drive in some]
        for path, some in track(by_file.items(), "scenario")
    }
    if not made.restored and not made.rolled_out:
        left = made.early + made.labelled
        why = f"none of {left:,} lost steps can be restored" if left else "no step is lost"
        raise InputError(f"{folder}: {why}; there is nothing to make" + ("" if options.ahead else ", but for --ahead"))
    for path, restored in whole.items():
        write_drives(path, [drive.validate(str(path)) for drive in restored])
    print(
        f"{out}: {made.restored:,} lost steps restored, {made.rolled_out:,} steps rolled out in {len(drives):,} drives"
    )
    for count, why in ((made.early, "lost steps before the first power of a drive, or after a gap: left"),
                       (made.labelled, "lost steps whose best beam is known: left"),
                       (len(made.ended), "drives whose last part has no power: not rolled out")):  # fmt: skip
        if count:
            print(f"{count:10,} × {why}")
    return {"out": str(out), "drives": len(drives), **asdict(made)}


def _check_out(folder: Path, out: Path, files: Sequence[Path]) -> None:
    """Raises an `InputError` where the drives would be written over those that are read, or among others."""
    if out.resolve() == (folder.parent if folder.is_file() else folder).resolve():
        raise InputError(f"--out {out}: the measured drives lie there; give another folder")
    if other := sorted(set(out.glob("*.safetensors")) - set(files)):
        raise InputError(f"--out {out}: holds {other[0].name}, which this run does not write; give another folder")
