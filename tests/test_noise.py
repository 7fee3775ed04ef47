"""White noise: its power, and on how many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uniair.noise import TELLING, estimated_snr, noisy, some_noisy


def test_noise_has_the_power_that_the_snr_says() -> None:
    csi = torch.randn(24, 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)) * 1e-5
    for db in (-10, 0, 20):
        noise = noisy(csi, db, np.random.default_rng(0)) - csi
        ratio = csi.abs().square().mean((1, 2)) / noise.abs().square().mean((1, 2))
        torch.testing.assert_close(10 * ratio.log10(), torch.full((24,), float(db)), atol=0.5, rtol=0)
    each = noisy(csi, np.array([0.0, np.inf] * 12), np.random.default_rng(1))
    assert torch.equal(each[1::2], csi[1::2])
    assert (each[::2] != csi[::2]).any()
    assert torch.equal(noisy(csi, 0, np.random.default_rng(1)), noisy(csi, 0, np.random.default_rng(1)))


def test_a_batch_may_draw_no_noise() -> None:
    csi = torch.randn(12, 4, 8, dtype=torch.complex64)
    assert torch.equal(some_noisy(csi, 1e-9, (0, 30), np.random.default_rng(0)), csi)


def test_noise_has_the_drawn_power_on_the_drawn_share() -> None:
    csi = torch.randn(4000, 4, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)) * 1e-6
    seen = some_noisy(csi, 0.25, (0, 30), np.random.default_rng(0))
    touched = (seen != csi).any(2).any(1)
    assert 0.22 < touched.float().mean() < 0.28
    noise = (seen - csi)[touched].abs().square().mean((1, 2))
    snr = 10 * torch.log10(csi[touched].abs().square().mean((1, 2)) / noise)
    assert -3 < snr.min() < 3
    assert 27 < snr.max() < 33
    assert snr.mean() == pytest.approx(15, abs=1.5)


def test_noise_is_told_from_a_channel_of_some_paths() -> None:
    rng = np.random.default_rng(0)
    across, along = (rng.uniform(-0.5, 0.5, (64, 6, 1)), rng.uniform(0, 0.3, (64, 6, 1)))
    gain = np.exp(2j * np.pi * rng.random((64, 6))) * 10 ** (-rng.uniform(0, 1, (64, 6)))
    steering = np.exp(2j * np.pi * across * np.arange(32)), np.exp(-2j * np.pi * along * np.arange(64))
    csi = torch.from_numpy(np.einsum("nl,nlp,nlk->npk", gain, *steering)).to(torch.complex64)
    for db in (10, 0, -5):
        said = estimated_snr(noisy(csi, db, rng))
        # what paths spill over the cells counts as noise, by the more the less noise there is
        assert db - (1.5 if db == 10 else 1) < said.median() < db + 1
        assert said.min() > -12
    assert (estimated_snr(noisy(csi, -23, rng)) < -13).float().mean() > 0.9
    assert estimated_snr(csi[:, :, : TELLING // 32 - 1]).isnan().all()
