"""The tasks that there are: those that come with the library, one file each beside this one, and what you register."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from uniair.errors import InputError
from uniair.models.instruct import Instruction
from uniair.tasks.beam import BEAM
from uniair.tasks.los import LOS
from uniair.tasks.path_loss import PATH_LOSS
from uniair.tasks.position import POSITION
from uniair.tasks.precoding import PRECODING
from uniair.tasks.task import NEEDS, Task

TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Adds a task to `TASKS`, and with that to everything that reads them; returns it.

    Raises:
        InputError: the name is no identifier or taken, its tool or column is another task's, or a part of the
            definition names what is not there.
    """
    taken = {name for other in TASKS.values() for name in _names(other)}
    if not task.name.isidentifier() or _names(task) & taken:
        raise InputError(f"task {task.name!r}: the name, tool or column is another's, or no identifier; rename it")
    if not task.inputs or not set(task.inputs) <= set(NEEDS) or task.read not in task.inputs:
        raise InputError(f"task {task.name}: inputs {task.inputs}, read {task.read}; choose of {', '.join(NEEDS)}")
    if not task.phrases or task.headline not in {metric.key for metric in task.metrics}:
        raise InputError(f"task {task.name}: give a phrase, and the headline among its metrics")
    TASKS[task.name] = task
    return task


def pairs() -> tuple[tuple[str, str], ...]:
    """The heads that there can be: (task, inputs)."""
    return tuple(pair for task in TASKS.values() for pair in task.pairs)


def columns() -> dict[str, Task]:
    """Tasks by the column of a table in which their label is measured."""
    return {task.label.column: task for task in TASKS.values() if task.label is not None and task.label.write}


class Instructions(Mapping[str, Instruction]):
    """How AI²MMUM is asked for each task that is registered now: those of the channel before those of the place."""

    def __getitem__(self, task: str) -> Instruction:
        return TASKS[task].instruction

    def __iter__(self) -> Iterator[str]:
        return (name for read in NEEDS for name, task in TASKS.items() if task.read == read)

    def __len__(self) -> int:
        return len(TASKS)


INSTRUCTIONS = Instructions()


def _names(task: Task) -> set[str]:
    """What no other task may be called."""
    return {task.name, task.tool} | (set() if task.label is None else {task.label.column})


for _task in (POSITION, LOS, BEAM, PATH_LOSS, PRECODING):
    register(_task)
