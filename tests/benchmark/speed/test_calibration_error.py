"""Drive tests that are made up from predictions: what they calibrate, and what is summed up of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.site.make_plan import sites, village

from uniair.benchmark.speed import calibration_error
from uniair.benchmark.speed.calibration_error import drive, run, summed_up
from uniair.errors import InputError
from uniair.site import survey
from uniair.site.drive_tracing import MATERIALS
from uniair.site.survey import Survey

SIDE = 400.0  # m; sixty-four blocks, of which a few refute nothing
SPREAD = 3.0  # dB by which other walls change what is received


def known(ground: Any, wanted: Any, places: np.ndarray, material: str) -> np.ndarray:
    """Stands in for the tracer: a fall with distance, and in shadow, west of the mast, what the walls make of it."""
    sectors, far = len(ground.sectors), np.linalg.norm(places[:, :2] - SIDE / 2, axis=1)
    rng = np.random.default_rng(MATERIALS.index(material))
    walls = rng.normal(0, SPREAD, (sectors, len(places))) * (places[:, 0] < SIDE / 2)
    return np.asarray(-60 - 0.1 * far + walls)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    here = tmp_path_factory.mktemp("calibration")
    village(here / "village.osm")
    sites(here / "sites.csv")
    return Survey(str(here / "village.osm"), (), side=SIDE, ue=1, sites=str(here / "sites.csv"))


def test_walls_and_offsets_are_found_again(wanted: Survey) -> None:
    ground = survey.crop(wanted)
    places = ground.area.drop(900, 1.5, np.random.default_rng(0))
    every = {name: known(ground, wanted, places, name) for name in MATERIALS}
    exact = summed_up([drive(ground, places, every, "wood", 4.0, 0.0, 0)], "wood", 4.0)
    assert exact["offsets"] == len(ground.sectors) == 5
    assert (exact["walls_found"], exact["recovered"]) == (1.0, 1.0)
    assert exact["largest_db"] < 1e-6
    noisy = summed_up([drive(ground, places, every, "wood", 4.0, 6.0, seed) for seed in range(8)], "wood", 4.0)
    assert noisy["logs"] == 8
    assert noisy["walls_found"] == 1.0
    assert noisy["bound_db"] == pytest.approx(6 / np.sqrt(noisy["spots"]), rel=0.1)
    assert noisy["rms_db"] < noisy["bound_db"]  # five sectors share a receiver
    assert abs(noisy["mean_db"]) < 0.2
    # without other walls there is nothing to be taken for them
    same = summed_up([drive(ground, places, every, "concrete", 4.0, 6.0, seed) for seed in range(8)], "concrete", 4.0)
    assert same["walls_found"] >= 7 / 8


def test_it_prints_a_row_each_and_refuses_what_is_none(
    wanted: Survey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration_error, "predicted", known)
    monkeypatch.setattr(calibration_error, "require_sionna", lambda: None)
    found = run(wanted.place, str(wanted.sites), side=SIDE, positions=900, logs=2)
    assert len(found["rows"]) == 2 * len(MATERIALS)
    assert found["rows"]["brick, 6 dB"]["logs"] == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(found["rows"])
    assert lines[1].split()[:5] == ["concrete", "0", "dB", "100", "%"]
    for wrong in ({"logs": 0}, {"noise": -1.0}, {"offset": float("nan")}):
        with pytest.raises(InputError, match="give a log or more"):
            run(wanted.place, str(wanted.sites), **wrong)
