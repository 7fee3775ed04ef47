"""Instruction → API: free English or an agent's tool call to a task's head, and a typed answer (paper 2, III-D)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.router import Router
from uniair.models.universal import UniversalModel
from uniair.tasks.adaptation import as_vector
from uniair.tasks.answers import Answer, Beam, Declined, LineOfSight, PathLoss, Position, Precoder


@dataclass(frozen=True)
class Tool:
    """A task as agents and people see it.

    Attributes:
        task: of the model.
        about: what it answers.
        inputs: all of which it needs.
        answer: of the model's outputs [N, outputs] and the calibration temperature.
        classifies: whether its outputs are logits.
    """

    task: str
    about: str
    inputs: tuple[str, ...]
    answer: Callable[[Tensor, float], Answer]
    classifies: bool = False


def _precoder(out: Tensor, _: float) -> Precoder:
    vector = as_vector(out)
    vector = vector * torch.exp(-1j * vector[:, :1].angle())
    return Precoder(vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-12))


CHANNEL, PLACE = ("csi",), ("map", "bs", "ue", "size")

TOOLS = {
    "estimate_position": Tool("position", "where the user is, in metres", CHANNEL, lambda out, _: Position(out)),
    "identify_los": Tool(
        "los", "whether base station and user are in line of sight", CHANNEL,
        lambda out, temperature: LineOfSight((out / temperature).softmax(1)[:, 1]), True,
    ),
    "compute_precoder": Tool(
        "precoding", "the precoding weights of the base station's antennas for one layer", CHANNEL, _precoder
    ),
    "select_beam": Tool(
        "beam", "the best beam of the base station's DFT codebook", PLACE,
        lambda out, temperature: Beam((out / temperature).softmax(1)), True,
    ),
    "predict_path_loss": Tool("path_loss", "the path loss in dB", PLACE, lambda out, _: PathLoss(out[:, 0])),
}  # fmt: skip

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
                "name": name,
                "description": f"Tells {tool.about}, from {_listed(tool.inputs)}.",
                "parameters": {
                    "type": "object",
                    "properties": {key: INPUTS[key] for key in tool.inputs},
                    "required": list(tool.inputs),
                    "additionalProperties": False,
                },
            },
        }
        for name, tool in TOOLS.items()
    ]


class Assistant:
    """Answers instructions and tool calls with an AI²MMUM.

    Args:
        model: task, embeddings [N, E] → outputs [N, …] as in `adaptation.TASKS`; in eval mode.
        towers: make the embeddings.
        router: recognises the task.
        temperatures: classification task (`los`, `beam`) → what its logits are divided by to be calibrated.
        held: CSI and maps that tool calls may give by name.

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
    ) -> None:
        for tool in TOOLS.values():
            if tool.classifies and not temperatures.get(tool.task, 0) > 0:
                raise InputError(f"temperatures: {tool.task} has none above 0; calibrate it on held-out links")
        self.model, self.towers, self.router = model, towers, router
        self.temperatures, self.held = dict(temperatures), dict(held or {})

    def ask(self, instruction: str, csi: Any = None, environment: Environment | None = None) -> Answer | Declined:
        """Answers one instruction in free English for N links.

        Args:
            instruction: such as "Where is this user?".
            csi: complex [N, 32, 64], or [32, 64] of one link; position, LOS and precoding need it.
            environment: map, BS and UE positions and size, all of which beam and path loss need; `los` is not used.

        Raises:
            InputError: an empty instruction or one of more than 512 tokens; inputs that the towers refuse.
        """
        task = self.router.route(instruction).task
        if task is None:
            can = "; ".join(f"{tool.about} (from {_listed(tool.inputs)})" for tool in TOOLS.values())
            return Declined("out_of_scope", f"I can't answer that. What I can tell is: {can}.")
        given = {f.name: getattr(environment, f.name) for f in fields(Environment)} if environment is not None else {}
        return self._answer(next(tool for tool in TOOLS.values() if tool.task == task), {**given, "csi": csi})

    def call(self, name: str, arguments: str | Mapping[str, Any]) -> str:
        """Answers an agent's tool call in JSON: `answers`, or `declined`, or the `error` that the agent should mend.

        Args:
            name: of one of `tools()`.
            arguments: as the agent wrote them, or already parsed.
        """
        try:
            if name not in TOOLS:
                raise InputError(f"no tool {name!r}; call one of {', '.join(TOOLS)}")
            return json.dumps(self._answer(TOOLS[name], self._inputs(TOOLS[name], arguments)).to_json())
        except InputError as error:
            return json.dumps({"error": str(error)})

    @torch.no_grad()
    def _answer(self, tool: Tool, given: Mapping[str, Any]) -> Answer | Declined:
        missing = tuple(name for name in tool.inputs if given.get(name) is None)
        if missing:
            message = f"To tell {tool.about}, I need {_listed(tool.inputs)}; not given: {_listed(missing)}."
            return Declined("missing_input", message, tool.task, missing)
        if tool.inputs == CHANNEL:
            csi = given["csi"]
            z = self.towers.encode_channel(csi[None] if np.ndim(csi) == 2 else csi)
        else:
            place = {name: given[name] for name in tool.inputs}
            z = self.towers.encode_environment(Environment(**place, area=given.get("area")))
        return tool.answer(self.model(tool.task, z).float().cpu(), self.temperatures.get(tool.task, 1.0))

    def _inputs(self, tool: Tool, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        """A tool call's arguments as arrays of one link, or of as many as the host holds under a name."""
        try:
            parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError as error:
            raise InputError(f"arguments: not JSON ({error})") from error
        if not isinstance(parsed, Mapping):
            raise InputError(f"arguments: {type(parsed).__name__}; give an object")
        if unknown := sorted(set(parsed) - set(tool.inputs)):
            raise InputError(f"arguments: no {', '.join(unknown)} in this tool; it takes {', '.join(tool.inputs)}")
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
