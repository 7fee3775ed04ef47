"""The head for positions: constant velocity to begin with, in a stream as at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from uniair.edge.graphs import ForecastGraph
from uniair.errors import InputError
from uniair.models.course import Course, straight_on
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.sight_loss import lost_within

PRESET = ForecastPreset(width=32, beams=16, context=6, modalities=("power", "beam", "position"),
                        tasks=("position", "blockage"), warning=4)  # fmt: skip
PAST, FUTURE = 5, 3


def line(t: int = 12) -> Tensor:
    """Two UEs at even speeds, [2, t, 2] m."""
    return torch.tensor([[3.0, 20.0], [-8.0, 11.0]])[:, None] + torch.arange(t)[:, None] * torch.tensor(
        [[[1.2, -0.1]], [[-0.7, 0.4]]]
    )


def steps(t: int = 12) -> dict[str, Tensor]:
    power = torch.rand(2, t, 16, generator=torch.Generator().manual_seed(0)) + 0.01
    return {"power": power, "beam": power.argmax(2), "position": torch.cat([line(t), torch.zeros(2, t, 2)], 2)}


def fixes(position: Tensor) -> Tensor:
    return Course(8, PAST, FUTURE).fixes(position, None, position)


def test_a_straight_course_is_told_exactly_and_gaps_do_not_matter() -> None:
    whole = line(15)
    told = straight_on(fixes(whole[:, :12]), PAST, FUTURE)
    for t in range(1, 12):
        torch.testing.assert_close(told[:, t], whole[:, t + 1 : t + 4], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(told[:, 0], whole[:, :1].expand(2, FUTURE, 2))  # one fix: it stays
    gapped = whole[:, :12].clone()
    gapped[:, [6, 9, 10]] = torch.nan
    torch.testing.assert_close(straight_on(fixes(gapped), PAST, FUTURE)[:, 10], whole[:, 11:14], atol=1e-4, rtol=1e-4)
    gapped[:, 6:] = torch.nan
    assert straight_on(fixes(gapped), PAST, FUTURE)[:, 11].isnan().all()


def test_a_new_model_says_constant_velocity_and_that_a_loss_is_rare() -> None:
    said = WMLM(PRESET).eval()(steps())
    assert said.position is not None
    assert said.hazard is not None
    torch.testing.assert_close(said.position, straight_on(fixes(line()), PAST, FUTURE))
    assert (lost_within(said.hazard)[..., 0] < 0.02).all()
    alone = WMLM(replace(PRESET, tasks=())).eval()(steps())
    assert alone.position is None
    assert alone.hazard is None


def test_filters_turn_with_the_positions() -> None:
    torch.manual_seed(0)
    head = Course(8, PAST, FUTURE)
    torch.nn.init.normal_(head.weights.weight)
    x, course = torch.randn(2, 12, 8), line() + torch.randn(2, 12, 2)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    torch.testing.assert_close(head(x, fixes(course @ turn.mT)), head(x, fixes(course)) @ turn.mT, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(head(x, fixes(course)), straight_on(fixes(course), PAST, FUTURE))


def test_a_stream_says_the_same_and_beams_alone_tell_a_place_too() -> None:
    torch.manual_seed(0)
    model, heard = WMLM(PRESET).eval(), steps()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    heard["position"][0, 3:9] = torch.nan
    whole, state = model(heard), None
    for t in range(12):
        said, state = model.advance({name: values[:, t : t + 1] for name, values in heard.items()}, state)
        for name in ("position", "hazard"):
            torch.testing.assert_close(getattr(said, name)[:, 0], getattr(whole, name)[:, t], atol=2e-3, rtol=1e-4)
    assert state is not None
    assert state.fixes is not None
    assert state.fixes.shape == (2, PAST - 1, 2)
    blind = WMLM(replace(PRESET, modalities=("power", "beam"))).eval()
    torch.testing.assert_close(blind(heard).position, torch.zeros(2, 12, FUTURE, 2))  # nothing learned: at the BS


def test_the_chance_of_a_loss_follows_from_its_hazards() -> None:
    rate = torch.full((4,), 0.1)
    found = lost_within(torch.logit(rate))
    torch.testing.assert_close(found, 1 - 0.9 ** torch.arange(1.0, 5))
    assert lost_within(torch.tensor([80.0, -80.0])).tolist() == pytest.approx([1.0, 1.0])


def test_unknown_tasks_are_refused_and_an_export_that_would_lose_them() -> None:
    with pytest.raises(InputError, match="a forecaster of position and blockage too can't be exported"):
        ForecastGraph(WMLM(PRESET))
    with pytest.raises(InputError, match="choose from position, blockage"):
        replace(PRESET, tasks=("traffic",))
    with pytest.raises(InputError, match="at least 1 step"):
        replace(PRESET, warning=0)
