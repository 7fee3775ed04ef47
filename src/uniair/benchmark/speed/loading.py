"""How a million links open, read and feed a training step."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from uniair.data.links.loader import AreaBatches
from uniair.data.links.shards import read_manifest
from uniair.data.links.store import SAMPLE, Store
from uniair.files import write_text
from uniair.models import presets
from uniair.tasks.alignment import Alignment
from uniair.training.distributed import World
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches, pretrain

MILLION = 1_000_000
STEPS = 20  # of training; the first half warms up


def repeated(folder: Path, links: int, out: Path) -> int:
    """A folder of at least `links` links: every shard of `folder` linked as often as needed; returns how many."""
    manifest = read_manifest(folder)
    shards: list[dict[str, Any]] = []
    out.mkdir(parents=True)
    while sum(shard["links"] for shard in shards) < links:
        shard = manifest["shards"][len(shards) % len(manifest["shards"])]
        name = f"links-{len(shards):05d}.safetensors"
        (out / name).symlink_to((folder / shard["file"]).resolve())
        shards.append(shard | {"file": name})
    write_text(out / "manifest.json", json.dumps(manifest | {"shards": shards}))
    return sum(shard["links"] for shard in shards)


def open_and_read(folder: Path) -> tuple[float, float, int]:
    """Seconds to open, seconds to read every area once, and the process's peak memory in bytes."""
    start = time.perf_counter()
    store = Store(folder)
    opened = time.perf_counter()
    count = sum(len(area) for area in store)
    assert count == store.links
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return opened - start, time.perf_counter() - opened, kilobytes * 1024


def loading_speed(folder: Path, size: str, seed: int = 0) -> dict[str, float]:
    """Opens and reads a million links in a process of its own, then trains on `folder` for a few steps.

    Args:
        size: of the model, a preset's name.

    Returns:
        links, open_s, read_s, peak_bytes; waiting (share of the time that training waited for its batch) and
        samples_per_s.
    """
    data, batches = Store(folder), Batches()
    AreaBatches(data, batches.areas, batches.links_per_area)  # a folder that can't do is refused at once
    with tempfile.TemporaryDirectory() as scratch:
        links = repeated(folder, MILLION, Path(scratch) / "links")
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            open_s, read_s, peak = pool.submit(open_and_read, Path(scratch) / "links").result()
        config = Optimisation(steps=STEPS, log_every=STEPS // 2, save_every=STEPS, seed=seed)
        out = Path(scratch) / "run"
        pretrain(presets.preset(size), data, {}, Alignment(), batches, config, out, World.alone())
        log = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    timed = [line for line in log if "waiting" in line][-1]
    return {
        "links": links, "open_s": open_s, "read_s": read_s, "peak_bytes": peak,
        "waiting": timed["waiting"], "samples_per_s": timed["samples_per_s"],
    }  # fmt: skip


def run(train: Path | None = None, preset: str = "small", seed: int = 0) -> dict[str, Any]:
    """Measures and prints.

    Args:
        train: links folder; the packaged links if not given.
        preset: size of the model, a preset's name.
        seed: of weights and batches.
    """
    speed = loading_speed(train or SAMPLE, preset, seed)
    print(f"{speed['links']:,.0f} links open in {speed['open_s']:.2f} s, are read in {speed['read_s']:.1f} s with at "
          f"most {speed['peak_bytes'] / 2**20:,.0f} MB")  # fmt: skip
    print(f"training ({preset}) waits {speed['waiting']:.2%} of the time for its batch, at "
          f"{speed['samples_per_s']:,.0f} samples/s")  # fmt: skip
    return dict(speed)
