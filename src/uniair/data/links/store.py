"""A links folder that is opened, not read: areas come from disk when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from uniair.data.links import shards
from uniair.data.links.links import Links, only_radio
from uniair.environment import clutter
from uniair.errors import InputError
from uniair.files import sha256
from uniair.radio import SPEED_OF_LIGHT, Radio

SAMPLE = Path(__file__).parents[2] / "sample"  # the packaged links
OPEN_SHARDS = 64  # memory-mapped at once; each holds a file open


class Store(Sequence[Links]):
    """The areas with links of a folder, each read on demand: a million links open in under a second.

    A shard's checksum is compared when its first area is read, and every area is checked against the contract.

    Args:
        folder: made by `uniair trace` or `uniair import`.

    Attributes:
        areas: names of the areas that have links, in the order of the shards.
        counts: int64 [len(areas)] links of each.

    Raises:
        InputError: no manifest, or a shard is missing, truncated or of another format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = shards.read_manifest(self.folder)
        names: list[str] = []
        seen: list[Radio] = []  # of each area
        where: list[NDArray[np.int64]] = []  # shard, area in it, first and last link, first and last path
        bounds = [0]  # rows of `where` that each area begins and ends with
        for number, shard in enumerate(self.manifest["shards"]):
            path = self._path(number)
            header = shards.shard_header(path)
            radios = shards.radios_of(header, path)
            try:
                with safe_open(path, framework="numpy") as file:
                    area = file.get_tensor("area")
                    ends = np.concatenate([[0], np.cumsum(file.get_tensor("paths.counts"), dtype=np.int64)])
            except (SafetensorError, ValueError) as error:
                raise InputError(f"{path}: broken shard ({error}); make or download it again") from error
            first = np.searchsorted(area, np.arange(len(header["areas"]) + 1))
            if len(area) != shard.get("links") or (np.diff(area) < 0).any() or len(area) != len(ends) - 1 or (
                first[0] != 0 or first[-1] != len(area)
            ):  # fmt: skip
                raise InputError(f"{path}: its links are not sorted by area, or not all there; make it again")
            held = np.flatnonzero(np.diff(first))
            for i in held:
                if names and i == held[0] and names[-1] == header["areas"][i]:
                    bounds[-1] += 1  # an area of many links goes on from the shard before
                else:
                    names.append(header["areas"][i])
                    seen.append(radios[i])
                    bounds.append(bounds[-1] + 1)
            rows = [np.full(len(held), number), held, first[held], first[held + 1]]
            where.append(np.column_stack([*rows, ends[first[held]], ends[first[held + 1]]]))
        if not names:
            raise InputError(f"{self.folder}: the data set has no links; trace or import it again")
        self.areas, self._radios = tuple(names), tuple(seen)
        self._where, self._bounds = np.concatenate(where), np.array(bounds)
        self.counts = np.add.reduceat(self._where[:, 3] - self._where[:, 2], self._bounds[:-1])
        self._verified: set[int] = set()
        # a cache of its own for each store, closed with it
        self._open: Callable[[Path], Any] = lru_cache(OPEN_SHARDS)(partial(safe_open, framework="numpy"))

    def __reduce__(self) -> tuple[Any, ...]:
        # open files do not travel between processes
        return _reopened, (self.folder, len(self))

    def _path(self, shard: int) -> Path:
        return self.folder / Path(self.manifest["shards"][shard]["file"]).name

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def links(self) -> int:
        """Links of all areas."""
        return int(self.counts.sum())

    @property
    def places(self) -> tuple[str, ...]:
        """The places (cities) of the areas, each once."""
        return tuple(sorted({name.split("/")[0] for name in self.areas}))

    @property
    def radios(self) -> tuple[Radio, ...]:
        """The radios of the areas, each once."""
        return tuple(dict.fromkeys(self._radios))

    def one_radio(self) -> Radio:
        """The radio of all areas.

        Raises:
            InputError: they have several.
        """
        return only_radio(self._radios)

    def first(self, areas: int | None) -> Store:
        """The first so many areas; all where None.

        Raises:
            InputError: fewer than 1.
        """
        if areas is not None and areas < 1:
            raise InputError(f"{areas} areas of {self.folder}: give at least 1")
        some = object.__new__(Store)
        some.__dict__.update(self.__dict__)
        some.areas, some.counts, some._radios = self.areas[:areas], self.counts[:areas], self._radios[:areas]
        some._bounds = self._bounds[: len(some.areas) + 1]
        some._where = self._where[: some._bounds[-1]]
        return some

    def extents(self) -> NDArray[np.float64]:
        """Least and most of the areas' sides, stations' and users' heights, m: [3, 2]."""
        found = []
        for shard in dict.fromkeys(self._where[:, 0].tolist()):
            file = self._open(self._path(shard))
            values = (file.get_tensor("sizes"), file.get_tensor("bs")[:, 2], file.get_tensor("ue")[:, 2])
            found.append([(each.min(), each.max()) for each in values])
        return _joined(found)

    def clutter(self) -> NDArray[np.float64]:
        """Least and most of the areas' built shares, and of their median building heights, m: [2, 2].

        NaN where no map is known, or none says heights.
        """
        found = [np.full((2, 2), np.nan)]
        for shard, area in np.unique(self._where[: self._bounds[-1], :2], axis=0).tolist():
            file = self._open(self._path(shard))
            header: dict[str, Any] = json.loads(file.metadata()["uniair"])
            if area not in header.get("unmapped", []):
                held = {key: np.asarray(file.get_slice(key)[area : area + 1]) for key in _maps(file)}
                found.append(np.repeat(np.array(clutter(shards.maps_of(held, header)[0]))[:, None], 2, axis=1))
        return _joined(found)

    def losses(self) -> NDArray[np.float64]:
        """Over how many metres of free space as much power is lost as over each link: [links]."""
        found = []
        for shard, area, first, last, head, tail in self._where.tolist():
            file, path = self._open(self._path(shard)), self._path(shard)
            gain = np.asarray(file.get_slice("paths.gain")[head:tail], dtype=np.float64)
            starts = np.cumsum(np.asarray(file.get_slice("paths.counts")[first:last]))
            power = np.add.reduceat(np.square(gain).sum(1), np.r_[0, starts[:-1]])
            carrier = shards.radios_of(json.loads(file.metadata()["uniair"]), path)[area].carrier
            found.append(SPEED_OF_LIGHT / (4 * np.pi * carrier) / np.sqrt(power))
        return np.concatenate(found)

    def los_share(self) -> float:
        """Share of links with line of sight."""
        los = [self._open(self._path(int(s))).get_slice("los")[a:b] for s, _, a, b, *_ in self._where]
        return float(np.concatenate(los).mean())

    @overload
    def __getitem__(self, index: int) -> Links: ...
    @overload
    def __getitem__(self, index: slice) -> list[Links]: ...
    def __getitem__(self, index: int | slice) -> Links | list[Links]:
        """All links of one area."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        rows = self._where[self._bounds[index] : self._bounds[index + 1]].tolist()
        parts = [self._read(self.areas[index], *row) for row in rows]
        return parts[0] if len(parts) == 1 else Links.concatenate(parts).merged()

    def _read(self, name: str, shard: int, area: int, first: int, last: int, head: int, tail: int) -> Links:
        """The links of an area in one shard."""
        path = self._path(shard)
        if shard not in self._verified:
            if sha256(path) != self.manifest["shards"][shard]["sha256"]:
                raise InputError(f"{path}: checksum does not match the manifest; copy or make the file again")
            self._verified.add(shard)
        file = self._open(path)

        def part(name: str, start: int, stop: int) -> NDArray[Any]:
            return np.asarray(file.get_slice(name)[start:stop])

        header: dict[str, Any] = json.loads(file.metadata()["uniair"])
        held = set(file.keys())
        tensors = {key: part(key, head, tail) for key in held if key.startswith("paths.") and key != "paths.counts"}
        tensors |= {key: part(key, area, area + 1) for key in _maps(file)}
        tensors["paths.counts"] = part("paths.counts", first, last)
        return Links(
            areas=(name,),
            maps=shards.maps_of(tensors, header),
            mapped=np.array([area not in header.get("unmapped", [])]),
            sizes=part("sizes", area, area + 1),
            area=np.zeros(last - first, dtype=np.int32),
            los=part("los", first, last).astype(bool),
            paths=shards.paths_of(tensors),
            radios=(shards.radios_of(header, path)[area],),
            **{name: part(name, first, last) for name in ("bs", "ue", "bearing")},
        ).validate(str(path))


class Stores(Sequence[Links]):
    """The areas of several folders, one folder after the other.

    Args:
        stores: at least one.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        self.areas = tuple(name for store in stores for name in store.areas)
        self.links = sum(store.links for store in stores)
        self.radios = tuple(dict.fromkeys(radio for store in stores for radio in store.radios))
        self._ends = np.cumsum([len(store) for store in stores])

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def recipes(self) -> list[dict[str, Any]]:
        """What made each folder, which tells its links from as many others."""
        return [store.manifest["recipe"] for store in self.stores]

    def one_radio(self) -> Radio:
        """The radio of all areas.

        Raises:
            InputError: they have several.
        """
        return only_radio(self.radios)

    def extents(self) -> NDArray[np.float64]:
        """See `Store.extents`."""
        return _joined([store.extents() for store in self.stores])

    def clutter(self) -> NDArray[np.float64]:
        """See `Store.clutter`."""
        return _joined([store.clutter() for store in self.stores])

    def losses(self) -> NDArray[np.float64]:
        """See `Store.losses`."""
        return np.concatenate([store.losses() for store in self.stores])

    def los_share(self) -> float:
        """Share of links with line of sight."""
        return sum(store.los_share() * store.links for store in self.stores) / self.links

    @overload
    def __getitem__(self, index: int) -> Links: ...
    @overload
    def __getitem__(self, index: slice) -> list[Links]: ...
    def __getitem__(self, index: int | slice) -> Links | list[Links]:
        """All links of one area."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        folder = int(np.searchsorted(self._ends, index, side="right"))
        return self.stores[folder][index - (int(self._ends[folder - 1]) if folder else 0)]


def _maps(file: Any) -> list[str]:
    """What a shard has of maps: occupancy or heights."""
    return [key for key in ("maps", "heights") if key in file.keys()]  # noqa: SIM118  (not a mapping)


def _joined(extents: Sequence[Any]) -> NDArray[np.float64]:
    """Ranges [K, R, 2] as one [R, 2], those that are not known left out."""
    every = np.asarray(extents, dtype=np.float64)
    return np.stack([np.fmin.reduce(every[..., 0]), np.fmax.reduce(every[..., 1])], -1)


def _reopened(folder: Path, areas: int) -> Store:
    return Store(folder).first(areas)
