"""What weights have learned from, in ranges: outside them an answer is extrapolated, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.environment import BS_HEIGHT, UE_HEIGHT, clutter
from uniair.errors import InputError
from uniair.models.conditions import free_space_distance
from uniair.radio import Radio

# a range goes on so far beyond either end, as a share; of sides, who asks for the scale asks for 0.8 and 1.2 of one
BESIDE, BESIDE_SIDE = 0.05, 0.25
HARDLY = 3.0  # dB below what was learned: of 2,048 entries noise is taken for so much signal in one case of 50
Range = tuple[float, float]


@dataclass(frozen=True)
class Learned:
    """Least and most of what training drew.

    Attributes:
        carrier: GHz.
        aperture: largest extent of the array, wavelengths.
        band: MHz.
        station, user: height above ground, m.
        side: of the area, m.
        built, roofs: share of an area's ground that is built, and median height of what is, m (`environment.clutter`);
            None: not noted.
        loss: of power, told as the free-space distance over which as much would be lost, m, of all but the weakest and
            strongest thousandth of links; None: not noted.
        snr: of white noise over the CSI's mean power, dB; None: not noted.
    """

    carrier: Range
    aperture: Range
    band: Range
    station: Range
    user: Range
    side: Range
    built: Range | None = None
    roofs: Range | None = None
    loss: Range | None = None
    snr: Range | None = None

    def of_radio(self, radio: Radio) -> tuple[str, ...]:
        """What of a radio lies outside, a line each."""
        return tuple(
            line
            for line in (
                self._outside("carrier", radio.carrier / 1e9, "carrier", "GHz"),
                self._outside(
                    "aperture", float(np.ptp(radio.array.layout, axis=0).max()), "array's extent", "wavelengths"
                ),
                self._outside("band", radio.grid.bandwidth / 1e6, "band", "MHz"),
            )
            if line
        )

    def of_place(self, station: Any = None, user: Any = None, side: Any = None) -> tuple[str, ...]:
        """What of heights, m, and sides, m, lies outside, a line each; of several the farthest out is named."""
        lines = []
        for name, values, what in (("station", station, "station's height"), ("user", user, "user's height"),
                                   ("side", side, "area's side")):  # fmt: skip
            for value in (
                () if values is None or not np.size(values) else {float(np.min(values)), float(np.max(values))}
            ):
                if line := self._outside(name, value, what, "m"):
                    lines.append(line)
        return tuple(sorted(lines))

    def of_clutter(self, map: NDArray[Any]) -> tuple[str, ...] | None:
        """What of a map's clutter lies outside, a line each; None where what was learned is not noted.

        Args:
            map: [H, W] building heights, m.
        """
        if self.built is None or self.roofs is None:
            return None
        share, roof = clutter(map)
        lines = (
            self._outside("built", share, "share of built ground", ""),
            "" if np.isnan(roof) else self._outside("roofs", roof, "median building", "m"),
        )
        return tuple(line for line in lines if line)

    def of_power(self, gain: Any, radio: Radio) -> tuple[str, ...]:
        """What of the power of channels lies outside, a line each; nothing where power counts for nothing.

        Args:
            gain: [N] mean power of an entry of the CSI, received over transmitted.
            radio: that measured them.
        """
        if self.loss is None or not radio.calibrated or not radio.isotropic or not np.size(gain):
            return ()
        low, high = self.loss
        distance = free_space_distance(torch.as_tensor(gain), radio.carrier).numpy(force=True)
        weak, strong = distance > high * (1 + BESIDE), distance < low * (1 - BESIDE)
        lines = []
        for word, out, farthest in (("weak", weak, distance.max()), ("strong", strong, distance.min())):
            if count := int(out.sum()):
                who = "the channel is" if len(distance) == 1 else f"{count:,} of {len(distance):,} channels are"
                lines.append(
                    f"extrapolated: {who} as {word} as over {_metres(farthest)} of free space, learned {_metres(low)} "
                    f"to {_metres(high)}; are its gains received over transmitted?"
                )
        return tuple(lines)

    def of_noise(self, snr: Any) -> tuple[str, ...]:
        """What of the noise on channels lies outside, a line each; nothing of what can't be told.

        Args:
            snr: [N] dB, see `noise.estimated_snr`.
        """
        if self.snr is None:
            return ()
        value = torch.as_tensor(snr).numpy(force=True)
        low = self.snr[0]
        count = int((value < low - HARDLY).sum())
        if not count:
            return ()
        who = "the channel is" if len(value) == 1 else f"{count:,} of {len(value):,} channels are"
        return (f"extrapolated: {who} hardly to be told from noise, learned down to {low:g} dB SNR",)

    def _outside(self, name: str, value: float, what: str, unit: str) -> str:
        low, high = getattr(self, name)
        beside = BESIDE_SIDE if name == "side" else BESIDE
        if low * (1 - beside) <= value <= high * (1 + beside):
            return ""
        return f"extrapolated: {what} {f'{value:.4g} {unit}'.strip()}, learned {low:.4g} to {high:.4g}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: list(value) for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, entries: Any, where: str) -> Learned:
        """What `to_json` wrote.

        Raises:
            InputError: other entries, or no ranges.
        """
        names = {field.name for field in fields(cls) if field.default is MISSING}
        known = {field.name for field in fields(cls)}
        try:
            if not isinstance(entries, Mapping) or not names <= set(entries) <= known:
                raise ValueError(f"expected {', '.join(sorted(names))}")
            ranges = {name: (float(low), float(high)) for name, (low, high) in entries.items()}
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: not what weights learned from ({error})") from error
        return cls(**ranges)


def _metres(value: float) -> str:
    value = float(f"{value:.3g}")
    return f"{value:g} m" if value < 1e3 else f"{value / 1e3:,.10g} km"


# what weights that do not say it learned from: areas of 120 to 250 m, stations of 6 m in the street
_GHZ, _MHZ = Radio().carrier / 1e9, Radio().grid.bandwidth / 1e6
_WIDE = float(np.ptp(Radio().array.layout[:, 0]))
PAPER_1 = Learned(
    (_GHZ, _GHZ), (_WIDE, _WIDE), (_MHZ, _MHZ), (BS_HEIGHT, BS_HEIGHT), (UE_HEIGHT, UE_HEIGHT), (120, 250)
)
