"""`uniair instruct ask` on an area of several stations, without a language model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.commands import instruct_ask
from uniair.commands.instruct_ask import AskedLinks, area_of
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.models.router import Route
from uniair.models.universal import RadioWarning
from uniair.radio import OFDM, UPA, Radio
from uniair.tasks.answers import Answers, Declined
from uniair.tasks.asking import Assistant
from uniair.tasks.path_loss import PATH_LOSS, PathLoss
from uniair.tasks.registry import TASKS
from uniair.tasks.scene import NoLinkError


class ByWords:
    """Stands in for the router: an instruction's own words decide."""

    def route(self, instruction: str) -> Route:
        return Route(None, dict.fromkeys(TASKS, 0.2))

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        return [1.0] * len(words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stations that both have links to the first six users; the first has six more."""
    first = geometric_links(seed=5, areas=1, per_area=12)
    bs = np.repeat(first.bs[:1], 12, axis=0)
    one = replace(first, bs=bs)
    other = replace(first, bs=np.repeat(first.bs[-1:], 12, axis=0)).select(np.arange(6)[::-1])
    links = type(one).concatenate([one, other]).merged()
    path = tmp_path_factory.mktemp("asked") / "links"
    shards.write_shard(path / "links-00000.safetensors", links)
    shards.write_manifest(path, {"made": "by a test"}, "a test")
    return path


@pytest.fixture(scope="module")
def area(folder: Path) -> AskedLinks:
    return area_of(Store(folder), 0, 3)


@pytest.fixture
def assistant(area: AskedLinks) -> Assistant:
    torch.manual_seed(0)
    towers = uniair.build("tiny")
    weight = {name: torch.randn(towers.preset.embedding, task.widths[-1]) for name, task in TASKS.items()}
    temperatures = {"los": 1.0, "beam": 1.0}
    return Assistant(lambda task, z: z @ weight[task], towers, ByWords(), temperatures, scene=area)


def test_stations_and_users_are_numbered_as_they_come(area: AskedLinks) -> None:
    assert (area.stations, area.users, area.here) == (("bs0", "bs1"), 12, (0, 3))
    assert area.rows is not None
    assert area.rows[0].tolist() == list(range(12))
    assert area.rows[1].tolist() == [17, 16, 15, 14, 13, 12] + [-1] * 6
    known = area.known
    assert known is not None
    given = area.links(1, [4, 0])
    batch = batch_of(known.select(np.array([13, 17])))
    torch.testing.assert_close(given.csi, batch.csi)
    with pytest.raises(NoLinkError, match="no link between bs1 and user 7"):
        area.links(1, [7])


def test_links_and_places_are_asked_about(assistant: Assistant, area: AskedLinks) -> None:
    said = assistant.ask("Is user 4 better served by bs0 or bs1?")
    assert isinstance(said, Answers)
    assert len(said.parts) == 2
    whole = area.links(0, [4]).environment
    assert whole is not None
    named = assistant.ask("path loss of user 4 from bs0")
    x, y, z = whole.ue[0].tolist()
    there = assistant.ask(f"path loss from bs0 at ({x} m, {y} m), {z} m above ground")
    assert isinstance(named, PathLoss)
    assert isinstance(there, PathLoss)
    torch.testing.assert_close(there.db, named.db)
    missing = assistant.ask("beam of bs1 for user 9")
    assert isinstance(missing, Declined)
    assert "no link between bs1 and user 9" in missing.message


def test_the_truth_is_of_those_that_were_named(
    folder: Path, assistant: Assistant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assistant.scene = None
    monkeypatch.setattr(uniair, "load_instruct", lambda *_: assistant, raising=False)
    options: dict[str, Any] = {
        "run": "",
        "model": "",
        "backbone": None,
        "area": 0,
        "link": 3,
        "csi": None,
        "radio": None,
        "representations": None,
        "tools": False,
    }
    asked = SimpleNamespace(links=str(folder), instruction="Path loss of users 4 and 5 from bs1", **options)
    found = instruct_ask.run(asked)
    printed = capsys.readouterr().out
    links = Store(folder)[0]
    truth = PATH_LOSS.target(batch_of(links.select(np.array([13, 12]))))
    lines = [f"user {user}, bs1: {PATH_LOSS.words(value)}" for user, value in zip((4, 5), truth, strict=True)]
    assert found["truth"] == lines
    assert all(f"(simulated truth: {line})" in printed for line in lines)
    front = instruct_ask.run(SimpleNamespace(links=str(folder), instruction="Path loss?", **options))
    assert front["truth"] == [PATH_LOSS.words(PATH_LOSS.target(batch_of(links.select(np.array([3]))))[0])]
    place = instruct_ask.run(SimpleNamespace(links=str(folder), instruction="Path loss at (50 m, 60 m)", **options))
    assert place["truth"] == []
    assert "these links are of" in place["extrapolated"]
    assistant.learned = Store(folder).areas[0]
    same = instruct_ask.run(SimpleNamespace(links=str(folder), instruction="Path loss?", **options))
    assert same["learned_from"] == assistant.learned
    assert "extrapolated" not in same
    assistant.learned = "elsewhere/00000"
    capsys.readouterr()
    other = instruct_ask.run(SimpleNamespace(links=str(folder), instruction="Path loss?", **options))
    assert other["extrapolated"].startswith("extrapolated: learned on links of elsewhere/00000, these links are of ")
    assert other["extrapolated"] in capsys.readouterr().out
    declined = instruct_ask.run(SimpleNamespace(links=str(folder), instruction="Path loss at night", **options))
    assert declined["refused"] == ("at night",)
    assert "truth" not in declined
    assert "extrapolated" not in declined


def test_tools_are_those_of_the_area(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {
        "links": str(folder),
        "area": 0,
        "link": 0,
        "csi": None,
        "radio": None,
        "run": "instruct",
        "tools": True,
        "instruction": None,
    }
    instruct_ask.run(SimpleNamespace(**options))
    for tool in json.loads(capsys.readouterr().out):
        properties = tool["function"]["parameters"]["properties"]
        assert properties["station"]["enum"] == ["bs0", "bs1"]
        assert properties["user"]["maximum"] == 11


def test_an_area_or_link_that_is_not_there_is_refused(folder: Path) -> None:
    for numbers, says in (((1, 0), "--area 1"), ((0, 18), "links 0 to 17")):
        with pytest.raises(InputError, match=says):
            area_of(Store(folder), *numbers)


def test_a_channel_of_one_s_own_radio_is_asked_about(
    folder: Path, assistant: Assistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assistant.scene = None
    monkeypatch.setattr(uniair, "load_instruct", lambda *_: assistant, raising=False)
    radio = Radio(UPA(2, 8), OFDM(32, 240e3))
    csi = batch_of(Store(folder)[0], radio).csi[3]
    np.save(tmp_path / "mine.npy", csi.numpy())

    def ask(instruction: str, **changes: Any) -> dict[str, Any]:
        options = dict.fromkeys(("links", "backbone", "representations")) | {
            "run": "", "model": "", "area": 0, "link": 0, "tools": False,
            "csi": str(tmp_path / "mine.npy"), "radio": json.dumps(radio.to_json()),
        }  # fmt: skip
        return instruct_ask.run(SimpleNamespace(instruction=instruction, **options | changes))

    with pytest.warns(RadioWarning, match="extrapolated: the position head learned on ULA of"):
        said = assistant.ask("Where is this user?", csi=csi, radio=radio)
    assert not isinstance(said, Declined)
    found = ask("Where is this user?")
    assert found["answers"] == said.to_json()["answers"]
    assert "the position head learned on ULA of" in found["extrapolated"]
    with pytest.raises(InputError, match=r"train one for this array"):
        ask("Which precoder should the base station use?")
    with pytest.raises(InputError, match=r"CSI has shape \(1, 16, 32\), expected \[N, 32, 64\]"):
        ask("Where is this user?", radio=None)
    with pytest.raises(InputError, match="--radio is of --csi"):
        ask("Where is this user?", csi=None)
    with pytest.raises(InputError, match="subcarriers out of order"):
        ask("Where is this user?", radio='{"grid": {"kind": "subcarriers", "tones": [0, 2e6, 1e6]}}')
