"""A place's channel beside those of its neighbours: known answers, every row, and a run that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

from uniair.benchmark import generated_channels
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.generated_channels import GENERATION, METHODS, covariance, spread_of, strongest
from uniair.data.links import shards
from uniair.models.presets import PRESETS
from uniair.models.universal import ReadPaths, UniversalModel
from uniair.propagation.coverage import delay_spread
from uniair.propagation.paths import Paths


def test_spreads_and_precoders_of_known_channels() -> None:
    flat = {name: np.zeros(2) for name in Paths.PER_PATH}
    two = Paths.from_rows(
        1, np.zeros(2, dtype=int), **(flat | {"gain": np.array([1.0, 0.5]), "delay": np.array([0, 1e-7])})
    )
    share = np.array([0.8, 0.2])
    expected = 1e-7 * np.sqrt(share[1] - share[1] ** 2)
    assert delay_spread(two, np.abs(two.gain) ** 2) == pytest.approx(expected, rel=1e-5)
    read = ReadPaths(torch.zeros(1, 2), torch.tensor([[0.0, 1e-7]]), torch.tensor([[1.0, 0.5]], dtype=torch.complex64))
    assert spread_of(read) == pytest.approx(expected, rel=1e-5)
    steering = torch.polar(torch.ones(4), 0.9 * torch.arange(4))
    csi = steering[None, :, None] * torch.randn(1, 1, 6, dtype=torch.complex64)
    assert abs(complex(strongest(covariance(csi))[0].conj() @ steering)) == pytest.approx(2, rel=1e-5)


def test_every_method_is_asked_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated_channels, "FEWEST", 4)
    monkeypatch.setattr(generated_channels, "MEASURED", 2)
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(seed=3, areas=2, per_area=16))
    shards.write_manifest(tmp_path / "links", {}, "")
    torch.manual_seed(0)
    model = UniversalModel(PRESETS["tiny"]).eval()
    setup = Setup(model, tmp_path / "out", {"links": tmp_path / "links"}, seeds=2)
    found = perform("generation", GENERATION, setup)
    assert found["links"] > 0
    for method in METHODS:
        row = found["rows"]["all"][method]
        assert 0 <= row["sgcs"]["mean"] <= 1
        assert row["delay_spread_ns"]["mean"] >= 0
        # who has been measured is drawn; the environment and all of the others are not
        assert (row["sgcs"]["spread"] > 0) == method.endswith("_few")
    runs = sorted((setup.out / "runs").glob("*.json"))
    assert len(runs) == 4
    runs[1].unlink()
    assert perform("generation", GENERATION, setup) == found
    assert len(GENERATION.tables(found)) == 2
