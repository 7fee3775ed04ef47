"""Broken and hostile requests against a server: none may make it fail, and no answer may show its insides."""

from __future__ import annotations

import http.client
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DELIBERATE = (503, 504)  # answers above 499 that a server may give on purpose
INSIDES = (b"Traceback", b'File "', b"/site-packages/")
NPY, MSGPACK, JSON = "application/x-npy", "application/msgpack", "application/json"
Rng = np.random.Generator


@dataclass(frozen=True)
class Request:
    """A request with a body.

    Attributes:
        path: with a query, if any.
        kind: content type.
        body: bytes.
    """

    path: str
    kind: str
    body: bytes


@dataclass
class Found:
    """What came of the requests.

    Attributes:
        statuses: HTTP status → requests.
        faults: what must not be: other 5xx, insides in an answer, answers that are not JSON where one is due.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def judge(self, request: Request, status: int, body: bytes) -> None:
        """Counts one answer."""
        self.statuses[status] += 1
        wrong = ""
        if status >= 500 and status not in DELIBERATE:
            wrong = f"status {status}"
        elif any(mark in body for mark in INSIDES):
            wrong = "insides"
        elif status >= 400:
            try:
                detail = json.loads(body)["detail"]
                wrong = "" if isinstance(detail, str) and "\n" not in detail else "no clear line"
            except (ValueError, KeyError, TypeError):
                wrong = "no JSON"
        if wrong:
            self.faults.append(f"{wrong} for {request.kind} to {request.path}: {request.body[:80]!r} → {body[:200]!r}")

    def figures(self) -> dict[str, Any]:
        """For people and JSON."""
        return {"sent": self.statuses.total(), "statuses": {str(k): n for k, n in sorted(self.statuses.items())},
                "faults": self.faults[:20], "fault_count": len(self.faults)}  # fmt: skip


def attack(port: int, count: int, seed: int = 0) -> Found:
    """Sends mutated bodies to a server on loopback; a connection that breaks is a fault."""
    found, connection = Found(), http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for request in mutated(count, seed):
        try:
            connection.request("POST", request.path, request.body, {"content-type": request.kind})
            answer = connection.getresponse()
            found.judge(request, answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            found.faults.append(f"{type(error).__name__} for {request.kind} to {request.path}: {request.body[:80]!r}")
            connection.close()
    connection.close()
    return found


def mutated(count: int, seed: int = 0) -> Iterator[Request]:
    """Valid requests of every kind, each with one to three mutations; the same seed gives the same requests."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        request = _valid(rng)
        for _ in range(int(rng.integers(1, 4))):
            request = MUTATIONS[int(rng.integers(len(MUTATIONS)))](request, rng)
        yield request


def _valid(rng: Rng) -> Request:
    csi = rng.standard_normal((int(rng.integers(1, 3)), 32, 64)) + 1j * rng.standard_normal((32, 64))
    from uniair.serve.openapi import questions

    asked = questions()
    path = str(rng.choice(list(asked)))
    fields = asked[path].body.model_fields
    document: dict[str, Any] = {"station": int(rng.integers(0, 2)), "link": int(rng.integers(0, 20))}
    if "ue" in fields and path != "/ask":
        document["ue"] = rng.uniform(0, 150, (2, 3)).tolist()
    if path == "/likelihood":
        document["step"] = 20.0
    if path == "/ask":
        document["instruction"] = "Where is this user?"
    if path == "/feedback/encode":
        document |= {"length": int(rng.integers(24, 200)), "search": int(rng.integers(0, 3))}
    if path == "/feedback/decode":
        document = {"station": 0, "length": 48, "bits": [rng.bytes(6).hex()], "code": "0123456789abcdef"}
    if path == "/complete":
        document = {"known": (rng.random((32, 64)) < 0.3).tolist(), "snr": 10.0}
    if path == "/forecast":
        document = {"session": f"s{rng.integers(9)}", "power": rng.uniform(0, 1, 64).tolist(), "beam": 3}
    if path == "/audit":
        document = {"station": document["station"], "channels": 2}
    if "buildings" in fields and rng.random() < 0.3:
        document["buildings"] = [{"outline": rng.uniform(0, 150, (4, 2)).tolist(), "height": 9.0}]
    kind = str(rng.choice([NPY, MSGPACK, JSON]))
    if kind == NPY:
        file = io.BytesIO()
        np.save(file, csi.astype(np.complex64))
        return Request(f"{path}?station={rng.integers(0, 2)}", kind, file.getvalue())
    if kind == MSGPACK:
        import msgpack

        if path not in ("/forecast", "/feedback/decode") and rng.random() < 0.7:
            document.pop("link", None)
            document["csi"] = {"shape": csi.shape, "dtype": "complex128", "data": csi.tobytes()}
            if rng.random() < 0.5:  # of the same shape, so that it is answered
                document["radio"] = {"array": {"kind": "upa", "rows": 4, "columns": 8},
                                     "grid": {"kind": "ofdm", "subcarriers": 64, "spacing": 240e3},
                                     "clock": str(rng.choice(["absolute", "first_path"]))}  # fmt: skip
        return Request(path, kind, msgpack.packb(document))
    if path in ("/encode", "/position", "/complete") or rng.random() < 0.2:
        document.pop("link", None)
        document["csi"] = {"real": csi[0].real.round(3).tolist(), "imag": csi[0].imag.round(3).tolist()}
    return Request(path, kind, json.dumps(document).encode())


def _flip(request: Request, rng: Rng) -> Request:
    """Some bytes become others, mostly near the head where the structure is."""
    body = bytearray(request.body)
    for _ in range(int(rng.integers(1, 9))):
        if body:
            reach = len(body) if rng.random() < 0.3 else min(len(body), 128)
            body[int(rng.integers(reach))] = int(rng.integers(256))
    return Request(request.path, request.kind, bytes(body))


def _cut(request: Request, rng: Rng) -> Request:
    return Request(request.path, request.kind, request.body[: int(rng.integers(len(request.body) + 1))])


def _grow(request: Request, rng: Rng) -> Request:
    at = int(rng.integers(len(request.body) + 1))
    return Request(
        request.path, request.kind, request.body[:at] + rng.bytes(int(rng.integers(1, 64))) + request.body[at:]
    )


def _token(request: Request, rng: Rng) -> Request:
    """A number or word becomes one that parsers stumble over."""
    words = [b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"[]", b"{}", b'""', b"99999999999999999999", b"true",
             b"\xff\xfe", b"[[[[[[[[", b"'complex64'", b"|O", b"<f8", b"(10000000000, 32, 64)", b"\x00"]  # fmt: skip
    places = [i for i, byte in enumerate(request.body[:400]) if byte in b"0123456789[{'\"("]
    if not places:
        return request
    at = places[int(rng.integers(len(places)))]
    word = words[int(rng.integers(len(words)))]
    return Request(request.path, request.kind, request.body[:at] + word + request.body[at + int(rng.integers(1, 4)) :])


def _numbers(request: Request, rng: Rng) -> Request:
    """Eight bytes of data become NaN, infinity, zero or huge."""
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1e308, 5e-324]).astype("<f8")
    at = int(rng.integers(max(len(request.body) - 8, 1)))
    piece = values[int(rng.integers(len(values)))].tobytes()
    return Request(request.path, request.kind, request.body[:at] + piece + request.body[at + 8 :])


def _other_kind(request: Request, rng: Rng) -> Request:
    kinds = [NPY, MSGPACK, JSON, "text/plain", "", "application/json; charset=utf-16", "multipart/form-data"]
    return Request(request.path, kinds[int(rng.integers(len(kinds)))], request.body)


def _other_path(request: Request, rng: Rng) -> Request:
    paths = ["/encode", "/los", "/position", "/likelihood?step=nan", "/beam?station=-1", "/ask?instruction=%00",
             "/rank?ue=[[1,2]]", "/forecast", "/site", "/nowhere", "/los?link=1e9", "/page/../site.json"]  # fmt: skip
    return Request(paths[int(rng.integers(len(paths)))], request.kind, request.body)


def _pickled(request: Request, rng: Rng) -> Request:
    """A .npy of Python objects: nothing may unpickle it."""
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return Request(request.path, NPY, file.getvalue())


MUTATIONS: tuple[Callable[[Request, Rng], Request], ...] = (
    _flip, _flip, _cut, _grow, _token, _token, _numbers, _other_kind, _other_path, _pickled,
)  # fmt: skip
