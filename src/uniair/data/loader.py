"""Links → training batches: CSI synthesised on the fly, areas grouped, symmetries drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.data.links import Links
from uniair.environment import Batch, Environment
from uniair.errors import InputError
from uniair.propagation.array import ULA
from uniair.propagation.ofdm import OFDM


def batch_of(links: Links, array: ULA = ULA(), ofdm: OFDM = OFDM()) -> Batch:
    """All the given links as one batch.

    Raises:
        InputError: a BS's array does not lie along +x; rotate its area first.
    """
    if np.any(links.bearing != 0):
        raise InputError("links with a bearing other than 0: rotate the area so that the ULA lies along +x")
    environment = Environment(
        map=torch.from_numpy(links.maps),
        bs=torch.from_numpy(links.bs),
        ue=torch.from_numpy(links.ue),
        los=torch.from_numpy(links.los.astype(np.float32)),
        size=torch.from_numpy(links.sizes[links.area]),
        area=torch.from_numpy(links.area.astype(np.int64)),
    )
    return Batch(links.paths.csi(array, ofdm), environment)


def symmetric(links: Links, symmetry: NDArray[np.integer]) -> Links:
    """Each area turned or mirrored as a whole: propagation knows no compass, and the ULA stays along +x.

    Args:
        symmetry: [A] 0 to 7: bit 0 mirrors x, bit 1 mirrors y, bit 2 then swaps x and y.
    """
    size = links.sizes[links.area]
    flip_x, flip_y, swap = ((symmetry & bit).astype(bool) for bit in (1, 2, 4))
    maps = links.maps.copy()
    maps[flip_x] = maps[flip_x, :, ::-1]
    maps[flip_y] = maps[flip_y, ::-1]
    maps[swap] = maps[swap].transpose(0, 2, 1)

    def move(position: NDArray[np.float32]) -> NDArray[np.float32]:
        out = position.copy()
        for axis, flip in ((0, flip_x), (1, flip_y)):
            out[:, axis] = np.where(flip[links.area], size - out[:, axis], out[:, axis])
        swapped = swap[links.area]
        out[swapped, :2] = out[swapped, 1::-1]
        return out

    of_path = links.area[links.paths.link_of_path]

    def turn(azimuth: NDArray[np.float32]) -> NDArray[np.float32]:
        azimuth = np.where(flip_x[of_path], np.pi - azimuth, azimuth)
        azimuth = np.where(flip_y[of_path], -azimuth, azimuth)
        return np.where(swap[of_path], np.pi / 2 - azimuth, azimuth).astype(np.float32)

    paths = replace(links.paths, aod_azimuth=turn(links.paths.aod_azimuth), aoa_azimuth=turn(links.paths.aoa_azimuth))
    return replace(links, maps=maps, bs=move(links.bs), ue=move(links.ue), paths=paths)


class AreaBatches:
    """Batches of several areas with several links each, so that a link's negatives include its neighbours.

    Args:
        links: the data set.
        areas: areas a batch.
        links_per_area: most links drawn from each.
        augment: turn and mirror each area at random.
    """

    def __init__(self, links: Links, areas: int, links_per_area: int, augment: bool = True) -> None:
        order = np.argsort(links.area, kind="stable")
        bounds = np.searchsorted(links.area[order], np.arange(len(links.areas) + 1))
        self.members = [order[a:b] for a, b in pairwise(bounds) if b > a]
        if len(self.members) < areas:
            raise InputError(
                f"the data set has {len(self.members)} areas with links, fewer than the {areas} of a batch"
            )
        self.links, self.areas, self.links_per_area, self.augment = links, areas, links_per_area, augment

    def __call__(self, rng: np.random.Generator) -> Batch:
        """One batch, a function of the generator's state alone."""
        chosen = rng.choice(len(self.members), self.areas, replace=False)
        drawn = [
            rng.choice(self.members[i], min(self.links_per_area, len(self.members[i])), replace=False) for i in chosen
        ]
        links = self.links.select(np.concatenate(drawn))
        if self.augment:
            links = symmetric(links, rng.integers(0, 8, len(links.areas)))
        return batch_of(links)
