"""A hook of mkdocs: what every command answers to --help, and a table of the tasks, at the end of their pages."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout, suppress
from typing import Any

from uniair.cli import COMMANDS, main

COLUMNS = "100"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adds a section per command, or the table of the tasks."""
    if page.file.src_uri == "reference/learning.md":
        return f"{markdown}\n## All tasks\n\n{task_table()}\n"
    if page.file.src_uri != "reference/commands.md":
        return markdown
    sections = [f"## uniair {name}\n\n{what[0].upper()}{what[1:]}.\n\n```text\n{help_of(name)}```\n"
                for name, what in COMMANDS.items()]  # fmt: skip
    return "\n".join([markdown, *sections])


def task_table() -> str:
    """What each task reads, gives and is measured by."""
    from uniair.evaluation.tables import Table
    from uniair.tasks.registry import TASKS

    rows = [
        (
            f"`{name}`", task.about, " or ".join(task.inputs), " → ".join(map(str, task.widths)), task.compared.heading,
            f"`{task.tool}`", "" if task.label is None else f"`{task.label.column}`",
        )
        for name, task in TASKS.items()
    ]  # fmt: skip
    return Table(("task", "answers", "reads", "head", "compared by", "tool", "label"), rows).markdown()


def help_of(name: str) -> str:
    """The help of one command, as a terminal of 100 columns shows it."""
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), COLUMNS
    try:
        with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
            main([*name.split(), "--help"])
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return said.getvalue()
