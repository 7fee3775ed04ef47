from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

from uniair.benchmark import anomalies
from uniair.benchmark.anomalies import ANOMALIES, ANOMALY, LABELS, AnomalyBudget, auroc, grouped
from uniair.benchmark.benchmark import Setup, perform
from uniair.data.links import shards
from uniair.errors import InputError
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel

NAMES = ("links", "validation", "train")


def folders(root: Path, areas: int = 2) -> dict[str, Path]:
    for number, name in enumerate(NAMES):
        made = geometric_links(seed=3 + number, areas=areas, per_area=36, place=name)
        shards.write_shard(root / name / "links-00000.safetensors", made)
        shards.write_manifest(root / name, {}, "")
    return {name: root / name for name in NAMES}


def test_every_anomaly_is_asked_by_every_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(anomalies.BUDGETS, "quick", AnomalyBudget(2, 36, 2))
    torch.manual_seed(0)
    setup = Setup(UniversalModel(PRESETS["tiny"]).eval(), tmp_path / "out", folders(tmp_path), seeds=1)
    found = perform("anomaly", ANOMALY, setup)
    assert list(found["rows"]) == list(ANOMALIES)
    for row in found["rows"].values():
        assert set(row) == {"principal components", "restored", "fit", "both", "both, 16 channels",
                            "principal components, 16 channels", *(f"{count} labels" for count in LABELS),
                            *(f"principal components, {count} labels" for count in LABELS)}  # fmt: skip
        assert all(0 <= entry["mean"] <= 1 for entry in row.values())
    # the baseline needs no trained model: interference ten times the channel looks like no channel
    assert found["rows"]["jammer, 10 dB"]["principal components"]["mean"] > 0.75
    assert found["rows"]["jammer, 10 dB"]["principal components, 64 labels"]["mean"] > 0.75
    # a wrong map changes nothing about the channel
    for name in ("a building moved 16 m", "the map of another place"):
        assert found["rows"][name]["restored"]["mean"] == pytest.approx(0.5, abs=0.1)
        assert found["rows"][name]["principal components, 64 labels"]["mean"] == pytest.approx(0.5, abs=0.15)
    assert perform("anomaly", ANOMALY, setup) == found


def test_a_place_alone_has_no_other_map(tmp_path: Path) -> None:
    model = UniversalModel(PRESETS["tiny"]).eval()
    with pytest.raises(InputError, match="1 place; a wrong map takes two"):
        perform("anomaly", ANOMALY, Setup(model, tmp_path / "out", folders(tmp_path, 1), seeds=1))


def test_scores_of_several_channels_are_of_one_place() -> None:
    score, area = np.arange(40.0), np.repeat([0, 1], [35, 5])
    assert grouped(score, area).tolist() == [7.5, 23.5, 37.0]
    assert auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)
