"""`uniair site`: a whole folder from one line, resumed or refused, and what it says of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.area import towns
from tests.site.make import make_site, synthetic_paths

import uniair
from uniair import cli
from uniair.area.area import Area
from uniair.errors import InputError
from uniair.propagation import ray_tracing
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.site import making, report, survey
from uniair.site.site import Site
from uniair.training.heads import load_head

QUICK = ["--ue", "120", "--side", "120", "--epochs", "0", "--training.steps", "20", "--training.epochs", "1",
         "--explained", "0"]  # fmt: skip


@pytest.fixture(autouse=True)
def no_tracer(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Paths in closed form, and maps of wide cells; UEs of each call."""
    calls: list[int] = []

    def trace(area: Area, bs: Any, ue: Any, config: Any) -> Any:
        calls.append(len(ue))
        return synthetic_paths(area, bs[0], ue)

    monkeypatch.setattr(survey, "build_scene", lambda area, config: area)
    monkeypatch.setattr(survey, "trace_scene", trace)
    monkeypatch.setattr(making, "check_materials", lambda config: None)
    monkeypatch.setattr(making, "tracer", lambda config: "stub")
    monkeypatch.setattr(report, "ACROSS", 25)
    return calls


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def figures(folder: Path) -> Any:
    return json.loads((folder / "site.json").read_text())["figures"]


def test_one_line_makes_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str], no_tracer: list[int]) -> None:
    out = tmp_path / "site"
    line = ["site", "example", *QUICK, "--explained", "8", "--out", str(out), "--json"]
    assert cli.main(line) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["stations"] == ["bs0"]
    assert result["links"] == {"bs0": 120}
    site = Site.read(out)
    assert len(site.heads(0)) == 7
    assert site.links.areas == ("procedural_7/bs0",)
    assert set(site.figures["bs0"]) == {"position", "los", "beam", "path_loss", "precoding"}
    page = (out / "report.html").read_text()
    why = 2 + page.count('alt="user ')  # doubt, the audit, and users that are explained
    assert 3 <= why <= 5
    assert page.count("data:image/png") == 6 + why
    assert "bs0: why, and how sure" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched
    for said in ("how many labelled positions do I need", "when not to trust it", "blocks of 20 m", "seed 0"):
        assert said in page
    assert "uniair procedural generator" in page
    card = (out / "card.md").read_text()
    assert "fingerprints, 5 nearest" in card
    assert "always the same" in card

    traced = list(no_tracer)
    for lost in ("site.json", "runs/bs0-los-channel-0.json", "heads/los-channel-bs0.safetensors"):
        (out / lost).unlink()
    before, made = names(out), site.figures
    assert cli.main(line) == 0
    assert no_tracer == traced
    assert before < names(out)
    assert figures(out) == made
    assert cli.main(["site", "example", *QUICK, "--explained", "0", "--out", str(out)]) == 0
    assert "why, and how sure" not in (out / "report.html").read_text()  # of a finished site, too
    assert (figures(out), no_tracer) == (made, traced)
    assert cli.main([*line, "--seed", "1"]) == 2
    assert "holds another site (other seed" in capsys.readouterr().err


def test_a_site_of_base_stations_has_coverage_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["site", "example", *QUICK, "--out", str(tmp_path / "site"), "--json"]
    assert cli.main(line) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])["coverage"]
    assert (first["outdoors"]["count"], first["sectors"][0]["power_dbm"]) == (120, 30.0)
    assert cli.main([*line, "--export", str(tmp_path / "gis")]) == 0  # it is there already
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[-1])["coverage"] == first
    assert "coverage at 30 dBm a station (--power): 120 users outdoors" in printed
    assert (tmp_path / "gis/site.gpkg").is_file()
    assert np.isfinite(first["outdoors"]["median_rsrp_dbm"])


def test_measured_labels_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], no_tracer: list[int]) -> None:
    rng, out = np.random.default_rng(0), tmp_path / "site"
    ground = survey.crop(survey.Survey("procedural:7", ("400,400",), side=120.0))
    ue = ground.users(90, 0)
    np.savez(tmp_path / "drive.npz", x=ue[:, 0] + ground.corner[0], y=ue[:, 1] + ground.corner[1],
             beam=rng.integers(0, 32, 90), path_loss_db=rng.uniform(60, 140, 90))  # fmt: skip
    line = ["site", "procedural:7", "--bs", "400,400", *QUICK, "--out", str(out), "--trace", "false"]
    assert cli.main(line) == 2
    assert "give --measured" in capsys.readouterr().err
    assert cli.main([*line, "--measured", str(tmp_path / "drive.npz")]) == 0
    assert not no_tracer
    assert set(Site.read(out).heads(0)) == {("beam", "environment"), ("path_loss", "environment")}
    page = (out / "report.html").read_text()
    assert "90 measured rows of bs0" in page
    assert "why, and how sure" not in page  # no channels were measured
    assert "measured" in (out / "card.md").read_text()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["nowhere.geojson", "--bs", "1,2"], "nowhere.geojson: no such file"),
        (["procedural:7"], "--bs: give a base station"),
        (["procedural:7", "--bs", "-5,400"], "--bs -5,400: lies outside procedural:7"),
        (["procedural:7", "--bs", "400"], "--bs 400: not lon,lat"),
        (["example", "--measured", "nothing.csv"], "nothing.csv: no such file"),
        (["example", "--seeds", "0"], "--seeds must be at least 1"),
        (["example", "--model", "enormous"], "enormous: neither a packaged model"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    line: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["site", *line, *QUICK, "--out", str(tmp_path / "site")]) == 2
    message = capsys.readouterr().err.strip()
    assert says in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "site").exists()


def test_own_users_a_mast_and_drawn_heights_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_tracer: list[int]
) -> None:
    houses = [towns.feature(towns.rectangle(30.0 * i, 40.0 * j, 18, 14), building="yes")
              for i in range(4) for j in range(2)]  # fmt: skip
    roof = towns.feature(towns.rectangle(0, 22, 9, 9), building="roof", height="5")
    garage = towns.feature(towns.rectangle(0, 60, 9, 9), building="yes", location="underground")
    place = towns.write(tmp_path, "town.geojson", towns.collection(*houses, roof, garage))
    street = [towns.degrees(0.7 * i, 27) for i in range(140)]
    aside = [towns.degrees(35, 5), towns.degrees(900, 5)]  # in a house, and far off
    table = tmp_path / "walk.csv"
    table.write_text("\n".join(["lon,lat", *(f"{x},{y}" for x, y in [*street, *aside])]))
    out, bs = tmp_path / "site", ",".join(map(str, [*towns.degrees(55, 25), 60]))
    line = ["site", str(place), "--bs", bs, "--users", str(table), *QUICK, "--out", str(out), "--json"]
    assert cli.main(line) == 0
    printed = capsys.readouterr().out
    said = json.loads(printed.splitlines()[-1])
    assert sum(no_tracer) == 280  # once for the site and once for the other draw
    far = sum(1 for x in range(140) if 0.7 * x > 115) + 1
    assert said["users"] == {"count": 140, "file": "walk.csv", "highest": 1.5,
                             "left_out": {"outside the square": far, "inside a building": 1}}  # fmt: skip
    assert said["reading"]["heights"]["drawn"] == 8
    assert "map: 8 of 9 heights drawn; 1 given" in printed
    site = Site.read(out)
    assert (int(site.area.drawn.sum()), sorted(set(site.area.bases))) == (8, [0.0, 4.5])
    assert site.area.reading is not None
    assert site.area.reading.as_dict() == said["reading"]
    assert site.links.counts.tolist() == [140]
    report, card = (out / "report.html").read_text(), (out / "card.md").read_text()
    for text in (report, card):
        for told in ("8 of 9 heights drawn", "left out: underground: 1", "in this square: 8 of 9 heights drawn",
                     "bs0: drawn heights average", "in another draw", "Extrapolated: bs0 stands 60 m above ground",
                     "140 users of walk.csv, 1 outside the square left out, 1 inside a building left out"):  # fmt: skip
            assert told in text, told
    few = tmp_path / "few.csv"
    few.write_text("\n".join(["lon,lat", *(f"{x},{y}" for x, y in street[:30])]))
    for users, message in ((few, "few.csv: 30 of 30 positions stand outdoors in the square"),
                           (tmp_path / "none.gpx", "none.gpx: no such file")):  # fmt: skip
        refused = [*line[:4], "--users", str(users), *QUICK, "--out", str(tmp_path / "refused")]
        assert cli.main(refused) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "refused").exists()


RADIOS = {
    "a narrow band and a clock at the first path": Radio(ULA(16, 0.7), OFDM(128, 240e3), clock="first_path"),
    "a planar array at 3.5 GHz, calibrated": Radio(UPA(4, 8), carrier=3.5e9, calibrated=True),
}


@pytest.mark.parametrize("radio", RADIOS.values(), ids=RADIOS)
def test_a_site_of_ones_own_radio(radio: Radio, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "site"
    (tmp_path / "radio.json").write_text(json.dumps(radio.to_json()))
    line = ["site", "example", *QUICK, "--radio", str(tmp_path / "radio.json"), "--out", str(out), "--json"]
    assert cli.main([*line, "--epochs", "1"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    site = Site.read(out)
    assert site.radio == Radio.from_json(said["radio"]) == radio
    assert site.links[0].one_radio() == radio
    model = uniair.load("small")
    assert site.about["remarks"] == list(model.remarks(radio)) == said["remarks"]
    recipe = json.loads((out / "recipe.json").read_text())["survey"]
    assert (recipe["radio"], recipe["ray_tracing"]["frequency"]) == (radio.to_json(), radio.carrier)
    assert load_head(site.head("beam", "channel", 0), model, "beam").radio == radio
    assert load_head(site.head("beam", "channel", 0), model, "beam").head.widths[-1] == radio.array.ports
    report, card = (out / "report.html").read_text(), (out / "card.md").read_text()
    for text in (report, card):
        assert f"Radio: {radio}." in text
        assert all(remark[1:] in text for remark in model.remarks(radio))
        assert f"best of {radio.array.ports} DFT beams" in text
    assert cli.main(["site", "example", *QUICK, "--epochs", "1", "--out", str(out)]) == 2, "of another radio"
    assert "another site" in capsys.readouterr().err


def test_a_radio_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "site"
    for radio, says in (("nowhere.json", "neither a file"), ('{"clock": "mine"}', "clock 'mine'")):
        assert cli.main(["site", "example", *QUICK, "--out", str(out), "--radio", radio]) == 2
        message = capsys.readouterr().err.strip()
        assert says in message
        assert len(message.splitlines()) == 1
        assert not out.exists()


def test_walls_that_are_not_defined_at_a_carrier_are_one_line() -> None:
    pytest.importorskip("sionna.rt", reason="sionna-rt is missing: pip install 'uniair[rt]'")
    ray_tracing.check_materials(ray_tracing.RayTracing(frequency=3.5e9))
    with pytest.raises(InputError, match=r"concrete is not defined at 0.7 GHz \(ITU-R P.2040: 1 to 100 GHz"):
        ray_tracing.check_materials(ray_tracing.RayTracing(frequency=0.7e9))
    with pytest.raises(InputError, match="material 'cheese' is none"):
        ray_tracing.check_materials(ray_tracing.RayTracing(ground_material="cheese"))


def test_a_site_of_the_first_version_has_paper_1s_radio(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", stations=1)
    note = json.loads((tmp_path / "site/site.json").read_text())
    assert note.pop("radio") == Radio().to_json()
    (tmp_path / "site/site.json").write_text(json.dumps(note))
    assert Site.read(site.folder).radio == Radio()
    (tmp_path / "site/site.json").write_text(json.dumps({**note, "radio": {"format": "uniair-radio/7"}}))
    with pytest.raises(InputError, match="a radio of format"):
        Site.read(site.folder)
