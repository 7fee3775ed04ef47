"""Releases as the commands print them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from uniair.releases.release import Release

HEAD = f"{'release':20} {'kind':10} {'weights':16} {'digest':16} {'MB':>8}  {'signed (UTC)':16}  what"


def line(release: Release) -> str:
    """A release in the columns of `HEAD`."""
    notes = [f"brings {release.name}@{release.restores} back"] if release.restores else []
    says = "; ".join([release.says, *notes, *([release.note] if release.note else [])])
    return (
        f"{release!s:20} {release.kind:10} {release.weights or '-':16} {release.digest:16} {release.bytes / 1e6:8.2f}  "
        f"{release.made[:16].replace('T', ' '):16}  {says}"
    )


def table(releases: Sequence[Release], here: Container[str] = ()) -> list[str]:
    """The releases by name, the newest of each first.

    Args:
        here: which of them were pulled.
    """
    ordered = sorted(releases, key=lambda release: (release.name, -release.version))
    return [HEAD, *(line(release) + (" (here)" if str(release) in here else "") for release in ordered)]


def as_json(release: Release) -> dict[str, Any]:
    """A release for a command's JSON result."""
    return release.to_json() | {"release": str(release), "digest": release.digest, "bytes": release.bytes}
