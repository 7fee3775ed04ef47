"""Links of the path solver beside Sionna RT's radio map over the same cells: where both reach, and how far apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError
from uniair.propagation.radio_map import Cells, sector_map
from uniair.propagation.ray_tracing import require_sionna
from uniair.site import survey
from uniair.site.site_coverage import Planning, of_users
from uniair.site.survey import OVER_ROOFS, Ground, Survey


def agreement(wanted: Survey, cells: int, planning: Planning) -> dict[str, Any]:
    """RSRP of the best sector at the middles of open cells drawn at random, by links and by maps.

    Returns:
        How many cells each reaches, and of those that both do, in sight and in shadow: the median of map less links,
        and the median and 90th percentile of its size, dB.

    Raises:
        InputError: see `survey.crop`; fewer open cells than asked for.
    """
    ground = survey.crop(wanted)
    grid = Cells.over(ground.area, planning.cell)
    centres = grid.centres.reshape(-1, 3)
    open_ground = np.flatnonzero(~ground.area.inside_building(centres))
    if len(open_ground) < cells:
        raise InputError(f"--cells {cells}: the square has {len(open_ground)} open ones")
    chosen = np.random.default_rng(wanted.seed).choice(open_ground, cells, replace=False)
    spots = centres[chosen][survey.by_neighbourhood(centres[chosen][:, :2])]
    row, column = ((spots[:, :2] - grid.corner) // grid.side).astype(int).T[::-1]
    links, maps = _by_links(ground, spots, wanted, planning), _by_maps(ground, grid, wanted, planning)
    return _compared(links[0], maps[row, column], links[1])


def _by_links(
    ground: Ground, spots: NDArray[np.float64], wanted: Survey, planning: Planning
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """RSRP of the best sector, NaN where none reaches, and whether a sector is in sight: [N] both."""
    traced = {}
    for source in ground.sources:
        scene = survey.scene_of(ground.area, wanted, source.radio.carrier)
        parts = [spots[i : i + survey.CHUNK] for i in range(0, len(spots), survey.CHUNK)]
        found = [survey.links_of(scene, ground, source, part, wanted) for part in parts]
        traced[source.name] = type(found[0]).concatenate(found)
    users = of_users(replace(ground, inside=None), spots, traced, planning)
    return users.served.rsrp, np.asarray(users.layers["los"].any(0))


def _by_maps(ground: Ground, grid: Cells, wanted: Survey, planning: Planning) -> NDArray[np.float64]:
    """RSRP of the best sector: [rows, columns] dBm, NaN where none reaches."""
    best = np.full((grid.rows, grid.columns), -np.inf)
    for number, sector in enumerate(ground.sectors):
        scene = survey.scene_of(ground.area, wanted, sector.carrier)
        config = replace(wanted.ray_tracing, frequency=sector.carrier)
        found = sector_map(scene, sector, ground.stations[number].position, grid, config, planning.rays)
        best = np.fmax(best, found.rsrp)
    return np.where(np.isfinite(best), best, np.nan)


def _compared(links: NDArray[np.float64], maps: NDArray[np.float64], sight: NDArray[np.bool_]) -> dict[str, Any]:
    both = np.isfinite(links) & np.isfinite(maps)
    out: dict[str, Any] = {
        "cells": len(links), "links_reach": int(np.isfinite(links).sum()), "maps_reach": int(np.isfinite(maps).sum()),
        "both_reach": int(both.sum()),
    }  # fmt: skip
    for name, group in (("all", both), ("in sight", both & sight), ("in shadow", both & ~sight)):
        if group.any():
            more = maps[group] - links[group]
            out[name] = {
                "count": int(group.sum()), "median_db": float(np.median(more)),
                "apart_db": float(np.median(np.abs(more))), "apart_90_db": float(np.quantile(np.abs(more), 0.9)),
            }  # fmt: skip
    return out


def run(
    file: str, sites: str, side: float = 600.0, cells: int = 1000, cell: float = 5.0, rays: int = 4_000_000,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measures and prints.

    Args:
        file: footprints, as for uniair site.
        sites: table of masts and sectors, see docs/site.md.
        side: of the square, m.
        cells: how many are compared.
        cell: side of a cell, m.
        rays: of each sector's map.
        seed: of the cells, and of heights that the file does not give.
    """
    require_sionna()
    wanted = Survey(file, (), side=side, seed=seed, ray_tracing=OVER_ROOFS, sites=sites)
    found = agreement(wanted, cells, Planning(cell=cell, rays=rays))
    print(f"{found['cells']:,} open cells of {cell:g} m: links reach {found['links_reach']:,}, maps "
          f"{found['maps_reach']:,}, both {found['both_reach']:,}")  # fmt: skip
    print(f"{'':12}{'cells':>8}{'maps more':>12}{'apart':>10}{'one in ten':>13}")
    for name in ("all", "in sight", "in shadow"):
        if (row := found.get(name)) is not None:
            print(f"{name:12}{row['count']:8,}{row['median_db']:9.2f} dB{row['apart_db']:7.2f} dB"
                  f"{row['apart_90_db']:10.2f} dB")  # fmt: skip
    return found
