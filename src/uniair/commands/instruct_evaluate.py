"""Measure a trained AI²MMUM: on the links of its own area that it did not learn from, or on every link of another.

A position is learned for the streets of one area and BS, and can't be expected to hold in another.

Example:
  uniair instruct evaluate runs/instruct runs/dense
  uniair instruct evaluate runs/instruct runs/dense --area frohnau/00000
  uniair instruct evaluate instruct runs/dense
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jsonargparse import ArgumentParser

import uniair
from uniair.commands.dense_area import area_number, lines
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.releases.earlier import way_back
from uniair.training.addition import with_added
from uniair.training.checkpoint import digest
from uniair.training.heads import Adaptation
from uniair.training.instruction import added_tasks, folder_of, load_instruct, measure, questions


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("run", type=str, help="folder that uniair instruct train wrote; instruct is the packaged one")
    parser.add_argument("links", type=str, help="links folder")
    parser.add_argument("--area", type=str | None, default=None, help="name or number; its own where not given")
    parser.add_argument("--model", type=str, default="small", help="the frozen towers: packaged model or folder")
    parser.add_argument("--backbone", type=str | None, default=None, help="where the same backbone lies here")


def run(options: Any) -> dict[str, Any]:
    """Measures and prints the table."""
    towers, store = uniair.load(options.model), Store(options.links)
    model, config = load_instruct(folder_of(options.run), options.backbone)
    about = config["about"]
    if about["towers"] != digest(towers):
        raise InputError(f"{options.run}: learned on the embeddings of another model than --model {options.model}; "
                         f"give that one, or train again{way_back(about['towers'])}")  # fmt: skip
    number = area_number(store, about["area"] if options.area is None else options.area)
    wanted = Adaptation(**about["wanted"])
    modalities = tuple({model.instructions[task].modality: None for task in config["tasks"]})
    own = store.areas[number] == about["area"]
    dataset = questions(towers, store.areas[number], store[number], modalities, wanted if own else Adaptation())
    if not own:
        dataset = replace(dataset, test=torch.arange(len(dataset.batch.csi)))
    added, elsewhere = [], {}
    for task in added_tasks(config):
        told = about["added"][task.name]
        if task.labels and store.areas[number] not in told["areas"]:
            added.append(task)
        else:
            elsewhere[task.name] = told
    figures = measure(model, with_added(dataset, towers, model, added), config["temperatures"])
    print(f"{dataset.name}: {len(dataset.test):,} links" + (" that were not learned from" if own else ", another area"))
    for line in lines(figures):
        print(line)
    for name, told in elsewhere.items():
        print(f"{name}: not measured here; learned from {told['data']}, of its {told['tested']:,} held-out samples:")
        print(*lines({name: told["figures"]}), sep="\n")
    return {"area": dataset.name, "own": own, "tested": len(dataset.test), "figures": figures,
            "not_measured": elsewhere}  # fmt: skip
