"""The street: radio and camera see the same things at the same places."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tracer import needs_tracer
from uniair.data.drives.traffic import mesh
from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing
from uniair.propagation.street import Camera, Mesh, Street, surroundings
from uniair.radio import SPEED_OF_LIGHT

pytestmark = needs_tracer

FREQUENCY = 60e9
CONFIG = RayTracing(frequency=FREQUENCY, depth=1, diffraction=False, samples=5_000, probe_users=0)
BS = np.array([[0.0, -10.0, 3.0]])
CAMERA = Camera((0.0, -10.0, 3.0), np.pi / 2, np.deg2rad(110), (112, 64))
SUN = np.array([0.3, 0.4, -0.8])
AWAY = (0.0, -200.0, 0.0)  # behind the camera


@pytest.fixture(scope="module")
def street() -> Street:
    """Open ground with a car and a bus."""
    corners = np.array([[-90, -90, 0], [90, -90, 0], [90, 90, 0], [-90, 90, 0]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.uint32)
    ground = Mesh("ground", corners, faces, np.full((2, 3), 0.2, dtype=np.float32), "concrete")
    return Street([ground], [mesh("car", 0, "car"), mesh("bus", 5, "bus")], CAMERA, SUN, FREQUENCY)


def pictured(street: Street, *poses: tuple[float, float, float]) -> NDArray[np.float64]:
    street.move(np.array(poses))
    return street.picture(4, 0).astype(np.float64)


@pytest.mark.parametrize("x", [-12.0, 0.0, 9.0])
def test_the_camera_sees_a_car_where_it_is(street: Street, x: float) -> None:
    changed = np.abs(pictured(street, (x, 4.0, 0.0), AWAY) - pictured(street, AWAY, AWAY)).sum(2) > 60
    rows, columns = np.nonzero(changed)
    middle = (columns.min() + columns.max() + 1) / 2
    expected = 56 + 56 * (x / 14.0) / np.tan(np.deg2rad(55))  # pinhole; +x lies to the right when looking north
    assert middle == pytest.approx(expected, abs=3)
    horizon = 32
    assert rows.min() >= horizon  # lower than the camera


def test_the_same_seed_gives_the_same_picture(street: Street) -> None:
    one = pictured(street, (3.0, 4.0, 0.0), AWAY)
    np.testing.assert_array_equal(one, pictured(street, (3.0, 4.0, 0.0), AWAY))
    assert one.shape == (64, 112, 3)
    sky, ground = one[2].mean(0), one[-2].mean(0)
    assert sky[2] > sky[0]
    assert 30 < ground.mean() < 220


def test_a_bus_blocks_and_the_own_roof_does_not(street: Street) -> None:
    ue = np.array([[5.0, 6.0, 1.75]])
    street.move(np.array([[5.0, 6.0, 0.0], AWAY]))
    free = street.paths(BS, ue, CONFIG)
    street.move(np.array([[5.0, 6.0, 0.0], [2.5, -2.0, 0.0]]))
    blocked = street.paths(BS, ue, CONFIG)
    street.move(np.array([[5.0, 6.0, 0.0], [25.0, -2.0, np.pi]]))
    passed = street.paths(BS, ue, CONFIG)
    assert [p.los().tolist() for p in (free, blocked, passed)] == [[True], [False], [True]]
    distance = np.linalg.norm(ue - BS)
    direct = np.abs(free.gain[free.interactions == 0])
    np.testing.assert_allclose(direct, SPEED_OF_LIGHT / FREQUENCY / (4 * np.pi * distance), rtol=1e-3)


def test_a_turned_vehicle_blocks_where_it_turned(street: Street) -> None:
    ue = np.array([[5.0, 6.0, 1.75]])
    for heading, seen in ((0.0, False), (np.pi / 2, True)):  # its middle is 5 m beside the ray, its half length 6 m
        street.move(np.array([AWAY, [7.5, -2.0, heading]]))
        assert street.paths(BS, ue, CONFIG).los().tolist() == [seen]


def test_surroundings_are_cut_and_made_of_known_materials() -> None:
    near = surroundings("simple_street_canyon_with_cars", (0.0, -20.0), 12.0, FREQUENCY)
    whole = surroundings("simple_street_canyon_with_cars", (0.0, 0.0), 500.0, FREQUENCY)
    assert sum(len(part.faces) for part in near) < sum(len(part.faces) for part in whole) == 6 * 12 + 2 + 8 * 20
    by_name = {part.name: part.material for part in whole}
    assert by_name["static-brick"] == "concrete"  # ITU-R P.2040 ends brick at 40 GHz
    assert by_name["static-glass"] == "glass"
    for part in whole:
        assert part.faces.max() < len(part.vertices)
        assert part.colours.shape == part.faces.shape
        assert part.colours.min() >= 0
        assert part.colours.max() <= 1
    with pytest.raises(InputError, match=r"no such scene.*munich"):
        surroundings("atlantis", (0.0, 0.0), 10.0, FREQUENCY)
    with pytest.raises(InputError, match="nothing within 10 m"):
        surroundings("simple_street_canyon_with_cars", (9000.0, 0.0), 10.0, FREQUENCY)
