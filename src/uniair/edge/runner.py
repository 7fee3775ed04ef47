"""Runs an edge package: the answers of `uniair serve`, from NumPy and ONNX Runtime alone.

    from uniair_edge import Runner

    site = Runner("my-site")            # the folder that uniair export wrote
    site.position(csi, station=0)       # complex [N, antennas, subcarriers] of the package's radio → [N, 2] m
    site.answer("los", 0, csi)          # any task that the station has a head for, see `card["tasks"]`
    site.los(csi, 0, ue)                # nothing tuned: probability of line of sight, [N]
    stream = site.stream()
    stream.push({"power": power})       # the next beams of a moving vehicle

Stations go by number, from 0, or by name. Positions are metres from the site's south-west corner. This file is copied
into edge packages as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .candidate_paths import FEATURES, FEATURES_3D, SPEED_OF_LIGHT, TYPICAL, Roofs, candidates, walls
from .rays import GRID, Floats, Integers, Segments, launch
from .receiver import Receiver

FORMAT = "uniair-edge/2"
BATCH = 512
CHANNELS = 32  # CSI that are embedded together: of a panel each takes some MB
CLOCK_STEP = 1.6  # m
HALF_BUILT = 0.5  # of a map of real numbers: the share of a pixel, or m of height, from which a pixel is built
STATE = ("time", "last_beam", "last_power", "cache")


class View:
    """A place as a base station's array sees it: a square turned until the array lies along +x.

    Args:
        map: [256, 256] building occupancy, or real numbers: building heights, m, 0 on open ground, infinite where not
            known; real numbers none of which is above 1 are occupancy. Row 0 = y 0.
        bs: [3] m; size: of the square, m.
        side: of the site that was turned, m; bearing: of the array in it, rad.
        downtilt: of an array whose elements look one way, rad.

    Raises:
        ValueError: a map of another shape, with NaN, a height below 0 or whole numbers of several levels; a base
            station off the map, or a size that is not above 0.
    """

    def __init__(
        self, map: NDArray[Any], bs: NDArray[Any], size: float, side: float | None = None, bearing: float = 0.0,
        downtilt: float = 0.0,
    ) -> None:  # fmt: skip
        self.heights = heights(map)
        self.bs, self.size = np.asarray(bs, np.float32), np.float32(size)
        if not (np.isfinite(self.size) and self.size > 0):
            raise ValueError(f"size {size}: give the side of the square in metres, above 0")
        if (
            self.bs.shape != (3,)
            or not np.isfinite(self.bs).all()
            or not ((self.bs[:2] >= -0.01) & (self.bs[:2] <= self.size + 0.01)).all()
        ):
            raise ValueError(f"bs {bs}: give x, y, z in metres, x and y from 0 to {self.size:g}")
        self.side, self.bearing, self.downtilt = float(size if side is None else side), bearing, downtilt
        self._rays: dict[bool, Segments] = {}

    def rays(self, solid: bool) -> Segments:
        """Of the base station, launched once.

        Args:
            solid: heights count, as to weights for any radio.
        """
        if solid not in self._rays:
            plan = np.round(self.bs[:2] / (self.size / np.float32(GRID)) * 16) / 16
            stops = walls(self.heights, self.bs, self.size) if solid else self.heights > 0
            self._rays[solid] = launch(stops, plan)
        return self._rays[solid]

    def turned(self, ue: NDArray[Any]) -> Floats:
        """[N, 3] m, from the site's frame into the array's."""
        ue = np.asarray(ue, np.float64)
        if ue.ndim != 2 or ue.shape[1] != 3 or not np.isfinite(ue).all():
            raise ValueError(f"ue of shape {ue.shape} or with NaN: give finite [N, 3] metres")
        if ((ue[:, :2] < -0.01) | (ue[:, :2] > self.side + 0.01)).any():
            raise ValueError(f"ue outside the site: x and y go from 0 to {self.side:g} m")
        c, s = math.cos(self.bearing), math.sin(self.bearing)
        x, y = (ue[:, :2] - self.side / 2).T
        middle = float(self.size) / 2
        return np.column_stack([c * x + s * y + middle, c * y - s * x + middle, ue[:, 2]]).astype(np.float32)

    def apart(self, ue: NDArray[Any]) -> NDArray[np.float64]:
        """Metres from the base station to UEs [N, 3]: [N]."""
        return np.asarray(np.linalg.norm(self.turned(ue).astype(np.float64) - self.bs, axis=1))

    def back(self, plan: NDArray[Any]) -> NDArray[np.float64]:
        """[N, 2] m, from the array's frame into the site's."""
        c, s = math.cos(self.bearing), math.sin(self.bearing)
        x, y = (np.asarray(plan, np.float64) - float(self.size) / 2).T
        return np.column_stack([c * x - s * y, s * x + c * y]) + self.side / 2


class Runner:
    """The models of an edge package.

    Args:
        folder: that `uniair export` wrote.
        int8: models to take with weights in 8 bits, of those in `card["int8"]`: `cfenn`, `epnn`, `crnn`, `forecaster`.
        threads: of ONNX Runtime; None: as many as it likes.

    Attributes:
        card: what the package holds, its radio and remarks on it, and how well it agrees with the models that it was
            made from.
        receiver: the radio whose CSI it takes.
        stations: names of the base stations.
        views: of the stations.
    """

    def __init__(self, folder: str | Path, int8: Sequence[str] = (), threads: int | None = None) -> None:
        self.folder = Path(folder)
        if not (self.folder / "card.json").is_file():
            raise ValueError(f"{folder}: no card.json; give a folder that uniair export wrote")
        self.card: dict[str, Any] = json.loads((self.folder / "card.json").read_text(encoding="utf-8"))
        if self.card.get("format") != FORMAT:
            raise ValueError(
                f"{folder}: of format {self.card.get('format')!r}, this runner reads {FORMAT!r}; export again"
            )
        if odd := [name for name in int8 if name not in self.card["int8"]]:
            have = ", ".join(self.card["int8"]) or "none"
            raise ValueError(f"{folder}: no {odd[0]} in 8 bits, of {have}; export with --int8")
        self._int8, self._threads = tuple(int8), threads
        self._sessions: dict[str, Any] = {}
        beams = self.folder / "radio.npy"
        self.receiver = Receiver(self.card, np.load(beams, allow_pickle=False) if beams.is_file() else None)
        self._any_radio = self.card["radios"] == "any"
        # of weights for any radio places are told that the clock starts at the first path
        self._searched = self.receiver.first_path and not self._any_radio
        self.stations: list[str] = self.card["stations"]
        self.views: list[View] = []
        if self.stations:
            with np.load(self.folder / "site.npz", allow_pickle=False) as site:
                columns = [site[name] for name in ("maps", "bs", "sizes", "bearings")]
                self.views = [
                    View(m, bs, float(size), float(site["side"]), float(bearing))
                    for m, bs, size, bearing in zip(*columns, strict=True)
                ]

    def run(self, name: str, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of a model of the package; what it does not read is left out."""
        if name not in self._sessions:
            path = self.folder / ("int8" if name in self._int8 else "") / f"{name}.onnx"
            if not path.is_file():
                raise ValueError(f"{path}: the package has no such model; export it again with it")
            options = onnxruntime.SessionOptions()
            if self._threads is not None:
                options.intra_op_num_threads = self._threads
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self._sessions[name] = session, [put.name for put in session.get_inputs()]
        session, names = self._sessions[name]
        out: list[NDArray[Any]] = session.run(None, {key: feed[key] for key in names})
        return out

    # embeddings

    def encode(self, csi: NDArray[Any]) -> Floats:
        """CSI of the package's radio, complex [N, antennas, subcarriers] → embeddings of unit norm, float32 [N, E].

        Of any power and common phase. A first path whose length the radio's clock does not tell is taken to be 60 m.
        """
        return self._embedded(self._received(csi))

    def _received(self, csi: NDArray[Any]) -> Received:
        """Checked CSI whose first path, where the clock starts at it, is at delay 0."""
        checked = self.receiver.checked(csi)
        if self.receiver.first_path and len(checked):
            parts = [self.receiver.aligned(checked[i : i + CHANNELS]) for i in range(0, len(checked), CHANNELS)]
            checked = np.concatenate(parts)
        return Received(checked, self.receiver.level(csi))

    def _embedded(self, received: Received, length: NDArray[np.float64] | None = None) -> Floats:
        """As if each first path, where the clock starts at it, were `length` [N] m long; None: `TYPICAL` → [N, E]."""
        csi = received.csi
        if self.receiver.first_path:
            length = np.full(len(csi), TYPICAL) if length is None or not self._searched else length
            csi = self.receiver.delayed(csi, length / SPEED_OF_LIGHT)
        planes = np.stack([csi.real, csi.imag], axis=1).astype(np.float32)
        return self._batches("cfenn", {"csi": planes, "level": received.level.astype(np.float32)}, len(csi), CHANNELS)

    def reconstruct(self, z: Floats) -> NDArray[np.complex64]:
        """Embeddings [N, E] → the normalised CSI, complex64 [N, antennas, subcarriers]."""
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.card["embedding"] or not np.isfinite(z).all():
            raise ValueError(f"embedding of shape {z.shape} or with NaN: give finite [N, {self.card['embedding']}]")
        planes = self._batches("crnn", {"embedding": z}, len(z))
        return (planes[:, 0] + 1j * planes[:, 1]).astype(np.complex64)

    def embed(self, view: View, count: int, ue: NDArray[Any] | None = None, los: NDArray[Any] | None = None) -> Floats:
        """`count` hypotheses about a place → float32 [count, E] of unit norm.

        Args:
            ue: [count, 3] m in the site's frame, los: [count] 1 or 0; None: unknown.

        Raises:
            ValueError: more or fewer of either.
        """
        for name, given in (("ue", ue), ("los", los)):
            if given is not None and len(given) != count:
                raise ValueError(f"{name} of {len(given)} for {count}: give one for each")
        known = np.tile([True, True, ue is not None, los is not None], (count, 1))
        place = np.zeros((count, 3), np.float32) if ue is None else view.turned(ue)
        sight = np.zeros(count, np.float32) if los is None else np.asarray(los, np.float32)
        parts = [np.zeros((0, self.card["embedding"]), np.float32)]
        for first in range(0, count, BATCH):
            part = slice(first, min(first + BATCH, count))
            n = part.stop - first
            feed = {
                "map": view.heights, "bs": np.tile(view.bs, (n, 1)), "ue": place[part], "los": sight[part],
                "size": np.full(n, view.size), "known": known[part],
                "downtilt": np.full(n, view.downtilt, np.float32), **self._paths(view, place[part], ue is not None),
            }  # fmt: skip
            parts.append(self.run("epnn", feed)[0])
        return np.concatenate(parts)

    def _paths(self, view: View, place: Floats, known: bool) -> dict[str, NDArray[Any]]:
        """What the rays find for hypotheses [N, 3], m, on the array's square: candidates, whose each is, and clocks."""
        if not (known and self.card["rays"]):
            none = np.zeros((0, FEATURES_3D if self._any_radio else FEATURES), np.float32)
            return {"features": none, "owner": np.zeros(0, np.int64), "clock": np.zeros(len(place), np.float32)}
        # hypotheses that differ in LOS alone share their paths
        distinct, which = np.unique(place, axis=0, return_inverse=True)
        features, owner, clock = self._met(view, distinct)
        hypothesis, path = np.nonzero(which[:, None] == owner)
        return {"features": features[path], "owner": hypothesis, "clock": clock[which]}

    def _met(self, view: View, ue: Floats) -> tuple[Floats, Integers, Floats]:
        """Candidate paths of distinct users [U, 3]: features [P, …], whose each is [P], and clocks [U] m."""
        size, none = float(view.size), np.zeros(len(ue), np.float32)
        if not self._any_radio:
            found = candidates(view.rays(solid=False), view.bs, ue, size)
            return found.features(none), found.owner, none
        roofs = Roofs(view.heights, self.receiver.carrier, view.downtilt if self.receiver.directed else 0.0)
        found = candidates(view.rays(solid=True), view.bs, ue, size, roofs)
        clock = found.clock(view.bs, ue) if self.receiver.first_path else none
        return found.features_3d(clock), found.owner, clock

    # answers

    def los(self, csi: NDArray[Any], station: int | str | View, ue: NDArray[Any] | None = None) -> Floats:
        """Probability of line of sight of N channels, zero-shot; with the UEs' positions [N, 3] m or without: [N].

        Of a radio whose amplitudes are calibrated gains the power counts too.
        """
        view, received = self._view(station), self._received(csi)
        apart = None if ue is None else view.apart(ue)
        z = self._embedded(received, None if apart is None else _stepped(apart))
        nlos, seen = ((z * self.embed(view, len(z), ue, np.full(len(z), los))).sum(1) for los in (0, 1))
        odds = (seen - nlos) / self.card["temperature"]
        if self.receiver.calibrated and not self._any_radio:  # the others read the power themselves
            odds = self.receiver.with_power(odds, csi, apart)
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -80, 80))), np.float32)

    def rank(self, csi: NDArray[Any], station: int | str | View, ue: NDArray[Any]) -> Floats:
        """Probabilities that each of N channels is of each of K positions [K, 3] m, zero-shot: [N, K]."""
        view, received = self._view(station), self._received(csi)
        candidates, apart = self.embed(view, len(ue), ue), _stepped(view.apart(ue))
        if not self._searched:
            return softmax(self._embedded(received) @ candidates.T / self.card["temperature"])
        similar = np.empty((len(received.csi), len(ue)), np.float32)
        for length in np.unique(apart):  # each distance has channels of its own
            mine = apart == length
            similar[:, mine] = self._embedded(received, np.full(len(similar), length)) @ candidates[mine].T
        return softmax(similar / self.card["temperature"])

    def head(
        self, task: str, station: int | str, csi: NDArray[Any] | None = None, ue: NDArray[Any] | None = None
    ) -> Floats:
        """What a station's head says from CSI or, without, from positions [N, 3] m: [N, outputs]."""
        view = self._view(station)
        inputs = "channel" if csi is not None else "environment"
        name = f"{task}-{inputs}-{self.stations[self._number(station)]}"
        if name not in self.card["heads"]:
            have = ", ".join(self.card["heads"]) or "none"
            raise ValueError(f"no head {name} in the package, which has {have}; give csi or ue, or train it")
        if csi is not None:
            z = self.encode(csi)
        elif ue is not None:
            z = self.embed(view, len(ue), ue)
        else:
            raise ValueError(f"{task}: give csi or ue")
        return self._batches(f"heads/{name}", {"embedding": z}, len(z))

    def answer(
        self, task: str, station: int | str, csi: NDArray[Any] | None = None, ue: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """What a station's head answers, from CSI or, without, from positions [N, 3] m.

        Returns:
            By the task's form in the card: `place` [N, 2] m in the site's frame, `classes` [N, K] probabilities,
            `vector` complex [N, K] of unit norm, `values` [N, K] as they are.
        """
        out, form = self.head(task, station, csi, ue), self.card["tasks"][task]["form"]
        if form == "place":
            return self._view(station).back(out)
        if form == "classes":
            return softmax(out)
        if form == "vector":
            real, imaginary = np.split(out, 2, axis=1)
            vector = real + 1j * imaginary
            return (vector / np.linalg.norm(vector, axis=1, keepdims=True)).astype(np.complex64)
        return out

    # the tasks that come with the library

    def position(self, csi: NDArray[Any], station: int | str) -> NDArray[np.float64]:
        """Where the UE of each channel stands: [N, 2] m."""
        return self.answer("position", station, csi)

    def beam(self, station: int | str, csi: NDArray[Any] | None = None, ue: NDArray[Any] | None = None) -> Floats:
        """Probability that a beam of the array's DFT codebook is the best, from CSI or position: [N, beams]."""
        return self.answer("beam", station, csi, ue)

    def path_loss(self, ue: NDArray[Any], station: int | str) -> Floats:
        """Path loss at positions [N, 3] m: [N] dB."""
        return self.answer("path_loss", station, ue=ue)[:, 0]

    def precoding(self, csi: NDArray[Any], station: int | str) -> NDArray[np.complex64]:
        """The best precoder of one layer, of unit norm: complex64 [N, antennas]."""
        return self.answer("precoding", station, csi)

    def stream(self) -> Stream:
        """A new stream of steps, of one vehicle."""
        return Stream(self)

    def _view(self, station: int | str | View) -> View:
        return station if isinstance(station, View) else self.views[self._number(station)]

    def _number(self, station: int | str) -> int:
        """A station's number, from its name or number."""
        if isinstance(station, str):
            if station in self.stations:
                return self.stations.index(station)
            station = int(station) if station.isdecimal() else -1
        if not 0 <= station < len(self.views):
            have = ", ".join(self.stations) or "none"
            raise ValueError(f"station {station}: the package has {have}, counted from 0")
        return int(station)

    def _batches(self, name: str, feed: Mapping[str, NDArray[Any]], count: int, size: int = BATCH) -> Any:
        if not count:  # models reshape by the number of samples, which can't be 0
            one = {k: np.zeros((1, *v.shape[1:]), v.dtype) for k, v in feed.items()}
            return self.run(name, one)[0][:0]
        parts = [self.run(name, {k: v[i : i + size] for k, v in feed.items()})[0] for i in range(0, count, size)]
        return np.concatenate(parts)


class Received(NamedTuple):
    """CSI ready for CFENN.

    Attributes:
        csi: complex64 [N, ports, subcarriers].
        level: [N] log10 of the mean power of an entry before it was scaled.
    """

    csi: NDArray[np.complex64]
    level: NDArray[np.float64]


class NextBeams(NamedTuple):
    """The answer to one step: beams int64 [F], their probability [F, B] and power [F, B], linear."""

    beams: Integers
    probability: Floats
    power: Floats


class Stream:
    """Takes one step after another and says the next beams; a step costs the same however long the stream is."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._card: dict[str, Any] | None = runner.card["forecaster"]
        if self._card is None:
            raise ValueError("the package has no forecaster; export it with --forecaster FOLDER")
        self.reset()

    def reset(self) -> None:
        """Forgets the steps so far: another vehicle."""
        assert self._card is not None
        beams = self._card["beams"]
        start = (np.zeros(1, np.int64), np.full(1, -1), np.zeros((1, beams), np.float32),
                 np.zeros((1, *self._card["cache"]), np.float32))  # fmt: skip
        self._state: dict[str, NDArray[Any]] = dict(zip(STATE, start, strict=True))
        self._place: NDArray[np.float64] | None = None

    def push(self, step: Mapping[str, Any]) -> NextBeams:
        """The next beams after one more step: any of `power` [B], linear, `beam`, `position` [2] m and the sensors'
        arrays, as `uniair.serve.stream.Stream.push` takes them; what is absent or NaN is missing.
        """
        feed = {name: values[None, None] for name, values in self._checked(step).items()}
        logits, level, _, *state = self._runner.run("forecaster", {**self._state, **feed})
        self._state = dict(zip(STATE, state, strict=True))
        said, level = logits[0, -1, 1:], level[0, -1, 1:]
        return NextBeams(said.argmax(-1), softmax(said), (10 ** (level / 10)).astype(np.float32))

    def _checked(self, step: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        assert self._card is not None
        shapes: dict[str, list[int]] = self._card["inputs"]
        if odd := set(step) - set(shapes) - {"power", "beam"}:
            raise ValueError(f"step with {min(odd)}: the forecaster has {', '.join(shapes)}")
        beams = self._card["beams"]
        power = np.full(beams, np.nan) if step.get("power") is None else np.asarray(step["power"], np.float64)
        if power.shape != (beams,) or (power < 0).any():
            raise ValueError(f"power of shape {power.shape}: give {beams} linear powers, not dB")
        best = int(np.nanargmax(power)) if np.isfinite(power).any() else -1
        beam = best if step.get("beam") is None else int(step["beam"])
        if not -1 <= beam < beams:
            raise ValueError(f"beam {beam}: give 0 to {beams - 1}, or -1 where unknown")
        out: dict[str, NDArray[Any]] = {"power": power.astype(np.float32), "beam": np.array(beam, np.int64)}
        for name, shape in shapes.items():
            if name in out:
                continue
            values = np.full([max(s, 1) for s in shape], np.nan) if step.get(name) is None else np.asarray(step[name])
            if name == "position":
                values = self._moved(values[:2] if step.get(name) is None else values)
            if len(values.shape) != len(shape) or any(
                w not in (-1, s) for w, s in zip(shape, values.shape, strict=True)
            ):
                raise ValueError(f"{name} of shape {values.shape}: give {shape}")
            out[name] = values.astype(np.float32)
        return out

    def _moved(self, place: NDArray[Any]) -> NDArray[np.float64]:
        """Place and move since the last known one: [4]."""
        if place.shape != (2,):
            raise ValueError(f"position of shape {place.shape}: give metres across and along, [2]")
        here = place.astype(np.float64)
        if not np.isfinite(here).all():
            self._place = None
            return np.full(4, np.nan)
        moved = np.zeros(2) if self._place is None else here - self._place
        self._place = here
        return np.concatenate([here, moved])


def heights(map: NDArray[Any]) -> Floats:
    """`uniair.environment.heights` of one map: float32 [256, 256] m, infinite where not known."""
    given = np.asarray(map)
    if given.shape != (GRID, GRID):
        raise ValueError(f"map of shape {given.shape}: give [{GRID}, {GRID}] building occupancy or heights")
    if given.dtype.kind != "f":
        if ((given != 0) & (given != given.max())).any():
            raise ValueError("map of whole numbers of several levels: occupancy has one, heights are real numbers")
        return np.where(given != 0, np.inf, 0).astype(np.float32)
    if not (given >= 0).all():
        raise ValueError("map with NaN or a height below 0: open ground is 0, a height that is not known infinite")
    known = given if given.max() > 1 else np.inf
    return np.where(given >= HALF_BUILT, known, 0).astype(np.float32)


def _stepped(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres in steps, so that hypotheses share channels."""
    return np.asarray(np.round(apart / CLOCK_STEP) * CLOCK_STEP)


def softmax(scores: NDArray[Any]) -> Floats:
    """Along the last axis."""
    if not scores.size:
        return np.zeros(scores.shape, np.float32)
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(grown / grown.sum(-1, keepdims=True), dtype=np.float32)
