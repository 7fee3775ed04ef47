"""How a site's server bears load: single CSI at a fixed rate, however late the answers, then at twice that rate; and
what learning beside the answers costs those that ask for beam forecasts.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uniair.benchmark.speed.service_fuzz import Found, attack
from uniair.data.drives.windows import read_folder
from uniair.data.links.store import SAMPLE, Store
from uniair.errors import InputError
from uniair.training.forecasting import SAMPLE as DRIVES

STARTS = 120.0  # s that the server may take to be ready
LINKS = 256  # different channels that are sent
GIVEN_UP = 10.0  # s after which an answer counts as an error
OVERLOAD = 60.0  # s, at most, at twice the rate


@dataclass
class Phase:
    """What came of one rate.

    Attributes:
        rate: requests per second that were sent.
        took: s from the moment that a request was due until its answer, of those that were answered.
        statuses: HTTP status, or the kind of failure → requests.
        memory: resident bytes of the server, at the start and then every few seconds.
    """

    rate: float
    took: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """For people and JSON."""
        count, good = sum(self.statuses.values()), np.array(self.took or [np.nan])
        half = max(len(self.memory) // 2, 1)
        return {
            "rate": self.rate, "requests": count, "statuses": dict(self.statuses),
            "answered": self.statuses["200"] / count, "shed": self.statuses["503"] / count,
            "errors": count - self.statuses["200"] - self.statuses["503"],
            "p50_ms": 1e3 * float(np.quantile(good, 0.5)), "p99_ms": 1e3 * float(np.quantile(good, 0.99)),
            "worst_ms": 1e3 * float(good.max()),
            "memory_start": self.memory[0], "memory_middle": self.memory[half - 1], "memory_end": self.memory[-1],
        }  # fmt: skip


def service_load(site: Path, rate: float, seconds: float, bodies: int = 0, seed: int = 0) -> dict[str, Any]:
    """Starts `uniair serve` in a process of its own on loopback, and drives it.

    Requests fall due at the times of a Poisson process, and latency counts from then: a server that is late is not
    waited for. Their bodies are .npy files of one CSI.

    Args:
        site: folder that uniair site made.
        rate: requests per second.
        seconds: at that rate, and then up to `OVERLOAD` of them at twice that rate.
        bodies: mutated bodies that are sent afterwards; see `service_fuzz.attack`.
        seed: of arrivals, channels and mutations.

    Returns:
        rates (as `Phase.figures`), alive (whether it still answers and ended well), bodies (as `Found`).

    Raises:
        InputError: rate or time not above 0, or the server does not start.
    """
    if not (rate > 0 and seconds > 0 and bodies >= 0):
        raise InputError("--rate and --seconds must be above 0, --bodies at least 0")
    requests = channel_requests(LINKS, seed)
    with _serving(site) as (server, port):
        plan = ((rate, seconds), (2 * rate, min(seconds, OVERLOAD)))
        phases = [asyncio.run(drive(port, server.pid, requests, r, s, seed)) for r, s in plan]
        found = attack(port, bodies, seed) if bodies else Found()
        alive = server.poll() is None and _get(port, "/ready") == 200
    return {
        "site": str(site), "seconds": seconds, "seed": seed, "cores": os.cpu_count(),
        "rates": [phase.figures() for phase in phases], "alive": alive and server.returncode == 0,
        "bodies": found.figures(),
    }  # fmt: skip


def forecast_load(site: Path, rate: float, seconds: float, seed: int = 0) -> dict[str, Any]:
    """Steps of the packaged drives for beam forecasts, sent as in `service_load` at one rate: to a server that answers
    alone, and to one that learns from them beside.

    Returns:
        `answers alone` and `learns beside`, as `Phase.figures`; `learning`, what the second one says of its learning.
    """
    if not (rate > 0 and seconds > 0):
        raise InputError("--rate and --seconds must be above 0")
    requests, out = forecast_requests(), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("answers alone", ()), ("learns beside", ("--learn", f"{folder}/state"))):
            with _serving(site, *options) as (server, port):
                out[name] = asyncio.run(drive(port, server.pid, requests, rate, seconds, seed)).figures()
                if options:
                    out["learning"] = json.loads(_read(port, "/learning")[1])
    return {"site": str(site), "seconds": seconds, "seed": seed, "cores": os.cpu_count()} | out


@contextmanager
def _serving(site: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server that is ready, and its port; it is told to end afterwards, and waited for."""
    command = [sys.executable, "-m", "uniair.cli", "serve", str(site), "--port", "0", "--assistant", "false", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            port = _port(server)
            _ready(port)
            yield server, port
        finally:
            server.terminate()
            server.wait(60)


def channel_requests(count: int, seed: int) -> list[bytes]:
    """Whole HTTP requests to embed one channel each, of the packaged links."""
    store = Store(SAMPLE)
    links = store[int(np.random.default_rng(seed).integers(len(store)))]
    csi = links.paths.csi(links.one_radio(), links.bearing).numpy()
    requests = []
    for i in range(count):
        file = io.BytesIO()
        np.save(file, csi[i % len(csi)])
        body = file.getvalue()
        head = (
            "POST /encode HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-npy\r\n"
            f"accept: application/x-npy\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    return requests


def forecast_requests() -> list[bytes]:
    """Whole HTTP requests for the next beams, of all steps of the packaged drives, a session each."""
    requests = []
    for one in read_folder(DRIVES):
        for power in one.power:
            body = json.dumps({"session": one.name.replace("/", "-"), "power": power.tolist()}).encode()
            head = (
                "POST /forecast HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            requests.append(head.encode() + body)
    return requests


async def drive(port: int, pid: int, requests: list[bytes], rate: float, seconds: float, seed: int) -> Phase:
    """Sends requests at a rate, each when it is due."""
    rng = np.random.default_rng([seed, round(rate)])
    due = np.cumsum(rng.exponential(1 / rate, round(rate * seconds)))
    phase, idle = Phase(rate), list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
    began = time.perf_counter()

    async def one(number: int) -> None:
        try:
            async with asyncio.timeout(GIVEN_UP):
                while idle and idle[-1][0].at_eof():  # the server ends connections that idled; clients look before
                    idle.pop()[1].close()
                pair = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
                pair[1].write(requests[number % len(requests)])
                status = await _answer(pair[0])
            idle.append(pair)
            phase.statuses[status] += 1
            if status == "200":
                phase.took.append(time.perf_counter() - began - due[number])
        except (OSError, EOFError, TimeoutError) as error:
            phase.statuses[type(error).__name__] += 1

    async def watch() -> None:
        while True:
            phase.memory.append(resident(pid))
            await asyncio.sleep(min(5.0, seconds / 4))

    watching = asyncio.create_task(watch())
    async with asyncio.TaskGroup() as group:
        for number, at in enumerate(due):
            if (early := at - (time.perf_counter() - began)) > 0:
                await asyncio.sleep(early)
            group.create_task(one(number))
    watching.cancel()
    phase.memory.append(resident(pid))
    for _, writer in idle:
        writer.close()
    return phase


async def _answer(reader: asyncio.StreamReader) -> str:
    """The status of one answer, its body read."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = re.search(r"content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return head.split(" ", 2)[1]


def resident(pid: int) -> int:
    """Resident memory of a process, bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _port(server: subprocess.Popen[str]) -> int:
    """The port that the server prints."""
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise InputError("uniair serve did not start; run it by itself to see why")


def _get(port: int, path: str) -> int:
    """Status of a path; 0 where nobody answers."""
    return _read(port, path)[0]


def _read(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a path; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def _ready(port: int) -> None:
    until = time.monotonic() + STARTS
    while _get(port, "/ready") != 200:
        if time.monotonic() > until:
            raise InputError(f"uniair serve was not ready after {STARTS:.0f} s")
        time.sleep(0.1)


def run(
    site: Path, rate: float = 200.0, seconds: float = 30.0, bodies: int = 0, seed: int = 0, forecasts: bool = False
) -> dict[str, Any]:
    """Measures and prints.

    Args:
        site: folder that uniair site made.
        rate: requests per second, then twice as many.
        seconds: at that rate, then up to 60 at twice it.
        bodies: mutated bodies to send afterwards.
        seed: of arrivals, channels and mutations.
        forecasts: ask for beam forecasts instead, at the one rate, without and with --learn.
    """
    if forecasts:
        found = forecast_load(site, rate, seconds, seed)
        for name in ("answers alone", "learns beside"):
            r = found[name]
            print(f"{name}, {r['rate']:.0f}/s: {r['answered']:.1%} answered, {r['shed']:.1%} shed, {r['errors']} "
                  f"errors, p50 {r['p50_ms']:.1f}, p99 {r['p99_ms']:.1f}, worst {r['worst_ms']:.0f} ms")  # fmt: skip
        said = found["learning"]
        print(f"learned from {said['steps']:,} steps in {said['updates']} updates; {said['waiting']:,} waited at the "
              f"end, {said['dropped']:,} were left out")  # fmt: skip
        return found
    found = service_load(site, rate, seconds, bodies, seed)
    for r in found["rates"]:
        print(f"{r['rate']:.0f}/s: {r['answered']:.1%} answered, {r['shed']:.1%} shed, {r['errors']} errors, "
              f"p50 {r['p50_ms']:.0f} ms, p99 {r['p99_ms']:.0f} ms, {r['memory_start'] / 2**20:.0f} → "
              f"{r['memory_end'] / 2**20:.0f} MB")  # fmt: skip
    sent = found["bodies"]
    print(f"{sent['sent']:,} mutated bodies, {sent['fault_count']} faults; alive: {found['alive']}")
    return found
