"""What the sectors of a site give its users, from the traced links, and its streets, from maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.files import atomic_path
from uniair.propagation.coverage import NOISE_FIGURE, Received, best_server, received, sinr, throughput
from uniair.propagation.entry_loss import WALLS, entry_loss
from uniair.propagation.paths import Paths
from uniair.propagation.radio_map import Cells, SectorMap
from uniair.propagation.sector import Sector
from uniair.site.survey import Ground

OUTDOORS = -1  # in the place of a floor
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Planning:
    """How coverage is counted.

    Attributes:
        load: share of their resource elements on which the other sectors send.
        noise_figure: of the users' receivers, dB.
        walls: of buildings with users inside, `low` or `high` loss (`propagation.entry_loss`).
        hole: RSRP below which a user counts as not covered, dBm.
        cell: side of the maps' cells, m; 0: no maps.
        rays: of each sector's map.
    """

    load: float = 0.5
    noise_figure: float = NOISE_FIGURE
    walls: str = "low"
    hole: float = -110.0
    cell: float = 5.0
    rays: int = 4_000_000

    def __post_init__(self) -> None:
        if not 0 <= self.load <= 1:
            raise InputError(f"--load {self.load:g}: give a share, 0 to 1")
        if self.walls not in WALLS:
            raise InputError(f"--walls {self.walls}: is none of {', '.join(WALLS)}")
        if not self.cell >= 0:
            raise InputError(f"--cell {self.cell:g}: give metres, 0 for no maps")
        if self.rays < 1:
            raise InputError(f"--rays {self.rays}: give at least 1")


@dataclass(frozen=True)
class Served:
    """What is left for the users, or cells, [...] of any shape, after each took its best of S sectors.

    Attributes:
        best: [...] number of the sector; −1 where none reaches.
        rsrp: [...] dBm of it; NaN where none reaches.
        sinr: [...] dB in it.
        throughput: [...] bit/s of a user alone in it; 0 where none reaches.
    """

    best: NDArray[np.int64]
    rsrp: Numbers
    sinr: Numbers
    throughput: Numbers


@dataclass(frozen=True)
class UserCoverage:
    """U users, and what each of S sectors gives them.

    Attributes:
        points: [U, 3] m from the south-west corner.
        floor: [U] from 0; −1 outdoors.
        layers: name of a field of `Received` to its values [S, U].
        served: by their best sectors.
        spots: [U, 3] m where the radio was traced to: the points, but before the wall for users inside buildings.
    """

    points: Numbers
    floor: NDArray[np.int64]
    layers: Mapping[str, NDArray[Any]]
    served: Served
    spots: Numbers


@dataclass(frozen=True)
class MapCoverage:
    """Cells, and what each of S sectors gives them; NaN inside buildings.

    Attributes:
        cells: where they lie.
        rsrp: [S, rows, columns] dBm.
        served: by their best sectors.
    """

    cells: Cells
    rsrp: Numbers
    served: Served


def serve(sectors: Sequence[Sector], rsrp: Numbers, mean_rsrp: Numbers, planning: Planning) -> Served:
    """Who serves whom, and how well.

    Args:
        rsrp, mean_rsrp: [S, ...] dBm, see `Received`.
    """
    flat, mean = rsrp.reshape(len(sectors), -1), mean_rsrp.reshape(len(sectors), -1)
    best = best_server(flat)
    ratios = sinr(sectors, flat, mean, planning.load, planning.noise_figure)
    rates = np.stack([throughput(ratios[i], sector) for i, sector in enumerate(sectors)])
    one = np.maximum(best, 0), np.arange(flat.shape[1])  # what a sector that does not reach has is NaN already
    shape = rsrp.shape[1:]
    rate = np.where(best < 0, 0.0, rates[one])
    return Served(best.reshape(shape), flat[one].reshape(shape), ratios[one].reshape(shape), rate.reshape(shape))


def of_users(
    ground: Ground,
    outdoors: Numbers,
    links: Mapping[str, Links],
    planning: Planning,
    offsets: Numbers | None = None,
) -> UserCoverage:
    """Coverage of all users, those that no path reaches included.

    Args:
        outdoors: [N, 3] m, the users of `ground` in the street; those inside buildings come after them.
        links: name of a source to what was traced from it; sources that reach nobody may be left out.
        offsets: [S] dB by which each sector is stronger than its power says; None: 0.
    """
    inside = ground.inside
    points = outdoors if inside is None else np.concatenate([outdoors, inside.points])
    spots = outdoors if inside is None else np.concatenate([outdoors, inside.spots])
    floor = np.full(len(points), OUTDOORS, dtype=np.int64)
    paths = {name: everyone(links.get(name), spots) for name in {source.name for source in ground.sources}}
    found: list[Received] = []
    for number, sector in enumerate(ground.sectors):
        loss = np.zeros(len(points))
        if inside is not None:
            loss[len(outdoors) :] = entry_loss(inside.depth, sector.carrier, planning.walls)
        one = received(paths[ground.source(number).name], sector, loss)
        # the spot before a wall may be in sight, the user behind it is not
        found.append(replace(one, los=one.los & (np.arange(len(points)) < len(outdoors))))
    if inside is not None:
        floor[len(outdoors) :] = inside.floor
    layers = {field.name: np.stack([getattr(one, field.name) for one in found]) for field in fields(Received)}
    if offsets is not None:
        layers |= {name: layers[name] + offsets[:, None] for name in ("rsrp", "mean_rsrp")}
    served = serve(ground.sectors, layers["rsrp"], layers["mean_rsrp"], planning)
    return UserCoverage(points, floor, layers, served, spots)


def everyone(links: Links | None, spots: Numbers) -> Paths:
    """The paths to all spots [N, 3], as links in their order; those that no path reaches have none."""
    known = {} if links is None else {place.tobytes(): i for i, place in enumerate(links.ue)}
    rows = np.array([known.get(place.tobytes(), -1) for place in spots.astype(np.float32)], dtype=np.int64)
    counts = np.zeros(len(spots), dtype=np.int64)
    if links is None:
        none: dict[str, Any] = {name: np.zeros(0) for name in Paths.PER_PATH}
        return Paths.from_rows(len(spots), np.zeros(0, dtype=np.int64), **none)
    chosen = links.paths.select(rows[rows >= 0])
    counts[rows >= 0] = chosen.counts
    return replace(chosen, offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def of_maps(
    area: Area,
    sectors: Sequence[Sector],
    cells: Cells,
    maps: Sequence[SectorMap],
    planning: Planning,
    offsets: Numbers | None = None,
) -> MapCoverage:
    """Coverage of the open ground from one map a sector.

    Args:
        offsets: see `of_users`.
    """
    built = area.inside_building(cells.centres.reshape(-1, 3)).reshape(cells.rows, cells.columns)
    stronger = np.zeros((len(maps), 1, 1)) if offsets is None else offsets[:, None, None]
    rsrp, mean = (
        np.where(built, np.nan, np.stack([getattr(one, name) for one in maps]) + stronger)
        for name in ("rsrp", "mean_rsrp")
    )
    served = serve(sectors, rsrp, mean, planning)
    return MapCoverage(cells, rsrp, replace(served, throughput=np.where(built, np.nan, served.throughput)))


def save_map(path: Path, found: SectorMap) -> None:
    """Keeps a map, so that a killed run need not make it again."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, rsrp=found.rsrp.astype(np.float32), mean_rsrp=found.mean_rsrp.astype(np.float32))


def load_map(path: Path) -> SectorMap:
    """The map that `save_map` kept."""
    with np.load(path) as kept:
        return SectorMap(kept["rsrp"].astype(np.float64), kept["mean_rsrp"].astype(np.float64))


def summary(ground: Ground, users: UserCoverage, maps: MapCoverage | None, planning: Planning) -> dict[str, Any]:
    """The figures of a site as plain JSON; users that no sector reaches count as holes, and are counted apart too."""
    groups = {"outdoors": users.floor == OUTDOORS, "indoors": users.floor != OUTDOORS}
    out: dict[str, Any] = {
        name: _figures(users.served, mask, planning.hole) for name, mask in groups.items() if mask.any()
    }
    if maps is not None:
        out["outdoors"] |= _missed(users, maps)
        built = ground.area.inside_building(maps.cells.centres.reshape(-1, 3)).reshape(maps.served.best.shape)
        out["streets"] = _figures(maps.served, ~built, planning.hole)
    out["sectors"] = [
        {
            **sector.described(),
            "reached": int(np.isfinite(users.layers["rsrp"][i]).sum()),
            "best_server": int((users.served.best == i).sum()),
            "los": int(users.layers["los"][i].sum()),
            "median_rsrp_dbm": _median(users.layers["rsrp"][i]),
        }
        for i, sector in enumerate(ground.sectors)
    ]
    return out


def _missed(users: UserCoverage, maps: MapCoverage) -> dict[str, Any]:
    """How many of the users in the street that no path reaches stand in cells that maps do reach, and how well."""
    cells, lost = maps.cells, users.points[(users.floor == OUTDOORS) & (users.served.best < 0)]
    column, row = ((lost[:, :2] - cells.corner) // cells.side).astype(int).T
    there = maps.served.rsrp[np.clip(row, 0, cells.rows - 1), np.clip(column, 0, cells.columns - 1)]
    return {"unreached_but_mapped": int(np.isfinite(there).sum()), "mapped_median_rsrp_dbm": _median(there)}


def _figures(served: Served, mask: NDArray[np.bool_], hole: float) -> dict[str, Any]:
    rsrp, ratio = served.rsrp[mask], served.sinr[mask]
    return {
        "count": int(mask.sum()),
        "unreached": int(np.isnan(rsrp).sum()),
        "holes": int((~(rsrp >= hole)).sum()),  # NaN is one
        "hole_share": round(float((~(rsrp >= hole)).mean()), 4),
        "median_rsrp_dbm": _median(rsrp),
        "median_sinr_db": _median(ratio),
        "median_throughput_mbps": round(float(np.median(served.throughput[mask])) / 1e6, 2),
    }


def _median(values: NDArray[np.floating]) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(np.median(known)), 2) if len(known) else None


def lines(found: Mapping[str, Any], planning: Planning) -> list[str]:
    """The figures in plain sentences."""
    names = {"outdoors": "users outdoors", "indoors": "users inside buildings (TR 38.901's entry loss, a model)",
             "streets": "cells of open ground"}  # fmt: skip
    out = []
    for group, about in names.items():
        if (one := found.get(group)) is None:
            continue
        said = f"{one['count']:,} {about}: {100 * one['hole_share']:.1f} % below {planning.hole:g} dBm"
        said += f", {one['unreached']:,} of them reached by no path" if one["unreached"] else ""
        if one.get("unreached_but_mapped"):
            said += f" (of which maps reach {one['unreached_but_mapped']:,}, where the path search finds nothing, with "
            said += f"{one['mapped_median_rsrp_dbm']:.0f} dBm in the middle)"
        if one["median_rsrp_dbm"] is not None:
            said += (
                f"; medians: RSRP {one['median_rsrp_dbm']:.1f} dBm, SINR {one['median_sinr_db']:.1f} dB at a load of "
                f"{100 * planning.load:g} %, {one['median_throughput_mbps']:.0f} Mbit/s on one layer"
            )
        out.append(said)
    return out
