from __future__ import annotations

import sys
import time

import pytest
import tqdm.std

from uniair import progress
from uniair.progress import bar, track


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_every_half_minute(seconds: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with bar(4010, "step", "pretraining", 1000) as shown:
        for _ in range(100):
            seconds[0] += 1
            shown.update(20)
            shown.set_description("pretraining")
    assert capsys.readouterr().err.splitlines() == [
        "pretraining: 1600 of 4010 steps, 20.00step/s, 02:00 left",
        "pretraining: 2200 of 4010 steps, 20.00step/s, 01:30 left",
        "pretraining: 2800 of 4010 steps, 20.00step/s, 01:00 left",
    ]


def test_slow_and_endless_work(seconds: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(iter(range(2)), "area"):
        seconds[0] += 45
    assert capsys.readouterr().err.splitlines() == ["1area [00:45, 45.00s/area]", "2area [01:30, 45.00s/area]"]
    for _ in track([1, 2], "area", show=False):
        seconds[0] += 45
    assert not capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for _ in (shown := track([1, 2], "head", "heads")):
        shown.refresh()
    assert "heads:   0%" in capsys.readouterr().err


def test_a_long_step_says_something_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    monkeypatch.setattr(progress, "BEAT", 0.01)
    with bar(
        10, "second", "tracing", form="{desc:20}{percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left"
    ) as shown:
        shown.update(5)
        time.sleep(0.3)  # one step, in which nothing is counted
        said = capsys.readouterr().err.splitlines()
    assert len(said) >= 3
    assert set(said) == {"tracing: 50%, 00:00 gone, 00:00 left"}
