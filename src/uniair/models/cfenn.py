"""CFENN: the channel feature extraction network, and how CSI is normalised before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from uniair.models.presets import Preset
from uniair.models.transformer import Pool, ResidualAttentionBlock, sinusoidal_grid


class Normalisation(nn.Module):
    """Takes out of a CSI what the place does not determine: overall power and common phase.

    The power becomes 1 an entry on average (paper 1 normalises each CSI individually). The phase is turned so that the
    strongest beam and delay bin is real and positive, measured at the middle of array and band, where a path between
    two bins keeps its phase. Timing is left alone: delay 0 is the moment of transmission, so a CSI carries the absolute
    length of its paths, and a receiver that starts its clock at the first path must add that delay back.
    """

    beams: Tensor
    delays: Tensor

    def __init__(self, antennas: int, subcarriers: int) -> None:
        super().__init__()
        self.register_buffer("beams", centred_dft(antennas, centre=True), persistent=False)
        self.register_buffer("delays", centred_dft(subcarriers, centre=False), persistent=False)

    def forward(self, csi: Tensor) -> Tensor:
        """complex64 [N, antennas, subcarriers] of any power and phase → the same, normalised."""
        power = csi.abs().square().mean(dim=(1, 2), keepdim=True)
        csi = csi / power.clamp_min(1e-38).sqrt()
        spectrum = self.angle_delay(csi).flatten(1)
        peak = spectrum.gather(1, spectrum.abs().argmax(dim=1, keepdim=True))
        return csi * (peak.conj() / peak.abs())[..., None]

    def angle_delay(self, csi: Tensor) -> Tensor:
        """Frequency domain → beams (direction cosine −1 … 1) × delays (0 … 1/Δf), unitary: the same shape."""
        return self.beams @ csi @ self.delays

    def frequency(self, spectrum: Tensor) -> Tensor:
        """The inverse of `angle_delay`."""
        return self.beams.mH @ spectrum @ self.delays.mH


def centred_dft(count: int, centre: bool) -> Tensor:
    """Unitary DFT e^{+j2π(n − n̄)b/count}/√count with its phase at the middle n̄: complex64 [count, count].

    Args:
        centre: bins −count/2 … count/2 − 1 instead of 0 … count − 1.
    """
    n = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    b = torch.arange(count, dtype=torch.float64) - (count // 2 if centre else 0)
    phase = 2 * math.pi / count * torch.outer(b, n)
    dft = torch.polar(torch.full_like(phase, count**-0.5), phase).to(torch.complex64)
    return dft if centre else dft.mT.contiguous()


class CFENN(nn.Module):
    """Vision transformer on CSI patches (paper 1, Section III-A-1).

    `base`: 7,117,312 parameters with the shared blocks, before the projection.
    """

    def __init__(self, preset: Preset, shared: nn.ModuleList) -> None:
        super().__init__()
        self.angle_delay = preset.csi_domain == "angle_delay"
        rows, columns = preset.antennas // preset.csi_patch[0], preset.subcarriers // preset.csi_patch[1]
        channels = 3 if self.angle_delay else 2
        self.patches = nn.Conv2d(channels, preset.width, preset.csi_patch, preset.csi_patch, bias=False)
        self.class_token = nn.Parameter(preset.width**-0.5 * torch.randn(preset.width))
        self.register_buffer("positions", sinusoidal_grid(rows, columns, preset.width), persistent=False)
        self.ln_pre = nn.LayerNorm(preset.width)
        own = preset.blocks - len(shared)
        self.blocks = nn.ModuleList(ResidualAttentionBlock(preset.width, preset.heads) for _ in range(own))
        self.shared = shared
        self.ln_post: nn.Module = nn.LayerNorm(preset.width)
        self.pool = Pool(preset.pool, 1 + rows * columns, preset.width)

    positions: Tensor

    def forward(self, csi: Tensor, normalisation: Normalisation) -> Tensor:
        """Normalised CSI, complex64 [N, antennas, subcarriers] → [N, width]."""
        if self.angle_delay:
            spectrum = normalisation.angle_delay(csi)
            # the square root brings paths 20 dB below the strongest into reach of one linear patch embedding
            root = spectrum.abs().clamp_min(1e-6).sqrt()
            planes = torch.stack([spectrum.real / root, spectrum.imag / root, root], dim=1)
        else:
            planes = torch.view_as_real(csi).permute(0, 3, 1, 2)
        tokens = self.patches(planes).flatten(2).transpose(1, 2) + self.positions
        x = self.ln_pre(torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], dim=1))
        for block in (*self.blocks, *self.shared):
            x = block(x)
        out: Tensor = self.pool(self.ln_post(x))
        return out
