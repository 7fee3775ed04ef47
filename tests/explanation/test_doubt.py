"""Doubt where answers are wrong, and sets that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import uniair
from tests.explanation.scene import csi, ground, place
from uniair.errors import InputError
from uniair.explanation.conformal import LEVELS, Promise, mass, of_right
from uniair.explanation.doubt import Doubt, Signals, certainty, outside, signals
from uniair.models.learned import PAPER_1
from uniair.models.universal import RadioWarning
from uniair.radio import OFDM, ULA, Radio


def some(seed: int, count: int = 4000) -> tuple[Signals, torch.Tensor]:
    """Answers that are wrong the oftener the less certain they are and the worse their channel is restored."""
    rng = torch.Generator().manual_seed(seed)
    columns = torch.randn(4, count, generator=rng, dtype=torch.float64)
    odds = -1.0 - 1.5 * columns[0] + 0.8 * columns[1]
    return Signals(*columns), torch.rand(count, generator=rng) < torch.sigmoid(odds)


def test_doubt_finds_out_what_tells_wrong_answers() -> None:
    doubt = Doubt.fitted(*some(0))
    assert doubt.weight == pytest.approx((-1.5, 0.8, 0, 0), abs=0.15)
    told, wrong = some(1)
    stated = doubt.of(told)
    for low in (0.0, 0.2, 0.5):
        group = (stated >= low) & (stated < low + 0.2)
        assert float(wrong[group].double().mean()) == pytest.approx(float(stated[group].mean()), abs=0.06)
    assert Doubt.from_json(doubt.to_json(), "here") == doubt


def test_nothing_is_learned_where_nothing_is_wrong() -> None:
    told, wrong = some(0)
    with pytest.raises(InputError, match="all of them right"):
        Doubt.fitted(told, torch.zeros_like(wrong))
    with pytest.raises(InputError, match="here: not what doubt was fitted to"):
        Doubt.from_json({"weight": [1]}, "here")


def test_signals_of_a_channel_in_its_place_and_of_noise() -> None:
    model = uniair.load("small")
    ue = np.array([[90.0, 40.0, 1.5]])
    env = place(ground((30.0, 70.0, 100.0, 90.0)), ue)
    seen = csi([[(ue[0], 1.0)]], Radio())
    rng = torch.Generator().manual_seed(0)
    noise = torch.complex(*(torch.randn(1, *Radio().shape, generator=rng) for _ in range(2)))
    odds = torch.zeros(1)
    good = signals(model, seen, env, odds)
    with pytest.warns(RadioWarning, match="hardly to be told from noise"):
        bad = signals(model, noise, env, odds)
    assert float(good.restored) < -6
    assert float(bad.restored) > -2
    assert float(good.fit) > float(bad.fit) + 0.2


def test_outside_counts_octaves() -> None:
    env = place(ground(), np.array([[90.0, 40.0, 1.5]]))
    assert float(outside(PAPER_1, Radio(), env)) == pytest.approx(np.log2(6 / 6), abs=1e-6)
    wide = Radio(array=ULA(63), grid=OFDM(128, 720e3), carrier=56e9)
    assert float(outside(PAPER_1, wide, env)) == pytest.approx(3.0, abs=0.01)
    assert float(outside(None, wide, env)) == 0


def test_certainty_is_the_log_odds_of_the_likeliest() -> None:
    assert certainty(torch.tensor([[0.2, 0.8]])) == pytest.approx(torch.tensor([np.log(4.0)]))


def test_sets_hold_what_they_promise_in_places_never_seen() -> None:
    rng = np.random.default_rng(0)

    def answers(places: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Of five classes; in each place logits are sharper or blunter than they should be."""
        sharp = rng.uniform(0.6, 1.6, places).repeat(200)
        logits = torch.from_numpy(rng.normal(0, 1.5, (len(sharp), 5)))
        right = torch.distributions.Categorical(logits=logits).sample()
        return mass(torch.softmax(logits * torch.from_numpy(sharp)[:, None], 1)), right, np.arange(places).repeat(200)

    torch.manual_seed(0)
    scores, right, where = answers(12)
    promise = Promise.calibrated(of_right(scores, right).numpy(), where)
    scores, right, _ = answers(40)
    for level in LEVELS:
        sets = promise.sets(scores, level)
        held = float(sets.gather(1, right[:, None]).double().mean())
        assert level <= held < level + 0.08
        assert sets.any(1).all()
    assert promise.sets(scores, 0.8).sum() < promise.sets(scores, 0.95).sum() < scores.numel()
    assert Promise.from_json(promise.to_json(), "here") == promise
    with pytest.raises(InputError, match=r"level 0\.5"):
        promise.sets(scores, 0.5)


def test_mass_grows_with_what_is_likelier() -> None:
    assert mass(torch.tensor([[0.5, 0.2, 0.3]])) == pytest.approx(torch.tensor([[0.25, 0.9, 0.65]]))
