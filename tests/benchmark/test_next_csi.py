"""The next CSI's figure: every predictor at every carrier, speed and horizon, and a run that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import next_csi
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.next_csi import NEXT_CSI, NOTHING, NextCsiBudget, sequences
from uniair.data.links import shards
from uniair.radio import Radio


def test_sequences_hold_the_links_own_channel_and_move_on() -> None:
    links, radio = geometric_links(seed=6, areas=1, per_area=4), Radio()
    csi = sequences(links, radio, 30, np.array([0.0, 1e-3]), np.random.default_rng(0))
    own = links.paths.csi(radio)
    for here, wanted in zip(csi[:, 0], own, strict=True):
        torch.testing.assert_close(
            here / here.abs().square().mean().sqrt(), wanted / wanted.abs().square().mean().sqrt()
        )
    assert ((csi[:, 1] - csi[:, 0]).abs().square().mean((1, 2)) > 1e-2).any()
    still = sequences(links, radio, 0, np.array([0.0, 1e-3]), np.random.default_rng(0))
    torch.testing.assert_close(still[:, 1], still[:, 0])


def test_every_predictor_is_there_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_csi, "SPEEDS", (30,))
    monkeypatch.setitem(next_csi.BUDGETS, "quick", NextCsiBudget(2, 2, 3, 1))
    monkeypatch.setattr(next_csi, "PAST", 10)
    monkeypatch.setattr(next_csi, "HISTORIES", (4, 10))
    monkeypatch.setattr(next_csi, "SNRS", (20,))
    monkeypatch.setattr(next_csi, "EFFORTS", (1, 2))
    monkeypatch.setattr(next_csi, "ROUNDS", (4, 8))
    for name, seed, place in (("links", 6, "town"), ("train", 7, "elsewhere"), ("validation", 8, "nowhere")):
        links = geometric_links(seed=seed, areas=2, per_area=20, place=place)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", links)
        shards.write_manifest(tmp_path / name, {}, "")
    folders = {name: tmp_path / name for name in ("links", "train", "validation")}
    setup = Setup(uniair.build("tiny"), tmp_path / "out", folders, seeds=1)
    result = perform("nextcsi", NEXT_CSI, setup)
    assert list(result["rows"]) == [f"28 GHz, 30 km/h, {horizon} ms" for horizon in (1, 2, 5)]
    assert result["links"] == {"28 GHz": 4}
    at = {name: row["nmse_db"]["mean"] for name, row in result["rows"]["28 GHz, 30 km/h, 5 ms"]["methods"].items()}
    # of the fit of paths, not of a model: this one is not trained
    assert at[NOTHING] < at["autoregression"] - 3 < at["persistence"]
    assert list(result["told"]) == [
        f"28 GHz, {past} snapshots at 20 dB, {ms} ms" for past in (4, 10) for ms in (1, 2, 5)
    ]
    assert result["chosen"]["10 snapshots at 20 dB"][NOTHING] in next_csi.ROUNDS
    assert result["chosen"]["4 snapshots at 20 dB"]["autoregression"] < 4
    assert all(row[NOTHING]["ms"]["mean"] > 0 for row in result["efforts"].values())
    tables = NEXT_CSI.tables(result)
    assert [len(table.rows) for _, table in tables] == [3, 3, 3, 3, 6, 2, 2]
    assert all(len(row) == len(table.head) for _, table in tables for row in table.rows)
    ahead = {row[0]: row[1:] for row in tables[3][1].rows}["28 GHz, 30 km/h, 5 ms"]
    assert float(ahead[0]) == pytest.approx(at[NOTHING] - at["UniAir"], abs=0.051)
    assert float(ahead[2]) > 3

    def again(*_: object) -> None:
        pytest.fail("measured again")

    for measures in ("choice", "compared", "efforts"):
        monkeypatch.setattr(next_csi, measures, again)
    assert perform("nextcsi", NEXT_CSI, setup) == result
