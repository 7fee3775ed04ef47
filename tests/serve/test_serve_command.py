"""`uniair serve` as a process of its own, over real sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniair.benchmark.speed.service_fuzz import attack
from uniair.benchmark.speed.service_load import channel_requests, resident, service_load
from uniair.cli import main
from uniair.commands.serve import TOKEN, _learning, is_loopback, listen, require_serve, token_of
from uniair.errors import InputError
from uniair.site.site import Site

pytest.importorskip("uvicorn", reason="uvicorn is missing: pip install 'uniair[serve]'")
httpx = pytest.importorskip("httpx2", reason="httpx2 is missing: pip install 'uniair[serve]'")
GOOD = "0123456789abcdef"


@contextmanager
def serving(site: Site, *options: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server's port and process; what is still alive at the end is killed."""
    command = [sys.executable, "-m", "uniair.cli", "serve", str(site.folder), "--port", "0", "--assistant", "false"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            yield next(int(f[1]) for line in lines if (f := re.search(r"http://[^ ]*:(\d+)/", line))), process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize(("asked", "remembered"), [(10, 256), (300, 300)])
def test_learning_remembers_all_sessions_that_are_answered(tmp_path: Path, asked: int, remembered: int) -> None:
    from uniair.models.forecast import WMLM, ForecastPreset

    options = Namespace(learn=str(tmp_path / "state"), earlier=None, forecaster="own", sessions=asked, learn_share=1.0)
    with _learning(options, WMLM(ForecastPreset(width=32, beams=8)).eval()) as learning:
        for _ in range(2):  # all of them, in turn
            for number in range(asked):
                learning.kept.stream.push(str(number), {"beam": 1})
        assert len(learning.kept.stream.open) == asked
        assert {len(log) for log in learning.kept.stream.logs.values()} == {2}
        assert learning.kept.stream.config.sessions == remembered


def test_it_finishes_what_it_took_and_leaves_a_clean_log(served_site: Site) -> None:
    with serving(served_site) as (port, process):
        assert httpx.get(f"http://127.0.0.1:{port}/ready").json() == {"ready": True}
        # the server still prepares its own maps, so this one waits, and the server is told to end meanwhile
        with socket.create_connection(("127.0.0.1", port)) as slow:
            body = json.dumps({"link": 3, "step": 10.0}).encode()
            head = "POST /likelihood HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            slow.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: slow.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["best"]
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [entry["route"] for entry in entries] == ["/ready", "/likelihood"]
    assert "Traceback" not in log


def test_it_lives_on_when_clients_hang_up_or_send_rubbish(served_site: Site) -> None:
    request = channel_requests(1, seed=0)[0]
    with serving(served_site) as (port, process):
        for part in (request[:10], request[:200], request[:-5], request, b"\x00\xff" * 99, b"GET / HTTP/9.9\r\n\r\n",
                     request.replace(b"content-length: ", b"content-length: -"),
                     request.replace(b"content-length: ", b"content-length: 99999999")):  # fmt: skip
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(part)  # and gone before the answer
        before = resident(process.pid)
        found = attack(port, 60, seed=1)
        assert not found.faults, found.faults[0]
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200
        assert resident(process.pid) < before + 200e6
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "traceback" not in log.lower()


def test_the_load_benchmark_tells_what_came_of_every_request(served_site: Site) -> None:
    found = service_load(served_site.folder, rate=20.0, seconds=2.0, bodies=20)
    assert found["alive"]
    assert found["bodies"]["sent"] == 20
    assert not found["bodies"]["faults"]
    for phase, rate in zip(found["rates"], (20.0, 40.0), strict=True):
        assert phase["rate"] == rate
        assert phase["requests"] == sum(phase["statuses"].values()) == 2 * rate
        assert phase["answered"] > 0.5
        assert 0 < phase["p50_ms"] <= phase["p99_ms"] <= phase["worst_ms"]
        assert phase["memory_end"] > 50e6


def test_wrong_arguments_are_one_line(
    served_site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    site = str(served_site.folder)
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "old").mkdir()
    note = (served_site.folder / "site.json").read_text()
    (tmp_path / "old" / "site.json").write_text(note.replace("uniair-site/1", "uniair-site/0"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, says in (
            ([str(tmp_path)], "no such file; give a folder that uniair site made"),
            ([str(tmp_path / "old")], "this version reads 'uniair-site/1'"),
            ([site, "--host", "0.0.0.0"], "without a token"),
            ([site, "--token_file", str(tmp_path / "none")], "not to be read"),
            ([site, "--token_file", str(tmp_path / "short")], "at least 16"),
            ([site, "--port", str(taken.getsockname()[1])], "can't listen there"),
            ([site, "--seconds", "0"], "above 0"),
            ([site, "--forecaster", str(tmp_path), "--port", "0"], "no such file; give the folder of uniair forecast"),
            ([site, "--learn", str(tmp_path / "short"), "--port", "0"], "truncated or not a safetensors file"),
            ([site, "--learn", str(tmp_path / "s"), "--learn_share", "0", "--port", "0"], "a share above 0"),
            ([site, "--learn", str(tmp_path / "s"), "--earlier", str(tmp_path), "--port", "0"], "no drives"),
            ([site, "--earlier", str(tmp_path), "--port", "0"], "nothing is learned; give --learn too"),
        ):
            assert main(["serve", *arguments]) == 2, arguments
            message = capsys.readouterr().err
            assert says in message
            assert message.count("\n") == 1


def test_tokens_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    assert token_of(None) is None
    (tmp_path / "token").write_text(f"{GOOD}\nsecond line\n")
    assert token_of(str(tmp_path / "token")) == GOOD
    monkeypatch.setenv(TOKEN, GOOD + "!")
    assert token_of(None) == GOOD + "!"
    monkeypatch.setenv(TOKEN, GOOD + " x")
    with pytest.raises(InputError, match=f"{TOKEN}: a token needs"):
        token_of(None)
    found = {name: is_loopback(name) for name in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0", "10.1.2.3")}
    assert [name for name, loopback in found.items() if not loopback] == ["0.0.0.0", "10.1.2.3"]
    with pytest.raises(InputError, match="can't listen there"):
        listen("192.0.2.1", 0)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "msgpack" else real(name))
    with pytest.raises(InputError, match=r"msgpack missing; run pip install 'uniair\[serve\]'"):
        require_serve()


def test_load_needs_a_rate(served_site: Site) -> None:
    with pytest.raises(InputError, match="--rate and --seconds"):
        service_load(served_site.folder, rate=0.0, seconds=1.0, bodies=0)
    assert np.unique([len(request) for request in channel_requests(5, 0)]).size == 1
