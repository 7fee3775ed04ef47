"""Stations and users that stand as the weights have not learned: said by the site, its card and every answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from tests.site.make import make_site
from uniair.area.area import Area
from uniair.models.learned import PAPER_1
from uniair.radio import Radio
from uniair.serve.predictor import Predictor
from uniair.site.extrapolation import learned, remarks
from uniair.site.site import Station

TOWN = Area("town", tuple(box(x, 10, x + 20, 40) for x in (10, 40, 70)), np.array([9.0, 12.0, 15.0]), (0, 0, 100, 100))
POLE, MAST, ROOF = (35.0, 20.0, 6.0), (35.0, 80.0, 30.0), (20.0, 20.0, 10.5)


FIRST = "weights of the first version"  # a folder that says nothing of what they learned


def test_the_packaged_weights_know_poles_masts_roofs_and_users_upstairs() -> None:
    stations = [("bs0", POLE), ("bs1", MAST), ("bs2", ROOF)]
    assert remarks(TOWN, stations, "small", highest_user=25.0) == ()
    (far,) = remarks(TOWN, [("bs0", (35.0, 80.0, 60.0))], "small")
    assert far == "extrapolated: bs0 stands 60 m above ground; the weights know stations up to 40 m"


def test_a_pole_among_walls_is_what_the_first_weights_knew() -> None:
    assert learned(FIRST) == PAPER_1
    assert remarks(TOWN, [("bs0", POLE)], FIRST) == ()
    assert remarks(TOWN, [("bs0", (35.0, 20.0, 10.0))], FIRST) == ()


def test_a_model_whose_name_no_folder_can_have_knows_what_paper_1_had() -> None:
    assert learned("é" * 400) == PAPER_1


def test_masts_roofs_and_users_upstairs_were_extrapolated() -> None:
    mast, roof = remarks(TOWN, [("bs0", MAST), ("bs1", ROOF)], FIRST)
    assert mast.startswith(
        "extrapolated: bs0 stands 30 m above ground, over 3 of 3 roofs; the weights know stations up"
    )
    assert roof.startswith("extrapolated: bs1 stands 10.5 m above ground, on a roof of 9 m; ")
    (upstairs,) = remarks(TOWN, [("bs0", POLE)], FIRST, highest_user=12.0)
    assert upstairs == "extrapolated: users stand up to 12 m above ground; the weights know up to 1.5 m"


def test_other_weights_say_what_they_know(tmp_path: Path) -> None:
    known = replace(PAPER_1, station=(4.0, 40.0), user=(1.5, 30.0))
    (tmp_path / "config.json").write_text(json.dumps({"learned": known.to_json()}))
    assert learned(str(tmp_path)) == known
    assert remarks(TOWN, [("bs0", MAST), ("bs1", ROOF)], str(tmp_path), highest_user=20.0) == ()
    (far,) = remarks(TOWN, [("bs0", (35.0, 80.0, 60.0))], str(tmp_path))
    assert far == "extrapolated: bs0 stands 60 m above ground; the weights know stations up to 40 m"
    assert learned(str(tmp_path / "none")) == PAPER_1


@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")
def test_answers_say_it_for_their_station(tmp_path: Path) -> None:
    site = make_site(tmp_path, stations=2)
    assert Predictor(site).remarks(Radio(), 1) == []
    high = replace(site, stations=(site.stations[0], Station("bs1", (*site.stations[1].position[:2], 60.0))))
    predictor = Predictor(high)
    assert predictor.remarks(Radio(), 0) == []
    assert predictor.remarks(Radio(), 1) == list(high.remarks(1))
    assert high.remarks() == high.remarks(1)
    assert "bs1 stands 60 m above ground" in high.remarks()[0]
