"""The data card and the command that writes it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.drives.deepsense.make import make_gathered
from tests.data.synthetic import synthetic_links

from uniair.cli import main
from uniair.data.importing import import_data
from uniair.data.links import shards
from uniair.data.links.campaign import Campaign
from uniair.data.links.link_statistics import PICTURES, Picture, links_statistics
from uniair.data.links.links import Links
from uniair.evaluation.data_card import command, spread_over_places, write_data_card
from uniair.propagation.ray_tracing import RayTracing
from uniair.radio import UPA, Radio

CAMPAIGN = Campaign(
    places=("munich", "town 7"), areas=4, even=True, side=(90.0, 120.0), seed=3, ray_tracing=RayTracing(samples=5000)
)


def recipe(campaign: Campaign = CAMPAIGN) -> dict[str, Any]:
    settings = asdict(campaign)
    del settings["root"]
    sources = {"munich": "sionna:munich", "town 7": "sha256:" + "0123456789abcdef" * 4}
    return json.loads(json.dumps({"campaign": settings, "sources": sources, "tracer": "sionna-rt 2.2.0"}))


@pytest.fixture
def folder(links: Links, other_links: Links, tmp_path: Path) -> Path:
    for i, part in enumerate((links, other_links)):
        shards.write_shard(tmp_path / "links" / f"links-{i:05d}.safetensors", part)
    shards.write_manifest(tmp_path / "links", recipe(), "(c) <map> contributors")
    return tmp_path / "links"


def assert_self_contained(page: str, pictures: int) -> None:
    assert page.count('src="data:image/png;base64,') == page.count("<img") == page.count("src=") == pictures
    assert not re.search(r"https?:|file:|href|url\(|@import|<script|<link", page)


def test_the_card_holds_figures_recipe_and_licence(folder: Path) -> None:
    card = write_data_card(folder)
    assert card == json.loads((folder / "card.json").read_text())
    assert (card["statistics"]["areas"], card["statistics"]["links"]) == (6, 72)
    assert card["findings"] == {}
    page = (folder / "card.html").read_text()
    assert_self_contained(page, 7)
    assert "72 links in 6 areas of 2 places" in page
    assert "nothing suspicious was found" in page
    assert "sha256:0123456789ab<" in page, "checksums are short"
    assert "(c) &lt;map&gt; contributors" in page
    assert not list(folder.glob(".*"))


def test_the_card_shows_every_radio(folder: Path, other_links: Links, capsys: pytest.CaptureFixture[str]) -> None:
    low = Radio(UPA(4, 8), carrier=3.5e9)
    assert "free space at 28 GHz" in (write_data_card(folder) and (folder / "card.html").read_text())
    shards.write_shard(folder / "links-00001.safetensors", replace(other_links, radios=(low, low)))
    shards.write_manifest(folder, {}, "licence")
    assert main(["data", "check", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"radio: {Radio()}; 4 areas" in out
    assert f"radio: {low}; 2 areas" in out
    page = (folder / "card.html").read_text()
    assert str(low) in page
    assert "free space at 3.5 and 28 GHz" in page


def test_the_same_data_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    for one in (folder, tmp_path / "copy"):
        write_data_card(one)
    first = {name: (folder / name).read_bytes() for name in ("card.json", "card.html")}
    write_data_card(folder)  # with a card there already
    for name, content in first.items():
        assert content == (folder / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()
    assert str(tmp_path).encode() not in first["card.json"] + first["card.html"]


def test_one_command_makes_it_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(write_data_card(folder)["command"])
    assert words[:4] == ["uniair", "trace", "sionna:munich", "town 7"]
    with pytest.raises(SystemExit) as left:
        main([*words[1:], "--print_config"])
    assert left.value.code == 0
    import yaml

    settings = yaml.safe_load(capsys.readouterr().out)
    made = json.loads(json.dumps(asdict(replace(CAMPAIGN, root="FOOTPRINTS"))))
    assert {k: settings[k] for k in made if k != "places"} == {k: v for k, v in made.items() if k != "places"}
    some = {"recipe": recipe(), "areas": 2}
    assert "--limit 2 " in str(command(some))
    assert command({"recipe": {"seed": 1}}) is command({}) is None
    deepmimo = {"import": "deepmimo", "source": "asu", "options": {"bs": [1, 2], "bearing": -1.5707963267948966}}
    assert command({"recipe": deepmimo}) == (
        "uniair import deepmimo asu --base_stations '[1,2]' --bearing -90.0 --out DIR"
    )
    deepmimo["options"] = {"radio": {"array": {"antennas": 64}}}
    again = shlex.split(str(command({"recipe": deepmimo})))
    assert again == ["uniair", "import", "deepmimo", "asu", "--radio", '{"array":{"antennas":64}}', "--out", "DIR"]


def test_pictures_are_spread_over_places() -> None:
    def picture(name: str) -> Picture:
        nothing = np.zeros((0, 2), dtype=np.float32)
        return Picture(name, np.zeros((1, 1), dtype=np.uint8), 1.0, nothing, nothing, np.zeros(0, dtype=bool))

    pictures = {place: [picture(f"{place}/{i}") for i in range(10)] for place in "abcde"}
    names = [one.name for one in spread_over_places(pictures)]
    assert len(names) == PICTURES
    assert names == sorted(names)
    assert [sum(name[0] == place for name in names) for place in "abcde"] == [5, 5, 5, 5, 4]


@pytest.mark.parametrize("los", [True, False])
def test_odd_data_sets_are_drawn_too(los: bool, tmp_path: Path) -> None:
    """One kind of link, one path each, no map, no recipe."""
    links = synthetic_links(links=30)
    some = links.select(links.los == los)
    some = replace(some, paths=some.paths.strongest(1), mapped=np.zeros(len(some.areas), dtype=bool))
    shards.write_shard(tmp_path / "links-00000.safetensors", some)
    shards.write_manifest(tmp_path, {}, "")
    card = write_data_card(tmp_path)
    assert card["command"] is None
    assert card["statistics"]["building_coverage"] == {
        "mean": None, "min": None, "median": None, "max": None, "mapped_areas": 0,
    }  # fmt: skip
    assert_self_contained((tmp_path / "card.html").read_text(), 7)


def test_the_command_checks_links(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(folder), "--json"]) == 0
    out = capsys.readouterr().out
    assert "checksums, contract and physics hold" in out
    assert json.loads(out.splitlines()[-1]) == json.loads((folder / "card.json").read_text())
    assert re.search(r"^elsewhere +2 +24 ", out, re.M)


def test_the_command_lists_what_is_suspicious(folder: Path, links: Links, capsys: pytest.CaptureFixture[str]) -> None:
    shards.write_shard(folder / "links-00001.safetensors", replace(links, los=~links.los))
    shards.write_manifest(folder, {}, "licence")
    assert main(["data", "check", str(folder), "--json"]) == 0
    out = capsys.readouterr().out
    assert "suspicious: 48 links whose LOS flag contradicts" in out
    assert json.loads(out.splitlines()[-1])["findings"]["twice"]["count"] == 48
    assert "2 things are suspicious" in (folder / "card.html").read_text()


def damage(folder: Path) -> None:
    path = folder / "links-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose(folder: Path) -> None:
    (folder / "links-00000.safetensors").unlink()


def forget(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("breaks", "says"), [(damage, "00001.safetensors: checksum"), (lose, "no such file"), (forget, "manifest.json")]
)
def test_damage_is_one_line_and_exit_2(
    breaks: Any, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(folder)
    assert main(["data", "check", str(folder)]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1
    assert not list(folder.glob("*card*"))


@pytest.mark.parametrize("name", ["nowhere", "links/links-00000.safetensors", "empty"])
def test_what_is_no_data_set_is_refused(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["data", "check", str(tmp_path / name)]) == 2
    message = capsys.readouterr().err
    assert Path(name).name in message
    assert message.count("\n") == 1


def test_the_command_checks_drives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_gathered(tmp_path / "raw", seed=1)
    import_data("deepsense", tmp_path / "raw", tmp_path / "drives")
    assert main(["data", "check", str(tmp_path / "drives"), "--json"]) == 0
    card = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert card["data"] == "uniair-drives/2"
    assert card["statistics"]["samples"] == 11
    assert card["account"]["found"]
    assert card["command"] == "uniair import deepsense raw --out DIR"
    page = (tmp_path / "drives" / "card.html").read_text()
    assert_self_contained(page, 3)
    assert "CC BY-NC-SA 4.0" in page
    for reason in card["account"]["left_out"]:
        assert reason in page
    (tmp_path / "drives" / "manifest.json").unlink()
    assert main(["data", "check", str(tmp_path / "drives" / "drives-scenario1.safetensors")]) == 0
    assert re.search(r"^scenario1 +2 +11 +10 +0$", capsys.readouterr().out, re.M)


def test_pictures_hold_the_links_of_one_bs(folder: Path) -> None:
    pictures = links_statistics(folder).pictures
    assert {place: len(some) for place, some in pictures.items()} == {"town": 4, "elsewhere": 2}
    first = pictures["town"][0]
    assert first.name == "town/00000"
    assert len(first.ue) == len(first.los) == 4
    assert first.bs.shape == (3, 2)
