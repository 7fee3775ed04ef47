from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.data.drives.moving import BEAMS, drives

pytest.importorskip("flwr", reason="a federation needs flwr: pip install 'uniair[federated]'")
pytest.importorskip("peft", reason="LoRA needs peft: pip install 'uniair[llm]'")

import uniair
from uniair.benchmark import federated_forecasts
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.federated_forecasts import FEDERATED_FORECASTS, PLANS, Trial, shuffled
from uniair.data.drives.drive import write_drives
from uniair.errors import InputError
from uniair.federation.agreement import Federation
from uniair.models.forecast import WMLM, ForecastPreset


@pytest.fixture
def model() -> WMLM:
    torch.manual_seed(0)
    return WMLM(ForecastPreset(width=32, beams=BEAMS, dropout=0.0)).eval()


def test_every_federation_is_measured_and_goes_on(model: WMLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        write_drives(tmp_path / "drives" / f"drives-street{n}.safetensors", drives(5, scenario=f"street{n}"))
    monkeypatch.setattr(federated_forecasts, "load_forecaster", lambda _: model)
    monkeypatch.setitem(PLANS, "quick", replace(PLANS["quick"], rounds=1, steps=1, batch=4, rank=2))
    setup = Setup(uniair.build("tiny"), tmp_path / "out", {"drives": tmp_path / "drives"}, seeds=1)
    found = perform("federated-forecasts", FEDERATED_FORECASTS, setup)
    assert list(found["sites"]) == ["street1", "street2", "street3"]
    assert found["new"] == ["street0"]
    assert found["rules"] == ["mean", "median", "trimmed"]  # three sites: krum withstands none of them
    for _, table in FEDERATED_FORECASTS.tables(found):
        assert all(len(row) == len(table.head) for row in table.rows)
    labels = [row[0] for row in FEDERATED_FORECASTS.tables(found)[0][1].rows]
    assert "all drives in one place, 3 minibatches, one optimiser" in labels
    assert "federated, mean, 3 × 1 minibatches" in labels
    assert perform("federated-forecasts", FEDERATED_FORECASTS, setup) == found
    assert len(list((tmp_path / "out" / "runs").glob("*.json"))) == 3 + 3 * 3
    with pytest.raises(InputError, match="drives of one site alone"):
        FEDERATED_FORECASTS.run(
            replace(setup, out=tmp_path / "one", folders={"drives": tmp_path / "drives" / "drives-street1.safetensors"})
        )


def test_in_one_place_as_many_steps_are_taken_as_at_all_sites_together_with_one_optimiser(
    model: WMLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: Counter[int] = Counter()
    step, kept = torch.optim.AdamW.step, list[torch.optim.AdamW]()

    def counted(self: torch.optim.AdamW, *given: Any, **options: Any) -> Any:
        kept.append(self)  # or another could have its id
        taken[id(self)] += 1
        return step(self, *given, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    sites = {f"street{n}": drives(5, scenario=f"street{n}") for n in range(3)}
    plan = Federation(task="forecast", rounds=3, steps=2, batch=4, rank=2, sites=3)
    trial = Trial(model, sites, {"street9": drives(5, scenario="street9")}, plan)
    trial.federated("mean")
    assert sorted(taken.values()) == [2] * 9
    taken.clear()
    trial.pooled()
    assert list(taken.values()) == [18]
    taken.clear()
    trial.alone()
    assert list(taken.values()) == [6] * 3


def test_a_median_bears_a_site_whose_parameters_are_scaled(model: WMLM) -> None:
    sites = {f"street{n}": drives(5, scenario=f"street{n}") for n in range(3)}
    plan = Federation(task="forecast", part="all", rounds=4, steps=24, batch=8, learning_rate=6e-3, sites=3)
    trial = Trial(model, sites, {"street9": drives(5, scenario="street9")}, plan)
    poisoned = {rule: trial.federated(rule, "weights")["honest"] for rule in ("mean", "median")}
    assert poisoned["median"] > trial.base()["own"] + 0.3
    assert poisoned["median"] > poisoned["mean"] + 0.1


def test_shuffled_powers_say_nothing_but_are_as_large() -> None:
    (one,), (other,) = [drives(1)], [shuffled(drives(1))]
    np.testing.assert_array_equal(np.sort(one[0].power, axis=1), np.sort(other[0].power, axis=1))
    assert (other[0].beam == other[0].power.argmax(1)).all()
    assert (one[0].beam != other[0].beam).mean() > 0.5
