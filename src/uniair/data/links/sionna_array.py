"""The antennas of a Sionna RT scene as those of a radio, and what they did to the gains of its paths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.data.links.source_radio import array_of, in_our_frame, reading_order
from uniair.errors import InputError
from uniair.propagation.paths import Paths
from uniair.propagation.ray_tracing import Scene
from uniair.radio import OFDM, PATTERNS, ULA, Radio

ISOTROPIC = "rt.PlanarArray(num_rows=1, num_cols=1, pattern='iso', polarization='V')"
SUBCARRIERS = 64  # over a scene's bandwidth; a scene does not say how many
ALIKE = 0.99  # correlation of phases over an array that is where it is thought to be
UPRIGHT = 1e-6  # rad


@dataclass(frozen=True)
class TransmitArray:
    """A scene's transmit array.

    Attributes:
        positions: [E, 3] wavelengths, of the elements in Sionna RT's order, as a transmitter that faces +x has them.
        pattern: of an element, see `Antennas`.
        order: [E] which of them each of ours is.
    """

    positions: NDArray[np.float64]
    pattern: str
    order: NDArray[np.intp]

    @classmethod
    def of(cls, array: Any, where: str) -> TransmitArray:
        """That of `scene.tx_array`; none yet is a single isotropic antenna."""
        if array is None:
            return cls(np.zeros((1, 3)), "isotropic", np.zeros(1, dtype=np.intp))
        pattern = _pattern(array.antenna_pattern)
        if pattern is None:
            raise InputError(
                f"{where}: scene.tx_array has another pattern or polarisation than a radio can have; set pattern to "
                "'iso' or 'tr38901' and polarization to 'V', and solve again"
            )
        positions = np.asarray(array.normalized_positions.numpy(), dtype=np.float64).T.reshape(-1, 3)
        return cls(positions, pattern, reading_order(positions))

    @property
    def directed(self) -> bool:
        """Whether it matters where it faces."""
        return len(self.positions) > 1 or self.pattern != "isotropic"

    def radio(self, scene: Scene) -> Radio:
        """The scene's radio; a single antenna leaves paper 1's array."""
        from sionna.rt.constants import DEFAULT_BANDWIDTH

        array = array_of(self.positions[self.order], self.pattern) or ULA(pattern=self.pattern)
        bandwidth = float(f"{scene.bandwidth[0]:.7g}")  # float32
        # a scene always has one, for its thermal noise: only another than Sionna RT's own was meant
        set_by_user = bandwidth > 0 and bandwidth != DEFAULT_BANDWIDTH
        grid = OFDM(SUBCARRIERS, bandwidth / SUBCARRIERS) if set_by_user else OFDM()
        return Radio(array, grid, float(f"{scene.frequency[0]:.7g}"))

    def require_phases(self, paths: Any, bearings: NDArray[np.float64], where: str) -> None:
        """Refuses paths whose phases over the antennas are not those of the array, turned as it is thought to be."""
        a, valid = np.asarray(paths.a[0].numpy() + 1j * paths.a[1].numpy()), paths.valid.numpy()
        if a.shape[3] != len(self.positions):
            raise InputError(
                f"{where}: paths have {a.shape[3]} antennas a transmitter, scene.tx_array {len(self.positions)}; give "
                "the scene as it was solved"
            )
        if len(self.positions) < 2 or not valid.size:
            return
        valid = valid.reshape(a.shape[0], len(bearings), -1)
        a = a[:, 0].transpose(0, 1, 3, 2)[valid]  # [paths, E]
        azimuth, zenith = (angle.numpy().reshape(valid.shape) for angle in (paths.phi_t, paths.theta_t))
        towards = _cosines((azimuth - bearings[:, None])[valid], zenith[valid])
        expected = np.exp(-2j * np.pi * towards @ in_our_frame(self.positions).T)
        alike = np.abs((expected.conj() * a).sum(1)) / (np.linalg.norm(a, axis=1) * len(self.positions) ** 0.5 + 1e-30)
        if (alike[np.abs(a).sum(1) > 0] < ALIKE).any():
            raise InputError(
                f"{where}: the phases over the antennas are not those of scene.tx_array as it is turned; give the "
                "scene as it was solved, and no bearing"
            )

    def at_element_0(self, paths: Paths, bearings: NDArray[np.float64]) -> Paths:
        """Gains of the device's position as gains of our element 0; bearings are [links]."""
        towards = _cosines(paths.aod_azimuth - bearings[paths.link_of_path], paths.aod_zenith)
        shift = np.exp(-2j * np.pi * towards @ in_our_frame(self.positions[self.order[:1]])[0])
        cross = None if paths.cross is None else (paths.cross * shift[:, None]).astype(np.complex64)
        return replace(paths, gain=(paths.gain * shift).astype(np.complex64), cross=cross)

    def without_pattern(self, paths: Paths, bearings: NDArray[np.float64]) -> Paths:
        """Gains of isotropic elements; bearings are [links]."""
        if self.pattern == "isotropic":
            return paths
        towards = _cosines(paths.aod_azimuth - bearings[paths.link_of_path], paths.aod_zenith)
        amplitude = ULA(pattern=self.pattern).amplitude(torch.from_numpy(towards)).numpy()
        per_path = {name: getattr(paths, name) for name in Paths.PER_PATH} | {"gain": paths.gain / amplitude}
        return Paths.from_rows(len(paths), paths.link_of_path, **per_path)  # the strongest may be another now


def _cosines(azimuth: NDArray[np.floating], zenith: NDArray[np.floating]) -> NDArray[np.float64]:
    """Directions [P] as unit vectors [P, 3]."""
    azimuth, zenith = azimuth.astype(np.float64), zenith.astype(np.float64)
    return np.column_stack([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)])


def _pattern(pattern: Any) -> str | None:
    """Our name of a Sionna RT antenna pattern, known by its values; None of another, or not vertically polarised."""
    import mitsuba as mi

    if len(pattern.patterns) > 1:
        return None
    zenith, azimuth = (grid.ravel() for grid in np.meshgrid(np.linspace(0.1, 3, 9), np.linspace(-3, 3, 12)))
    parts = pattern.patterns[0](mi.Float(zenith), mi.Float(azimuth))
    upright, across = (np.abs(part.real.numpy() + 1j * part.imag.numpy()) for part in parts)
    towards = torch.from_numpy(in_our_frame(_cosines(azimuth, zenith)) * (-1, -1, -1))
    for name in PATTERNS:
        if np.allclose(upright, ULA(pattern=name).amplitude(towards), rtol=1e-3) and not across.any():
            return name
    return None


def require_one_isotropic(array: Any, antennas: int, where: str) -> None:
    """Refuses receivers with several antennas, or another pattern."""
    if antennas > 1 or _pattern(array.antenna_pattern) != "isotropic":
        raise InputError(
            f"{where}: scene.rx_array is not a single isotropic antenna; set it to {ISOTROPIC} and solve again"
        )


def turned(
    scene: Scene, bs: NDArray[np.float64], seen: TransmitArray, where: str
) -> tuple[NDArray[np.float64], TransmitArray]:
    """Bearings [B] of the transmitters at `bs`, and the array as their tilt and roll leave it."""
    stand = list(scene.transmitters.values())
    places = np.array([np.ravel(one.position) for one in stand]).reshape(-1, 3)
    away = np.linalg.norm(places - bs[:, None], axis=2) if stand else np.ones((len(bs), 1))
    if (away.min(1) > 1e-3).any():
        missing = ", ".join(f"{v:g}" for v in bs[away.min(1).argmax()])
        raise InputError(f"{where}: no transmitter of the scene stands at {missing}; give bearing, or the whole scene")
    turns = np.array([np.ravel(stand[i].orientation) for i in away.argmin(1)]).reshape(-1, 3)
    bearings, tilts = turns[:, 0] - np.pi / 2, turns[:, 1:]
    if (np.abs(tilts) < UPRIGHT).all():
        return bearings, seen
    if not np.allclose(tilts, tilts[0]) or seen.pattern != "isotropic":
        raise InputError(
            f"{where}: transmitters are tilted or rolled, differently or with pattern 'tr38901'; one radio has upright "
            "arrays, or isotropic elements at one tilt: take the links of each tilt alone, or turn them about z only"
        )
    (sin_b, sin_c), (cos_b, cos_c) = np.sin(tilts[0]), np.cos(tilts[0])
    about_y = np.array([[cos_b, 0, sin_b], [0, 1, 0], [-sin_b, 0, cos_b]])
    about_x = np.array([[1, 0, 0], [0, cos_c, -sin_c], [0, sin_c, cos_c]])
    return bearings, replace(seen, positions=seen.positions @ (about_y @ about_x).T)
