"""Paths a moment later against closed forms: free space, a mirror, the Doppler shift."""

from __future__ import annotations

import numpy as np
import pytest

from uniair.propagation.motion import moved
from uniair.propagation.paths import Paths, free_space_gain
from uniair.radio import SPEED_OF_LIGHT

CARRIER = 28e9


def paths_from(sources: np.ndarray, ue: np.ndarray, cross: bool = False) -> Paths:
    """One link of free-space paths from (mirrored) sources [P, 3]."""
    towards = sources - ue
    length = np.linalg.norm(towards, axis=1)
    gain = np.array([free_space_gain(one, CARRIER) for one in length])
    return Paths(
        np.array([0, len(sources)]), gain.astype(np.complex64), (length / SPEED_OF_LIGHT).astype(np.float32),
        *np.zeros((2, len(sources)), dtype=np.float32),
        np.arctan2(towards[:, 1], towards[:, 0]).astype(np.float32),
        np.arccos(towards[:, 2] / length).astype(np.float32), np.zeros(len(sources), dtype=np.int32),
        np.stack([gain, 2 * gain, 3 * gain], 1).astype(np.complex64) if cross else None,
    )  # fmt: skip


@pytest.mark.parametrize("velocity", [(8.0, 0.0, 0.0), (-20.0, 25.0, 3.0), (0.0, 0.0, 0.0)])
def test_free_space_and_mirrors_are_exact(velocity: tuple[float, ...]) -> None:
    ue, sources, time = np.array([3.0, -4.0, 1.5]), np.array([[40.0, 10.0, 8.0], [-25.0, 60.0, 6.0]]), 0.02
    found = moved(paths_from(sources, ue, cross=True), np.array([velocity]), time, CARRIER)
    wanted = paths_from(sources, ue + time * np.array(velocity), cross=True)
    # the start's delay is single precision: its distance is known to microns, its phase to a thousandth
    np.testing.assert_allclose(found.gain, wanted.gain, atol=1e-2 * np.abs(wanted.gain).min())
    assert found.cross is not None
    np.testing.assert_allclose(found.cross[:, 1], 2 * found.gain, rtol=1e-5)
    for name in ("delay", "aoa_azimuth", "aoa_zenith"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-5)


def test_towards_a_source_the_phase_turns_by_the_doppler_shift() -> None:
    ue, source, speed, time = np.zeros(3), np.array([[50.0, 0.0, 0.0]]), 10.0, 1e-4
    here = paths_from(source, ue)
    turned = np.angle(moved(here, np.array([[speed, 0, 0]]), time, CARRIER).gain / here.gain)[0]
    assert turned == pytest.approx(2 * np.pi * CARRIER * speed / SPEED_OF_LIGHT * time, rel=1e-3)
    aside = np.angle(moved(here, np.array([[0, speed, 0]]), time, CARRIER).gain / here.gain)[0]
    assert abs(aside) < 1e-3
