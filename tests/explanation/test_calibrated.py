"""A calibration beside weights: kept for them alone, and what it makes of answers."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch

import uniair
from tests.explanation.calibration import calibration_of
from tests.explanation.scene import SIZE, csi, ground, place
from uniair.errors import InputError
from uniair.explanation.audit_counts import PHANTOM, counts_of, phantoms
from uniair.explanation.audit_rates import ASSUMED, Rates
from uniair.explanation.calibrated import FILE, Calibration
from uniair.explanation.channel_paths import channel_paths
from uniair.explanation.doubted import NONE, doubted
from uniair.explanation.explain import explain
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.training.checkpoint import digest

UE = np.array([[90.0, 40.0, 1.5]])
WALLS = ((30.0, 70.0, 100.0, 90.0),)
PACKAGED = Path(uniair.__file__).parent / "weights" / "small"


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.load("small")


def test_it_is_kept_and_read_again(tmp_path: Path) -> None:
    kept = calibration_of("a" * 16)
    kept.write(tmp_path / FILE)
    assert Calibration.read(tmp_path / FILE, "a" * 16) == kept
    replace(kept, rates=None).write(tmp_path / FILE)
    assert Calibration.read(tmp_path / FILE, "a" * 16).rates is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": "b" * 16}, "calibrated for weights bbbbbbbbbbbbbbbb, these are aaaaaaaaaaaaaaaa"),
        ({"format": "uniair-calibration/9"}, "of format 'uniair-calibration/9'"),
        ({"cells": 64}, "positions in 64 cells"),
        ({"doubts": {}}, "not a calibration"),
        ({"doubts": {"los": {"bias": 1}, "place": {}}}, "los: not what doubt was fitted to"),
        ({"rates": {"line_free": 2}}, "not the rates of an audit"),
        (
            {"rates": {"line_free": 2, "line_blocked": 0.1, "reflection_said": 0.5, "reflection_other": 0.2}},
            "between 0",
        ),
    ],
)
def test_what_disagrees_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    calibration_of("a" * 16).write(tmp_path / FILE)
    document = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(document | change))
    with pytest.raises(InputError, match=FILE) as error:
        Calibration.read(tmp_path / FILE, "a" * 16)
    assert says in str(error.value)


def test_it_lies_beside_the_weights(tmp_path: Path, model: UniversalModel) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(PACKAGED, folder, ignore=shutil.ignore_patterns(FILE))
    assert uniair.load_calibration(str(folder), model) is None
    calibration_of(digest(model)).write(folder / FILE)
    assert uniair.load_calibration(str(folder), model) == calibration_of(digest(model))
    calibration_of("0" * 16).write(folder / FILE)
    with pytest.raises(InputError, match="make it again with uniair bench doubt --save"):
        uniair.load_calibration(str(folder), model)


def test_an_explanation_says_how_sure_its_answer_is(model: UniversalModel) -> None:
    seen, env = csi([[(UE[0], 1.0)]], Radio()), place(ground(*WALLS), UE)
    (plain,), (why,) = explain(model, seen, env), explain(model, seen, env, calibration=calibration_of(digest(model)))
    assert plain.doubt.wrong is None
    assert NONE in plain.remarks
    assert str(plain.doubt) == NONE
    assert NONE not in why.remarks
    # the honest doubt of a probability is that of the other answer
    assert why.doubt.wrong == pytest.approx(min(why.los, 1 - why.los), abs=1e-6)
    likelier, other = ("LOS", "NLOS") if why.los > 0.5 else ("NLOS", "LOS")
    assert why.doubt.los[0.8] == (likelier,)
    # the other one's score is the probability of the likelier, and half its own
    most = max(why.los, 1 - why.los)
    assert why.doubt.los[0.9] == (
        (likelier,) if most + (1 - most) / 2 > 0.8 else tuple(sorted((likelier, other))[::-1])
    )
    assert set(why.to_json()["doubt"]["los_sets"]) == {"0.8", "0.9", "0.95"}


def test_sets_of_beams_are_told_by_weights_of_any_radio() -> None:
    torch.manual_seed(0)
    model = UniversalModel(replace(PRESETS["tiny"], radios="any")).eval()
    calibration, env = calibration_of(digest(model)), place(ground(*WALLS), UE)
    seen = csi([[(UE[0], 1.0)]], Radio())
    (one,) = doubted(model, seen, env, torch.tensor([0.7]), Radio(), calibration)
    assert len(one.beams[0.8]) <= len(one.beams[0.9]) <= len(one.beams[0.95])
    assert all(0 <= beam < 32 for beam in one.beams[0.95])
    (nowhere,) = doubted(model, seen, env.without("ue"), torch.tensor([0.7]), Radio(), calibration)
    assert nowhere.beams == {}


def test_what_lies_outside_is_flagged(model: UniversalModel) -> None:
    seen, env = csi([[(UE[0], 1.0)]], Radio()), place(ground(*WALLS), UE)
    assert explain(model, seen, env)[0].doubt.in_range
    other = Radio(carrier=140e9)
    with pytest.warns(UserWarning, match="extrapolated"):
        (why,) = explain(model, seen, env, other)
    assert not why.doubt.in_range


def test_rates_are_counted_and_weigh_the_evidence() -> None:
    cases = {"line_free": (90, 98), "line_blocked": (3, 48), "reflection_said": (49, 98), "reflection_other": (9, 98)}
    rates = Rates.counted(cases)
    assert rates == Rates(0.91, 0.08, 0.5, 0.1)
    assert rates.line == pytest.approx((math.log(0.91 / 0.08), math.log(0.92 / 0.09)))
    assert rates.reflection == pytest.approx((math.log(0.2), math.log(1.8)))
    with pytest.raises(InputError, match="line_free: 10 cases"):
        Rates.counted(cases | {"line_free": (9, 10)})
    with pytest.raises(InputError, match="don't show what maps say"):
        Rates.counted(cases | {"reflection_other": (60, 98)})


def test_what_channels_show_of_a_right_map_and_of_buildings_that_are_not_there() -> None:
    users = np.array([[x, y, 1.5] for x in (60.0, 80.0, 110.0) for y in range(20, 64, 5)], dtype=float)
    model, walls = uniair.build("tiny"), ground(*WALLS, height=12.0)
    image = users * [1, -1, 1] + [0, 2 * WALLS[0][1], 0]
    bounces = (users[:, 0] - 20) * 40 / (2 * WALLS[0][1] - users[:, 1] - 30) + 20
    seen = csi([[(ue, 1.0), (way, 0.5)] if 30 < at < 100 else [(ue, 1.0)]
                for ue, way, at in zip(users, image, bounces, strict=True)], Radio())  # fmt: skip
    counts = counts_of(
        channel_paths(model, seen, Radio()), place(walls, users), walls, Radio(), np.random.default_rng(0)
    )
    line, free = counts["line_free"]
    assert free == len(users)
    assert line >= 0.9 * free  # some images are too near the straight line to be told from it
    assert counts["line_blocked"] == (0, 0)
    said, cases = counts["reflection_said"]
    assert said >= 0.9 * cases >= 0.9 * 20
    false, others = counts["reflection_other"]
    assert others > 0
    assert false <= 0.5 * others
    assert ASSUMED.reflection_said > ASSUMED.reflection_other


def test_buildings_that_are_put_up_stand_free() -> None:
    walls, kept = ground(*WALLS), np.array([[20.0, 30.0], [90.0, 40.0]])
    boxes = phantoms(walls, SIZE, kept, np.random.default_rng(0))
    assert 1 <= len(boxes) <= 4
    for box in boxes:
        assert box.area == PHANTOM[0] * PHANTOM[1]
        assert not box.intersects(shapely.box(*WALLS[0]))
        assert not shapely.contains_xy(box, kept).any()


def test_the_packaged_weights_know_when_they_are_wrong() -> None:
    calibration = uniair.load_calibration("small", uniair.load("small"))
    assert calibration is not None
    assert set(calibration.doubts) == {"los", "place"}
    assert calibration.rates is not None
    assert calibration.rates.line_free > 0.9 > 0.1 > calibration.rates.line_blocked
