"""Paths as bits: few exact paths come through, beginnings are codes, other radios and lengths are refused."""

from __future__ import annotations

import pytest
import torch
from tests.tasks.test_completion import PANEL, exact

import uniair
from uniair import metrics
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import ULA, Radio
from uniair.tasks.bit_code import BitString
from uniair.tasks.path_code import HEADER, PathCode

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


def test_a_path_takes_its_bits() -> None:
    code = PathCode(LINE)  # 15.5 wavelengths, eighths of a beam; 64 delays, quarters
    finest, coarsest = code.roundings[0], code.roundings[-1]
    assert finest.widths == (8, 0, 8)
    assert finest.each == 8 + 8 + 3 + 4
    assert [finest.paths(length) for length in (18, 19, 41, 42, 64, 65, 512)] == [0, 1, 1, 2, 2, 3, 22]
    assert coarsest.each == 6 + 6 + 2 + 3
    assert code.shortest == 24  # a header, and a path by any rounding
    assert PathCode(PANEL).roundings[0].each == sum(PathCode(PANEL).roundings[0].widths) + 2 * 7


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


@pytest.mark.parametrize("radio", [LINE, PANEL])
def test_few_paths_come_through_and_more_bits_are_nearer(model: UniversalModel, radio: Radio) -> None:
    csi, code = exact(radio, links=6), PathCode(radio)
    finest = code.roundings[0]
    lengths = [max(HEADER + count * finest.each - finest.phase, 24) for count in (1, 2, 3)]
    found = [alike(code.decode(code.encode(model, csi, length)), csi) for length in lengths]
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.93
    turned = code.encode(model, csi * 3j, lengths[2])
    assert alike(code.decode(turned), csi) == pytest.approx(found[2], abs=0.01)


def test_a_beginning_of_whole_paths_is_a_code(model: UniversalModel) -> None:
    csi, code = exact(LINE, links=6), PathCode(LINE)
    whole = code.encode(model, csi, 100)
    assert alike(code.decode(whole.prefix(HEADER + 42)), csi) > 0.5
    assert whole.bits.shape == (6, 100)
    again = BitString.from_bytes(whole.to_bytes())
    torch.testing.assert_close(code.decode(again), code.decode(whole))
    assert code.encode(model, csi[:0], 100).bits.shape == (0, 100)


def test_what_is_cut_before_its_first_path_ends_is_refused() -> None:
    code = PathCode(PANEL)
    taken = HEADER + code.roundings[0].each - code.roundings[0].phase
    assert code.shortest < taken
    sent = BitString(torch.zeros(2, taken, dtype=torch.uint8), code.digest)  # told by the finest rounding, number 0
    assert code.decode(sent).shape == (2, *PANEL.shape)
    with pytest.raises(InputError, match=f"2 of 2 .* no whole path in {taken - 1} bits: the first takes {taken}"):
        code.decode(sent.prefix(taken - 1))


def test_another_radio_or_length_is_refused(model: UniversalModel) -> None:
    csi, code = exact(LINE, links=2), PathCode(LINE)
    sent = code.encode(model, csi, 64)
    with pytest.raises(InputError, match="both ends need the same radio"):
        PathCode(Radio(ULA(16))).decode(sent)
    for length in (23, 513):
        with pytest.raises(InputError, match=f"path code of {length} bits"):
            code.encode(model, csi, length)
    with pytest.raises(InputError, match="other values"):
        code.decode(sent._replace(bits=sent.bits * 2 + 1))
    with pytest.raises(InputError, match="CSI has shape"):
        code.encode(model, csi[:, :8], 64)
