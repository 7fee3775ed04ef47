"""The radio that a data set or a scene describes, in our frame and with our sign, and what the user says instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError
from uniair.radio import ULA, UPA, Antennas, Array, Radio

CLOSE = 1e-3  # wavelengths; files and float32 round positions


def array_of(positions: NDArray[np.floating], pattern: str = "isotropic") -> Antennas | None:
    """The array of elements as other packages place them: a `ULA` or `UPA` where it is one, in the order given.

    Their frame faces +x, with y to the left and z up, and their phase grows towards an element, e^{+j2π p·d}. Ours
    faces +y and its phase falls, so that an element at (x, y, z) there stands at (y, −x, −z) here. Positions count from
    element 0, which is where gains are then referred to. An array that faces azimuth α there has the bearing α − 90°.

    Args:
        positions: [E, 3] wavelengths.
        pattern: of each element; see `Antennas`.

    Returns:
        None of a single element, which says nothing of an array.
    """
    if len(positions) < 2:
        return None
    placed = in_our_frame(positions - positions[0])
    columns, rows = (len(np.unique(placed[:, axis].round(3))) for axis in (0, 2))
    across, up = (round(float(placed[-1, axis]) / max(count - 1, 1), 6) for axis, count in ((0, columns), (2, rows)))
    if columns * rows == len(placed) and (across > 0 or columns == 1) and (up > 0 or rows == 1):
        regular = ULA(columns, across, pattern=pattern) if rows == 1 else (
            UPA(rows, columns, up, across or 0.5, pattern=pattern)
        )  # fmt: skip
        if np.abs(regular.layout - placed).max() < CLOSE:
            return regular
    return Array(placed.round(6), pattern=pattern)


def in_our_frame(positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Positions [E, 3] of a frame that faces +x and has the other sign of phase; see `array_of`."""
    return np.asarray(positions, dtype=np.float64)[:, (1, 0, 2)] * (1, -1, -1) + 0.0  # no −0


def reading_order(positions: NDArray[np.floating]) -> NDArray[np.intp]:
    """Our order of the elements of a planar array that Sionna RT numbers column by column: [E] which of theirs each is.

    Row by row from the top left, as seen from behind. Elements that are no such grid [E, 3] stay as they are numbered.
    """
    rows = np.lexsort((positions[:, 1].round(3), -positions[:, 2].round(3)))
    regular = len(positions) > 1 and not isinstance(array_of(positions[rows]), Array)
    return rows if regular else np.arange(len(positions))


def overridden(own: Radio, said: Mapping[str, Any] | None, source: str, remedy: str = "") -> Radio:
    """The radio of a data set, with the array, grid and clock that the user says instead.

    Args:
        own: the data set's; entries that the user leaves out stay.
        said: entries as `Radio.to_json` gives them; None: nothing.
        source: what was traced at the carrier, for the message.
        remedy: what else the user may do about another carrier.

    Raises:
        InputError: no radio, or its carrier is not that of the paths.
    """
    if said is None:
        return own
    given = Radio.from_json(said, "--radio")
    if "carrier" in said and not math.isclose(given.carrier, own.carrier, rel_tol=1e-6):
        raise InputError(
            f"{source} was traced at {own.carrier / 1e9:.7g} GHz, --radio says {given.carrier / 1e9:.7g} GHz; "
            f"leave its carrier out{remedy}"
        )
    return Radio.from_json({**own.to_json(), **said, "carrier": own.carrier}, "--radio")
