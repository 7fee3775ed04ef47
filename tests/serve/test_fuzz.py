"""Requests that no client would send: none makes the server fail or shows its insides, and it lives on.

UNIAIR_FUZZ=10000 sends so many mutated bodies instead of some hundreds, and ten times the schema's examples.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable

from uniair.benchmark.speed.service_fuzz import Found, Request, mutated

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
pytest.importorskip("msgpack", reason="msgpack is missing: pip install 'uniair[serve]'")
COUNT = int(os.environ.get("UNIAIR_FUZZ", "300"))


def send(http: Any, request: Request) -> Any:
    # a header of bytes goes out as it is; a test client refuses control characters, as a server's parser does
    return http.post(request.path, content=request.body, headers={"content-type": request.kind})


@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")  # answers carry it as remarks
def test_mutated_bodies(http: Any) -> None:
    found = Found()
    for request in mutated(COUNT, seed=0):
        answer = send(http, request)
        found.judge(request, answer.status_code, answer.content)
    assert not found.faults, found.faults[0]
    assert found.statuses.total() == COUNT
    assert {200, 400, 415, 422} <= set(found.statuses), "all stages are reached"
    assert http.get("/ready").status_code == 200


def test_mutations_are_seeded() -> None:
    first, again, other = (list(mutated(50, seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_judge_knows_a_fault() -> None:
    found, request = Found(), Request("/encode", "application/json", b"{}")
    for status, body in ((503, b'{"detail": "busy"}'), (200, b"\x93NUMPY"), (400, b'{"detail": "no"}')):
        found.judge(request, status, body)
    assert not found.faults
    for status, body in (
        (500, b'{"detail": "x"}'), (400, b"Traceback (most recent call last)"), (404, b"<html>"),
        (400, b'{"detail": ["a"]}'), (422, b'{"detail": "a\\nb"}'),
    ):  # fmt: skip
        found.judge(request, status, body)
    assert found.figures()["fault_count"] == 5


@pytest.fixture(scope="module")
def operations(http: Any) -> Iterator[list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that schemathesis reads
        schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is missing: pip install 'uniair[dev]'")
        schema = schemathesis.openapi.from_dict(http.get("/openapi.json").json())
        yield [found.ok() for found in schema.get_all_operations()]


def test_requests_made_from_the_schema(http: Any, operations: list[Any]) -> None:
    """Valid and invalid ones of every path; what is answered with 200 has the schema's form."""
    from schemathesis import GenerationMode

    found, paths = Found(), set()
    each = max(COUNT // 75, 4)
    for operation in operations:
        for mode in GenerationMode:

            @seeded(0)
            @settings(
                max_examples=each, deadline=None, database=None, phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:
                body = case.body if isinstance(case.body, bytes) else json.dumps(case.body, default=str).encode()
                query = {str(k): str(v) for k, v in (case.query or {}).items()}
                kind = (case.media_type or "application/json").encode("ascii", "ignore").decode()
                answer = http.request(
                    case.method, case.formatted_path, params=query, content=body, headers={"content-type": kind}
                )
                paths.add((case.method, case.path))
                found.judge(Request(case.formatted_path, kind, body), answer.status_code, answer.content)

            with suppress(Unsatisfiable):  # nothing can be wrong in a request without parameters
                one()
    assert not found.faults, found.faults[0]
    assert len(paths) == len(operations)
    assert found.statuses[200] > 0
    assert found.statuses.total() >= len(operations) * each
