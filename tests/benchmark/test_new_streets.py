from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.data.drives.moving import drives

from uniair.benchmark.forecast_comparison import Comparison
from uniair.benchmark.new_streets import NEW_STREETS, OTHERS, TWIN, NewStreets, draw, tables
from uniair.data.drives.passages import Augmentation
from uniair.errors import InputError
from uniair.models.forecast import ForecastPreset
from uniair.training.forecasting import ForecastTraining
from uniair.training.learning_stream import StreamLearning
from uniair.training.loop import Optimisation

PLAIN = Augmentation(0.0, 0.0, 0.0)
EAGER = StreamLearning(batch=8, length=4, augmentation=PLAIN, memory=6, replay=0.25, recent=40, level=0.5)
EAGER = replace(EAGER, optimisation=replace(EAGER.optimisation, learning_rate=1e-2))


def streets(out: Path, beams: int = 16, count: int = 12) -> NewStreets:
    """A street whose beams are numbered otherwise than on the one that was learned, to a model that goes by numbers."""
    new = [
        replace(one, power=np.roll(one.power, 6, 1), beam=((one.beam + 6) % beams).astype(np.int32))
        for one in drives(count, scenario="new", beams=beams)
    ]
    made = Comparison(
        (*new, *drives(7, scenario="old", beams=beams)), out, seeds=2,
        preset=ForecastPreset(width=32, context=5, around=False),
        training=ForecastTraining(batch=8, length=4, optimisation=Optimisation(
            steps=300, matrix_rate=0.0, learning_rate=1e-2, save_every=100)),
    )  # fmt: skip
    return NewStreets(made, minutes=0.2, learning=EAGER)


def test_a_stream_gains_on_a_new_street_and_its_runs_are_kept(tmp_path: Path) -> None:
    made = streets(tmp_path)
    result = made.run()
    assert list(result["settings"]) == ["S1 → new"]
    assert list(result["settings"]["S1 → new"]) == [OTHERS]  # the packaged weights know another codebook
    found = result["settings"]["S1 → new"][OTHERS]
    assert found["steps"] == 12 * 24
    assert found["promotions"]["mean"] >= 1
    assert found["after"]["mean"] > 0 < found["gain"]["mean"]
    assert found["answered"]["mean"] - found["began"]["mean"] == pytest.approx(found["gain"]["mean"] / 100)
    assert found["lowest"] <= found["worst"]["mean"] <= found["gain"]["mean"]
    assert len(found["behind"]) == len(found["by_step"]) == 3
    heading, table = tables(result)[0]
    assert "288 steps" in heading
    assert "taken for 100 ms each" in heading
    assert table.rows[0][0] == OTHERS
    draw(result, Figure())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(before) == 2
    assert made.run() == result
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    with pytest.raises(InputError, match="holds runs with another learning"):
        replace(made, learning=replace(EAGER, level=0.1)).run()


def test_the_packaged_weights_begin_too_and_a_short_stream_has_no_later_gain(tmp_path: Path) -> None:
    made = replace(streets(tmp_path, beams=64, count=2), minutes=1.0)
    short = replace(made.comparison, seeds=1, training=ForecastTraining(
        batch=4, length=4, optimisation=Optimisation(steps=5, matrix_rate=0.0, save_every=1)))  # fmt: skip
    result = replace(made, comparison=short).run()
    found = result["settings"]["S1 → new"]
    assert list(found) == [TWIN, OTHERS]
    assert found[TWIN]["after"] is None
    assert "–" in tables(result)[0][1].rows[0]
    assert found[TWIN]["began"]["mean"] > found[OTHERS]["began"]["mean"]  # which learned one step
    draw(result, Figure())


def test_one_site_alone_and_no_time_are_one_line(tmp_path: Path) -> None:
    made = streets(tmp_path)
    alone = replace(made.comparison, drives=tuple(drives(5)))
    with pytest.raises(InputError, match="the drives are of one site"):
        replace(made, comparison=alone).run()
    with pytest.raises(InputError, match="--minutes 0: give more than 0"):
        replace(made, minutes=0)
    assert not (tmp_path / "runs").exists()


def test_it_asks_for_drives_alone() -> None:
    assert NEW_STREETS.needs == ("drives",)
    assert not NEW_STREETS.asks_model
