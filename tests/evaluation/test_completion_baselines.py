"""What completion is compared with, each against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links
from tests.tasks.test_completion import PANEL, exact, mask

from uniair import metrics
from uniair.errors import InputError
from uniair.evaluation.linear_interpolation import interpolated
from uniair.evaluation.lmmse import covariance, lmmse, lmmse_of_paths, path_by_path
from uniair.evaluation.matching_pursuit import nomp, omp
from uniair.noise import noisy
from uniair.radio import OFDM, ULA, Radio
from uniair.tasks.completion import measured_part
from uniair.tasks.path_fit import FittedPaths, channel, dictionary

SMALL = Radio(ULA(6), OFDM(8))
LINE = Radio(ULA(16), OFDM(32))


def test_lines_go_through_what_is_known_and_stay_level_beyond() -> None:
    port, tone = torch.arange(6.0)[:, None], torch.arange(8.0)
    csi = ((1 + 2j) * tone + (3 - 1j) * port + 1j)[None].to(torch.complex64)
    known = torch.zeros(6, 8, dtype=torch.bool)
    known[::5, ::7] = True
    torch.testing.assert_close(interpolated(csi, SMALL, known=known), csi)
    known[:, 7] = False
    level = csi[:, :, :1].expand(-1, -1, 8)
    torch.testing.assert_close(interpolated(csi, SMALL, known=known), level)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal((*shape, 2), dtype=np.float32)
    return torch.view_as_complex(torch.from_numpy(values))


def test_lmmse_is_the_formula() -> None:
    spread = covariance(drawn(30, 6, 8) * torch.linspace(0.1, 2, 8))
    csi, known = drawn(5, 6, 8, seed=1), mask(SMALL, 0.4)
    snr = np.array([-5.0, 0.0, 5.0, 10.0, 20.0])
    found = lmmse(csi, SMALL, known=known, snr=snr, spread=spread)
    index = known.flatten().nonzero()[:, 0]
    for one, ratio, there in zip(csi, 10 ** (snr / 10), found, strict=True):
        y = one.flatten()[index].numpy().astype(complex)
        power = (np.abs(y) ** 2).mean()
        signal, noise = power * ratio / (1 + ratio), power / (1 + ratio)
        c = spread.numpy().astype(complex) * signal
        wanted = c[:, index] @ np.linalg.solve(c[np.ix_(index, index)] + noise * np.eye(len(index)), y)
        np.testing.assert_allclose(there.flatten().numpy(), wanted, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("clock", ["absolute", "first_path"])
def test_the_true_covariance_is_that_of_the_paths(clock: str) -> None:
    radio = Radio(ULA(6), OFDM(8), clock=clock)
    links = geometric_links(seed=3, areas=1, per_area=5)
    csi, known = links.paths.csi(radio), mask(radio, 0.5)
    each = path_by_path(links.paths, radio)
    torch.testing.assert_close(each.sum(1), csi)
    heard = noisy(csi, 5, np.random.default_rng(0))
    found = lmmse_of_paths(heard, radio, known=known, snr=5, paths=links.paths)
    index = known.flatten().nonzero()[:, 0]
    for number in range(5):
        h = each[number].flatten(1).numpy().astype(complex)
        y = heard[number].flatten()[index].numpy().astype(complex)
        noise = (np.abs(y) ** 2).mean() / (1 + 10**0.5)
        c = h.T @ h.conj()
        wanted = c[:, index] @ np.linalg.solve(c[np.ix_(index, index)] + noise * np.eye(len(index)), y)
        np.testing.assert_allclose(found[number].flatten().numpy(), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_omp_finds_paths_of_its_grid_exactly() -> None:
    known = mask(LINE, 0.5)
    grid = dictionary(measured_part(torch.ones(1, 16, 32) * 1j, LINE, known), 4)
    at, late = torch.tensor([[10, 30, 50], [5, 40, 56]]), torch.tensor([[0, 30, 70], [90, 14, 50]])
    gain = torch.tensor([[[1, 0.6j, -0.3]], [[0.9j, 0.5, 0.7]]], dtype=torch.complex64)
    csi = channel(FittedPaths(grid.along[at], grid.up[at], grid.delay[late], gain, gain.abs(), torch.ones(2)), LINE)
    assert metrics.nmse_db(omp(csi, LINE, known=known, snr=50), csi) < -50


@pytest.mark.parametrize("radio", [LINE, PANEL])
def test_newton_steps_find_paths_between_the_cells(radio: Radio) -> None:
    csi, known = exact(radio, links=3), mask(radio, 0.5)
    off, on = (metrics.nmse_db(method(csi, radio, known=known, snr=40), csi) for method in (omp, nomp))
    assert on < -35
    assert on < off - 5


def test_of_noise_alone_no_path_is_made() -> None:
    csi = drawn(20, 16, 32)
    found = omp(csi, LINE, known=mask(LINE, 0.5), snr=-40)
    assert (found.abs().amax((1, 2)) == 0).float().mean() > 0.9
    assert len(omp(csi[:0], LINE, known=mask(LINE, 0.5), snr=0)) == 0


def test_noise_that_is_not_known_and_large_covariances_are_refused() -> None:
    csi = drawn(2, 6, 8)
    for method in (omp, nomp):
        with pytest.raises(InputError, match="snr is not given"):
            method(csi, SMALL, known=mask(SMALL, 0.5), snr=None)
    with pytest.raises(InputError, match="larger than"):
        covariance(torch.ones(1, 100, 100) * 1j)
