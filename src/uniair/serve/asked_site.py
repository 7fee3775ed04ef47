"""A served site as instructions are about it: stations, their links and heads, and what a request brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.serve.naming import NotHereError
from uniair.serve.site_links import StationLinks
from uniair.serve.views import Hypotheses
from uniair.site.frame import View
from uniair.tasks.answers import Answer
from uniair.tasks.scene import Given, NoLinkError, Outputs, Scene
from uniair.tasks.task import Task
from uniair.training.heads import SavedHead

SAME_PLACE = 1.0  # m, between two stations' records of one user


@dataclass(frozen=True, eq=False)
class AskedSite(Scene):
    """A site as it is asked about.

    Attributes:
        views: of the stations.
        known: their links; None where the site has none of one.
        heads: of the stations: (task, inputs) → head.
        brought: what the request brings along, as the station in front sees it; None: the link in front.
        stood: [N, 3] m, where that is a place; other stations see it too.
        used: heads that answered: station, task and inputs.
        places: positions that were asked about, [N, 3] m.
    """

    views: Sequence[View] = ()
    known: Sequence[StationLinks | None] = ()
    heads: Sequence[Mapping[tuple[str, str], SavedHead]] = ()
    brought: Given | None = None
    stood: NDArray[np.floating] | None = None
    used: list[tuple[int, str, str]] = field(default_factory=list)
    places: list[NDArray[np.floating]] = field(default_factory=list)

    @property
    def brings(self) -> bool:
        """Whether the request has CSI or a place of its own."""
        return self.brought is not None

    def front(self, station: int) -> Given:
        """What the request brings along, or the link in front, as a station sees it."""
        if self.brought is None:
            return super().front(station)
        if station == self.here[0]:
            if self.stood is not None:
                self.places.append(self.stood)
            return self.brought
        if self.stood is None:
            other, own = self.stations[self.here[0]], self.stations[station]
            raise NoLinkError(f"the CSI that came along was received by {other}; give {own}'s, or name a user")
        return self.place(station, self.stood)

    def links(self, station: int, users: Sequence[int]) -> Given:
        """Users by the numbers that the station in front has for them; another station may count them otherwise.

        Raises:
            NoLinkError: the site has no links.
        """
        known = self.known[self.here[0]]
        if known is None:
            return super().links(station, users)
        ue = known.links.ue[np.asarray(users)].astype(np.float64)
        place = self.views[station].environment(ue)
        own = np.asarray(users) if station == self.here[0] else self._own(station, ue)
        received = self.known[station]
        if own is None or received is None:
            return Given(environment=place)
        chosen = received.links.select(own)
        view = self.views[station]
        csi = chosen.paths.csi(view.radio, chosen.bearing, downtilt=view.downtilt or 0.0)
        return Given(csi, place, view.radio)

    def _own(self, station: int, ue: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """A station's own numbers of users at places; None: it has no link to one of them."""
        known = self.known[station]
        if known is None:
            return None
        apart = np.linalg.norm(known.links.ue[None].astype(np.float64) - ue[:, None], axis=2)
        return apart.argmin(1) if (apart.min(1) < SAME_PLACE).all() else None

    def place(self, station: int, positions: NDArray[np.floating]) -> Given:
        """Positions on the site's own map."""
        Hypotheses(self.views[station], len(positions), positions)  # checks them
        self.places.append(positions)
        return Given(environment=self.views[station].environment(positions))

    def reads(self, station: int, task: Task) -> tuple[str, ...]:
        """What the station's heads read: what the task is asked from, and a place where no channel is known.

        Raises:
            NotHereError: there is no head for the task.
        """
        mine, wanted = self.heads[station], dict.fromkeys((task.read, "environment"))
        found = [inputs for inputs in wanted if (task.name, inputs) in mine]
        if not found:
            raise NotHereError(
                f"{task.name} from {task.read}: station {station} of the site has no such head; "
                "train it with uniair site"
            )
        return tuple(found)

    def outputs(self, station: int, inputs: str) -> Outputs:
        """The station's heads."""

        @torch.inference_mode()
        def head(task: str, z: torch.Tensor) -> torch.Tensor:
            self.used.append((station, task, inputs))
            out: torch.Tensor = self.heads[station][task, inputs].head(z)
            return out

        return head

    def in_place(self, answer: Answer, station: int) -> Answer:
        """In the site's frame."""
        view = self.views[station]
        return answer.in_site(view.back, view.bearing)
