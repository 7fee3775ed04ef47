"""Generated towns: deterministic, valid, apart, and varied."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from uniair.area import procedural


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_footprints_are_valid_apart_and_within_the_town(seed: int) -> None:
    town = procedural.city(seed, 400.0)
    plans = np.asarray(town.footprints)
    assert len(plans) > 5
    assert shapely.is_valid(plans).all()
    assert (shapely.area(plans) >= 20.0).all()
    assert town.bounds == (0.0, 0.0, 400.0, 400.0)
    assert (shapely.bounds(plans) >= 0.0).all()
    assert (shapely.bounds(plans) <= 400.0).all()
    assert shapely.union_all(plans).area == pytest.approx(shapely.area(plans).sum(), rel=1e-9)
    assert ((town.heights >= 7.0) & (town.heights <= 80.0)).all()


def test_the_seed_decides_everything() -> None:
    one, same, other = procedural.city(5), procedural.city(5), procedural.city(6)
    assert [p.wkb for p in one.footprints] == [p.wkb for p in same.footprints]
    assert one.heights.tobytes() == same.heights.tobytes()
    assert [p.wkb for p in one.footprints] != [p.wkb for p in other.footprints]
    assert one.name == "procedural_5"


def test_towns_differ_in_density_and_height() -> None:
    seen = [procedural.city(seed, 400.0).statistics() for seed in range(8)]
    assert max(s.coverage for s in seen) > 1.3 * min(s.coverage for s in seen)
    assert max(s.mean_height for s in seen) > 1.3 * min(s.mean_height for s in seen)
