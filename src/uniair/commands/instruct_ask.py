"""Ask about a link in plain English; the language model itself recognises which of its tasks is meant.

Some tasks are answered from the channel, others from map and positions. Without --links it answers about links of the
packaged model's own area, which it did not learn from; --tools prints what an LLM agent may call, as JSON schemas.

Example:
  uniair instruct ask "Where is this user?" --link 3
  uniair instruct ask "Which beam should I use?" --run runs/instruct --links runs/dense --link 17
  uniair instruct ask "Is there line of sight?" --csi measured.npy
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser

import uniair
from uniair.data.csi_files import read_csi
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.tasks.answers import Answer
from uniair.tasks.asking import tools
from uniair.tasks.registry import TASKS
from uniair.training.instruction import SAMPLE


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("instruction", type=str, nargs="?", default=None, help="what to ask")
    parser.add_argument("--run", type=str, default="instruct", help="packaged model or folder of uniair instruct train")
    parser.add_argument("--model", type=str, default="small", help="its towers: packaged model or folder")
    parser.add_argument("--backbone", type=str | None, default=None, help="where its language model lies here")
    parser.add_argument("--links", type=str | None, default=None, help="links folder; the packaged links if not given")
    parser.add_argument("--area", type=int, default=0, help="number of the area in it")
    parser.add_argument("--link", type=int, default=0, help="number of the link in the area")
    parser.add_argument("--csi", type=str | None, default=None, help="complex [32, 64] in .npy, .mat or .h5")
    parser.add_argument("--tools", action="store_true", help="print the JSON schemas of the tasks and leave")


def run(options: Any) -> dict[str, Any]:
    """Answers and, where links are known, prints the truth beside it."""
    if options.tools:
        print(json.dumps(tools(), indent=1))
        return {"tools": tools()}
    if options.instruction is None:
        raise InputError('ask something, such as: uniair instruct ask "Where is this user?"')
    if options.csi is not None:
        given, truth = {"csi": one_channel(Path(options.csi))}, None
    else:
        truth = one_link(Store(SAMPLE if options.links is None else options.links), options.area, options.link)
        given = {"csi": truth.csi, "environment": truth.environment}
    answer = uniair.load_instruct(options.run, options.model, options.backbone).ask(options.instruction, **given)
    print(answer)
    found = answer.to_json()
    if truth is not None and isinstance(answer, Answer):
        task = TASKS[answer.task]
        found["truth"] = task.words(task.target(truth)[0])
        print(f"(simulated truth: {found['truth']})")
    return found


def one_channel(path: Path) -> Any:
    """One channel from a file of CSI: complex [32, 64].

    Raises:
        InputError: see `read_csi`; of another shape.
    """
    csi = read_csi(path)
    if csi.ndim == 3 and len(csi) == 1:
        csi = csi[0]
    if csi.ndim != 2:
        raise InputError(f"{path}: shape {csi.shape}; give the CSI of one link, complex [32, 64]")
    return csi


def one_link(store: Store, area: int, link: int) -> Batch:
    """One link of an area as a batch.

    Raises:
        InputError: no such area or link.
    """
    if not 0 <= area < len(store.areas):
        raise InputError(f"--area {area}: give 0 to {len(store.areas) - 1}")
    links = store[area]
    if not 0 <= link < len(links):
        raise InputError(f"--link {link}: {store.areas[area]} has links 0 to {len(links) - 1}")
    return batch_of(links.select(np.array([link])))
