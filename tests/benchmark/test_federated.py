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
from uniair.benchmark.federated import ALONE, FEDERATED, FURTHER, PLAN, POOLED, PUBLIC, TOGETHER, Budget, flipped
from uniair.benchmark.membership import References, attack, figures
from uniair.benchmark.public_head import PublicPlaces
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.head import Head
from uniair.tasks.registry import TASKS
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit, measure

QUICK = HeadTraining(epochs=1, steps=5, batch=16)


def test_tables_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", geometric_links(seed=4, areas=9, per_area=24))
    shards.write_manifest(tmp_path / "links", {}, "")
    plan = replace(PLAN, rounds=2, steps=1, batch=8)
    monkeypatch.setitem(
        federated.BUDGETS, "quick", Budget(1, plan, replace(plan, batch=64, delta=1e-2), (8.0,), 2, QUICK, 2)
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
    assert result["public"] is None
    assert not any(name.startswith("public") for name in rows)
    with pytest.raises(InputError, match="more than 8 are needed"):
        FEDERATED.run(setup, by="place", tasks=("los",))
    with pytest.raises(InputError, match="--tasks weather"):
        FEDERATED.run(setup, by="area", tasks=("weather",))


def test_what_begins_from_a_head_of_public_places_stands_beside_that_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, areas in (("links", 9), ("train", 4)):
        links = geometric_links(seed=4, areas=areas, per_area=24, place=name)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", links)
        shards.write_manifest(tmp_path / name, {}, "")
    plan = replace(PLAN, rounds=2, steps=1, batch=8)
    monkeypatch.setitem(
        federated.BUDGETS, "quick", Budget(1, plan, replace(plan, batch=64, delta=1e-2), (8.0,), 2, QUICK, 2)
    )
    monkeypatch.setattr(federated, "AGGREGATES", {"mean": federated.AGGREGATES["mean"]})
    folders = {name: tmp_path / name for name in ("links", "train")}
    setup = Setup(uniair.build("tiny"), tmp_path / "federated", folders, seeds=1)
    result = perform("federated", FEDERATED, setup, by="area", tasks=("los",))
    assert result["public"] == {"areas": 2, "links": 48}
    (_, beside), _, (_, privacy) = FEDERATED.tables(result)
    assert [row[0] for row in beside.rows] == [
        ALONE, POOLED, "federated, mean", f"{PUBLIC} (2 areas, 48 links)", TOGETHER, FURTHER,
    ]  # fmt: skip
    assert [row[0] for row in privacy.rows][-3:] == [
        f"{PUBLIC} (2 areas, 48 links)", f"{FURTHER}, not private", f"{FURTHER}, ε = 8",
    ]  # fmt: skip
    assert all(len(row) == len(privacy.head) for row in privacy.rows)
    rows = result["rows"]["los"]
    assert 0 < rows["public, epsilon 8"]["epsilon"]["mean"] <= 8.0
    assert perform("federated", FEDERATED, setup, by="area", tasks=("los",)) == result
    # the head as it is, without a step of any site
    places = PublicPlaces(setup.model, setup.store("train"), 2)
    head = places.head("los", replace(QUICK, seed=0)).head
    store = setup.store("links")
    sites = [store[list(store.areas).index(name)] for name in result["sites"]]
    right = []
    for links in sites:
        _, held = divide(links, Adaptation("los"))
        batch = batch_of(links.select(held))
        right.append(measure(TASKS["los"], head, embed(setup.model, batch, "channel"), batch)["accuracy"])
    assert rows["public"]["own"]["mean"] == pytest.approx(np.mean(right))
    same = setup.folders | {"train": tmp_path / "links"}
    with pytest.raises(InputError, match="places in both"):
        FEDERATED.run(replace(setup, folders=same), by="area", tasks=("los",))


def test_a_head_goes_on_from_another_which_stays() -> None:
    draw = torch.Generator().manual_seed(0)
    z, target = torch.randn(40, 128, generator=draw), torch.randint(0, 2, (40,), generator=draw)
    start = fit(TASKS["los"], z, target, QUICK)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    once = HeadTraining(epochs=0, steps=1, batch=16, learning_rate=1e-3, weight_decay=0.0)
    found = fit(TASKS["los"], z + 1, target, once, start=start)
    for name, value in start.state_dict().items():
        assert torch.equal(value, before[name])
    for name, value in found.named_parameters():  # AdamW's first step is the rate, whatever the gradient
        assert 0 < (value - before[name]).abs().max() <= 1.001e-3
    for name, value in found.named_buffers():
        assert torch.equal(value, before[name])


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
