"""CSI feedback: quantiser and short codes by closed forms, and the two benchmarks on small data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import feedback, toft
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.feedback import BITS, CODE, FIG9, FLOAT, FeedbackBudget, ShortCode, quantised
from uniair.benchmark.toft import Budget
from uniair.data.links import shards
from uniair.errors import InputError


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setitem(toft.BUDGETS, "quick", Budget(None, 24, 1))
    monkeypatch.setitem(feedback.FEEDBACK_BUDGETS, "quick", FeedbackBudget(1, 2, 2, 8, 64, 8))
    for name, seed, place in (("dense", 6, "town"), ("train", 7, "elsewhere")):
        links = geometric_links(seed=seed, areas=2, per_area=40, place=place)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", links)
        shards.write_manifest(tmp_path / name, {}, "")
    folders = {name: tmp_path / name for name in ("dense", "train")}
    return Setup(uniair.build("tiny"), tmp_path / "bench/fig9", folders, seeds=1)


def test_the_quantiser_rounds_to_the_middle_of_its_cells() -> None:
    assert quantised(np.array([-9.0, -0.1, 0.1, 9.0]), bits=1, clip=2.0).tolist() == [-1, -1, 1, 1]
    values = np.linspace(-2, 2, 1001)
    for bits in range(2, 9):
        found = quantised(values, bits, 2.0)
        assert len(np.unique(found)) == 2**bits
        assert np.abs(found - values).max() <= 2 / 2**bits + 1e-12


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 16)) * np.geomspace(1, 0.01, 16) + 0.3
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_a_whole_code_in_floats_loses_nothing(z: np.ndarray) -> None:
    np.testing.assert_allclose(ShortCode.fit(z).through(z, 16, FLOAT), z, atol=1e-9)


def test_more_numbers_and_more_bits_lose_less(z: np.ndarray) -> None:
    code = ShortCode.fit(z[:250])

    def lost(length: int, bits: int) -> float:
        back = code.through(z[250:], length, bits)
        np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1)
        return float(((back - z[250:]) ** 2).sum(1).mean())

    assert lost(1, FLOAT) > lost(4, FLOAT) > lost(8, FLOAT) > lost(16, FLOAT)
    by_bits = [lost(16, bits) for bits in BITS]
    assert by_bits == sorted(by_bits, reverse=True)
    assert list(code.clips.values()) == sorted(code.clips.values())  # more cells reach further out


def test_fig9_keeps_autoencoders_apart_from_the_weights(setup: Setup) -> None:
    result = perform("fig9", FIG9, setup)
    rows = result["rows"]["feedback"]
    assert set(rows) == {"Area-Specific ViT", "Area-General ViT", "ZSL"}
    assert rows["ZSL"]["tuned_parameters"] == 0
    runs = setup.out.parent / "autoencoder/runs"
    before = {path.name: path.stat().st_mtime_ns for path in runs.iterdir()}
    assert len(before) == 1 + 2  # general; specific of two areas
    other = replace(setup, model=uniair.build("tiny"), out=setup.out.parent / "again")
    again = FIG9.run(other)["rows"]["feedback"]
    assert {path.name: path.stat().st_mtime_ns for path in runs.iterdir()} == before
    assert again["Area-Specific ViT"] == rows["Area-Specific ViT"]
    assert again["ZSL"] != rows["ZSL"]
    for _, table in FIG9.tables(result):
        assert all(len(row) == len(table.head) for row in table.rows)


def test_the_curve_resumes_and_ends_at_plain_feedback(setup: Setup) -> None:
    from uniair import metrics
    from uniair.data.links.loader import batch_of
    from uniair.data.links.store import Store
    from uniair.training.heads import Adaptation, divide

    setup = replace(setup, out=setup.out.parent / "code")
    result = perform("code", CODE, setup)
    assert result["lengths"] == [2, 4, 8, 16, 32]
    plain = []
    for links in Store(setup.folders["dense"]):
        csi = batch_of(links).csi[divide(links, Adaptation())[1][:8]]
        restored = setup.model.reconstruct_channel(setup.model.encode_channel(csi))
        plain.append(metrics.nmse_db(restored, setup.model.normalise_channel(csi)))
    assert result["curve"][f"32x{FLOAT}"]["nmse_db"]["by_unit"] == pytest.approx(plain, abs=1e-3)
    next((setup.out / "runs").iterdir()).unlink()
    assert CODE.run(setup)["curve"] == result["curve"]
    searched = result["searched"]
    assert searched["0"]["nmse_db"]["by_unit"] == pytest.approx(plain, abs=1e-3)  # no step is the embedding
    nmse = [searched[str(steps)]["nmse_db"]["mean"] for steps in feedback.STEPS]
    assert nmse == sorted(nmse, reverse=True)
    *by_bits, by_steps = (table for _, table in CODE.tables(result))
    assert all(len(row) == len(table.head) == len(BITS) + 1 for table in by_bits for row in table.rows)
    assert all(len(row) == len(by_steps.head) == len(feedback.STEPS) + 1 for row in by_steps.rows)


def test_training_and_test_areas_of_one_place_are_refused(setup: Setup) -> None:
    shared = replace(setup, folders={"dense": setup.folders["dense"], "train": setup.folders["dense"]})
    for benchmark in (FIG9, CODE):
        with pytest.raises(InputError, match="places in both"):
            benchmark.run(shared)
