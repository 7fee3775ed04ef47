"""Broken files: none may make a reader fail otherwise than in one line.

UNIAIR_FUZZ=10000 breaks each file so often instead of a hundred times or so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniair import cli
from uniair.benchmark.speed import reader_fuzz
from uniair.benchmark.speed.reader_fuzz import attack, mutated
from uniair.benchmark.speed.valid_files import READERS, Reader
from uniair.errors import InputError

pytest.importorskip("pyogrio", reason="pyogrio is missing: pip install 'uniair[rt]'")
pytest.importorskip("osmium", reason="osmium is missing: pip install 'uniair[rt]'")
COUNT = int(os.environ.get("UNIAIR_FUZZ", "120"))


@pytest.mark.parametrize("name", READERS)
def test_broken_files_are_read_or_refused_in_a_line(name: str) -> None:
    found = attack(name, 0, COUNT, seed=1)
    assert not found.faults, found.faults[:3]
    assert found.outcomes.total() == COUNT
    assert found.outcomes["refused"] > COUNT / 5


def test_mutations_are_seeded() -> None:
    data = b'{"buildings": [{"h": 3, "p": [[0, 0], [1, 1]]}]}' * 3
    first, again, other = ([mutated(data, np.random.default_rng([seed, i])) for i in range(50)] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def _write(folder: Path) -> Path:
    (folder / "file.txt").write_text("0123456789" * 5)
    return folder / "file.txt"


def _told(message: str) -> Any:
    def read(path: Path) -> None:
        if path.read_text(errors="replace") != "0123456789" * 5:
            raise InputError(message)

    return read


def _raise(path: Path) -> None:
    if path.read_text(errors="replace") != "0123456789" * 5:
        raise KeyError("insides")


def _die(path: Path) -> None:
    if path.read_text(errors="replace").startswith("0123") is False:
        os._exit(139)


def test_the_judge_knows_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "raises", Reader(_write, _raise))
    monkeypatch.setitem(READERS, "mumbles", Reader(_write, _told("x" * 5000)))
    monkeypatch.setitem(READERS, "tells", Reader(_write, _told("file.txt: broken\n\x1b[2J; copy it again")))
    raises, mumbles, tells = (attack(name, 0, 20) for name in ("raises", "mumbles", "tells"))
    assert raises.outcomes["fault"] >= 15
    assert "KeyError at the reader: 'insides'" in raises.faults[0]
    assert mumbles.outcomes["fault"] >= 15
    assert "no clear line" in mumbles.faults[0]
    assert tells.outcomes["fault"] == 0, "an InputError shows control characters as letters, on one line"


def test_the_command_counts_in_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["bench", "readers", "--readers", "positions csv", "--count", "30", "--workers", "1"]
    assert cli.main([*line, "--out", str(tmp_path / "found.json")]) == 0
    printed = capsys.readouterr().out
    assert "positions csv" in printed
    assert (tmp_path / "found.json").exists()
    assert cli.main([*line[:2], "--readers", "cheese"]) == 2
    assert "none of map geojson" in capsys.readouterr().err
    assert cli.main([*line[:2], "--budget", "huge"]) == 2
    assert "choose quick or full" in capsys.readouterr().err


def test_a_reader_that_kills_its_process_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reader_fuzz, "START", "fork")  # so that the reader below is known there
    monkeypatch.setattr(reader_fuzz, "_bound", lambda memory: None)
    monkeypatch.setitem(READERS, "positions csv", Reader(_write, _die))
    found = dict(reader_fuzz._in_processes([("positions csv", 0, 12)], 0, 1, 512, tmp_path))["positions csv"]
    assert found.outcomes.total() == 12
    assert 1 <= found.outcomes["fault"] < 12
    assert "the process died" in found.faults[0]
