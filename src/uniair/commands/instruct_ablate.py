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

from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.figures import declare, figure, folders_for, options_of


def arguments(parser: ArgumentParser) -> None:
    """Declares the options, those of the benchmark."""
    declare(parser, options_of("instruct"))


def run(options: Any) -> dict[str, Any]:
    """Runs every method and prints the tables."""
    return figure("instruct", folders_for(["instruct"], options), options)
