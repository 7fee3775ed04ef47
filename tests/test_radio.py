"""Radios: arrays and grids against closed forms, their JSON, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import uniair
from uniair.errors import InputError
from uniair.radio import OFDM, ULA, UPA, Antennas, Array, Radio, Subcarriers

RING = np.stack([np.cos(np.arange(5)), np.sin(np.arange(5)), 0.3 * np.arange(5)], axis=1)
ARRAYS = (ULA(7, 0.6), UPA(3, 4, 0.8, 0.55), Array(RING), ULA(6, pattern="tr38901"),
          ULA(4, codebook=ULA(4).dft_codebook().numpy()))  # fmt: skip
GRIDS = (OFDM(12, 240e3), OFDM(5, 1e6, 46.08e6), Subcarriers([-3e6, 0, 1e6, 7.5e6]))


def directions(count: int = 9) -> torch.Tensor:
    drawn = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_a_port_takes_in_a_plane_wave(array: Antennas) -> None:
    d = directions()
    elements = np.exp(-2j * np.pi * d.numpy() @ array.layout.T) * array.amplitude(d).numpy()[:, None]
    ports = elements if array.codebook is None else elements @ np.conj(np.array(array.codebook)).T
    have = array.response(d, torch.full((9,), 2j, dtype=torch.complex64))
    np.testing.assert_allclose(have.numpy(), 2j * ports, atol=2e-5)
    assert have.shape == (9, array.ports)


def test_paper_1_s_radio_is_the_default() -> None:
    radio = uniair.Radio()
    assert (radio.array, radio.grid, radio.carrier, radio.clock) == (ULA(32, 0.5), OFDM(64, 720e3), 28e9, "absolute")
    assert not radio.calibrated
    cosine = torch.linspace(-1, 1, 11, dtype=torch.float64)
    expected = torch.polar(torch.ones(11, 32), -math.pi * cosine[:, None].float() * torch.arange(32))
    torch.testing.assert_close(radio.array.response(cosine[:, None]), expected, atol=2e-5, rtol=0)
    assert str(radio) == "ULA of 32, 0.5 λ apart; 64 × 720 kHz; 28 GHz; absolute clock"


def test_a_panel_counts_columns_along_x_and_rows_upwards() -> None:
    panel = UPA(2, 3, vertical=0.8, horizontal=0.5)
    np.testing.assert_allclose(panel.layout[:, 0], [0, 0.5, 1.0] * 2)
    np.testing.assert_allclose(panel.layout[:, 2], [0] * 3 + [0.8] * 3)
    assert panel.ports == 6


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_tones_turn_by_delay(grid: OFDM | Subcarriers) -> None:
    delay = torch.tensor([0.0, 3.3e-8, 1.2e-6], dtype=torch.float64)
    expected = np.exp(-2j * np.pi * delay.numpy()[:, None] * grid.frequencies)
    np.testing.assert_allclose(grid.response(delay).numpy(), expected, atol=2e-5)


def test_a_comb_and_a_band_beside_are_grids() -> None:
    whole = OFDM(64, 720e3)
    np.testing.assert_allclose(OFDM(16, 4 * 720e3).frequencies, whole.frequencies[::4])
    np.testing.assert_allclose(OFDM(64, 720e3, 46.08e6).frequencies, whole.frequencies + 46.08e6)
    even = Subcarriers(whole.frequencies)
    assert even.bandwidth == pytest.approx(whole.bandwidth)
    assert even.subcarriers == whole.subcarriers


def test_the_element_is_that_of_38_901() -> None:
    angle = np.deg2rad([0.0, 32.5, -32.5, 65.0, 180.0, 360.0])
    level = torch.from_numpy(np.stack([np.sin(angle), np.cos(angle), np.zeros(6)], axis=1))
    array = ULA(2, pattern="tr38901")
    np.testing.assert_allclose(20 * np.log10(array.amplitude(level).numpy()), [8, 5, 5, -4, -22, 8], atol=1e-6)
    down = torch.tensor([[0, math.cos(math.radians(32.5)), -math.sin(math.radians(32.5))]], dtype=torch.float64)
    assert 20 * math.log10(float(array.amplitude(down))) == pytest.approx(5)


@pytest.mark.parametrize("array", ARRAYS, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_radio_survives_json(array: Antennas, grid: OFDM | Subcarriers, tmp_path: Path) -> None:
    radio = Radio(array, grid, 3.5e9, "first_path", calibrated=True)
    text = json.dumps(radio.to_json())
    again = Radio.from_json(json.loads(text))
    assert again == radio
    assert hash(again) == hash(radio)
    assert Radio.parse(text) == radio
    (tmp_path / "radio.json").write_text(text)
    assert Radio.parse(str(tmp_path / "radio.json")) == radio
    assert {*radio.differs(Radio())} == {"array", "grid", "carrier", "clock", "amplitude"}
    assert not radio.differs(again)
    assert "\n" not in str(radio)


def test_numbers_of_any_kind_become_plain_ones() -> None:
    radio = Radio(
        ULA(np.int64(16), np.float32(0.5)), OFDM(np.int64(12), np.float32(1e6)), np.float32(28e9), "absolute", np.True_
    )  # type: ignore[arg-type]
    assert json.loads(json.dumps(radio.to_json())) == Radio(ULA(16), OFDM(12, 1e6), 28e9, calibrated=True).to_json()


def test_radios_differ_in_what_they_measure_not_in_how_they_are_written() -> None:
    assert not Radio(UPA(1, 32)).differs(Radio())
    assert not Radio(Array(ULA(32).layout)).differs(Radio())
    assert not Radio(grid=Subcarriers(OFDM().frequencies)).differs(Radio())
    one, other = (Radio(grid=Subcarriers([0, middle, 8e6, 9e6])) for middle in (1e6, 4e6))
    assert one.differs(other) == {"grid": (str(one.grid), f"{other.grid} (other numbers)")}
    eye = np.eye(4)
    assert [*Radio(ULA(4, codebook=eye)).differs(Radio(ULA(4, codebook=eye[::-1])))] == ["array"]


def test_what_is_left_out_is_paper_1_s() -> None:
    assert Radio.from_json({}) == Radio()
    assert Radio.from_json({"array": {"kind": "ula", "antennas": 16}}) == Radio(ULA(16))
    assert Radio.from_json({"grid": {"subcarriers": 12}, "carrier": 3.5e9}) == Radio(grid=OFDM(12), carrier=3.5e9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Array([[0, 0, 0], [np.nan, 0, 0]]), "positions hold NaN"),
        (lambda: Array([[0, 0, 0], [0, 0, 0]]), "same position"),
        (lambda: Array([[0, 0]]), "shape"),
        (lambda: Array("abc"), "not real numbers"),
        (lambda: Subcarriers([0, 2e6, 1e6]), "out of order"),
        (lambda: Subcarriers([0, np.inf]), "NaN"),
        (lambda: Radio(ULA(1)), "without extent"),
        (lambda: Radio(grid=OFDM(1)), "single subcarrier"),
        (lambda: ULA(0), "from 1 to"),
        (lambda: ULA(10**12), "from 1 to"),
        (lambda: ULA(True), "whole number"),
        (lambda: ULA(8, -0.5), "above 0"),
        (lambda: ULA(8, pattern="cosine"), "none of isotropic, tr38901"),
        (lambda: ULA(8, codebook=np.ones((3, 7))), "codebook has shape"),
        (lambda: UPA(2, 2.5), "whole number"),
        (lambda: OFDM(64, float("nan")), "above 0"),
        (lambda: OFDM(64, 720e3, float("inf")), "finite"),
        (lambda: OFDM(64, True), "spacing is True"),
        (lambda: OFDM(first="a"), "first subcarrier"),  # type: ignore[arg-type]
        (lambda: Radio(calibrated="false"), "calibrated is 'false'; give true or false"),  # type: ignore[arg-type]
        (lambda: Radio.from_json({"carrier": True}), "carrier is True"),
        (lambda: Radio.from_json({"carrier": 10**400}), "carrier"),
        (lambda: Radio.parse('{"array":' + "[" * 100_000), "not valid JSON"),
        (lambda: ULA(4, codebook=np.zeros((4, 4))), "all zero"),
        (lambda: Array(np.eye(3, dtype=bool)), "not real numbers"),
        (lambda: Subcarriers(["1", "2"]), "not real numbers"),
        (lambda: Radio(grid=Subcarriers([3.5e9, 3.5001e9]), carrier=3.5e9), "from the carrier, not from 0"),
        (lambda: Radio(carrier=0), "carrier"),
        (lambda: Radio(clock="gps"), "clock 'gps'"),
        (lambda: Radio(array=32), "array is int"),  # type: ignore[arg-type]
        (lambda: Radio(grid=64), "grid is int"),  # type: ignore[arg-type]
        (lambda: ULA(4).response(torch.zeros(4, 2)), "directions"),
        (lambda: Radio.from_json({"format": "uniair-radio/2"}), "update uniair"),
        (lambda: Radio.from_json({"array": {"kind": "uca"}}), "none of ula, upa, array"),
        (lambda: Radio.from_json({"array": {"length": 3}}), "not a radio"),
        (lambda: Radio.from_json({"antennas": 3}), "not a radio"),
        (lambda: Radio.from_json([3]), "is an object"),
        (lambda: Radio.parse("no-such-file.json"), "neither a file"),
        (lambda: Radio.parse("{half"), "not valid JSON"),
    ],
)
def test_what_is_no_radio_is_refused_in_one_line(make: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


NAMES = ("kind", "array", "grid", "carrier", "positions", "codebook", "antennas", "tones", "spacing", "clock", "format")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(JSON)
def test_any_json_is_a_radio_or_one_line(entries: object) -> None:
    try:
        found: object = Radio.from_json(entries)
    except InputError as error:
        found = str(error)
    assert isinstance(found, Radio) or "\n" not in str(found)


@pytest.mark.parametrize(
    "array", [ULA(32), ULA(16, 0.7), ULA(12, 0.4), UPA(4, 8), UPA(2, 16, vertical=0.7), Array(np.eye(3) * 0.5)], ids=str
)
def test_a_beam_takes_in_most_from_where_it_points_to(array: Antennas) -> None:
    codebook = array.dft_codebook()
    assert codebook.shape == (array.ports, array.ports)
    np.testing.assert_allclose(codebook.norm(dim=1), 1, atol=1e-6)
    along, up = torch.from_numpy(array.beam_cosines()).T
    seen = 1 - along.square() - up.square()  # beams of close elements point beyond what there is
    direction = torch.stack([along, seen.clamp_min(0).sqrt(), up], -1)[seen >= 0]
    taken = (codebook.conj() @ array.response(direction).mT).abs()
    wanted = torch.arange(array.ports)[seen >= 0]
    assert (taken[wanted, torch.arange(len(wanted))] >= taken.amax(0) - 1e-4).all()


def test_measured_beams_are_the_choice_and_point_where_they_take_in_most() -> None:
    plain = ULA(16)
    array = ULA(16, codebook=plain.dft_codebook()[:8].numpy())
    assert torch.equal(array.dft_codebook(), torch.eye(8, dtype=torch.complex64))
    np.testing.assert_allclose(array.beam_cosines()[:, 0], plain.beam_cosines()[:8, 0], atol=2 / 64)
