from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
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
from uniair.tasks.answers import Declined
from uniair.tasks.asking import INPUTS, Assistant, tools
from uniair.tasks.beam import Beam
from uniair.tasks.los import LineOfSight
from uniair.tasks.path_loss import PathLoss
from uniair.tasks.position import Position
from uniair.tasks.precoding import Precoder
from uniair.tasks.registry import TASKS

TEMPERATURES = {"los": 2.0, "beam": 0.5}
QUESTIONS = {"where?": "position", "los?": "los", "weights?": "precoding", "beam?": "beam", "loss?": "path_loss"}


class ByHeart:
    """Stands in for the router."""

    def route(self, instruction: str) -> Route:
        return Route(QUESTIONS.get(instruction), {})

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        return [1.0] * len(words)


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
    return Assistant(model, towers, ByHeart(), TEMPERATURES)  # type: ignore[arg-type]


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
        Assistant(model, towers, ByHeart(), {"los": 1.0})  # type: ignore[arg-type]


def test_every_task_is_a_tool_of_the_function_calling_form() -> None:
    schemas = tools()
    assert {schema["function"]["name"] for schema in schemas} == {task.tool for task in TASKS.values()}
    for schema in schemas:
        assert schema["type"] == "function"
        assert set(schema["function"]) == {"name", "description", "parameters"}
        parameters = schema["function"]["parameters"]
        assert parameters["type"] == "object"
        assert parameters["required"] == list(parameters["properties"])
        assert set(parameters["properties"]) <= set(INPUTS)
        assert parameters["additionalProperties"] is False
    assert json.loads(json.dumps(schemas)) == schemas


def test_the_schemas_are_valid_and_take_what_the_tools_take(csi: Tensor, place: Environment) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for schema in tools():
        parameters = schema["function"]["parameters"]
        jsonschema.Draft202012Validator.check_schema(parameters)
        arguments = as_json(csi[0]) if "csi" in parameters["properties"] else single(place)
        jsonschema.validate(arguments, parameters)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({}, parameters)


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
    assistant = Assistant(model, towers, ByHeart(), TEMPERATURES, held)  # type: ignore[arg-type]
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
