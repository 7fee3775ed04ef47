"""Table III, Figs. 10 and 13: from a setup to tables and figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import toft
from uniair.benchmark.benchmark import Benchmark, Setup, perform
from uniair.benchmark.per_area import FIG10, FIG13, HEADS, TABLE3, TABLE3_PAPER, short
from uniair.benchmark.toft import Budget
from uniair.data.links import shards
from uniair.errors import InputError
from uniair.training.heads import HeadTraining

WANTED = {
    "table3": (TABLE3, {*TABLE3_PAPER, "look-up of the 5 nearest positions", "one head for both, from CSI"}),
    "fig10": (FIG10, {"TOFT from CSI", "Task-General ViT", "fingerprints, 5 nearest", "side of the area, m"}),
    "fig13": (FIG13, {"ZSL from CSI, its power and map", "Task-Specific ViT", "the more frequent class"}),
    "heads": (HEADS, {"TOFT from map and positions", "MLP from position"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dense")
    shards.write_shard(out / "links-00000.safetensors", geometric_links(seed=6, areas=2, per_area=60))
    shards.write_manifest(out, {}, "")
    return out


@pytest.mark.parametrize("name", WANTED)
def test_tables_and_figure(name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(toft.BUDGETS, "quick", Budget(None, 30, 1, HeadTraining(epochs=1, steps=5, batch=16)))
    benchmark, methods = WANTED[name]
    assert isinstance(benchmark, Benchmark)
    setup = Setup(uniair.build("tiny"), tmp_path / name, {"dense": folder}, seeds=1)
    result = perform(name, benchmark, setup)
    tables = benchmark.tables(result)
    heading, _ = tables[0]
    assert methods <= {row[0] for _, table in tables for row in table.rows}
    assert "30 links per area" in heading
    for _, table in tables:
        assert all(len(row) == len(table.head) for row in table.rows)
        assert table.text()
    assert (setup.out / "figure.svg").read_text().count("<svg") == 1


def test_light_heads_are_compared_without_networks_from_scratch(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(toft.BUDGETS, "quick", Budget(1, 30, 1, HeadTraining(epochs=1, steps=5, batch=16)))
    rows = HEADS.run(Setup(uniair.build("tiny"), tmp_path / "heads", {"dense": folder}, seeds=1))["rows"]
    assert set(rows) == {"beam", "position", "los", "path_loss", "precoding"}
    assert not [method for methods in rows.values() for method in methods if "ViT" in method]
    assert not (tmp_path / "supervised").exists()


def test_areas_are_named_by_their_place_where_that_is_enough() -> None:
    assert short(["krems/00000", "sionna_san_francisco/00000"]) == ["krems", "san francisco"]
    assert short(["krems/00000", "krems/00001"]) == ["krems/00000", "krems/00001"]


def test_without_dense_areas(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs --dense"):
        TABLE3.run(Setup(uniair.build("tiny"), tmp_path / "table3", {}))
