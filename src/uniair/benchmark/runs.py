"""The runs of a benchmark: each is kept as JSON, so that one that was stopped goes on after the last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniair.errors import InputError
from uniair.files import write_text


@dataclass(frozen=True)
class Runs:
    """Runs in a folder, all made with the same settings.

    Attributes:
        folder: `settings.json`, and a file a run under `runs/`.
    """

    folder: Path

    def note(self, settings: Mapping[str, Any]) -> None:
        """Notes what the runs are made with; call it before the first `once`.

        Raises:
            InputError: the folder holds runs that were made with something else.
        """
        now = json.loads(json.dumps(settings))
        note = self.folder / "settings.json"
        if note.exists() and (then := json.loads(note.read_text(encoding="utf-8"))) != now:
            changed = ", ".join(name for name in now | then if now.get(name) != then.get(name))
            raise InputError(f"{self.folder}: holds runs with another {changed}; give another --out")
        write_text(note, json.dumps(now, indent=1) + "\n")

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """What `compute` returned when it was first asked for under this key, as JSON."""
        path = self.folder / "runs" / f"{key.replace('/', '-')}.json"
        if not path.exists():
            write_text(path, json.dumps(compute()) + "\n")
        return json.loads(path.read_text(encoding="utf-8"))
