"""Gains of paths by sparse Bayesian learning: what columns that are alike get, however little noise there is."""

from __future__ import annotations

import torch

from uniair.tasks.path_fit import weighed


def test_gains_of_columns_that_are_alike_stay_finite() -> None:
    columns = torch.polar(
        torch.ones(1, 2048, 2, dtype=torch.float64), torch.linspace(0, 90, 2048)[None, :, None].double()
    )
    values = columns[..., 0]
    match = (columns.mH @ values[..., None])[..., 0]
    power = torch.ones(1, 2, dtype=torch.float64)
    for noise in (1e-3, 1e-9):
        sigma = torch.full((1, 1), noise, dtype=torch.float64)
        found = weighed(columns.mH @ columns, match, power, sigma, torch.full_like(sigma, 1e-9))
        torch.testing.assert_close(found.mean.sum(1), torch.ones(1, dtype=torch.complex128), atol=1e-3, rtol=0)
        # each is half of it, and as uncertain as before which of the two it is
        torch.testing.assert_close(found.mean[:, 0], found.mean[:, 1])
        torch.testing.assert_close(found.spread[:, 0, 0].real, power[:, 0] / 2, atol=1e-3, rtol=0)
