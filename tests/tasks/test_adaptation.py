"""Heads: their sizes, and their labels against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from uniair import losses
from uniair.environment import Batch, Environment
from uniair.models.head import Head
from uniair.radio import OFDM, ULA
from uniair.tasks.beam import beam_gains
from uniair.tasks.precoding import as_vector
from uniair.tasks.registry import TASKS


def test_heads_have_the_papers_sizes() -> None:
    assert Head(TASKS["los"].widths).parameter_count() == 258
    assert Head(TASKS["beam"].widths).parameter_count() == 10_336
    assert Head((2, 128, 64, 32)).parameter_count() == 10_720  # the paper's position MLP
    assert Head(TASKS["position"].widths).parameter_count() < 0.00387 * 7_117_312


def one_path(sine: float, gain: complex = 1e-5) -> Batch:
    steering = ULA().response(torch.tensor([[sine]], dtype=torch.float64))
    csi = gain * steering[:, :, None] * OFDM().response(torch.tensor([2e-7], dtype=torch.float64))[:, None]
    env = Environment(ue=torch.tensor([[3.0, 4.0, 1.5]]), los=torch.ones(1), size=torch.ones(1) * 50)
    return Batch(csi.to(torch.complex64), env)


@pytest.mark.parametrize("beam", [0, 5, 16, 31])
def test_the_best_beam_points_along_the_path(beam: int) -> None:
    sine = 2 * beam / 32
    batch = one_path(sine if sine <= 1 else sine - 2)
    assert TASKS["beam"].target(batch).tolist() == [beam]
    gains = beam_gains(batch)[0]
    assert gains[beam] == pytest.approx(32 * 64 * 1e-10, rel=1e-3)  # all power, 32 antennas × 64 subcarriers
    codebook = (ULA().dft_codebook().conj() @ batch.csi[0]).abs().square().sum(1)
    torch.testing.assert_close(gains, codebook, rtol=1e-3, atol=1e-12)


def test_the_precoder_is_the_paths_steering_vector() -> None:
    batch = one_path(0.3)
    vector = as_vector(TASKS["precoding"].target(batch))[0]
    steering = ULA().response(torch.tensor([0.3], dtype=torch.float64)) / math.sqrt(32)
    assert abs(torch.vdot(vector, steering)) == pytest.approx(1, abs=1e-4)
    assert vector.norm() == pytest.approx(1, abs=1e-4)
    assert float(vector[0].imag) == pytest.approx(0, abs=1e-5)


def test_path_loss_is_that_of_the_gain() -> None:
    assert float(TASKS["path_loss"].target(one_path(0.1))) == pytest.approx(100, abs=1e-3)


def test_focal_loss_is_the_formula() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.5, 0.0]])
    q = logits.softmax(1)[[0, 1], [0, 2]]
    expected = (-((1 - q) ** 2) * q.log()).mean()
    assert losses.focal(logits, torch.tensor([0, 2])) == pytest.approx(float(expected))
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2]))
    assert losses.focal(logits, torch.tensor([0, 2]), focusing=0) == pytest.approx(float(plain))
