"""The two ends of CSI feedback on devices: as the library answers, apart, and refused where they differ."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import uniair
from tests.conftest import geometric_links
from tests.edge.test_graphs import any_radio
from uniair.cli import main
from uniair.data.links.loader import batch_of
from uniair.edge import feedback_halves
from uniair.edge.feedback_halves import FeedbackPackage
from uniair.edge.feedback_runner import FeedbackRunner
from uniair.errors import InputError
from uniair.radio import OFDM, UPA, Radio
from uniair.tasks.bit_code import BitString
from uniair.tasks.feedback_code import FeedbackCode
from uniair.training.checkpoint import save_model
from uniair.training.feedback_adaptation import Channels, learned, save_feedback

PANEL = Radio(UPA(2, 4), OFDM(26, 360e3), 28e9, clock="first_path")
SCRIPT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "uniair", "scipy", "onnx", "safetensors"):
            raise ImportError(f"{name} is not on this device")
sys.meta_path.insert(0, Blocked())
import numpy as np
from uniair_edge import FeedbackRunner
"""
USER = (
    'messages = FeedbackRunner(".").send(np.load(sys.argv[1]), 96)\nopen(sys.argv[2], "wb").write(b"".join(messages))'
)
STATION = """
data, size = open(sys.argv[1], "rb").read(), 10 + 12
np.save(sys.argv[2], FeedbackRunner(".").restore([data[i : i + size] for i in range(0, len(data), size)]))
"""


def code_of(radio: Radio) -> FeedbackCode:
    torch.manual_seed(0)
    model = uniair.build("tiny") if radio == Radio() else any_radio()
    batch = batch_of(geometric_links(seed=4, areas=2, per_area=300), radio)
    return learned(model, Channels.of(model, iter([batch])), radio, stages=3)


@pytest.fixture(scope="module")
def code() -> FeedbackCode:
    return code_of(PANEL)


@pytest.fixture(scope="module")
def halves(code: FeedbackCode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "halves"
    FeedbackPackage(code, "tiny", int8=True).write(folder)
    return folder


def test_a_user_without_torch_is_understood_by_a_station_without_torch(
    code: FeedbackCode, halves: Path, tmp_path: Path
) -> None:
    csi = batch_of(geometric_links(seed=9, areas=1, per_area=40), PANEL).csi
    np.save(tmp_path / "csi.npy", csi.numpy())
    for half, script, given, made in (
        ("ue", USER, "csi.npy", "messages"), ("base_station", STATION, "messages", "restored.npy"),
    ):  # fmt: skip
        arguments = [str(tmp_path / given), str(tmp_path / made)]
        subprocess.run([sys.executable, "-c", SCRIPT + script, *arguments], cwd=halves / half, check=True, timeout=60)
    wanted = code.encode(csi, 96)
    assert (tmp_path / "messages").read_bytes() == b"".join(wanted.to_bytes())
    there = code.decode(wanted)
    np.testing.assert_allclose(np.load(tmp_path / "restored.npy"), there, atol=1e-4 * float(there.abs().max()))


@pytest.mark.parametrize("length", [24, 30, 75, 160])
def test_bits_and_embeddings_are_the_librarys(code: FeedbackCode, halves: Path, length: int) -> None:
    z = torch.nn.functional.normalize(torch.randn(60, 32, generator=torch.Generator().manual_seed(length)), dim=1)
    user, station = (FeedbackRunner(halves / name) for name in ("ue", "base_station"))
    sent = code.code.encode(z, length)
    np.testing.assert_array_equal(user.bits(z.numpy(), length), sent.bits)
    np.testing.assert_allclose(station.embedding(sent.bits.numpy()), code.code.decode(sent), atol=1e-6)
    assert user.longest == code.code.longest


def test_each_half_has_its_own_network_alone(halves: Path) -> None:
    card = json.loads((halves / "card.json").read_text())
    assert {name: set(sizes) for name, sizes in card["megabytes"].items()} == {
        "ue": {"cfenn.onnx", "int8/cfenn.onnx", "code.npz", "radio.npy"},
        "base_station": {"crnn.onnx", "int8/crnn.onnx", "code.npz"},
    }
    parity = card["parity"]
    assert (parity["differ"], parity["asked_again"]) < (1, 0.05 * parity["strings"])
    user, station = (FeedbackRunner(halves / name) for name in ("ue", "base_station"))
    csi = batch_of(geometric_links(seed=9, areas=1, per_area=2), PANEL).csi.numpy()
    with pytest.raises(ValueError, match="the half of a base_station; this takes that of a ue"):
        station.send(csi, 48)
    with pytest.raises(ValueError, match="the half of a ue"):
        user.restore(user.send(csi, 48))


def test_other_codes_lengths_and_radios_are_refused(code: FeedbackCode, halves: Path) -> None:
    user, station = (FeedbackRunner(halves / name) for name in ("ue", "base_station"))
    csi = batch_of(geometric_links(seed=9, areas=1, per_area=2), PANEL).csi.numpy()
    messages = user.send(csi, 48)
    for given, match in (
        ([b"\0" * 8 + messages[0][8:]], "both halves need the same code"),
        ([messages[0][:-1]], "not as long as the 48 bits"),
        ([messages[0], *user.send(csi, 96)], "of 3 kinds"),
        ([], "0 messages"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            station.restore(given)
    for length in (23, code.code.longest + 1):
        with pytest.raises(ValueError, match=f"a code of {length} bits"):
            user.send(csi, length)
    with pytest.raises(ValueError, match="csi of type complex64 and shape"):
        user.send(csi[:, :4], 48)
    assert BitString.from_bytes(messages).code == code.code.digest


def test_nothing_is_left_where_the_halves_differ(
    code: FeedbackCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_halves, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="the halves differ from the library"):
        FeedbackPackage(code, "tiny").write(tmp_path / "halves")
    assert not any(tmp_path.iterdir())


def test_the_command_prints_the_sizes_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = code_of(Radio())
    save_model(code.model, tmp_path / "model")
    save_feedback(tmp_path / "code.safetensors", code, {})
    given = ["--feedback", str(tmp_path / "code.safetensors"), "--model", str(tmp_path / "model")]
    assert main(["export", *given, "--to", str(tmp_path / "halves")]) == 0
    said = capsys.readouterr().out
    for part in ("ue/cfenn.onnx", "ue/code.npz", "base_station/crnn.onnx", "MB in all", "bit strings are the library"):
        assert part in said
    assert main(["export", *given, "--radio", "{}", "--to", str(tmp_path / "other")]) == 2
    assert "leave SITE, --radio, --forecaster out" in capsys.readouterr().err
    assert main(["export", given[0], given[1], "--to", str(tmp_path / "other")]) == 2  # of other weights
    assert "a feedback code of weights" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
