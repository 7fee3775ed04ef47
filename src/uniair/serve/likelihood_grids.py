"""The candidates of likelihood maps, embedded once and kept."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.radio import Radio
from uniair.serve.views import Hypotheses
from uniair.site.frame import View

MOST_CELLS = 10_000  # of a map
GRIDS = 16  # maps whose candidates stay embedded, some MB each


@dataclass(frozen=True)
class Grid:
    """The candidates of a likelihood map, embedded.

    Attributes:
        axis: [G] m.
        outdoors: bool [G, G].
        z: [2 · cells, E], NLOS first.
        apart: [2 · cells] m from the BS.
    """

    axis: NDArray[np.float64]
    outdoors: NDArray[np.bool_]
    z: Tensor
    apart: Tensor


class LikelihoodGrids:
    """The maps that were asked for last; safe in several threads, of which two may embed the same one.

    Args:
        embed: embeds hypotheses.
    """

    def __init__(self, embed: Callable[[Sequence[Hypotheses]], list[Tensor]]) -> None:
        self.embed = embed
        self._lock = threading.Lock()
        self._grids: OrderedDict[tuple[Any, ...], Grid] = OrderedDict()

    def of(self, here: View, station: int, step: float, radio: Radio) -> Grid:
        """The candidates around a station, every `step` metres.

        Raises:
            InputError: too fine a step, or no outdoor cell.
        """
        told = Hypotheses(here, 0, radio=radio).told
        key = (station, step, hashlib.sha256(here.plan.tobytes()).hexdigest(), told)
        with self._lock:
            if key in self._grids:
                self._grids.move_to_end(key)
                return self._grids[key]
        grid = self._embedded(here, step, radio)
        with self._lock:
            self._grids[key] = grid
            if len(self._grids) > GRIDS:
                self._grids.popitem(last=False)
        return grid

    def _embedded(self, here: View, step: float, radio: Radio) -> Grid:
        axis = np.arange(step / 2, here.side, step)
        least = here.side / MOST_CELLS**0.5
        if step < least:
            raise InputError(f"step {step:g} m: give at least {least:.2f} m on a site of {here.side:g} m")
        x, y = (values.ravel() for values in np.meshgrid(axis, axis))
        everywhere = np.column_stack([x, y, np.full(x.size, UE_HEIGHT)])
        pixel = np.minimum((axis / here.side * len(here.plan)).astype(int), len(here.plan) - 1)
        outdoors = here.plan[np.ix_(pixel, pixel)].ravel() == 0
        if not outdoors.any():
            raise InputError("likelihood: the map is built over everywhere, there is no outdoor position to test")
        ue = everywhere[outdoors]
        both = Hypotheses(here, 2 * len(ue), np.tile(ue, (2, 1)), np.repeat([0, 1], len(ue)), radio)
        apart = both.apart
        assert apart is not None
        return Grid(axis, outdoors.reshape(len(axis), -1), self.embed([both])[0], apart)
