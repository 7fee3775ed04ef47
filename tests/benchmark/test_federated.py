"""Federations compared: from a setup to tables and figure; membership inference on made losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

pytest.importorskip("flwr", reason="a federation needs flwr: pip install 'uniair[federated]'")

import uniair
from uniair.benchmark import federated
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.federated import ALONE, FEDERATED, PLAN, POOLED, Budget, flipped
from uniair.benchmark.membership import References, attack, figures
from uniair.data.links import shards
from uniair.errors import InputError
from uniair.models.head import Head
from uniair.tasks.registry import TASKS
from uniair.training.heads import HeadTraining, fit

QUICK = HeadTraining(epochs=1, steps=5, batch=16)


def test_tables_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", geometric_links(seed=4, areas=9, per_area=24))
    shards.write_manifest(tmp_path / "links", {}, "")
    plan = replace(PLAN, rounds=2, steps=1, batch=8)
    monkeypatch.setitem(
        federated.BUDGETS, "quick", Budget(1, plan, replace(plan, batch=64, delta=1e-2), (8.0,), 2, QUICK)
    )
    setup = Setup(uniair.build("tiny"), tmp_path / "federated", {"links": tmp_path / "links"}, seeds=1)
    result = perform("federated", FEDERATED, setup, by="area", tasks=("los",))
    tables = FEDERATED.tables(result)
    assert len(tables) == 3
    for _, table in tables:
        assert all(len(row) == len(table.head) for row in table.rows)
    assert {ALONE, POOLED, "federated, mean", "federated, median"} <= {row[0] for row in tables[0][1].rows}
    assert (setup.out / "figure.svg").read_text().count("<svg") == 1
    rows = result["rows"]["los"]
    assert len(rows["mean"]["curve"]) == 2
    assert not rows["epsilon 8"]["curve"]
    assert rows["epsilon 8"]["epsilon"]["mean"] <= 8.0
    assert {"alone", "pooled", "median, labels", "krum, weights"} <= rows.keys()
    with pytest.raises(InputError, match="more than 8 are needed"):
        FEDERATED.run(setup, by="place", tasks=("los",))
    with pytest.raises(InputError, match="--tasks weather"):
        FEDERATED.run(setup, by="area", tasks=("weather",))


def test_labels_are_flipped_as_the_task_has_them() -> None:
    assert flipped(TASKS["los"], torch.tensor([0, 1, 1])).tolist() == [1, 0, 0]
    assert flipped(TASKS["path_loss"], torch.tensor([[1.0], [3.0], [8.0]])).tolist() == [[7.0], [5.0], [0.0]]


def test_who_was_learned_is_found_where_a_head_knows_by_heart_and_not_where_it_knows_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    task, member = TASKS["los"], np.arange(120) < 60
    z, target = torch.randn(120, 128, generator=draw), torch.randint(0, 2, (120,), generator=draw)  # nothing to learn
    sharp = HeadTraining(epochs=1, steps=300, learning_rate=2e-2)
    references = References(task, z, target, 4, HeadTraining(epochs=1, steps=60), 0)
    by_heart = attack(task, fit(task, z[member], target[member], sharp), z, target, member,
                      references)  # fmt: skip
    # of the others half are guessed, and surely
    assert by_heart["loss"]["auroc"] > 0.8
    assert by_heart["calibrated"]["auroc"] > 0.8
    torch.manual_seed(0)
    nothing = attack(task, Head((128, 2)), z, target, member, references)
    assert 0.3 < nothing["loss"]["auroc"] < 0.7


def test_figures_of_scores_in_closed_form() -> None:
    member = np.array([True] * 100 + [False] * 100)
    assert figures(member.astype(float), member) == {"auroc": 1.0, "found": 1.0}
    scores = np.concatenate([np.linspace(1, 2, 100), np.linspace(0.5, 1.5, 100)])
    found = figures(scores, member)
    # a threshold with one of a hundred false alarms lies between the last two of the others
    assert found["found"] == pytest.approx(0.51, abs=0.02)
    assert found["auroc"] == pytest.approx(1 - 0.5**2 / 2, abs=0.01)
