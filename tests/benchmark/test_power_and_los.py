"""LOS with the channel's power: from a setup to tables and figure, and what it is worth on the packaged sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import power_and_los as link_budget
from uniair.benchmark.benchmark import Setup, perform
from uniair.data.links import shards
from uniair.data.links.store import SAMPLE
from uniair.evaluation.zero_shot_suite import answer, figures_of
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
    for _, table in link_budget.tables(result):
        assert all(len(row) == len(table.head) for row in table.rows)
    assert (setup.out / "figure.svg").read_text().count("<svg") == 1
    assert (setup.out / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_shipped_rule_is_worth_something_on_the_packaged_sample() -> None:
    links = shards.read(SAMPLE)
    links = links.select(np.arange(0, len(links), 3))
    found = figures_of(answer(uniair.load("small"), links))
    assert found["los_power"].value > found["los_map"].value + 0.03
    assert found["los_power"].value > (found["los_power"].reference or 1)
    assert found["los_power_ece"].value < 0.05


def test_the_rule_is_what_the_fit_on_training_places_gave() -> None:
    page = json.loads((Path(__file__).parents[2] / "docs/results/linkbudget.json").read_text(encoding="utf-8"))
    assert pytest.approx(page["fit"]["even_db"]["mean"], abs=0.2) == zero_shot.EVEN
    assert pytest.approx(page["fit"]["nats_per_db"]["mean"], abs=0.02) == zero_shot.NATS_PER_DB
