"""The networks as ONNX can say them: real numbers, batches of any size, nothing decided by a tensor's values.

Each module holds the trained layers themselves and states what lies between them again: complex arithmetic as real and
imaginary planes, and loops and branches over data as masks. That the answers are the same is measured at export.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.angle_delay import SPACING, TONE, filters
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.crnn import CELL, PATHS, REACH
from uniair.models.epnn import UNKNOWN, line_window, position_features, position_vector
from uniair.models.forecast import HEAD, WMLM, CausalBlock
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, Radio

PIXELS = 256  # a side of the map that EnvironmentGraph takes


def require_domain(model: UniversalModel, radio: Radio) -> None:
    """Finds out whether a model's graphs can be of a radio.

    Raises:
        InputError: a model that reads CSI by antenna and subcarrier, and others than its own; one made for any radio.
    """
    if model.preset.radios == "any":
        raise InputError(
            f"preset {model.preset.name} reads any radio, which edge packages can't yet; export weights of one radio"
        )
    own = ULA(model.preset.beams), OFDM(model.preset.delays)
    if model.preset.csi_domain != "angle_delay" and (radio.array, radio.grid) != own:
        raise InputError(f"preset {model.preset.name} reads antennas and subcarriers, so that it is exported for "
                         f"{own[0]}; {own[1]} alone, not for {radio}")  # fmt: skip


class ChannelGraph(nn.Module):
    """CSI of any power and common phase → embedding: normalisation, CFENN and projection.

    Args:
        radio: that measures the CSI, by an absolute clock; None: the weights' own.

    Raises:
        InputError: see `require_domain`.
    """

    def __init__(self, model: UniversalModel, radio: Radio | None = None) -> None:
        super().__init__()
        radio = model.radio if radio is None else radio
        require_domain(model, radio)
        self.cfenn, self.project = model.cfenn, model.project_channel
        self.transform = AngleDelay(model, radio)

    def forward(self, csi: Tensor) -> Tensor:
        """Real and imaginary parts [N, 2, ports, subcarriers], none above 1e15 or all below 1e-15 → [N, E]."""
        power = csi.square().sum(1, keepdim=True).mean((2, 3), keepdim=True)
        csi = csi / power.sqrt()
        spectrum = self.transform(csi)
        size = spectrum.square().sum(1).sqrt()
        at = size.flatten(1).argmax(1, keepdim=True)
        peak = spectrum.flatten(2).gather(2, at[:, None].expand(-1, 2, -1)) / size.flatten(1).gather(1, at)[:, None]
        cos, sin = peak[:, 0, :, None], peak[:, 1, :, None]
        planes = spectrum if self.cfenn.angle_delay else csi
        real, imaginary = planes[:, 0], planes[:, 1]
        planes = torch.stack([real * cos + imaginary * sin, imaginary * cos - real * sin], dim=1)
        if self.cfenn.angle_delay:
            root = size[:, None].clamp_min(1e-6).sqrt()
            planes = torch.cat([planes / root, root], dim=1)
        tokens = self.cfenn.patches(planes).flatten(2).transpose(1, 2) + self.cfenn.positions
        first = self.cfenn.class_token.expand(tokens.shape[0], 1, -1)
        x = self.cfenn.ln_pre(torch.cat([first, tokens], dim=1))
        for block in (*self.cfenn.blocks, *self.cfenn.shared):
            x = block(x)
        return functional.normalize(self.project(self.cfenn.pool(self.cfenn.ln_post(x))), dim=-1)


class AngleDelay(nn.Module):
    """The response of a radio's CSI, as real and imaginary planes."""

    beams: Tensor
    delays: Tensor

    def __init__(self, model: UniversalModel, radio: Radio) -> None:
        super().__init__()
        filter_ = filters(radio, model.preset.beams, model.preset.delays)
        self.elevations = len(filter_.beams)
        for name, matrix in (("beams", filter_.beams.flatten(0, 1)), ("delays", filter_.delays)):
            self.register_buffer(name, torch.stack([matrix.real, matrix.imag]))

    def forward(self, csi: Tensor) -> Tensor:
        """[N, 2, ports, subcarriers] → [N, 2, beams, delays], at the elevation that takes in most of each channel."""
        (b, bi), (d, di) = self.beams, self.delays
        real, imaginary = b @ csi[:, 0] - bi @ csi[:, 1], b @ csi[:, 1] + bi @ csi[:, 0]
        planes = torch.stack([real @ d - imaginary @ di, real @ di + imaginary @ d], dim=1)
        if self.elevations == 1:
            return planes
        every = planes.view(csi.shape[0], 2, self.elevations, b.shape[0] // self.elevations, d.shape[1])
        strongest = every.square().sum((1, 3, 4)).argmax(1)
        index = strongest[:, None, None, None, None].expand(-1, 2, 1, every.shape[3], every.shape[4])
        return every.gather(2, index)[:, :, 0]


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
        place = torch.from_numpy(radio.array.layout - radio.array.centre).float() / SPACING
        offset = torch.from_numpy(radio.grid.frequencies - radio.grid.frequencies.mean()).float() / TONE
        # turns of each element by a path's cell along it, and in front of it
        self.register_buffer("along", -2 * math.pi / beams * place[:, 0])
        self.register_buffer("ahead", -2 * math.pi / beams * place[:, 1])
        self.register_buffer("subcarriers", -2 * math.pi / delays * offset)
        self.deep = bool(place[:, 1].any())
        self.codebook: Tensor | None
        matrix = None
        if radio.array.codebook is not None:
            weights = torch.tensor(radio.array.codebook, dtype=torch.complex64).mH
            matrix = torch.stack([weights.real, weights.imag])
        self.register_buffer("codebook", matrix)

    along: Tensor
    ahead: Tensor
    subcarriers: Tensor

    def forward(self, embedding: Tensor) -> Tensor:
        """[N, E] → real and imaginary parts [N, 2, ports, subcarriers]."""
        crnn, n = self.crnn, embedding.shape[0]
        x = crnn.up(embedding * math.sqrt(crnn.up.in_features)).view(n, crnn.rows * crnn.columns, crnn.width)
        x = crnn.ln_pre(x + crnn.positions)
        for block in crnn.blocks:
            x = block(x)
        rows, columns = crnn.rows * crnn.cells[0], crnn.columns * crnn.cells[1]
        values = crnn.values(crnn.ln_post(x)).view(n, crnn.rows, crnn.columns, crnn.planes, *crnn.cells)
        planes = values.permute(0, 3, 1, 4, 2, 5).reshape(n, crnn.planes, rows, columns)
        if not crnn.angle_delay:
            return planes
        where = planes[:, 0].flatten(1).log_softmax(dim=1)
        strongest = where.topk(PATHS, dim=1).indices
        share, real, imaginary, beam, delay = (
            part.flatten(1).gather(1, strongest) for part in (where, *planes[:, 1:].unbind(1))
        )
        row, centre = torch.div(strongest, columns, rounding_mode="floor"), (CELL - 1) / 2
        beam = row * CELL + centre + CELL * REACH * torch.tanh(beam) - crnn.grid[0] // 2
        delay = (strongest - row * columns) * CELL + centre + CELL * REACH * torch.tanh(delay)
        gain = (0.5 * share).exp()
        real, imaginary = (gain * real)[..., None], (gain * imaginary)[..., None]
        across = delay[..., None] * self.subcarriers
        cos, sin = self._steering(beam)
        left, right = (real * cos - imaginary * sin).transpose(1, 2), (real * sin + imaginary * cos).transpose(1, 2)
        cos, sin = across.cos(), across.sin()
        return torch.stack([left @ cos - right @ sin, left @ sin + right @ cos], dim=1)

    def _steering(self, beam: Tensor) -> tuple[Tensor, Tensor]:
        """What the ports take in of paths in cells [N, P] from direction cosine 0: real and imaginary [N, P, ports]."""
        turned = beam[..., None] * self.along
        if self.deep:
            half = self.crnn.grid[0] / 2
            level = (beam / half).clamp(-1, 1)
            turned = turned + half * (1 - level.square()).sqrt()[..., None] * self.ahead
        cos, sin = turned.cos(), turned.sin()
        if self.codebook is None:
            return cos, sin
        real, imaginary = self.codebook
        return cos @ real - sin @ imaginary, cos @ imaginary + sin @ real


class EnvironmentGraph(nn.Module):
    """Hypotheses on one map, with what the rays found there → embedding: EPNN after its ray launching."""

    def __init__(self, model: UniversalModel) -> None:
        super().__init__()
        self.preset, self.epnn, self.project = model.preset, model.epnn, model.project_environment
        # the pixels of the map in each pixel of the model's raster, as adaptive pooling has them
        edge = torch.arange(model.preset.raster) * PIXELS
        first, last = edge // model.preset.raster, -(-(edge + PIXELS) // model.preset.raster)
        pixel = torch.arange(PIXELS)
        self.register_buffer("within", ((pixel >= first[:, None]) & (pixel < last[:, None])).float())

    within: Tensor

    def forward(
        self, map: Tensor, bs: Tensor, ue: Tensor, los: Tensor, size: Tensor, known: Tensor, features: Tensor,
        owner: Tensor,
    ) -> Tensor:  # fmt: skip
        """N hypotheses → [N, E].

        Args:
            map: float32 [PIXELS, PIXELS], 1 = built.
            bs, ue: [N, 3] m; los, size: [N]; of what is unknown anything.
            known: bool [N, 4] of map, bs, ue and los; the map is known to all or to none.
            features: [P, FEATURES] of the candidate paths of all hypotheses.
            owner: int64 [P] the hypothesis of each.
        """
        epnn, n = self.epnn, bs.shape[0]
        env = Environment(map=map[None], bs=bs, ue=ue, los=los, size=size, area=torch.zeros_like(size).long())
        flags = {name: known[:, i] for i, name in enumerate(UNKNOWN)}
        vector = position_vector if self.preset.positions == "vector" else position_features
        columns = [vector(env, flags, self.preset.raster)]
        if math.prod(self.preset.line_window):
            columns.append(line_window(env, flags, *self.preset.line_window))
        if epnn.paths is not None:
            each = epnn.paths.down(functional.gelu(epnn.paths.up(features)))
            # not index_add, whose export adds no two paths of one hypothesis
            total = each.new_zeros(n, self.preset.rays).scatter_add(
                0, owner[:, None].expand(-1, self.preset.rays), each
            )
            columns.append(epnn.paths.ln(total))
        tokens = epnn.vector(torch.cat(columns, dim=1)).view(n, self.preset.position_tokens, self.preset.width)
        tokens = tokens + ((~known[:, 1:]).to(tokens.dtype) @ epnn.unknown[1:])[:, None]
        tokens = torch.cat([epnn.class_token.expand(n, 1, -1), tokens], dim=1) + epnn.sequence
        ground = epnn.patches(self._edges(map)[None, None]).flatten(2).transpose(1, 2) + epnn.grid
        ground = torch.where(known[:1, :1, None], ground, epnn.unknown[0] + epnn.grid)
        return functional.normalize(self.project(self._attend(epnn.ln_pre(ground), epnn.ln_pre(tokens))), dim=-1)

    def _edges(self, map: Tensor) -> Tensor:
        """`uniair.models.epnn.edges`; a pixel is built where half of its area is, counted without rounding."""
        count = self.within.sum(1)
        built = 2 * (self.within @ map @ self.within.T) >= count[:, None] * count
        beside = functional.max_pool2d((~built).float()[None, None], 3, stride=1, padding=1)[0, 0] > 0
        return (built & beside).float()

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
        power = level[:, :, None] + 10 * scores[:, :, :, 1]
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
