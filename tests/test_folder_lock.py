"""Two runs into one folder: the second is refused in a line; a killed one leaves nothing that blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from uniair import cli
from uniair.errors import InputError
from uniair.folder_lock import alone_in

HOLD = """
import sys, time
from uniair.folder_lock import alone_in
with alone_in(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def held_elsewhere(folder: Path) -> subprocess.Popen[str]:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_the_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with alone_in(folder):
        assert not folder.exists(), "nothing is in it before the run begins"
        with pytest.raises(InputError, match="another run is writing there"), alone_in(folder):
            pass
        with alone_in(tmp_path / "deep" / "other"):
            pass
    with alone_in(folder):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    other = held_elsewhere(tmp_path / "run")
    with pytest.raises(InputError, match="another run"), alone_in(tmp_path / "run"):
        pass
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert (tmp_path / ".run.lock").exists()
    with alone_in(tmp_path / "run"):
        pass
    assert not list(tmp_path.iterdir())


def test_what_others_put_into_the_folder_above_stays(tmp_path: Path) -> None:
    with alone_in(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a").mkdir()
    assert (tmp_path / "runs" / "a").is_dir()


def test_a_folder_above_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with alone_in(volume):
        assert [path.name for path in volume.iterdir()] == [".volume.lock"]
    assert not list(volume.iterdir())


def test_of_several_processes_of_one_run_the_first_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone_in(tmp_path / "run"):
        monkeypatch.setenv("RANK", "1")
        with alone_in(tmp_path / "run"):
            pass


LINES = {
    "trace": ["procedural:7"], "site": ["example"], "import": ["deepmimo", "nowhere"], "twin": [],
    "pretrain": ["--train", "a", "--validation", "b"], "adapt": ["links"], "forecast train": ["--drives", "drives"],
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_commands_that_write_a_folder_hold_it(name: str, tmp_path: Path, capsys: Any) -> None:
    with alone_in(tmp_path / "run"):
        assert cli.main([*name.split(), *LINES[name], "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert said == f"uniair {name}: {tmp_path / 'run'}: another run is writing there; wait until it has ended, " + (
        "or give another folder"
    )
    assert not list(tmp_path.iterdir())
