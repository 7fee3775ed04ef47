"""Feedback in bits and completed channels over HTTP: the library's answers, and one clear line for what can't be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.radio import OFDM, ULA, Radio
from uniair.serve.predictor import Predictor
from uniair.tasks.bit_code import BitString
from uniair.tasks.completion import complete
from uniair.tasks.path_code import PathCode

EXTRA = "the extra `serve` is missing: pip install 'uniair[serve]'"
client_of = pytest.importorskip("uniair.serve.client", reason=EXTRA)
pytest.importorskip("fastapi.testclient", reason=EXTRA)
Client, ServiceError = client_of.Client, client_of.ServiceError


@pytest.fixture
def client(http: Any) -> Any:
    return Client(http=http)


@pytest.fixture(scope="module")
def csi(predictor: Predictor) -> np.ndarray[Any, np.dtype[np.complex64]]:
    return batch_of(predictor.station_links(0).links).csi[:3].numpy()


def sent_by(predictor: Predictor, csi: Any, length: int, steps: int = 0) -> BitString:
    return predictor.codes.of(0).encode(csi, length, steps)


@pytest.mark.parametrize(("length", "steps"), [(24, 0), (75, 0), (96, 2)])
def test_bits_are_the_librarys_and_come_back_as_channels(
    client: Any, predictor: Predictor, csi: Any, length: int, steps: int
) -> None:
    sent, code = client.feedback_encode(csi, length, steps), predictor.codes.of(0)
    wanted = sent_by(predictor, csi, length, steps)
    assert sent == {
        "bits": [row.tobytes().hex() for row in np.packbits(wanted.bits.numpy(), axis=1)],
        "length": length, "code": code.code.digest,
    }  # fmt: skip
    assert client.remarks == predictor.remarks(Radio())
    found = client.feedback_decode(**sent)
    np.testing.assert_allclose(found, code.decode(wanted), atol=1e-4)
    one = client.feedback_encode(link=0, length=length, search=steps)
    assert one["bits"] == sent["bits"][:1]
    np.testing.assert_allclose(client.feedback_decode(one["bits"][0], length, one["code"]), found[:1], atol=1e-4)


def test_bits_are_decoded_beside_the_place_and_for_another_radio(client: Any, predictor: Predictor, csi: Any) -> None:
    sent, code = client.feedback_encode(csi, 48), predictor.codes.of(0)
    ue = predictor.station_links(0).links.ue[:3]
    env = predictor.views[0].environment(ue)
    wanted = sent_by(predictor, csi, 48)
    for known, given, place in (("map", {}, env.without("ue")), ("map and position", {"ue": ue}, env)):
        z = predictor.model.encode_environment(place)
        np.testing.assert_allclose(
            client.feedback_decode(**sent, beside=known, **given), code.decode(wanted, None, known, z), atol=1e-4
        )
    wide = Radio(ULA(64), OFDM(32, 720e3))
    found = client.feedback_decode(**sent, radio=wide)
    assert found.shape == (3, 64, 32)
    np.testing.assert_allclose(found, code.decode(wanted, wide), atol=1e-4)
    assert any("converted" in remark for remark in client.remarks)


def test_paths_are_fed_back_by_any_radio_and_to_any_station(client: Any, predictor: Predictor, csi: Any) -> None:
    code = PathCode(Radio())
    wanted = code.encode(predictor.model, torch.from_numpy(csi), 64)
    for station in (0, 1):  # which has no code
        sent = client.feedback_encode(csi, 64, paths=True, station=station)
        assert sent["code"] == code.digest
        assert sent["bits"] == [row.tobytes().hex() for row in np.packbits(wanted.bits.numpy(), axis=1)]
        found = client.feedback_decode(**sent, station=station)
        np.testing.assert_allclose(found, code.decode(wanted), atol=1e-4)
    wide = Radio(ULA(64), OFDM(32, 720e3))
    np.testing.assert_allclose(client.feedback_decode(**sent, radio=wide), code.decode(wanted, wide), atol=1e-4)
    few = Radio(ULA(8), OFDM(24, 720e3))
    sent = client.feedback_encode(csi[:, :8, :24], 40, paths=True, radio=few)
    assert sent["code"] == PathCode(few).digest
    assert client.feedback_decode(**sent, radio=few).shape == (3, 8, 24)
    for ask, says in (
        (lambda: client.feedback_encode(csi, paths=True, search=3), "a code of paths has none"),
        (lambda: client.feedback_encode(csi, 23, paths=True), "length"),
        (lambda: client.feedback_decode(**sent), "both ends need the same weights"),
        (lambda: client.feedback_decode(**sent, radio=few, beside="map"), "read without the place"),
        (lambda: client.feedback_decode(["000000"], 8, sent["code"], radio=few), "length"),
    ):
        with pytest.raises(ServiceError, match=says) as error:
            ask()
        assert error.value.status == 422


@pytest.mark.parametrize("snr", [None, 20.0])
def test_channels_are_completed_as_by_the_library(
    client: Any, predictor: Predictor, csi: Any, snr: float | None
) -> None:
    known = np.zeros((32, 64), dtype=bool)
    known[:, ::4] = True
    found = client.complete(csi, known, snr)
    wanted = complete(predictor.model, torch.from_numpy(csi), Radio(), known=known, snr=snr)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * float(wanted.abs().max()))


def test_channels_come_as_json_and_npy(http: Any, predictor: Predictor, csi: Any) -> None:
    body = {"bits": ["00" * 6], "length": 48, "code": predictor.codes.of(0).code.digest}
    plain = http.post("/feedback/decode", json=body).json()
    array = np.load(
        io.BytesIO(http.post("/feedback/decode", json=body, headers={"accept": "application/x-npy"}).content)
    )
    assert array.dtype == np.complex64
    np.testing.assert_allclose(np.array(plain["csi"]["real"]) + 1j * np.array(plain["csi"]["imag"]), array, atol=1e-5)
    file = io.BytesIO()
    np.save(file, csi)
    asked = http.post(
        "/feedback/encode?length=64", content=file.getvalue(), headers={"content-type": "application/x-npy"}
    )
    assert asked.json()["length"] == 64
    assert len(asked.json()["bits"]) == 3


def test_what_can_not_be_is_422_in_one_line(http: Any, predictor: Predictor, csi: Any) -> None:
    plain = {"real": csi[0].real.tolist(), "imag": csi[0].imag.tolist()}
    other = {"real": csi[0, :16].real.tolist(), "imag": csi[0, :16].imag.tolist()}
    message = {"bits": ["00" * 6], "length": 48, "code": predictor.codes.of(0).code.digest}
    rows = [[False] * 64] * 32
    for path, body, says in (
        ("/feedback/encode", {"csi": plain, "length": 23}, "length"),
        (
            "/feedback/encode",
            {"csi": other, "radio": {"array": {"kind": "ula", "antennas": 16}}},
            "what differs: array",
        ),
        ("/feedback/encode", {}, "csi is missing"),
        ("/feedback/decode", message | {"code": "0" * 16}, "both ends need the same weights"),
        ("/feedback/decode", message | {"length": 96}, "not as long as the 96 bits"),
        ("/feedback/decode", message | {"bits": ["00" * 6, "00" * 7]}, "not as long"),
        ("/feedback/decode", message | {"bits": "xy" * 6}, "bits"),
        ("/feedback/decode", message | {"radio": {"carrier": 3.5e9}}, "can't be written for 3.5 GHz"),
        ("/feedback/decode", message | {"beside": "map and position"}, "needed there"),
        ("/feedback/decode", message | {"beside": "map", "ue": [1, 1, 1.5]}, "positions are read with"),
        ("/feedback/decode", {**message, "bits": "00" * 8, "length": 64, "beside": "map"}, "learned are 48, 96"),
        ("/complete", {"csi": plain, "known": rows}, "no known entry"),
        ("/complete", {"csi": plain, "known": rows[:3]}, "expected bool"),
        ("/complete", {"csi": plain, "known": [*rows[:-1], [True]]}, "rows differ in length"),
        ("/complete", {"csi": plain, "known": [[True] * 64] * 32, "snr": [1.0, 2.0]}, "snr has shape"),
        ("/complete", {"csi": plain}, "known"),
    ):
        answer = http.post(path, json=body)
        assert answer.status_code == 422, (path, says, answer.text)
        assert says in answer.json()["detail"]
        assert "\n" not in answer.json()["detail"]


def test_a_station_without_a_code_and_too_much_at_once(http: Any, csi: Any) -> None:
    answer = http.post("/feedback/encode", json={"station": "bs1", "link": 0})
    assert answer.status_code == 404
    assert "uniair adapt SITE --task feedback" in answer.json()["detail"]
    client = Client(http=http)
    for ask in (
        lambda: client.feedback_encode(np.tile(csi, (20, 1, 1)), search=200),
        lambda: client.complete(np.tile(csi, (30, 1, 1)), np.ones((32, 64), dtype=bool)),
        lambda: client.feedback_decode(["00" * 6] * 101, 48, "0" * 16),
    ):
        with pytest.raises(ServiceError) as error:
            ask()
        assert error.value.status == 413


def test_a_common_code_serves_stations_without_their_own(served_site: Any, tmp_path: Path) -> None:
    own = served_site.feedback(0)
    both = Predictor(served_site, feedback=own)
    assert both.codes.of(1).code.digest == both.codes.of(0).code.digest
    with pytest.raises(InputError, match="truncated or not a safetensors file"):
        Predictor(served_site, feedback=tmp_path / "absent.safetensors")
