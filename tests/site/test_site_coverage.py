"""What users and cells get from sectors: everyone is kept, whoever serves them, and the figures are counted right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.site.make import synthetic_paths
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.coverage import received
from uniair.propagation.entry_loss import entry_loss
from uniair.propagation.radio_map import Cells, SectorMap
from uniair.site import site_coverage, survey
from uniair.site.site_coverage import Planning
from uniair.site.survey import Ground, Survey

SITES = "site,x_m,y_m,height_m,azimuth_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz,rows,columns,pattern"
SECTORS = [f"A,400,400,20,{azimuth},46,3500,100,30,4,4,tr38901" for azimuth in (0, 180)]


@pytest.fixture
def wanted(tmp_path: Path) -> Survey:
    """Two sectors of a mast over a generated town."""
    (tmp_path / "sites.csv").write_text("\n".join([SITES, *SECTORS]))
    return Survey("procedural:7", (), side=150.0, ue=40, sites=str(tmp_path / "sites.csv"), indoor=20)


def traced(ground: Ground, ue: np.ndarray) -> Links:
    """What closed forms find: nothing for every third user."""
    (source,) = ground.sources
    reached = np.arange(len(ue)) % 3 > 0
    paths = synthetic_paths(ground.area, np.asarray(source.position), ue[reached])
    n = int(reached.sum())
    return Links(
        areas=("procedural_7/A",), maps=np.zeros((1, 4, 4), dtype=np.uint8), mapped=np.ones(1, dtype=bool),
        sizes=np.array([150.0], dtype=np.float32), area=np.zeros(n, dtype=np.int32),
        bs=np.tile(source.position, (n, 1)).astype(np.float32), ue=ue[reached].astype(np.float32),
        bearing=np.zeros(n, dtype=np.float32), los=paths.los(), paths=paths, radios=(source.radio,),
    )  # fmt: skip


def test_everyone_is_kept_in_order(wanted: Survey) -> None:
    ground = survey.crop(wanted)
    ue = ground.traced(40, 0)
    paths = site_coverage.everyone(traced(ground, ue), ue)
    assert len(paths) == 60
    assert np.array_equal(paths.counts > 0, np.arange(60) % 3 > 0)
    again = site_coverage.everyone(traced(ground, ue), ue[::-1])  # whoever asks, in whatever order
    assert np.array_equal(again.counts, paths.counts[::-1])
    assert len(site_coverage.everyone(None, ue)) == 60


def test_users_and_who_serves_them(wanted: Survey) -> None:
    ground, planning = survey.crop(wanted), Planning()
    ue = ground.traced(40, 0)
    links = traced(ground, ue)
    found = site_coverage.of_users(ground, ground.users(40, 0), {"A": links}, planning)
    north, south = found.layers["rsrp"]
    assert np.array_equal(np.isnan(north), np.arange(60) % 3 == 0)
    assert np.array_equal(found.served.best[np.isnan(north)], np.full(20, -1))
    assert not found.served.throughput[np.isnan(north)].any()
    reached = ~np.isnan(north)
    assert np.array_equal(found.served.best[reached], (south > north)[reached].astype(int))
    outdoors = found.floor == site_coverage.OUTDOORS
    y = found.points[:, 1] - ground.sources[0].position[1]
    assert (found.served.best[reached & outdoors & (y > 40)] == 0).mean() > 0.8  # the north sector's
    # inside, the loss of the wall is on top of what arrives before it
    assert ground.inside is not None
    plain = received(site_coverage.everyone(links, ue), ground.sectors[0])
    loss = plain.rsrp[40:] - north[40:]
    assert np.allclose(loss[reached[40:]], entry_loss(ground.inside.depth, 3.5e9)[reached[40:]])
    assert not found.layers["los"][:, 40:].any()
    assert np.array_equal(found.points[40:], ground.inside.points)


def test_figures_count_holes(wanted: Survey) -> None:
    ground, planning = survey.crop(wanted), Planning(hole=-75.0)
    found = site_coverage.of_users(ground, ground.users(40, 0), {"A": traced(ground, ground.traced(40, 0))}, planning)
    told = site_coverage.summary(ground, found, None, planning)
    rsrp = found.served.rsrp[:40]
    assert told["outdoors"]["count"] == 40
    assert told["outdoors"]["unreached"] == np.isnan(rsrp).sum() == 14
    assert told["outdoors"]["holes"] == 40 - (rsrp >= -75).sum() >= 14
    assert told["indoors"]["count"] == 20
    assert [one["sector"] for one in told["sectors"]] == ["A-1", "A-2"]
    assert sum(one["best_server"] for one in told["sectors"]) == 40
    first, second = site_coverage.lines(told, planning)
    assert first.startswith(
        f"40 users outdoors: {100 * told['outdoors']['hole_share']:.1f} % below -75 dBm, 14 of them"
    )
    assert "20 users inside buildings (TR 38.901's entry loss, a model)" in second


def test_nobody_is_reached(wanted: Survey) -> None:
    ground, planning = survey.crop(wanted), Planning()
    found = site_coverage.of_users(ground, ground.users(40, 0), {}, planning)
    told = site_coverage.summary(ground, found, None, planning)
    assert told["outdoors"]["hole_share"] == 1.0
    assert told["outdoors"]["median_rsrp_dbm"] is None
    assert (
        site_coverage.lines(told, planning)[0]
        == "40 users outdoors: 100.0 % below -110 dBm, 40 of them reached by no path"
    )


def test_maps_leave_buildings_out(wanted: Survey, tmp_path: Path) -> None:
    ground = survey.crop(wanted)
    cells = Cells.over(ground.area, 10.0)
    strong = SectorMap(np.full((15, 15), -80.0), np.full((15, 15), -90.0))
    weak = SectorMap(np.full((15, 15), -85.0), np.full((15, 15), -95.0))
    weak.rsrp[0, 0] = np.nan
    site_coverage.save_map(tmp_path / "map.npz", weak)
    kept = site_coverage.load_map(tmp_path / "map.npz")
    found = site_coverage.of_maps(ground.area, ground.sectors, cells, [strong, kept], Planning())
    built = ground.area.inside_building(cells.centres.reshape(-1, 3)).reshape(15, 15)
    assert built.any()
    assert np.array_equal(np.isnan(found.served.rsrp), built)
    assert np.array_equal(np.isnan(found.served.throughput), built)
    assert (found.served.best[~built] == 0).all()
    told = site_coverage.summary(
        ground, site_coverage.of_users(ground, ground.users(40, 0), {}, Planning()), found, Planning(hole=-82.0)
    )
    assert told["streets"]["count"] == (~built).sum()
    assert told["streets"]["holes"] == 0
    assert told["outdoors"]["unreached"] == 40
    assert told["outdoors"]["mapped_median_rsrp_dbm"] == -80
    assert 30 < told["outdoors"]["unreached_but_mapped"] <= 40  # the middle of some users' cells is inside a house
    assert "maps reach" in site_coverage.lines(told, Planning())[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"load": 2.0}, "--load 2"),
        ({"walls": "thin"}, "--walls thin"),
        ({"cell": -1.0}, "--cell -1"),
        ({"rays": 0}, "--rays 0"),
    ],
)
def test_settings_that_are_none(change: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(Planning(), **change)
