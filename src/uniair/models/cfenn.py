"""CFENN: the channel feature extraction network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uniair.angle_delay import frequency
from uniair.models.presets import Preset
from uniair.models.transformer import Pool, ResidualAttentionBlock, sinusoidal_grid


class CFENN(nn.Module):
    """Vision transformer on CSI patches (paper 1, Section III-A-1).

    `base`: 7,117,312 parameters with the shared blocks, before the projection.
    """

    def __init__(self, preset: Preset, shared: nn.ModuleList) -> None:
        super().__init__()
        self.angle_delay = preset.csi_domain == "angle_delay"
        rows, columns = preset.beams // preset.csi_patch[0], preset.delays // preset.csi_patch[1]
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

    def forward(self, response: Tensor) -> Tensor:
        """What a radio saw, complex64 [N, beams, delays] as `angle_delay.see` gives it → [N, width]."""
        if self.angle_delay:
            # the square root brings paths 20 dB below the strongest into reach of one linear patch embedding
            root = response.abs().clamp_min(1e-6).sqrt()
            planes = torch.stack([response.real / root, response.imag / root, root], dim=1)
        else:
            planes = torch.view_as_real(frequency(response)).permute(0, 3, 1, 2)
        tokens = self.patches(planes).flatten(2).transpose(1, 2) + self.positions
        x = self.ln_pre(torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], dim=1))
        for block in (*self.blocks, *self.shared):
            x = block(x)
        out: Tensor = self.pool(self.ln_post(x))
        return out
