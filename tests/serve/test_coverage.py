"""What a plan answers without a model, and that the examples of the API look like its answers."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serve.conftest import lacking

from uniair.cli import main
from uniair.errors import InputError
from uniair.site.covered import COVERAGE, Covered
from uniair.site.site import Site

EXTRA = "the extra `serve` is missing: pip install 'uniair[serve]'"
testclient = pytest.importorskip("fastapi.testclient", reason=EXTRA)
app_of, examples = (pytest.importorskip(f"uniair.serve.{name}", reason=EXTRA) for name in ("app", "examples"))


@pytest.fixture(scope="module")
def plan(planned: Site) -> Iterator[Any]:
    with testclient.TestClient(app_of.create_app(Site.read(planned.folder), warm=False)) as client:
        yield client


@pytest.fixture(scope="module")
def drive(driven: Site) -> Iterator[Any]:
    with testclient.TestClient(app_of.create_app(Site.read(driven.folder), warm=False)) as client:
        yield client


@pytest.fixture(scope="module")
def covered(planned: Site) -> Covered:
    found = Covered.read(planned.folder)
    assert found is not None
    return found


def test_questions_to_a_model_are_answered_plainly(plan: Any) -> None:
    site = plan.get("/site").json()
    assert (site["model"], site["coverage"], site["tasks"]) == (None, True, {})
    assert [one["name"] for one in site["stations"]] == ["North-1", "North-2", "North-3", "West-1", "West-2"]
    assert "map: 0 of 6 heights drawn; 6 given" in site["remarks"]
    asked = [plan.post(path, json=question.example) for path, question in app_of.questions().items()]
    asked += [plan.get("/site/links"), plan.get("/site/links/0/0"), plan.post("/los", content=b"\x00")]
    for answer in asked:
        assert answer.status_code == 409
        assert answer.json()["detail"].startswith("no model was asked about this plan")
    assert plan.get("/health").json() == {"status": "ok"}


def test_coverage_is_the_folders(plan: Any, planned: Site, covered: Covered) -> None:
    about = plan.get("/coverage").json()
    assert about["lines"][0].startswith("60 users outdoors: ")
    assert about["users"] == {"outdoors": 60, "indoors": 20}
    assert about["hole_dbm"] == covered.planning.hole == -90
    figures = planned.about["coverage"]["sectors"]
    for shown, kept in zip(about["sectors"], figures, strict=True):
        assert (shown["sector"], shown["reached"], shown["azimuth_deg"]) == (
            kept["sector"], kept["reached"], kept["azimuth_deg"]
        )  # fmt: skip
    users, served = plan.get("/coverage/users").json(), covered.users.served
    assert np.allclose(users["ue"], covered.users.points, atol=0.006)
    assert users["best"] == served.best.tolist()
    assert users["rsrp"][3 if served.best[3] < 0 else 0] == pytest.approx(
        served.rsrp[3 if served.best[3] < 0 else 0], abs=0.006
    )
    lost = served.best.tolist().index(-1)
    assert users["rsrp"][lost] is None
    for asked in (3, "West-1"):
        one = plan.get(f"/coverage/users?sector={asked}").json()
        assert np.allclose(
            np.array(one["rsrp"], dtype=float), covered.users.layers["rsrp"][3], atol=0.006, equal_nan=True
        )
    person = plan.get("/coverage/users/0").json()
    assert [row["sector"] for row in person["sectors"]] == covered.names
    assert person["sectors"][2]["path_loss_db"] == pytest.approx(covered.users.layers["path_loss"][2, 0], abs=0.006)
    assert person["sectors"][2]["delay_spread_ns"] == pytest.approx(
        1e9 * covered.users.layers["delay_spread"][2, 0], abs=0.006
    )
    nobody = plan.get(f"/coverage/users/{lost}").json()
    assert nobody["best_server"] is None
    assert {row["rsrp_dbm"] for row in nobody["sectors"]} == {row["beam"] for row in nobody["sectors"]} == {None}


def test_maps_tell_buildings_from_what_no_ray_reaches(plan: Any, planned: Site, covered: Covered) -> None:
    assert covered.maps is not None
    best = np.array(plan.get("/coverage/map?layer=best").json()["values"], dtype=float)
    built = planned.area.inside_building(covered.maps.cells.centres.reshape(-1, 3)).reshape(best.shape)
    assert np.array_equal(np.isnan(best), built)
    assert np.array_equal(best[~built], covered.maps.served.best[~built])
    assert (best == -1).any()
    for layer, want in (("rsrp", covered.maps.served.rsrp), ("throughput", covered.maps.served.throughput / 1e6)):
        values = np.array(plan.get(f"/coverage/map?layer={layer}").json()["values"], dtype=float)
        assert np.allclose(values, want, atol=0.006, equal_nan=True)
    one = np.array(plan.get("/coverage/map?layer=rsrp&sector=North-2").json()["values"], dtype=float)
    assert np.allclose(one, covered.maps.rsrp[1], atol=0.006, equal_nan=True)


def test_rays_run_from_the_mast_to_the_user(plan: Any, planned: Site, covered: Covered) -> None:
    users, kinds = covered.users, set()
    for user in range(0, 80, 3):
        found = plan.get(f"/coverage/rays?user={user}").json()
        if users.served.best[user] < 0:
            assert (found["rays"], found["sector"]) == ([], None)
            continue
        number = covered.names.index(found["sector"])
        mast = planned.stations[number].position
        assert number == users.served.best[user]
        for ray in found["rays"]:
            assert ray["points"][0] == pytest.approx(mast, abs=0.01)
            assert ray["points"][-1] == pytest.approx(users.spots[user], abs=0.01)
            length = np.linalg.norm(np.diff(ray["points"], axis=0), axis=1).sum()
            assert length == pytest.approx(ray["delay_ns"] * 0.299792458, abs=0.5)
            assert len(ray["events"]) == len(ray["points"]) - 2
            kinds.add(tuple(ray["events"]))
        # an echo off no building, and what the fixture sends straight through a house
        assert len(found["rays"]) + found["not_drawn"] == 3
        if users.floor[user] < 0:
            assert found["not_drawn"] == 1 + (not users.layers["los"][number, user])
    assert kinds == {(), ("reflected",)}
    inside = next(i for i in range(60, 80) if users.served.best[i] >= 0)
    found = plan.get(f"/coverage/rays?user={inside}&sector=0").json()
    assert found["sector"] == "North-1"
    assert found["spot"] != found["ue"]


def test_files_are_those_of_the_command(plan: Any, planned: Site, covered: Covered, tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from uniair.site import gis

    names = plan.get("/coverage").json()["files"]
    assert names == gis.names(Site.read(planned.folder).area, covered)
    assert "users.kml" in names
    packed = plan.get("/coverage/export")
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert sorted(archive.namelist()) == names
    one = plan.get("/coverage/export/coverage.tif")
    assert one.headers["content-disposition"] == 'attachment; filename="coverage.tif"'
    import rasterio

    with rasterio.MemoryFile(one.content) as file, file.open() as raster:
        assert raster.crs is not None
        assert raster.descriptions[0] == "rsrp"


def test_coverage_as_a_drive_test_calibrates_it(drive: Any, plan: Any, driven: Site) -> None:
    kept = Covered.read(driven.folder)
    assert kept is not None
    again = kept.calibrated
    assert again is not None
    assert again.maps is not None
    for layer, values in (("rsrp", again.maps.served.rsrp), ("sinr", again.maps.served.sinr)):
        found = drive.get(f"/coverage/map?layer={layer}&prediction=calibrated").json()["values"]
        assert np.allclose(np.array(found, dtype=float), values, atol=0.006, equal_nan=True)
    before, after = (
        np.array(drive.get(f"/coverage/map?layer=rsrp&sector=North-1&prediction={one}").json()["values"], dtype=float)
        for one in ("planned", "calibrated")
    )
    assert np.nanmedian(after - before) == pytest.approx(4, abs=0.02)  # what make_plan.STRONGER put in
    users = drive.get("/coverage/users?prediction=calibrated").json()
    assert np.allclose(np.array(users["rsrp"], dtype=float), again.users.served.rsrp, atol=0.006, equal_nan=True)
    for client, prediction in ((drive, "guessed"), (plan, "calibrated")):
        for path in ("map", "users"):
            answer = client.get(f"/coverage/{path}?prediction={prediction}")
            assert (answer.status_code, prediction in answer.json()["detail"]) == (404, True)


def test_a_drive_test_is_told_and_its_files_are_there(drive: Any, driven: Site) -> None:
    pytest.importorskip("rasterio")
    kept = Covered.read(driven.folder)
    assert kept is not None
    test = kept.drive_test
    assert test is not None
    about = drive.get("/coverage").json()
    said = about["drive_test"]
    assert (said["log"], said["calibrated"], len(said["colours"])) == ("log.csv", True, 7)
    assert "walls: concrete, as planned; no other was tried" in said["lines"]
    whole = drive.get("/coverage/drive_test").json()
    assert len(whole["measured"]) == test.log.measured.sum()
    spot, of = np.array(whole["spot"]), np.array(whole["sector"])
    for name, values in (("measured", test.log.rsrp), ("planned", test.planned), ("calibrated", test.calibrated)):
        assert np.allclose(np.array(whole[name], dtype=float), values[of, spot], atol=0.006, equal_nan=True)
    assert np.allclose(whole["place"], test.log.spots[spot], atol=0.006)
    assert set(whole["half"]) == {"learned", "tested", "between"}
    one = drive.get("/coverage/drive_test?sector=West-1").json()
    assert one["measured"] == np.array(whole["measured"])[of == 3].tolist()
    assert drive.get("/coverage/drive_test?sector=West-2").json()["measured"] == []
    assert "calibrated/users.csv" in about["files"]
    files = {}
    for name in ("users.csv", "calibrated/users.csv"):
        answer = drive.get(f"/coverage/export/{name}")
        assert answer.headers["content-disposition"] == f'attachment; filename="{name.replace("/", "-")}"'
        files[name] = list(csv.DictReader(answer.text.splitlines()))
    for before, after in zip(*files.values(), strict=True):
        if before["rsrp_dbm_North-1"]:
            more = float(after["rsrp_dbm_North-1"]) - float(before["rsrp_dbm_North-1"])
            assert more == pytest.approx(test.offsets[0], abs=0.011)
    with zipfile.ZipFile(io.BytesIO(drive.get("/coverage/export").content)) as archive:
        assert archive.namelist() == about["files"]


def test_a_client_asks_for_all_of_it(drive: Any, plan: Any, driven: Site) -> None:
    from uniair.serve.client import Client, ServiceError

    kept = Covered.read(driven.folder)
    assert kept is not None
    assert kept.maps is not None
    site = Client(http=drive)
    assert site.coverage()["users"] == {"outdoors": 60, "indoors": 20}
    users = site.coverage_users()
    assert users["best"].tolist() == kept.users.served.best.tolist()
    assert np.allclose(site.coverage_users("West-1")["rsrp"], kept.users.layers["rsrp"][3], atol=0.006, equal_nan=True)
    assert site.coverage_user(3)["ue"] == pytest.approx(kept.users.points[3], abs=0.006)
    assert np.allclose(site.coverage_map(), kept.maps.served.rsrp, atol=0.006, equal_nan=True)
    assert np.allclose(site.coverage_map("rsrp", 1), kept.maps.rsrp[1], atol=0.006, equal_nan=True)
    reached = int(np.flatnonzero(users["best"] >= 0)[0])
    assert len(site.rays(reached)["rays"]) + site.rays(reached)["not_drawn"] == 3
    assert site.rays(reached, "West-2")["sector"] == "West-2"
    assert set(site.drive_test("North-1")["sector"].tolist()) == {0}
    with pytest.raises(ServiceError, match="no log was laid over this plan"):
        Client(http=plan).drive_test()
    pytest.importorskip("rasterio")
    assert site.export("calibrated/users.csv").startswith(b"user,longitude")
    assert site.export()[:2] == b"PK"
    with pytest.raises(ServiceError, match="the files are buildings"):
        site.export("site.json")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/coverage/users/80", 404, "user 80: there are 0 to 79"),
        ("/coverage/users/-1", 404, "user -1: there are 0 to 79"),
        ("/coverage/users?sector=East", 404, "sector East: the site has 0 to 4, North-1, North-2"),
        ("/coverage/rays?user=2&sector=5", 404, "sector 5: the site has 0 to 4"),
        ("/coverage/rays", 422, "query.user: Field required"),
        ("/coverage/map?layer=colour", 404, "layer colour: is none of best, rsrp, sinr, throughput"),
        ("/coverage/map?layer=sinr&sector=1", 400, "sector: sinr is of the best server"),
        ("/coverage/export/..%2Fsite.json", 404, ""),
        ("/coverage/export/calibrated/users.csv", 404, "calibrated/users.csv: the files are "),
        ("/coverage/drive_test", 404, "drive_test: no log was laid over this plan"),
        ("/coverage/export/site.json", 404, "site.json: the files are buildings.geojson, "),
    ],
)
def test_what_is_not_there_is_told_in_one_line(plan: Any, path: str, status: int, says: str) -> None:
    answer = plan.get(path)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]


def test_folders_without_coverage(http: Any, planned: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = http.get("/site").json()  # of a model, whose folder keeps none
    assert (site["coverage"], site["model"]) == (False, "small")
    for path in ("/coverage", "/coverage/users", "/coverage/map", "/coverage/rays?user=0", "/coverage/export"):
        answer = http.get(path)
        assert answer.status_code == 404
        assert "give the same uniair site command again" in answer.json()["detail"]
    older = tmp_path / "older"
    shutil.copytree(planned.folder, older)
    (older / COVERAGE).unlink()
    with pytest.raises(InputError, match="give the same uniair site command again"):
        app_of.create_app(Site.read(older))
    assert main(["serve", str(older), "--port", "0"]) == 2
    assert main(["serve", str(planned.folder), "--port", "0", "--forecaster", str(tmp_path)]) == 2
    assert "--forecaster: no model was asked about this plan" in capsys.readouterr().err


def test_halves_of_two_runs_are_not_served(planned: Site, driven: Site, tmp_path: Path) -> None:
    shutil.copytree(driven.folder, tmp_path / "plan")
    shutil.copy(planned.folder / "site.json", tmp_path / "plan")  # a run without the log was killed at the very end
    with pytest.raises(InputError, match="are of different runs; give the same uniair site command again"):
        app_of.create_app(Site.read(tmp_path / "plan"))


def form(value: Any) -> Any:
    """Names and kinds of a JSON value; of a list, of its first item that is something."""
    if isinstance(value, dict):
        return {key: form(one) for key, one in value.items()}
    if isinstance(value, list):
        known = [one for one in value if one is not None]
        return [form(known[0])] if known else []
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def alike(one: Any, two: Any) -> bool:
    """Whether two forms are of one kind; what is empty, or null, tells nothing."""
    if isinstance(one, dict) and isinstance(two, dict):
        return not one or not two or (one.keys() == two.keys() and all(alike(one[key], two[key]) for key in one))
    if isinstance(one, list) and isinstance(two, list):
        return not one or not two or alike(one[0], two[0])
    return one == two or type(None) in (one, two)


def test_examples_look_like_answers(drive: Any, http: Any) -> None:
    """Each is of the form that the served site, or the plan, answers in, and the description holds it."""
    described = {client: client.get("/openapi.json").json()["paths"] for client in (drive, http)}
    real = {
        **{path: drive for path in examples.GET if path.startswith("/coverage")},
        **{path: http for path in examples.GET if not path.startswith(("/coverage", "/learning"))},
    }
    own = {"/coverage/users/{user}": "/coverage/users/0", "/coverage/rays": "/coverage/rays?user=0",
           "/site/links/{station}/{link}": "/site/links/0/5"}  # fmt: skip
    free = ("tasks", "figures", "radio")  # names in them are the site's own
    for path, client in real.items():
        answer, example = client.get(own.get(path, path)).json(), examples.GET[path]
        if path.startswith("/site/links") or path == "/site/links":
            assert answer.keys() >= example.keys() - {"beam"}, path
        answer, example = ({k: v for k, v in one.items() if k not in free} for one in (answer, example))
        assert alike(form(example), form(answer)), (path, form(example), form(answer))
        content = described[client][path]["get"]["responses"]["200"]["content"]["application/json"]
        assert content["example"] == examples.GET[path]
    for path, question in app_of.questions().items():
        question.answer.model_validate(question.answered, strict=True)
        content = described[http][path]["post"]["responses"]["200"]["content"]["application/json"]
        assert content["example"] == question.answered
        assert content["schema"]["$ref"].endswith(question.answer.__name__)
        answer = http.post(path, json=question.example | lacking(path, http)).json()
        assert alike(form(question.answered), form(answer)), (path, form(question.answered), form(answer))


def test_a_link_has_its_rays_and_what_the_model_read(http: Any) -> None:
    found = http.get("/site/links/1/5").json()
    assert len(found["rays"]) + found["not_drawn"] == len(found["paths"]) == found["truth"]["paths"] == 3
    assert found["rays"][0]["points"][-1] == pytest.approx(found["ue"], abs=0.01)
    assert found["paths"][0]["gain_db"] == 0 == found["read"][0]["gain_db"]
    assert all(-1 <= one["cosine"] <= 1 for one in found["paths"])
    first = min(one["delay_ns"] for one in found["paths"])
    assert first == pytest.approx(found["truth"]["first_path_ns"], abs=0.01)
    drawn = {round(ray["delay_ns"], 1) for ray in found["rays"]}
    assert drawn <= {round(one["delay_ns"], 1) for one in found["paths"]}
