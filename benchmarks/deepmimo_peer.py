"""Channels of deepmimo 4.0.5 and how fast they come; runs in the peer's own environment (see deepmimo_peer.sh).

    python benchmarks/deepmimo_peer.py OUT [SCENARIOS]

Without SCENARIOS, OUT gets `speed.json`; with it `{scenario}-{BS}-{turn}.npy`, complex64 [users with a path, antennas,
subcarriers]. deepmimo reads v4 alone, so scenarios of v3 are written as v4 first.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import deepmimo
import numpy as np
import scipy.io
from deepmimo.datasets.dataset import MacroDataset

ANTENNAS, SUBCARRIERS, BANDWIDTH = 32, 64, 46.08e6
TURNS = (0, -135)  # of the BS about z, degrees
MOST_PATHS = 25  # deepmimo loads no more
KEYS = ("phase", "delay", "power", "aoa_az", "aoa_el", "aod_az", "aod_el")
LINKS, PATHS = 20_000, 10  # of the timing


def write_v4(folder: Path, stations: list[dict[str, np.ndarray]]) -> None:
    """The arrays of each BS as a scenario without buildings."""
    folder.mkdir()
    for bs, arrays in enumerate(stations):
        users, paths = arrays["power"].shape
        for key, values in (arrays | {"inter_pos": np.full((users, paths, 1, 3), np.nan)}).items():
            np.savez(folder / f"{key}_t000_tx{bs:03}_r001.npz", **{key: values.astype(np.float32)})
    antenna = {"id_orig": 0, "num_ant": 1, "dual_pol": False, "ant_rel_positions": [[0, 0, 0]], "grid_spacing": None}
    antenna |= {"array_orientation": [0, 0, 0]}
    sets = {
        f"txrx_set_{i}": antenna
        | {"name": name, "id": i, "is_tx": i == 0, "is_rx": i == 1, "num_points": points, "num_active_points": points}
        for i, (name, points) in enumerate((("bs", len(stations)), ("ue", len(stations[0]["rx_pos"]))))
    }
    scene = {"num_scenes": 1, "n_objects": 0, "n_vertices": 0, "n_faces": 0, "n_triangular_faces": 0}
    params = {"version": "4.0.5", "rt_params": {"frequency": 28e9}, "txrx_sets": sets, "materials": {}, "scene": scene}
    (folder / "params.json").write_text(json.dumps(params), encoding="utf-8")
    (folder / "objects.json").write_text("[]", encoding="utf-8")
    np.savez(folder / "vertices.npz", vertices=np.zeros((0, 3), np.float32))


def from_v3(source: Path) -> list[dict[str, np.ndarray]]:
    """The arrays of v4 for each BS of a v3 scenario."""
    transmitted = scipy.io.loadmat(source / "params.mat")["transmit_power"].item()
    names = (re.fullmatch(r"BS(\d+)_UE_(\d+)-\d+\.mat", path.name) for path in source.iterdir())
    files = sorted((int(name[1]), int(name[2]), name[0]) for name in names if name)
    stations = []
    for bs in sorted({bs for bs, _, _ in files}):
        parts = [scipy.io.loadmat(source / name) for number, _, name in files if number == bs]
        matrices = [cell["p"][0, 0] for part in parts for cell in part["channels"][0]]
        table = np.full((8, len(matrices), MOST_PATHS), np.nan)
        for user, matrix in enumerate(matrices):
            table[:, user, : matrix.shape[1]] = matrix[:8, :MOST_PATHS]
        arrays = dict(zip(KEYS, table, strict=False))
        arrays["power"] = arrays["power"] - transmitted
        arrays["inter"] = np.where(np.isnan(table[7]), np.nan, 1 - table[7])  # codes do not enter the channel
        arrays["rx_pos"] = np.concatenate([part["rx_locs"][:, :3] for part in parts])
        stations.append(arrays | {"tx_pos": parts[0]["tx_loc"]})
    return stations


def drawn(seed: int = 0) -> dict[str, np.ndarray]:
    """Users with `PATHS` paths each."""
    rng = np.random.default_rng(seed)
    shape = (LINKS, PATHS)
    arrays = {key: rng.uniform(-180, 180, shape) for key in ("phase", "aoa_az", "aod_az")}
    arrays |= {key: rng.uniform(0, 180, shape) for key in ("aoa_el", "aod_el")}
    arrays |= {"delay": rng.uniform(1e-7, 1e-6, shape), "power": rng.uniform(-120, -80, shape), "inter": np.ones(shape)}
    return arrays | {"rx_pos": rng.uniform(0, 100, (LINKS, 3)), "tx_pos": np.zeros((1, 3))}


def datasets(name: str) -> list[Any]:
    """One data set per BS."""
    loaded = deepmimo.load(name)
    return list(loaded.datasets) if isinstance(loaded, MacroDataset) else [loaded]


def channels(dataset: Any, turn: float) -> np.ndarray:
    """complex64 [users, antennas, subcarriers] of a BS turned by `turn` degrees about z."""
    parameters = deepmimo.ChannelParameters(
        bs_antenna={"shape": [ANTENNAS, 1], "spacing": 0.5, "rotation": [0, 0, turn]},
        ue_antenna={"shape": [1, 1]},
        ofdm={"subcarriers": SUBCARRIERS, "selected_subcarriers": np.arange(SUBCARRIERS), "bandwidth": BANDWIDTH},
    )
    return dataset.compute_channels(parameters)[:, 0]


def write_channels(out: Path, source: Path, work: Path) -> None:
    """The channels of every scenario in a folder, for every BS and turn."""
    for scenario in sorted(path for path in source.iterdir() if path.is_dir()):
        folder = work / scenario.name.lower()
        if (scenario / "params.json").exists():
            shutil.copytree(scenario, folder)
        else:
            write_v4(folder, from_v3(scenario))
        for bs, dataset in enumerate(datasets(folder.name), start=1):
            for turn in TURNS:
                np.save(out / f"{scenario.name}-{bs}-{turn}.npy", channels(dataset, turn)[dataset.num_paths > 0])


def write_speed(out: Path, work: Path) -> None:
    """Links per second of the first call and, with array responses that deepmimo then has, of later ones (median)."""
    write_v4(work / "drawn", [drawn()])
    (dataset,) = datasets("drawn")
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        channels(dataset, 0)
        seconds.append(time.perf_counter() - start)
    speed = {"first_links_per_s": LINKS / seconds[0], "warm_links_per_s": LINKS / sorted(seconds[1:])[2]}
    (out / "speed.json").write_text(json.dumps(speed), encoding="utf-8")


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as temporary,
        contextlib.redirect_stdout(io.StringIO()),  # it prints a lot
        contextlib.redirect_stderr(io.StringIO()),
    ):
        deepmimo.config.set("scenarios_folder", temporary)
        if len(sys.argv) > 2:
            write_channels(Path(sys.argv[1]), Path(sys.argv[2]), Path(temporary))
        else:
            write_speed(Path(sys.argv[1]), Path(temporary))
