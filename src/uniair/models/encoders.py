"""Encoders of what is sensed at a time step: one token per step from each modality.

Every encoder takes its modality as [N, T, ...] and gives tokens [N, T, width]. NaN, or a beam of −1, marks a step where
the modality is missing; such a step's token is learned.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniair.errors import InputError
from uniair.models.transformer import ResidualAttentionBlock, initialise, sinusoidal_grid
from uniair.models.universal import UniversalModel
from uniair.radio import Radio


class Encoder(nn.Module):
    """What the encoders share: which steps are present, and the token of those that are not."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.missing = nn.Parameter(0.02 * torch.randn(width))

    def present(self, values: Tensor) -> Tensor:
        """Where [N, T] the modality was measured."""
        return torch.isfinite(values).flatten(2).any(2)

    def encode(self, values: Tensor) -> Tensor:
        """Measured steps [S, ...] → [S, width]."""
        raise NotImplementedError

    def forward(self, values: Tensor) -> Tensor:
        """[N, T, ...] → tokens [N, T, width]."""
        present = self.present(values)
        clean = torch.where(present.view(*present.shape, *[1] * (values.ndim - 2)), values, torch.zeros_like(values))
        tokens = self.encode(clean.flatten(0, 1)).view(*values.shape[:2], -1)
        return torch.where(present[..., None], tokens, self.missing)


class BeamPower(Encoder):
    """Powers of the beams of one step, in two views.

    Around the best beam: the shape of the lobe and of its sides, the same wherever the UE is. By beam: which beams of
    this receiver are strong or weak by themselves. Both are scaled from the weakest beam to the best, so the power's
    unit and the transmit power fall out; how far the two are apart is a number of its own.
    """

    def __init__(self, beams: int, width: int, around: bool = True, by_beam: bool = True) -> None:
        super().__init__(width)
        self.beams = beams
        self.around = nn.Linear(2 * (2 * beams - 1), width) if around else None
        self.by_beam = nn.Linear(beams, width) if by_beam else None
        self.contrast = nn.Linear(1, width)

    def encode(self, values: Tensor) -> Tensor:
        """Powers in dB, [S, B] → [S, width]."""
        best, floor = values.amax(1, keepdim=True), values.amin(1, keepdim=True)
        shape = (values - floor) / (best - floor + 1.0)
        token: Tensor = self.contrast((best - floor) / 5 - 1)
        if self.around is not None:
            index = values.argmax(1, keepdim=True) + torch.arange(1 - self.beams, self.beams, device=values.device)
            inside = (index >= 0) & (index < self.beams)
            lobe = shape.gather(1, index.clamp(0, self.beams - 1)) * inside
            token = token + self.around(torch.cat([lobe, inside.to(lobe.dtype)], dim=1))
        if self.by_beam is not None:
            token = token + self.by_beam(2 * shape - 1)
        return token


class BeamIndex(Encoder):
    """The best beam of a step, and how far it is from the one before: int64 [N, T, 2], −1 where unknown."""

    def __init__(self, beams: int, width: int, by_beam: bool = True) -> None:
        super().__init__(width)
        self.beams = beams
        self.beam = nn.Embedding(beams, width) if by_beam else None
        self.moved = nn.Embedding(2 * beams, width)  # the last one: nothing before

    def present(self, values: Tensor) -> Tensor:
        """Where [N, T] the beam is known."""
        return values[..., 0] >= 0

    def encode(self, values: Tensor) -> Tensor:
        """[S, 2] → [S, width]."""
        beam, before = values.clamp(min=0).unbind(1)
        moved = torch.where(values[:, 1] >= 0, beam - before + self.beams - 1, 2 * self.beams - 1)
        token: Tensor = self.moved(moved)
        return token if self.beam is None else token + self.beam(beam)


class Position(Encoder):
    """Where the UE is and how it moves: [N, T, 4], metres across and along the site's frame, and metres per step.

    Azimuth and range of the place, speed and bearing of the move, and sines of the azimuth up to a few degrees' period.
    """

    WAVES = 6

    def __init__(self, width: int) -> None:
        super().__init__(width)
        inputs = 9 + 2 * self.WAVES
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))

    def present(self, values: Tensor) -> Tensor:
        """Where [N, T] the place is known; of a place that is not, the move is 0 and says nothing."""
        return torch.isfinite(values[..., :2]).all(2)

    def encode(self, values: Tensor) -> Tensor:
        """[S, 4] → [S, width]."""
        x, y, vx, vy = values.unbind(1)
        distance, speed = torch.hypot(x, y).clamp_min(1e-3), torch.hypot(vx, vy)
        azimuth = torch.atan2(x, y)
        # of a vehicle at rest the bearing is noise
        moving = speed.clamp(max=0.1) / 0.1 / speed.clamp_min(1e-6)
        rate = (y * vx - x * vy) / distance.square().clamp_min(1.0)
        features = [x / 20, y / 20, azimuth, torch.log(distance / 20), speed, vx * moving, vy * moving, 10 * rate]
        features.append(torch.log1p(speed))
        for wave in range(self.WAVES):
            features += [torch.sin(azimuth * 2**wave), torch.cos(azimuth * 2**wave)]
        tokens: Tensor = self.layers(torch.stack(features, dim=1))
        return tokens


class Camera(Encoder):
    """A small vision transformer on frames [N, T, 3, H, W] from 0 to 1, 16 × 16 pixels a patch."""

    PATCH, WIDTH, BLOCKS, HEADS = 16, 96, 3, 3
    positions: Tensor

    def __init__(self, width: int, image: tuple[int, int]) -> None:
        super().__init__(width)
        rows, columns = image[0] // self.PATCH, image[1] // self.PATCH
        if image[0] % self.PATCH or image[1] % self.PATCH or not rows * columns:
            raise InputError(f"camera frames of {image[0]} × {image[1]} pixels: give multiples of {self.PATCH}")
        self.patches = nn.Conv2d(3, self.WIDTH, self.PATCH, self.PATCH)
        self.register_buffer("positions", sinusoidal_grid(rows, columns, self.WIDTH), persistent=False)
        self.blocks = nn.ModuleList(ResidualAttentionBlock(self.WIDTH, self.HEADS) for _ in range(self.BLOCKS))
        # a vehicle is a patch or two of the frame: its place is read off before anything is averaged
        self.squeeze = nn.Sequential(nn.LayerNorm(self.WIDTH), nn.Linear(self.WIDTH, self.WIDTH // 4))
        self.out = nn.Linear(rows * columns * (self.WIDTH // 4), width)
        initialise(self, self.WIDTH, self.BLOCKS)

    def encode(self, values: Tensor) -> Tensor:
        """[S, 3, H, W] → [S, width]."""
        x = self.patches(4 * values - 2).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.out(self.squeeze(x).flatten(1))
        return tokens


class PretrainedCamera(Encoder):
    """Any vision model of `transformers`, by name or folder; its pooled or mean output becomes the token.

    The vision model stays frozen.

    Raises:
        InputError: `transformers` is missing, or has no such model.
    """

    def __init__(self, width: int, name: str) -> None:
        super().__init__(width)
        try:
            from transformers import AutoModel

            self.vision: Any = AutoModel.from_pretrained(name)
        except ImportError as error:
            raise InputError("a pretrained vision model needs pip install 'uniair[llm]'") from error
        except (OSError, ValueError) as error:
            raise InputError(f"vision model {name!r}: {str(error).splitlines()[0]}") from error
        self.vision.requires_grad_(False)
        self.side = int(getattr(self.vision.config, "image_size", 224))
        self.out = nn.Linear(int(self.vision.config.hidden_size), width)

    def encode(self, values: Tensor) -> Tensor:
        """[S, 3, H, W] → [S, width]."""
        frames = functional.interpolate(4 * values - 2, (self.side, self.side), mode="bilinear")
        tokens: Tensor = self.out(self.vision(pixel_values=frames).last_hidden_state.mean(1))
        return tokens


class Lidar(Encoder):
    """Points [N, T, P, 3], m: a network on each point, then the largest of every feature."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.points = nn.Sequential(nn.Linear(4, 64), nn.GELU(), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, width))
        self.out = nn.Linear(width, width)

    def encode(self, values: Tensor) -> Tensor:
        """[S, P, 3] → [S, width]."""
        distance = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
        tokens: Tensor = self.out(self.points(torch.cat([values / 20, distance / 20], dim=-1)).amax(1))
        return tokens


class Radar(Encoder):
    """Power over angle, range and velocity, [N, T, angles, ranges, velocities], dB above its median."""

    CHANNELS = (1, 8, 16, 32)

    def __init__(self, width: int, cube: tuple[int, int, int]) -> None:
        super().__init__(width)
        layers = [
            layer for a, b in pairwise(self.CHANNELS) for layer in (nn.Conv3d(a, b, 3, stride=2, padding=1), nn.GELU())
        ]
        self.volume = nn.Sequential(*layers)
        cells = math.prod(math.ceil(size / 8) for size in cube)  # three strides of 2
        self.out = nn.Linear(self.CHANNELS[-1] * cells, width)

    def encode(self, values: Tensor) -> Tensor:
        """[S, angles, ranges, velocities] → [S, width]."""
        tokens: Tensor = self.out(self.volume(values[:, None] / 20).flatten(1))
        return tokens


class Channel(Encoder):
    """CSI, complex64 [N, T, antennas, subcarriers], through the frozen CFENN of the universal model."""

    def __init__(self, width: int, tower: UniversalModel, radio: Radio) -> None:
        super().__init__(width)
        # in a tuple, so that the frozen weights are neither trained nor saved here
        self._tower, self.radio = (tower.eval().requires_grad_(False),), radio
        self.out = nn.Linear(tower.preset.embedding, width)

    @property
    def tower(self) -> UniversalModel:
        """The frozen universal model."""
        return self._tower[0]

    def present(self, values: Tensor) -> Tensor:
        """Where [N, T] the CSI was measured."""
        return torch.isfinite(torch.view_as_real(values)).flatten(2).all(2)

    def encode(self, values: Tensor) -> Tensor:
        """[S, antennas, subcarriers] → [S, width]."""
        tower = self.tower.to(values.device)
        # a missing step's zeros have no direction to normalise; its token is replaced
        empty = values.abs().amax((1, 2), keepdim=True) == 0
        z = tower.encode_channel(torch.where(empty, torch.ones_like(values), values), self.radio).clone()
        tokens: Tensor = self.out(math.sqrt(z.shape[1]) * z)
        return tokens
