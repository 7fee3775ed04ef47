"""What the columns of a table of measurements mean, and where on a site its rows lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.area.georeference import Georeference
from uniair.area.heights import plain_name
from uniair.area.positions import LATITUDE, LONGITUDE, X, Y, Z
from uniair.errors import InputError
from uniair.site.measurement_table import Table

PLACE = ("x", "y", "lon", "lat", "z", "station")
# what a column is called, in `plain_name`'s form, beside its own name
ALSO: dict[str, tuple[str, ...]] = {
    "x": X, "y": Y, "lon": LONGITUDE, "lat": LATITUDE, "z": Z,
    "rsrp": ("rsrp_dbm", "ss_rsrp", "ss_rsrp_dbm", "nr_ss_rsrp", "lte_rsrp"),
}  # fmt: skip
CELLS = (
    "pci",
    "cell",
    "cell_id",
    "cellid",
    "cid",
    "eci",
    "nci",
    "gnb",
    "gnb_id",
    "enb",
    "enb_id",
    "site",
    "sector",
    "bs",
)
INDEX = ("", "index", "level_0", "index_level_0")


def named(
    table: Table, renamed: Mapping[str, str], known: Sequence[str], also: Mapping[str, tuple[str, ...]] = ALSO
) -> tuple[dict[str, str], list[str]]:
    """Our name of each column that is read → the table's, and the columns that are not read.

    Args:
        renamed: our name → what the table calls it.
        known: our names.
        also: our name → what else it is called, in `plain_name`'s form.

    Raises:
        InputError: a column that was named is not there, two that mean the same, or one that is misspelt.
    """
    path, found = table.path, dict[str, str]()
    for name, column in renamed.items():
        near = next((have for have in table.columns if have.strip().lower() == column.strip().lower()), None)
        if near is None:
            have = ", ".join(table.columns)[:200]
            raise InputError(f"{path}: no column {column} (--columns {name}={column}); it has {have}")
        found[name] = near
    for column in table.columns:
        plain = plain_name(column)
        own = next((name for name in known if plain == name or plain in also.get(name, ())), None)
        if own is None or own in renamed or column in found.values():
            continue
        if own in found:
            raise InputError(f"{path}: columns {found[own]} and {column} are both {own}; say which: --columns {own}=…")
        found[own] = column
    unread = [column for column in table.columns if column not in found.values() and not _index(column)]
    for column in unread:
        near_names = get_close_matches(plain_name(column), [name for name in known if name not in found], cutoff=0.8)
        if near_names and len(near_names[0]) > 3:
            raise InputError(
                f"{path}: unknown column {column}; is it {near_names[0]}? say --columns {near_names[0]}={column}, or "
                "rename or delete it"
            )
    return found, unread


def _index(column: str) -> bool:
    """Whether a column only numbers the rows, as pandas writes it, or has no name, as after a separator at the end."""
    plain = plain_name(column)
    return plain in INDEX or plain.startswith("unnamed_")


def plan_columns(path: Path, found: Mapping[str, str], georeference: Georeference | None) -> tuple[str, str]:
    """Our names of the two columns that say where a row lies.

    Raises:
        InputError: one is missing.
    """
    plan = ("x", "y") if georeference is None else ("lon", "lat")
    if missing := [name for name in plan if name not in found]:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; positions are {' and '.join(plan)} here, as of the base stations"
        )
    return plan


def on_ground(
    path: Path,
    given: NDArray[np.float64],
    area: Area,
    georeference: Georeference | None,
    corner: tuple[float, float],
) -> NDArray[np.float64]:
    """Positions [N, 2] in the site's metres.

    Args:
        given: [N, 2] degrees, or metres of the footprints' file where there is no georeference.
        corner: of the site in these metres.

    Raises:
        InputError: no degrees, or latitude and longitude swapped.
    """
    if georeference is None:
        return given - corner
    if (np.abs(given) > (180, 90)).any():
        raise InputError(f"{path}: lon and lat are not degrees; are they swapped, or metres?")
    ground = georeference.to_metres(given)
    if not within(ground, area).any() and (np.abs(given[:, ::-1]) <= (180, 90)).all():
        turned = georeference.to_metres(given[:, ::-1])
        if within(turned, area).any():
            raise InputError(f"{path}: lon and lat are swapped: as lat, lon the positions lie on the site")
    return ground


def within(ground: NDArray[np.float64], area: Area) -> NDArray[np.bool_]:
    """Which positions [N, 2] lie in the site's square."""
    return np.asarray(((ground >= 0) & (ground <= area.size)).all(1))


def texts(values: NDArray[Any]) -> list[str]:
    """What a column of names or numbers says, as text."""
    return [str(value).removesuffix(".0").strip() for value in values.tolist()]
