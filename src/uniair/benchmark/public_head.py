"""A head that learned from public places, where no site of a federation is: what a federation can begin from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.radio import Radio
from uniair.tasks.registry import TASKS
from uniair.training.heads import HeadTraining, SavedHead, embed, fit


@dataclass(frozen=True)
class PublicPlaces:
    """Areas of a folder; of a task they are embedded once, when its first head is asked for.

    Attributes:
        model: frozen.
        store: the folder.
        areas: that are taken at most, evenly over it.
    """

    model: UniversalModel
    store: Store
    areas: int
    _known: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def radio(self) -> Radio:
        """Of all links."""
        return self.store.one_radio()

    @property
    def chosen(self) -> list[int]:
        """Numbers of the areas that are taken."""
        index: list[int] = (
            np.linspace(0, len(self.store) - 1, min(self.areas, len(self.store))).round().astype(int).tolist()
        )
        return index

    def described(self) -> dict[str, int]:
        """Areas and links."""
        return {"areas": len(self.chosen), "links": int(self.store.counts[self.chosen].sum())}

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        """Embeddings of what a task reads first, [N, E], and its targets."""
        if name not in self._known:
            task = TASKS[name].on(self.radio)
            z, target = [], []
            for number in track(self.chosen, "area", "public places"):
                batch = batch_of(self.store[number])
                z.append(embed(self.model, batch, task.inputs[0]))
                target.append(task.target(batch))
            self._known[name] = torch.cat(z), torch.cat(target)
        return self._known[name]

    def head(self, name: str, training: HeadTraining) -> SavedHead:
        """A head for a task."""
        task = TASKS[name].on(self.radio)
        return SavedHead(fit(task, *self.of(name), training).eval(), task.inputs[0], self.radio)
