"""Engines: a campaign ends with the same bytes wherever its shards are traced, and whatever is killed meanwhile."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.links.test_campaign import TINY, contents, copied
from tests.tracer import needs_tracer
from uniair.cli import main
from uniair.data.links import campaign, engines
from uniair.errors import InputError

MANY = replace(TINY, areas=22)
MANY_OPTIONS = shlex.split(
    "procedural:1 procedural:2 --areas 22 --bs 2 --ue 3 --side [100,130] --pixels 32 --areas_per_shard 1 "
    "--ray_tracing.samples 1000 --ray_tracing.depth 2"
)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`MANY` traced in one go by one process; only ever read."""
    out = tmp_path_factory.mktemp("reference")
    campaign.run(MANY, out, workers=1)
    return out


def started(out: Path, *options: str) -> subprocess.Popen[str]:
    """The real command, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "uniair.cli", "trace", *MANY_OPTIONS, "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(command: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what went to standard error."""
    error = command.communicate(timeout=120)[1]
    return command.returncode, error


def forked(out: Path, *options: str) -> BaseProcess:
    """The command in a process that is forked from one that has imported all of it: most of a start are imports."""
    server = get_context("forkserver")
    server.set_forkserver_preload(["pytest", "sionna.rt", "uniair.commands.trace"])
    process = server.Process(target=main, args=(["trace", *MANY_OPTIONS, "--out", str(out), *options],))
    process.start()
    return process


def inodes(out: Path) -> dict[str, int]:
    """The shards that are there; a shard written twice changes its inode or its time."""
    return {p.name: hash((p.stat().st_ino, p.stat().st_mtime_ns)) for p in out.glob("links-*.safetensors")}


def traced(out: Path) -> dict[str, bytes]:
    """Every file of the campaign; the command adds a data card, which has tests of its own."""
    return {name: data for name, data in contents(out).items() if not name.startswith("card.")}


def wait_for(condition: Callable[[], Any], alive: Callable[[], bool]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


@needs_tracer
def test_killed_at_ten_random_moments(reference: Path, tmp_path: Path) -> None:
    times = [(reference / name).stat().st_mtime for name in sorted(inodes(reference))]
    pace = (times[-1] - times[0]) / (len(times) - 1)
    rng = np.random.default_rng(3)
    written: dict[str, int] = {}
    starting = started(tmp_path, "--workers", "1")
    time.sleep(rng.uniform(0, 3))
    os.killpg(starting.pid, signal.SIGKILL)
    assert finished(starting)[0] == -signal.SIGKILL
    for _ in range(9):  # while it traces or writes
        process = forked(tmp_path, "--workers", "1")
        wait_for(lambda before=len(written): len(inodes(tmp_path)) > before, process.is_alive)
        time.sleep(rng.uniform(0, pace))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        now = inodes(tmp_path)
        assert written.items() <= now.items()
        written = now
    assert 9 <= len(written) < MANY.areas
    assert main(["trace", *MANY_OPTIONS, "--out", str(tmp_path), "--workers", "1"]) == 0
    assert written.items() <= inodes(tmp_path).items()
    assert traced(tmp_path) == contents(reference)
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster: a head that traces nothing, and two machines of one core."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@needs_tracer
@needs_ray
def test_bad_input_on_ray_is_one_line(cluster: Any, tmp_path: Path) -> None:
    command = started(tmp_path, "--engine", "ray", "--address", cluster.address, "--coverage", "[0.98,0.99]")
    status, error = finished(command)
    assert status == 2
    # Ray's core sometimes writes a line of its own past Python, "[2026-11-29 01:51:41,958 E …] task_manager.cc: …"
    own = [line for line in error.splitlines() if not re.match(r"\[\d{4}-\d\d-\d\d ", line)]
    assert len(own) == 1
    assert "passes the filters; widen --coverage" in own[0]
    assert not list(tmp_path.iterdir())


@needs_tracer
@needs_ray
def test_a_worker_and_then_its_machine_are_killed(cluster: Any, reference: Path, tmp_path: Path) -> None:
    import psutil

    machine = sorted(cluster.worker_nodes, key=str)[0]
    raylet = psutil.Process(machine.all_processes["raylet"][0].process.pid)

    def tracing() -> list[psutil.Process]:
        return [p for p in raylet.children() if "ray::_work" in p.cmdline()]

    seen: dict[str, int] = {}

    def many(shards: int) -> bool:
        for name, inode in inodes(tmp_path).items():
            assert seen.setdefault(name, inode) == inode
        return len(seen) >= shards

    command = started(tmp_path, "--engine", "ray", "--address", cluster.address)
    for shards, whole_machine in ((4, False), (12, True)):
        wait_for(lambda n=shards: many(n), lambda: command.poll() is None)
        (worker,) = wait_for(tracing, lambda: command.poll() is None)
        for process in (raylet, worker) if whole_machine else (worker,):
            process.kill()
    status, error = finished(command)
    assert status == 0, error
    assert len(seen) < MANY.areas
    assert seen.items() <= inodes(tmp_path).items()
    assert traced(tmp_path) == contents(reference)
    assert not list(tmp_path.glob(".*"))


@needs_tracer
@needs_ray
def test_ray_on_this_machine_writes_the_same_bytes(reference: Path, tmp_path: Path) -> None:
    out = copied(reference, tmp_path / "out")
    for name in list(inodes(out))[10:15]:
        (out / name).unlink()
    kept = inodes(out)
    assert finished(started(out, "--engine", "ray")) == (0, "")
    assert kept.items() <= inodes(out).items()
    assert traced(out) == contents(reference)


JOB: engines.Job = ([("procedural:1", 0)], Path("links-00000.safetensors"))


def dies(*_: Any) -> None:
    os._exit(1)


@needs_tracer
def test_a_worker_that_always_dies() -> None:
    with pytest.raises(InputError, match=r"a worker died, perhaps out of memory; .* fewer --workers"):
        list(engines.local(dies, [JOB], workers=2))


@needs_tracer
@needs_ray
def test_a_ray_worker_that_always_dies(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "RETRIES", 0)
    with pytest.raises(InputError, match=r"a worker died, perhaps out of memory; .* fewer --workers"):
        list(engines.on_ray(dies, [JOB], 1, cluster.address))


@needs_ray
@pytest.mark.parametrize("address", ["localhost:1", "nowhere"])
def test_no_cluster_there(address: str) -> None:
    with pytest.raises(InputError, match=rf"^--address {address}: no Ray cluster \(.*\); give HOST:PORT"):
        next(engines.on_ray(dies, [JOB], 1, address))


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'uniair\[ray\]'"):
        next(engines.on_ray(dies, [JOB], 1))


def test_a_worker_that_does_not_see_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out: no recipe\.json here; give an --out that all workers share"):
        campaign.trace_shard_elsewhere(TINY, JOB[0], tmp_path / "out" / JOB[1])


@needs_tracer
def test_a_worker_that_sees_other_places(reference: Path) -> None:
    with pytest.raises(InputError, match="differ here from those of the campaign"):
        campaign.trace_shard_elsewhere(TINY, JOB[0], reference / JOB[1])


@needs_tracer
def test_shards_written_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "trace_shard", lambda *_: None)
    with pytest.raises(InputError, match="2 shards were written elsewhere; give an --out that all workers share"):
        campaign.run(TINY, tmp_path, workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"workers": 0}, "workers is 0; it must be at least 1"), ({"address": "auto"}, "an address is for --engine ray")],
)
def test_settings_of_a_run_that_cannot_be(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        campaign.run(TINY, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
