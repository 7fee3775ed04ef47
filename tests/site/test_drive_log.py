"""Logs of drive tests: rows become spots, what can't be laid over a plan is counted, what is unclear is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uniair.errors import InputError
from uniair.site import survey
from uniair.site.drive_log import SPOT, DriveLog, read_drive_log, to_spots
from uniair.site.measured import Terms
from uniair.site.survey import Ground, Survey

SITES = "site,sector,x_m,y_m,height_m,azimuth_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz,pci"
SECTORS = [f"A,{name},400,400,30,{azimuth},46,3500,100,30,{pci}"
           for name, azimuth, pci in (("North", 0, 301), ("South", 180, 302), ("7", 90, 303))]  # fmt: skip


def plan(folder: Path, *sectors: str) -> Ground:
    """A mast in the middle of 200 m of a generated town."""
    (folder / "sites.csv").write_text("\n".join([SITES, *(sectors or SECTORS)]))
    return survey.crop(Survey("procedural:7", (), side=200.0, ue=1, sites=str(folder / "sites.csv")))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return plan(tmp_path)


def streets(ground: Ground, count: int, seed: int = 0) -> np.ndarray:
    """Positions outdoors in the metres of the place's file."""
    found = ground.area.drop(count, 1.5, np.random.default_rng(seed))[:, :2] + ground.corner
    return np.asarray(found.round(3))


def read(
    folder: Path, ground: Ground, rows: list[str], header: str = "x,y,pci,rsrp", terms: Terms = Terms()
) -> DriveLog:
    (folder / "log.csv").write_text("\n".join([header, *rows]))
    return read_drive_log(folder / "log.csv", ground, terms)


def test_decibels_are_averaged_so_that_noise_moves_no_spot() -> None:
    points = np.array([[1.0, 1.0, 1.5], [2.0, 2.0, 1.5], [6.0, 1.0, 1.5]])
    spots, mean, rows = to_spots(points, np.array([0, 0, 1]), np.array([-80.0, -90.0, -70.0]), 2)
    assert rows.tolist() == [[2, 0], [0, 1]]
    assert mean[0, 0] == pytest.approx(-85)
    assert mean[1, 1] == pytest.approx(-70)
    assert np.isnan(mean[[0, 1], [1, 0]]).all()
    assert spots[0].tolist() in points.tolist()  # a place where somebody stood
    # a receiver that errs by 6 dB in each row: no more with many rows than with one, as the mean of powers would
    noisy = -95 + np.random.default_rng(0).normal(0, 6, 20_000)
    _, mean, _ = to_spots(np.zeros((20_000, 3)), np.zeros(20_000, dtype=np.int64), noisy, 1)
    assert mean[0, 0] == pytest.approx(-95, abs=0.15)
    assert 10 * np.log10((10 ** (noisy / 10)).mean()) == pytest.approx(-95 + np.log(10) / 20 * 36, abs=0.3)


def test_who_stands_at_a_red_light_weighs_no_more(tmp_path: Path, ground: Ground) -> None:
    places = streets(ground, 30)
    rows = [f"{x},{y},301,-90" for x, y in places]
    once = read(tmp_path, ground, rows)
    waited = read(tmp_path, ground, [*rows, *[rows[3]] * 500])
    assert waited.given == 530
    assert np.array_equal(waited.spots, once.spots)
    assert np.allclose(waited.rsrp, once.rsrp, equal_nan=True)
    assert waited.rows.max() > 500
    assert not ground.area.inside_building(once.spots).any()
    assert len(np.unique(np.floor(once.spots / SPOT), axis=0)) == len(once)


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path, ground: Ground) -> None:
    (x, y), (u, v) = streets(ground, 2)
    house = next(iter(ground.area.footprints)).representative_point()
    inside = f"{house.x + ground.corner[0]},{house.y + ground.corner[1]}"
    found = read(tmp_path, ground, [
        f"{x},{y},301,-90", f"{u},{v},302,-100 dBm", f",{y},301,-90", f"{x},,301,-90", f"{x},{y},301,",
        f"{x},{y},301,NaN", f"{x},{y},301,-30", f"{x},{y},301,-157", f"{x},{y},301,88", f"{x},{y},9,-90",
        f"{x},{y},10,-90", f"{x},{y},,-90", f"{x},{y},11,-90", f"{x + 500},{y},301,-90", f"{inside},301,-90",
        f"{x},{y},301,-31", f"{x},{y},301,-156",
    ])  # fmt: skip
    assert found.left_out == {
        "without a position": 2, "outside the square of 200 m": 1, "of cells that the plan does not have": 4,
        "without an RSRP": 2, "with an RSRP that is not within -156 to -31 dBm": 3, "inside buildings of the map": 1,
    }  # fmt: skip
    assert found.rows.sum() == found.given - sum(found.left_out.values()) == 4
    assert found.remarks == ("log.csv: cells that the plan does not have: 9, 10, without a name and 1 more",)


def test_sectors_go_by_name_or_pci(tmp_path: Path, ground: Ground) -> None:
    places = streets(ground, 3)
    cells = zip(places, ("north", "302.0", "7"), strict=True)
    rows = [f"{x};{y}".replace(".", ",") + f";{cell};-9{i},5" for i, ((x, y), cell) in enumerate(cells)]
    found = read(tmp_path, ground, rows, "Easting;Northing;Cell;SS-RSRP")
    assert found.measured.sum(1).tolist() == [1, 1, 1]
    assert [float(np.nanmax(one)) for one in found.rsrp] == pytest.approx([-90.5, -91.5, -92.5])
    terms = Terms({"station": "ECI", "rsrp": "power"}, {"88": "South"})
    found = read(tmp_path, ground, [f"{x},{y},88,-90" for x, y in places] + [f"{x},{y},301,-90" for x, y in places],
                 "x,y,eci,power", terms)  # fmt: skip
    assert found.measured.any(1).tolist() == [False, True, False]
    assert found.left_out == {"of cells that the plan does not have": 3}
    one = plan(tmp_path, SECTORS[0])
    assert read(tmp_path, one, [f"{x},{y},-90" for x, y in places], "x,y,rsrp").measured.shape == (1, 3)


def test_what_is_not_read_and_who_stands_high_is_said(tmp_path: Path, ground: Ground) -> None:
    rows = [f"{x},{y},{z},301,-90,12:00" for (x, y), z in zip(streets(ground, 4), (1.5, 2.0, "", 12.0), strict=True)]
    found = read(tmp_path, ground, rows, "x,y,z,pci,rsrp,time")
    assert found.remarks == ("log.csv: not read: time", "log.csv: 1 rows more than 5 m above ground")
    assert sorted(found.spots[:, 2]) == [1.5, 1.5, 2.0, 12.0]


@pytest.mark.parametrize(
    ("header", "row", "terms", "says"),
    [
        ("x,y,pci", "{},301", Terms(), "no column rsrp, dBm of a resource element"),
        ("x,y,pci,level", "{},301,-90", Terms(), r"not read: level; name it with --columns rsrp=…"),
        ("x,y,rsrp", "{},-90", Terms(), r"no column that says the sector \(station, sector, cell or pci\)"),
        ("x,y,eci,rsrp", "{},301,-90", Terms(), "if eci says it: --columns station=eci"),
        ("x,y,pci,sector,rsrp", "{},301,North,-90", Terms(), "columns pci and sector are both station; say which"),
        ("lon,lat,pci,rsrp", "{},301,-90", Terms(), "no column x, y; positions are x and y here"),
        ("x,y,pci,rsrp", "{},301,loud", Terms(), "column rsrp holds 'loud' in row 1"),
        ("x,y,pci,rsrp", "{},301,-200", Terms(), "none of 1 rows can be laid over the plan: 1 with an RSRP"),
        ("x,y,pci,rsrp", "{},5,-90", Terms(), "1 of cells that the plan does not have; check"),
        ("x,y,z,pci,rsrp", "{},212,301,-90", Terms(), "column z is 212 m in row 1; give heights above ground"),
        ("x,y,pci,rsrp", "{},301,-90", Terms({"beam": "pci"}), "--columns beam=…: of a drive test x, y, lon"),
        ("x,y,pci,rsrp", "{},301,-90", Terms(cells={"301": "West"}), "no such sector; the plan has North, South, 7"),
        ("x,y,pci,rsrp", "{},301,-90", Terms(cells={"5": "North"}), "no cell 5 in column pci"),
    ],
)
def test_bad_logs_are_one_line(header: str, row: str, terms: Terms, says: str, tmp_path: Path, ground: Ground) -> None:
    (x, y) = streets(ground, 1)[0]
    with pytest.raises(InputError, match=says) as caught:
        read(tmp_path, ground, [row.format(f"{x},{y}")], header, terms)
    assert len(str(caught.value).splitlines()) == 1


def test_a_cell_that_could_be_two_sectors_is_asked_about(tmp_path: Path) -> None:
    x, y = streets(plan(tmp_path), 1)[0]
    for sectors, two in (((SECTORS[0], SECTORS[1].replace(",302", ",301")), "North and South"),
                         ((SECTORS[2].replace(",7,", ",301,"), SECTORS[0]), "301 and North")):  # fmt: skip
        with pytest.raises(InputError, match=f"cell 301 could be {two}; say which: --cells 301="):
            read(tmp_path, plan(tmp_path, *sectors), [f"{x},{y},301,-90"])
    found = read(tmp_path, plan(tmp_path, *sectors), [f"{x},{y},301,-90"], terms=Terms(cells={"301": "North"}))
    assert found.measured.any(1).tolist() == [False, True]
