"""Measure a forecaster on the drives that were held out: beams of the next steps, and line of sight.

Without --drives and --model these are the packaged ones: drives of the digital twin that the packaged WMLM did not
learn from.

Example:
  uniair forecast evaluate
  uniair forecast evaluate --drives runs/drives --model runs/wmlm
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.drives import check_drives, drives_of, forecaster, packaged_or_given
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.tasks.beam_forecast import figures, forecasts, los_figures
from uniair.training.forecast_split import sensing, settings
from uniair.training.forecasting import PACKAGED, SAMPLE


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    packaged_or_given(parser)


def run(options: Any) -> dict[str, Any]:
    """Measures and prints a line per scenario."""
    folder, saved = Path(options.drives or SAMPLE), Path(options.model or PACKAGED)
    drives, model = drives_of(folder, options.scenarios), forecaster(saved, options.tower)
    past, future = model.preset.past, model.preset.future
    check_drives(folder, drives, model.preset)
    setting, report = settings(drives, sensing(model.preset))[0], ImportReport()
    if not setting.test:
        raise InputError(f"{folder}: none of its drives is held out; those whose number is a multiple of 5 are")
    setting.cut(setting.test, report)
    found: dict[str, Any] = {}
    sight: dict[str, Any] = {}
    print(f"{'':14}{'windows':>8}" + "".join(f"{f'step {h}: top-1, top-3, DBA':>28}" for h in range(1, future + 1)))
    for scenario, (windows, steps) in setting.parts["held out"].items():
        said = forecasts(model, steps, past)
        found[scenario] = figures(said, steps, past)
        if seen := los_figures(said, steps, past):
            sight[scenario] = seen
        cells = [f"{f['top1']:.3f}  {f['top3']:.3f}  {f['dba']:.3f}" for f in found[scenario].values()]
        print(f"{scenario:14}{len(windows):8,}" + "".join(f"{cell:>28}" for cell in cells))
    for scenario, seen in sight.items():
        print(f"{scenario:14}line of sight {seen['accuracy']:.1%}, macro-F1 {seen['macro_f1']:.3f} "
              f"(more frequent class {seen['majority']:.1%})")  # fmt: skip
    return {"model": str(saved), "scenarios": found, "los": sight, "windows": report.as_json()}
