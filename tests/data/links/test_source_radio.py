"""Arrays of other packages in our frame, and what the user says of a radio."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from uniair.data.links.source_radio import array_of, overridden, reading_order
from uniair.errors import InputError
from uniair.radio import OFDM, ULA, UPA, Array, Radio


def panel(rows: int, columns: int, up: float = 0.5, across: float = 0.5) -> NDArray[np.float64]:
    """As Sionna RT numbers it: column by column from the top left, in the plane x = 0, about its middle."""
    row, column = np.tile(np.arange(rows), columns), np.repeat(np.arange(columns), rows)
    y, z = across * (column - (columns - 1) / 2), -up * (row - (rows - 1) / 2)
    return np.column_stack([np.zeros(rows * columns), y, z])


@pytest.mark.parametrize(
    ("rows", "columns", "array"),
    [(1, 4, ULA(4, 0.7)), (3, 4, UPA(3, 4, 0.6, 0.7)), (5, 1, UPA(5, 1, 0.6, 0.5)), (1, 1, None)],
)
def test_a_panel_is_a_ula_or_upa(rows: int, columns: int, array: Any) -> None:
    positions = panel(rows, columns, 0.6, 0.7).astype(np.float32)
    order = reading_order(positions)
    assert sorted(order.tolist()) == list(range(rows * columns))
    assert order[0] == 0
    assert array_of(positions[order]) == array


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_response_is_the_other_packages_own(rows: int) -> None:
    """e^{+j2π p·k} in a frame that faces +x is our response in one that faces +y, from element 0 on."""
    positions = panel(rows, 4, 0.6, 0.7)
    order = reading_order(positions)
    array = array_of(positions[order])
    assert array is not None
    direction = np.random.default_rng(0).normal(size=(20, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    theirs = np.exp(2j * np.pi * direction @ (positions[order] - positions[0]).T)
    ours = np.column_stack([-direction[:, 1], direction[:, 0], direction[:, 2]])  # x to the right of where it faces
    np.testing.assert_allclose(array.response(torch.from_numpy(ours)).numpy(), theirs, atol=1e-5)


def test_other_elements_stay_in_their_order() -> None:
    places = np.array([[0, 0, 0], [0.3, 0.5, 0], [0, 1.0, 0.2]])
    assert reading_order(places).tolist() == [0, 1, 2]
    assert array_of(places) == Array([[0, 0, 0], [0.5, -0.3, 0], [1, 0, -0.2]])


def test_what_the_user_says_goes_before_what_the_data_set_says() -> None:
    own = Radio(ULA(8), OFDM(128, 240e3), 3.5e9)
    assert overridden(own, None, "here") == own
    assert overridden(own, {"clock": "first_path"}, "here") == Radio(ULA(8), OFDM(128, 240e3), 3.5e9, "first_path")
    array = {"kind": "upa", "rows": 2, "columns": 4}
    assert overridden(own, {"array": array, "carrier": 3.5e9}, "here") == Radio(UPA(2, 4), OFDM(128, 240e3), 3.5e9)
    assert overridden(own, Radio(carrier=3.5e9).to_json(), "here") == Radio(carrier=3.5e9)
    with pytest.raises(
        InputError, match=r"here was traced at 3\.5 GHz, --radio says 28 GHz; leave its carrier out, or"
    ):
        overridden(own, Radio().to_json(), "here", ", or go")
    with pytest.raises(InputError, match="--radio: array: kind 'dish'"):
        overridden(own, {"array": {"kind": "dish"}}, "here")
