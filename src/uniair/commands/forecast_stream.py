"""Answer step by step along drives, as a forecaster at a base station does, and say how long a step takes.

Without options: the packaged WMLM on the packaged drives of the digital twin, which it did not learn from.

Example:
  uniair forecast stream
  uniair forecast stream --drives runs/drives --model runs/wmlm
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser

from uniair.commands.drives import check_drives, drives_of, forecaster, packaged_or_given
from uniair.data.drives.windows import frames, measured
from uniair.serve.stream import Stream
from uniair.training.forecast_split import sensing
from uniair.training.forecasting import PACKAGED, SAMPLE


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    packaged_or_given(parser)


def run(options: Any) -> dict[str, Any]:
    """Streams the drives one after the other and prints a line each."""
    folder = Path(options.drives or SAMPLE)
    drives, model = drives_of(folder, options.scenarios), forecaster(Path(options.model or PACKAGED), options.tower)
    check_drives(folder, drives, model.preset)
    stream, turned, sensed = Stream(model), frames(drives), sensing(model.preset)
    took: list[float] = []
    hits: list[bool] = []
    for drive in drives:
        stream.reset()
        steps = measured(drive, np.arange(len(drive)), turned[drive.scenario], sensed)
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
    print(f"{result['steps']:,} steps, next beam right {result['top1']:.1%}, {result['median_ms']:.2f} ms per step "
          f"(99 %: {result['p99_ms']:.2f})")  # fmt: skip
    return result
