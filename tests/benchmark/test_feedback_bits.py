"""Feedback in bits: every method on every radio, the standard once, and a run that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import feedback_bits
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.feedback_bits import FEEDBACK, BitBudget
from uniair.data.links import shards
from uniair.errors import InputError
from uniair.radio import OFDM, UPA, Radio
from uniair.tasks import bit_code
from uniair.training import feedback_adaptation


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setitem(feedback_bits.BUDGETS, "quick", BitBudget(2, 4, 600))
    for module in (feedback_bits, feedback_adaptation):
        monkeypatch.setattr(module, "LENGTHS", (24, 48))
    monkeypatch.setattr(feedback_bits, "STEPS", {"embedding": 0, "searched": 2})
    monkeypatch.setattr(feedback_bits, "RADIOS", {
        "line": Radio(clock="first_path"), "panel": Radio(UPA(2, 4), OFDM(26, 720e3)),
    })  # fmt: skip
    for name, value in (("LEAST", 256), ("STAGES", 6)):
        monkeypatch.setattr(bit_code, name, value)
    for name, seed, place in (("links", 6, "town"), ("train", 7, "elsewhere")):
        links = geometric_links(seed=seed, areas=2 if name == "links" else 10, per_area=64, place=place)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", links)
        shards.write_manifest(tmp_path / name, {}, "")
    folders = {name: tmp_path / name for name in ("links", "train")}
    return Setup(uniair.build("tiny"), tmp_path / "bench/feedback", folders, seeds=1)


def test_every_method_has_its_bits_and_a_stopped_run_goes_on(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    result = perform("feedback", FEEDBACK, setup)
    assert set(result["rows"]) == {"line", "panel"}
    line, panel = result["rows"]["line"], result["rows"]["panel"]
    assert len(line) == 1 + 8 + 2 + 4 * 3
    assert len(panel) == 1 + 6 + 2 + 4 * 3  # 7 and 8 are for 32 ports
    assert line["Type I"]["bits"] == 7
    assert line["searched, 48"]["bits"] == 48
    assert line["eType II, 5"]["sgcs"]["mean"] > line["eType II, 1"]["sgcs"]["mean"] > 0.5
    assert all(0 <= row["sgcs"]["mean"] <= 1 + 1e-6 for row in (*line.values(), *panel.values()))
    assert result["links"] == 8
    for (heading, table), rows in zip(FEEDBACK.tables(result), (line, panel), strict=True):
        assert "does not list" in heading
        assert len(table.rows) == len(rows)

    def again(*_: object) -> None:
        pytest.fail("measured again")

    monkeypatch.setattr(feedback_bits, "_ours", again)
    monkeypatch.setattr(feedback_bits, "_standard", again)
    monkeypatch.setattr(feedback_bits, "_paths", again)
    assert perform("feedback", FEEDBACK, setup) == result


def test_training_and_test_areas_of_one_place_are_refused(setup: Setup) -> None:
    shared = Setup(setup.model, setup.out, dict.fromkeys(("links", "train"), setup.folders["links"]))
    with pytest.raises(InputError, match="places in both"):
        FEEDBACK.run(shared)
