"""Sign a model, a head or a site, and put it into a registry as the next version of its name.

REGISTRY is a folder of uniair registry init. WHAT is read as a node would read it, so that nothing broken is signed: a
packaged model's name, a folder of uniair pretrain, forecast train, instruct train, site or export, or the file of a
head, whose model is named by --model. Versions count from 1 and never change. What was published already as the newest
version is left; a run that was killed is repeated by the same command, and nodes see the old state until the new one is
whole.

Example:
  uniair registry publish runs/registry runs/base --name base --keys keys
  uniair registry publish runs/registry heads/beam-channel-0.safetensors --name beam --model registry:base@1 --keys keys
  uniair registry publish runs/registry runs/site --name munich --keys keys --note "after the drive test of May"
"""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.commands.registry_keys import add_days, add_keys, days_of, ends, keys_of
from uniair.commands.registry_table import as_json, line
from uniair.edge.artefact import describe
from uniair.errors import InputError
from uniair.releases.release import check_name
from uniair.releases.repository import Registry


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("registry", metavar="REGISTRY", type=str, help="folder of uniair registry init")
    parser.add_argument("what", metavar="WHAT", type=str, help="what is published")
    parser.add_argument("--name", type=str | None, default=None, help="under which nodes ask for it")
    parser.add_argument("--model", type=str | None, default=None,
                        help="the model that a head goes with, or that a forecaster reads CSI through")  # fmt: skip
    parser.add_argument("--note", type=str, default="", help="a line for those who list it")
    add_keys(parser)
    add_days(parser)


def run(options: Any) -> dict[str, Any]:
    """Publishes, and prints the release."""
    if options.name is None:
        raise InputError("give --name, under which nodes ask for it, such as --name base")
    registry, name = Registry(options.registry), check_name(options.name)
    days = days_of(options)
    state = registry.state()  # before a model is loaded: there is a registry
    before = {str(release) for release in registry.releases(state)}
    keys = keys_of(options)
    release = registry.publish(
        name, describe(options.what, options.model), keys, uniair.__version__, options.note, days
    )
    print(line(release) + (": was there already" if str(release) in before else ""))
    print("\n".join(ends(registry.state().expiries())))
    return as_json(release)
