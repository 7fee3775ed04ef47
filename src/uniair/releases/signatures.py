"""Which signatures hold: a root file is trusted, its successors by it, and everything else by the last of them."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root


def verified(root: Metadata[Root], role: str, data: bytes) -> Metadata[Any]:
    """Metadata of a role that a root trusts; its expiry is left to the caller.

    Raises:
        tuf.api.exceptions.RepositoryError: it is no metadata of this role, or not signed by its keys.
    """
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    found: Metadata[Any] = Metadata.from_bytes(data)
    if found.signed.type != role:
        raise RepositoryError(f"it is the metadata of {found.signed.type}, not of {role}")
    root.signed.verify_delegate(role, found.signed_bytes, found.signatures)
    return found


def last_root(first: bytes, folder: Path) -> Metadata[Root]:
    """The newest root that a trusted one leads to, of the files `VERSION.root.json` in a folder (TUF 5.3).

    Raises:
        tuf.api.exceptions.RepositoryError: the first is no root file, or one is not signed by its predecessor's keys.
        OSError: not to be read.
    """
    from tuf.api.exceptions import BadVersionNumberError
    from tuf.api.metadata import Metadata

    alone: Metadata[Any] = Metadata.from_bytes(first)
    root = verified(alone, "root", first)
    for version in count(root.signed.version + 1):
        path = folder / f"{version}.root.json"
        if not path.exists():
            return root
        after = verified(root, "root", path.read_bytes())
        if after.signed.version != version:
            raise BadVersionNumberError(f"{path.name} is of version {after.signed.version}")
        root = verified(after, "root", path.read_bytes())  # by its own keys too
    raise AssertionError  # count never ends
