"""CRNN: the channel reconstruction network."""

from __future__ import annotations

import math

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
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(preset.width, preset.heads) for _ in range(preset.crnn_blocks)
        )
        self.ln_post = nn.LayerNorm(preset.width)
        planes = 3 if self.angle_delay else 2
        self.values = nn.Linear(preset.width, planes * self.patch[0] * self.patch[1])

    positions: Tensor

    def forward(self, z: Tensor, normalisation: Normalisation) -> tuple[Tensor, Tensor | None]:
        """[N, embedding] → CSI complex64 [N, antennas, subcarriers].

        Also the log-probability float32 [N, antennas · subcarriers] of where its power lies, by beam and delay; None in
        the frequency domain. A channel is a few sharp peaks: a squared error alone has no slope towards a peak that is
        one bin off, so the peaks are found as a distribution, and its root is the amplitude.
        """
        n = len(z)
        # the embedding has unit norm: its entries are brought to unit size beside the positional encoding
        x = self.up(z * math.sqrt(z.shape[-1])).view(n, self.rows * self.columns, self.width)
        x = self.ln_pre(x + self.positions)
        for block in self.blocks:
            x = block(x)
        values = self.values(self.ln_post(x)).view(n, self.rows, self.columns, -1, *self.patch)
        planes = values.permute(0, 3, 1, 4, 2, 5).reshape(
            n, -1, self.rows * self.patch[0], self.columns * self.patch[1]
        )
        csi = torch.complex(planes[:, 0], planes[:, 1])
        if not self.angle_delay:
            return csi, None
        where = planes[:, 2].flatten(1).log_softmax(dim=1)
        amplitude = (0.5 * (where + math.log(where.shape[1]))).exp()
        return normalisation.frequency(csi * amplitude.view_as(planes[:, 2])), where
