"""A station's own view of its site: the model reads a square that is turned until the station's array lies along +x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.area.area import Area
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array, environment_of
from uniair.environment import UE_HEIGHT, Environment
from uniair.models.universal import UniversalModel
from uniair.propagation.paths import UNKNOWN, Paths
from uniair.radio import Radio
from uniair.site.site import Site, Station
from uniair.tasks.zero_shot import position_log_likelihood


@dataclass(frozen=True, eq=False)
class View:
    """What is fixed about a station, in the model's frame, and the way between the site's frame and that one.

    Attributes:
        map: float32 [R, R] building heights, m.
        plan: [R, R], the same map in the site's frame, as `Site.picture` has it.
        bs: float32 [3] m.
        size: side of the turned square, m.
        side: of the site, m.
        bearing: of the array in the site, rad.
        radio: of the station.
        downtilt: of the array, rad; None: it is level.
    """

    map: Tensor
    plan: NDArray[Any]
    bs: Tensor
    size: float
    side: float
    bearing: float
    radio: Radio
    downtilt: float | None = None

    def turned(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """[N, 3] m, from the site's frame into the array's, as `along_array` turns links."""
        (c, s), half = self._axis(), self.side / 2
        x, y = (points[:, :2].astype(np.float32).astype(np.float64) - half).T  # links hold them in float32
        middle = half * (abs(c) + abs(s))
        return np.column_stack([c * x + s * y + middle, c * y - s * x + middle, points[:, 2]]).astype(np.float32)

    def back(self, plan: NDArray[np.floating]) -> NDArray[np.float64]:
        """[N, 2] m, from the array's frame into the site's."""
        (c, s), half = self._axis(), self.size / 2
        x, y = plan[:, 0] - half, plan[:, 1] - half
        return np.column_stack([c * x - s * y, s * x + c * y]) + self.side / 2

    def _axis(self) -> NDArray[np.float64]:
        """Cosine and sine of the bearing, in the precision in which links hold it: [2]."""
        bearing = np.float64(np.float32(self.bearing))
        axis = np.array([np.cos(bearing), np.sin(bearing)])
        return np.where(np.abs(axis) < 1e-6, 0.0, axis)

    def environment(self, ue: NDArray[np.floating]) -> Environment:
        """UEs [N, 3], m from the site's south-west corner, as the model reads them: LOS unknown, the array along +x."""
        n = len(ue)
        return Environment(
            map=self.map[None], bs=self.bs.expand(n, 3), ue=torch.from_numpy(self.turned(ue)),
            size=torch.full((n,), self.size), area=torch.zeros(n, dtype=torch.int64),
            downtilt=self.tilts(n),
        ).seen_by(self.radio)  # fmt: skip

    def tilts(self, count: int) -> Tensor | None:
        """The downtilt of so many hypotheses, as `Environment` has it: [count] rad."""
        return None if self.downtilt is None else torch.full((count,), self.downtilt)

    def in_site(self, station: Sequence[float], ue: NDArray[np.floating] | None, count: int = 1) -> Environment:
        """UEs [N, 3] in the site's own frame, in which explanations are told; of unknown ones `count`.

        Args:
            station: x, y, z, m.
        """
        n = count if ue is None else len(ue)
        return Environment(
            map=self.plan[None], bs=np.tile(station, (n, 1)).astype(np.float32),
            ue=None if ue is None else np.asarray(ue, dtype=np.float32), size=np.full(n, self.side, dtype=np.float32),
            area=np.zeros(n, dtype=np.int64), bearing=np.full(n, self.bearing, dtype=np.float32),
            downtilt=self.tilts(n),
        )  # fmt: skip


def view(site: Site, station: int, map: NDArray[Any] | None = None) -> View:
    """A station's view.

    Args:
        station: its number.
        map: [R, R] as `Site.picture` has it, to believe instead of the site's own, unturned.
    """
    named, plan, radio = site.stations[station], site.map if map is None else map, site.radio_of(station)
    links = along_array(stand_ins(site.area, named, np.array([named.position]), plan, radio))
    env = environment_of(links)
    return View(
        env.map[0], plan, env.bs[0], float(env.size[0]), float(np.float32(site.area.size)), named.bearing, radio,
        named.downtilt or None,
    )  # fmt: skip


def stand_ins(area: Area, station: Station, ue: NDArray[np.floating], map: NDArray[Any], radio: Radio) -> Links:
    """Links to UEs of which positions alone are known: one path each, of no meaning.

    Args:
        ue: [N, 3] m from the site's south-west corner.
        map: [R, R] of what the model is told of the buildings: `Site.map`, or another one to believe.
        radio: of the station.
    """
    n, zero = len(ue), np.zeros(len(ue))
    angles: dict[str, Any] = dict.fromkeys(("delay", "aod_azimuth", "aod_zenith", "aoa_azimuth", "aoa_zenith"), zero)
    paths = Paths.from_rows(n, np.arange(n), gain=np.ones(n), interactions=np.full(n, UNKNOWN), **angles)
    return Links(
        areas=(f"{area.name}/{station.name}",), maps=map[None],
        mapped=np.ones(1, dtype=bool), sizes=np.array([area.size], dtype=np.float32), area=np.zeros(n, dtype=np.int32),
        bs=np.tile(station.position, (n, 1)).astype(np.float32), ue=np.asarray(ue, dtype=np.float32),
        bearing=np.full(n, station.bearing, dtype=np.float32), los=np.zeros(n, dtype=bool), paths=paths,
        radios=(radio,),
    )  # fmt: skip


def log_likelihood(
    model: UniversalModel,
    site: Site,
    station: int,
    csi: Tensor,
    step: float = 2.0,
    coarse: float | None = None,
    height: float = UE_HEIGHT,
    map: NDArray[Any] | None = None,
) -> tuple[NDArray[np.float64], Tensor]:
    """`zero_shot.position_log_likelihood` over the site's own, unturned grid.

    Args:
        csi: complex [N, ports, subcarriers] of one station, or embeddings [N, E] where the clock is absolute.
        step, coarse, height: of the grid and the UEs, m.
        map: [R, R] of the site to believe instead of its own, unturned, as `Site.picture` has it.

    Returns:
        Grid coordinates [G], m, the same for x and y, and float32 [N, G, G], row = y, −inf inside buildings.

    Raises:
        InputError: see `position_log_likelihood`.
    """
    here = view(site, station, map)
    turned, log = position_log_likelihood(
        model, csi, here.map, here.bs, here.size, step, height, coarse, here.radio, here.downtilt
    )
    if not here.bearing:
        return turned, log
    grid = np.arange(step / 2, here.side, step)
    x, y = (values.ravel() for values in np.meshgrid(grid, grid))
    there = here.turned(np.column_stack([x, y, np.full(x.size, height)]))[:, :2]
    column, row = np.minimum((there / step).astype(int), len(turned) - 1).T
    out = log[:, torch.from_numpy(row), torch.from_numpy(column)].view(-1, len(grid), len(grid))
    pixel = np.minimum((grid / here.side * len(here.plan)).astype(int), len(here.plan) - 1)
    return grid, out.masked_fill(torch.from_numpy(here.plan[np.ix_(pixel, pixel)] != 0).to(out.device), -torch.inf)
