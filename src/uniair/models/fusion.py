"""Networks that merge a UE's channels to several BSs into its position (paper 1, III-B-2 and Fig. 11).

All take what is known of the channels [N, B, ...], which of them are there, bool [N, B], at least one a UE, and where
the BSs stand, [B, 3] m. They give positions [N, 2] m.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uniair.models.baselines import ChannelViT
from uniair.models.head import Head
from uniair.models.presets import Preset

HEIGHT = 10.0  # m; brings heights to the size of the other inputs


class Concatenation(nn.Module):
    """The embeddings of a fixed list of BSs one after the other, then a multilayer perceptron (paper 1, Fig. 11).

    A BS that is missing is a learned vector.

    Args:
        stations: B.
        width: of an embedding.
    """

    HIDDEN = (64, 32)  # layers of the perceptron

    def __init__(self, stations: int, width: int) -> None:
        super().__init__()
        self.head = Head((stations * width, *self.HIDDEN, 2))
        self.missing = nn.Parameter(torch.zeros(stations, width))

    def forward(self, z: Tensor, present: Tensor, stations: Tensor) -> Tensor:
        """Embeddings [N, B, width] of the BSs in their order; where these stand is not asked."""
        out: Tensor = self.head(torch.where(present[..., None], z, self.missing).flatten(1))
        return out

    @torch.no_grad()
    def standardise(self, z: Tensor, present: Tensor, target: Tensor) -> None:
        """Sets the fixed scalings from training embeddings and positions; a missing BS starts as its mean embedding."""
        shift, spread = zip(*(_moments(z[present[:, b], b]) for b in range(z.shape[1])), strict=True)
        self.missing.copy_(torch.stack(shift))
        self.head.shift.copy_(torch.cat(shift))
        self.head.spread.copy_(torch.cat(spread))
        self.head.offset.copy_(target.mean(0))
        self.head.unit.copy_(target.std(0, correction=0).clamp_min(1e-6))


class Attention(nn.Module):
    """A token for each BS, its embedding with its position, and one more that gathers the answer.

    Knows no order and no number of BSs: any combination may be asked for, of BSs that it was never trained on too. The
    arrays of all BSs must point the same way, since an embedding is in its own array's frame.

    Args:
        width: of an embedding.
    """

    TOKENS, HEADS = 64, 4  # width of a token, heads of the attention
    shift: Tensor
    spread: Tensor
    offset: Tensor
    unit: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        tokens = self.TOKENS
        self.embed = nn.Linear(width + 3, tokens)
        self.query = nn.Parameter(torch.randn(tokens) * tokens**-0.5)
        self.block = nn.TransformerEncoderLayer(
            tokens, self.HEADS, 2 * tokens, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.answer = nn.Sequential(nn.LayerNorm(tokens), nn.Linear(tokens, tokens), nn.GELU(), nn.Linear(tokens, 2))
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("offset", torch.zeros(2))
        self.register_buffer("unit", torch.ones(2))

    def forward(self, z: Tensor, present: Tensor, stations: Tensor) -> Tensor:
        """Embeddings [N, B, width] of any B BSs in any order, with `stations` in the same order."""
        plan = (stations[:, :2] - self.offset) / self.unit
        where = torch.cat([plan, stations[:, 2:] / HEIGHT], 1).expand(len(z), -1, -1)
        scaled = ((z - self.shift) / self.spread).masked_fill(~present[..., None], 0.0)
        tokens = self.embed(torch.cat([scaled, where], dim=2))
        tokens = torch.cat([self.query.expand(len(z), 1, -1), tokens], dim=1)
        absent = torch.cat([torch.zeros_like(present[:, :1]), ~present], dim=1)
        out: Tensor = self.answer(self.block(tokens, src_key_padding_mask=absent)[:, 0])
        return out * self.unit + self.offset

    @torch.no_grad()
    def standardise(self, z: Tensor, present: Tensor, target: Tensor) -> None:
        """Sets the fixed scalings from training embeddings and positions."""
        shift, spread = _moments(z[present])
        self.shift.copy_(shift)
        self.spread.copy_(spread)
        self.offset.copy_(target.mean(0))
        self.unit.copy_(target.std(0, correction=0).clamp_min(1e-6))


class MultiStationViT(nn.Module):
    """One vision transformer for the CSI of every BS and a concatenation, trained together from scratch.

    Args:
        shape: the transformer's sizes; its output is as wide as the preset's embedding.
        stations: B.
    """

    def __init__(self, shape: Preset, stations: int) -> None:
        super().__init__()
        self.width = shape.embedding
        self.vit = ChannelViT(shape, (shape.embedding,))
        self.fusion = Concatenation(stations, shape.embedding)

    def forward(self, csi: Tensor, present: Tensor, stations: Tensor) -> Tensor:
        """CSI complex64 [N, B, antennas, subcarriers]; that of missing BSs may be anything."""
        z = csi.new_zeros((*present.shape, self.width), dtype=torch.float32)
        z[present] = self.vit(csi[present])[0]
        out: Tensor = self.fusion(z, present, stations)
        return out

    @torch.no_grad()
    def standardise(self, csi: Tensor, present: Tensor, target: Tensor) -> None:
        """Sets the outputs' scaling from training positions."""
        self.fusion.head.offset.copy_(target.mean(0))
        self.fusion.head.unit.copy_(target.std(0, correction=0).clamp_min(1e-6))


def _moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of each column; 0 and 1 where there are no rows."""
    if not len(z):
        return z.new_zeros(z.shape[1]), z.new_ones(z.shape[1])
    return z.mean(0), z.std(0, correction=0).clamp_min(1e-4)
