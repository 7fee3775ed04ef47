from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from uniair.errors import InputError
from uniair.serve.batching import Batcher, BusyError, each


class Doubler:
    """Doubles numbers, slowly if told so, and remembers its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.batches, self.threads = seconds, list[list[int]](), set[int]()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        time.sleep(self.seconds)
        self.batches.append(list(items))
        self.threads.add(threading.get_ident())
        return [InputError("odd one out") if item == 13 else 2 * item for item in items]


def test_requests_of_one_moment_share_a_pass_in_one_other_thread() -> None:
    run, sizes = Doubler(), list[int]()

    async def main() -> list[int]:
        batcher: Batcher[int, int] = Batcher("test", run, most=4, queue=100, wait=0.02, observe=sizes.append)
        answers = await asyncio.gather(*(batcher(i) for i in range(10)))
        await batcher.close()
        return answers

    assert asyncio.run(main()) == [2 * i for i in range(10)]
    assert run.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sizes == [4, 4, 2]
    assert len(run.threads) == 1
    assert threading.get_ident() not in run.threads


def test_items_of_several_samples_fill_a_batch_by_their_size() -> None:
    run = Doubler()

    async def main() -> None:
        batcher: Batcher[int, int] = Batcher("test", run, most=4, queue=100, wait=0.02, size=lambda item: item)
        await asyncio.gather(*(batcher(i) for i in (3, 2, 2, 9, 1)))

    asyncio.run(main())
    assert run.batches == [[3], [2, 2], [9], [1]], "one that is larger than a batch goes alone"


def test_an_error_is_its_own_items_alone_and_a_fault_its_batchs() -> None:
    async def main() -> None:
        batcher: Batcher[int, int] = Batcher("test", Doubler(), most=4, queue=100, wait=0.02)
        found = await asyncio.gather(batcher(1), batcher(13), batcher(2), return_exceptions=True)
        assert found[0] == 2
        assert found[2] == 4
        assert isinstance(found[1], InputError)

        def broken(_: Sequence[int]) -> list[int | Exception]:
            raise ZeroDivisionError

        batcher.run = broken
        assert isinstance((await asyncio.gather(batcher(1), return_exceptions=True))[0], ZeroDivisionError)
        batcher.run = Doubler()
        assert await batcher(5) == 10

    asyncio.run(main())


def test_what_nobody_waits_for_is_dropped_and_a_full_queue_refuses() -> None:
    run = Doubler(0.1)

    async def main() -> None:
        batcher: Batcher[int, int] = Batcher("test", run, most=1, queue=2, wait=0.0)
        first = asyncio.create_task(batcher(1))
        await asyncio.sleep(0.03)  # it runs now
        gone, kept = asyncio.create_task(batcher(2)), asyncio.create_task(batcher(3))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="too many"):
            await batcher(4)
        gone.cancel()
        assert await first == 2
        assert await kept == 6

    asyncio.run(main())
    assert run.batches == [[1], [3]]


def test_closing_finishes_what_was_taken() -> None:
    run = Doubler(0.05)

    async def main() -> None:
        batcher: Batcher[int, int] = Batcher("test", run, most=1, queue=9, wait=0.0)
        taken = [asyncio.create_task(batcher(i)) for i in range(3)]
        await asyncio.sleep(0.01)
        await batcher.close()
        assert [task.result() for task in taken] == [0, 2, 4]
        with pytest.raises(BusyError, match="going down"):
            await batcher(5)

    asyncio.run(main())


def test_jobs_answer_or_say_what_is_wrong() -> None:
    def wrong() -> int:
        raise InputError("no")

    one, error = each([lambda: 1, wrong])
    assert one == 1
    assert isinstance(error, InputError)
