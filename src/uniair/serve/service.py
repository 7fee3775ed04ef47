"""The requests with a body: read, embedded together with others', answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from fastapi import Request, Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from torch import Tensor

from uniair.errors import InputError
from uniair.radio import Radio
from uniair.serve import schema
from uniair.serve.batching import Batcher, BusyError, each
from uniair.serve.bodies import M, read, reply
from uniair.serve.explained import Explainer
from uniair.serve.learning_thread import LearningThread
from uniair.serve.limits import Limits
from uniair.serve.naming import NotHereError
from uniair.serve.predictor import Predictor, Received
from uniair.serve.radio_limits import WORK, work
from uniair.serve.sessions import Sessions
from uniair.serve.telemetry import Metrics
from uniair.serve.views import Hypotheses, believed
from uniair.site.frame import View
from uniair.tasks import zero_shot
from uniair.tasks.answers import Answers, Declined, Question
from uniair.tasks.task import Task

SEARCHED = 2048  # channels of a request whose clock is searched for, times lengths that are tried
PASS = 64  # samples that go through a tower together; a larger request takes turns with the others
Job = Callable[[], Any]


class Lanes:
    """The threads that compute: a tower each, forecasts, and what takes long.

    Args:
        threads: of one lane within the model.
    """

    def __init__(self, predictor: Predictor, limits: Limits, metrics: Metrics, threads: int) -> None:
        start = partial(torch.set_num_threads, threads)

        def lane(name: str, run: Any, most: int, size: Callable[[Any], int] = lambda _: 1) -> Batcher[Any, Any]:
            batcher: Batcher[Any, Any] = Batcher(name, run, most, limits.queue, size=size, start=start)
            batcher.observe = metrics.watch(name, lambda: len(batcher))
            return batcher

        self.channel: Batcher[Received, Tensor] = lane("channel", predictor.encode, PASS, len)
        self.place: Batcher[Hypotheses, Tensor] = lane("place", predictor.embed, PASS, lambda part: int(part.count))
        self.forecast: Batcher[Job, Any] = lane("forecast", each, 1)
        self.slow: Batcher[Job, Any] = lane("slow", each, 1)

    async def close(self) -> None:
        """Finishes what was taken."""
        await asyncio.gather(*(lane.close() for lane in (self.channel, self.place, self.forecast, self.slow)))


class Service:
    """The requests with a body: read, embed together with others', answer."""

    def __init__(
        self, predictor: Predictor, lanes: Lanes, limits: Limits, learning: LearningThread | None = None
    ) -> None:
        self.predictor, self.lanes, self.limits = predictor, lanes, limits
        self.explainer = Explainer(predictor)
        self.sessions = (
            None if predictor.forecaster is None else Sessions(predictor.forecaster, limits.sessions, learning=learning)
        )

    def go_on(self, before: Service | None) -> None:
        """Goes on with the forecasts of another service; by another forecaster where it is of the same shape."""
        if before is None or before.sessions is None or self.sessions is None:
            return
        # dropout is of training alone
        shapes = [replace(one.model.preset, dropout=0.0) for one in (before.sessions, self.sessions)]
        if before.sessions.model is self.sessions.model:
            self.sessions = before.sessions
        elif shapes[0] == shapes[1]:
            self.sessions.go_on(before.sessions)

    async def prepare(self) -> None:
        """Embeds the candidates of every station's likelihood map."""
        for station in range(len(self.predictor.views)):
            with suppress(InputError, BusyError):
                await self.lanes.slow(partial(self.predictor.prepare, station))

    async def encode(self, request: Request) -> Response:
        """Embeddings of CSI: of unit norm, the same whatever the power and the common phase."""
        fields, csi = await self._read(request, schema.Encode)
        asked = self._received(fields, csi)
        if asked is None:
            raise InputError(f"csi is missing: give {_shape(self._own(fields))}")
        z = await self._embedding(asked)
        return reply(request, {"embedding": z.numpy()} | self._about(asked), "embedding")

    async def los(self, request: Request) -> Response:
        """Zero-shot: how likely each channel has line of sight, given map and, where known, positions."""
        fields, csi = await self._read(request, schema.Asked)
        asked, ue = await self._channel_and_place(fields, csi)
        here = await self._view(fields)
        n = len(asked)
        ue = None if ue is None else np.broadcast_to(ue, (n, 3)) if len(ue) == 1 else ue
        if ue is not None and len(ue) != n:
            raise InputError(f"ue: {len(ue)} positions for {n} CSI; give one each, or one for all")
        both = Hypotheses(here, 2 * n, None if ue is None else np.tile(ue, (2, 1)), np.repeat([0.0, 1.0], n),
                          asked.radio)  # fmt: skip
        apart = None if both.apart is None else both.apart[:n]
        placed = await self._placed(both)
        found = await self._compared(asked, 1, partial(self.predictor.los, asked, placed, apart))
        about = self._about(asked, fields.number, said=self.predictor.said_of(ue, here))
        if fields.doubt:
            job = partial(self.explainer.doubts_of_los, asked, fields.number, ue, here, found)
            about["doubt"] = await self.lanes.slow(job)
        return reply(request, {"probability_of_los": found} | about, None if fields.doubt else "probability_of_los")

    async def rank(self, request: Request) -> Response:
        """Zero-shot: how likely each of several positions sent the channel."""
        fields, csi = await self._read(request, schema.Asked)
        if fields.ue is None:
            raise InputError("ue is missing: give the candidate positions [[x, y, z], ...]")
        asked, ue = await self._channel_and_place(fields, csi)
        assert ue is not None
        here = await self._view(fields)
        candidates = Hypotheses(here, len(ue), ue, radio=asked.radio)
        apart, placed = candidates.apart, await self._placed(candidates)
        assert apart is not None
        lengths = len(np.unique(zero_shot.rounded(apart))) if self.predictor.searched(asked) else 1
        found = await self._compared(asked, lengths, partial(self.predictor.rank, asked, placed, apart))
        about = self._about(asked, fields.number, said=self.predictor.said_of(ue, here))
        if fields.doubt:
            job = partial(self.explainer.doubts_of_places, asked, fields.number, ue, here, found)
            about["doubt"] = await self.lanes.slow(job)
        return reply(request, {"probability": found} | about, None if fields.doubt else "probability")

    def by_head(self, task: Task) -> Callable[[Request], Awaitable[Response]]:
        """What answers a task's requests by the station's light head: from the channel, or from a position."""

        async def answer(request: Request) -> Response:
            if "environment" in task.inputs:
                return await self._by_either(request, task.name)
            return await self._by_channel(request, task.name)

        return answer

    async def likelihood(self, request: Request) -> Response:
        """Zero-shot: where the user of one channel may stand. A linear array leaves mirror pairs."""
        fields, csi = await self._read(request, schema.Likelihood)
        asked = await self._channel(fields, csi)
        if len(asked) != 1:
            raise InputError(f"csi: {len(asked)} channels; ask for the likelihood map of one at a time")
        here = await self._view(fields)
        answer = await self.lanes.slow(
            partial(self.predictor.likelihood, asked, here, fields.number, fields.step or self.predictor.step)
        )
        sets = {"sets": self.explainer.position_sets(answer)}
        return reply(request, answer | sets | self._about(asked, fields.number), "log10")

    async def explain(self, request: Request) -> Response:
        """Why one channel fits its place: its paths, what explains each, what it was worth, and how sure the answer is.

        What is not known is said: without a map or a position no wall explains anything, and of noise nothing is told.
        """
        fields, csi = await self._read(request, schema.Explain)
        asked, ue = self._received(fields, csi), self._positions(fields)
        if asked is None:
            raise InputError(f"csi is missing: give {_shape(self._own(fields))}, or the number of a link")
        if len(asked) != 1 or (ue is not None and len(ue) != 1):
            raise HTTPException(422, "explain: one channel and its one place at a time")
        here, buildings = await self._view(fields), fields.other_map()
        known, numbers = believed(buildings, self.predictor.site.area)
        found = await self.lanes.slow(
            partial(self.explainer.explain, asked, fields.number, ue, here, known, numbers, fields.taken_off)
        )
        said = self._about(asked, fields.number, said=self.predictor.said_of(ue, here))
        return reply(request, found | _together(said, found))

    async def audit(self, request: Request) -> Response:
        """Where the channels of a station contradict the map: buildings that are not so, and what it lacks."""
        fields, csi = await self._read(request, schema.AuditOf)
        if csi is not None:
            raise HTTPException(422, "csi: an audit asks the site's own links; leave it out")
        station, buildings = self.predictor.station(fields.station), schema.plain(fields.buildings)
        here = await asyncio.to_thread(self.predictor.view, station, buildings)
        known, numbers = believed(buildings, self.predictor.site.area)
        found = await self.lanes.slow(partial(self.explainer.audit, station, fields.channels, here, known, numbers))
        said = self._about(self.predictor.site.radio_of(station), station)
        return reply(request, found | _together(said, found), "contradicted")

    async def ask(self, request: Request) -> Response:
        """A question in plain English: the site's heads answer; what they can't is declined, or asked back."""
        fields, csi = await self._read(request, schema.Ask)
        asked = self._received(fields, csi)
        ue = self._positions(fields)
        own = fields.ue is None and csi is None  # the site's own link, which other stations may know too
        brought = (None, None) if own else (asked, ue)
        scene = self.predictor.asked(fields.number, fields.link, *brought)
        said = await self.lanes.slow(partial(self.predictor.ask, fields.instruction, fields.number, scene=scene))
        there = self.predictor.site.radio_of(fields.number)
        radio = there if asked is None else asked.radio
        power = () if asked is None else self.predictor.said_of_power(asked)
        if isinstance(said, Declined):
            why = {"missing": list(said.missing), "refused": list(said.refused)}
            return reply(request, {"declined": said.reason, "text": said.message, "task": said.task} | why
                         | self._about(radio, fields.number))  # fmt: skip
        if isinstance(said, Question):
            return reply(request, {"question": said.about, "text": said.message, "choices": list(said.choices)}
                         | self._about(radio, fields.number))  # fmt: skip
        heads = list(dict.fromkeys(scene.used))
        if all(inputs == "environment" for _, _, inputs in heads):  # which no CSI is read for
            radio, power = there, ()
        remarks = [*power]
        for station, task, inputs in heads:
            remarks += self._remarks(radio, station, (task, inputs))
        remarks += [remark for places in scene.places for remark in self.predictor.said_of(places)]
        answers = said.entries()
        more = {"orders": said.to_json()["orders"], "notes": list(said.notes)} if isinstance(said, Answers) else {}
        return reply(request, {"task": said.to_json()["task"], "text": str(said), "answers": answers} | more
                     | {"radio": str(radio), "within": self.predictor.scope(radio, fields.number, power).verdicts,
                        "remarks": list(dict.fromkeys(remarks))})  # fmt: skip

    def _remarks(self, radio: Radio, station: int, head: tuple[str, str]) -> list[str]:
        own = self.predictor.site.radio_of(station)
        return self.predictor.remarks(own if head[1] == "environment" else radio, station, head)

    async def forecast(self, request: Request) -> Response:
        """The next beams of a vehicle after one more step; a session ends after ten idle minutes."""
        fields, csi = await self._read(request, schema.Step)
        if self.sessions is None:
            raise NotHereError("this server forecasts nothing: start it with --forecaster FOLDER")
        step = {name: value for name, value in fields.model_dump(exclude={"session"}).items() if value is not None}
        if "power" in step:
            step["power"] = np.array([np.nan if p is None else p for p in step["power"]], dtype=np.float64)
        if csi is not None:
            if not csi.ndim or len(csi) != 1:
                raise InputError(f"csi: shape {list(csi.shape)[:8]}; give one channel, [antennas, subcarriers], a step")
            step["csi"] = csi[0]
        said = await self.lanes.forecast(partial(self.sessions.push, fields.session, step))
        best = said.probability.max(1)
        more = {name: value for name in ("position", "lost") if (value := getattr(said, name)) is not None}
        answer = {"beams": said.beams, "probability": best, "probabilities": said.probability, "begins": said.begins}
        return reply(request, answer | more)

    # what the requests share

    async def _read(self, request: Request, model: type[M]) -> tuple[M, NDArray[Any] | None]:
        """A request's fields, its station by number, and its CSI; see `bodies.read`."""
        fields, csi = await read(request, model)
        if isinstance(fields, schema.AtStation):
            fields.station = self.predictor.station(fields.station)
        return fields, csi

    def _about(
        self, asked: Received | Radio, station: int = 0, head: tuple[str, str] | None = None, said: Sequence[str] = ()
    ) -> dict[str, Any]:
        """What every answer says of radio and power, of what the weights learned, and what else there is to know."""
        radio, power = (
            (asked.radio, self.predictor.said_of_power(asked)) if isinstance(asked, Received) else (asked, ())
        )
        return {
            "radio": str(radio), "within": self.predictor.scope(radio, station, power).verdicts,
            "remarks": [*self.predictor.remarks(radio, station, head), *power, *said],
        }  # fmt: skip

    def _own(self, fields: schema.Encode) -> Radio:
        """The radio of the station that is asked, or of the site's first."""
        return self.predictor.site.radio_of(fields.number if isinstance(fields, schema.Channel) else 0)

    def _received(self, fields: schema.Encode, csi: NDArray[Any] | None) -> Received | None:
        """The CSI of a body or of a link, if either is given."""
        own = self._own(fields)
        if csi is None and fields.radio is not None:
            raise InputError("radio: it says what measured csi, so give csi too; links and heads have the site's radio")
        if isinstance(fields, schema.Channel):
            self.predictor.station(fields.number)
            if fields.link is not None and csi is not None:
                raise InputError("csi and link: give one of them")
            if fields.link is not None:
                return Received(self.predictor.csi(fields.number, fields.link), own)
        if csi is None:
            return None
        radio, whose = (own, "the site's") if fields.radio is None else (fields.radio.checked(), "this")
        if not csi.ndim or tuple(csi.shape) != radio.csi_shape(len(csi)):
            raise HTTPException(422, f"csi: shape {list(csi.shape)[:8]}; {whose} radio has {_shape(radio)}: {radio}")
        if not len(csi):
            raise InputError(f"csi: shape {list(csi.shape)}; give {_shape(radio)}")
        if len(self._few(csi)) * work(radio) > WORK:
            raise HTTPException(413, f"{len(csi)} samples of this radio: send {WORK // work(radio)} or fewer a request")
        return Received(csi, radio)

    async def _channel(self, fields: schema.Channel, csi: NDArray[Any] | None) -> Received:
        asked = self._received(fields, csi)
        if asked is None:
            raise InputError(f"csi is missing: give {_shape(self._own(fields))}, or the number of a link")
        return asked if self.predictor.searched(asked) else replace(asked, z=await self._embedding(asked))

    async def _compared(self, asked: Received, lengths: int, job: Job) -> Any:
        """What comparing with hypotheses gives; what takes long is out of the others' way."""
        if self.predictor.searched(asked) and len(asked) * lengths > SEARCHED:
            raise HTTPException(413, f"{len(asked)} samples at {lengths} distances, whose clock is searched for: send "
                                f"{SEARCHED} or fewer of both together")  # fmt: skip
        return await self.lanes.slow(job) if self.predictor.searched(asked) or asked.radio.calibrated else job()

    def _positions(self, fields: schema.Place) -> NDArray[np.float64] | None:
        """The positions that are given, or else the link's."""
        ue = fields.positions()
        if ue is not None:
            ue = self.predictor.ground(ue, fields.crs is not None)
        elif fields.crs is not None:
            raise InputError("crs: it says what ue is in, so give ue too")
        if ue is None and fields.link is not None:
            ue = self.predictor.link(fields.number, fields.link).ue.astype(np.float64)
        return self._few(ue)

    async def _channel_and_place(
        self, fields: schema.Place, csi: NDArray[Any] | None
    ) -> tuple[Received, NDArray[np.float64] | None]:
        return await self._channel(fields, csi), self._positions(fields)

    async def _view(self, fields: schema.OnMap) -> View:
        """The station's view of its map, or of the buildings that the request believes in."""
        buildings = fields.other_map()
        if buildings is None:
            return self.predictor.view(fields.number, None)
        return await asyncio.to_thread(self.predictor.view, fields.number, buildings)

    def _few(self, values: Any) -> Any:
        if values is not None and len(values) > self.limits.samples:
            raise HTTPException(413, f"{len(values)} samples: send {self.limits.samples} or fewer a request")
        return values

    async def _embedding(self, asked: Received) -> Tensor:
        """Embeddings of a request's CSI, a pass after the other."""
        passes = (replace(asked, csi=asked.csi[i : i + PASS]) for i in range(0, len(asked), PASS))
        return torch.cat([await self.lanes.channel(one) for one in passes])

    async def _placed(self, asked: Hypotheses) -> Tensor:
        """Embeddings of a request's hypotheses: many take long, and are out of the others' way."""
        if asked.count <= PASS:
            return await self.lanes.place(asked)
        found: list[Tensor] = await self.lanes.slow(lambda: self.predictor.embed([asked]))
        return found[0]

    async def _by_channel(self, request: Request, task: str) -> Response:
        fields, csi = await self._read(request, schema.Channel)
        self.predictor.inputs(task, fields.number, ["channel"])
        z, about = await self._for_head(task, fields, csi)
        answer = self.predictor.answer(task, "channel", z, fields.number)
        return reply(request, {"answers": answer.records(), "text": str(answer), "method": "head"} | about)

    async def _for_head(
        self, task: str, fields: schema.Channel, csi: NDArray[Any] | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Embeddings for a head on CSI, and what its answer says of the radio, which it may refuse."""
        asked = self._received(fields, csi)
        if asked is None:
            raise InputError(f"csi is missing: give {_shape(self._own(fields))}, or the number of a link")
        about = self._about(asked, fields.number, (task, "channel"))
        return await self._embedding(asked), about

    async def _by_either(self, request: Request, task: str) -> Response:
        fields, csi = await self._read(request, schema.Place)
        if csi is not None and fields.ue is not None:
            raise InputError("csi and ue: the heads read one of them; give one")
        ue = self._positions(fields)
        wanted = (
            ["environment"] if fields.ue is not None else ["channel"] if csi is not None else ["channel", "environment"]
        )
        if ue is None and csi is None:
            raise InputError("give ue, a link's number, or csi")
        inputs = self.predictor.inputs(task, fields.number, wanted)
        if inputs == "channel":
            z, about = await self._for_head(task, fields, csi)
        else:
            assert ue is not None
            self._received(fields, csi)  # refuses a radio that nothing is of
            own = self.predictor.site.radio_of(fields.number)
            about = self._about(own, fields.number, (task, inputs), self.predictor.said_of(ue))
            z = await self._placed(Hypotheses(self.predictor.views[fields.number], len(ue), ue))
        answer = self.predictor.answer(task, inputs, z, fields.number)
        records = answer.records()
        if ue is not None:
            for record, outdoors in zip(records, self.predictor.outdoors(ue).tolist(), strict=True):
                record["outdoors"] = outdoors
        return reply(request, {"answers": records, "text": str(answer), "method": "head"} | about)


def _together(about: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What an answer says of its radio, with remarks of its own."""
    return about | {"remarks": list(dict.fromkeys([*about["remarks"], *found["remarks"]]))}


def _shape(radio: Radio) -> str:
    return f"complex [N, {', '.join(map(str, radio.csi_shape(1)[1:]))}]"
