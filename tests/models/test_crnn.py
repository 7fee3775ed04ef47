"""CRNN writes paths: each against the plane wave that it stands for."""

from __future__ import annotations

import math

import pytest
import torch

from uniair.angle_delay import frequency, write
from uniair.models.crnn import CELL, CRNN, REACH
from uniair.models.presets import preset
from uniair.radio import Radio

SHAPE = preset("tiny")
ROWS, COLUMNS = SHAPE.beams // CELL, SHAPE.delays // CELL


def planes_of(cell: tuple[int, int], gain: complex, offset: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Where all power lies in one cell, and the planes of real and imaginary part and offsets, bins, in it."""
    where = torch.full((1, ROWS, COLUMNS), -60.0)
    where[0, cell[0], cell[1]] = 60.0
    planes = torch.zeros(1, 5, ROWS, COLUMNS)
    planes[0, 1:, cell[0], cell[1]] = torch.tensor(
        [gain.real, gain.imag, *(math.atanh(bins / (CELL * REACH)) for bins in offset)]
    )
    return where.flatten(1).log_softmax(1), planes


@pytest.mark.parametrize(("beam", "delay"), [(4, 6), (5, 7), (0, 63), (31, 0)])
def test_a_path_on_a_bin_is_that_bin_of_the_spectrum(beam: int, delay: int) -> None:
    cell = (beam // CELL, delay // CELL)
    offset = tuple(at % CELL - (CELL - 1) / 2 for at in (beam, delay))
    csi = write(CRNN(SHAPE)._paths(*planes_of(cell, 0.6 - 0.8j, (offset[0], offset[1]))), Radio())
    spectrum = torch.zeros(1, SHAPE.beams, SHAPE.delays, dtype=torch.complex64)
    spectrum[0, beam, delay] = (0.6 - 0.8j) * math.sqrt(SHAPE.beams * SHAPE.delays)
    expected = frequency(spectrum)
    torch.testing.assert_close(csi, expected, rtol=1e-4, atol=1e-4)
    assert csi.abs().square().mean() == pytest.approx(1.0, abs=1e-4)


def test_a_path_between_bins_turns_the_phase_of_antennas_and_subcarriers_evenly() -> None:
    csi = write(CRNN(SHAPE)._paths(*planes_of((3, 5), 1.0 + 0.0j, (0.2, -0.3))), Radio())[0]
    beam, delay = 3 * CELL + 0.5 + 0.2 - SHAPE.beams // 2, 5 * CELL + 0.5 - 0.3
    across = (csi[1:] / csi[:-1]).angle()
    along = (csi[:, 1:] / csi[:, :-1]).angle()
    assert across.flatten() == pytest.approx(-2 * math.pi / SHAPE.beams * beam, abs=1e-4)
    assert along.flatten() == pytest.approx(-2 * math.pi / SHAPE.delays * delay, abs=1e-4)


def test_where_is_a_distribution_and_every_part_learns() -> None:
    torch.manual_seed(0)
    network = CRNN(SHAPE)
    csi, where = network(torch.nn.functional.normalize(torch.randn(3, SHAPE.embedding), dim=1))
    assert where is not None
    assert csi.shape == (3, SHAPE.beams, SHAPE.delays)
    assert where.detach().exp().sum(1) == pytest.approx(1.0, abs=1e-5)
    csi.abs().square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.values.parameters())


def test_the_paper_s_decoder_writes_values() -> None:
    base = preset("base")
    csi, where = CRNN(base)(torch.randn(2, base.embedding))
    assert where is None
    assert csi.shape == (2, base.beams, base.delays)
