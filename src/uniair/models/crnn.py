"""CRNN: the channel reconstruction network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uniair.models.cfenn import Normalisation
from uniair.models.presets import Preset
from uniair.models.transformer import ResidualAttentionBlock, sinusoidal_grid


class CRNN(nn.Module):
    """A representation → the normalised CSI (paper 1, Section III-A-2).

    A linear layer raises the representation to a sequence of patches, blocks refine it, a linear layer writes each
    patch's real and imaginary values: beams and delays where CFENN reads those, else antennas and subcarriers.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.angle_delay = preset.csi_domain == "angle_delay"
        self.patch = preset.crnn_patch
        self.rows, self.columns = preset.antennas // self.patch[0], preset.subcarriers // self.patch[1]
        self.width = preset.width
        self.up = nn.Linear(preset.embedding, self.rows * self.columns * preset.width)
        self.register_buffer("positions", sinusoidal_grid(self.rows, self.columns, preset.width), persistent=False)
        self.ln_pre = nn.LayerNorm(preset.width)
        self.blocks = nn.ModuleList(ResidualAttentionBlock(preset.width, preset.heads) for _ in range(preset.crnn_blocks))
        self.ln_post = nn.LayerNorm(preset.width)
        self.values = nn.Linear(preset.width, 2 * self.patch[0] * self.patch[1])

    positions: Tensor

    def forward(self, z: Tensor, normalisation: Normalisation) -> Tensor:
        """[N, embedding] → complex64 [N, antennas, subcarriers]."""
        n = len(z)
        x = self.ln_pre(self.up(z).view(n, self.rows * self.columns, self.width) + self.positions)
        for block in self.blocks:
            x = block(x)
        values = self.values(self.ln_post(x)).view(n, self.rows, self.columns, 2, *self.patch)
        planes = values.permute(0, 3, 1, 4, 2, 5).reshape(n, 2, self.rows * self.patch[0], self.columns * self.patch[1])
        csi = torch.complex(planes[:, 0], planes[:, 1])
        return normalisation.frequency(csi) if self.angle_delay else csi
