from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.data.drives.moving import drives, hidden

from uniair.benchmark.blockage_ahead import BLOCKAGE, BlockageAhead, draw, tables
from uniair.benchmark.forecast_comparison import Comparison
from uniair.data.drives.drive import Drive
from uniair.errors import InputError
from uniair.models.forecast import ForecastPreset
from uniair.training.forecasting import ForecastTraining
from uniair.training.loop import Optimisation


def blocked(out: Path, some: list[Drive] | None = None, steps: int = 4) -> BlockageAhead:
    some = [hidden(one) for s in ("a", "b") for one in drives(7, scenario=s)] if some is None else some
    plan = Optimisation(steps=5 * steps, matrix_rate=0.0, learning_rate=3e-3, save_every=50)
    training = ForecastTraining(batch=8, length=4, optimisation=plan)
    made = Comparison(tuple(some), out, seeds=1, preset=ForecastPreset(width=32, context=5), training=training)
    return BlockageAhead(made, (1, 3))


def test_every_method_scores_the_same_windows(tmp_path: Path) -> None:
    result = blocked(tmp_path).run()
    assert set(result["settings"]) == {"S2", "S1 → a"}
    for setting, parts in result["settings"].items():
        for part, methods in parts.items():
            lost, every = result["balance"][setting][part]["3"]
            assert 0 < lost < every
            for name, found in methods.items():
                assert found["3"]["base_rate"]["mean"] == pytest.approx(lost / every), name
                assert 0 < found["3"]["auprc"]["mean"] <= 1
    held = result["settings"]["S2"]["held out"]
    assert set(held) == {"always (base rate)", "persistence: blocked lately", "power drop", "GRU", "WMLM, beams",
                         "WMLM, beams and positions"}  # fmt: skip
    assert held["power drop"]["1"]["auprc"]["mean"] == 1  # a step before, the power has fallen
    assert held["always (base rate)"]["3"]["auprc"]["mean"] == pytest.approx(
        held["always (base rate)"]["3"]["base_rate"]["mean"]
    )
    warned = held["power drop"]["warned"]
    assert set(warned) == {"3"}  # within one step nothing is warned of 200 ms ahead
    always = held["always (base rate)"]["warned"]["3"]
    assert always["events"] > 0
    assert always["recall"]["mean"] == 1
    assert always["precision"]["mean"] < 0.5
    assert always["per_minute"]["mean"] > 0
    told = [heading for heading, _ in tables(result) if "warned of 200 ms ahead" in heading]
    assert len(told) == 3
    assert all("steps are taken for 100 ms" in heading for heading in told)
    assert any("power drop" in row[0] for _, table in tables(result) for row in table.rows)
    draw(result, Figure())


def test_networks_learn_what_comes_before_a_loss(tmp_path: Path) -> None:
    made = blocked(tmp_path, steps=100)
    result = made.run(["always (base rate)", "WMLM, beams"])["settings"]["S2"]["held out"]
    assert result["WMLM, beams"]["3"]["auprc"]["mean"] > 2 * result["always (base rate)"]["3"]["auprc"]["mean"]


def test_sites_that_never_block_are_left_out_by_name_and_a_run_without_any_is_refused(tmp_path: Path) -> None:
    clear = [replace(one, los=np.ones(24, dtype=np.int8)) for one in drives(7, scenario="clear")]
    some = [*clear, *(hidden(one) for one in drives(7, scenario="b"))]
    result = blocked(tmp_path / "one", some).run(["power drop"])
    assert set(result["settings"]) == {"S2"}
    assert "sight is lost" in result["left_out"]["S1 → clear"]
    tables(result)
    with pytest.raises(InputError, match="sight is lost 0 times in the training drives, 0 times in the validation"):
        blocked(tmp_path / "none", clear).run(["power drop"])
    with pytest.raises(InputError, match="no method 'oracle'"):
        blocked(tmp_path / "two").run(["oracle"])
    assert not (tmp_path / "none").exists()


def test_it_asks_for_drives_that_block_and_for_no_model() -> None:
    assert BLOCKAGE.needs == ("blocked",)
    assert not BLOCKAGE.asks_model
