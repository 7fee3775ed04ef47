"""Learning beside the answers: steps that were answered go to a thread that learns from them, never the other way.

A step is handed over and forgotten; where too many wait, it is left out of the learning, and counted. What has learned
and won takes over between two answers.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

import torch
from prometheus_client import Gauge

from uniair.errors import InputError
from uniair.models.forecast import WMLM
from uniair.serve.telemetry import LOGGER, Metrics
from uniair.training.learning_state import KeptStream
from uniair.training.learning_stream import Event
from uniair.training.score_history import MODELS

LOG = logging.getLogger(LOGGER)
HAPPENED = ("steps", "windows", "unscored", "promotions", "rollbacks", "restarts", "dropped", "waiting")


class LearningThread:
    """Learns from the steps of all sessions; a context, in which the thread lives.

    Sessions that were open when the state was written are ended: their vehicles did not wait.

    Args:
        kept: the stream, and the file of its state.
        share: of one core's time that it takes at most, over some seconds.
        waiting: steps that may wait for it.

    Attributes:
        model: what answers now.
        fault: why nothing is learned or kept any more; empty where all is well.

    Raises:
        InputError: no share between 0 and 1, or nothing may wait.
    """

    def __init__(self, kept: KeptStream, share: float = 0.25, waiting: int = 4096) -> None:
        if not 0 < share <= 1 or waiting < 1:
            raise InputError(f"learning takes {share:g} of a core, and {waiting} steps may wait: give a share above 0 "
                             "and up to 1, and at least 1 step")  # fmt: skip
        self.kept, self.share, self.fault = kept, share, ""
        for session in list(kept.stream.open):
            kept.stream.end(session)
        self.model: WMLM = kept.stream.answering
        self.dropped = 0
        self._queue: queue.Queue[Event | None] = queue.Queue(waiting)
        self._cut: set[str] = set()  # sessions of which a step was left out
        self._stop, self._broken, self._full = threading.Event(), False, False
        self._thread = threading.Thread(target=self._run, name="uniair-learning", daemon=True)
        self._status = kept.stream.status()

    def __enter__(self) -> LearningThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the thread after what it is at, and writes the state; steps that still wait are left out."""
        self._stop.set()
        with suppress(queue.Full):  # then it does not wait for any
            self._queue.put_nowait(None)
        self._thread.join()
        if not self._broken:
            self._keep()

    def take(self, session: str, step: Mapping[str, Any]) -> None:
        """Hands one more step over that was answered; returns at once."""
        if session in self._cut:  # what is missing must not look like one step to the next
            if not self._put((session, None)):
                self.dropped += 1
                return
            self._cut.discard(session)
        if not self._put((session, step)):
            self.dropped += 1
            self._cut.add(session)

    def end(self, session: str) -> None:
        """Says that a session is over."""
        self._cut.discard(session)
        if not self._put((session, None)):
            self._cut.add(session)

    def status(self) -> dict[str, Any]:
        """What answers and how well, as of the last update; see `LearningStream.status`."""
        return self._status | {"waiting": self._queue.qsize(), "dropped": self.dropped, "fault": self.fault}

    def answers(self) -> str:
        """Which model answers, and its digest."""
        name = "answering" if self._status["answers"] == "learned" else "begun"
        return f"{self._status['answers']} {self._status[name]}"

    def show(self, metrics: Metrics) -> None:
        """Adds what it does to a server's metrics."""
        registry = metrics.registry
        happened = Gauge("uniair_learning", "What happened where beam forecasts learn, and steps that wait for it",
                         ("what",), registry=registry)  # fmt: skip
        top1 = Gauge("uniair_learning_top1", "Forecasts that were right, of the last steps",
                     ("model", "step"), registry=registry)  # fmt: skip
        answers = Gauge("uniair_learning_answers", "1: a model that learned on site answers; 0: the one begun with",
                        registry=registry)  # fmt: skip
        for name in HAPPENED:
            happened.labels(name).set_function(partial(self._count, name))
        for name in MODELS:
            for ahead in range(self.model.preset.future):
                top1.labels(name, str(ahead + 1)).set_function(partial(self._right, name, ahead))
        answers.set_function(lambda: float(self._status["answers"] == "learned"))

    def _count(self, name: str) -> float:
        return float(self.status()[name])

    def _right(self, model: str, ahead: int) -> float:
        value = self._status["recent"]["top1"][model][ahead]
        return float("nan") if value is None else float(value)

    def _put(self, event: Event) -> bool:
        # what was full takes no more until half has gone: of steps that are taken one by one no two follow each other
        if self._stop.is_set() or (self._full and self._queue.qsize() > self._queue.maxsize // 2):
            return False
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._full = True
            return False
        self._full = False
        return True

    def _run(self) -> None:
        torch.set_num_threads(1)
        while not self._stop.is_set():
            event = self._queue.get()
            if event is None:
                return
            began = time.monotonic()
            try:
                self._learn(*event)
            except Exception as error:  # a fault of ours: nobody watches any more, so what was begun with answers
                self._broken = True
                self._stop.set()
                self.model, self.fault = self.kept.stream.begun, f"learning ended: {type(error).__name__}: {error}"
                self._status = self._status | {"answers": "begun"}
                LOG.error("learning ended", exc_info=error)
                return
            self._stop.wait((time.monotonic() - began) * (1 / self.share - 1))

    def _learn(self, session: str, step: Mapping[str, Any] | None) -> None:
        stream = self.kept.stream
        if step is None:
            stream.end(session)
            return
        before, known = stream.shadow.updates, stream.answering
        try:
            self.kept.push(session, step)
            if len(stream.block) == self.kept.waiting == 0:  # it was written
                self.fault = ""
        except OSError as error:
            self._not_kept(error)
        self.model = stream.answering
        if stream.shadow.updates != before or self.model is not known:
            self._status = stream.status()
        if self.model is not known:
            LOG.info("forecaster", extra={"fields": {"answers": self.answers(), "steps": stream.counts.steps}})

    def _keep(self) -> None:
        try:
            self.kept.close()
        except OSError as error:
            self._not_kept(error)

    def _not_kept(self, error: OSError) -> None:
        self.fault = f"{self.kept.path}: not written ({error.strerror}); free some space: it is tried again"
        LOG.warning("state not written", extra={"fields": {"reason": self.fault}})
