"""Excess loss and the first path, on channels whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import uniair
from tests.propagation.test_paths import single
from uniair.errors import InputError
from uniair.link_budget import OVERSAMPLING, excess_loss, first_path
from uniair.propagation.paths import Paths, free_space_gain
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, Radio


def direct(distance: float, amplitude: float = 1.0, azimuth: float = 1.0) -> Paths:
    gain = free_space_gain(distance, Radio().carrier)
    return single(amplitude * gain, distance / SPEED_OF_LIGHT, azimuth)


def test_the_first_path_has_its_delay_and_direction_cosine() -> None:
    rng = np.random.default_rng(0)
    delay, sine = torch.from_numpy(rng.uniform(5e-8, 8e-7, 40)), torch.from_numpy(rng.uniform(-0.98, 0.98, 40))
    late = delay + 2e-7
    csi = sum(
        gain * ULA().response(s[:, None])[:, :, None] * OFDM().response(t)[:, None]
        for gain, s, t in ((1.0, sine, delay), (0.8, -sine, late))
    )
    found, at = first_path(torch.as_tensor(csi).to(torch.complex64))
    step = 1 / (OFDM().bandwidth * OVERSAMPLING)
    assert float((found - delay).abs().max()) < 2 * step
    assert float((at - sine).abs().max()) < 0.02


@pytest.mark.parametrize("distance", [15.0, 100.0, 400.0])
def test_free_space_loses_nothing_beyond_itself(distance: float) -> None:
    csi = direct(distance).csi()
    known = torch.tensor([distance], dtype=torch.float64)
    assert float(excess_loss(csi, known)) == pytest.approx(0, abs=1e-3)
    step = SPEED_OF_LIGHT / (OFDM().bandwidth * OVERSAMPLING)  # m, of the delay grid
    assert float(excess_loss(csi)) == pytest.approx(0, abs=20 * math.log10(1 + step / distance))


def test_a_weaker_or_longer_path_loses_what_it_should() -> None:
    assert float(excess_loss(direct(100.0, amplitude=0.1).csi())) == pytest.approx(20, abs=0.1)
    # a detour of twice the distance counts only where the distance is known
    csi, known = direct(200.0).csi(), torch.tensor([100.0], dtype=torch.float64)
    assert float(excess_loss(csi)) == pytest.approx(0, abs=0.1)
    assert float(excess_loss(csi, known)) == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert float(excess_loss(csi, radio=Radio(carrier=14e9))) == pytest.approx(20 * math.log10(2), abs=0.1)


def test_two_rays_add_their_powers() -> None:
    """Five delay bins apart their phases turn whole turns over the band, so that nothing of their product is left."""
    longer = 100.0 + 5 * SPEED_OF_LIGHT / OFDM().bandwidth
    csi = direct(100.0).csi() + 0.5 * direct(longer).csi()
    power = 1 + (0.5 * 100.0 / longer) ** 2
    known = torch.tensor([100.0], dtype=torch.float64)
    assert float(excess_loss(csi, known)) == pytest.approx(-10 * math.log10(power), abs=1e-3)


def test_numpy_is_as_good() -> None:
    csi = direct(100.0).csi().numpy()
    for seen in (csi, csi[:, ::-1]):  # antennas counted from the other end
        assert float(uniair.excess_loss(seen, np.array([100.0]))) == pytest.approx(0, abs=1e-3)


def test_what_is_no_channel_is_refused() -> None:
    csi = direct(100.0).csi()
    for wrong in (csi * 0, csi * math.nan):
        with pytest.raises(InputError, match="leave out links without a channel"):
            excess_loss(wrong)
    for odd in (csi.real, csi[0]):
        with pytest.raises(InputError, match=r"is not complex|expected"):
            excess_loss(odd)
    for distance in (torch.tensor([0.0]), torch.tensor([math.inf]), torch.tensor([1.0, 2.0])):
        with pytest.raises(InputError, match="distances"):
            excess_loss(csi, distance.double())
