"""A straight line and a mirror image, whose explanation is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import uniair
from tests.explanation.scene import BS, SIZE, csi, ground, place
from uniair.area.area import Area
from uniair.errors import InputError
from uniair.explanation.audit import audit
from uniair.explanation.explain import explain
from uniair.explanation.map_buildings import map_buildings
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import OFDM, UPA, Radio

WALL = 70.0  # m: y of the face that mirrors
UE = np.array([[90.0, 40.0, 1.5]])
IMAGE = np.array([90.0, 2 * WALL - 40.0, 1.5])
WALLS = ((30.0, WALL, 100.0, 90.0),)
BOUNCE = (20 + 70 * 40 / 70, WALL)  # where the way to the mirror image crosses the face
RADIO = Radio()


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.load("small")


def test_the_straight_line_and_a_mirror_image_are_named(model: UniversalModel) -> None:
    seen = csi([[(UE[0], 1.0), (IMAGE, 0.5)]], RADIO)
    walls = ground(*WALLS)
    buildings = map_buildings(walls, SIZE)
    (why,) = explain(model, seen, place(walls, UE), buildings=buildings)
    line, mirror = why.paths[:2]
    assert line.path.length == pytest.approx(float(np.linalg.norm(UE[0] - BS)), abs=0.3)
    assert line.path.share == pytest.approx(0.8, abs=0.03)
    assert line.by is not None
    assert why.candidates[line.by].kind == ""
    assert mirror.path.length == pytest.approx(float(np.linalg.norm(IMAGE - BS)), abs=0.5)
    assert mirror.by is not None
    wall = why.candidates[mirror.by]
    assert wall.kind == "R"
    assert wall.buildings == (0,)
    assert wall.points[0] == pytest.approx(BOUNCE, abs=2.0)
    assert why.share > 0.95
    assert "The straight line" in str(why)
    assert "a reflection off building 0 42 m north-west of the user" in str(why)
    assert json.loads(json.dumps(why.to_json()))["paths"][1]["explained_by"] == mirror.by


def test_without_the_wall_nothing_on_the_map_explains_its_path(model: UniversalModel) -> None:
    seen = csi([[(UE[0], 1.0), (IMAGE, 0.5)]], RADIO)
    (why,) = explain(model, seen, place(ground(), UE))
    assert [one.by is None for one in why.paths[:2]] == [False, True]
    assert why.share == pytest.approx(0.8, abs=0.03)
    assert "nothing on the map explains the path of" in str(why)


def test_a_wall_that_the_channel_does_not_show_is_missed(model: UniversalModel) -> None:
    (why,) = explain(model, csi([[(UE[0], 1.0)]], RADIO), place(ground(*WALLS), UE))
    assert any(why.candidates[number].kind == "R" for number in why.missing)
    assert "should be seen and is not" in str(why)


def test_points_are_told_in_the_frame_that_was_given(model: UniversalModel) -> None:
    walls = ground(*WALLS)
    env = place(walls, UE)
    quarter = replace(env, bearing=np.array([np.pi / 2], dtype=np.float32))
    turned = csi([[(BS + np.array([10.0, -70.0, -4.5]), 1.0), (BS + np.array([70.0, -70.0, -4.5]), 0.5)]], RADIO)
    (why,) = explain(model, turned, quarter, buildings=map_buildings(walls, SIZE))
    mirror = why.paths[1]
    assert mirror.by is not None
    assert why.candidates[mirror.by].points[0] == pytest.approx(BOUNCE, abs=2.0)
    assert why.candidates[mirror.by].buildings == (0,)


def test_what_is_left_out_changes_the_answer_by_its_effect(model: UniversalModel) -> None:
    seen = csi([[(UE[0], 1.0), (IMAGE, 0.5)]], RADIO)
    env = place(ground(*WALLS), UE)
    (why,) = explain(model, seen, env)
    alone = csi([[(IMAGE, 0.5)]], RADIO)  # what is left without the straight line
    odds = [float(torch.logit(uniair.zero_shot.los(model, one, env, RADIO)).double()[0]) for one in (seen, alone)]
    assert why.paths[0].effect.los == pytest.approx(odds[0] - odds[1], abs=0.3)
    assert why.los == pytest.approx(float(uniair.zero_shot.los(model, seen, env, RADIO)[0]), abs=1e-4)


def test_what_is_computed_together_is_what_each_gives_alone(model: UniversalModel) -> None:
    seen, env = csi([[(UE[0], 1.0), (IMAGE, 0.5)]], RADIO), place(ground(*WALLS), UE)
    (why,) = explain(model, seen, env)
    both = [replace(env, los=torch.tensor([value])) for value in (0.0, 1.0)]
    rest = seen - why.paths[1].path.part
    whole, without = (
        uniair.zero_shot.similarity(model, one, both, RADIO)[0] / model.temperature for one in (seen, rest)
    )
    lost = torch.logsumexp(whole, 0) - torch.logsumexp(without, 0)
    assert why.paths[1].effect.place == pytest.approx(float(lost), abs=1e-3)
    assert why.paths[1].effect.los == pytest.approx(float(whole[1] - whole[0] - without[1] + without[0]), abs=1e-3)


def test_a_building_that_blocks_the_line_is_worth_most(model: UniversalModel) -> None:
    walls = ground(*WALLS, (50.0, 30.0, 60.0, 42.0), (10.0, 100.0, 20.0, 110.0))
    buildings = map_buildings(walls, SIZE)
    (why,) = explain(model, csi([[(UE[0], 1.0)]], RADIO), place(walls, UE), buildings=buildings, taken_off=3)
    number, effect = why.buildings[0]
    assert buildings.footprints[number].bounds == (50, 30, 60, 42)
    assert effect.place < 0  # the channel has the straight line, which the place would have without it
    assert f"without building {number} the place would be" in str(why)


def test_what_is_not_known_is_said(model: UniversalModel) -> None:
    env = place(ground(*WALLS), UE)
    (why,) = explain(model, csi([[(UE[0], 1.0)]], RADIO), replace(env, map=None, area=None))
    assert why.candidates == ()
    assert "not explained by walls: map unknown" in why.remarks
    assert len(why.paths) == 1
    assert "nothing explains the path of" in str(why).lower()


def test_noise_alone_is_no_path(model: UniversalModel) -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.complex(*(torch.randn(1, *RADIO.shape, generator=rng) for _ in range(2)))
    with pytest.warns(RadioWarning, match="hardly to be told from noise"):
        (why,) = explain(model, noise, place(ground(*WALLS), UE))
    assert sum(one.path.share for one in why.paths if one.by is not None) < 0.6
    assert len(why.paths) <= 3
    assert why.fitted < 0.1
    assert "noise" in str(why)
    assert "should be seen" not in str(why)


def test_another_radio_is_explained_by_what_it_tells_apart(model: UniversalModel) -> None:
    panel = Radio(array=UPA(4, 8), grid=OFDM(64, 1.44e6))
    (why,) = explain(
        model, csi([[(UE[0], 1.0), (IMAGE, 0.5)]], panel), place(ground(*WALLS), UE), panel,
        Area("one", (), np.zeros(0), (0, 0, SIZE, SIZE)),
    )  # fmt: skip
    assert [why.candidates[one.by].kind if one.by is not None else None for one in why.paths[:2]] == ["", "R"]
    assert any("converted" in line for line in why.remarks)


def test_gains_are_read_as_they_are(model: UniversalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths of a calibrated radio's channel are read by its power; brought to a peak of 1 it would come from 1 mm.

    That would be flagged too, as extrapolated, and warnings are errors here.
    """
    told: list[float] = []
    encode = UniversalModel.encode_checked

    def noted(self: UniversalModel, csi: torch.Tensor, radio: Radio, gain: torch.Tensor, *more: None) -> torch.Tensor:
        told.append(float(gain[0]))
        return encode(self, csi, radio, gain, *more)

    monkeypatch.setattr(UniversalModel, "encode_checked", noted)
    radio, gain = replace(RADIO, calibrated=True), 1.2e-5  # of some 70 m at 28 GHz
    seen = gain * csi([[(UE[0], 1.0), (IMAGE, 0.5)]], radio)
    (why,) = explain(model, seen, place(ground(*WALLS), UE), radio)
    assert told[0] == pytest.approx(float(seen.abs().square().mean()), rel=1e-4)
    assert why.fitted == pytest.approx(1, abs=0.01)
    audit(model, seen, place(ground(*WALLS), UE), radio)
    assert told[-1] == told[0]


def test_channels_and_places_must_be_as_many(model: UniversalModel) -> None:
    seen = csi([[(UE[0], 1.0)]], RADIO)
    with pytest.raises(InputError, match="1 CSI and 2 hypotheses"):
        explain(model, seen, place(ground(), np.repeat(UE, 2, axis=0)))
    with pytest.raises(InputError, match="NaN"):
        explain(model, seen * float("nan"), place(ground(), UE))
