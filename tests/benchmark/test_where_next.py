from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.data.drives.moving import drives

from uniair.benchmark.forecast_comparison import Comparison
from uniair.benchmark.where_next import Mobility, draw, last_position, tables
from uniair.data.drives.drive import step_time
from uniair.errors import InputError
from uniair.models.forecast import ForecastPreset
from uniair.training.forecasting import ForecastTraining
from uniair.training.loop import Optimisation

TRACKERS = ["the last position", "constant velocity", "constant acceleration", "Kalman's filter"]


def comparison(out: Path, **changed: object) -> Comparison:
    made = Comparison(
        tuple(drives(6) + drives(6, scenario="scenario6")), out, seeds=1,
        preset=ForecastPreset(width=32, context=5),
        training=ForecastTraining(batch=4, length=4, optimisation=Optimisation(steps=5, matrix_rate=0.0, save_every=5)),
    )  # fmt: skip
    return replace(made, **changed)  # type: ignore[arg-type]


def test_trackers_and_wmlm_answer_for_the_same_windows(tmp_path: Path) -> None:
    result = Mobility(comparison(tmp_path)).run([*TRACKERS, "WMLM, positions"])
    assert set(result["settings"]) == {"S2", "S1 → 1"}
    parts = result["settings"]["S1 → 1"]
    assert set(parts) == {"held out", "unseen"}
    found = parts["unseen"]
    assert list(found) == [*TRACKERS, "WMLM, positions"]
    # these drives are at an even speed, north of the station, without noise
    assert found["constant velocity"]["fde"]["mean"] < 0.1 * found["the last position"]["fde"]["mean"]
    assert found["constant velocity"]["1"]["mean"] == pytest.approx(found["WMLM, positions"]["1"]["mean"], abs=0.5)
    assert found["the last position"]["ade"]["mean"] == pytest.approx(
        np.mean([found["the last position"][h]["mean"] for h in "123"])
    )
    used, every = result["windows"]["S1 → 1"]["unseen"]
    assert 0 < used == every
    assert result["truth"] == "the position received later, errors of its own included"
    assert step_time(drives(1)) is None
    assert any("constant velocity" in row[0] for _, table in tables(result) for row in table.rows)
    draw(result, Figure())


def test_other_positions_are_other_drives(tmp_path: Path) -> None:
    made = comparison(tmp_path)
    Mobility(made).run(["the last position"])
    moved = tuple(replace(one, ue=one.ue + 1e-5) for one in made.drives)
    with pytest.raises(InputError, match="holds runs with another drives; give another --out"):
        Mobility(replace(made, drives=moved)).run(["the last position"])


def test_the_truth_is_asked_for_where_it_is_known(tmp_path: Path) -> None:
    """Fixes 3 m north of the truth: no tracker can know, and every error is at least that."""
    some = [replace(one, true=one.ue - [3 / 111_195, 0]) for one in drives(6)]
    result = Mobility(comparison(tmp_path, drives=tuple(some))).run(["constant velocity"])
    assert result["truth"] == "where the UE really was"
    assert result["settings"]["S1"]["held out"]["constant velocity"]["1"]["mean"] == pytest.approx(3, abs=0.1)


def test_windows_without_a_fix_are_left_out_and_counted(tmp_path: Path) -> None:
    some = [replace(one, ue=np.where(np.arange(24)[:, None] < 12, np.nan, one.ue)) for one in drives(6)]
    result = Mobility(comparison(tmp_path, drives=tuple(some))).run(["constant velocity", "the last position"])
    used, every = result["windows"]["S1"]["held out"]
    assert 0 < used < every
    with pytest.raises(InputError, match="no drive has a position"):
        Mobility(comparison(tmp_path, drives=tuple(replace(one, ue=np.full((24, 2), np.nan)) for one in some)))
    with pytest.raises(InputError, match="no method 'oracle'"):
        Mobility(comparison(tmp_path)).run(["oracle"])


def test_the_last_position_is_the_last_known_one() -> None:
    fixes = np.arange(10.0).reshape(1, 5, 2)
    assert last_position(fixes, 2).tolist() == [[[8, 9], [8, 9]]]
    fixes[0, 3:] = np.nan
    assert last_position(fixes, 1).tolist() == [[[4, 5]]]
    assert np.isnan(last_position(np.full((1, 5, 2), np.nan), 1)).all()
