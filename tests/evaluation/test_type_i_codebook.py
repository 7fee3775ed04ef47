"""Type I against its definition: beams, bits, and every codeword tried."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from uniair import metrics
from uniair.errors import InputError
from uniair.evaluation.port_panel import PortPanel, panel_of, subband_directions
from uniair.evaluation.type_i_codebook import report_bits, second_beams, type_i
from uniair.radio import OFDM, ULA, UPA, Array, Radio

SMALL = Radio(UPA(1, 2, polarisation="slanted"), OFDM(8, 360e3), 3.5e9)
PLANE = Radio(UPA(2, 3, polarisation="slanted"), OFDM(8, 360e3), 3.5e9)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal((*shape, 2), dtype=np.float32)
    return torch.view_as_complex(torch.from_numpy(values))


@pytest.mark.parametrize("panel", [PortPanel(1, 4), PortPanel(2, 4), PortPanel(4, 2), PortPanel(3, 3)])
def test_the_beams_of_a_group_are_orthogonal_and_all_beams_are_in_one(panel: PortPanel) -> None:
    groups, elements = panel.groups(), panel.rows * panel.columns
    eye = torch.eye(elements, dtype=torch.complex64).expand(len(groups), -1, -1)
    torch.testing.assert_close(groups.conj() @ groups.mT, eye, atol=1e-5, rtol=0)
    alike = groups.flatten(0, 1).conj() @ panel.beams().flatten(0, 1).mT
    torch.testing.assert_close(alike.abs().amax(1), torch.ones(len(alike)))
    assert alike.shape[0] == alike.shape[1] == elements * 4 * (4 if panel.n2 > 1 else 1)


def test_a_beam_points_where_a_plane_wave_comes_from() -> None:
    for array, panel in ((UPA(2, 4), PortPanel(2, 4, 1)), (UPA(4, 2), PortPanel(4, 2, 1))):
        along, up = torch.tensor([0.25, 0.0]), torch.tensor([0.0, 0.25])
        for cosines in (along, up):
            x, z = cosines.double().tolist()
            wave = array.response(torch.tensor([[x, (1 - x * x - z * z) ** 0.5, z]], dtype=torch.float64))[0]
            taken = (panel.beams().flatten(0, 1).conj() @ wave).abs() / len(wave) ** 0.5
            assert float(taken.max()) == pytest.approx(1, abs=1e-5)


def test_bits_are_those_of_the_fields() -> None:
    # (8, 2): 5 bits of 32 beams, 3 of 8; 2 a subband of the phase, of rank 2 1 and 2 of the second beam
    assert report_bits(PortPanel(2, 8), 13) == 5 + 3 + 2 * 13
    assert report_bits(PortPanel(2, 8), 13, 2) == 5 + 3 + 2 + 13
    assert report_bits(PortPanel(1, 2), 13, 2) == 3 + 1 + 13
    assert report_bits(PortPanel(1, 32, 1), 13) == 7
    assert second_beams(PortPanel(4, 4)) == [(0, 0), (4, 0), (0, 4), (4, 4)]
    assert second_beams(PortPanel(2, 8)) == [(0, 0), (4, 0), (0, 4), (8, 0)]
    assert second_beams(PortPanel(1, 8)) == [(0, 0), (4, 0), (8, 0), (12, 0)]


def test_one_polarisation_gets_the_beam_that_takes_in_most() -> None:
    radio = Radio(ULA(8), OFDM(12))
    csi = drawn(20, 8, 12)
    target = subband_directions(csi, radio, 4)
    turns = torch.outer(torch.arange(32), torch.arange(8)) / 32
    every = torch.polar(torch.full_like(turns, 8**-0.5), 2 * torch.pi * turns)
    best = torch.einsum("be,nser->nsb", every.conj(), target).abs().square().sum(1).argmax(1)
    found = type_i(csi, radio, 4)
    torch.testing.assert_close(found.precoders[:, 2, :, 0], every[best])
    assert found.bits.tolist() == [5] * 20


@pytest.mark.parametrize("radio", [SMALL, PLANE])
def test_one_layer_is_the_best_of_all_codewords(radio: Radio) -> None:
    csi, panel = drawn(6, *radio.shape), panel_of(radio)
    target = subband_directions(csi, radio, 2)[..., 0]
    scores = []
    for beam in panel.beams().flatten(0, 1):
        words = torch.stack([torch.cat([beam, phase * beam]) for phase in (1, 1j, -1, -1j)]) / 2**0.5
        scores.append((target @ words.mH).abs().square().amax(-1).mean(1))
    found = metrics.cosine_squared(type_i(csi, radio, 2).precoders[..., 0].mT, target.mT).mean(1)
    torch.testing.assert_close(found, torch.stack(scores).amax(0))


@pytest.mark.parametrize("radio", [SMALL, PLANE])
def test_two_layers_are_the_best_of_all_codewords(radio: Radio) -> None:
    csi, panel = drawn(6, 2, *radio.shape, seed=1), panel_of(radio)
    target = subband_directions(csi, radio, 2, 2)
    beams, scores = panel.beams(), []
    for i, j, (k1, k2) in product(range(beams.shape[0]), range(beams.shape[1]), second_beams(panel)):
        one, other = beams[i, j], beams[(i + k1) % beams.shape[0], (j + k2) % beams.shape[1]]
        words = torch.stack([
            torch.stack([torch.cat([one, phase * one]), torch.cat([other, -phase * other])], 1) for phase in (1, 1j)
        ]) / 2**0.5  # fmt: skip
        for order in ([0, 1], [1, 0]):
            alike = torch.einsum("nspr,cpr->nscr", target.conj(), words[..., order]).abs().square()
            scores.append(alike.sum(-1).amax(-1).mean(1))
    found = type_i(csi, radio, 2, 2)
    torch.testing.assert_close(found.precoders.mH @ found.precoders, torch.eye(2).expand(6, 2, 2, 2) / 2 + 0j)
    alike = (target.conj() * found.precoders).sum(2).abs().square().sum(-1).mean(1) * 2
    torch.testing.assert_close(alike, torch.stack(scores).amax(0))


def test_an_array_or_rank_without_a_codebook_is_refused() -> None:
    csi = drawn(3, *SMALL.shape)
    for radio, words, match in (
        (Radio(Array(ULA(5).layout)), {}, "line or panel"),
        (Radio(ULA(4, codebook=torch.eye(4))), {}, "line or panel"),
        (SMALL, {"rank": 2}, "rank 2 for 1 antennas"),
        (SMALL, {"rank": 3}, "rank 3"),
        (SMALL, {"subbands": 9}, "9 subbands of 8"),
        (SMALL, {"subbands": 0}, "0 subbands"),
        (PLANE, {}, "CSI has shape"),
    ):
        with pytest.raises(InputError, match=match):
            type_i(csi, radio, **{"subbands": 2} | words)
    with pytest.raises(InputError, match="NaN"):
        type_i(csi * torch.nan, SMALL, 2)
    assert len(type_i(csi[:0], SMALL, 2).precoders) == 0
