"""Broken files against every reader: each is read, or refused in one line; memory and time stay bounded."""

from __future__ import annotations

import json
import re
import resource
import signal
import tempfile
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from uniair.benchmark.speed.valid_files import READERS
from uniair.errors import InputError
from uniair.files import write_text
from uniair.progress import track

Rng = np.random.Generator
BUDGETS = {"quick": 200, "full": 10_000}
CHUNK = 500  # mutants of one process before it is asked again
START = "spawn"  # a reader's threads do not survive a fork
PACKAGE = str(Path(__file__).parents[2])
PATIENCE = 20  # s that a small file may take
LONGEST = 600  # letters of a line, without the path
WORDS = (
    b"-1", b"0", b"1e999", b"-1e308", b"NaN", b"Infinity", b"null", b"[]", b"{}", b'""', b"99999999999999999999",
    b"true", b"\xff\xfe", b"\xef\xbb\xbf", b"[[[[[[[[", b"\x00", b"1e-400", b"1,5", b"<!DOCTYPE x>", b"&amp;",
    b"POLYGON EMPTY", b"GEOMETRYCOLLECTION(", b"EPSG:3857", b"'", b"\r", b"\xc3\x28", b";",
)  # fmt: skip
PLAIN = (
    b"0", b"-1", b"7", b"1e9", b"-1e308", b"nan", b"inf", b"", b"yes", b"no", b"12 m", b"3;4", b"~5", b"1e400", b"181",
    b"-91", b"400000000000000000000", b"way", b"outer", b"EPSG:3857", b"\xc3\xa9", b"2,5", b"0x10", b"1_000",
)  # fmt: skip
MOST_TEXT = 20_000  # bytes of a file that are looked at for words
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, -1e308, 1e-320, 10**30, "", "x", "NaN", "1e999", "12 m", [], {}, [[]], [None],
    {"a": 1}, [0, 0], "\ud800", "é" * 300, float("nan"), float("inf"), 1.5, "yes", "EPSG:999999", ["a", 1, None],
)  # fmt: skip


@dataclass
class Found:
    """What came of some mutants of one reader's file.

    Attributes:
        outcomes: `read`, `refused` and `fault` → mutants.
        faults: what must not be, with the mutant's number.
        peak: most memory of the process, MB.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    peak: int = 0

    def fault(self, number: int, what: str) -> None:
        """Counts one."""
        self.outcomes["fault"] += 1
        self.faults.append(f"mutant {number}: {what}")

    def add(self, other: Found) -> None:
        """Counts those of another."""
        self.outcomes.update(other.outcomes)
        self.faults += other.faults
        self.peak = max(self.peak, other.peak)


def run(
    readers: str = "", budget: str = "quick", count: int = 0, seed: int = 0, workers: int = 2, memory: int = 2048,
    save: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Breaks files and reads them.

    Args:
        readers: those whose name holds this; all of them where empty.
        budget: quick, 200 mutants a reader, or full, 10,000.
        count: mutants a reader, instead of the budget's.
        seed: of the mutations; mutant 7 of a reader is the same in every run of a seed.
        workers: processes.
        memory: MB that reading may take beyond what the process has.
        save: file for the counts as JSON, if wanted.

    Returns:
        Reader → mutants, how many were read and refused, faults, peak memory of a process in MB.

    Raises:
        InputError: no such reader or budget, a count or limit below 1.
    """
    chosen = [name for name in READERS if readers in name]
    if not chosen:
        raise InputError(f"--readers {readers}: none of {', '.join(READERS)}")
    if budget not in BUDGETS:
        raise InputError(f"--budget {budget}: choose {' or '.join(BUDGETS)}")
    if count < 0 or workers < 1 or memory < 1:
        raise InputError("--count must be at least 0, --workers and --memory at least 1")
    count = count or BUDGETS[budget]
    jobs = [(name, start, min(start + CHUNK, count)) for name in chosen for start in range(0, count, CHUNK)]
    totals = {name: Found() for name in chosen}
    with tempfile.TemporaryDirectory(prefix="uniair-") as folder:
        for name, found in track(_in_processes(jobs, seed, workers, memory, Path(folder)), "chunk", total=len(jobs)):
            totals[name].add(found)
    result: dict[str, dict[str, Any]] = {
        name: {"mutants": found.outcomes.total(), **{k: found.outcomes[k] for k in ("read", "refused")},
               "faults": found.outcomes["fault"], "examples": found.faults[:20], "peak_mb": found.peak}
        for name, found in totals.items()
    }  # fmt: skip
    print(f"{'seed ' + str(seed):22} {'mutants':>8} {'read':>7} {'refused':>8} {'faults':>7} {'peak, MB':>9}")
    for name, row in result.items():
        print(
            f"{name:22} {row['mutants']:8,} {row['read']:7,} {row['refused']:8,} {row['faults']:7,} {row['peak_mb']:9,}"
        )
        for example in row["examples"][:3]:
            print(f"  {example}")
    if save:
        write_text(save, json.dumps({"seed": seed, "memory_mb": memory, "readers": result}, indent=1) + "\n")
    return {"seed": seed, "readers": result}


Job = tuple[str, int, int]


def _in_processes(jobs: list[Job], seed: int, workers: int, memory: int, folder: Path) -> Iterator[tuple[str, Found]]:
    """What comes of each job; where a reader kills its process, that is a fault, and the job goes on behind it."""
    todo = list(jobs)
    while todo:
        done: set[Job] = set()
        with ProcessPoolExecutor(workers, get_context(START), _bound, (memory,)) as pool:
            futures = {
                job: pool.submit(attack, *job, seed, folder / f"{READER_NUMBER[job[0]]}-{job[1]}") for job in todo
            }
            try:
                for job, future in futures.items():
                    found = future.result()
                    done.add(job)
                    yield job[0], found
            except BrokenProcessPool:
                pass
        left = [job for job in todo if job not in done]
        todo = []
        for job in left:  # of a broken pool: which was at work, and where
            note = folder / f"{READER_NUMBER[job[0]]}-{job[1]}"
            at = int(note.read_text() or -1) if note.exists() else -1
            if at < 0:
                todo.append(job)
                continue
            # one process broke the pool and others were cut short: alone, each tells whether it was its own doing
            yield job[0], _alone(job, seed, memory, note)


def _alone(job: Job, seed: int, memory: int, note: Path) -> Found:
    """A job in a process of its own, begun anew behind each mutant that kills it."""
    found, (name, start, stop) = Found(), job
    while start < stop:
        note.write_text("")
        with ProcessPoolExecutor(1, get_context(START), _bound, (memory,)) as pool:
            try:
                found.add(pool.submit(attack, name, start, stop, seed, note).result())
                break
            except BrokenProcessPool:
                at = int(note.read_text() or start)
        if at > start:  # what came before it
            with ProcessPoolExecutor(1, get_context(START), _bound, (memory,)) as pool:
                found.add(pool.submit(attack, name, start, at, seed, note).result())
        found.fault(at, "the process died")
        start = at + 1
    return found


READER_NUMBER = {name: number for number, name in enumerate(READERS)}


def _bound(memory: int) -> None:
    """Bounds this process's memory, MB beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        most = pages * resource.getpagesize() + (memory << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def attack(name: str, start: int, stop: int, seed: int = 0, note: Path | None = None) -> Found:
    """Reads the mutants `start` to `stop` of one reader's file.

    Args:
        note: file for the number of the mutant that is being read.
    """
    reader, found = READERS[name], Found()
    with tempfile.TemporaryDirectory(prefix="uniair-") as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = reader.make(Path(folder))
        files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
        whole = {file: file.read_bytes() for file in files}
        reader.read(path)  # the valid one
        for number in range(start, stop):
            if note is not None:
                note.write_text(str(number))
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
            file = files[int(rng.integers(len(files)))]
            file.write_bytes(mutated(whole[file], rng))
            _judge(found, number, reader.read, path)
            file.write_bytes(whole[file])
    found.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return found


def _judge(found: Found, number: int, read: Callable[[Path], object], path: Path) -> None:
    """Reads one and counts it."""
    try:
        with _patience(PATIENCE):
            read(path)
    except InputError as error:
        said = str(error)
        if len(said.splitlines()) != 1 or len(said) > LONGEST + len(str(path)) or any(ord(c) < 32 for c in said):
            found.fault(number, f"no clear line: {said[:200]!r}")
        else:
            found.outcomes["refused"] += 1
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[2:]  # behind this one and the reader's own call
        at = next((f for f in reversed(frames) if f"{PACKAGE}/" in f.filename), frames[-1] if frames else None)
        place = f"{Path(at.filename).name}:{at.lineno}" if at else "the reader"
        found.fault(number, f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:160]}")
    else:
        found.outcomes["read"] += 1


@contextmanager
def _patience(seconds: int) -> Iterator[None]:
    """Raises `TimeoutError` in a block that takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# mutations


def mutated(data: bytes, rng: Rng) -> bytes:
    """One to three mutations; of JSON half of them keep it JSON."""
    if data[:1] in (b"{", b"[") and rng.random() < 0.5:
        return _other_values(data, rng)
    for _ in range(int(rng.integers(1, 4))):
        data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng)
    return data


def _other_values(data: bytes, rng: Rng) -> bytes:
    """Values, keys and lengths within a JSON document become others."""
    try:
        document = json.loads(data)
    except ValueError:  # one a line
        lines = data.splitlines()
        at = int(rng.integers(len(lines)))
        try:
            lines[at] = json.dumps(_swap(json.loads(lines[at]), rng)).encode()
        except ValueError:
            return _flip(data, rng)
        return b"\n".join(lines)
    for _ in range(int(rng.integers(1, 4))):
        document = _swap(document, rng)
    return json.dumps(document).encode()


def _swap(node: Any, rng: Rng) -> Any:
    """One value somewhere below becomes another, is left out, or is there twice."""
    if isinstance(node, dict) and node and rng.random() < 0.85:
        key = str(list(node)[int(rng.integers(len(node)))])
        if rng.random() < 0.1:
            return {k: v for k, v in node.items() if k != key}
        return {k: _swap(v, rng) if k == key else v for k, v in node.items()}
    if isinstance(node, list) and node and rng.random() < 0.85:
        at = int(rng.integers(len(node)))
        if rng.random() < 0.1:
            return node[:at] + node[at + 1 :] if rng.random() < 0.5 else [*node, node[at]]
        return [_swap(v, rng) if i == at else v for i, v in enumerate(node)]
    return VALUES[int(rng.integers(len(VALUES)))]


def _flip(data: bytes, rng: Rng) -> bytes:
    body = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if body:
            reach = len(body) if rng.random() < 0.6 else min(len(body), 256)
            body[int(rng.integers(reach))] = int(rng.integers(256))
    return bytes(body)


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _leave_out(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + data[at + int(rng.integers(1, 64)) :]


def _grow(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at:]


def _again(data: bytes, rng: Rng) -> bytes:
    """A piece is there twice, somewhere else."""
    at, to = (int(i) for i in rng.integers(len(data) + 1, size=2))
    return data[:to] + data[at : at + int(rng.integers(1, 256))] + data[to:]


def _word(data: bytes, rng: Rng) -> bytes:
    """A number or word becomes one that parsers stumble over."""
    word = WORDS[int(rng.integers(len(WORDS)))]
    near = int(rng.integers(len(data) + 1))
    at = next((i for i in range(near, min(near + 64, len(data))) if data[i] in b"0123456789[{'\">,"), near)
    return data[:at] + word + data[at + int(rng.integers(0, 5)) :]


def _value(data: bytes, rng: Rng) -> bytes:
    """A number or a quoted word of a text becomes another, and the text stays whole."""
    found = list(re.finditer(rb"-?[0-9]+(?:[.][0-9]+)?|(?<=[\"'])[^\"'<>\n]{1,40}(?=[\"'])", data[:MOST_TEXT]))
    if not found:
        return _flip(data, rng)
    at = found[int(rng.integers(len(found)))]
    word = PLAIN[int(rng.integers(len(PLAIN)))]
    return data[: at.start()] + word + data[at.end() :]


def _number(data: bytes, rng: Rng) -> bytes:
    """Four or eight bytes become a number that is none, or huge: counts, offsets and coordinates of binary files."""
    pieces = [np.array(v, dtype=t).tobytes() for t, vs in (("<f8", (np.nan, np.inf, 1e308, -1e308, 5e-324, 0.0)),
              ("<i4", (-1, 2**31 - 1, -(2**31), 0)), (">i4", (-1, 2**31 - 1)), ("<i8", (-1, 2**62)))
              for v in vs]  # fmt: skip
    piece = pieces[int(rng.integers(len(pieces)))]
    at = int(rng.integers(len(data) + 1))
    return data[:at] + piece + data[at + len(piece) :]


MUTATIONS: tuple[Callable[[bytes, Rng], bytes], ...] = (
    _flip, _flip, _cut, _leave_out, _grow, _again, _word, _word, _value, _value, _value, _number,
)  # fmt: skip
