"""Folders are one run's at a time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from uniair.errors import InputError
from uniair.files import only_run


def try_to_run(folder: Path) -> str:
    try:
        with only_run(folder):
            return "ran"
    except InputError as error:
        return str(error)


def test_two_runs_into_one_folder_lock_each_other_out(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "links"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with only_run(folder):
            assert "another run writes into it; wait for it" in pool.apply(try_to_run, (folder,))
        assert pool.apply(try_to_run, (folder,)) == "ran"
    with pytest.raises(KeyError), only_run(folder):
        raise KeyError
    with only_run(folder):
        pass
    assert not list((tmp_path / "runs").iterdir())
