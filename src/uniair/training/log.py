"""The metrics log: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path


class Log:
    """Appends to `metrics.jsonl`; lines from beyond the step that a run resumes at are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        kept = []
        if path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= start]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w", encoding="utf-8", buffering=1)
        self.file.writelines(line + "\n" for line in kept)

    def write(self, step: int, **values: float | str) -> None:
        """One line: the step and the values, floats to six digits."""
        rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
        self.file.write(json.dumps({"step": step, **rounded}) + "\n")


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62  # a half-written last line
