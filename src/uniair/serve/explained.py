"""Why a served site's answers came about: explanations with lines to draw, what is sure, and a station's audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.explanation.audit import CELL, audit_paths
from uniair.explanation.calibrated import CELLS
from uniair.explanation.channel_paths import ChannelPath, channel_paths
from uniair.explanation.conformal import mass
from uniair.explanation.doubted import doubted, doubted_places
from uniair.explanation.explain import Explanation, explain
from uniair.serve.predictor import Predictor, Received
from uniair.serve.views import Hypotheses
from uniair.site import station_links
from uniair.site.frame import View

KEPT = 20_000  # channels that stay read, about a kilobyte each
PASS = 50  # channels that are read together


class Explainer:
    """Explains a predictor's answers; one call at a time.

    Args:
        predictor: whose site, model and links these are.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.calibration = predictor.calibration
        self._read: dict[tuple[int, int], list[ChannelPath]] = {}  # by station and link

    def explain(
        self, asked: Received, station: int, ue: NDArray[np.floating] | None, here: View, known: Area,
        numbers: Sequence[int], taken_off: int,
    ) -> dict[str, Any]:  # fmt: skip
        """Why one channel fits its place, or does not: see `Explanation.to_json`.

        Args:
            asked: one channel.
            ue: [1, 3] m; None: unknown.
            here: the station's view of the map that is believed.
            known: the buildings of that map, and `numbers` what each is called.
            taken_off: see `explain`.

        Returns:
            Paths also with `azimuths_rad`, where they leave to: two of an array that can't tell front from back.
            Candidates also with `line` [corners, 2] m from the station to the user, `whole` where no corner is missing.

        Raises:
            InputError: a position outside the site; see `explain`.
        """
        self.predictor.room.note(asked.radio)
        if ue is not None:
            Hypotheses(here, 1, ue)  # checks it
        env = here.in_site(self.predictor.site.stations[station].position, ue)
        (why,) = explain(self.predictor.model, asked.csi, env, asked.radio, known, taken_off, self.calibration)
        why = _renamed(why, numbers)
        found = why.to_json()
        bs = self.predictor.site.stations[station].position
        for entry, one in zip(found["paths"], why.paths, strict=True):
            entry["azimuths_rad"] = [round(angle, 4) for angle in _azimuths(one.path, here.bearing)]
        for entry, path in zip(found["candidates"], why.candidates, strict=True):
            assert why.user is not None
            entry["line"] = [[round(x, 2), round(y, 2)] for x, y in ((bs[0], bs[1]), *path.points, why.user)]
            entry["whole"] = path.whole
        return found

    def doubts_of_los(
        self, asked: Received, station: int, ue: NDArray[np.floating] | None, here: View, los: NDArray[np.float32]
    ) -> list[dict[str, Any]]:
        """How sure the LOS answers [N] about N channels are, an entry each; see `doubted`.

        Args:
            ue: [N, 3] m; None: unknown.
        """
        env = here.in_site(self.predictor.site.stations[station].position, ue, len(asked))
        sure = doubted(self.predictor.model, asked.csi, env, torch.from_numpy(los), asked.radio, self.calibration,
                       code=asked.z)  # fmt: skip
        return [one.to_json() for one in sure]

    def doubts_of_places(
        self, asked: Received, station: int, ue: NDArray[np.floating], here: View, shares: NDArray[np.float32]
    ) -> list[dict[str, Any]]:
        """How sure it is that N channels came from the likeliest of K positions, an entry each; see `doubted_places`.

        Args:
            ue: [K, 3] m.
            shares: [N, K] the answer.
        """
        env = here.in_site(self.predictor.site.stations[station].position, ue)
        sure = doubted_places(self.predictor.model, asked.csi, env, torch.from_numpy(shares), asked.radio,
                              self.calibration, asked.z)  # fmt: skip
        return [one.to_json() for one in sure]

    def audit(self, station: int, channels: int, here: View, known: Area, numbers: Sequence[int]) -> dict[str, Any]:
        """Where a station's channels contradict a map: see `Audit.to_json`.

        Args:
            channels: of the station's links so many, evenly over them; what they were read as is kept.
            here, known, numbers: see `explain`.

        Returns:
            Also `links` that the station has, `cell` m and `contradicted` [rows, columns] nats for something that
            stands in each cell, row 0 in the south, NaN where nothing speaks for it.

        Raises:
            NotHereError: the station has no links.
        """
        links = self.predictor.station_links(station).links
        chosen = np.unique(np.linspace(0, len(links) - 1, min(channels, len(links))).round().astype(int))
        some = links.select(chosen)
        radio = self.predictor.site.radio_of(station)
        env = here.in_site(self.predictor.site.stations[station].position, some.ue)
        found = audit_paths(
            self.predictor.model, self._paths(station, chosen), env, radio, known, calibration=self.calibration
        )
        document = found.to_json()
        for entry, one in zip(document["suspicions"], found.suspicions, strict=True):
            named = replace(one, building=numbers[one.building] if one.building >= 0 else -1)
            entry |= {"building": named.building, "sentence": str(named)}
        field = np.where(found.contradicted > 0, found.contradicted, np.nan).round(2)
        counted = self.calibration is not None and self.calibration.rates is not None
        return document | {"links": len(links), "calibrated": counted, "cell": CELL, "contradicted": field}

    def position_sets(self, likelihood: dict[str, Any]) -> dict[str, float] | None:
        """Promised coverage → log10 from which on a cell belongs to the set of positions; None: not calibrated so.

        Args:
            likelihood: of `Predictor.likelihood`; sets were calibrated in `CELLS` × `CELLS` cells alone.
        """
        promise = None if self.calibration is None else self.calibration.promises.get("position")
        if promise is None or len(likelihood["x"]) != CELLS:
            return None
        field = torch.from_numpy(likelihood["log10"])
        open_ground = field[~field.isnan()]
        scores = mass((open_ground * np.log(10)).softmax(0)[None])
        return {
            f"{level:g}": round(float(open_ground[promise.sets(scores, level)[0]].min()), 4)
            for level in promise.thresholds
        }

    def _paths(self, station: int, chosen: NDArray[np.int64]) -> list[list[ChannelPath]]:
        """What some of a station's channels are read as, without what each path adds to the CSI."""
        model, radio = self.predictor.model, self.predictor.site.radio_of(station)
        links = self.predictor.station_links(station).links
        new = np.array([link for link in chosen.tolist() if (station, link) not in self._read], dtype=np.int64)
        if len(self._read) + len(new) > KEPT:
            self._read.clear()
            new = chosen
        for first in range(0, len(new), PASS):
            part = new[first : first + PASS]
            some = links.select(part)
            csi = model.check_csi(station_links.csi(self.predictor.site, station, some), radio)
            for link, paths in zip(part.tolist(), channel_paths(model, csi, radio), strict=True):
                self._read[station, link] = [replace(path, part=torch.empty(0)) for path in paths]
        return [self._read[station, link] for link in chosen.tolist()]


def _renamed(why: Explanation, numbers: Sequence[int]) -> Explanation:
    """With buildings by the numbers that a request gave them."""
    candidates = tuple(replace(path, buildings=tuple(numbers[i] if i >= 0 else i for i in path.buildings))
                       for path in why.candidates)  # fmt: skip
    return replace(
        why, candidates=candidates, buildings=tuple((numbers[number], effect) for number, effect in why.buildings)
    )


def _azimuths(path: ChannelPath, bearing: float) -> list[float]:
    """Where a path leaves to in the site, in front of the array and behind it, rad."""
    level = max(1 - path.up**2, 1e-6) ** 0.5
    turn = float(np.arccos(np.clip(path.along / level, -1, 1)))
    return [bearing + turn, bearing - turn]
