"""Bring a release to this node: verified file by file, beside the earlier ones, which stay.

Without a version it is the newest. The folder appears when every file is there and is what was signed; a pull that was
killed goes on with the same command. From then on the release is named wherever a model, forecaster, head or site is:
registry:NAME@VERSION. It is verified again each time that it is loaded, without a network; so to go back to an earlier
version is to name it.

With --model, the model that this node runs, a release that goes with another model's weights is refused.

Example:
  uniair registry pull base
  uniair registry pull beam@2 --model registry:base@1
  uniair zeroshot runs/links --model registry:base@1
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.commands.registry_table import HEAD, as_json, line
from uniair.edge.artefact import check
from uniair.releases.node import Node
from uniair.releases.release import Release, newest, parse
from uniair.training.checkpoint import digest


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("release", metavar="NAME[@VERSION]", type=str, help="which; the newest of a name if no version")
    parser.add_argument("--model", type=str | None, default=None, help="the universal model that it must go with")


def run(options: Any) -> dict[str, Any]:
    """Pulls, and prints where it lies and how it is named."""
    name, version = parse(options.release)
    node = Node.required()
    release = newest(node.refresh(), name, version)
    if options.model is not None and release.weights:
        release.require_weights(digest(uniair.load(options.model)))
    release, place = node.pull(name, release.version, partial(_check, options.model))
    print(f"{HEAD}\n{line(release)}")
    print(f"{place}: name it as registry:{release}")
    return as_json(release) | {"folder": str(place)}


def _check(model: str | None, release: Release, folder: Path) -> None:
    """Reads the files as they will be read; those that need a model with the one that was named, if any was."""
    needs = release.kind == "head" or (release.kind == "forecaster" and bool(release.weights))
    if not needs or model is not None:
        check(release, folder, model if needs else None)
