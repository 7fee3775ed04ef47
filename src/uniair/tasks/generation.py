"""The channel that a place would give, before anything is measured there (paper 3's generation)."""

from __future__ import annotations

import torch
from torch import Tensor

from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.universal import ReadPaths, UniversalModel
from uniair.radio import Radio


def paths_of_place(model: UniversalModel, env: Environment, radio: Radio | None = None) -> ReadPaths:
    """The paths that each of N places would give, strongest first.

    Their directions, delays and powers are the place's. Their phases are one draw of many: a metre turns them.

    Args:
        radio: whose carrier, element pattern and clock the places are told; None: the weights' own.

    Raises:
        InputError: weights that did not learn to tell a channel from a place; see `Environment.tensors`.
    """
    return model.read_paths(_code(model, env, model.own_or(radio)))


def channel_of_place(model: UniversalModel, env: Environment, radio: Radio | None = None) -> Tensor:
    """A channel that each of N places may give a radio: complex64 [N, ports, subcarriers] of unit mean power.

    Its covariances over antennas and over subcarriers are the place's, its phases one draw of many.

    Args:
        radio: that would measure it; None: the weights' own.

    Raises:
        InputError: see `paths_of_place`.
    """
    radio = model.own_or(radio)
    told = Radio(carrier=radio.carrier, clock=radio.clock)
    csi = model.reconstruct_channel(_code(model, env, radio), radio, seen_by=told)
    return csi / csi.abs().square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-30)


@torch.inference_mode()
def _code(model: UniversalModel, env: Environment, radio: Radio) -> Tensor:
    if model.preset.radios == "one":
        raise InputError(
            f"weights of preset {model.preset.name}, which knows one radio, never learned to tell a channel from a "
            "place alone; give weights of any radio, such as the packaged small"
        )
    return model.encode_environment(env.seen_by(radio))
