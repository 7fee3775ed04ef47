"""The networks as ONNX can say them: real numbers, batches of any size, nothing decided by a tensor's values.

Each module holds the trained layers themselves and states what lies between them again: complex arithmetic as real and
imaginary planes, and loops and branches over data as masks. That the answers are the same is measured at export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.angle_delay import SPACING, TONE, filters, levels, visible
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.conditions import of_radio
from uniair.models.crnn import CELL, PATHS, REACH
from uniair.models.epnn import (
    UNKNOWN,
    in_sight,
    line_window,
    position_features,
    position_vector,
    station_features,
)
from uniair.models.forecast import HEAD, WMLM, CausalBlock
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, Radio

PIXELS = 256  # a side of the map that EnvironmentGraph takes


def require_domain(model: UniversalModel, radio: Radio) -> None:
    """Finds out whether a model's graphs can be of a radio.

    Raises:
        InputError: a model that reads CSI by antenna and subcarrier, and others than its own.
    """
    own = ULA(model.preset.beams), OFDM(model.preset.delays)
    if model.preset.csi_domain != "angle_delay" and (radio.array, radio.grid) != own:
        raise InputError(f"preset {model.preset.name} reads antennas and subcarriers, so that it is exported for "
                         f"{own[0]}; {own[1]} alone, not for {radio}")  # fmt: skip


class ChannelGraph(nn.Module):
    """CSI of any power and common phase → embedding: normalisation, CFENN and projection.

    Args:
        radio: that measures the CSI, the first path at its place; None: the weights' own.

    Attributes:
        reads_level: whether the mean power of a CSI's entries is asked for: weights for any radio, calibrated gains.

    Raises:
        InputError: see `require_domain`.
    """

    def __init__(self, model: UniversalModel, radio: Radio | None = None) -> None:
        super().__init__()
        radio = model.radio if radio is None else radio
        require_domain(model, radio)
        self.cfenn, self.project = model.cfenn, model.project_channel
        self.transform = AngleDelay(model, radio)
        self.told = model.cfenn.told
        self.reads_level = self.told is not None and radio.calibrated and radio.isotropic
        self.register_buffer("conditions", of_radio(radio, 1, gain=torch.ones(1)))

    conditions: Tensor

    def forward(self, csi: Tensor, level: Tensor | None = None) -> Tensor:
        """Real and imaginary parts [N, 2, ports, subcarriers], none above 1e15 or all below 1e-15 → [N, E].

        Args:
            level: [N] log10 of the mean power of an entry, received over transmitted; None: not read.
        """
        power = csi.square().sum(1, keepdim=True).mean((2, 3), keepdim=True)
        csi = csi / power.sqrt()
        response, up = self.transform(csi)
        size = response.square().sum(1).sqrt()
        at = size.flatten(1).argmax(1, keepdim=True)
        peak = response.flatten(2).gather(2, at[:, None].expand(-1, 2, -1)) / size.flatten(1).gather(1, at)[:, None]
        planes = (
            self._planes(turned_back(response, peak), size, up) if self.cfenn.angle_delay else turned_back(csi, peak)
        )
        tokens = self.cfenn.patches(planes).flatten(2).transpose(1, 2) + self.cfenn.positions
        first = self.cfenn.class_token.expand(tokens.shape[0], 1, -1)
        if self.told is not None:
            first = first + self.told(self._conditions(tokens.shape[0], level))[:, None]
        x = self.cfenn.ln_pre(torch.cat([first, tokens], dim=1))
        for block in (*self.cfenn.blocks, *self.cfenn.shared):
            x = block(x)
        return functional.normalize(self.project(self.cfenn.pool(self.cfenn.ln_post(x))), dim=-1)

    def _planes(self, response: Tensor, size: Tensor, up: Tensor | None) -> Tensor:
        """As `CFENN._planes`, of [N, 2, polarisations, beams, delays] and their size [N, polarisations, …]."""
        root = size.square().sum(1, keepdim=True).sqrt().clamp_min(1e-6).sqrt()
        planes = [response[:, :, 0] / root, root]
        if self.told is not None:
            second = response[:, :, 1] / root if response.shape[2] > 1 else torch.zeros_like(planes[0])
            planes += [second, torch.zeros_like(root) if up is None else up[:, None] * root]
        return torch.cat(planes, dim=1)

    def _conditions(self, n: int, level: Tensor | None) -> Tensor:
        """`uniair.models.conditions.of_radio` of each CSI: [N or 1, RADIO_FEATURES]."""
        if not self.reads_level:
            return self.conditions
        assert level is not None
        # over free space an amplitude falls as the distance grows
        distance = self.conditions[:, -2:-1] - level[:, None] / 2
        return torch.cat([self.conditions[:, :-2].expand(n, -1), distance, distance.square() / 2], dim=1)


def turned_back(planes: Tensor, peak: Tensor) -> Tensor:
    """Complex numbers [N, 2, ...] as real and imaginary planes, turned by minus the angle of a unit one [N, 2, 1]."""
    cos, sin = (part.view(-1, *[1] * (planes.ndim - 2)) for part in peak.unbind(1))
    real, imaginary = planes[:, 0], planes[:, 1]
    return torch.stack([real * cos + imaginary * sin, imaginary * cos - real * sin], dim=1)


class AngleDelay(nn.Module):
    """The response of a radio's CSI, as real and imaginary planes.

    Weights of one radio choose one look, an elevation and a polarisation, for each channel; those for any radio choose
    an elevation for each cell, and keep both polarisations.
    """

    beams: Tensor
    delays: Tensor
    level: Tensor | None
    visible: Tensor | None

    def __init__(self, model: UniversalModel, radio: Radio) -> None:
        super().__init__()
        by_cell = model.preset.radios == "any"
        filter_ = filters(radio, model.preset.beams, model.preset.delays)
        self.polarisations = len(radio.array.slants) if by_cell else 1
        for name, matrix in (("beams", filter_.beams.flatten(0, 1)), ("delays", filter_.delays)):
            self.register_buffer(name, torch.stack([matrix.real, matrix.imag]))
        level = levels(radio)
        self.register_buffer("level", level if by_cell and level.any() else None)
        self.register_buffer("visible", visible(level, model.preset.beams).float()[..., None] if by_cell else None)
        self.grid = len(filter_.beams) // self.polarisations, model.preset.beams, model.preset.delays

    def forward(self, csi: Tensor) -> tuple[Tensor, Tensor | None]:
        """[N, 2, ports, subcarriers] → [N, 2, polarisations, beams, delays], and the direction cosine upwards that each
        cell is taken in from, [N, beams, delays], or None.
        """
        (b, bi), (d, di) = self.beams, self.delays
        # delays first: there are fewer of them than looks × beams
        real, imaginary = csi[:, 0] @ d - csi[:, 1] @ di, csi[:, 0] @ di + csi[:, 1] @ d
        every = torch.stack([b @ real - bi @ imaginary, b @ imaginary + bi @ real], dim=1)
        every = every.view(csi.shape[0], 2, self.polarisations, *self.grid)
        if self.grid[0] == 1:
            return every[:, :, :, 0], None
        power = every.square().sum((1, 2))
        power = power.sum((2, 3), keepdim=True) if self.visible is None else power * self.visible
        best = power.argmax(1, keepdim=True)
        index = best[:, None, None].expand(-1, 2, self.polarisations, -1, *self.grid[1:])
        up = None if self.level is None else self.level[best[:, 0]]
        return every.gather(3, index)[:, :, :, 0], up


class ReconstructionGraph(nn.Module):
    """Embedding → normalised CSI of a radio: CRNN and `angle_delay.write`.

    Raises:
        InputError: see `require_domain`.
    """

    def __init__(self, model: UniversalModel, radio: Radio | None = None) -> None:
        super().__init__()
        radio = model.radio if radio is None else radio
        require_domain(model, radio)
        self.crnn = model.crnn
        beams, delays = model.crnn.grid
        self.polarisations = len(radio.array.slants)
        place = torch.from_numpy(radio.array.layout - radio.array.centre).float() / SPACING
        offset = torch.from_numpy(radio.grid.frequencies - radio.grid.frequencies.mean()).float() / TONE
        # turns of each element by a path's cell along the array, in front of it and upwards
        self.register_buffer("turns", -2 * math.pi / beams * place.T)
        self.register_buffer("subcarriers", -2 * math.pi / delays * offset)
        matrix = None
        if radio.array.codebook is not None:
            weights = torch.tensor(radio.array.codebook, dtype=torch.complex64).mH
            matrix = torch.stack([weights.real, weights.imag])
        self.register_buffer("codebook", matrix)

    turns: Tensor
    subcarriers: Tensor
    codebook: Tensor | None

    def forward(self, embedding: Tensor) -> Tensor:
        """[N, E] → real and imaginary parts [N, 2, ports, subcarriers]."""
        planes = self._planes(embedding)
        if not self.crnn.angle_delay:
            return planes
        columns = planes.shape[3]
        where = planes[:, 0].flatten(1).log_softmax(dim=1)
        strongest = where.topk(PATHS, dim=1).indices
        share, real, imaginary, beam, delay, *more = (
            part.flatten(1).gather(1, strongest) for part in (where, *planes[:, 1:].unbind(1))
        )
        row, centre = torch.div(strongest, columns, rounding_mode="floor"), (CELL - 1) / 2
        beam = row * CELL + centre + CELL * REACH * torch.tanh(beam) - self.crnn.grid[0] // 2
        delay = (strongest - row * columns) * CELL + centre + CELL * REACH * torch.tanh(delay)
        size = (0.5 * share).exp()
        first = real * size, imaginary * size
        gains = [first] * self.polarisations
        if more and self.polarisations > 1:
            gains[1] = more[1] * size, more[2] * size
        ports, ports_imaginary = self._ports(beam, torch.tanh(more[0]) if more else None, gains)
        across = delay[..., None] * self.subcarriers
        cos, sin = across.cos(), across.sin()
        left, right = ports.transpose(1, 2), ports_imaginary.transpose(1, 2)
        return torch.stack([left @ cos - right @ sin, left @ sin + right @ cos], dim=1)

    def _planes(self, embedding: Tensor) -> Tensor:
        """`CRNN._planes`: [N, planes, rows, columns]."""
        crnn, n = self.crnn, embedding.shape[0]
        x = crnn.up(embedding * math.sqrt(crnn.up.in_features)).view(n, crnn.rows * crnn.columns, crnn.width)
        x = crnn.ln_pre(x + crnn.positions)
        for block in crnn.blocks:
            x = block(x)
        values = crnn.values(crnn.ln_post(x)).view(n, crnn.rows, crnn.columns, crnn.planes, *crnn.cells)
        out: Tensor = values.permute(0, 3, 1, 4, 2, 5).reshape(
            n, crnn.planes, crnn.rows * crnn.cells[0], crnn.columns * crnn.cells[1]
        )
        return out

    def _ports(self, beam: Tensor, up: Tensor | None, gains: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """What the ports take in of paths [N, P]: real and imaginary [N, P, ports].

        Args:
            beam: cells from direction cosine 0; up: direction cosine upwards; None: level.
            gains: real and imaginary, of each polarisation.
        """
        half = self.crnn.grid[0] / 2
        rest = (1 - (beam / half).clamp(-1, 1).square()).clamp_min(1e-9)
        turned = beam[..., None] * self.turns[0]
        if up is None:
            ahead = rest.sqrt()
        else:
            up = torch.minimum(torch.maximum(up, -rest.sqrt()), rest.sqrt())
            ahead = (rest - up.square()).clamp_min(1e-9).sqrt()
            turned = turned + half * up[..., None] * self.turns[2]
        turned = turned + half * ahead[..., None] * self.turns[1]
        cos, sin = turned.cos(), turned.sin()
        real = torch.cat([cos * r[..., None] - sin * i[..., None] for r, i in gains], dim=-1)
        imaginary = torch.cat([cos * i[..., None] + sin * r[..., None] for r, i in gains], dim=-1)
        if self.codebook is None:
            return real, imaginary
        c, ci = self.codebook
        return real @ c - imaginary @ ci, real @ ci + imaginary @ c


class EnvironmentGraph(nn.Module):
    """Hypotheses on one map, with what the rays found there → embedding: EPNN after its ray launching.

    Args:
        radio: whose carrier and clock weights for any radio are told; None: the weights' own.
    """

    def __init__(self, model: UniversalModel, radio: Radio | None = None) -> None:
        super().__init__()
        self.preset, self.epnn, self.project = model.preset, model.epnn, model.project_environment
        self.radio = model.radio if radio is None else radio
        # the pixels of the map in each pixel of the model's raster, as adaptive pooling has them
        edge = torch.arange(model.preset.raster) * PIXELS
        first, last = edge // model.preset.raster, -(-(edge + PIXELS) // model.preset.raster)
        pixel = torch.arange(PIXELS)
        self.register_buffer("within", ((pixel >= first[:, None]) & (pixel < last[:, None])).float())

    within: Tensor

    def forward(
        self, map: Tensor, bs: Tensor, ue: Tensor, los: Tensor, size: Tensor, known: Tensor, features: Tensor,
        owner: Tensor, clock: Tensor, downtilt: Tensor,
    ) -> Tensor:  # fmt: skip
        """N hypotheses → [N, E].

        Args:
            map: float32 [PIXELS, PIXELS] m, building heights, infinite where not known.
            bs, ue: [N, 3] m; los, size: [N]; of what is unknown anything.
            known: bool [N, 4] of map, bs, ue and los; the map is known to all or to none.
            features: [P, FEATURES] of the candidate paths of all hypotheses, or [P, FEATURES_3D].
            owner: int64 [P] the hypothesis of each.
            clock: [N] m that the radio's clock leaves out of each path.
            downtilt: [N] rad, of the array; not read where its elements look everywhere.
        """
        epnn, n = self.epnn, bs.shape[0]
        told = {}
        if epnn.solid:
            told["carrier"] = torch.full_like(size, self.radio.carrier)
            if self.radio.array.pattern != "isotropic":
                told["downtilt"] = downtilt
        env = Environment(map=map[None], bs=bs, ue=ue, los=los, size=size, area=torch.zeros_like(size).long(), **told)
        flags = {name: known[:, i] for i, name in enumerate(UNKNOWN)}
        if self.preset.positions == "vector":
            columns = [position_vector(env, flags, self.preset.raster)]
        else:
            columns = [position_features(env, flags, self.preset.raster, clock)]
        if math.prod(self.preset.line_window):
            columns.append(line_window(env, flags, *self.preset.line_window))
        if epnn.paths is not None:
            each = epnn.paths.down(functional.gelu(epnn.paths.up(features)))
            # not index_add, whose export adds no two paths of one hypothesis
            total = each.new_zeros(n, self.preset.rays).scatter_add(
                0, owner[:, None].expand(-1, self.preset.rays), each
            )
            columns.append(epnn.paths.ln(total))
        if epnn.solid:
            columns.append(line_window(env, flags, *self.preset.line_window, over=True))
            columns += [station_features(env, flags), in_sight(env, flags)]
            columns.append(torch.full_like(size, float(self.radio.clock == "first_path"))[:, None])
        tokens = epnn.vector(torch.cat(columns, dim=1)).view(n, self.preset.position_tokens, self.preset.width)
        tokens = tokens + ((~known[:, 1:]).to(tokens.dtype) @ epnn.unknown[1:])[:, None]
        tokens = torch.cat([epnn.class_token.expand(n, 1, -1), tokens], dim=1) + epnn.sequence
        planes = torch.stack([self._edges(map), self._roofs(map)] if epnn.solid else [self._edges(map)])
        ground = epnn.patches(planes[None]).flatten(2).transpose(1, 2) + epnn.grid
        ground = torch.where(known[:1, :1, None], ground, epnn.unknown[0] + epnn.grid)
        return functional.normalize(self.project(self._attend(epnn.ln_pre(ground), epnn.ln_pre(tokens))), dim=-1)

    def _edges(self, map: Tensor) -> Tensor:
        """`uniair.models.epnn.edges`; a pixel is built where half of its area is, counted without rounding."""
        built = 2 * self._sums((map > 0).float()) >= self._areas()
        beside = functional.max_pool2d((~built).float()[None, None], 3, stride=1, padding=1)[0, 0] > 0
        return (built & beside).float()

    def _roofs(self, map: Tensor) -> Tensor:
        """`uniair.models.epnn.roofs`."""
        return self._sums(torch.tanh(map / 30)) / self._areas()

    def _sums(self, map: Tensor) -> Tensor:
        """Over the pixels of the map in each pixel of the raster."""
        return self.within @ map @ self.within.T

    def _areas(self) -> Tensor:
        """How many those are."""
        count = self.within.sum(1)
        return count[:, None] * count

    def _attend(self, ground: Tensor, x: Tensor) -> Tensor:
        """Map tokens [1, M, width] and tokens [N, T, width] → representation [N, width]."""
        blocks = (*self.epnn.blocks, *self.epnn.shared)
        if self.preset.attention == "prefix":
            x = x[None]
            for block in blocks:
                if block is blocks[-1]:
                    seen = block.keys_values(ground)
                else:
                    ground, seen = block.prefix(ground)
                x = block.after(x, seen)
            x = x[0]
        else:
            positions = x.shape[1]
            x = torch.cat([x, ground.expand(x.shape[0], -1, -1)], dim=1)
            for block in blocks:
                x = block(x)
            x = x[:, :positions]
        out: Tensor = self.epnn.pool(self.epnn.ln_post(x))
        return out


class ForecastGraph(nn.Module):
    """WMLM over any number of steps after those in its state: a window at once, or one step of a stream.

    The cache always holds `context` − 1 steps; those before the start are masked.

    Raises:
        InputError: a modality that ONNX can't take.
    """

    def __init__(self, model: WMLM) -> None:
        super().__init__()
        if "csi" in model.preset.modalities or model.preset.vision:
            raise InputError("a forecaster with CSI or a pretrained vision model can't be exported; train it without")
        if model.preset.tasks:
            raise InputError(f"a forecaster of {' and '.join(model.preset.tasks)} too can't be exported; train one for "
                             "beams alone, with --preset.tasks []")  # fmt: skip
        self.model, self.preset = model, model.preset
        half = HEAD // 2
        self.register_buffer("rate", 10000.0 ** (-torch.arange(half) / half))

    rate: Tensor

    def start(self, n: int = 1) -> dict[str, Tensor]:
        """The state before the first step of N streams, by name."""
        p = self.preset
        return {
            "time": torch.zeros(n, dtype=torch.int64),
            "last_beam": torch.full((n,), -1),
            "last_power": torch.zeros(n, p.beams),
            "cache": torch.zeros(n, p.blocks, 2, p.heads, p.context - 1, HEAD),
        }

    def forward(
        self, time: Tensor, last_beam: Tensor, last_power: Tensor, cache: Tensor, *values: Tensor
    ) -> tuple[Tensor, ...]:
        """Steps [N, T, ...] of the preset's modalities, in order → logits, power [N, T, F + 1, B], LOS [N, T], state.

        Args:
            time: int64 [N] steps so far; last_beam: int64 [N]; last_power: [N, B] dB, as in `State`.
            cache: [N, blocks, 2, heads, context − 1, d].
            values: as `WMLM.advance` takes them.
        """
        steps = dict(zip(self.preset.modalities, values, strict=True))
        n, t = values[0].shape[:2]
        at = torch.arange(t)
        if "power" in steps:
            steps["power"] = decibel(steps["power"])
        level, beam, before = self._reference(steps, last_beam, last_power, at)
        if "beam" in steps:
            steps["beam"] = torch.stack([steps["beam"], before], dim=-1)
        x = torch.stack([self.model.encoders[name](seen) for name, seen in steps.items()]).sum(0)
        kept = self.preset.context - 1
        angle = (time[:, None] + at)[:, None, :, None] * self.rate  # [N, 1, T, d / 2]
        key = torch.arange(t + kept)
        back = at[:, None] + kept - key
        mask = (back >= 0) & (back <= kept) & (key >= kept - time.clamp(max=kept)[:, None, None])
        caches = []
        for number, block in enumerate(self.model.blocks):
            assert isinstance(block, CausalBlock)
            x, new = attended(block, x, cache[:, number], angle.cos(), angle.sin(), mask[:, None])
            caches.append(new[:, :, :, -kept:] if kept else new[:, :, :, :0])
        x = normed(self.model.norm, x)
        beams, horizons = self.preset.beams, self.preset.future + 1
        scores = torch.zeros(1)
        if self.model.by_beam is not None:
            scores = scores + self.model.by_beam(x).view(n, t, horizons, 2, beams)
        if self.model.around is not None:
            place = torch.arange(beams) - beam.clamp(min=0)[..., None] + beams - 1
            around = self.model.around(x).view(n, t, horizons, 2, 2 * beams - 1)
            scores = scores + around.gather(-1, place[:, :, None, None].expand(-1, -1, horizons, 2, -1))
        power = self.model.level(level, beam, scores)
        los = self.model.los(x)[..., 0]
        return scores[:, :, :, 0], power, los, time + t, beam[:, -1], level[:, -1], torch.stack(caches, dim=1)

    def _reference(
        self, steps: dict[str, Tensor], last_beam: Tensor, last_power: Tensor, at: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `WMLM.reference`: last measured power [N, T, B], last known beam [N, T], and the one before that step."""

        def carried(values: Tensor, known: Tensor, start: Tensor) -> Tensor:
            number = torch.where(known, at + 1, 0)[:, None, :]
            last = torch.where(at <= at[:, None], number, 0).amax(-1)  # [N, T]; 0: what came before
            whole = torch.cat([start[:, None], values], dim=1)
            return whole.gather(1, last if values.ndim == 2 else last[..., None].expand(-1, -1, values.shape[2]))

        index = steps.get("beam")
        beam = torch.full_like(at, -1).expand(last_beam.shape[0], -1) if index is None else index
        level = last_power[:, None].expand(-1, at.shape[0], -1)
        if "power" in steps:
            known = torch.isfinite(steps["power"]).any(2)
            beam = torch.where(known, steps["power"].argmax(2), beam)
            level = carried(steps["power"], known, last_power)
        beam = carried(beam, beam >= 0, last_beam)
        return level, beam, torch.cat([last_beam[:, None], beam[:, :-1]], dim=1)


def decibel(power: Tensor) -> Tensor:
    """As `uniair.models.forecast.decibel`, whose `nan_to_num` means another thing in ONNX."""
    level = 10 * torch.log10(power)
    lost = ~torch.isfinite(level)
    weakest = torch.where(lost, torch.inf, level).amin(-1, keepdim=True)
    return torch.where(lost, torch.where(torch.isfinite(weakest), weakest, torch.nan), level)


def attended(
    block: CausalBlock, x: Tensor, cache: Tensor, cos: Tensor, sin: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """A causal block on [N, T, width] after the keys and values [N, 2, heads, S, d] of the steps before.

    Returns:
        The block's output, and the keys and values of all steps, [N, 2, heads, S + T, d].
    """
    n, t, width = x.shape
    parts = block.qkv(normed(block.norm_1, x)).view(n, t, 3, block.heads, HEAD).permute(2, 0, 3, 1, 4)
    q, k = (torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
            for a, b in (part.chunk(2, dim=-1) for part in (parts[0], parts[1])))  # fmt: skip
    k, v = torch.cat([cache[:, 0], k], dim=2), torch.cat([cache[:, 1], parts[2]], dim=2)
    scores = (q @ k.transpose(2, 3) / math.sqrt(HEAD)).masked_fill(~mask, -torch.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, width)
    x = x + block.out(out)
    x = x + block.down(functional.gelu(block.up(normed(block.norm_2, x))))
    return x, torch.stack([k, v], dim=1)


def normed(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """`norm` written out: the exporter has no word for it."""
    eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * norm.weight
