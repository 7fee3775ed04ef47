"""Links → training batches: CSI synthesised on the fly, areas grouped, symmetries drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.complex_arrays import strongest
from uniair.data.links import drawn_radios
from uniair.data.links.links import Links
from uniair.environment import Batch, Environment, heights, turned_pixels
from uniair.errors import InputError
from uniair.radio import Radio


def batch_of(links: Links, radio: Radio | None = None, downtilt: float = 0.0) -> Batch:
    """All the given links as one batch, each area turned so that its BS's array lies along +x.

    Of several antennas at the user the strongest is kept, which the model and every task read.

    Args:
        radio: that sees them; None: their own.
        downtilt: of all arrays, rad; the places are told it.

    Raises:
        InputError: some areas have a map and some have none, or they have several radios and none is given.
    """
    radio = links.one_radio() if radio is None else radio
    links = along_array(links)
    environment = environment_of(links)
    if downtilt:
        environment = replace(environment, downtilt=torch.full((len(links),), downtilt))
    return Batch(strongest(links.paths.csi(radio, downtilt=downtilt)), environment.seen_by(radio), radio)


def environment_of(links: Links) -> Environment:
    """What is known of links whose arrays lie along +x, as checked tensors.

    Raises:
        InputError: some areas have a map and some have none.
    """
    if links.mapped.any() and not links.mapped.all():
        raise InputError("areas with and without a map in one batch: select those with a map, or those without")
    return Environment(
        map=heights(torch.from_numpy(links.maps)) if links.mapped.all() else None,
        bs=torch.from_numpy(links.bs),
        ue=torch.from_numpy(links.ue),
        los=torch.from_numpy(links.los.astype(np.float32)),
        size=torch.from_numpy(links.sizes[links.area]),
        area=torch.from_numpy(links.area.astype(np.int64)) if links.mapped.all() else None,
        carrier=torch.tensor([one.carrier for one in links.radios], dtype=torch.float32)[links.area],
    )


def along_array(links: Links) -> Links:
    """The same links with every BS's array along +x: areas turned about their centre, once for each bearing in them.

    The model's frame is the array's. A turned square needs a larger one around it, unless the turn is a quarter.
    """
    if not links.bearing.any():
        return links
    pairs, turned = np.unique(np.column_stack([links.area, links.bearing]), axis=0, return_inverse=True)
    area, bearing = pairs[:, 0].astype(np.int64), pairs[:, 1]
    cos, sin = np.cos(bearing), np.sin(bearing)
    cos, sin = (np.where(np.abs(v) < 1e-6, 0.0, v) for v in (cos, sin))
    old = links.sizes[area].astype(np.float64)
    sizes = old * (np.abs(cos) + np.abs(sin))
    maps = np.zeros((len(pairs), *links.maps.shape[1:]), dtype=links.maps.dtype)
    for i, (c, s) in enumerate(zip(cos, sin, strict=True)):
        row, column, inside = turned_pixels(maps.shape[-1], c, s)
        maps[i][inside] = links.maps[area[i]][row[inside], column[inside]]

    def move(position: NDArray[np.float32]) -> NDArray[np.float32]:
        x, y = (position[:, :2] - old[turned, None] / 2).T
        c, s, half = cos[turned], sin[turned], sizes[turned] / 2
        return np.column_stack([c * x + s * y + half, c * y - s * x + half, position[:, 2]]).astype(np.float32)

    azimuth = bearing[turned][links.paths.link_of_path]
    paths = replace(
        links.paths,
        aod_azimuth=(links.paths.aod_azimuth - azimuth).astype(np.float32),
        aoa_azimuth=(links.paths.aoa_azimuth - azimuth).astype(np.float32),
    )
    return Links(
        areas=tuple(f"{links.areas[a]}@{np.degrees(b):.6g}" for a, b in zip(area, bearing, strict=True)),
        maps=maps, mapped=links.mapped[area], sizes=sizes.astype(np.float32), area=turned.astype(np.int32),
        bs=move(links.bs), ue=move(links.ue), bearing=np.zeros_like(links.bearing), los=links.los, paths=paths,
        radios=tuple(links.radios[a] for a in area),
    )  # fmt: skip


def symmetric(links: Links, symmetry: NDArray[np.integer]) -> Links:
    """Each area turned or mirrored as a whole: propagation knows no compass, and the array stays along +x.

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

    cross = links.paths.cross
    if cross is not None:  # a mirror turns φ̂ round, at both ends
        mirrored = (flip_x ^ flip_y ^ swap)[of_path]
        cross = np.where(mirrored[:, None], cross * np.array([-1, -1, 1], np.complex64), cross)
    paths = replace(
        links.paths, aod_azimuth=turn(links.paths.aod_azimuth), aoa_azimuth=turn(links.paths.aoa_azimuth), cross=cross
    )
    return replace(links, maps=maps, bs=move(links.bs), ue=move(links.ue), paths=paths)


class AreaBatches:
    """Batches of several areas with several links each, so that a link's negatives include its neighbours.

    Args:
        data: one `Links` an area: `links.split()`, or a `Store`, which reads an area when a batch draws it.
        areas: areas a batch.
        links_per_area: most links drawn from each.
        augment: turn and mirror each area at random.
        radios: let each batch be seen by a radio that is drawn anew, see `drawn_radios`.
    """

    def __init__(
        self, data: Sequence[Links], areas: int, links_per_area: int, augment: bool = True, radios: bool = False
    ) -> None:
        if len(data) < areas:
            raise InputError(f"the data set has {len(data)} areas with links, fewer than the {areas} of a batch")
        self.data, self.areas, self.links_per_area, self.augment = data, areas, links_per_area, augment
        self.radios = radios

    def __call__(self, rng: np.random.Generator) -> Batch:
        """One batch, a function of the generator's state alone."""
        chosen = rng.choice(len(self.data), self.areas, replace=False)
        drawn = []
        for area in (self.data[int(i)] for i in chosen):
            drawn.append(area.select(rng.choice(len(area), min(self.links_per_area, len(area)), replace=False)))
        links = along_array(Links.concatenate(drawn))
        if self.augment:
            links = symmetric(links, rng.integers(0, 8, len(links.areas)))
        if self.radios:
            radio = drawn_radios.draw(rng, polarised=links.paths.cross is not None)
            return drawn_radios.measured(links.paths, environment_of(links), radio, rng)
        return batch_of(links)
