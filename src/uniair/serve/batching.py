"""Micro-batching: what several requests ask at the same moment goes through the model in one pass."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from uniair.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


class BusyError(Exception):
    """More is waiting than can be answered soon: come back later."""


class Batcher(Generic[T, R]):
    """Collects items, runs them together in a thread of its own, and answers each.

    While one batch runs, the next one collects; when nothing runs, the first item waits for company for `wait`
    seconds. An item whose client gave up is dropped before it costs anything.

    Args:
        name: of the thread.
        run: items → an answer, or the error of that one item, for each, in their order. Called in the one thread.
        most: largest batch, in what `size` counts.
        queue: most items that may wait.
        wait: s.
        size: of an item.
        start: called in the thread before anything else.
        observe: told the size of each batch.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[T]], Sequence[R | Exception]],
        most: int,
        queue: int,
        wait: float = 0.001,
        size: Callable[[T], int] = lambda _: 1,
        start: Callable[[], object] | None = None,
        observe: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.run, self.most, self.queue, self.wait, self.size, self.observe = run, most, queue, wait, size, observe
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._thread = ThreadPoolExecutor(1, f"uniair-{name}", start)
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def __call__(self, item: T) -> R:
        """The answer to one item.

        Raises:
            BusyError: too many wait, or the server is going down.
            InputError: what `run` says of this item.
        """
        if self._closed or len(self._waiting) >= self.queue:
            raise BusyError("the server is going down" if self._closed else "too many requests wait for an answer")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def close(self) -> None:
        """Answers what was taken, and takes no more."""
        self._closed = True
        if self._worker is not None:
            await self._worker
        self._thread.shutdown()

    async def _work(self) -> None:
        """Runs batches until nothing waits."""
        await asyncio.sleep(0 if self._closed else self.wait)
        while batch := self._take():
            self.observe(sum(self.size(item) for item, _ in batch))
            loop = asyncio.get_running_loop()
            answers: Sequence[R | BaseException]
            try:
                answers = await loop.run_in_executor(self._thread, self.run, [item for item, _ in batch])
            except Exception as error:  # a fault of ours fails this batch, not the server
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, BaseException):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        """The next batch: at least one item if any waits."""
        batch, room = list[tuple[T, asyncio.Future[R]]](), self.most
        while self._waiting:
            item, future = self._waiting[0]
            if future.done():  # the client hung up, or its time was over
                self._waiting.popleft()
                continue
            if batch and self.size(item) > room:
                break
            room -= self.size(item)
            batch.append(self._waiting.popleft())
        return batch


def each(jobs: Sequence[Callable[[], R]]) -> list[R | Exception]:
    """`run` of a batcher whose items are jobs that have nothing to share."""
    out: list[R | Exception] = []
    for job in jobs:
        try:
            out.append(job())
        except (InputError, BusyError) as error:
            out.append(error)
    return out
