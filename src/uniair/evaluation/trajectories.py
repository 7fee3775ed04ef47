"""Classical forecasts of where a user will be: constant velocity, constant acceleration, and Kalman's filter."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.errors import InputError
from uniair.models.course import straight_on

NOISES = (0.03, 0.1, 0.3, 1.0, 3.0)  # m, standard deviation of a fix that Kalman's filter is tried with
JOLTS = (0.01, 0.03, 0.1, 0.3, 1.0)  # m per step², of the acceleration


def constant_velocity(fixes: NDArray[np.floating], future: int) -> NDArray[np.float64]:
    """See `straight_on`: [N, past, 2] → [N, F, 2] m; NaN without a fix."""
    told = torch.from_numpy(np.ascontiguousarray(fixes, dtype=np.float64))
    return np.asarray(straight_on(told, fixes.shape[1], future)[:, 0].numpy())


def constant_acceleration(fixes: NDArray[np.floating], future: int) -> NDArray[np.float64]:
    """A parabola through the fixes by least squares, [N, past, 2] → [N, F, 2] m; a line through two, the place of one.

    Of fixes without a gap it is exact where the acceleration is constant.
    """
    fixes = np.asarray(fixes, dtype=np.float64)
    past = fixes.shape[1]
    out = np.full((len(fixes), future, 2), np.nan)
    time, ahead = np.arange(1.0 - past, 1.0), np.arange(1.0, future + 1)
    patterns, which = np.unique(np.isfinite(fixes).all(2), axis=0, return_inverse=True)
    for number, known in enumerate(patterns):
        if known.any():
            here, terms = np.ravel(which) == number, min(int(known.sum()), 3)
            powers, later = (np.vander(at, terms, increasing=True) for at in (time[known], ahead))
            out[here] = np.einsum("fk,kp,npx->nfx", later, np.linalg.pinv(powers), fixes[here][:, known])
    return out


@dataclass(frozen=True)
class KalmanFilter:
    """Constant velocity with white acceleration (Bar-Shalom, Li and Kirubarajan 2001, 6.3.2, discrete), axis by axis.

    Attributes:
        noise: standard deviation of a fix, m.
        jolt: standard deviation of the acceleration between two steps, m per step².
    """

    noise: float
    jolt: float

    def __call__(self, fixes: NDArray[np.floating], future: int) -> NDArray[np.float64]:
        """[N, past, 2] m, NaN where there is none → [N, F, 2] m; NaN where there is no fix at all.

        The first known fix starts it, at a velocity that is not known (10 m per step).
        """
        fixes = np.asarray(fixes, dtype=np.float64)
        n = len(fixes)
        move = np.array([[1.0, 1.0], [0.0, 1.0]])
        spread = self.jolt**2 * np.array([[0.25, 0.5], [0.5, 1.0]])
        state, started = np.zeros((n, 2, 2)), np.zeros(n, dtype=bool)  # [N, (place, velocity), axis]
        covariance = np.tile(np.diag([self.noise**2, 10.0**2]), (n, 1, 1))
        for fix in fixes.transpose(1, 0, 2):
            known = np.isfinite(fix).all(1)
            state[started] = move @ state[started]
            covariance[started] = move @ covariance[started] @ move.T + spread
            update, begin = known & started, known & ~started
            state[begin, 0] = fix[begin]
            gain = covariance[update, :, 0] / (covariance[update, 0, 0] + self.noise**2)[:, None]
            state[update] += gain[:, :, None] * (fix[update] - state[update, 0])[:, None]
            covariance[update] -= gain[:, :, None] * covariance[update, 0][:, None]
            started |= known
        ahead = np.arange(1.0, future + 1)[None, :, None]
        out = state[:, None, 0] + ahead * state[:, None, 1]
        out[~started] = np.nan
        return np.asarray(out)

    @classmethod
    def chosen(cls, fixes: NDArray[np.floating], place: NDArray[np.floating]) -> KalmanFilter:
        """The one of the least mean error on validation windows.

        Args:
            fixes: [N, past, 2]; place: [N, F, 2] where the UE then was.

        Raises:
            InputError: no window has a fix and known places.
        """
        errors = {}
        for noise, jolt in product(NOISES, JOLTS):
            error = np.linalg.norm(cls(noise, jolt)(fixes, place.shape[1]) - place, axis=2)
            if not np.isfinite(error).any():
                raise InputError("no validation window has a position before and after; give drives with positions")
            errors[noise, jolt] = float(np.nanmean(error))
        return cls(*min(errors, key=errors.__getitem__))
