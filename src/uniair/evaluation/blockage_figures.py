"""How well losses of sight are announced: AUPRC, precision and recall at a threshold of validation drives, lead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uniair.data.drives.drive import Drive, losses
from uniair.data.drives.windows import Windows
from uniair.errors import InputError
from uniair.evaluation.loss_events import LossEvents, steps_ahead
from uniair.models.forecast import decibel
from uniair.models.sight_loss import lost_within
from uniair.tasks.beam_forecast import forecasts
from uniair.tasks.blockage_forecast import Alarm, lost_ahead

POINTS = 60  # of a precision-recall curve that is drawn
ADVICE = "give drives in which vehicles or corners block: uniair twin --sites blocked"
Score = Callable[[Mapping[str, Tensor], int], NDArray[np.floating]]  # steps heard, H → [N, H]


@dataclass(frozen=True)
class Watch:
    """Windows in which UE and BS see each other at the last heard step, and what comes of it.

    Attributes:
        windows: N of them.
        heard: arrays [N, past, ...] of their steps.
        lost: [N, H] whether sight is lost within 1 … H steps; NaN where that is not known.
    """

    windows: Windows
    heard: Mapping[str, Tensor]
    lost: NDArray[np.float32]

    @classmethod
    def of(cls, windows: Windows, steps: Mapping[str, Tensor], ahead: int) -> Watch:
        """Those of the windows that are in sight.

        Args:
            steps: [N, past + …, ...] of the windows, as measured; ahead: H.
        """
        lost = lost_ahead(steps["sight"], windows.past, ahead)
        here = torch.isfinite(lost).any(1)
        heard = {name: values[here, : windows.past] for name, values in steps.items() if name != "place"}
        return cls(windows.select(here.numpy()), heard, lost[here].numpy())

    def counts(self, horizons: Sequence[int]) -> dict[str, list[int]]:
        """Windows in which sight is lost within each horizon, and those of which that is known."""
        known = np.isfinite(self.lost)
        return {str(h): [int((self.lost[:, h - 1] == 1).sum()), int(known[:, h - 1].sum())] for h in horizons}

    def require_both(self, horizons: Sequence[int], about: str) -> None:
        """Raises an `InputError` where sight is lost within a horizon in no window, or in all."""
        for horizon, (lost, known) in self.counts(horizons).items():
            if not 0 < lost < known:
                raise InputError(
                    f"{about}: within {horizon} steps sight is lost in {lost:,} of {known:,} windows that begin in it; "
                    f"{'there is nothing to find' if not lost else 'nothing to tell it from'}: {ADVICE}"
                )

    def alarms(self, score: NDArray[np.floating], horizons: Sequence[int]) -> dict[int, Alarm]:
        """The threshold of each horizon that these windows, of validation drives, choose."""
        return {h: Alarm.chosen(*self._known(score, h)) for h in horizons}

    def figures(self, score: NDArray[np.floating], alarms: Mapping[int, Alarm]) -> dict[str, Any]:
        """Figures of each horizon (`Alarm.figures`); `events`, of which `announced` is the share of those that the
        farthest horizon's alarm announced and did not take back, `lead` steps before on average; `curve` of that.

        Args:
            score: [N, H], higher where a loss is likelier.
        """
        from sklearn.metrics import precision_recall_curve

        out: dict[str, Any] = {str(h): alarm.figures(*self._known(score, h)) for h, alarm in alarms.items()}
        farthest = max(alarms)
        leads: list[int] = []
        for number in np.unique(self.windows.drive):
            here = self.windows.drive == number
            last = self.windows.start[here] + self.windows.past - 1
            los = self.windows.drives[number].los
            events = 1 + np.flatnonzero((los[:-1] == 1) & (los[1:] == 0))
            asked = events[np.isin(events - 1, last)]
            leads += alarms[farthest].leads(score[here, farthest - 1], last, asked)
        told = [min(lead, farthest) for lead in leads if lead]
        precision, recall, _ = precision_recall_curve(*self._known(score, farthest)[::-1])
        some = np.linspace(0, len(recall) - 1, min(POINTS, len(recall))).astype(int)
        return out | {
            "events": len(leads), "announced": len(told) / len(leads) if leads else None,
            "lead": float(np.mean(told)) if told else None,
            "curve": {"recall": recall[some].tolist(), "precision": precision[some].tolist()},
        }  # fmt: skip

    def events(self, horizon: int, seconds: float) -> LossEvents:
        """The losses of sight in the drives, and what a warning within a horizon is told by.

        Args:
            seconds: of a step.
        """
        here, step = self.windows.drive, self.windows.start + self.windows.past - 1
        loss = [
            (number, 1 + at)
            for number, drive in enumerate(self.windows.drives)
            for at in np.flatnonzero((drive.los[:-1] == 1) & (drive.los[1:] == 0))
        ]
        return LossEvents(
            here, step, self.lost[:, horizon - 1], np.array(loss, dtype=np.int64).reshape(-1, 2), horizon,
            steps_ahead(seconds), seconds,
        )  # fmt: skip

    def _known(self, score: NDArray[np.floating], horizon: int) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        known = np.isfinite(self.lost[:, horizon - 1])
        return score[known, horizon - 1], self.lost[known, horizon - 1] == 1


def require_losses(drives: Mapping[str, Sequence[Drive]]) -> None:
    """Raises an `InputError` where some drives, named by what they are for, never lose sight, and says the counts."""
    counts = {name: sum(losses(drive.los) for drive in some) for name, some in drives.items()}
    if not all(counts.values()):
        said = ", ".join(f"{count} times in the {name} drives" for name, count in counts.items())
        raise InputError(f"sight is lost {said}; each needs one at least: {ADVICE}")


def always(heard: Mapping[str, Tensor], ahead: int) -> NDArray[np.floating]:
    """The same score for every window: what knowing nothing is worth."""
    return np.zeros((len(heard["sight"]), ahead))


def blocked_lately(heard: Mapping[str, Tensor], ahead: int) -> NDArray[np.floating]:
    """Persistence: what was blocked a moment ago will be again; 1 / steps since then, 0 where it was not."""
    blocked = (heard["sight"] == 0).numpy()[:, ::-1]
    since = np.where(blocked.any(1), blocked.argmax(1), np.inf)
    return np.repeat((1 / since)[:, None], ahead, axis=1)


def power_drop(heard: Mapping[str, Tensor], ahead: int) -> NDArray[np.floating]:
    """By how much the best beam's power has fallen from its highest in the past, dB; 0 where it was not measured."""
    best = decibel(heard["power"]).amax(-1)
    highest = best.nan_to_num(-torch.inf).amax(1)
    drop = (highest - best[:, -1]).nan_to_num(0.0, posinf=0.0, neginf=0.0).double().numpy()
    return np.repeat(drop[:, None], ahead, axis=1)


def learned(model: nn.Module) -> Score:
    """P(sight lost within 1 … H steps) by a model with hazards."""

    def score(heard: Mapping[str, Tensor], ahead: int) -> NDArray[np.floating]:
        hazard = forecasts(model, heard, heard["beam"].shape[1]).hazard
        if hazard is None or hazard.shape[1] < ahead:
            raise InputError(f"the model forecasts no loss of sight {ahead} steps ahead; train it with that task")
        return np.asarray(lost_within(hazard)[:, :ahead].double().numpy())

    return score
