"""Why the answers of a served site came about, and its audit, as a client gets them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.explanation.calibration import RATES, calibration_of

from uniair.explanation.calibrated import CELLS
from uniair.explanation.explain import explain
from uniair.serve.explained import Explainer
from uniair.serve.predictor import Predictor
from uniair.serve.views import believed

# noise is sent on purpose; a server says so in its answer, and ignores the library's warning
NOISE = pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")

pytest.importorskip("fastapi", reason="the extra `serve` is missing: pip install 'uniair[serve]'")


@pytest.fixture(scope="module")
def calibrated(predictor: Predictor) -> Explainer:
    out = Explainer(predictor)
    out.calibration = calibration_of(predictor.site.weights)
    return out


@pytest.mark.parametrize("station", [0, 1])  # the second one's array lies at 30°
def test_a_link_is_explained_as_the_library_does_with_lines_in_the_site(
    http: Any, predictor: Predictor, station: int
) -> None:
    site, received = predictor.site, predictor.station_links(station).links
    link = int(np.flatnonzero(received.los)[3])
    found = http.post("/explain", json={"station": station, "link": link, "taken_off": 1}).json()
    links = received.select(np.array([link]))
    env = predictor.views[station].in_site(site.stations[station].position, links.ue)
    (why,) = explain(predictor.model, predictor.csi(station, link), env, site.radio, site.area, 1)
    assert found["sentence"] == str(why)
    assert [(one["building"], one["place"]) for one in found["buildings"]] == [
        (number, pytest.approx(effect.place, abs=1e-3)) for number, effect in why.buildings
    ]
    [los] = http.post("/los", json={"station": station, "link": link}).json()["probability_of_los"]
    assert found["los"] == pytest.approx(los, abs=2e-3)
    bs, ue = site.stations[station].position, links.ue[0]
    straight = next(one for one in found["candidates"] if one["kind"] == "")
    assert straight["line"] == [pytest.approx(bs[:2]), pytest.approx(ue[:2].tolist(), abs=0.01)]
    assert straight["whole"]
    for one in found["candidates"]:
        line = np.array(one["line"])
        if one["whole"] and one["kind"] == "R":  # as long as it says
            flat = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
            assert np.hypot(flat, bs[2] - ue[2]) == pytest.approx(one["length"], abs=2.0)
    line_of_sight = [one for one in found["paths"] if one["explained_by"] is not None
                     and found["candidates"][one["explained_by"]]["kind"] == ""]  # fmt: skip
    for one in line_of_sight:  # leaves to where the user is, in front of the array or behind it
        way = np.arctan2(ue[1] - bs[1], ue[0] - bs[0]) - site.stations[station].bearing
        told = [angle - site.stations[station].bearing for angle in one["azimuths_rad"]]
        assert np.cos(told) == pytest.approx([np.cos(way)] * 2, abs=1 / 16)  # what the array tells apart
        assert min(abs(np.sin(told) - np.sin(way))) < 0.2
    assert found["doubt"]["wrong"] is None
    assert any("not calibrated" in line for line in found["remarks"])


def test_another_map_is_explained_by_its_own_numbers(http: Any, predictor: Predictor) -> None:
    known = http.get("/site/buildings").json()["buildings"]
    told = {"station": 0, "link": 5}
    same = http.post("/explain", json=told | {"buildings": known}).json()
    assert same["sentence"] == http.post("/explain", json=told).json()["sentence"]
    renamed = [one | {"id": one["id"] + 100} for one in known]
    other = http.post("/explain", json=told | {"buildings": renamed, "taken_off": 2}).json()
    assert {n for one in other["candidates"] for n in one["buildings"]} <= {one["id"] for one in renamed}
    assert all(one["building"] >= 100 for one in other["buildings"])
    bare = http.post("/explain", json=told | {"buildings": []}).json()
    assert {one["kind"] for one in bare["candidates"]} == {""}
    assert believed(known, predictor.site.area)[1] == list(range(len(known)))


@NOISE
def test_what_is_missing_is_said_and_not_guessed(http: Any, predictor: Predictor) -> None:
    csi = predictor.csi(0, 3).numpy()[0]
    plain = {"real": csi.real.tolist(), "imag": csi.imag.tolist()}
    nowhere = http.post("/explain", json={"station": 0, "csi": plain}).json()
    assert nowhere["candidates"] == []
    assert nowhere["together"] is None
    assert any("ue unknown" in line for line in nowhere["remarks"])
    rng = np.random.default_rng(0)
    noise = {part: rng.standard_normal(csi.shape).tolist() for part in ("real", "imag")}
    heard = http.post("/explain", json={"station": 0, "csi": noise, "ue": [75, 35, 1.5]}).json()
    assert heard["fitted_share"] < 0.1
    assert "noise" in heard["sentence"]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/explain", {"station": 0}, 400, "csi is missing"),
        ("/explain", {"link": 1, "ue": [[1, 1, 1.5], [2, 2, 1.5]]}, 422, "one channel and its one place"),
        ("/explain", {"link": 1, "ue": [500, 1, 1.5]}, 400, "outside the site"),
        ("/explain", {"link": 1, "taken_off": 9}, 422, "taken_off"),
        ("/explain", {"link": 99}, 404, "link 99"),
        ("/audit", {"station": 7}, 404, "station 7"),
        ("/audit", {"channels": 0}, 422, "channels"),
        ("/audit", {"link": 1}, 422, "link"),
    ],
)
def test_what_can_not_be_explained_is_refused(http: Any, path: str, body: Any, status: int, says: str) -> None:
    answer = http.post(path, json=body)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.json()


def test_an_audit_names_the_building_that_was_put_up(http: Any, predictor: Predictor) -> None:
    known = http.get("/site/buildings").json()["buildings"]
    right = http.post("/audit", json={"station": 0, "channels": 40}).json()
    assert right["channels"] == 40
    assert right["links"] == 80
    assert not right["calibrated"]
    assert any("rates that were assumed" in line for line in right["remarks"])
    x, y, _ = predictor.site.stations[0].position
    outline = [[x + 8, y - 12], [x + 20, y - 12], [x + 20, y + 12], [x + 8, y + 12]]  # a wall before the station
    wrong = http.post("/audit", json={
        "station": 0, "channels": 40, "buildings": [*known, {"id": 77, "outline": outline, "height": 15.0}],
    }).json()  # fmt: skip
    assert 77 in [one["building"] for one in wrong["suspicions"] if one["change"] in ("not there", "elsewhere")]
    assert len(wrong["contradicted"]) == len(wrong["contradicted"][0]) == -(-150 // wrong["cell"])


def test_a_site_without_links_has_no_audit(predictor: Predictor) -> None:
    from fastapi.testclient import TestClient

    from uniair.serve.app import create_app

    kept = predictor.links
    predictor.links = [None] * len(kept)
    try:
        with TestClient(create_app(predictor, warm=False)) as http:
            answer = http.post("/audit", json={"station": 0})
            assert answer.status_code == 404
            assert "no links of it are in the site's folder" in answer.json()["detail"]
    finally:
        predictor.links = kept


def test_a_calibration_puts_doubt_into_numbers(calibrated: Explainer, predictor: Predictor) -> None:
    from uniair.serve.predictor import Received

    area, here = predictor.site.area, predictor.views[0]
    asked = Received(predictor.csi(0, 5), predictor.site.radio, predictor.model.encode_channel(predictor.csi(0, 5)))
    found = calibrated.explain(asked, 0, predictor.link(0, 5).ue, here, *believed(None, area), 0)
    assert found["doubt"]["wrong"] == pytest.approx(min(found["los"], 1 - found["los"]), abs=1e-3)
    audit = calibrated.audit(0, 10, here, *believed(None, area))
    assert audit["calibrated"]
    assert audit["rates"] == RATES.to_json()
    field = predictor.likelihood(asked, here, 0, here.side / CELLS)
    sets = calibrated.position_sets(field)
    assert sets is not None
    assert sets["0.8"] >= sets["0.9"] >= sets["0.95"]
    share = 10.0 ** field["log10"][~np.isnan(field["log10"])]
    inside = share[share >= 10 ** sets["0.8"]].sum() / share.sum()
    assert inside >= 0.5  # the threshold of 0.8: mass of what is likelier, and half its own
    assert calibrated.position_sets(predictor.likelihood(asked, here, 0, 10.0)) is None
    assert Explainer(predictor).position_sets(field) is None


@NOISE
def test_los_and_rank_say_how_sure_they_are_when_asked(http: Any, predictor: Predictor) -> None:
    told, noise = {"station": 0, "link": 5}, np.random.default_rng(0).normal(size=(2, 2, 32, 64))
    plain = http.post("/los", json=told).json()
    found = http.post("/los", json=told | {"doubt": True}).json()
    assert plain["probability_of_los"] == found["probability_of_los"]
    assert "doubt" not in plain
    (doubt,) = found["doubt"]
    assert doubt["wrong"] is None
    explained = http.post("/explain", json=told).json()["doubt"]
    for name in ("restored", "outside"):
        assert doubt["signals"][name] == pytest.approx(explained["signals"][name], abs=1e-2)
    assert doubt["signals"]["fit"] == pytest.approx(explained["signals"]["fit"], abs=2e-3)
    blind = http.post(
        "/los",
        json={"csi": {"real": noise[0].tolist(), "imag": noise[1].tolist()}, "doubt": True},
        headers={"accept": "application/x-npy"},
    )
    assert len(blind.json()["doubt"]) == 2  # an array alone would drop it
    places = [[75.0, 40.0, 1.5], [90.0, 40.0, 1.5], [30.0, 20.0, 1.5]]
    ranked = http.post("/rank", json=told | {"ue": places, "doubt": True}).json()
    best = int(np.argmax(ranked["probability"][0]))
    alone = http.post("/los", json=told | {"ue": places[best], "doubt": True}).json()["doubt"][0]
    assert ranked["doubt"][0]["signals"]["fit"] == pytest.approx(alone["signals"]["fit"], abs=2e-3)
    assert ranked["doubt"][0]["los_sets"] == {}


def test_calibrated_doubt_about_los_and_places(calibrated: Explainer, predictor: Predictor) -> None:
    from uniair.serve.predictor import Received

    links = predictor.station_links(0).links.select(np.arange(4))
    csi = torch.cat([predictor.csi(0, i) for i in range(4)])
    asked = Received(csi, predictor.site.radio, predictor.model.encode_channel(csi))
    los = np.array([0.9, 0.2, 0.5, 0.99], dtype=np.float32)
    found = calibrated.doubts_of_los(asked, 0, links.ue, predictor.views[0], los)
    assert [one["wrong"] for one in found] == pytest.approx([0.1, 0.2, 0.5, 0.01], abs=1e-3)
    assert found[2]["los_sets"]["0.95"] == ["NLOS", "LOS"]
    shares = np.array([[0.7, 0.2, 0.1]] * 4, dtype=np.float32)
    places = calibrated.doubts_of_places(asked, 0, links.ue[:3], predictor.views[0], shares)
    assert [one["wrong"] for one in places] == pytest.approx([0.3] * 4, abs=1e-3)
