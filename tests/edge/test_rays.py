from __future__ import annotations

import numpy as np
import pytest
import torch

from uniair.edge import candidate_paths, rays
from uniair.environment import Environment
from uniair.models import ray_launching, sight_line


def town(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.zeros((256, 256), np.uint8)
    for x, y, w, h in rng.integers([10, 10, 12, 12], [220, 220, 45, 45], (9, 4)):
        out[y : y + h, x : x + w] = 1
    return out


def test_constants_are_those_of_the_model() -> None:
    launched = ("GRID", "RAYS", "DEPTH", "CORNERS", "FAN", "MARCH", "LEVELS", "FAN_ANGLES", "BESIDE",
                "LEAST_JUMP", "KINDS")  # fmt: skip
    read = ("SUBCARRIER_PERIOD", "COSINE_OCTAVES", "LENGTH_OCTAVES", "OVER", "FEATURES", "FEATURES_3D", "LOW_STATION",
            "LOW_WALL", "FALL", "LEG", "NEAR", "HIGHEST", "TYPICAL")  # fmt: skip
    for module, names in ((rays, launched), (candidate_paths, read)):
        for name in names:
            assert getattr(module, name) == getattr(ray_launching, name), name
    assert candidate_paths.SAMPLES == sight_line.SAMPLES


def hypotheses(seed: int, height: float, size: float = 180.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A town, a base station outdoors and 40 users."""
    rng, occupancy = np.random.default_rng(seed), town(seed)
    free = np.argwhere(occupancy == 0)[:, ::-1]
    places = (free[rng.choice(len(free), 41)] + rng.uniform(0, 1, (41, 2))) * size / 256
    ue = np.column_stack([places[1:], np.full(40, 1.5)]).astype(np.float32)
    return occupancy, np.array([*places[0], height], np.float32), ue


def in_sum(features: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    total = np.zeros((count, features.shape[1]))
    np.add.at(total, owner, features)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_finds_the_paths_that_the_model_finds(seed: int) -> None:
    occupancy, bs, ue = hypotheses(seed, 8.0)
    n, size = len(ue), 180.0
    pixels = np.round(bs[:2] / (np.float32(size) / np.float32(256)) * 16) / 16
    own = candidate_paths.candidates(rays.launch(occupancy > 0, pixels), bs, ue, size)

    env = Environment(map=occupancy[None], bs=np.tile(bs, (n, 1)), ue=ue, size=np.full(n, size)).tensors()
    found = ray_launching.candidates(env, torch.ones(n, dtype=torch.bool))
    expected = torch.zeros(found.distinct, candidate_paths.FEATURES).index_add(0, found.owner, found.features())[
        found.of
    ]
    assert len(own.length) == len(found.length) > n
    total = in_sum(own.features(np.zeros(n, np.float32)), own.owner, n)
    np.testing.assert_allclose(total, expected.numpy(), atol=2e-3)


@pytest.mark.parametrize("height", [6.0, 18.0, 40.0])
@pytest.mark.parametrize("seed", range(3))
def test_finds_the_paths_over_roofs_that_the_model_finds(seed: int, height: float) -> None:
    occupancy, bs, ue = hypotheses(seed, height)
    n, size, tilt, carrier = len(ue), 180.0, 0.1 * seed, 3.5e9
    block = 2.0 + 3 * np.arange(256)[:, None] % 35 + np.zeros((256, 256))
    block[200:, :60] = np.inf
    heights = np.where(occupancy > 0, block, 0).astype(np.float32)
    roofs = candidate_paths.Roofs(heights, carrier, tilt)
    pixels = np.round(bs[:2] / (np.float32(size) / np.float32(256)) * 16) / 16
    launched = rays.launch(candidate_paths.walls(heights, bs, np.float32(size)), pixels)
    own = candidate_paths.candidates(launched, bs, ue, size, roofs)

    env = Environment(
        map=heights[None], bs=np.tile(bs, (n, 1)), ue=ue, size=np.full(n, size), carrier=np.full(n, carrier),
        downtilt=np.full(n, tilt), first_path=np.ones(n),
    ).tensors()  # fmt: skip
    found = ray_launching.candidates(env, torch.ones(n, dtype=torch.bool), solid=True)
    expected = torch.zeros(found.distinct, candidate_paths.FEATURES_3D)
    expected = expected.index_add(0, found.owner, found.features_3d())[found.of]
    assert len(own.length) == len(found.length)
    assert (own.kind == candidate_paths.OVER).sum() == (found.kind == ray_launching.OVER).sum() > 0
    clock = own.clock(bs, ue)
    np.testing.assert_allclose(clock, found.clock[found.of], atol=1e-4)
    np.testing.assert_allclose(in_sum(own.features_3d(clock), own.owner, n), expected.numpy(), atol=5e-3)


def test_a_user_behind_a_wall_has_no_direct_path() -> None:
    wall = np.zeros((256, 256), np.uint8)
    wall[100:104, :] = 1
    segments = rays.launch(wall > 0, np.array([128.0, 50.0]))
    users = np.array([[128, 60, 1.5], [128, 150, 1.5]])
    found = candidate_paths.candidates(segments, np.array([128, 50, 5]), users, 256.0)
    straight = found.owner[found.kind == 0]
    assert 0 in straight
    assert 1 not in straight
