"""Paths a moment later, while a UE moves on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from uniair.propagation.paths import Paths
from uniair.radio import SPEED_OF_LIGHT


def moved(paths: Paths, velocity: NDArray[np.floating], time: float, carrier: float) -> Paths:
    """The paths as UEs measure them after some time of steady motion, in surroundings that stand still.

    Each path comes from a virtual source, its length away where it arrives from: exact for line of sight
    and reflections off planes. What the length changes by turns the phase (Doppler shift f_c v·û / c), delays, and
    weakens as 1/length. Departures stay, and so does which paths there are: true of centimetres to decimetres.

    Args:
        velocity: [N, 3] m/s of each link's UE.
        time: s.
        carrier: Hz.
    """
    zenith, azimuth = paths.aoa_zenith.astype(np.float64), paths.aoa_azimuth.astype(np.float64)
    towards = np.column_stack([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)])
    before = np.maximum(paths.delay.astype(np.float64) * SPEED_OF_LIGHT, 1e-3)
    source = before[:, None] * towards - time * np.asarray(velocity, dtype=np.float64)[paths.link_of_path]
    length = np.linalg.norm(source, axis=1)
    # |s − v t| − |s| by the difference of squares: the phase is of fractions of a wavelength
    longer = (length**2 - before**2) / (length + before)
    turn = (before / length) * np.exp(-2j * np.pi * carrier / SPEED_OF_LIGHT * longer)
    return replace(
        paths,
        gain=(paths.gain * turn).astype(np.complex64),
        delay=((before + longer) / SPEED_OF_LIGHT).astype(np.float32),
        aoa_azimuth=np.arctan2(source[:, 1], source[:, 0]).astype(np.float32),
        aoa_zenith=np.arccos(np.clip(source[:, 2] / length, -1, 1)).astype(np.float32),
        cross=None if paths.cross is None else (paths.cross * turn[:, None]).astype(np.complex64),
    )
