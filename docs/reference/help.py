"""A hook of mkdocs: what every command answers to --help, at the end of the page of commands."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout, suppress
from typing import Any

from uniair.cli import COMMANDS, main

PAGE = "reference/commands.md"
COLUMNS = "100"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adds a section per command."""
    if page.file.src_uri != PAGE:
        return markdown
    sections = [f"## uniair {name}\n\n{what[0].upper()}{what[1:]}.\n\n```text\n{help_of(name)}```\n"
                for name, what in COMMANDS.items()]  # fmt: skip
    return "\n".join([markdown, *sections])


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
