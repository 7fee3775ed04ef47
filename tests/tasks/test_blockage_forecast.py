from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from uniair.errors import InputError
from uniair.tasks.blockage_forecast import Alarm, lost_ahead, outcomes, term

NAN = torch.nan
LOS = torch.tensor([[1.0, 1, 1, 0, 1, 1], [0.0, 1, 1, 1, 1, NAN], [1.0, 1, NAN, 0, 1, 1]])


def test_a_step_is_at_risk_as_long_as_it_is_seen_in_sight() -> None:
    asked, lost = outcomes(LOS, 3, 3)
    assert asked[0].tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    assert lost[0].int().tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert not asked[1, 0].any()  # not in sight
    assert asked[1, 2].tolist() == [True, True, False]  # not known then
    assert asked[2].int().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_the_loss_is_the_likelihood_of_what_was_seen() -> None:
    hazard = torch.logit(torch.tensor([0.1, 0.2, 0.3])).expand(3, 3, 3)
    total, count = term(hazard, LOS)
    seen = [0.9 * 0.8 * 0.3, 0.9 * 0.2, 0.1, 0.9 * 0.8 * 0.7, 0.9 * 0.8, 0.9]  # drive 0, drive 1, drive 2
    assert int(count) == 6
    assert float(total) == pytest.approx(-math.log(math.prod(seen)), rel=1e-5)


def test_hazards_that_are_learned_are_the_counted_ones() -> None:
    """Windows that end before a loss must not make it look likelier: 1000 drives of a constant hazard, cut anywhere."""
    rng = np.random.default_rng(0)
    los = np.full((1000, 12), np.nan, dtype=np.float32)
    for row in los:
        gone = rng.geometric(0.2)
        row[: rng.integers(2, 13)] = 1
        row[gone:] = np.where(np.isnan(row[gone:]), np.nan, 0)
    logit = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.Adam([logit], 0.1)
    for _ in range(150):
        optimiser.zero_grad()
        total, count = term(logit.expand(1000, 1, 4), torch.from_numpy(los))
        (total / count).backward()
        optimiser.step()
    torch.testing.assert_close(torch.sigmoid(logit.detach()), torch.full((4,), 0.2), atol=0.04, rtol=0)


def test_what_comes_within_some_steps() -> None:
    found = lost_ahead(LOS, 1, 4)
    assert found[0].tolist() == [0, 0, 1, 1]
    assert found[1].isnan().all()
    assert found[2][0] == 0
    assert found[2][1:].isnan().all()
    assert lost_ahead(LOS, 2, 4)[1].tolist()[:3] == [0, 0, 0]
    assert lost_ahead(LOS, 2, 4)[1][3].isnan()


def test_a_threshold_is_chosen_for_the_highest_f1() -> None:
    score, lost = np.array([0.1, 0.4, 0.5, 0.7, 0.9]), np.array([False, False, True, False, True])
    alarm = Alarm.chosen(score, lost)
    assert alarm.threshold == 0.5
    found = alarm.figures(score, lost)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 1
    assert found["f1"] == pytest.approx(0.8)
    assert found["auprc"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["base_rate"] == pytest.approx(0.4)
    flat = Alarm.chosen(np.zeros(5), lost)
    assert flat.figures(np.zeros(5), lost)["auprc"] == pytest.approx(0.4)  # guessing
    assert Alarm(0.0).figures(np.full(5, -1.0), lost)["recall"] == 0


def test_no_loss_is_refused_and_not_scored() -> None:
    with pytest.raises(InputError, match="never lost in the validation windows"):
        Alarm.chosen(np.zeros(3), np.zeros(3, dtype=bool))
    with pytest.raises(InputError, match="sight is never lost in 3 windows: no AUPRC"):
        Alarm(0.5).figures(np.zeros(3), np.zeros(3, dtype=bool))
    with pytest.raises(InputError, match="always lost"):
        Alarm(0.5).figures(np.zeros(3), np.ones(3, dtype=bool))


def test_a_lead_is_counted_back_from_the_loss_without_a_gap() -> None:
    score, step = np.array([0.9, 0.1, 0.8, 0.7, 0.2, 0.9]), np.array([4, 5, 6, 7, 9, 3])
    assert Alarm(0.5).leads(score, step, np.array([8, 10, 5])) == [2, 0, 2]
