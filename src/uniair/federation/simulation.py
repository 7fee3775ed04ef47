"""A federation in one process: its sites are the areas or places of a links folder, or the scenarios of drives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uniair.data.digest import data_digest
from uniair.data.drives.drive import Drive
from uniair.data.links.links import Links
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.federation.agreement import Agreement
from uniair.federation.connection import run_here
from uniair.federation.rounds import Rounds
from uniair.federation.site_client import SiteClient
from uniair.models.forecast import WMLM
from uniair.models.universal import UniversalModel

LEAST_LINKS = 20  # of a site


def sites_of(store: Store, by: str = "area", count: int | None = None) -> dict[str, Links]:
    """The links of each site, by name.

    Args:
        by: `area`, or `place`, which has several areas.
        count: first so many sites; all where None.

    Raises:
        InputError: an unknown division, or fewer sites with `LEAST_LINKS` links.
    """
    if by not in ("area", "place"):
        raise InputError(f"by {by!r}: choose area or place")
    members: dict[str, list[int]] = {}
    for number, name in enumerate(store.areas):
        members.setdefault(name if by == "area" else name.split("/")[0], []).append(number)
    enough = {name: those for name, those in members.items() if store.counts[those].sum() >= LEAST_LINKS}
    if len(enough) < (count or 1):
        raise InputError(f"{store.folder}: {len(enough)} {by}s have {LEAST_LINKS} links, {count or 1} are needed")
    chosen = list(enough.items())[:count]
    return {name: Links.concatenate([store[number] for number in those]) for name, those in chosen}


def sites_of_drives(drives: Sequence[Drive], count: int | None = None) -> dict[str, list[Drive]]:
    """The drives of each scenario, which is a site, by name.

    Args:
        count: first so many sites; all where None.

    Raises:
        InputError: fewer scenarios.
    """
    members: dict[str, list[Drive]] = {}
    for drive in drives:
        members.setdefault(drive.scenario, []).append(drive)
    if len(members) < (count or 1):
        raise InputError(f"drives of {len(members)} scenarios, {count or 1} are needed")
    return dict(list(members.items())[:count])


def simulate(
    agreement: Agreement,
    begin: Sequence[Any],
    model: UniversalModel | WMLM,
    sites: Mapping[str, Links] | Mapping[str, list[Drive]],
    out: Path | None = None,
    say: Callable[[str], object] = print,
) -> Rounds:
    """All rounds, the sites one after another; noise of private learning comes from the seed and protects nothing.

    Args:
        out: folder for state, result, and where learning is private a folder of each site in `sites`; None keeps
            nothing.

    Raises:
        InputError: as `Rounds`.
    """
    data = data_digest(list(sites.items()))
    rounds = Rounds(agreement, begin, model, out, wait=0.0, workers=1, say=say, rehearsal=True, data=data)
    kept = out / "sites" if out is not None and agreement.private else None
    folders = {name: None if kept is None else kept / name.replace("/", "-") for name in sites}
    run_here(rounds, [SiteClient(name, model, own, folders[name], seeded=True) for name, own in sites.items()])
    return rounds
