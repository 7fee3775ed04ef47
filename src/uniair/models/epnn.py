"""EPNN: the environment perception network."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.environment import Environment
from uniair.models.conditions import USUAL_CARRIER
from uniair.models.presets import Preset
from uniair.models.ray_launching import FEATURES, FEATURES_3D, SUBCARRIER_PERIOD, Candidates, candidates
from uniair.models.sight_line import SIGHT_FEATURES, heights_at, sight_line, tilted
from uniair.models.transformer import Pool, ResidualAttentionBlock, sinusoidal, sinusoidal_grid

UNKNOWN = ("map", "bs", "ue", "los")
OCTAVES = 8
CHUNK = 512  # hypotheses of a map that go through the blocks together: they fit the cache


class RaySum(NamedTuple):
    """What the candidate paths of N hypotheses say: [N, width], and [N] m that the clock leaves out of each path."""

    read: Tensor
    clock: Tensor


class EPNN(nn.Module):
    """Map, positions, LOS and scale → a representation (paper 1, Section III-A-1).

    What is unknown is left out of the input and a learned token stands for it. `base`: 7,518,720 parameters with the
    shared blocks, before the projection, the four tokens for the unknown not counted.
    """

    def __init__(self, preset: Preset, shared: nn.ModuleList) -> None:
        super().__init__()
        self.preset = preset
        side = preset.raster // preset.map_patch
        self.solid = preset.radios == "any"
        self.patches = nn.Conv2d(2 if self.solid else 1, preset.width, preset.map_patch, preset.map_patch, bias=False)
        inputs = 8 if preset.positions == "vector" else POSITION_FEATURES
        inputs += math.prod(preset.line_window) + preset.rays
        if self.solid:
            inputs += math.prod(preset.line_window) + STATION_FEATURES + SIGHT_FEATURES + 1
        self.vector = nn.Linear(inputs, preset.position_tokens * preset.width)
        self.paths = CandidatePaths(preset.rays, self.solid) if preset.rays else None
        self.class_token = nn.Parameter(preset.width**-0.5 * torch.randn(preset.width))
        self.unknown = nn.Parameter(preset.width**-0.5 * torch.randn(len(UNKNOWN), preset.width))
        self.register_buffer("grid", sinusoidal_grid(side, side, preset.width), persistent=False)
        self.register_buffer("sequence", sinusoidal(1 + preset.position_tokens, preset.width), persistent=False)
        self.ln_pre = nn.LayerNorm(preset.width)
        own = preset.blocks - preset.shared
        self.blocks = nn.ModuleList(ResidualAttentionBlock(preset.width, preset.heads) for _ in range(own))
        self.shared = shared
        self.ln_post = nn.LayerNorm(preset.width)
        self.pool = Pool(preset.pool, 1 + preset.position_tokens, preset.width)

    grid: Tensor
    sequence: Tensor

    def forward(
        self, environment: Environment, known: dict[str, Tensor] | None = None, rays: RaySum | None = None
    ) -> Tensor:
        """Checked tensors of N hypotheses (`Environment.tensors`) → [N, width].

        Args:
            known: bool [N] for any of map, bs, ue, los: False treats that part of that hypothesis as unknown. One map
                is known to all of its hypotheses or to none.
            rays: of each hypothesis, instead of those that `CandidatePaths` finds.
        """
        n, device = len(environment), self.class_token.device
        parts = {name: getattr(environment, name) is not None for name in UNKNOWN}
        flags = {k: torch.full((n,), there, device=device) for k, there in parts.items()}
        for name, flag in (known or {}).items():
            flags[name] = flags[name] & flag
        area = environment.area
        maps = 1 if environment.map is None else len(environment.map)

        # hypotheses of one map lie side by side: [A, L], short areas padded
        order = torch.argsort(area, stable=True)
        counts = torch.bincount(area, minlength=maps)
        most = int(counts.max())
        slot = torch.arange(n, device=device) - (counts.cumsum(0) - counts)[area[order]]
        cell = torch.empty_like(order)
        cell[order] = area[order] * most + slot

        def grouped(values: Tensor) -> Tensor:
            out = values.new_zeros((maps * most, *values.shape[1:]))
            return out.index_copy(0, cell, values).view(maps, most, *values.shape[1:])

        tokens = self._position_tokens(environment, flags, rays)
        map_known = torch.zeros(maps, dtype=torch.bool, device=device)
        map_known[area] = flags["map"]
        x = self._attend(self._map_tokens(environment, map_known), grouped(tokens))
        return x.reshape(maps * most, -1)[cell]

    def _attend(self, ground: Tensor, x: Tensor) -> Tensor:
        """Map tokens [A, M, width], class and position tokens [A, L, T, width] → representation [A, L, width]."""
        ground, x = self.ln_pre(ground), self.ln_pre(x)
        blocks = (*self.blocks, *self.shared)
        if self.preset.attention == "prefix":
            seen = []
            for block in blocks[:-1]:
                ground, keys_values = block.prefix(ground)
                seen.append(keys_values)
            seen.append(blocks[-1].keys_values(ground))
            parts = []
            for part in torch.split(x, CHUNK, dim=1):
                for block, keys_values in zip(blocks, seen, strict=True):
                    part = block.after(part, keys_values)
                parts.append(self.pool(self.ln_post(part)))
            return torch.cat(parts, dim=1)
        a, length, t, width = x.shape
        m = ground.shape[1]
        joint = torch.cat([x, ground[:, None].expand(a, length, m, width)], dim=2).reshape(a * length, t + m, width)
        for block in blocks:
            joint = block(joint)
        out: Tensor = self.pool(self.ln_post(joint[:, :t]))
        return out.view(a, length, width)

    def _map_tokens(self, environment: Environment, known: Tensor) -> Tensor:
        unknown = self.unknown[0] + self.grid
        if environment.map is None:
            return unknown[None]
        planes = edges(environment.map, self.preset.raster)[:, None]
        if self.solid:
            planes = torch.cat([planes, roofs(environment.map, self.preset.raster)[:, None]], 1)
        tokens = self.patches(planes).flatten(2).transpose(1, 2) + self.grid
        return torch.where(known[:, None, None], tokens, unknown)

    def _position_tokens(self, environment: Environment, known: dict[str, Tensor], given: RaySum | None) -> Tensor:
        """Class and position tokens: [N, 1 + position_tokens, width]."""
        n, preset = len(environment), self.preset
        if given is None and self.paths is not None:
            given = self.paths(environment, known)
        rays, clock = (None, None) if given is None else given
        if preset.positions == "vector":
            columns = [position_vector(environment, known, preset.raster)]
        else:
            columns = [position_features(environment, known, preset.raster, clock)]
        if math.prod(preset.line_window):
            columns.append(line_window(environment, known, *preset.line_window))
        if rays is not None:
            columns.append(rays)
        if self.solid:
            columns.append(line_window(environment, known, *preset.line_window, over=True))
            columns += [station_features(environment, known), in_sight(environment, known)]
            first = torch.zeros_like(environment.size) if environment.first_path is None else environment.first_path
            columns.append(first[:, None])
        tokens = self.vector(torch.cat(columns, 1)).view(n, preset.position_tokens, -1)
        missing = torch.stack([~known[name] for name in UNKNOWN[1:]], dim=1).to(tokens.dtype)
        tokens = tokens + (missing @ self.unknown[1:])[:, None]
        return torch.cat([self.class_token.expand(n, 1, -1), tokens], dim=1) + self.sequence


class CandidatePaths(nn.Module):
    """The paths that rays find on the map, as a set: each becomes `width` numbers, a hypothesis has their sum."""

    def __init__(self, width: int, solid: bool) -> None:
        super().__init__()
        self.solid = solid
        self.up = nn.Linear(FEATURES_3D if solid else FEATURES, width)
        self.down = nn.Linear(width, width)
        self.ln = nn.LayerNorm(width)

    def forward(self, environment: Environment, known: dict[str, Tensor]) -> RaySum:
        """What N hypotheses' rays say; of what no path reaches, or is not known well enough, one learned vector."""
        usable = known["map"] & known["bs"] & known["ue"]
        if environment.map is None or environment.bs is None or environment.ue is None:
            usable = torch.zeros_like(usable)
        total, clock = self.up.weight.new_zeros(len(usable), len(self.down.weight)), torch.zeros_like(environment.size)
        if usable.any():
            found = candidates(environment, usable, self.solid)
            each = self.each(found)
            total = each.new_zeros(found.distinct + 1, each.shape[1]).index_add(0, found.owner, each)[found.of]
            clock = torch.cat([found.clock, found.clock.new_zeros(1)])[found.of]
        return RaySum(self.ln(total), clock)

    def each(self, found: Candidates) -> Tensor:
        """What each path adds to its hypothesis: [P, width]."""
        read = found.features_3d() if self.solid else found.features()
        out: Tensor = self.down(functional.gelu(self.up(read)))
        return out


def edges(maps: Tensor, raster: int) -> Tensor:
    """Building edges (paper 1, Fig. 4): occupancy [A, H, W] → float32 [A, raster, raster].

    Resampled by area; an edge is a built pixel with open ground beside it.
    """
    built = functional.interpolate((maps[:, None] > 0).float(), size=(raster, raster), mode="area") >= 0.5
    beside_open = functional.max_pool2d((~built).float(), 3, stride=1, padding=1) > 0
    return (built & beside_open)[:, 0].float()


def roofs(maps: Tensor, raster: int) -> Tensor:
    """Building heights [A, H, W], m → float32 [A, raster, raster], 0 on open ground, 1 very high or not known."""
    return functional.interpolate(torch.tanh(maps / 30)[:, None], size=(raster, raster), mode="area")[:, 0]


def station_features(environment: Environment, known: dict[str, Tensor]) -> Tensor:
    """Carrier, how the array looks down, and the straight line's elevation in its frame: [N, STATION_FEATURES]."""
    size = environment.size
    carrier_known = known.get("carrier", torch.ones_like(known["bs"])) if environment.carrier is not None else None
    zero = torch.zeros_like(size)
    told = zero if carrier_known is None else carrier_known.float()
    carrier = zero if environment.carrier is None else (environment.carrier / USUAL_CARRIER).log10()
    directed = zero if environment.downtilt is None else torch.ones_like(size)
    tilt = zero if environment.downtilt is None else environment.downtilt
    pair = (known["bs"] & known["ue"]).float()
    line = size.new_zeros(len(size), 3)
    if environment.bs is not None and environment.ue is not None:
        line = environment.ue - environment.bs
    direction = tilted(line / line.norm(dim=1, keepdim=True).clamp_min(0.1), environment.downtilt) * pair[:, None]
    phases = math.pi * direction[:, 2:] * 2.0 ** torch.arange(UP_OCTAVES, device=size.device)
    plain = torch.stack([told, carrier * told, directed, tilt.sin(), direction[:, 1], direction[:, 2]], 1)
    return torch.cat([phases.sin() * pair[:, None], phases.cos() * pair[:, None], plain], 1)


def in_sight(environment: Environment, known: dict[str, Tensor]) -> Tensor:
    """See `SightLine.features`; 0 where the map or a position is unknown: [N, SIGHT_FEATURES]."""
    if environment.map is None or environment.bs is None or environment.ue is None:
        return environment.size.new_zeros(len(environment), SIGHT_FEATURES)
    usable = known["map"] & known["bs"] & known["ue"]
    return sight_line(environment).features() * usable[:, None]


def position_vector(environment: Environment, known: dict[str, Tensor], raster: int) -> Tensor:
    """Paper 1's 8 numbers, unknown ones 0: [N, 8].

    BS and UE in the map's coordinates (0 to 1, height in tens of metres), LOS, scale (metres per pixel).
    """
    size = environment.size[:, None]
    columns = []
    for name in ("bs", "ue"):
        position = getattr(environment, name)
        if position is None:
            position = size.new_zeros(len(size), 3)
        scaled = torch.cat([position[:, :2] / size, position[:, 2:] / 10], dim=1)
        columns.append(scaled * known[name][:, None])
    los = environment.los if environment.los is not None else torch.zeros_like(environment.size)
    return torch.cat([*columns, (los * known["los"])[:, None], size / raster], dim=1)


def position_features(
    environment: Environment, known: dict[str, Tensor], raster: int, clock: Tensor | None = None
) -> Tensor:
    """The 8 numbers and what follows from them, unknown parts 0: [N, POSITION_FEATURES].

    Fourier features of the map coordinates tell positions a metre apart; length and direction cosine of the straight
    line from BS to UE are given as the phases that they turn between subcarriers and between antennas.

    Args:
        clock: [N] m that the radio's clock leaves out of each path; None: nothing.
    """
    vector = position_vector(environment, known, raster)
    octave = 2.0 ** torch.arange(OCTAVES, device=vector.device)
    plan = torch.cat([vector[:, 0:2], vector[:, 3:5]], dim=1)
    both = torch.cat([known["bs"][:, None].expand(-1, 2), known["ue"][:, None].expand(-1, 2)], dim=1)
    phases = math.pi * plan[..., None] * octave
    fourier = torch.cat([phases.sin(), phases.cos()], dim=-1) * both[..., None]
    pair = (known["bs"] & known["ue"])[:, None]
    line = vector.new_zeros(len(vector), 3)
    if environment.bs is not None and environment.ue is not None:
        line = environment.ue - environment.bs
    distance = line.norm(dim=1, keepdim=True).clamp_min(0.1)
    cosine = line[:, :1] / distance
    counted = distance if clock is None else distance - clock[:, None]
    turns = torch.cat([2 * math.pi * counted / SUBCARRIER_PERIOD * octave, math.pi * cosine * octave], dim=1)
    straight = torch.cat([turns.sin(), turns.cos(), line / 100, cosine, distance.log() / 5], dim=1) * pair
    los = (2 * vector[:, 6:7] - 1) * known["los"][:, None]
    scale = vector[:, 7:].clamp_min(1e-6).log()
    return torch.cat([vector, fourier.flatten(1), straight, los, scale], dim=1)


def line_window(
    environment: Environment, known: dict[str, Tensor], along: int, across: int, over: bool = False
) -> Tensor:
    """What stands between BS and UE and beside them: float32 [N, along · across], 1 = building, 0 = open or unknown.

    The window runs from a quarter of the distance behind the BS to a quarter beyond the UE, and 0.7 of it to either
    side, denser near the middle. In its frame the corner that a path bends around lies at one place whatever the area's
    size, the BS or the compass. Below 20 m it keeps the size that it has at 20 m.

    Args:
        over: give instead by how much buildings rise above the height of the straight line there, 1 for 20 m or not
            known, −1 for 20 m below or open ground.
    """
    n = len(environment)
    if environment.map is None or environment.bs is None or environment.ue is None:
        return environment.size.new_zeros(n, along * across)
    start, line = environment.bs[:, :2], environment.ue[:, :2] - environment.bs[:, :2]
    distance = line.norm(dim=1, keepdim=True)
    ahead = line / distance.clamp_min(0.1) * distance.clamp_min(20.0)
    aside = torch.stack([-ahead[:, 1], ahead[:, 0]], dim=1)
    u = torch.linspace(-0.25, 1.25, along, device=ahead.device)
    t = torch.linspace(-1.0, 1.0, across, device=ahead.device)
    v = 0.7 * t * t.abs().sqrt()
    points = start[:, None, None] + u[:, None, None] * ahead[:, None, None] + v[:, None] * aside[:, None, None]
    height = heights_at(environment, points.flatten(1, 2)).view(environment.size.shape[0], along, across)
    usable = (known["map"] & known["bs"] & known["ue"])[:, None, None]
    if not over:
        return ((height > 0) & usable).flatten(1).float()
    rise = environment.ue[:, 2] - environment.bs[:, 2]
    line_height = environment.bs[:, 2, None] + rise[:, None] * u.clamp(0, 1)
    above = ((height - line_height[..., None]) / 20).clamp(-1, 1)
    return (torch.where(height > 0, above, -1.0) * usable).flatten(1)


UP_OCTAVES = 5
STATION_FEATURES = 2 * UP_OCTAVES + 6
POSITION_FEATURES = 8 + 4 * 2 * OCTAVES + 4 * OCTAVES + 3 + 1 + 1 + 1 + 1
