from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from uniair.evaluation.loss_events import LossEvents, steps_ahead


def events(losses: list[tuple[int, int]], drives: int = 1, steps: int = 30) -> LossEvents:
    """Drives of 30 steps, all in sight but those at which it is lost."""
    drive, step = (found.ravel() for found in np.divmod(np.arange(drives * steps), steps))
    loss = np.array(losses, dtype=np.int64).reshape(-1, 2)
    ahead = np.where(loss[:, :1] == drive, loss[:, 1:] - step, -1)
    soon, seen = ((ahead >= 1) & (ahead <= 5)).any(0).astype(float), (ahead != 0).all(0)
    return LossEvents(drive[seen], step[seen], soon[seen], loss, horizon=5, lead=2, seconds=0.1)


def alarms(found: LossEvents, *at: int, drive: int = 0) -> NDArray[np.bool_]:
    return np.isin(found.step, at) & (found.drive == drive)


def test_a_warning_stands_two_steps_before_a_loss_and_not_one() -> None:
    found = events([(0, 10), (0, 20)])
    late = found.figures(alarms(found, 9, 18))
    assert (late["events"], late["warned"], late["false"]) == (2, 1, 0)
    assert (late["precision"], late["recall"]) == (1, 0.5)
    early = found.figures(alarms(found, 4, 15))  # six steps before the first one: a false alarm; five before the other
    assert (early["warned"], early["false"], early["precision"]) == (1, 1, 0.5)
    assert found.figures(alarms(found, 5, drive=1))["warned"] == 0


def test_a_run_of_alarms_is_one_false_alarm_and_one_that_stands_on_several() -> None:
    found = events([(0, 20)], drives=2)
    said = alarms(found, *range(2, 7), 11, 12, *range(15, 20))  # 15 … 19 go over into the loss
    assert found.figures(said)["false"] == 2
    two = found.figures(said | alarms(found, 0, 1, 2, drive=1))
    assert (two["false"], two["precision"]) == (3, 0.25)
    assert two["per_minute"] == pytest.approx(3 / (len(found.step) * 0.1 / 60))
    always = found.figures(np.ones(len(found.step), dtype=bool))
    assert (always["warned"], always["false"]) == (1, 3 + 2 + 6)  # 15 steps before it, 9 after, 30 of the other drive


def test_runs_of_two_drives_are_two_though_their_steps_go_on() -> None:
    found = LossEvents(np.array([0, 1]), np.array([3, 4]), np.zeros(2), np.zeros((0, 2), dtype=np.int64), 5, 2, 0.1)
    assert found.figures(np.ones(2, dtype=bool))["false"] == 2


def test_what_comes_too_soon_to_be_warned_of_is_counted_apart() -> None:
    found = events([(0, 1), (0, 20)])
    told = found.figures(alarms(found, 0, 18))
    assert (told["events"], told["sudden"], told["recall"]) == (1, 1, 1)
    nothing = events([])
    assert nothing.threshold(np.zeros(30)) is None
    assert nothing.figures(np.zeros(30, dtype=bool))["recall"] is None
    unknown = LossEvents(np.zeros(1, int), np.zeros(1, int), np.full(1, np.nan), np.zeros((0, 2), int), 5, 2, 0.1)
    assert unknown.figures(np.ones(1, dtype=bool))["false"] == 0


def test_the_threshold_weighs_losses_against_false_alarms() -> None:
    found = events([(0, 10), (0, 20)])
    score = np.where(alarms(found, 5, 15), 0.6, np.where(alarms(found, 1, 25, 27), 0.5, 0.0))
    score[alarms(found, 9)] = 0.9
    assert found.threshold(score) == 0.6
    assert found.figures(score >= 0.6) | {"per_minute": 0} == {
        "events": 2, "sudden": 0, "warned": 2, "false": 0, "precision": 1, "recall": 1, "per_minute": 0,
    }  # fmt: skip
    assert found.threshold(np.zeros(28)) == 0


def test_two_tenths_of_a_second_in_steps() -> None:
    assert [steps_ahead(one) for one in (0.1, 0.0999, 0.09, 0.2, 1.0, 0.05)] == [2, 2, 3, 1, 1, 4]
