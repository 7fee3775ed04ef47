"""Which drives a forecaster learns from, is watched on and is tested on: whole drives, and sites left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from uniair.data import splits
from uniair.data.drives.drive import SENSORS, Drive
from uniair.data.drives.passages import Augmentation, Passages
from uniair.data.drives.sensing import Sensing
from uniair.data.drives.windows import Frames, Windows, cut, frames
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.models.forecast import ForecastPreset
from uniair.training.forecasting import tensors, validation

PAST = 5
FUTURE = 3
SITES = ("sites-a-v1", "sites-b-v1", "sites-c-v1", "sites-d-v1")


@dataclass(frozen=True)
class Setting:
    """What is trained on and what is tested on.

    Attributes:
        name: `S7`: seven scenarios; `S4 → 1, 2, 5`: four, and the numbers of those left out.
        train, validation, test: drives of the training scenarios.
        unseen: all drives of the others, none in the first setting.
        frames: of the scenarios, from all their drives.
        sensing: which sensors are read.
        future: later steps of windows and passages.
    """

    name: str
    train: tuple[Drive, ...]
    validation: tuple[Drive, ...]
    test: tuple[Drive, ...]
    unseen: tuple[Drive, ...]
    frames: Frames
    sensing: Sensing = Sensing()
    future: int = FUTURE

    @cached_property
    def power(self) -> Tensor:
        """Powers of all training steps, [S, B]."""
        return torch.from_numpy(np.concatenate([drive.power for drive in self.train])).float()

    def checked(self, only: str = "") -> Callable[[nn.Module], float]:
        """Loss on the validation drives, see `validation`."""
        return validation(*self.validating, only)

    @cached_property
    def validating(self) -> tuple[Windows, dict[str, Tensor]]:
        """Windows of the validation drives and their steps.

        Raises:
            InputError: there are none.
        """
        if not self.validation:
            raise InputError(f"{self.name}: no drive validates; those whose number is one over a multiple of five do: "
                             "give more drives")  # fmt: skip
        windows = self.cut(self.validation)
        return windows, tensors(windows.steps(sensing=self.sensing))

    @cached_property
    def parts(self) -> dict[str, dict[str, tuple[Windows, dict[str, Tensor]]]]:
        """`held out` and `unseen` → scenario → windows and their steps; scenarios without a window are left out."""
        out: dict[str, dict[str, tuple[Windows, dict[str, Tensor]]]] = {}
        for part, drives in (("held out", self.test), ("unseen", self.unseen)):
            if not drives:
                continue
            every = self.cut(drives)
            for scenario in dict.fromkeys(every.scenario.tolist()):
                windows = every.select(every.scenario == scenario)
                out.setdefault(part, {})[scenario] = windows, tensors(windows.steps(sensing=self.sensing))
        return out

    def cut(self, drives: Sequence[Drive], report: ImportReport | None = None) -> Windows:
        """Windows of some of the drives."""
        return cut(drives, PAST, self.future, report, self.frames)

    def passages(self, length: int, augmentation: Augmentation) -> Passages:
        """Passages of the training drives with so many steps that are heard."""
        return Passages(self.train, length + self.future, augmentation, self.sensing, self.frames)


def sensing(preset: ForecastPreset) -> Sensing:
    """The sensors that a forecaster reads, in its shapes."""
    return Sensing(tuple(s for s in SENSORS if s in preset.modalities), preset.image, cube=preset.cube)


def settings(drives: Sequence[Drive], sensing: Sensing = Sensing(), future: int = FUTURE) -> list[Setting]:
    """All scenarios, then all but one site, site after site; windows with so many later steps.

    DeepSense's sites and drives are divided as in the packaged splits. Of other drives a scenario is a site, and those
    whose number is a multiple of five are tested on; the next ones validate.
    """
    named = {drive: side for side, units in splits.load("drives-v1").sides.items() for drive in units}
    sides: dict[str, list[Drive]] = {"train": [], "validation": [], "test": []}
    for drive in drives:
        number = int(re.sub(r"\D", "", drive.name.split("/")[1]) or 0)
        sides[named.get(drive.name) or ("test", "validation", "train", "train", "train")[number % 5]].append(drive)
    scenarios, turned = list(dict.fromkeys(drive.scenario for drive in drives)), frames(drives)
    sites = [set(splits.load(name).sides["test"]) for name in SITES]
    if not set(scenarios) <= set().union(*sites):
        sites = [{scenario} for scenario in scenarios]
    gone_at_once = [site & set(scenarios) for site in sites]
    left_out = [set[str](), *(gone for gone in gone_at_once if 0 < len(gone) < len(scenarios))]
    out = []
    for gone in left_out:
        kept = {s: tuple(d for d in found if d.scenario not in gone) for s, found in sides.items()}
        label = ", ".join(scenario.removeprefix("scenario") for scenario in scenarios if scenario in gone)
        name = f"S{len(scenarios) - len(gone)}" + (f" → {label}" if gone else "")
        unseen = tuple(d for d in drives if d.scenario in gone)
        out.append(Setting(name, **kept, unseen=unseen, frames=turned, sensing=sensing, future=future))
    return out
