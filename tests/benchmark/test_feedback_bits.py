"""Feedback in bits: every method on every radio, what learns from a place, and a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair import metrics
from uniair.benchmark import feedback_bits, feedback_methods
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.feedback_bits import FEEDBACK, GENERAL, OWN, SPECIFIC, Learning, _saved
from uniair.benchmark.sampled_links import Sample
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.baselines import SmallAutoencoder
from uniair.radio import OFDM, UPA, Radio
from uniair.tasks import bit_code
from uniair.tasks.path_code import PathCode
from uniair.tasks.path_laws import WHOLE, PathLaws, packaged_laws
from uniair.training import feedback_adaptation
from uniair.training.feedback_adaptation import DecoderTraining
from uniair.training.supervised import train_small_autoencoder


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setitem(feedback_bits.BUDGETS, "quick", Sample(2, 3, 512))
    quick = Learning(2, 1, 430, DecoderTraining(steps=2, batch=8, save_every=2), 1)
    monkeypatch.setitem(feedback_bits.LEARNING, "quick", quick)
    monkeypatch.setattr(feedback_bits, "STEPS", {"embedding": 0, "searched": 2})
    monkeypatch.setattr(feedback_bits, "RADIOS", {
        "line": Radio(clock="first_path"), "panel": Radio(UPA(2, 4), OFDM(26, 720e3)),
    })  # fmt: skip
    for module in (feedback_methods, feedback_adaptation):
        for name, value in (("LENGTHS", (24, 48)), ("SLOPES", 32), ("SUBBANDS", 4)):
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(feedback_methods, "PATH_LENGTHS", [24, 48])
    for name, value in (("STAGES", (1,)), ("SHOWN", (48,))):
        monkeypatch.setattr(feedback_adaptation, name, value)
    for name, value in (("LEAST", 256), ("STAGES", 6)):
        monkeypatch.setattr(bit_code, name, value)
    for name, seed, areas, links in (("links", 6, 2, 9), ("train", 7, 8, 40), ("dense", 8, 1, 440)):
        shards.write_shard(
            tmp_path / name / "links-00000.safetensors",
            geometric_links(seed=seed, areas=areas, per_area=links, place=name),
        )
        shards.write_manifest(tmp_path / name, {}, "")
    folders = {name: tmp_path / name for name in ("links", "train", "dense")}
    return Setup(uniair.build("tiny"), tmp_path / "bench/feedback", folders, seeds=1)


def test_every_method_has_its_bits_and_a_stopped_run_goes_on(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    result = perform("feedback", FEEDBACK, setup)
    assert set(result["rows"]) == {"line", "panel"}
    line, panel = result["rows"]["line"], result["rows"]["panel"]
    assert len(line) == 1 + 8 + 2 * 2 + (2 * 3 + 1) * 2
    assert len(panel) == 1 + 6 + 2 * 2 + (2 * 3 + 1) * 2  # 7 and 8 are for 32 ports
    assert line["Type I"]["bits"] == 7
    assert line["searched, 48"]["bits"] == line[f"{GENERAL}, 48"]["bits"] == 48
    assert line["eType II, 5"]["sgcs"]["mean"] > line["eType II, 1"]["sgcs"]["mean"] > 0.5
    places = result["places"]["panel"]
    assert {key.split(",")[0] for key in places} == {
        "Type I", "eType II", "embedding", OWN, f"{OWN} + map", f"{OWN} + map and position", GENERAL, SPECIFIC,
    }  # fmt: skip
    every = (*line.values(), *panel.values(), *places.values())
    assert all(0 <= row["sgcs"]["mean"] <= 1 + 1e-6 for row in every)
    assert result["links"] == 6
    took = result["latency"]["line"]["ms"]
    assert set(took) == {"encode, embedding", "encode, searched", "decode", "encode, paths", "decode, paths"}
    assert took["encode, searched"] > took["encode, embedding"] > 0
    shown = FEEDBACK.tables(result)
    counts = [len(table.rows) for _, table in shown]
    assert counts == [1 + 8 + 1 + 6, len(line), len(panel), len(places) + 2, len(places), 2]
    assert all("does not list" in heading for heading, _ in shown[1:-1])
    assert "Milliseconds a link alone, 128 bits" in shown[-1][0]

    def again(*_: object) -> None:
        pytest.fail("measured again")

    for name in ("_ours", "_autoencoder", "_on_place", "standard", "by_paths", "latency"):
        monkeypatch.setattr(feedback_bits, name, again)
    assert perform("feedback", FEEDBACK, setup) == result


def test_bits_at_equal_sgcs_lie_between_the_lengths_that_were_tried() -> None:
    def row(bits: float, sgcs: float) -> dict[str, object]:
        return {"bits": bits, "sgcs": {"mean": sgcs, "spread": 0.0}}

    rows = {"Type I": row(8, 0.95), "eType II, 1": row(80, 0.7), "eType II, 2": row(100, 0.3)}
    rows |= {f"paths, {bits}": row(bits, sgcs) for bits, sgcs in ((24, 0.5), (48, 0.9), (64, 0.89))}
    rows |= {f"paths + map and position, {bits}": row(bits, sgcs) for bits, sgcs in ((24, 0.6), (48, 1.0))}
    _, table = _saved({"rows": {"line": rows}})
    assert [line[1:] for line in table.rows] == [
        ["Type I", "8.0", "0.9500", "beyond what was tried", "45.0 (562 %)"],
        ["eType II, 1", "80.0", "0.7000", "36.0 (45 %)", "30.0 (38 %)"],
        ["eType II, 2", "100.0", "0.3000", "beyond what was tried", "beyond what was tried"],
    ]


def test_laws_of_paths_are_counted_on_training_places_and_written(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_bits, "PER_AREA", 8)
    monkeypatch.setitem(feedback_bits.BUDGETS, "quick", Sample(2, 3, 48))
    for name in ("_everywhere", "_on_places", "_latency"):
        monkeypatch.setattr(feedback_bits, name, lambda *_: {})
    FEEDBACK.run(setup, save=tmp_path / "laws.json")
    written = json.loads((tmp_path / "laws.json").read_text("utf-8"))
    laws = PathLaws.from_json(written)
    assert laws.digest != packaged_laws().digest
    assert (laws.candidate.sum(2) == WHOLE).all()
    assert PathCode(Radio(), laws).digest != PathCode(Radio()).digest
    FEEDBACK.run(setup, save=tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "laws.json").read_bytes()


def test_training_and_test_areas_of_one_place_are_refused(setup: Setup) -> None:
    shared = Setup(setup.model, setup.out, dict.fromkeys(("links", "train"), setup.folders["links"]))
    with pytest.raises(InputError, match="places in both"):
        FEEDBACK.run(shared)


def test_an_autoencoder_says_its_size_and_knows_no_power_or_phase() -> None:
    assert f"{sum(p.numel() for p in SmallAutoencoder(32, 64).parameters()):,}" in (SmallAutoencoder.__doc__ or "")
    network = SmallAutoencoder(8, 26)
    csi = batch_of(geometric_links(seed=1, areas=1, per_area=5), Radio(UPA(2, 4), OFDM(26, 720e3))).csi
    truth = network.normalise(csi)
    torch.testing.assert_close(truth.abs().square().mean((1, 2)), torch.ones(5))
    torch.testing.assert_close(network.normalise(csi * 3e-4j), truth)
    back = torch.fft.fft(truth, dim=2, norm="ortho")
    torch.testing.assert_close(metrics.cosine_squared(back, csi), torch.ones(5, 26))
    z = network.encode(truth)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(5))
    assert network.decode(z).shape == network.csi(z).shape == csi.shape


def test_an_autoencoder_learns_the_channels_that_it_sees() -> None:
    csi = batch_of(geometric_links(seed=1, areas=1, per_area=64), Radio(UPA(2, 4), OFDM(26, 720e3))).csi
    network = train_small_autoencoder(csi, 40, 0)
    with torch.no_grad():
        truth = network.normalise(csi)
        assert metrics.nmse_db(network.decode(network.encode(truth)), truth) < -1
    with pytest.raises(InputError, match="none, or NaN"):
        train_small_autoencoder(csi[:0], 1, 0)
