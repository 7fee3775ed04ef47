"""Sign a registry again before its signatures expire: nodes then know that what they see is still the newest.

The timestamp, which holds 30 days unless --days says otherwise, is signed anew each time; it needs timestamp.pem alone,
so that a machine can do it every week (cron) without the key that signs releases. Releases and root are signed again
when less than half of their year or two is left, if targets.pem or root.pem lies in --keys.

Example:
  uniair registry refresh runs/registry --keys keys --passphrase_file passphrase.txt
"""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser

from uniair.commands.registry_keys import add_days, add_keys, days_of, ends, keys_of
from uniair.releases.repository import Registry


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("registry", metavar="REGISTRY", type=str, help="folder of uniair registry init")
    add_keys(parser)
    add_days(parser)


def run(options: Any) -> dict[str, Any]:
    """Signs, and prints until when what holds."""
    registry = Registry(options.registry)
    signed = registry.refresh(keys_of(options), days_of(options))
    expiries = registry.state().expiries()
    print(f"signed again: {', '.join(signed)}")
    print("\n".join(ends(expiries)))
    return {"signed": list(signed), "expires": {role: end.isoformat() for role, end in expiries.items()}}
