"""Channels completed from a part: exact paths are found again, what can't be told is averaged, bad input refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import uniair
from uniair import metrics
from uniair.angle_delay import REACH
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.radio import OFDM, UPA, Array, Radio, Subcarriers
from uniair.tasks import completion
from uniair.tasks.completion import complete, measured_part, part_of
from uniair.tasks.path_fit import FittedPaths, Measured, channel, periods

PANEL = Radio(UPA(4, 8, polarisation="slanted"), OFDM(32, 720e3), clock="first_path")


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.build("tiny").eval()  # what it reads is of no use: the fit has to find the paths


def exact(radio: Radio, links: int = 4, count: int = 3, seed: int = 0) -> torch.Tensor:
    """Channels of so many paths well apart, clocked at the first."""
    rng = np.random.default_rng(seed)
    spread = np.arange(count) / count
    along = 1.2 * (spread + rng.uniform(0, 0.5 / count, (links, count))) - 0.6
    up = rng.uniform(-0.3, 0.3, (links, count)) * (np.ptp(radio.array.layout[:, 2]) > 0)
    delay = 4e-7 * (spread + rng.uniform(0, 0.5 / count, (links, count)))
    gain = rng.uniform(0.5, 1, (links, len(radio.array.slants), count)) * np.exp(
        2j * np.pi * rng.random((links, len(radio.array.slants), count))
    )
    paths = (torch.from_numpy(part) for part in (along, up, delay))
    complex_gain = torch.from_numpy(gain).to(torch.complex64)
    return channel(FittedPaths(*paths, complex_gain, complex_gain.abs(), torch.ones(links)), radio)


def mask(radio: Radio, share: float = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(radio.shape) < share)


def test_exact_paths_are_found_again_from_a_part(model: UniversalModel) -> None:
    line = Radio(clock="first_path")
    scattered, narrow, some, few = mask(line, 1 / 8), mask(line), mask(line), mask(PANEL, 1 / 4)
    narrow[:, 32:] = False
    some[16:] = False
    for radio, known in ((line, scattered), (line, narrow), (line, some), (PANEL, few)):
        csi = torch.cat([exact(radio, seed=seed) for seed in (24, 25, 33)])
        given = torch.where(known, csi, torch.nan)  # what is not known counts for nothing
        for snr in (60, None):
            # each of them: a mean would hide one that is lost
            assert metrics.relative_error(complete(model, given, radio, known=known, snr=snr), csi).max() < 10**-3.5


def test_the_band_beside_is_written_too(model: UniversalModel) -> None:
    radio = Radio(grid=Subcarriers(np.concatenate([np.arange(48) * 720e3, 46e6 + np.arange(48) * 720e3])))
    known = mask(radio)
    known[:, 48:] = False
    csi = exact(radio)
    assert metrics.nmse_db(complete(model, csi, radio, known=known)[:, :, 48:], csi[:, :, 48:]) < -25


def test_amplitude_and_phase_stay_those_of_the_measurement(model: UniversalModel) -> None:
    known = mask(PANEL, 1 / 3)
    csi = noisy(exact(PANEL), 15, np.random.default_rng(0))
    one, other = complete(model, csi, PANEL, known=known, snr=15), complete(model, 3j * csi, PANEL, known=known, snr=15)
    torch.testing.assert_close(3j * one, other, atol=1e-2, rtol=1e-2)


def test_noise_is_averaged_away_whether_known_or_not(model: UniversalModel) -> None:
    csi = exact(Radio(clock="first_path"), links=8)
    radio, known = Radio(clock="first_path"), mask(Radio(), 1 / 4)
    for snr in (0.0, 10.0):
        heard = noisy(csi, snr, np.random.default_rng(1))
        for told in (snr, np.full(8, snr), None):
            # 3 paths of 4 numbers in 512 measured: 16 dB below the noise
            assert metrics.nmse_db(complete(model, heard, radio, known=known, snr=told), csi) < -snr - 11


def test_what_the_entries_do_not_tell_apart_is_averaged(model: UniversalModel) -> None:
    radio = Radio(clock="first_path")
    known = mask(radio)
    known[:, torch.arange(64) % 8 > 0] = False
    known[torch.arange(32) % 2 > 0] = False
    csi = exact(radio, count=1)
    measured = measured_part(csi, radio, known)
    assert periods(measured) == pytest.approx((1, REACH / 8))
    found = complete(model, csi, radio, known=known, snr=40)
    torch.testing.assert_close(found[:, known], csi[:, known], atol=2e-2, rtol=0)
    power = found.abs().square().mean((1, 2)) / csi.abs().square().mean((1, 2))
    assert (power < 0.9).all()
    whole = measured_part(csi, radio, torch.ones_like(known))
    assert periods(whole) == pytest.approx((2, REACH))


def test_what_is_known_is_the_part_of_a_radio(model: UniversalModel) -> None:
    known = torch.zeros(PANEL.shape, dtype=torch.bool)
    known[:8, ::2] = known[32:40, ::2] = True  # the lowest row, both polarisations
    part = part_of(PANEL, known)
    assert part.array == Array(PANEL.array.layout[:8], polarisation="slanted")
    assert part.grid.subcarriers == 16
    known[32:40] = False
    csi = exact(PANEL)
    beams = part_of(PANEL, known)  # of one polarisation alone: ports of the whole array
    assert beams.shape == (8, 16)
    assert metrics.nmse_db(complete(model, csi, PANEL, known=known, snr=50)[:, :8], csi[:, :8]) < -30


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"known": torch.zeros(32, 64, dtype=torch.bool)}, "no known entry"),
        ({"known": torch.ones(64, 32, dtype=torch.bool)}, "known has shape"),
        ({"known": torch.ones(32, 64)}, "torch.float32"),
        ({"csi": torch.ones(2, 32, 60) * 1j}, "CSI has shape"),
        ({"csi": torch.full((2, 32, 64), torch.nan) * 1j}, "NaN"),
        ({"csi": torch.zeros(2, 32, 64) * 1j}, "all zero"),
        ({"csi": torch.ones(2, 32, 64)}, "not complex|no imaginary"),
        ({"snr": np.ones(3)}, "snr has shape"),
        ({"snr": np.nan}, "snr has shape"),
        ({"snr": "high"}, "snr is not a number"),
        ({"known": [[True], [True, False]]}, "known is no mask"),
        ({"known": torch.arange(64).expand(32, 64) == 3}, "single subcarrier"),
        ({"known": (torch.arange(32) == 3)[:, None].expand(32, 64)}, "at least 2 antennas"),
    ],
)
def test_bad_input_is_refused_in_one_line(model: UniversalModel, change: dict[str, object], match: str) -> None:
    words = {"csi": exact(Radio(), 2), "known": torch.ones(32, 64, dtype=torch.bool), "snr": 10.0} | change
    with pytest.raises(InputError, match=match) as caught:
        complete(model, words.pop("csi"), **words)
    assert "\n" not in str(caught.value)


def test_no_links_give_no_channels(model: UniversalModel) -> None:
    csi = exact(Radio(), 2)
    assert complete(model, csi[:0], known=mask(Radio(), 0.5)).shape == (0, 32, 64)


def test_belief_is_read_by_the_clock_of_the_measurement() -> None:
    share = torch.zeros(1, 4, 8)
    share[0, 3, 2] = 1
    belief = completion.Belief(share, torch.tensor([REACH / 8]))
    here = belief.of(torch.tensor([[[0.7]]]).double(), torch.tensor([[[1.5 / 8 * REACH]]]).double())
    there = belief.of(torch.tensor([[[0.7]]]).double(), torch.tensor([[[2.5 / 8 * REACH]]]).double())
    assert float(here) == pytest.approx(1 + completion.UNLIKELY / 32)
    assert float(there) == pytest.approx(completion.UNLIKELY / 32)


def test_all_entries_at_once_are_what_each_one_gives() -> None:
    radio = Radio(UPA(2, 4), OFDM(6))
    rng = torch.Generator().manual_seed(0)
    ports, tones = (torch.randn(2, 3, size, dtype=torch.complex64, generator=rng) for size in radio.shape)
    port, tone = torch.ones(radio.shape, dtype=torch.bool).nonzero().unbind(1)
    whole = Measured(torch.zeros(2, len(port), dtype=torch.complex64), port, tone, radio)
    assert whole.whole
    torch.testing.assert_close(whole.joint(ports, tones), ports[..., port] * tones[..., tone], rtol=1e-6, atol=1e-7)
    some = Measured(whole.values[:, ::2], port[::2], tone[::2], radio)
    torch.testing.assert_close(some.joint(ports, tones), whole.joint(ports, tones)[..., ::2], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [1e-16, 1e-30])
def test_a_weak_channel_is_completed_as_a_strong_one_is(model: UniversalModel, size: float) -> None:
    known, csi = mask(PANEL, 1 / 4), exact(PANEL).to(torch.complex128)
    strong, weak = (complete(model, csi * scale, PANEL, known=known) for scale in (1.0, size))
    assert metrics.relative_error(weak.to(torch.complex128) / size, strong.to(torch.complex128)).max() < 1e-4


def test_calibrated_power_is_that_of_what_was_measured(model: UniversalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few entries are known, wherever they stand, and whatever stands in the others."""
    told: list[torch.Tensor] = []
    encode = UniversalModel.encode_checked

    def noted(self: UniversalModel, csi: torch.Tensor, radio: Radio, gain: torch.Tensor) -> torch.Tensor:
        told.append(gain)
        return encode(self, csi, radio, gain)

    monkeypatch.setattr(UniversalModel, "encode_checked", noted)
    radio = Radio(calibrated=True)
    csi = 1e-4 * torch.polar(torch.ones(2, *radio.shape), torch.rand(2, *radio.shape))
    complete(model, csi, radio, known=mask(radio, 1 / 8), snr=20)
    torch.testing.assert_close(told[0], torch.full((2,), 1e-8, dtype=torch.float64), rtol=1e-4, atol=0)
