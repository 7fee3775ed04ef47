"""Paths as bits: few exact paths come through, beginnings are codes, other radios and lengths are refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.tasks.test_completion import PANEL, exact

import uniair
from uniair import metrics
from uniair.angle_delay import REACH
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks.bit_code import BitString
from uniair.tasks.completion import fitted_paths, measured_part
from uniair.tasks.path_code import HEADER, PathCode
from uniair.tasks.path_laws import PathLaws, packaged_laws
from uniair.tasks.path_rounding import GAINS

LINE = Radio(clock="first_path")


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.build("tiny").eval()  # what it reads is of no use: the fit has to find the paths


def alike(found: torch.Tensor, csi: torch.Tensor) -> float:
    """Squared cosine of whole channels: power and common phase are not sent."""
    return float(metrics.cosine_squared(found.flatten(1), csi.flatten(1)).mean())


def subcarriers(found: torch.Tensor, csi: torch.Tensor) -> torch.Tensor:
    """SGCS of each channel over its subcarriers."""
    return metrics.cosine_squared(found, csi).mean(1)


def test_the_last_rounding_always_has_room_for_a_path() -> None:
    code = PathCode(LINE)  # 15.5 wavelengths; 64 delays
    finest, coarsest = code.roundings[0], code.roundings[-1]
    assert finest.widths == (9, 0, 9)  # sixteenths of a beam, eighths of a delay
    assert (coarsest.widths, coarsest.laws) == ((6, 0, 6), None)
    assert coarsest.first == 6 + 6 + 2
    assert code.shortest == 24
    assert PathCode(PANEL).roundings[-1].first == sum(PathCode(PANEL).roundings[-1].widths) + 2 * 5 - 3


def test_probable_paths_take_fewer_bits_and_all_take_what_is_told_of_them() -> None:
    rounding = PathCode(LINE).roundings[2]
    begin = rounding._begin
    near = round(-begin / 1e12 / REACH * 2 ** rounding.widths[2])  # at the clock's start
    likely, rare = [100, 0, near, 0, 0], [100, 0, 2 ** rounding.widths[2] - 1, 6, 0]
    for first, least, most in ((likely, 8, 15), (rare, 18, 40)):
        fields = torch.tensor([[first]])
        spent = float(rounding._bits_of(fields, rounding._bits_of_places(fields[..., :3])))
        assert least < spent < most
        length = math.ceil(spent) + 1
        assert rounding.fields(rounding.bits(fields, length))[:, :1].tolist() == fields.tolist()
        assert (rounding.fields(rounding.bits(fields, length)[:, : int(spent) - 2])[..., 3] == rounding.none).all()


def test_of_the_roundings_the_one_that_meets_the_channel_best_is_sent(model: UniversalModel) -> None:
    csi, code = exact(LINE, links=12), PathCode(LINE)
    sent = code.encode(model, csi, 64)
    best = subcarriers(code.decode(sent), csi)
    assert len(sent.bits[:, :HEADER].unique(dim=0)) > 1
    for number in range(len(code.roundings)):
        one = PathCode(LINE)
        object.__setattr__(one, "roundings", (code.roundings[number],) * len(code.roundings))
        assert (subcarriers(one.decode(one.encode(model, csi, 64)), csi) <= best + 1e-6).all()


def test_paths_that_are_not_there_are_none(model: UniversalModel) -> None:
    """Of one exact path, more bits than it takes say that there are no others, and not that they are 21 dB weaker."""
    csi, code = exact(LINE, links=6, count=1), PathCode(LINE)
    few, many = (subcarriers(code.decode(code.encode(model, csi, length)), csi).mean() for length in (40, 512))
    assert many >= few - 1e-3
    assert few > 0.95


@pytest.mark.parametrize("radio", [Radio(grid=OFDM(2, 15e3)), Radio(UPA(1, 4), OFDM(4, 15e3))])
def test_what_a_radio_can_not_tell_takes_no_bits(model: UniversalModel, radio: Radio) -> None:
    code, csi = PathCode(radio), exact(radio, links=3, count=1)
    assert 0 in code.roundings[0].widths
    assert subcarriers(code.decode(code.encode(model, csi, 60)), csi).min() > 0.97


@pytest.mark.parametrize("radio", [LINE, PANEL])
def test_few_paths_come_through_and_more_bits_are_nearer(model: UniversalModel, radio: Radio) -> None:
    csi, code = exact(radio, links=6), PathCode(radio)
    found = [alike(code.decode(code.encode(model, csi, length)), csi) for length in (30, 60, 120)]
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.93
    turned = code.encode(model, csi * 3j, 120)
    assert alike(code.decode(turned), csi) == pytest.approx(found[2], abs=0.01)


@pytest.mark.parametrize("radio", [LINE, PANEL])
def test_every_length_is_read_as_it_was_written(model: UniversalModel, radio: Radio) -> None:
    csi, code = exact(radio, links=3), PathCode(radio)
    everything = torch.ones(radio.shape, dtype=torch.bool)
    ((paths, part, _),) = fitted_paths(model, measured_part(csi, radio, everything), everything, 30.0)
    for rounding in (code.roundings[0], code.roundings[4], code.roundings[-1]):
        for length in range(40, 130, 7):
            fields = rounding.rounded(paths, part, length)
            there = (fields[..., GAINS::2] < rounding.none).any(-1)
            read = rounding.fields(rounding.bits(fields, length))
            for link in range(len(csi)):
                sent, got = fields[link][there[link]], read[link]
                got = got[(got[:, GAINS::2] < rounding.none).any(1)]
                assert sent.tolist() == got.tolist()


def test_a_beginning_is_a_code(model: UniversalModel) -> None:
    csi, code = exact(LINE, links=6), PathCode(LINE)
    whole = code.encode(model, csi, 100)
    found = [alike(code.decode(whole.prefix(length)), csi) for length in (50, 75, 100)]
    assert 0.3 < found[0] < found[1] < found[2]
    assert whole.bits.shape == (6, 100)
    again = BitString.from_bytes(whole.to_bytes())
    torch.testing.assert_close(code.decode(again), code.decode(whole))
    assert code.encode(model, csi[:0], 100).bits.shape == (0, 100)


def test_what_is_cut_before_its_first_path_ends_is_refused() -> None:
    code = PathCode(PANEL)
    rare = torch.tensor([[[3, 1, 2 ** code.roundings[0].widths[2] - 1, 9, 5, 12, 7]]])
    rare = torch.nn.functional.pad(code.roundings[0].bits(rare, 80), (HEADER, 0))  # told by the first rounding
    sent = BitString(rare.repeat(2, 1), code.digest)
    assert code.decode(sent).shape == (2, *PANEL.shape)
    with pytest.raises(InputError, match=r"2 of 2 .* no whole path in their 24 bits"):
        code.decode(sent.prefix(24))


def test_other_laws_are_another_code() -> None:
    told = packaged_laws().to_json()
    told["up"][1] += 1
    other = PathCode(LINE, PathLaws.from_json(told))
    sent = BitString(torch.zeros(1, 64, dtype=torch.uint8), PathCode(LINE).digest)
    with pytest.raises(InputError, match="both ends need the same radio, laws and places"):
        other.decode(sent)


def test_another_radio_or_length_is_refused(model: UniversalModel) -> None:
    csi, code = exact(LINE, links=2), PathCode(LINE)
    sent = code.encode(model, csi, 64)
    with pytest.raises(InputError, match="both ends need the same radio, laws and places"):
        PathCode(Radio(ULA(16))).decode(sent)
    for length in (23, 513):
        with pytest.raises(InputError, match=f"path code of {length} bits"):
            code.encode(model, csi, length)
    with pytest.raises(InputError, match="other values"):
        code.decode(sent._replace(bits=sent.bits * 2 + 1))
    with pytest.raises(InputError, match="CSI has shape"):
        code.encode(model, csi[:, :8], 64)


def test_paths_are_written_for_other_radios(model: UniversalModel) -> None:
    """Twice the antennas; and the band beside, where the phase between paths is another."""
    wide = Radio(ULA(64), clock="first_path")
    sent = PathCode(LINE).encode(model, exact(LINE, links=6, count=2), 200)
    assert alike(PathCode(LINE).decode(sent, wide), exact(wide, links=6, count=2)) > 0.9
    for other, says in (
        (PANEL, "seen in vertical polarisation can't be written in"),
        (replace(LINE, carrier=3.5e9), "can't be written for 3.5 GHz"),
        (replace(LINE, clock="absolute"), "no absolute delays"),
        (replace(LINE, array=ULA(32, pattern="tr38901")), "of pattern isotropic can't be written for tr38901"),
        (replace(LINE, ue=ULA(1, polarisation="horizontal")), "UE of vertical"),
    ):
        with pytest.raises(InputError, match=says):
            PathCode(LINE).decode(sent, other)
    absolute = PathCode(replace(LINE, clock="absolute"))
    with pytest.raises(InputError, match="of clock absolute can't be written for first_path"):
        absolute.decode(BitString(sent.bits, absolute.digest), LINE)
    both = exact(replace(LINE, grid=OFDM(128, LINE.grid.spacing)), links=6, count=2)
    half = LINE.grid.bandwidth / 2
    below, above = (replace(LINE, carrier=LINE.carrier + shift) for shift in (-half, half))
    sent = PathCode(below).encode(model, both[..., :64], 200)
    assert alike(PathCode(below).decode(sent), both[..., :64]) > 0.95
    assert alike(PathCode(below).decode(sent, above), both[..., 64:]) > 0.85
