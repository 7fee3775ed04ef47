"""Bring an earlier version back: its files become the next version, signed anew.

Nodes refuse a registry that is older than what they have seen, or anybody could serve a model again that was withdrawn.
So the way back is a new release of old files: BASE@1's become, say, BASE@3. Nothing is copied, and a node that still
has the old version fetches nothing. A node can also go back by itself: what it pulled stays, so it names
registry:base@1 again.

Example:
  uniair registry rollback runs/registry base@1 --keys keys --note "version 2 loses LOS at 60 GHz"
"""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.registry_keys import add_days, add_keys, days_of, keys_of
from uniair.commands.registry_table import as_json, line
from uniair.errors import InputError
from uniair.releases.release import parse
from uniair.releases.repository import Registry


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("registry", metavar="REGISTRY", type=str, help="folder of uniair registry init")
    parser.add_argument("release", metavar="NAME@VERSION", type=str, help="the earlier version")
    parser.add_argument("--note", type=str, default="", help="why, for those who list it")
    add_keys(parser)
    add_days(parser)


def run(options: Any) -> dict[str, Any]:
    """Signs the new release and prints it."""
    name, version = parse(options.release)
    if version is None:
        raise InputError(f"{options.release}: give the version to go back to, such as {name}@1")
    registry = Registry(options.registry)
    release = registry.rollback(name, version, keys_of(options), options.note, days_of(options))
    print(line(release))
    return as_json(release)
