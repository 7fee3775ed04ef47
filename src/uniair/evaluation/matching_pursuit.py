"""Sparse channels from a part: orthogonal matching pursuit on a grid of directions and delays, and Newtonised.

Newtonised: Mamandipoor, Ramasamy, Madhow, "Newtonized orthogonal matching pursuit: frequency estimation over the
continuum", 2016. Both stop where no cell holds more than noise would put into the strongest of them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from uniair.evaluation.lmmse import measured_and_noise
from uniair.radio import Radio
from uniair.tasks.path_fit import (
    Dictionary,
    FittedPaths,
    Measured,
    cells,
    channel,
    columns_of,
    dictionary,
    joined,
    left_over,
    slopes_of,
)

FALSE_ALARM = 0.01  # chance that noise alone is taken for a path
MOST = 32  # paths
CHUNK = 2_000_000  # measured entries × paths that are fitted together


def omp(csi: Any, radio: Radio, *, known: Any, snr: Any, oversampling: int = 4, newton: int = 0) -> Tensor:
    """CSI of the paths found one by one, amplitudes by least squares: complex64 [N, ports, subcarriers].

    Args:
        csi, known, snr: as for `completion.complete`; the SNR has to be known.
        oversampling: cells of the grid in what the radio tells apart.
        newton: rounds in which each path found so far is moved off the grid after each new one; 0: plain OMP.

    Raises:
        InputError: see `measured_part` and `noise_power`.
    """
    measured, noise = measured_and_noise(csi, radio, known, snr)
    if not len(noise):
        return torch.zeros(0, *radio.shape, dtype=torch.complex64)
    grid = dictionary(measured, oversampling)
    size = max(CHUNK // (len(measured.port) * MOST), 1)
    parts = [
        channel(pursued(measured._replace(values=values), level, grid, newton), radio)
        for values, level in zip(torch.split(measured.values, size), torch.split(noise, size), strict=True)
    ]
    return torch.cat(parts)


def nomp(csi: Any, radio: Radio, *, known: Any, snr: Any) -> Tensor:
    """Newtonised OMP: see `omp`."""
    return omp(csi, radio, known=known, snr=snr, oversampling=2, newton=1)


def pursued(measured: Measured, noise: Tensor, grid: Dictionary, newton: int) -> FittedPaths:
    """The paths of each channel, those beyond its stop without amplitude."""
    polarisations, count = grid.beams.shape[0], grid.beams.shape[1] * len(grid.delay)
    none = measured.values.new_zeros(len(noise), polarisations, 0)
    nowhere = torch.zeros(len(noise), 0, dtype=torch.float64)
    paths = FittedPaths(nowhere, nowhere, nowhere, none, none.real, noise)
    level = noise * (math.log(count) - math.log(-math.log(1 - FALSE_ALARM)))
    rest, going = measured.values, torch.ones(len(noise), dtype=torch.bool)
    while going.any() and paths.delay.shape[1] < MOST:
        along, up, delay = grid.strongest(measured.filled(rest))
        new = FittedPaths(along, up, delay, paths.gain.new_zeros(len(noise), polarisations, 1),
                          going[:, None, None].float().expand(-1, polarisations, 1), noise)  # fmt: skip
        wave = columns_of(new, measured)
        taken = (wave.conj() * rest[..., None]).sum(1).abs().square() / wave.abs().square().sum(1).clamp_min(1e-9)
        going = going & (taken.amax(1) > level)
        paths = joined(paths, new._replace(power=new.power * going[:, None, None]))
        paths = least_squares(paths, measured)
        for _ in range(newton):
            paths = least_squares(_newton(paths, measured), measured)
        rest = left_over(paths, measured)
    return paths


def least_squares(paths: FittedPaths, measured: Measured) -> FittedPaths:
    """Amplitudes that explain most of what was measured; those of power 0 stay 0."""
    used = (paths.power > 0).flatten(1)
    wave = columns_of(paths, measured) * used[:, None]
    gram = (wave.mH @ wave).to(torch.complex128)
    # a ridge at what single precision tells, and a unit for paths that are not used
    ridge = torch.where(used, 1e-6 * measured.values.shape[1], 1.0).double()
    gain = torch.linalg.solve(gram + torch.diag_embed(ridge).to(gram.dtype), (wave.mH @ measured.values[..., None]).to(
        torch.complex128))  # fmt: skip
    return paths._replace(gain=(gain[..., 0] * used).to(torch.complex64).view_as(paths.gain))


def _newton(paths: FittedPaths, measured: Measured) -> FittedPaths:
    """Each path in turn, the latest first, moved to where it explains more of what the others leave over."""
    sizes = cells(measured.radio)
    rest = left_over(paths, measured)
    for number in reversed(range(paths.delay.shape[1])):
        one = _alone(paths, number)
        wave, slopes = columns_of(one, measured), slopes_of(one, measured, sizes)
        flat = wave / wave.abs().square().sum(1, keepdim=True).clamp_min(1e-9).sqrt()
        slopes = slopes - flat @ (flat.mH @ slopes)
        curve = (slopes.mH @ slopes).real
        ridge = 1e-3 * curve.diagonal(dim1=1, dim2=2).amax(1).clamp_min(1e-12)
        step = torch.linalg.solve(curve + ridge[:, None, None] * torch.eye(curve.shape[-1]),
                                  (slopes.mH @ rest[..., None]).real)[..., 0].clamp(-0.25, 0.25).double()  # fmt: skip
        paths.along[:, number] = (paths.along[:, number] + sizes[0] * step[:, 0]).clamp(-1, 1)
        paths.delay[:, number] += sizes[2] * step[:, 1]
        if step.shape[1] > 2:
            high = (1 - paths.along[:, number].square()).clamp_min(0).sqrt()
            paths.up[:, number] = torch.clamp(paths.up[:, number] + sizes[1] * step[:, 2], -high, high)
        moved = _alone(paths, number)
        rest = rest + ((wave - columns_of(moved, measured)) @ one.gain.flatten(1)[..., None])[..., 0]
    return paths


def _alone(paths: FittedPaths, number: int) -> FittedPaths:
    return FittedPaths._make([*(value[..., number : number + 1] for value in paths[:5]), paths.noise])
