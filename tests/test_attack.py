"""Attacks on CSI: their power, closed forms, the slope through the front end, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from uniair.attack import ascend, attacked, unit, with_power
from uniair.errors import InputError
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, Radio


def channels(count: int = 5, shape: tuple[int, ...] = (4, 6), seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def power_db(perturbed: Tensor, clean: Tensor) -> Tensor:
    added, own = ((x.abs().double().square()).flatten(1).sum(1) for x in (perturbed - clean, clean))
    return 10 * torch.log10(added / own)


def test_a_perturbation_has_exactly_the_power_that_is_asked_for() -> None:
    clean = channels() * torch.tensor([1.0, 1e-8, 1e8, 3.0, 1e-22])[:, None, None]
    asked = torch.tensor([-30.0, -10.0, 0.0, 10.0, -20.0])
    perturbed = with_power(clean, channels(seed=1), asked)
    torch.testing.assert_close(power_db(perturbed[:4], clean[:4]), asked[:4].double(), atol=1e-3, rtol=0)
    assert power_db(1e20 * perturbed[4:], 1e20 * clean[4:]).item() == pytest.approx(-20, abs=1e-3)
    worst = attacked(lambda x: x.real.sum((1, 2)), clean[:4], -25.0, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(power_db(worst, clean[:4]), torch.full((4,), -25.0).double(), atol=1e-3, rtol=0)


def test_without_power_nothing_changes_to_the_bit() -> None:
    clean, added = channels(), channels(seed=1)
    draw = torch.Generator().manual_seed(0)
    assert attacked(lambda x: x.real.sum((1, 2)), clean, -torch.inf, 3, draw) is clean
    some = with_power(clean, added, torch.tensor([-torch.inf, -3, -torch.inf, 0, -9]))
    assert torch.equal(some[[0, 2]], clean[[0, 2]])
    assert (some[[1, 3, 4]] != clean[[1, 3, 4]]).any(2).any(1).all()


def test_of_a_linear_loss_the_best_perturbation_is_along_its_weights() -> None:
    clean, weights = channels(), channels(seed=2)

    def linear(x: Tensor) -> Tensor:
        return (weights.conj() * x).real.sum((1, 2))

    worst = attacked(linear, clean, -12.0, 20, torch.Generator().manual_seed(3))
    radius = 10 ** (-12 / 20) * clean.abs().square().sum((1, 2)).sqrt()
    optimum = linear(clean) + radius * weights.abs().square().sum((1, 2)).sqrt()
    torch.testing.assert_close(linear(worst), optimum, rtol=2e-4, atol=1e-4)
    torch.testing.assert_close(worst, clean + radius[:, None, None] * unit(weights), rtol=0, atol=1e-2)


def test_more_starts_and_more_steps_never_do_worse() -> None:
    clean, centre = channels(8), channels(8, seed=5)

    def bumpy(x: Tensor) -> Tensor:
        return (6 * (x - centre).abs()).sin().sum((1, 2))

    def reached(steps: int, restarts: int) -> Tensor:
        return bumpy(attacked(bumpy, clean, 0.0, steps, torch.Generator().manual_seed(1), restarts))

    assert (reached(10, 4) >= reached(10, 1) - 1e-4).all()
    assert (reached(10, 1) >= reached(0, 1) - 1e-4).all()
    assert reached(10, 1).mean() > reached(0, 1).mean() + 1


@pytest.mark.parametrize("radios", ["one", "any"])
def test_the_slope_through_front_end_and_tower_is_the_finite_difference(radios: str) -> None:
    torch.manual_seed(0)
    radio = Radio(ULA(8), OFDM(16, 720e3))
    model = UniversalModel(replace(PRESETS["tiny"], radios=radios)).eval()
    csi, aim = channels(3, (8, 16)), torch.randn(3, 32)

    def loss(x: Tensor) -> Tensor:
        return (model.channel_embedding(model.see(x, radio)) * aim).sum(-1)

    x = csi.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x).sum(), x)
    # of a loss, along its slope it rises by the slope's norm; a scaling of CSI changes nothing
    step = 2e-3 * unit(slope)
    with torch.no_grad():
        rise = (loss(csi + step) - loss(csi - step)) / (2 * 2e-3)
    torch.testing.assert_close(rise, slope.abs().square().sum((1, 2)).sqrt(), rtol=0.02, atol=1e-4)
    assert ((csi.conj() * slope).real.sum((1, 2)).abs() < 1e-3).all()


def test_double_precision_finite_differences_through_the_matched_filters() -> None:
    from uniair.angle_delay import filters

    radio, csi = Radio(ULA(8), OFDM(16, 720e3)), channels(2, (8, 16)).to(torch.complex128)
    front = filters(radio, 16, 16)

    def response(x: Tensor) -> Tensor:
        power = x.abs().square().mean((1, 2), keepdim=True)
        return front.beams[0].to(x) @ (x / power.sqrt()) @ front.delays.to(x)

    assert torch.autograd.gradcheck(response, (csi.requires_grad_(),))


@pytest.mark.parametrize("power", [torch.nan, torch.inf])
def test_a_power_that_is_none_is_refused(power: float) -> None:
    with pytest.raises(InputError, match="power is NaN or infinite"):
        attacked(lambda x: x.real.sum((1, 2)), channels(), power, 3, torch.Generator())


def test_a_loss_without_a_slope_is_refused_and_not_taken_for_a_defence() -> None:
    clean = channels()
    with pytest.raises(InputError, match="loss is not finite"):
        attacked(lambda x: x.real.sum((1, 2)) * torch.nan, clean, -3.0, 3, torch.Generator())
    with pytest.raises(InputError, match="no slope"):
        ascend(lambda x: (x.real - x.real.detach()).sum((1, 2)).sqrt(), clean, 3)
    with pytest.raises(InputError, match="steps"):
        ascend(lambda x: x.real.sum((1, 2)), clean, -1)
    with pytest.raises(InputError, match="starts"):
        attacked(lambda x: x.real.sum((1, 2)), clean, -3.0, 3, torch.Generator(), restarts=0)
