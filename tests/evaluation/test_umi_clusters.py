"""Clusters of a street canyon: what 3GPP TR 38.901's table says of their spreads and K factors comes out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uniair.benchmark.generated_statistics import statistics
from uniair.evaluation.umi_clusters import clusters

COUNT, CARRIER = 4000, 28e9


def drawn(los: bool, ue: tuple[float, float, float] = (0.0, 60.0, 10.0)) -> dict[str, np.ndarray]:
    bs = np.tile([0.0, 0.0, 10.0], (COUNT, 1))
    found = clusters(bs, np.tile(ue, (COUNT, 1)), np.full(COUNT, los), CARRIER, np.random.default_rng(0))
    torch.testing.assert_close(found.gain.abs().square().sum(1), torch.ones(COUNT))
    assert (found.gain.abs().diff(dim=1) <= 1e-6).all()  # strongest first
    assert (found.cosine.abs() <= 1).all()
    assert (found.delay >= 0).all()
    return {key: np.array(values) for key, values in statistics(found).items()}


@pytest.mark.parametrize(("los", "intercept"), [(True, -7.14), (False, -6.83)])
def test_delay_spreads_are_the_tables(los: bool, intercept: float) -> None:
    # few clusters are drawn, so that spreads come out a little lower
    middle = np.median(np.log10(drawn(los)["delay"] * 1e-9))
    assert middle == pytest.approx(intercept - 0.24 * np.log10(1 + CARRIER / 1e9), abs=0.15)


def test_k_factors_are_the_tables_where_the_sight_line_is_free() -> None:
    k = drawn(True)["k"]
    assert np.median(k) == pytest.approx(9, abs=0.3)
    assert np.percentile(k, 84) - np.median(k) == pytest.approx(5, abs=0.4)
    assert np.median(drawn(False)["k"]) < 0


def test_azimuths_spread_about_the_sight_line() -> None:
    across = drawn(False)["angle"]  # at broadside the cosine turns as fast as the azimuth
    table = 10 ** (1.53 - 0.23 * np.log10(1 + CARRIER / 1e9))
    assert np.rad2deg(np.median(across)) == pytest.approx(table, rel=0.35)
    assert np.median(drawn(False, (60.0, 0.0, 10.0))["angle"]) < np.median(across) / 2  # along the array slowly


def test_links_of_both_kinds_keep_their_rows_and_draws_differ() -> None:
    los = np.array([True, False, True])
    bs, ue = np.zeros((3, 3)), np.tile([30.0, 30.0, 1.5], (3, 1))
    rng = np.random.default_rng(0)
    one, other = (clusters(bs, ue, los, CARRIER, rng) for _ in range(2))
    assert ((one.gain.abs() > 0).sum(1)[los] <= 13).all()
    assert not torch.equal(one.delay, other.delay)
    none = clusters(bs[:0], ue[:0], los[:0], CARRIER, rng)
    assert len(none.gain) == 0
