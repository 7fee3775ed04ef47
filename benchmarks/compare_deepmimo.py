"""Our CSI against the channels that deepmimo_peer.py wrote (see deepmimo_peer.sh).

    python benchmarks/compare_deepmimo.py CHANNELS [SCENARIOS]

Without SCENARIOS, prints the links per second of both as JSON; with it, a JSON line for each scenario, BS and turn of
the BS, then one for all: the largest deviation of an entry over the largest entry of its link. Exits 1 where that is
above `LIMIT`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from uniair.data.import_report import ImportReport
from uniair.data.links import deepmimo
from uniair.data.links.links import Links
from uniair.propagation.paths import Paths
from uniair.radio import Radio

LIMIT = 1e-4
RADIO = Radio()
LINKS, PATHS = 20_000, 10  # as in deepmimo_peer.py


def deviation(links: Links, channels: np.ndarray) -> tuple[float, int]:
    """Largest relative deviation over links, and the paths that deepmimo leaves out: those of a symbol or more."""
    late = links.paths.delay.astype(np.float64) >= 1 / RADIO.grid.spacing
    paths = replace(links.paths, gain=np.where(late, 0, links.paths.gain).astype(np.complex64))
    ours = paths.csi(RADIO, links.bearing).numpy()
    theirs = channels * math.sqrt(RADIO.grid.subcarriers)  # its power is shared by the subcarriers
    apart, largest = abs(ours - theirs).max((1, 2)), abs(theirs).max((1, 2))
    heard = largest > 0  # a link whose every path is late is silent in both
    return float(np.where(heard, apart / np.where(heard, largest, 1), apart).max()), int(late.sum())


def speed(seed: int = 0) -> float:
    """Links per second of `Paths.csi` once it is warm, median of five."""
    rng = np.random.default_rng(seed)
    count = LINKS * PATHS
    paths = Paths.from_rows(
        LINKS,
        np.repeat(np.arange(LINKS), PATHS),
        gain=10 ** rng.uniform(-6, -4, count) * np.exp(1j * rng.uniform(-np.pi, np.pi, count)),
        delay=rng.uniform(1e-7, 1e-6, count),
        interactions=np.ones(count),
        **{name: rng.uniform(0, np.pi, count) for name in Paths.PER_PATH[2:6]},
    )
    out = torch.empty(LINKS, *RADIO.shape, dtype=torch.complex64)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        paths.csi(RADIO, out=out)
        seconds.append(time.perf_counter() - start)
    return LINKS / sorted(seconds[1:])[2]


def compare(channels: Path, source: Path) -> int:
    """Compares every file of channels with ours and returns the exit status."""
    worst, total = 0.0, 0
    for path in sorted(channels.glob("*.npy")):
        scenario, bs, turn = path.stem.split("-", 2)
        bearing = -math.pi / 2 + math.radians(float(turn))
        theirs, at = np.load(path, mmap_mode="r"), 0
        largest, late = 0.0, 0
        for links in deepmimo.read(
            source / scenario, ImportReport(), bs=(int(bs),), bearing=bearing, pixels=8, chunk=1024
        ):
            apart, without = deviation(links, theirs[at : at + len(links)])
            at, largest, late = at + len(links), max(largest, apart), late + without
        if at != len(theirs):
            raise SystemExit(f"{path.name}: {len(theirs)} links there, {at} here")
        result = {"scenario": scenario, "bs": int(bs), "turn": float(turn), "links": at, "late_paths": late}
        print(json.dumps(result | {"deviation": largest}))
        worst, total = max(worst, largest), total + at
    print(json.dumps({"channels": total, "deviation": worst, "limit": LIMIT}))
    return int(not total or worst > LIMIT)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        sys.exit(compare(folder, Path(sys.argv[2])))
    peer = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    rate = speed()
    rates = {"links_per_s": rate, "deepmimo": peer, "ratio": rate / peer["warm_links_per_s"]}
    print(json.dumps({"links": LINKS, "paths": PATHS, "threads": torch.get_num_threads()} | rates))
