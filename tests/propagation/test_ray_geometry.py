"""Corners of paths against closed forms, and against what the tracer itself says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from shapely import affinity
from shapely.geometry import box

from tests.tracer import needs_tracer
from uniair.area.area import Area
from uniair.propagation.paths import DIFFRACTION, LOS, REFLECTION, SCATTERING, UNKNOWN, Paths
from uniair.propagation.ray_geometry import MISS, Surfaces, corners, kinds
from uniair.radio import SPEED_OF_LIGHT

BS = np.array([20.0, 50.0, 10.0])


def area_of(*plans: Any, height: float = 20.0) -> Area:
    return Area("test", plans, np.full(len(plans), height), (0.0, 0.0, 300.0, 300.0))


def path(points: Any, interactions: int) -> Paths:
    """The path of one link through points, as a tracer tells it."""
    points = np.asarray(points, dtype=np.float64)
    legs = np.diff(points, axis=0)
    length = np.linalg.norm(legs, axis=1).sum()
    ends = {"aod": legs[0], "aoa": -legs[-1]}
    angles = {f"{end}_azimuth": np.array([math.atan2(d[1], d[0])]) for end, d in ends.items()}
    angles |= {f"{end}_zenith": np.array([math.acos(d[2] / np.linalg.norm(d))]) for end, d in ends.items()}
    return Paths.from_rows(1, np.zeros(1, dtype=int), gain=np.ones(1), delay=np.array([length / SPEED_OF_LIGHT]),
                           interactions=np.array([interactions]), **angles)  # fmt: skip


def found(area: Area, points: Any, interactions: int) -> Any:
    points = np.asarray(points, dtype=np.float64)
    (course,) = corners(Surfaces.of(area), points[0], points[-1], path(points, interactions))
    return course


def test_a_wall_the_ground_and_a_roof_reflect() -> None:
    wall = area_of(box(100, 0, 120, 300))
    ue = np.array([40.0, 90.0, 1.5])
    # image in the wall x = 100: (160, 90); in the ground: z = −1.5
    y = 50 + 40 * 80 / 140
    by_wall = [BS, [100.0, y, 10 - 8.5 * 80 / 140], ue]
    assert found(wall, by_wall, REFLECTION) == pytest.approx(np.array(by_wall), abs=1e-3)
    part = 10 / 11.5
    by_ground = [BS, [20 + 20 * part, 50 + 40 * part, 0.0], ue]
    assert found(wall, by_ground, REFLECTION) == pytest.approx(np.array(by_ground), abs=1e-3)
    both = [BS, [100.0, y, 10 - 11.5 * 80 / 140], [0.0, 0.0, 0.0], ue]
    share = 10 / 11.5  # of the unfolded way from (20, 50) to (160, 90) before the ground
    both[2] = [200 - (20 + 140 * share), 50 + 40 * share, 0.0]
    assert found(wall, both, 11) == pytest.approx(np.array(both), abs=1e-3)
    assert found(wall, [BS, ue], LOS) == pytest.approx(np.array([BS, ue]))
    low = area_of(box(60, 20, 90, 80), height=5.0)  # between two masts
    over = [BS, [70.0, 50.0, 5.0], [120.0, 50.0, 10.0]]
    assert found(low, over, REFLECTION) == pytest.approx(np.array(over), abs=1e-3)


def test_an_edge_bends_with_mirrors_on_either_side() -> None:
    houses = area_of(affinity.rotate(box(80, 30, 110, 90), 10), box(160, 0, 180, 300))
    surfaces = Surfaces.of(houses)
    roof = np.array([95.0, 60.0, 20.0])
    ue = np.array([130.0, 70.0, 1.5])
    assert found(houses, [BS, roof, ue], DIFFRACTION) == pytest.approx(np.array([BS, roof, ue]), abs=1e-2)
    image = np.array([190.0, 70.0, 1.5])  # of the user in the wall x = 160
    hit = roof + (image - roof) * (160 - 95) / (190 - 95)
    after = [BS, roof, hit, ue]
    assert found(houses, after, 21) == pytest.approx(np.array(after), abs=1e-2)
    start = np.array([20.0, 50.0, 10.0])
    below = start + (np.array([95.0, 60.0, -20.0]) - start) / 3  # where the ground mirrors the roof's edge
    before = [start, below, roof, hit, ue]
    course = found(houses, before, 121)
    assert course == pytest.approx(np.array(before), abs=1e-2)
    assert len(surfaces.start) == 8


@pytest.mark.parametrize("interactions", [UNKNOWN, 22, 23, 2])
def test_what_the_walls_do_not_give_is_none(interactions: int) -> None:
    """Unknown events, two bends, and ends whose rays never meet."""
    houses = area_of(box(80, 30, 110, 90))
    ue = np.array([200.0, 70.0, 1.5])
    told = path([BS, [95.0, 200.0, 20.0], [150.0, 60.0, 30.0], ue], interactions)
    assert corners(Surfaces.of(houses), BS, ue, told) == [None]


def test_a_wall_that_is_not_there_is_noticed() -> None:
    by_wall = [BS, [100.0, 70.0, 6.0], [40.0, 85.0, 3.0]]
    shifted = area_of(box(102, 0, 120, 300))
    assert found(shifted, by_wall, REFLECTION) is None
    assert kinds(LOS) == []
    assert kinds(213) == [DIFFRACTION, REFLECTION, SCATTERING]
    assert kinds(UNKNOWN) is None


@needs_tracer
def test_every_traced_path_has_the_tracers_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    from uniair.area import procedural
    from uniair.propagation import ray_tracing

    area = procedural.city(8, 400.0).crop(40.0, 60.0, 200.0, rotation=0.4)
    rng = np.random.default_rng(2)
    bs, ue = area.drop(1, 12.0, rng), area.drop(8, 1.5, rng)
    known: list[tuple[int, float, np.ndarray]] = []
    own = ray_tracing.from_sionna

    def noted(solved: Any, *rest: Any, **more: Any) -> Paths:
        vertices, events = solved.vertices.numpy(), solved.interactions.numpy()
        length = solved.tau.numpy() * SPEED_OF_LIGHT
        for user, row in np.argwhere(solved.valid.numpy()[:, 0]):
            depth = (events[:, user, 0, row] > 0).sum()
            known.append((int(user), float(length[user, 0, row]), vertices[:depth, user, 0, row]))
        return own(solved, *rest, **more)

    monkeypatch.setattr(ray_tracing, "from_sionna", noted)
    config = ray_tracing.RayTracing(frequency=3.5e9, samples=20_000, every_edge=True)
    paths = ray_tracing.trace(area, bs, ue, config)
    surfaces, count = Surfaces.of(area), 0
    for user in range(len(ue)):
        one = paths.select(np.array([user]))
        for delay, course in zip(one.delay, corners(surfaces, bs[0], ue[user], one), strict=True):
            assert course is not None
            twins = [v for u, length, v in known if u == user and abs(length - delay * SPEED_OF_LIGHT) < 1e-3
                     and len(v) == len(course) - 2]  # fmt: skip
            assert min((np.abs(v - course[1:-1]).max(initial=0) for v in twins), default=np.inf) < MISS
            count += 1
    assert count > 60
