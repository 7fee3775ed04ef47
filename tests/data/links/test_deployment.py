"""Deployments: base stations and users where they are said to be, of every carrier; and what a shard keeps of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from tests.data.links.test_campaign import TINY
from tests.tracer import needs_tracer
from uniair.area.area import Area
from uniair.area.raster import building_heights
from uniair.data.links import campaign, shards
from uniair.data.links.deployment import Deployment
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing

TOWN = Area(
    "town", (box(20, 20, 60, 60), box(70, 20, 110, 60), box(20, 90, 60, 120), box(80, 80, 88, 88)),
    np.array([12.0, 18.0, 60.0, 3.0]), (0.0, 0.0, 140.0, 140.0),
)  # fmt: skip


def stations(seed: int = 0, count: int = 200, **settings: Any) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return Deployment(**settings).stations(TOWN, count, 6.0, rng, np.random.default_rng([seed, 1]))


def test_as_it_is_a_deployment_draws_nothing() -> None:
    expected = TOWN.drop(5, 6.0, np.random.default_rng(3))
    drawn = np.random.default_rng(0)
    np.testing.assert_array_equal(Deployment().stations(TOWN, 5, 6.0, np.random.default_rng(3), drawn), expected)
    assert Deployment().tracer(RayTracing(), drawn) == RayTracing()
    assert drawn.random() == np.random.default_rng(0).random()


def test_masts_on_roofs_stand_above_the_roof_and_below_the_limit() -> None:
    found = stations(poles=0, roofs=1, above_roof=(2, 5), highest=20)
    top = TOWN.top(found)
    assert set(top) == {3.0, 12.0, 18.0}
    assert (found[:, 2] >= top + 2).all()
    assert found[:, 2].max() <= 20
    assert not TOWN.inside_building(found).any()


def test_masts_at_walls_stand_in_front_of_them() -> None:
    found = stations(poles=0, walls=1, wall_height=(3.5, 15))
    assert not TOWN.inside_building(found[:, :2]).any()
    walls = [b for b, height in zip(TOWN.footprints, TOWN.heights, strict=True) if height > 3.5]
    away = np.array([[b.distance(point) for b in walls] for point in map(_point, found)]).min(1)
    np.testing.assert_allclose(away, 1.0, atol=0.02)  # a buffer's corners are polygons
    assert found[:, 2].min() >= 3.5
    assert found[:, 2].max() <= 15


def _point(position: np.ndarray) -> Any:
    import shapely

    return shapely.Point(position[:2])


def test_poles_and_masts_have_heights_of_their_own() -> None:
    poles, masts = stations(pole_height=(4, 10)), stations(poles=0, masts=1, mast_height=(15, 40))
    assert 4 <= poles[:, 2].min() < 5 < 9 < poles[:, 2].max() <= 10
    assert 15 <= masts[:, 2].min() < 17 < 38 < masts[:, 2].max() <= 40
    assert not TOWN.inside_building(poles).any()


def test_where_no_roof_fits_there_are_poles() -> None:
    assert set(stations(poles=0, roofs=1, highest=2.0)[:, 2]) == {6.0}


def test_a_share_of_the_users_is_at_windows() -> None:
    rng, drawn = np.random.default_rng(0), np.random.default_rng(1)
    found = Deployment(windows=0.4, window_height=(4.0, 30.0)).users(TOWN, 500, 1.5, rng, drawn)
    up = found[:, 2] != 1.5
    assert 0.3 < up.mean() < 0.5
    assert found[up, 2].min() >= 4.0
    assert not TOWN.inside_building(found).any()


@needs_tracer
def test_drawn_tracers_are_ones_that_the_carrier_allows() -> None:
    deployment = Deployment(carriers=(1e9, 28e9, 60e9, 71e9), vary_tracer=True)
    rng = np.random.default_rng(0)
    drawn = [deployment.tracer(RayTracing(), rng) for _ in range(200)]
    assert {one.frequency for one in drawn} == {1e9, 28e9, 60e9, 71e9}
    assert {one.depth for one in drawn} == {2, 3, 4}
    assert "brick" not in {one.building_material for one in drawn if one.frequency > 40e9}
    assert "marble" not in {one.building_material for one in drawn if one.frequency >= 60e9}
    assert "medium_dry_ground" in {one.ground_material for one in drawn if one.frequency == 1e9}
    assert {one.diffraction for one in drawn} == {True, False}


@needs_tracer
def test_a_campaign_keeps_carriers_heights_and_polarisation(tmp_path: Path) -> None:
    settings = replace(
        TINY, least_height=0.0, deployment=Deployment(carriers=(2.1e9, 3.5e9), poles=0.5, roofs=0.5, windows=0.3)
    )
    campaign.run(settings, tmp_path, workers=1)
    links, store = shards.read(tmp_path), Store(tmp_path)
    assert {radio.carrier for radio in links.radios} <= {2.1e9, 3.5e9}
    assert links.maps.dtype == np.float32
    place, number = campaign.plan(settings)[0]
    area, _ = campaign.draw_crop(settings, place, number)
    np.testing.assert_allclose(links.maps[0], building_heights(area, 32), atol=0.051)  # stored in decimetres
    first = links.of_area(0)
    np.testing.assert_array_equal(store[0].paths.transfer, first.paths.transfer)
    np.testing.assert_array_equal(store[0].maps, first.maps)
    direct = links.paths.interactions == 0
    transfer = links.paths.transfer[direct]
    np.testing.assert_allclose(transfer[:, 1, 1], -transfer[:, 0, 0], rtol=1e-4)  # TR 38.901, 7.5-29
    assert (np.abs(transfer[:, 0, 1]) < 1e-4 * np.abs(transfer[:, 0, 0])).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"poles": 0.0}, "shares of poles, walls, roofs, masts"),
        ({"roofs": -1.0}, "shares of poles, walls, roofs, masts"),
        ({"windows": 1.5}, "a share of the users"),
        ({"mast_height": (40.0, 15.0)}, "mast_height"),
        ({"carriers": (float("nan"),)}, "frequencies in Hz"),
    ],
)
def test_bad_deployments_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Deployment(**settings)
