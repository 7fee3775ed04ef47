"""`uniair explain` on the packaged links."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import geometric_links
from tests.explanation.calibration import calibration_of
from tests.site.make import make_site
from tests.site.make_plan import asked, make_plan, weights

import uniair
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.store import SAMPLE
from uniair.explanation.calibrated import FILE
from uniair.radio import Radio
from uniair.site import station_links
from uniair.site.frame import view
from uniair.site.site import Site
from uniair.training.checkpoint import digest


def test_it_says_why_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(SAMPLE), "--area", "1", "--link", "4", "--out", str(tmp_path / "why")]) == 0
    printed = capsys.readouterr().out
    assert "link 4: LOS" in printed
    assert "the map explains" in printed
    (found,) = json.loads((tmp_path / "why" / "explanations.json").read_text())["links"]
    assert found["link"] == 4
    assert found["sentence"] in printed
    assert sum(path["share"] for path in found["paths"]) <= 1.0001
    assert (tmp_path / "why" / "link-4.png").read_bytes()[:4] == b"\x89PNG"


def test_all_channels_of_an_area_judge_its_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(SAMPLE), "--area", "1", "--link", "0", "--audit", "--out", str(tmp_path / "why")]) == 0
    assert "channels; the map explains" in capsys.readouterr().out
    found = json.loads((tmp_path / "why" / "explanations.json").read_text())["audit"]
    assert 0.3 < found["explained_share"] <= 1
    assert (tmp_path / "why" / "audit.png").exists()


def test_a_calibration_beside_the_weights_says_how_sure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(Path(uniair.__file__).parent / "weights" / "small", weights)
    calibration_of(digest(uniair.load("small"))).write(weights / FILE)
    links = tmp_path / "links"
    shards.write_shard(links / "links-00000.safetensors", geometric_links(seed=3, areas=1, per_area=12))
    shards.write_manifest(links, {}, "")
    asked = [str(links), "--model", str(weights)]
    assert main(["explain", *asked, "--link", "4", "--out", str(tmp_path / "why")]) == 0
    assert "the LOS answer is wrong with" in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "why" / "explanations.json").read_text())["links"]
    assert 0 <= found["doubt"]["wrong"] <= 0.5
    assert main(["zeroshot", *asked, "--untrained", "false"]) == 0
    printed = capsys.readouterr().out
    assert "without the tenth doubted most" in printed
    assert "sets of LOS, 90 % promised" in printed
    calibration_of("0" * 16).write(weights / FILE)
    assert main(["explain", *asked]) == 2
    assert "calibrated for weights 0000000000000000" in capsys.readouterr().err


def planned(folder: Path) -> Site:
    """Two masts whose sectors are panels of their own, tilted."""
    return make_plan(folder, -150.0, questions=asked(weights(folder.with_name("weights"), "any")), users=40)


@pytest.mark.parametrize("make", [make_site, planned])
def test_a_station_is_explained_as_its_site_answers(
    make: Callable[[Path], Site], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the site's own map, heights and all, by its own weights and the station's radio, azimuth and tilt."""
    folder, number = tmp_path / "site", 1
    site = make(folder)
    links = station_links.links_of(site, number)
    assert links is not None
    assert main(["explain", str(folder), "--area", str(number), "--link", "3", "--out", str(tmp_path / "why")]) == 0
    said = json.loads((tmp_path / "why" / "explanations.json").read_text())
    radio, position = site.radio_of(number), site.stations[number].position
    assert Radio.from_json(said["radio"]) == radio
    place = view(site, number).in_site(position, links.ue[[3]])
    csi = station_links.csi(site, number, links.select(np.array([3])))
    (why,) = uniair.explain(uniair.load(site.model), csi, place, radio, site.area)
    assert said["links"][0]["los"] == pytest.approx(why.los, abs=1e-3)
    assert said["links"][0]["explained_share"] == pytest.approx(why.share, abs=1e-3)
    assert main(["explain", str(folder), "--area", "9"]) == 2
    assert f"has stations 0 to {len(site.stations) - 1}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--link", "100000"], "--link 100000"),
        (["--area", "-1"], "--area -1"),
        (["--radio", '{"carrier": 3.5e9}'], "--radio: carrier 3.5 GHz"),
    ],
)
def test_what_is_not_there_is_refused(wrong: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(SAMPLE), *wrong]) == 2
    assert says in capsys.readouterr().err
