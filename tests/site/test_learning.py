"""Heads and what they are compared with: the same streets for all, curves, and what a label can't say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import uniair
from tests.site.make import station_links, town
from uniair.data.links.links import Links
from uniair.models.universal import UniversalModel
from uniair.site import learning
from uniair.site.measured import Measured
from uniair.site.site import Site, Station
from uniair.site.site_tables import curves, task_table
from uniair.tasks.registry import TASKS, pairs
from uniair.training.heads import HeadTraining, load_head, measure

STATION = Station("bs0", (30.0, 75.0, 6.0), 0.4)
QUICK = HeadTraining(epochs=1, steps=40, batch=32)


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def links() -> Links:
    return station_links(town(), STATION, users=120)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, town(), (STATION,), "tiny", "")


@pytest.mark.parametrize("pair", pairs())
def test_a_kept_head_is_the_one_in_the_table(
    pair: tuple[str, str], model: UniversalModel, links: Links, site: Site
) -> None:
    labelled = learning.samples(model, site, 0, links, None)[pair]
    rows = learning.head_rows(site, 0, pair, labelled, QUICK, 0, keep=True)
    learn, test = labelled.divide(0)
    assert [row["labels"] for row in rows] == [16, 64, len(learn)]
    assert [row["all"] for row in rows] == [False, False, True]
    head, inputs, _ = load_head(site.head(*pair, 0), model, pair[0])
    assert inputs == pair[1]
    again = measure(TASKS[pair[0]], head, labelled.embeddings(inputs)[test], labelled.part(test))
    assert again == pytest.approx(rows[-1]["figures"])
    others = learning.other_rows(pair, labelled, QUICK, 0)
    assert {row["labels"] for row in others} == {row["labels"] for row in rows}
    assert all(row["figures"].keys() == rows[-1]["figures"].keys() for row in others)
    table = task_table([*rows, *others], pair[0])
    assert len(table.rows) == 1 + len({row["method"] for row in others})


def test_the_same_answer_for_everyone_scores_as_it_should(model: UniversalModel, links: Links, site: Site) -> None:
    for pair, figure, best in ((("los", "channel"), "accuracy", None), (("path_loss", "environment"), "rmse_db", None)):
        labelled = learning.samples(model, site, 0, links, None)[pair]
        row = next(r for r in learning.other_rows(pair, labelled, QUICK, 0) if r["all"] and "same" in r["method"])
        learn, test = labelled.divide(0)
        target = TASKS[pair[0]].target(labelled.batch).double()
        if pair[0] == "los":
            best = float((target[test] == round(float(target[learn].mean()))).double().mean())
        else:
            best = float((target[test] - target[learn].mean(0)).square().mean().sqrt())
        assert row["figures"][figure] == pytest.approx(best, abs=1e-4)


def test_measured_labels_come_first(model: UniversalModel, links: Links, site: Site) -> None:
    rng = np.random.default_rng(0)
    ue = town().drop(60, 1.5, rng)
    beams = Measured(ue, np.zeros(60, dtype=np.int64), {"beam": rng.integers(0, 32, 60)})
    found = learning.samples(model, site, 0, links, beams)
    assert {pair for pair, labelled in found.items() if labelled.source == "measured"} == {("beam", "environment")}
    assert set(found) == set(pairs())
    rows = learning.head_rows(site, 0, ("beam", "environment"), found["beam", "environment"], QUICK, 0, keep=False)
    assert set(rows[-1]["figures"]) == {"top1", "top3"}  # the power of the other beams is not known
    assert not list(site.folder.iterdir())
    assert set(learning.samples(model, site, 0, None, beams)) == {("beam", "environment")}
    few = learning.samples(
        model, site, 0, links, Measured(ue[:9], beams.station[:9], {"beam": beams.labels["beam"][:9]})
    )
    assert all(labelled.source == "traced" for labelled in few.values())


def test_networks_from_scratch_see_the_same_streets(model: UniversalModel, links: Links, site: Site) -> None:
    pair = ("los", "channel")
    labelled = learning.samples(model, site, 0, links, None)[pair]
    [row] = learning.network_rows(pair, labelled, 1, 0)
    assert (row["labels"], row["all"]) == (len(labelled.divide(0)[0]), True)
    assert row["tuned"] > 10_000
    one, two = (learning.network_rows(pair, labelled, 1, 0)[0]["figures"] for _ in range(2))
    assert one == two


def test_curves_gather_seeds() -> None:
    row = {"task": "los", "inputs": "channel", "method": "m", "source": "traced", "tuned": 2}
    rows = [
        row | {"labels": count, "all": every, "seed": seed, "figures": {"accuracy": value}}
        for seed, counts in ((0, (16, 90)), (1, (16, 95)))
        for count, every, value in zip(counts, (False, True), (0.5 + seed / 10, 0.9), strict=True)
    ]
    assert curves(rows, "los") == {"m": {16: {"accuracy": [0.5, 0.6]}, 90: {"accuracy": [0.9, 0.9]}}}
    assert task_table(rows, "los").rows == [["m", "90", "2", "90.0 ± 0.0"]]


def test_measured_and_traced_rows_of_a_task_stay_apart() -> None:
    row = {"task": "los", "method": "m", "tuned": 2, "labels": 90, "all": True, "seed": 0}
    rows = [
        row | {"inputs": inputs, "source": source, "figures": {"accuracy": value}}
        for inputs, source, value in (("channel", "traced", 0.5), ("environment", "measured", 0.7))
    ]
    assert set(curves(rows, "los")) == {"m, traced", "m, measured"}


def test_another_seed_tests_on_other_streets(model: UniversalModel, links: Links, site: Site) -> None:
    labelled = learning.samples(model, site, 0, links, None)["los", "channel"]
    assert set(labelled.divide(0)[1]) != set(labelled.divide(1)[1])
    assert replace(labelled, source="measured").divide(0)[1].tolist() == labelled.divide(0)[1].tolist()
