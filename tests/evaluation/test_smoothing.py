"""Randomised smoothing: of a linear answer the certificate is the distance to its boundary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from uniair.errors import InputError
from uniair.evaluation.smoothing import Smoothing, certified_db, noisy_copies, votes

ENTRIES = 32


def test_copies_are_normalised_and_as_noisy_as_asked() -> None:
    csi = torch.randn(3, 16, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    csi = csi * torch.tensor([1e-9, 1.0, 1e6])[:, None, None]
    copies = noisy_copies(csi, 10.0, 20, torch.Generator().manual_seed(1))
    own = csi / csi.abs().square().mean((1, 2), keepdim=True).sqrt()
    noise = (copies - own).abs().square().mean((0, 2, 3))
    torch.testing.assert_close(10 * noise.log10(), torch.full((3,), -10.0), atol=0.1, rtol=0)


def test_of_a_linear_answer_the_certificate_stays_below_the_distance_to_the_boundary_and_comes_near() -> None:
    direction = torch.zeros(4, 8, dtype=torch.complex64)
    direction[0, 0] = 1
    angle = torch.tensor([0.05, 0.1, 0.2])  # sine: share of the channel towards the boundary
    csi = torch.zeros(3, 4, 8, dtype=torch.complex64)
    csi[:, 0, 0], csi[:, 1, 1] = angle.to(torch.complex64), (1 - angle**2).sqrt().to(torch.complex64)

    def yes(x: Tensor) -> Tensor:
        return (direction.conj() * x).real.sum((1, 2)) > 0

    smoothing = Smoothing(snr_db=15.0, copies=4000)
    count = votes(yes, csi, smoothing, torch.Generator().manual_seed(0))
    # the share of yes is Φ(distance / σ), σ being a real component's deviation beside a channel of unit norm
    sigma = 10 ** (-15 / 20) / np.sqrt(2 * ENTRIES)
    np.testing.assert_allclose(count / 4000, norm.cdf(angle.numpy() / sigma), atol=0.02)
    found, exact = certified_db(count, smoothing, ENTRIES), 20 * np.log10(angle.numpy())
    assert (found <= exact).all()
    assert found[0] > exact[0] - 1.5
    attack = csi - 1.01 * angle[:, None, None] * direction
    assert not yes(attack).any()


def test_certificates_know_close_votes_and_count_either_side() -> None:
    smoothing = Smoothing(copies=100)
    found = certified_db(np.array([50, 55, 0, 100]), smoothing, 2048)
    assert np.isneginf(found[:2]).all()
    assert found[2] == found[3] == pytest.approx(20 * np.log10(norm.ppf(0.0005**0.01) / 64), abs=0.01)
    assert (certified_db(np.array([1000]), Smoothing(copies=1000), 2048) > found[3]).all()
    assert (
        certified_db(np.array([100]), Smoothing(snr_db=-60, copies=100), 2)[0] <= 0
    )  # never beyond the channel itself


def test_what_is_no_smoothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        Smoothing(copies=1)
    with pytest.raises(InputError, match="finite SNR"):
        Smoothing(snr_db=float("nan"))
    with pytest.raises(InputError, match="all zero"):
        noisy_copies(torch.zeros(1, 2, 2, dtype=torch.complex64), 0, 1, torch.Generator())
