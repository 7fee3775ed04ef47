"""The sample contract: links between BSs and UEs in areas with a map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError
from uniair.propagation.paths import Paths
from uniair.radio import Radio


@dataclass(frozen=True)
class Links:
    """N links in A areas; what every reader gives and every shard holds.

    Attributes:
        areas: [A] names, `place/number`; the part before the slash is the unit of the splits.
        maps: uint8 [A, R, R] building occupancy or float32 building heights, m, row 0 = y 0, column 0 = x 0; zeros
            where unknown.
        mapped: bool [A] whether the map is known (measured and some ray-traced sets come without buildings).
        sizes: float32 [A] side of the square that the map covers, m.
        area: int32 [N] which area a link is in.
        bs, ue: float32 [N, 3] positions, m, from the area's south-west corner.
        bearing: float32 [N] azimuth of the axis of the BS's array, rad; 0 lies along +x.
        los: bool [N].
        paths: `Paths` of N links, at least one path each.
        radios: [A] the radio of each area's base stations, at whose carrier the paths were found; paper 1's if none.
    """

    areas: tuple[str, ...]
    maps: NDArray[np.uint8] | NDArray[np.float32]
    mapped: NDArray[np.bool_]
    sizes: NDArray[np.float32]
    area: NDArray[np.int32]
    bs: NDArray[np.float32]
    ue: NDArray[np.float32]
    bearing: NDArray[np.float32]
    los: NDArray[np.bool_]
    paths: Paths
    radios: tuple[Radio, ...] = ()

    def __post_init__(self) -> None:
        if not self.radios:
            object.__setattr__(self, "radios", (Radio(),) * len(self.areas))

    def __len__(self) -> int:
        return len(self.area)

    @property
    def built(self) -> NDArray[np.bool_]:
        """[A, R, R] building occupancy."""
        return self.maps > 0

    @property
    def places(self) -> NDArray[np.str_]:
        """[A] the place (city) of each area."""
        return np.array([name.split("/")[0] for name in self.areas])

    def validate(self, where: str) -> Links:
        """Itself, when the contract holds.

        Args:
            where: file or data set, for the message.

        Raises:
            InputError: shapes that disagree, NaN, positions outside the area, a link without a path.
        """
        n, a = self.area.size, len(self.areas)
        shapes = {
            "area": (self.area.shape, (n,)),
            "maps": (self.maps.shape, (a, *self.maps.shape[-1:], *self.maps.shape[-1:])),
            "mapped": (self.mapped.shape, (a,)),
            "sizes": (self.sizes.shape, (a,)),
            "bs": (self.bs.shape, (n, 3)),
            "ue": (self.ue.shape, (n, 3)),
            "bearing": (self.bearing.shape, (n,)),
            "los": (self.los.shape, (n,)),
            "paths": ((len(self.paths),), (n,)),
            "radios": ((len(self.radios),), (a,)),
        }
        for name, (have, want) in shapes.items():
            if have != want:
                raise InputError(f"{where}: {name} has shape {have}, expected {want}; make or download the file again")
        if n and not (self.area.min() >= 0 and self.area.max() < a):
            raise InputError(f"{where}: a link names area {self.area.max()} of {a}; make or download the file again")
        for name in ("sizes", "bs", "ue", "bearing"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{where}: {name} holds NaN or infinite values")
        if not (np.isfinite(self.maps) & (self.maps >= 0)).all():
            raise InputError(f"{where}: maps hold NaN, infinite or negative building heights")
        if (self.sizes <= 0).any():
            raise InputError(f"{where}: an area's size is not above 0 m")
        limit = self.sizes[self.area][:, None] + 1e-3
        for name in ("bs", "ue"):
            plan = getattr(self, name)[:, :2]
            if n and ((plan < -1e-3) | (plan > limit)).any():
                raise InputError(
                    f"{where}: a {name.upper()} lies outside its area; positions are metres from the south-west corner"
                )
        if (self.paths.counts < 1).any():
            raise InputError(f"{where}: a link has no path")
        for name in Paths.PER_PATH[:6]:
            if not np.isfinite(getattr(self.paths, name)).all():
                raise InputError(f"{where}: paths.{name} holds NaN or infinite values")
        if self.paths.cross is not None and not np.isfinite(self.paths.cross).all():
            raise InputError(f"{where}: paths.cross holds NaN or infinite values")
        return self

    def one_radio(self) -> Radio:
        """The radio of all areas.

        Raises:
            InputError: they have several.
        """
        return only_radio(self.radios)

    def of_area(self, area: int) -> Links:
        """The links of one area."""
        return self.select(self.area == area)

    def select(self, links: NDArray[np.integer] | NDArray[np.bool_]) -> Links:
        """The given links (indices or a mask); areas that none of them is in are left out."""
        index = np.arange(len(self))[links]
        kept, area = np.unique(self.area[index], return_inverse=True)
        return Links(
            areas=tuple(self.areas[i] for i in kept),
            maps=self.maps[kept],
            mapped=self.mapped[kept],
            sizes=self.sizes[kept],
            area=area.astype(np.int32),
            bs=self.bs[index],
            ue=self.ue[index],
            bearing=self.bearing[index],
            los=self.los[index],
            paths=self.paths.select(index),
            radios=tuple(self.radios[i] for i in kept),
        )

    def split(self) -> list[Links]:
        """The links of each area apart; areas without links are left out."""
        order = np.argsort(self.area, kind="stable")
        bounds = np.searchsorted(self.area[order], np.arange(len(self.areas) + 1))
        return [self.select(order[a:b]) for a, b in pairwise(bounds) if b > a]

    def merged(self) -> Links:
        """Areas of one name become one, and links are sorted by area.

        Raises:
            InputError: areas of one name have different sizes or radios.
        """
        names = list(dict.fromkeys(self.areas))
        number = np.array([names.index(name) for name in self.areas], dtype=np.int32)
        kept = np.unique(number, return_index=True)[1]
        if (self.sizes != self.sizes[kept][number]).any():
            raise InputError(f"areas of one name but different sizes among {', '.join(names[:3])}; import them apart")
        radios = [self.radios[i] for i in kept]
        if any(radio != radios[i] for radio, i in zip(self.radios, number, strict=True)):
            raise InputError(f"areas of one name but different radios among {', '.join(names[:3])}; import them apart")
        one = replace(
            self, areas=tuple(names), maps=self.maps[kept], mapped=self.mapped[kept], sizes=self.sizes[kept],
            area=number[self.area], radios=tuple(radios),
        )  # fmt: skip
        return one.select(np.argsort(one.area, kind="stable"))

    @classmethod
    def concatenate(cls, parts: list[Links]) -> Links:
        """All areas and links of the parts, in order.

        Raises:
            InputError: maps of occupancy and maps of heights, or of different rasters.
        """
        if len({(p.maps.dtype, p.maps.shape[1:]) for p in parts}) > 1:
            raise InputError("links with maps of occupancy and of heights, or of different rasters; take them apart")
        start = np.cumsum([0, *(len(p.areas) for p in parts)])
        return cls(
            areas=tuple(name for p in parts for name in p.areas),
            area=np.concatenate([p.area + s for p, s in zip(parts, start, strict=False)]).astype(np.int32),
            paths=Paths.concatenate([p.paths for p in parts]),
            radios=tuple(radio for p in parts for radio in p.radios),
            **{
                k: np.concatenate([getattr(p, k) for p in parts])
                for k in ("maps", "mapped", "sizes", "bs", "ue", "bearing", "los")
            },
        )


def only_radio(radios: tuple[Radio, ...]) -> Radio:
    """The radio that all of them are; paper 1's of none.

    Raises:
        InputError: they are several.
    """
    found = list(dict.fromkeys(radios)) or [Radio()]
    if len(found) > 1:
        raise InputError(f"links of {len(found)} radios ({found[0]} | {found[1]} …); take those of one radio at once")
    return found[0]
