"""LOS with the channel's power: from a setup to tables and figure, and what it is worth on the packaged sample."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import power_and_los as link_budget
from uniair.benchmark.benchmark import Setup, perform
from uniair.data.links import shards
from uniair.data.links.loader import batch_of
from uniair.data.links.store import SAMPLE, Store
from uniair.evaluation.zero_shot_suite import answer, figures_of
from uniair.models.universal import RadioWarning
from uniair.tasks import zero_shot


def test_tables_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(link_budget.BUDGETS, "quick", (3, None))
    folders = {}
    for name, seed in (("train", 1), ("links", 2)):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        shards.write_shard(folders[name] / "links-00000.safetensors", geometric_links(seed, areas=9, place=name))
        shards.write_manifest(folders[name], {"seed": seed}, "")
    setup = Setup(uniair.build("tiny"), tmp_path / "linkbudget", folders, seeds=2)
    result = perform("linkbudget", link_budget.LINK_BUDGET, setup)
    assert result["links"] == 9 * 12
    # blocked lines lose 26 dB in these links, the others nothing
    assert 0 < result["fit"]["even_db"]["mean"] < 26
    assert result["rows"]["power"]["with"][link_budget.OFFSETS.index(0.0)]["accuracy"] > 0.9
    for told in (result, _of_before(result)):
        for _, table in link_budget.tables(told):
            assert all(len(row) == len(table.head) for row in table.rows)
    assert (setup.out / "figure.svg").read_text().count("<svg") == 1
    assert (setup.out / "figure.png").read_bytes().startswith(b"\x89PNG")


def _of_before(result: dict[str, Any]) -> dict[str, Any]:
    """The same as before the weights' own reading was measured."""
    rows = {name: {way: row[way] for way in row if way != "read"} for name, row in result["rows"].items()}
    return result | {"rows": rows}


def test_the_power_that_weights_read_is_what_zero_shot_los_answers_by() -> None:
    links = shards.read(SAMPLE)
    links = links.select(np.flatnonzero(links.area == 0)[:20])
    model, batch = uniair.load("small"), batch_of(links)
    found = link_budget._read(model, links)
    radio, env = replace(batch.radio, calibrated=True), batch.environment
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RadioWarning)  # 9 dB too strong is stronger than what was learned
        for known, place in {"map": env.without("bs", "ue"), "both": env}.items():
            for off, told in zip(link_budget.OFFSETS, found[f"{known}, power read"], strict=True):
                want = zero_shot.los(model, batch.csi * 10 ** (-off / 20), place, radio)
                np.testing.assert_allclose(told, want, atol=2e-4)
    assert found["map, power read"][0] != found["map, power read"][-1]


def test_a_folder_of_before_is_asked_for_the_reading_alone(tmp_path: Path) -> None:
    links = geometric_links(2, areas=1, place="links")
    folders = {}
    for name in ("train", "links"):
        folders[name] = tmp_path / name
        shards.write_shard(folders[name] / "links-00000.safetensors", links)
        shards.write_manifest(folders[name], {}, "")
    setup = Setup(uniair.build("tiny"), tmp_path / "linkbudget", folders, seeds=1)
    certain = [float(value) for value in links.los]
    rule = {f"{known}, power": [certain] * len(link_budget.OFFSETS) for known in link_budget.KNOWN}
    before = {
        "links": len(links),
        "is_los": links.los.tolist(),
        "excess": certain,
        **dict.fromkeys(link_budget.KNOWN, certain),
    }
    setup.once(Store(folders["links"]).areas[0], lambda: before | rule)
    setup.once("fit-0", lambda: {"links": 12.0, "even_db": 5.0, "nats_per_db": 0.5})
    rows = link_budget.run(setup)["rows"]
    right = link_budget.OFFSETS.index(0.0)
    for known in link_budget.KNOWN:
        assert rows[known]["with"][right]["accuracy"] == 1  # kept
        assert 0 < rows[known]["read"][right]["accuracy"] < 1  # of weights that have learned nothing


def test_power_is_worth_something_on_the_packaged_sample() -> None:
    links = shards.read(SAMPLE)
    links = links.select(np.arange(0, len(links), 3))
    model = uniair.load("small")
    answers = answer(model, links)
    found = figures_of(answers)
    assert found["los_calibrated"].value > found["los_map"].value + 0.03
    assert found["los_calibrated"].value > (found["los_calibrated"].reference or 1)
    assert found["los_calibrated_ece"].value < 0.05
    area = links.select(links.area == answers.area[0])
    batch = batch_of(area)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RadioWarning)
        radio = replace(batch.radio, calibrated=True)
        want = zero_shot.los(model, batch.csi, batch.environment.without("bs", "ue"), radio)
    np.testing.assert_allclose(answers.los_calibrated[: len(area)], want, atol=1e-4)


def test_the_rule_is_what_the_fit_on_training_places_gave() -> None:
    page = json.loads((Path(__file__).parents[2] / "docs/results/linkbudget.json").read_text(encoding="utf-8"))
    assert pytest.approx(page["fit"]["even_db"]["mean"], abs=0.2) == zero_shot.EVEN
    assert pytest.approx(page["fit"]["nats_per_db"]["mean"], abs=0.02) == zero_shot.NATS_PER_DB
