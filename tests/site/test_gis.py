"""Exports, read back with GDAL: where they lie, how far they reach, and what they say at known points."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from tests.area import make as towns
from tests.site.make import synthetic_paths
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.radio_map import Cells, SectorMap
from uniair.site import gis, site_coverage, survey
from uniair.site.calibration import BETWEEN, LEARNED, TESTED, DriveTest, Walls
from uniair.site.covered import Covered
from uniair.site.drive_log import DriveLog
from uniair.site.site_coverage import Planning
from uniair.site.survey import Ground, Survey

rasterio = pytest.importorskip("rasterio")
pyogrio = pytest.importorskip("pyogrio.raw")

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul")  # rasterio's own, with affine 3

HEADER = "site,latitude,longitude,height_m,azimuth_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz,rows,columns,pci"


def made(tmp_path: Path, metres: bool = False) -> tuple[Ground, Covered]:
    """Two sectors in a small town; a map that says how far east and north a cell lies."""
    lon, lat = towns.degrees((20.0, 20.0))
    if metres:
        header, where, place = HEADER.replace("latitude,longitude", "x_m,y_m"), "400,400", "procedural:7"
    else:
        header, where, place = HEADER, f"{lat:.8f},{lon:.8f}", str(towns.write(tmp_path, "town.geojson"))
    rows = [f"Köln,{where},30,{azimuth},46,3500,100,30,1,4,{pci}" for azimuth, pci in ((0, 7), (180, ""))]
    (tmp_path / "sites.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    wanted = Survey(place, (), side=120.0, ue=30, sites=str(tmp_path / "sites.csv"))
    ground = survey.crop(wanted)
    ue = ground.users(30, 0)[1:]
    (source,) = ground.sources
    paths = synthetic_paths(ground.area, np.asarray(source.position), ue)
    links = Links(
        areas=("town/A",), maps=np.zeros((1, 4, 4), dtype=np.uint8), mapped=np.ones(1, dtype=bool),
        sizes=np.array([120.0], dtype=np.float32), area=np.zeros(29, dtype=np.int32),
        bs=np.tile(source.position, (29, 1)).astype(np.float32), ue=ue.astype(np.float32),
        bearing=np.zeros(29, dtype=np.float32), los=paths.los(), paths=paths, radios=(source.radio,),
    )  # fmt: skip
    users = site_coverage.of_users(ground, ground.users(30, 0), {source.name: links}, Planning())
    cells = Cells.over(ground.area, 8.0)
    east, north = cells.centres[..., 0], cells.centres[..., 1]
    maps = [SectorMap(-50 - east, -60 - east), SectorMap(-50 - north, -60 - north)]
    mapped = site_coverage.of_maps(ground.area, ground.sectors, cells, maps, Planning())
    return ground, Covered.of(ground, users, mapped, Planning())


def read(path: Path, layer: str | None = None) -> tuple[Any, Any, dict[str, Any]]:
    """CRS, geometries and columns."""
    meta, _, shapes, columns = pyogrio.read(path, layer=layer)
    return meta["crs"], shapely.from_wkb(shapes), dict(zip(meta["fields"], columns, strict=True))


def test_the_raster_lies_where_its_cells_were_computed(tmp_path: Path) -> None:
    from pyproj import Transformer

    ground, covered = made(tmp_path)
    maps = covered.maps
    assert maps is not None
    files = gis.export(tmp_path / "gis", ground.area, covered)
    assert {file.name for file in files} == {
        "coverage.tif", "site.gpkg", "users.geojson", "sectors.geojson", "buildings.geojson", "users.kml",
        "sectors.kml", "users.csv", "links.csv",
    }  # fmt: skip
    assert [file.name for file in files] == gis.names(ground.area, covered)
    with rasterio.open(tmp_path / "gis/coverage.tif") as file:
        assert file.descriptions == ("rsrp", "sinr", "throughput", "best_server", "rsrp_Köln-1", "rsrp_Köln-2")
        assert file.units[:3] == ("dBm", "dB", "Mbit/s")
        assert (file.width, file.height) == (15, 15)
        assert file.bounds.right - file.bounds.left == pytest.approx(120)
        to_raster = Transformer.from_crs("EPSG:4326", file.crs, always_xy=True)
        assert ground.area.georeference is not None
        open_ground = np.argwhere(~np.isnan(maps.served.rsrp))
        for row, column in open_ground[:: len(open_ground) // 8]:
            lon, lat = ground.area.georeference.to_degrees(maps.cells.centres[row, column][None])[0]
            values = next(file.sample([to_raster.transform(lon, lat)]))
            assert values[4] == pytest.approx(maps.rsrp[0, row, column], abs=1e-4)
            assert values[0] == pytest.approx(maps.served.rsrp[row, column], abs=1e-4)
            assert values[3] == maps.served.best[row, column]
        lon, lat = towns.degrees((20.0, 20.0))  # of the mast, in the middle of the square
        x, y = to_raster.transform(lon, lat)
        middle = ((file.bounds.left + file.bounds.right) / 2, (file.bounds.bottom + file.bounds.top) / 2)
        assert (x, y) == pytest.approx(middle, abs=0.01)
        assert "0: Köln-1" in file.tags()["sectors"]


def test_vectors_lie_on_earth(tmp_path: Path) -> None:
    ground, covered = made(tmp_path)
    users = covered.users
    gis.export(tmp_path / "gis", ground.area, covered)
    mast = towns.degrees((20.0, 20.0))
    for path, layer in ((tmp_path / "gis/site.gpkg", "sectors"), (tmp_path / "gis/sectors.geojson", None)):
        crs, points, columns = read(path, layer)
        assert crs == "EPSG:4326"
        assert np.allclose(shapely.get_coordinates(points), [mast, mast], atol=1e-7)
        assert columns["sector"].tolist() == ["Köln-1", "Köln-2"]
        assert columns["azimuth_deg"].tolist() == [0, 180]
        assert columns["power_dbm"].tolist() == [46, 46]
    _, points, columns = read(tmp_path / "gis/site.gpkg", "users")
    assert len(points) == 30
    assert ground.area.georeference is not None
    back = ground.area.georeference.to_metres(shapely.get_coordinates(points))
    assert np.allclose(back, users.points[:, :2], atol=1e-3)
    unreached = np.isnan(users.served.rsrp)
    assert unreached.tolist() == [True] + [False] * 29
    assert np.array_equal(np.isnan(columns["rsrp_dbm"]), unreached)
    assert columns["best_server"][0] in ("", None)
    assert np.allclose(columns["rsrp_dbm"][1:], users.served.rsrp[1:], atol=0.006)
    assert np.allclose(columns["rsrp_dbm_Köln-2"][1:], users.layers["rsrp"][1][1:], atol=0.006)
    _, outlines, columns = read(tmp_path / "gis/buildings.geojson")
    assert len(outlines) == len(ground.area.footprints)
    assert np.allclose(columns["height_m"], ground.area.heights, atol=0.006)
    _, points, columns = read(tmp_path / "gis/sectors.kml", "sectors")
    assert columns["Name"].tolist() == ["Köln-1", "Köln-2"]
    assert np.allclose(shapely.get_coordinates(points)[:, :2], [mast, mast], atol=1e-6)


def test_tables_have_a_row_for_everybody(tmp_path: Path) -> None:
    ground, covered = made(tmp_path)
    users = covered.users
    gis.export(tmp_path / "gis", ground.area, covered)
    with (tmp_path / "gis/users.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert rows[0]["rsrp_dbm"] == rows[0]["best_server"] == ""
    assert float(rows[5]["rsrp_dbm"]) == pytest.approx(users.served.rsrp[5], abs=0.006)
    assert ground.area.georeference is not None
    lon, lat = ground.area.georeference.to_degrees(users.points[5][None])[0]
    assert (float(rows[5]["longitude"]), float(rows[5]["latitude"])) == pytest.approx((lon, lat), abs=1e-6)
    with (tmp_path / "gis/links.csv").open(encoding="utf-8") as file:
        links = list(csv.DictReader(file))
    assert len(links) == 60
    assert {link["sector"] for link in links} == {"Köln-1", "Köln-2"}
    one = links[35]
    assert (one["user"], one["sector"]) == ("5", "Köln-2")
    assert float(one["delay_spread_ns"]) == pytest.approx(users.layers["delay_spread"][1, 5] * 1e9, abs=0.006)


def test_a_place_in_metres_of_its_own(tmp_path: Path) -> None:
    ground, covered = made(tmp_path, metres=True)
    users = covered.users
    files = gis.export(tmp_path / "gis", ground.area, covered)
    assert not [file for file in files if file.suffix == ".kml"]
    assert [file.name for file in files] == gis.names(ground.area, covered)
    crs, points, _ = read(tmp_path / "gis/site.gpkg", "users")
    assert not crs or "EPSG:4326" not in crs
    assert np.allclose(shapely.get_coordinates(points), users.points[:, :2], atol=1e-6)
    with rasterio.open(tmp_path / "gis/coverage.tif") as file:
        assert file.crs is None
        assert file.bounds.left == 0


def driven(ground: Ground, planned: Covered) -> Covered:
    """Measured in four spots: 2 dB more of the first sector."""
    spots = ground.users(4, 1)
    rsrp = np.array([[-80.0, -90.0, np.nan, -70.0], [np.nan, -95.0, np.nan, np.nan]])
    log = DriveLog("log.csv", spots, rsrp, (~np.isnan(rsrp)).astype(np.int64) * 3, 12, {})
    predicted = np.array([[-82.0, -90.0, -70.0, np.nan], [-60.0, -99.0, -60.0, np.nan]])
    half = np.array([LEARNED, TESTED, LEARNED, BETWEEN], dtype=np.int8)
    walls, offsets = Walls("concrete", "wood", "wood", 0.01, (), 3, 3), np.array([2.0, np.nan])
    test = DriveTest(
        log, ("Köln-1", "Köln-2"), half, walls, offsets, (0.5, None), (0.4, None), predicted, predicted + 2
    )
    users = replace(planned.users, served=replace(planned.users.served, rsrp=planned.users.served.rsrp + 2))
    again = Covered.of(ground, users, planned.maps, planned.planning, offsets)
    return replace(planned, drive_test=test, calibrated=again)


def test_a_drive_test_has_a_layer_and_what_it_calibrates_a_folder(tmp_path: Path) -> None:
    ground, planned = made(tmp_path)
    covered, gis_folder = driven(ground, planned), tmp_path / "gis"
    files = gis.export(gis_folder, ground.area, covered)
    names = [file.relative_to(gis_folder).as_posix() for file in files]
    assert names == gis.names(ground.area, covered)
    assert sorted(names) == sorted(
        file.relative_to(gis_folder).as_posix() for file in gis_folder.rglob("*") if file.is_file()
    )
    assert {"drive_test.csv", "drive_test.geojson", "drive_test.kml", "calibrated/coverage.tif"} < set(names)
    assert not [name for name in names if name.startswith("calibrated/drive")]
    crs, points, columns = read(gis_folder / "site.gpkg", "drive_test")
    assert crs == "EPSG:4326"
    assert ground.area.georeference is not None
    back = ground.area.georeference.to_metres(shapely.get_coordinates(points))
    assert np.allclose(back, ground.users(4, 1)[[0, 1, 3, 1], :2], atol=1e-3)
    assert columns["sector"].tolist() == ["Köln-1"] * 3 + ["Köln-2"]
    assert columns["half"].tolist() == ["learned", "tested", "between", "tested"]
    assert columns["measured_dbm"].tolist() == [-80, -90, -70, -95]
    assert columns["planned_residual_db"].tolist() == pytest.approx([2, 0, np.nan, 4], nan_ok=True)
    assert columns["calibrated_residual_db"].tolist() == pytest.approx([0, -2, np.nan, 2], nan_ok=True)
    for folder, prediction in (("gis", "as planned"), ("gis/calibrated", "calibrated")):
        _, _, columns = read(tmp_path / folder / "site.gpkg", "sectors")
        if prediction == "calibrated":
            assert columns["offset_db"].tolist() == pytest.approx([2, np.nan], nan_ok=True)
        else:
            assert "offset_db" not in columns  # what was planned has none
        with rasterio.open(tmp_path / folder / "coverage.tif") as file:
            assert file.tags()["prediction"] == prediction


def test_what_an_earlier_export_left_goes(tmp_path: Path) -> None:
    ground, planned = made(tmp_path)
    gis.export(tmp_path / "gis", ground.area, driven(ground, planned))
    (tmp_path / "gis/calibrated/mine.txt").write_text("not theirs")
    files = gis.export(tmp_path / "gis", ground.area, replace(planned, maps=None))
    left = {file for file in (tmp_path / "gis").rglob("*") if file.is_file()}
    assert left == {*files, tmp_path / "gis/calibrated/mine.txt"}
    with pytest.raises(pytest.importorskip("pyogrio.errors").DataLayerError, match="drive_test"):
        read(tmp_path / "gis/site.gpkg", "drive_test")
    (tmp_path / "gis/calibrated/mine.txt").unlink()
    gis.export(tmp_path / "gis", ground.area, planned)
    assert not (tmp_path / "gis/calibrated").exists()


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ground, covered = made(tmp_path)
    users = covered.users
    gis.export(tmp_path / "gis", ground.area, replace(covered, maps=None))
    assert not (tmp_path / "gis/coverage.tif").exists()
    before = (tmp_path / "gis/users.csv").read_text()

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gis, "_raster", full)
    changed = replace(covered.users, points=users.points + 1)
    with pytest.raises(InputError, match="No space left"):
        gis.export(tmp_path / "gis", ground.area, replace(covered, users=changed))
    assert (tmp_path / "gis/users.csv").read_text() == before
    assert not list((tmp_path / "gis").glob(".export-*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--export .*file: can't be written to"):
        gis.export(tmp_path / "file", ground.area, covered)
