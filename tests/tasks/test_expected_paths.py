"""What a place is expected to have, and what that saves of a code of paths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.explanation.scene import BS, UE_HEIGHT, csi, ground, place
from torch import Tensor

import uniair
from uniair import metrics
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import SPEED_OF_LIGHT, Radio
from uniair.tasks.expected_paths import FAR, MOST, ExpectedPaths, Guess, expected_paths
from uniair.tasks.path_code import PathCode
from uniair.tasks.path_laws import WHOLE, packaged_laws
from uniair.tasks.path_rounding import ALONG, DELAY, GAINS

WALL = (10.0, 60.0, 118.0, 64.0)  # along x, whose mirror image is known
USERS = np.array([[x, y, UE_HEIGHT] for x in (60.0, 75.0, 90.0) for y in (20.0, 32.0, 44.0)])
MIRRORED = np.column_stack([USERS[:, 0], 2 * WALL[1] - USERS[:, 1], USERS[:, 2]])


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.build("tiny").eval()


@pytest.fixture(scope="module")
def env() -> Environment:
    return place(ground(WALL, height=12.0), USERS)


@pytest.fixture(scope="module")
def channels() -> Tensor:
    """Straight lines, and reflections off the wall of half their amplitude."""
    return csi([[(user, 1.0), (image, 0.5)] for user, image in zip(USERS, MIRRORED, strict=True)], Radio())


def test_straight_lines_are_exact_and_reflections_nearly(env: Environment) -> None:
    found = expected_paths(env, Radio())
    assert len(found) == len(USERS)
    for to, slack, line in ((USERS, 2, True), (MIRRORED, 60_000, False)):
        way = to - BS
        length = np.linalg.norm(way, axis=1)
        off = np.abs(found.along - (way[:, 0] / length * 1e6)[:, None])
        late = np.abs(found.delay - (length / SPEED_OF_LIGHT * 1e12)[:, None])
        right = (off <= slack) & (late <= slack)
        assert right.any(1).all()
        assert (found.line[np.arange(len(to)), right.argmax(1)] == line).all()
    assert found.line[:, 0].all()  # which loses least
    assert found.along.shape == (len(USERS), MOST)


def test_a_clock_of_its_own_starts_at_the_first_candidate(env: Environment) -> None:
    found, own = expected_paths(env, Radio()), expected_paths(env, Radio(clock="first_path"))
    there = found.delay < FAR
    np.testing.assert_allclose((found.delay - found.delay[:, :1])[there], own.delay[there], atol=2)


def test_behind_a_wall_no_straight_line_is_expected() -> None:
    dark = place(ground((50.0, 10.0, 55.0, 110.0), height=12.0), USERS)
    assert not expected_paths(dark, Radio()).line.any()


def test_unknown_places_expect_nothing_and_are_refused(env: Environment) -> None:
    with pytest.raises(InputError, match="map, bs and ue have to be known"):
        expected_paths(env.without("ue"), Radio())


def test_masses_stay_whole_and_turn_to_the_candidate_that_was_met(env: Environment) -> None:
    rounding, laws = PathCode(Radio()).roundings[0], packaged_laws()
    expected = expected_paths(env, Radio())
    guess = Guess(expected, laws, 0, Radio())
    assert (guess.weight.sum(1) == WHOLE).all()
    edges = rounding.at(ALONG, 2 * np.arange(2 ** rounding.widths[ALONG] + 1) - 1)
    below = guess.mixed(ALONG, edges, np.arange(len(edges))[None])
    assert (np.diff(below) >= 0).all()
    before = guess.weight[:, 0].copy()
    guess.learn(np.searchsorted(edges, expected.along[:, 0], "right") - 1)
    assert (np.abs(guess.weight.sum(1) - WHOLE) < 2 * MOST).all()
    assert (guess.weight[:, 0] < before).all()  # it is less likely to be none of them


def test_what_is_expected_takes_fewer_bits(model: UniversalModel, env: Environment, channels: Tensor) -> None:
    rounding, expected = PathCode(Radio()).roundings[2], expected_paths(env, Radio())
    most = 2 ** rounding.widths[ALONG] - 1
    step = np.diff(rounding.at(DELAY, np.array([0, 2])))[0]
    along, delay = (expected.along[:, :1] / 1e6 + 1) / 2 * most, expected.delay[:, :1] / step
    places = [along.round(), np.zeros_like(along), delay.round()]
    placed = np.stack(places, -1).astype(np.int64)
    alone, beside = rounding.place_bits(0, placed), rounding.place_bits(0, placed, expected)
    assert (beside < alone - 4).all()
    placed[..., ALONG] = most - placed[..., ALONG]  # where nothing is expected
    assert (rounding.place_bits(0, placed, expected) < rounding.place_bits(0, placed) + 8).all()


def test_both_ends_expect_the_same_and_come_nearer(model: UniversalModel, env: Environment, channels: Tensor) -> None:
    code, expected = PathCode(Radio()), expected_paths(env, Radio())
    alike = []
    for told in (None, expected):
        sent = code.encode(model, channels, 26, told)
        assert sent.bits.shape == (len(USERS), 26)
        alike.append(metrics.cosine_squared(code.decode(sent, None, told), channels).mean())
    assert alike[1] > alike[0]
    few = code.encode(model, channels[:2], 60, expected[:2])
    torch.testing.assert_close(code.decode(few, None, expected[:2]), code.decode(few.prefix(60), None, expected[:2]))
    other = replace(expected, delay=expected.delay + 1)
    for wrong in (None, other, expected[:3]):
        with pytest.raises(InputError, match="both ends need the same radio, laws and places"):
            code.decode(sent, None, wrong)
    with pytest.raises(InputError, match="expected of 3 places for 9 channels"):
        code.encode(model, channels, 60, expected[:3])


def test_every_length_beside_a_place_is_read_as_it_was_written(
    model: UniversalModel, env: Environment, channels: Tensor
) -> None:
    from uniair.tasks.completion import fitted_paths, measured_part

    radio, expected = Radio(), expected_paths(env, Radio())
    everything = torch.ones(radio.shape, dtype=torch.bool)
    ((paths, part, _),) = fitted_paths(model, measured_part(channels, radio, everything), everything, 30.0)
    for rounding in PathCode(radio).roundings[::3]:
        for length in range(30, 100, 9):
            fields = rounding.rounded(paths, part, length, expected)
            read = rounding.fields(rounding.bits(fields, length, expected), expected)
            for sent, got in zip(fields, read, strict=True):
                whole = [row[(row[:, GAINS::2] < rounding.none).any(1)].tolist() for row in (sent, got)]
                assert whole[0] == whole[1]


def test_places_are_picked_by_number_and_mask(env: Environment) -> None:
    found = expected_paths(env, Radio())
    assert isinstance(found[2:4], ExpectedPaths)
    np.testing.assert_array_equal(found[np.arange(9) == 5].along, found[5:6].along)
    assert found[:2].digest != found[2:4].digest
