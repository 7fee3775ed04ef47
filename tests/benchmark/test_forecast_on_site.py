from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.data.drives.moving import BEAMS, drives

from uniair.benchmark.forecast_comparison import Comparison
from uniair.benchmark.forecast_on_site import draw, on_site, tables
from uniair.errors import InputError
from uniair.models.forecast import ForecastPreset
from uniair.training.forecast_adaptation import OnSite
from uniair.training.forecasting import ForecastTraining
from uniair.training.loop import Optimisation

TRAINING = ForecastTraining(batch=4, length=4, optimisation=Optimisation(steps=4, matrix_rate=0.0, save_every=2))


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    both = (*drives(6, scenario="a"), *drives(6, scenario="b"))
    preset = ForecastPreset(width=32, beams=BEAMS, context=6)
    return Comparison(both, tmp_path, "full", 1, preset, TRAINING)


def test_it_resumes_and_says_what_was_gained_and_lost(comparison: Comparison) -> None:
    config = OnSite(batch=8, length=4, optimisation=replace(OnSite.optimisation, steps=3))
    found = on_site(comparison, 1, config, ("head", "all"))
    assert list(found["methods"]) == ["base", "head", "head and replay", "all", "all and replay"]
    tuned = {name: one["parameters"] for name, one in found["methods"].items()}
    assert tuned["base"] == 0 < tuned["head"] < tuned["all"]
    assert len(found["methods"]["head"]["earlier"]["top1"]["mean"]) == 3
    assert "site top-1" in tables(found)[0][1].text()
    figure = Figure()
    draw(found, figure)
    assert len(figure.axes[0].containers) == 2 * len(found["methods"])  # bars and their spread
    again = on_site(replace(comparison, seeds=1), 1, config, ("head", "all"))  # seconds too: nothing was run again
    assert again == found


def test_a_site_that_is_not_there(comparison: Comparison) -> None:
    with pytest.raises(InputError, match="2 sites to leave out"):
        on_site(comparison, 5)


def test_sites_without_a_drive_to_test_on(comparison: Comparison) -> None:
    few = tuple(one for one in comparison.drives if one.name != "b/00000" and one.name != "b/00005")
    with pytest.raises(InputError, match="S1 → b: no drive of the new site is held out"):
        on_site(replace(comparison, drives=few), 1)
    with pytest.raises(InputError, match="S1 → a: no drive of earlier sites is held out"):
        on_site(replace(comparison, drives=few), 0)
