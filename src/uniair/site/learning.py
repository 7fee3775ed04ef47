"""Light heads that learn from a station's labels, beside methods that learn from the same labels alone.

Every method learns from the same streets and is tested on the same others: whole blocks of 20 m, a fifth of the links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uniair.angle_delay import frequency
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.evaluation import classical
from uniair.models.universal import BATCH, UniversalModel
from uniair.radio import Radio
from uniair.site import station_links
from uniair.site.fitting import fit_on_streets
from uniair.site.frame import stand_ins
from uniair.site.measured import Measured
from uniair.site.site import Site
from uniair.tasks.precoding import as_vector
from uniair.tasks.registry import TASKS, pairs
from uniair.tasks.task import Task
from uniair.training import supervised
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit, save_head

LABELS = (16, 64, 256)  # of the few-shot curve, before all
LEAST = 40  # labelled links that a head is learned from and tested on
Row = dict[str, Any]
# of labelled links, the labels, the tested links and the seed: outputs as a head's, and how many parameters were tuned
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
        embedded: embeddings by what they are of, made when they are first asked for.
    """

    source: str
    links: Links
    batch: Batch
    model: UniversalModel
    absent: tuple[str, ...] = ()
    embedded: dict[str, Tensor] = field(default_factory=dict)

    def embeddings(self, inputs: str) -> Tensor:
        """Those of the `channel`, or of the `environment` (map and positions, LOS unknown): [N, E]."""
        if inputs not in self.embedded:
            self.embedded[inputs] = embed(self.model, self.batch, inputs)
        return self.embedded[inputs]

    def task(self, name: str) -> Task:
        """A task as it is on the links' radio."""
        return TASKS[name].on(self.batch.radio)

    def asked(self) -> Tensor:
        """What zero-shot questions are asked of: [N, E] embeddings, which serve for all of them, or else CSI.

        CSI where the clock is searched for, or where the power tells something.
        """
        radio = self.batch.radio
        asked = self.batch.csi if radio.clock == "first_path" or radio.calibrated else self.embeddings("channel")
        return asked.to(self.model.device)

    def common(self) -> Tensor:
        """The CSI as paper 1's radio would have measured it, normalised: what networks from scratch take."""
        batch, radio = self.batch, self.batch.radio
        if radio == replace(Radio(), carrier=radio.carrier, calibrated=radio.calibrated):
            return batch.csi
        return torch.cat([frequency(self.model.see(part, radio).response) for part in torch.split(batch.csi, BATCH)])

    def part(self, index: NDArray[np.int64]) -> Batch:
        """Some of the links."""
        return self.batch.select(index)

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
    traced = None if links is None else Samples("traced", links, station_links.batch(site, station, links), model)
    found = {} if traced is None else dict.fromkeys(pairs(), traced)
    mine = None if measured is None else measured.of(station)
    if mine is not None and len(mine) >= LEAST:
        place = stand_ins(site.area, site.stations[station], mine.ue, site.map, site.radio_of(station))
        every = (metric for task in TASKS.values() for metric in task.metrics)
        absent = () if "csi" in mine.labels else tuple(metric.key for metric in every if metric.of_channel)
        embedded: dict[str, Tensor] = {}  # one for all: labels do not change them
        for pair in mine.pairs():
            batch = mine.fill(batch_of(place), last=pair[0])
            found[pair] = Samples("measured", place, batch, model, absent, embedded)
    return {pair: found[pair] for pair in pairs() if pair in found}


def sizes(labelled: Samples, seed: int, curve: bool = True) -> list[int]:
    """Numbers of labels along the few-shot curve: `LABELS` below all that there are to learn from, then these.

    Args:
        curve: give them; else all labels alone.
    """
    most = len(labelled.divide(seed)[0])
    if not curve:
        return [most]
    return [*(count for count in LABELS if count < most), most]


def head_rows(
    site: Site,
    station: int,
    pair: tuple[str, str],
    labelled: Samples,
    training: HeadTraining,
    seed: int,
    keep: bool,
    curve: bool = True,
) -> list[Row]:
    """A head from each number of labels, measured on the other streets.

    Args:
        keep: save the one that learned from all labels as the site's.
        curve: see `sizes`.
    """
    (name, inputs), rows = pair, []
    task, z = labelled.task(name), labelled.embeddings(inputs)
    target = task.target(labelled.batch)
    for count in sizes(labelled, seed, curve):
        learn, test = labelled.divide(seed, count)
        places = labelled.links.ue[learn, :2]
        head = fit_on_streets(task, z[learn], target[learn], places, replace(training, seed=seed))
        with torch.inference_mode():
            figures = labelled.measure(name, head(z[test]), labelled.part(test))
        rows.append(_row(pair, f"head on {_reads(inputs)}", labelled, count, seed, head.parameter_count(), figures))
    if keep:
        about = {"area": labelled.links.areas[0], "learned": len(learn), "tested": len(test), "figures": figures,
                 "source": labelled.source}  # fmt: skip
        wanted = Adaptation(task=name, inputs=inputs, split="blocks", seed=seed)
        save_head(site.head(name, inputs, station), head, wanted, labelled.model, labelled.batch.radio, about)
    return rows


def other_rows(
    pair: tuple[str, str], labelled: Samples, training: HeadTraining, seed: int, curve: bool = True
) -> list[Row]:
    """The same for the methods that use no pretrained model and learn in seconds, and for knowing nothing."""
    rows, task = [], labelled.task(pair[0])
    target = task.target(labelled.batch)
    for count in sizes(labelled, seed, curve):
        learn, test = labelled.divide(seed, count)
        held = labelled.part(test)
        for method, outputs in methods(task, pair[1], training):
            found, tuned = outputs(labelled.part(learn), target[learn], held, seed)
            rows.append(_row(pair, method, labelled, count, seed, tuned, labelled.measure(pair[0], found, held)))
    return rows


def network_rows(pair: tuple[str, str], labelled: Samples, epochs: int, seed: int) -> list[Row]:
    """A transformer of the model's own shape that is trained from scratch on all the labels (paper 1, IV-C)."""
    task, csi = labelled.task(pair[0]), labelled.common().to(labelled.model.device)
    learn, test = labelled.divide(seed)
    target, held = task.target(labelled.batch)[learn], labelled.part(test)
    network = supervised.train_vit([task], csi[learn], [target], labelled.model.preset, epochs, seed)
    outputs = network.predict(csi[test])[0]
    tuned = sum(p.numel() for p in network.parameters())
    figures = labelled.measure(pair[0], outputs, held)
    return [_row(pair, f"ViT from scratch, {epochs} epochs", labelled, len(learn), seed, tuned, figures)]


def _row(
    pair: tuple[str, str], method: str, labelled: Samples, count: int, seed: int, tuned: int, figures: dict[str, float]
) -> Row:
    return {
        "task": pair[0], "inputs": pair[1], "method": method, "source": labelled.source, "labels": count,
        "all": count == len(labelled.divide(seed)[0]), "seed": seed, "tuned": tuned, "figures": figures,
    }  # fmt: skip


def _reads(inputs: str) -> str:
    return "CSI" if inputs == "channel" else "map and position"


def methods(task: Task, inputs: str, training: HeadTraining) -> Iterator[tuple[str, Method]]:
    """What a head is compared with, by name; they see the same side of a link as it does."""
    yield "always the same", partial(_constant, task)
    for read, method in classical.methods(task):
        if read == inputs and method.site:
            yield method.name, partial(_mlp, task, training) if method.answer is None else partial(_classical, method)


def _constant(task: Task, _seen: Batch, target: Tensor, held: Batch, _seed: int) -> tuple[Tensor, int]:
    """The best answer that looks at nothing: class shares, the mean, or the labels' principal vector."""
    if task.form == "vector":
        vectors = as_vector(target)
        principal = torch.linalg.eigh(vectors.mT @ vectors.conj())[1][:, -1]
        one = torch.cat([principal.real, principal.imag])
    elif task.form == "classes":
        one = functional.one_hot(target, task.outputs).float().mean(0).clamp_min(1e-9).log()
    else:
        one = target.mean(0)
    return one.expand(len(held.csi), -1), 0


def _mlp(task: Task, training: HeadTraining, seen: Batch, target: Tensor, held: Batch, seed: int) -> tuple[Tensor, int]:
    """A network on positions alone."""
    plan = [batch.environment.ue[:, :2] for batch in (seen, held)]
    head = fit(task, plan[0], target, replace(training, seed=seed), classical.position_widths(task))
    with torch.inference_mode():
        return head(plan[1]), head.parameter_count()


def _classical(method: classical.Method, seen: Batch, target: Tensor, held: Batch, _seed: int) -> tuple[Tensor, int]:
    assert method.answer is not None
    return method.answer(seen, target, held).float(), method.tuned
