"""Maps that lack a building, or have one too many, and what channels say of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from torch import Tensor

import uniair
from tests.explanation.calibration import RATES, calibration_of
from tests.explanation.scene import BS, SIZE, UE_HEIGHT, csi, ground, place
from uniair.errors import InputError
from uniair.explanation import audit as module
from uniair.explanation.audit import TAKEN, Audit, audit, judge, read
from uniair.explanation.channel_paths import ChannelPath, channel_paths
from uniair.explanation.map_buildings import map_buildings
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

BLOCK = (50.0, 36.0, 62.0, 50.0)  # stands between the base station and some users
FAR = (100.0, 100.0, 120.0, 120.0)  # and one that matters to nobody
CORNER = np.array([100.0, 100.0, 4.0])  # of the latter, by which those get there who stand in the shadow
USERS = np.array([[x, y, UE_HEIGHT] for x in (80.0, 95.0, 110.0) for y in range(20, 96, 9)], dtype=float)


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def seen() -> Tensor:
    """Channels of the world with the block in it."""
    shadow = shapely.intersects(shapely.linestrings([[BS[:2], ue[:2]] for ue in USERS]), shapely.box(*BLOCK))
    assert 4 <= shadow.sum() <= len(USERS) / 2
    leg = np.linalg.norm(CORNER - BS)
    around = [BS + (CORNER - BS) * (1 + np.linalg.norm(ue - CORNER) / leg) for ue in USERS]
    return csi([[(way if dark else ue, 1.0)] for ue, way, dark in zip(USERS, around, shadow, strict=True)], Radio())


@pytest.fixture(scope="module")
def paths(model: UniversalModel, seen: Tensor) -> list[list[ChannelPath]]:
    """What these channels are read as."""
    return channel_paths(model, seen, Radio())


def judged(paths: list[list[ChannelPath]], walls: np.ndarray, users: np.ndarray = USERS) -> Audit:
    """What channels say of a map."""
    env = place(walls, users)
    buildings = map_buildings(walls, SIZE)
    return judge(read(paths, env, Radio(), buildings), env.bs.astype(float), users, SIZE, buildings)


def test_the_true_map_is_not_contradicted(paths: list[list[ChannelPath]]) -> None:
    found = judged(paths, ground(BLOCK, FAR, height=12.0))
    assert found.suspicions == ()
    assert found.channels == len(USERS)


def test_a_building_that_the_map_lacks_is_found(paths: list[list[ChannelPath]]) -> None:
    found = judged(paths, ground(FAR, height=12.0))
    first = found.suspicions[0]
    assert first.change == "something here"
    assert shapely.box(*BLOCK).buffer(8).contains(shapely.Point(first.place))
    assert found.contradicted.max() == pytest.approx(first.nats)
    assert "something that the map lacks stands at" in str(first)


def test_a_building_that_is_not_there_is_named(model: UniversalModel) -> None:
    walls = ground(BLOCK, FAR, height=12.0)
    found = audit(model, csi([[(ue, 1.0)] for ue in USERS], Radio()), place(walls, USERS))
    first = found.suspicions[0]
    building = map_buildings(walls, SIZE).footprints[first.building]
    assert (first.change, building.centroid.x, building.centroid.y) == ("not there", 56.0, 43.0)


def test_a_building_that_is_higher_is_named(paths: list[list[ChannelPath]]) -> None:
    walls = np.maximum(ground(BLOCK, height=1.0), ground(FAR, height=12.0))
    higher = [one for one in judged(paths, walls).suspicions if one.change == "higher"]
    assert map_buildings(walls, SIZE).footprints[higher[0].building].contains(shapely.Point(56, 43))


def test_more_channels_say_it_louder(paths: list[list[ChannelPath]]) -> None:
    walls = ground(FAR, height=12.0)
    half, whole = judged(paths[::2], walls, USERS[::2]), judged(paths, walls)
    assert whole.suspicions[0].nats > half.suspicions[0].nats


def test_neighbours_share_one_voice_from_each_station() -> None:
    far = USERS[:3] + np.array([40.0, 0, 0])
    users = np.concatenate([USERS[:1], USERS[:1] + np.array([3.0, 0, 0]), far])
    station = np.tile(BS, (5, 1))
    assert module.voices_of(station, users).tolist() == [0.5, 0.5, 1.0, 1.0, 1.0]
    station[1] += 30.0
    assert module.voices_of(station, users).tolist() == [1.0] * 5


def test_the_same_users_again_are_no_new_witnesses(model: UniversalModel, paths: list[list[ChannelPath]]) -> None:
    walls = ground(FAR, height=12.0)
    twice = np.concatenate([USERS, USERS])
    once, again = judged(paths, walls), judged([*paths, *paths], walls, twice)
    assert [one.nats for one in again.suspicions] == pytest.approx([one.nats for one in once.suspicions])
    buildings = map_buildings(walls, SIZE)
    told = module.audit_paths(model, [*paths, *paths], place(walls, twice), Radio(), buildings).remarks
    assert f"{len(twice)} channels count as {len(USERS)}: users within 5 m share one voice" in told
    assert not any(
        "voice" in one for one in module.audit_paths(model, paths, place(walls, USERS), Radio(), buildings).remarks
    )


def test_counted_rates_weigh_the_evidence_and_assumed_ones_are_said(model: UniversalModel, seen: Tensor) -> None:
    env = place(ground(FAR, height=12.0), USERS)
    assumed, counted = audit(model, seen, env), audit(model, seen, env, calibration=calibration_of("any"))
    assert TAKEN in assumed.remarks
    assert TAKEN not in counted.remarks
    assert counted.rates == RATES
    # each channel without its line says log(0.9 / 0.1) in the place of log(0.97 / 0.02)
    assert counted.suspicions[0].nats < assumed.suspicions[0].nats
    assert counted.to_json()["rates"]["line_free"] == 0.9


def test_arrays_may_look_any_way(model: UniversalModel) -> None:
    walls = ground(BLOCK, FAR, height=12.0)
    quarter = np.full(len(USERS), np.pi / 2, dtype=np.float32)
    way = USERS - BS
    turned = BS + np.column_stack([way[:, 1], -way[:, 0], way[:, 2]])  # as the array sees them
    env = replace(place(walls, USERS), bearing=quarter)
    first = audit(model, csi([[(ue, 1.0)] for ue in turned], Radio()), env).suspicions[0]
    assert (first.change, first.place) == ("not there", (56.0, 43.0))


def test_what_can_not_be_contradicted_is_refused(model: UniversalModel, seen: Tensor) -> None:
    env = place(ground(FAR), USERS)
    with pytest.raises(InputError, match="map, bs and ue have to be known"):
        audit(model, seen, env.without("ue"))
    two = np.stack([ground(FAR), ground(BLOCK)])
    with pytest.raises(InputError, match="2 maps"):
        audit(model, seen, replace(env, map=two, area=np.arange(len(USERS)) % 2))
