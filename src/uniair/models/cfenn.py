"""CFENN: the channel feature extraction network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uniair.angle_delay import Seen, frequency
from uniair.models.conditions import RADIO_FEATURES
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
        any_radio = preset.radios == "any"
        channels = (6 if any_radio else 3) if self.angle_delay else 2
        self.patches = nn.Conv2d(channels, preset.width, preset.csi_patch, preset.csi_patch, bias=False)
        self.class_token = nn.Parameter(preset.width**-0.5 * torch.randn(preset.width))
        self.told = nn.Linear(RADIO_FEATURES, preset.width) if any_radio else None
        self.register_buffer("positions", sinusoidal_grid(rows, columns, preset.width), persistent=False)
        self.ln_pre = nn.LayerNorm(preset.width)
        own = preset.blocks - len(shared)
        self.blocks = nn.ModuleList(ResidualAttentionBlock(preset.width, preset.heads) for _ in range(own))
        self.shared = shared
        self.ln_post: nn.Module = nn.LayerNorm(preset.width)
        self.pool = Pool(preset.pool, 1 + rows * columns, preset.width)

    positions: Tensor

    def forward(self, seen: Seen) -> Tensor:
        """What a radio saw, as `angle_delay.see` gives it, with its `conditions` → [N, width]."""
        first = self.class_token.expand(len(seen.response), 1, -1)
        if self.told is not None:
            first = first + self.told(seen.conditions)[:, None]
        tokens = self.patches(self._planes(seen)).flatten(2).transpose(1, 2) + self.positions
        x = self.ln_pre(torch.cat([first, tokens], dim=1))
        for block in (*self.blocks, *self.shared):
            x = block(x)
        out: Tensor = self.pool(self.ln_post(x))
        return out

    def _planes(self, seen: Seen) -> Tensor:
        """What the patches are cut from: [N, channels, beams, delays]."""
        response = seen.response
        if not self.angle_delay:
            return torch.view_as_real(frequency(response)).permute(0, 3, 1, 2)
        if self.told is None:
            # the square root brings paths 20 dB below the strongest into reach of one linear patch embedding
            root = response.abs().clamp_min(1e-6).sqrt()
            return torch.stack([response.real / root, response.imag / root, root], dim=1)
        second = torch.zeros_like(response) if seen.second is None else seen.second
        root = (response.abs().square() + second.abs().square()).sqrt().clamp_min(1e-6).sqrt()
        up = torch.zeros_like(root) if seen.up is None else seen.up * root
        return torch.stack(
            [response.real / root, response.imag / root, root, second.real / root, second.imag / root, up], dim=1
        )
