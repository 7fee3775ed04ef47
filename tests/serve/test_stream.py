from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.data.drives.moving import BEAMS, drive

from uniair.data.drives.sensing import Sensing, measured
from uniair.data.drives.windows import frames
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.serve.stream import Stream


def stream(modalities: tuple[str, ...] = ("power", "beam", "position")) -> Stream:
    torch.manual_seed(0)
    model = WMLM(ForecastPreset(width=32, beams=BEAMS, context=5, modalities=modalities))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Stream(model)


def test_pushing_steps_gives_what_the_whole_drive_gives() -> None:
    one, running = drive(steps=12), stream()
    steps = measured(one, np.arange(12), frames([one])["scenario1"], Sensing())
    whole = running.model({name: torch.from_numpy(values)[None] for name, values in steps.items()})
    for _ in range(2):
        for t in range(12):
            said = running.push({"power": one.power[t], "position": steps["position"][t, :2]})
            np.testing.assert_allclose(said.probability, torch.softmax(whole.logits[0, t, 1:], -1).detach(), atol=1e-4)
            np.testing.assert_allclose(said.power, 10 ** (whole.power[0, t, 1:].detach() / 10), rtol=1e-3)
            np.testing.assert_array_equal(said.beams, said.probability.argmax(1))
            assert said.los == pytest.approx(float(torch.sigmoid(whole.los[0, t].detach())), abs=1e-5)
        running.reset()


def test_lost_steps_are_pushed_as_empty_ones() -> None:
    one, running = drive(steps=8), stream()
    for t in range(8):
        said = running.push({} if t in (0, 4) else {"power": one.power[t]})
        assert np.isfinite(said.probability).all()


def test_a_step_without_a_position_has_an_unknown_one() -> None:
    absent, unknown = stream(), stream()
    for place in ([0.0, 1.0], None, [2.0, 3.0]):
        here = absent.push({} if place is None else {"position": np.array(place)})
        same = unknown.push({"position": np.full(2, np.nan) if place is None else np.array(place)})
        np.testing.assert_array_equal(here.probability, same.probability)


def test_a_step_that_is_refused_leaves_nothing_behind() -> None:
    steps = [{"position": np.array([x, 0.0]), "time": x} for x in (0.0, 1.0, 2.0)]
    one, other = stream(("power", "position", "radar")), stream(("power", "position", "radar"))
    with pytest.raises(InputError, match="radar of shape"):
        other.push({"position": np.array([90.0, 0.0]), "time": 90.0, "radar": np.zeros((2, 2, 2))})
    for step in steps:
        same = other.push(step)
        with pytest.raises(InputError, match="radar of shape"):
            other.push({"position": np.array([90.0, 0.0]), "time": 90.0, "radar": np.zeros((2, 2, 2))})
        np.testing.assert_array_equal(one.push(step).probability, same.probability)


@pytest.mark.parametrize("late", [{"time": 9.0}, {}], ids=["a gap", "no time any more"])
def test_after_a_gap_a_stream_begins_anew_and_says_so(late: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    steps = [{"power": rng.random(BEAMS), "position": np.array([t, 0.0]), "time": 0.1 * t} for t in range(5)]
    running, fresh = stream(), stream()
    assert [running.push(step).begins for step in steps] == [True, False, False, False, False]
    following = [{"power": rng.random(BEAMS), "position": np.array([60.0, 0.0])} | late for _ in range(2)]
    for said, alone in zip(map(running.push, following), map(fresh.push, following), strict=True):
        np.testing.assert_array_equal(said.probability, alone.probability)
        assert said.begins == alone.begins


def test_powers_that_are_all_zero_were_not_received() -> None:
    silent, empty = stream(), stream()
    for step in ({"power": np.eye(BEAMS)[3]}, {"power": np.zeros(BEAMS)}):
        heard = silent.push(step)
        other = empty.push(step if step["power"].any() else {})
    np.testing.assert_array_equal(heard.probability, other.probability)


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ({"power": np.ones(8)}, r"power of shape \(8,\): give 16 linear powers"),
        ({"power": -np.ones(16)}, "not dB"),
        ({"power": np.full(16, 1e39)}, "finite"),
        ({"camera": np.zeros((3, 64, 112))}, "step with camera: the model has power, beam, position"),
        ({"position": np.zeros(3)}, r"position of shape \(3,\)"),
        ({"beam": 16}, "beam 16: give 0 to 15"),
    ],
)
def test_wrong_steps_are_one_clear_line(step: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        stream().push(step)
