"""Codes as bits: written and read again, every beginning a code, refused where the two ends differ, sought."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import geometric_links
from torch.nn.functional import normalize

import uniair
from uniair import metrics
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.tasks import bit_code
from uniair.tasks.bit_code import BitCode, BitString, decoder_sensitivity, learn, search_bits


def drawn(count: int, seed: int) -> torch.Tensor:
    """Embeddings of a few directions that matter."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(32, 32, generator=torch.Generator().manual_seed(9)) * torch.linspace(1, 0.05, 32)[:, None]
    return normalize(torch.randn(count, 32, generator=generator) @ mixing + 0.3, dim=-1)


@pytest.fixture(scope="module")
def code() -> BitCode:
    return learn(drawn(4000, 0), "0123456789abcdef", stages=6)


def test_what_is_written_is_read_and_longer_codes_are_nearer(code: BitCode) -> None:
    z, lost = drawn(300, 1), []
    for length in (24, 30, 48, 60, 97, 200, code.longest):
        sent = code.encode(z, length)
        assert sent.bits.shape == (300, length)
        back = code.decode(sent)
        torch.testing.assert_close(back, code.embedding(code.words(z, length)))
        torch.testing.assert_close(back.norm(dim=1), torch.ones(300))
        lost.append(float((back - z).square().sum(1).mean()))
    assert lost[0] == pytest.approx(lost[1])  # six bits more are no whole stage
    assert sorted(lost[1:], reverse=True) == lost[1:]
    assert lost[-1] < 0.01


def test_every_beginning_is_a_code(code: BitCode) -> None:
    z = drawn(50, 2)
    whole = code.encode(z, code.longest)
    for length in (24, 30, 48, 49, 120, 255):
        torch.testing.assert_close(code.decode(whole.prefix(length)), code.decode(code.encode(z, length)))
    with pytest.raises(InputError, match="a beginning of 400 bits"):
        whole.prefix(400)


def test_bits_say_about_as_much_as_bits_can(code: BitCode) -> None:
    share = code.encode(drawn(4000, 3), 200).bits.double().mean(0)
    entropy = -(share * share.log2() + (1 - share) * (1 - share).log2())
    assert float(entropy.mean()) > 0.98


def test_messages_go_through_bytes(code: BitCode) -> None:
    sent = code.encode(drawn(5, 4), 75)
    messages = sent.to_bytes()
    assert {len(message) for message in messages} == {8 + 2 + 10}
    again = BitString.from_bytes(messages)
    assert again.code == code.digest
    assert torch.equal(again.bits, sent.bits)
    other = code.encode(drawn(1, 4), 80).to_bytes()
    for broken, match in (
        ([messages[0][:-1]], "not as long"), ([*messages, *other], "kinds"), ([b"123"], "kinds"), ([], "kinds"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            BitString.from_bytes(broken)


def test_another_code_or_length_is_refused(code: BitCode) -> None:
    z = drawn(3, 5)
    sent = code.encode(z, 64)
    other = learn(drawn(4000, 0), "fedcba9876543210", stages=6)  # the same, of other weights
    with pytest.raises(InputError, match="both ends need the same weights"):
        other.decode(sent)
    for length in (23, code.longest + 1):
        with pytest.raises(InputError, match=f"code of {length} bits"):
            code.encode(z, length)
    with pytest.raises(InputError, match="other values"):
        code.decode(sent._replace(bits=sent.bits + 1))
    with pytest.raises(InputError, match="from 10 channels"):
        learn(z.repeat(4, 1)[:10], "")


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.load("small")


@pytest.fixture(scope="module")
def csi() -> torch.Tensor:
    return batch_of(geometric_links(seed=3, areas=2, per_area=12)).csi


def test_sensitivity_is_the_mean_square_of_the_decoders_slopes() -> None:
    matrix = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    z = drawn(200, 6)
    found = decoder_sensitivity(lambda z: torch.complex(z @ matrix.mT, 2 * z @ matrix.mT), z, draws=100)
    across = torch.eye(32) - torch.einsum("ni,nj->nij", z, z)  # unit norm: along z nothing changes
    slope = matrix @ across
    wanted = 5 * (slope.mT @ slope).mean(0).double()
    torch.testing.assert_close(found, wanted, atol=0.02 * float(wanted.diagonal().max()), rtol=0)


def test_the_search_finds_codes_that_restore_more(model: UniversalModel, csi: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    near = model.encode_channel(csi).clone()[torch.randint(0, len(csi), (2000,), generator=generator)]
    code = learn(normalize(near + 0.03 * torch.randn(near.shape, generator=generator), dim=-1), "0" * 16, stages=4)
    truth, errors = model.normalise_channel(csi), []
    for steps in (0, 5, 20):
        sent = search_bits(model, csi, code, 96, steps)
        assert sent.bits.shape == (24, 96)
        errors.append(metrics.relative_error(model.reconstruct_channel(code.decode(sent)), truth))
    torch.testing.assert_close(code.decode(search_bits(model, csi, code, 96, 0)),
                               code.embedding(code.words(model.encode_channel(csi), 96)))  # fmt: skip
    assert (errors[1] <= errors[0] + 1e-5).all()  # the best on the way is sent
    assert errors[0].mean() > errors[1].mean() > errors[2].mean()
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(InputError, match="-1 steps"):
        search_bits(model, csi, code, 96, -1)
    assert bit_code.search_bits(model, csi[:0], code, 96, 2).bits.shape == (0, 96)
