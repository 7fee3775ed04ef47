"""A decoder that knows the place too: what the bits leave open of a channel's embedding, its environment may tell.

The user sends the same bits and needs to know nothing of it (Wyner and Ziv, 1976). The base station knows its map, and
maybe where the user stands. What it adds to the embedding that the bits say is linear in both embeddings, learned for
each length on training places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from uniair.errors import InputError
from uniair.tasks.bit_code import BitCode, BitString

RIDGE = 1e-3  # over the number of channels


@dataclass(frozen=True, eq=False)
class InformedDecoder:
    """A bit code's decoder beside embeddings of places.

    Attributes:
        code: that the bits are of.
        weight: length in bits → float32 [2E + 1, E] from both embeddings and 1 to what is added.
    """

    code: BitCode
    weight: Mapping[int, Tensor]

    def decode(self, sent: BitString, place: Tensor) -> Tensor:
        """Bit strings and embeddings of their places [N, E] → embeddings of channels, float32 [N, E] of unit norm.

        Raises:
            InputError: see `BitCode.decode`; a length that was not learned, or not a place a string.
        """
        told, length = self.code.decode(sent), sent.bits.shape[1]
        if length not in self.weight:
            raise InputError(f"a code of {length} bits beside a place: learned are {', '.join(map(str, self.weight))}")
        if place.shape != told.shape:
            raise InputError(f"{tuple(place.shape)} places for {tuple(told.shape)} codes: give one embedding each")
        return normalize(told + _columns(told, place) @ self.weight[length], dim=-1)


def learn_beside(code: BitCode, z: Tensor, place: Tensor, lengths: Sequence[int]) -> InformedDecoder:
    """From embeddings of channels and of their places [N, E], of training places.

    Raises:
        InputError: not a place a channel, or a length that the code does not have.
    """
    if z.shape != place.shape:
        raise InputError(f"{tuple(z.shape)} channels and {tuple(place.shape)} places: give as many of both")
    weight = {}
    for length in lengths:
        told = code.embedding(code.words(z, length))
        known = _columns(told, place).double()
        gram = known.mT @ known + RIDGE * len(z) * torch.eye(known.shape[1], dtype=torch.float64) / known.shape[1]
        weight[length] = torch.linalg.solve(gram, known.mT @ (z - told).double()).float()
    return InformedDecoder(code, weight)


def _columns(told: Tensor, place: Tensor) -> Tensor:
    return torch.cat([told, place, torch.ones(len(told), 1)], 1)
