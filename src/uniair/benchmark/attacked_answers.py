"""Answers that an attacker wants wrong: how far each is right, with a slope down to the CSI, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot
from uniair.tasks.beam import beam, beam_gains

NEAR = 10.0  # m: a position so far off counts as found
CELLS = 40  # of the likelihood map a side
LOS, USER, BEAM, POSITION = "LOS", "which user", "beam", "position"


class Answer(NamedTuple):
    """One question about N channels.

    Attributes:
        margin: embeddings [N, E] → nats [N] by which the right answer leads; an attacker lowers it.
        outcome: embeddings [N, E] → [N] 1 where the answer is right, else 0; of positions the error, m.
    """

    margin: Callable[[Tensor], Tensor]
    outcome: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Victims:
    """Users of one base station, and an attacker who stands where another one does.

    Attributes:
        batch: N links.
        attacker: complex64 [N, ports, subcarriers], its own channel to the base station.
    """

    batch: Batch
    attacker: Tensor

    @classmethod
    def of_area(cls, links: Links, most: int, rng: np.random.Generator) -> Victims | None:
        """Up to `most` users of the base station of an area that has the most; None where it has not even three.

        Amplitudes are not told as gains: no attacker would keep to them.
        """
        stations, of = np.unique(np.column_stack([links.area, links.bs]), axis=0, return_inverse=True)
        mine = np.flatnonzero(of == np.bincount(of, minlength=len(stations)).argmax())
        if len(mine) < 3:
            return None
        chosen = rng.permutation(mine)[: most + 1]
        batch = batch_of(links.select(chosen), replace(links.one_radio(), calibrated=False))
        count = len(chosen) - 1
        env = batch.environment
        kept = env.select(torch.arange(count))
        return cls(Batch(batch.csi[:count], kept, batch.radio), batch.csi[count:].expand(count, -1, -1))


def embedded(model: UniversalModel, csi: Tensor, batch: Batch) -> Tensor:
    """What the channel tower makes of CSI as it arrives: [N, E], differentiable."""
    return model.channel_embedding(model.see(csi, batch.radio, carrier=batch.environment.carrier))


def answers(model: UniversalModel, batch: Batch) -> dict[str, Answer]:
    """The four questions about a batch of one area and base station, its places encoded once.

    Line of sight: of the two hypotheses. Which user: among those of the batch, line of sight told. Beam: the strongest
    of the channel that is restored from the code, against the strongest of the channel itself. Position: the cells
    within `NEAR` of the user against all others of a likelihood map; found is the likeliest cell.
    """
    env, temperature = batch.environment, model.temperature
    nlos, los = (_kept(model, replace(env, los=torch.full_like(env.los, value))) for value in (0, 1))
    users, sign = _kept(model, env), 2 * env.los - 1
    own = torch.eye(len(env), dtype=torch.bool)
    best = beam(batch)[:, None]
    places, distance = _likelihood(model, batch)
    near = distance <= NEAR
    near[torch.arange(len(env)), distance.argmin(1)] = True  # the user's own cell, if it is a large one

    def of_los(z: Tensor) -> Tensor:
        return sign * (z * (los - nlos)).sum(-1) / temperature

    def of_user(z: Tensor) -> Tensor:
        alike = z @ users.mT / temperature
        return alike.diagonal() - alike.masked_fill(own, -torch.inf).amax(1)

    def of_beam(z: Tensor) -> Tensor:
        restored, _ = model.crnn(z, batch.radio)
        gain = beam_gains(replace(batch, csi=restored)).clamp_min(1e-30).log()
        return gain.gather(1, best)[:, 0] - gain.scatter(1, best, -torch.inf).amax(1)

    def logarithms(z: Tensor) -> Tensor:
        return torch.logsumexp((z @ places.mT / temperature).view(len(z), 2, -1), 1)

    def of_position(z: Tensor) -> Tensor:
        log = logarithms(z)
        return log.masked_fill(~near, -torch.inf).logsumexp(1) - log.masked_fill(near, -torch.inf).logsumexp(1)

    def error(z: Tensor) -> Tensor:
        return distance.gather(1, logarithms(z).argmax(1, keepdim=True))[:, 0]

    def right(margin: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: (margin(z) > 0).float()

    plain = {LOS: of_los, USER: of_user, BEAM: of_beam}
    return {name: Answer(margin, right(margin)) for name, margin in plain.items()} | {
        POSITION: Answer(of_position, error)
    }


def _kept(model: UniversalModel, env: object) -> Tensor:
    return model.encode_environment(env).clone()  # type: ignore[arg-type]  # tensors of inference mode can't be kept


def _likelihood(model: UniversalModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings of a map's cells, NLOS then LOS [2C, E], and how far each cell is from each user, [N, C] m."""
    env = batch.environment
    size, map_ = float(env.size[0]), env.map[int(env.area[0])].numpy()
    grid, outdoors = zero_shot.cells(map_, size, size / CELLS)
    height = float(env.ue[:, 2].median())
    candidates = zero_shot.places(np.repeat(outdoors[None], 2, axis=0), grid, map_, env.bs[0].numpy(), size, height)
    told = {} if env.downtilt is None else {"downtilt": env.downtilt[:1].expand(len(candidates))}
    places = _kept(model, replace(candidates, **told).seen_by(batch.radio))
    row, column = np.nonzero(outdoors)
    cells = torch.from_numpy(np.column_stack([grid[column], grid[row]])).float()
    return places, torch.cdist(env.ue[:, :2], cells)
