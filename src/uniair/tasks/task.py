"""What a task is. Everything that tells one task from another stands in its own file, and is read from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from uniair.environment import Batch
from uniair.errors import InputError
from uniair.models.instruct import Instruction
from uniair.radio import Antennas, Radio
from uniair.tasks.answers import Answer

# what a head's outputs [N, K] are: x and y in the array's frame, m; logits; numbers in units; or a complex vector of
# any common phase, real parts before imaginary ones
Form = Literal["place", "classes", "values", "vector"]
NEEDS = {"channel": ("csi",), "environment": ("map", "bs", "ue", "size")}  # what one gives, to be embedded
_SAID = {
    "csi": "the channel (csi)", "map": "the map", "bs": "the base station's position (bs)",
    "ue": "the user's position (ue)", "size": "the area's side (size)",
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """How a table shows a figure.

    Attributes:
        key: what `Task.measure` calls it.
        name: for people.
        unit: `%` of what is a share, or as it is measured; may be empty.
        digits: after the point.
        less_is_better: as of an error.
        of_channel: it takes the CSI; a measured label alone does not give it.
    """

    key: str
    name: str
    unit: str = ""
    digits: int = 1
    less_is_better: bool = False
    of_channel: bool = False

    @property
    def heading(self) -> str:
        """Name and unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def scale(self) -> float:
        """What a figure is multiplied by to be shown in its unit."""
        return 100.0 if self.unit == "%" else 1.0


@dataclass(frozen=True)
class Label:
    """A label as people know it: one number a link, in a column of a table.

    Attributes:
        column: its name, here and in the API.
        about: values and unit, in a few words.
        classes: it is a whole number from 0 to below this; of two, 1 is yes. None: any number.
        write: puts measured labels [N] into a batch, whose target they then are; None: it can't be measured. Where it
            makes up a channel, the task must be known from `csi` too, so that no measured one is lost.
    """

    column: str
    about: str
    classes: int | None = None
    write: Callable[[Batch, Tensor], Batch] | None = None

    def values(self, target: Tensor) -> NDArray[Any]:
        """A task's targets, [N] or [N, 1], as bool, int64 or float32 [N]."""
        numbers: NDArray[Any] = target.reshape(len(target)).numpy()
        return numbers.astype(bool) if self.classes == 2 else numbers


@dataclass(frozen=True)
class Task:
    """A task, defined once: `adapt`, sites, reports, service, edge packages and the assistant take it from here.

    Attributes:
        name: in Python, files and the API; an identifier.
        title: of rows and pictures.
        about: one line for people.
        inputs: which embedding its heads read: `channel` (CSI), `environment` (map and positions), or either.
        widths: of a head, from the embedding's 128 numbers to the outputs; for paper 1's radio, see `on`.
        form: what the outputs are.
        target: the labels of a batch, [N] or [N, outputs].
        loss: of outputs and labels: scalar.
        measure: figures of outputs on a batch.
        metrics: those that tables show, in order; a curve is of the first.
        headline: key of the one that methods are compared by.
        answers: the typed answers.
        answer: outputs, logits calibrated → answers.
        words: one label in a few words.
        tool: what agents call it.
        tells: what it answers, as a clause.
        keywords: of its instruction in AI²MMUM; two or three tokens of the default backbone.
        read: which of `inputs` AI²MMUM reads.
        phrases: questions that mean it. The first is shown as an example; all of them teach a router what
            `instructions/` has no phrases of.
        label: as people know it; None: it is no single number.
        known_from: columns of a table of measurements any of which tells the label: `ue`, which is always there,
            `csi`, whose power is not calibrated, or the label's own.
        unit: of a picture's colours.
        colours: matplotlib's name for them.
        otherwise: what to do where its answer is not to be trusted, as a sentence.
        candidates: several of the likeliest may be asked for (`Answer.likeliest`).
        better: by what answers are compared, [N], more being better; None: they can't be.
        note: what its answer leaves out, said beside another task's.
        of_array: where outputs stand for the ports of an array: what of all this another array changes, by name. None:
            the task is the same on every radio.
        parts: of a task that was added to an AI²MMUM (`tasks.added`): modalities whose representations, one after
            another, it reads.
        asked_by: of such a task: words that ask for it, and nothing else does.
    """

    name: str
    title: str
    about: str
    inputs: tuple[str, ...]
    widths: tuple[int, ...]
    form: Form
    target: Callable[[Batch], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[Tensor, Batch], dict[str, float]]
    metrics: tuple[Metric, ...]
    headline: str
    answers: type[Answer]
    answer: Callable[[Tensor], Answer]
    words: Callable[[Tensor], str]
    tool: str
    tells: str
    keywords: str
    read: str
    phrases: tuple[str, ...]
    label: Label | None = None
    known_from: tuple[str, ...] = ()
    unit: str = ""
    colours: str = "viridis"
    otherwise: str = ""
    candidates: bool = False
    better: Callable[[Any], Tensor] | None = None
    note: str = ""
    of_array: Callable[[Antennas], Mapping[str, Any]] | None = None
    parts: tuple[str, ...] = ()
    asked_by: tuple[str, ...] = ()

    def on(self, radio: Radio) -> Task:
        """The task as it is on a radio: of 16 antennas there are 16 beams to choose from."""
        return self if self.of_array is None else replace(self, **self.of_array(radio.array))

    def remarks(self, learned: Radio, radio: Radio, what: str = "these links") -> tuple[str, ...]:
        """What to know about a head's answers on a radio that differs from the one of its labels: a line, or none.

        A head reads embeddings, which any radio has; outputs that stand for the ports of an array are of it alone. One
        that learned on gains misses their power where there is none; the other way round nothing is missing.

        Args:
            learned: that the head's labels came from.
            what: is of `radio`, for the message.

        Raises:
            InputError: such outputs, and another array.
        """
        missed = learned.calibrated and not radio.calibrated
        odd = [name for name in learned.differs(radio) if name != "array" and (name != "amplitude" or missed)]
        if learned.array != radio.array:
            odd.insert(0, "array")
            if self.of_array is not None:
                raise InputError(
                    f"{self.name}: head learned on {learned}; {what} are of {radio}; what differs: {', '.join(odd)}; "
                    "its outputs stand for the ports of its array, so train one for this array"
                )
        return (f"the {self.name} head learned on {learned}; what differs: {', '.join(odd)}",) if odd else ()

    @property
    def outputs(self) -> int:
        """Numbers that a head gives."""
        return self.widths[-1]

    @property
    def regression(self) -> bool:
        """Whether outputs are scaled as the targets are."""
        return self.form in ("place", "values")

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The heads that it can have: (task, inputs)."""
        return tuple((self.name, inputs) for inputs in self.inputs)

    @property
    def needs(self) -> tuple[str, ...]:
        """What its tool takes."""
        return self.needs_of(self.read)

    def needs_of(self, inputs: str) -> tuple[str, ...]:
        """What one gives for it to read some inputs; a representation where the towers make none."""
        parts = self.parts if self.parts and inputs == self.read else (inputs,)
        return tuple(need for part in parts for need in NEEDS.get(part, (part,)))

    @property
    def needed(self) -> str:
        """The same for people."""
        return listed(self.needs)

    @property
    def instruction(self) -> Instruction:
        """How AI²MMUM is asked for it."""
        return Instruction(self.read, self.keywords, self.outputs, self.widths[1:-1])

    @property
    def compared(self) -> Metric:
        """The metric of the headline."""
        return next(metric for metric in self.metrics if metric.key == self.headline)


def listed(inputs: tuple[str, ...]) -> str:
    """Inputs for people."""
    *first, last = (_SAID.get(name, f"the representation of {name}") for name in inputs)
    return f"{', '.join(first)} and {last}" if first else last
