"""Beams forecast from powers on which an attacker's own field lies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uniair.attack import attacked, with_power
from uniair.data.drives.windows import read_folder
from uniair.models.forecast import WMLM
from uniair.training.forecast_split import settings
from uniair.training.forecasting import PACKAGED, SAMPLE, load_forecaster

Steps = dict[str, Tensor]


def forecasts_under_attack(
    powers: tuple[float, ...], windows: int, steps: int, seed: int
) -> dict[str, dict[str, float]]:
    """Top-1 of the packaged forecaster on packaged drives that are new to it: attack → power → mean of horizons.

    What a receiver measures of a beam is |√p + d|². Of the noise d is white; of the attack it is in phase or in
    opposition, and raises the loss of the beams to come.

    Args:
        powers: dB over the power that all beams of a window's past steps took in.
        windows: most, drawn by the seed.
        steps: of ascent.
    """
    model = load_forecaster(PACKAGED)
    past, found = model.preset.past, heard(windows, seed)
    truth = found["beam"][:, past:]
    field = found["power"][:, :past].clamp_min(1e-30).sqrt()
    field = field / field.amax((1, 2), keepdim=True)
    draw = torch.Generator().manual_seed(seed)

    def loss(received: Tensor) -> Tensor:
        logits = said(model, received)
        return (
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
            .view(truth.shape)
            .sum(1)
        )

    def top1(received: Tensor) -> float:
        with torch.no_grad():
            return float((said(model, received).argmax(-1) == truth).float().mean())

    out: dict[str, dict[str, float]] = {"clean": {"": top1(field)}, "noise": {}, "white box": {}}
    for power in powers:
        noise = torch.randn(field.shape, dtype=torch.complex64, generator=draw)
        out["noise"][f"{power:g}"] = top1(with_power(field.to(torch.complex64), noise, power).abs())
        out["white box"][f"{power:g}"] = top1(attacked(loss, field, power, steps, draw))
    return out


def heard(most: int, seed: int) -> Steps:
    """Windows of packaged drives that were held out, all beams of all steps measured: power [N, T, B], beam [N, T]."""
    setting = settings(read_folder(SAMPLE))[0]
    parts = [steps for _, steps in setting.parts["held out"].values()]
    power, beam = (torch.cat([part[name] for part in parts]) for name in ("power", "beam"))
    whole = (torch.isfinite(power) & (power > 0)).all(2).all(1) & (beam >= 0).all(1)
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(whole.numpy()))[:most]
    return {"power": power[chosen], "beam": beam[chosen]}


def said(model: WMLM, field: Tensor) -> Tensor:
    """Logits of the beams to come at the last of the steps heard: [N, F, B], of fields [N, T, B]."""
    power = field.abs().clamp_min(1e-6).square()
    return model({"power": power, "beam": power.argmax(-1)}).logits[:, -1, 1:]
