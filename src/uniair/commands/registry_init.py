"""Make an empty registry of models and the keys that sign it.

REGISTRY is a new folder, which later goes to nodes as it is: by uniair registry serve, any static web server, or a
shared disk. --keys becomes a folder with three Ed25519 keys: root.pem, which names the others and can lie in a safe;
targets.pem, which signs releases; and timestamp.pem, which says every few weeks that these are still the newest ones. A
passphrase encrypts them. Nodes are given REGISTRY/metadata/1.root.json once, by a way that you trust.

Example:
  uniair registry init runs/registry --keys ~/registry-keys
  uniair registry init runs/registry --keys keys --passphrase_file passphrase.txt
"""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.registry_keys import add_days, add_keys, days_of, ends, keys_of
from uniair.files import sha256
from uniair.releases.repository import Registry


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("registry", metavar="REGISTRY", type=str, help="new folder")
    add_keys(parser)
    add_days(parser)


def run(options: Any) -> dict[str, Any]:
    """Makes both and prints what nodes are to be given."""
    registry, keys = Registry(options.registry), keys_of(options, new=True)
    root = registry.create(keys, days_of(options))
    digest, state = sha256(root), registry.state()
    print(f"{options.registry}: an empty registry; keys in {keys.folder}: keep root.pem where no machine reads it")
    print("\n".join(ends(state.expiries())))
    print(f"nodes are given {root}, sha256 {digest}")
    return {"registry": options.registry, "keys": str(keys.folder), "root": str(root), "sha256": digest}
