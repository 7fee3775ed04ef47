"""A station's view of the site: a square turned until the station's array lies along +x, as the model was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.site.frame import environment
from uniair.site.site import Site


@dataclass(frozen=True, eq=False)
class View:
    """What is fixed about a station, in the model's frame, and the way between the site's frame and that one.

    Attributes:
        map: uint8 [R, R].
        plan: uint8 [R, R], the same map in the site's frame.
        bs: float32 [3] m.
        size: side of the turned square, m.
        side: of the site, m.
        bearing: of the array in the site, rad.
    """

    map: Tensor
    plan: NDArray[np.uint8]
    bs: Tensor
    size: float
    side: float
    bearing: float

    def turned(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """[N, 3] m, from the site's frame into the array's."""
        c, s, half = np.cos(self.bearing), np.sin(self.bearing), self.side / 2
        x, y = points[:, 0] - half, points[:, 1] - half
        middle = self.size / 2
        return np.column_stack([c * x + s * y + middle, c * y - s * x + middle, points[:, 2]]).astype(np.float32)

    def back(self, plan: NDArray[np.floating]) -> NDArray[np.float64]:
        """[N, 2] m, from the array's frame into the site's."""
        c, s, half = np.cos(self.bearing), np.sin(self.bearing), self.size / 2
        x, y = plan[:, 0] - half, plan[:, 1] - half
        return np.column_stack([c * x - s * y, s * x + c * y]) + self.side / 2


def view(site: Site, station: int, map: NDArray[np.uint8] | None = None) -> View:
    """A station's view.

    Args:
        map: occupancy of the site to believe instead of its own, unturned.
    """
    env = environment(site, station, np.array([site.stations[station].position]), map)
    plan = site.map if map is None else map
    return View(env.map[0], plan, env.bs[0], float(env.size[0]), site.area.size, site.stations[station].bearing)


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """`count` hypotheses of one view.

    Attributes:
        ue: float32 [count, 3] m in the site's frame; None: unknown.
        los: [count] 1 or 0; None: unknown.
    """

    view: View
    count: int
    ue: NDArray[np.floating] | None = None
    los: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        if self.ue is not None and not ((self.ue[:, :2] >= 0) & (self.ue[:, :2] <= self.view.side)).all():
            raise InputError(
                f"ue: a position lies outside the site; give x and y from 0 to {self.view.side:g} m, "
                "measured from its south-west corner"
            )


def embed(model: UniversalModel, parts: Sequence[Hypotheses]) -> list[Tensor]:
    """Embeddings of each part, [count, E]; parts of one view that know the same go through together.

    Rays are launched from the BS and the map is encoded once a pass, which takes longer than a few positions do.
    """
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for number, part in enumerate(parts):
        groups.setdefault((id(part.view), part.ue is None, part.los is None), []).append(number)
    out: list[Tensor] = [torch.empty(0)] * len(parts)
    for members in groups.values():
        chosen = [parts[number] for number in members]
        here = chosen[0].view
        count = sum(part.count for part in chosen)
        ue = [here.turned(part.ue) for part in chosen if part.ue is not None]
        los = [part.los for part in chosen if part.los is not None]
        z = model.encode_environment(
            Environment(
                map=here.map[None],
                bs=here.bs.expand(count, 3),
                size=torch.full((count,), here.size),
                ue=np.concatenate(ue) if ue else None,
                los=np.concatenate(los) if los else None,
            )
        )
        for number, found in zip(members, torch.split(z, [part.count for part in chosen]), strict=True):
            out[number] = found
    return out
