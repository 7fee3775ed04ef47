"""The log of a drive test: how strongly sectors of a plan were received where, one row a measurement of one of them.

Columns, under the names that `measurement_columns` knows or those that `Terms.columns` says:

x, y or lon, lat   position, in the metres of the footprints' file, or degrees where that is geographic
z                  height of the antenna above ground, m; 1.5 without it
station            the sector, by its name or its PCI; also called sector, cell or pci; not needed where there is one
rsrp               dBm

What of a log can't be laid over a prediction is left out, and counted by reason: a log is long, and never clean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniair.area.heights import plain_name
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.propagation.sector import Sector
from uniair.site.measured import Terms
from uniair.site.measurement_columns import ALSO, CELLS, PLACE, named, on_ground, plan_columns, texts, within
from uniair.site.measurement_table import Table, read_table
from uniair.site.survey import Ground

SPOT = 5.0  # m; tens of wavelengths, over which a local mean is taken (Lee, 1985), and about what GPS is off by
RSRP = (-156.0, -31.0)  # dBm; what a user reports of SS-RSRP, TS 38.133, 10.1.6
HIGHEST = 150.0  # m above ground of who drives, walks or stands on a roof
STREET = 5.0  # m above ground; who drives is lower
KNOWN = (*PLACE, "rsrp")
NAMES = ALSO | {
    "station": ("sector", "sector_name", "cell", "cell_name", "pci", "nr_pci", "lte_pci", "physical_cell_id")
}
SHOWN = 3  # of the cells that a plan does not have


@dataclass(frozen=True)
class DriveLog:
    """N spots in which any of S sectors was measured.

    Attributes:
        name: of the file.
        spots: [N, 3] m from the south-west corner of the site: where one of the rows was measured, outdoors.
        rsrp: [S, N] dBm, mean over the rows of a sector in a spot; NaN where it was not measured.
        rows: int64 [S, N] how many these are.
        given: rows of the file.
        left_out: reason → rows that are not among them.
        remarks: what to know about how it was read, a line each.
    """

    name: str
    spots: NDArray[np.float64]
    rsrp: NDArray[np.float64]
    rows: NDArray[np.int64]
    given: int
    left_out: Mapping[str, int]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.spots)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which sectors were measured in which spots: bool [S, N]."""
        return self.rows > 0


def read_drive_log(path: Path, ground: Ground, terms: Terms = Terms()) -> DriveLog:
    """Reads a log and puts its rows together to spots.

    Args:
        ground: the plan's square and sectors.
        terms: `columns` and `cells`, whose values are names of sectors.

    Raises:
        InputError: missing, not a table, columns missing or misspelt, text where numbers are wanted, cells that could
            be two sectors, or no row that can be laid over the plan.
    """
    if strange := sorted(set(terms.columns) - set(KNOWN)):
        raise InputError(f"--columns {strange[0]}=…: of a drive test {', '.join(KNOWN)} are read")
    table = read_table(path)
    found, unread = named(table, terms.columns, KNOWN, NAMES)
    if "rsrp" not in found:
        also = f" (not read: {', '.join(unread)}; name it with --columns rsrp=…)" if unread else ""
        raise InputError(f"{path}: no column rsrp, dBm of a resource element{also}")
    area, place = ground.area, ground.area.georeference
    plan = plan_columns(path, found, place)
    lengths = {name: len(table.columns[column]) for name, column in found.items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        raise InputError(f"{path}: columns of different lengths, or empty: {lengths}")
    numbers = {name: table.numbers(column, gaps=True) for name, column in found.items() if name != "station"}
    positions, rsrp = np.column_stack([numbers[name] for name in plan]), numbers["rsrp"]
    sector, unknown = _sectors(table, found, ground.sectors, terms.cells)
    known = np.isfinite(positions).all(1)
    points = np.full((len(rsrp), 3), np.nan)
    points[known, :2] = on_ground(path, positions[known], area, place, ground.corner)
    heights, remarks = _heights(table, found, numbers)
    points[:, 2] = heights
    inside = np.zeros(len(rsrp), dtype=bool)
    on_site = known & within(points[:, :2], area)
    inside[on_site] = area.inside_building(points[on_site])
    reasons = {
        "without a position": ~known,
        f"outside the square of {area.size:g} m": ~on_site,
        "of cells that the plan does not have": sector < 0,
        "without an RSRP": ~np.isfinite(rsrp),
        f"with an RSRP that is not within {RSRP[0]:g} to {RSRP[1]:g} dBm": ~((rsrp >= RSRP[0]) & (rsrp <= RSRP[1])),
        "inside buildings of the map": inside,
    }
    kept, left_out = np.ones(len(rsrp), dtype=bool), {}
    for reason, rows in reasons.items():
        if (kept & rows).any():
            left_out[reason] = int((kept & rows).sum())
        kept &= ~rows
    if not kept.any():
        counts = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise InputError(
            f"{path}: none of {len(kept):,} rows can be laid over the plan: {counts}; check --side and --centre, the "
            "column of cells (--cells 301=SECTOR), and that rsrp is in dBm"
        )
    if unread:
        remarks.insert(0, f"{path.name}: not read: {', '.join(unread)}")
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        remarks.append(f"{path.name}: cells that the plan does not have: {', '.join(unknown[:SHOWN])}{more}")
    spots, mean, rows = to_spots(points[kept], sector[kept], rsrp[kept], len(ground.sectors))
    return DriveLog(path.name, spots, mean, rows, len(kept), left_out, tuple(remarks))


def to_spots(
    points: NDArray[np.float64], sector: NDArray[np.int64], rsrp: NDArray[np.float64], sectors: int, side: float = SPOT
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """R rows together by cells of `side` metres, so that who stands at a red light weighs no more than who drives on.

    Decibels are averaged. A reported RSRP is a mean power over band and time already (TS 38.215, 5.1.1), and what
    differs from row to row is for the most part the receiver's error, in decibels: the mean of powers would lie the
    higher the more rows there are, by up to 4 dB where it is 6 dB. Samples that fade one by one lie below the mean
    power that is predicted, by 2.5 dB where they are Rayleigh's, which is then in the offset.

    Args:
        points: [R, 3] m.
        sector: [R] numbers.
        rsrp: [R] dBm.
        sectors: how many there are, S.

    Returns:
        Of N cells the row that is nearest to their rows' middle [N, 3], mean RSRP [S, N] dBm with NaN where there is
        none, and rows [S, N].
    """
    cell = np.unique(np.floor(points / side), axis=0, return_inverse=True)[1].ravel()
    count = int(cell.max()) + 1
    middle = np.stack([np.bincount(cell, axis, count) for axis in points.T], 1) / np.bincount(cell)[:, None]
    # a row's own place: the middle of rows about a corner may lie in the house
    order = np.lexsort([np.linalg.norm(points - middle[cell], axis=1), cell])
    spots = points[order[np.searchsorted(cell[order], np.arange(count))]]
    total, rows = np.zeros((sectors, count)), np.zeros((sectors, count), dtype=np.int64)
    np.add.at(total, (sector, cell), rsrp)
    np.add.at(rows, (sector, cell), 1)
    mean = np.full(total.shape, np.nan)
    mean[rows > 0] = total[rows > 0] / rows[rows > 0]
    return spots, mean, rows


def _heights(
    table: Table, found: Mapping[str, str], numbers: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], list[str]]:
    """Heights above ground [R] m, and what to say about them.

    Raises:
        InputError: they are heights above the sea, or below the ground.
    """
    if "z" not in found:
        return np.full(len(numbers["rsrp"]), UE_HEIGHT), []
    heights = np.where(np.isfinite(numbers["z"]), numbers["z"], UE_HEIGHT)
    odd = ~((heights > 0) & (heights <= HIGHEST))
    if odd.any():
        i = int(np.argmax(odd))
        raise InputError(
            f"{table.path}: column {found['z']} is {heights[i]:g} m in row {i + 1}; give heights above ground, to "
            f"{HIGHEST:g} m, and rename or delete heights above the sea"
        )
    up = int((heights > STREET).sum())
    return heights, [f"{table.path.name}: {up:,} rows more than {STREET:g} m above ground"] if up else []


def _sectors(
    table: Table, found: Mapping[str, str], sectors: Sequence[Sector], cells: Mapping[str, str]
) -> tuple[NDArray[np.int64], list[str]]:
    """Number of each row's sector [R], −1 where the plan does not have it, and the cells that it does not have.

    Raises:
        InputError: no such column, a name that is none, or a cell that could be two sectors.
    """
    path, names = table.path, {sector.name.casefold(): i for i, sector in enumerate(sectors)}
    if "station" not in found:
        cell = next((name for name in table.columns if plain_name(name) in CELLS), None)
        if len(sectors) == 1 and cell is None:
            return np.zeros(len(table.columns[found["rsrp"]]), dtype=np.int64), []
        more = f"; if {cell} says it: --columns station={cell}" if cell else ""
        raise InputError(f"{path}: no column that says the sector (station, sector, cell or pci){more}")
    given = texts(table.columns[found["station"]])
    if cells:
        if strange := sorted(name for name in cells.values() if name.casefold() not in names):
            raise InputError(f"--cells …={strange[0]}: no such sector; the plan has {_list(sectors)}")
        if absent := sorted(set(cells) - set(given)):
            raise InputError(f"{path}: no cell {absent[0]} in column {found['station']} (--cells)")
        number = {cell: names[name.casefold()] for cell, name in cells.items()}
    else:
        number = {text: i for text in set(given) if (i := _sector(path, text, sectors, names)) is not None}
    unknown = [text or "without a name" for text in dict.fromkeys(given) if text not in number]
    return np.array([number.get(text, -1) for text in given], dtype=np.int64), unknown


def _sector(path: Path, text: str, sectors: Sequence[Sector], names: Mapping[str, int]) -> int | None:
    """The sector that a cell's text means: by its name, or by its PCI."""
    own = [names[text.casefold()]] if text.casefold() in names else []
    by_pci = [i for i, sector in enumerate(sectors) if sector.pci is not None and str(sector.pci) == text]
    meant = list(dict.fromkeys([*own, *by_pci]))
    if len(meant) > 1:
        two = " and ".join(sectors[i].name for i in meant)
        raise InputError(f"{path}: cell {text} could be {two}; say which: --cells {text}={sectors[meant[0]].name}")
    return meant[0] if meant else None


def _list(sectors: Sequence[Sector]) -> str:
    return ", ".join(sector.name for sector in sectors)[:200]
