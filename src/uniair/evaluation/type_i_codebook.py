"""Type I single-panel codebook, mode 1, rank 1 and 2 (TS 38.214, 5.2.2.2.1): one beam, and a phase a subband."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from uniair.evaluation.port_panel import OVERSAMPLING, PortPanel, Report, by_polarisation, panel_of, subband_directions
from uniair.radio import Radio

CHUNK = 64  # links that are searched for together


def type_i(csi: Any, radio: Radio, subbands: int, rank: int = 1) -> Report:
    """The report that matches the channel best, of every one that the codebook has.

    Args:
        csi, subbands: see `subband_directions`.

    Raises:
        InputError: see `panel_of` and `subband_directions`.
    """
    panel, target = panel_of(radio), subband_directions(csi, radio, subbands, rank)
    search = _one_layer if rank == 1 else _two_layers
    found = [search(part, panel) for part in torch.split(target, CHUNK)]
    bits = report_bits(panel, subbands, rank)
    return Report(torch.cat(found), torch.full((len(target),), bits))


def report_bits(panel: PortPanel, subbands: int, rank: int = 1) -> int:
    """Of i1,1, i1,2, of rank 2 i1,3, and of i2 in each subband (TS 38.212, table 6.3.1.1.2-1)."""
    beam = math.ceil(math.log2(panel.n1 * OVERSAMPLING)) + math.ceil(math.log2(panel.n2 * panel.o2))
    other = math.ceil(math.log2(len(second_beams(panel)))) if rank == 2 else 0
    return beam + other + round(math.log2(len(_phases(panel, rank)))) * subbands


def second_beams(panel: PortPanel) -> list[tuple[int, int]]:
    """Steps k1, k2 from the first layer's beam to the second's (table 5.2.2.2.1-3)."""
    o1, o2 = OVERSAMPLING, panel.o2
    if panel.n2 == 1:
        return [(k * o1, 0) for k in range(4 if panel.n1 > 2 else 2)]
    return [(0, 0), (o1, 0), (0, o2), (o1, o2) if panel.n1 == panel.n2 else (2 * o1, 0)]


def _phases(panel: PortPanel, rank: int) -> Tensor:
    """What the polarisations' beams are multiplied with, to choose from in each subband: [choices, polarisations]."""
    if panel.polarisations == 1:
        return torch.ones(1, 1, dtype=torch.complex64)
    steps = torch.arange(4 if rank == 1 else 2)
    turns = torch.stack([torch.zeros_like(steps), steps], 1) * (math.pi / 2)
    return torch.polar(torch.ones_like(turns), turns)


def _power(target: Tensor, panel: PortPanel, phases: Tensor) -> Tensor:
    """What the precoder of every beam and phase takes in: [N, subbands, rank, beams, choices]."""
    beams = panel.beams().flatten(0, 1)
    taken = torch.einsum("be,nsper->nsrbp", beams.conj(), by_polarisation(target, panel))
    return (taken @ phases.mH).abs().square() / panel.polarisations


def _precoder(beam: Tensor, phase: Tensor, panel: PortPanel) -> Tensor:
    """Beams [N] with phases [N, subbands, polarisations]: [N, subbands, ports] of unit norm."""
    wave = panel.beams().flatten(0, 1)[beam][:, None, None]
    return (phase[..., None] * wave).flatten(2) / math.sqrt(panel.polarisations)


def _one_layer(target: Tensor, panel: PortPanel) -> Tensor:
    phases = _phases(panel, 1)
    power = _power(target, panel, phases)[:, :, 0]
    beam = power.amax(-1).sum(1).argmax(-1)
    phase = phases[power[torch.arange(len(beam)), :, beam].argmax(-1)]
    return _precoder(beam, phase, panel)[..., None]


def _two_layers(target: Tensor, panel: PortPanel) -> Tensor:
    phases, opposite = _phases(panel, 2), torch.tensor([1.0, -1.0])[: panel.polarisations]
    first, second = (_power(target, panel, signs) for signs in (phases, phases * opposite))
    number = torch.arange(first.shape[3]).view(panel.beams().shape[:2])
    others = torch.stack([number.roll((-k1, -k2), (0, 1)).flatten() for k1, k2 in second_beams(panel)])
    # layers have no order of their own: either of the two vectors may come first
    power = torch.stack([first[:, :, i, None] + second[:, :, 1 - i][:, :, others] for i in (0, 1)], 2)
    every = power.amax(-1).sum(1)  # [N, order, step, beam]
    order, step, beam = torch.unravel_index(every.flatten(1).argmax(1), every.shape[1:])
    phase = phases[power[torch.arange(len(beam)), :, order, step, beam].argmax(-1)]
    pair = [_precoder(beam, phase, panel), _precoder(others[step, beam], phase * opposite, panel)]
    layers = torch.stack(pair, -1) / math.sqrt(2)
    return torch.where((order == 1)[:, None, None, None], layers.flip(-1), layers)
