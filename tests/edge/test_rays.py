from __future__ import annotations

import numpy as np
import pytest
import torch

from uniair.edge import rays
from uniair.environment import Environment
from uniair.models import ray_launching


def town(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.zeros((256, 256), np.uint8)
    for x, y, w, h in rng.integers([10, 10, 12, 12], [220, 220, 45, 45], (9, 4)):
        out[y : y + h, x : x + w] = 1
    return out


def test_constants_are_those_of_the_model() -> None:
    names = ("GRID", "RAYS", "DEPTH", "CORNERS", "FAN", "MARCH", "LEVELS", "FAN_ANGLES", "LEAST_JUMP", "KINDS",
             "SUBCARRIER_PERIOD", "COSINE_OCTAVES", "LENGTH_OCTAVES", "FEATURES")  # fmt: skip
    for name in names:
        assert getattr(rays, name) == getattr(ray_launching, name), name


@pytest.mark.parametrize("seed", range(4))
def test_finds_the_paths_that_the_model_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    occupancy, size = town(seed), 180.0
    free = np.argwhere(occupancy == 0)[:, ::-1]
    places = (free[rng.choice(len(free), 41)] + rng.uniform(0, 1, (41, 2))) * size / 256
    bs = np.array([*places[0], 8.0], np.float32)
    ue = np.column_stack([places[1:], np.full(40, 1.5)]).astype(np.float32)
    pixels = np.round(bs[:2] / (np.float32(size) / np.float32(256)) * 16) / 16
    features, owner = rays.meet(rays.launch(occupancy, pixels), bs, ue, size)

    n = len(ue)
    env = Environment(map=occupancy[None], bs=np.tile(bs, (n, 1)), ue=ue, size=np.full(n, size)).tensors()
    found = ray_launching.candidates(env, torch.ones(n, dtype=torch.bool))
    expected = torch.zeros(found.distinct, rays.FEATURES).index_add(0, found.owner, found.features())[found.of]
    total = np.zeros((n, rays.FEATURES))
    np.add.at(total, owner, features)
    assert len(features) == len(found.length) > n
    np.testing.assert_allclose(total, expected.numpy(), atol=2e-3)


def test_a_user_behind_a_wall_has_no_direct_path() -> None:
    wall = np.zeros((256, 256), np.uint8)
    wall[100:104, :] = 1
    segments = rays.launch(wall, np.array([128.0, 50.0]))
    features, owner = rays.meet(segments, np.array([128, 50, 5]), np.array([[128, 60, 1.5], [128, 150, 1.5]]), 256.0)
    kinds = features[:, 24 : 24 + len(rays.KINDS)]
    assert kinds[owner == 0, 0].any()
    assert not kinds[owner == 1, 0].any()
