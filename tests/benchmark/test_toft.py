"""The suite of light heads: every row, and that a run goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark.toft import toft_suite
from uniair.data import shards
from uniair.data.store import Store
from uniair.errors import InputError
from uniair.tasks.adaptation import TASKS, HeadTraining

QUICK = HeadTraining(epochs=1, steps=30, batch=32)


def test_the_suite_has_every_task_and_resumes(tmp_path: Path) -> None:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=80))
    shards.write_manifest(tmp_path / "links", {}, "")
    store, model, out = Store(tmp_path / "links"), uniair.build("tiny"), tmp_path / "out"
    found = toft_suite(model, store, out, seeds=2, training=QUICK)
    assert set(found["rows"]) == set(TASKS)
    assert found["rows"]["los"]["TOFT from CSI"]["tuned_parameters"] == 2 * (model.preset.embedding + 1)
    assert found["rows"]["beam"]["MLP from position"]["tuned_parameters"] == 10_720
    for methods in found["rows"].values():
        for row in methods.values():
            assert len(next(iter(row["by_area"].values()))) == 2
    runs = sorted(out.glob("*-[01].json"))
    assert len(runs) == 4
    written = [path.stat().st_mtime_ns for path in runs]
    runs[0].unlink()
    again = toft_suite(model, store, out, seeds=2, training=QUICK)
    assert again == found
    assert [path.stat().st_mtime_ns for path in runs[1:]] == written[1:]
    assert json.loads((out / "toft.json").read_text()) == found
    with pytest.raises(InputError, match="other settings"):
        toft_suite(model, store, out, seeds=2, split="blocks", training=QUICK)
    with pytest.raises(InputError, match="other settings"):
        toft_suite(uniair.build("tiny"), store, out, seeds=2, training=QUICK)  # other weights
    with pytest.raises(InputError, match="at least 1"):
        toft_suite(model, store, out, seeds=0, training=QUICK)
