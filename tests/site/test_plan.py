"""Sites as engineers describe them: what their files say, and what is refused by row and column."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.propagation.test_antenna_pattern import write_msi
from uniair.errors import InputError
from uniair.propagation.antenna_pattern import MeasuredPattern
from uniair.radio import UPA
from uniair.site.plan import bearing, read_plan

HEADER = (
    "site,latitude,longitude,above_roof_m,azimuth_deg,mechanical_tilt_deg,electrical_tilt_deg,power_dbm,carrier_mhz,"
    "bandwidth_mhz,spacing_khz,rows,columns,polarisation,pattern,pci"
)
ROWS = [
    f"K1,48.41,15.61,3,{azimuth},2,6,46,3500,100,30,8,8,slanted,tr38901,{pci}"
    for azimuth, pci in ((0, 1), (120, 2), (240, 3))
]


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_three_sector_macro_from_a_table(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path / "sites.csv", *ROWS))
    (mast,) = plan.masts
    assert (mast.name, mast.plan, mast.degrees) == ("K1", (15.61, 48.41), True)
    assert (mast.height, mast.above_roof) == (3.0, True)
    assert [sector.name for sector in plan.sectors] == ["K1-1", "K1-2", "K1-3"]
    assert [sector.azimuth for sector in plan.sectors] == pytest.approx([0, 120, 240])
    one = plan.sectors[1]
    assert one.array == UPA(8, 8, pattern="tr38901", polarisation="slanted")
    assert (one.power, one.carrier, one.bandwidth, one.spacing, one.pci) == (46.0, 3.5e9, 100e6, 30e3, 2)
    assert (one.downtilt, one.electrical) == pytest.approx(np.radians([2.0, 6.0]))
    assert one.subcarriers == 273 * 12  # TS 38.101-1, table 5.3.2-1
    assert one.power_per_element == pytest.approx(46 - 10 * math.log10(3276))
    assert not plan.remarks


@pytest.mark.parametrize(
    ("azimuth", "looks"), [(0, (0, 1)), (90, (1, 0)), (180, (0, -1)), (-90, (-1, 0)), (270, (-1, 0))]
)
def test_a_compass_azimuth_is_that_of_the_boresight(azimuth: float, looks: tuple[float, float]) -> None:
    across = bearing(azimuth) + math.pi / 2  # the array's y
    assert (math.cos(across), math.sin(across)) == pytest.approx(looks, abs=1e-9)
    assert -math.pi < bearing(azimuth) <= math.pi


def test_other_names_separators_and_decimal_commas(tmp_path: Path) -> None:
    header = "Site;Lat;Lon;Height;Azimuth;Power;Carrier;Bandwidth;SCS kHz;Owner"
    plan = read_plan(write(tmp_path / "a.csv", "M;48,41;15,61;25;30;46;3500;20;15;ACME", header=header))
    (sector,) = plan.sectors
    assert (sector.name, sector.array, sector.subcarriers) == ("M", UPA(1, 1), 106 * 12)
    assert plan.masts[0].plan == (15.61, 48.41)
    assert plan.remarks == (
        "a.csv: not read: Owner",
        "a.csv: 1 of 1 sectors say neither panel nor pattern: one isotropic element",
    )


def test_yaml_and_geojson_say_the_same_as_a_table(tmp_path: Path) -> None:
    table = read_plan(write(tmp_path / "sites.csv", *ROWS)).sectors
    (tmp_path / "sites.yaml").write_text(
        "defaults: {power_dbm: 46, carrier_mhz: 3500, bandwidth_mhz: 100, spacing_khz: 30, rows: 8, columns: 8,\n"
        "           polarisation: slanted, pattern: tr38901, mechanical_tilt_deg: 2, electrical_tilt_deg: 6}\n"
        "sites:\n"
        "  - site: K1\n    latitude: 48.41\n    longitude: 15.61\n    above_roof_m: 3\n"
        "    sectors: [{azimuth_deg: 0, pci: 1}, {azimuth_deg: 120, pci: 2}, {azimuth_deg: 240, pci: 3}]\n"
    )
    plan = read_plan(tmp_path / "sites.yaml")
    assert plan.sectors == table
    names = HEADER.split(",")
    properties = [
        {k: v for k, v in zip(names, row.split(","), strict=True) if k not in ("latitude", "longitude")} for row in ROWS
    ]
    features = [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [15.61, 48.41]}, "properties": one}
                for one in properties]  # fmt: skip
    (tmp_path / "sites.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_plan(tmp_path / "sites.geojson").sectors == table


def test_geojson_in_another_crs_lies_at_the_same_point(tmp_path: Path) -> None:
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(15.61, 48.41)
    values = dict(zip(HEADER.split(","), ROWS[0].split(","), strict=True))
    del values["latitude"], values["longitude"]
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [x, y]}, "properties": values}
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    document: dict[str, Any] = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (tmp_path / "utm.geojson").write_text(json.dumps(document))
    assert read_plan(tmp_path / "utm.geojson").masts[0].plan == pytest.approx((15.61, 48.41), abs=1e-7)
    document["features"] = [feature, feature | {"crs": {"properties": {"name": "EPSG:4326"}}}]
    (tmp_path / "two.geojson").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"two\.geojson: feature 2, crs: another one"):
        read_plan(tmp_path / "two.geojson")


def test_names_differ_by_more_than_capitals(tmp_path: Path) -> None:
    rows = [ROWS[0].replace("K1,", "K1,north,"), ROWS[1].replace("K1,", "K1,North,")]
    with pytest.raises(InputError, match="row 2, sector: two sectors are named north"):
        read_plan(write(tmp_path / "sites.csv", *rows, header=HEADER.replace("site,", "site,sector,")))


def test_a_measured_pattern_is_the_whole_antenna(tmp_path: Path) -> None:
    write_msi(tmp_path / "panel.msi", tilt=6.0)
    header = (
        "site,x_m,y_m,height_m,azimuth_deg,electrical_tilt_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz,pattern"
    )
    row = "M,1,2,25,0,6,46,3500,100,30,panel.msi"
    sector = read_plan(write(tmp_path / "a.csv", row, header=header)).sectors[0]
    assert isinstance(sector.measured, MeasuredPattern)
    assert sector.response(np.array([[0.0, math.cos(math.radians(6)), -math.sin(math.radians(6))]])) == pytest.approx(
        10 ** (17.5 / 20)
    )
    far = read_plan(write(tmp_path / "b.csv", row.replace(",3500,", ",700,").replace(",100,", ",20,"), header=header))
    assert far.remarks == ("panel.msi: measured at 3500 MHz, used at 700 MHz",)
    for change, says in (
        ((",6,46", ",4,46"), "electrical_tilt_deg: 4, but panel.msi was measured at 6"),
        (("panel.msi", "other.msi"), "pattern: .*other.msi: can't be read"),
        (("panel.msi", "panel.adf"), "pattern: 'panel.adf'; give iso, tr38901, or a file"),
    ):
        with pytest.raises(InputError, match=rf"c\.csv: row 2, {says}"):
            read_plan(write(tmp_path / "c.csv", row.replace(*change), header=header))


def test_beams_turn_down_electrically(tmp_path: Path) -> None:
    sector = read_plan(write(tmp_path / "sites.csv", *ROWS)).sectors[0]
    below = np.radians(np.arange(-20, 21, 1.0))
    down = np.column_stack([np.zeros_like(below), np.cos(below), -np.sin(below)])
    power = np.abs(sector.response(down)[:, 0]) ** 2
    assert np.degrees(below[power.argmax()]) == pytest.approx(6)
    at = sector.response(down[[26]])[0]
    element = 8 - 12 * (6 / 65) ** 2
    assert 20 * np.log10(abs(at[0])) == pytest.approx(10 * np.log10(64) + element, abs=1e-3)
    assert np.abs(at[1:]).max() < 1e-3  # the other beams of the DFT have their zeros there


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((",46,", ",,"), "row 3, power_dbm: missing; give dBm of all ports together"),
        ((",2,6,", ",95,6,"), "row 3, mechanical_tilt_deg: '95'; give degrees below the horizon, -90 to 90"),
        ((",46,", ",much,"), "row 3, power_dbm: 'much'"),
        ((",48.41,", ",98.41,"), "row 3, latitude: '98.41'; give degrees north, -90 to 90"),
        ((",48.41,", ",48.42,"), "row 3, latitude: site K1 stands elsewhere"),
        ((",15.61,3,", ",15.61,4,"), "row 3, above_roof_m: site K1 stands elsewhere, or higher"),
        ((",15.61,3,", ",15.61,,"), "row 3, height_m: give it, above ground, or above_roof_m"),
        (("K1", ""), "row 3, site: missing"),
        ((",3500,", ",3.5,"), "row 3, carrier_mhz: '3.5'; give MHz"),
        ((",100,30,", ",0.1,30,"), "row 3, bandwidth_mhz: '0.1'"),
        ((",8,8,", ",8.5,8,"), "row 3, rows: '8.5'; give a whole number"),
        ((",8,8,", ",1,8,"), "row 3, electrical_tilt_deg: a panel of one row"),
        (("slanted", "round"), "row 3, polarisation: 'round' is none of"),
        (("tr38901", "mine"), "row 3, pattern: 'mine'"),
        (("tr38901,2", "tr38901,1008"), "row 3, pci: '1008'"),
        (("tr38901,2", "tr38901,2,9"), "row 3: 17 values under 16 columns"),
    ],
)
def test_bad_rows_are_one_line(change: tuple[str, str], says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "sites.csv", ROWS[0], ROWS[1].replace(*change))
    with pytest.raises(InputError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_two_coordinate_systems_in_one_file(tmp_path: Path) -> None:
    header = HEADER.replace("latitude,longitude", "latitude,longitude,x_m,y_m")
    first, second = (row.replace("48.41,15.61", "48.41,15.61,,") for row in ROWS[:2])
    other = second.replace("48.41,15.61,,", ",,100,200").replace("K1", "K2")
    with pytest.raises(InputError, match="row 3, x_m: a position in metres, those before are in degrees"):
        read_plan(write(tmp_path / "sites.csv", first, other, header=header))
    both = second.replace("15.61,,", "15.61,100,200")
    with pytest.raises(InputError, match="row 2, x_m: a second position"):
        read_plan(write(tmp_path / "sites.csv", both, header=header))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("sites.xlsx", "", "sites are read from .csv, .geojson and .yaml"),
        ("sites.csv", "", "0 sectors"),
        ("sites.yaml", "sites: [", "not valid YAML"),
        ("sites.yaml", "masts: []", "no list of sites"),
        ("sites.yaml", "sites: [{site: A, sectors: 3}]", "site 1, sectors: give a list"),
        ("sites.geojson", "{}", "no features"),
        ("sites.geojson", "{", "not valid JSON"),
        ("sites.geojson", '{"features": [{"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}]}',
         "feature 1, geometry: a LineString; give a point"),
        ("sites.geojson", '{"features": [{"geometry": null}]}', "feature 1: no geometry"),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_one_line(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_plan(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InputError, match="can't be read"):
        read_plan(tmp_path / "absent.csv")
