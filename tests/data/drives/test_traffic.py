"""Vehicles are closed solids of their size; drivers keep their distance, and their speeds change."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from shapely.geometry import Polygon

from uniair.data.drives import traffic
from uniair.data.drives.traffic import KINDS, Lane, Traffic, drive_through, mesh

LANES = (Lane(-1.75, 1), Lane(1.75, -1), Lane(-5.25, 1))
WINDOW = dict.fromkeys(LANES, (-20.0, 25.0))
PERIOD = 0.1


def drive(seed: int, density: float = 0.04, steps: tuple[int, int] = (20, 80)) -> Traffic:
    return drive_through(LANES, WINDOW, density, steps, PERIOD, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_vehicle_is_closed_and_of_its_size(kind: str) -> None:
    made = mesh(kind, 0, "v")
    faces = made.faces.astype(np.int64)
    a, b, c = (made.vertices.astype(np.float64)[faces[:, i]] for i in range(3))
    edges = Counter((int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3))
    assert set(edges.values()) == {1}
    assert all((j, i) in edges for i, j in edges)
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6  # positive: normals point outward
    wheel = 2 * np.sqrt(2) * (0.33 if kind == "car" else 0.45) ** 2 * 0.26  # an octagon
    parts = sum(Polygon(outline).area * width for outline, width, _ in KINDS[kind].parts)
    assert volume == pytest.approx(parts + 2 * len(KINDS[kind].wheels) * wheel, rel=1e-5)
    size = made.vertices.max(0) - made.vertices.min(0)
    np.testing.assert_allclose(size, [KINDS[kind].length, KINDS[kind].width, KINDS[kind].height], atol=0.05)
    assert made.vertices[:, 2].min() == pytest.approx(0, abs=0.05)  # on its wheels
    assert made.colours.shape == faces.shape


def test_a_follower_keeps_the_models_equilibrium_gap() -> None:
    v, wanted = np.array([3.0, 8.0]), np.array([10.0, 10.0])
    gap = (traffic.STANDSTILL + v * traffic.HEADWAY) / np.sqrt(1 - (v / wanted) ** 4)
    np.testing.assert_allclose(traffic._idm(v, wanted, gap, np.zeros(2)), 0, atol=1e-12)
    free = traffic._idm(v, wanted, np.full(2, np.inf), np.zeros(2))
    np.testing.assert_allclose(free, traffic.ACCELERATION * (1 - (v / wanted) ** 4))


@pytest.mark.parametrize("seed", range(20))
def test_a_drive_passes_its_window(seed: int) -> None:
    made = drive(seed)
    ue, direction = made.along[:, 0], made.lanes[0].direction
    assert made.kinds[0] == "car"
    assert 20 <= len(ue) <= 80
    assert (np.diff(ue) * direction >= 0).all()
    assert ue.min() >= -20
    assert ue.max() <= 25
    assert abs(ue[0] - (-20 if direction > 0 else 25)) < traffic.TOP_SPEED * PERIOD
    if len(ue) < 80:
        assert abs(ue[-1] - (25 if direction > 0 else -20)) < traffic.TOP_SPEED * PERIOD
    assert (made.speed >= 0).all()
    assert made.speed[:, 0].max() <= min(traffic.TOP_SPEED, 45 / 2.0)
    np.testing.assert_allclose(np.abs(np.diff(ue)), made.speed[1:, 0] * PERIOD, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_drives_into_anybody(seed: int) -> None:
    made = drive(seed)
    length = np.array([KINDS[kind].length for kind in made.kinds])
    for lane in LANES:
        here = np.flatnonzero([other == lane for other in made.lanes])
        order = here[np.argsort(made.along[0, here])]
        gaps = np.diff(made.along[:, order], axis=1) - (length[order[1:]] + length[order[:-1]]) / 2
        assert (gaps > 0).all()


def test_traffic_is_as_varied_as_it_should_be() -> None:
    drives = [drive(seed) for seed in range(40)]
    assert {made.lanes[0] for made in drives} == set(LANES)
    assert {kind for made in drives for kind in made.kinds} == set(KINDS)
    changes = [np.ptp(made.speed[:, 0]) for made in drives]
    assert np.mean(np.array(changes) > 1.0) > 0.5
    assert np.mean([len(made.kinds) for made in drives]) > 5
    assert drive(0, density=0.0).kinds == ("car",)


def test_lanes_of_the_ue_and_the_share_of_what_is_high_can_be_set() -> None:
    rng = np.random.default_rng(0)
    made = [drive_through(LANES, WINDOW, 0.04, (20, 80), PERIOD, rng, LANES[1:2], 0.7) for _ in range(40)]
    assert {one.lanes[0] for one in made} == {LANES[1]}
    others = [kind for one in made for kind in one.kinds[1:]]
    assert np.mean([kind in ("bus", "truck") for kind in others]) == pytest.approx(0.7, abs=0.08)
    assert {"car", "van"} < set(others)


def test_the_same_seed_gives_the_same_drive() -> None:
    one, two, other = drive(3), drive(3), drive(4)
    assert one.kinds == two.kinds
    np.testing.assert_array_equal(one.along, two.along)
    assert one.along.shape != other.along.shape or (one.along != other.along).any()
