from __future__ import annotations

import numpy as np
import pytest

from uniair.errors import InputError
from uniair.explanation.anomaly import Seen, Trained, Usual


def seen(count: int = 400, restored: float = 0.0, fit: float = 0.0, code: float = 0.0, seed: int = 0) -> Seen:
    rng = np.random.default_rng(seed)
    codes = rng.normal(0, 0.1, (count, 8)).astype(np.float32)
    codes[:, 3] += code
    return Seen(rng.normal(-12 + restored, 1.5, count), rng.normal(0.7 + fit, 0.1, count), codes)


def test_either_signal_alone_makes_a_channel_odd_in_spreads_of_the_usual() -> None:
    usual = Usual.fitted(seen())
    assert usual.scaled(seen()).mean(0) == pytest.approx([0, 0], abs=1e-9)
    assert usual.scaled(seen()).std(0) == pytest.approx([1, 1])
    for odd in (seen(restored=9), seen(fit=-0.6)):  # both six spreads off
        assert usual.score(odd).mean() == pytest.approx(6, abs=0.2)
    assert usual.score(seen(fit=0.6)).mean() < 1  # a better fit is no anomaly


def test_a_few_labels_find_what_the_signals_do_not_show() -> None:
    usual, odd = Usual.fitted(seen()), seen(code=1.0, seed=1)
    head = Trained.fitted(usual, seen(32, seed=2), seen(32, code=1.0, seed=3))
    assert (head.score(odd)[:, None] > head.score(seen(seed=4))).mean() > 0.95
    assert (usual.score(odd)[:, None] > usual.score(seen(seed=4))).mean() == pytest.approx(0.5, abs=0.1)


def test_too_little_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="7 channels do not say what is usual; give 8"):
        Usual.fitted(seen(7))
    with pytest.raises(InputError, match="one of each at least"):
        Trained.fitted(Usual.fitted(seen()), seen(), seen(0))
