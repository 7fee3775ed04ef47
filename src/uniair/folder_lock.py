"""One run in a folder at a time: a lock that the system holds, so that one of a killed process blocks nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from uniair.errors import InputError


@contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Holds a folder, or a file, that a run writes. The lock lies beside it, so that nothing is in it before its time.

    Of the processes of `torchrun` the first one holds it for all.

    Raises:
        InputError: another run holds it.
    """
    if int(os.environ.get("RANK", "0")):
        yield
        return
    path = Path(folder).resolve()
    # a volume of its own may lie where nothing else can be written
    beside = path.parent if os.access(path.parent, os.W_OK) or not path.is_dir() else path
    new = [parent for parent in (beside, *beside.parents) if not parent.exists()]
    beside.mkdir(parents=True, exist_ok=True)
    held = beside / f".{path.name}.lock"
    lock = FileLock(held, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another run is writing there; wait until it has ended, or give another folder"
        ) from None
    try:
        yield
    finally:
        # while it is still held: who opens it from now on makes a new one
        with suppress(OSError):  # a system that removes no open files keeps it, unheld
            held.unlink()
        lock.release()
        for parent in new:
            with suppress(OSError):  # something is in it by now
                parent.rmdir()
