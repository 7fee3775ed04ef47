"""Fingerprints of several sectors side by side, and the table of positions; the rest is in test_plan_answers."""

from __future__ import annotations

import numpy as np
import pytest

from uniair.site.several_sectors import Heard, _by_prints, table


def test_prints_of_several_sectors_are_compared_with_users_whom_all_of_them_hear() -> None:
    rng = np.random.default_rng(0)
    users = 40
    ue = np.column_stack([np.arange(users) * 10.0, np.zeros(users), np.full(users, 1.5)])
    prints = []
    for _ in range(2):
        one = rng.normal(size=(users, 8)).astype(np.float32)
        prints.append(one / np.linalg.norm(one, axis=1, keepdims=True))
    for one in prints:
        one[39] = one[7]  # the tested user sees what user 7 sees
    ue[20:30, 0] += 10_000  # far away, those whom the second sector does not hear
    row = np.tile(np.arange(users), (2, 1))
    row[1, 20:30] = -1
    rsrp = np.where(row >= 0, np.array([[-80.0], [-90.0]]), -np.inf)
    heard = Heard(ue, row, rsrp, np.argsort(-rsrp, axis=0, kind="stable"), np.arange(30), np.array([39]))
    for count in (1, 2):
        found = _by_prints(heard, list(prints), np.array([39]), count)
        assert found[0] == pytest.approx(ue[7, :2], abs=0.5)
    # of unlike prints the one that is missing would be the nearest
    prints[0][39], prints[1][39] = -prints[0][0], -prints[1][0]
    assert _by_prints(heard, list(prints), np.array([39]), 2)[0][0] < 400
    few = Heard(ue, row, rsrp, heard.order, np.arange(18, 30), np.array([39]))  # two that both hear are too few
    assert _by_prints(few, list(prints), np.array([39]), 2)[0][0] > 1_000


def test_the_table_has_a_column_for_each_number_of_sectors() -> None:
    errors = {"a": [{"median_m": 12.34, "cdf90_m": 99.96}, {"median_m": 1.0, "cdf90_m": 2.0}]}
    found = table({"users": 21, "sectors": 2, "learned": 80, "errors": errors})
    assert found.head == ["position error of 21 users, median (90 % under)", "1 sector", "2 sectors"]
    assert found.rows == [["a", "12.3 m (100.0)", "1.0 m (2.0)"]]
