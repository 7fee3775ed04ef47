"""What stands between a base station and a user in the vertical plane: the first edge that a path bends down from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from uniair.environment import Environment
from uniair.radio import SPEED_OF_LIGHT

SAMPLES = 64  # along the line
NEAR = 1.5  # pixels from either end, where the raster may put a wall that the antenna stands before
UNKNOWN_CARRIER = 10e9  # Hz: taken where none is told
HIGHEST = 100.0  # m: a building whose height is not known
SIGHT_FEATURES = 10


class SightLine(NamedTuple):
    """Of N hypotheses; [N] each.

    Attributes:
        blocked: bool: something stands higher than the straight line.
        excess: m: how far above the line the main edge is, below 0 where nothing blocks it.
        place: of the main edge, as a share of the way.
        loss: dB of a knife edge there (ITU-R P.526, eq. 31).
        length: m of the path over that edge.
        rise: sine of the elevation at which that path leaves.
        share: of the way that is blocked.
        known: bool: the heights along the way are known.
        distance: m, straight.
    """

    blocked: Tensor
    excess: Tensor
    place: Tensor
    loss: Tensor
    length: Tensor
    rise: Tensor
    share: Tensor
    known: Tensor
    distance: Tensor

    def features(self) -> Tensor:
        """What EPNN reads: [N, SIGHT_FEATURES]."""
        blocked, known = self.blocked.float(), self.known.float()
        detour = (self.length - self.distance).clamp_min(0)
        return torch.stack(
            [blocked, known, (self.excess / 20).clamp(-2, 2), self.place * blocked, self.loss / 40, self.share,
             detour.log1p() / 3 * known * blocked, self.rise * known * blocked, (1 - self.place) * blocked * known,
             (self.excess / 3).clamp(-1, 1)], 1,
        )  # fmt: skip


@torch.no_grad()
def sight_line(environment: Environment) -> SightLine:
    """The sight lines of N hypotheses with a map and both positions."""
    bs, ue, size = environment.bs, environment.ue, environment.size
    u = (torch.arange(SAMPLES, device=bs.device) + 0.5) / SAMPLES
    line = ue - bs
    flat = line[:, :2].norm(dim=1).clamp_min(0.1)
    distance = line.norm(dim=1).clamp_min(0.1)
    points = bs[:, None, :2] + u[:, None] * line[:, None, :2]
    height = heights_at(environment, points)
    away = torch.minimum(u, 1 - u) * flat[:, None] > NEAR * (size / environment.map.shape[-1])[:, None]
    here = (height > 0) & away
    known = ~(height.isinf() & here).any(1)
    top = height.clamp_max(HIGHEST)
    over = torch.where(here, top - (bs[:, 2:] + u * line[:, 2:]), -HIGHEST)
    carrier = environment.carrier if environment.carrier is not None else torch.full_like(size, UNKNOWN_CARRIER)
    wavelength = (SPEED_OF_LIGHT / carrier)[:, None]
    zone = (2 / (wavelength * distance[:, None] * u * (1 - u))).sqrt()
    main = (over * zone).argmax(1, keepdim=True)
    excess, place = over.gather(1, main)[:, 0], u[main[:, 0]]
    nu = (over * zone).gather(1, main)[:, 0]
    root = ((nu - 0.1).square() + 1).sqrt() + nu - 0.1
    loss = torch.where(nu > -0.78, 6.9 + 20 * root.clamp_min(1e-3).log10(), 0.0)
    up = excess + place * line[:, 2]  # of the edge above the base station
    before, after = torch.hypot(place * flat, up), torch.hypot((1 - place) * flat, line[:, 2] - up)
    return SightLine(
        excess > 0, excess, place, loss.clamp(0, 80), before + after, up / before, (over > 0).float().mean(1), known,
        distance,
    )  # fmt: skip


def heights_at(environment: Environment, points: Tensor) -> Tensor:
    """Building heights at points [N, S, 2] m: [N, S] m; 0 off the map."""
    pixels = environment.map.shape[-1]
    cell = (points / environment.size[:, None, None] * pixels).floor().long()
    inside = ((cell >= 0) & (cell < pixels)).all(-1)
    column, row = cell.clamp(0, pixels - 1).unbind(-1)
    return torch.where(inside, environment.map[environment.area[:, None], row, column], 0.0)


def tilted(direction: Tensor, downtilt: Tensor | None) -> Tensor:
    """Directions [..., 3] in the frame of arrays that are tilted down by so much, rad, about their axis."""
    if downtilt is None:
        return direction
    x, y, z = direction.unbind(-1)
    cosine, sine = downtilt.cos(), downtilt.sin()
    return torch.stack([x, cosine * y - sine * z, sine * y + cosine * z], -1)
