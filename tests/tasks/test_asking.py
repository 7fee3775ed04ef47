from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import uniair
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.router import Route
from uniair.models.universal import UniversalModel
from uniair.radio import ULA, Radio
from uniair.tasks.answers import Answers, Declined, Question
from uniair.tasks.asking import ARGUMENTS, INPUTS, Assistant, tools
from uniair.tasks.beam import Beam
from uniair.tasks.los import LineOfSight
from uniair.tasks.path_loss import PathLoss
from uniair.tasks.position import Position
from uniair.tasks.precoding import Precoder
from uniair.tasks.registry import TASKS
from uniair.tasks.scene import Given, NoLinkError, Scene

TEMPERATURES = {"los": 2.0, "beam": 0.5}
QUESTIONS = {"where?": "position", "los?": "los", "weights?": "precoding", "beam?": "beam", "loss?": "path_loss"}


class ByHeart:
    """Stands in for the router."""

    def route(self, instruction: str) -> Route:
        return Route(QUESTIONS.get(instruction), {})

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        return [1.0] * len(words)


class ByWords(ByHeart):
    """Stands in for the router: an instruction's own words decide."""

    def route(self, instruction: str) -> Route:
        return Route(None, dict.fromkeys(TASKS, 0.2))


TWO_STATIONS = Scene(("bs0", "bs1"), 3, size=100.0, here=(0, 1))


@dataclass(frozen=True, eq=False)
class Held(Scene):
    """Links that a host holds: all of them to two stations, but for user 2's to the second one."""

    csi: Any = None  # [stations, users, ports, subcarriers]
    environment: Environment | None = None

    def links(self, station: int, users: Sequence[int]) -> Given:
        if station == 1 and 2 in users:
            raise NoLinkError("there is no link between bs1 and user 2")
        known = self.environment
        assert known is not None
        index = list(users)
        n = len(index)
        place = Environment(known.map, np.tile(known.bs[station], (n, 1)), known.ue[index], size=known.size[:n])
        return Given(self.csi[station][index], place)

    def place(self, station: int, positions: Any) -> Given:
        known, n = self.environment, len(positions)
        assert known is not None
        ue = positions.astype(np.float32)
        return Given(environment=Environment(known.map, np.tile(known.bs[station], (n, 1)), ue, size=known.size[:n]))


class LinearModel:
    """Stands in for AI²MMUM: a fixed linear map a task, which counts how often it is asked."""

    def __init__(self, embedding: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = {
            name: torch.randn(embedding, task.widths[-1], generator=generator) for name, task in TASKS.items()
        }
        self.asked = 0

    def __call__(self, task: str, z: Tensor) -> Tensor:
        self.asked += 1
        return 3 * z @ self.weight[task]


@pytest.fixture(scope="module")
def towers() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


@pytest.fixture
def model(towers: UniversalModel) -> LinearModel:
    return LinearModel(towers.preset.embedding)


@pytest.fixture
def assistant(model: LinearModel, towers: UniversalModel) -> Assistant:
    return Assistant(model, towers, ByHeart(), TEMPERATURES)


@pytest.fixture(scope="module")
def csi() -> Tensor:
    return torch.randn(3, 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def place() -> Environment:
    rng = np.random.default_rng(0)
    occupancy = (rng.random((1, 32, 32)) > 0.7).astype(np.uint8)
    bs, ue = (rng.uniform(0, 100, (3, 3)).astype(np.float32) for _ in range(2))
    return Environment(map=occupancy, bs=bs, ue=ue, size=np.full(3, 100.0, np.float32))


def single(place: Environment, i: int = 0) -> dict[str, Any]:
    """One link of a place as the JSON of a tool call."""
    return {
        "map": place.map[0].tolist(), "bs": place.bs[i].tolist(), "ue": place.ue[i].tolist(),
        "size": float(place.size[i]),
    }  # fmt: skip


def as_json(csi: Tensor) -> dict[str, Any]:
    return {"csi": {"real": csi.real.tolist(), "imag": csi.imag.tolist()}}


def test_answers_are_the_models_outputs_in_units(
    assistant: Assistant, model: LinearModel, towers: UniversalModel, csi: Tensor, place: Environment
) -> None:
    channel, environment = towers.encode_channel(csi), towers.encode_environment(place.seen_by(Radio()))
    position, loss = assistant.ask("where?", csi=csi), assistant.ask("loss?", environment=place)
    assert isinstance(position, Position)
    assert isinstance(loss, PathLoss)
    torch.testing.assert_close(position.xy, model("position", channel))
    torch.testing.assert_close(loss.db, model("path_loss", environment)[:, 0])
    assert str(loss).splitlines()[1] == f"The path loss is {float(loss.db[1]):.1f} dB."
    assert position.to_json()["answers"][2] == {"x_m": float(position.xy[2, 0]), "y_m": float(position.xy[2, 1])}


def test_probabilities_are_calibrated_by_the_tasks_temperature(
    assistant: Assistant, model: LinearModel, towers: UniversalModel, csi: Tensor, place: Environment
) -> None:
    sight, beam = assistant.ask("los?", csi=csi), assistant.ask("beam?", environment=place)
    assert isinstance(sight, LineOfSight)
    assert isinstance(beam, Beam)
    logits = model("los", towers.encode_channel(csi))
    torch.testing.assert_close(sight.probability, torch.sigmoid((logits[:, 1] - logits[:, 0]) / 2.0))
    logits = model("beam", towers.encode_environment(place.seen_by(Radio())))
    torch.testing.assert_close(beam.probabilities, (logits / 0.5).softmax(1))
    assert beam.index.tolist() == logits.argmax(1).tolist()
    assert [r["probability"] for r in beam.to_json()["answers"]] == beam.probabilities.amax(1).tolist()


def test_the_precoder_has_unit_norm_and_a_real_first_antenna(
    assistant: Assistant, model: LinearModel, towers: UniversalModel, csi: Tensor
) -> None:
    answer = assistant.ask("weights?", csi=csi)
    assert isinstance(answer, Precoder)
    torch.testing.assert_close(answer.weights.norm(dim=1), torch.ones(3))
    assert answer.weights[:, 0].imag.abs().max() < 1e-6
    assert answer.weights[:, 0].real.min() > 0
    real, imag = model("precoding", towers.encode_channel(csi)).chunk(2, dim=1)
    raw = torch.complex(real, imag)
    cosine = (raw.conj() * answer.weights).sum(1).abs() / raw.norm(dim=1)
    torch.testing.assert_close(cosine, torch.ones(3))


def test_a_beams_direction_is_the_codebooks() -> None:
    beam = Beam(torch.eye(32))
    torch.testing.assert_close(
        ULA().response(beam.direction_cosine().double()[:, None]) / 32**0.5, ULA().dft_codebook(), atol=1e-5, rtol=0
    )


def test_one_link_may_come_without_a_batch_dimension(assistant: Assistant, csi: Tensor) -> None:
    alone, among = assistant.ask("where?", csi=csi[0].numpy()), assistant.ask("where?", csi=csi)
    assert isinstance(alone, Position)
    assert isinstance(among, Position)
    torch.testing.assert_close(alone.xy, among.xy[:1])


def test_out_of_scope_is_declined_without_a_guess(assistant: Assistant, model: LinearModel, csi: Tensor) -> None:
    answer = assistant.ask("What is the SNR?", csi=csi)
    assert isinstance(answer, Declined)
    assert answer.reason == "out_of_scope"
    assert answer.task is None
    assert all(task.tells in answer.message for task in TASKS.values())
    assert model.asked == 0


@pytest.mark.parametrize("question", ["where?", "los?", "weights?"])
def test_a_channel_task_without_csi_says_so(
    assistant: Assistant, model: LinearModel, place: Environment, question: str
) -> None:
    answer = assistant.ask(question, environment=place)
    assert isinstance(answer, Declined)
    assert (answer.reason, answer.task, answer.missing) == ("missing_input", QUESTIONS[question], ("csi",))
    assert "csi" in answer.message
    assert model.asked == 0


@pytest.mark.parametrize("question", ["beam?", "loss?"])
def test_an_environment_task_names_each_missing_input(
    assistant: Assistant, model: LinearModel, csi: Tensor, place: Environment, question: str
) -> None:
    answer = assistant.ask(question, csi=csi, environment=replace(place, ue=None, size=None))
    assert isinstance(answer, Declined)
    assert answer.missing == ("ue", "size")
    assert "the user's position (ue) and the area's side (size)" in answer.message
    nothing = assistant.ask(question, csi=csi)
    assert isinstance(nothing, Declined)
    assert nothing.missing == ("map", "bs", "ue", "size")
    assert model.asked == 0


def test_the_true_los_of_an_environment_is_not_used(assistant: Assistant, place: Environment) -> None:
    blind, told = (
        assistant.ask("loss?", environment=env) for env in (place, replace(place, los=np.array([0.0, 1.0, 1.0])))
    )
    assert isinstance(blind, PathLoss)
    assert isinstance(told, PathLoss)
    assert torch.equal(blind.db, told.db)


def test_inputs_that_the_towers_refuse_are_refused(assistant: Assistant, csi: Tensor) -> None:
    with pytest.raises(InputError, match=r"CSI has shape \(3, 16, 64\), expected \[N, 32, 64\]"):
        assistant.ask("where?", csi=csi[:, :16])


def test_uncalibrated_classification_is_refused(model: LinearModel, towers: UniversalModel) -> None:
    with pytest.raises(InputError, match="beam has none above 0"):
        Assistant(model, towers, ByHeart(), {"los": 1.0})


def test_every_task_is_a_tool_of_the_function_calling_form() -> None:
    schemas = tools()
    assert {schema["function"]["name"] for schema in schemas} == {task.tool for task in TASKS.values()}
    for schema in schemas:
        assert schema["type"] == "function"
        assert set(schema["function"]) == {"name", "description", "parameters"}
        parameters = schema["function"]["parameters"]
        assert parameters["type"] == "object"
        assert {"user", "station", "carrier"} <= set(parameters["properties"]) <= {*INPUTS, *ARGUMENTS}
        assert parameters["additionalProperties"] is False
    chosen = {schema["function"]["name"] for schema in schemas
              if "candidates" in schema["function"]["parameters"]["properties"]}  # fmt: skip
    assert chosen == {"select_beam"}
    assert json.loads(json.dumps(schemas)) == schemas


def test_the_schemas_are_valid_and_take_what_the_tools_take(csi: Tensor, place: Environment) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for schema in [*tools(), *tools(TWO_STATIONS)]:
        parameters = schema["function"]["parameters"]
        jsonschema.Draft202012Validator.check_schema(parameters)
        arguments = as_json(csi[0]) if "csi" in parameters["properties"] else single(place)
        jsonschema.validate(arguments, parameters)
        jsonschema.validate({"user": 1, "station": "bs1", "carrier": 28e9}, parameters)
        for wrong in ({}, {"station": "bs1"}, {"user": -1}, {"user": 1, "speed": 3}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, parameters)


def test_the_tools_of_a_scene_say_what_it_holds() -> None:
    for schema in tools(TWO_STATIONS):
        properties = schema["function"]["parameters"]["properties"]
        assert properties["station"]["enum"] == ["bs0", "bs1"]
        assert properties["user"]["maximum"] == 2


def test_an_agent_gets_the_answers_that_people_get(assistant: Assistant, csi: Tensor, place: Environment) -> None:
    given = {"csi": as_json(csi[0]), **dict.fromkeys(("map", "bs", "ue", "size"), single(place))}
    asked = {task: question for question, task in QUESTIONS.items()}
    alone = replace(place, bs=place.bs[:1], ue=place.ue[:1], size=place.size[:1])
    for name, task in TASKS.items():
        arguments = given[task.needs[0]]
        answer = json.loads(assistant.call(task.tool, json.dumps(arguments)))
        expected = assistant.ask(asked[name], csi=csi[:1], environment=alone).to_json()
        assert answer["task"] == name
        for key, value in expected["answers"][0].items():
            assert answer["answers"][0][key] == pytest.approx(value, abs=1e-4)
        assert json.loads(assistant.call(task.tool, arguments)) == answer


def test_an_agent_may_name_what_the_host_holds(
    model: LinearModel, towers: UniversalModel, csi: Tensor, place: Environment
) -> None:
    held = {"ue-1": csi[1], "all": csi, "town": place.map[0]}
    assistant = Assistant(model, towers, ByHeart(), TEMPERATURES, held)
    one, every = (json.loads(assistant.call("estimate_position", {"csi": name})) for name in ("ue-1", "all"))
    assert len(every["answers"]) == 3
    assert one["answers"][0] == pytest.approx(every["answers"][1], abs=1e-4)
    named = json.loads(assistant.call("predict_path_loss", {**single(place), "map": "town"}))
    assert named == json.loads(assistant.call("predict_path_loss", single(place)))


def test_a_tool_call_without_an_input_is_declined(assistant: Assistant, place: Environment) -> None:
    answer = json.loads(assistant.call("select_beam", {"bs": single(place)["bs"]}))
    assert answer["declined"] == "missing_input"
    assert answer["missing"] == ["map", "ue", "size"]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("fly", "{}", "no tool 'fly'"),
        ("estimate_position", "{csi", "not JSON"),
        ("estimate_position", "[1]", "give an object"),
        ("predict_path_loss", '{"csi": "x"}', "no csi in this tool"),
        ("estimate_position", '{"csi": "x"}', "nothing is held under the name 'x'"),
        ("estimate_position", '{"csi": {"real": [[1]]}}', "not of the form"),
        ("estimate_position", '{"csi": [[1]]}', "not of the form"),
        ("identify_los", '{"csi": {"real": [[1]], "imag": [[0]]}}', "expected [N, 32, 64]"),
        ("select_beam", '{"map": [[0]], "bs": [1, 2], "ue": [1, 2, 3], "size": 9}', "bs has shape (1, 2)"),
    ],
)
def test_an_agents_mistakes_come_back_as_json(assistant: Assistant, name: str, arguments: str, says: str) -> None:
    assert says in json.loads(assistant.call(name, arguments))["error"]


# users and stations that are named


@pytest.fixture
def host(model: LinearModel, towers: UniversalModel, place: Environment) -> Assistant:
    """Knows two stations and three users."""
    csi = torch.randn(2, 3, 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    scene = Held(("bs0", "bs1"), 3, Radio(), 100.0, (0, 1), csi, place)
    return Assistant(model, towers, ByWords(), TEMPERATURES, scene=scene)


def test_words_choose_users_stations_and_candidates(host: Assistant) -> None:
    scene = host.scene
    assert isinstance(scene, Held)
    front, named = host.ask("Where is this user?"), host.ask("Where is user 2?")
    assert isinstance(front, Position)
    assert isinstance(named, Position)
    torch.testing.assert_close(named.xy, host.model("position", host.towers.encode_channel(scene.csi[0, 2:])))
    torch.testing.assert_close(front.xy, host.model("position", host.towers.encode_channel(scene.csi[0, 1:2])))
    assert front.subjects == ()
    assert str(named).startswith("User 2, bs0: The user is ")
    beam = host.ask("Top 3 beams of bs1 for users 0 and 1")
    assert isinstance(beam, Beam)
    both = scene.links(1, [0, 1]).environment
    assert both is not None
    z = host.towers.encode_environment(both.seen_by(Radio()))
    torch.testing.assert_close(beam.probabilities, (host.model("beam", z) / 0.5).softmax(1))
    for entry, row in zip(beam.to_json()["answers"], beam.probabilities, strict=True):
        assert [c["beam"] for c in entry["candidates"]] == row.topk(3).indices.tolist()
        assert (entry["station"], entry["candidates"][0]["beam"]) == ("bs1", entry["beam"])
    assert str(beam).count("Then ") == 2


def test_a_position_is_asked_about_on_the_hosts_map(host: Assistant) -> None:
    scene = host.scene
    assert isinstance(scene, Held)
    loss = host.ask("path loss from bs1 at x = 20 m, y = 70 m")
    assert isinstance(loss, PathLoss)
    there = scene.place(1, np.array([[20.0, 70.0, 1.5]])).environment
    assert there is not None
    expected = host.model("path_loss", host.towers.encode_environment(there.seen_by(Radio())))
    torch.testing.assert_close(loss.db, expected[:, 0])
    assert loss.to_json()["answers"][0]["ue"] == [20.0, 70.0, 1.5]
    position = host.ask("Where is the user at (20 m, 70 m)?")
    assert isinstance(position, Declined)
    assert position.missing == ("csi",)


def test_comparisons_are_ordered_by_the_answers(host: Assistant) -> None:
    said = host.ask("Is user 1 better served by bs0 or bs1?")
    assert isinstance(said, Answers)
    first, second = said.parts
    assert isinstance(first, PathLoss)
    assert isinstance(second, PathLoss)
    better = ("bs0", "bs1") if first.db[0] <= second.db[0] else ("bs1", "bs0")
    [order] = said.to_json()["orders"]
    assert order == {"among": "user 1", "best_first": better}
    assert str(said).endswith(f"For user 1, best first: {', '.join(better)}.")
    users = host.ask("Which of users 0, 1 and 2 is most likely in line of sight?")
    assert isinstance(users, Answers)
    [sight] = users.parts
    assert isinstance(sight, LineOfSight)
    [order] = users.to_json()["orders"]
    assert order["best_first"] == tuple(f"user {i}" for i in sight.probability.argsort(descending=True).tolist())
    turned = host.ask("Which of users 0, 1 and 2 is least likely in line of sight?")
    assert isinstance(turned, Answers)
    assert turned.to_json()["orders"] == [order]
    assert str(turned).endswith(f"orst first: {', '.join(reversed(order['best_first']))}.")


def test_a_chain_answers_each_and_says_what_one_leaves_out(host: Assistant) -> None:
    said = host.ask("Which beam for user 2, and what loss does it leave?")
    assert isinstance(said, Answers)
    assert said.to_json()["tasks"] == ["beam", "path_loss"]
    assert [entry["task"] for entry in said.entries()] == ["beam", "path_loss"]
    assert {entry["user"] for entry in said.entries()} == {2}
    assert "before any beam's gain" in str(said)
    for part, text in zip(said.parts, ("beam of user 2", "path loss of user 2"), strict=True):
        assert part.to_json() == host.ask(text).to_json()


def test_what_is_not_known_of_a_link_is_said(host: Assistant, model: LinearModel) -> None:
    for text in ("path loss from bs1 to user 2", "Does bs0 or bs1 see user 2?"):
        said = host.ask(text)
        assert isinstance(said, Declined)
        assert said.reason == "missing_input"
        assert "no link between bs1 and user 2" in said.message
    model.asked = 0
    for text, kind in (("Where is user 9?", Question), ("Where is user 1 at night?", Declined)):
        assert isinstance(host.ask(text), kind)
    assert model.asked == 0


def test_without_a_scene_users_are_the_rows_that_are_given(
    model: LinearModel, towers: UniversalModel, csi: Tensor, place: Environment
) -> None:
    rows = Assistant(model, towers, ByWords(), TEMPERATURES)
    every, one = rows.ask("Where are all users?", csi=csi), rows.ask("Where is user 2?", csi=csi)
    assert isinstance(every, Position)
    assert isinstance(one, Position)
    torch.testing.assert_close(one.xy, every.xy[2:])
    loss, whole = rows.ask("path loss of user 1", environment=place), rows.ask("path loss", environment=place)
    assert isinstance(loss, PathLoss)
    assert isinstance(whole, PathLoss)
    torch.testing.assert_close(loss.db, whole.db[1:2])
    moved = rows.ask("path loss at (12 m, 34 m)", environment=place)
    assert isinstance(moved, PathLoss)
    there = replace(place, bs=place.bs[:1], ue=np.array([[12, 34, 1.5]], np.float32), size=place.size[:1])
    same = rows.ask("path loss", environment=there)
    assert isinstance(same, PathLoss)
    torch.testing.assert_close(moved.db, same.db)
    for text in ("Where is user 3?", "Where is user 1, from bs0?"):
        assert isinstance(rows.ask(text, csi=csi), Question)
    assert isinstance(rows.ask("path loss at (12 m, 34 m)", csi=csi), Declined)


def test_an_agent_calls_three_tools_in_a_row(host: Assistant) -> None:
    """As an LLM would: it reads the schemas, asks about a user it found out about, and mends what it is asked back."""
    schemas = {schema["function"]["name"]: schema["function"]["parameters"] for schema in tools(host.scene)}
    stations = schemas["identify_los"]["properties"]["station"]["enum"]
    seen = {
        station: json.loads(host.call("identify_los", {"user": 1, "station": station}))["answers"][0]
        for station in stations
    }
    best = max(stations, key=lambda station: seen[station]["probability_of_los"])
    asked_back = json.loads(host.call("select_beam", json.dumps({"user": 7, "station": best})))
    assert asked_back["question"] == "user"
    beam = json.loads(host.call("select_beam", json.dumps({"user": 1, "station": best, "candidates": 2})))["answers"][0]
    loss = json.loads(host.call("predict_path_loss", {"user": 1, "station": best, "carrier": 28e9}))["answers"][0]
    said = host.ask(f"Top 2 beams of {best} for user 1, and the path loss")
    assert isinstance(said, Answers)
    for mine, theirs in zip((beam, loss), said.entries(), strict=True):
        for key, value in mine.items():
            assert theirs[key] == value, key
    refused = json.loads(host.call("predict_path_loss", {"user": 1, "carrier": 3.5e9}))
    assert (refused["declined"], refused["refused"]) == ("not_honoured", ["carrier 3.5 GHz"])


def test_a_tool_call_may_name_a_place_of_the_hosts(host: Assistant, place: Environment) -> None:
    by_call = json.loads(host.call("predict_path_loss", {"ue": [20.0, 70.0, 1.5], "station": 1}))
    said = host.ask("path loss from bs1 at x = 20 m, y = 70 m")
    assert by_call["answers"][0]["path_loss_db"] == said.to_json()["answers"][0]["path_loss_db"]
    for arguments, says in (
        ({"user": 1, "ue": [20.0, 70.0, 1.5]}, "give one of them"),
        ({"user": "1"}, "not of the form"),
        ({"user": 1, "candidates": 2}, "no candidates in this tool"),
    ):
        assert says in json.loads(host.call("predict_path_loss", arguments))["error"]
    for name in ("estimate_position", "predict_path_loss"):
        assert "question" in json.loads(host.call(name, {"station": "bs9"}))
    bare = Assistant(host.model, host.towers, ByWords(), TEMPERATURES)
    assert json.loads(bare.call("estimate_position", {"user": 0}))["question"] == "user"
    assert json.loads(host.call("estimate_position", {}))["answers"]  # the user in front
