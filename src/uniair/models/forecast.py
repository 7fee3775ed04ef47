"""WMLM: a GPT-style transformer over time steps that forecasts beams (paper 3, Section IV).

Every modality of a step becomes a token, the step's tokens are summed, and a causal transformer runs over the steps.
One head answers for the horizons 0 … F: horizon 0 classifies and restores the step itself, which is a task where its
power was lost; the others forecast. Fed with its own forecasts the model generates.

What transfers between sites is built in: the head scores beams by how far they are from the last best beam, next to
scores by beam that belong to the receiver, and forecasts power as the last one measured, moved to where the beams may
be, and a change in units of how far that stands out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.errors import InputError
from uniair.models.course import Course
from uniair.models.encoders import (
    BeamIndex,
    BeamPower,
    Camera,
    Channel,
    Encoder,
    Lidar,
    Position,
    PretrainedCamera,
    Radar,
)
from uniair.models.sight_loss import Hazard
from uniair.models.transformer import KeysValues
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

MODALITIES = ("power", "beam", "position", "camera", "lidar", "radar", "csi")
TASKS = ("position", "blockage")  # that a forecaster may have a head for beside beams, powers and line of sight
SIZES = {"2m": 224, "20m": 512, "120m": 960, "2.4b": 2560}  # the dial of each size
HEAD, ASPECT = 32, 85  # width of an attention head, and of the model per block


@dataclass(frozen=True)
class ForecastPreset:
    """Everything that fixes the shape; written beside the weights as `config.json`.

    Attributes:
        width: the dial: blocks and heads follow from it. `SIZES` has those of 2 M to 2.4 B parameters.
        modalities: that have an encoder.
        beams: of the codebook.
        past: steps that windows have; future: horizons.
        context: steps that a step attends to, itself included; a stream keeps no more.
        around: whether beams are seen and scored by their distance from the best one.
        by_beam: whether they are seen and scored by their number.
        image: height and width of camera frames, pixels.
        cube: angles, ranges and velocities of the radar.
        vision: a vision model of `transformers` by name; empty: a small one of our own.
        carrier: of the CSI, Hz; its array and subcarriers are paper 1's.
        moving: whether power is forecast as the measured one moved along, see `moved_along`; older weights forecast a
            change from it where it was.
        tasks: of `TASKS`, what is forecast too: the next positions, and a loss of line of sight before it is.
        warning: steps ahead that a loss of sight is looked for in.
        dropout: of what each block adds, in training.
    """

    width: int = 224
    modalities: tuple[str, ...] = ("power", "beam")
    beams: int = 64
    past: int = 5
    future: int = 3
    context: int = 16
    around: bool = True
    by_beam: bool = True
    image: tuple[int, int] = (64, 112)
    cube: tuple[int, int, int] = (16, 64, 32)
    vision: str = ""
    carrier: float = Radio().carrier
    moving: bool = True
    tasks: tuple[str, ...] = ()
    warning: int = 10

    OLDER: ClassVar[Mapping[str, Any]] = {"moving": False}  # of files that lack it
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            raise InputError(f"modalities {', '.join(self.modalities) or 'none'}: choose from {', '.join(MODALITIES)}")
        if self.width < HEAD or self.width % HEAD:
            raise InputError(f"width {self.width}: give a multiple of {HEAD}")
        if self.beams < 3 or self.past < 1 or self.future < 1 or self.context < self.past:
            raise InputError(
                f"{self.beams} beams, {self.past} past and {self.future} future steps, context {self.context}: give at "
                "least 3 beams, 1 step each way, and a context that holds the past"
            )
        if set(self.tasks) - set(TASKS) or self.warning < 1:
            raise InputError(
                f"tasks {', '.join(self.tasks)}, warning {self.warning}: choose from {', '.join(TASKS)}, and give at "
                "least 1 step"
            )
        if not (self.around or self.by_beam):
            raise InputError("beams are scored by distance (around), by number (by_beam) or both; not by neither")

    @property
    def blocks(self) -> int:
        """Transformer blocks."""
        return max(1, round(self.width / ASPECT))

    @property
    def ahead(self) -> int:
        """Steps after those heard that training looks at."""
        return max(self.future, self.warning if "blockage" in self.tasks else 0)

    @property
    def heads(self) -> int:
        """Attention heads per block."""
        return self.width // HEAD


@dataclass(frozen=True)
class Forecast:
    """What the heads say at every step t of [N, T].

    Attributes:
        logits: [N, T, F + 1, B] of the best beam at t + h, h = 0 … F.
        power: [N, T, F + 1, B] power at t + h, dB, in the receiver's own unit.
        los: [N, T] logit of line of sight; negative: blocked.
        position: [N, T, F, 2] m at t + h, h = 1 … F, in the frame of the positions heard; None without that task.
        hazard: [N, T, H] logit of the hazard that sight is lost at t + h, h = 1 … H; None without that task.
    """

    logits: Tensor
    power: Tensor
    los: Tensor
    position: Tensor | None = None
    hazard: Tensor | None = None


@dataclass(frozen=True)
class State:
    """What a stream keeps from step to step; its size does not grow.

    Attributes:
        time: steps so far.
        cache: keys and values [N, heads, S, d] of each block, S ≤ context − 1.
        beam: int64 [N] the last known best beam; −1: none yet.
        power: [N, B] the last measured power, dB.
        fixes: [N, past − 1, 2] the last positions, m; None where they are not forecast.
    """

    time: int
    cache: tuple[KeysValues, ...]
    beam: Tensor
    power: Tensor
    fixes: Tensor | None = None


class CausalBlock(nn.Module):
    """RMSNorm, rotary attention to `context` steps back, RMSNorm, 4× MLP with GELU, without biases: 12 width²."""

    def __init__(self, width: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.context, self.dropout = heads, context, dropout
        self.norm_1, self.norm_2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        # every block begins as the identity
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(
        self, x: Tensor, time: int, cache: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Steps `time` … of [N, T, width], with the keys and values of those before; returns the same for later."""
        n, steps, width = x.shape
        q, k, v = self.qkv(self.norm_1(x)).view(n, steps, 3, self.heads, HEAD).permute(2, 0, 3, 1, 4)
        q, k = rotated(q, time), rotated(k, time)
        if cache is not None:
            k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
        seen = torch.arange(k.shape[2], device=x.device)
        back = seen[-steps:, None] - seen
        mask = (back >= 0) & (back < self.context)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self._drop(self.out(attended.transpose(1, 2).reshape(n, steps, width)))
        x = x + self._drop(self.down(functional.gelu(self.up(self.norm_2(x)))))
        keep = max(k.shape[2] - self.context + 1, 0)
        return x, (k[:, :, keep:], v[:, :, keep:])

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def rotated(x: Tensor, time: int) -> Tensor:
    """Rotary positions: pairs of features of step t turned by t · 10000^(−2i/d), [N, heads, T, d] from step `time`."""
    half = x.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(time, time + x.shape[2], device=x.device)[:, None] * rate
    a, b = x.chunk(2, dim=-1)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class WMLM(nn.Module):
    """Encoders, backbone and heads.

    Args:
        preset: the shape.
        tower: the universal model whose frozen CFENN reads `csi`; needed when that is among the modalities.
    """

    def __init__(self, preset: ForecastPreset, tower: UniversalModel | None = None) -> None:
        super().__init__()
        self.preset = preset
        width, beams, horizons = preset.width, preset.beams, preset.future + 1
        self.encoders = nn.ModuleDict({name: _encoder(name, preset, tower) for name in preset.modalities})
        self.blocks = nn.ModuleList(
            CausalBlock(width, preset.heads, preset.context, preset.dropout) for _ in range(preset.blocks)
        )
        self.norm = nn.RMSNorm(width)
        # two numbers for each beam and horizon: logit, and change of power in units of 10 dB
        self.around = nn.Linear(width, 2 * horizons * (2 * beams - 1)) if preset.around else None
        self.by_beam = nn.Linear(width, 2 * horizons * beams) if preset.by_beam else None
        self.los = nn.Linear(width, 1)
        for head in (self.around, self.by_beam, self.los):
            if head is not None:
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)
        self.course = Course(width, preset.past, preset.future) if "position" in preset.tasks else None
        self.hazard = Hazard(width, preset.warning) if "blockage" in preset.tasks else None

    @property
    def tower(self) -> UniversalModel | None:
        """The universal model that reads `csi`; None without that modality. Its weights are not this model's."""
        return next((encoder.tower for encoder in self.encoders.values() if isinstance(encoder, Channel)), None)

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of the encoders, the backbone, the heads, and in all."""
        own = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        counts = {"encoders": own["encoders"], "backbone": own["blocks"] + own["norm"]}
        counts["heads"] = sum(own.values()) - sum(counts.values())
        return counts | {"total": sum(own.values())}

    def forward(self, steps: Mapping[str, Tensor]) -> Forecast:
        """Steps [N, T, ...] by modality → what the heads say at each; those that are absent count as missing."""
        return self.advance(steps, None)[0]

    def advance(self, steps: Mapping[str, Tensor], state: State | None) -> tuple[Forecast, State]:
        """As `forward` for steps that follow those of `state`; the same answers as all of them at once.

        Args:
            steps: `power` [N, T, B] linear, `beam` int64 [N, T], `position` [N, T, 4], `camera` [N, T, 3, H, W],
                `lidar` [N, T, P, 3], `radar` [N, T, angles, ranges, velocities], `csi` complex [N, T, 32, 64]; NaN, or
                −1 for a beam, where missing.
            state: of the steps before; None at the start.

        Raises:
            InputError: none of the model's modalities is there, or the codebook is of another size.
        """
        power, beam, before = self.reference(steps, state)
        x = torch.stack(list(self.tokens(steps, beam, before).values())).sum(0)
        time = 0 if state is None else state.time
        cache = []
        for number, block in enumerate(self.blocks):
            x, kept = block(x, time, None if state is None else state.cache[number])
            cache.append(kept)
        x = self.norm(x)
        n, t, _ = x.shape
        scores = torch.zeros(n, t, self.preset.future + 1, 2, self.preset.beams, device=x.device, dtype=x.dtype)
        last = beam[..., -1:]
        if self.by_beam is not None:
            scores = scores + self.by_beam(x).view(scores.shape)
        if self.around is not None:
            beams = self.preset.beams
            # beam b is scored by b − best, from 1 − B to B − 1
            place = torch.arange(beams, device=x.device) - beam.clamp(min=0)[..., None] + beams - 1
            around = self.around(x).view(n, t, *scores.shape[2:4], 2 * beams - 1)
            scores = scores + around.gather(-1, place[:, :, None, None].expand(scores.shape))
        position = fixes = None
        if self.course is not None:
            heard = steps.get("position") if "position" in self.encoders else None
            whole = self.course.fixes(heard, None if state is None else state.fixes, x)
            position, fixes = self.course(x, whole), self.course.kept(whole)
        # copies: FSDP2's hooks on what a model returns do not bear views
        forecast = Forecast(scores[:, :, :, 0].clone(), self.level(power, beam, scores), self.los(x)[..., 0].clone(),
                            position, None if self.hazard is None else self.hazard(x))  # fmt: skip
        return forecast, State(time + t, tuple(cache), last[:, 0], power[:, -1], fixes)

    def level(self, power: Tensor, beam: Tensor, scores: Tensor) -> Tensor:
        """The power to come [N, T, H, B] dB, from what the heads say.

        Args:
            power: [N, T, B] dB, last measured; beam: int64 [N, T] its best, see `reference`.
            scores: [N, T, H, 2, B] logits, and changes of power.
        """
        logits, change = scores[:, :, :, 0], scores[:, :, :, 1]
        if not self.preset.moving:
            return power[:, :, None] + 10 * change
        # beams are learned from beams: what the power's error says of them would be of one receiver's lobes
        return moved_along(power, beam, logits.detach()) + stands_out(power)[:, :, None] * change

    def tokens(self, steps: Mapping[str, Tensor], beam: Tensor, before: Tensor) -> dict[str, Tensor]:
        """Each modality's token of each step, [N, T, width]; a modality that is not given is missing at every step."""
        out = {}
        for name, module in self.encoders.items():
            values = steps.get(name)
            if values is None:
                out[name] = module.get_parameter("missing").expand(*beam.shape, -1)
            elif name == "power":
                out[name] = module(decibel(values))
            elif name == "beam":
                out[name] = module(torch.stack([values, before], dim=-1))
            else:
                out[name] = module(values)
        return out

    def reference(self, steps: Mapping[str, Tensor], state: State | None) -> tuple[Tensor, Tensor, Tensor]:
        """Last measured power [N, T, B] in dB, last known best beam [N, T], and the one known before that step.

        Raises:
            InputError: see `advance`.
        """
        given = [values for name, values in steps.items() if name in self.encoders]
        if not given:
            raise InputError(
                f"steps of {', '.join(steps) or 'nothing'} for a model of {', '.join(self.preset.modalities)}"
            )
        n, t = given[0].shape[:2]
        beams, device = self.preset.beams, given[0].device
        power = steps["power"] if "power" in self.encoders and "power" in steps else None
        if power is not None and power.shape[2] != beams:
            raise InputError(f"powers of {power.shape[2]} beams for a model of {beams}; train one for this codebook")
        index = steps["beam"] if "beam" in self.encoders and "beam" in steps else None
        level = torch.full((n, t, beams), torch.nan, device=device) if power is None else decibel(power)
        measured = torch.isfinite(level).any(2)
        known = torch.where(measured, level.nan_to_num(-1e9).argmax(2), -1 if index is None else index)
        start_beam = torch.full((n,), -1, device=device) if state is None else state.beam
        start_power = torch.zeros(n, beams, device=device) if state is None else state.power
        beam = _carried(known, known >= 0, start_beam)
        before = torch.cat([start_beam[:, None], beam[:, :-1]], dim=1)
        return _carried(level, measured, start_power), beam, before


def moved_along(power: Tensor, beam: Tensor, logits: Tensor) -> Tensor:
    """The mean power where the best beam is each of those that may be, the measured one moved along: [N, T, H, B] dB.

    Σ_c p(c) P(b − c + best): as high over its surroundings as what was measured, on whatever street.

    Args:
        power: [N, T, B] dB, last measured.
        beam: int64 [N, T] its best beam; −1 counts as 0.
        logits: [N, T, H, B] of the best beam to come.
    """
    n, t, beams = power.shape
    place = torch.arange(beams, device=power.device)
    source = place - place[:, None] + beam.clamp(min=0)[..., None, None]  # [N, T, c, b]
    top = power.amax(-1, keepdim=True)
    linear = 10 ** ((power - top) / 10)
    moved = linear.gather(-1, source.clamp(0, beams - 1).flatten(2)).view(n, t, beams, beams)
    mean = torch.softmax(logits, dim=-1) @ moved
    return 10 * torch.log10(mean.clamp_min(1e-12)) + top[:, :, None]


def stands_out(power: Tensor) -> Tensor:
    """By how much beams [N, T, B] dB differ, twice their standard deviation: [N, T, 1] dB; 10 dB before the first."""
    around = power - power.mean(-1, keepdim=True)
    spread = 2 * around.square().mean(-1, keepdim=True).sqrt()
    return torch.where(spread > 0, spread.clamp_min(0.6), 10.0)


def decibel(power: Tensor) -> Tensor:
    """Linear power [..., B] in dB; a beam that is NaN or 0 is as weak as the weakest, a step without power all NaN."""
    level = 10 * torch.log10(power)
    level = torch.where(torch.isfinite(level), level, torch.nan)
    weakest = level.nan_to_num(torch.inf).amin(-1, keepdim=True)
    return torch.where(torch.isnan(level) & torch.isfinite(weakest), weakest, level)


def _carried(values: Tensor, known: Tensor, start: Tensor) -> Tensor:
    """[N, T, ...] with the last known value at each step, `start` [N, ...] before the first."""
    steps = torch.arange(1, values.shape[1] + 1, device=values.device)
    last = torch.where(known, steps, 0).cummax(1).values
    whole = torch.cat([start[:, None], values], dim=1)
    return whole.gather(1, last.view(*last.shape, *[1] * (values.ndim - 2)).expand_as(values))


def _encoder(name: str, preset: ForecastPreset, tower: UniversalModel | None) -> Encoder:
    width = preset.width
    if name == "power":
        return BeamPower(preset.beams, width, preset.around, preset.by_beam)
    if name == "beam":
        return BeamIndex(preset.beams, width, preset.by_beam)
    if name == "position":
        return Position(width)
    if name == "camera":
        return PretrainedCamera(width, preset.vision) if preset.vision else Camera(width, preset.image)
    if name == "lidar":
        return Lidar(width)
    if name == "radar":
        return Radar(width, preset.cube)
    if tower is None:
        raise InputError("csi is read through a frozen CFENN: give the universal model as tower")
    return Channel(width, tower, Radio(carrier=preset.carrier))


@torch.no_grad()
def roll_out(model: WMLM, steps: Mapping[str, Tensor], count: int) -> Tensor:
    """Generates the power of the next `count` steps, each from the one before: linear, [N, count, B].

    The model hears nothing but the powers that it made itself; every other modality is missing.
    """
    forecast, state = model.advance(steps, None)
    out: list[Tensor] = []
    while len(out) < count:
        out.append(10 ** (forecast.power[:, -1, 1] / 10))
        heard = {"power": out[-1][:, None], "beam": out[-1].argmax(1)[:, None]}
        forecast, state = model.advance(heard, state)
    return torch.stack(out, dim=1)


@torch.no_grad()
def impute(model: WMLM, steps: Mapping[str, Tensor]) -> Tensor:
    """Power with its lost steps restored from those before and from the other modalities: linear, [N, T, B]."""
    restored = 10 ** (model(steps).power[:, :, 0] / 10)
    lost = ~torch.isfinite(steps["power"]).any(2, keepdim=True)
    return torch.where(lost, restored, steps["power"])


def sizes(preset: ForecastPreset, names: Sequence[str] = tuple(SIZES)) -> dict[str, int]:
    """Parameters of the sizes, counted on the meta device: no memory is taken."""
    from dataclasses import replace

    with torch.device("meta"):
        return {name: WMLM(replace(preset, width=SIZES[name])).parameter_counts()["total"] for name in names}
