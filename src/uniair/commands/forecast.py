"""Forecast beams on drives that were measured or simulated. WHAT is one of:

  train       train WMLM on a folder of drives (--drives), into --out; under torchrun on many processes
  evaluate    measure a trained model (--model) on the held-out drives
  adapt       a trained model (--model) to the drives of a new site: head, LoRA or all of it, earlier sites replayed
  compare     WMLM, persistence, nearest positions, a GRU and a reprogrammed language model: tables, Fig. 4d and 4e
  stream      answer step by step along the drives, and say how long a step takes

The drives come from uniair import deepsense, or uniair import twin. Without --drives and --model, evaluate
and stream take the packaged ones: drives of the digital twin that the packaged WMLM did not learn from.

Example:
  uniair forecast stream
  uniair forecast train --drives runs/drives --out runs/wmlm
  uniair forecast evaluate --drives runs/drives --model runs/wmlm
  uniair forecast adapt --drives runs/new --earlier runs/drives --model runs/wmlm --out runs/adapted
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser

from uniair.benchmark.forecast_comparison import Comparison, tables
from uniair.data.drives.drive import Drive
from uniair.data.drives.windows import Augmentation, Sensing, codebook, frames, measured, read_folder
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.forecast import SIZES, WMLM, ForecastPreset
from uniair.serve.stream import Stream
from uniair.tasks.beam_forecast import SensorAlignment, figures, forecasts, los_figures
from uniair.training.checkpoint import save_model
from uniair.training.distributed import world
from uniair.training.forecast_adaptation import OnSite, adapt_on_site
from uniair.training.forecast_split import FUTURE, PAST, settings
from uniair.training.forecasting import PACKAGED, SAMPLE, ForecastTraining, load_forecaster, train

SENSORS = ("camera", "lidar", "radar")


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("what", choices=[*ACTIONS], help="what to do")
    parser.add_argument("--drives", type=str, default=None, help="folder of drives: uniair import deepsense")
    parser.add_argument("--out", type=str, default=None, help="train, compare: folder for the run")
    parser.add_argument("--model", type=str, default=None, help="evaluate, stream: folder of uniair forecast train")
    parser.add_argument("--scenarios", type=list[str], default=[], help="use these alone, e.g. scenario1")
    parser.add_argument("--leave_out", type=list[str], default=[], help="train: scenarios kept for zero-shot tests")
    parser.add_argument("--size", type=str | None, default=None, help=f"sets the width: {', '.join(SIZES)}")
    parser.add_argument("--anchor", type=str, default="none", help="train: stage 1 with beam, vision or joint; or none")
    parser.add_argument("--augmentation", type=Augmentation, default=Augmentation(), help="train: of passages")
    parser.add_argument("--preset", type=ForecastPreset, default=ForecastPreset(width=64), help="shape of WMLM")
    parser.add_argument(
        "--training", type=ForecastTraining, default=ForecastTraining(), help="batch, losses, optimiser"
    )
    parser.add_argument("--adaptation", type=OnSite, default=OnSite(), help="adapt: what learns, how long, from what")
    parser.add_argument("--earlier", type=str | None, default=None, help="adapt: drives of earlier sites, for replay")
    parser.add_argument("--budget", type=str, default="quick", help="compare: quick or full")
    parser.add_argument("--seeds", type=int, default=3, help="compare: of weights and batches")
    parser.add_argument("--ablations", action="store_true", help="compare: WMLM without each of its parts too")
    parser.add_argument("--methods", type=list[str], default=[], help="compare: these alone")
    parser.add_argument("--language", type=str | None, default=None,
                        help="compare: backbone of the reprogrammed LM, e.g. smollm2-135m")  # fmt: skip
    parser.add_argument("--layers", type=int, default=6, help="compare: first layers of that backbone that are used")


def run(options: Any) -> dict[str, Any]:
    """Does what was asked."""
    if options.drives is None and options.what not in ("evaluate", "stream"):
        raise InputError("give --drives, a folder of drives; make one: uniair import deepsense DEEPSENSE --out FOLDER")
    options.drives = options.drives or str(SAMPLE)
    options.model = options.model or str(PACKAGED)
    drives = read_folder(Path(options.drives))
    if odd := set(options.scenarios + options.leave_out) - {drive.scenario for drive in drives}:
        raise InputError(f"{options.drives}: no {min(odd)}; it has {', '.join({d.scenario: 0 for d in drives})}")
    if options.scenarios:
        drives = [drive for drive in drives if drive.scenario in options.scenarios]
    return ACTIONS[options.what](options, drives)


def _train(options: Any, drives: list[Drive]) -> dict[str, Any]:
    out = _needed(options.out, "--out, a folder for the run")
    kept = [drive for drive in drives if drive.scenario not in options.leave_out]
    if not kept:
        raise InputError("--leave_out leaves no scenario to train on")
    preset = replace(_preset(options), beams=codebook(kept), past=PAST, future=FUTURE)
    setting, report, config = settings(kept, _sensing(preset))[0], ImportReport(), options.training
    setting.cut(kept, report)
    passages = setting.passages(config.length, options.augmentation)
    with world() as here:
        torch.manual_seed(config.optimisation.seed)
        model: torch.nn.Module = WMLM(preset)
        if options.anchor != "none":
            model = train(model, passages, config, here, out / "alignment", None, SensorAlignment(options.anchor))
        model = train(model, passages, config, here, out, setting.checked)
        assert isinstance(model, WMLM)
        save_model(model, out)
        if here.main:
            write_text(out / "windows.json", json.dumps(report.as_json(), indent=1) + "\n")
    for reason, count in report.left_out.items():
        print(f"{count:10,} × {reason}: {report.examples[reason][0]}")
    counts = model.parameter_counts()
    print(f"{out}: {counts['total']:,} parameters, trained on {len(setting.train)} drives")
    return {"out": str(out), "parameters": counts, "windows": report.as_json()}


def _evaluate(options: Any, drives: list[Drive]) -> dict[str, Any]:
    model = load_forecaster(Path(options.model))
    preset = model.preset
    if codebook(drives) != preset.beams:
        raise InputError(
            f"{options.drives}: {codebook(drives)} beams for a model of {preset.beams}; train one for them"
        )
    setting, report = settings(drives, _sensing(preset))[0], ImportReport()
    if not setting.test:
        raise InputError(f"{options.drives}: none of its drives is held out; those whose number is a multiple of 5 are")
    setting.cut(setting.test, report)
    found: dict[str, Any] = {}
    sight: dict[str, Any] = {}
    print(
        f"{'':14}{'windows':>8}" + "".join(f"{f'step {h}: top-1, top-3, DBA':>28}" for h in range(1, preset.future + 1))
    )
    for scenario, (windows, steps) in setting.parts["held out"].items():
        said = forecasts(model, steps, preset.past)
        found[scenario] = figures(said, steps, preset.past)
        if seen := los_figures(said, steps, preset.past):
            sight[scenario] = seen
        cells = [f"{f['top1']:.3f}  {f['top3']:.3f}  {f['dba']:.3f}" for f in found[scenario].values()]
        print(f"{scenario:14}{len(windows):8,}" + "".join(f"{cell:>28}" for cell in cells))
    for scenario, seen in sight.items():
        print(f"{scenario:14}line of sight {seen['accuracy']:.1%}, macro-F1 {seen['macro_f1']:.3f} "
              f"(more frequent class {seen['majority']:.1%})")  # fmt: skip
    return {"model": options.model, "scenarios": found, "los": sight, "windows": report.as_json()}


def _adapt(options: Any, drives: list[Drive]) -> dict[str, Any]:
    out, model, config = (
        _needed(options.out, "--out, a folder"),
        load_forecaster(Path(options.model)),
        options.adaptation,
    )
    earlier = read_folder(Path(options.earlier)) if options.earlier else []
    for where, found in ((options.drives, drives), (options.earlier, earlier)):
        if found and codebook(found) != model.preset.beams:
            raise InputError(
                f"{where}: {codebook(found)} beams for a model of {model.preset.beams}; train one for them"
            )
    site = settings(drives, _sensing(model.preset))[0]
    old = settings(earlier, _sensing(model.preset))[0].passages(config.length, config.augmentation) if earlier else None
    began = time.perf_counter()
    with world() as here:
        adapted, tuned = adapt_on_site(model, site.passages(config.length, config.augmentation), config, old, here)
        save_model(adapted, out)
        if not here.main:
            return {}
    seconds = time.perf_counter() - began
    by_state = {name: {scenario: figures(forecasts(one, steps, one.preset.past), steps, one.preset.past)
                       for scenario, (_, steps) in site.parts.get("held out", {}).items()}
                for name, one in (("before", model), ("after", adapted))}  # fmt: skip
    for scenario, horizons in by_state["before"].items():
        after = by_state["after"][scenario]
        gained = ", ".join(f"{f['top1']:.3f} → {after[h]['top1']:.3f}" for h, f in horizons.items())
        print(f"{scenario:14}top-1 of held-out drives by step: {gained}")
    print(f"{out}: {tuned:,} parameters of {config.part} tuned in {seconds:.0f} s")
    return {"out": str(out), "part": config.part, "tuned": tuned, "seconds": seconds, **by_state}


def _compare(options: Any, drives: list[Drive]) -> dict[str, Any]:
    language = None
    if options.language is not None:
        from uniair.models.backbone import load_backbone

        language = load_backbone(options.language).model
        language.config.num_hidden_layers = min(options.layers, language.config.num_hidden_layers)
    comparison = Comparison(
        tuple(drives), Path(_needed(options.out, "--out, a folder for the runs")), options.budget, options.seeds,
        _preset(options), options.training, language=language, ablations=options.ablations,
    )  # fmt: skip
    result = comparison.run(options.methods)
    for heading, table in tables(result):
        print(f"\n{heading}\n{table.text()}")
    print(f"\n{comparison.out}/result.json, fig4d.svg and fig4e.svg")
    return result


def _stream(options: Any, drives: list[Drive]) -> dict[str, Any]:
    model = load_forecaster(Path(options.model))
    stream, found, sensing = Stream(model), frames(drives), _sensing(model.preset)
    took: list[float] = []
    hits: list[bool] = []
    for drive in drives:
        stream.reset()
        steps = measured(drive, np.arange(len(drive)), found[drive.scenario], sensing)
        for t in range(len(drive)):
            step: dict[str, Any] = {name: values[t] for name, values in steps.items()
                                    if name in (*model.preset.modalities, "power", "beam")}  # fmt: skip
            if "position" in step:
                step["position"] = step["position"][:2]
            began = time.perf_counter()
            answer = stream.push(step)
            took.append(1e3 * (time.perf_counter() - began))
            if t + 1 < len(drive) and drive.beam[t + 1] >= 0:
                hits.append(bool(answer.beams[0] == drive.beam[t + 1]))
        print(f"{drive.name}  {len(drive)} steps, next beams after the last: {answer.beams.tolist()}")
    result = {"steps": len(took), "top1": float(np.mean(hits)), "median_ms": float(np.median(took)),
              "p99_ms": float(np.quantile(took, 0.99))}  # fmt: skip
    print(f"{result['steps']:,} steps, next beam right {result['top1']:.1%}, {result['median_ms']:.2f} ms a step "
          f"(99 %: {result['p99_ms']:.2f})")  # fmt: skip
    return result


def _preset(options: Any) -> ForecastPreset:
    preset: ForecastPreset = options.preset
    if options.size is None:
        return preset
    if options.size not in SIZES:
        raise InputError(f"--size {options.size!r}: choose {', '.join(SIZES)}")
    return replace(preset, width=SIZES[options.size])


def _sensing(preset: ForecastPreset) -> Sensing:
    return Sensing(tuple(s for s in SENSORS if s in preset.modalities), preset.image, cube=preset.cube)


def _needed(value: str | None, what: str) -> Path:
    if value is None:
        raise InputError(f"give {what}")
    return Path(value)


ACTIONS = {"train": _train, "evaluate": _evaluate, "adapt": _adapt, "compare": _compare, "stream": _stream}
