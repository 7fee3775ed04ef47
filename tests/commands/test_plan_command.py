"""`uniair site --sites`: coverage from a file of masts, traced once, exported, and what it says of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.area import make as towns
from tests.tracer import needs_tracer

from uniair import cli
from uniair.data.links.store import Store
from uniair.propagation.ray_tracing import RayTracing
from uniair.site.site import Site

HEADER = (
    "site,latitude,longitude,height_m,azimuth_deg,mechanical_tilt_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz,"
    "rows,columns,polarisation,pattern,pci,owner"
)
QUICK = ["--ue", "30", "--side", "100", "--cell", "20", "--rays", "20000"]


def sites(folder: Path, tilt: float = 3.0, change: tuple[str, str] = ("", "")) -> Path:
    lon, lat = towns.degrees((20.0, 20.0))
    rows = [f"M,{lat:.8f},{lon:.8f},30,{azimuth},{tilt},46,3500,100,30,4,4,slanted,tr38901,{azimuth},me"
            for azimuth in (0, 120, 240)]  # fmt: skip
    rows[1] = rows[1].replace(*change) if change[0] else rows[1]
    (folder / "sites.csv").write_text("\n".join([HEADER, *rows]))
    return folder / "sites.csv"


@needs_tracer
def test_a_three_sector_mast_from_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from uniair.commands import site as command

    monkeypatch.setattr(command, "OVER_ROOFS", RayTracing(samples=5_000))
    place, out = str(towns.write(tmp_path, "town.geojson")), tmp_path / "plan"
    line = ["site", place, "--sites", str(sites(tmp_path)), *QUICK, "--indoor", "10", "--model", "none",
            "--out", str(out), "--json"]  # fmt: skip
    assert cli.main([*line, "--export", str(tmp_path / "gis")]) == 0
    printed = capsys.readouterr().out
    said = json.loads(printed.splitlines()[-1])
    assert said["stations"] == ["M-1", "M-2", "M-3"]
    assert said["coverage"]["outdoors"]["count"] == 30
    assert said["coverage"]["indoors"]["count"] == 10
    assert (
        sum(one["best_server"] for one in said["coverage"]["sectors"])
        + sum(said["coverage"][group]["unreached"] for group in ("outdoors", "indoors"))
        == 40
    )
    assert "sites.csv: not read: owner" in printed
    assert "30 users outdoors" in printed
    assert Store(out / "links").areas == ("town/M",)  # one trace for three sectors
    assert len(list((out / "maps").glob("*.npz"))) == 3
    assert (tmp_path / "gis/coverage.tif").is_file()
    card = (out / "card.md").read_text()
    for told in ("| M-2 | 120° | 46 dBm |", "a model, and its median", "not read: owner"):
        assert told in card
    assert said["report"] == str(out / "report.html")
    assert "coverage of 3 sectors" in (out / "report.html").read_text(encoding="utf-8")
    site = Site.read(out)
    assert [station.name for station in site.stations] == ["M-1", "M-2", "M-3"]
    assert site.about["coverage"] == said["coverage"]

    traced = {path: path.stat().st_mtime_ns for path in (out / "links").iterdir()}
    sites(tmp_path, tilt=12.0)
    assert cli.main([*line, "--load", "1"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {path: path.stat().st_mtime_ns for path in (out / "links").iterdir()} == traced
    assert len(list((out / "maps").glob("*.npz"))) == 6
    assert again["coverage"]["outdoors"]["median_rsrp_dbm"] != said["coverage"]["outdoors"]["median_rsrp_dbm"]
    assert Site.read(out).about["coverage"] == again["coverage"]
    assert cli.main([*line, "--seed", "5"]) == 2
    assert "holds another site (other seed)" in capsys.readouterr().err

    assert cli.main(["export", str(out), "--to", str(tmp_path / "edge")]) == 2
    error = capsys.readouterr().err.strip()
    assert "the model was not asked about" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "more", "says"),
    [
        ((",46,", ",,"), [], "sites.csv: row 3, power_dbm: missing; give dBm"),
        ((",3.0,46,", ",91,46,"), [], "sites.csv: row 3, mechanical_tilt_deg: '91'"),
        (("M,", "N,1"), [], "sites.csv: row 3, latitude"),
        (("tr38901", "cut.msi"), [], "sites.csv: row 3, pattern: "),
        (("", ""), ["--bs", "1,2"], "--bs and --sites: give one"),
        (("", ""), ["--measured", "drive.csv"], "drive.csv: no such file"),
        (("", ""), ["--trace", "false"], "--trace false leaves nothing of --sites"),
        (("", ""), ["--radio", '{"carrier": 3.5e9}'], "--radio, --power: the file of --sites says"),
        (("", ""), ["--load", "3"], "--load 3: give a share"),
        (("", ""), ["--walls", "paper"], "--walls paper: is none of low, high"),
        (("", ""), ["--indoor", "-1"], "--indoor -1"),
        (("", ""), ["--cell", "0.001"], "--cell 0.001"),
        (("", ""), ["--centre", "1,2,3"], "--centre 1,2,3: not lon,lat"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_writes_nothing(
    change: tuple[str, str], more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from uniair.site import planning

    monkeypatch.setattr(planning, "check_materials", lambda config: None)
    (tmp_path / "cut.msi").write_text("GAIN 17 dBi\nHORIZONTAL 360\n0 0\n1 0.1\n")
    place = str(towns.write(tmp_path, "town.geojson"))
    line = [
        "site",
        place,
        "--sites",
        str(sites(tmp_path, change=change)),
        *QUICK,
        "--out",
        str(tmp_path / "plan"),
        *more,
    ]
    assert cli.main(line) == 2
    message = capsys.readouterr().err.strip()
    assert says in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "plan").exists()


def test_users_indoors_are_for_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["site", "example", "--indoor", "5", "--out", str(tmp_path / "site")]) == 2
    assert "--indoor 5: users inside buildings are for --sites" in capsys.readouterr().err
