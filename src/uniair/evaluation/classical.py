"""What practitioners would use instead of a learned model: fingerprints, geometry, look-up tables, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors
from torch import Tensor

from uniair.environment import UE_HEIGHT, Batch
from uniair.link_budget import first_path
from uniair.radio import SPEED_OF_LIGHT, ULA, Radio
from uniair.tasks.beam import beam_gains
from uniair.tasks.task import Task

Positions: TypeAlias = NDArray[np.float64]


def fingerprint(learn: Batch, test: Batch, neighbours: int = 5) -> Positions:
    """Positions of the most similar labelled channels, averaged by similarity: [N, 2] m.

    A channel's fingerprint is its amplitude by beam and delay (Fourier over antennas and subcarriers), of unit norm.
    """
    near = KNeighborsRegressor(
        min(neighbours, len(learn.csi)), weights=lambda d: 1 / (d + 1e-6), metric="euclidean", algorithm="brute"
    )
    near.fit(prints(learn), learn.environment.ue[:, :2].numpy())
    return np.asarray(near.predict(prints(test)), dtype=np.float64)


def prints(batch: Batch) -> NDArray[np.float32]:
    """Fingerprints of channels, see `fingerprint`: [N, ports · subcarriers]."""
    array = batch.radio.array
    if isinstance(array, ULA) and array.along_x and array.codebook is None:
        amplitude = torch.fft.ifft2(batch.csi).abs().flatten(1)
    else:
        by_beam = array.dft_codebook().to(batch.csi).conj() @ batch.csi
        amplitude = torch.fft.ifft(by_beam, dim=2).abs().flatten(1)
    return (amplitude / amplitude.norm(dim=1, keepdim=True)).numpy()


def geometry(test: Batch, height: float = UE_HEIGHT) -> Positions:
    """The single-site localiser: distance from the first path's delay, direction from its beam: [N, 2] m.

    A linear array leaves two points, in front of it and behind; the one that the map allows is taken, the one in front
    where it allows both or neither. No labels are used; links without line of sight are placed as if they had it.

    Args:
        height: of the UE, m.
    """
    env = test.environment
    delay, cosine = first_path(test.csi, test.radio)
    distance = delay * SPEED_OF_LIGHT
    bs = env.bs.double()
    along = distance * cosine
    across = (distance**2 - (bs[:, 2] - height) ** 2 - along**2).clamp_min(0).sqrt()
    both = torch.stack([bs[:, :2] + torch.stack([along, side * across], 1) for side in (1, -1)])
    allowed = torch.ones(both.shape[:2], dtype=torch.bool)
    size = env.size.double()[:, None]
    inside = ((both >= 0) & (both <= size)).all(-1)
    if env.map is not None:
        pixels = env.map.shape[-1]
        cell = (both / size * pixels).long().clamp(0, pixels - 1)
        allowed = inside & (env.map[env.area, cell[..., 1], cell[..., 0]] == 0)
    chosen = torch.where((allowed[1] & ~allowed[0])[:, None], both[1], both[0])
    return chosen.clamp(torch.zeros(()).double(), size.expand_as(chosen)).numpy()


def lookup_beams(learn: Batch, beams: Tensor, test: Batch, neighbours: int = 5) -> Tensor:
    """Votes of the nearest labelled positions for their beams: [N, beams], to rank as a head's outputs.

    Args:
        beams: int64, the labels of `learn`.
    """
    near = NearestNeighbors(n_neighbors=min(neighbours, len(beams))).fit(learn.environment.ue[:, :2].numpy())
    distance, index = near.kneighbors(test.environment.ue[:, :2].numpy())
    votes = torch.zeros(len(distance), learn.csi.shape[1])
    return votes.scatter_add_(1, beams[torch.from_numpy(index)], torch.from_numpy(1 / (distance + 0.1)).float())


def los_features(csi: Tensor, radio: Radio = Radio()) -> NDArray[np.float64]:
    """RMS delay spread, s, and K factor, dB, of each channel's power by delay: [N, 2]."""
    power = torch.fft.ifft(csi, dim=2).abs().square().sum(1).double()
    power = power / power.sum(1, keepdim=True)
    delay = torch.arange(power.shape[1]) / radio.grid.bandwidth
    mean = (power * delay).sum(1, keepdim=True)
    spread = (power * (delay - mean).square()).sum(1).sqrt()
    strongest = power.amax(1)
    return torch.stack([spread, 10 * torch.log10(strongest / (1 - strongest).clamp_min(1e-9))], 1).numpy()


def los_threshold(learn: Batch, test: Batch) -> Tensor:
    """Logits of NLOS and LOS from delay spread and K factor, a line between them drawn on the labels: [N, 2]."""
    features = [los_features(batch.csi, batch.radio) for batch in (learn, test)]
    centre, spread = features[0].mean(0), features[0].std(0) + 1e-12
    truth = learn.environment.los.numpy()
    if (truth == truth[0]).all():  # no line to draw between few labels of one class
        score = torch.full((len(test.csi),), 2 * float(truth[0]) - 1)
    else:
        line = LogisticRegression().fit((features[0] - centre) / spread, truth)
        score = torch.from_numpy(np.asarray(line.decision_function((features[1] - centre) / spread))).float()
    return torch.stack([torch.zeros_like(score), score], 1)


def log_distance(learn: Batch, target: Tensor, test: Batch) -> Tensor:
    """Path loss by the log-distance law, a line fitted to the labels: [N, 1] dB."""
    decades = [torch.log10((b.environment.ue - b.environment.bs).norm(dim=1)).numpy() for b in (learn, test)]
    line = np.polynomial.Polynomial.fit(decades[0], target[:, 0].numpy(), 1)
    return torch.from_numpy(line(decades[1]))[:, None].float()


def best_beam(test: Batch) -> Tensor:
    """The beam that takes in most, which a full sweep would find, as a precoder: [N, 2·ports]."""
    beams = test.radio.array.dft_codebook()[beam_gains(test).argmax(1)]
    return torch.cat([beams.real, beams.imag], dim=1)


def nearest_los(learn: Batch, los: Tensor, test: Batch, neighbours: int = 5) -> Tensor:
    """Votes of the nearest labelled positions for LOS: logarithms of the shares of NLOS and LOS, [N, 2].

    Args:
        los: int64, the labels of `learn`.
    """
    near = NearestNeighbors(n_neighbors=min(neighbours, len(los))).fit(learn.environment.ue[:, :2].numpy())
    index = near.kneighbors(test.environment.ue[:, :2].numpy())[1]
    share = los[torch.from_numpy(index)].float().mean(1)
    return torch.stack([1 - share, share], 1).clamp_min(1e-3).log()


@dataclass(frozen=True)
class Method:
    """What a light head is compared with; it sees the same labels and the same side of a link.

    Attributes:
        name: for people.
        answer: of labelled links, their labels and the links asked about: outputs as a head's, [N, outputs]. None: a
            network on positions alone, which is trained as heads are (`POSITION_HIDDEN`).
        tuned: parameters that are fitted on the labels.
        dense, site: whether it is compared in dense areas, and on a site.
    """

    name: str
    answer: Callable[[Batch, Tensor, Batch], Tensor] | None
    tuned: int = 0
    dense: bool = True
    site: bool = True


POSITION_HIDDEN = (2, 128, 64)  # paper 1, IV-C: with 32 outputs 10,720 parameters
MLP = Method("MLP from position", None)
# (task, inputs) → what its head is compared with; of a task that is not here, see `methods`
METHODS: dict[tuple[str, str], tuple[Method, ...]] = {
    ("position", "channel"): (
        Method("fingerprints, 5 nearest", lambda learn, _, test: torch.from_numpy(fingerprint(learn, test))),
        # a site's own channels need not say when they were sent
        Method("geometry: first path and beam", lambda _learn, _, test: torch.from_numpy(geometry(test)), site=False),
    ),
    ("los", "channel"): (
        Method("threshold on delay spread and K", lambda learn, _, test: los_threshold(learn, test), 3),
    ),
    ("los", "environment"): (Method("votes of the 5 nearest positions", nearest_los, dense=False),),
    ("beam", "channel"): (),
    ("beam", "environment"): (MLP, Method("look-up of the 5 nearest positions", lookup_beams)),
    ("path_loss", "environment"): (MLP, Method("line over log-distance", log_distance, 2)),
    ("precoding", "channel"): (Method("the best DFT beam", lambda _learn, _, test: best_beam(test)),),
}


def methods(task: Task) -> Iterator[tuple[str, Method]]:
    """(inputs, method) of a task; one that `METHODS` does not know has the MLP wherever it reads positions."""
    for pair in task.pairs:
        for method in METHODS.get(pair, (MLP,) if pair[1] == "environment" else ()):
            yield pair[1], method


def position_widths(task: Task) -> tuple[int, ...]:
    """Of the MLP from position."""
    return (*POSITION_HIDDEN, task.outputs)
