"""What the benchmarks stand on: finished runs are kept, settings are held to, the page is the JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import ablation, results, scaling
from uniair.benchmark import zero_shot_table as zero_shot
from uniair.benchmark.benchmark import DATA, Benchmark, Setup, perform
from uniair.benchmark.catalogue import FIGURES, PAGE, SPEED, Entry
from uniair.benchmark.speed.training_speed import training_speed
from uniair.cli import main
from uniair.commands.bench import named
from uniair.commands.figures import options_of
from uniair.data.links import shards
from uniair.data.links.store import SAMPLE, Store, Stores
from uniair.errors import InputError
from uniair.evaluation.tables import Table, spread
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.training import packaged_recipe
from uniair.training.checkpoint import read_header


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = {}
    # a curve over areas needs more of them than a batch takes; every run is measured on the others, so they are few
    for name, place, areas, seed in (
        ("train", "town", 9, 1),
        ("train_mixed", "city", 9, 3),
        ("validation", "elsewhere", 1, 2),
        ("validation_mixed", "nowhere", 2, 4),
    ):
        out[name] = tmp_path_factory.mktemp(name)
        links = geometric_links(seed, areas=areas, place=place)
        if name.endswith("mixed"):  # a carrier each, as the campaign has them
            links = replace(links, radios=tuple(Radio(carrier=28e9 + 1e9 * n) for n in range(areas)))
        shards.write_shard(out[name] / "links-00000.safetensors", links)
        shards.write_manifest(out[name], {"seed": seed}, "")
    return out


def test_a_finished_run_is_kept_and_other_settings_are_refused(model: UniversalModel, tmp_path: Path) -> None:
    setup, calls = Setup(model, tmp_path / "fig", {}), []

    def compute() -> dict[str, float]:
        calls.append(1)
        return {"value": len(calls)}

    setup.note(links=3)
    assert setup.once("town/0", compute) == setup.once("town/0", compute) == {"value": 1}
    setup.note(links=3)
    with pytest.raises(InputError, match="holds runs with another links; give another --out"):
        setup.note(links=4)
    with pytest.raises(InputError, match="another budget"):
        Setup(model, tmp_path / "fig", {}, budget="full").note(links=3)


@pytest.mark.parametrize("name", DATA)
def test_a_missing_data_set_says_how_to_get_it(model: UniversalModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"needs --{name}.*uniair (trace|import)"):
        Setup(model, tmp_path / "fig", {}).store(name)


def test_spread_is_over_seeds() -> None:
    assert spread([[1.0, 3.0], [2.0, 4.0]]) == {"mean": 2.5, "spread": 1.0, "by_unit": [2.0, 3.0]}


def test_tables_read_the_same_on_a_terminal_and_on_a_page() -> None:
    table = Table(["", "top-1"], [["a method", "1.0"], ["b", "22.0"]])
    assert table.text().splitlines()[2] == "b          22.0"
    assert table.markdown().splitlines() == ["|  | top-1 |", "| --- | ---: |", "| a method | 1.0 |", "| b | 22.0 |"]


def test_the_page_is_made_from_the_json(model: UniversalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(result: dict[str, Any], figure: Any) -> None:
        figure.subplots().plot([0, result["value"]])

    def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
        return [("All", Table(["", "value"], [["ours", f"{result['value']}"]]))]

    made = Benchmark("0.5 in the paper", (), lambda setup: {"value": setup.once("one", lambda: 0.25)}, tables, draw)
    monkeypatch.setattr(scaling, "TOY", made, raising=False)
    toy = Entry("A toy", "scaling:TOY")
    perform("toy", made, Setup(model, tmp_path / "runs/toy", {}))
    page = tmp_path / "docs/results.md"
    assert results.write_results({"toy": toy}, tmp_path / "runs", page) == ["toy"]
    assert "## A toy" in page.read_text()
    assert "| ours | 0.25 |" in page.read_text()
    assert (tmp_path / "docs/results/toy.svg").read_text().startswith("<?xml")
    (tmp_path / "docs/results/toy.json").write_text("{}")
    with pytest.raises(InputError, match="run it again"):
        results.write_results({"toy": toy}, tmp_path / "nowhere", page)
    with pytest.raises(InputError, match="uniair bench all"):
        results.write_results({"toy": toy}, tmp_path / "nowhere", tmp_path / "other/results.md")


def test_the_results_page_in_the_docs_is_what_its_json_says(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    made = (docs / "results.md").read_text(encoding="utf-8")
    (tmp_path / "results").symlink_to(docs / "results")
    results.write_results(FIGURES, tmp_path / "nowhere", tmp_path / "results.md")
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == made


def test_scaling_has_three_curves_of_four_points_and_goes_on(
    model: UniversalModel, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scaling.STEPS, "quick", 4)
    monkeypatch.setattr(scaling, "LINKS", (2, 3, 4, 12))
    setup = Setup(model, tmp_path / "scaling", folders, seeds=1)
    result = perform("scaling", scaling.SCALING, setup)
    assert [len(points) for points in result["curves"].values()] == [4, 4, 4]
    assert all(p["mean"]["top1"] >= 0 for points in result["curves"].values() for p in points)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "scaling/runs").glob("*.json")}
    assert perform("scaling", scaling.SCALING, setup) == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "scaling/runs").glob("*.json")} == kept
    assert len(scaling.SCALING.tables(json.loads((setup.out / "result.json").read_text()))) == 3


def test_fewer_links_an_area_are_its_first(folders: dict[str, Path]) -> None:
    store = Stores([Store(folders["train"])])
    few = scaling.FewerLinks(store, 5)
    assert len(few) == len(store)
    assert [len(area) for area in few] == [5] * len(store)
    assert few[2].ue.tolist() == store[2].ue[:5].tolist()
    assert [area.areas for area in few[1:3]] == [store[1].areas, store[2].areas]


def test_the_ablation_changes_what_it_says(
    model: UniversalModel, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ablation.STEPS, "quick", 2)
    result = perform("ablation", ablation.ABLATION, Setup(model, tmp_path / "ablation", folders, seeds=1))
    assert set(result["rows"]) == set(ablation.QUICK)
    settings = {
        name: read_header(tmp_path / f"ablation/runs/{name}-0/state.safetensors", "")["settings"]
        for name in ablation.QUICK
    }
    assert settings["no_rays"]["preset"]["rays"] == 0 < settings["full"]["preset"]["rays"]
    assert settings["adamw"]["optimisation"]["matrix_rate"] == 0 < settings["full"]["optimisation"]["matrix_rate"]
    assert not settings["no_hypotheses"]["task"]["hypotheses"]
    assert settings["one_radio"]["preset"]["radios"] == "one"
    assert settings["one_campaign"]["areas"] == 9 < settings["full"]["areas"]


def test_what_is_ablated_is_the_packaged_recipe() -> None:
    recipe = yaml.safe_load((Path(__file__).parents[2] / "recipes/pretrain-small.yaml").read_text())
    assert {name: getattr(packaged_recipe.BATCHES, name) for name in recipe["batches"]} == recipe["batches"]
    assert {name: getattr(packaged_recipe.TASK, name) for name in recipe["task"]} == recipe["task"]
    for name in ("learning_rate", "matrix_rate", "warmup"):
        assert getattr(packaged_recipe.OPTIMISATION, name) == recipe[name]


def test_training_speed_is_a_share_of_the_matrix_rate() -> None:
    found = training_speed(SAMPLE, "tiny", steps=1)
    for speed in found["precisions"].values():
        assert speed["samples_per_s"] > 0
        assert 0 < speed["share"] < 1
    assert all(seconds >= 0 for seconds in found["parts"].values())
    assert found["parts"]["gradient"] > found["parts"]["channel's tower"] > 0
    step = sum(found["parts"].values()) - found["parts"]["drawing a batch, beside"]
    assert step >= 0.9 * found["samples"] / found["precisions"]["float32"]["samples_per_s"]


def test_zero_shot_figures_are_by_place_too(model: UniversalModel, folders: dict[str, Path], tmp_path: Path) -> None:
    setup = Setup(model, tmp_path / "zeroshot", {"links": folders["validation"]})
    result = perform("zeroshot", zero_shot.ZERO_SHOT, setup)
    assert list(result["model"]["by_place"]) == ["elsewhere"]
    assert result["model"]["by_place"]["elsewhere"]["top1"] == result["model"]["figures"]["top1"]["value"]
    assert result["search"]["50"]["nmse_db"] < result["search"]["0"]["nmse_db"]
    table, by_place = (one for _, one in zero_shot.tables(result)[:2])
    assert any("92.31" in cell for row in table.rows for cell in row)
    geometry = result["model"]["figures"]["los_geometry"]["value"]
    assert by_place.rows[0][by_place.head.index("LOS, no channel")] == f"{100 * geometry:.1f}"


def test_what_a_folder_of_before_holds_by_the_rule_is_not_taken_for_what_weights_read(
    model: UniversalModel, folders: dict[str, Path], tmp_path: Path
) -> None:
    setup = Setup(model, tmp_path / "zeroshot", {"links": folders["validation"]})
    search = {steps: {"nmse_db": -1.0, "sgcs": 0.5} for steps in ("0", "50")} | {"links": 3}
    for key, before in (("model", {"figures": {}}), ("untrained", {"figures": {}}), ("search", search)):
        setup.once(key, partial(dict, before))
    result = zero_shot.run(setup)
    assert {"los_calibrated", "los_geometry"} <= set(result["model"]["figures"])
    assert {"los_calibrated", "los_geometry"} <= set(result["untrained"]["figures"])
    assert result["search"] == search  # kept


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["fig6"], "--links"),
        (["table3"], "--dense"),
        (["all"], "uniair trace"),
        (["zeroshot", "--links", "nowhere"], "no such file"),
        (["fig6", "--links", "nowhere", "--budget", "huge"], "quick or full"),
        (["fig6", "--links", "nowhere", "--seeds", "0"], "at least 1"),
        (["results"], "run uniair bench all"),
        (["fig99"], "fig99"),
        (
            ["fig6", "--embeddings", "x"],
            "uniair bench fig6 takes --config, --json, --model, --out, --budget, --seeds, --links",
        ),
        (["forecast", "--model", "small"], "takes --config, --json, --out, --budget, --seeds, --drives"),
        (["synthesis", "--site", "x"], "takes --config, --json, --seed"),
        (["service"], "required: site"),
        ([], "required: what"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *options]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(["bench", *words, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


def test_help_is_of_what_was_named_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    every = shown([], capsys)
    assert all(f"  {name} " in every and entry.title in every for name, entry in (FIGURES | PAGE | SPEED).items())
    assert "--model" not in every
    assert set(re.findall(r"^  (--\w+)", shown(["fig6"], capsys), re.M)) == {
        "--config", "--print_config", "--json", "--model", "--out", "--budget", "--seeds", "--links",
    }  # fmt: skip
    both = shown(["fewshot", "synthesis"], capsys)
    assert all(option in both for option in ("--embeddings", "--dense", "--deepmimo", "--seed ", "--seeds "))
    assert "--backbone" not in both
    assert "--dtype" in shown(["all"], capsys)


def test_the_list_is_printed_without_torch() -> None:
    code = "import sys, uniair.cli\ntry: uniair.cli.main(['bench', '--help'])\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_options_that_are_shared_mean_the_same() -> None:
    kinds: dict[str, set[tuple[str, str]]] = {}
    for name in FIGURES | PAGE | SPEED:
        for option in options_of(name):
            kinds.setdefault(option.name, set()).add((str(option.kind), str(option.default)))
            assert option.about, f"{name} --{option.name}"
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_names_stand_anywhere_but_as_values() -> None:
    assert named(["fig6", "fig7", "--links", "x"]) == ["fig6", "fig7"]
    assert named(["--links", "heads", "fig6"]) == ["fig6"]
    assert named(["--json", "fig6"]) == ["fig6"]
    assert named(["all"]) == list(FIGURES)
    assert named(["fig6", "all", "edge"])[0] == "fig6"
    assert len(named(["fig6", "all", "edge"])) == len(FIGURES) + 1
    assert named(["--help"]) == []
