from __future__ import annotations

import pytest
import torch

from uniair.tasks.position_forecast import figures, misses, term


def test_errors_are_distances_to_where_the_user_then_was() -> None:
    place = torch.stack([torch.arange(6.0), torch.zeros(6)], 1)[None]  # 1 m a step along x
    still = place[:, :4, None].expand(1, 4, 3, 2)
    found = misses(still, place)
    torch.testing.assert_close(found[0, :3], torch.tensor([1.0, 2.0, 3.0]).expand(3, 3))
    assert found[0, 3, :2].tolist() == [1.0, 2.0]
    assert found[0, 3, 2].isnan()  # beyond what was driven


def test_the_loss_is_what_ade_averages_and_asks_nothing_of_the_unknown() -> None:
    torch.manual_seed(0)
    position, place = torch.randn(2, 4, 3, 2, requires_grad=True), torch.randn(2, 7, 2)
    place[1, 3:] = torch.nan
    total, count = term(position, place)
    error = misses(position, place)
    assert int(count) == int(error.isfinite().sum()) == 12 + 2 + 1
    assert float((total / count).detach()) == pytest.approx(float(error[error.isfinite()].detach().mean()), abs=0.011)
    total.backward()
    assert position.grad is not None
    assert position.grad.isfinite().all()


def test_figures_are_of_windows_that_are_known_to_the_end() -> None:
    place = torch.zeros(4, 3, 2)
    position = torch.tensor([1.0, 2.0, 4.0])[None, :, None] * torch.tensor([0.6, 0.8]) * torch.ones(4, 1, 1)
    position[3] *= 2
    place[2, 2] = torch.nan
    found = figures(position, place)
    assert found["ade"] == pytest.approx((7 + 7 + 14) / 9)
    assert found["fde"] == pytest.approx(16 / 3)
    assert found["1"] == pytest.approx(4 / 3)
    assert found["fde_p90"] == pytest.approx(7.2)
    assert figures(position, torch.full_like(place, torch.nan)) == {}
