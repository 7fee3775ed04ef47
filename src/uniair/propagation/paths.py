"""`Paths`: what propagates between a BS and its UEs, and the CSI that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.errors import InputError
from uniair.radio import SPEED_OF_LIGHT, Radio

CACHED_LINKS = 512  # links whose steering vectors and tones stay in a core's cache
LOS, REFLECTION, DIFFRACTION, SCATTERING, TRANSMISSION = 0, 1, 2, 3, 4
UNKNOWN = -1


@dataclass(frozen=True)
class Paths:
    """Propagation paths of N links, ragged: link i owns rows `offsets[i]` to `offsets[i + 1]`, strongest first.

    Polarisation is told in the directions of θ̂ (vertical) and φ̂ (horizontal) at either end.

    Attributes:
        offsets: int64 [N + 1].
        gain: complex64 [P] amplitude at the carrier, phase e^{−j2π f_c τ} included, isotropic antennas, unitless; from
            vertical to vertical polarisation.
        delay: float32 [P] absolute time of flight, s.
        aod_azimuth, aod_zenith: float32 [P] direction of departure at the BS, rad.
        aoa_azimuth, aoa_zenith: float32 [P] direction of arrival at the UE, pointing back along the path, rad.
        interactions: int32 [P] decimal digits from the transmitter on: 0 LOS, 1 reflection, 2 diffraction,
            3 scattering, 4 transmission (21 is a diffraction, then a reflection); −1 where the source does not say.
        cross: complex64 [P, 3] the other gains of the 2 × 2 transfer: from horizontal at the BS to vertical at the UE,
            from vertical to horizontal, from horizontal to horizontal; None where the source gives one gain a path.
    """

    offsets: NDArray[np.int64]
    gain: NDArray[np.complex64]
    delay: NDArray[np.float32]
    aod_azimuth: NDArray[np.float32]
    aod_zenith: NDArray[np.float32]
    aoa_azimuth: NDArray[np.float32]
    aoa_zenith: NDArray[np.float32]
    interactions: NDArray[np.int32]
    cross: NDArray[np.complex64] | None = None

    PER_PATH = ("gain", "delay", "aod_azimuth", "aod_zenith", "aoa_azimuth", "aoa_zenith", "interactions")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Paths a link: int64 [N]."""
        return np.diff(self.offsets)

    @property
    def link_of_path(self) -> NDArray[np.int64]:
        """The link that each path belongs to: int64 [P]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def transfer(self) -> NDArray[np.complex64]:
        """Gains between polarisations: complex64 [P, 2, 2], row at the UE, column at the BS, vertical first.

        Raises:
            InputError: the source gives one gain a path.
        """
        if self.cross is None:
            raise InputError(
                "these paths have one gain each, between vertical antennas: other polarisations are not known; trace "
                "the links again, or give a radio with vertical polarisation"
            )
        return np.column_stack([self.gain, self.cross]).reshape(-1, 2, 2)

    def los(self) -> NDArray[np.bool_]:
        """Which links have a line-of-sight path: bool [N]."""
        out = np.zeros(len(self), dtype=bool)
        out[self.link_of_path[self.interactions == LOS]] = True
        return out

    def power(self) -> NDArray[np.float64]:
        """Sum of the paths' power gains: float64 [N]; 0 where there is no path."""
        power = np.abs(self.gain.astype(np.complex128)) ** 2
        return np.bincount(self.link_of_path, weights=power, minlength=len(self)).astype(np.float64)

    def select(self, links: NDArray[np.integer] | NDArray[np.bool_]) -> Paths:
        """The paths of the given links (indices or a mask), in that order."""
        index = np.arange(len(self))[links]
        counts = self.counts[index]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[index] - offsets[:-1], counts)
        return self._rows(offsets, rows)

    def strongest(self, most: int) -> Paths:
        """At most `most` paths a link: the strongest."""
        rank = np.arange(len(self.gain)) - np.repeat(self.offsets[:-1], self.counts)
        keep = rank < most
        offsets = np.concatenate([[0], np.cumsum(np.minimum(self.counts, most))]).astype(np.int64)
        return self._rows(offsets, keep)

    def _rows(self, offsets: NDArray[np.int64], rows: NDArray[Any]) -> Paths:
        """Some of the paths, for links that begin and end at `offsets` of them."""
        cross = None if self.cross is None else self.cross[rows]
        return Paths(offsets, **{name: getattr(self, name)[rows] for name in self.PER_PATH}, cross=cross)

    @classmethod
    def from_rows(
        cls,
        links: int,
        link: NDArray[np.integer],
        cross: NDArray[np.complexfloating] | None = None,
        **per_path: NDArray[np.generic],
    ) -> Paths:
        """Sorts loose paths by link, then by falling power, that of all polarisations where they are known.

        Args:
            links: number of links N, those without a path included.
            link: [P] the link of each path.
            cross: see `Paths`.
            per_path: the arrays of `PER_PATH`, each [P].
        """
        strength = np.abs(per_path["gain"])
        if cross is not None:
            strength = np.hypot(strength, np.linalg.norm(cross, axis=1))
        order = np.lexsort((per_path["delay"], -strength, link))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(link, minlength=links))]).astype(np.int64)
        dtypes = {"gain": np.complex64, "interactions": np.int32}
        return cls(
            offsets,
            **{k: per_path[k][order].astype(dtypes.get(k, np.float32)) for k in cls.PER_PATH},
            cross=None if cross is None else cross[order].astype(np.complex64),
        )

    @classmethod
    def concatenate(cls, parts: list[Paths]) -> Paths:
        """The links of all parts, one after the other; polarisation is known where all parts know it."""
        counts = np.concatenate([[0], *(p.counts for p in parts)])
        cross = [p.cross for p in parts if p.cross is not None]
        return cls(
            np.cumsum(counts).astype(np.int64),
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in cls.PER_PATH},
            cross=np.concatenate(cross) if parts and len(cross) == len(parts) else None,
        )

    def csi(
        self,
        radio: Radio = Radio(),
        bearing: NDArray[np.floating] | float = 0.0,
        out: Tensor | None = None,
    ) -> Tensor:
        """Synthesises the channel of every link as a radio sees it: complex64 [N, ports, subcarriers].

        H[n, k] = Σ_l a_l · e^{−j2π f_k τ_l} · e^{−j2π p_n·d_l}, d_l the direction of departure in the array's frame;
        for paper 1's radio e^{−j2π k Δf τ_l} · e^{−jπ n sinϑ_l cos(φ_l − bearing)} (eqs. 1 to 3, the carrier's phase in
        a_l; n and k count from 0). A clock at the first path counts delays from each link's first.

        Args:
            bearing: azimuth of the array's axis, rad, one or [N]; 0 lies along +x.
            out: complex64 [N, ports, subcarriers] to write into; fresh memory for thousands of links costs more
                than their synthesis.

        Raises:
            InputError: a gain, delay or angle is NaN or infinite.
        """
        for name in self.PER_PATH[:4]:
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"paths: {name} holds NaN or infinite values; trace or import the links again")
        most = int(self.counts.max(initial=0))
        row = self.link_of_path
        column = np.arange(len(self.gain)) - self.offsets[row]

        def padded(values: NDArray[np.generic], dtype: type) -> Tensor:
            out: NDArray[np.generic] = np.zeros((len(self), most), dtype=dtype)
            out[row, column] = values
            return torch.from_numpy(out)

        bearings = np.broadcast_to(np.asarray(bearing, dtype=np.float64), (len(self),))[row]
        azimuth = self.aod_azimuth.astype(np.float64) - bearings
        sine = np.sin(self.aod_zenith.astype(np.float64))
        direction = [sine * np.cos(azimuth)]
        if not radio.array.along_x:
            direction += [sine * np.sin(azimuth), np.cos(self.aod_zenith.astype(np.float64))]
        towards = torch.stack([padded(cosine, np.float64) for cosine in direction], dim=-1)
        delay = self.delay if radio.clock == "absolute" else self.delay - self.first_delay()[row]
        return synthesise(padded(self.gain, np.complex64), padded(delay, np.float64), towards, radio, out)

    def first_delay(self) -> NDArray[np.float32]:
        """Of each link's first path: float32 [N] s; 0 where there is no path."""
        out = np.full(len(self), np.inf, dtype=np.float32)
        np.minimum.at(out, self.link_of_path, self.delay)
        return np.where(self.counts > 0, out, np.float32(0))


def synthesise(gain: Tensor, delay: Tensor, direction: Tensor, radio: Radio, out: Tensor | None = None) -> Tensor:
    """Padded paths to CSI by batched matrix products: complex64 [N, ports, subcarriers].

    Args:
        gain: complex64 [N, L], 0 where padded.
        delay: [N, L], s. float64, because the phase of the last subcarrier is thousands of radians.
        direction: [N, L, 3] direction cosines of departure in the array's frame; [N, L, 1] where it reads x alone.
        out: see `Paths.csi`.
    """
    links = len(gain)
    if out is None:
        out = torch.empty(links, *radio.shape, dtype=torch.complex64, device=gain.device)
    chunk = CACHED_LINKS if gain.device.type == "cpu" else max(links, 1)
    for start in range(0, links, chunk):
        part = slice(start, start + chunk)
        steering = radio.array.response(direction[part], gain[part])  # [chunk, L, ports]
        torch.bmm(steering.transpose(1, 2), radio.grid.response(delay[part]), out=out[part])
    return out


def free_space_gain(distance: float, frequency: float) -> complex:
    """Friis amplitude and phase between isotropic antennas: λ / (4π d) · e^{−j2πd/λ}."""
    wavelength = SPEED_OF_LIGHT / frequency
    return wavelength / (4 * np.pi * distance) * np.exp(-2j * np.pi * distance / wavelength)
