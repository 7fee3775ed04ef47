"""Stated certainty against what was right."""

from __future__ import annotations

import numpy as np
import pytest

from tests.site.make import town
from uniair.site import confidence
from uniair.site.site import Site, Station


def test_honest_answers_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    stated = rng.uniform(0, 1, 200_000)
    right = rng.uniform(0, 1, len(stated)) < stated
    honest = confidence.reliability(stated, right)
    assert honest.error < 0.01
    assert honest.count.sum() == len(stated)
    boasting = confidence.reliability(np.full(1000, 0.95), np.arange(1000) < 500)
    assert boasting.error == pytest.approx(0.45)
    assert boasting.right.tolist() == [0.5]


def test_trust_begins_where_nine_in_ten_are_right() -> None:
    stated = np.linspace(1, 0, 100)
    right = np.arange(100) < 45
    assert confidence.trusted_from(stated, right) == pytest.approx(stated[49])  # 45 of 50
    assert confidence.trusted_from(stated, np.zeros(100, dtype=bool)) is None
    assert confidence.trusted_from(stated[:8], np.ones(8, dtype=bool)) is None  # too few to say
    assert confidence.trusted_from(stated, np.ones(100, dtype=bool)) == 0


def test_the_ground_is_outdoors(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = Site(tmp_path_factory.mktemp("site"), town(), (Station("bs0", (30.0, 75.0, 6.0)),), "small", "")
    cells = confidence.ground(site, 5.0)
    assert not site.area.inside_building(cells).any()
    open_share = 1 - site.area.statistics().coverage
    assert len(cells) == pytest.approx(900 * open_share, rel=0.05)


def test_position_figures_count_regions() -> None:
    answers = {"error_m": [1.0, 3.0, 100.0], "above": [0.2, 0.6, 0.95], "spread_m": [1.0, 1.0, 1.0]}
    found = confidence.position_figures(answers)
    assert found["median_m"] == 3.0
    assert found["inside_50"] == pytest.approx(1 / 3)
    assert found["inside_90"] == pytest.approx(2 / 3)
