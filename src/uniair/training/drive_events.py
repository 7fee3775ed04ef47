"""Drives as a base station gets them: step by step, one session after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from uniair.data.drives.drive import Drive
from uniair.data.drives.sensing import measured
from uniair.data.drives.windows import frames
from uniair.models.forecast import ForecastPreset
from uniair.training.forecast_split import sensing
from uniair.training.learning_stream import Event


def steps_of(drive: Drive, drives: Sequence[Drive], preset: ForecastPreset) -> Iterator[dict[str, Any]]:
    """What a forecaster is given of a drive, step by step.

    Args:
        drives: of the same streets, whose frames are found from them all.
    """
    steps = measured(drive, np.arange(len(drive)), frames(drives)[drive.scenario], sensing(preset))
    for t in range(len(drive)):
        step: dict[str, Any] = {name: values[t] for name, values in steps.items()
                                if name in (*preset.modalities, "power", "beam")}  # fmt: skip
        if "position" in step:
            step["position"] = step["position"][:2]
        yield step


def events_of(drives: Sequence[Drive], preset: ForecastPreset) -> Iterator[Event]:
    """The drives as sessions, one after the other."""
    for drive in drives:
        for t, step in enumerate(steps_of(drive, drives, preset)):
            yield drive.name, step | {"time": float(drive.time[t])}
        yield drive.name, None
