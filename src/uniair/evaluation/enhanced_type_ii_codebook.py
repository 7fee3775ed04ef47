"""Enhanced Type II codebook of Release 16, rank 1 and 2 (TS 38.214, 5.2.2.2.5): beams × delays, the strongest kept.

A precoder is a sum of L orthogonal beams of each polarisation, whose coefficients over the subbands are sums of
M_v DFT vectors. A bitmap says which of the 2L × M_v coefficients are sent; amplitudes are 3 bits below the
polarisation's reference amplitude of 4 bits, phases 4 bits. Of a single polarisation see `PortPanel`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uniair.errors import InputError
from uniair.evaluation.port_panel import OVERSAMPLING, PortPanel, Report, by_polarisation, panel_of, subband_directions
from uniair.radio import Radio

# paramCombination-r16: L, p_v of rank 1 and 2, β (table 5.2.2.2.5-1)
COMBINATIONS = {
    1: (2, 1 / 4, 1 / 4), 2: (2, 1 / 4, 1 / 2), 3: (4, 1 / 4, 1 / 4), 4: (4, 1 / 4, 1 / 2),
    5: (4, 1 / 4, 3 / 4), 6: (4, 1 / 2, 1 / 2), 7: (6, 1 / 4, 1 / 2), 8: (6, 1 / 4, 3 / 4),
}  # fmt: skip
SHORT = 19  # units of frequency up to which any delays are chosen; of more, from a window of 2·M_v
REFERENCE, DIFFERENTIAL, PHASE = 4, 3, 4  # bits
ROUNDS = 4  # in which the subbands' free phases are sought
CHUNK = 256  # links that are searched for together


@dataclass(frozen=True)
class Parameters:
    """What the base station configures.

    Attributes:
        panel: of N1 × N2 elements.
        combination: 1 to 8, paramCombination-r16.
        subbands: of the quality indicator.
        per_subband: R, precoders a subband, 1 or 2.

    Raises:
        InputError: another combination, fewer ports than it needs, more than 1 precoder a subband where it allows none.
    """

    panel: PortPanel
    combination: int
    subbands: int
    per_subband: int = 1

    def __post_init__(self) -> None:
        if self.combination not in COMBINATIONS or self.per_subband not in (1, 2):
            raise InputError(
                f"parameter combination {self.combination!r:.20} and {self.per_subband!r:.20} precoders a subband: "
                "give 1 to 8, and 1 or 2"
            )
        if self.panel.ports < {2: 4, 4: 8, 6: 32}[self.beams]:
            raise InputError(f"{self.panel.ports} ports are too few for {self.beams} beams of parameter combination "
                             f"{self.combination}")  # fmt: skip
        if self.beams == 6 and self.per_subband == 2:
            raise InputError(f"parameter combination {self.combination} has one precoder a subband")

    @property
    def beams(self) -> int:
        """L, of each polarisation."""
        return COMBINATIONS[self.combination][0]

    @property
    def columns(self) -> int:
        """2L, beams of all polarisations."""
        return self.panel.polarisations * self.beams

    @property
    def units(self) -> int:
        """N3, precoders over the band."""
        return self.subbands * self.per_subband

    @property
    def delays(self) -> int:
        """M_v of rank 1 and 2."""
        return math.ceil(COMBINATIONS[self.combination][1] * self.subbands)

    @property
    def most(self) -> int:
        """K0, coefficients a layer that are sent at most."""
        return math.ceil(COMBINATIONS[self.combination][2] * self.columns * self.delays)

    def fixed_bits(self, rank: int = 1) -> dict[str, int]:
        """Of each field whose size the number of coefficients does not change (TS 38.212, 6.3.2.1.2)."""
        panel = self.panel
        long = self.units > SHORT
        choices = math.comb(2 * self.delays - 1 if long else self.units - 1, self.delays - 1)
        return {
            "i1,1 rotation": _bits(OVERSAMPLING * panel.o2),
            "i1,2 beams": _bits(math.comb(panel.n1 * panel.n2, self.beams)),
            "i1,5 window": _bits(2 * self.delays) if long else 0,
            "i1,6 delays": rank * _bits(choices),
            "i1,7 bitmap": rank * self.columns * self.delays,
            "number of coefficients": _bits(rank * self.most),
            "i2,3 reference amplitudes": rank * REFERENCE * (panel.polarisations - 1),
        }

    def bits(self, sent: Tensor) -> Tensor:
        """Of the whole report: int64 [N].

        Args:
            sent: int64 [N, rank] coefficients of each layer.
        """
        rank, total = sent.shape[1], sent.sum(1)
        strongest = total.double().log2().ceil().long() if rank == 1 else rank * _bits(self.columns)
        return sum(self.fixed_bits(rank).values()) + strongest + (DIFFERENTIAL + PHASE) * (total - rank)


class Layer(NamedTuple):
    """Quantised coefficients of a layer.

    Attributes:
        values: complex64 [N, delays, polarisations, L] of all N3 delays, those not sent 0.
        window: int64 [N] of `_windows`, which all layers share: i1,5 is reported once.
    """

    values: Tensor
    window: Tensor

    @property
    def sent(self) -> Tensor:
        """How many: int64 [N]."""
        return (self.values != 0).flatten(1).sum(1)

    @property
    def by_unit(self) -> Tensor:
        """Over frequency: [N, N3, polarisations, L]."""
        return torch.fft.ifft(self.values, dim=1, norm="forward")


def enhanced_type_ii(
    csi: Any, radio: Radio, combination: int, subbands: int, rank: int = 1, per_subband: int = 1
) -> Report:
    """The report on each channel, its precoders [N, subbands · per_subband, ports, rank].

    The search is the usual one: the group of orthogonal beams that takes in most, the delays and coefficients of most
    power, each rounded. A precoder's common phase is free in every subband; it is set so that few delays do.

    Args:
        csi: see `subband_directions`.

    Raises:
        InputError: see `panel_of`, `Parameters` and `subband_directions`.
    """
    parameters = Parameters(panel_of(radio), combination, subbands, per_subband)
    target = subband_directions(csi, radio, parameters.units, rank)
    if not len(target):  # which a Fourier transform refuses
        return Report(target, torch.zeros(0, dtype=torch.int64))
    found = [_report(part, parameters) for part in torch.split(target, CHUNK)]
    return Report(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _report(target: Tensor, parameters: Parameters) -> Report:
    split = by_polarisation(target, parameters.panel)
    beams = beam_group(split, parameters)
    taken = torch.einsum("nle,ntper->ntplr", beams.conj(), split)
    layers: list[Layer] = []
    for part in taken.unbind(-1):
        layers.append(compress(part, parameters, layers[0].window if layers else None))
    precoders = [torch.einsum("ntpl,nle->ntpe", layer.by_unit, beams).flatten(2) for layer in layers]
    unit = [one / one.norm(dim=-1, keepdim=True).clamp_min(1e-12) for one in precoders]
    sent = torch.stack([layer.sent for layer in layers], 1)
    return Report(torch.stack(unit, -1) / math.sqrt(len(layers)), parameters.bits(sent))


def beam_group(target: Tensor, parameters: Parameters) -> Tensor:
    """The L orthogonal beams, of all rotations, that take in most of all subbands and layers: [N, L, E].

    Args:
        target: complex64 [N, N3, polarisations, E, rank].
    """
    groups = parameters.panel.groups()
    flat = target.movedim(3, 1).flatten(2)  # [N, E, …]
    power = torch.stack([(group.conj() @ flat).abs().square().sum(-1) for group in groups], 1)  # [N, rotations, beams]
    best = power.topk(parameters.beams, -1)
    rotation = best.values.sum(-1).argmax(1)
    return groups[rotation[:, None], best.indices[torch.arange(len(flat)), rotation]]


def compress(taken: Tensor, parameters: Parameters, window: Tensor | None = None) -> Layer:
    """Coefficients over frequency [N, N3, polarisations, L], the phase of each unit free → what is sent of them.

    Args:
        window: [N] that an earlier layer has chosen; None: this one chooses.
    """
    follow = (taken[:, :-1].conj() * taken[:, 1:]).sum((2, 3)).angle().cumsum(1)
    taken = taken * _turn(torch.nn.functional.pad(-follow, (1, 0)))
    layer = quantise(taken, parameters, window)
    for _ in range(ROUNDS):
        taken = taken * _turn((layer.by_unit * taken.conj()).sum((2, 3)).angle())
        layer = quantise(taken, parameters, window)
    return layer


def _turn(angle: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(angle), angle)[..., None, None]


def quantise(taken: Tensor, parameters: Parameters, window: Tensor | None = None) -> Layer:
    """Coefficients over frequency [N, N3, polarisations, L] → the strongest of them by delay, rounded.

    The strongest is moved to delay 0, which turns each unit's phase, and set to 1.
    """
    by_delay = torch.fft.fft(taken, dim=1, norm="forward")
    power = by_delay.abs().square()
    strongest = power.flatten(1).argmax(1)
    value = by_delay.flatten(1).gather(1, strongest[:, None])
    moved = (torch.arange(parameters.units) + (strongest // by_delay[0, 0].numel())[:, None]) % parameters.units
    ratio = by_delay.gather(1, moved[:, :, None, None].expand_as(by_delay)) / value[..., None, None]
    kept, window = _kept(ratio.abs(), parameters, window)
    return Layer(_rounded(ratio * kept, kept), window)


def _kept(size: Tensor, parameters: Parameters, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """The K0 strongest coefficients of the M_v strongest delays, delay 0 among them: bool as `size`; and the window."""
    power = size.square().sum((2, 3))
    power[:, 0] = math.inf
    allowed = _windows(parameters)
    inside = torch.where(allowed, power[:, None], 0.0)
    best = inside.topk(parameters.delays, -1)
    window = best.values[..., 1:].sum(-1).argmax(1) if window is None else window
    chosen = torch.zeros_like(power).scatter_(1, best.indices[torch.arange(len(size)), window], 1.0)
    size = (size * chosen[..., None, None]).flatten(1)
    strongest = size.topk(parameters.most, 1).indices
    kept = torch.zeros_like(size, dtype=torch.bool).scatter_(1, strongest, True) & (size > 0)
    return kept.view(len(size), parameters.units, -1, parameters.beams), window


def _windows(parameters: Parameters) -> Tensor:
    """Delays among which M_v are chosen: bool [windows, N3], delay 0 in each."""
    units = parameters.units
    if units <= SHORT:
        return torch.ones(1, units, dtype=torch.bool)
    width = 2 * parameters.delays
    start = torch.arange(1 - width, 1)
    return (torch.arange(units) - start[:, None]) % units < width


def _rounded(ratio: Tensor, kept: Tensor) -> Tensor:
    """Coefficients over the strongest, rounded in reference and differential amplitude and in phase."""
    size = ratio.abs()
    level = (15 + 4 * size.amax((1, 3), keepdim=True).clamp_min(1e-9).log2()).round().clamp(1, 15)  # table 5.2.2.2.5-2
    reference = 2 ** ((level - 15) / 4)
    below = 7 + 2 * (size / reference).clamp_min(1e-9).log2()  # table 5.2.2.2.5-3
    sent = kept & (below > -2)  # what is under half of the least amplitude is better left out
    amplitude = reference * 2 ** ((below.round().clamp(0, 7) - 7) / 2) * sent
    step = 2 * math.pi / 2**PHASE
    return torch.polar(amplitude, step * (ratio.angle() / step).round())


def _bits(choices: int) -> int:
    return math.ceil(math.log2(choices))
