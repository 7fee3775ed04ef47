"""What is added to a trained AI²MMUM learns, and what was there stays the same to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.conftest import geometric_links
from torch import Tensor

import uniair
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.backbone import load_backbone
from uniair.models.instruct import Design, Instruction, InstructModel, Modality
from uniair.models.router import fit_router, packaged_phrases
from uniair.models.universal import UniversalModel
from uniair.tasks.added import AddedTask, Classes, figures
from uniair.tasks.answers import Declined
from uniair.tasks.los import LOS
from uniair.tasks.registry import INSTRUCTIONS
from uniair.training.addition import Begun, add, label_links, read_labelled
from uniair.training.checkpoint import digest, save_model
from uniair.training.instruction import InstructTraining, answers, build, load_assistant, load_instruct, save_instruct

pytest.importorskip("transformers")
pytest.importorskip("peft")

LENGTH = 32  # of the tiny towers' embeddings
NAME = "camera_image"
VIEW = AddedTask(NAME, "camera", ("camera",), "classes", ("free", "blocked"), "camera image", ("is the image clear",))
PLAN = replace(InstructTraining.optimisation, learning_rate=1e-2, save_every=1000)
QUICK = InstructTraining(epochs=8, batch=32, optimisation=PLAN)


def trained() -> InstructModel:
    """As after training: no weight where it began."""
    model = build(Design(backbone="tiny", embedding=LENGTH)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.tuned().values():
            value.add_(0.02 * torch.randn(value.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def towers() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def folder(towers: UniversalModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model, its towers and two areas of links."""
    path = tmp_path_factory.mktemp("begun")
    about = {"towers": digest(towers), "area": "town/00000", "wanted": {}}
    few = {label: {"few": [text for texts in styles.values() for text in texts][::40]}
           for label, styles in packaged_phrases("train").items()}  # fmt: skip
    fit_router(
        load_backbone("tiny"), few, {"restricting": ["in the rain"], "harmless": ["please"], "examples": []}
    ).save(path / "few.safetensors")
    save_instruct(path / "run", trained(), {"los": 1.0, "beam": 1.0}, about, router=path / "few.safetensors")
    save_model(towers, path / "towers")
    shards.write_shard(path / "links" / "links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=60))
    shards.write_manifest(path / "links", {"fixture": 3}, "none")
    return path


def camera(path: Path, count: int = 240, **more: Any) -> Path:
    """Pictures in which the sign of a known sum of six numbers tells whether the view is blocked."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(count, 6)).astype(np.float32)
    arrays: dict[str, Any] = {"camera": z, "target": (z @ [1, -2, 1, 0.5, 1, 2] > 0).astype(np.int64)} | more
    np.savez(path, allow_pickle=False, **arrays)
    return path


def snapshot(model: InstructModel) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All that it keeps, and its answers to the five tasks."""
    z = torch.randn(5, LENGTH, generator=torch.Generator().manual_seed(0))
    kept = {name: value.detach().clone() for name, value in model.kept().items()}
    return kept, {task: answers(model, task, z) for task in INSTRUCTIONS}


def same(
    before: tuple[dict[str, Tensor], dict[str, Tensor]], after: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> bool:
    """Of what was there before."""
    return all(torch.equal(old[name], new[name]) for old, new in zip(before, after, strict=True) for name in old)


def test_it_learns_and_all_that_was_there_stays_the_same(folder: Path, tmp_path: Path) -> None:
    begun = Begun.read(folder / "run")
    before = snapshot(begun.model)
    state = torch.random.get_rng_state()
    data = read_labelled(camera(tmp_path / "camera.npz"), ["camera"])
    found = add(begun, data, VIEW, (), QUICK, tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found["figures"]["accuracy"] > 0.9 > found["figures"]["majority"] + 0.2
    assert found["learned"] + found["tested"] < 240  # some calibrate
    assert same(before, snapshot(begun.model))
    again, config = load_instruct(tmp_path / "out")
    after = snapshot(again)
    assert same(before, after)
    new = after[0].keys() - before[0].keys()
    assert {name.split(".")[0] for name in new} == {"adapters", "prefixes", "heads", "llm"}
    assert all("camera" in name for name in new)
    z = data.representations["camera"][:7]
    assert torch.equal(answers(begun.model, NAME, z), answers(again, NAME, z))
    assert config["modalities"]["camera"] == {"length": 6, "joins": []}
    assert config["about"]["added"][NAME]["figures"] == found["figures"]
    router = [(path / "router.safetensors").read_bytes() for path in (folder / "run", tmp_path / "out")]
    assert router[0] == router[1]
    # again with the same command: the state says that all is done
    once_more = add(Begun.read(folder / "run"), data, VIEW, (), QUICK, tmp_path / "out")
    assert once_more == found
    with pytest.raises(InputError, match=r"other settings \(added.keywords\)"):
        add(Begun.read(folder / "run"), data, replace(VIEW, keywords="photograph"), (), QUICK, tmp_path / "out")


def test_new_weights_are_drawn_apart() -> None:
    model, other = trained(), trained()
    state = torch.random.get_rng_state()
    one = {"view": Instruction("camera", "view", 2)}
    two = {"speed": Instruction("radar", "speed", 1)}
    first = model.add(one, Modality("camera", 6)) | model.add(two, Modality("radar", 6))
    second = other.add(two, Modality("radar", 6)) | other.add(one, Modality("camera", 6))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    weight = "adapters.{}.layers.0.weight"
    assert not torch.equal(first[weight.format("camera")], first[weight.format("radar")])
    third = trained().add(one, Modality("camera", 6), seed=1)
    assert not torch.equal(first[weight.format("camera")], third[weight.format("camera")])


def test_a_task_of_a_modality_that_is_there_trains_prefix_and_head_alone(folder: Path, tmp_path: Path) -> None:
    begun = Begun.read(folder / "run")
    before = snapshot(begun.model)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, LENGTH)).astype(np.float16)
    save_file({"channel": torch.from_numpy(z).bfloat16(), "target": torch.from_numpy(z[:, 0].copy()).float()},
              tmp_path / "speed.safetensors")  # fmt: skip
    data = read_labelled(tmp_path / "speed.safetensors", begun.reads("channel", ()))
    task = AddedTask("radial_speed", "channel", ("channel",), "values", ("m/s",), "radial speed")
    add(begun, data, task, (), replace(QUICK, epochs=2), tmp_path / "out")
    after = snapshot(begun.model)
    assert same(before, after)
    assert {name.split(".")[1] for name in after[0].keys() - before[0].keys()} == {"radial_speed"}
    assert all(p.grad is None for p in begun.model.parameters())


def test_both_tell_what_neither_tells_alone(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200, LENGTH)).astype(np.float32)
    np.savez(tmp_path / "pairs.npz", channel=a, environment=b, target=a[:, 0] - b[:, 1])
    errors = {}
    for name, joins in (("channel", ()), ("environment", ()), ("both", ("channel", "environment"))):
        begun = Begun.read(folder / "run")
        parts = begun.reads(name, joins)
        data = read_labelled(tmp_path / "pairs.npz", parts) if joins else None
        if data is None:
            np.savez(tmp_path / "one.npz", **{name: a if name == "channel" else b, "target": a[:, 0] - b[:, 1]})
            data = read_labelled(tmp_path / "one.npz", parts)
        task = AddedTask("height_step", name, parts, "values", ("m",), "height step")
        found = add(begun, data, task, joins, QUICK, tmp_path / name)["figures"]
        errors[name] = found["rmse"] / found["rmse_of_mean"]
    assert errors["both"] < 0.6 < min(errors["channel"], errors["environment"])


def test_it_is_asked_for_by_its_own_words(folder: Path, towers: UniversalModel, tmp_path: Path) -> None:
    data = read_labelled(camera(tmp_path / "camera.npz"), ["camera"])
    add(Begun.read(folder / "run"), data, VIEW, (), QUICK, tmp_path / "out")
    before, assistant = (load_assistant(path, towers) for path in (folder / "run", tmp_path / "out"))
    z = data.representations["camera"][:3].numpy()
    said: Any = None
    for words in (
        "camera image",
        "Is the image clear?",
        "Please tell me the camera image.",
    ):
        said = assistant.ask(words, representations={"camera": z})
        assert isinstance(said, Classes), words
        assert said.probabilities.sum(1).tolist() == pytest.approx([1, 1, 1])
    second = assistant.ask("What is the camera image of user 1?", representations={"camera": z})
    assert isinstance(second, Classes)
    torch.testing.assert_close(second.probabilities, said.probabilities[1:2])
    assert [row["class"] for row in said.records()] == [("free", "blocked")[int(k)] for k in data.target[:3]]
    assert str(said).startswith("Camera image: ")
    assert said.to_json()["task"] == NAME
    called = json.loads(assistant.call("tell_camera_image", {"camera": z[0].tolist()}))
    assert called["answers"][0]["class"] == said.records()[0]["class"]
    missing = assistant.ask("camera image")
    assert isinstance(missing, Declined)
    assert missing.missing == ("camera",)
    assert "the representation of camera" in str(missing)
    raining = assistant.ask("camera image in the rain", representations={"camera": z})
    assert isinstance(raining, Declined)
    assert raining.refused == ("in the rain",)
    lacking = before.ask("camera image", representations={"camera": z})
    assert isinstance(lacking, Declined)
    assert "What I can tell" in str(lacking) or lacking.refused
    csi = torch.randn(2, 32, 64, dtype=torch.complex64)
    for words in ("Is there line of sight?", "Where is user 1?", "LOS in the rain?", "sing a song"):
        assert (
            str(assistant.ask(words, csi=csi)).split(" What I can tell")[0]
            == str(before.ask(words, csi=csi)).split(" What I can tell")[0]
        )
    for wrong, says in ((z[:, :4], "camera has"), (z * np.nan, "row 0"), (z + 0j, "complex"), (z[None], "give")):
        with pytest.raises(InputError, match=says):
            assistant.ask("camera image", representations={"camera": wrong})


def test_links_give_both_their_representations_and_labels(towers: UniversalModel, folder: Path, tmp_path: Path) -> None:
    from uniair.data.links.store import Store

    begun, joins = Begun.read(folder / "run"), ("channel", "environment")
    data = label_links(towers, Store(folder / "links"), [0, 1], joins, "los", "areas")
    assert data.names == ("no line of sight", "line of sight")
    assert len(set(data.unit[:60])) == 1
    assert data.areas == ("town/00000", "town/00001")
    task = AddedTask("sight_by_both", "both", joins, data.form, data.names, "sight by both", (), "los")
    add(begun, data, task, joins, replace(QUICK, epochs=1), tmp_path / "out")
    assistant = load_assistant(tmp_path / "out", towers)
    batch = batch_of(geometric_links(seed=3, areas=1, per_area=60))
    said = assistant.ask("sight by both?", csi=batch.csi, environment=batch.environment.without("los"))
    assert isinstance(said, Classes)
    expected = answers(begun.model, "sight_by_both", data.together(joins)[:60])
    z = torch.cat([towers.encode_channel(batch.csi), towers.encode_environment(batch.environment.without("los"))], 1)
    torch.testing.assert_close(z, data.together(joins)[:60], rtol=1e-4, atol=1e-5)
    calibrated = expected / assistant.temperatures["sight_by_both"]
    torch.testing.assert_close(said.probabilities, calibrated.softmax(1), rtol=1e-3, atol=1e-4)
    half = assistant.ask("sight by both?", csi=batch.csi)
    assert isinstance(half, Declined)
    assert half.missing == ("map", "bs", "ue", "size")
    with pytest.raises(InputError, match="channel 60, environment 2"):
        assistant.ask("sight by both?", csi=batch.csi, environment=batch.environment.select(torch.arange(2)))
    assert torch.equal(LOS.target(batch), data.target[:60])


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run, out = str(camera(tmp_path / "camera.npz", 60)), str(folder / "run"), str(tmp_path / "out")
    quick, model = ["--training.epochs", "1", "--training.batch", "16"], ["--model", str(folder / "towers")]
    line = [
        "instruct",
        "add",
        run,
        file,
        "--modality",
        "camera",
        "--task",
        NAME,
        "--names",
        "free",
        "blocked",
        *quick,
    ]
    assert main([*line, "--keywords", "camera image", "--out", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["tested"] == 12
    links, joined = str(folder / "links"), str(tmp_path / "joined")
    both = ["instruct", "add", out, links, "--modality", "both", "--joins", "channel", "environment", *model, *quick]
    both += ["--task", "sight_by_both", "--labels_of", "los", "--area", "0"]
    assert main([*both, "--out", joined]) == 0
    assert "sight_by_both from channel and environment" in capsys.readouterr().out
    ask = ["--run", joined, *model, "--links", links]
    assert main(["instruct", "ask", "sight by both", *ask, "--link", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["task"] == "sight_by_both"
    assert answer["truth"] in (["line of sight"], ["no line of sight"])
    assert answer["learned_from"] == "town/00000"
    assert "extrapolated" not in answer
    np.savez(tmp_path / "seen.npz", camera=np.ones(6))
    assert (
        main(["instruct", "ask", "camera image", *ask, "--representations", str(tmp_path / "seen.npz"), "--json"]) == 0
    )
    seen = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert seen["answers"][0]["class"] in ("free", "blocked")
    assert seen["truth"] == []
    assert seen["learned_from"] == "camera.npz"
    assert "camera.npz" in seen["extrapolated"]
    assert main(["instruct", "ask", "--tools", *ask]) == 0
    tools = {tool["function"]["name"]: tool["function"] for tool in json.loads(capsys.readouterr().out)}
    assert "camera" in tools["tell_camera_image"]["parameters"]["properties"]
    assert main(["instruct", "evaluate", joined, links, *model, "--area", "1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(shown["figures"]["sight_by_both"]) == {"accuracy", "majority"}
    assert list(shown["not_measured"]) == [NAME]
    assert main(["instruct", "evaluate", joined, links, *model, "--json"]) == 0
    own = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(own["figures"]) == set(INSTRUCTIONS)
    assert list(own["not_measured"]) == [NAME, "sight_by_both"]
    camera(tmp_path / "nan.npz", 60, camera=np.full((60, 6), np.nan, dtype=np.float32))
    other = str(tmp_path / "other")
    for wrong, says in (
        ([*line, "--out", out, "--task", "los"], "is there already"),
        ([*line, "--out", out, "--phrases", "the user"], "asks for"),
        ([*line, "--out", run], "holds another model"),
        ([*line, "--out", out, "--seed", "1"], "other settings"),
        ([*line, "--out", other, "--names", "free"], "classes"),
        ([*line, "--out", other, "--names", "a", "b", "a"], "each another name"),
        ([*line, "--out", other, "--modality", "radar"], "radar is not there"),
        ([*line, "--out", other, "--joins", "channel", "lidar"], "channel is not there"),
        ([*line, "--out", other, "--area", "0"], "--area: is of links"),
        ([*line, "--out", other, "--split", "blocks"], "--split blocks"),
        ([*line, "--out", other, "--labels", "50"], "50 labels asked for"),
        ([*line, "--out", other, "--backbone", "transformer"], "another backbone"),
        ([*line[:3], str(tmp_path / "nan.npz"), *line[4:], "--out", other], "NaN or infinite values in row 0"),
        ([*line[:3], "nowhere.npz", *line[4:], "--out", other], "nowhere.npz"),
        ([*line[:2], "nowhere", *line[3:], "--out", other], "no such file"),
        ([*both, "--out", other, "--labels_of", "precoding"], "choose of position"),
        ([*both, "--out", other, "--area", "7"], "none of the 2 areas"),
        ([*both, "--out", other, "--split", "areas"], "of 1 areas"),
        ([*both, "--out", other, "--joins", "channel", "camera"], "links have channel and environment"),
        ([*both, "--out", other, "--model", "small"], "embeddings of another model"),
        (["instruct", "add", joined, *both[3:], "--out", other], "is there already"),
        (["export", joined, "--to", other], joined),
    ):  # fmt: skip
        assert main(wrong) == 2, wrong
        err = capsys.readouterr().err
        assert says in err, err
        assert err.count("\n") == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"camera": np.zeros((60, 6, 1), np.float32)}, "give a row"),
        ({"camera": np.zeros((59, 6), np.float32)}, r"camera is \[59, 6\]"),
        ({"camera": np.full((60, 6), 1j)}, "complex128"),
        ({"target": np.full(60, -1)}, "classes"),
        ({"target": np.arange(60) + 60}, "classes"),
        ({"target": np.full(60, np.inf)}, "NaN or infinite"),
        ({"target": np.array(["a"] * 60)}, "real numbers"),
        ({"groups": np.zeros(60)}, "groups is unknown"),
        ({"group": np.zeros(60)}, "whole numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        read_labelled(camera(tmp_path / "camera.npz", 60, **change), ["camera"])


def test_samples_of_a_group_are_held_out_together(tmp_path: Path) -> None:
    data = read_labelled(camera(tmp_path / "camera.npz", 60, group=np.repeat([7, -2, 9], 20)), ["camera"])
    assert data.unit.tolist() == np.repeat([1, 0, 2], 20).tolist()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "notes.csv").write_text("camera,target\n")
    for name in ("broken.npz", "notes.csv"):
        with pytest.raises(InputError, match=name):
            read_labelled(tmp_path / name, ["camera"])


def test_what_can_not_be_added_is_refused() -> None:
    model = trained()
    before = snapshot(model)
    view = {"view": Instruction("camera", "view", 2)}
    wrong: list[tuple[dict[str, Instruction], Modality | None, str]] = [
        (view, None, "no modality 'camera'"),
        (view, Modality("channel", 6), "is there already"),
        ({"los": Instruction("channel", "sight", 2)}, None, "task los: is there already"),
        ({"pop": Instruction("channel", "sight", 2)}, None, "identifier"),
        (view, Modality("camera", 6, ("channel", "lidar")), "'lidar', which is unknown"),
        (view, Modality("camera", 6, ("channel", "environment")), "what it joins has 64"),
        ({"view": Instruction("channel", "view", 2)}, Modality("camera", 6), "one that reads it"),
        ({"view": Instruction("channel", "view", 0)}, None, "0 outputs"),
    ]
    for instructions, modality, says in wrong:
        with pytest.raises(InputError, match=says):
            model.add(instructions, modality)
    for name, length, joins in (("a b", 6, ()), ("camera", 0, ()), ("camera", 6, ("channel",)), ("lora_A", 6, ())):
        with pytest.raises(InputError, match=name):
            Modality(name, length, joins)
    after = snapshot(model)
    assert same(before, after)
    assert before[0].keys() == after[0].keys()
    with pytest.raises(InputError, match=r"channel has \[N, 32\]"):
        model("los", torch.zeros(3, 1))


@pytest.mark.parametrize("design", [{"same_prompt": True}, {"rank": 0}, {"light": ("position",)}, {"whole": True}])
def test_every_design_takes_an_addition(design: dict[str, Any]) -> None:
    model = build(Design(backbone="tiny", embedding=LENGTH, **design)).eval()
    before = snapshot(model)
    fresh = model.add({"view": Instruction("camera", "view", 2)}, Modality("camera", 6))
    assert same(before, snapshot(model))
    out = model("view", torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    out.square().sum().backward()
    moved = [name for name, value in fresh.items() if value.grad is not None]
    assert {name.split(".")[0] for name in moved} >= {"adapters", "prefixes", "heads"}
    assert any(".lora_B" in name for name in moved) == (design.get("rank", 8) > 0 and not design.get("whole"))


def test_figures_against_closed_forms() -> None:
    truth = torch.tensor([0, 0, 1, 2])
    assert figures("classes", torch.eye(3)[[0, 1, 1, 2]], truth) == {"accuracy": 0.75, "majority": 0.5}
    values = torch.tensor([[0.0, 0.0], [4.0, 2.0]])
    found = figures("values", values + torch.tensor([3.0, 4.0]), values)
    assert found == pytest.approx({"rmse": 12.5**0.5, "rmse_of_mean": 2.5**0.5, "error_median": 5, "error_p90": 5})
