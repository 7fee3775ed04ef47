from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import uniair
from tests.edge.test_graphs import any_radio, forecaster, measured
from tests.site.make import make_site
from uniair import environment
from uniair.angle_delay import arrival, filters
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.edge import export
from uniair.edge.export import Package
from uniair.edge.receiver import Receiver
from uniair.edge.runner import Runner, View, heights
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.radio import OFDM, ULA, UPA, Antennas, Radio, Subcarriers
from uniair.serve.stream import Stream
from uniair.site.frame import view
from uniair.site.site import Site
from uniair.tasks import zero_shot
from uniair.training.heads import load_head

RUNNER_FILES = ("__init__.py", "candidate_paths.py", "rays.py", "receiver.py", "runner.py")
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "uniair", "scipy", "onnx", "safetensors"):
            raise ImportError(f"{name} is not on this device")
sys.meta_path.insert(0, Blocked())
import numpy as np
from uniair_edge import Runner
runner, given = Runner("."), np.load(sys.argv[1])
csi, ue = given["csi"], given["ue"]
stream = runner.stream()
beams = [stream.push({"power": power}).probability for power in given["power"]]
np.savez(sys.argv[2], z=runner.encode(csi), los=runner.los(csi, 1, ue), rank=runner.rank(csi, 1, ue),
         position=runner.position(csi, 1), beam=runner.beam(1, ue=ue), path_loss=runner.path_loss(ue, 1),
         precoding=runner.precoding(csi, 1), again=runner.reconstruct(runner.encode(csi)), beams=np.stack(beams))
assert not {"torch", "uniair"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("made") / "site")


@pytest.fixture(scope="module")
def package(site: Site) -> Path:
    folder = site.folder.parent / "edge"
    card = Package.of(site, forecaster("power", "beam", "position"), int8=True).write(folder)
    assert max(card["parity"]["largest"].values()) <= 1e-4
    assert {"cfenn", "epnn", "crnn", "beam-channel-bs1", "forecaster, step by step"} <= set(card["parity"]["largest"])
    return folder


def test_answers_without_torch_are_those_of_the_site(site: Site, package: Path, tmp_path: Path) -> None:
    links = site.links[site.links.areas.index("town/bs1")]
    links = links.select(np.arange(12))
    csi = batch_of(links).csi
    power = measured(1, 8)["power"][0]
    np.savez(tmp_path / "given.npz", csi=csi.numpy(), ue=links.ue, power=power.numpy())
    script = [sys.executable, "-c", BLOCKED, str(tmp_path / "given.npz"), str(tmp_path / "said.npz")]
    subprocess.run(script, cwd=package, check=True, timeout=60)
    said = np.load(tmp_path / "said.npz")

    model, env = uniair.load("small"), view(site, 1).environment(links.ue)  # an array at 30°
    z = model.encode_channel(csi)
    np.testing.assert_allclose(said["z"], z, atol=1e-5)
    np.testing.assert_allclose(said["again"], model.reconstruct_channel(z), atol=1e-3)
    np.testing.assert_allclose(said["los"], zero_shot.los(model, csi, env), atol=1e-3)
    np.testing.assert_allclose(said["rank"], zero_shot.rank(model, csi, env), atol=1e-3)

    def head(task: str, inputs: str) -> torch.Tensor:
        embedding = z if inputs == "channel" else model.encode_environment(env)
        with torch.no_grad():
            return load_head(site.head(task, inputs, 1), model, task)[0](embedding.clone())

    np.testing.assert_allclose(said["beam"], head("beam", "environment").softmax(1), atol=1e-4)
    np.testing.assert_allclose(said["path_loss"], head("path_loss", "environment")[:, 0], rtol=1e-4)
    real, imaginary = head("precoding", "channel").chunk(2, dim=1)
    weights = torch.nn.functional.normalize(torch.complex(real, imaginary), dim=1)
    np.testing.assert_allclose(said["precoding"], weights, atol=1e-4)
    # the head speaks in the array's frame, the site's corner is another
    turned = head("position", "channel").numpy().astype(float)
    middle, c, s = float(env.size[0]) / 2, np.cos(np.pi / 6), np.sin(np.pi / 6)
    x, y = (turned - middle).T
    np.testing.assert_allclose(said["position"], np.column_stack([c * x - s * y, s * x + c * y]) + 75, atol=0.01)
    stream = Stream(forecaster("power", "beam", "position"))
    expected = [stream.push({"power": one}).probability for one in power.numpy()]
    np.testing.assert_allclose(said["beams"], np.stack(expected), atol=1e-4)


def test_int8_is_smaller_and_near(package: Path) -> None:
    card = json.loads((package / "card.json").read_text(encoding="utf-8"))
    assert all(card["megabytes"][f"int8/{n}.onnx"] < card["megabytes"][f"{n}.onnx"] for n in ("cfenn", "epnn", "crnn"))
    csi = torch.randn(8, 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)).numpy()
    exact, rough = (Runner(package, int8=models).encode(csi) for models in ((), ("cfenn",)))
    assert np.abs(exact - rough).max() > 1e-4
    assert (exact * rough).sum(1).min() > 0.98


@pytest.mark.parametrize("int8", [(), ("cfenn", "epnn", "crnn")])
def test_an_answer_is_its_own_whoever_is_asked_with_it(package: Path, int8: tuple[str, ...]) -> None:
    runner, rng = Runner(package, int8=int8), np.random.default_rng(0)
    csi = (rng.normal(size=(9, 32, 64)) + 1j * rng.normal(size=(9, 32, 64))).astype(np.complex64)
    csi[4] = 1  # another kind of channel, with much larger activations
    ue = np.column_stack([rng.uniform(1, 149, (9, 2)), np.full(9, 1.5)])
    z, view = runner.encode(csi), runner.views[0]
    whole = z, runner.reconstruct(z), runner.embed(view, 9, ue)
    for size in (1, 2, 4):
        parts = [slice(i, i + size) for i in range(0, 9, size)]
        alone = (
            [runner.encode(csi[p]) for p in parts], [runner.reconstruct(z[p]) for p in parts],
            [runner.embed(view, len(ue[p]), ue[p]) for p in parts],
        )  # fmt: skip
        for one, several in zip(whole, alone, strict=True):
            np.testing.assert_allclose(np.concatenate(several), one, atol=1e-5)


def test_what_does_not_fit_together_is_refused(package: Path) -> None:
    runner, rng = Runner(package), np.random.default_rng(0)
    csi = rng.standard_normal((2, 32, 64)) + 1j * rng.standard_normal((2, 32, 64))
    ue = np.array([[20.0, 30.0, 1.5]])
    for users in (ue, np.repeat(ue, 6, axis=0)):
        with pytest.raises(ValueError, match=f"ue of {len(users)} for 2: give one for each"):
            runner.los(csi, 0, users)
    with pytest.raises(ValueError, match="los of 3 for 1"):
        runner.embed(runner.views[0], 1, ue, np.ones(3))
    with pytest.raises(ValueError, match="embedding of shape"):
        runner.reconstruct(np.ones((2, 5), np.float32))
    with pytest.raises(ValueError, match="no cfen in 8 bits"):
        Runner(package, int8=("cfen",))
    for bs, size, says in (((np.nan, 1, 6), 100.0, "bs "), ((120, 1, 6), 100.0, "bs "), ((1, 1), 100.0, "bs "),
                           ((1, 1, 6), 0.0, "size 0")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            View(np.zeros((256, 256)), np.array(bs), size)


@pytest.mark.parametrize("int8", [(), ("cfenn", "epnn", "crnn")])
def test_nothing_asked_is_nothing_answered(package: Path, int8: tuple[str, ...]) -> None:
    runner, csi, ue = Runner(package, int8=int8), np.zeros((0, 32, 64), np.complex64), np.zeros((0, 3))
    some = np.ones((2, 32, 64), np.complex64)
    assert runner.encode(csi).shape == (0, 128)
    assert runner.reconstruct(np.zeros((0, 128))).shape == (0, 32, 64)
    assert runner.los(csi, 0).shape == runner.los(csi, 0, ue).shape == (0,)
    assert runner.rank(csi, 0, np.ones((3, 3))).shape == (0, 3)
    assert runner.rank(some, 0, ue).shape == (2, 0)
    assert runner.position(csi, 1).shape == (0, 2)
    assert runner.beam(1, csi).shape == runner.beam(1, ue=ue).shape == (0, 32)
    assert runner.path_loss(ue, 1).shape == (0,)
    assert runner.precoding(csi, 1).shape == (0, 32)


def test_stations_go_by_name_and_number(package: Path) -> None:
    runner, csi = Runner(package), np.ones((1, 32, 64), np.complex64)
    assert np.array_equal(runner.position(csi, "bs1"), runner.position(csi, 1))
    assert np.array_equal(runner.los(csi, "1"), runner.los(csi, np.int64(1)))
    for station in ("bs9", 9, -1):
        with pytest.raises(ValueError, match="the package has bs0, bs1"):
            runner.los(csi, station)


def test_another_map_is_believed(package: Path) -> None:
    runner = Runner(package)
    own = runner.views[0]
    ue = np.array([[40.0, 60.0, 1.5], [100.0, 40.0, 1.5]])
    empty = View(np.zeros((256, 256)), own.bs, float(own.size), own.side, own.bearing)
    place = Environment(
        map=np.zeros((1, 256, 256), np.uint8), bs=np.tile(own.bs, (2, 1)), ue=ue, size=np.full(2, 150.0)
    )
    expected = uniair.load("small").encode_environment(place.seen_by(Radio()))
    np.testing.assert_allclose(runner.embed(empty, 2, ue), expected, atol=1e-5)
    assert np.abs(runner.embed(own, 2, ue) - expected.numpy()).max() > 0.01


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda r: r.encode(np.zeros((1, 32, 64), np.complex64)), "all zero"),
        (lambda r: r.encode(np.ones((1, 32, 64))), "complex"),
        (lambda r: r.path_loss(np.array([[500.0, 10.0, 1.5]]), 0), "outside the site"),
        (lambda r: r.position(np.ones((1, 32, 64), np.complex64), 7), "station 7"),
        (lambda r: r.head("path_loss", 0, csi=np.ones((1, 32, 64), np.complex64)), "no head path_loss-channel-bs0"),
        (lambda r: r.stream().push({"power": np.ones(3)}), "16 linear powers"),
        (lambda r: r.stream().push({"camera": np.ones(3)}), "step with camera"),
        (lambda r: Runner(r.folder / "heads"), "no card.json"),
    ],
)
def test_runner_says_what_is_wrong(package: Path, ask: object, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        ask(Runner(package))  # type: ignore[operator]


def test_nothing_is_left_where_parity_fails(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    with pytest.raises(InputError, match="differs from torch"):
        Package(uniair.build("tiny"), "tiny").write(tmp_path / "edge")
    assert not any(tmp_path.iterdir())


def test_a_package_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    package = Package(uniair.build("tiny"), "tiny")
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "card.json").write_text('{"format": "uniair-edge/0"}', encoding="utf-8")
    (tmp_path / "edge" / "stale.onnx").touch()
    package.write(tmp_path / "edge")
    assert (tmp_path / "edge" / "cfenn.onnx").exists()
    assert not (tmp_path / "edge" / "stale.onnx").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="something other than an edge package"):
        package.write(tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"edge", "other"}


def test_weights_that_the_heads_did_not_learn_on(site: Site) -> None:
    with pytest.raises(InputError, match="other weights"):
        Package.of(replace(site, weights="0" * 16))


def test_heads_of_another_array_than_the_site_s(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"beam: head learned on ULA of 32, .*links of bs0 are of ULA of 17, "):
        Package.of(replace(site, radio=Radio(ULA(17)))).write(tmp_path / "edge")
    assert not list(tmp_path.iterdir())


def test_missing_onnx_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"pip install 'uniair\[serve\]'"):
        Package(uniair.build("tiny"), "tiny").write(tmp_path / "edge")


def test_a_site_of_measurements_alone_is_compared_on_packaged_channels(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", stations=1)
    shutil.rmtree(site.folder / "links")
    card = Package.of(Site.read(site.folder)).write(tmp_path / "edge")
    assert max(card["parity"]["largest"].values()) < card["parity"]["tolerance"]


RADIOS = {
    "ULA of 16": Radio(ULA(16)),
    "UPA at 3.5 GHz": Radio(UPA(4, 8), carrier=3.5e9),
    "OFDM": Radio(grid=OFDM(128, 240e3)),
    "first path": Radio(ULA(32), clock="first_path"),
    "first path, tones": Radio(ULA(16), Subcarriers(720e3 * np.arange(0, 64, 2)), clock="first_path", calibrated=True),
    "calibrated": Radio(ULA(16), calibrated=True),
}


@pytest.mark.filterwarnings("ignore::uniair.models.universal.RadioWarning")
@pytest.mark.parametrize("radio", RADIOS.values(), ids=RADIOS)
def test_a_package_of_any_radio_answers_as_torch_does(radio: Radio, tmp_path: Path) -> None:
    site, model = make_site(tmp_path / "site", radio=radio), uniair.load("small")
    card = Package.of(site).write(tmp_path / "edge")
    assert max(card["parity"]["largest"].values()) <= card["parity"]["tolerance"]
    assert (Radio.from_json(card["radio"]), card["csi"]) == (radio, list(radio.shape))
    assert (card["radio_text"], card["remarks"]) == (str(radio), list(model.remarks(radio)))
    assert set(RUNNER_FILES) <= {path.name for path in (tmp_path / "edge/uniair_edge").iterdir()}
    runner, links = Runner(tmp_path / "edge"), site.links[1].select(np.arange(8))
    batch, env = batch_of(links), view(site, 1).environment(links.ue)
    z = model.encode_channel(batch.csi, radio)
    csi = batch.csi.numpy()
    np.testing.assert_allclose(runner.encode(csi), z, atol=1e-4)
    whole = model.reconstruct_channel(z, radio)
    np.testing.assert_allclose(runner.reconstruct(z.numpy()), whole, atol=1e-4 * float(whole.abs().max()))
    np.testing.assert_allclose(runner.los(csi, 1, links.ue), zero_shot.los(model, batch.csi, env, radio), atol=1e-3)
    blind = zero_shot.los(model, batch.csi, env.without("ue"), radio)
    np.testing.assert_allclose(runner.los(csi, 1), blind, atol=1e-3)
    np.testing.assert_allclose(runner.rank(csi, 1, links.ue), zero_shot.rank(model, batch.csi, env, radio), atol=1e-3)
    assert runner.beam(1, csi).shape == (8, radio.array.ports)
    assert runner.precoding(csi, 1).shape == (8, radio.array.ports)
    other = np.ones((1, 33, 64), np.complex64)
    with pytest.raises(ValueError, match=re.escape(f"give complex [N, {radio.shape[0]}, {radio.shape[1]}] of {radio}")):
        runner.encode(other)


def test_a_package_of_the_first_version_is_refused(tmp_path: Path) -> None:
    card = Package(uniair.build("tiny"), "tiny").write(tmp_path / "edge")
    (tmp_path / "edge/card.json").write_text(json.dumps(card | {"format": "uniair-edge/1"}))
    with pytest.raises(ValueError, match=r"uniair-edge/1.*export again"):
        Runner(tmp_path / "edge")


def cards(radio: Radio) -> dict[str, Any]:
    """What a package's card says of its radio."""
    return {"radio": radio.to_json(), "csi": list(radio.shape), "radio_text": str(radio),
            "ue_antennas": radio.ue.ports, "power_tells": radio.calibrated and radio.isotropic}  # fmt: skip


def paths_of(radio: Radio, count: int = 40) -> torch.Tensor:
    """CSI of one path each, weak, with noise: complex128 [N, ports, subcarriers]."""
    draw = torch.Generator().manual_seed(1)
    gain = torch.ones(count, 2) if len(radio.array.slants) > 1 else None
    csi = radio.array.response(torch.rand(count, 3, generator=draw, dtype=torch.float64), gain)
    delay = torch.linspace(0, 9e-7, count, dtype=torch.float64)
    csi = 1e-5 * csi[..., None] * radio.grid.response(delay)[:, None]
    return csi + 1e-6 * torch.randn(csi.shape, dtype=csi.dtype, generator=draw)


@pytest.mark.parametrize("array", [ULA(16), UPA(4, 4, polarisation="slanted")], ids=str)
def test_receivers_find_first_paths_as_torch_does(array: Antennas) -> None:
    radio = replace(RADIOS["first path, tones"], array=array)
    csi = paths_of(radio)
    receiver = Receiver(cards(radio), filters(radio, 32, 64).beams.numpy())
    np.testing.assert_allclose(receiver.arrival(csi.numpy()), arrival(csi, radio), atol=1e-15)


def test_receivers_find_powers_as_torch_does() -> None:
    radio = RADIOS["first path, tones"]
    csi, receiver = paths_of(radio), Receiver(cards(radio))
    apart, odds = np.linspace(10, 200, 40), torch.zeros(40)
    want = zero_shot.with_gain(odds, csi, radio, torch.from_numpy(apart))
    np.testing.assert_allclose(receiver.with_power(odds.numpy(), csi.numpy(), apart), want, atol=1e-4)
    absolute = replace(radio, clock="absolute")
    want = zero_shot.with_gain(odds, csi, absolute, None)
    found = Receiver(cards(absolute)).with_power(odds.numpy(), csi.numpy(), None)
    np.testing.assert_allclose(found, want, atol=1e-4)


TOLD = {
    "slanted panel, first path": Radio(UPA(2, 4, polarisation="slanted"), OFDM(24, 360e3), 3.5e9, "first_path"),
    "calibrated, first path": Radio(ULA(8), OFDM(32, 1e6), clock="first_path", calibrated=True),
    "beams": Radio(UPA(4, 4, codebook=UPA(4, 4).dft_codebook()[::2].numpy())),
    "pattern, two UE antennas": Radio(UPA(4, 2, pattern="tr38901"), carrier=2e9, calibrated=True, ue=ULA(2)),
}


@pytest.mark.parametrize("radio", TOLD.values(), ids=TOLD)
def test_a_package_of_weights_for_any_radio(radio: Radio, links: Links, tmp_path: Path) -> None:
    model = any_radio()
    card = Package(model, "any", radio=radio).write(tmp_path / "edge")
    assert max(card["parity"]["largest"].values()) <= card["parity"]["tolerance"] == 1e-4
    links = links.select(np.flatnonzero((links.bs == links.bs[0]).all(1)))
    links = export.varied(replace(links, maps=links.maps.repeat(4, 1).repeat(4, 2)), 1)
    env, runner = batch_of(links, radio).environment, Runner(tmp_path / "edge")
    env, csi = replace(env, downtilt=torch.full((len(links),), 0.1)), links.paths.csi(radio).numpy()
    env = env.without("los", "carrier", *(["downtilt"] if radio.array.pattern == "isotropic" else []))
    here = View(env.map[0].numpy(), env.bs[0].numpy(), float(env.size[0]), downtilt=0.1)
    ue = env.ue.numpy()
    np.testing.assert_allclose(runner.encode(csi), model.encode_channel(csi, radio), atol=1e-5)
    np.testing.assert_allclose(runner.los(csi, here, ue), zero_shot.los(model, csi, env, radio), atol=1e-4)
    blind = zero_shot.los(model, csi, env.without("ue"), radio)
    np.testing.assert_allclose(runner.los(csi, here), blind, atol=1e-4)
    np.testing.assert_allclose(runner.rank(csi, here, ue), zero_shot.rank(model, csi, env, radio), atol=1e-4)


def test_the_power_of_calibrated_csi_is_read_however_weak(tmp_path: Path) -> None:
    model, radio = any_radio(), Radio(ULA(8), OFDM(32, 1e6), calibrated=True)
    Package(model, "any", radio=radio).write(tmp_path / "edge")
    runner, csi = Runner(tmp_path / "edge"), paths_of(radio, 5).to(torch.complex128)
    weak = csi * 10.0 ** torch.tensor([0, -3, -8, -25, -200])[:, None, None].double()
    z = runner.encode(weak.numpy())
    np.testing.assert_allclose(z, model.encode_channel(weak, radio), atol=1e-5)
    assert np.abs(z - runner.encode(csi.numpy())).max(1)[1:].min() > 1e-3
    single = (1e-35 * csi).to(torch.complex64)  # below what single precision can divide by
    np.testing.assert_allclose(runner.encode(single.numpy()), model.encode_channel(single, radio), atol=1e-5)


def test_heights_as_people_give_them() -> None:
    drawn = np.zeros((256, 256))
    drawn[:8], drawn[8:16] = 12.0, 0.4
    built = np.where(drawn > 1, np.inf, 0).astype(np.float32)
    assert np.array_equal(heights(drawn), np.where(drawn > 1, 12, 0))
    for occupancy in (drawn > 1, (drawn > 1).astype(np.uint8), (drawn > 1) * 0.7):
        assert np.array_equal(heights(occupancy), built)
    for given in (drawn, drawn > 1, drawn / 12):
        assert np.array_equal(heights(given), environment.heights(torch.from_numpy(given)[None])[0])
    whole = np.where(drawn > 1, 12, 0) + np.arange(256)
    for wrong, line in ((drawn - 1, "below 0"), (drawn * np.nan, "NaN"), (drawn[:9], "shape"), (whole, "several")):
        with pytest.raises(ValueError, match=line):
            heights(wrong)


def test_what_rounding_decides_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that differs once passes, one that always does is an error."""
    encode = Runner.encode
    asked: list[int] = []

    def off(once: bool) -> Callable[[Runner, Any], Any]:
        def answer(runner: Runner, csi: Any) -> Any:
            asked.append(len(csi))
            z = encode(runner, csi)
            z[0] += 0.01 * (len(asked) == 1 or not once)
            return z

        return answer

    package = Package(any_radio(), "any")
    monkeypatch.setattr(Runner, "encode", off(once=True))
    package.write(tmp_path / "edge")
    assert 1 in asked
    monkeypatch.setattr(Runner, "encode", off(once=False))
    with pytest.raises(InputError, match="cfenn differs from torch"):
        package.write(tmp_path / "other")


def test_weights_for_any_radio_in_8_bits(links: Links, tmp_path: Path) -> None:
    radio = TOLD["slanted panel, first path"]
    Package(any_radio(), "any", int8=True, radio=radio).write(tmp_path / "edge")
    links = export.varied(links.select(links.area == 0), 0)
    csi = batch_of(links, radio).csi.numpy()
    exact, rough = (Runner(tmp_path / "edge", int8=models) for models in ((), ("cfenn", "epnn", "crnn")))
    z = exact.encode(csi)
    assert (z * rough.encode(csi)).sum(1).min() > 0.97
    here = View(links.maps[0].repeat(4, 0).repeat(4, 1), links.bs[0], float(links.sizes[0]))
    places = (runner.embed(here, len(links), links.ue) for runner in (exact, rough))
    assert np.multiply(*places).sum(1).min() > 0.97
    whole, again = exact.reconstruct(z), rough.reconstruct(z)
    assert np.abs(whole - again).max() < 0.2 * np.abs(whole).max()
