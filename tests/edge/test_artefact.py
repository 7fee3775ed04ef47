"""What is published is read first, and what is named by its release is loaded as it was published."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("tuf", reason="tuf is missing: pip install 'uniair[registry]'")

import uniair
from tests.explanation.calibration import calibration_of
from tests.site.make import PLACES, add_code, town
from uniair.cli import main
from uniair.edge.artefact import check, describe
from uniair.errors import InputError
from uniair.files import sha256
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.head import Head
from uniair.radio import Radio
from uniair.releases import node
from uniair.releases.keys import Keys
from uniair.releases.node import Node
from uniair.releases.repository import Registry
from uniair.site.extrapolation import remarks
from uniair.site.site import Site, Station
from uniair.tasks.registry import TASKS
from uniair.training.checkpoint import digest, save_model
from uniair.training.feedback_adaptation import load_feedback
from uniair.training.forecasting import PACKAGED, load_forecaster
from uniair.training.heads import Adaptation, load_head, save_head
from uniair.training.instruction import load_instruct

SMALL = digest(uniair.load("small"))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv(node.HOME, str(tmp_path / "node"))
    made = Registry(tmp_path / "registry")
    root = made.create(Keys(tmp_path / "keys"))
    Node.trust((tmp_path / "registry").resolve().as_uri(), root)
    return made


def publish(registry: Registry, name: str, what: str, model: str | None = None) -> str:
    """Publishes and pulls; the name to load it by."""
    release = registry.publish(name, describe(what, model), Keys(registry.folder.parent / "keys"), "0")
    node = Node.required()
    node.pull(name, release.version, None if release.kind == "head" else check)
    return f"registry:{release}"


def tiny(folder: Path, seed: int = 0) -> str:
    torch.manual_seed(seed)
    save_model(uniair.build("tiny"), folder)
    return str(folder)


def beam_head(path: Path, model: str = "small") -> str:
    head, wanted = Head(TASKS["beam"].widths), Adaptation("beam", "channel")
    save_head(path, head, wanted, uniair.load(model), Radio(), {})
    return str(path)


def site(folder: Path, model: str) -> Site:
    made = Site(folder, town(), (Station("bs0", (*PLACES[0], 6.0)),), model, digest(uniair.load(model)))
    beam_head(made.head("beam", "channel", 0))
    made.write()
    return made


def test_a_model_is_loaded_as_it_was_published(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").write_text("moments of Adam, which no node needs")
    named = publish(registry, "mine", tiny(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run")
    (release,) = registry.releases()
    assert named == "registry:mine@1"
    assert set(release.files) == {"config.json", "model.safetensors"}
    assert digest(uniair.load(named)) == release.weights
    assert release.radio == json.loads(json.dumps(Radio().to_json()))
    assert uniair.load(named).preset.name == "tiny"


def test_what_validation_taught_goes_along(registry: Registry, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "run")
    weights = digest(uniair.load(folder))
    calibration_of(weights).write(Path(folder) / "calibration.json")
    named = publish(registry, "mine", folder)
    assert set(registry.releases()[0].files) == {"config.json", "model.safetensors", "calibration.json"}
    found = uniair.load_calibration(named, uniair.load(named))
    assert found is not None
    assert found.weights == weights
    calibration_of("0" * 16).write(Path(folder) / "calibration.json")
    with pytest.raises(InputError, match=r"calibration\.json"):
        describe(folder)


def test_weights_that_are_not_what_their_release_says(registry: Registry, tmp_path: Path) -> None:
    """Signed by a keeper who is mistaken: the files are whole, but of another model."""
    wrong = replace(describe(tiny(tmp_path / "run")), weights=SMALL)
    release = registry.publish("mine", wrong, Keys(tmp_path / "keys"), "0")
    here = Node.required()
    with pytest.raises(InputError, match=f"mine@1: is signed as of weights {SMALL}, but its files are of"):
        here.pull("mine", check=check)
    assert not here.has(release)
    here.pull("mine")
    with pytest.raises(InputError, match=f"mine@1: is signed for the weights {SMALL}, not for"):
        uniair.load("registry:mine@1")


def test_a_head_goes_with_one_models_weights(registry: Registry, tmp_path: Path) -> None:
    model = uniair.load("small")
    named = publish(registry, "beam", beam_head(tmp_path / "beam.safetensors"), "small")
    (release,) = registry.releases()
    assert (release.kind, release.weights, set(release.files)) == ("head", SMALL, {"beam.safetensors", "beam.json"})
    z = torch.nn.functional.normalize(torch.ones(1, 128), dim=1)
    there = load_head(tmp_path / "beam.safetensors", model, "beam").head(z)
    torch.testing.assert_close(load_head(Path(named), model, "beam").head(z), there, rtol=0, atol=0)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)  # trained further: the preset is the same, the weights are not
    with pytest.raises(InputError, match=f"beam@1: is signed for the weights {SMALL}, not for"):
        load_head(Path(named), model, "beam")
    with pytest.raises(InputError, match="a head fits one model's weights; give them as --model"):
        describe(str(tmp_path / "beam.safetensors"))
    with pytest.raises(InputError, match="on preset small, not for beam on tiny"):
        describe(str(tmp_path / "beam.safetensors"), tiny(tmp_path / "run"))


def test_a_code_for_feedback_is_published_like_a_head(registry: Registry, tmp_path: Path) -> None:
    model, made = uniair.load("small"), site(tmp_path / "site", "small")
    code = add_code(made, 0)
    named = publish(registry, "feedback", str(made.feedback(0)), "small")
    (release,) = registry.releases()
    assert (release.kind, release.weights) == ("head", SMALL)
    assert release.says == f"CSI feedback in up to {code.code.longest} bits"
    assert load_feedback(Path(named), model).code.digest == code.code.digest
    other = uniair.build("tiny")
    with pytest.raises(InputError, match=f"is signed for the weights {SMALL}, not for"):
        load_feedback(Path(named), other)


def test_a_site_with_its_heads_on_a_model_of_the_registry(registry: Registry, tmp_path: Path) -> None:
    model = publish(registry, "towers", "small")
    made = site(tmp_path / "site", model)
    named = publish(registry, "street", str(made.folder))
    release = registry.releases()[-1]
    assert (release.kind, release.weights) == ("site", SMALL)
    assert set(release.files) == {"site.json", "heads/beam-channel-bs0.safetensors", "heads/beam-channel-bs0.json"}
    shutil.rmtree(made.folder)
    found = Site.read(named)
    assert (found.model, list(found.heads(0))) == ("registry:towers@1", [("beam", "channel")])
    assert remarks(found.area, [("bs0", (10.0, 10.0, 6.0))], found.model) == found.remarks()
    with pytest.raises(InputError, match=r"not pulled yet|no such"):
        remarks(found.area, [("bs0", (10.0, 10.0, 6.0))], "registry:towers@9")
    torch.manual_seed(1)
    other = replace(made, folder=tmp_path / "other", weights="0" * 16)
    shutil.copytree(found.folder, other.folder)
    other.write()
    with pytest.raises(InputError, match="its heads learned on other weights of registry:towers@1"):
        describe(str(other.folder))


def test_forecasters_and_instruct_models(registry: Registry, tmp_path: Path) -> None:
    named = publish(registry, "wmlm", "forecast")
    there, here = load_forecaster(PACKAGED), load_forecaster(Path(named))
    assert all(torch.equal(a, b) for a, b in zip(there.parameters(), here.parameters(), strict=True))
    publish(registry, "ai2mmum", "instruct")
    kinds = [(one.kind, one.weights) for one in registry.releases()]
    assert kinds == [("forecaster", ""), ("instruct", SMALL)]
    assert "router.safetensors" in registry.releases()[1].files
    with pytest.raises(InputError, match="reads no CSI; leave it out"):
        describe("forecast", "small")
    tower = uniair.load(tiny(tmp_path / "run"))
    save_model(WMLM(ForecastPreset(width=64, modalities=("power", "csi"), beams=8), tower), tmp_path / "csi")
    with pytest.raises(InputError, match="reads CSI; give the model that it reads it through as --model"):
        describe(str(tmp_path / "csi"))
    assert describe(str(tmp_path / "csi"), str(tmp_path / "run")).weights == digest(tower)
    with pytest.raises(InputError, match="reads CSI through other towers"):
        describe(str(tmp_path / "csi"), tiny(tmp_path / "other", seed=1))


def test_edge_packages_by_their_card(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    (folder / "uniair_edge" / "__pycache__").mkdir(parents=True)
    for name in ("cfenn.onnx", "uniair_edge/runner.py", "uniair_edge/__pycache__/runner.pyc", ".hidden"):
        (folder / name).write_text(name)
    card = {
        "format": "uniair-edge/2", "weights": SMALL, "model": "small", "radio": Radio().to_json(), "stations": [],
        "heads": [], "sha256": {"cfenn.onnx": sha256(folder / "cfenn.onnx")},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    publish(registry, "edge", str(folder))
    (release,) = registry.releases()
    assert (release.kind, set(release.files)) == ("edge", {"card.json", "cfenn.onnx", "uniair_edge/runner.py"})
    (folder / "cfenn.onnx").write_text("another")
    with pytest.raises(InputError, match=r"cfenn\.onnx: is not what card\.json says; export the package again"):
        describe(str(folder))


@pytest.mark.parametrize("what", ["nowhere", "empty", "text", "broken", "linked"])
def test_what_can_not_be_published(what: str, tmp_path: Path) -> None:
    folder = tmp_path / what
    if what in ("empty", "broken", "linked"):
        folder.mkdir()
    if what == "text":
        folder.write_text("a note")
    if what in ("broken", "linked"):
        tiny(folder)
    if what == "broken":
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[:-9])
    if what == "linked":
        (folder / "model.safetensors").rename(tmp_path / "there")
        (folder / "model.safetensors").symlink_to(tmp_path / "there")
    line = {
        "nowhere": "neither a packaged model nor a folder", "empty": "holds nothing that can be published",
        "text": "not a head of uniair adapt", "broken": "truncated", "linked": "a link to another file",
    }[what]  # fmt: skip
    with pytest.raises(InputError, match=line):
        describe(str(folder))


def test_a_node_loads_signed_weights_alone(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through every loader."""
    loose = tiny(tmp_path / "run")
    made = site(tmp_path / "site", "small")
    shutil.copytree(PACKAGED, tmp_path / "wmlm")
    shutil.copytree(PACKAGED.parent / "instruct", tmp_path / "instruct")
    head = made.head("beam", "channel", 0)
    model = uniair.load("small")
    Node.trust(Node.required().registry, registry.folder / "metadata" / "1.root.json", signed_only=True)
    for load in (
        lambda: uniair.load(loose),
        lambda: Site.read(made.folder),
        lambda: load_forecaster(tmp_path / "wmlm"),
        lambda: load_instruct(tmp_path / "instruct"),
        lambda: load_head(head, model, "beam"),
        lambda: load_feedback(made.feedback(0), model),
    ):
        with pytest.raises(InputError, match="is signed by nobody, and this node loads signed weights alone"):
            load()
    assert digest(uniair.load("small")) == digest(model)
    assert load_forecaster(PACKAGED).preset.beams == 64
    monkeypatch.setenv(node.HOME, str(tmp_path / "keeper"))  # where nothing is trusted, things are published
    named = registry.publish("street", describe(str(made.folder)), Keys(tmp_path / "keys"), "0")
    monkeypatch.setenv(node.HOME, str(tmp_path / "node"))
    Node.required().pull("street", check=check)
    found = Site.read(f"registry:{named}")
    assert load_head(found.head("beam", "channel", 0), model, "beam").inputs == "channel"


def test_the_commands_answer_bad_input_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(node.HOME, str(tmp_path / "node"))
    monkeypatch.delenv("UNIAIR_REGISTRY_PASSPHRASE", raising=False)
    (tmp_path / "phrase").write_text("a passphrase\n")
    opened = ["--keys", str(tmp_path / "keys"), "--passphrase_file", str(tmp_path / "phrase")]
    here = str(tmp_path / "registry")
    for words, says in (
        (["init", here], "give --keys"),
        (["init", here, "--keys", str(tmp_path / "keys")], "the keys need a passphrase"),
        (["init", here, "--keys", f"{here}/keys", "--without_passphrase", "true"], "lies in the registry"),
        (["init", here, *opened, "--days", "0"], "--days 0: give more than 0"),
        (["publish", here, "small", "--name", "base", *opened], "no registry there"),
        (["serve", here], "no registry there"),
        (["list"], "this node trusts no registry"),
        (["list", "http://127.0.0.1:9"], "trust it first"),
        (["pull", "base"], "this node trusts no registry"),
        (["trust", here], "give --root"),
    ):
        assert main(["registry", *words]) == 2, words
        message = capsys.readouterr().err
        assert says in message
        assert message.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["phrase"]
    assert main(["registry", "init", here, *opened]) == 0
    tiny(tmp_path / "run")
    ours = ["registry", "publish", here, str(tmp_path / "run")]
    assert main([*ours, "--name", "base", *opened, "--note", "first", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["release"] == "base@1"
    assert main([*ours, "--name", "base", *opened]) == 0
    assert "was there already" in capsys.readouterr().out
    (tmp_path / "phrase").write_text("another one\n")
    for words, says in (
        ([*ours, *opened], "give --name"),
        ([*ours, "--name", "../base", *opened], "takes small letters and digits"),
        ([*ours, "--name", "new", *opened], "the passphrase is wrong"),
        ([*ours, "--name", "new", "--model", "small", *opened], "says itself which model it goes with"),
        (["registry", "rollback", here, "base", *opened], "give the version to go back to"),
        (["registry", "rollback", here, "base@4", *opened], "no such version; the registry has base@1 to base@1"),
        (["registry", "refresh", here, *opened], "the passphrase is wrong"),
        (["zeroshot", "x", "--model", "registry:base@1"], "this node trusts no registry"),
        (["registry", "trust", here, "--root", str(tmp_path / "phrase")], "no signed registry"),
    ):
        assert main(words) == 2, words
        message = capsys.readouterr().err
        assert says in message
        assert message.count("\n") == 1
    assert main(["registry", "trust", here, "--root", f"{here}/metadata/1.root.json"]) == 0
    capsys.readouterr()
    assert main(["registry", "pull", "base", "--model", "small"]) == 2
    assert "base@1: is signed for the weights" in capsys.readouterr().err
    assert main(["registry", "pull", "base"]) == 0
    assert main(["registry", "list", "--offline", "true", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["here"] == ["base@1"]
    assert uniair.load("registry:base@1").preset.name == "tiny"
