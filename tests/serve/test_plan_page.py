"""The page of a plan, which no model was asked about, and the API's description, in a real headless Chromium."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serve.browsing import LOOKS, Visit, fits, serving, visiting
from tests.site.make_plan import asked, make_plan, weights

from uniair.serve.predictor import Predictor
from uniair.site.site import Site

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")


@pytest.fixture(scope="module")
def address(planned: Site) -> Iterator[str]:
    with serving(Site.read(os.environ.get("UNIAIR_PLAN", planned.folder))) as url:
        yield url


@pytest.fixture
def visit(visit: Visit) -> Iterator[Visit]:
    yield visit
    assert not visit.page.locator("#problem").is_visible()


def picture(visit: Visit) -> str:
    visit.drawn()
    return str(visit.page.evaluate("document.querySelector('#map').toDataURL()"))


def test_a_click_draws_the_rays_that_were_traced(visit: Visit) -> None:
    people, names = visit.get("coverage/users"), [one["sector"] for one in visit.get("coverage")["sectors"]]
    wanted = next(i for i, (x, _, _) in enumerate(people["ue"]) if people["best"][i] >= 0 and x < 60)
    before = picture(visit)
    visit.page.mouse.click(*visit.at(*people["ue"][wanted][:2]))
    visit.note()
    assert visit.page.url.endswith(f"#user={wanted}")
    one, rays = visit.get(f"coverage/users/{wanted}"), visit.get(f"coverage/rays?user={wanted}")
    rows = visit.texts("#received tbody tr")
    strongest = sorted(one["sectors"], key=lambda row: -row["rsrp_dbm"])
    assert [row.split("\t")[0] for row in rows] == [row["sector"] for row in strongest]
    assert rows[0].split("\t")[1] == f"{strongest[0]['rsrp_dbm']:.1f}".replace("-", "−")
    assert visit.texts("#received tr.best th") == [one["best_server"]] == [names[people["best"][wanted]]]
    said = visit.page.locator("#user-about").inner_text()
    assert f"{one['best_server']} serves, SINR {one['sinr_db']:.1f} dB" in said
    listed = visit.texts("#rays-list tbody tr")
    assert [row.split("\t")[0] for row in listed] == [
        "direct" if not ray["events"] else "reflected" for ray in rays["rays"]
    ]
    assert [row.split("\t")[2] for row in listed] == [f"{ray['delay_ns']:.0f}" for ray in rays["rays"]]
    assert "1 more can't be drawn" in visit.page.locator("#rays-about").inner_text()  # an echo off no building
    drawn = picture(visit)
    visit.page.uncheck("#rays")
    assert len({before, drawn, picture(visit)}) == 3
    lost = people["best"].index(-1)
    visit.open(f"#user={lost}")
    visit.page.reload()
    visit.note()
    assert visit.page.locator("#rays-about").inner_text() == "No path reaches this user: a hole."
    assert "no path from any sector" in visit.page.locator("#spoken").inner_text()


def test_layers_sectors_opacity_and_what_lies_under_the_pointer(visit: Visit) -> None:
    page = visit.page
    pictures, legends = set(), set()
    for layer in ("server", "rsrp", "sinr", "throughput"):
        page.check(f"input[value={layer}]")
        page.wait_for_timeout(100)
        pictures.add(picture(visit))
        legends.add(page.locator("#legend").inner_text())
    assert len(pictures) == len(legends) == 4
    page.check("input[value=rsrp]")
    page.wait_for_timeout(100)
    grid = visit.get("coverage")["cells"]
    for sector in (None, 3):
        more = "" if sector is None else f"&sector={sector}"
        values = np.array(visit.get(f"coverage/map?layer=rsrp{more}")["values"], dtype=float)
        if sector is not None:
            page.select_option("#sector", f"{sector}")
            visit.note()
            assert page.url.endswith(f"&sector={sector}")
        row, column = np.argwhere(np.isfinite(values))[400]
        visit.page.mouse.move(*visit.at(*(np.array([column, row]) * grid["side"] + 2.5)))
        visit.drawn()
        said = page.locator("#hover").inner_text()
        shown = float(said.split("RSRP ")[1].split()[0].replace("−", "-"))
        assert shown == pytest.approx(values[row, column], abs=0.051)
        assert f"{column * 5 + 2.5:.1f} m east" in said.replace("\xa0", " ")
        place = visit.get("site")["georeference"]
        assert abs(float(said.split("°")[0]) - place["latitude"]) < 0.001
    assert "West-1, RSRP" in said
    strong = picture(visit)
    page.focus("#opacity")
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    faint = picture(visit)
    page.uncheck("#people")
    assert len({strong, faint, picture(visit)}) == 3
    page.reload()
    visit.note()
    assert page.input_value("#sector") == "3"


def test_a_drive_test_is_a_layer(browser: Any, driven: Site) -> None:
    with serving(Site.read(driven.folder)) as address, visiting(browser, address) as visit:
        visit.open()
        page, found = visit.page, visit.get("coverage/drive_test")
        pictures = {picture(visit)}
        for layer, label in (("drive_planned", "Measured − planned"), ("drive_calibrated", "Measured − calibrated")):
            assert label in page.locator("#layers").inner_text()
            page.check(f"input[value={layer}]")
            page.wait_for_timeout(100)
            pictures.add(picture(visit))
            of = found[layer.removeprefix("drive_")]
            page.select_option("#sector", "3")
            visit.note()
            wanted = next(i for i, half in enumerate(found["half"])
                          if half == "tested" and found["sector"][i] == 3 and of[i] is not None)  # fmt: skip
            page.mouse.move(*visit.at(*found["place"][wanted][:2]))
            visit.drawn()
            said = page.locator("#hover").inner_text().replace("−", "-")
            apart = found["measured"][wanted] - of[wanted]
            assert f"West-1, measured {found['measured'][wanted]:.1f} dBm, " in said
            assert float(said.split("dBm, ")[1].split(" dB from")[0]) == pytest.approx(apart, abs=0.06)
            assert said.endswith(f" dB from {layer.removeprefix('drive_')}, tested")
            page.select_option("#sector", "")
            visit.note()
        assert len(pictures) == 3
        assert "tested on" in page.locator("#legend").inner_text()
        assert "hole: no path" not in page.locator("#legend").inner_text()
        page.check("input[value=rsrp]")
        page.wait_for_timeout(100)
        planned_rsrp = picture(visit)
        page.check("input[value=rsrp_calibrated]")
        page.wait_for_timeout(100)
        assert picture(visit) != planned_rsrp
        for more in ("", "&sector=0"):
            page.select_option("#sector", "0" if more else "")
            visit.note()
            found = visit.get(f"coverage/map?layer=rsrp&prediction=calibrated{more}")
            values, side = np.array(found["values"], dtype=float), visit.get("coverage")["cells"]["side"]
            row, column = np.argwhere(np.isfinite(values))[400]
            page.mouse.move(*visit.at(*(np.array([column, row]) * side + side / 2)))
            visit.drawn()
            said = page.locator("#hover").inner_text().replace("−", "-")
            assert float(said.split("RSRP, calibrated ")[1].split()[0]) == pytest.approx(values[row, column], abs=0.051)
        assert "drive test: not measured, and as planned: West-2" in visit.texts("#figures li")
        assert "calibrated/users.csv" in visit.texts("#export button")
        path = Path(os.environ.get("UNIAIR_SCREENSHOTS", "")) / "plan-drive.png"
        if "UNIAIR_SCREENSHOTS" in os.environ:
            page.screenshot(path=path, full_page=True)
        fits(page)
        assert visit.wrong == []


def test_the_keyboard_is_enough(visit: Visit) -> None:
    page, keys = visit.page, visit.page.keyboard
    focused: list[str] = []
    while "map" not in focused:
        keys.press("Tab")
        focused.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert len(focused) < 9, focused
    assert focused == ["sector", "layer", "people", "rays", "opacity", "map"]
    ue = visit.get("coverage/users")["ue"]
    keys.press("ArrowRight")
    visit.note()
    ahead = [(x - ue[0][0], abs(y - ue[0][1])) for x, y, _ in ue]
    right = {i: east + 2 * aside for i, (east, aside) in enumerate(ahead) if east > 0.01 and aside <= east}
    assert page.url.endswith(f"#user={min(right, key=right.__getitem__)}")
    keys.press("b")
    keys.press("Delete")
    keys.press("Control+z")
    visit.drawn()
    assert not page.locator("#edits").is_visible()
    assert not visit.asked  # nothing is asked of a model


def test_files_come_with_a_click(browser: Any, planned: Site) -> None:
    token = "a-token-of-this-test"
    with serving(planned, token) as address, visiting(browser, address) as visit:
        visit.page.goto(address)
        visit.page.fill("#token-text", token)
        visit.page.keyboard.press("Enter")
        visit.note()
        found = {}
        for name in ("All files (.zip)", "users.csv"):
            with visit.page.expect_download() as download:
                visit.page.get_by_role("button", name=name, exact=True).click()
            found[name] = Path(download.value.path()).read_bytes()
            assert download.value.suggested_filename == ("users.csv" if name == "users.csv" else "coverage.zip")
        with zipfile.ZipFile(io.BytesIO(found["All files (.zip)"])) as archive:
            assert archive.read("users.csv") == found["users.csv"]
            assert "coverage.tif" in archive.namelist()


def test_docs_are_made_here(browser: Any, address: str) -> None:
    with visiting(browser, address) as visit:
        visit.page.goto(address + "docs#GET-coverage-rays")
        visit.page.wait_for_selector("details[open]")
        paths = visit.get("openapi.json")["paths"]
        assert visit.page.locator("details").count() == sum(map(len, paths.values()))
        shown = visit.page.locator("details[open]").inner_text()
        assert '"not_drawn": 0' in shown
        assert f'curl "{address}coverage/rays?user=0"' in shown
        assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert visit.wrong == []


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_are_sharp_and_fit_the_window(browser: Any, address: str, tmp_path: Path, look: str) -> None:
    with visiting(browser, address, **LOOKS[look]) as visit:
        visit.open()
        visit.page.check("input[value=rsrp]")
        visit.drawn()
        path = Path(os.environ.get("UNIAIR_SCREENSHOTS", tmp_path)) / f"plan-{look}.png"
        visit.page.screenshot(path=path, full_page=look == "narrow")
        assert path.stat().st_size > 20_000
        fits(visit.page)
        assert visit.wrong == []


@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")
def test_a_plan_that_a_model_reads_has_two_views(browser: Any, tmp_path: Path) -> None:
    questions = asked(weights(tmp_path / "any", "any"))
    mast = [("North", (0.0, -25.0), 25, (0,))]
    site = make_plan(tmp_path / "plan", -125.0, questions=questions, users=120, masts=mast)
    with serving(Predictor(Site.read(site.folder))) as address, visiting(browser, address) as visit:
        visit.open()
        page = visit.page
        assert "coverage of 1 sectors" in page.locator("#about").inner_text()
        assert page.locator("#view-plan").get_attribute("aria-current") == "page"
        page.click("#view-model")
        visit.note()
        assert f"answered by {site.model}" in page.locator("#about").inner_text()
        assert page.locator("#radio").inner_text() == f"Radio: {site.radio}"
        said = page.locator("#within").inner_text()
        assert said == ("What the weights learned from: in range: radio, users, side; extrapolated: mast; "
                        "unknown: clutter")  # fmt: skip
        page.click("#view-plan")
        visit.note()
        assert page.locator("#sector").is_visible()
