"""Linear estimation of a channel from a part of it (LMMSE), by the covariance of training channels or the true one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.propagation.paths import Paths
from uniair.radio import Radio
from uniair.tasks.completion import measured_part, noise_power
from uniair.tasks.path_fit import Measured

LARGEST = 8192  # entries of a channel whose covariance is kept


def covariance(csi: Tensor) -> Tensor:
    """Mean of h hᴴ over channels of unit mean power: complex64 [entries, entries], entries ports × subcarriers.

    Args:
        csi: complex [N, ports, subcarriers] of training links.

    Raises:
        InputError: more entries than `LARGEST`.
    """
    if csi[0].numel() > LARGEST:
        raise InputError(f"LMMSE: a covariance of {csi[0].numel():,} entries is larger than {LARGEST:,}; fewer, please")
    flat = csi.flatten(1).to(torch.complex64)
    flat = flat / flat.abs().square().mean(1, keepdim=True).sqrt()
    return flat.mT @ flat.conj() / len(flat)


def lmmse(csi: Any, radio: Radio, *, known: Any, snr: Any, spread: Tensor) -> Tensor:
    """C_ak (C_kk + σ² I)⁻¹ y, a all entries and k the known ones: complex64 [N, ports, subcarriers].

    Args:
        csi, known, snr: as for `completion.complete`; the SNR has to be known.
        spread: C, see `covariance`, of channels of unit power; each link's power is what it measures beside noise.

    Raises:
        InputError: see `measured_part` and `noise_power`.
    """
    measured, noise = measured_and_noise(csi, radio, known, snr)
    index = measured.port * radio.shape[1] + measured.tone
    power = (measured.values.abs().square().mean(1) - noise).clamp_min(1e-30)
    values, vectors = torch.linalg.eigh(spread[index][:, index].to(torch.complex128))
    seen = measured.values.to(torch.complex128) @ vectors.conj()
    # noise at the least: a covariance of few channels is singular
    weight = values.clamp_min(0) + (noise / power).double().clamp_min(1e-9)[:, None]
    return ((seen / weight) @ (spread[:, index].to(torch.complex128) @ vectors).mT).to(torch.complex64).view(
        -1, *radio.shape
    )  # fmt: skip


def lmmse_of_paths(csi: Any, radio: Radio, *, known: Any, snr: Any, paths: Paths) -> Tensor:
    """The same by each link's true covariance: its paths' directions, delays and powers are known, phases are not.

    A bound: nobody knows them.

    Args:
        paths: of the N links, in the CSI's power.

    Raises:
        InputError: see `lmmse`.
    """
    measured, noise = measured_and_noise(csi, radio, known, snr)
    each = path_by_path(paths, radio)
    seen = each[:, :, measured.port, measured.tone].to(torch.complex128)
    gram = seen.conj() @ seen.mT + torch.diag_embed(noise.double()[:, None].expand(-1, seen.shape[1]).clamp_min(1e-12))
    gain = torch.linalg.solve(gram, (seen.conj() @ measured.values.to(torch.complex128)[..., None]))
    return (each.flatten(2).mT @ gain.to(torch.complex64))[..., 0].view(-1, *radio.shape)


def measured_and_noise(csi: Any, radio: Radio, known: Any, snr: Any) -> tuple[Measured, Tensor]:
    """The known entries, and the power of their noise.

    Raises:
        InputError: see `measured_part` and `noise_power`; no SNR.
    """
    measured = measured_part(csi, radio, known)
    noise = noise_power(measured.values, snr)
    if noise is None:
        raise InputError("snr is not given: this method has to know it, in dB")
    return measured, noise


def path_by_path(paths: Paths, radio: Radio) -> Tensor:
    """The channel of each path alone: complex64 [N, P, ports, subcarriers], 0 where a link has fewer than P paths."""
    row = paths.link_of_path
    column = np.arange(len(row)) - paths.offsets[row]
    delay = paths.delay
    if radio.clock == "first_path":
        first = np.full(len(paths), np.inf)
        np.minimum.at(first, row, delay)
        delay, radio = (delay - first[row]).astype(delay.dtype), replace(radio, clock="absolute")
    alone = replace(paths, delay=delay, offsets=np.arange(len(row) + 1))
    out = torch.zeros(len(paths), int(column.max(initial=0)) + 1, *radio.shape, dtype=torch.complex64)
    out[torch.from_numpy(row), torch.from_numpy(column)] = alone.csi(radio)
    return out
