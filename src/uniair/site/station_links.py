"""The links of a site's stations as a model is asked about them: each by its own radio, azimuth and tilt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.site.covered import Covered
from uniair.site.site import Site
from uniair.site.site_coverage import OUTDOORS

MOST = 1000  # links of a sector that a model is asked about


def links_of(site: Site, station: int, covered: Covered | None = None) -> Links | None:
    """The links of a station; None where the site keeps none of it.

    Of a plan's sector those to users in the street who get `hole` or more from it, at most `MOST`: its mast's paths,
    seen by its own array. Weaker ones no user would report.

    Args:
        covered: the plan's coverage; read from the folder where None.
    """
    if not site.traced:
        return None
    named = site.stations[station]
    wanted = f"{site.area.name}/{named.source or named.name}"
    if wanted not in site.links.areas:
        return None
    links = site.links[site.links.areas.index(wanted)]
    if named.source:
        covered = Covered.read(site.folder) if covered is None else covered
        links = links.select(_heard(links, covered, station)) if covered is not None else links
        links = replace(links, areas=(f"{site.area.name}/{named.name}",) * len(links.areas))
    areas = len(links.areas)
    return replace(
        links, maps=np.repeat(site.map[None], areas, axis=0), radios=(site.radio_of(station),) * areas,
        bearing=np.full(len(links), named.bearing, dtype=np.float32),
    )  # fmt: skip


def _heard(links: Links, covered: Covered, sector: int) -> NDArray[np.int64]:
    """Rows of a mast's links that end at users in the street whom a sector reaches with the hole's RSRP."""
    users = covered.users
    enough = (users.floor == OUTDOORS) & (users.layers["rsrp"][sector] >= covered.planning.hole)
    # one order of users for all sectors, so that those that one is asked about are the others' too
    order = np.random.default_rng(0x5EC7).permutation(len(enough))
    chosen = order[enough[order]][:MOST]
    known = {place.tobytes() for place in users.spots[chosen].astype(np.float32)}
    return np.flatnonzero([place.tobytes() in known for place in links.ue]).astype(np.int64)


def batch(site: Site, station: int, links: Links) -> Batch:
    """CSI and places of a station's links, in its array's frame."""
    return batch_of(links, downtilt=site.stations[station].downtilt)


def csi(site: Site, station: int, links: Links) -> Tensor:
    """What a station's radio measures of its links: complex64 [N, ports, subcarriers]."""
    return links.paths.csi(site.radio_of(station), links.bearing, downtilt=site.stations[station].downtilt)
