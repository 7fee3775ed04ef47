"""A station's own view of its site: the model reads a square that is turned until the station's array lies along +x."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.area.area import Area
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Environment
from uniair.models.universal import UniversalModel
from uniair.propagation.paths import UNKNOWN, Paths
from uniair.site.site import Site, Station
from uniair.tasks.zero_shot import position_log_likelihood


def stand_ins(area: Area, station: Station, ue: NDArray[np.floating], map: NDArray[np.uint8]) -> Links:
    """Links to UEs of which positions alone are known: one path each, of no meaning.

    Args:
        ue: [N, 3] m from the site's south-west corner.
        map: occupancy [R, R] of what the model takes for walls: `Site.map`, or another one to believe.
    """
    n, zero = len(ue), np.zeros(len(ue))
    angles = dict.fromkeys(("delay", "aod_azimuth", "aod_zenith", "aoa_azimuth", "aoa_zenith"), zero)
    paths = Paths.from_rows(n, np.arange(n), gain=np.ones(n), interactions=np.full(n, UNKNOWN), **angles)
    return Links(
        areas=(f"{area.name}/{station.name}",), maps=map[None],
        mapped=np.ones(1, dtype=bool), sizes=np.array([area.size], dtype=np.float32), area=np.zeros(n, dtype=np.int32),
        bs=np.tile(station.position, (n, 1)).astype(np.float32), ue=np.asarray(ue, dtype=np.float32),
        bearing=np.full(n, station.bearing, dtype=np.float32), los=np.zeros(n, dtype=bool), paths=paths,
    )  # fmt: skip


def environment(
    site: Site, station: int, ue: NDArray[np.floating], map: NDArray[np.uint8] | None = None
) -> Environment:
    """UEs [N, 3], m from the site's south-west corner, as the model reads them: LOS unknown, the array along +x.

    Args:
        station: its number.
        map: occupancy [R, R] of the site to believe instead of its own, unturned.
    """
    base = site.map if map is None else map
    env = batch_of(stand_ins(site.area, site.stations[station], ue, base)).environment
    return Environment(map=env.map, bs=env.bs, ue=env.ue, size=env.size, area=env.area)


def log_likelihood(
    model: UniversalModel,
    site: Site,
    station: int,
    csi: Tensor,
    step: float = 2.0,
    coarse: float | None = None,
    height: float = 1.5,
    map: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.float64], Tensor]:
    """`zero_shot.position_log_likelihood` over the site's own, unturned grid.

    Args:
        csi: complex [N, 32, 64] of one station, or embeddings [N, E].
        step, coarse, height: of the grid and the UEs, m.
        map: occupancy [R, R] of the site to believe instead of its own, unturned.

    Returns:
        Grid coordinates [G], m, the same for x and y, and float32 [N, G, G], row = y, −inf inside buildings.

    Raises:
        InputError: see `position_log_likelihood`.
    """
    base = site.map if map is None else map
    grid = np.arange(step / 2, site.area.size, step)
    x, y = np.meshgrid(grid, grid)
    view = environment(site, station, np.column_stack([x.ravel(), y.ravel(), np.full(x.size, height)]), base)
    turned, log = position_log_likelihood(
        model, csi, view.map[0], view.bs[0], float(view.size[0]), step, height, coarse
    )
    if not site.stations[station].bearing:
        return grid, log
    column, row = np.minimum((view.ue[:, :2].numpy() / step).astype(int), len(turned) - 1).T
    out = log[:, torch.from_numpy(row), torch.from_numpy(column)].view(-1, len(grid), len(grid))
    pixel = np.minimum((grid / site.area.size * len(base)).astype(int), len(base) - 1)
    return grid, out.masked_fill(torch.from_numpy(base[np.ix_(pixel, pixel)] != 0).to(out.device), -torch.inf)
