"""Tell this node which registry it trusts, once, by the root file that its keeper handed over.

REGISTRY is the address of a registry (http or https) or its folder on a shared disk. It is asked at once, and
remembered only if its signatures hold. TLS is not needed: every byte is verified. What is pulled lies in
~/.local/share/uniair, or the folder that the variable UNIAIR_REGISTRY names, which is also how one machine is several
nodes.

With --signed_only true the node loads no weights from then on but those that came with the library and those of a
release: an unsigned folder, or a file that was changed since it was pulled, is refused. Given again it changes the
address or the rule; another root is refused.

Example:
  uniair registry trust http://cloud.example:8100 --root root.json --signed_only true
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.errors import InputError
from uniair.files import sha256
from uniair.releases.keys import require_tuf
from uniair.releases.node import Node


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("registry", metavar="REGISTRY", type=str, help="address or folder")
    parser.add_argument(
        "--root", type=str | None, default=None, help="its root file: 1.root.json, as its keeper has it"
    )
    parser.add_argument("--signed_only", type=bool, default=False, help="load no weights that are not signed")


def run(options: Any) -> dict[str, Any]:
    """Verifies, remembers, and prints what to compare."""
    require_tuf()
    if options.root is None:
        raise InputError("give --root, the registry's root file, which its keeper handed over (metadata/1.root.json)")
    from uniair.releases.fetching import address

    root = Path(options.root)
    node = Node.trust(address(options.registry), root, options.signed_only)
    digest, releases = sha256(root), node.releases()
    print(f"{node.registry}: trusted by the root file of sha256 {digest}; {len(releases)} releases")
    print(
        f"{node.folder}: " + ("signed weights alone are loaded" if node.signed_only else "other weights are loaded too")
    )
    return {"registry": node.registry, "folder": str(node.folder), "sha256": digest, "signed_only": node.signed_only,
            "releases": len(releases)}  # fmt: skip
