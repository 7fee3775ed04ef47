"""Maps beside links on the same scene: they agree where they overlap, and what differs has its reason."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from tests.propagation.test_antenna_pattern import write_msi
from tests.tracer import needs_tracer
from uniair.area.area import Area
from uniair.errors import InputError
from uniair.propagation.antenna_pattern import read_pattern
from uniair.propagation.coverage import Received, received
from uniair.propagation.radio_map import Cells, SectorMap, sector_map
from uniair.propagation.ray_tracing import RayTracing, build_scene, trace_scene
from uniair.propagation.sector import Sector
from uniair.radio import UPA

CARRIER = 3.5e9
MAST = (100.0, 100.0, 25.0)
SECTOR = Sector("A", "A", -math.radians(120), math.radians(4), math.radians(6), 46.0, CARRIER, 100e6, 30e3,
                UPA(8, 8, pattern="tr38901", polarisation="slanted"))  # fmt: skip
PLAIN = Area("plain", (box(1, 1, 3, 3),), np.array([2.5]), (0.0, 0.0, 200.0, 200.0))


def both(area: Area, sector: Sector, config: RayTracing, samples: int) -> tuple[Cells, SectorMap, Received]:
    """Map and links of a sector over the cells of an area."""
    cells = Cells.over(area, 8.0)
    scene = build_scene(area, config)
    found = sector_map(scene, sector, MAST, cells, config, samples)
    assert not scene.transmitters
    return cells, found, received(trace_scene(scene, np.array([MAST]), cells.centres.reshape(-1, 3), config), sector)


def test_cells_cover_an_area() -> None:
    cells = Cells.over(PLAIN, 30.0)
    assert (cells.rows, cells.columns, cells.corner) == (7, 7, (0.0, 0.0))
    assert np.allclose(cells.centres[0, 1], [45.0, 15.0, 1.5])
    assert Cells.over(PLAIN, 0.1).rows == 2000
    for side in (0.0, 0.01, math.nan):
        with pytest.raises(InputError, match="--cell"):
            Cells.over(PLAIN, side)


@needs_tracer
@pytest.mark.parametrize("polarisation", ["slanted", "vertical", "horizontal"])
def test_map_and_links_agree_on_open_ground(polarisation: str) -> None:
    sector = replace(SECTOR, array=replace(SECTOR.array, polarisation=polarisation))
    _, found, links = both(PLAIN, sector, RayTracing(frequency=CARRIER, depth=1, diffraction=False), 1_000_000)
    for mine, theirs in ((found.rsrp, links.rsrp), (found.mean_rsrp, links.mean_rsrp)):
        apart = mine.ravel() - theirs
        assert abs(np.nanmedian(apart)) < 0.1
        assert np.nanmedian(np.abs(apart)) < 0.3
        assert np.nanquantile(np.abs(apart), 0.9) < 2.5  # the nulls between side lobes, averaged over a cell


@needs_tracer
def test_a_measured_pattern_is_mapped(tmp_path: Path) -> None:
    measured = read_pattern(write_msi(tmp_path / "panel.msi", tilt=6.0))
    sector = replace(SECTOR, array=UPA(1, 1), measured=measured, electrical=math.radians(6.0))
    _, found, links = both(PLAIN, sector, RayTracing(frequency=CARRIER, depth=1, diffraction=False), 1_000_000)
    apart = found.rsrp.ravel() - links.rsrp
    assert abs(np.nanmedian(apart)) < 0.1
    assert np.nanmedian(np.abs(apart)) < 0.3
    assert np.array_equal(found.rsrp, found.mean_rsrp)  # it has one beam


@needs_tracer
def test_map_and_links_agree_in_streets() -> None:
    """What differs: the map takes each path in its own best beam, and means over cells that shadow edges cross."""
    houses = tuple(box(x, y, x + 22, y + 22) for x in (15, 65, 115, 165) for y in (15, 65, 115, 165))
    area = Area("blocks", houses, np.full(16, 15.0), (0.0, 0.0, 200.0, 200.0))
    config = RayTracing(frequency=CARRIER)
    cells, scene = Cells.over(area, 8.0), build_scene(area, config)
    found = sector_map(scene, SECTOR, MAST, cells, config, 1_000_000)
    paths = trace_scene(scene, np.array([MAST]), cells.centres.reshape(-1, 3), config)
    links = received(paths, SECTOR)
    outdoors = ~area.inside_building(cells.centres.reshape(-1, 3))
    apart = (found.rsrp.ravel() - links.rsrp)[outdoors]
    assert np.isfinite(apart).mean() > 0.95
    assert 0 < np.nanmedian(apart) < 1
    # of the same envelope of beams, and of the mean over beams, the median difference goes
    direction, _ = paths.departures(SECTOR.bearing, SECTOR.downtilt)
    power = paths.power_from(SECTOR.array.slants, SECTOR.bearing, SECTOR.downtilt)
    power *= (np.abs(SECTOR.response(direction)) ** 2).max(1)
    envelope = np.bincount(paths.link_of_path, power, len(paths))[outdoors]
    with np.errstate(divide="ignore"):
        apart = found.rsrp.ravel()[outdoors] - SECTOR.power_per_element - 10 * np.log10(envelope)
    assert abs(np.nanmedian(apart[np.isfinite(apart)])) < 0.3
    assert abs(np.nanmedian((found.mean_rsrp.ravel() - links.mean_rsrp)[outdoors])) < 0.3
