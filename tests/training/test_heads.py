"""Heads: they learn; on areas: what is held out, files, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.conftest import geometric_links

import uniair
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks.registry import TASKS
from uniair.training import heads
from uniair.training.checkpoint import digest
from uniair.training.heads import BLOCK, Adaptation, HeadTraining, adapt, divide, embed, fit, load_head, save_head

QUICK = HeadTraining(epochs=1, steps=100, batch=32)


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def area() -> Links:
    return geometric_links(seed=3, areas=1, per_area=120)


@pytest.mark.parametrize("name", TASKS)
def test_a_head_learns_what_its_embedding_holds(name: str, links: Links) -> None:
    task, batch = TASKS[name], batch_of(links)
    target = task.target(batch)
    code = target.float() if target.ndim == 2 else torch.nn.functional.one_hot(target, 32).float()
    draw = torch.Generator().manual_seed(0)
    scaled = (code - code.mean(0)) / code.std(0).clamp_min(1e-6)
    z = scaled @ torch.randn(code.shape[1], 128, generator=draw) + 0.01 * torch.randn(len(code), 128, generator=draw)
    head = fit(task, z, target, HeadTraining(epochs=1, steps=400, batch=48))
    with torch.inference_mode():
        learned, chance = task.measure(head(z), batch), task.measure(Head(task.widths)(z), batch)
    first = next(iter(learned))
    lower = first.endswith(("_m", "_db"))
    assert learned[first] < 0.3 * chance[first] if lower else learned[first] > 0.9
    again = fit(task, z, target, HeadTraining(epochs=1, steps=400, batch=48))
    assert all(torch.equal(a, b) for a, b in zip(head.state_dict().values(), again.state_dict().values(), strict=True))


def test_bad_labels_are_refused() -> None:
    z = torch.randn(4, 128)
    with pytest.raises(InputError, match="3 labels"):
        fit(TASKS["los"], z, torch.zeros(3, dtype=torch.long))
    with pytest.raises(InputError, match="NaN"):
        fit(TASKS["path_loss"], z, torch.full((4, 1), np.nan))


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"steps": -2},
        {"epochs": 0, "steps": 0},
        {"learning_rate": -1.0},
        {"learning_rate": np.nan},
        {"weight_decay": -0.1},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_training_that_can_not_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give"):
        HeadTraining(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed -1: give"):
        Adaptation(seed=-1)


@pytest.mark.parametrize("split", ["random", "blocks"])
def test_what_is_tested_was_not_learned(area: Links, split: str) -> None:
    learn, test = divide(area, Adaptation(split=split, seed=1))
    assert not set(learn) & set(test)
    assert len(learn) + len(test) == len(area)
    assert 0.15 < len(test) / len(area) < 0.45
    if split == "blocks":
        cells = [set(map(tuple, np.floor(area.ue[part, :2] / BLOCK))) for part in (learn, test)]
        assert not cells[0] & cells[1]
    few, same = divide(area, Adaptation(split=split, seed=1, labels=10))
    assert same.tolist() == test.tolist()
    assert set(few) < set(learn)
    assert divide(area, Adaptation(split=split, seed=2))[1].tolist() != test.tolist()


@pytest.mark.parametrize("name", TASKS)
def test_a_saved_head_answers_the_same(name: str, model: UniversalModel, area: Links, tmp_path: Path) -> None:
    wanted = Adaptation(task=name, inputs=TASKS[name].inputs[-1])
    fitted = adapt(model, area, wanted, QUICK)
    assert all(np.isfinite(v) for v in fitted.figures.values())
    path = tmp_path / "head.safetensors"
    save_head(path, fitted.head, wanted, model, Radio(), {})
    assert path.stat().st_size < 200_000
    head, inputs, _ = load_head(path, model, name)
    z = embed(model, batch_of(area), inputs)
    with torch.inference_mode():
        assert torch.equal(head(z), fitted.head(z))
    other = next(task for task in TASKS if task != name)
    with pytest.raises(InputError, match=f"a head for {name} on preset tiny, not for {other}"):
        load_head(path, model, other)
    with pytest.raises(InputError, match="on preset tiny, not for"):
        load_head(path, uniair.load("small"), name)
    with pytest.raises(InputError, match=r"a head for other weights of tiny; train one with uniair adapt$"):
        load_head(path, uniair.build("tiny"), name)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="truncated"):
        load_head(path, model, name)


RADIOS = {
    "ULA of 16": Radio(ULA(16), OFDM(128, 240e3)),
    "UPA": Radio(UPA(4, 8)),
    "first path": Radio(ULA(32, 0.7), clock="first_path"),
    "two UE antennas": Radio(ULA(16), ue=ULA(2)),
    "beams": Radio(ULA(16, codebook=ULA(16).dft_codebook().numpy()[::2])),
}


@pytest.mark.parametrize("radio", RADIOS.values(), ids=RADIOS)
def test_a_head_learns_on_any_radio_and_its_file_says_on_which(
    radio: Radio, model: UniversalModel, area: Links, tmp_path: Path
) -> None:
    for name, task in TASKS.items():
        wanted, path = Adaptation(task=name), tmp_path / f"{name}.safetensors"
        fitted = adapt(model, area, wanted, QUICK, radio)
        assert all(np.isfinite(v) for v in fitted.figures.values())
        save_head(path, fitted.head, wanted, model, radio, {})
        head, _, learned = load_head(path, model, name)
        assert learned == radio
        assert head.widths[-1] == task.on(radio).outputs
        batch = batch_of(area, radio)
        assert task.target(batch).shape[1:] in ((), (task.on(radio).outputs,))


def test_outputs_follow_from_the_radio() -> None:
    beam, precoding = TASKS["beam"], TASKS["precoding"]
    upa = Radio(UPA(4, 8))
    assert Head(beam.on(Radio()).widths).parameter_count() == 10_336
    assert beam.on(Radio()).widths == beam.widths
    assert precoding.on(Radio()).widths == precoding.widths
    assert (beam.on(RADIOS["ULA of 16"]).outputs, precoding.on(RADIOS["ULA of 16"]).outputs) == (16, 32)
    assert (beam.on(RADIOS["beams"]).outputs, beam.on(upa).outputs) == (8, 32)
    assert TASKS["los"].on(upa) is TASKS["los"]


def test_a_heads_outputs_are_of_its_array_alone() -> None:
    other = Radio(ULA(16), carrier=3.5e9)
    with pytest.raises(InputError, match=r"head learned on ULA of 32.*what differs: array, carrier"):
        TASKS["beam"].remarks(Radio(), other)
    assert TASKS["los"].remarks(Radio(), other) == (f"the los head learned on {Radio()}; what differs: array, carrier",)
    assert TASKS["beam"].remarks(Radio(), Radio(grid=OFDM(128, 240e3))) != ()
    assert TASKS["beam"].remarks(Radio(), Radio(calibrated=True)) == ()
    assert "what differs: amplitude" in TASKS["los"].remarks(Radio(calibrated=True), Radio())[0]  # it misses the power


def test_a_head_of_the_first_version_is_of_paper_1s_radio_and_its_weights(
    model: UniversalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, head = tmp_path / "old.safetensors", Head(TASKS["los"].widths)
    header = {"format": "uniair-head/1", "task": "los", "inputs": "channel", "preset": "tiny", "widths": [128, 2]}
    save_file(dict(head.state_dict()), path, metadata={"uniair": json.dumps(header)})
    with pytest.raises(InputError, match=r"old.safetensors: a head for other weights of tiny.*git archive cf55874"):
        load_head(path, model, "los")
    monkeypatch.setattr(heads, "FIRST", digest(model))
    assert load_head(path, model, "los").radio == Radio()
    newer = {**header, "radio": {"format": "uniair-radio/9"}}
    save_file(dict(head.state_dict()), path, metadata={"uniair": json.dumps(newer)})
    with pytest.raises(InputError, match=r"old.safetensors: a radio of format"):
        load_head(path, model, "los")


def test_the_command_takes_a_radio_and_refuses_several(
    area: Links, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", area)
    shards.write_manifest(tmp_path / "links", {}, "")
    (tmp_path / "upa.json").write_text(json.dumps(Radio(UPA(2, 8)).to_json()))
    brief = ["--training.steps", "50", "--training.epochs", "1", "--out", str(tmp_path / "heads"), "--json"]
    command = ["adapt", str(tmp_path / "links"), "--task", "beam"]
    assert main([*command, "--radio", str(tmp_path / "upa.json"), *brief]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Radio.from_json(said["radio"]) == Radio(UPA(2, 8))
    assert said["remarks"][0].startswith("converted: array")
    head = str(next((tmp_path / "heads").glob("*.safetensors")))
    assert main([*command, "--head", head]) == 2
    assert "head learned on UPA of 2 × 8" in capsys.readouterr().err
    assert main([*command, "--radio", '{"carrier": 3.5e9}', *brief]) == 2
    assert "carrier is 3.5 GHz, but" in capsys.readouterr().err
    other = replace(area, areas=("town/other",), radios=(Radio(ULA(16)),))
    shards.write_shard(tmp_path / "links/links-00001.safetensors", other)
    shards.write_manifest(tmp_path / "links", {}, "")
    assert main([*command, *brief]) == 2
    assert "links of 2 radios (ULA of 32" in capsys.readouterr().err


def test_only_the_head_is_trained(model: UniversalModel, area: Links) -> None:
    before = {name: p.clone() for name, p in model.named_parameters()}
    adapt(model, area, Adaptation(task="los"), QUICK)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_the_environment_is_read_without_los(model: UniversalModel, area: Links) -> None:
    flipped = Links(**{**vars(area), "los": ~area.los})
    one, two = (embed(model, batch_of(links), "environment") for links in (area, flipped))
    assert torch.equal(one, two)


def test_the_command_trains_an_area_and_keeps_its_head(
    area: Links, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", area)
    shards.write_manifest(tmp_path / "links", {}, "")
    arguments = ["adapt", str(tmp_path / "links"), "--task", "los", "--labels", "60", "--out", str(tmp_path / "heads")]
    assert main([*arguments, "--seeds", "2", "--training.steps", "50", "--training.epochs", "1"]) == 2
    assert "begins at zero-shot and has no steps to set" in capsys.readouterr().err
    assert main([*arguments, "--seeds", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["tuned_parameters"] == 258
    assert result["labels"] == 60
    assert result["zero_shot"]
    assert len(next(iter(result["areas"].values()))) == 2
    assert len(list((tmp_path / "heads").glob("*.safetensors"))) == 2
    kept = json.loads((tmp_path / "heads/figures-los-channel.json").read_text())
    assert kept == result
    head = sorted((tmp_path / "heads").glob("*.safetensors"))[0]
    again = ["adapt", str(tmp_path / "links"), "--task", "los", "--head", str(head), "--json"]
    assert main(again) == 0  # loaded onto the model and measured on every link
    measured = next(iter(json.loads(capsys.readouterr().out.splitlines()[-1])["areas"].values()))
    assert measured["accuracy"] > measured["majority"] - 0.05
    assert main(["adapt", str(tmp_path / "links"), "--task", "beam", "--head", str(head)]) == 2
    assert "a head for los" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--task", "weather"], "no task"),
        (["--task", "position", "--inputs", "environment"], "not learned from"),
        (["--labels", "100000"], "lower --labels"),
        (["--task", "los", "--labels", "1", "--zero_shot", "false"], "of one class"),
        (["--task", "beam", "--zero_shot", "true"], "has no zero-shot answer to begin at"),
        (["--task", "feedback", "--zero_shot", "true"], "it is of --task los, not of feedback"),
        (["--split", "time"], "random or blocks"),
        (["--seeds", "0"], "at least 1"),
        (["--head", "no.safetensors"], "no.safetensors"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], says: str, area: Links, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", area)
    shards.write_manifest(tmp_path / "links", {}, "")
    assert main(["adapt", str(tmp_path / "links"), "--out", str(tmp_path / "heads"), *options]) == 2
    message = capsys.readouterr().err.strip()
    assert says in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "heads").exists()
