"""What stands between BS and UE in the vertical plane, and the paths over it, against the geometry."""

from __future__ import annotations

import math

import pytest
import torch

from uniair.environment import Environment
from uniair.models.ray_launching import FEATURES_3D, OVER, Candidates, candidates
from uniair.models.sight_line import SIGHT_FEATURES, sight_line

SIZE = 256.0  # m, 1 m a pixel
BS, UE = (20.0, 128.0, 25.0), (220.0, 128.0, 1.5)


def wall(height: float, x: float = 180.0) -> torch.Tensor:
    out = torch.zeros(256, 256)
    out[60:200, int(x) - 4 : int(x) + 4] = height
    return out


def place(heights: torch.Tensor, **more: object) -> Environment:
    return Environment(map=heights[None], bs=[BS], ue=[UE], size=[SIZE], **more).tensors()


def over_roofs(environment: Environment) -> Candidates:
    return candidates(environment, torch.tensor([True]), solid=True)


def test_a_low_wall_is_passed_over() -> None:
    line = sight_line(place(wall(3.0)))
    assert not line.blocked[0]
    below = BS[2] + (UE[2] - BS[2]) * 0.82 - 3.0  # at its far side, where the line is lowest
    assert -line.excess[0] == pytest.approx(below, abs=0.4)


def test_a_high_wall_bends_the_path_down() -> None:
    line = sight_line(place(wall(12.0), carrier=[3.5e9]))
    assert line.blocked[0]
    assert line.known[0]
    x = float(20 + 200 * line.place[0])
    assert 176 <= x <= 184
    up = math.hypot(x - 20, BS[2] - 12.0) + math.hypot(220 - x, 12.0 - UE[2])
    assert line.length[0] == pytest.approx(up, abs=1e-2)
    assert line.rise[0] == pytest.approx((12.0 - BS[2]) / math.hypot(x - 20, BS[2] - 12.0), abs=1e-4)


def test_the_loss_is_that_of_a_knife_edge() -> None:
    """ITU-R P.526, eqs. 26 and 31."""
    carrier = 3.5e9
    line = sight_line(place(wall(12.0), carrier=[carrier]))
    d = math.dist(BS, UE)
    d1 = float(line.place[0]) * d
    nu = float(line.excess[0]) * math.sqrt(2 / (299_792_458.0 / carrier) * (1 / d1 + 1 / (d - d1)))
    expected = 6.9 + 20 * math.log10(math.sqrt((nu - 0.1) ** 2 + 1) + nu - 0.1)
    assert line.loss[0] == pytest.approx(expected, abs=0.05)


def test_walls_of_unknown_height_block_and_are_said_to_be_unknown() -> None:
    line = sight_line(place(wall(1.0)))  # occupancy
    assert line.blocked[0]
    assert not line.known[0]
    assert torch.isfinite(line.features()).all()
    assert line.features().shape == (1, SIGHT_FEATURES)


def test_a_path_over_the_roof_is_a_candidate_where_one_is_known_to_block() -> None:
    found = over_roofs(place(wall(12.0), carrier=[3.5e9]))
    over = found.kind == OVER
    assert over.sum() == 1
    line = sight_line(place(wall(12.0), carrier=[3.5e9]))
    assert found.length[over] == pytest.approx(float(line.length[0]))
    assert found.cosine[over] == pytest.approx(math.sqrt(1 - float(line.rise[0]) ** 2))
    for heights in (wall(3.0), wall(1.0)):
        assert not (over_roofs(place(heights)).kind == OVER).any()
    assert found.features_3d().shape == (len(found.kind), FEATURES_3D)
    assert torch.isfinite(found.features_3d()).all()


def test_rays_of_a_high_station_pass_over_low_walls() -> None:
    near, far = place(wall(8.0, x=60.0)), place(wall(8.0))  # the line is 20 and 6 m high there
    assert (over_roofs(near).kind == 0).any()
    assert not (over_roofs(far).kind == 0).any()
    assert not (candidates(near, torch.tensor([True])).kind == 0).any()  # the flat ones don't


def test_the_last_leg_knows_the_roofs_that_it_passes_over() -> None:
    low, high = (over_roofs(place(wall(height))) for height in (3.0, 10.0))
    assert (low.clearance[low.kind == 0] > 0).all()
    assert (high.clearance[high.kind == 0] < 0).all()


def test_elevation_is_in_the_frame_of_the_tilted_array() -> None:
    tilt = 0.2
    level, down = (over_roofs(place(wall(3.0), **more)) for more in ({}, {"downtilt": [tilt]}))
    drop = (UE[2] - BS[2]) / math.dist(BS, UE)
    direct = level.kind == 0
    assert level.up[direct] == pytest.approx(drop, abs=0.01)
    ahead = 0.0  # the array lies along the way to the user
    assert down.up[direct] == pytest.approx(math.sin(tilt) * ahead + math.cos(tilt) * drop, abs=0.02)
