"""Writes a small WAIR-D in the public layout: boxes for buildings, true delays and directions.

    python tests/data/wair_d/make.py FOLDER

The same call writes the same bytes. Scenario 1 has areas 00000 (image rows run north to south), 00001 (south to north)
and the damaged 09117; scenario 2 has area 00000 with 40 UEs.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image, ImageDraw

FILES = {2.6e9: "H_2_6_G", 6e9: "H_6_0_G", 28e9: "H_28_0_G", 60e9: "H_60_0_G", 100e9: "H_100_0_G"}
METRES_PER_NS = 0.299792458


@dataclass(frozen=True)
class Truth:
    """What a folder holds: buildings [K, 4] (x0, y0, x1, y1), positions [N, 2] in units of 0.5 m, key → LOS."""

    folder: Path
    extent: tuple[int, int]
    buildings: NDArray[np.float64]
    bs: NDArray[np.float64]
    ue: NDArray[np.float64]
    keys: list[str]
    los: dict[str, bool]


def save_dict(path: Path, content: dict[str, Any], style: int = 1) -> None:
    """As `np.save` of NumPy 1 (what the public files are) or of NumPy 2."""
    array = np.empty((), dtype=object)
    array[()] = content
    if style == 2:
        np.save(path, array, allow_pickle=True)
        return
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(pickle.dumps(array, protocol=3).replace(b"cnumpy._core.", b"cnumpy.core."))


def inside(buildings: NDArray[np.float64], xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[...] which points are in a building or within a unit of its walls."""
    x, y = xy[..., None, 0], xy[..., None, 1]
    x0, y0, x1, y1 = buildings.T
    return ((x > x0 - 1) & (x < x1 + 1) & (y > y0 - 1) & (y < y1 + 1)).any(-1)


def directions(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """[L, 3] to zenith and azimuth [L, 2]."""
    zenith = np.arccos(vector[:, 2] / np.linalg.norm(vector, axis=1))
    return np.column_stack([zenith, np.arctan2(vector[:, 1], vector[:, 0])])


def make_area(folder: Path, rng: np.random.Generator, scenario: int, users: int, north_up: bool, style: int) -> Truth:
    """One area: its five kinds of file."""
    folder.mkdir(parents=True)
    extent = (int(rng.integers(220, 280)), int(rng.integers(160, 200)))
    corner = rng.uniform(5, np.array(extent) - 45, (9, 2)).round()
    buildings = np.column_stack([corner, corner + rng.uniform(15, 40, (9, 2)).round()])

    def drop(count: int) -> NDArray[np.float64]:
        xy = rng.uniform(0, 1, (60 * count, 2)) * extent
        return xy[~inside(buildings, xy)][:count]

    if scenario == 1:
        bs, ue = np.repeat(drop(5), 30, axis=0), np.tile(drop(30), (5, 1))
        keys = [f"bs{b}_ue{u}" for b in range(5) for u in range(30)]
        info = np.concatenate([extent, np.column_stack([bs, ue]).ravel()])
    else:
        bs, ue = np.repeat(drop(1), users, axis=0), drop(users)
        keys = [f"bs0_ue{u:05d}" for u in range(users)]
        info = np.concatenate([extent, bs[0], ue.ravel()])
    np.save(folder / "Info.npy", info.astype(np.float64))

    paths: dict[str, dict[str, NDArray[np.float64]]] = {}
    gains: dict[float, dict[str, NDArray[np.complex128]]] = {hz: {} for hz in FILES}
    los = {}
    for i, key in enumerate(keys):
        start, end = np.append(bs[i] * 0.5, 6.0), np.append(ue[i] * 0.5, 1.5)
        along = bs[i] + np.linspace(0, 1, 400)[:, None] * (ue[i] - bs[i])
        los[key] = not inside(buildings, along).any()
        walls = rng.integers(0, len(buildings), rng.integers(1, 6))
        bounce = np.column_stack([buildings[walls][:, :2] * 0.5, rng.uniform(1.5, 6, len(walls))])
        if los[key]:
            bounce = np.vstack([(start + end) / 2, bounce])
        bounce = bounce[rng.permutation(len(bounce))]
        there, back = bounce - start, bounce - end
        if i % 17 == 3:  # a link without a path: left out of the dict or empty
            if i % 2:
                empty = {"taud": np.zeros(0), "dod": np.zeros((0, 2)), "doa": np.zeros((0, 2))}
                paths[key] = empty
                for hz in FILES:
                    gains[hz][key] = np.zeros(0, dtype=complex)
            continue
        length = np.linalg.norm(there, axis=1) + np.linalg.norm(back, axis=1)
        paths[key] = {"taud": length / METRES_PER_NS, "dod": directions(there), "doa": directions(back)}
        turn = np.exp(2j * np.pi * rng.uniform(size=len(length))) * rng.uniform(0.1, 1, len(length))
        for hz in FILES:
            gains[hz][key] = METRES_PER_NS * 1e9 / (4 * np.pi * hz * length) * turn
    save_dict(folder / "Path.npy", paths, style)
    for hz, name in FILES.items():
        save_dict(folder / f"{name}.npy", gains[hz], style)

    scale = 3
    image = Image.new("RGB", (extent[0] * scale, extent[1] * scale), "white")
    pen = ImageDraw.Draw(image)
    for x0, y0, x1, y1 in buildings * scale:
        pen.rectangle([x0, y0, x1 - 1, y1 - 1], fill=(120, 120, 120))
    if north_up:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    image.save(folder / "environment.png")
    return Truth(folder, extent, buildings, bs, ue, keys, los)


def make(root: Path, seed: int = 0) -> list[Truth]:
    """Writes both scenarios under `root`; returns what scenario 1's 00000 and 00001 and scenario 2's 00000 hold."""
    rng = np.random.default_rng(seed)
    truths = [
        make_area(root / "scenario_1" / "00000", rng, 1, 150, north_up=True, style=1),
        make_area(root / "scenario_1" / "00001", rng, 1, 150, north_up=False, style=2),
        make_area(root / "scenario_2" / "00000", rng, 2, 40, north_up=True, style=1),
    ]
    bad = root / "scenario_1" / "09117"
    bad.mkdir()
    (bad / "Path.npy").write_bytes(b"damaged")
    return truths


if __name__ == "__main__":
    make(Path(sys.argv[1]))
