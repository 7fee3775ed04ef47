"""What the server tells about itself: Prometheus metrics and one JSON line a request, without payloads."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

LOGGER = "uniair.serve"
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        labels = ("method", "route", "status")
        self.requests = Counter("uniair_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram("uniair_request_seconds", "From the request's head to its answer's end", ("route",),
                                 buckets=SECONDS, registry=self.registry)  # fmt: skip
        self.batches = Histogram("uniair_batch_size", "Samples that went through the model together", ("lane",),
                                 buckets=SIZES, registry=self.registry)  # fmt: skip
        self.in_flight = Gauge("uniair_requests_in_flight", "Requests being answered", registry=self.registry)
        self.waiting = Gauge("uniair_waiting", "Items that wait for a batch", ("lane",), registry=self.registry)

    def watch(self, lane: str, waiting: Callable[[], int]) -> Callable[[int], None]:
        """Follows the queue of a lane; what is returned is told the size of each batch."""
        self.waiting.labels(lane).set_function(waiting)
        return self.batches.labels(lane).observe

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """A log record as one JSON object; a traceback goes into the log, never into an answer."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "event": record.getMessage(),
        }  # fmt: skip
        entry |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            entry["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(entry)


def log_to(stream: Any, level: int = logging.INFO) -> None:
    """Sends the server's and uvicorn's records to a stream as JSON lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name in (LOGGER, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name == LOGGER else logging.WARNING)
