"""`uniair site`: a whole folder from one line, resumed or refused, and what it says of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.site.make import synthetic_paths

from uniair import cli
from uniair.area.area import Area
from uniair.site import making, survey
from uniair.site.site import Site

QUICK = ["--ue", "120", "--side", "120", "--epochs", "0", "--training.steps", "20", "--training.epochs", "1"]


@pytest.fixture(autouse=True)
def no_tracer(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Paths in closed form; UEs of each call."""
    calls: list[int] = []

    def trace(area: Area, bs: Any, ue: Any, config: Any) -> Any:
        calls.append(len(ue))
        return synthetic_paths(area, bs[0], ue)

    monkeypatch.setattr(survey, "build_scene", lambda area, config: area)
    monkeypatch.setattr(survey, "trace_scene", trace)
    monkeypatch.setattr(making, "require_sionna", lambda: None)
    monkeypatch.setattr(making, "version", lambda name: "stub")
    return calls


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def figures(folder: Path) -> Any:
    return json.loads((folder / "site.json").read_text())["figures"]


def test_one_line_makes_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str], no_tracer: list[int]) -> None:
    out = tmp_path / "site"
    line = ["site", "example", *QUICK, "--out", str(out), "--json"]
    assert cli.main(line) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["stations"] == ["bs0"]
    assert result["links"] == {"bs0": 120}
    site = Site.read(out)
    assert len(site.heads(0)) == 7
    assert site.links.areas == ("procedural_7/bs0",)
    assert set(site.figures["bs0"]) == {"position", "los", "beam", "path_loss", "precoding"}
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 6
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
    assert cli.main([*line, "--seed", "1"]) == 2
    assert "holds another site (other seed" in capsys.readouterr().err


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
