"""The enhanced Type II codebook against its definition: bits of every combination, levels, brute force, fidelity."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from uniair import metrics
from uniair.errors import InputError
from uniair.evaluation.enhanced_type_ii_codebook import (
    COMBINATIONS,
    Parameters,
    beam_group,
    compress,
    enhanced_type_ii,
    quantise,
)
from uniair.evaluation.port_panel import PortPanel, by_polarisation, subband_directions
from uniair.radio import OFDM, ULA, UPA, Radio

PANEL = Radio(UPA(2, 8, polarisation="slanted"), OFDM(52, 360e3), 3.5e9)
LINE = Radio(ULA(32), OFDM(52, 720e3))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal((*shape, 2), dtype=np.float32)
    return torch.view_as_complex(torch.from_numpy(values))


def channels(radio: Radio, links: int, users: int = 1, seed: int = 0) -> torch.Tensor:
    """Of eight paths each, of any direction, with delays up to 400 ns and powers that fall with them."""
    rng = np.random.default_rng(seed)
    direction = torch.from_numpy(rng.standard_normal((links, 8, 3)))
    direction = direction / direction.norm(dim=-1, keepdim=True)
    delay = torch.from_numpy(rng.uniform(0, 4e-7, (links, 8)))
    gain = drawn(links, users, 8, len(radio.array.slants), seed=seed + 1) * (-delay / 2e-7).exp()[:, None, :, None]
    tones = radio.grid.response(delay)
    out = [
        torch.einsum("nlp,nlk->npk", radio.array.response(direction, one if one.shape[-1] > 1 else one[..., 0]), tones)
        for one in gain.to(torch.complex64).unbind(1)
    ]
    return out[0] if users == 1 else torch.stack(out, 1)


@pytest.mark.parametrize(
    ("combination", "fixed", "most"),
    [
        # rotation + beams + delays + bitmap + number + reference amplitude, of (8, 2) and 13 subbands
        (1, 4 + 7 + 8 + 16 + 2 + 4, 4),
        (2, 4 + 7 + 8 + 16 + 3 + 4, 8),
        (3, 4 + 11 + 8 + 32 + 3 + 4, 8),
        (4, 4 + 11 + 8 + 32 + 4 + 4, 16),
        (5, 4 + 11 + 8 + 32 + 5 + 4, 24),
        (6, 4 + 11 + 10 + 56 + 5 + 4, 28),
        (7, 4 + 13 + 8 + 48 + 5 + 4, 24),
        (8, 4 + 13 + 8 + 48 + 6 + 4, 36),
    ],
)
def test_bits_of_every_combination_by_hand(combination: int, fixed: int, most: int) -> None:
    one = Parameters(PortPanel(2, 8), combination, 13)
    assert (sum(one.fixed_bits().values()), one.most) == (fixed, most)
    for sent in (1, 2, most):
        strongest = int(np.ceil(np.log2(sent)))
        assert one.bits(torch.tensor([[sent]])).tolist() == [fixed + strongest + 7 * (sent - 1)]


def test_bits_of_two_layers_of_a_wide_band_and_of_one_polarisation() -> None:
    two = Parameters(PortPanel(2, 8), 1, 13)
    assert two.bits(torch.tensor([[4, 3]])).tolist() == [4 + 7 + 2 * (8 + 16 + 4) + 3 + 2 * 2 + 7 * (4 + 3 - 2)]
    wide = Parameters(PortPanel(2, 8), 4, 13, 2).fixed_bits()  # N3 = 26: a window of 8 delays, 3 of 7 others
    assert (wide["i1,5 window"], wide["i1,6 delays"], wide["i1,7 bitmap"]) == (3, 6, 32)
    line = Parameters(PortPanel(1, 32, 1), 1, 13)  # L = 2 of 32 beams, M = 4, K0 = 2
    assert line.fixed_bits() == {
        "i1,1 rotation": 2, "i1,2 beams": 9, "i1,5 window": 0, "i1,6 delays": 8, "i1,7 bitmap": 8,
        "number of coefficients": 1, "i2,3 reference amplitudes": 0,
    }  # fmt: skip


def test_the_beams_are_the_best_group_there_is() -> None:
    parameters = Parameters(PortPanel(2, 2), 1, 4)
    target = by_polarisation(drawn(5, 4, 8, 1), parameters.panel)
    best = torch.zeros(5)
    for group in parameters.panel.groups():
        for pair in combinations(range(4), 2):
            best = torch.maximum(best, (group[list(pair)].conj() @ target).abs().square().sum((1, 2, 3, 4)))
    chosen = beam_group(target, parameters)
    torch.testing.assert_close(torch.einsum("nle,ntper->nlptr", chosen.conj(), target).abs().square().sum((1, 2, 3, 4)),
                               best)  # fmt: skip


@pytest.mark.parametrize(("combination", "per_subband"), [(1, 1), (4, 1), (6, 1), (8, 1), (4, 2), (6, 2)])
def test_what_is_sent_is_of_the_tables(combination: int, per_subband: int) -> None:
    parameters = Parameters(PortPanel(2, 8), combination, 13, per_subband)
    layer = compress(drawn(30, parameters.units, 2, parameters.beams), parameters)
    assert (layer.sent <= parameters.most).all()
    values = layer.values[layer.values != 0]
    steps = values.angle() / (torch.pi / 8)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    level = 4 * values.abs().log2()
    torch.testing.assert_close(level, level.round(), atol=1e-3, rtol=0)
    assert (level > -28.5).all()
    assert (level < 0.5).all()
    by_delay = (layer.values != 0).any(-1).any(-1)
    assert (by_delay.sum(1) <= parameters.delays).all()
    assert ((layer.values[:, 0] - 1).abs() < 1e-5).flatten(1).any(1).all()  # the strongest, at delay 0
    if parameters.units > 19:
        span = 2 * parameters.delays
        windows = torch.stack([by_delay.roll(shift, 1)[:, span:].any(1) for shift in range(span)])
        assert (~windows).any(0).all()


def test_layers_share_the_window_that_is_reported_once() -> None:
    parameters = Parameters(PortPanel(2, 8), 4, 13, 2)
    first, alone = (compress(drawn(30, 26, 2, 4, seed=seed), parameters) for seed in (0, 1))
    second = compress(drawn(30, 26, 2, 4, seed=1), parameters, first.window)
    assert (alone.window != first.window).any()
    both = torch.stack([(layer.values != 0).any(-1).any(-1) for layer in (first, second)])
    windows = torch.stack([both.roll(shift, 2)[..., 8:].any(2).any(0) for shift in range(8)])
    assert (~windows).any(0).all()


def test_a_channel_of_the_codebook_comes_through_whole() -> None:
    parameters = Parameters(PortPanel(2, 8), 3, 13)
    values = torch.zeros(1, 13, 2, 4, dtype=torch.complex64)
    values[0, 0, 0, 1], values[0, 3, 0, 2], values[0, 3, 1, 0], values[0, 5, 1, 3] = 1, 0.5j, -(2**-0.75), 2**-1.75
    by_unit = torch.fft.ifft(values, dim=1, norm="forward")
    shifted = by_unit * torch.polar(torch.ones(13), 2 * torch.pi / 13 * 4 * torch.arange(13))[:, None, None]
    torch.testing.assert_close(quantise(shifted * 3j, parameters).values, values, atol=1e-5, rtol=0)
    beams = PortPanel(2, 8).groups()[5][[0, 3, 7, 12]]
    target = torch.einsum("ntpl,le->ntpe", by_unit, beams).flatten(2)
    csi = target.mT.repeat_interleave(4, -1)
    free = torch.polar(torch.ones(52), torch.arange(52.0) // 4 * 0.3)  # a clock that is off
    found = enhanced_type_ii(csi * free, PANEL, 3, 13)
    torch.testing.assert_close(
        metrics.cosine_squared(found.precoders[..., 0].mT, target.mT), torch.ones(1, 13), atol=1e-4, rtol=0
    )
    assert found.bits.tolist() == [62 + 2 + 7 * 3]


@pytest.mark.parametrize(("radio", "users"), [(PANEL, 1), (PANEL, 2), (LINE, 1)])
def test_more_parameters_are_nearer_and_cost_more(radio: Radio, users: int) -> None:
    csi = channels(radio, 40, users)
    target = subband_directions(csi, radio, 13, users)
    found = {}
    for combination in COMBINATIONS:
        report = enhanced_type_ii(csi, radio, combination, 13, users)
        torch.testing.assert_close(report.precoders.norm(dim=2), torch.full((40, 13, users), users**-0.5))
        alike = metrics.cosine_squared(report.precoders.transpose(1, 2), target.transpose(1, 2))
        found[combination] = (float(alike.mean()), float(report.bits.double().mean()))
    for few, many in ((1, 2), (2, 4), (3, 4), (4, 5), (5, 6), (7, 8), (1, 3)):
        assert found[few][0] < found[many][0]
        assert found[few][1] < found[many][1]
    assert found[6][0] > 0.75


def test_what_the_standard_does_not_have_is_refused() -> None:
    csi = channels(LINE, 2)
    for words, match in (
        ({"combination": 9}, "combination 9"),
        ({"combination": 1, "per_subband": 3}, "3 precoders"),
        ({"combination": 7, "per_subband": 2}, "one precoder a subband"),
        ({"combination": 1, "rank": 2}, "rank 2"),
        ({"combination": 1, "subbands": 53}, "53 subbands"),
    ):
        with pytest.raises(InputError, match=match):
            enhanced_type_ii(csi, LINE, **{"subbands": 13} | words)
    with pytest.raises(InputError, match="16 ports are too few"):
        enhanced_type_ii(channels(Radio(ULA(16)), 2), Radio(ULA(16)), 8, 13)
    assert len(enhanced_type_ii(csi[:0], LINE, 1, 13).precoders) == 0
