"""A service that follows a registry: a new release is pulled, verified, loaded and warm before it takes over.

What answers, a site, a forecaster or both, has an application of its own. Requests go to the one that answers now, and
end where they began; so none is dropped, and none sees two models. What can't be verified or loaded is left, and the
old release goes on answering.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import Counter, Gauge

from uniair.errors import InputError
from uniair.models.forecast import WMLM
from uniair.releases.node import Node, located
from uniair.releases.release import PREFIX, Release, newest, parse
from uniair.serve.applications import FORECASTER, SITE, Releases
from uniair.serve.telemetry import LOGGER
from uniair.site.site import Site
from uniair.training.forecasting import load_forecaster

DRAIN = 0.05  # s between two looks whether the old application has answered all that it took
Make = Callable[[Releases, FastAPI | None], FastAPI]


@dataclass(eq=False)
class Answering:
    """Releases that answer together.

    Attributes:
        taken: requests that they have not answered yet.
    """

    releases: Releases
    app: FastAPI
    taken: int = 0
    running: AbstractAsyncContextManager[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.running = self.app.router.lifespan_context(self.app)
        about: dict[str, str] = {}
        if site := self.releases.get(SITE):
            about |= {"release": str(site), "weights": site.weights}
        if forecaster := self.releases.get(FORECASTER):
            about["forecaster"] = str(forecaster)
        self.app.state.about = about

    async def warm(self) -> None:
        """Waits for what its application prepares at the start."""
        if self.app.state.preparing is not None:
            await self.app.state.preparing


class Following:
    """An ASGI application in front of that of the releases that answer.

    Args:
        node: whose registry is asked.
        first: the releases to begin with.
        make: the application of releases, and the one that it takes over from, if any; called in a thread.
        every: s between two questions to the registry.
    """

    def __init__(self, node: Node, first: Releases, make: Make, every: float) -> None:
        self.node, self.make, self.every = node, make, every
        self.answering, self.refused = Answering(first, make(first, None)), set[str]()
        registry = self.answering.app.state.metrics.registry
        self.shown = Gauge("uniair_release", "The releases that answer", ("release", "weights"), registry=registry)
        self.asked = Gauge("uniair_registry_asked_timestamp_seconds", "When the registry last answered, and its "
                           "signatures held", registry=registry)  # fmt: skip
        self.failures = Counter("uniair_registry_failures", "Releases that were refused, and questions to the registry "
                                "that failed", registry=registry)  # fmt: skip
        self._show()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hands a request to the application that answers now."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        here = self.answering
        here.taken += 1
        try:
            await here.app(scope, receive, send)
        finally:
            here.taken -= 1

    async def _live(self, receive: Any, send: Any) -> None:
        """From the server's start to its end."""
        await receive()
        await self.answering.running.__aenter__()
        following = asyncio.create_task(self._follow())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await self.answering.running.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            try:
                await self.look()
            except Exception as error:  # whatever is wrong with a registry, what answers goes on
                self._left(error)

    def _left(self, error: Exception) -> None:
        """Counts and says what could not be used."""
        self.failures.inc()
        line = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        self._log(logging.WARNING, "release not taken", reason=line)

    async def look(self) -> bool:
        """Asks the registry, and takes new releases over, one after the other; whether there were any.

        Raises:
            InputError: the registry can't be reached or believed.
        """
        there = await asyncio.to_thread(self.node.refresh)
        self.asked.set(time.time())
        taken = False
        for what, now in self.answering.releases.items():
            try:
                release = newest(there, now.name)
                if str(release) not in {str(now), *self.refused}:
                    await self._use(what, release)
                    taken = True
            except Exception as error:  # it hinders no other
                self._left(error)
        return taken

    async def _use(self, what: str, release: Release) -> None:
        """Pulls a release and lets it take over from the one of its kind that answers."""
        await asyncio.to_thread(self.node.pull, release.name, release.version)
        try:
            releases = {**self.answering.releases, what: release}
            await self._take_over(Answering(releases, await asyncio.to_thread(self.make, releases, self.answering.app)))
        except Exception:
            self.refused.add(str(release))  # it would be loaded again and again
            raise

    async def _take_over(self, new: Answering) -> None:
        await new.running.__aenter__()
        leaving = new  # if the server ends before it has taken over
        try:
            await new.warm()
            leaving, self.answering = self.answering, new
            self._show(leaving)
            while leaving.taken:
                await asyncio.sleep(DRAIN)
        finally:
            await leaving.running.__aexit__(None, None, None)
            if (service := leaving.app.state.service) is not None:
                # FastAPI's caches keep the routes of some applications that have left
                vars(service.predictor).clear()
                vars(service).clear()
            leaving.app.state.served = None
        gc.unfreeze()  # the old model was among what was frozen at the start
        gc.collect()
        gc.freeze()

    def _show(self, old: Answering | None = None) -> None:
        """Says which releases answer."""
        before = {} if old is None else {str(release): release for release in old.releases.values()}
        for release in self.answering.releases.values():
            if before.pop(str(release), None) is None:
                self.shown.labels(str(release), release.weights).set(1)
                self._log(logging.INFO, "release", release=str(release), weights=release.weights)
        for release in before.values():
            self.shown.remove(str(release), release.weights)

    @staticmethod
    def _log(level: int, event: str, **fields: str) -> None:
        logging.getLogger(LOGGER).log(level, event, extra={"fields": fields})


def first(node: Node, name: str) -> tuple[Release, str]:
    """The release to begin with, and why it is not the registry's newest; empty where it is.

    A node that can't reach its registry, or can't believe it, begins with the newest that it has.

    Raises:
        InputError: it has none, for that reason.
    """
    try:
        return node.pull(name)[0], ""
    except InputError as error:
        try:
            here = [release for release in node.releases() if release.name == name and node.has(release)]
        except InputError:
            here = []
        if not here:
            raise
        return here[-1], str(error)


def site_of(node: Node, release: Release) -> Site:
    """The site of a release that was pulled, with the model that it names brought here too.

    Raises:
        InputError: it is no site, or not what was signed; or its model can't be had.
    """
    _check_kind(release, SITE)
    site = Site.read(f"{PREFIX}{release}")
    if site.model.startswith(PREFIX):
        try:
            located(site.model)
        except InputError:
            node.pull(*parse(site.model))
    return site


def forecaster_of(release: Release) -> WMLM:
    """The forecaster of a release that was pulled.

    Raises:
        InputError: it is none, or not what was signed.
    """
    _check_kind(release, FORECASTER)
    return load_forecaster(Path(f"{PREFIX}{release}"))


def _check_kind(release: Release, wanted: str) -> None:
    if release.kind != wanted:
        raise InputError(f"{release}: a release of kind {release.kind}, not a {wanted}; nothing was applied")
