"""Measure a forecaster on the drives that were held out: beams of the next steps, line of sight, and what else it
forecasts: positions, and losses of sight before they happen.

Without --drives and --model these are the packaged ones: drives of the digital twin that the packaged WMLM did not
learn from.

Example:
  uniair forecast evaluate
  uniair forecast evaluate --drives runs/drives --model runs/wmlm
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser

from uniair.commands.drives import check_drives, drives_of, forecaster, packaged_or_given
from uniair.data.drives.drive import USUAL_STEP, step_time
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.evaluation.blockage_figures import Watch, learned, require_losses
from uniair.evaluation.loss_events import TIMELY
from uniair.models.forecast import WMLM
from uniair.tasks.beam_forecast import figures, forecasts, los_figures
from uniair.tasks.position_forecast import figures as position_figures
from uniair.training.forecast_split import Setting, sensing, settings
from uniair.training.forecasting import PACKAGED, SAMPLE, tensors

COLUMNS = ("top1", "top3", "dba")


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    packaged_or_given(parser)


def run(options: Any) -> dict[str, Any]:
    """Measures and prints a line per scenario."""
    folder, saved = Path(options.drives or SAMPLE), Path(options.model or PACKAGED)
    drives, model = drives_of(folder, options.scenarios), forecaster(saved, options.tower)
    past, future = model.preset.past, model.preset.future
    check_drives(folder, drives, model.preset)
    setting, report = settings(drives, sensing(model.preset), model.preset.ahead)[0], ImportReport()
    if not setting.test:
        raise InputError(f"{folder}: none of its drives is held out; those whose number is a multiple of 5 are")
    setting.cut(setting.test, report)
    found: dict[str, Any] = {}
    sight: dict[str, Any] = {}
    places: dict[str, Any] = {}
    print(f"{'':14}{'windows':>8}" + "".join(f"{f'step {h}: top-1, top-3, DBA':>28}" for h in range(1, future + 1)))
    for scenario, (windows, steps) in setting.parts["held out"].items():
        said = forecasts(model, steps, past)
        found[scenario] = figures(said, steps, past)
        if seen := los_figures(said, steps, past):
            sight[scenario] = seen
        if said.position is not None and (near := position_figures(said.position, steps["place"][:, past:])):
            places[scenario] = near
        print(_line(scenario, len(windows), list(found[scenario].values())))
    if len(found) > 1:
        every = [list(one.values()) for one in found.values()]
        means = [{name: float(np.mean([one[h][name] for one in every])) for name in COLUMNS} for h in range(future)]
        print(_line("mean of them", sum(len(windows) for windows, _ in setting.parts["held out"].values()), means))
    for scenario, seen in sight.items():
        print(f"{scenario:14}line of sight {seen['accuracy']:.1%}, macro-F1 {seen['macro_f1']:.3f} "
              f"(more frequent class {seen['majority']:.1%})")  # fmt: skip
    for scenario, near in places.items():
        print(f"{scenario:14}position {near['ade']:.2f} m off on average, {near['fde']:.2f} m at step {future}")
    result = {"model": str(saved), "scenarios": found, "los": sight, "windows": report.as_json()}
    if "position" in model.preset.tasks:
        result["position"] = places
    if "blockage" in model.preset.tasks:
        result["blockage"] = _announced(model, setting)
    return result


def _line(name: str, windows: int, by_step: list[dict[str, float]]) -> str:
    cells = ["  ".join(f"{step[column]:.3f}" for column in COLUMNS) for step in by_step]
    return f"{name:14}{windows:8,}" + "".join(f"{cell:>28}" for cell in cells)


def _announced(model: WMLM, setting: Setting) -> dict[str, Any]:
    """Figures of losses of sight within the farthest horizon; why there are none where they can't be told."""
    ahead, score = model.preset.warning, learned(model)
    try:
        require_losses({"validation": setting.validation, "held-out": setting.test})
        windows = setting.cut(setting.test)
        watches = {"validation": Watch.of(*setting.validating, ahead),
                   "held-out": Watch.of(windows, tensors(windows.steps(sensing=setting.sensing)), ahead)}  # fmt: skip
        for name, watch in watches.items():
            watch.require_both((ahead,), f"{name} drives")
    except InputError as error:
        print(f"{'blockage':14}not measured: {error}")
        return {"not_measured": str(error)}
    checked, watch = watches.values()
    known, asked = score(checked.heard, ahead), score(watch.heard, ahead)
    found = watch.figures(asked, checked.alarms(known, (ahead,)))
    near = found[str(ahead)]
    lead = f", {found['lead']:.1f} steps before on average" if found["lead"] else ""
    print(f"{'blockage':14}within {ahead} steps: AUPRC {near['auprc']:.3f} (guessing {near['base_rate']:.3f}), "
          f"precision {near['precision']:.2f}, recall {near['recall']:.2f}; {found['announced'] or 0:.0%} of "
          f"{found['events']} losses announced{lead}")  # fmt: skip
    seconds = step_time([*setting.test, *setting.validation]) or USUAL_STEP
    threshold = checked.events(ahead, seconds).threshold(known[:, ahead - 1])
    if threshold is not None:
        warned = watch.events(ahead, seconds).figures(asked[:, ahead - 1] >= threshold)
        print(f"{'blockage':14}{warned['warned']} of {warned['events']} losses warned of {1e3 * TIMELY:.0f} ms ahead, "
              f"{warned['sudden']} too sudden for it; {warned['false']} false alarms, {warned['per_minute']:.2f} per "
              "minute")  # fmt: skip
        found |= {"warned": warned}
    return found
