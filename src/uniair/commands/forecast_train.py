"""Train WMLM, which forecasts beams from what was sensed, on a folder of drives; under torchrun on many processes.

Drives whose number is a multiple of five are held out, the next ones validate; a run that was stopped goes on. The
drives come from uniair import deepsense, or uniair import twin.

Example:
  uniair forecast train --drives runs/drives --out runs/wmlm
  uniair forecast train --drives runs/drives --leave_out [scenario6] --size 2m --out runs/wmlm
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

import uniair
from uniair.commands.drives import (
    FOLDER,
    SCENARIOS,
    TOWER,
    check_scenarios,
    check_sensors,
    check_tasks,
    drives_of,
    sized,
)
from uniair.data.digest import data_digest
from uniair.data.drives.drive import carrier
from uniair.data.drives.passages import Augmentation
from uniair.data.drives.windows import codebook
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.forecast import SIZES, WMLM, ForecastPreset
from uniair.tasks.beam_forecast import SensorAlignment
from uniair.training.checkpoint import digest, save_model
from uniair.training.distributed import world
from uniair.training.forecast_split import FUTURE, PAST, sensing, settings
from uniair.training.forecasting import ForecastTraining, train


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--drives", type=str, required=True, help=FOLDER)
    parser.add_argument("--out", type=str, required=True, help="folder for the run")
    parser.add_argument("--scenarios", type=list[str], default=[], help=SCENARIOS)
    parser.add_argument("--leave_out", type=list[str], default=[], help="scenarios kept for zero-shot tests")
    parser.add_argument("--size", type=str | None, default=None, help=f"sets the width: {', '.join(SIZES)}")
    parser.add_argument("--tower", type=str, default="small", help=TOWER)
    parser.add_argument("--anchor", type=str, default="none",
                        help="of stage 1: a modality, or several joined by +; none: no stage 1")  # fmt: skip
    parser.add_argument("--align_steps", type=int, default=0, help="of stage 1; 0: as many as of stage 2")
    parser.add_argument("--augmentation", type=Augmentation, default=Augmentation(), help="of passages")
    # beams, past and future steps are the drives' and the split's
    parser.add_class_arguments(ForecastPreset, "preset", skip={"beams", "past", "future"}, help="shape of WMLM")
    parser.set_defaults({"preset.width": 64})
    parser.add_argument(
        "--training", type=ForecastTraining, default=ForecastTraining(), help="batch, losses, optimiser"
    )


def run(options: Any) -> dict[str, Any]:
    """Trains, saves and says what was left out."""
    folder, out = Path(options.drives), Path(options.out)
    drives = drives_of(folder, options.scenarios)
    check_scenarios(folder, drives, options.leave_out)
    kept = [drive for drive in drives if drive.scenario not in options.leave_out]
    if not kept:
        raise InputError("--leave_out leaves no scenario to train on")
    preset = replace(sized(options.preset, options.size), beams=codebook(kept), past=PAST, future=FUTURE)
    preset = replace(preset, carrier=carrier(kept, preset.carrier))
    check_sensors(folder, kept, preset)
    aligned = None if options.anchor == "none" else SensorAlignment(options.anchor, steps=options.align_steps)
    if aligned is None and options.align_steps:
        raise InputError(f"--align_steps {options.align_steps}: there is no stage 1; give an --anchor")
    if aligned is not None:
        aligned.pairs(preset.modalities)
    tower = uniair.load(options.tower) if "csi" in preset.modalities else None
    setting, report, config = settings(kept, sensing(preset), preset.ahead)[0], ImportReport(), options.training
    check_tasks(folder, setting, preset)
    setting.cut(kept, report)
    passages = setting.passages(config.length, options.augmentation)
    stage = options.anchor + (f", {options.align_steps} steps" if options.align_steps else "")
    begun = {"preset": asdict(preset), "anchor": stage, "validation": data_digest(setting.validation),
             "tower": None if tower is None else digest(tower)}  # fmt: skip
    with world() as here:
        torch.manual_seed(config.optimisation.seed)
        model: torch.nn.Module = WMLM(preset, tower)
        if aligned is not None:
            model = train(model, passages, config, here, out / "alignment", None, aligned, begun)
        model = train(model, passages, config, here, out, setting.checked(), settings=begun)
        assert isinstance(model, WMLM)
        save_model(model, out)
        if here.main:
            write_text(out / "windows.json", json.dumps(report.as_json(), indent=1) + "\n")
    for reason, count in report.left_out.items():
        print(f"{count:10,} × {reason}: {report.examples[reason][0]}")
    counts = model.parameter_counts()
    print(f"{out}: {counts['total']:,} parameters, trained on {len(setting.train)} drives")
    return {"out": str(out), "parameters": counts, "windows": report.as_json()}
