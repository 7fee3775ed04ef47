from __future__ import annotations

import numpy as np
import pytest

from uniair.errors import InputError
from uniair.evaluation.sequential_comparison import MOST, PRIOR, WORTH, Lead


def bet(differences: np.ndarray, **settings: float) -> Lead:
    lead = Lead(**settings)  # type: ignore[arg-type]
    for difference in differences:
        lead.take(float(difference))
    return lead


def test_the_stake_is_fixed_before_the_difference_is_seen() -> None:
    lead = bet(np.array([1.0, 0.5]))
    mean, square = 1 / (1 + WORTH), PRIOR + (1 - PRIOR) / (1 + WORTH)
    assert lead.wealth == pytest.approx(1 + 0.5 * mean / square)  # nothing was staked on the first
    assert bet(np.ones(5)).wealth <= (1 + MOST) ** 4


def test_one_that_is_never_ahead_wins_in_a_share_of_the_rounds_at_most() -> None:
    rng = np.random.default_rng(0)
    fair = rng.choice([-1.0, 0.0, 1.0], (400, 600), p=[0.2, 0.6, 0.2])
    # its spread hangs on what went before, as that of the steps of a drive does; its mean stays 0
    calm = np.where(np.roll(np.abs(fair), 1, axis=1) > 0, fair, fair / 4)
    for differences in (fair, calm):
        won = np.mean([bet(row, level=0.1).won for row in differences])
        assert 0 < won < 0.1 + 2 * np.sqrt(0.1 * 0.9 / 400)
    behind = bet(-np.abs(fair[0]))
    assert (behind.won, behind.wealth) == (False, 1.0)


def test_one_that_is_ahead_wins_also_after_a_time_behind() -> None:
    rng = np.random.default_rng(1)
    ahead = rng.choice([-1.0, 0.0, 1.0], 900, p=[0.1, 0.7, 0.2])
    assert bet(ahead).won
    assert bet(np.concatenate([-ahead, -ahead, ahead])).won
    alike = rng.choice([-1.0, 0.0, 1.0], 6000, p=[0.2, 0.6, 0.2])
    assert bet(np.concatenate([alike, ahead]), level=1e-3, span=1000).taken == 6900
    assert not bet(alike, level=1e-3).won


@pytest.mark.parametrize("wrong", [{"level": 0.0}, {"level": 1.0}, {"recent": 0}, {"span": 0}])
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give a level between 0 and 1"):
        Lead(**wrong)  # type: ignore[arg-type]
