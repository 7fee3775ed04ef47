"""How long a link's feedback takes to encode and to decode, alone, on this machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from uniair.environment import Batch
from uniair.evaluation.tables import Table
from uniair.tasks.feedback_code import FeedbackCode
from uniair.tasks.path_code import PathCode

LENGTH = 128  # bits; of other lengths it is the same within a few per cent of the encoder's time
WARM = 2  # calls before those that count


def latency(found: FeedbackCode, batch: Batch, steps: Mapping[str, int], repeats: int) -> dict[str, Any]:
    """Median ms at batch 1: encoding with each number of steps of search and by paths, and decoding both.

    Args:
        batch: links, one of which is asked for at a time.
        steps: of the search, by name.
    """
    links = [batch.csi[i : i + 1] for i in range(len(batch.csi))]
    took = {
        f"encode, {name}": _median([partial(found.encode, csi, LENGTH, count) for csi in links], repeats)
        for name, count in steps.items()
    }
    took["decode"] = _median([partial(found.decode, found.encode(csi, LENGTH)) for csi in links], repeats)
    paths = PathCode(batch.radio)
    took["encode, paths"] = _median([partial(paths.encode, found.model, csi, LENGTH) for csi in links], repeats)
    sent = [paths.encode(found.model, csi, LENGTH) for csi in links]
    took["decode, paths"] = _median([partial(paths.decode, one) for one in sent], repeats)
    return {"ms": took, "threads": torch.get_num_threads(), "machine": platform.machine(), "repeats": repeats}


def _median(calls: list[Callable[[], Any]], repeats: int) -> float:
    took = []
    for number in range(WARM + repeats):
        begun = time.perf_counter()
        calls[number % len(calls)]()
        took.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(took[WARM:]))


def table(found: Mapping[str, dict[str, Any]]) -> tuple[str, Table]:
    """A row a radio."""
    names = list(next(iter(found.values()))["ms"])
    body = [[radio, *(f"{one['ms'][name]:.1f}" for name in names)] for radio, one in found.items()]
    one = next(iter(found.values()))
    heading = (f"Milliseconds a link alone, {LENGTH} bits, median of {one['repeats']}; {one['machine']}, "
               f"{one['threads']} threads")  # fmt: skip
    return heading, Table(["radio", *names], body)
