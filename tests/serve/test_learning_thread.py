"""A server that learns beside its answers: who answers, what it says of itself, and that learning holds up nobody."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
pytest.importorskip("prometheus_client", reason="prometheus_client is missing: pip install 'uniair[serve]'")

from fastapi.testclient import TestClient
from tests.data.drives.moving import drive
from tests.serve.test_coverage import alike, form

from uniair.errors import InputError
from uniair.models.forecast import WMLM
from uniair.serve import examples
from uniair.serve.app import create_app
from uniair.serve.client import Client
from uniair.serve.learning_thread import LearningThread
from uniair.serve.sessions import Sessions
from uniair.serve.stream import Stream
from uniair.serve.telemetry import LOGGER
from uniair.training.learning_state import KeptStream, open_stream
from uniair.training.learning_stream import LearningStream, StreamLearning

BEAMS = 64
QUICK = StreamLearning(batch=4, length=4)
QUICK = replace(QUICK, optimisation=replace(QUICK.optimisation, steps=1))
STREET = [drive(f"street/{n}", 24, n, BEAMS) for n in range(3)]


def wait_until(there: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def learning(predictor: Any, tmp_path: Path) -> Iterator[LearningThread]:
    path = tmp_path / "state.safetensors"
    with LearningThread(KeptStream(open_stream(path, predictor.forecaster, QUICK), path, every=1), 1.0) as thread:
        yield thread


def other(forecaster: WMLM) -> WMLM:
    torch.manual_seed(7)
    model = WMLM(forecaster.preset).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def post(http: Any, number: int) -> None:
    for t, power in enumerate(STREET[number].power):
        body = {"session": f"car-{number}", "power": power.tolist(), "time": 0.1 * t}
        assert http.post("/forecast", json=body).status_code == 200


def test_it_learns_says_so_and_goes_on_after_a_restart(
    predictor: Any, learning: LearningThread, tmp_path: Path
) -> None:
    with TestClient(create_app(predictor, warm=False, learning=learning)) as http:
        for number in range(3):
            post(http, number)
        assert http.post("/forecast", json={"session": "car-2", "time": 0.5}).status_code == 400
        wait_until(lambda: learning.status()["updates"] >= 3)
        said = Client(http=http).learning()
        assert alike(form(examples.GET["/learning"]), form(said))
        assert (said["steps"], said["answers"], said["fault"], said["dropped"]) == (60, "begun", "", 0)
        assert said["recent"]["scored"][0] > 40
        assert http.get("/health").json() == {"status": "ok", "forecaster": f"begun {said['begun']}"}
        metrics = http.get("/metrics").text
        assert 'uniair_learning{what="steps"} 60.0' in metrics
        assert 'uniair_learning_top1{model="shadow",step="3"}' in metrics
        assert "uniair_learning_answers 0.0" in metrics
        # an application that takes over, as where a registry is followed
        after = create_app(predictor, warm=False, before=http.app, learning=learning)
        assert after.state.service.sessions is http.app.state.service.sessions
        with TestClient(after) as later:
            assert later.get("/learning").json()["steps"] == 60
    wait_until(lambda: learning.kept.stream.counts.steps == 72)
    learning.__exit__(None, None, None)
    again = open_stream(tmp_path / "state.safetensors", predictor.forecaster, QUICK)
    assert again.counts.steps == 72
    assert set(again.open) == {"car-0", "car-1", "car-2"}
    begun_anew = LearningThread(KeptStream(again, tmp_path / "state.safetensors"))
    assert not begun_anew.kept.stream.open


def test_a_server_that_does_not_learn_says_how_it_would(http: Any) -> None:
    answer = http.get("/learning")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "this server does not learn: start it with --learn STATE",
    )


def test_what_won_answers_from_the_next_step_on(predictor: Any, learning: LearningThread) -> None:
    sessions, better = Sessions(predictor.forecaster, learning=learning), other(predictor.forecaster)
    power = STREET[0].power
    for t in range(20):
        sessions.push("car", {"power": power[t]})
    learning.model = learning.kept.stream.answering = better
    fresh, context = Stream(better), better.preset.context
    for t in range(20 - context, 20):
        fresh.push({"power": power[t]})
    for t in range(20, 23):
        said, wanted = sessions.push("car", {"power": power[t]}), fresh.push({"power": power[t]})
        np.testing.assert_allclose(said.probability, wanted.probability, atol=1e-5)


class Held(KeptStream):
    """Learns only when it is let."""

    let = threading.Event()

    def push(self, session: str, step: Any) -> None:
        assert self.let.wait(60)
        super().push(session, step)


def test_answers_do_not_wait_and_what_could_not_wait_is_cut_and_counted(predictor: Any, tmp_path: Path) -> None:
    Held.let.clear()
    stream = LearningStream(predictor.forecaster, QUICK)
    with LearningThread(Held(stream, tmp_path / "state"), 1.0, waiting=5) as thread:
        sessions = Sessions(predictor.forecaster, learning=thread, idle=1e9)
        for t in range(20):
            sessions.push("car", {"power": STREET[0].power[t]})
        dropped = thread.status()["dropped"]
        assert dropped in (14, 15)  # it may hold the first one already
        Held.let.set()
        wait_until(lambda: stream.counts.steps == 20 - dropped)
        sessions.push("car", {"power": STREET[0].power[20]})
        wait_until(lambda: stream.counts.steps == 21 - dropped)
        assert [log.ended for log in stream.logs.values()] == [True, False]


def test_a_full_disk_and_a_fault_do_not_end_the_answers(
    predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger(LOGGER).propagate = True
    stream = LearningStream(predictor.forecaster, QUICK)
    (tmp_path / "file").touch()
    with LearningThread(KeptStream(stream, tmp_path / "file" / "state", every=1), 1.0) as thread:
        sessions = Sessions(predictor.forecaster, learning=thread)
        for t in range(20):
            sessions.push("car", {"power": STREET[0].power[t]})
        wait_until(lambda: "not written" in thread.status()["fault"])
        thread.model = stream.answering = other(predictor.forecaster)
        monkeypatch.setattr(stream, "push", lambda *_: 1 / 0)
        sessions.push("car", {"power": STREET[0].power[20]})
        wait_until(lambda: "learning ended: ZeroDivisionError" in thread.status()["fault"])
        assert thread.model is predictor.forecaster
        assert sessions.push("car", {"power": STREET[0].power[21]}).beams.shape == (3,)
        wait_until(lambda: thread.status()["dropped"] == 1)
        assert thread.answers().startswith("begun ")


def test_wrong_settings(predictor: Any, tmp_path: Path) -> None:
    kept = KeptStream(LearningStream(predictor.forecaster, QUICK), tmp_path / "state")
    for share, waiting in ((0.0, 1), (1.5, 1), (0.5, 0)):
        with pytest.raises(InputError, match="a share above 0 and up to 1"):
            LearningThread(kept, share, waiting)
