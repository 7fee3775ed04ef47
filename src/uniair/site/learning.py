"""What a station's labels teach: light heads on the frozen model, beside methods that learn from the same labels alone.

Every method learns from the same streets and is tested on the same others: whole blocks of 20 m, a fifth of the links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.evaluation import classical
from uniair.evaluation.classical import POSITION_MLP, best_beam, log_distance
from uniair.models.universal import UniversalModel
from uniair.site.fitting import fit_on_streets
from uniair.site.frame import stand_ins
from uniair.site.measured import Measured
from uniair.site.site import Site
from uniair.tasks.adaptation import TASKS, as_vector
from uniair.training import supervised
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit, save_head

LABELS = (16, 64, 256)  # of the few-shot curve, before all
LEAST = 40  # labelled links that a head is learned from and tested on
PAIRS = tuple((task, inputs) for task in TASKS for inputs in TASKS[task].inputs)
Row = dict[str, Any]
# of labelled and asked links, the labels, and the seed: outputs as a head's, and how many parameters were tuned
Method = Callable[[Batch, Tensor, Batch, int], tuple[Tensor, int]]


@dataclass(frozen=True)
class Samples:
    """The labelled links of one station.

    Attributes:
        source: `traced` or `measured`.
        links: where the UEs are; of measured ones positions alone are meant.
        batch: CSI and environments, the station's array along +x.
        model: frozen.
        absent: figures that these labels don't give.
    """

    source: str
    links: Links
    batch: Batch
    model: UniversalModel
    absent: tuple[str, ...] = ()

    @cached_property
    def channel(self) -> Tensor:
        """Embeddings of the CSI: [N, E]."""
        return embed(self.model, self.batch, "channel")

    @cached_property
    def environment(self) -> Tensor:
        """Embeddings of map and positions, LOS unknown: [N, E]."""
        return embed(self.model, self.batch, "environment")

    def embeddings(self, inputs: str) -> Tensor:
        """Those of the `channel` or of the `environment`: [N, E]."""
        return self.channel if inputs == "channel" else self.environment

    def part(self, index: NDArray[np.int64]) -> Batch:
        """Some of the links."""
        return Batch(self.batch.csi[index], self.batch.environment.select(index))

    def divide(self, seed: int, labels: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Links to learn from, in streets of their own, and links to test on."""
        return divide(self.links, Adaptation(split="blocks", seed=seed, labels=labels))

    def measure(self, task: str, outputs: Tensor, held: Batch) -> dict[str, float]:
        """A task's figures, as far as the labels give them."""
        return {key: v for key, v in TASKS[task].measure(outputs, held).items() if key not in self.absent}


def samples(
    model: UniversalModel, site: Site, station: int, links: Links | None, measured: Measured | None
) -> dict[tuple[str, str], Samples]:
    """(task, inputs) → what a head learns from: measured labels where there are enough, else traced ones.

    Args:
        links: traced, of this station.
        measured: of all stations.
    """
    traced = None if links is None else Samples("traced", links, batch_of(links), model)
    found = {} if traced is None else dict.fromkeys(PAIRS, traced)
    mine = None if measured is None else measured.of(station)
    if mine is not None and len(mine) >= LEAST:
        place = stand_ins(site.area, site.stations[station], mine.ue, site.map)
        absent = () if "csi" in mine.labels else ("power_share",)
        own = Samples("measured", place, mine.fill(batch_of(place)), model, absent)
        found |= dict.fromkeys(mine.pairs(), own)
    return {pair: found[pair] for pair in PAIRS if pair in found}


def sizes(taught: Samples, seed: int) -> list[int]:
    """Numbers of labels along the few-shot curve: `LABELS` below all that there are to learn from, then these."""
    most = len(taught.divide(seed)[0])
    return [*(count for count in LABELS if count < most), most]


def head_rows(
    site: Site, station: int, pair: tuple[str, str], taught: Samples, training: HeadTraining, seed: int, keep: bool
) -> list[Row]:
    """A head from each number of labels, measured on the other streets.

    Args:
        keep: save the one that learned from all labels as the site's.
    """
    (name, inputs), rows = pair, []
    task, z, target = TASKS[name], taught.embeddings(inputs), TASKS[name].target(taught.batch)
    for count in sizes(taught, seed):
        learn, test = taught.divide(seed, count)
        places = taught.links.ue[learn, :2]
        head = fit_on_streets(task, z[learn], target[learn], places, replace(training, seed=seed))
        with torch.inference_mode():
            figures = taught.measure(name, head(z[test]), taught.part(test))
        rows.append(_row(pair, f"head on {_reads(inputs)}", taught, count, seed, head.parameter_count(), figures))
    if keep:
        about = {"area": taught.links.areas[0], "learned": len(learn), "tested": len(test), "figures": figures,
                 "source": taught.source}  # fmt: skip
        wanted = Adaptation(task=name, inputs=inputs, split="blocks", seed=seed)
        save_head(site.head(name, inputs, station), head, wanted, taught.model, about)
    return rows


def other_rows(pair: tuple[str, str], taught: Samples, training: HeadTraining, seed: int) -> list[Row]:
    """The same for the methods that use no pretrained model and learn in seconds, and for knowing nothing."""
    rows = []
    target = TASKS[pair[0]].target(taught.batch)
    for count in sizes(taught, seed):
        learn, test = taught.divide(seed, count)
        held = taught.part(test)
        for method, outputs in methods(pair[0], pair[1], training):
            found, tuned = outputs(taught.part(learn), target[learn], held, seed)
            rows.append(_row(pair, method, taught, count, seed, tuned, taught.measure(pair[0], found, held)))
    return rows


def network_rows(pair: tuple[str, str], taught: Samples, epochs: int, seed: int) -> list[Row]:
    """A transformer of the model's own shape that is trained from scratch on all the labels (paper 1, IV-C)."""
    task = TASKS[pair[0]]
    learn, test = taught.divide(seed)
    target, held = task.target(taught.batch)[learn], taught.part(test)
    device = taught.model.device
    network = supervised.train_vit(
        [task], taught.batch.csi[learn].to(device), [target], taught.model.preset, epochs, seed
    )
    outputs = network.predict(held.csi.to(device))[0]
    tuned = sum(p.numel() for p in network.parameters())
    figures = taught.measure(pair[0], outputs, held)
    return [_row(pair, f"ViT from scratch, {epochs} epochs", taught, len(learn), seed, tuned, figures)]


def _row(
    pair: tuple[str, str], method: str, taught: Samples, count: int, seed: int, tuned: int, figures: dict[str, float]
) -> Row:
    return {"task": pair[0], "inputs": pair[1], "method": method, "source": taught.source, "labels": count,
            "all": count == len(taught.divide(seed)[0]), "seed": seed, "tuned": tuned, "figures": figures}  # fmt: skip


def _reads(inputs: str) -> str:
    return "CSI" if inputs == "channel" else "map and position"


def methods(task: str, inputs: str, training: HeadTraining) -> Iterator[tuple[str, Method]]:
    """What a head is compared with, by name; they see the same side of a link as it does."""
    yield "always the same", partial(_constant, task)
    if (task, inputs) == ("position", "channel"):
        yield "fingerprints, 5 nearest", lambda s, _t, h, _: (torch.from_numpy(classical.fingerprint(s, h)).float(), 0)
    elif (task, inputs) == ("los", "channel"):
        yield "threshold on delay spread and K", lambda s, _t, h, _: (classical.los_threshold(s, h), 3)
    elif (task, inputs) == ("los", "environment"):
        yield "votes of the 5 nearest positions", _nearest_los
    elif (task, inputs) == ("beam", "environment"):
        yield "MLP from position", partial(_position_mlp, task, POSITION_MLP, training)
        yield "votes of the 5 nearest positions", lambda s, t, h, _: (classical.lookup_beams(s, t, h), 0)
    elif (task, inputs) == ("path_loss", "environment"):
        yield "MLP from position", partial(_position_mlp, task, (*POSITION_MLP[:3], 1), training)
        yield "line over log-distance", lambda s, t, h, _: (log_distance(s, t, h), 2)
    elif (task, inputs) == ("precoding", "channel"):
        yield "best DFT beam, after a full sweep", lambda _s, _t, h, _: (best_beam(h), 0)


def _constant(task: str, _seen: Batch, target: Tensor, held: Batch, _seed: int) -> tuple[Tensor, int]:
    """The best answer that looks at nothing: class shares, the mean, or the labels' principal precoder."""
    if task == "precoding":
        vectors = as_vector(target)
        principal = torch.linalg.eigh(vectors.mT @ vectors.conj())[1][:, -1]
        one = torch.cat([principal.real, principal.imag])
    elif TASKS[task].regression:
        one = target.mean(0)
    else:
        one = functional.one_hot(target, TASKS[task].widths[-1]).float().mean(0).clamp_min(1e-9).log()
    return one.expand(len(held.csi), -1), 0


def _position_mlp(
    task: str, widths: tuple[int, ...], training: HeadTraining, seen: Batch, target: Tensor, held: Batch, seed: int
) -> tuple[Tensor, int]:
    plan = [batch.environment.ue[:, :2] for batch in (seen, held)]
    head = fit(TASKS[task], plan[0], target, replace(training, seed=seed), widths)
    with torch.inference_mode():
        return head(plan[1]), head.parameter_count()


def _nearest_los(seen: Batch, target: Tensor, held: Batch, _seed: int) -> tuple[Tensor, int]:
    near = NearestNeighbors(n_neighbors=min(5, len(target))).fit(seen.environment.ue[:, :2].numpy())
    share = target[torch.from_numpy(near.kneighbors(held.environment.ue[:, :2].numpy())[1])].float().mean(1)
    return torch.stack([1 - share, share], 1).clamp_min(1e-3).log(), 0
