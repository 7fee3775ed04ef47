"""A served site that is asked in words: users and stations by name, places, comparisons; over HTTP too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from uniair.serve import schema
from uniair.serve.naming import NotHereError
from uniair.serve.predictor import Predictor, Received
from uniair.serve.site_links import StationLinks
from uniair.tasks.answers import Answers, Declined, Question
from uniair.tasks.beam import Beam
from uniair.tasks.los import LineOfSight
from uniair.tasks.path_loss import PathLoss
from uniair.tasks.position import Position


def by_head(predictor: Predictor, task: str, station: int, link: int) -> Any:
    """What a station's head on the channel says of one of its links."""
    z = predictor.model.encode_channel(predictor.csi(station, link))
    return predictor.answer(task, "channel", z, station)


def test_words_choose_the_user_and_the_station(predictor: Predictor) -> None:
    said = predictor.ask("Where is user 5, judging by the channel at bs1?", 0)
    assert isinstance(said, Position)
    np.testing.assert_allclose(said.xy, by_head(predictor, "position", 1, 5).xy, atol=1e-3)
    assert str(said) == f"User 5, bs1: {by_head(predictor, 'position', 1, 5)}"
    assert said.to_json()["answers"][0]["station"] == "bs1"
    front = predictor.ask("Where is this user?", 1, scene=predictor.asked(1, 5))
    assert isinstance(front, Position)
    np.testing.assert_allclose(front.xy, said.xy, atol=1e-3)
    assert front.subjects == ()


def test_a_user_is_the_same_one_at_another_station(predictor: Predictor) -> None:
    other = predictor.links[1]
    assert other is not None
    turned = np.arange(len(other.links))[::-1]
    shuffled = StationLinks(other.links.select(turned), other.labels, other.tested)
    scene = replace(predictor.asked(0), known=[predictor.links[0], shuffled])
    said = predictor.ask("LOS of user 5 at bs1", 0, scene=scene)
    assert isinstance(said, LineOfSight)
    np.testing.assert_allclose(said.probability, by_head(predictor, "los", 1, 5).probability, atol=1e-4)
    kept = StationLinks(other.links.select(np.arange(3)), other.labels, other.tested)
    scene = replace(predictor.asked(0), known=[predictor.links[0], kept])
    read = predictor.ask("LOS of user 5 at bs1", 0, scene=scene)  # no channel is known, so the place is read
    assert isinstance(read, LineOfSight)
    assert scene.used == [(1, "los", "environment")]
    where = predictor.ask("Where is user 5, seen from bs1?", 0, scene=scene)
    assert isinstance(where, Declined)
    assert where.missing == ("csi",)


def test_stations_are_compared_by_their_own_heads(predictor: Predictor) -> None:
    scene = predictor.asked(0, 5)
    said = predictor.ask("Which station serves this user best?", 0, scene=scene)
    assert isinstance(said, Answers)
    losses = {}
    for station, part in enumerate(said.parts):
        assert isinstance(part, PathLoss)
        losses[f"bs{station}"] = float(part.db[0])
    [order] = said.orders
    assert order.best_first == tuple(sorted(losses, key=losses.__getitem__))
    assert [station for station, *_ in scene.used] == [0, 1]


def test_a_place_is_asked_about_by_the_heads_that_read_one(predictor: Predictor) -> None:
    said = predictor.ask("Path loss from bs1 at x = 75 m, y = 40 m, and is there line of sight?", 0)
    assert isinstance(said, Answers)
    ue = np.array([[75.0, 40.0, 1.5]])
    z = predictor.model.encode_environment(predictor.views[1].environment(ue))
    loss, sight = said.parts
    assert isinstance(loss, PathLoss)
    assert isinstance(sight, LineOfSight)
    expected = predictor.answer("path_loss", "environment", z, 1)
    assert isinstance(expected, PathLoss)
    np.testing.assert_allclose(loss.db, expected.db, atol=1e-3)
    outside = predictor.ask("Path loss at (151 m, 3 m)", 0)
    assert isinstance(outside, Question)
    assert "150" in outside.message


def test_what_a_request_brings_along_is_the_station_in_fronts(predictor: Predictor) -> None:
    asked = Received(predictor.csi(1, 4), predictor.site.radio)
    ue = predictor.link(1, 4).ue.astype(np.float64)
    mine = predictor.ask("Where is the user, seen from bs1?", 1, asked)
    assert isinstance(mine, Position)
    np.testing.assert_allclose(mine.xy, by_head(predictor, "position", 1, 4).xy, atol=1e-3)
    other = predictor.ask("Where is the user, seen from bs0?", 1, asked)
    assert isinstance(other, Declined)
    assert "received by bs1" in other.message
    two = predictor.ask("Where is user 3?", 1, asked)
    assert isinstance(two, Question)
    assert two.about == "user"
    beams = predictor.ask("Which beam do both stations use?", 1, None, ue)
    assert isinstance(beams, Answers)
    assert [part.subjects[0].station for part in beams.parts] == ["bs0", "bs1"]
    assert all(isinstance(part, Beam) for part in beams.parts)


def test_what_the_site_does_not_have_is_said(predictor: Predictor) -> None:
    for text, about in (("Where is user 80?", "user"), ("beam of bs2 for user 3", "station")):
        said = predictor.ask(text, 0)
        assert isinstance(said, Question)
        assert said.about == about
    refused = predictor.ask("Path loss of user 3 at 3.5 GHz", 0)
    assert isinstance(refused, Declined)
    assert refused.refused == ("at 3.5 GHz",) or refused.refused == ("3.5 GHz",)
    bare = replace(predictor.asked(0), known=[None, None], users=0)
    assert isinstance(predictor.ask("Where is user 3?", 0, scene=bare), Question)
    headless = replace(predictor.asked(0), heads=[{}, {}])
    with pytest.raises(NotHereError, match="position from channel"):
        predictor.ask("Where is user 3?", 0, scene=headless)


def test_http_says_whom_it_is_about_what_is_declined_and_what_is_open(http: Any) -> None:
    def ask(instruction: str, **fields: Any) -> dict[str, Any]:
        found = http.post("/ask", json={"instruction": instruction, "link": 1, **fields})
        assert found.status_code == 200, found.text
        body: dict[str, Any] = found.json()
        schema.Said.model_validate(body, strict=True)
        return body

    one = ask("Where is user 5?")
    assert (one["task"], one["answers"][0]["user"], one["answers"][0]["station"]) == ("position", 5, "bs0")
    front = ask("Where is this user?")
    assert "user" not in front["answers"][0]
    chain = ask("Top 3 beams of bs1 for user 5, and the path loss")
    assert chain["task"] is None
    assert [entry["task"] for entry in chain["answers"]] == ["beam", "path_loss"]
    assert len(chain["answers"][0]["candidates"]) == 3
    assert chain["notes"]
    better = ask("Does bs0 or bs1 see user 5?")
    assert set(better["orders"][0]["best_first"]) == {"bs0", "bs1"}
    refused = ask("Path loss of user 5 in the rain")
    assert (refused["declined"], refused["refused"]) == ("not_honoured", ["in the rain"])
    asked_back = ask("Path loss of user 5 from bs7")
    assert (asked_back["question"], asked_back["choices"]) == ("station", ["bs0", "bs1"])
    german = ask("Wo ist Nutzer 5?")
    assert german["declined"] == "language"
    inside = ask("Path loss at (20 m, 15 m)")
    assert "inside a building" in inside["remarks"][-1]
