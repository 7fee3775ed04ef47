"""Why an answer came about, how sure it is, and the audit of the map, on the page in a real headless Chromium."""

from __future__ import annotations

from typing import Any

import pytest
from tests.explanation.calibration import calibration_of
from tests.serve.browsing import LOOKS, Visit, fits, serving, visiting

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
PICTURE = "document.querySelector('#map').toDataURL()"


def plain(text: str) -> str:
    return text.replace("\xa0", " ")


def test_the_page_says_why_as_the_api_does(visit: Visit) -> None:
    page = visit.page
    station, link = visit.chosen
    why = visit.post("explain", station=station, link=link)
    assert plain(page.locator("#why-sentence").inner_text()) == plain(why["sentence"])
    rows = visit.texts("#why-list tbody tr")
    assert len(rows) == len(why["paths"])
    for row, path in zip(rows, why["paths"], strict=True):
        assert ("nothing on the map explains it" in row) == (path["explained_by"] is None)
        assert f"{path['length_m']:.1f}" in row
    assert "was not calibrated" in page.locator("#why-doubt").inner_text()
    # every answer says how sure it is
    said = visit.texts("#answers tbody tr td .doubt")
    assert len(said) == page.locator("#answers tbody tr").count()
    assert all(text.startswith("doubt: ") for text in said)
    drawn = page.evaluate(PICTURE)
    page.uncheck("#why")
    visit.drawn()
    assert page.evaluate(PICTURE) != drawn
    assert "not explained" not in page.locator("#legend").inner_text()
    page.check("#why")
    visit.drawn()
    assert "read, not explained" in page.locator("#legend").inner_text()


def test_another_map_is_explained_anew(visit: Visit) -> None:
    before = len(visit.asked)
    visit.page.focus("#map")
    visit.told("b", "Delete")
    visit.note()
    visit.page.wait_for_selector("#edits:has-text('1 deleted')")
    asked = [body for path, body in visit.asked[before:] if path == "explain"]
    assert len(asked[-1]["buildings"]) == 7
    said = visit.post("explain", **asked[-1])["sentence"]
    assert plain(visit.page.locator("#why-sentence").inner_text()) == plain(said)


def test_the_audit_is_a_layer_and_its_list_selects_buildings(visit: Visit) -> None:
    page = visit.page
    assert not page.locator("#audit").is_visible()
    found = visit.post("audit", station=0, channels=60)  # reads the channels, which takes longest
    assert found["suspicions"], "the echoes of the made channels come from no wall"
    drawn = page.evaluate(PICTURE)
    page.check("input[value=audit]")
    page.wait_for_selector("#audit-about:has-text('channels of bs0')")
    shown = visit.texts("#audit-list li")
    assert shown == [plain(one["sentence"]) for one in found["suspicions"][:8]]
    assert "Weighed by assumed rates" in page.locator("#audit-about").inner_text()
    visit.drawn()
    assert page.evaluate(PICTURE) != drawn
    assert "contradicted by 5 nats" in page.locator("#legend").inner_text()
    button = page.locator("#audit-list button").first
    button.focus()
    page.keyboard.press("Enter")
    number = next(one["building"] for one in found["suspicions"] if one["change"] != "something here")
    page.wait_for_selector(f"#edits:has-text('Building {number},')")
    assert button.evaluate("e => e === document.activeElement")
    # the map that the model believes is audited anew
    with page.expect_request(lambda request: request.url.endswith("/audit")) as request:
        page.click("#delete")
    assert number not in [one["id"] for one in request.value.post_data_json["buildings"]]
    page.wait_for_selector("#audit-about:has-text('channels of bs0')")


def test_doubt_is_put_into_numbers_and_fits_a_narrow_dark_window(
    browser: Any, predictor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "calibration", calibration_of(predictor.site.weights))
    with serving(predictor) as url, visiting(browser, url, **LOOKS["narrow"], **LOOKS["dark"]) as visit:
        visit.open()
        station, link = visit.chosen
        wrong = visit.post("explain", station=station, link=link)["doubt"]["wrong"]
        told = "< 1 %" if 0 < wrong < 0.005 else f"{100 * wrong:.0f} %"
        assert f"LOS answer wrong with {told}" in plain(visit.page.locator("#why-doubt").inner_text())
        assert f"doubt: wrong with {told}" in visit.row("Line of sight")[1]
        assert " m² with 90 %" in visit.row("Likeliest cell")[1]
        visit.post("audit", station=station, channels=60)
        visit.page.check("input[value=audit]")
        visit.page.wait_for_selector("#audit-about:has-text('channels of bs0')")
        assert "assumed" not in visit.page.locator("#audit-about").inner_text()
        fits(visit.page)
        assert visit.wrong == []
