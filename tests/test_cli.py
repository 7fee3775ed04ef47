"""Commands as a user types them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import uniair
from tests.area import towns
from uniair.cli import COMMANDS, main
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.errors import InputError

ROOT = Path(__file__).parents[1]


def test_help_answers_at_once_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "uniair.cli", "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 2.0
    assert all(name in done.stdout for name in COMMANDS)
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, uniair.cli as c; c.main(['--help']); print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.endswith("False\n")


def test_output_may_be_cut_off() -> None:
    command = f"{sys.executable} -m uniair.cli doctor | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_its_use(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*name.split(), "--help"])
    assert left.value.code == 0
    assert f"Example:\n  uniair {name}" in capsys.readouterr().out or name == "doctor"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fly"], "no command"),
        (["trace", "--out", "x"], "no places"),
        (["trace", "nowhere.geojson", "--out", "x"], "no such file"),
        (["trace", "procedural:1", "--out", "x", "--areas", "many"], "areas"),
        (["trace", "procedural:1", "--out", "x", "--areas", "0"], "at least 1"),
        (["zeroshot", "nowhere"], "manifest.json: no such file"),
        (["demo", "--model", "large"], "neither a packaged model"),
        (["pretrain", "--train", "nowhere", "--validation", "nowhere", "--out", "x"], "no such file"),
        (["pretrain", "--train", "a", "--validation", "b", "--out", "x", "--preset", "huge"], "choose one of"),
        (["bench", "ablation", "--train", "a"], "ablation needs --train_mixed"),
        (["areas", "sionna:atlantis"], "sionna"),
        (["areas", "procedural:1", "--side", "-5"], "above 0"),
        (["areas", "procedural:x"], "procedural"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir()), "something was left behind"


def test_areas_lists_filters_and_draws(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "areas.png"
    assert main(["areas", "procedural:7", "--coverage", "[0.1,0.6]", "--picture", str(picture), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["crops"]
    assert all(0.1 <= crop["coverage"] <= 0.6 for crop in result["crops"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_areas_says_what_was_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    features = [towns.feature(towns.rectangle(40 * i, 0, 20, 20), building="yes") for i in range(5)]
    features.append(towns.feature(towns.rectangle(0, 50, 99, 99), leisure="park"))
    path = towns.write(tmp_path, "town.json", towns.collection(*features))
    assert main(["areas", str(path), "--side", "60", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert "5 of 5 heights drawn" in "\n".join(lines)
    assert "left out: not tagged as building: 1 (e.g. feature 6, leisure=park)" in "\n".join(lines)
    result = json.loads(last)
    assert result["reading"]["heights"]["drawn"] == 5
    assert sum(crop["buildings"] for crop in result["crops"]) >= 5


def test_areas_lays_crops_where_buildings_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    far = [towns.rectangle(0, 0, 20, 20), towns.rectangle(150_000, 150_000, 20, 20)]
    path = towns.write(tmp_path, "town.json", towns.collection(*[towns.feature(ring, height=9) for ring in far]))
    assert main(["areas", str(path), "--side", "100", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["crops"]) >= 1
    assert main(["areas", str(path), "--side", "90", "--least_buildings", "0"]) == 2
    assert "crops of 90 m; raise --side" in capsys.readouterr().err


def test_doctor_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert "LLVM" in out
    assert isinstance(json.loads(out.splitlines()[-1])["missing"], list)


def test_demo_runs_on_links_of_ones_own_and_writes_a_whole_report(
    other_links: Links, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", other_links)
    shards.write_manifest(tmp_path / "links", {}, "test")
    assert main(["demo", "--links", str(tmp_path / "links"), "--out", str(tmp_path / "report"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["links"] == 24
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "http" not in page.split("<body")[0].replace("https://www.openstreetmap.org", "")


def test_the_packaged_model_answers_on_the_packaged_cities() -> None:
    """The released figures, with room for another processor's rounding."""
    from uniair.evaluation.zero_shot_suite import sample, zero_shot_suite

    links = sample(shards.read(Path(uniair.__file__).parent / "sample"), 400, seed=0)
    figures = zero_shot_suite(uniair.load("small"), links).figures
    assert figures["los"].value > 0.93
    assert figures["scale"].value > 0.66
    assert figures["top1"].value > 0.45
    assert figures["top5"].value > 0.6
    assert figures["nmse_db"].value < -3.0


def test_no_packaged_place_was_trained_on() -> None:
    folder = Path(uniair.__file__).parent
    card = json.loads((folder / "weights" / "small" / "card.json").read_text())
    packaged = set(shards.read_manifest(folder / "sample")["places"])
    trained = set(card["places"]["train"])
    assert not packaged & trained
    assert not trained & set(card["places"]["validation"])
    assert card["training_areas"] >= 2000


def test_recipes_are_read_by_the_commands_that_they_name(capsys: pytest.CaptureFixture[str]) -> None:
    for recipe in sorted((ROOT / "recipes").glob("*.yaml")):
        (line,) = re.findall(r"^#\s+uniair (.+)", recipe.read_text(encoding="utf-8"), re.MULTILINE)
        words = [str(recipe) if word == f"recipes/{recipe.name}" else word for word in line.split()]
        assert str(recipe) in words, f"{recipe.name}: its first lines give its command"
        with pytest.raises(SystemExit) as left:
            main([*words, "--print_config"])
        assert left.value.code == 0, recipe.name


def test_what_a_file_puts_into_an_error_can_neither_break_the_line_nor_steer_the_terminal() -> None:
    said = str(InputError("town.zip: no b\nuild\x1b[2J\u202eing\ud800; é 東 10 m² stay"))
    assert said == "town.zip: no b uild\\x1b[2J\\u202eing\\ud800; é 東 10 m² stay"
