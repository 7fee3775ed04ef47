from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from tests.data.drives.moving import BEAMS, drives
from tests.site.make import station_links, town

import uniair
from uniair.benchmark.speed import edge_cost as edge
from uniair.data.drives.windows import cut
from uniair.data.links import shards
from uniair.data.links.store import Store
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.site.site import Station
from uniair.training.forecasting import tensors
from uniair.training.heads import HeadTraining


@pytest.fixture
def store(tmp_path: Path) -> Store:
    links = station_links(town(), Station("bs0", (30.0, 75.0, 6.0)), users=60)
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", links)
    shards.write_manifest(tmp_path / "links", {}, "made by a test")
    return Store(tmp_path / "links")


def test_every_task_is_measured_in_every_form(store: Store) -> None:
    torch.manual_seed(0)
    found = edge.accuracy(uniair.build("tiny"), store, links=50, training=HeadTraining(epochs=1, steps=20, batch=32))
    assert {"position from channel", "path_loss from environment", "zero-shot LOS", "CSI feedback"} <= set(found)
    for task, forms in found.items():
        assert set(forms) == set(edge.FORMS), task
        for name, value in forms["torch"].items():
            assert forms["ONNX"][name] == pytest.approx(value, rel=1e-3, abs=1e-3), (task, name)
    # 8 bits are no copy of the rest
    assert any(forms["int8"] != forms["ONNX"] for forms in found.values())


def test_latencies_and_throughput_make_tables(store: Store) -> None:
    model, small = uniair.build("tiny"), ForecastPreset(width=32, beams=16)
    result = {
        "threads": 1, "accuracy": {"task": {form: {"top1": 0.5} for form in edge.FORMS}},
        "latency_ms": edge.latency(model, store[0], repeats=2),
        "forecast": {"tiny": edge.forecast_latency(small, repeats=2)},
        "throughput": edge.throughput(model, batch=4, repeats=1),
        "encoding": {"tiny": edge.encoding(model, batch=4, repeats=1)},
    }  # fmt: skip
    assert result["throughput"]["parameters"] == pytest.approx(6e5, rel=0.02)
    assert result["throughput"]["times"]["transformer"] == 1.0
    assert 0 < result["encoding"]["tiny"]["share"]["torch"] < 1
    text = "\n".join(table.text() for _, table in edge.tables(result))
    assert all(name in text for name in ("cfenn", "epnn", "crnn", "WMLM tiny", "transformer"))
    assert len(edge.faster(result)) == len(edge.MODELS) * len(edge.BATCHES) + 1


def test_the_packaged_forecaster_bears_8_bits() -> None:
    for forms in edge.packaged_forecasts().values():
        assert forms["ONNX"]["top1"] == pytest.approx(forms["torch"]["top1"], abs=2e-3)
        assert forms["int8"]["top1"] > forms["torch"]["top1"] - 0.05


def test_forecasts_are_the_same_in_onnx() -> None:
    torch.manual_seed(0)
    model = WMLM(ForecastPreset(width=32, beams=BEAMS, past=3, future=2)).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    steps = tensors(cut(drives(2), 3, 2).steps())
    found = edge.forecast_accuracy(model, steps, 3)
    assert found["ONNX"]["1"]["top1"] == found["torch"]["1"]["top1"]
    assert found["ONNX"]["2"]["nmse_db"] == pytest.approx(found["torch"]["2"]["nmse_db"], abs=1e-3)
    assert found["int8"]["2"]["nmse_db"] != found["ONNX"]["2"]["nmse_db"]


def test_times_are_of_the_call_alone() -> None:
    took = edge.timed({"sleeps": lambda: time.sleep(0.02), "works": lambda: sum(range(1000))}, 3)
    assert 20 <= took["sleeps"]["least"] <= took["sleeps"]["median"]
    assert took["sleeps"]["cpu"] < 10
    assert took["works"]["least"] < took["sleeps"]["least"]
