"""What a request passes before and while it is answered: host, token, room, size, time, and a client that stays."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import logging
import secrets
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uniair.serve.telemetry import LOGGER, Metrics

OPEN = ("/health", "/ready", "/", "/docs")  # without a token, as is everything under /page/
METHODS = ("GET", "HEAD", "POST")
HUNG_UP = 499  # in logs and metrics: the client did not wait for the answer
LOG = logging.getLogger(LOGGER)
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-cache")]


@dataclass(frozen=True)
class Limits:
    """What one server bears.

    Attributes:
        body: bytes of a request.
        samples: CSI, or positions, a request.
        concurrency: requests at a time; more are told to come back (503).
        queue: items that wait for the model.
        seconds: for an answer (504), reading the request not counted.
        read: s for a request's body to arrive (408).
        sessions: forecasts at a time.
    """

    body: int = 20_000_000
    samples: int = 1024
    concurrency: int = 128
    queue: int = 256
    seconds: float = 30.0
    read: float = 20.0
    sessions: int = 256


class RefusedError(Exception):
    """A request that is answered with an error before anything looks at it."""

    def __init__(self, status: int, line: str, **headers: str) -> None:
        super().__init__(line)
        self.status, self.line, self.headers = status, line, headers


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: that answers.
        limits: of a request.
        metrics: where it is counted.
        token: bearer token that requests must carry; None: none.
        hosts: names that a request may be for; None: any. A page of another origin whose name was turned to this
            machine's address would otherwise be let in by the user's own browser.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str | None, hosts: frozenset[str] | None
    ) -> None:
        self.app, self.limits, self.metrics, self.hosts = app, limits, metrics, hosts
        self.token = None if token is None else f"Bearer {token}".encode()
        self.busy = 0
        self._process, self._number = secrets.token_hex(4), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        watched = Watched(send, f"{self._process}-{next(self._number)}")
        began = time.perf_counter()
        self.busy += 1
        self.metrics.in_flight.inc()
        size = 0
        try:
            headers = dict(scope["headers"])
            self._admit(scope["path"], headers)
            body = await self._body(headers, receive)
            size = len(body)
            await self._answer(scope, body, receive, watched)
        except RefusedError as refusal:
            await watched.refuse(refusal)
        except Exception as error:
            LOG.error("fault", exc_info=error, extra={"fields": {"id": watched.id}})
            await watched.refuse(RefusedError(500, f"a fault of the server's; its log has it under {watched.id}"))
        finally:
            self.busy -= 1
            self.metrics.in_flight.dec()
            self._note(scope, watched, size, time.perf_counter() - began)

    def _admit(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self.hosts is not None and _host(headers.get(b"host", b"")) not in self.hosts:
            raise RefusedError(400, "host: this server answers for its own address alone; give it a token")
        if self.token is not None and path not in OPEN and not path.startswith("/page/"):
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self.token):
                what = "wrong" if given else "missing"
                raise RefusedError(
                    401, f"token {what}: send Authorization: Bearer TOKEN", **{"www-authenticate": "Bearer"}
                )
        if self.busy > self.limits.concurrency and path not in OPEN:
            raise RefusedError(503, f"{self.limits.concurrency} requests are being answered", **{"retry-after": "1"})
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RefusedError(415, "content-encoding: send the body as it is")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, counted while it comes."""
        most = self.limits.body
        too_large = RefusedError(413, f"body: over {most:,} bytes; send fewer samples a request")
        announced = headers.get(b"content-length", b"0")
        if len(announced) > 12 or not announced.isdigit() or int(announced) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.read):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(HUNG_UP, "hung up")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise too_large
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise RefusedError(408, f"body: not all of it came within {self.limits.read:g} s") from None

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, watched: Watched) -> None:
        """Runs the application until it has answered, the time is over or the client is gone."""
        given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.get_running_loop().create_future()

        async def replay() -> Message:
            if given:
                return given.pop()
            await gone
            return {"type": "http.disconnect"}

        async def hang_up() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        answer = asyncio.ensure_future(self.app(scope, replay, watched.send))
        leaving = asyncio.ensure_future(hang_up())
        try:
            await asyncio.wait({answer, leaving}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                answer.result()
            elif leaving.done():
                raise RefusedError(HUNG_UP, "hung up")
            else:
                raise RefusedError(504, f"no answer within {self.limits.seconds:g} s; ask for less at once",
                              **{"retry-after": "5"})  # fmt: skip
        finally:
            for task in (answer, leaving):
                task.cancel()
            await asyncio.gather(answer, leaving, return_exceptions=True)
            gone.cancel()

    def _note(self, scope: Scope, watched: Watched, size: int, seconds: float) -> None:
        # labels come from short lists: a client that makes up names must not fill the memory
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in METHODS and route != "other" else "other"
        self.metrics.requests.labels(method, route, watched.status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        LOG.info("request", extra={"fields": {
            "id": watched.id, "method": method, "route": route, "status": watched.status,
            "ms": round(1e3 * seconds, 2), "bytes_in": size, "bytes_out": watched.size,
        }})  # fmt: skip


class Watched:
    """The way to the client, with what went down it."""

    def __init__(self, send: Send, number: str) -> None:
        self._send, self.id, self.status, self.size = send, number, 0, 0

    async def send(self, message: Message) -> None:
        """Passes a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), (b"x-request-id", self.id.encode()), *HEADERS]
            message = {**message, "headers": headers}
        else:
            self.size += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, refusal: RefusedError) -> None:
        """Answers with an error, where no answer has begun and someone waits for it."""
        if self.status or refusal.status == HUNG_UP:
            self.status = self.status or HUNG_UP
            return
        body = json.dumps({"detail": refusal.line}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


def _host(header: bytes) -> str:
    """The name in a Host header, without its port."""
    name = header.decode("latin-1").lower()
    return name[: name.index("]") + 1] if name.startswith("[") and "]" in name else name.split(":")[0]
