"""AI²MMUM against its ablations on the same data, seeds and budget (paper 2, Figs. 4 and 5); uniair bench instruct.

FP keywords without a learned prefix, SP one prompt for all tasks, TE/TC towers from scratch, WL without LoRA, RL a
random language model, WM none; and what the paper lacks: SL the language model with its weights shuffled, ST a small
transformer of as many tuned parameters, LH light heads on the embeddings, RF the radio token before the instruction, AB
all blocks of the language model, NB all of them begun as in the paper. Each takes its own best learning rate of three,
by links that it does not learn from. The channel's tasks in the first dense areas (and a DeepMIMO city), the
environment's in the next.

Example:
  uniair instruct ablate --dense runs/dense --deepmimo runs/deepmimo --budget full
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.benchmark.benchmark import DATA, Benchmark, Setup, show
from uniair.benchmark.catalogue import FIGURES
from uniair.models.backbone import DTYPES


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--dense", type=str, required=True, help=f"links folder: {DATA['dense']}")
    parser.add_argument("--deepmimo", type=str | None, default=None, help=f"links folder: {DATA['deepmimo']}")
    parser.add_argument("--model", type=str, default="small", help="the frozen towers: packaged model or folder")
    parser.add_argument("--backbone", type=str, default="smollm2-135m", help="language model, name or folder")
    parser.add_argument("--dtype", type=str, default="float32", help=f"of its weights: {', '.join(DTYPES)}")
    parser.add_argument(
        "--labels", type=int, default=0, help="of an area; 0: 600 with quick, 80 % of the links with full"
    )
    parser.add_argument("--out", type=str, default="runs/bench", help="folder for the runs")
    parser.add_argument("--budget", type=str, default="quick", help="quick or full")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions")


def run(options: Any) -> dict[str, Any]:
    """Runs every method and prints the tables."""
    folders = {name: Path(options[name]) for name in ("dense", "deepmimo") if options[name] is not None}
    benchmark: Benchmark = FIGURES["instruct"].load()
    setup = Setup(uniair.load(options.model), Path(options.out) / "instruct", folders, options.budget, options.seeds)
    return show(
        "instruct", FIGURES["instruct"].title, benchmark, setup, backbone=options.backbone, dtype=options.dtype,
        labels=options.labels,
    )  # fmt: skip
