"""Packages what was trained: weights in half precision, with card, log, router and sample.

Example:
    python benchmarks/package.py runs/small small
    python benchmarks/package.py runs/instruct instruct
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from uniair.explanation.calibrated import FILE
from uniair.files import atomic_path
from uniair.training.checkpoint import CONFIG, WEIGHTS, load_model, save_model
from uniair.training.instruction import ROUTER, load_instruct

PACKAGES = Path(__file__).parents[1] / "src" / "uniair" / "weights"


def package(run: Path, name: str) -> None:
    """A folder that `uniair pretrain` or `uniair instruct train` wrote → the packaged model of that name."""
    out = PACKAGES / name
    if name == "instruct":
        kept = load_instruct(run)[0].kept()
        # scalings stay as they are: of a path loss, half precision keeps a tenth of a dB
        kept = {key: value.half() if isinstance(value, nn.Parameter) else value for key, value in kept.items()}
        with atomic_path(out / WEIGHTS) as temporary:
            save_file({key: value.detach().contiguous() for key, value in kept.items()}, temporary)
        shutil.copytree(run / "sample", out / "sample", dirs_exist_ok=True)
        beside = (CONFIG, ROUTER)
    else:
        save_model(load_model(run, expect=name).half(), out)
        (out / FILE).unlink(missing_ok=True)  # of other weights; uniair bench doubt --save fits it anew
        beside = ("card.json", "metrics.jsonl")
    for file in beside:
        shutil.copyfile(run / file, out / file)


if __name__ == "__main__":
    package(Path(sys.argv[1]), sys.argv[2])
