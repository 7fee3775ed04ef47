"""Instruction → API: free English or an agent's tool call to a task's head, and a typed answer (paper 2, III-D)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.router import Phrases, Router, packaged_phrases
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.answers import Answer, Declined
from uniair.tasks.registry import INSTRUCTIONS, TASKS
from uniair.tasks.task import Task

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


def tools() -> list[dict[str, Any]]:
    """The tasks as JSON schemas of tools, in the function-calling form that LLM agents take."""
    return [
        {
            "type": "function",
            "function": {
                "name": task.tool,
                "description": f"Tells {task.tells}, from {_listed(task.needs)}.",
                "parameters": {
                    "type": "object",
                    "properties": {key: INPUTS[key] for key in task.needs},
                    "required": list(task.needs),
                    "additionalProperties": False,
                },
            },
        }
        for task in _chosen(INSTRUCTIONS)
    ]


def phrases(tasks: Iterable[str]) -> Phrases:
    """What a router of these tasks learns from: the packaged instructions, and the phrases of tasks that they lack."""
    packaged = packaged_phrases("train")
    own = {task.name: {"own": task.phrases} for task in _chosen(tasks) if task.name not in packaged}
    return {**own, **packaged}


def _chosen(names: Iterable[str]) -> list[Task]:
    """Tasks by name, in the order in which AI²MMUM has them."""
    wanted = set(names)
    return [TASKS[name] for name in INSTRUCTIONS if name in wanted]


class Assistant:
    """Answers instructions and tool calls with an AI²MMUM.

    Args:
        model: task, embeddings [N, E] → outputs [N, …] of a head; in eval mode.
        towers: make the embeddings.
        router: recognises the task.
        temperatures: classification → what its logits are divided by to be calibrated.
        held: CSI and maps that tool calls may give by name.
        tasks: that the model answers; all that are registered where None.
        radio: that the model's labels came from; None: the towers' own.

    Raises:
        InputError: no temperature above 0 for a classification task.
    """

    def __init__(
        self,
        model: Callable[[str, Tensor], Tensor],
        towers: UniversalModel,
        router: Router,
        temperatures: Mapping[str, float],
        held: Mapping[str, Any] | None = None,
        tasks: Iterable[str] | None = None,
        radio: Radio | None = None,
    ) -> None:
        radio = towers.radio if radio is None else radio
        self.tasks = [task.on(radio) for task in _chosen(TASKS if tasks is None else tasks)]
        for task in self.tasks:
            if task.form == "classes" and not temperatures.get(task.name, 0) > 0:
                raise InputError(f"temperatures: {task.name} has none above 0; calibrate it on held-out links")
        self.model, self.towers, self.router, self.radio = model, towers, router, radio
        self.temperatures, self.held = dict(temperatures), dict(held or {})

    def ask(
        self, instruction: str, csi: Any = None, environment: Environment | None = None, radio: Radio | None = None
    ) -> Answer | Declined:
        """Answers one instruction in free English for N links.

        Args:
            instruction: such as "Where is this user?".
            csi: complex [N, ports, subcarriers], or that of one link; tasks that read the channel need it.
            environment: map, BS and UE positions and size; tasks that read it need all four. `los` is not used.
            radio: that measured the CSI; None: the one of the model's labels.

        Raises:
            InputError: an empty instruction or one of more than 512 tokens; inputs that the towers refuse; what stands
                for an array's ports asked of another array's CSI.
        """
        name = self.router.route(instruction).task
        task = next((task for task in self.tasks if task.name == name), None)
        if task is None:
            can = "; ".join(f"{task.tells} (from {_listed(task.needs)})" for task in self.tasks)
            return Declined("out_of_scope", f"I can't answer that. What I can tell is: {can}.")
        given = {f.name: getattr(environment, f.name) for f in fields(Environment)} if environment is not None else {}
        return self._answer(task, {**given, "csi": csi}, radio)

    def call(self, name: str, arguments: str | Mapping[str, Any]) -> str:
        """Answers an agent's tool call in JSON: `answers`, or `declined`, or the `error` that the agent should mend.

        Args:
            name: of one of `tools()`.
            arguments: as the agent wrote them, or already parsed.
        """
        try:
            known = {task.tool: task for task in self.tasks}
            if name not in known:
                raise InputError(f"no tool {name!r}; call one of {', '.join(known)}")
            return json.dumps(self._answer(known[name], self._inputs(known[name], arguments)).to_json())
        except InputError as error:
            return json.dumps({"error": str(error)})

    @torch.no_grad()
    def _answer(self, task: Task, given: Mapping[str, Any], radio: Radio | None = None) -> Answer | Declined:
        missing = tuple(name for name in task.needs if given.get(name) is None)
        if missing:
            message = f"To tell {task.tells}, I need {_listed(task.needs)}; not given: {_listed(missing)}."
            return Declined("missing_input", message, task.name, missing)
        if task.read == "channel":
            csi = given["csi"]
            radio = self.radio if radio is None else radio
            task.remarks(self.radio, radio, "this CSI")
            z = self.towers.encode_channel(csi[None] if np.ndim(csi) == 2 else csi, radio)
        else:
            place = Environment(**{name: given[name] for name in task.needs}, area=given.get("area"))
            z = self.towers.encode_environment(place.seen_by(self.radio))
        return task.answer(self.model(task.name, z).float().cpu() / self.temperatures.get(task.name, 1.0))

    def _inputs(self, task: Task, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        """A tool call's arguments as arrays of one link, or of as many as the host holds under a name."""
        try:
            parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError as error:
            raise InputError(f"arguments: not JSON ({error})") from error
        if not isinstance(parsed, Mapping):
            raise InputError(f"arguments: {type(parsed).__name__}; give an object")
        if unknown := sorted(set(parsed) - set(task.needs)):
            raise InputError(f"arguments: no {', '.join(unknown)} in this tool; it takes {', '.join(task.needs)}")
        return {name: self._input(name, value) for name, value in parsed.items() if value is not None}

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


def _listed(inputs: tuple[str, ...]) -> str:
    words = {
        "csi": "the channel (csi)",
        "map": "the map",
        "bs": "the base station's position (bs)",
        "ue": "the user's position (ue)",
        "size": "the area's side (size)",
    }
    *first, last = (words[name] for name in inputs)
    return f"{', '.join(first)} and {last}" if first else last
