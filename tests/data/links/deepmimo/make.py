"""Writes a small town with two BSs as DeepMIMO scenarios of v3 and v4.

    python tests/data/deepmimo/make.py FOLDER

Users stand on a grid beside two buildings; a link has a LOS path, a reflection from the ground and one from a wall,
less those that the seed takes away. The same call writes the same arrays.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

FREQUENCY, SPEED_OF_LIGHT = 28e9, 299_792_458.0
ROWS, A_ROW = 6, 7
WALL = -70.0  # m, the x of a wall that reflects
BUILDINGS = ((-80.0, -40.0, WALL, 30.0, 12.0), (40.0, 10.0, 60.0, 25.0, 20.0))  # west, south, east, north, height
KEYS = ("phase", "delay", "power", "aoa_az", "aoa_el", "aod_az", "aod_el")
OLDER = {"delay": "toa", "rx_pos": "rx_loc", "tx_pos": "tx_loc", "inter_pos": "inter_loc"}


@dataclass(frozen=True)
class Town:
    """The truth: positions [B, 3] and [N, 3], per path [B, N, 3] in the files' units, strongest first, then NaN."""

    bs: np.ndarray
    ue: np.ndarray
    rays: dict[str, np.ndarray]


def rays_between(bs: np.ndarray, ue: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Paths of every pair: arrays [B, N, 3] of `KEYS` and inter."""
    ones, paths = np.ones(3), []
    for axis, plane, coefficient, code in ((None, 0.0, 1.0, 0), (2, 0.0, -0.4, 1), (0, WALL, -0.6, 1)):
        turn, shift = ones.copy(), np.zeros(3)
        if axis is not None:  # the image of an antenna behind the plane that reflects
            turn[axis], shift[axis] = -1, 2 * plane
        away = (ue * turn + shift)[None] - bs[:, None]
        back = (bs * turn + shift)[:, None] - ue[None]
        length = np.linalg.norm(away, axis=-1)
        wave = coefficient * np.exp(-2j * np.pi * FREQUENCY * length / SPEED_OF_LIGHT)
        loss = 20 * np.log10(SPEED_OF_LIGHT / FREQUENCY / (4 * np.pi * length) * abs(coefficient))
        angles = [
            f for v in (back, away) for f in (np.arctan2(v[..., 1], v[..., 0]), np.arccos(v[..., 2] / length))
        ]  # fmt: skip
        values = (np.angle(wave, deg=True), length / SPEED_OF_LIGHT, loss, *map(np.rad2deg, angles))
        paths.append([*values, np.full(length.shape, float(code))])
    table = np.stack([np.stack(path) for path in paths], axis=-1)  # [8, B, N, 3]
    table[:, rng.random(table.shape[1:]) < 0.35] = np.nan
    table[..., rng.random(table.shape[1:3]) < 0.2, :] = np.nan
    order = np.argsort(-table[KEYS.index("power")], axis=-1)  # NaN last
    return dict(zip((*KEYS, "inter"), np.take_along_axis(table, order[None], axis=-1), strict=True))


def town(seed: int = 0) -> Town:
    """Two BSs and 42 users, rounded to the files' float32."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-50, 30, A_ROW), np.linspace(-60, 50, ROWS))
    ue = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 1.5)]) + rng.uniform(-1, 1, (x.size, 3)) * [1, 1, 0]
    bs = np.array([[35.0, -20.0, 6.0], [-60.0, 45.0, 10.0]]) + rng.uniform(-2, 2, (2, 3))
    return Town(bs, ue, rays_between(bs, ue, rng))


def make_v3(root: Path, seed: int = 0, transmitted: float = 0.0, **parameters: Any) -> Path:
    """Writes ROOT/town_v3 with two files of users for each BS and returns the folder; parameters go to params.mat."""
    truth, folder = town(seed), root / "town_v3"
    folder.mkdir(parents=True)
    count = len(truth.ue)

    def write(name: str, bs: int, rx: np.ndarray, rays: dict[str, np.ndarray]) -> None:
        channels = np.empty((1, len(rx)), dtype=object)
        for u in range(len(rx)):
            there = ~np.isnan(rays["power"][u])
            rows = [rays[key][u, there] + (transmitted if key == "power" else 0) for key in KEYS]
            channels[0, u] = {"p": np.stack([*rows, rays["inter"][u, there] == 0]).astype(np.float32)}
        distance = np.linalg.norm(rx - truth.bs[bs], axis=1)
        loss = np.full(len(rx), 250.0)
        content = {"channels": channels, "rx_locs": np.column_stack([rx, distance, loss]).astype(np.float32)}
        scipy.io.savemat(folder / name, content | {"tx_loc": truth.bs[bs : bs + 1].astype(np.float32)})

    for bs in range(len(truth.bs)):
        for start, stop in ((0, 25), (25, count)):
            part = {key: values[bs, start:stop] for key, values in truth.rays.items()}
            write(f"BS{bs + 1}_UE_{start}-{stop}.mat", bs, truth.ue[start:stop], part)
        write(f"BS{bs + 1}_BS.mat", bs, truth.bs, {key: np.full((2, 1), np.nan) for key in (*KEYS, "inter")})
    grids = {"user_grids": np.array([[1.0, ROWS - 2, A_ROW], [ROWS - 1.0, ROWS, A_ROW]])}
    numbers = {"version": 2, "carrier_freq": FREQUENCY, "transmit_power": transmitted, "num_BS": 2}
    scipy.io.savemat(
        folder / "params.mat", numbers | grids | {"dual_polar_available": 0, "doppler_available": 0} | parameters
    )
    return folder


def save(folder: Path, name: str, key: str, values: np.ndarray, form: str) -> None:
    """One array in one of the three forms."""
    path = folder / f"{name}.{form}"
    if form == "mat":
        scipy.io.savemat(path, {key: values})
    elif form == "npy":
        np.save(path, values)
    else:
        np.savez_compressed(path, **{key: values})


def make_v4(root: Path, seed: int = 0, keys: str = "new", form: str = "npz", mesh: bool = False) -> Path:
    """Writes ROOT/town_v4 with the users in set 1 and the BSs, which receive too, in set 0; returns the folder."""
    truth, folder = town(seed), root / "town_v4"
    folder.mkdir(parents=True)
    between = rays_between(truth.bs, truth.bs + 0.01, np.random.default_rng(seed))
    for bs in range(len(truth.bs)):
        for number, rx, rays in ((0, truth.bs, between), (1, truth.ue, truth.rays)):
            arrays = {key: values[bs] for key, values in rays.items()} | {"rx_pos": rx, "tx_pos": truth.bs[bs : bs + 1]}
            arrays["inter_pos"] = np.full((len(rx), 3, 1, 3), np.nan)
            for key, values in arrays.items():
                name = OLDER.get(key, key) if keys == "old" else key
                save(folder, f"{name}_t000_tx{bs:03}_r{number:03}", name, values.astype(np.float32), form)
    single = {"num_ant": 1, "dual_pol": False, "ant_rel_positions": [[0, 0, 0]], "array_orientation": [0, 0, 0]}
    sets: dict[str, Any] = {
        f"txrx_set_{i}": {"name": name, "id": i, "is_tx": i == 0, "is_rx": True, "num_points": points} | single
        for i, (name, points) in enumerate((("bs", len(truth.bs)), ("ue", len(truth.ue))))
    }
    shape = {"num_scenes": 1, "n_objects": 3, "representation": "mesh" if mesh else "hull"}
    traced = {"raytracer_name": "Remcom Wireless InSite", "raytracer_version": "3.4", "frequency": FREQUENCY}
    document = {"version": "4.0.5", "rt_params": traced, "txrx_sets": sets, "materials": {}}
    (folder / "params.json").write_text(json.dumps(document | {"scene": shape}), encoding="utf-8")
    write_buildings(folder, form, mesh)
    return folder


def change_params(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrites params.json of a v4 scenario."""
    path = folder / "params.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def write_buildings(folder: Path, form: str, mesh: bool) -> None:
    """`BUILDINGS` and a ground plane."""
    boxes = [*BUILDINGS, (-100.0, -100.0, 100.0, 100.0, 0.0)]
    sides = ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
    vertices, objects, triangles = [], [], {}
    for number, (west, south, east, north, height) in enumerate(boxes):
        plan = ((west, south), (east, south), (east, north), (west, north))
        vertices += [(*point, z) for z in (0.0, height) for point in plan]
        faces = [[8 * number + corner for corner in side] for side in sides]
        label = "buildings" if height else "terrain"
        objects.append({"name": f"b{number}", "label": label, "id": number})
        if mesh:
            objects[-1]["mesh_key"] = str(number)
            triangles[str(number)] = np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))])
        else:
            objects[-1] |= {"face_vertex_idxs": faces, "face_material_idxs": [0] * len(faces)}
    save(folder, "vertices", "vertices", np.array(vertices, dtype=np.float32), form)
    (folder / "objects.json").write_text(json.dumps(objects), encoding="utf-8")
    if mesh:
        np.savez_compressed(folder / "faces.npz", **triangles)
        np.savez_compressed(folder / "materials.npz", **{key: np.zeros(len(t), int) for key, t in triangles.items()})


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(make_v3(target))
    print(make_v4(target))
