"""The block that every network here is made of, and fixed positional encodings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

KeysValues = tuple[Tensor, Tensor]


class ResidualAttentionBlock(nn.Module):
    """CLIP's block: LayerNorm, multi-head attention, LayerNorm, 4× MLP with quickGELU, each with a residual.

    `width` 256 gives 789,760 parameters.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, T, width], each attending to all of its sequence: [N, T, width]."""
        q, k, v = self._heads(x)
        return self._finish(x, functional.scaled_dot_product_attention(q, k, v))

    def prefix(self, x: Tensor) -> tuple[Tensor, KeysValues]:
        """As `forward`, with the keys and values [A, heads, T, d] that later tokens may attend to."""
        q, k, v = self._heads(x)
        return self._finish(x, functional.scaled_dot_product_attention(q, k, v)), (k, v)

    def keys_values(self, x: Tensor) -> KeysValues:
        """Keys and values alone, for a prefix whose tokens no later block needs."""
        return self._heads(x)[1:]

    def after(self, x: Tensor, prefix: KeysValues) -> Tensor:
        """Tokens that see a prefix shared by many sequences, and their own sequence: [A, L, T, width].

        Equals attention over the concatenation, without ever copying the prefix L times.

        Args:
            x: [A, L, T, width], L sequences of T tokens after each of A prefixes.
            prefix: keys and values [A, heads, M, d].
        """
        a, length, t, width = x.shape
        key, value = prefix
        q, k, v = self._heads(x.reshape(a * length, t, width))
        d = q.shape[-1]

        def to_area(heads: Tensor) -> Tensor:  # [A·L, h, T, ·] -> [A, h, L·T, ·]
            return heads.view(a, length, self.heads, t, -1).transpose(1, 2).reshape(a, self.heads, length * t, -1)

        def to_link(heads: Tensor) -> Tensor:
            return heads.view(a, self.heads, length, t, -1).transpose(1, 2).reshape(a * length, self.heads, t, -1)

        scores = torch.cat([to_link(to_area(q) @ key.transpose(-1, -2)), q @ k.transpose(-1, -2)], dim=-1)
        weights = torch.softmax(scores / math.sqrt(d), dim=-1)
        shared, own = weights[..., : key.shape[2]], weights[..., key.shape[2] :]
        attended = to_link(to_area(shared) @ value) + own @ v
        return self._finish(x.reshape(a * length, t, width), attended).view(a, length, t, width)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, t, width = x.shape
        qkv = self.qkv(self.ln_1(x)).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        # quickGELU, h·σ(1.702 h), through the fused SiLU
        return x + self.down(functional.silu(1.702 * self.up(self.ln_2(x))) / 1.702)


class Pool(nn.Module):
    """Tokens of a sequence → one representation: the `class` token, the `mean`, or `flat`, a linear layer of them all.

    A mean has no room for where a token stood; what must be restored from the representation needs it.
    """

    def __init__(self, kind: str, tokens: int, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.mix = nn.Linear(tokens * width, width) if kind == "flat" else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., tokens, width], the class token first → [..., width]."""
        if self.mix is not None:
            out: Tensor = self.mix(x.flatten(-2))
            return out
        return x.mean(-2) if self.kind == "mean" else x[..., 0, :]


def initialise(module: nn.Module, width: int, blocks: int) -> None:
    """CLIP's initialisation: residual outputs shrink with depth."""
    deviation = width**-0.5
    for block in module.modules():
        if isinstance(block, ResidualAttentionBlock):
            nn.init.normal_(block.qkv.weight, std=deviation)
            nn.init.normal_(block.out.weight, std=deviation * (2 * blocks) ** -0.5)
            nn.init.normal_(block.up.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.down.weight, std=deviation * (2 * blocks) ** -0.5)
            for linear in (block.qkv, block.out, block.up, block.down):
                nn.init.zeros_(linear.bias)


def sinusoidal(count: int, width: int) -> Tensor:
    """Fixed encoding of `count` positions in a sequence: float32 [count, width]."""
    frequency = torch.exp(torch.arange(width // 2) * (-math.log(10000.0) / (width // 2)))
    phase = torch.arange(count)[:, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=1)


def sinusoidal_grid(rows: int, columns: int, width: int) -> Tensor:
    """Fixed encoding of the cells of a grid, rows and columns by half the width each: float32 [rows·columns, width]."""
    half = width // 2
    row = sinusoidal(rows, half)[:, None].expand(-1, columns, -1)
    column = sinusoidal(columns, half)[None].expand(rows, -1, -1)
    return torch.cat([row, column], dim=-1).reshape(rows * columns, width)
