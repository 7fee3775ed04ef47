"""Instruction → API: free English or an agent's tool call to a task's head, and a typed answer (paper 2, III-D)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.router import Phrases, packaged_phrases
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import Radio
from uniair.tasks.answers import Answer, Answers, Declined, Order, Question, Subject
from uniair.tasks.registry import INSTRUCTIONS, TASKS
from uniair.tasks.scene import Given, NoLinkError, Outputs, Rows, Scene
from uniair.tasks.task import NEEDS, Task, listed
from uniair.tasks.words.reader import Routes, Understood, understand
from uniair.tasks.words.requests import Request, named

_MATRIX = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_POSITION = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
_NAME = {"type": "string", "description": "Name of one that the host holds."}

# what an input is, as JSON schema
INPUTS: dict[str, dict[str, Any]] = {
    "csi": {
        "description": "Channel state information, antennas × subcarriers.",
        "anyOf": [
            _NAME,
            {
                "type": "object",
                "properties": {"real": _MATRIX, "imag": _MATRIX},
                "required": ["real", "imag"],
                "additionalProperties": False,
            },
        ],
    },
    "map": {
        "description": "Square raster of the area: 1 = building, 0 = open. Row 0 is the south edge, column 0 the west.",
        "anyOf": [_NAME, _MATRIX],
    },
    "bs": {"description": "The base station's x (east), y (north), z in m from the south-west corner.", **_POSITION},
    "ue": {"description": "The user's x (east), y (north), z in m from the south-west corner.", **_POSITION},
    "size": {"description": "Side of the square area in m.", "type": "number", "exclusiveMinimum": 0},
}
# what an instruction may name besides
ARGUMENTS: dict[str, dict[str, Any]] = {
    "user": {"description": "Number of a user that the host holds, in the place of its channel or position.",
             "type": "integer", "minimum": 0},
    "station": {"description": "Name or number of a base station or sector of the host; the one in front if absent.",
                "type": ["string", "integer"]},
    "carrier": {"description": "What is asked about, Hz; declined where the radio has another.", "type": "number",
                "exclusiveMinimum": 0},
    "candidates": {"description": "How many of the likeliest to name.", "type": "integer", "minimum": 1},
}  # fmt: skip


def tools(scene: Scene | None = None, added: Iterable[Task] = ()) -> list[dict[str, Any]]:
    """The tasks as JSON schemas of tools, in the function-calling form that LLM agents take.

    Args:
        scene: the users and stations that a call may name; None: the host has not said them.
        added: tasks that a model learned later.
    """
    tasks = [*_chosen(INSTRUCTIONS), *added]
    known = INPUTS | (ARGUMENTS if scene is None else _in_scene(ARGUMENTS, scene))
    known |= {
        need: {"description": f"Representation of {need}.", "type": "array", "items": {"type": "number"}}
        for task in tasks
        for need in task.needs
        if need not in INPUTS
    }
    return [
        {
            "type": "function",
            "function": {
                "name": task.tool,
                "description": f"Tells {task.tells}, from {task.needed}, or for a user that the host holds.",
                "parameters": {
                    "type": "object",
                    "properties": {key: known[key] for key in (*_arguments(task), *task.needs)},
                    "anyOf": [{"required": ["user"]}, {"required": list(task.needs)},
                              *([{"required": ["ue"]}] if task.read == "environment" else [])],
                    "additionalProperties": False,
                },
            },
        }
        for task in tasks
    ]  # fmt: skip


def _arguments(task: Task) -> tuple[str, ...]:
    """What a task's tool takes beside its inputs."""
    return ("user", "station", "carrier", *(("candidates",) if task.candidates else ()))


def _in_scene(arguments: Mapping[str, dict[str, Any]], scene: Scene) -> dict[str, dict[str, Any]]:
    """The arguments with what the scene holds."""
    found = dict(arguments)
    found["user"] = found["user"] | {"maximum": max(0, scene.users - 1)}
    if scene.stations:
        found["station"] = {"description": found["station"]["description"], "enum": list(scene.stations)}
    return found


def phrases(tasks: Iterable[str]) -> Phrases:
    """What a router of these tasks learns from: the packaged instructions, and the phrases of tasks that they lack."""
    packaged = packaged_phrases("train")
    own = {task.name: {"own": task.phrases} for task in _chosen(tasks) if task.name not in packaged}
    return {**own, **packaged}


def representation(name: str, values: Any) -> Tensor:
    """A modality's representations, of N links or of one, as float32 [N, length].

    Raises:
        InputError: of another shape, not of real numbers, or NaN or infinite values.
    """
    found = np.atleast_2d(values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values))
    if found.dtype.kind not in "fiu":
        raise InputError(f"{name}: values of type {found.dtype}; give real numbers [N, length]")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if found.ndim != 2 or not found.size:
        raise InputError(f"{name}: representations {list(found.shape)}; give [N, length], or one link's")
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(1))[0])
        raise InputError(f"{name}: NaN or infinite values in row {row}; leave that row out, or make it again")
    return torch.from_numpy(found)


def _chosen(names: Iterable[str]) -> list[Task]:
    """Tasks by name, in the order in which AI²MMUM has them."""
    wanted = set(names)
    return [TASKS[name] for name in INSTRUCTIONS if name in wanted]


class Assistant:
    """Answers instructions and tool calls with an AI²MMUM.

    Args:
        model: task, embeddings [N, E] → outputs [N, …] of a head; in eval mode.
        towers: make the embeddings.
        router: recognises tasks, and words that limit what is asked.
        temperatures: classification → what its logits are divided by to be calibrated.
        held: CSI and maps that tool calls may give by name.
        tasks: that the model answers; all that are registered where None.
        radio: that the model's labels came from; None: the towers' own.
        scene: users and stations that instructions and tool calls may name; None: the links that come with each.
        learned: name of the area whose links the model learned from; None: not known.
        added: tasks that the model learned later, besides those named.
        later: such a task → names of the file or the areas that it learned from.

    Raises:
        InputError: no temperature above 0 for a classification task.
    """

    def __init__(
        self,
        model: Outputs,
        towers: UniversalModel,
        router: Routes,
        temperatures: Mapping[str, float],
        held: Mapping[str, Any] | None = None,
        tasks: Iterable[str] | None = None,
        radio: Radio | None = None,
        scene: Scene | None = None,
        learned: str | None = None,
        added: Iterable[Task] = (),
        later: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        radio = towers.radio if radio is None else radio
        self.tasks = [*(task.on(radio) for task in _chosen(TASKS if tasks is None else tasks)), *added]
        for task in self.tasks:
            if task.form == "classes" and not temperatures.get(task.name, 0) > 0:
                raise InputError(f"temperatures: {task.name} has none above 0; calibrate it on held-out links")
        self.model, self.towers, self.router, self.radio, self.scene = model, towers, router, radio, scene
        self.temperatures, self.held, self.learned = dict(temperatures), dict(held or {}), learned
        self.later = dict(later or {})

    def ask(
        self,
        instruction: str,
        csi: Any = None,
        environment: Environment | None = None,
        radio: Radio | None = None,
        representations: Mapping[str, Any] | None = None,
    ) -> Answer | Answers | Declined | Question:
        """Answers one instruction in free English, for the users that it names or for N links that are given.

        Args:
            instruction: such as "Where is this user?", or "Top 3 beams of bs1 for users 4 and 5".
            csi: complex [N, ports, subcarriers], or that of one link; tasks that read the channel need it. Where there
                is no scene, users are its rows, numbered from 0.
            environment: map, BS and UE positions and size; tasks that read it need all four. `los` is not used.
            radio: that measured the CSI; None: the one of the model's labels.
            representations: of added modalities that the towers do not make: name → [N, length], or one link's.

        Returns:
            An answer of one task and station; several, of a chain, stations or a comparison; why there is none; or
            what has to be said more clearly.

        Raises:
            InputError: an empty instruction or one of more than 512 tokens; inputs that the towers refuse; what stands
                for an array's ports asked of another array's CSI.
        """
        given = Given(csi, environment, radio, representations or {})
        scene = Rows.of(given, self.radio) if self.scene is None else self.scene
        said = understand(instruction, scene, self.tasks, self.router)
        if not isinstance(said, Understood):
            return said
        brings = scene.brings or (self.scene is not None and not given.nothing)
        if brings and any(request.users or request.positions for request in said.requests):
            return Question("user", "a channel or place came along, and another is named: which of them is meant?")
        found = [self._fulfil(request, scene, given) for request in said.requests]
        return _together(found, said.requests, {task.name: task for task in self.tasks})

    def learned_from(self, task: str, here: str | None) -> str | None:
        """Name of what a task was learned from: of the area that is asked about where that is among several.

        Args:
            here: name of that area; None: not known.
        """
        names = self.later.get(task)
        return self.learned if names is None else here if here in names else names[0]

    def call(self, name: str, arguments: str | Mapping[str, Any]) -> str:
        """Answers an agent's tool call in JSON: `answers`, `declined`, a `question` back, or the `error` to mend.

        Args:
            name: of one of `tools()`.
            arguments: as the agent wrote them, or already parsed.
        """
        try:
            known = {task.tool: task for task in self.tasks}
            if name not in known:
                raise InputError(f"no tool {name!r}; call one of {', '.join(known)}")
            return json.dumps(self._call(known[name], arguments).to_json())
        except InputError as error:
            return json.dumps({"error": str(error)})

    def _call(self, task: Task, arguments: str | Mapping[str, Any]) -> Answer | Answers | Declined | Question:
        parsed = self._parsed(task, arguments)
        given = {name: self._input(name, value) for name, value in parsed.items() if name not in ARGUMENTS}
        scene = Scene(radio=self.radio) if self.scene is None else self.scene
        request = named(task, {name: value for name, value in parsed.items() if name in ARGUMENTS}, scene)
        if not isinstance(request, Request):
            return request
        if request.users and given:
            raise InputError(f"user and {', '.join(given)}: the host knows the user's; give one of them")
        if set(given) == {"ue"} and "ue" in task.needs and self.scene is not None:
            request = replace(request, positions=tuple(map(tuple, given.pop("ue").tolist())))
        place = {name: value for name, value in given.items() if name in INPUTS and name != "csi"}
        others = {name: value for name, value in given.items() if name not in INPUTS}
        environment = Environment(**place) if given else None
        found = self._fulfil(request, scene, Given(given.get("csi"), environment, representations=others))
        return _together([found], [request], {task.name: task})

    def _fulfil(self, request: Request, scene: Scene, front: Given) -> list[Answer] | Declined:
        """A request's answers, one a station."""
        task = next(task for task in self.tasks if task.name == request.task)
        found = []
        for station in request.stations or (scene.here[0],):
            try:
                given = self._given(request, scene, station, front)
                answer = self._answer(task, given, scene, station)
            except NoLinkError as error:
                return Declined("missing_input", str(error), task.name, task.needs)
            if isinstance(answer, Declined):
                return answer
            if request.candidates is not None:
                answer = answer.likeliest(request.candidates)
            found.append(replace(answer, subjects=_subjects(request, scene, station, len(answer.records()))))
        return found

    @staticmethod
    def _given(request: Request, scene: Scene, station: int, front: Given) -> Given:
        if request.users:
            return scene.links(station, request.users)
        if request.positions:
            return scene.place(station, np.array(request.positions))
        return front if not front.nothing and station == scene.here[0] else scene.front(station)

    @torch.no_grad()
    def _answer(self, task: Task, given: Given, scene: Scene, station: int) -> Answer | Declined:
        place, csi = given.environment, given.csi
        known = {f.name: getattr(place, f.name) for f in fields(Environment)} if place is not None else {}
        known |= {"csi": csi, **given.representations}
        readable = scene.reads(station, task)
        whole = [inputs for inputs in readable if all(known.get(name) is not None for name in task.needs_of(inputs))]
        if not whole:
            needs = task.needs_of(readable[0])
            missing = tuple(name for name in needs if known.get(name) is None)
            message = f"To tell {task.tells}, I need {listed(needs)}; not given: {listed(missing)}."
            return Declined("missing_input", message, task.name, missing)
        parts = {part: self._representation(part, task, known, given.radio) for part in task.parts or whole[:1]}
        if len({len(part) for part in parts.values()}) > 1:
            said = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
            raise InputError(f"{task.name}: links of {said}; give the same number of each")
        z = torch.cat([*parts.values()], 1)
        model = scene.outputs(station, whole[0]) or self.model
        return scene.in_place(
            task.answer(model(task.name, z).float().cpu() / self.temperatures.get(task.name, 1.0)), station
        )

    def _representation(self, part: str, task: Task, known: Mapping[str, Any], radio: Radio | None) -> Tensor:
        """What one modality's part of a task's input is, by the towers or as it was given: [N, length]."""
        if part == "channel":
            radio, csi = self.radio if radio is None else radio, known["csi"]
            for remark in task.remarks(self.radio, radio, "this CSI"):
                warnings.warn(f"extrapolated: {remark}", RadioWarning, stacklevel=2)
            return self.towers.encode_channel(csi[None] if np.ndim(csi) == 2 else csi, radio)
        if part == "environment":
            told = Environment(**{name: known[name] for name in NEEDS["environment"]}, area=known.get("area"))
            return self.towers.encode_environment(told.seen_by(self.radio))
        return representation(part, known[part]).to(self.towers.device)

    def _parsed(self, task: Task, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        """A tool call's arguments that are given."""
        try:
            parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError as error:
            raise InputError(f"arguments: not JSON ({error})") from error
        if not isinstance(parsed, Mapping):
            raise InputError(f"arguments: {type(parsed).__name__}; give an object")
        takes = (*_arguments(task), *task.needs)
        if unknown := sorted(set(parsed) - set(takes)):
            raise InputError(f"arguments: no {', '.join(unknown)} in this tool; it takes {', '.join(takes)}")
        return {name: value for name, value in parsed.items() if value is not None}

    def _input(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            if name not in ("csi", "map") or value not in self.held:
                held = ", ".join(self.held) or "nothing"
                raise InputError(f"{name}: nothing is held under the name {value!r}; the host holds {held}")
            array = self.held[value]
            return array[None] if np.ndim(array) == 2 else array
        try:
            if name != "csi":
                return np.asarray(value, dtype=np.float32)[None]
            return (np.asarray(value["real"], dtype=np.float64) + 1j * np.asarray(value["imag"], dtype=np.float64))[
                None
            ]
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise InputError(f"{name}: not of the form that the tool's schema asks for ({error})") from error


def _subjects(request: Request, scene: Scene, station: int, count: int) -> tuple[Subject, ...]:
    """Whom N answers are about, where anyone was named."""
    if not (request.users or request.stations or request.positions):
        return ()
    name = scene.stations[station] if request.stations or len(scene.stations) > 1 else None
    if request.positions:
        return tuple(Subject(None, name, position) for position in request.positions)
    users = request.users or ((scene.here[1],) if count == 1 else (None,) * count)
    return tuple(Subject(user, name) for user in users)


def _together(
    found: Sequence[list[Answer] | Declined], requests: Sequence[Request], tasks: Mapping[str, Task]
) -> Answer | Answers | Declined:
    """The answers to all requests, and the order of what they compare; the first that is declined declines all."""
    parts: list[Answer] = []
    for answers in found:
        if isinstance(answers, Declined):
            return answers
        parts += answers
    compared = [
        order
        for request, answers in zip(requests, found, strict=True)
        if request.compare is not None and isinstance(answers, list)
        for order in _orders(answers, request.compare, tasks[request.task], request.worst_first)
    ]
    if len(parts) == 1 and not compared:
        return parts[0]
    several = dict.fromkeys(tasks[part.task].note for part in parts) if len({part.task for part in parts}) > 1 else {}
    return Answers(tuple(parts), tuple(compared), tuple(note for note in several if note))


def _orders(answers: Sequence[Answer], compare: str, task: Task, worst_first: bool = False) -> list[Order]:
    """What is compared, best first or worst first: stations for each user, or users for each station."""
    assert task.better is not None
    scores = torch.stack([task.better(answer).double() for answer in answers])  # [stations, users]
    stations = [answer.subjects[0].station or "" for answer in answers]
    users = [str(replace(subject, station=None)) for subject in answers[0].subjects]
    if compare == "users":
        scores, stations, users = scores.T, users, stations
    best = scores.argsort(dim=0, descending=True, stable=True)
    orders = [Order(who, tuple(stations[i] for i in best[:, place].tolist())) for place, who in enumerate(users)]
    return [replace(order, asked="worst") for order in orders] if worst_first else orders
