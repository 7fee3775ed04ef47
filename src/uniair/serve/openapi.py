"""What the API says of itself in /openapi.json: bodies that the service reads by itself, with examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from uniair.serve import examples, schema
from uniair.serve.bodies import JSON, MSGPACK, NPY
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Task

ONE = {"station": 0, "link": 0}
RADIO = {"type": "string", "contentMediaType": JSON, "maxLength": 4000}  # in a query; for longer ones there is msgpack
AT = {"station": 0, "ue": [[75.0, 40.0, 1.5]]}
ZERO_SHOT: dict[
    str, tuple[type[schema.Body], type[BaseModel], dict[str, Any]]
] = {  # path → body, answer, example; each is answered by the method of its name, see `method_of`
    "/encode": (schema.Encode, schema.Embedding, {"csi": schema.small_csi()}),
    "/los": (schema.Asked, schema.LineOfSight, ONE),
    "/rank": (schema.Asked, schema.Ranking, ONE | {"ue": [[75.0, 40.0, 1.5], [90.0, 40.0, 1.5]]}),
    "/likelihood": (schema.Likelihood, schema.Field2D, ONE | {"step": 10.0}),
    "/explain": (schema.Explain, schema.Explained, ONE),
    "/audit": (schema.AuditOf, schema.Audited, {"station": 0, "channels": 20}),
    "/ask": (schema.Ask, schema.Said, ONE | {"instruction": "Where is this user?"}),
    "/feedback/encode": (schema.Bits, schema.Sent, ONE | {"length": 96}),
    "/feedback/decode": (schema.Message, schema.Channels, examples.MESSAGE | {"station": 0}),
    "/complete": (schema.Pilots, schema.Channels, {"csi": schema.small_csi(), "known": examples.comb(), "snr": 10.0}),
    "/forecast": (schema.Step, schema.Beams, {"session": "car-7", "beam": 12}),
}


@dataclass(frozen=True)
class Question:
    """A request with a body.

    Attributes:
        body, answer: their models.
        example: of a body.
        answered: what an answer looks like.
        task: whose light head answers; None: nothing is tuned for it.
    """

    body: type[schema.Body]
    answer: type[BaseModel]
    example: dict[str, Any]
    answered: dict[str, Any]
    task: Task | None = None


def method_of(path: str) -> str:
    """The name of what answers a path."""
    return path.removeprefix("/").replace("/", "_")


def questions() -> dict[str, Question]:
    """The requests with a body, by their path: a task's own, where no zero-shot question has that name."""
    found = {path: Question(*parts, examples.POST[path]) for path, parts in ZERO_SHOT.items()}
    for name, task in TASKS.items():
        place = "environment" in task.inputs
        body, example = (schema.Place, AT) if place else (schema.Channel, ONE)
        if f"/{name}" not in found:
            found[f"/{name}"] = Question(body, schema.answers_of(task), example, examples.of_task(task), task)
    return found


ABOUT = """Answers about one site: its coverage, and those of its model and heads, where a model was asked about it.
Metres from the site's south-west corner, x east, y north.

CSI is complex [N, antennas, subcarriers] of the site's radio, which /site has, or of the one that `radio` beside it
names, as uniair.Radio.to_json gives it:
{"array": {"kind": "upa", "rows": 4, "columns": 8}, "grid": {"kind": "ofdm", "subcarriers": 128, "spacing": 240000.0}}.
What is left out is paper 1's. It comes as JSON, as a .npy body (other fields are then query parameters, each in JSON),
or in msgpack as {"shape", "dtype", "data"}. Accept: application/msgpack, or application/x-npy where the answer is an
array, gives answers in those forms. Answers say the radio, and remarks on what differs from what model and head know;
beams and precoders are of the site's array alone."""
WRONG = [
    (400, "A value that makes no sense."), (401, "No token, or a wrong one."),
    (404, "No such station, link, head, user or file."), (408, "The body did not come in time."),
    (409, "No model was asked about this site."), (413, "Too large."),
    (415, "Another content type."), (422, "The body does not fit the schema, or the CSI its radio."),
    (503, "Busy: come back after Retry-After seconds."), (504, "It took too long."),
]  # fmt: skip


def request_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The forms that a request's body may have."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds: dict[str, Any] = {JSON: {"schema": _reference(model), "example": example}, MSGPACK: binary}
    return {"required": True, "content": kinds | ({NPY: binary} if _as_npy(model) else {})}


def parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields beside a .npy body."""
    beside = {"station", "link", "step", "instruction", "radio", "length", "search", "taken_off"}
    plain = beside if _as_npy(model) else set()
    properties = model.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": RADIO if name == "radio" else properties[name],
         "description": "Beside a .npy body, in JSON."}
        for name in properties if name in plain
    ]  # fmt: skip


def _as_npy(model: type[BaseModel]) -> bool:
    """Whether an array may be the body: the CSI, beside which no other array is needed."""
    return "csi" in model.model_fields and "known" not in model.model_fields


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def describe(app: FastAPI) -> dict[str, Any]:
    """The schema, with the models of bodies that the routes read themselves."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document["components"]["schemas"]
        for model in {question.body for question in questions().values()}:
            found = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= found.pop("$defs", {}) | {model.__name__: found}
        _add_examples(document["paths"])
        app.openapi_schema = document
    return app.openapi_schema


def _add_examples(paths: dict[str, Any]) -> None:
    """What each path answers; the framework would leave out what is null in it."""
    shown = [("get", path, example) for path, example in examples.GET.items()]
    shown += [("post", path, question.answered) for path, question in questions().items()]
    for method, path, example in shown:
        if path in paths:
            content = paths[path][method]["responses"]["200"].setdefault("content", {})
            content.setdefault(JSON, {})["example"] = example
