"""From traced paths to what users receive from sectors: RSRP, beams, SINR, throughput, spreads.

A mast is traced once; panel, tilt, pattern and power of its sectors are put on afterwards, here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniair.propagation.paths import Paths
from uniair.propagation.sector import Sector

BOLTZMANN, ROOM = 1.380649e-23, 290.0  # J/K, K
NOISE_FIGURE = 9.0  # dB of a user's receiver (TR 38.802, table A.2.1-1, below 6 GHz)
# attenuated Shannon: the form of TR 36.942, A.2, with the numbers of NR's downlink, TR 38.803, 5.2.7
ATTENUATION, LEAST_SINR, MOST_SINR = 0.6, -10.0, 30.0


@dataclass(frozen=True)
class Received:
    """What U users receive from one sector; NaN where no path reaches.

    Attributes:
        rsrp: [U] dBm of a resource element in the strongest beam, to a user who takes in both polarisations: the power
            of all paths together, which is the mean over a few wavelengths, fading averaged out.
        mean_rsrp: [U] dBm, the mean power over all beams: what a loaded sector's beams amount to elsewhere.
        beam: [U] number of the strongest beam; −1 where no path reaches.
        beam_gain: [U] dB of that beam over a single element with the same power.
        path_loss: [U] dB between isotropic antennas.
        los: bool [U].
        delay_spread: [U] s, root mean square, of isotropic antennas.
        departure_spread, arrival_spread: [U] rad, circular, of the azimuths, of isotropic antennas (TR 38.901, A.1).
        first_delay: [U] s of the first path.
    """

    rsrp: NDArray[np.float64]
    mean_rsrp: NDArray[np.float64]
    beam: NDArray[np.int64]
    beam_gain: NDArray[np.float64]
    path_loss: NDArray[np.float64]
    los: NDArray[np.bool_]
    delay_spread: NDArray[np.float64]
    departure_spread: NDArray[np.float64]
    arrival_spread: NDArray[np.float64]
    first_delay: NDArray[np.float64]


def received(paths: Paths, sector: Sector, entry_loss: NDArray[np.floating] | float = 0.0) -> Received:
    """What the users at the ends of N links receive from a sector at their beginning.

    Args:
        paths: of N links; links without a path are users that nothing reaches.
        sector: on the mast that the paths leave from, at its carrier.
        entry_loss: [N] dB of walls that are not in the paths, see `entry_loss`.
    """
    direction, _ = paths.departures(sector.bearing, sector.downtilt)
    isotropic = paths.power_from(sector.array.slants, sector.bearing, sector.downtilt)
    beams = np.column_stack([_total(paths, isotropic * gain) for gain in np.abs(sector.response(direction).T) ** 2])
    element = _total(paths, isotropic * sector.element(direction) ** 2)
    reached = paths.counts > 0
    best = beams.argmax(1)
    strongest = beams[np.arange(len(beams)), best]
    sent = sector.power_per_element - entry_loss
    missing = np.where(reached, 0.0, np.nan)
    return Received(
        rsrp=_decibels(strongest) + sent + missing,
        mean_rsrp=_decibels(beams.mean(1)) + sent + missing,
        beam=np.where(reached, best, -1),
        beam_gain=_decibels(strongest) - _decibels(element) + missing,
        path_loss=entry_loss - _decibels(_total(paths, isotropic)) + missing,
        los=paths.los(),
        delay_spread=delay_spread(paths, isotropic) + missing,
        departure_spread=_circular_spread(paths, isotropic, paths.aod_azimuth) + missing,
        arrival_spread=_circular_spread(paths, isotropic, paths.aoa_azimuth) + missing,
        first_delay=paths.first_delay().astype(np.float64) + missing,
    )


def _total(paths: Paths, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over each link's paths: [N]."""
    return np.bincount(paths.link_of_path, weights=values, minlength=len(paths)).astype(np.float64)


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """10 log10; nothing is −400 dB."""
    return np.asarray(10 * np.log10(np.maximum(power, 1e-40)))


def _mean(paths: Paths, weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return _total(paths, weights * values) / np.maximum(_total(paths, weights), 1e-300)


def delay_spread(paths: Paths, power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square, of paths weighted with a power [P]: [N] s; 0 where there is none."""
    delay = (paths.delay - paths.first_delay()[paths.link_of_path]).astype(np.float64)
    mean = _mean(paths, power, delay)
    return np.asarray(np.sqrt(np.maximum(_mean(paths, power, (delay - mean[paths.link_of_path]) ** 2), 0.0)))


def _circular_spread(paths: Paths, power: NDArray[np.float64], angle: NDArray[np.floating]) -> NDArray[np.float64]:
    """√(−2 ln |Σ P e^{jφ}| / Σ P): TR 38.901, eq. (A-1)."""
    turned = angle.astype(np.float64)
    together = np.hypot(_mean(paths, power, np.cos(turned)), _mean(paths, power, np.sin(turned)))
    return np.asarray(np.sqrt(np.maximum(-2 * np.log(np.clip(together, 1e-30, 1.0)), 0.0)))


def best_server(rsrp: NDArray[np.floating]) -> NDArray[np.int64]:
    """The sector that each user hears best: [U] of RSRP [S, U], dBm; −1 where none does."""
    heard = np.where(np.isnan(rsrp), -np.inf, rsrp)
    return np.where(np.isfinite(heard).any(0), heard.argmax(0), -1).astype(np.int64)


def sinr(
    sectors: Sequence[Sector],
    rsrp: NDArray[np.floating],
    mean_rsrp: NDArray[np.floating],
    load: float = 0.5,
    noise_figure: float = NOISE_FIGURE,
) -> NDArray[np.float64]:
    """SINR of each user in each sector: [S, U] dB; NaN where the sector does not reach.

    The others send on a share `load` of their resource elements, in any of their beams as often as in any other; those
    of other bands don't interfere, those that overlap do with their share.

    Args:
        rsrp, mean_rsrp: [S, U] dBm, see `Received`.
        load: 0 to 1.
        noise_figure: of the users' receivers, dB.
    """
    power = 10 ** (np.asarray(mean_rsrp, dtype=np.float64) / 10)  # mW
    power[np.isnan(power)] = 0.0
    out = np.empty_like(power)
    for i, own in enumerate(sectors):
        total = np.full(power.shape[1], 10 ** (noise_per_element(own, noise_figure) / 10))
        for j, other in enumerate(sectors):
            if j != i:  # density of the other's power over the own resource element
                total += load * overlap(own, other) * own.spacing / other.spacing * power[j]
        out[i] = rsrp[i] - 10 * np.log10(total)
    return out


def overlap(own: Sector, other: Sector) -> float:
    """Share of a sector's band that another's covers."""
    low = max(own.carrier - own.bandwidth / 2, other.carrier - other.bandwidth / 2)
    high = min(own.carrier + own.bandwidth / 2, other.carrier + other.bandwidth / 2)
    return max(high - low, 0.0) / own.bandwidth


def throughput(sinr: NDArray[np.floating], sector: Sector) -> NDArray[np.float64]:
    """What a user alone in a sector gets on one layer: [...] bit/s.

    0.6 log2(1 + SINR) bit/s/Hz, nothing below −10 dB, no more than at 30 dB (TR 36.942, A.2; TR 38.803, 5.2.7), over
    the subcarriers; all of the time, so that a downlink of three slots in four has three quarters of it.

    Args:
        sinr: [...] dB; NaN: nothing.
    """
    known = np.where(np.isnan(sinr), -np.inf, sinr)
    efficiency = ATTENUATION * np.log2(1 + 10 ** (np.minimum(known, MOST_SINR) / 10))
    return np.asarray(np.where(known < LEAST_SINR, 0.0, efficiency) * sector.subcarriers * sector.spacing)


def noise_per_element(sector: Sector, noise_figure: float = NOISE_FIGURE) -> float:
    """Thermal noise of a resource element at a user's receiver, dBm."""
    return 10 * math.log10(1e3 * BOLTZMANN * ROOM * sector.spacing) + noise_figure
