"""Training of the networks that merge several BSs: BSs drop out, so that any combination can be asked for later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.models.fusion import Attention, Concatenation, MultiStationViT
from uniair.training.distributed import ALONE, World
from uniair.training.loop import Optimisation, run
from uniair.training.supervised import minibatches, steps

GRID = 0.01  # m; positions that differ by less are one
DROPOUT = 0.3  # of a BS: two in three combinations in training lack one
CHUNK = 512
RECIPE = Optimisation(learning_rate=1e-3, warmup=0.05, weight_decay=1e-3)
Network = TypeVar("Network", Concatenation, Attention, MultiStationViT)


@dataclass(frozen=True)
class Users:
    """The UEs of an area, each with its links to the area's BSs.

    Attributes:
        link: int64 [U, B] which link; −1 where a UE has no path to a BS.
        ue: float32 [U, 3] where they stand, m.
        stations: float32 [B, 3] where the BSs stand, m.
    """

    link: NDArray[np.int64]
    ue: NDArray[np.float32]
    stations: NDArray[np.float32]

    @classmethod
    def of(cls, links: Links) -> Users:
        """The UEs of one area's links, matched by position; of two links between the same two points the first counts.

        Raises:
            InputError: the links are of several areas, or their arrays do not all point the same way.
        """
        if len(links.areas) != 1 or len(np.unique(links.bearing)) != 1:
            raise InputError(
                f"multi-BS: links of {len(links.areas)} areas and {len(np.unique(links.bearing))} bearings of the "
                "arrays; give one area whose arrays point the same way"
            )
        stations, bs = np.unique(np.round(links.bs / GRID).astype(np.int64), axis=0, return_inverse=True)
        users, first, ue = np.unique(
            np.round(links.ue / GRID).astype(np.int64), axis=0, return_index=True, return_inverse=True
        )
        link = np.full((len(users), len(stations)), -1, dtype=np.int64)
        backwards = np.arange(len(links))[::-1]  # the first is written last
        link[ue[backwards], bs[backwards]] = backwards
        return cls(link, links.ue[first], np.stack([links.bs[bs == b][0] for b in range(len(stations))]))

    @property
    def everywhere(self) -> NDArray[np.bool_]:
        """[U] which UEs have a path to every BS."""
        return np.asarray((self.link >= 0).all(1))


def drop_stations(present: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which of the BSs that are there a step sees: each is left out with probability `share`, one always stays."""
    chance = torch.rand(present.shape, generator=generator)
    kept = present & (chance >= share)
    luckiest = functional.one_hot(chance.masked_fill(~present, -1.0).argmax(1), present.shape[1]).bool()
    return kept | (luckiest & ~kept.any(1, keepdim=True))


def fit_fusion(
    network: Network, inputs: Tensor, users: Users, learn: NDArray[np.int64], epochs: int, seed: int,
    world: World = ALONE,
) -> Network:  # fmt: skip
    """Trains a network on the labelled UEs, with BS dropout; mean squared error in units of the positions' spread.

    Args:
        network: as it was made; it goes where `inputs` are.
        inputs: [links, ...] what the network reads of each link.
        learn: [L] which users have labels.
        epochs: passes over them.
        seed: of the order and the dropout.

    Raises:
        InputError: no labels, a user without any BS, or NaN.
    """
    link, target = torch.from_numpy(users.link[learn]), torch.from_numpy(users.ue[learn, :2])
    present = link >= 0
    if not len(link) or not present.any(1).all():
        raise InputError(f"multi-BS: {len(link)} labelled UEs, of which each needs a path to a BS")
    used = torch.view_as_real(inputs) if inputs.is_complex() else inputs
    if not torch.isfinite(used).all():
        raise InputError("multi-BS: embeddings or CSI hold NaN or infinite values; leave those links out")
    network, target = network.to(inputs.device), target.to(inputs.device)
    stations = torch.from_numpy(users.stations).to(inputs.device)
    network.standardise(inputs[link.clamp_min(0).to(inputs.device)], present.to(inputs.device), target)
    unit = target.std(0, correction=0).clamp_min(1e-6)

    config = replace(RECIPE, steps=steps(epochs, len(link)), seed=seed)
    batches, draw = minibatches(len(link), seed), torch.Generator().manual_seed(seed)

    def loss(_: int) -> dict[str, Tensor]:
        index = next(batches)
        kept = drop_stations(present[index], DROPOUT, draw)
        index, kept = world.share(index), world.share(kept)
        z = inputs[link[index].clamp_min(0).to(inputs.device)]
        error = network(z, kept.to(inputs.device), stations) - target[index.to(inputs.device)]
        return {"total": (error / unit).square().mean()}

    return run(network, loss, config, about="fusion", world=world)


@torch.inference_mode()
def locate(
    network: nn.Module, inputs: Tensor, users: Users, index: NDArray[np.int64], stations: tuple[int, ...] | None = None
) -> Tensor:
    """Positions of users from the BSs that they hear, or from some of these alone: float32 [N, 2] m, on the CPU.

    Args:
        network: trained by `fit_fusion`.
        inputs: [links, ...].
        index: [N] which users.
        stations: numbers of the BSs that may be used; all where None.

    Raises:
        InputError: a user hears none of them.
    """
    link = torch.from_numpy(users.link[index])
    allowed = torch.zeros(link.shape[1], dtype=torch.bool)
    allowed[list(range(link.shape[1]) if stations is None else stations)] = True
    present = (link >= 0) & allowed
    if not present.any(1).all():
        raise InputError(f"multi-BS: {int((~present.any(1)).sum())} of {len(link)} UEs hear none of the BSs asked for")
    where = torch.from_numpy(users.stations).to(inputs.device)
    parts = [
        network(inputs[some.clamp_min(0).to(inputs.device)], there.to(inputs.device), where).cpu()
        for some, there in zip(torch.split(link, CHUNK), torch.split(present, CHUNK), strict=True)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, 2)
