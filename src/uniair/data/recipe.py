"""What a folder is made of: noted before the work begins, so that only the same work goes on in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from uniair.errors import InputError
from uniair.files import write_text
from uniair.propagation.ray_tracing import EDGES

RECIPE = "recipe.json"


def note_recipe(folder: Path, made: dict[str, Any], other: Callable[[Any], str]) -> None:
    """Notes `made` in a folder as `recipe.json`, or finds that the same was begun there.

    A recipe of which nothing was made yet gives way: what stopped that run is what the next one puts right.

    Args:
        other: what the folder holds and what to do, of another recipe that is noted there.

    Raises:
        InputError: another one is noted, or something that is no JSON.
    """
    noted = folder / RECIPE
    if not noted.exists():
        write_text(noted, json.dumps(made, indent=1) + "\n")
        return
    try:
        found = json.loads(noted.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{noted}: not valid JSON ({error}); give another --out, or delete this folder") from error
    if found != made:
        if _something_made(folder):
            raise InputError(f"{folder}: holds {other(found)}")
        write_text(noted, json.dumps(made, indent=1) + "\n")


def traced_over_diagonals(found: Any, made: dict[str, Any]) -> str:
    """What to say of a folder whose recipe is `made` but for the edges that its links run over; nothing of others."""
    if not (isinstance(found, dict) and f"{found.get('tracer')}{EDGES}" == made.get("tracer")):
        return ""
    if found | {"tracer": made["tracer"]} != made:
        return ""
    return (
        "links that an older version traced over diagonals of walls too, through whatever stood in the way; trace them "
        "again in another --out, or delete this folder"
    )


def _something_made(folder: Path) -> bool:
    """Whether a folder holds files beside its recipe; hidden ones are locks and what killed runs leave."""
    return any(path.is_file() and path.name != RECIPE and path.name[0] != "." for path in folder.rglob("*"))


@contextmanager
def noted(folder: Path, made: dict[str, Any], other: Callable[[Any], str], results: str) -> Iterator[None]:
    """As `note_recipe`, for a block of work; taken back where that is refused before its first result is there.

    Args:
        results: pattern of files in the folder, one of which shows that the work has begun.

    Raises:
        InputError: as `note_recipe`.
    """
    made_here, new = not folder.exists(), not (folder / RECIPE).exists()
    note_recipe(folder, made, other)
    try:
        yield
    except InputError:
        if new and not any(folder.glob(results)):
            (folder / RECIPE).unlink(missing_ok=True)
            with suppress(OSError):  # what else is in it is not ours
                if made_here:
                    folder.rmdir()
        raise
