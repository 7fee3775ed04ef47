"""The page in a real headless Chromium, against the real server.

Screenshots are kept in the folder UNIAIR_SCREENSHOTS, or else in pytest's temporary one. UNIAIR_SITE takes them of
another site, as FOLDER or FOLDER#station=0&link=12: the picture in the README is `wide.png` of a real city.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serve.browsing import LOOKS, Visit, fits, serving, visiting
from tests.site.make import cover, make_site

from uniair.radio import UPA, Radio
from uniair.serve.predictor import Predictor
from uniair.site.site import Site

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")

TOKEN = "a-token-of-this-test"


def percent(p: float) -> str:
    return "> 99 %" if p > 0.995 else "< 1 %" if p < 0.005 else f"{100 * p:.0f} %"


def test_the_radio_and_what_differs_are_shown(visit: Visit, browser: Any, tmp_path: Path) -> None:
    assert visit.texts("#radio") == [f"Radio: {Radio()}"]
    assert not visit.page.locator("#remarks").is_visible()
    assert not visit.page.locator("#figures").is_visible()  # the folder keeps no coverage
    site = make_site(tmp_path / "site", stations=1, radio=Radio(UPA(4, 8), clock="first_path"))
    covered = cover(site)
    predictor = Predictor(site)
    with serving(predictor) as url, visiting(browser, url) as other:
        other.open()
        assert other.texts("#radio") == [f"Radio: {predictor.site.radio}"]
        assert other.texts("#remarks li") == predictor.remarks(predictor.site.radio)
        assert not other.get("site")["stations"][0]["beams"]["cyclic"]  # of a plane; those of a line are
        assert visit.get("site")["stations"][0]["beams"]["cyclic"]
        pictures = []
        for layer in ("beam", "server", "rsrp", "sinr"):
            other.page.check(f"input[value={layer}]")
            other.drawn()
            pictures.append(other.page.evaluate("document.querySelector('#map').toDataURL()"))
        assert len(set(pictures)) == 4
        assert "hole: no path" in other.page.locator("#legend").inner_text()
        assert f"{len(covered.users.points)} users outdoors" in other.page.locator("#figures").inner_text()
        assert other.wrong == []


def test_a_click_shows_what_the_api_says(visit: Visit) -> None:
    links = visit.get("site/links?station=0")
    wanted = 17
    visit.page.mouse.click(*visit.at(*links["ue"][wanted][:2]))
    visit.note()
    assert visit.chosen == (0, wanted)
    link, ue = {"station": 0, "link": wanted}, [links["ue"][wanted]]
    [p_los] = visit.post("los", **link)["probability_of_los"]
    [beam] = visit.post("beam", station=0, ue=ue)["answers"]
    [loss] = visit.post("path_loss", station=0, ue=ue)["answers"]
    [place] = visit.post("position", **link)["answers"]
    best = visit.post("likelihood", **link, step=4)["best"]
    assert visit.answer("Line of sight").removesuffix(" unsure") == percent(p_los)
    assert visit.row("Line of sight")[2].startswith("yes" if links["los"][wanted] else "no")
    assert visit.row("Best beam")[1].startswith(f"{beam['beam']}, {percent(beam['probability'])}")
    assert visit.row("Best beam")[2].startswith(f"{links['beam'][wanted]} ")
    assert visit.answer("Path loss") == f"{loss['path_loss_db']:.1f} dB"
    assert visit.row("Path loss")[2].startswith(f"{links['path_loss_db'][wanted]:.1f} dB")
    assert visit.answer("Position") == f"{place['x_m']:.1f} m east, {place['y_m']:.1f} m north"
    assert visit.answer("Likeliest cell") == f"{best[0]:.1f} m east, {best[1]:.1f} m north"
    off = ((place["x_m"] - ue[0][0]) ** 2 + (place["y_m"] - ue[0][1]) ** 2) ** 0.5
    assert visit.row("Position")[2] == f"{off:.1f} m off"
    assert f"User {wanted}:" in visit.page.locator("#spoken").inner_text()
    detail = visit.get(f"site/links/0/{wanted}")
    assert [row.split("\t")[2] for row in visit.texts("#rays-list tbody tr")] == [
        f"{ray['delay_ns']:.0f}" for ray in detail["rays"]
    ]
    assert "3 traced paths of that range, × what the model read" in visit.page.locator("#channel-about").inner_text()


def test_a_drag_snaps_to_links_and_asks_once_it_rests(visit: Visit) -> None:
    ue = visit.get("site/links?station=0")["ue"]
    start, end = ue[visit.chosen[1]][:2], ue[40][:2]
    before = len(visit.asked)
    visit.drag(tuple(start), tuple(end))
    assert visit.chosen == (0, 40)
    positions = [body for path, body in visit.asked[before:] if path == "position"]
    assert positions[-1] == {"station": 0, "link": 40}
    assert len(positions) < 6  # of six moves: those that came quickly were not asked about
    assert "User 40" in visit.page.locator("#user-title").inner_text()


def test_another_station_has_its_own_links(visit: Visit) -> None:
    visit.page.check("#stations input[value='1']")
    visit.note()
    station, link = visit.chosen
    assert station == 1
    loss = visit.get("site/links?station=1")["path_loss_db"][link]
    assert visit.row("Path loss")[2].startswith(f"{loss:.1f} dB")
    best = visit.post("likelihood", station=1, link=link, step=4)["best"]
    assert visit.answer("Likeliest cell") == f"{best[0]:.1f} m east, {best[1]:.1f} m north"
    visit.page.reload()
    visit.note()
    assert visit.chosen == (1, link)


def test_a_moved_building_is_what_the_model_is_told(visit: Visit, served_site: Site) -> None:
    known = visit.get("site/buildings")["buildings"]
    middle = served_site.area.footprints[1].centroid
    before = len(visit.asked)
    visit.drag((middle.x, middle.y), (middle.x - 8, middle.y + 15))
    told = next(body for path, body in reversed(visit.asked) if path == "los" and "buildings" in body)
    shift = [
        (now[0] - was[0], now[1] - was[1])
        for now, was in zip(told["buildings"][1]["outline"], known[1]["outline"], strict=True)
    ]
    assert shift == [pytest.approx((-8, 15), abs=0.5)] * len(shift)
    assert [told["buildings"][i]["outline"] == known[i]["outline"] for i in (0, 2)] == [True, True]
    assert "1 moved" in visit.page.locator("#edits").inner_text()
    [p_los] = visit.post("los", **told)["probability_of_los"]
    assert f"{percent(p_los)} on your map" in visit.row("Line of sight")[1]
    asked = [body for path, body in visit.asked[before:] if path == "likelihood"]
    assert asked
    assert all(body["buildings"] == told["buildings"] for body in asked[-2:])
    assert not [path for path, _ in visit.asked[before:] if path == "position"]  # reads no map
    visit.page.click("#reset")
    visit.note()
    assert "your map" not in visit.row("Line of sight")[1]
    assert "buildings" not in next(body for path, body in reversed(visit.asked) if path == "likelihood")


def test_the_keyboard_is_enough(visit: Visit) -> None:
    page, keys = visit.page, visit.page.keyboard
    focused: list[str] = []
    while "map" not in focused:
        keys.press("Tab")
        found = page.evaluate("document.activeElement.id || document.activeElement.name")
        assert len(focused) < 8, focused
        focused.append(found)
    assert focused == ["station", "layer", "overlay", "rays", "why", "opacity", "map"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    ue = visit.get("site/links?station=0")["ue"]
    start = visit.chosen[1]
    keys.press("ArrowRight")
    visit.note()
    ahead = [(x - ue[start][0], abs(y - ue[start][1])) for x, y, _ in ue]
    right = {i: east + 2 * aside for i, (east, aside) in enumerate(ahead) if east > 0.01 and aside <= east}
    assert visit.chosen[1] == min(right, key=right.__getitem__)
    told = visit.told("b", "Shift+ArrowUp", "ArrowUp")
    known = visit.get("site/buildings")["buildings"]
    rise = [now["outline"][0][1] - was["outline"][0][1] for now, was in zip(told, known, strict=True)]
    assert sorted(rise)[-1] == pytest.approx(6)  # 5 m and 1 m
    assert sum(map(abs, rise)) == pytest.approx(6)
    assert len(visit.told("Delete")) == len(known) - 1
    assert "1 deleted" in page.locator("#edits").inner_text()
    assert visit.told("Control+z") == told
    assert "1 moved" in page.locator("#edits").inner_text()
    keys.press("Control+z")
    assert page.locator("#edits strong").count() == 0
    assert page.locator("#undo").is_disabled()


def test_the_ask_box_answers_and_declines(visit: Visit) -> None:
    page = visit.page
    said = visit.post("ask", instruction="Where is this user?", station=0, link=visit.chosen[1])
    page.get_by_role("button", name="Where is this user?").click()
    page.wait_for_selector("#reply .answer")
    assert visit.texts("#reply .answer") == [said["text"]]
    page.fill("#instruction", "Which modulation should I use?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reply .declined")
    assert page.locator("#reply .declined").inner_text().startswith("Declined. I can't answer that.")
    page.fill("#instruction", "Which beam should serve user 999?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reply .question")
    assert page.locator("#reply .question").inner_text().startswith("Asked back. user 999:")
    page.fill("#instruction", "Is user 5 better served by bs0 or bs1?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reply .answer:has-text('best first')")
    said = visit.post("ask", instruction="Is user 5 better served by bs0 or bs1?", station=0, link=visit.chosen[1])
    assert visit.texts("#reply .answer") == [said["text"]]
    assert page.locator("#reply").get_attribute("role") == "status"


def test_layers_look_different_and_have_a_legend(visit: Visit) -> None:
    pictures, legends = set(), set()
    for layer in ("los", "path_loss", "beam", "tested", "none"):
        visit.page.check(f"input[value={layer}]")
        visit.drawn()
        pictures.add(visit.page.evaluate("document.querySelector('#map').toDataURL()"))
        legends.add(visit.page.locator("#legend").inner_text())
    assert len(pictures) == len(legends) == 5
    assert visit.page.locator("#source").inner_text() == "made by a test"


def test_an_error_is_one_line_and_a_server_that_is_gone_is_waited_for(browser: Any, address: str) -> None:
    with visiting(browser, address) as visit:
        page = visit.page
        refuse = {"status": 400, "json": {"detail": "link 3: the server says no"}}
        page.route("**/position", lambda route: route.fulfill(**refuse))
        visit.open()
        assert page.locator("#problem").inner_text() == "link 3: the server says no"
        page.unroute("**/position")
        page.route("**/*", lambda route: route.abort())
        page.focus("#map")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#problem:has-text('does not answer')")
        page.unroute("**/*")
        page.wait_for_selector("#problem", state="hidden")
        visit.note()
        assert visit.answer("Path loss").endswith("dB")


def test_a_token_is_asked_for_and_kept(browser: Any, predictor: Any) -> None:
    with serving(predictor, TOKEN) as address, visiting(browser, address) as visit:
        page = visit.page
        page.goto(address)
        page.wait_for_selector("#token:visible")
        page.fill("#token-text", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#problem:has-text('token wrong')")
        page.fill("#token-text", TOKEN)
        page.keyboard.press("Enter")
        visit.note()
        assert page.locator("#token").is_hidden()
        assert page.locator("h1").inner_text() == "town"
        page.reload()
        visit.note()
        assert visit.answer("Path loss").endswith("dB")


def test_a_finger_taps_to_choose(browser: Any, address: str) -> None:
    with visiting(browser, address, viewport={"width": 360, "height": 740}, has_touch=True) as visit:
        visit.open()
        ue = visit.get("site/links?station=0")["ue"][33]
        visit.page.locator("#map").scroll_into_view_if_needed()
        visit.page.touchscreen.tap(*visit.at(*ue[:2]))
        visit.note()
        assert visit.chosen == (0, 33)
        assert visit.wrong == []


@pytest.fixture(scope="module")
def shown(address: str, predictor: Any) -> Iterator[tuple[str, str]]:
    """Server and place of the pictures."""
    from uniair.serve.predictor import Predictor

    folder, _, place = os.environ.get("UNIAIR_SITE", "").partition("#")
    if not folder:
        yield address, ""
        return
    with serving(Predictor(Site.read(folder), predictor.router)) as url:
        yield url, f"#{place}"


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_are_sharp_and_fit_the_window(browser: Any, shown: tuple[str, str], tmp_path: Path, look: str) -> None:
    address, place = shown
    with visiting(browser, address, **LOOKS[look]) as visit:
        visit.open(place)
        page = visit.page
        path = Path(os.environ.get("UNIAIR_SCREENSHOTS", tmp_path)) / f"{look}.png"
        page.screenshot(path=path, full_page=look == "narrow")
        assert path.stat().st_size > 20_000
        fits(page)
        assert visit.wrong == []
