"""Public data sets brought into shards, as a user does."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.drives.deepsense.make import make_gathered
from tests.data.links.deepmimo.make import make_v3, make_v4
from tests.data.links.wair_d.make import make
from uniair.cli import main
from uniair.data import importing
from uniair.data.drives.drive import read_drives
from uniair.data.import_report import ImportReport
from uniair.data.importing import import_data
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import AreaBatches
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.radio import UPA, Radio


def test_the_command_and_the_function_do_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_v3(tmp_path / "scenario")
    arguments = [str(tmp_path / "scenario"), "--bearing", "90", "--out", str(tmp_path / "a"), "--json"]
    assert main(["import", "deepmimo", *arguments]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    manifest = import_data("deepmimo", tmp_path / "scenario", tmp_path / "b", bearing=np.deg2rad(90.0))
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
    assert said["found"] == manifest["account"]["found"]
    assert said["found"]["links"] == manifest["links"] == shards.read(tmp_path / "a").paths.counts.size
    assert said["left_out"]["links without a path"] > 0
    assert "CC BY-NC-SA" in manifest["attribution"]


def test_the_radio_that_the_user_says_is_in_shards_manifest_and_recipe(tmp_path: Path) -> None:
    make_v3(tmp_path / "scenario", carrier_freq=3.5e9)
    said = {"array": {"kind": "upa", "rows": 2, "columns": 4}, "clock": "first_path"}
    (tmp_path / "radio.json").write_text(json.dumps(said))
    for name, text in (("a", json.dumps(said)), ("b", str(tmp_path / "radio.json"))):
        arguments = [str(tmp_path / "scenario"), "--out", str(tmp_path / name), "--radio", text]
        assert main(["import", "deepmimo", *arguments]) == 0
    radio = Radio(UPA(2, 4), carrier=3.5e9, clock="first_path")
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
    manifest = shards.read_manifest(tmp_path / "a")
    assert shards.manifest_radios(manifest) == Store(tmp_path / "a").radios == (radio,)
    assert manifest["recipe"]["options"] == {"radio": said}
    whole = import_data("deepmimo", tmp_path / "scenario", tmp_path / "c", radio=radio)
    assert shards.manifest_radios(whole) == (radio,)


@pytest.mark.parametrize("layout", ["wair-d", "v3", "v4"])
def test_what_was_imported_makes_batches(tmp_path: Path, layout: str) -> None:
    if layout == "wair-d":
        make(tmp_path / "source", 1)
        import_data("wair-d", tmp_path / "source", tmp_path / "out", pixels=64)
    else:
        (make_v3 if layout == "v3" else make_v4)(tmp_path / "source")
        import_data("deepmimo", tmp_path / "source", tmp_path / "out", pixels=64)
    store = Store(tmp_path / "out")
    assert len(set(store.areas)) == len(store)
    batch = AreaBatches(store, len(store), 5)(np.random.default_rng(0))
    assert len(batch.csi) > 3
    assert (batch.environment.map is None) == (layout == "v3")
    assert not list(tmp_path.glob(".*"))


def test_drives_keep_what_the_reader_gave(tmp_path: Path) -> None:
    make_gathered(tmp_path / "source", 0)
    manifest = import_data("deepsense", tmp_path / "source", tmp_path / "out")
    drives = [d for f in manifest["files"] for d in read_drives(tmp_path / "out" / f["file"])]
    assert sum(map(len, drives)) == manifest["account"]["found"]["samples"]
    assert len(drives) == manifest["account"]["found"]["drives"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wifi", "x", "--out", "y"], "wifi"),
        (["deepmimo", "nowhere", "--out", "y"], "nowhere"),
        (
            ["deepmimo", "SOURCE", "--out", "y", "--carrier", "28e9"],
            "no option carrier; it has bs, bearing, pixels, chunk, radio",
        ),
        (["deepmimo", "SOURCE", "--out", "FULL"], "exists already"),
        (["wair-d", "SOURCE", "--out", "y"], "SOURCE"),
        (["deepmimo", "SOURCE", "--out", "FULL/kept"], "exists already"),
        (["deepmimo", "SOURCE", "--out", "."], "give a folder to make"),
        (["deepmimo", "SOURCE", "--out", "y", "--bs", "1"], "--base_stations"),
        (["wair-d", "SOURCE", "--out", "y", "--base_stations", "[1]"], "no option base_stations"),
        (["sionna", "scene.xml", "--out", "y"], "needs bs and ue"),
        (["deepmimo", "SOURCE", "--out", "y", "--radio", "radio.json"], "radio.json: neither a file with a radio nor"),
        (["deepmimo", "SOURCE", "--out", "y", "--radio", "{antennas}"], "{antennas}: not valid JSON"),
        (["deepmimo", "SOURCE", "--out", "y", "--radio", '{"clock": "mine"}'], "radio: clock 'mine'"),
        (["deepmimo", "SOURCE", "--out", "y", "--radio", '{"carrier": 3.5e9}'], "28 GHz, --radio says 3.5 GHz"),
        (["deepsense", "SOURCE", "--out", "y", "--radio", "{}"], "no option radio"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_v3(tmp_path / "SOURCE")
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL/kept").write_text("kept")
    before = sorted(p.name for p in tmp_path.iterdir())
    assert main(["import", *arguments]) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert says in message
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert (tmp_path / "FULL/kept").read_text() == "kept"


def test_an_area_of_several_shards_is_opened_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_v3(tmp_path / "source")
    monkeypatch.setattr(importing, "LINKS_PER_SHARD", 10)
    manifest = import_data("deepmimo", tmp_path / "source", tmp_path / "out", pixels=64, chunk=8)
    store = Store(tmp_path / "out")
    assert len(manifest["shards"]) > 1
    assert len(store) == 1
    assert len(store[0]) == store.links == manifest["links"]


def test_out_may_be_a_link_to_an_empty_folder(tmp_path: Path) -> None:
    make_v3(tmp_path / "source")
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    import_data("deepmimo", tmp_path / "source", tmp_path / "out", pixels=64)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk/manifest.json").exists()


def test_a_reader_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: Links
) -> None:
    def broken(source: Path, report: ImportReport) -> Iterator[Links]:
        yield links
        raise InputError("the second half is missing; download it again")

    monkeypatch.setattr(importing, "reader", lambda name: broken)
    monkeypatch.setattr(importing, "LINKS_PER_SHARD", 10)
    with pytest.raises(InputError, match="second half"):
        import_data("wair-d", tmp_path / "source", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes here")
def test_a_disk_that_fills_up_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    make_v3(tmp_path / "source")

    def little_space() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    command = [sys.executable, "-B", "-m", "uniair.cli", "import", "deepmimo", "source", "--out", "out"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=little_space, env=os.environ, check=False
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "space" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
