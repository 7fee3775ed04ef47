"""`Environment`: what is known about the place of a link, any part of which may be missing; `Batch`: with its CSI."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.errors import InputError
from uniair.radio import Radio

BS_HEIGHT, UE_HEIGHT = 6.0, 1.5  # m: of paper 1's small cells, which the packaged weights learned from
HALF_BUILT = 0.5  # of a map of real numbers: the share of a pixel, or m of height, from which a pixel is built
SIDE = 200.0  # m: what a side is taken to be where nothing but LOS is told; weights have seen no place without one
TALL = math.inf  # m: what a building is taken to be whose height is not known, as in paper 1 taller than all antennas


@dataclass(frozen=True)
class Environment:
    """N hypotheses about where and how a channel came about; NumPy arrays or tensors.

    Attributes:
        map: [A, H, W], H = W, row 0 = y 0, column 0 = x 0: building occupancy (uint8, bool), or building heights (real
            numbers), m, 0 on open ground, infinite where not known. Real numbers none of which is above 1 are
            occupancy. None: unknown.
        bs, ue: [N, 3] positions, m, from the map's south-west corner, height above ground. None: unknown.
        los: [N] 1 = LOS, 0 = NLOS. None: unknown.
        size: [N] side of the square that the map covers, m. None: `SIDE`, where neither map nor positions are told.
        area: [N] which of the A maps a hypothesis uses; None where A = N, or where one map serves all.
        carrier: [N] Hz. None: unknown.
        bearing: [N] azimuth of the axis of the BS's array, rad: the boresight's less 90°. None: it lies along +x.
        downtilt: [N] of the boresight of an array whose elements look one way, rad. None: its elements do not.
        first_path: [N] 1 where the radio's clock starts at the first path. None: its delays are absolute.

    `map[i]` is shared by all hypotheses with `area == i`, so a map is encoded once however many positions are asked.
    """

    map: Any = None
    bs: Any = None
    ue: Any = None
    los: Any = None
    size: Any = None
    area: Any = None
    carrier: Any = None
    bearing: Any = None
    downtilt: Any = None
    first_path: Any = None

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

        The map becomes float32 heights, `TALL` where a building's is not known. Areas are turned so that every array
        lies along +x: there is no bearing any more.

        Raises:
            InputError: shapes that disagree, NaN, a position off the map or below ground, LOS neither 0 nor 1, a size
                or carrier not above 0, map heights below 0 or whole numbers, a bearing beyond a turn, a tilt of a right
                angle or more.
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
            size = torch.full((n,), SIDE)
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
                if (position[:, 2] < -1e-2).any():
                    i = int(position[:, 2].argmin())
                    raise InputError(
                        f"environment: {name}[{i}] lies {float(-position[i, 2]):.4g} m below ground; heights are "
                        "metres above it"
                    )
        first_path = tensor("first_path", (n,))
        if los is not None and not ((los == 0) | (los == 1)).all():
            raise InputError("environment: los must be 1 (LOS) or 0 (NLOS)")
        if first_path is not None and not ((first_path == 0) | (first_path == 1)).all():
            raise InputError("environment: first_path must be 1 (the clock starts there) or 0 (absolute delays)")
        maps = None
        area = torch.zeros(n, dtype=torch.int64)
        if self.map is not None:
            try:
                maps = torch.as_tensor(self.map if isinstance(self.map, Tensor) else np.array(self.map, order="C"))
            except (TypeError, ValueError, RuntimeError) as error:
                raise InputError("environment: map is not an array of numbers [areas, pixels, pixels]") from error
            if maps.ndim != 3 or maps.shape[1] != maps.shape[2] or maps.shape[1] < 8:
                raise InputError(f"environment: map has shape {tuple(maps.shape)}, expected [areas, pixels, pixels]")
            if maps.is_floating_point() and maps.isnan().any():
                raise InputError("environment: map holds NaN; a building whose height is not known is infinitely high")
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
            maps, area = _each_once(heights(maps), area)
        carrier, bearing, downtilt = (tensor(name, (n,)) for name in ("carrier", "bearing", "downtilt"))
        if carrier is not None and (carrier <= 0).any():
            raise InputError("environment: carrier must be above 0 Hz")
        if bearing is not None and (bearing.abs() > 2 * math.pi + 1e-3).any():
            raise InputError("environment: bearing must lie within a turn, in rad; did you give degrees?")
        if downtilt is not None and (downtilt.abs() >= math.pi / 2).any():
            raise InputError("environment: downtilt must lie within a right angle, in rad; did you give degrees?")
        out = Environment(maps, bs, ue, los, size, area, carrier, downtilt=downtilt, first_path=first_path)
        return out if bearing is None or not bearing.any() else _along_x(out, bearing)

    def seen_by(self, radio: Radio) -> Environment:
        """The same, told a radio's carrier and clock, and a level array where its elements look one way.

        What is told already stays.
        """
        told = {"carrier": radio.carrier}
        if radio.clock == "first_path":
            told["first_path"] = 1.0
        if radio.array.pattern != "isotropic":
            told["downtilt"] = 0.0
        new = {name: torch.full((len(self),), value) for name, value in told.items() if getattr(self, name) is None}
        return replace(self, **new)

    def asked_by(self, radio: Radio) -> Environment:
        """As `seen_by`, of what one radio asks about.

        Raises:
            InputError: a carrier is told, and it is not the radio's.
        """
        if self.carrier is not None:
            told = torch.as_tensor(np.asarray(self.carrier) if not isinstance(self.carrier, Tensor) else self.carrier)
            if ((told.double() / radio.carrier - 1).abs() > 1e-4).any():
                raise InputError(f"environment: carrier {float(told.flatten()[0]) / 1e9:g} GHz, but the radio's is "
                                 f"{radio.carrier / 1e9:g} GHz; leave one out, or make them the same")  # fmt: skip
        return self.seen_by(radio)

    def without(self, *names: str) -> Environment:
        """The same with some parts unknown: `without("los")`."""
        gone = {*names, "area"} if "map" in names else set(names)
        return replace(self, **dict.fromkeys(gone))

    def select(self, index: Any) -> Environment:
        """The given hypotheses (of `tensors()`'s result); maps stay, to be shared."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in PER_HYPOTHESIS:
            if picked[name] is not None:
                picked[name] = picked[name][index]
        return Environment(**picked)


def buried(environment: Environment) -> Tensor:
    """Whose station stands inside a building, below its roof: bool [N], of `tensors()`.

    A building of unknown height buries nobody: the station may stand on it. Nor does the pixel of a wall.
    """
    if environment.map is None or environment.bs is None:
        return torch.zeros(len(environment), dtype=torch.bool)
    pixels = environment.map.shape[-1]
    at = environment.bs[:, :2] / environment.size[:, None] * pixels
    column, row = at.long().clamp(0, pixels - 1).unbind(1)
    beside = torch.arange(-1, 2, device=at.device)
    rows, columns = ((v[:, None] + beside).clamp(0, pixels - 1) for v in (row, column))
    roofs = environment.map[environment.area[:, None, None], rows[:, :, None], columns[:, None, :]].flatten(1)
    return (environment.bs[:, 2] < roofs.amin(1)) & roofs.isfinite().all(1)


OF_RADIO = ("carrier", "downtilt", "first_path")  # what is told of the radio
PER_HYPOTHESIS = tuple(field.name for field in fields(Environment) if field.name != "map")


def heights(maps: Tensor) -> Tensor:
    """Maps [A, H, W] as people give them → float32 building heights, m, `TALL` where not known.

    Raises:
        InputError: a height below 0, or whole numbers of several levels, which are no occupancy.
    """
    if not maps.is_floating_point():
        levels = maps if maps.dtype in (torch.bool, torch.uint8) else maps.long()
        if ((levels != 0) & (levels != levels.amax((1, 2), keepdim=True))).any():
            raise InputError(
                "environment: map holds whole numbers of several levels, and occupancy has one; heights are real "
                "numbers: give map.astype(float)"
            )
        return torch.where(maps != 0, TALL, 0.0)
    if (maps < 0).any():
        raise InputError(f"environment: map holds a height of {float(maps.min()):g} m; open ground is 0")
    built = maps >= HALF_BUILT
    known = maps.float() if maps.numel() and maps.max() > 1 else torch.full_like(maps, TALL, dtype=torch.float32)
    return torch.where(built, known, 0.0)


def clutter(map: NDArray[Any]) -> tuple[float, float]:
    """How densely and how high a map [H, W] is built: share of its pixels, and their median height, m.

    The height is NaN of occupancy, and where nothing is built.
    """
    built = map > 0
    known = map[built] if map.dtype.kind == "f" else map[:0]
    known = known[np.isfinite(known.astype(np.float64))]
    return float(built.mean()), float(np.median(known)) if known.size else math.nan


def turned_pixels(pixels: int, cosine: float, sine: float) -> tuple[Any, Any, Any]:
    """Where each pixel of a map turned by −b about its middle lies in the old map: row, column, and which are in it.

    The new square is |cos b| + |sin b| times as large, so that the old one fits into it.
    """
    centre = (np.arange(pixels) + 0.5) / pixels - 0.5
    x, y = np.meshgrid(centre, centre)
    scale = abs(cosine) + abs(sine)
    column, row = (
        np.floor((v * scale + 0.5) * pixels).astype(np.int64) for v in (cosine * x - sine * y, sine * x + cosine * y)
    )
    return row, column, (column >= 0) & (column < pixels) & (row >= 0) & (row < pixels)


def _along_x(environment: Environment, bearing: Tensor) -> Environment:
    """Checked tensors with each area turned about its middle, once for each bearing in it, arrays along +x."""
    pairs, turned = torch.unique(
        torch.stack([environment.area.double(), bearing.double()], 1), dim=0, return_inverse=True
    )
    cosine, sine = (torch.where(v.abs() < 1e-6, 0.0, v) for v in (pairs[:, 1].cos(), pairs[:, 1].sin()))
    grown = (cosine.abs() + sine.abs())[turned]
    old, new = environment.size.double(), environment.size.double() * grown

    def move(position: Tensor | None) -> Tensor | None:
        if position is None:
            return None
        x, y = (position[:, :2].double() - old[:, None] / 2).unbind(1)
        c, s = cosine[turned], sine[turned]
        return torch.stack([c * x + s * y + new / 2, c * y - s * x + new / 2, position[:, 2].double()], 1).float()

    maps = None
    if environment.map is not None:
        maps = environment.map.new_zeros((len(pairs), *environment.map.shape[1:]))
        for i, (area, c, s) in enumerate(zip(pairs[:, 0].long().tolist(), cosine.tolist(), sine.tolist(), strict=True)):
            row, column, inside = turned_pixels(maps.shape[-1], c, s)
            maps[i][inside] = environment.map[area][row[inside], column[inside]]
    return replace(
        environment, map=maps, bs=move(environment.bs), ue=move(environment.ue), size=new.float(), area=turned
    )


@dataclass(frozen=True)
class Batch:
    """CSI and the true environment of each, checked tensors.

    Attributes:
        csi: complex64 [N, ports, subcarriers].
        radio: that it is seen by.
        clean: the CSI without noise and errors; None: `csi` is.
        wide: the same channels by the radio of the weights, clocked as `radio`; None: `csi` is.
    """

    csi: Tensor
    environment: Environment
    radio: Radio = Radio()
    clean: Tensor | None = None
    wide: Tensor | None = None

    def __len__(self) -> int:
        return len(self.csi)

    def select(self, index: Any) -> Batch:
        """Some of the links; maps stay, to be shared."""
        channels: dict[str, Any] = {k: None if v is None else v[index] for k, v in self._channels().items()}
        return replace(self, environment=self.environment.select(index), **channels)

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        moved = {k: v.to(device) for k, v in vars(self.environment).items() if v is not None}
        channels: dict[str, Any] = {k: None if v is None else v.to(device) for k, v in self._channels().items()}
        return replace(self, environment=Environment(**moved), **channels)

    def _channels(self) -> dict[str, Tensor | None]:
        return {name: getattr(self, name) for name in ("csi", "clean", "wide")}


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
