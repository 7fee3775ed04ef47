"""Antenna ports as the codebooks of TS 38.214 take them, and what such a codebook has to match in each subband."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uniair.complex_arrays import complex_tensor
from uniair.errors import InputError
from uniair.radio import ULA, UPA, Radio

OVERSAMPLING = 4  # O1, and O2 where there are several rows (TS 38.214, table 5.2.2.2.1-2)
# (N1, N2) of the same table
LISTED = ((2, 1), (2, 2), (4, 1), (3, 2), (6, 1), (4, 2), (8, 1), (4, 3), (6, 2), (12, 1), (4, 4), (8, 2), (16, 1))


class Report(NamedTuple):
    """What a user reports to its base station.

    Attributes:
        precoders: complex64 [N, subbands, ports, rank]; the columns of each have 1 / rank of its unit power.
        bits: int64 [N] of the precoding matrix indicator; rank and quality indicators are not counted.
    """

    precoders: Tensor
    bits: Tensor


@dataclass(frozen=True)
class PortPanel:
    """A lattice of antenna ports, and its oversampled DFT beams.

    The codebooks are written for two polarisations. Of a single one the same formulas hold with one term instead of
    two: nothing is reported between polarisations, and a beam is as narrow as the whole array makes it. Paper 1's line
    of 32 is so (N1, N2) = (32, 1). As two halves of 16, which the standard lists, it would cost twice the bits.

    Attributes:
        rows, columns: of elements.
        polarisations: 1 or 2.
    """

    rows: int
    columns: int
    polarisations: int = 2

    @property
    def n1(self) -> int:
        """Elements along the longer side."""
        return max(self.rows, self.columns)

    @property
    def n2(self) -> int:
        """Elements along the shorter side."""
        return min(self.rows, self.columns)

    @property
    def o2(self) -> int:
        """Oversampling along the shorter side."""
        return OVERSAMPLING if self.n2 > 1 else 1

    @property
    def ports(self) -> int:
        """P."""
        return self.polarisations * self.rows * self.columns

    @property
    def listed(self) -> bool:
        """Whether the standard knows the panel."""
        return self.polarisations == 2 and (self.n1, self.n2) in LISTED

    def beams(self) -> Tensor:
        """Every oversampled DFT beam of a polarisation: complex64 [N1·O1, N2·O2, N1·N2] of unit norm.

        v of TS 38.214, 5.2.2.2.1, its elements ordered as in `Radio`.
        """
        first, second = (_oversampled(count, times) for count, times in ((self.n1, OVERSAMPLING), (self.n2, self.o2)))
        order = "am,bn->abnm" if self.columns == self.n1 else "am,bn->abmn"
        return torch.einsum(order, first, second).flatten(2)

    def groups(self) -> Tensor:
        """The same in groups of orthogonal beams, one for each rotation (q1, q2): [O1·O2, N1·N2 beams, N1·N2]."""
        every = self.beams().view(self.n1, OVERSAMPLING, self.n2, self.o2, -1)
        return every.permute(1, 3, 0, 2, 4).reshape(OVERSAMPLING * self.o2, self.n1 * self.n2, -1)


def _oversampled(count: int, times: int) -> Tensor:
    turns = torch.outer(torch.arange(count * times), torch.arange(count)).double() / (count * times)
    return torch.polar(torch.full_like(turns, count**-0.5), 2 * math.pi * turns).to(torch.complex64)


def panel_of(radio: Radio) -> PortPanel:
    """The ports of a radio's array as a panel.

    Raises:
        InputError: beams are measured, or elements stand anywhere.
    """
    array = radio.array
    if array.codebook is not None or not isinstance(array, ULA | UPA):
        raise InputError(f"codebooks of TS 38.214 need the ports of a line or panel, and this is {array}")
    rows, columns = (1, array.antennas) if isinstance(array, ULA) else (array.rows, array.columns)
    if rows * columns < 2:
        raise InputError(f"{array}: codebooks of TS 38.214 begin at 2 elements")
    return PortPanel(rows, columns, len(array.slants))


def subband_directions(csi: Any, radio: Radio, subbands: int, rank: int = 1) -> Tensor:
    """The precoders that a codebook has to match: complex64 [N, subbands, ports, rank], columns of unit norm.

    The strongest left singular vectors of each subband's CSI, of its subcarriers and the user's antennas together.

    Args:
        csi: complex [N, ports, subcarriers] or [N, UE ports, ports, subcarriers].
        subbands: that the subcarriers are divided into, as evenly as they can.

    Raises:
        InputError: another shape than the radio's, NaN, more subbands than subcarriers, a rank that the standard or the
            user's antennas do not have.
    """
    given = complex_tensor(csi, "CSI").to(torch.complex64)
    if given.ndim not in (3, 4) or tuple(given.shape[-2:]) != radio.shape:
        raise InputError(f"CSI has shape {tuple(given.shape)}, expected [N, {radio.shape[0]}, {radio.shape[1]}]")
    if not torch.isfinite(torch.view_as_real(given)).all():
        raise InputError("CSI holds NaN or infinite values; leave those samples out")
    if not 1 <= subbands <= radio.grid.subcarriers:
        raise InputError(f"{subbands} subbands of {radio.grid.subcarriers} subcarriers: give 1 to that many")
    users = given[:, None] if given.ndim == 3 else given
    if rank not in (1, 2) or rank > users.shape[1]:
        raise InputError(f"rank {rank} for {users.shape[1]} antennas of the user: give 1, or 2 where there are two")
    scaled = users / users.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-30)
    parts = [part.transpose(1, 2).flatten(2) for part in scaled.tensor_split(subbands, -1)]
    return torch.stack([torch.linalg.svd(part, full_matrices=False)[0][..., :rank] for part in parts], 1)


def by_polarisation(target: Tensor, panel: PortPanel) -> Tensor:
    """Vectors over ports [N, subbands, ports, rank] → [N, subbands, polarisations, elements, rank]."""
    links, subbands, _, rank = target.shape
    return target.view(links, subbands, panel.polarisations, panel.n1 * panel.n2, rank)
