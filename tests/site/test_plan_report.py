"""A plan's report and its maps: all of it in one file, sectors where they look, labels side by side."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

from uniair.area.streets import MINOR, Street
from uniair.evaluation.html import bullets
from uniair.site import plan_report
from uniair.site.covered import Covered
from uniair.site.drive_summary import table
from uniair.site.map_drawing import HALF, SiteMap, reaches
from uniair.site.site import Site


def test_the_report_needs_nothing_else(planned: Site) -> None:
    page = (planned.folder / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page)
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Sectors", "What they give", "Best server", "RSRP", "SINR", "Throughput", "RSRP of each sector", "Users",
        "How RSRP, SINR and throughput are distributed", "Sector by sector", "What was guessed or left out", "Limits",
        "How it was made",
    ]  # fmt: skip
    assert page.count('<img alt="Map of') == 5
    for told in (
        "60 users outdoors", "20 users inside buildings", "map: 0 of 6 heights drawn", "a model, and its median",
        "2 named streets; 5 sectors on 2 masts", "OpenStreetMap contributors", "48.40000° N, 15.60000° E",
    ):  # fmt: skip
        assert told in page, told
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    assert [
        "North-2",
        "25.0 m",
        "120°",
        "4°",
        "0°",
        "43 dBm",
        "3500 MHz",
        "100 MHz",
        "4 × 4 slanted",
        "tr38901",
        "120",
    ] in rows
    for one in planned.about["coverage"]["sectors"]:
        (row,) = (row for row in rows if row[:1] == [one["sector"]] and len(row) == 6)
        assert row[1:4] == [f"{one['reached']:,}", f"{one['best_server']:,}", f"{one['los']:,}"]
        assert row[4] == f"{one['median_rsrp_dbm']:.1f} dBm"


def test_more_sections_and_no_maps(planned: Site, tmp_path: Path) -> None:
    kept = Covered.read(planned.folder)
    assert kept is not None
    more = [("Drive test", "Beside the prediction.", bullets(["a < b"]))]
    plan_report.write(tmp_path / "report.html", planned, replace(kept, maps=None), [], ["flat"], more)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[titles.index("Sector by sector") + 1] == "Drive test"
    assert "Best server" not in titles
    assert "<li>a &lt; b</li>" in page
    assert "<li>nothing</li>" in page


def test_a_drive_test_has_a_section(driven: Site) -> None:
    page = (driven.folder / "report.html").read_text(encoding="utf-8")
    section = page[page.index("<h2>Drive test</h2>") : page.index("<h2>What was guessed or left out</h2>")]
    assert '<img alt="Measured beside predicted RSRP' in section
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", section)]
    wanted = table(driven.about["drive_test"]).rows
    assert rows[1:] == [list(row) for row in wanted]
    assert "<li>not measured, and as planned: West-2</li>" in section
    assert "calibrated on log.csv: 60 users outdoors" in section


def shown(site: Site) -> SiteMap:
    return SiteMap(Figure(figsize=(7, 7)).add_axes((0.1, 0.1, 0.8, 0.8)), site, "map")


def test_wedges_open_where_sectors_look(planned: Site) -> None:
    kept = Covered.read(planned.folder)
    assert kept is not None
    found = shown(planned)
    found.draw_sectors(kept.sectors, ["#000000"] * 5)
    wedges = [patch for patch in found.axes.patches if isinstance(patch, Wedge)]
    for wedge, sector in zip(wedges, kept.sectors, strict=True):
        middle = math.radians((wedge.theta1 + wedge.theta2) / 2)
        compass = math.degrees(math.atan2(math.cos(middle), math.sin(middle))) % 360  # clockwise from north
        assert compass == pytest.approx(sector["azimuth_deg"])
        assert wedge.theta2 - wedge.theta1 == 2 * HALF
    same = [{"x_m": 1.0, "y_m": 1.0, "azimuth_deg": azimuth} for azimuth in (10, 130, 10)]
    assert reaches(same, 10.0) == pytest.approx([10, 10, 7.2])  # of two carriers, one within the other


def test_no_label_covers_another(planned: Site) -> None:
    crowd = [
        Street(f"Street number {i}", MINOR, np.array([[5.0, 4.0 * i + 10], [150.0, 4.0 * i + 12]])) for i in range(14)
    ]
    found = shown(replace(planned, streets=tuple(crowd)))
    kept = Covered.read(planned.folder)
    assert kept is not None
    close = [{**sector, "x_m": 80.0 + i, "y_m": 80.0} for i, sector in enumerate(kept.sectors)]
    found.name_sectors(close)
    found.name_streets()
    boxes = found.taken[2:]  # without scale and north
    assert len(boxes) > 12
    assert not [1 for i, one in enumerate(boxes) for other in boxes[:i] if one.overlaps(other)]


def test_degrees_are_where_they_say(planned: Site) -> None:
    axes = shown(planned).axes
    assert planned.georeference is not None
    for tick, label in zip(axes.get_xticks(), axes.xaxis.get_majorticklabels(), strict=True):
        number, letter = label.get_text().split("° ")
        assert letter == "E"
        longitude = planned.georeference.to_degrees(np.array([[tick, 80.0]]))[0, 0]
        assert longitude == pytest.approx(float(number), abs=1e-7)
    metres = shown(replace(planned, georeference=None)).axes
    assert metres.get_xlabel() == "x, m"
