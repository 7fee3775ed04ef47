"""List the releases of the registry that this node trusts, or of a registry in a folder here.

Weights are the digest of the universal model that a release holds or goes with: a head, a site or an instruct model
needs the model whose digest is the same. What was pulled is marked. --offline true lists what was there when the
registry was last asked.

Example:
  uniair registry list
  uniair registry list runs/registry      # its keeper's view, with the dates at which signatures expire
"""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.registry_keys import ends
from uniair.commands.registry_table import as_json, table
from uniair.errors import InputError
from uniair.releases.node import Node
from uniair.releases.repository import Registry


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("registry", metavar="REGISTRY", type=str, nargs="?", default=None,
                        help="folder; the registry that this node trusts if not given")  # fmt: skip
    parser.add_argument("--offline", type=bool, default=False, help="ask no registry")


def run(options: Any) -> dict[str, Any]:
    """Prints a line a release."""
    if options.registry is not None:
        if options.registry.startswith(("http://", "https://")):
            raise InputError(f"{options.registry}: trust it first (uniair registry trust), then leave the address out")
        registry = Registry(options.registry)
        state = registry.state()
        releases = registry.releases(state)
        print("\n".join([*table(releases), *ends(state.expiries())]))
        return {"registry": options.registry, "releases": [as_json(release) for release in releases],
                "expires": {role: end.isoformat() for role, end in state.expiries().items()}}  # fmt: skip
    node = Node.required()
    releases = node.releases() if options.offline else node.refresh()
    here = [str(release) for release in releases if node.has(release)]
    print("\n".join(table(releases, here)))
    return {"registry": node.registry, "releases": [as_json(release) for release in releases], "here": here}
