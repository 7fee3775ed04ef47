"""A place tells what few bits leave open, and is refused where it does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from uniair.errors import InputError
from uniair.tasks.bit_code import learn
from uniair.tasks.side_information import learn_beside


def pairs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings of channels, half of which follows from their places."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(32, 32, generator=torch.Generator().manual_seed(9)) / 32**0.5
    place = torch.randn(count, 32, generator=generator)
    z = place @ mixing + torch.randn(count, 32, generator=generator)
    return normalize(z, dim=-1), normalize(place, dim=-1)


def test_fewer_bits_do_beside_a_place() -> None:
    z, place = pairs(4000, 0)
    code = learn(z, "0123456789abcdef", stages=6)
    decoder = learn_beside(code, z, place, (24, 48, 96))
    z, place = pairs(500, 1)
    lost = {}
    for length in (24, 48, 96):
        sent = code.encode(z, length)
        alone, informed = code.decode(sent), decoder.decode(sent, place)
        torch.testing.assert_close(informed.norm(dim=1), torch.ones(500))
        lost[length] = [float((found - z).square().sum(1).mean()) for found in (alone, informed)]
        assert lost[length][1] < lost[length][0]
    assert lost[24][1] < 0.9 * lost[24][0]
    strangers = decoder.decode(code.encode(z, 24), place.flip(0))
    assert float((strangers - z).square().sum(1).mean()) > lost[24][1]


def test_what_does_not_fit_is_refused() -> None:
    z, place = pairs(2000, 0)
    code = learn(z, "0123456789abcdef", stages=6)
    decoder = learn_beside(code, z, place, (24,))
    with pytest.raises(InputError, match="code of 48 bits beside a place: learned are 24"):
        decoder.decode(code.encode(z[:3], 48), place[:3])
    with pytest.raises(InputError, match="one embedding each"):
        decoder.decode(code.encode(z[:3], 24), place[:2])
    with pytest.raises(InputError, match="as many of both"):
        learn_beside(code, z, place[:5], (24,))
