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
from uniair.benchmark.next_csi import NEXT_CSI, NextCsiBudget, sequences
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
    monkeypatch.setitem(next_csi.BUDGETS, "quick", NextCsiBudget(2, 2, 3))
    monkeypatch.setattr(next_csi, "PAST", 10)
    for name, seed, place in (("links", 6, "town"), ("train", 7, "elsewhere")):
        links = geometric_links(seed=seed, areas=2, per_area=20, place=place)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", links)
        shards.write_manifest(tmp_path / name, {}, "")
    folders = {name: tmp_path / name for name in ("links", "train")}
    setup = Setup(uniair.build("tiny"), tmp_path / "out", folders, seeds=1)
    result = perform("nextcsi", NEXT_CSI, setup)
    assert list(result["rows"]) == [f"28 GHz, 30 km/h, {horizon} ms" for horizon in (1, 2, 5)]
    assert result["links"] == {"28 GHz": 4}
    at = {name: row["nmse_db"]["mean"] for name, row in result["rows"]["28 GHz, 30 km/h, 5 ms"]["methods"].items()}
    assert at["UniAir"] < at["autoregression"] - 3 < at["persistence"]
    tables = NEXT_CSI.tables(result)
    assert [heading.split(",")[0].split(";")[0] for heading, _ in tables] == ["NMSE", "SGCS", "cosine of the codes"]
    assert all(len(table.rows) == 3 for _, table in tables)

    def again(*_: object) -> None:
        pytest.fail("measured again")

    monkeypatch.setattr(next_csi, "_measured", again)
    assert perform("nextcsi", NEXT_CSI, setup) == result
