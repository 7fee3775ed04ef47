"""CRNN: the channel reconstruction network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from uniair.models.presets import Preset
from uniair.models.transformer import ResidualAttentionBlock, sinusoidal_grid

CELL = 2  # beams and delays a side of a cell
PATHS = 64  # strongest cells that are written as paths
REACH = 0.75  # cells that a path may lie from its cell's centre


class CRNN(nn.Module):
    """A representation → the normalised CSI (paper 1, Section III-A-2).

    A linear layer raises the representation to a sequence of patches and blocks refine it. In the frequency domain a
    linear layer writes each patch's real and imaginary values, as in the paper. By beam and delay it writes paths: a
    channel is a few sharp peaks between the bins, and a squared error alone has no slope towards a peak that is one bin
    off. So the profile, in cells of `CELL` bins, is found as a distribution; the strongest cells' amplitude, phase and
    place within reach of the cell then give the CSI in closed form.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.angle_delay = preset.csi_domain == "angle_delay"
        self.shape = (preset.antennas, preset.subcarriers)
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
        self.cells = (self.patch[0] // CELL, self.patch[1] // CELL) if self.angle_delay else self.patch
        self.planes = 5 if self.angle_delay else 2
        self.values = nn.Linear(preset.width, self.planes * self.cells[0] * self.cells[1])

    positions: Tensor

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """[N, embedding] → CSI complex64 [N, antennas, subcarriers].

        Also the log-probability float32 [N, cells] of where its power lies, by beam and delay; None in the frequency
        domain.
        """
        n = len(z)
        # the embedding has unit norm: its entries are brought to unit size beside the positional encoding
        x = self.up(z * math.sqrt(z.shape[-1])).view(n, self.rows * self.columns, self.width)
        x = self.ln_pre(x + self.positions)
        for block in self.blocks:
            x = block(x)
        values = self.values(self.ln_post(x)).float().view(n, self.rows, self.columns, self.planes, *self.cells)
        planes = values.permute(0, 3, 1, 4, 2, 5).reshape(
            n, self.planes, self.rows * self.cells[0], self.columns * self.cells[1]
        )
        if not self.angle_delay:
            return torch.complex(planes[:, 0], planes[:, 1]), None
        where = planes[:, 0].flatten(1).log_softmax(dim=1)
        return self._paths(where, planes), where

    def _paths(self, where: Tensor, planes: Tensor) -> Tensor:
        strongest = where.topk(PATHS, dim=1).indices
        share, real, imaginary, beam, delay = (
            part.flatten(1).gather(1, strongest) for part in (where, *planes[:, 1:].unbind(1))
        )
        across = planes.shape[-1]
        centre = (CELL - 1) / 2
        beam = (strongest // across) * CELL + centre + CELL * REACH * torch.tanh(beam)
        delay = (strongest % across) * CELL + centre + CELL * REACH * torch.tanh(delay)
        antennas, subcarriers = self.shape

        def wave(bins: Tensor, count: int) -> Tensor:
            """The inverse of `centred_dft` between its bins: complex64 [N, PATHS, count]."""
            n = torch.arange(count, device=bins.device) - (count - 1) / 2
            phase = -2 * math.pi / count * bins[..., None] * n
            return torch.polar(torch.ones_like(phase), phase)

        # unit mean power spread over the paths by their share
        gain = torch.complex(real, imaginary) * (0.5 * share).exp()
        return (wave(beam - antennas // 2, antennas) * gain[..., None]).mT @ wave(delay, subcarriers)
