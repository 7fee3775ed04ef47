"""CSI of any radio in requests, sites of any radio, and what a hostile stream of radios may cost."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.serve.conftest import ByHeart
from tests.site.make import make_site

from uniair.angle_delay import filters
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.learned import Learned
from uniair.radio import OFDM, ULA, UPA, Array, Radio, Subcarriers
from uniair.serve.predictor import Predictor
from uniair.tasks import zero_shot

EXTRA = "the extra `serve` is missing: pip install 'uniair[serve]'"
msgpack, testclient = (pytest.importorskip(name, reason=EXTRA) for name in ("msgpack", "fastapi.testclient"))
pytest.importorskip("prometheus_client", reason=EXTRA)
app_of, client_of, limits_of, radios = (
    pytest.importorskip(f"uniair.serve.{name}", reason=EXTRA) for name in ("app", "client", "limits", "radio_limits")
)
Client, ServiceError, RadioOf = client_of.Client, client_of.ServiceError, radios.RadioOf
JSON, NPY, MSGPACK = "application/json", "application/x-npy", "application/msgpack"
RADIOS = {
    "ULA of 16": Radio(ULA(16), OFDM(128, 240e3)),
    "UPA": Radio(UPA(4, 8)),
    "spacing": Radio(ULA(32, 0.7)),
    "tones": Radio(ULA(24), Subcarriers(720e3 * np.arange(0, 64, 2))),
    "beams": Radio(ULA(32, codebook=ULA(32).dft_codebook()[::2].numpy())),
    "anywhere": Radio(Array([[0.4 * n + 0.02 * n * n, 0, 0] for n in range(12)])),
}


def channels(predictor: Predictor, radio: Radio, count: int = 3, station: int = 0) -> torch.Tensor:
    """CSI of a station's links as another radio sees them."""
    return batch_of(predictor.station_links(station).links, radio).csi[:count]


def post(http: Any, path: str, **fields: Any) -> Any:
    """A request in msgpack, answered in JSON."""
    if "csi" in fields:
        csi = fields["csi"].numpy()
        fields["csi"] = {"shape": csi.shape, "dtype": csi.dtype.name, "data": csi.tobytes()}
    return http.post(path, content=msgpack.packb(fields), headers={"content-type": MSGPACK, "accept": JSON})


@pytest.mark.parametrize("radio", RADIOS.values(), ids=RADIOS)
def test_csi_of_any_radio_in_any_form(radio: Radio, http: Any, predictor: Predictor) -> None:
    csi, model = channels(predictor, radio), predictor.model
    want = model.encode_channel(csi, radio).numpy()
    file, parts = io.BytesIO(), {"real": csi.real.tolist(), "imag": csi.imag.tolist()}
    np.save(file, csi.numpy())
    bodies = (
        (JSON, json.dumps({"csi": parts, "radio": radio.to_json()}), {}),
        (NPY, file.getvalue(), {"radio": json.dumps(radio.to_json())}),
    )
    answers = [http.post("/encode", content=body, params=query, headers={"content-type": kind}).json()
               for kind, body, query in bodies]  # fmt: skip
    answers.append(post(http, "/encode", csi=csi, radio=radio.to_json()).json())
    for answer in answers:
        np.testing.assert_allclose(answer["embedding"], want, atol=2e-4)
        assert answer["radio"] == str(radio)
        assert answer["remarks"] == list(model.remarks(radio))
    found = Client(http=http, radio=radio)
    np.testing.assert_allclose(found.encode(csi), want, atol=2e-4)
    assert found.remarks == list(model.remarks(radio)) != []
    np.testing.assert_allclose(Client(http=http).encode(csi, radio=radio), want, atol=2e-4)
    assert found.los(link=1).shape == (1,), "a link has the site's radio"


def test_without_a_radio_it_is_the_sites(http: Any, predictor: Predictor) -> None:
    own = post(http, "/encode", csi=channels(predictor, Radio())).json()
    assert (own["radio"], own["remarks"]) == (str(Radio()), [])
    for path in ("/encode", "/los", "/position", "/likelihood"):
        refused = post(http, path, csi=channels(predictor, RADIOS["ULA of 16"], 1))
        assert refused.status_code == 422
        assert (
            "csi: shape [1, 16, 128]; the site's radio has complex [N, 32, 64]: ULA of 32" in refused.json()["detail"]
        )
    refused = post(http, "/encode", csi=channels(predictor, Radio(), 2), radio=RADIOS["UPA"].to_json() | {"grid": {
        "kind": "ofdm", "subcarriers": 128}})  # fmt: skip
    assert (refused.status_code, "[2, 32, 64]; this radio has complex [N, 32, 128]" in refused.text) == (422, True)
    for fields in ({"link": 1}, {"ue": [75.0, 40.0, 1.5]}):
        refused = post(http, "/beam", radio=Radio().to_json(), **fields)
        assert (refused.status_code, "give csi too" in refused.text) == (400, True)


# the assistant warns who asks it; `uniair serve` leaves that to the remarks
@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")
def test_heads_say_what_differs_and_beams_are_of_one_array(http: Any, predictor: Predictor) -> None:
    radio = RADIOS["ULA of 16"]
    csi = channels(predictor, radio)
    said = post(http, "/position", csi=csi, radio=radio.to_json()).json()
    assert len(said["answers"]) == 3
    assert said["remarks"][-1] == f"the position head learned on {Radio()}; what differs: array, grid"
    asked = post(http, "/ask", csi=csi, radio=radio.to_json(), instruction="Where is this user?").json()
    assert asked["remarks"] == said["remarks"]
    for path in ("/beam", "/precoding"):
        refused = post(http, path, csi=csi, radio=radio.to_json())
        assert refused.status_code == 400
        assert (
            f"head learned on {Radio()}; this CSI are of {radio}; what differs: array, grid" in refused.json()["detail"]
        )
    wider = Radio(grid=OFDM(128, 360e3))
    said = post(http, "/beam", csi=channels(predictor, wider), radio=wider.to_json()).json()
    assert said["remarks"][-1].endswith("what differs: grid")
    assert post(http, "/path_loss", ue=[75.0, 40.0, 1.5]).json()["remarks"] == []


def test_power_that_nothing_learned_from(http: Any, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Learned((1, 71), (1, 100), (1, 400), (3, 40), (1.5, 30), (50, 600), loss=(5.0, 1e7))
    monkeypatch.setattr(predictor.model, "learned", known)
    radio = Radio(calibrated=True)
    csi, place = channels(predictor, radio), [75.0, 40.0, 1.5]
    for path, fields in (("/los", {"ue": place}), ("/rank", {"ue": [place, place]}), ("/beam", {}), ("/encode", {})):
        said = [post(http, path, csi=one, radio=radio.to_json(), **fields).json() for one in (csi, csi * 1e-7)]
        usual, weak = ([line for line in one["remarks"] if "of free space" in line] for one in said)
        assert usual == []
        assert weak[0].startswith("extrapolated: 3 of 3 channels are as weak as over")
        assert [one["within"]["radio"] for one in said] == ["in range", "extrapolated"]


@pytest.mark.parametrize("searched", [False, True], ids=["told", "searched for"])
@pytest.mark.parametrize("radio", [Radio(clock="first_path"), Radio(ULA(16), clock="first_path")], ids=str)
def test_a_clock_at_the_first_path(
    radio: Radio, searched: bool, http: Any, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if searched:  # as by weights that know no other clock
        monkeypatch.setattr(zero_shot, "searched", lambda model, radio: radio.clock == "first_path")
    model, links = predictor.model, predictor.station_links(1).links
    csi, ue = channels(predictor, radio, 4, station=1), links.ue[:4]
    env = predictor.views[1].environment(ue)
    given = {"csi": csi, "radio": radio.to_json(), "station": 1}
    los = post(http, "/los", ue=ue.tolist(), **given).json()
    np.testing.assert_allclose(los["probability_of_los"], zero_shot.los(model, csi, env, radio), atol=2e-3)
    assert any("clock" in remark for remark in los["remarks"])
    blind = post(http, "/los", **given).json()["probability_of_los"]
    np.testing.assert_allclose(blind, zero_shot.los(model, csi, env.without("ue"), radio), atol=2e-3)
    rank = post(http, "/rank", ue=ue.tolist(), **given).json()["probability"]
    np.testing.assert_allclose(rank, zero_shot.rank(model, csi, env, radio), atol=2e-3)
    field = post(http, "/likelihood", step=15.0, **(given | {"csi": csi[:1]})).json()
    assert max(v for row in field["log10"] for v in row if v is not None) == 0
    many = [[float(x), 5.0, 1.5] for x in np.linspace(5, 145, 60)]
    refused = post(http, "/rank", ue=many, **(given | {"csi": channels(predictor, radio, 60, station=1)}))
    assert (refused.status_code, "whose clock is searched for" in refused.text) == (413 if searched else 200, searched)


def test_the_power_of_calibrated_gains_counts(http: Any, predictor: Predictor) -> None:
    radio = Radio(calibrated=True)
    csi, ue = channels(predictor, radio, 5), predictor.station_links(0).links.ue[:5]
    found = post(http, "/los", csi=csi, ue=ue.tolist(), radio=radio.to_json()).json()["probability_of_los"]
    env = predictor.views[0].environment(ue)
    np.testing.assert_allclose(found, zero_shot.los(predictor.model, csi, env, radio), atol=2e-3)
    weaker = post(http, "/los", csi=1e-3 * csi, ue=ue.tolist(), radio=radio.to_json()).json()["probability_of_los"]
    np.testing.assert_allclose(weaker, zero_shot.los(predictor.model, 1e-3 * csi, env, radio), atol=2e-3)
    assert np.mean(weaker) < np.mean(found) - 0.05


@pytest.mark.parametrize(
    ("radio", "status", "says"),
    [
        ({"array": {"kind": "ula", "antennas": 10**9}}, 422, "radio.array.ula.antennas"),
        ({"array": {"kind": "upa", "rows": 1000, "columns": 1000}}, 400, "1000 × 1000 antennas; 1024 or fewer"),
        ({"array": {"kind": "upa", "rows": 1000, "columns": 1}}, 400, "wavelengths high"),
        ({"array": {"kind": "upa", "rows": 4, "columns": 2, "vertical": 99}}, 400, "297 wavelengths high; 16 or less"),
        ({"array": {"kind": "upa", "rows": 8, "columns": 1}}, 422, "radio has complex [N, 8, 64]"),
        ({"array": {"kind": "array", "positions": [[0, 0, 1e9], [1, 0, 0]]}}, 422, "radio.array.array.positions"),
        ({"array": {"kind": "ring"}}, 422, "radio.array"),
        ({"array": {"kind": "ula", "antennas": 300, "codebook": [[[1, 0]] * 300] * 300}}, 400, "over 65,536 weights"),
        ({"array": {"kind": "ula", "antennas": 3, "codebook": [[[1, 0]]]}}, 400, "the codebook has shape (1, 1)"),
        ({"grid": {"kind": "ofdm", "subcarriers": 10**6}}, 422, "radio.grid.ofdm.subcarriers"),
        ({"grid": {"kind": "subcarriers", "tones": [3.0, 1.0]}}, 400, "out of order"),
        ({"grid": {"kind": "subcarriers", "tones": list(range(5000))}}, 422, "radio.grid.subcarriers.tones"),
        ({"carrier": 0}, 422, "radio.carrier"),
        ({"clock": "mine"}, 422, "radio.clock"),
        ({"format": "uniair-radio/9"}, 400, "update uniair"),
        ({"colour": 1}, 422, "radio.colour"),
        (7, 422, "radio"),
    ],
)
def test_radios_in_requests_are_bounded_and_refused_in_one_line(
    radio: Any, status: int, says: str, http: Any, predictor: Predictor
) -> None:
    began = time.perf_counter()
    answer = post(http, "/encode", csi=channels(predictor, Radio(), 1), radio=radio)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]
    assert time.perf_counter() - began < 2


def test_an_array_that_tells_no_direction_is_refused_beside_others(http: Any, predictor: Predictor) -> None:
    tower = Radio(Array([[0, 0, 0.5 * n] for n in range(8)]))
    refused = post(http, "/encode", csi=channels(predictor, tower, 1), radio=tower.to_json())
    assert (refused.status_code, "no extent along x" in refused.text) == (400, True)


def test_what_takes_too_long_is_refused(predictor: Predictor) -> None:
    large = Radio(UPA(32, 32), OFDM(4096, 15e3))
    assert radios.work(Radio()) == 2048
    assert radios.work(large) > radios.WORK
    app = app_of.create_app(predictor, limits_of.Limits(body=40_000_000), warm=False)
    with testclient.TestClient(app) as http:
        csi = torch.ones(1, *large.shape, dtype=torch.complex64)
        answer = post(http, "/encode", csi=csi, radio=large.to_json())
    assert (answer.status_code, "send 0 or fewer" in answer.text) == (413, True)


def test_ever_new_radios_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    room = radios.Room(32)
    filters.cache_clear()
    monkeypatch.setattr(radios, "ROOM", 2**24)
    for number in range(100):
        radio = Radio(ULA(512), OFDM(64, 720e3 + number))
        room.note(radio)
        filters(radio, 32, 64)
        assert filters.cache_info().currsize * 8 * 32 * 512 <= 2**24
    for number in range(200):
        room.note(Radio(ULA(2), OFDM(2, 1e3 + number)))
        assert len(room._taken) <= radios.MOST
    filters.cache_clear()


def test_the_schema_shows_a_radio(http: Any) -> None:
    described = http.get("/openapi.json").json()
    model = described["components"]["schemas"]["RadioOf"]
    assert RadioOf.model_validate(model["example"]).checked() == Radio(ULA(16), OFDM(128, 240e3))
    query = {one["name"]: one for one in described["paths"]["/encode"]["post"]["parameters"]}
    assert query["radio"]["schema"]["type"] == "string"
    assert RadioOf.model_validate(Radio(clock="first_path", calibrated=True).to_json()).checked() == Radio(
        clock="first_path", calibrated=True
    )
    with pytest.raises(InputError, match="update uniair"):
        RadioOf(format="uniair-radio/9").checked()
    macro = Radio(UPA(2, 4, polarisation="slanted"), OFDM(24), clock="first_path", ue=ULA(2, polarisation="dual"))
    assert RadioOf.model_validate(macro.to_json()).checked() == macro
    assert radios.work(macro) == 4 * radios.work(replace(macro, ue=ULA(1)))
    with pytest.raises(InputError, match="1024 or fewer"):
        RadioOf.model_validate({"ue": {"kind": "upa", "rows": 64, "columns": 64}}).checked()


@pytest.fixture(scope="module")
def midband(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A site with a planar array at 3.5 GHz, and what asks it."""
    radio = Radio(UPA(4, 8), OFDM(48, 480e3), carrier=3.5e9)
    predictor = Predictor(
        make_site(tmp_path_factory.mktemp("midband") / "site", radio=radio),
        ByHeart(),  # type: ignore[arg-type]
    )
    with testclient.TestClient(app_of.create_app(predictor, warm=False)) as http:
        yield predictor, http


@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")
def test_a_site_of_its_own_radio_says_so(midband: Any) -> None:
    predictor, http = midband
    radio = predictor.site.radio
    site = http.get("/site").json()
    assert Radio.from_json(site["radio"]) == radio
    assert site["radio_text"] == str(radio)
    assert site["remarks"] == list(predictor.model.remarks(radio))
    assert site["remarks"][0].startswith("converted: array and grid of UPA of 4 × 8")
    assert site["tasks"]["beam"]["about"] == "best of 32 DFT beams"
    links = batch_of(predictor.station_links(1).links)
    assert links.csi.shape[1:] == (32, 48)
    said = http.post("/beam", json={"station": 1, "link": 2}).json()
    assert said["remarks"] == site["remarks"]
    (record,) = said["answers"]
    assert len(record["probabilities"]) == 32
    along, up = radio.array.beam_cosines()[record["beam"]]
    assert record["direction_cosine"] == pytest.approx(along)
    assert record["direction_cosine_up"] == pytest.approx(up)
    assert len(http.post("/precoding", json={"link": 2}).json()["answers"][0]["weights_real"]) == 32
    for path in ("/los", "/likelihood", "/position"):
        answer = post(http, path, csi=links.csi[:1], station=1)
        assert answer.status_code == 200, answer.text
        assert answer.json()["remarks"] == site["remarks"]
    other = post(http, "/los", csi=torch.ones(1, 32, 64, dtype=torch.complex64), radio=Radio().to_json()).json()
    assert (other["radio"], other["remarks"]) == (str(Radio()), [])
    head = post(http, "/los", csi=torch.ones(1, 32, 64, dtype=torch.complex64))
    assert head.status_code == 422
    assert np.array(http.get("/site/links/1/3").json()["csi_db"]).shape == (32, 64)


@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")
def test_a_head_of_another_radio_than_the_csi_is_said(midband: Any) -> None:
    predictor, http = midband
    said = post(http, "/position", csi=torch.ones(1, 32, 64, dtype=torch.complex64), radio=Radio().to_json()).json()
    assert said["remarks"] == [
        f"the position head learned on {predictor.site.radio}; what differs: array, grid, carrier"
    ]


def test_served_sites_keep_their_folder(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", stations=1, radio=Radio(ULA(16)))
    assert Predictor(site).csi(0, 1).shape == (1, 16, 64)


def test_several_antennas_at_the_user_are_taken(http: Any) -> None:
    """A user's antennas have an axis of their own; the strongest is heard."""
    one = Radio(ULA(8), OFDM(24, 360e3))
    radio = replace(one, ue=ULA(3)).to_json()
    csi = torch.randn(2, 3, 8, 24, dtype=torch.complex128, generator=torch.Generator().manual_seed(5))
    csi[:, 1] *= 3
    several = post(http, "/encode", csi=csi, radio=radio)
    alone = post(http, "/encode", csi=csi[:, 1].contiguous(), radio=one.to_json())
    assert several.status_code == 200, several.text
    parts = {"real": csi.real.tolist(), "imag": csi.imag.tolist()}
    plain = http.post("/encode", json={"csi": parts, "radio": radio})
    for answer in (several, plain):
        assert np.allclose(answer.json()["embedding"], alone.json()["embedding"], atol=1e-5)
    wrong = post(http, "/encode", csi=csi[:, :2].contiguous(), radio=radio)
    assert wrong.status_code == 422
    assert "complex [N, 3, 8, 24]" in wrong.text
