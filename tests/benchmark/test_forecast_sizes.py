from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.data.drives.moving import drives

from uniair.benchmark.forecast_comparison import RETIMED, Comparison
from uniair.benchmark.forecast_sizes import FORECAST_SIZES, SMALL, WIDTHS, Sizes, draw, some, tables
from uniair.data.drives.windows import codebook
from uniair.errors import InputError
from uniair.models.forecast import ForecastPreset
from uniair.training.forecasting import ForecastTraining
from uniair.training.loop import Optimisation


def sizes(out: Path) -> Sizes:
    some = tuple(drives(10, scenario="a") + drives(10, scenario="b"))
    plan = Optimisation(steps=10, matrix_rate=0.0, save_every=5)
    training = ForecastTraining(batch=4, length=4, optimisation=plan)
    made = Comparison(some, out, seeds=2, preset=ForecastPreset(width=32, context=5), training=training)
    return Sizes(made, (32, 96), (0.5, 1.0))


def test_sizes_learn_from_shares_and_their_runs_are_kept(tmp_path: Path) -> None:
    made = sizes(tmp_path)
    result = made.run() | {"seeds": 2}
    assert list(result["sizes"]) == [RETIMED, "WMLM, 0.03 M", "WMLM, 0.16 M"]
    for points in result["sizes"].values():
        assert [point["drives"] for point in points] == [3, 6]
        assert [point["steps"] for point in points] == [72, 144]
        assert all(set(point["parts"]) == {"held out", "unseen"} for point in points)
    named = [[row[:3] for row in table.rows] for _, table in tables(result)]
    assert named[0] == named[1]
    assert len(named[0]) == 6
    draw(result, Figure())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(before) == 12
    assert made.run() | {"seeds": 2} == result
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}


def test_a_larger_share_holds_the_smaller_and_every_street(tmp_path: Path) -> None:
    every = tuple(drives(10, scenario="a") + drives(4, scenario="b"))
    few, half = ({drive.name for drive in some(every, share, 1)} for share in (1 / 8, 1 / 2))
    assert few < half
    assert {name.split("/")[0] for name in few} == {"a", "b"}
    assert len(half) == 7
    assert some(every, 1.0, 1) == every
    assert {drive.name for drive in some(every, 1 / 2, 2)} != half


def test_a_wider_model_learns_at_a_lower_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    monkeypatch.setattr(Comparison, "wmlm", lambda self, setting, seed, preset: rates.append(
        (preset.width, self.training.optimisation.learning_rate, preset.beams)))  # fmt: skip
    made = sizes(tmp_path)
    rate, beams = made.comparison.training.optimisation.learning_rate, codebook(made.comparison.drives)
    for width in (SMALL // 2, SMALL, 4 * SMALL):
        made.wmlm(width, None, 0)  # type: ignore[arg-type]
    assert rates == [(SMALL // 2, rate, beams), (SMALL, rate, beams), (4 * SMALL, rate / 4, beams)]


def test_one_site_alone_is_one_line_and_the_largest_is_for_the_full_budget(tmp_path: Path) -> None:
    made = sizes(tmp_path)
    with pytest.raises(InputError, match="give drives of two sites"):
        replace(made, comparison=replace(made.comparison, drives=tuple(drives(10)))).run()
    assert not (tmp_path / "runs").exists()
    assert WIDTHS["full"] == (*WIDTHS["quick"], 512)
    assert FORECAST_SIZES.needs == ("drives",)
