"""Packages trained weights: half precision, card and log.

Example:
    python benchmarks/package.py runs/small small
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from uniair.training.checkpoint import load_model, save_model

WEIGHTS = Path(__file__).parents[1] / "src" / "uniair" / "weights"


def package(run: Path, name: str) -> None:
    """A folder that `uniair pretrain` wrote → the packaged model of that name."""
    model, out = load_model(run, expect=name), WEIGHTS / name
    save_model(model.half(), out)
    for beside in ("card.json", "metrics.jsonl"):
        shutil.copyfile(run / beside, out / beside)


if __name__ == "__main__":
    package(Path(sys.argv[1]), sys.argv[2])
