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
    """Areas of a folder; they are embedded once, when a head is first asked for.

    Attributes:
        model: frozen.
        store: the folder.
        areas: that are taken at most, evenly over it.
    """

    model: UniversalModel
    store: Store
    areas: int
    _known: dict[str, Tensor] = field(default_factory=dict)

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

    def embedded(self, reads: str) -> Tensor:
        """Embeddings of the channel or of the environment, [N, E]."""
        if reads not in self._known:
            areas = track(self.chosen, "area", f"public places, {reads}")
            self._known[reads] = torch.cat([embed(self.model, batch_of(self.store[i]), reads) for i in areas])
        return self._known[reads]

    def head(self, name: str, training: HeadTraining) -> SavedHead:
        """A head for a task, of what it reads first."""
        task = TASKS[name].on(self.radio)
        target = torch.cat([task.target(batch_of(self.store[i])) for i in self.chosen])
        head = fit(task, self.embedded(task.inputs[0]), target, training)
        return SavedHead(head.eval(), task.inputs[0], self.radio)
