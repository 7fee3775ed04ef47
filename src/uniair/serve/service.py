"""The requests with a body: read, embedded together with others', answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from fastapi import Request, Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from torch import Tensor

from uniair.errors import InputError
from uniair.serve import schema
from uniair.serve.batching import Batcher, BusyError, each
from uniair.serve.bodies import read, reply
from uniair.serve.limits import Limits
from uniair.serve.predictor import NotHereError, Predictor
from uniair.serve.sessions import Sessions
from uniair.serve.telemetry import Metrics
from uniair.serve.views import Hypotheses
from uniair.site.frame import View
from uniair.tasks.answers import Declined
from uniair.tasks.task import Task

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

        self.channel: Batcher[Any, Tensor] = lane("channel", predictor.encode, PASS, len)
        self.place: Batcher[Hypotheses, Tensor] = lane("place", predictor.embed, PASS, lambda part: int(part.count))
        self.forecast: Batcher[Job, Any] = lane("forecast", each, 1)
        self.slow: Batcher[Job, Any] = lane("slow", each, 1)

    async def close(self) -> None:
        """Finishes what was taken."""
        await asyncio.gather(*(lane.close() for lane in (self.channel, self.place, self.forecast, self.slow)))


class Service:
    """The requests with a body: read, embed together with others', answer."""

    def __init__(self, predictor: Predictor, lanes: Lanes, limits: Limits) -> None:
        self.predictor, self.lanes, self.limits = predictor, lanes, limits
        self.sessions = None if predictor.forecaster is None else Sessions(predictor.forecaster, limits.sessions)

    async def prepare(self) -> None:
        """Embeds the candidates of every station's likelihood map."""
        for station, here in enumerate(self.predictor.views):
            z = torch.zeros(1, self.predictor.model.preset.embedding)
            with suppress(InputError, BusyError):
                await self.lanes.slow(partial(self.predictor.likelihood, z, here, station, self.predictor.step))

    async def encode(self, request: Request) -> Response:
        """Embeddings of CSI: of unit norm, the same whatever the power and the common phase."""
        _, csi = await read(request, schema.Encode)
        if csi is None:
            raise InputError("csi is missing: give complex [N, 32, 64]")
        return reply(request, {"embedding": (await self._embedding(csi)).numpy()}, "embedding")

    async def los(self, request: Request) -> Response:
        """Zero-shot: how likely each channel has line of sight, given map and, where known, positions."""
        fields, csi = await read(request, schema.Hypothesis)
        z, ue = await self._channel_and_place(fields, csi)
        here = await self._view(fields)
        n = len(z)
        ue = None if ue is None else np.broadcast_to(ue, (n, 3)) if len(ue) == 1 else ue
        if ue is not None and len(ue) != n:
            raise InputError(f"ue: {len(ue)} positions for {n} CSI; give one each, or one for all")
        hypothesis = np.repeat([0.0, 1.0], n)
        both = await self._placed(Hypotheses(here, 2 * n, None if ue is None else np.tile(ue, (2, 1)), hypothesis))
        return reply(request, {"probability_of_los": self.predictor.los(z, both)}, "probability_of_los")

    async def rank(self, request: Request) -> Response:
        """Zero-shot: how likely each of several positions sent the channel."""
        fields, csi = await read(request, schema.Hypothesis)
        if fields.ue is None:
            raise InputError("ue is missing: give the candidate positions [[x, y, z], ...]")
        z, ue = await self._channel_and_place(fields, csi)
        assert ue is not None
        candidates = await self._placed(Hypotheses(await self._view(fields), len(ue), ue))
        return reply(request, {"probability": self.predictor.rank(z, candidates)}, "probability")

    def by_head(self, task: Task) -> Callable[[Request], Awaitable[Response]]:
        """What answers a task's requests by the station's light head: from the channel, or from a position."""

        async def answer(request: Request) -> Response:
            if "environment" in task.inputs:
                return await self._by_either(request, task.name)
            return await self._by_channel(request, task.name)

        return answer

    async def likelihood(self, request: Request) -> Response:
        """Zero-shot: where the user of one channel may stand. A linear array leaves mirror pairs."""
        fields, csi = await read(request, schema.Likelihood)
        z = await self._channel(fields, csi)
        if len(z) != 1:
            raise InputError(f"csi: {len(z)} channels; ask for the likelihood map of one at a time")
        here = await self._view(fields)
        answer = await self.lanes.slow(
            partial(self.predictor.likelihood, z, here, fields.station, fields.step or self.predictor.step)
        )
        return reply(request, answer, "log10")

    async def ask(self, request: Request) -> Response:
        """A question in plain English; the site's heads answer, and what they can't is declined."""
        fields, csi = await read(request, schema.Ask)
        given = self._given(fields, csi)
        ue = self._positions(fields)
        job = partial(self.predictor.ask, fields.instruction, fields.station, given, ue)
        said = await self.lanes.slow(job)
        if isinstance(said, Declined):
            return reply(request, {"declined": said.reason, "text": said.message, "task": said.task,
                                   "missing": list(said.missing)})  # fmt: skip
        return reply(request, {"task": said.task, "text": str(said), "answers": said.records()})

    async def forecast(self, request: Request) -> Response:
        """The next beams of a vehicle after one more step; a session ends after ten idle minutes."""
        fields, csi = await read(request, schema.Step)
        if self.sessions is None:
            raise NotHereError("this server forecasts nothing: start it with --forecaster FOLDER")
        step = {name: value for name, value in fields.model_dump(exclude={"session"}).items() if value is not None}
        if "power" in step:
            step["power"] = np.array([np.nan if p is None else p for p in step["power"]], dtype=np.float64)
        if csi is not None:
            step["csi"] = csi[0]
        said = await self.lanes.forecast(partial(self.sessions.push, fields.session, step))
        best = said.probability.max(1)
        return reply(request, {"beams": said.beams, "probability": best, "probabilities": said.probability})

    # what the requests share

    def _given(self, fields: schema.Channel, csi: NDArray[Any] | None) -> NDArray[Any] | Tensor | None:
        """The CSI of a body or of a link, if either is given."""
        self.predictor.station(fields.station)
        if fields.link is None:
            return self._few(csi)
        if csi is not None:
            raise InputError("csi and link: give one of them")
        return self.predictor.csi(fields.station, fields.link)

    async def _channel(self, fields: schema.Channel, csi: NDArray[Any] | None) -> Tensor:
        given = self._given(fields, csi)
        if given is None:
            raise InputError("csi is missing: give complex [N, 32, 64], or the number of a link")
        return await self._embedding(given)

    def _positions(self, fields: schema.Place) -> NDArray[np.float64] | None:
        """The positions that are given, or else the link's."""
        ue = fields.positions()
        if ue is None and fields.link is not None:
            ue = self.predictor.link(fields.station, fields.link).ue.astype(np.float64)
        return self._few(ue)

    async def _channel_and_place(
        self, fields: schema.Place, csi: NDArray[Any] | None
    ) -> tuple[Tensor, NDArray[np.float64] | None]:
        return await self._channel(fields, csi), self._positions(fields)

    async def _view(self, fields: schema.OnMap) -> View:
        """The station's view of its map, or of the buildings that the request believes in."""
        buildings = fields.other_map()
        if buildings is None:
            return self.predictor.view(fields.station, None)
        return await asyncio.to_thread(self.predictor.view, fields.station, buildings)

    def _few(self, values: Any) -> Any:
        if values is not None and len(values) > self.limits.samples:
            raise HTTPException(413, f"{len(values)} samples: send {self.limits.samples} or fewer a request")
        return values

    async def _embedding(self, csi: NDArray[Any] | Tensor) -> Tensor:
        """Embeddings of a request's CSI, a pass after the other."""
        self._few(csi)
        if csi.ndim != 3 or not len(csi):
            raise InputError(f"csi: shape {list(csi.shape)[:8]}; give complex [N, 32, 64]")
        return torch.cat([await self.lanes.channel(csi[i : i + PASS]) for i in range(0, len(csi), PASS)])

    async def _placed(self, asked: Hypotheses) -> Tensor:
        """Embeddings of a request's hypotheses: many take long, and are out of the others' way."""
        if asked.count <= PASS:
            return await self.lanes.place(asked)
        found: list[Tensor] = await self.lanes.slow(lambda: self.predictor.embed([asked]))
        return found[0]

    async def _by_channel(self, request: Request, task: str) -> Response:
        fields, csi = await read(request, schema.Channel)
        self.predictor.inputs(task, fields.station, ["channel"])
        answer = self.predictor.answer(task, "channel", await self._channel(fields, csi), fields.station)
        return reply(request, {"answers": answer.records(), "text": str(answer), "method": "head"})

    async def _by_either(self, request: Request, task: str) -> Response:
        fields, csi = await read(request, schema.Place)
        if csi is not None and fields.ue is not None:
            raise InputError("csi and ue: the heads read one of them; give one")
        ue = self._positions(fields)
        wanted = (
            ["environment"] if fields.ue is not None else ["channel"] if csi is not None else ["channel", "environment"]
        )
        if ue is None and csi is None:
            raise InputError("give ue, a link's number, or csi")
        inputs = self.predictor.inputs(task, fields.station, wanted)
        if inputs == "channel":
            z = await self._channel(fields, csi)
        else:
            assert ue is not None
            z = await self._placed(Hypotheses(self.predictor.views[fields.station], len(ue), ue))
        answer = self.predictor.answer(task, inputs, z, fields.station)
        records = answer.records()
        if ue is not None:
            for record, outdoors in zip(records, self.predictor.outdoors(ue).tolist(), strict=True):
                record["outdoors"] = outdoors
        return reply(request, {"answers": records, "text": str(answer), "method": "head"})
