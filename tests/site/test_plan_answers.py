"""What a model answers about a plan's sectors: each with its own radio and tilt, several together, and its limits."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.site.make_plan import asked, make_plan, weights
from uniair import cli
from uniair.data.links.store import Store
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.propagation.antenna_pattern import MeasuredPattern
from uniair.propagation.sector import Sector
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.serve.predictor import Predictor
from uniair.site import station_links
from uniair.site.covered import Covered
from uniair.site.frame import view
from uniair.site.site import Site
from uniair.tasks.registry import TASKS

pytestmark = pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")  # the answers say it
USERS, HOLE = 210, -125.0
MASTS = [("North", (0.0, -25.0), 25, (0, 120)), ("West", (-36.0, 50.0), 12, (90,))]
NAMES = ["North-1", "North-2", "West"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights(tmp_path_factory.mktemp("weights") / "any", "any")


@pytest.fixture(scope="module")
def answered(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_plan(
        tmp_path_factory.mktemp("answered") / "plan", HOLE, questions=asked(model), users=USERS, masts=MASTS
    )


def test_each_sector_is_asked_with_its_own_radio(answered: Site) -> None:
    assert [one.name for one in answered.stations] == NAMES
    first, last = answered.stations[0], answered.stations[2]
    # 100 MHz at 30 kHz: 3,276 subcarriers, every 24th of which is 720 kHz on
    grid = OFDM(136, 720e3, -135 / 2 * 720e3)
    assert first.radio == Radio(UPA(4, 4, pattern="tr38901"), grid, 3.5e9) == answered.radio
    assert (first.source, last.source) == ("North", "West")
    assert math.degrees(first.downtilt) == pytest.approx(4)
    assert len({one.key for one in answered.stations}) == 3
    found = answered.about["model"]
    assert list(found["sectors"]) == NAMES
    for name, one in found["sectors"].items():
        assert one["radio"] == str(first.radio)
        # masts of 25 and 12 m, weights that learned up to 20 m
        mast = "extrapolated" if name.startswith("North") else "in range"
        assert one["within"] == {"radio": "in range", "mast": mast, "users": "in range", "side": "in range",
                                 "clutter": "unknown"}  # fmt: skip
        assert bool(one["why"]) == (mast == "extrapolated")
        assert {row["task"] for row in one["rows"]} == set(TASKS)
        assert one["zero_shot"]["links"] == one["links"] >= 100
        assert set(one["position"]["figures"]) == {"median_m", "cdf90_m", "inside_50", "inside_90"}
    assert set(answered.figures) == set(NAMES)
    heads = sorted(path.name for path in (answered.folder / "heads").glob("*.safetensors"))
    assert len(heads) == 3 * len([pair for task in TASKS.values() for pair in task.pairs])
    again = Site.read(answered.folder)
    assert again.stations == answered.stations
    assert again.about["model"] == json.loads(json.dumps(found))


def test_links_are_those_that_a_user_would_report(answered: Site) -> None:
    covered = Covered.read(answered.folder)
    assert covered is not None
    whole = Store(answered.folder / "links")
    assert whole.areas == ("village/North", "village/West")
    for number in range(len(NAMES)):
        links = station_links.links_of(answered, number)
        assert links is not None
        rsrp = covered.users.layers["rsrp"][number]
        strong = covered.users.spots[(covered.users.floor < 0) & (rsrp >= HOLE)].astype(np.float32)
        assert {tuple(place) for place in links.ue} == {tuple(place) for place in strong}
        assert links.areas == (f"village/{NAMES[number]}",)
        # heights, which weights of any radio are told
        assert links.maps.dtype == np.float32
        assert set(np.unique(links.maps)) == {0.0, *np.arange(8.0, 20.0, 2.0)}
        mast = answered.stations[number]
        mine = station_links.csi(answered, number, links)
        paths = links.paths
        assert torch.equal(
            mine, paths.csi(mast.radio, np.full(len(links), np.float32(mast.bearing)), downtilt=mast.downtilt)
        )  # type: ignore[arg-type]
        level = paths.csi(mast.radio, links.bearing)  # type: ignore[arg-type]
        assert not torch.allclose(mine, level, rtol=0.05)
        batch = station_links.batch(answered, number, links)
        assert batch.environment.downtilt == pytest.approx(mast.downtilt)
        # the array's frame: turning the links turns no channel
        assert (batch.csi - mine).abs().max() < 1e-3 * mine.abs().max()


def test_places_are_told_the_tilt(answered: Site) -> None:
    here = view(answered, 1)
    env = here.environment(np.array([[20.0, 20.0, 1.5], [30.0, 20.0, 1.5]]))
    assert env.downtilt.tolist() == pytest.approx([answered.stations[1].downtilt] * 2)
    assert env.carrier.tolist() == pytest.approx([3.5e9] * 2)
    level = replace(here, downtilt=None).environment(np.array([[20.0, 20.0, 1.5]]))
    assert level.downtilt.tolist() == [0.0]


def test_positions_by_one_two_and_three_sectors(answered: Site) -> None:
    found = answered.about["model"]["positions"]
    assert found["sectors"] == 3
    assert 20 <= found["users"] <= 60
    assert set(found["errors"]) == {"likelihood map, nothing tuned", "fingerprints, 5 nearest",
                                    "geometry: first path and beam"}  # fmt: skip
    for columns in found["errors"].values():
        assert len(columns) == 3
        assert all(0 < one["median_m"] <= one["cdf90_m"] < 250 for one in columns)
    # more sectors place users better where nothing is learned wrong
    prints = [one["median_m"] for one in found["errors"]["fingerprints, 5 nearest"]]
    assert prints[2] < prints[0]


def test_report_and_card_say_it(answered: Site) -> None:
    report = (answered.folder / "report.html").read_text(encoding="utf-8")
    card = (answered.folder / "card.md").read_text(encoding="utf-8")
    for text in (report, card):
        assert "Positions by one, two and three sectors" in report
        assert "North-1, North-2: in range: radio, users, side; extrapolated: mast; unknown: clutter" in text
        assert "station's height 25 m, learned 3 to 20" in text or "25 m above ground" in text
        assert "fingerprints, 5 nearest" in text
        assert "zero-shot" in text
    assert "West: what the model answers" in report


def test_it_is_served(answered: Site) -> None:
    pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
    from fastapi.testclient import TestClient

    from uniair.serve.app import create_app

    predictor = Predictor(Site.read(answered.folder))
    with TestClient(create_app(predictor, warm=False)) as client:
        about = client.get("/site").json()
        assert about["plan"]
        assert [one["within"]["mast"] for one in about["stations"]] == ["extrapolated"] * 2 + ["in range"]
        assert about["stations"][0]["radio_text"] == str(answered.radio)
        assert len(about["stations"][0]["beams"]["cosines"]) == 16
        links = client.get("/site/links?station=West").json()
        assert len(links["ue"]) == answered.about["model"]["sectors"]["West"]["links"]
        body = {"station": "West", "link": 3}
        for path in ("/los", "/position", "/precoding", "/likelihood"):
            said = client.post(path, json=body).json()
            assert said["within"]["mast"] == "in range", said
            assert said["radio"] == str(answered.radio)
        assert client.post("/los", json={"station": 0, "link": 3}).json()["within"]["mast"] == "extrapolated"
        place = {"station": "North-2", "ue": [[60.0, 50.0, 1.5]]}
        assert client.post("/path_loss", json=place).json()["answers"][0]["path_loss_db"] > 0
        assert client.get("/coverage/map?layer=rsrp&sector=North-1").status_code == 200
        detail = client.get("/site/links/West/3").json()
        assert detail["rays"]
    links_of = predictor.station_links(2).links
    assert torch.equal(predictor.csi(2, 3), station_links.csi(answered, 2, links_of.select(np.array([3]))))


def test_a_changed_tilt_is_asked_anew_and_the_old_one_kept(model: Path, tmp_path: Path) -> None:
    make = partial(make_plan, tmp_path / "plan", HOLE, users=120, masts=[("North", (0.0, -25.0), 25, (0,))])
    first = make(questions=asked(model))
    kept = {path: path.stat().st_mtime_ns for path in (first.folder / "heads").iterdir()}
    same = make(questions=asked(model))
    assert {path: path.stat().st_mtime_ns for path in (first.folder / "heads").iterdir()} == kept
    assert same.about["model"] == first.about["model"]
    other = make(questions=asked(model), tilt=10.0)
    assert other.stations[0].key != first.stations[0].key
    assert len(list((first.folder / "heads").iterdir())) == 2 * len(kept)
    without = make(tilt=10.0)
    assert (without.weights, without.about["model"]) == ("", None)


def test_weights_of_one_radio_are_not_asked_which_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = weights(tmp_path / "one", "one")
    site = make_plan(tmp_path / "plan", questions=asked(one), users=10)
    said = f"the model was not asked: the weights of {one} know one radio, {Radio()}, and can't read this plan's"
    assert site.about["remarks"][-1].startswith(said)
    assert said in (tmp_path / "plan" / "card.md").read_text(encoding="utf-8")
    assert (site.weights, site.about["model"]) == ("", None)
    with pytest.raises(InputError, match="--epochs: nothing learns, for the weights of"):
        make_plan(tmp_path / "other", questions=asked(one, typed=("--epochs",)))
    assert not (tmp_path / "other").exists()


def test_options_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["site", "example", "--sites", "sites.csv", "--out", str(tmp_path / "plan")]
    typed = ["site", "example", "--bs", "1,2", "--out", str(tmp_path / "plan")]
    for line, says in (
        ([*plan, "--model", "none", "--epochs", "3"], "--epochs: nothing learns with --model none"),
        ([*plan, "--model", "none", "--training.steps", "9"], "--training.steps: nothing learns with --model none"),
        ([*plan, "--seeds", "0"], "--seeds must be at least 1"),
        ([*plan, "--clock", "sun"], "--clock sun: give absolute or first_path"),
        ([*typed, "--clock", "absolute"], "--clock absolute: give absolute or first_path, with --sites"),
        ([*typed, "--model", "none"], "--model none: --bs asks a model"),
    ):
        assert cli.main(line) == 2
        error = capsys.readouterr().err.strip()
        assert says in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "plan").exists()


def sector(**changes: object) -> Sector:
    plain = Sector("A", "A", 0.0, 0.0, 0.0, 40.0, 3.5e9, 100e6, 30e3, UPA(8, 8, polarisation="slanted"))
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bandwidth", "spacing", "tones", "apart"),
    [(100e6, 30e3, 136, 720e3), (10e6, 15e3, 13, 720e3), (400e6, 120e3, 528, 720e3), (5e6, 15e3, 12, 375e3)],
)
def test_a_sectors_radio_has_tones_that_tell_all_delays_apart(
    bandwidth: float, spacing: float, tones: int, apart: float
) -> None:
    radio = sector(bandwidth=bandwidth, spacing=spacing, carrier=28e9 if bandwidth > 1e8 else 3.5e9).radio()
    assert isinstance(radio.grid, OFDM)
    assert (radio.grid.subcarriers, radio.grid.spacing) == (tones, apart)
    assert abs(radio.grid.frequencies.mean()) < 1e-3
    assert radio.grid.bandwidth <= bandwidth
    assert radio.array.ports == 128


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"array": UPA(1, 1)}, "tells no direction"),
        ({"array": UPA(8, 1)}, "tells no direction"),
        ({"array": UPA(64, 64)}, "4,096 ports"),
        ({"measured": MeasuredPattern("P17", 17.0, np.zeros((4, 2)), np.zeros((4, 2)))}, "P17 is a measured antenna"),
    ],
)
def test_antennas_that_no_model_reads(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        sector(**changes).radio()


def test_electrical_tilt_is_in_the_beams_and_not_in_the_channel() -> None:
    assert sector(electrical=0.1).radio() == sector().radio()
    assert not np.allclose(sector(electrical=0.1).beams(), sector().beams())
    assert Environment(los=[1]).seen_by(Radio(ULA(4, pattern="tr38901"))).downtilt.tolist() == [0.0]
