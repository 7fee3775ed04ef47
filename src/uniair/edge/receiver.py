"""What depends on the radio of a package, in NumPy: which CSI it takes, their clock, and what their power tells.

`angle_delay.arrival` and `delayed` and `link_budget.excess_loss` of uniair, restated; that the answers are the same is
measured at export. This file is copied into edge packages as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPEED_OF_LIGHT = 299_792_458.0
OVERSAMPLING = 8  # of delays
WEAKEST = 1e-38  # of a mean power
ARRIVAL, FIRST_PATH = 10 ** (-9 / 10), 10 ** (-12 / 10)  # shares of the strongest peak
LEAST_BAND, COARSEST = 10e6, 720e3 * (1 + 1e-9)  # Hz: a grid on which a delay tells a length
EVEN, NATS_PER_DB = 5.55, 0.46


class Receiver:
    """The radio whose CSI a package takes.

    Args:
        card: of the package.
        beams: complex64 [looks, beams, ports], in which a first path is looked for; needed where the clock starts at
            it.
    """

    def __init__(self, card: Mapping[str, Any], beams: NDArray[np.complex64] | None = None) -> None:
        radio = card["radio"]
        self.shape: tuple[int, int] = (card["csi"][0], card["csi"][1])
        self.antennas: int = card["ue_antennas"]
        self.text: str = card["radio_text"]
        self.carrier: float = radio["carrier"]
        self.first_path = radio["clock"] == "first_path"
        self.calibrated: bool = card["power_tells"]
        self.directed = radio["array"].get("pattern", "isotropic") != "isotropic"
        grid, count = radio["grid"], self.shape[1]
        self.even = grid["kind"] == "ofdm"
        self.frequencies = np.array(
            grid.get("first", 0.0) + grid["spacing"] * np.arange(count) if self.even else grid["tones"], np.float64
        )
        self.tells_length = (
            not self.first_path and self.even and count * grid["spacing"] >= LEAST_BAND and grid["spacing"] <= COARSEST
        )
        span = float(self.frequencies[-1] - self.frequencies[0])
        self.period = 1 / grid["spacing"] if self.even else (count - 1) / span
        self.beams = beams

    def checked(self, csi: NDArray[Any]) -> NDArray[np.complex64]:
        """CSI of any power as complex64 [N, ports, subcarriers] whose largest entry is 1; of several UE antennas the
        strongest.

        Raises:
            ValueError: not complex, of another shape than this radio's, NaN, infinite or all zero.
        """
        csi, (ports, count) = np.asarray(csi), self.shape
        if not np.iscomplexobj(csi) or csi.ndim not in (3, 4) or csi.shape[-2:] != self.shape or (
            csi.ndim == 4 and csi.shape[1] != self.antennas
        ):  # fmt: skip
            of = f" of {self.text}" if self.text else ""
            several = f", or [N, {self.antennas}, {ports}, {count}]" if self.antennas > 1 else ""
            raise ValueError(
                f"csi of type {csi.dtype} and shape {csi.shape}: give complex [N, {ports}, {count}]{several}{of}"
            )
        if not np.isfinite(csi).all() or not (peak := np.abs(csi).max(tuple(range(1, csi.ndim)), initial=0)).all():
            raise ValueError("csi with NaN or infinite values, or all zero: leave those links out")
        if (peak < np.finfo(np.float32).tiny).any():  # too weak for a quotient in single precision
            csi, peak = csi.astype(np.complex128), peak.astype(np.float64)
        return _strongest((csi / peak.reshape(-1, *[1] * (csi.ndim - 1))).astype(np.complex64))

    def level(self, csi: NDArray[Any]) -> NDArray[np.float64]:
        """log10 of the mean power of an entry of CSI, of several UE antennas of the strongest: [N]."""
        return np.asarray(np.log10(np.maximum(_mean_power(csi), WEAKEST)))

    def aligned(self, csi: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """The same with the first path of each at delay 0."""
        return self.delayed(csi, -self.arrival(csi))

    def delayed(self, csi: NDArray[np.complex64], delay: NDArray[np.float64]) -> NDArray[np.complex64]:
        """As if all paths took `delay` [N] s longer; the middle of the band stays."""
        turns = delay[:, None] * (self.frequencies - self.frequencies.mean())
        angle = (-2 * math.pi * (turns - np.round(turns))).astype(np.float32)
        return np.asarray(csi * np.exp(1j * angle)[:, None], np.complex64)

    def arrival(self, csi: NDArray[np.complex64]) -> NDArray[np.float64]:
        """When the first path arrives by the receiver's clock: [N] s."""
        assert self.beams is not None
        n, count, steps = len(csi), self.shape[1], self.shape[1] * OVERSAMPLING
        window = np.hanning(count + 2)[1:-1].astype(np.float32)
        # in the look that takes in most, one after the other: of all together there may be more than memory holds
        taken = self.beams[0] @ csi
        for look in self.beams[1:]:
            now = look @ csi
            better = _total(now) > _total(taken)
            taken = np.where(better[:, None, None], now, taken)
        profile = (np.abs(self._by_delay(np.asarray(taken * window, np.complex64))) ** 2).max(1)
        peak = (profile >= np.roll(profile, 1, 1)) & (profile >= np.roll(profile, -1, 1))
        strongest = profile.argmax(1)
        order = (strongest[:, None] - steps // 2 + 1 + np.arange(steps // 2)) % steps
        heights = np.take_along_axis(profile, order, 1)
        arrived = np.take_along_axis(peak, order, 1) & (heights >= ARRIVAL * heights[:, -1:])
        first = strongest + arrived.argmax(1) - (steps // 2 - 1)
        return first.reshape(n).astype(np.float64) * (self.period / steps)

    def with_power(self, odds: NDArray[Any], csi: NDArray[Any], apart: NDArray[np.float64] | None) -> NDArray[Any]:
        """Log-odds of LOS [N] after the power of calibrated CSI counted too.

        Args:
            csi: as `checked` takes them, amplitudes as gains.
            apart: [N] m from BS to UE; None: unknown.
        """
        if apart is None and not self.tells_length:
            return odds
        gain = _mean_power(csi)
        if self.tells_length or apart is None:
            apart = np.maximum(self._first_delay(csi) * SPEED_OF_LIGHT, 1.0)
        excess = 20 * np.log10(SPEED_OF_LIGHT / (4 * math.pi * self.carrier * apart)) - 10 * np.log10(gain)
        return np.asarray(odds + NATS_PER_DB * (EVEN - excess))

    def _first_delay(self, csi: NDArray[Any]) -> NDArray[np.float64]:
        """Of the first path that stands out: [N] s."""
        profile = (np.abs(self._by_delay(self.checked(csi))) ** 2).sum(1)
        peak = (profile >= np.roll(profile, 1, 1)) & (profile >= np.roll(profile, -1, 1))
        strong = peak & (profile >= FIRST_PATH * profile.max(1, keepdims=True))
        return strong.argmax(1).astype(np.float64) * (self.period / profile.shape[1])

    def _by_delay(self, csi: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Over `OVERSAMPLING` times as many delays as subcarriers: [N, ports, delays]."""
        steps = self.shape[1] * OVERSAMPLING
        if self.even:
            return np.asarray(np.fft.ifft(csi, steps, 2), np.complex64)
        turns = self.frequencies[:, None] * np.arange(steps) * (self.period / steps)
        return np.asarray(csi @ (np.exp(2j * math.pi * turns) / steps).astype(np.complex64))


def _total(csi: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.asarray((np.abs(csi) ** 2).sum((1, 2)))


def _mean_power(csi: NDArray[Any]) -> NDArray[np.float64]:
    power = (np.abs(csi).astype(np.float64) ** 2).mean((-2, -1))
    return np.asarray(power if power.ndim == 1 else power.max(1))


def _strongest(csi: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Of several UE antennas [N, antennas, ports, subcarriers]."""
    if csi.ndim == 3:
        return csi
    return csi[np.arange(len(csi)), (np.abs(csi) ** 2).sum((2, 3)).argmax(1)]
