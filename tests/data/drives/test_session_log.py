from __future__ import annotations

import numpy as np
import pytest

from tests.data.drives.moving import BEAMS, drive
from uniair.data.drives.session_log import SessionLog, beams_of, time_of
from uniair.errors import InputError


def test_a_session_is_a_drive_like_any_other() -> None:
    one, log = drive(), SessionLog(3, True)
    for t in range(len(one)):
        step = {"power": one.power[t], "position": one.position[t]}
        log.add({} if t == 4 else step, 0.1 * t, BEAMS, longest=20)
    made = log.drive().validate("session")
    assert (len(made), log.steps, log.first, made.scenario) == (20, 24, 4, "stream")
    np.testing.assert_allclose(made.power[1:], one.power[5:], rtol=1e-6)
    np.testing.assert_array_equal(made.beam, [-1, *one.beam[5:]])
    np.testing.assert_allclose(made.position[1:], one.position[5:], atol=1e-6)
    assert np.isnan(made.position[0]).all()
    assert log.took(10) == pytest.approx(0.1)


def test_a_measured_power_says_the_beam_and_nothing_received_says_none() -> None:
    log = SessionLog(0, False)
    for step in ({"power": np.eye(BEAMS)[5], "beam": 2}, {"power": np.zeros(BEAMS)}, {"beam": 7},
                 {"power": 1e-50 * np.eye(BEAMS)[5]}):  # fmt: skip
        log.add(step, None, BEAMS, 9)
    assert log.beam == [5, -1, 7, -1]
    log.drive().validate("session")


def test_a_gap_is_longer_than_the_steps_before() -> None:
    log = SessionLog(0, True)
    for time in (0.0, 0.1, 0.2):
        log.add({}, time, BEAMS, 9)
    assert log.goes_on(0.3)
    assert not log.goes_on(0.5)
    assert not log.goes_on(None)


@pytest.mark.parametrize(
    ("step", "line"),
    [({"power": np.full(BEAMS, np.inf)}, "finite, not dB"), ({"power": np.ones(3)}, f"give {BEAMS} linear powers"),
     ({"power": -np.ones(BEAMS)}, "not dB"), ({"beam": BEAMS}, f"beam {BEAMS}: give 0 to {BEAMS - 1}")],
)  # fmt: skip
def test_wrong_steps_are_one_clear_line(step: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        beams_of(step, BEAMS)


@pytest.mark.parametrize("time", [0.9, float("nan"), float("inf")])
def test_time_does_not_run_backwards(time: float) -> None:
    assert time_of({"time": 1.0}, 1.0) == 1.0
    assert time_of({}, 1.0) is None
    with pytest.raises(InputError, match="in their order; the one before was at 1 s"):
        time_of({"time": time}, 1.0)
