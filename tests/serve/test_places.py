"""Where a request says that users and stations are: degrees are no metres, walls are no streets, names are numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.site.make import town

from uniair.area.georeference import Georeference
from uniair.site.site import Site

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
PLACE = Georeference(13.35, 52.51, (-75.0, -75.0))
OUTDOORS = [75.0, 5.0, 1.5]


@pytest.fixture(scope="module")
def berlin(served_site: Site) -> Iterator[Any]:
    """The same site, somewhere on Earth."""
    from fastapi.testclient import TestClient

    from uniair.serve.app import create_app
    from uniair.serve.limits import Limits
    from uniair.serve.predictor import Predictor

    predictor = Predictor(replace(served_site, georeference=PLACE))
    with TestClient(create_app(predictor, Limits(), warm=False)) as client:
        yield client


def degrees(*points: list[float]) -> list[list[float]]:
    metres = np.array(points)
    return np.column_stack([PLACE.to_degrees(metres[:, :2]), metres[:, 2]]).tolist()


@pytest.mark.parametrize("crs", ["4326", "EPSG:4326", 4326])
@pytest.mark.parametrize("path", ["/los", "/rank", "/beam", "/path_loss"])
def test_degrees_that_are_said_so_are_converted(path: str, crs: Any, berlin: Any) -> None:
    link = {} if path in ("/beam", "/path_loss") else {"link": 0}
    points = [OUTDOORS, [12.0, 70.0, 1.5]]
    points = points[:1] if path == "/los" else points
    by_metres = berlin.post(path, json={"ue": points, **link}).json()
    by_degrees = berlin.post(path, json={"ue": degrees(*points), "crs": crs, **link}).json()
    name = {"/los": "probability_of_los", "/rank": "probability"}.get(path, "answers")
    assert str(by_degrees[name])[:20] == str(by_metres[name])[:20]


@pytest.mark.parametrize("path", ["/los", "/rank", "/beam", "/path_loss"])
def test_degrees_in_the_place_of_metres_are_refused(path: str, berlin: Any, http: Any) -> None:
    link = {} if path in ("/beam", "/path_loss") else {"link": 0}
    (lon, lat, z), *_ = degrees(OUTDOORS)
    for ue, says in (([lon, lat, z], "say crs 4326"), ([lat, lon, z], "latitude and longitude: turn them")):
        answer = berlin.post(path, json={"ue": [ue], **link})
        assert answer.status_code == 400
        assert says in answer.json()["detail"]
    for ue, crs, says in (([5e4, 5e4, 1.5], None, "outside the site"), ([lat, lon, z], "4326", "outside the site"),
                          ([391000.0 / 10, 5e4, 1.5], "4326", "no longitude and latitude")):  # fmt: skip
        answer = berlin.post(path, json={"ue": [ue], "crs": crs, **link})
        assert answer.status_code == 400
        assert says in answer.json()["detail"]
    answer = http.post(path, json={"ue": [[lon, lat, z]], "crs": "4326", **link})
    assert "not known where on Earth" in answer.json()["detail"]
    assert "give ue too" in http.post(path, json={"crs": "4326", "link": 0}).json()["detail"] or path == "/rank"


@pytest.mark.parametrize("path", ["/los", "/rank", "/beam", "/path_loss"])
def test_a_point_inside_a_building_is_said(path: str, http: Any) -> None:
    link = {} if path in ("/beam", "/path_loss") else {"link": 0}
    inside = town().footprints[0].representative_point()
    wall, street = [inside.x, inside.y, 1.5], OUTDOORS
    assert not [line for line in http.post(path, json={"ue": [street], **link}).json()["remarks"] if "inside" in line]
    said = http.post(path, json={"ue": [wall], **link}).json()["remarks"]
    assert "the position stands inside a building of the map" in said[-1]
    if path == "/rank":
        both = http.post(path, json={"ue": [wall, street], **link}).json()["remarks"]
        assert "1 of 2 positions stand inside a building" in both[-1]
        empty = http.post(path, json={"ue": [wall], "buildings": [], **link}).json()["remarks"]
        assert not [line for line in empty if "inside" in line]


@pytest.mark.parametrize("path", ["/position", "/los", "/likelihood", "/beam"])
def test_stations_go_by_name_and_number(path: str, http: Any) -> None:
    answers = [http.post(path, json={"station": station, "link": 0}) for station in (1, "bs1", "1")]
    assert answers[0].status_code == 200
    assert answers[0].json() == answers[1].json() == answers[2].json()
    for station in ("bs9", "7", 7, "-1"):
        answer = http.post(path, json={"station": station, "link": 0})
        assert answer.status_code == 404
        assert "the site has 0 to 1, bs0, bs1" in answer.json()["detail"]
    assert http.get("/site/links/bs1/0").json() == http.get("/site/links/1/0").json()
    assert http.get("/site/links?station=bs1").json() == http.get("/site/links?station=1").json()


def test_the_client_takes_names_and_degrees(berlin: Any) -> None:
    from uniair.errors import InputError
    from uniair.serve.client import Client

    by_metres, by_degrees = Client(http=berlin), Client(http=berlin, crs="4326")
    here = np.array([OUTDOORS])
    there = by_degrees.path_loss(degrees(OUTDOORS), station="bs1")
    np.testing.assert_allclose(there, by_metres.path_loss(here, station=1), atol=1e-3)
    with pytest.raises(InputError, match="give complex numbers"):
        by_metres.encode(np.ones((1, 32, 64)))
