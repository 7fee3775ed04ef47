from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from uniair import metrics
from uniair.errors import InputError
from uniair.models.forecast import WMLM, Forecast, ForecastPreset
from uniair.models.sequence_baselines import Persistence
from uniair.tasks.beam_forecast import Forecasting, SensorAlignment, figures, forecasts

BEAMS = 16


def sweep(n: int = 4, t: int = 8, step: int = 1) -> dict[str, Tensor]:
    """Lobes that move `step` beams a step."""
    best = torch.arange(n)[:, None] + step * torch.arange(t)
    power = 0.1 + torch.exp(-0.5 * (torch.arange(BEAMS) - best[..., None]).square() / 2)
    return {"power": power, "beam": best, "position": torch.randn(n, t, 4)}


def test_metrics_of_persistence_are_known() -> None:
    steps = sweep()
    said = forecasts(Persistence(BEAMS, 3), steps, past=5)
    found = figures(said, steps, past=5)
    assert found["1"]["top1"] == 0
    assert found["1"]["top3"] == 1  # next to the last beam
    # off by one beam at K = 1; among the three likeliest the true one stands
    assert found["1"]["dba"] == pytest.approx((0.8 + sum(_reach(said, steps, k) for k in (2, 3))) / 3)
    ratio = (0.1 + math.exp(-1 / 4)) / 1.1
    assert found["1"]["share"] == pytest.approx(ratio, rel=1e-4)
    assert found["3"]["nmse_db"] > found["1"]["nmse_db"]


def _reach(said: Forecast, steps: dict[str, Tensor], k: int) -> float:
    near = said.logits[:, 1].topk(k, 1).indices - steps["beam"][:, 5:6]
    return float((1 - near.abs().min(1).values / 5).mean())


def test_dba_is_one_when_right_and_zero_when_far() -> None:
    logits = torch.zeros(1, 64)
    logits[0, :3] = torch.tensor([3.0, 2.0, 1.0])
    assert metrics.dba(logits, torch.tensor([0])) == 1
    assert metrics.dba(logits, torch.tensor([40])) == 0
    assert metrics.dba(logits, torch.tensor([2])) == pytest.approx((3 / 5 + 4 / 5 + 1) / 3)


def test_the_loss_of_a_perfect_forecast_is_the_entropy_of_its_target() -> None:
    steps = sweep(t=6)

    class Oracle(torch.nn.Module):
        def forward(self, heard: dict[str, Tensor]) -> Forecast:
            at = torch.arange(3)[:, None] + torch.arange(4)
            level = 10 * torch.log10(steps["power"][:, at])
            return Forecast(1e3 * torch.nn.functional.one_hot(steps["beam"][:, at], BEAMS), level, torch.zeros(4, 3))

    heard = {name: values[:, :3] for name, values in steps.items()}
    found = Forecasting(soft=0.0).terms(Oracle(), heard, steps).means()
    assert float(found["beam"]) == pytest.approx(0, abs=1e-6)
    assert float(found["power"]) == pytest.approx(0, abs=1e-6)


def test_the_loss_of_the_power_is_what_nmse_averages() -> None:
    steps = sweep(t=6)
    heard = {name: values[:, :3] for name, values in steps.items()}
    found = Forecasting().terms(Persistence(BEAMS, 3), heard, steps).means()
    now, at = torch.arange(3), torch.arange(3)[:, None] + torch.arange(1, 4)
    wanted = [
        math.log1p(float((steps["power"][n, t] - steps["power"][n, later]).square().sum()
                         / steps["power"][n, later].square().sum()))
        for n in range(4) for t in now.tolist() for later in at[t].tolist()
    ]  # fmt: skip
    assert float(found["power"]) == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)


def test_missing_steps_ask_for_nothing() -> None:
    steps = sweep(t=8)
    model = WMLM(ForecastPreset(width=32, beams=BEAMS, context=5))
    task = Forecasting()
    steps["power"][0], steps["beam"][0] = torch.nan, -1
    heard = {name: values[:, :5] for name, values in steps.items()}
    terms = task.terms(model, heard, steps)
    assert int(terms.counts["beam"]) == 3 * 5 * 3  # passages with steps, heard steps, horizons
    assert torch.isfinite(terms.means()["total"])


def test_hiding_leaves_a_modality_and_the_truth() -> None:
    steps = sweep(n=200)
    hidden = Forecasting(hidden=0.9, lost=0.0).hide(steps, torch.Generator().manual_seed(0))
    known = torch.stack([hidden["power"].isfinite().all((1, 2)), (hidden["beam"] >= 0).all(1),
                         hidden["position"].isfinite().all((1, 2))])  # fmt: skip
    assert known.any(0).all()
    assert 0.3 < known.float().mean() < 0.5
    assert steps["power"].isfinite().all()
    lost = Forecasting(hidden=0.0, lost=0.5).hide(steps, torch.Generator().manual_seed(0))
    assert ((lost["beam"] < 0) == lost["power"].isnan().all(2)).all()
    assert 0.4 < (lost["beam"] < 0).float().mean() < 0.6


def test_alignment_draws_the_modalities_of_a_step_together() -> None:
    torch.manual_seed(0)
    steps = sweep(n=6, t=4)
    steps["position"] = torch.cat([steps["beam"][..., None] - 6.0, torch.full((6, 4, 1), 9.0), torch.zeros(6, 4, 2)], 2)
    model = WMLM(ForecastPreset(width=32, beams=BEAMS, context=5, modalities=("power", "beam", "position")))
    task, optimiser = SensorAlignment("power"), torch.optim.Adam(model.parameters(), 3e-3)
    first = task.loss(model, steps)["alignment"]
    for _ in range(60):
        optimiser.zero_grad()
        task.loss(model, steps)["alignment"].backward()
        optimiser.step()
    assert task.loss(model, steps)["alignment"] < 0.3 * first


def test_anchors_that_are_not_there_are_refused() -> None:
    with pytest.raises(
        InputError, match="'sound': choose power, beam, position, camera, lidar, radar, csi, or several"
    ):
        SensorAlignment("sound")
    with pytest.raises(InputError, match="each once"):
        SensorAlignment("power+power")
    with pytest.raises(InputError, match="-1 steps of stage 1"):
        SensorAlignment("power", steps=-1)
    with pytest.raises(InputError, match="needs the modality camera"):
        SensorAlignment("power+camera").pairs(("power", "beam", "position"))
    with pytest.raises(InputError, match="nothing to align among power, beam"):
        SensorAlignment("power").pairs(("power", "beam"))
    with pytest.raises(InputError, match="the beam's index is read off its power; give power"):
        SensorAlignment("beam").pairs(("power", "beam", "position"))


def test_any_modality_or_several_are_anchors_to_all_others() -> None:
    assert SensorAlignment("power+camera").pairs(("power", "position", "camera")) == [
        ("power", "position"), ("power", "camera"), ("position", "camera"),
    ]  # fmt: skip
    assert SensorAlignment("position").pairs(("power", "beam", "position", "lidar")) == [
        ("power", "position"), ("position", "lidar"),
    ]  # fmt: skip
    assert SensorAlignment("beam").pairs(("beam", "position")) == [("beam", "position")]
