"""Where a campaign's shards are traced: processes of this machine, or Ray tasks on many machines.

An engine calls `task` with every job and yields each job as it is done, in any order.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeAlias

from uniair.errors import InputError
from uniair.propagation.ray_tracing import require_sionna

Job: TypeAlias = tuple[list[tuple[str, int]], Path]  # the (place, number) of each area, and their shard
Task: TypeAlias = Callable[[list[tuple[str, int]], Path], object]

RETRIES = 5  # a shard that has lost this many workers is likely what kills them
DIED = "a worker died, perhaps out of memory; give the same command again, with fewer --workers"

ABSENT = "a Ray worker has no uniair; install this version, with its rt and ray extras, on every machine of the cluster"


def local(task: Task, jobs: list[Job], workers: int) -> Iterator[Job]:
    """Processes that share the cores of this machine; with one worker, this process."""
    if workers < 2:
        for job in jobs:
            task(*job)
            yield job
        return
    # spawned, not forked: the tracer's thread pool does not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (workers,)) as pool:
        futures = {pool.submit(task, *job): job for job in jobs}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise InputError(DIED) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(workers: int) -> None:
    """Gives a worker its share of the cores, and ends it when the process that started it is killed."""
    _set_threads(max(1, (os.cpu_count() or 1) // workers))

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _set_threads(threads: int) -> None:
    require_sionna()
    import drjit

    drjit.set_thread_count(threads)


def on_ray(task: Task, jobs: list[Job], workers: int, address: str | None = None) -> Iterator[Job]:
    """Ray tasks of one core, `workers` at a time; a job whose worker or machine is lost goes to another.

    Args:
        address: HOST:PORT of a running cluster, or `auto` for the one that this machine belongs to; without it Ray
            runs on this machine until the last job is done.

    Raises:
        InputError: Ray is not installed or not there, or what `task` raised.
    """
    with _ray(workers, address):
        import ray
        from ray.exceptions import RayError, RayTaskError

        # Ray tries again when a worker is lost, never after an exception of the task's own
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
        waiting = deque(jobs)
        running: dict[Any, Job] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                running[remote.remote(task, *job)] = job
            [done], _ = ray.wait(list(running))
            try:
                ray.get(done)
            except RayTaskError as error:
                if "No module named 'uniair" in str(error.cause):
                    raise InputError(ABSENT) from error
                raise error.cause from error
            except RayError as error:
                raise InputError(DIED) from error
            yield running.pop(done)


def _work(task: Task, areas: list[tuple[str, int]], path: Path) -> None:
    """What runs on a Ray worker."""
    try:
        _set_threads(1)
        task(areas, path)
    except InputError as error:
        raise InputError(f"{error} (worker on {socket.gethostname()})") from None


def _ray(workers: int, address: str | None) -> AbstractContextManager[Any]:
    """The caller's Ray if it runs, a connection to the cluster at `address`, or a Ray of this machine's own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its default warns, and tasks here use no GPU
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray ({error}): pip install 'uniair[ray]'") from error
    if ray.is_initialized():
        return nullcontext()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        return ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
    try:
        if address != "auto":  # Ray itself would wait for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        return ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"--address {address}: no Ray cluster ({why}); give HOST:PORT of its head, as ray start --head prints it"
        ) from error
