from __future__ import annotations

import sys

import pytest

from uniair import progress
from uniair.progress import Progress, track


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_every_half_minute(seconds: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(400, "step", "pretraining", done=100) as bar:
        for _ in range(90):
            seconds[0] += 1
            bar.update(2)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "pretraining: 160 of 400 steps, 2 steps/s, 02:00 left",
        "pretraining: 220 of 400 steps, 2 steps/s, 01:30 left",
        "pretraining: 280 of 400 steps, 2 steps/s, 01:00 left",
    ]


def test_slow_and_endless_work(seconds: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(iter(range(2)), "area"):
        seconds[0] += 45
    assert capsys.readouterr().err.splitlines() == ["1 areas, 45 s/area", "2 areas, 45 s/area"]
    for _ in track([1, 2], "area", show=False):
        seconds[0] += 45
    assert not capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = Progress(3, "step", "heads")
    bar.bar.delay = 0
    bar.update()
    bar.describe("more")
    bar.bar.refresh()
    bar.bar.close()
    assert "more:  33%" in capsys.readouterr().err
