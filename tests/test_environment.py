"""Environments: occupancy and heights, bearings that turn the area, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from uniair.environment import TALL, Environment, buried
from uniair.errors import InputError

HOUSES = np.zeros((16, 16), dtype=np.float32)
HOUSES[2:5, 3:9], HOUSES[10:14, 6:8] = 7.5, 22.0
ONE: dict[str, Any] = {"bs": [[10.0, 20.0, 25.0]], "ue": [[30.0, 8.0, 1.5]], "size": [32.0]}


def test_occupancy_is_a_wall_that_is_taller_than_all() -> None:
    built = HOUSES > 0
    for given in (built, built.astype(np.uint8), built.astype(np.float32), 0.6 * built):
        maps = Environment(map=given[None], **ONE).tensors().map
        assert torch.equal(maps[0], torch.where(torch.from_numpy(built), TALL, 0.0))


def test_heights_stay_and_kerbs_are_no_buildings() -> None:
    heights = HOUSES.copy()
    heights[0, 0] = 0.3
    found = Environment(map=heights[None], **ONE).tensors()
    np.testing.assert_array_equal(found.map[0], HOUSES)
    again = found.tensors()
    assert torch.equal(again.map, found.map)


def test_some_heights_may_be_unknown() -> None:
    heights = HOUSES.copy()
    heights[2:5, 3:9] = np.inf
    np.testing.assert_array_equal(Environment(map=heights[None], **ONE).tensors().map[0], heights)


def test_a_station_below_a_roof_is_inside_but_not_on_a_wall_nor_where_no_height_is_known() -> None:
    places = {"under the roof": (11, 7, 5), "on it": (11, 7, 8), "on a wall": (11, 4.5, 5), "in the street": (25, 7, 5)}
    env = Environment(map=HOUSES[None], bs=[*places.values()], size=[32.0] * 4).tensors()
    assert dict(zip(places, buried(env).tolist(), strict=True)) == dict.fromkeys(places, False) | {
        "under the roof": True
    }
    assert not buried(Environment(map=HOUSES[None] > 0, bs=[*places.values()], size=[32.0] * 4).tensors()).any()
    assert not buried(Environment(bs=[*places.values()], size=[32.0] * 4).tensors()).any()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_quarter_turn_is_exact(degrees: int) -> None:
    """An array that looks along +y's axis sees the area as one along +x sees it turned."""
    turned = Environment(map=HOUSES[None], bearing=[math.radians(degrees)], **ONE).tensors()
    np.testing.assert_array_equal(turned.map[0], np.rot90(HOUSES, degrees // 90))  # row 0 is y 0
    assert turned.bearing is None
    middle = torch.tensor([16.0, 16.0])
    angle = -math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    for name in ("bs", "ue"):
        position = torch.tensor(ONE[name][0])
        torch.testing.assert_close(getattr(turned, name)[0, :2], middle + turn @ (position[:2] - middle))
        assert getattr(turned, name)[0, 2] == position[2]


def test_any_turn_keeps_distances_and_what_stands_at_a_place() -> None:
    bearing = 0.6
    many = {"bs": ONE["bs"] * 2, "ue": ONE["ue"] * 2, "size": [32.0] * 2}
    found = Environment(map=HOUSES[None], bearing=[bearing, 0.0], **many).tensors()
    assert found.size.tolist() == pytest.approx([32 * (math.cos(bearing) + math.sin(bearing)), 32.0])
    assert len(found.map) == 2
    flat = (found.ue - found.bs)[:, :2].norm(dim=1)
    assert flat[0] == pytest.approx(float(flat[1]))
    direction = (found.ue - found.bs)[0, :2] / flat[0]
    plain = (found.ue - found.bs)[1, :2] / flat[1]
    assert math.atan2(*direction.flip(0)) == pytest.approx(math.atan2(*plain.flip(0)) - bearing, abs=1e-5)
    ground = [float((found.map[a] > 0).float().mean() * found.size[i] ** 2) for i, a in enumerate(found.area)]
    assert ground[0] == pytest.approx(ground[1], rel=0.2)
    assert found.map.amax((1, 2)).tolist() == [22.0, 22.0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"map": np.where(HOUSES > 0, np.nan, 0)[None]}, "NaN"),
        ({"map": -HOUSES[None]}, "a height of -22 m"),
        ({"carrier": [0.0]}, "above 0 Hz"),
        ({"ue": [[30.0, 8.0, -5.0]]}, r"ue\[0\] lies 5 m below ground; heights are metres above it"),
        ({"carrier": [np.nan]}, "carrier holds NaN"),
        ({"downtilt": [12.0]}, "did you give degrees"),
        ({"bearing": [1.0, 2.0]}, "bearing has shape"),
        ({"bearing": [120.0]}, "within a turn, in rad; did you give degrees"),
        ({"map": (HOUSES + np.arange(len(HOUSES))[:, None]).astype(np.int16)[None]}, "whole numbers of several levels"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Environment(**{"map": HOUSES[None], **ONE, **wrong}).tensors()
