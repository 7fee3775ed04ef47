"""CRNN: the channel reconstruction network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.angle_delay import CellPaths, Seen, respond, write
from uniair.models.presets import Preset
from uniair.models.transformer import ResidualAttentionBlock, sinusoidal_grid
from uniair.radio import OFDM, ULA, Radio

CELL = 2  # beams and delays a side of a cell
PATHS = 64  # strongest cells that are written as paths
REACH = 0.75  # cells that a path may lie from its cell's centre


class CRNN(nn.Module):
    """A representation → the channel's paths, and with them its CSI (paper 1, Section III-A-2).

    A linear layer raises the representation to a sequence of patches and blocks refine it. In the frequency domain a
    linear layer writes each patch's real and imaginary values, as in the paper. By beam and delay it writes paths: a
    channel is a few sharp peaks between the bins, and a squared error alone has no slope towards a peak that is one bin
    off. So the profile, in cells of `CELL` bins, is found as a distribution; the strongest cells' amplitude, phase and
    place within reach of the cell then give the CSI in closed form.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.angle_delay = preset.csi_domain == "angle_delay"
        self.grid = (preset.beams, preset.delays)
        self.patch = preset.crnn_patch
        self.rows, self.columns = preset.beams // self.patch[0], preset.delays // self.patch[1]
        self.width = preset.width
        self.up = nn.Linear(preset.embedding, self.rows * self.columns * preset.width)
        self.register_buffer("positions", sinusoidal_grid(self.rows, self.columns, preset.width), persistent=False)
        self.ln_pre = nn.LayerNorm(preset.width)
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(preset.width, preset.heads) for _ in range(preset.crnn_blocks)
        )
        self.ln_post = nn.LayerNorm(preset.width)
        self.cells = (self.patch[0] // CELL, self.patch[1] // CELL) if self.angle_delay else self.patch
        self.solid = preset.radios == "any"  # reads elevation and a second polarisation
        self.planes = (8 if self.solid else 5) if self.angle_delay else 2
        self.values = nn.Linear(preset.width, self.planes * self.cells[0] * self.cells[1])

    positions: Tensor

    def forward(self, z: Tensor, radio: Radio = Radio(), seen_by: Radio | None = None) -> tuple[Tensor, Tensor | None]:
        """[N, embedding] → the CSI that a radio measures, complex64 [N, ports, subcarriers].

        Also the log-probability float32 [N, cells] of where its power lies, by beam and delay; None in the frequency
        domain.

        Args:
            seen_by: see `angle_delay.write`.
        """
        planes = self._planes(z)
        if self.angle_delay:
            where = planes[:, 0].flatten(1).log_softmax(dim=1)
            return write(self._paths(where, planes), radio, seen_by), where
        csi = torch.complex(planes[:, 0], planes[:, 1])
        if (radio.array, radio.grid) == (ULA(self.grid[0]), OFDM(self.grid[1])) and seen_by in (None, radio):
            return csi, None
        return write(every_cell(respond(csi)), radio, seen_by), None

    def paths(self, z: Tensor) -> CellPaths:
        """[N, embedding] → the paths that are written: P = `PATHS`, or in the frequency domain every cell."""
        planes = self._planes(z)
        if self.angle_delay:
            return self._paths(planes[:, 0].flatten(1).log_softmax(dim=1), planes)
        return every_cell(respond(torch.complex(planes[:, 0], planes[:, 1])))

    def _planes(self, z: Tensor) -> Tensor:
        n = len(z)
        # the embedding has unit norm: its entries are brought to unit size beside the positional encoding
        x = self.up(z * math.sqrt(z.shape[-1])).view(n, self.rows * self.columns, self.width)
        x = self.ln_pre(x + self.positions)
        for block in self.blocks:
            x = block(x)
        values = self.values(self.ln_post(x)).float().view(n, self.rows, self.columns, self.planes, *self.cells)
        out: Tensor = values.permute(0, 3, 1, 4, 2, 5).reshape(
            n, self.planes, self.rows * self.cells[0], self.columns * self.cells[1]
        )
        return out

    def _paths(self, where: Tensor, planes: Tensor) -> CellPaths:
        strongest = where.topk(PATHS, dim=1).indices
        share, real, imaginary, beam, delay, *more = (
            part.flatten(1).gather(1, strongest) for part in (where, *planes[:, 1:].unbind(1))
        )
        across = planes.shape[-1]
        centre = (CELL - 1) / 2
        beam = (strongest // across) * CELL + centre + CELL * REACH * torch.tanh(beam)
        delay = (strongest % across) * CELL + centre + CELL * REACH * torch.tanh(delay)
        # unit mean power spread over the paths by their share
        size = (0.5 * share).exp()
        paths = CellPaths(beam - self.grid[0] // 2, delay, torch.complex(real, imaginary) * size, self.grid)
        if not more:
            return paths
        up, real, imaginary = more
        return paths._replace(second=torch.complex(real, imaginary) * size, up=torch.tanh(up))


def profile(seen: Seen) -> Tensor:
    """Where the power of responses [N, beams, delays] lies: float32 [N, cells], 1 in sum, cells of `CELL` a side."""
    power = seen.response.abs().square()
    if seen.second is not None:
        power = power + seen.second.abs().square()
    power = functional.avg_pool2d(power, CELL).flatten(1)
    return power / power.sum(1, keepdim=True)


def every_cell(response: Tensor) -> CellPaths:
    """The cells of a response [N, beams, delays] as paths, of which its radio's CSI is the sum."""
    n, beams, delays = response.shape
    beam, delay = torch.meshgrid(
        torch.arange(beams, device=response.device) - beams // 2,
        torch.arange(delays, device=response.device),
        indexing="ij",
    )
    scale = (beams * delays) ** -0.5
    return CellPaths(
        beam.flatten().expand(n, -1).float(), delay.flatten().expand(n, -1).float(), scale * response.flatten(1),
        (beams, delays),
    )  # fmt: skip
