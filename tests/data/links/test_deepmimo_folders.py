"""DeepMIMO as people have it: rooms, moments of a street, Sionna's phases, several grids, zips, older layouts."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.links.deepmimo import make
from uniair.data.import_report import ImportReport
from uniair.data.importing import import_data
from uniair.data.links import deepmimo, shards
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.radio import SPEED_OF_LIGHT
from uniair.training.pretraining import check_grounds, check_split

SIDES = ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
Box = tuple[float, float, float, float, float, float]


def scenario(
    folder: Path, bs: Any, ue: Any, boxes: Sequence[Box] = (), sets: Sequence[int] = (1,), **params: Any
) -> Path:
    """A v4 scenario of LOS paths from one BS; boxes are `buildings` (west, south, bottom, east, north, top)."""
    folder.mkdir(parents=True)
    bs = np.asarray(bs, float)
    for number, users in zip(sets, np.array_split(np.asarray(ue, float), len(sets)), strict=True):
        across = users - bs
        length = np.linalg.norm(across, axis=1)
        turn = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
        up = np.degrees(np.arccos(across[:, 2] / length))
        arrays = {
            "phase": 0 * length, "delay": length / SPEED_OF_LIGHT, "power": -60 - 20 * np.log10(length), "aod_az": turn,
            "aod_el": up, "aoa_az": turn - 180 * np.sign(turn), "aoa_el": 180 - up, "inter": 0 * length,
        }  # fmt: skip
        arrays = {key: values[:, None].astype(np.float32) for key, values in arrays.items()}
        for key, values in (arrays | {"rx_pos": users.astype(np.float32), "tx_pos": bs[None]}).items():
            np.savez(folder / f"{key}_t000_tx000_r{number:03}.npz", **{key: values})
    document = {"version": "4.0.5", "rt_params": {"frequency": 28e9, "raytracer_name": "Remcom"}} | params
    (folder / "params.json").write_text(json.dumps(document))
    vertices, objects = [], []
    for west, south, low, east, north, high in boxes:
        faces = [[len(vertices) + corner for corner in side] for side in SIDES]
        vertices += [(x, y, z) for z in (low, high) for x, y in
                     ((west, south), (east, south), (east, north), (west, north))]  # fmt: skip
        objects.append({"label": "buildings", "id": len(objects), "face_vertex_idxs": faces})
    if boxes:
        (folder / "objects.json").write_text(json.dumps(objects))
        np.savez(folder / "vertices.npz", vertices=np.array(vertices, np.float32))
    return folder


def read(source: Path, report: ImportReport | None = None, **options: Any) -> Links:
    return Links.concatenate(list(deepmimo.read(source, report or ImportReport(), pixels=64, **options)))


def users(n: int, west: float, east: float, south: float, north: float, height: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.column_stack([rng.uniform(west, east, n), rng.uniform(south, north, n), np.full(n, height)])


ROOM, TABLE = (0.0, 0.0, 0.0, 10.0, 8.0, 3.0), (2.0, 2.0, 0.0, 4.0, 3.0, 0.8)
CEILING, FLOOR = (0.0, 0.0, 3.0, 10.0, 8.0, 3.2), (0.0, 0.0, -0.2, 10.0, 8.0, -0.1)


@pytest.mark.parametrize(
    "boxes",
    [
        (ROOM, TABLE),
        (CEILING, TABLE),  # a slab over all, which its plan view would make a block
        ((0, 0, 0, 5, 8, 3), (5, 0, 0, 10, 8, 3)),  # two rooms: neither holds most
    ],
)
def test_a_room_is_no_obstacle(boxes: Sequence[Box], tmp_path: Path) -> None:
    report = ImportReport()
    links = read(scenario(tmp_path / "room", (6, 4, 2.8), users(40, 1, 9, 1, 7), boxes), report)
    assert not links.mapped.any()
    assert not links.maps.any()
    assert [reason for reason in report.left_out if "the map is unknown" in reason]


@pytest.mark.parametrize(
    ("bs", "boxes"),
    [
        ((0, 0, 6), ((20, 10, 0, 60, 30, 12),)),
        ((30, 20, 14), ((20, 10, 0, 60, 30, 12),)),  # on a roof
        ((0, 0, 6), ((20, 10, 0, 60, 30, 12), (5, -9, 0, 12, 9, 12))),  # a hull that holds a bit of the street
        ((0, 0, 6), ((20, 10, 0, 60, 30, 12), (-3, -9, -4, 80, 9, -0.5))),  # a tunnel below
    ],
)
def test_a_city_stays_one(bs: Any, boxes: Sequence[Box], tmp_path: Path) -> None:
    report = ImportReport()
    links = read(scenario(tmp_path / "city", bs, users(40, 6, 70, -8, 8), boxes), report)
    assert links.mapped.all()
    assert links.maps.any()
    held = [count for reason, count in report.left_out.items() if "within a building" in reason]
    assert held == ([n] if (n := report.left_out["links to users within a building's outline: kept"]) else [])
    assert bool(held) == (len(boxes) == 2 and boxes[1][5] > 0)


def moments(root: Path, count: int = 4, first: int = 0, name: str = "scene_{}") -> Path:
    for t in range(first, first + count):
        ue = [(20 + 8 * i + t, 4 + i % 3, 1.5) for i in range(8)]
        scenario(root / name.format(t), (0, 0, 6), ue, [(10, 30, 0, 60, 50, 12)], scene={"num_scenes": 4})
    return root


@pytest.mark.parametrize("name", ["scene_{}", "Scene {}", "scene{}", "t{}"])
def test_scenes_are_moments_of_one_place(name: str, tmp_path: Path) -> None:
    root, report = moments(tmp_path / "street", name=name), ImportReport()
    links = read(root, report)
    assert set(links.places) == {"street"}
    assert len(set(links.areas)) == 4
    assert report.found["scenes of dynamic scenarios, each an area of its place"] == 4
    assert set(read(root / name.format(1)).places) == {"street"}  # one alone too


def test_scenes_follow_each_other(tmp_path: Path) -> None:
    links = read(moments(tmp_path / "street", 11))
    assert links.areas == tuple(f"street/{i:05d}" for i in range(11))


def test_scenarios_side_by_side_are_places_of_their_own(tmp_path: Path) -> None:
    for name in ("asu", "boston_scene_view"):
        scenario(tmp_path / name, (0, 0, 6), users(5, 6, 70, -8, 8))
    assert set(read(tmp_path).places) == {"asu", "boston_scene_view"}


def test_one_street_in_two_folders_is_found_out(tmp_path: Path) -> None:
    manifests = [
        import_data("deepmimo", moments(tmp_path / name, 2, first), tmp_path / f"{name}-links", pixels=32)
        for name, first in (("a", 0), ("b", 2))
    ]
    scenario(tmp_path / "other", (0, 0, 6), users(5, 6, 70, -8, 8), [(20, 10, 0, 60, 30, 12)])
    other = import_data("deepmimo", tmp_path / "other", tmp_path / "other-links", pixels=32)
    with pytest.raises(InputError, match="same buildings and base stations: one place"):
        check_grounds(*manifests)
    check_grounds(manifests[0], other)
    names = shards.read(tmp_path / "a-links").areas
    with pytest.raises(InputError, match="places in both"):
        check_split(names, names[1:])


def test_sionnas_phases_get_the_carrier(tmp_path: Path) -> None:
    """The same town by a tracer that writes whole phases, and as DeepMIMO's converter writes Sionna RT's."""
    whole = make.make_v4(tmp_path / "a", seed=2)
    bare = shutil.copytree(whole, tmp_path / "b" / "town_v4")
    make.change_params(bare, lambda d: d["rt_params"].update(raytracer_name="Sionna Ray Tracing"))
    for path in bare.glob("phase_*.npz"):
        delay = np.load(bare / path.name.replace("phase", "delay"))["delay"].astype(float)
        phase = np.load(path)["phase"].astype(float) + 360 * make.FREQUENCY * delay
        np.savez(path, phase=((phase + 180) % 360 - 180).astype(np.float32))
    truth, found = (read(folder, bs=(1,)).paths.csi(bearing=0.0).numpy().reshape(-1, 2048) for folder in (whole, bare))
    power = (np.abs(truth) ** 2).sum(1), (np.abs(found) ** 2).sum(1)
    correlation = np.abs((truth * found.conj()).sum(1)) ** 2 / (power[0] * power[1])
    assert correlation.min() > 0.999
    np.testing.assert_allclose(*power, rtol=0.02)


def test_several_grids_of_users(tmp_path: Path) -> None:
    report = ImportReport()
    folder = scenario(tmp_path / "grids", (0, 0, 6), users(30, 6, 70, -8, 8), sets=(1, 2, 4))
    assert len(read(folder, report)) == 30
    assert report.found["grids of users"] == 3
    for path in [*folder.glob("*_t000_tx000_r00[124].npz")]:
        shutil.copy(path, folder / path.name.replace("tx000", "tx001"))
    for path in folder.glob("*_t000_tx001_r002.npz"):
        path.unlink()
    report = ImportReport()
    assert len(read(folder, report)) == 50
    assert report.left_out["grids of users without files of a BS"] == 1


@pytest.mark.parametrize("inside", ["", "asu/", "data/asu/"])
def test_a_zip_is_read(inside: str, tmp_path: Path) -> None:
    folder = scenario(tmp_path / "asu", (0, 0, 6), users(9, 6, 70, -8, 8))
    with zipfile.ZipFile(tmp_path / "asu.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, inside + path.name)
        archive.writestr("__MACOSX/._power_t000_tx000_r001.npz", b"x")
    links = read(tmp_path / "asu.zip")
    assert len(links) == 9
    assert set(links.areas) == {"asu/00000"}
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"give .*asu\.zip"):
        read(tmp_path)
    (tmp_path / "asu.zip").write_bytes((tmp_path / "asu.zip").read_bytes()[:900])
    with pytest.raises(InputError, match=r"asu\.zip: (no DeepMIMO scenario|a zip that can't|no such folder)"):
        read(tmp_path / "asu.zip")


def test_version_2_is_named(tmp_path: Path) -> None:
    for name in ("O1_60.params.mat", "O1_60.3.CIR.mat", "O1_60.3.DoD.mat"):
        (tmp_path / name).write_bytes(b"MATLAB")
    with pytest.raises(InputError, match=r"a scenario of DeepMIMO v2 .* download it of version 3 or 4"):
        read(tmp_path)
