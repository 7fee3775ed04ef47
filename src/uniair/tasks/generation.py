"""The channel that a place would give, before anything is measured there (paper 3's generation)."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.universal import RadioWarning, ReadPaths, UniversalModel
from uniair.radio import ULA, Radio


def paths_of_place(model: UniversalModel, env: Environment, radio: Radio | None = None) -> ReadPaths:
    """The paths that each of N places would give, strongest first.

    Their directions, delays and powers are the place's. Their phases are one draw of many: a metre turns them.

    Args:
        radio: whose carrier, element pattern and clock the places are told; None: the weights' own.

    Raises:
        InputError: weights that did not learn to tell a channel from a place; see `Environment.tensors`.

    Warns:
        RadioWarning: a radio or a place outside what the weights have learned from; another polarisation than the
            vertical, the only one that places have learned.
    """
    return model.read_paths(_code(model, env, model.own_or(radio)))


def channel_of_place(model: UniversalModel, env: Environment, radio: Radio | None = None) -> Tensor:
    """A channel that each of N places may give a radio: complex64 [N, ports, subcarriers] of unit mean power.

    Its covariances over antennas and over subcarriers are the place's, its phases one draw of many.

    Args:
        radio: that would measure it; None: the weights' own.

    Raises:
        InputError: see `paths_of_place`.

    Warns:
        RadioWarning: see `paths_of_place`.
    """
    radio = model.own_or(radio)
    # places told that elements look one way give gains that hold their pattern
    array = ULA(pattern=radio.array.pattern, polarisation=radio.array.polarisation)
    told = Radio(array, carrier=radio.carrier, clock=radio.clock, ue=radio.ue)
    csi = model.reconstruct_channel(_code(model, env, radio), radio, seen_by=told)
    return csi / csi.abs().square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-30)


def sampled(paths: ReadPaths, shadowing_db: float, draw: torch.Generator) -> ReadPaths:
    """One channel of each of N places at random: every path in a phase and a shadow of its own.

    Shadows are normal in dB, as those of clusters in TR 38.901 (step 6 of 7.5, 3 dB there); the powers are then brought
    to 1 in total.

    Args:
        paths: of `paths_of_place`.
        shadowing_db: standard deviation; 0: the place's own powers.

    Raises:
        InputError: a negative deviation, or none.
    """
    if not 0 <= shadowing_db < math.inf:
        raise InputError(f"shadowing {shadowing_db} dB: give 0 or more")
    shape = paths.gain.shape
    shadow = shadowing_db * torch.randn(shape, generator=draw)
    size = paths.gain.abs().cpu() * 10 ** (-shadow / 20)
    size = size / size.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
    phase = 2 * torch.pi * torch.rand(shape, generator=draw)
    return paths._replace(gain=torch.polar(size, phase).to(paths.gain.device))


@torch.inference_mode()
def _code(model: UniversalModel, env: Environment, radio: Radio) -> Tensor:
    if model.preset.radios == "one":
        raise InputError(
            f"weights of preset {model.preset.name}, which knows one radio, never learned to tell a channel from a "
            "place alone; give weights of any radio, such as the packaged small"
        )
    model.warn(radio)
    if radio.array.polarisation != "vertical":
        warnings.warn(
            f"extrapolated: {radio.array.polarisation} polarisation, places learned to give the vertical one",
            RadioWarning,
            stacklevel=3,
        )
    return model.encode_environment(env.asked_by(radio))
