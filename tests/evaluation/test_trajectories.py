from __future__ import annotations

import numpy as np
import pytest

from uniair.errors import InputError
from uniair.evaluation.trajectories import KalmanFilter, constant_acceleration, constant_velocity

TIME = np.arange(-4.0, 4)[:, None]
PARABOLA = (np.array([1.0, 5.0]) + np.array([2.0, -1.0]) * TIME + np.array([0.3, -0.1]) * TIME**2)[None]
LINE = (np.array([1.0, 5.0]) + np.array([2.0, -1.0]) * TIME)[None]


def test_each_is_exact_where_its_motion_is() -> None:
    np.testing.assert_allclose(constant_velocity(LINE[:, :5], 3), LINE[:, 5:])
    np.testing.assert_allclose(constant_acceleration(PARABOLA[:, :5], 3), PARABOLA[:, 5:])
    np.testing.assert_allclose(KalmanFilter(1e-3, 1e-3)(LINE[:, :5], 3), LINE[:, 5:], atol=1e-6)


def test_lost_fixes_are_bridged() -> None:
    gapped = LINE[:, :5].copy()
    gapped[0, [1, 3, 4]] = np.nan
    for forecast in (constant_velocity, constant_acceleration, KalmanFilter(1e-3, 1e-3)):
        np.testing.assert_allclose(forecast(gapped, 3), LINE[:, 5:], atol=1e-5)
        assert np.isnan(forecast(np.full((1, 5, 2), np.nan), 3)).all()
    one = np.full((1, 5, 2), np.nan)
    one[0, 2] = 7.0
    np.testing.assert_allclose(constant_acceleration(one, 2), 7.0)
    np.testing.assert_allclose(constant_velocity(one, 2), 7.0)


def test_the_filter_settles_at_the_gains_of_its_tracking_index() -> None:
    """Kalata 1984: with Λ = σ_a T² / σ_fix, r = (4 + Λ − √(8 Λ + Λ²)) / 4, α = 1 − r², β = 2 (2 − α) − 4 √(1 − α)."""
    noise, jolt = 0.5, 0.2
    index = jolt / noise
    r = (4 + index - np.sqrt(8 * index + index**2)) / 4
    alpha = 1 - r**2
    beta = 2 * (2 - alpha) - 4 * np.sqrt(1 - alpha)
    fixes = np.zeros((1, 200, 2))
    fixes[0, -1] = 1.0  # the answer to a unit innovation
    np.testing.assert_allclose(KalmanFilter(noise, jolt)(fixes, 3)[0, :, 0], alpha + beta * np.arange(1, 4), rtol=1e-6)


def test_noises_are_chosen_on_windows() -> None:
    rng = np.random.default_rng(0)
    course = np.cumsum(np.ones((200, 13, 2)) * rng.normal(0, 1, (200, 1, 2)), axis=1)
    noisy = KalmanFilter.chosen(course[:, :10] + rng.normal(0, 1, (200, 10, 2)), course[:, 10:])
    clean = KalmanFilter.chosen(course[:, :10] + rng.normal(0, 0.01, (200, 10, 2)), course[:, 10:])
    assert noisy.noise / noisy.jolt > 10
    assert noisy.noise > clean.noise or noisy.jolt < clean.jolt
    with pytest.raises(InputError, match="no validation window has a position before and after"):
        KalmanFilter.chosen(course[:, :10], np.full((200, 3, 2), np.nan))
