from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.models.forecast import (
    SIZES,
    WMLM,
    ForecastPreset,
    decibel,
    impute,
    moved_along,
    roll_out,
    sizes,
    stands_out,
)
from uniair.training.checkpoint import save_model
from uniair.training.forecasting import PACKAGED, load_forecaster

TINY = ForecastPreset(width=32, beams=16, context=6, modalities=("power", "beam", "position"))


def shaken(preset: ForecastPreset, seed: int = 0) -> WMLM:
    """A model whose heads say something before training."""
    torch.manual_seed(seed)
    model = WMLM(preset).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def measured(n: int = 3, t: int = 11, beams: int = 16, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    power = torch.rand(n, t, beams, generator=draw) + 0.01
    return {
        "power": power,
        "beam": power.argmax(2),
        "position": torch.randn(n, t, 4, generator=draw) * 10,
    }


def with_losses(steps: dict[str, Tensor]) -> dict[str, Tensor]:
    lost = {name: values.clone() for name, values in steps.items()}
    lost["power"][0, 0], lost["beam"][0, 0] = torch.nan, -1  # the very first
    lost["power"][1, 4:6], lost["beam"][1, 4] = torch.nan, -1  # at step 5 the index alone
    lost["position"][2, 3] = torch.nan
    return lost


def test_one_dial_gives_the_published_sizes() -> None:
    counts = sizes(ForecastPreset())
    assert list(counts) == list(SIZES)
    assert counts["2m"] == pytest.approx(2e6, rel=0.15)
    assert counts["20m"] == pytest.approx(20e6, rel=0.05)
    assert counts["120m"] == pytest.approx(120e6, rel=0.05)
    assert counts["2.4b"] == pytest.approx(2.4e9, rel=0.02)  # paper 3, Section V


def test_counts_add_up() -> None:
    counts = WMLM(TINY).parameter_counts()
    assert counts["total"] == sum(p.numel() for p in WMLM(TINY).parameters())
    assert counts["total"] == counts["encoders"] + counts["backbone"] + counts["heads"]


def test_a_stream_says_what_all_steps_at_once_say() -> None:
    model, steps = shaken(TINY), with_losses(measured())
    whole, state = model(steps), None
    for t in range(11):
        said, state = model.advance({name: values[:, t : t + 1] for name, values in steps.items()}, state)
        torch.testing.assert_close(said.logits[:, 0], whole.logits[:, t], atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(said.power[:, 0], whole.power[:, t], atol=2e-3, rtol=1e-4)
    assert state is not None
    assert all(keys.shape[2] == TINY.context - 1 for keys, _ in state.cache)


def test_no_step_sees_a_later_one() -> None:
    model, steps = shaken(TINY), measured()
    later = {name: values.clone() for name, values in steps.items()}
    later["power"][:, 7:] = later["power"][:, 7:].flip(2)
    later["beam"] = later["power"].argmax(2)
    torch.testing.assert_close(model(steps).logits[:, :7], model(later).logits[:, :7])
    assert not torch.allclose(model(steps).logits[:, 7], model(later).logits[:, 7])


def test_scores_by_distance_move_with_the_beam() -> None:
    model = shaken(replace(TINY, by_beam=False, modalities=("power", "beam")))
    with torch.no_grad():  # but for the edge of the codebook, which tells places apart
        model.encoders["power"].around.weight[:, 31:] = 0
    power = torch.full((1, 4, 16), 0.1)
    for t, best in enumerate((5, 6, 6, 7)):
        power[0, t, best - 1 : best + 2] = torch.tensor([0.5, 1.0, 0.4])
    there = power.roll(3, 2)
    here, moved = (model({"power": p, "beam": p.argmax(2)}).logits[0, :, 1:] for p in (power, there))
    torch.testing.assert_close(here[..., :13], moved[..., 3:])


def test_power_moves_with_the_beams_that_may_be_best() -> None:
    draw = torch.Generator().manual_seed(0)
    power, share = torch.rand(2, 3, 16, generator=draw) + 0.1, torch.rand(2, 3, 4, 16, generator=draw)
    share = share / share.sum(-1, keepdim=True)
    best = power.argmax(2)
    found = moved_along(10 * torch.log10(power), best, share.log())
    for n, t, h in np.ndindex(2, 3, 4):
        wanted = torch.zeros(16)
        for to in range(16):  # beyond the edges, as at them
            source = (torch.arange(16) - to + best[n, t]).clamp(0, 15)
            wanted += share[n, t, h, to] * power[n, t, source]
        torch.testing.assert_close(found[n, t, h], 10 * torch.log10(wanted))
    certain = torch.full((2, 3, 1, 16), -1e3).scatter(3, best[..., None, None], 0.0)
    torch.testing.assert_close(moved_along(10 * torch.log10(power), best, certain)[:, :, 0], 10 * torch.log10(power))


def test_a_change_is_as_large_as_the_lobe_is_high() -> None:
    level = torch.rand(1, 4, 16) * 8
    torch.testing.assert_close(stands_out(3 * level + 7), 3 * stands_out(level))
    assert (stands_out(torch.zeros(1, 4, 16)) == 10).all()


def test_weights_that_are_older_forecast_as_they_learned(tmp_path: Path) -> None:
    model = shaken(replace(TINY, moving=False))
    steps = measured()
    save_model(model, tmp_path)
    said = model(steps)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["moving"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.testing.assert_close(load_forecaster(tmp_path)(steps).power, said.power)
    assert not torch.equal(shaken(TINY)(steps).power, said.power)
    assert load_forecaster(PACKAGED).preset.moving


def test_the_unit_of_the_power_does_not_matter() -> None:
    model, steps = shaken(TINY), measured()
    louder = steps | {"power": 1000 * steps["power"]}
    torch.testing.assert_close(model(steps).logits, model(louder).logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(steps).power + 30, model(louder).power, atol=1e-3, rtol=1e-4)


def test_absent_modalities_are_missing_ones() -> None:
    model, steps = shaken(TINY), measured()
    gone = steps | {"position": torch.full_like(steps["position"], torch.nan)}
    without = {name: values for name, values in steps.items() if name != "position"}
    torch.testing.assert_close(model(gone).logits, model(without).logits)
    assert not torch.allclose(model(steps).logits, model(without).logits)


def test_lost_beams_are_as_weak_as_the_weakest() -> None:
    level = decibel(torch.tensor([[1.0, torch.nan, 0.01, 0.0], [torch.nan] * 4]))
    torch.testing.assert_close(level[0], torch.tensor([0.0, -20.0, -20.0, -20.0]))
    assert level[1].isnan().all()


def test_generation_and_imputation() -> None:
    model, steps = shaken(TINY), with_losses(measured())
    rolled = roll_out(model, steps, 4)
    assert rolled.shape == (3, 4, 16)
    torch.testing.assert_close(rolled[:, 0], 10 ** (model(steps).power[:, -1, 1] / 10))
    restored = impute(model, steps)
    kept = torch.isfinite(steps["power"])
    torch.testing.assert_close(restored[kept], steps["power"][kept])
    assert torch.isfinite(restored).all()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"width": 40}, "width 40: give a multiple of 32"),
        ({"modalities": ("sonar",)}, "modalities sonar: choose from power"),
        ({"context": 3}, "a context that holds the past"),
        ({"around": False, "by_beam": False}, "not by neither"),
    ],
)
def test_impossible_presets_are_refused(change: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        replace(TINY, **change)  # type: ignore[arg-type]


def test_other_codebooks_and_no_modality_are_refused() -> None:
    model = WMLM(TINY)
    with pytest.raises(InputError, match="powers of 8 beams for a model of 16"):
        model(measured(beams=8))
    with pytest.raises(InputError, match="steps of nothing for a model of power, beam, position"):
        model({})
