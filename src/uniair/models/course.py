"""Where the UE will be: straight on from where it was, and what a model changes of that."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAR = 10.0  # m; unit of a place that is told by what is not a position


def straight_on(fixes: Tensor, past: int, future: int) -> Tensor:
    """Constant velocity: the last known fix, moved on as from the first known one to it; a single one stays.

    Args:
        fixes: [N, past − 1 + T, 2] m, NaN where there is none; the first ones precede the T steps.
        past: steps that are looked back, the present one included.
        future: steps ahead, F.

    Returns:
        [N, T, F, 2] m at 1 … F steps after each of the T; NaN where none of the `past` fixes is known.
    """
    return _straight(fixes, past, future)[0]


def _straight(fixes: Tensor, past: int, future: int) -> tuple[Tensor, Tensor]:
    """As `straight_on`, and what the fixes tell beside it: velocity, and each fix's distance from the straight line, 0
    where there is none: [N, T, 1 + past, 2] m.
    """
    seen = fixes.unfold(1, past, 1).transpose(2, 3)  # [N, T, past, 2]
    known = torch.isfinite(seen).all(-1)
    first, last = known.int().argmax(2)[..., None], past - 1 - known.flip(2).int().argmax(2)[..., None]
    begin, end = (seen.gather(2, at[..., None].expand(*at.shape, 2)) for at in (first, last))
    velocity = (end - begin) / (last - first).clamp_min(1)[..., None]
    number = torch.arange(past + future, device=fixes.device) - last  # steps since the last fix
    line = end + number[..., None] * velocity
    off = torch.where(known[..., None], seen - line[:, :, :past], 0.0)
    return line[:, :, past:], torch.cat([velocity.nan_to_num(0.0), off], dim=2)


class Course(nn.Module):
    """The head for the next positions: begins as constant velocity, learns a change of it.

    The change has two parts: velocity and what the fixes are off a straight line, weighted, which is every linear
    filter of them and turns with them; and one in the frame of the site, as a street bends. Where no position was heard
    lately the place itself is told from what else was, beams and powers for instance.

    Args:
        width: of what the head reads.
        past: steps that velocity is the mean of; future: horizons F.
    """

    def __init__(self, width: int, past: int, future: int) -> None:
        super().__init__()
        self.past, self.future = past, future
        self.weights = nn.Linear(width, (1 + past) * future)
        self.change = nn.Linear(width, 2 * future)
        self.place = nn.Linear(width, 2 * future)
        for layer in (self.weights, self.change, self.place):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, fixes: Tensor) -> Tensor:
        """[N, T, width] and the fixes of `straight_on` → positions [N, T, F, 2] m at t + 1 … t + F."""
        shape = (*x.shape[:2], self.future, 2)
        straight, told = _straight(fixes, self.past, self.future)
        known = torch.isfinite(straight)
        filtered = self.weights(x).view(*shape[:3], 1 + self.past) @ told
        heard = straight.where(known, 0.0) + filtered + self.change(x).view(shape)
        return torch.where(known, heard, FAR * self.place(x).view(shape))

    def fixes(self, position: Tensor | None, before: Tensor | None, like: Tensor) -> Tensor:
        """Fixes [N, past − 1 + T, 2]: those that a stream kept, none at its start, and those of these steps.

        Args:
            position: [N, T, ≥ 2]; None: not heard.
            before: [N, past − 1, 2] of the steps before.
            like: [N, T, …] of the same steps.
        """
        n, t = like.shape[:2]
        nothing = torch.full((n, 1, 2), torch.nan, device=like.device)
        first = nothing.expand(n, self.past - 1, 2) if before is None else before
        return torch.cat([first, nothing.expand(n, t, 2) if position is None else position[..., :2]], dim=1)

    def kept(self, fixes: Tensor) -> Tensor:
        """What a stream keeps of them, [N, past − 1, 2]."""
        return fixes[:, fixes.shape[1] - self.past + 1 :]
