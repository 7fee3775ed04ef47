"""What a client sees: answers in three forms, and one clear line for everything that is wrong."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import numpy as np
import pytest
from tests.serve.conftest import ByHeart, lacking

from uniair.serve.predictor import Predictor

EXTRA = "the extra `serve` is missing: pip install 'uniair[serve]'"
msgpack, testclient = (pytest.importorskip(name, reason=EXTRA) for name in ("msgpack", "fastapi.testclient"))
pytest.importorskip("prometheus_client", reason=EXTRA)
app_of, client_of, guard_of, telemetry = (
    pytest.importorskip(f"uniair.serve.{name}", reason=EXTRA) for name in ("app", "client", "limits", "telemetry")
)
TestClient, create_app = testclient.TestClient, app_of.create_app
Client, ServiceError = client_of.Client, client_of.ServiceError
Guard, Limits = guard_of.Guard, guard_of.Limits
LOGGER, JsonLines, Metrics = telemetry.LOGGER, telemetry.JsonLines, telemetry.Metrics

NPY, MSGPACK, JSON = "application/x-npy", "application/msgpack", "application/json"
RNG = np.random.default_rng(0)
NOISE = (RNG.standard_normal((3, 32, 64)) + 1j * RNG.standard_normal((3, 32, 64))).astype(np.complex64)
CSI = NOISE + 3 * np.exp(0.4j * np.arange(64)).astype(np.complex64)  # a path, so that there is something to be heard


def npy(array: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


def post(http: Any, path: str, body: bytes, kind: str, accept: str = JSON) -> Any:
    return http.post(path, content=body, headers={"content-type": kind, "accept": accept})


def as_json(csi: Any) -> dict[str, Any]:
    return {"real": csi.real.tolist(), "imag": csi.imag.tolist()}


def numbers(answer: Any) -> list[float]:
    """All numbers of an answer in order."""
    if isinstance(answer, dict):
        return [n for value in answer.values() for n in numbers(value)]
    if isinstance(answer, list):
        return [n for value in answer for n in numbers(value)]
    return [answer] if isinstance(answer, (int, float)) and not isinstance(answer, bool) else []


def test_csi_in_any_form_gives_the_models_embedding_in_any_form(http: Any, predictor: Predictor) -> None:
    want = predictor.model.encode_channel(CSI).numpy()
    packed = msgpack.packb({"csi": {"shape": CSI.shape, "dtype": "complex64", "data": CSI.tobytes()}})
    bodies = {NPY: npy(CSI), MSGPACK: packed, JSON: json.dumps({"csi": as_json(CSI)}).encode()}
    for kind, body in bodies.items():
        found = post(http, "/encode", body, kind)
        np.testing.assert_allclose(found.json()["embedding"], want, atol=1e-5)
        array = np.load(io.BytesIO(post(http, "/encode", body, kind, NPY).content), allow_pickle=False)
        np.testing.assert_allclose(array, want, atol=1e-5)
        answer = msgpack.unpackb(post(http, "/encode", body, kind, MSGPACK).content)["embedding"]
        array = np.frombuffer(answer["data"], answer["dtype"]).reshape(answer["shape"])
        np.testing.assert_allclose(array, want, atol=1e-5)
    for other in (CSI.astype(np.complex128), np.asfortranarray(CSI), CSI.astype(">c8"), 1e-20 * CSI[0]):
        found = post(http, "/encode", npy(other), NPY).json()["embedding"]
        np.testing.assert_allclose(found, want[: len(found)], atol=1e-4)


def test_every_example_of_the_schema_is_answered_as_the_schema_says(http: Any) -> None:
    described = http.get("/openapi.json").json()
    questions = app_of.questions()
    assert set(questions) <= set(described["paths"])
    for path, question in questions.items():
        found = http.post(path, json=question.example | lacking(path, http))
        assert found.status_code == 200, f"{path}: {found.text}"
        question.answer.model_validate(found.json(), strict=True)
        assert described["paths"][path]["post"]["requestBody"]["content"][JSON]["example"] == question.example


def test_requests_larger_than_a_pass_are_answered_in_order(http: Any, predictor: Predictor) -> None:
    many = np.tile(CSI, (30, 1, 1))
    found = np.array(post(http, "/encode", npy(many), NPY).json()["embedding"])
    np.testing.assert_allclose(found[:3], predictor.model.encode_channel(CSI), atol=1e-4)
    np.testing.assert_allclose(found, np.tile(found[:3], (30, 1)), atol=1e-4)
    ue = np.column_stack([np.linspace(5, 145, 90), np.full(90, 5.0), np.full(90, 1.5)])
    ranked = http.post("/rank", json={"link": 1, "ue": ue.tolist()}).json()["probability"]
    assert np.sum(ranked) == pytest.approx(1, abs=1e-4)
    assert np.shape(ranked) == (1, 90)


def test_requests_of_one_moment_share_a_pass(predictor: Predictor) -> None:
    httpx = pytest.importorskip("httpx2", reason=EXTRA)
    app = create_app(predictor, warm=False)

    async def main() -> tuple[list[Any], list[Any]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            kind = {"content-type": NPY}
            encoded = [http.post("/encode", content=npy(CSI[i % 3]), headers=kind) for i in range(12)]
            beams = [http.post("/beam", json={"station": i % 2, "ue": [75.0, 35.0, 1.5]}) for i in range(6)]
            return list(await asyncio.gather(*encoded)), list(await asyncio.gather(*beams))

    encoded, beams = asyncio.run(main())
    want = predictor.model.encode_channel(CSI).numpy()
    for i, answer in enumerate(encoded):
        np.testing.assert_allclose(answer.json()["embedding"][0], want[i % 3], atol=1e-4)
    for i, answer in enumerate(beams):
        assert answer.json()["answers"][0]["probabilities"] == pytest.approx(
            beams[i % 2].json()["answers"][0]["probabilities"], abs=1e-4
        )
    text = app.state.metrics.text().decode()
    for lane, samples in (("channel", 12), ("place", 6)):
        assert f'uniair_batch_size_sum{{lane="{lane}"}} {samples}.0' in text
        passes = float(text.split(f'uniair_batch_size_count{{lane="{lane}"}} ')[1].split()[0])
        assert passes < samples / 2


def test_a_link_stands_for_its_csi_and_its_position(http: Any, predictor: Predictor) -> None:
    csi, ue = predictor.csi(1, 5), predictor.link(1, 5).ue.tolist()
    told = {"station": 1, "csi": as_json(csi)}
    for path, more in (("/los", {"ue": ue}), ("/beam", {}), ("/position", {}), ("/precoding", {})):
        by_link, by_csi = (numbers(http.post(path, json=b).json()) for b in ({"station": 1, "link": 5}, told | more))
        np.testing.assert_allclose(by_link, by_csi, atol=2e-3, err_msg=path)
    one = http.post("/path_loss", json={"station": 1, "ue": ue[0]}).json()
    assert one == http.post("/path_loss", json={"station": 1, "link": 5}).json()
    assert one["answers"][0]["outdoors"] is True
    inside = http.post("/path_loss", json={"ue": [[15, 15, 1.5]]}).json()
    assert inside["answers"][0]["outdoors"] is False


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "says"),
    [
        ("/encode", npy(CSI), "text/plain", 415, "content type 'text/plain'"),
        ("/encode", b"", JSON, 422, "body"),
        ("/encode", b"{}", JSON, 400, "csi is missing"),
        ("/encode", npy(CSI.real), NPY, 400, "complex64 or complex128"),
        ("/encode", npy(CSI[:, :, :63]), NPY, 422, "shape [3, 32, 63]; the site's radio has complex [N, 32, 64]"),
        ("/encode", npy(CSI[:0]), NPY, 400, "shape [0, 32, 64]"),
        ("/encode", npy(CSI * np.nan), NPY, 400, "NaN or infinite"),
        ("/encode", npy(0 * CSI), NPY, 400, "all zero"),
        ("/encode", npy(CSI)[:-8], NPY, 400, "are not an array of complex64"),
        ("/encode", npy(CSI)[:20], NPY, 400, "not a .npy file"),
        ("/encode", npy(np.array([{}], dtype=object), allow_pickle=True), NPY, 400, "complex64 or complex128"),
        ("/encode", npy(np.zeros(9, "V8")), NPY, 400, "complex64 or complex128"),
        ("/encode", b"PK\x03\x04" + npy(CSI), NPY, 400, "not a .npy file"),
        ("/encode", npy(CSI).replace(b"(3, 32, 64)", b"(9**9, 2,)"), NPY, 400, "not a .npy file"),
        ("/encode", npy(CSI).replace(b"(3, 32, 64)", b"(8**40,64)"), NPY, 400, "not a .npy file"),
        ("/encode", npy(CSI).replace(b"(3, 32, 64), }  ", b"(3000000, 32, 64)}"), NPY, 400, "are not an array"),
        ("/encode", msgpack.packb({"csi": {"shape": [1, 32, 64], "dtype": "complex64", "data": b"abc"}})[:-2],
         MSGPACK, 400, "not msgpack, or truncated"),
        ("/encode", msgpack.packb([1, 2]), MSGPACK, 400, "no map"),
        ("/encode", msgpack.packb({"csi": {"shape": [1, 32, 64], "dtype": "object", "data": b""}}), MSGPACK, 400,
         "complex64 or complex128"),
        ("/encode", msgpack.packb({"csi": {"shape": [-1, 32, 64], "dtype": "complex64", "data": b""}}), MSGPACK, 400,
         "not an array"),
        ("/encode", msgpack.packb({"csi": msgpack.ExtType(5, b"x")}), MSGPACK, 400, "not msgpack"),
        ("/encode", npy(np.tile(CSI, (40, 1, 1))), NPY, 413, "send 100 or fewer"),
        ("/encode", b"x" * 2_000_001, NPY, 413, "over 2,000,000 bytes"),
        ("/encode", json.dumps({"csi": {"real": [[1]], "imag": [[1, 2]]}}).encode(), JSON, 400, "give both alike"),
        ("/encode", b'{"csi": {"real": [[1], [1, 2]], "imag": [[1]]}}', JSON, 400, "differ in length"),
        ("/encode", b'{"csi": {"real": [[1]]}}', JSON, 422, "csi.imag: Field required"),
        ("/encode", b'{"csj": 1}', JSON, 422, "csj: Extra inputs"),
        ("/encode", b'{"cs\\n\\u0006j": 1}', JSON, 422, "cs j: Extra inputs"),
        ("/los", b'{"link": 1, "station": 2}', JSON, 404, "station 2: the site has 0 to 1"),
        ("/los", b'{"link": 80}', JSON, 404, "link 80: station 0 has 0 to 79"),
        ("/los", b'{"link": 1, "ue": [1, 2]}', JSON, 422, "ue"),
        ("/los", b'{"link": 1, "ue": [[1, 2, NaN]]}', JSON, 422, "ue"),
        ("/los", b'{"link": 1, "ue": [1, 151, 1]}', JSON, 400, "outside the site; give x and y from 0 to 150 m"),
        ("/los", b'{"link": 1, "ue": [[1,2,1],[1,2,1]]}', JSON, 400, "2 positions for 1 CSI"),
        ("/los", b'{"link": 1, "buildings": [{"outline": [[0,0],[1,0]]}]}', JSON, 422, "buildings.0.outline"),
        ("/los?station=x", npy(CSI), NPY, 404, "station x: the site has 0 to 1, bs0, bs1"),
        ("/los?link=1", npy(CSI), NPY, 400, "csi and link"),
        ("/rank", b'{"link": 1}', JSON, 400, "ue is missing"),
        ("/position", b'{"station": 1}', JSON, 400, "csi is missing"),
        ("/beam", b'{"station": 1}', JSON, 400, "give ue"),
        ("/likelihood", npy(CSI), NPY, 400, "3 channels"),
        ("/likelihood?step=1", npy(CSI[0]), NPY, 400, "step 1 m: give at least 1.50 m"),
        ("/ask", b'{"instruction": ""}', JSON, 422, "instruction"),
        ("/forecast", b'{"session": "../x", "beam": 1}', JSON, 422, "session"),
        ("/forecast", b'{"session": "x", "power": [1, 2]}', JSON, 400, r"power of shape (2,)"),
        ("/forecast", b'{"session": "x", "position": [1, 2]}', JSON, 400, "step with position"),
        ("/forecast?session=x", npy(CSI), NPY, 400, "give one channel"),
        ("/forecast?session=x", npy(CSI[0, 0, 0]), NPY, 400, "give one channel"),
        ("/nowhere", b"{}", JSON, 404, "Not Found"),
        ("/site", b"{}", JSON, 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(
    http: Any, path: str, body: bytes, kind: str, status: int, says: str
) -> None:
    answer = post(http, path, body, kind)
    detail = answer.json()["detail"]
    assert (answer.status_code, says in detail) == (status, True), detail
    assert "\n" not in detail
    assert "Traceback" not in detail


def test_compressed_and_chunked_bodies(http: Any) -> None:
    squeezed = http.post("/encode", content=b"x", headers={"content-type": NPY, "content-encoding": "gzip"})
    assert squeezed.status_code == 415
    chunks = (b"x" * 100_000 for _ in range(30))
    assert http.post("/encode", content=chunks, headers={"content-type": NPY}).status_code == 413, "no length announced"


def test_a_token_is_asked_for_everywhere_but_at_the_page(predictor: Predictor) -> None:
    token = "correct-horse-battery"
    with TestClient(create_app(predictor, token=token, warm=False)) as http:
        for path in ("/site", "/metrics", "/openapi.json", "/nowhere"):
            for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": token}):
                refused = http.get(path, headers=header)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == "Bearer"
            good = http.get(path, headers={"authorization": f"Bearer {token}"})
            assert good.status_code == (404 if path == "/nowhere" else 200)
        for path in ("/health", "/ready", "/"):
            assert http.get(path).status_code != 401
        with pytest.raises(ServiceError, match="401: token wrong"):
            Client(token="x" * 20, http=http).site()
        assert Client(token=token, http=http).site()["name"] == "town"


def test_names_of_other_hosts_are_refused(predictor: Predictor) -> None:
    with TestClient(create_app(predictor, hosts=frozenset({"localhost", "[::1]"}), warm=False)) as http:
        for name, status in (("localhost:8000", 200), ("[::1]:8000", 200), ("evil.example", 400), ("", 400)):
            assert http.get("/site", headers={"host": name}).status_code == status


def test_the_client_speaks_every_path(http: Any, predictor: Predictor) -> None:
    client = Client(http=http)
    assert [s["name"] for s in client.site()["stations"]] == ["bs0", "bs1"]
    buildings = client.buildings()
    assert len(buildings) == 8
    links = client.links(1)
    assert links["ue"].shape == (80, 3)
    assert links["los"].dtype == bool
    assert client.link(1, 3)["csi_db"].shape == (32, 64)
    ue = links["ue"][3]
    np.testing.assert_allclose(client.encode(CSI), predictor.model.encode_channel(CSI), atol=1e-5)
    assert client.los(CSI, 1, ue=links["ue"][:3]).shape == (3,)
    assert client.rank(links["ue"][:5], link=2).shape == (1, 5)
    assert client.position(CSI, 1).shape == (3, 2)
    assert client.beam(ue, station=1)[0]["outdoors"] is True
    assert client.path_loss(links["ue"][:2]).shape == (2,)
    np.testing.assert_allclose(np.linalg.norm(client.precoding(CSI), axis=1), 1, atol=1e-5)
    field = client.likelihood(link=1, step=10.0, buildings=buildings[1:])
    assert np.isnan(field["log10"]).any()
    assert "The user is" in client.ask("Where is this user?", link=1)["text"]
    assert client.ask("Which beam should serve this user?", CSI)["missing"] == ["map", "bs", "ue", "size"]
    assert client.forecast("car", power=np.full(64, 0.1))["probabilities"].shape == (3, 64)
    with pytest.raises(ServiceError, match="link 99") as error:
        client.los(link=99)
    assert error.value.status == 404


def test_json_has_null_inside_buildings(http: Any) -> None:
    field = http.post("/likelihood", json={"link": 1, "step": 10}).json()
    values = [value for row in field["log10"] for value in row]
    assert None in values
    assert max(value for value in values if value is not None) == 0


def test_metrics_count_and_logs_hold_no_payload(predictor: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(LOGGER).propagate = True
    app = create_app(predictor, warm=False)
    with TestClient(app) as http, caplog.at_level(logging.INFO, LOGGER):
        post(http, "/encode?secret=1", npy(CSI), NPY)
        number = http.post("/ask", json={"instruction": "my secret"}).headers["x-request-id"]
        http.get("/very/secret")
        text = http.get("/metrics").text
    assert 'uniair_requests_total{method="POST",route="/encode",status="422"} 1.0' in text
    assert 'uniair_requests_total{method="other",route="other",status="404"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    lines = [JsonLines().format(record) for record in caplog.records if record.name == LOGGER]
    assert len(lines) == 4
    assert "secret" not in "".join(lines)
    entry = json.loads(lines[1])
    assert entry["id"] == number
    assert (entry["route"], entry["status"]) == ("/ask", 200)


# limits, around an application that is slow, faulty or endless


@pytest.fixture
def calls() -> list[str]:
    return []


def guarded(calls: list[str], **limits: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append("began")
        try:
            if scope["path"] == "/fault":
                raise ZeroDivisionError("the inside of the server")
            if scope["path"] == "/slow":
                await asyncio.sleep(0.3)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            calls.append("answered")
        except asyncio.CancelledError:
            calls.append("dropped")
            raise

    return Guard(app, Limits(**limits), Metrics(), None, None)


async def ask(guard: Any, path: str, parts: list[bytes] | None = None, stays: float = 9.0) -> tuple[int, bytes]:
    """Status and body of one request, whose client leaves after a time; (0, b"") where it was not answered."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts or []]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    found: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(stays)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        found.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await guard(scope, receive, send)
    return (found[0]["status"], found[1]["body"]) if found else (0, b"")


def test_a_client_that_hangs_up_costs_no_more(calls: list[str]) -> None:
    assert asyncio.run(ask(guarded(calls), "/slow", stays=0.05)) == (0, b"")
    assert calls == ["began", "dropped"]


def test_too_slow_is_504(calls: list[str]) -> None:
    status, body = asyncio.run(ask(guarded(calls, seconds=0.05), "/slow"))
    assert status == 504
    assert b"no answer within 0.05 s" in body
    assert calls == ["began", "dropped"]


def test_a_fault_is_500_without_its_insides(calls: list[str], caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(LOGGER).propagate = True
    status, body = asyncio.run(ask(guarded(calls), "/fault"))
    assert status == 500
    assert b"inside" not in body
    assert "the inside of the server" in JsonLines().format(caplog.records[0])


def test_more_than_the_server_bears_is_503_at_once_and_it_recovers(calls: list[str]) -> None:
    async def main() -> list[int]:
        guard = guarded(calls, concurrency=3)
        crowd = await asyncio.gather(*(ask(guard, "/slow") for _ in range(5)))
        return [status for status, _ in (*crowd, await ask(guard, "/quick"))]

    assert sorted(asyncio.run(main())[:5]) == [200, 200, 200, 503, 503]
    assert calls.count("answered") == 4


def test_a_body_that_does_not_come_or_does_not_end(calls: list[str]) -> None:
    async def main() -> list[int]:
        guard = guarded(calls, body=1000, read=0.05)
        endless = await ask(guard, "/quick", [b"x" * 300] * 4)

        async def never() -> Any:
            await asyncio.sleep(9)

        found: list[Any] = []

        async def send(message: Any) -> None:
            found.append(message)

        await guard({"type": "http", "method": "POST", "path": "/quick", "headers": []}, never, send)
        return [endless[0], found[0]["status"]]

    assert asyncio.run(main()) == [413, 408]
    assert not calls


def test_the_app_sheds_when_the_queue_is_full(served_site: Any) -> None:
    app = create_app(Predictor(served_site, ByHeart()), Limits(queue=0), warm=False)  # type: ignore[arg-type]
    with TestClient(app) as http:
        answer = post(http, "/encode", npy(CSI), NPY)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        with pytest.raises(ServiceError) as error:
            Client(http=http).encode(CSI)
        assert error.value.retry_after == 1.0
