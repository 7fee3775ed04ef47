"""`Environment`: what is known about the place of a link, any part of which may be missing; `Batch`: with its CSI."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.radio import Radio

BS_HEIGHT, UE_HEIGHT = 6.0, 1.5  # m: of paper 1's small cells, which the packaged weights learned from
HALF_BUILT = 0.5  # of a map of real numbers: shares of a pixel, or heights in m


@dataclass(frozen=True)
class Environment:
    """N hypotheses about where and how a channel came about; NumPy arrays or tensors.

    Attributes:
        map: uint8 or bool [A, H, W], H = W, building occupancy, row 0 = y 0, column 0 = x 0. None: unknown.
        bs, ue: [N, 3] positions, m, from the map's south-west corner. None: unknown.
        los: [N] 1 = LOS, 0 = NLOS. None: unknown.
        size: [N] side of the square that the map covers, m.
        area: [N] which of the A maps a hypothesis uses; None where A = N, or where one map serves all.

    `map[i]` is shared by all hypotheses with `area == i`, so a map is encoded once however many positions are asked.
    """

    map: Any = None
    bs: Any = None
    ue: Any = None
    los: Any = None
    size: Any = None
    area: Any = None

    def __len__(self) -> int:
        for value in (self.size, self.area, self.ue, self.bs, self.los, self.map):
            if value is not None:
                if not np.ndim(value):
                    raise InputError(
                        f"environment: one number {value!r:.40} where one a hypothesis is wanted; give a list"
                    )
                return len(value)
        raise InputError("environment: nothing in it is known; give at least a map, a position or LOS")

    def tensors(self) -> Environment:
        """The same as checked tensors, with `size` [N] float32 and `area` [N] int64 filled in.

        Raises:
            InputError: shapes that disagree, NaN, a position off the map, LOS neither 0 nor 1, a size not above 0.
        """
        n = len(self)

        def tensor(name: str, shape: tuple[int, ...]) -> Tensor | None:
            value = getattr(self, name)
            if value is None:
                return None
            try:
                out = torch.as_tensor(value if isinstance(value, Tensor) else np.asarray(value))
                out = out.to(torch.float32)
            except (TypeError, ValueError, RuntimeError) as error:
                raise InputError(f"environment: {name} is not an array of numbers") from error
            if tuple(out.shape) != shape:
                raise InputError(f"environment: {name} has shape {tuple(out.shape)}, expected {shape}")
            if not torch.isfinite(out).all():
                raise InputError(f"environment: {name} holds NaN or infinite values; for unknown, pass None")
            return out

        bs, ue, los, size = tensor("bs", (n, 3)), tensor("ue", (n, 3)), tensor("los", (n,)), tensor("size", (n,))
        if size is None:
            if self.map is not None or bs is not None or ue is not None:
                raise InputError("environment: size is missing; give the side of the area in metres, one a hypothesis")
            size = torch.ones(n)
        if (size <= 0).any():
            raise InputError("environment: size must be above 0 m")
        for name, position in (("bs", bs), ("ue", ue)):
            if position is not None:
                off = (position[:, :2] < -1e-2) | (position[:, :2] > size[:, None] + 1e-2)
                if off.any():
                    i = int(off.any(1).nonzero()[0])
                    x, y = position[i, :2].tolist()
                    raise InputError(
                        f"environment: {name}[{i}] = ({x:.1f}, {y:.1f}) m lies outside the area of "
                        f"{float(size[i]):.1f} m; positions are metres from its south-west corner"
                    )
        if los is not None and not ((los == 0) | (los == 1)).all():
            raise InputError("environment: los must be 1 (LOS) or 0 (NLOS)")
        maps = None
        area = torch.zeros(n, dtype=torch.int64)
        if self.map is not None:
            try:
                maps = torch.as_tensor(self.map if isinstance(self.map, Tensor) else np.array(self.map, order="C"))
            except (TypeError, ValueError, RuntimeError) as error:
                raise InputError("environment: map is not an array of numbers [areas, pixels, pixels]") from error
            if maps.ndim != 3 or maps.shape[1] != maps.shape[2] or maps.shape[1] < 8:
                raise InputError(f"environment: map has shape {tuple(maps.shape)}, expected [areas, pixels, pixels]")
            if maps.is_floating_point() and not torch.isfinite(maps).all():
                raise InputError("environment: map holds NaN or infinite values")
            if self.area is not None:
                given = np.asarray(self.area)
                if given.dtype.kind not in "iu":
                    raise InputError(f"environment: area is {given.dtype}, expected whole numbers, which map of each")
                area = torch.from_numpy(given.astype(np.int64))
            elif len(maps) == n:
                area = torch.arange(n)
            elif len(maps) != 1:
                raise InputError(f"environment: {len(maps)} maps for {n} hypotheses; say in `area` which uses which")
            if tuple(area.shape) != (n,) or not ((area >= 0) & (area < len(maps))).all():
                raise InputError(f"environment: area must hold {n} indices below {len(maps)}, the number of maps")
            built = maps >= HALF_BUILT if maps.is_floating_point() else maps != 0
            maps, area = _each_once(built.to(torch.uint8), area)
        return Environment(maps, bs, ue, los, size, area)

    def without(self, *names: str) -> Environment:
        """The same with some parts unknown: `without("los")`."""
        gone = {*names, "area"} if "map" in names else set(names)
        return replace(self, **dict.fromkeys(gone))

    def select(self, index: Any) -> Environment:
        """The given hypotheses (of `tensors()`'s result); maps stay, to be shared."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("bs", "ue", "los", "size", "area"):
            if picked[name] is not None:
                picked[name] = picked[name][index]
        return Environment(**picked)


@dataclass(frozen=True)
class Batch:
    """CSI and the true environment of each, checked tensors.

    Attributes:
        csi: complex64 [N, ports, subcarriers].
        radio: that it is seen by.
    """

    csi: Tensor
    environment: Environment
    radio: Radio = Radio()

    def __len__(self) -> int:
        return len(self.csi)

    def select(self, index: Any) -> Batch:
        """Some of the links; maps stay, to be shared."""
        return replace(self, csi=self.csi[index], environment=self.environment.select(index))

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        moved = {k: v.to(device) for k, v in vars(self.environment).items() if v is not None}
        return replace(self, csi=self.csi.to(device), environment=Environment(**moved))


def _each_once(maps: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
    """The same with maps that are there several times kept once, since each is encoded by itself."""
    if len(maps) < 2:
        return maps, area
    first: dict[bytes, int] = {}
    number = [first.setdefault(hashlib.blake2b(m.numpy().tobytes()).digest(), len(first)) for m in maps.cpu()]
    if len(first) == len(maps):
        return maps, area
    of = torch.tensor(number)
    kept = torch.tensor([number.index(i) for i in range(len(first))])
    return maps[kept], of[area]
