"""Beam forecasts of many vehicles at once: each session is a stream of steps."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from uniair.models.forecast import WMLM
from uniair.serve.batching import BusyError
from uniair.serve.learning_thread import LearningThread
from uniair.serve.stream import NextBeams, Stream


class Sessions:
    """The streams that are open.

    Args:
        model: the forecaster.
        most: sessions.
        idle: s after which a session is forgotten.
        clock: s.
        learning: what learns from the steps, and says which model answers; None: the one that is given, for good.
    """

    def __init__(
        self,
        model: WMLM,
        most: int = 256,
        idle: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        learning: LearningThread | None = None,
    ) -> None:
        self.model, self.most, self.idle, self.clock, self.learning = model, most, idle, clock, learning
        self._lock = threading.Lock()  # one service may take them over from another that still answers
        self._open: OrderedDict[str, tuple[Stream, float]] = OrderedDict()  # least lately used first

    def go_on(self, before: Sessions) -> None:
        """Shares the streams of another forecaster of the same shape: each is answered by the one that it is asked of,
        which hears its last steps anew.
        """
        self._lock, self._open = before._lock, before._open

    def __len__(self) -> int:
        return len(self._open)

    def push(self, session: str, step: Mapping[str, Any]) -> NextBeams:
        """The next beams of a session after one more step; a name that is not known opens one.

        Raises:
            BusyError: no room for another session.
            InputError: see `Stream.push`.
        """
        with self._lock:
            return self._push(session, step)

    def _push(self, session: str, step: Mapping[str, Any]) -> NextBeams:
        now = self.clock()
        while self._open and now - next(iter(self._open.values()))[1] > self.idle:
            gone, _ = self._open.popitem(last=False)
            if self.learning is not None:
                self.learning.end(gone)
        if session not in self._open and len(self._open) >= self.most:
            raise BusyError(f"{self.most} sessions are open; they end after {self.idle:.0f} idle seconds")
        model = self.model if self.learning is None else self.learning.model
        stream = self._open[session][0] if session in self._open else Stream(model)
        if stream.model is not model:
            stream.answer_by(model)
        said = stream.push(step)
        if self.learning is not None:
            self.learning.take(session, step)
        self._open[session] = stream, now
        self._open.move_to_end(session)
        return said
