"""What users receive, against closed forms: free space, two rays, pattern and tilt put on, noise and interference."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from tests.propagation.test_antenna_pattern import write_msi
from tests.tracer import needs_tracer
from uniair.area.area import Area
from uniair.propagation.antenna_pattern import read_pattern
from uniair.propagation.coverage import best_server, noise_per_element, received, sinr, throughput
from uniair.propagation.paths import LOS, REFLECTION, Paths, free_space_gain
from uniair.propagation.ray_tracing import RayTracing, build_scene, trace_scene
from uniair.propagation.sector import Sector
from uniair.radio import SPEED_OF_LIGHT, ULA, UPA

CARRIER = 3.5e9
PANEL = UPA(8, 8, pattern="tr38901", polarisation="slanted")


def sector(**changes: Any) -> Sector:
    plain = Sector("A-1", "A", 0.0, math.radians(4.0), math.radians(6.0), 46.0, CARRIER, 100e6, 30e3, PANEL)
    return replace(plain, **changes)


def straight(mast: np.ndarray, users: np.ndarray, polarised: bool = True) -> Paths:
    """One path in free space to each user [U, 3]."""
    line = users - mast
    distance = np.linalg.norm(line, axis=1)
    gain = np.array([free_space_gain(d, CARRIER) for d in distance])
    azimuth, zenith = np.arctan2(line[:, 1], line[:, 0]), np.arccos(line[:, 2] / distance)
    zero = np.zeros_like(gain)
    return Paths.from_rows(
        len(users), np.arange(len(users)), cross=np.column_stack([zero, zero, gain]) if polarised else None, gain=gain,
        delay=distance / SPEED_OF_LIGHT, aod_azimuth=azimuth, aod_zenith=zenith, aoa_azimuth=azimuth + np.pi,
        aoa_zenith=np.pi - zenith, interactions=np.full(len(users), LOS),
    )  # fmt: skip


def tr38901(azimuth: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Gain of an element, dBi, by degrees from its boresight (TR 38.901, table 7.3-1)."""
    horizontal, vertical = (np.minimum(12 * (angle / 65) ** 2, 30) for angle in (azimuth, below))
    return np.asarray(8 - np.minimum(horizontal + vertical, 30))


def array_factor(count: int, spacing: float, cosine: np.ndarray, towards: float) -> np.ndarray:
    """Power gain of so many elements in a row that are steered to a direction cosine."""
    phase = np.pi * spacing * (cosine - towards)
    small = np.abs(np.sin(phase)) < 1e-9
    ratio = np.where(small, count, np.sin(count * phase) / np.where(small, 1, np.sin(phase)))
    return np.asarray(ratio**2 / count)


def users_about(count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    distance, azimuth = rng.uniform(20, 400, count), rng.uniform(0, 2 * np.pi, count)
    return np.column_stack([distance * np.cos(azimuth), distance * np.sin(azimuth), rng.uniform(1.5, 20, count)])


@pytest.mark.parametrize("polarised", [True, False])
def test_free_space_with_pattern_and_tilts(polarised: bool) -> None:
    mast, users = np.array([0.0, 0.0, 25.0]), users_about()
    found = received(straight(mast, users, polarised), sector())
    line = users - mast
    distance = np.linalg.norm(line, axis=1)
    x, y, z = (line / distance[:, None]).T
    tilt = math.radians(4.0)  # the boresight goes down, about x
    y, z = math.cos(tilt) * y - math.sin(tilt) * z, math.sin(tilt) * y + math.cos(tilt) * z
    azimuth, below = np.degrees(np.arctan2(x, y)), -np.degrees(np.arcsin(z))
    vertical = array_factor(8, 0.5, z, -math.sin(math.radians(6.0)))
    cosines = [(2 * b / 8 + 1) % 2 - 1 for b in range(8)]
    horizontal = np.stack([array_factor(8, 0.5, x, towards) for towards in cosines])
    loss = 20 * np.log10(4 * np.pi * distance * CARRIER / SPEED_OF_LIGHT)
    sent = 46 - 10 * math.log10(3276)
    expected = sent + tr38901(azimuth, below) + 10 * np.log10(vertical * horizontal.max(0)) - loss
    assert np.abs(found.rsrp - expected).max() < 0.02
    assert np.abs(found.beam_gain - 10 * np.log10(vertical * horizontal.max(0))).max() < 0.02
    assert np.abs(found.path_loss - loss).max() < 0.001
    assert (np.take_along_axis(horizontal, found.beam[None], 0)[0] > 0.999 * horizontal.max(0)).all()
    mean = sent + tr38901(azimuth, below) + 10 * np.log10(vertical * horizontal.mean(0)) - loss
    assert np.abs(found.mean_rsrp - mean).max() < 0.02
    assert found.los.all()
    assert np.allclose(found.delay_spread, 0)
    assert np.allclose(found.departure_spread, 0, atol=1e-6)
    assert np.allclose(found.first_delay, distance / SPEED_OF_LIGHT, rtol=1e-6)


def test_a_compass_azimuth_moves_the_boresight() -> None:
    mast = np.array([0.0, 0.0, 25.0])
    west, north = np.array([[-200.0, 0.0, 25.0]]), np.array([[0.0, 200.0, 25.0]])
    flat = sector(downtilt=0.0, electrical=0.0)
    to_west = replace(flat, bearing=-math.radians(270))
    assert received(straight(mast, west), to_west).rsrp == pytest.approx(received(straight(mast, north), flat).rsrp)
    right = np.array([[200 * math.sin(0.4), 200 * math.cos(0.4), 25.0]])  # clockwise from north
    turned = replace(flat, bearing=-0.4)
    assert received(straight(mast, right), turned).rsrp == pytest.approx(received(straight(mast, north), flat).rsrp)


def test_a_measured_pattern_put_on(tmp_path: Path) -> None:
    pattern = read_pattern(write_msi(tmp_path / "panel.msi", tilt=6.0))
    mast, users = np.array([0.0, 0.0, 30.0]), users_about()
    one = sector(array=UPA(1, 1), measured=pattern, downtilt=0.0, electrical=math.radians(6))
    found = received(straight(mast, users), one)
    line = users - mast
    distance = np.linalg.norm(line, axis=1)
    azimuth = np.degrees(np.arctan2(line[:, 0], line[:, 1]))
    below = -np.degrees(np.arcsin(line[:, 2] / distance))
    loss = 20 * np.log10(4 * np.pi * distance * CARRIER / SPEED_OF_LIGHT)
    expected = one.power_per_element + 17.5 - pattern.loss(azimuth, below) - loss
    assert np.abs(found.rsrp - expected).max() < 0.01
    assert (found.beam == 0).all()


def test_spreads_of_two_paths() -> None:
    """Powers 3 to 1, 100 ns and 0.4 rad apart: σ = √(3/16) of the difference in delay."""
    gain = np.sqrt(np.array([3.0, 1.0])) * 1e-5
    angles = {name: np.full(2, np.pi / 2) for name in ("aod_zenith", "aoa_zenith")}
    paths = Paths.from_rows(
        2, np.zeros(2, dtype=int), gain=gain, delay=np.array([1e-6, 1.1e-6]), aod_azimuth=np.array([3.0, 3.4]),
        aoa_azimuth=np.array([-0.2, 0.2]), interactions=np.array([LOS, REFLECTION]), **angles,
    )  # fmt: skip
    found = received(paths, sector(array=ULA(4), electrical=0.0))
    assert found.delay_spread[0] == pytest.approx(100e-9 * math.sqrt(3 / 16), rel=1e-3)
    together = abs(3 + np.exp(0.4j)) / 4
    assert found.departure_spread[0] == pytest.approx(math.sqrt(-2 * math.log(together)), rel=1e-5)
    assert found.arrival_spread[0] == pytest.approx(found.departure_spread[0], rel=1e-5)
    assert found.path_loss[0] == pytest.approx(-10 * math.log10(4e-10))


def test_users_that_nothing_reaches_are_kept() -> None:
    mast, users = np.array([0.0, 0.0, 25.0]), users_about(3)
    paths = straight(mast, users).select(np.array([0, 2]))
    empty = Paths(np.array([0, 1, 1, 2]), **{name: getattr(paths, name) for name in Paths.PER_PATH}, cross=paths.cross)
    found = received(empty, sector(), np.array([0.0, 0.0, 12.0]))
    plain = received(straight(mast, users), sector())
    assert np.isnan(found.rsrp).tolist() == [False, True, False]
    assert found.beam[1] == -1
    assert not found.los[1]
    assert found.rsrp[2] == pytest.approx(plain.rsrp[2] - 12)
    assert found.path_loss[2] == pytest.approx(plain.path_loss[2] + 12)
    assert best_server(np.stack([found.rsrp, found.rsrp - 3])).tolist() == [0, -1, 0]


def test_sinr_under_a_load() -> None:
    one, two = sector(), sector(name="A-2")
    rsrp = np.array([[-80.0, -80.0, np.nan], [-90.0, np.nan, -100.0]])
    quiet = sinr([one, two], rsrp, rsrp, load=0.0)
    noise = -173.975 + 10 * math.log10(30e3) + 9
    assert noise_per_element(one) == pytest.approx(noise, abs=0.01)
    assert quiet[0, 0] == pytest.approx(-80 - noise, abs=0.01)
    loaded = sinr([one, two], rsrp, rsrp, load=0.5)
    assert loaded[0, 0] == pytest.approx(-80 - 10 * math.log10(10 ** (noise / 10) + 0.5e-9), abs=0.01)
    assert loaded[0, 1] == pytest.approx(quiet[0, 1])
    assert np.isnan(loaded[0, 2])
    assert np.isnan(loaded[1, 1])
    beside = replace(two, carrier=CARRIER + 100e6)
    assert sinr([one, beside], rsrp, rsrp, load=1.0)[0, 0] == pytest.approx(quiet[0, 0])
    half = replace(two, carrier=CARRIER + 50e6)
    assert sinr([one, half], rsrp, rsrp, load=1.0)[0, 0] == pytest.approx(loaded[0, 0])
    wide = replace(two, spacing=60e3)  # the same power of an element, over twice the band
    assert sinr([one, wide], rsrp, rsrp, load=1.0)[0, 0] == pytest.approx(loaded[0, 0])


def test_throughput_is_the_attenuated_shannon() -> None:
    band = 3276 * 30e3
    found = throughput(np.array([-10.1, -10.0, 0.0, 30.0, 60.0, np.nan]), sector()) / band
    assert found == pytest.approx([0, 0.6 * math.log2(1.1), 0.6, 0.6 * math.log2(1001), 0.6 * math.log2(1001), 0])


def concrete_reflection(incidence: np.ndarray, thickness: float = 0.3) -> np.ndarray:
    """Of the field in the plane of incidence, off a slab of concrete (ITU-R P.2040-2, eqs. 31 and 42, table 3)."""
    permittivity = 5.24 - 1j * 0.0462 * (CARRIER / 1e9) ** 0.7822 * 17.98 / (CARRIER / 1e9)
    inside = np.sqrt(permittivity - np.sin(incidence) ** 2)
    surface = (permittivity * np.cos(incidence) - inside) / (permittivity * np.cos(incidence) + inside)
    through = np.exp(-2j * (2 * np.pi * thickness * CARRIER / SPEED_OF_LIGHT) * inside)
    return np.asarray(surface * (1 - through) / (1 - surface**2 * through))


@needs_tracer
def test_traced_links_are_two_rays_over_open_ground() -> None:
    """A mast of 25 m, users along a road, and a shed too far behind to matter."""
    area = Area("plain", (box(1, 1, 3, 3),), np.array([2.5]), (0.0, 0.0, 700.0, 700.0))
    mast = np.array([350.0, 200.0, 25.0])
    users = np.column_stack([np.full(60, 350.0), np.linspace(230, 690, 60), np.full(60, 1.5)])
    config = RayTracing(frequency=CARRIER, depth=1, diffraction=False)
    paths = trace_scene(build_scene(area, config), mast[None], users, config)
    upright = sector(array=UPA(8, 1, pattern="tr38901"), downtilt=math.radians(2), electrical=math.radians(4))
    found = received(paths, upright)
    power = np.zeros(60)
    field = np.zeros(60, dtype=complex)
    for height, bounced in ((1.5, False), (-1.5, True)):
        distance, drop = np.hypot(users[:, 1] - 200, 25 - height), 25 - height
        below = np.degrees(np.arcsin(drop / distance))
        incidence = np.arccos(drop / distance)
        amplitude = SPEED_OF_LIGHT / (4 * np.pi * CARRIER * distance)
        amplitude = amplitude * (concrete_reflection(incidence) if bounced else 1)
        element = tr38901(np.zeros(60), below - 2)
        rows = array_factor(8, 0.5, -np.sin(np.radians(below - 2)), -math.sin(math.radians(4)))
        power += np.abs(amplitude) ** 2 * 10 ** (element / 10) * rows
        field += amplitude * np.exp(-2j * np.pi * CARRIER * distance / SPEED_OF_LIGHT)
    expected = upright.power_per_element + 10 * np.log10(power)
    assert np.abs(found.rsrp - expected).max() < 0.1
    assert found.los.all()
    # isotropic antennas and one tone: the two rays with their phases
    one_tone = np.bincount(paths.link_of_path, np.real(paths.gain), 60) + 1j * np.bincount(
        paths.link_of_path, np.imag(paths.gain), 60
    )
    apart = np.abs(20 * np.log10(np.abs(one_tone)) - 20 * np.log10(np.abs(field)))
    assert np.median(apart) < 0.1
