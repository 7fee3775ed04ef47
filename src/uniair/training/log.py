"""The metrics log: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from uniair.files import write_text


class Log:
    """Appends to `metrics.jsonl`; lines from beyond the step that a run resumes at are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        write_text(path, "".join(line + "\n" for line in lines if _step(line) <= start))

    def write(self, step: int, **values: float | str) -> None:
        """One line: the step and the values, floats to six digits."""
        rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **rounded}) + "\n")


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62  # a half-written last line
