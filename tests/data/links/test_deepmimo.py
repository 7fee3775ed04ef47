"""DeepMIMO scenarios: the truth comes back from every layout, the CSI is the format's, broken files are one line."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import shapely

from tests.data.links.deepmimo import make
from tests.data.synthetic import assert_same
from uniair.area.raster import occupancy
from uniair.data.import_report import ImportReport
from uniair.data.links import deepmimo
from uniair.data.links.deepmimo_map import area_of
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.paths import LOS, REFLECTION, UNKNOWN
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, UPA, Array, Radio, Subcarriers

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "deepmimo"
# links, LOS links, users without a path, of each BS; counted in the files without the reader
CITIES = {
    "fortworth_28ghz": ((1902, 1016, 4290), (611, 470, 5581), (762, 583, 5430)),
    "indianapolis_28ghz": ((3401, 1547, 2919), (3113, 1505, 3207), (3248, 1647, 3072)),
    "sandiego_28ghz": ((2192, 1466, 3701), (1829, 901, 4064), (1998, 1413, 3895)),
    "santaclara_28ghz": ((2689, 1879, 2669), (1744, 1031, 3614), (2489, 1770, 2869)),
}


def read(source: Path, report: ImportReport | None = None, **options: Any) -> Links:
    """All links of one scenario."""
    parts = list(deepmimo.read(source, report or ImportReport(), **{"pixels": 64, **options}))
    links = Links.concatenate(parts)
    one = parts[0]
    return Links(one.areas, one.maps, one.mapped, one.sizes, np.zeros_like(links.area), links.bs, links.ue,
                 links.bearing, links.los, links.paths, one.radios)  # fmt: skip


def assert_is_the_town(links: Links, truth: make.Town, known: bool, bs: tuple[int, ...] = (0, 1)) -> None:
    """Positions, gains, delays, angles and interactions of every link with a path, BS after BS."""
    rays = {key: values[list(bs)].reshape(-1, 3) for key, values in truth.rays.items()}
    there = ~np.isnan(rays["power"])
    kept = there.any(1)
    station, user = (i.ravel()[kept] for i in np.meshgrid(bs, np.arange(len(truth.ue)), indexing="ij"))
    assert links.paths.counts.tolist() == there.sum(1)[kept].tolist()
    across = truth.ue[user] - truth.bs[station]
    np.testing.assert_allclose(links.ue - links.bs, across, atol=1e-4)
    np.testing.assert_allclose(links.bs[:, 2], truth.bs[station, 2], atol=1e-5)  # heights stay
    value = {key: values[there] for key, values in rays.items()}
    gain = 10 ** (value["power"] / 20) * np.exp(1j * np.deg2rad(value["phase"]))
    np.testing.assert_allclose(links.paths.gain, gain, rtol=1e-5)
    np.testing.assert_allclose(links.paths.delay, value["delay"], rtol=1e-6)
    for name, key in (("aod_azimuth", "aod_az"), ("aod_zenith", "aod_el"), ("aoa_azimuth", "aoa_az")):
        np.testing.assert_allclose(getattr(links.paths, name), np.deg2rad(value[key]), atol=1e-5)
    np.testing.assert_allclose(links.paths.aoa_zenith, np.deg2rad(value["aoa_el"]), atol=1e-5)
    codes = value["inter"].astype(int)
    assert links.paths.interactions.tolist() == np.where((codes == LOS) | known, codes, UNKNOWN).tolist()
    assert links.los.tolist() == (rays["inter"] == 0).any(1)[kept].tolist()
    direct = links.paths.interactions == LOS
    distance = np.linalg.norm(links.ue - links.bs, axis=1)[links.paths.link_of_path]
    np.testing.assert_allclose(links.paths.delay[direct] * SPEED_OF_LIGHT, distance[direct], rtol=1e-5)


def test_v3_comes_back_whole(tmp_path: Path) -> None:
    report, truth = ImportReport(), make.town(3)
    links = read(make.make_v3(tmp_path, seed=3), report)
    assert_is_the_town(links, truth, known=False)
    assert links.areas == ("town_v3/00000",)
    assert not links.mapped.any()
    assert not links.maps.any()
    empty = int(np.isnan(truth.rays["power"]).all(-1).sum())
    assert empty > 5
    assert report.found == {"links": 84 - empty, "LOS links": links.los.sum(), "scenarios": 1}
    assert report.left_out == {"links without a path": empty, "sets of links between BSs": 2}
    assert report.examples["sets of links between BSs"] == ["town_v3/BS1_BS.mat", "town_v3/BS2_BS.mat"]


def test_v3_gains_do_not_depend_on_the_transmitted_power(tmp_path: Path) -> None:
    links = read(make.make_v3(tmp_path, seed=3, transmitted=30.0))
    assert_is_the_town(links, make.town(3), known=False)


@pytest.mark.parametrize("keys", ["new", "old"])
@pytest.mark.parametrize("form", ["npz", "mat", "npy"])
def test_v4_comes_back_whole(tmp_path: Path, keys: str, form: str) -> None:
    report = ImportReport()
    links = read(make.make_v4(tmp_path, seed=4, keys=keys, form=form), report)
    assert_is_the_town(links, make.town(4), known=True)
    assert set(links.paths.interactions.tolist()) == {LOS, REFLECTION}
    assert links.areas == ("town_v4/00000",)
    assert links.mapped.all()
    assert report.left_out["sets of links between BSs"] == 2
    assert report.examples["sets of links between BSs"][0] == "town_v4/t000_tx000_r000"


def test_a_folder_of_scenarios_is_read_scenario_by_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.make_v3(tmp_path)
    make.make_v4(tmp_path)
    (tmp_path / "something else").mkdir()
    report = ImportReport()
    names = [links.areas[0] for links in deepmimo.read(tmp_path, report)]
    assert list(dict.fromkeys(names)) == ["town_v3/00000", "town_v4/00000"]
    assert report.found["scenarios"] == 2
    monkeypatch.chdir(tmp_path / "town_v4")
    assert read(Path()).areas == ("town_v4/00000",)


@pytest.mark.parametrize("layout", [make.make_v3, make.make_v4])
def test_one_bs_of_several(tmp_path: Path, layout: Callable[[Path, int], Path]) -> None:
    folder = layout(tmp_path, 5)
    both, second = read(folder), read(folder, bs=(2,))
    assert_is_the_town(second, make.town(5), known=layout is make.make_v4, bs=(1,))
    assert second.sizes == both.sizes  # the area is the scenario's, whichever BS is read
    assert np.array_equal(second.ue, both.ue[-len(second) :])
    with pytest.raises(InputError, match=r"has no BS 7; choose from 1, 2"):
        read(folder, bs=(1, 7))


@pytest.mark.parametrize("layout", [make.make_v3, make.make_v4])
@pytest.mark.parametrize("chunk", [1, 5, 42, 1000])
def test_chunks_change_nothing(tmp_path: Path, layout: Callable[[Path, int], Path], chunk: int) -> None:
    folder = layout(tmp_path, 6)
    parts = list(deepmimo.read(folder, ImportReport(), chunk=chunk, pixels=16))
    assert max(map(len, parts)) <= chunk
    assert_same(read(folder, chunk=chunk), read(folder))


def test_arrays_stored_by_column_read_the_same(tmp_path: Path) -> None:
    folder = make.make_v4(tmp_path, form="npy")
    before = read(folder)
    for path in folder.glob("[apr]*_t000_*.npy"):
        np.save(path, np.asfortranarray(np.load(path)))
    assert_same(read(folder, chunk=5), before)


def test_sets_and_indices_number_the_bss(tmp_path: Path) -> None:
    folder = make.make_v4(tmp_path, seed=4)
    for path in sorted(folder.glob("*_t000_tx001_r001.npz")):
        path.rename(folder / path.name.replace("t000_tx001", "t003_tx000"))
    assert_is_the_town(read(folder), make.town(4), known=True)
    assert_is_the_town(read(folder, bs=(2,)), make.town(4), known=True, bs=(1,))


@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("form", ["npz", "mat", "npy"])
def test_geometry_becomes_an_area_and_a_map(tmp_path: Path, mesh: bool, form: str) -> None:
    folder = make.make_v4(tmp_path, form=form, mesh=mesh)
    area = area_of(folder)
    assert area is not None
    assert area.heights.tolist() == [12.0, 20.0]  # the ground is no building
    for footprint, (west, south, east, north, _) in zip(area.footprints, make.BUILDINGS, strict=True):
        assert footprint.symmetric_difference(shapely.box(west, south, east, north)).area < 0.01
    links = read(folder, pixels=64)
    truth = make.town(0)
    corner = truth.bs[0, :2] - links.bs[0, :2]
    step = float(links.sizes[0]) / 64
    x, y = np.meshgrid(corner[0] + (np.arange(64) + 0.5) * step, corner[1] + (np.arange(64) + 0.5) * step)
    walls = [(x > w) & (x < e) & (y > s) & (y < n) for w, s, e, n, _ in make.BUILDINGS]
    assert np.array_equal(links.maps[0].astype(bool), walls[0] | walls[1])
    assert np.array_equal(links.maps[0], occupancy(area.crop(*corner, links.sizes[0]), 64))


def test_without_buildings_the_map_is_unknown(tmp_path: Path) -> None:
    folder = make.make_v4(tmp_path)
    objects = json.loads((folder / "objects.json").read_text(encoding="utf-8"))
    (folder / "objects.json").write_text(json.dumps(objects[2:]), encoding="utf-8")
    assert area_of(folder) is None
    (folder / "objects.json").unlink()
    assert area_of(folder) is None
    assert not read(folder).mapped.any()


@pytest.mark.parametrize("turn", [0.0, -135.0, 40.0])
def test_csi_is_the_channel_of_the_format(tmp_path: Path, turn: float) -> None:
    """h = Σ √P e^{jφ} e^{−j2πτkΔf} e^{+jπ n sinθ sin(φ_az − γ)}: elements along y, turned by γ about z."""
    links = read(make.make_v4(tmp_path, seed=7), bearing=-np.pi / 2 + np.deg2rad(turn))
    rays = {key: values.reshape(-1, 3).astype(np.float32).astype(float) for key, values in make.town(7).rays.items()}
    n, k = np.arange(32)[:, None], np.arange(64)[None]
    element = np.sin(np.deg2rad(rays["aod_el"])) * np.sin(np.deg2rad(rays["aod_az"] - turn))
    wave = np.sqrt(10 ** (rays["power"] / 10)) * np.exp(1j * np.deg2rad(rays["phase"]))
    phase = np.pi * n * element[..., None, None] - 2 * np.pi * 720e3 * k * rays["delay"][..., None, None]
    channel = np.nansum(wave[..., None, None] * np.exp(1j * phase), axis=1)
    channel = channel[~np.isnan(rays["power"]).all(1)]
    csi = links.paths.csi(bearing=links.bearing).numpy()
    assert (abs(csi - channel).max((1, 2)) / abs(channel).max((1, 2))).max() < 1e-4


def test_orientation_of_the_array(tmp_path: Path) -> None:
    """A LOS path due north: along DeepMIMO's y axis the phase grows by π an element; broadside, not at all."""
    folder = make.make_v4(tmp_path)
    position, ue = np.array([[0.0, 0.0, 6.0]]), np.array([[0.0, 40.0, 6.0]])
    lone = {"phase": 0.0, "delay": 40 / SPEED_OF_LIGHT, "power": -80.0, "inter": 0.0}
    lone |= {"aod_az": 90.0, "aod_el": 90.0, "aoa_az": -90.0, "aoa_el": 90.0}
    for path in folder.glob("*_t000_*_r000.npz"):
        path.unlink()
    for path in folder.glob("*_t000_tx001_*.npz"):
        path.unlink()
    arrays = {key: np.array([[value]]) for key, value in lone.items()} | {"tx_pos": position, "rx_pos": ue}
    for key, values in arrays.items():
        make.save(folder, f"{key}_t000_tx000_r001", key, values.astype(np.float32), "npz")
    for bearing, step in ((-np.pi / 2, np.pi), (0.0, 0.0), (np.pi / 2, -np.pi)):
        links = read(folder, bearing=bearing)
        csi = links.paths.csi(bearing=links.bearing).numpy()[0, :, 0]
        np.testing.assert_allclose(csi, 1e-4 * np.exp(1j * step * np.arange(32)), atol=1e-9)


def test_digits_that_float32_cannot_hold_are_unknown(tmp_path: Path) -> None:
    folder = make.make_v4(tmp_path)
    change(folder, "inter_t000_tx000_r001", lambda v: np.where(v == 1, np.float32(2222222222), v))
    interactions = read(folder, bs=(1,)).paths.interactions
    assert set(interactions.tolist()) == {LOS, UNKNOWN}


def test_memory_is_bounded_by_a_chunk(tmp_path: Path) -> None:
    folder = make.make_v4(tmp_path)
    for path in folder.glob("*_t000_tx001_*.npz"):
        path.unlink()
    for path in folder.glob("*_t000_tx000_r001.npz"):
        key = path.name.split("_t000")[0]
        if key not in ("tx_pos", "inter_pos"):
            change(folder, path.stem, lambda v: np.tile(v, (2000, 1)))
    whole = sum(np.load(path)[path.name.split("_t000")[0]].nbytes for path in folder.glob("*_t000_tx000_r001.npz"))
    assert whole > 8e6
    tracemalloc.start()
    count = sum(len(links) for links in deepmimo.read(folder, ImportReport(), chunk=500, pixels=16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count % 2000 == 0
    assert peak < 5e6


def change(folder: Path, name: str, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrites an array of a .npz of v4."""
    key = name.split("_t000")[0]
    with np.load(folder / f"{name}.npz") as file:
        values = function(file[key])
    np.savez_compressed(folder / f"{name}.npz", **{key: values})


def change_v3(folder: Path, function: Callable[[dict[str, Any]], object], name: str = "BS1_UE_0-25.mat") -> None:
    content = scipy.io.loadmat(folder / name)
    function(content)
    scipy.io.savemat(folder / name, {key: value for key, value in content.items() if not key.startswith("__")})


def one(where: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Sets the first path that is there (or, at 1, the last)."""

    def spoil(values: np.ndarray) -> np.ndarray:
        index = np.argwhere(~np.isnan(values))[-where]
        values[tuple(index)] = value
        return values

    return spoil


@pytest.mark.parametrize(
    ("key", "function", "words"),
    [
        ("power", one(0, np.nan), "power of a path is NaN"),
        ("aod_az", one(1, np.inf), "aod_az of a path is NaN or infinite"),
        ("inter", one(0, np.nan), "inter of a path is NaN"),
        ("inter", one(0, 1.5), "not made of digits"),
        ("power", lambda v: 10 ** (v / 10), "power is not between −500 and 0 dB; it must be in dB"),
        ("delay", lambda v: v * 1e9, "delay is negative or that of 100 km; delays must be in seconds"),
        ("delay", lambda v: v * 1e6, "delays must be in seconds"),
        ("delay", lambda v: v * 1e-3, "below that of the straight line"),
        ("delay", lambda v: v * 1.5, "a LOS delay is not that of the straight line"),
        ("rx_pos", lambda v: v * 1000, "positions must be in metres"),
        ("rx_pos", lambda v: v * 30, "delays must be in seconds, positions in metres"),
        ("rx_pos", lambda v: v[:, ::-1], "straight line"),
        ("rx_pos", one(0, np.nan), "a position is NaN"),
        ("tx_pos", one(0, 1e9), "a position is NaN or huge"),
        ("tx_pos", one(0, 1e7), "m apart; positions must be in metres"),
        ("aod_az", np.deg2rad, "aod of a LOS path does not point from BS to UE; angles must be degrees"),
        ("aoa_az", lambda v: v + 180, "must be in degrees|does not point from UE to BS"),
        ("aod_el", lambda v: 90 - v, "aod_el of a path is outside 0 to 180|does not point"),
        ("aod_el", np.deg2rad, "does not point from BS to UE"),
        ("phase", lambda v: v * 1000, "phase of a path is beyond 360"),
        ("power", lambda v: v[:-1], r"has shape \(41, 3\), expected \(42, 3\)"),
        ("power", lambda v: v[:, 0], r"has shape \(42,\)"),
        ("aod_el", lambda v: v[:, :2], r"has shape \(42, 2\), expected \(42, 3\)"),
        ("rx_pos", lambda v: v[:, :2], r"has shape \(42, 2\), expected \(42, 3\)"),
        ("tx_pos", lambda v: v[0], r"has shape \(3,\), expected \(1, 3\)"),
        ("phase", lambda v: v.astype("U9"), "not numbers"),
        ("phase", lambda v: v * 1j, "not numbers"),
    ],
)
def test_values_that_cannot_be_are_one_line(
    tmp_path: Path, key: str, function: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    folder = make.make_v4(tmp_path)
    change(folder, f"{key}_t000_tx000_r001", function)
    with pytest.raises(InputError, match=words) as error:
        read(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_radians_are_noticed_without_a_los_path_too(tmp_path: Path) -> None:
    folder = make.make_v4(tmp_path)
    change(folder, "inter_t000_tx000_r001", lambda v: v * 0 + 1)
    assert not read(folder, bs=(1,)).los.any()
    change(folder, "aod_el_t000_tx000_r001", np.deg2rad)
    with pytest.raises(InputError, match="no aod_el is above π; it must be in degrees"):
        read(folder)


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda folder: [path.unlink() for path in folder.glob(pattern)] and None


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40]) and None


def other_key(folder: Path) -> None:
    np.savez(folder / "phase_t000_tx000_r001.npz", angle=np.zeros((42, 3)))


def no_paths(folder: Path) -> None:
    for path in folder.glob("*_r001.npz"):
        if not path.name.startswith(("rx", "tx")):
            change(folder, path.stem, lambda v: v * np.nan)


def pickled(folder: Path) -> None:
    np.savez(folder / "phase_t000_tx000_r001.npz", phase=np.full((42, 3), {}, dtype=object))


def objects(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "objects.json").write_text(text, encoding="utf-8") and None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove("power_t000_tx001_r001.npz"), "power_t000_tx001_r001.npz is missing"),
        (remove("tx_pos*"), "tx_pos_t000_tx000_r001.npz is missing"),
        (remove("*_r001.npz"), "every receiver set is a transmitter too"),
        (remove("vertices.npz"), "vertices.npz is missing"),
        (remove("*"), "no DeepMIMO scenario in it"),
        (cut("aoa_az_t000_tx000_r001.npz"), "is the file whole"),
        (cut("vertices.npz"), "is the file whole"),
        (cut("objects.json"), "is the file whole"),
        (other_key, "can't be read"),
        (pickled, "not numbers"),
        (no_paths, "the scenario is empty"),
        (objects("[1, 2]"), "can't be read"),
        (objects('{"a": 1}'), "can't be read"),
        (objects('[{"label": "buildings"}]'), r"faces.npz is missing"),
        (objects('[{"label": "buildings", "face_vertex_idxs": [[0, 1]]}]'), "can't be read"),
        (objects('[{"label": "buildings", "face_vertex_idxs": [[0, 1, 999]]}]'), "can't be read"),
        (lambda folder: change(folder, "vertices", lambda v: v * np.nan), "a position is NaN"),
        (lambda folder: change(folder, "vertices", lambda v: v[:, :2]), r"expected \(N, 3\)"),
        (lambda folder: change(folder, "rx_pos_t000_tx000_r001", lambda v: v[:0]), "expected|no users"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_broken_v4_is_one_line(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = make.make_v4(tmp_path)
    spoil(folder)
    with pytest.raises(InputError, match=words) as error:
        read(folder)
    assert "\n" not in str(error.value)


def entry(row: int, value: float) -> Callable[[dict[str, Any]], None]:
    """Sets a value of the first path of a v3 file."""

    def spoil(content: dict[str, Any]) -> None:
        next(cell["p"][0, 0] for cell in content["channels"][0] if cell["p"][0, 0].size)[row, 0] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove("params.mat"), r"params.mat: can't be read"),
        (remove("BS2_UE_25-42.mat"), "has users 0 to 25 of 42 for BS 2; get its other BS2_UE_ files"),
        (remove("BS1_UE_0-25.mat"), "has users 0 to 0 of 42 for BS 1"),
        (lambda f: (f / "BS1_UE_0-25.mat").rename(f / "BS1_UE_0-0.mat"), "has users 0 to 0 of 42 for BS 1"),
        (cut("BS1_UE_0-25.mat"), "is the file whole"),
        (cut("params.mat"), "is the file whole"),
        (lambda f: change_v3(f, lambda c: c.pop("channels")), "KeyError"),
        (lambda f: change_v3(f, lambda c: c.pop("tx_loc")), "KeyError"),
        (lambda f: change_v3(f, lambda c: c.pop("num_BS"), "params.mat"), "KeyError"),
        (lambda f: change_v3(f, lambda c: c.update(transmit_power=np.nan), "params.mat"), "transmit_power nan"),
        (lambda f: change_v3(f, lambda c: c.update(num_BS=0), "params.mat"), "num_BS 0"),
        (lambda f: change_v3(f, lambda c: c.update(num_BS=3), "params.mat"), "has users 0 to 0 of 42 for BS 3"),
        (lambda f: change_v3(f, lambda c: c.update(rx_locs=c["rx_locs"][:9])), "for 25 users"),
        (lambda f: change_v3(f, lambda c: c.update(rx_locs=c["rx_locs"][:, :2])), "for 25 users"),
        (lambda f: change_v3(f, lambda c: c.update(channels=c["channels"][:, :9])), "9 channels for 25 users"),
        (lambda f: change_v3(f, entry(2, np.nan)), "power of a path is NaN"),
        (lambda f: change_v3(f, entry(1, 150.0)), "delays must be in seconds"),
        (lambda f: change_v3(f, entry(7, 2.0)), "LoS flag"),
    ],
)
def test_broken_v3_is_one_line(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = make.make_v3(tmp_path)
    spoil(folder)
    with pytest.raises(InputError, match=words) as error:
        read(folder)
    assert "\n" not in str(error.value)


def test_matrices_of_another_height_are_one_line(tmp_path: Path) -> None:
    folder = make.make_v3(tmp_path)

    def shorten(content: dict[str, Any]) -> None:
        for cell in content["channels"][0]:
            cell["p"][0, 0] = cell["p"][0, 0][:7]

    change_v3(folder, shorten)
    with pytest.raises(InputError, match=r"a channel of shape \(7, \d\)"):
        read(folder)


@pytest.mark.parametrize("options", [{"pixels": 0}, {"chunk": 0}, {"bearing": np.nan}])
def test_options_that_cannot_be_are_one_line(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        read(make.make_v4(tmp_path), **options)


@pytest.mark.parametrize("form", ["v3", "npz", "npy", "mat"])
def test_random_damage_is_an_input_error_or_nothing(tmp_path: Path, form: str) -> None:
    folder = make.make_v3(tmp_path) if form == "v3" else make.make_v4(tmp_path, form=form, mesh=form == "npz")
    rng = np.random.default_rng(0)
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(("inter_pos", "materials")))
    refused = []
    for turn in range(60):
        path = files[rng.integers(len(files))]
        data = path.read_bytes()
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 9)):
            broken[place] = rng.integers(256)
        path.write_bytes(broken[: rng.integers(len(data))] if turn % 3 == 0 else broken)
        try:
            read(folder, pixels=8)
        except InputError as error:
            refused.append(str(error))
        path.write_bytes(data)
    assert len(refused) > 20
    assert not [message for message in refused if "\n" in message or str(tmp_path) not in message]
    read(folder)


@pytest.mark.skipif(not REAL.exists(), reason="real DeepMIMO scenarios are not beside this checkout")
@pytest.mark.parametrize("city", CITIES)
def test_real_cities_are_read_whole(city: str) -> None:
    for bs, (count, los, empty) in enumerate(CITIES[city], start=1):
        report = ImportReport()
        links = read(REAL / city, report, bs=(bs,))
        assert report.found == {"links": count, "LOS links": los, "scenarios": 1}
        assert report.left_out["links without a path"] == empty
        direct = links.paths.interactions == LOS
        distance = np.linalg.norm(links.ue - links.bs, axis=1)[links.paths.link_of_path[direct]]
        friis = 20 * np.log10(SPEED_OF_LIGHT / 28e9 / (4 * np.pi * distance))
        assert abs(20 * np.log10(abs(links.paths.gain[direct])) - friis).max() < 0.05  # gains are free space's


@pytest.mark.skipif(not REAL.exists(), reason="real DeepMIMO scenarios are not beside this checkout")
def test_the_hand_made_v4_scenario_is_read_whole() -> None:
    report = ImportReport()
    links = read(REAL / "v4_tiny_synthetic", report)
    assert report.found == {"links": 3, "LOS links": 2, "scenarios": 1}
    assert report.left_out == {"links without a path": 1}
    assert links.paths.interactions.tolist() == [0, 1, 0, 11]
    assert links.mapped.all()
    assert links.maps.sum() == pytest.approx(25 / float(links.sizes[0]) ** 2 * 64**2, abs=12)


def antennas(rows: int, columns: int) -> list[list[float]]:
    """Elements half a wavelength apart at 3.5 GHz: [3, E] m, as Sionna RT and deepmimo's converter leave them."""
    row, column = np.tile(np.arange(rows), columns), np.repeat(np.arange(columns), rows)
    half = SPEED_OF_LIGHT / 3.5e9 / 2
    return [[0.0] * len(row), (half * (column - (columns - 1) / 2)).tolist(), (-half * (row - (rows - 1) / 2)).tolist()]


def at(folder: Path, carrier: Any, **transmitter: Any) -> Path:
    def change(document: dict[str, Any]) -> None:
        document["rt_params"]["frequency"] = carrier
        document["txrx_sets"]["txrx_set_0"] |= transmitter
        if "ant_rel_positions" in transmitter and len(transmitter["ant_rel_positions"]) > 1:
            document["rt_params"]["raytracer_name"] = "Sionna Ray Tracing"

    make.change_params(folder, change)
    return folder


def test_the_carrier_is_the_scenarios(tmp_path: Path) -> None:
    assert read(make.make_v3(tmp_path / "a")).one_radio() == Radio()
    assert read(make.make_v3(tmp_path / "b", carrier_freq=2.5e9)).one_radio() == Radio(carrier=2.5e9)
    assert read(make.make_v4(tmp_path / "c")).one_radio() == Radio()
    assert read(at(make.make_v4(tmp_path / "d"), 3_500_000_000)).one_radio() == Radio(carrier=3.5e9)
    folder = make.make_v4(tmp_path / "e")  # the first of v4 kept params.mat
    (folder / "params.json").unlink()
    traced = {"frequency": 60e9, "raytracer_name": "Remcom Wireless Insite"}
    scipy.io.savemat(folder / "params.mat", {"rt_params": traced, "version": "4.0.0a"})
    assert read(folder).one_radio() == Radio(carrier=60e9)


def test_scenarios_of_a_folder_keep_each_its_own(tmp_path: Path) -> None:
    make.make_v3(tmp_path)
    at(make.make_v4(tmp_path), 3.5e9)
    found = {links.areas[0]: links.one_radio().carrier for links in deepmimo.read(tmp_path, ImportReport())}
    assert found == {"town_v3/00000": 28e9, "town_v4/00000": 3.5e9}


def without_carrier(folder: Path) -> Path:
    if (folder / "params.json").exists():
        make.change_params(folder, lambda document: document["rt_params"].pop("frequency"))
    else:
        change_v3(folder, lambda content: content.pop("carrier_freq"), "params.mat")
    return folder


@pytest.mark.parametrize("layout", [make.make_v3, make.make_v4])
def test_a_missing_carrier_is_guessed_said_and_counted(tmp_path: Path, layout: Callable[[Path], Path]) -> None:
    folder, report = without_carrier(layout(tmp_path)), ImportReport()
    for said in (None, {"clock": "first_path"}):
        assert read(folder, report, radio=said).one_radio().carrier == 28e9
    guessed = "scenarios that name no carrier, taken for paper 1's 28 GHz: say it by --radio"
    assert report.examples[guessed] == [folder.name]
    assert report.left_out[guessed] == 2
    assert read(folder, report, radio={"carrier": 2.6e9}).one_radio() == Radio(carrier=2.6e9)
    assert report.examples["scenarios that name no carrier, taken from --radio"] == [folder.name]


def test_a_v4_scenario_without_parameters_needs_the_carrier(tmp_path: Path) -> None:
    folder = make.make_v4(tmp_path)
    (folder / "params.json").unlink()
    with pytest.raises(InputError, match=r"params\.mat: is missing, and the carrier with it"):
        read(folder)
    assert read(folder, radio={"carrier": 28e9}).one_radio() == Radio()


@pytest.mark.parametrize(
    ("carrier", "words"),
    [(28, "a carrier of 28 can't be in Hz"), (-1.0, "can't be in Hz"), (float("nan"), "can't be in Hz"),
     ("28 GHz", "can't be read"), ([28e9, 3e9], "can't be read"), (3.5e9, "traced at 3.5 GHz, --radio says 28 GHz")],
)  # fmt: skip
def test_carriers_that_cannot_be_are_one_line(tmp_path: Path, carrier: Any, words: str) -> None:
    folder = at(make.make_v4(tmp_path), carrier)
    with pytest.raises(InputError, match=words) as error:
        read(folder, radio=Radio().to_json())
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_what_the_user_says_stands_in_the_links(tmp_path: Path) -> None:
    folder = at(make.make_v4(tmp_path), 3.5e9)
    links = read(folder, radio={"array": {"kind": "upa", "rows": 2, "columns": 4}, "clock": "first_path"})
    assert links.one_radio() == Radio(UPA(2, 4), carrier=3.5e9, clock="first_path")


@pytest.mark.parametrize(
    ("rows", "columns", "array"), [(1, 1, ULA()), (1, 8, ULA(8)), (3, 1, UPA(3, 1)), (1, 3, ULA(3)), (2, 4, UPA(2, 4))]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_an_array_traced_by_sionna_comes_in(
    tmp_path: Path, rows: int, columns: int, array: Any, transposed: bool
) -> None:
    positions: Any = antennas(rows, columns)
    folder = at(
        make.make_v4(tmp_path), 3.5e9, ant_rel_positions=np.transpose(positions).tolist() if transposed else positions
    )
    report = ImportReport()
    assert read(folder, report).one_radio() == Radio(array, carrier=3.5e9)
    assert set(report.left_out) <= {"links without a path", "sets of links between BSs"}


def test_arrays_in_units_that_nobody_says_are_counted(tmp_path: Path) -> None:
    positions = [[0, 0, 0], [4.2, 0, 0]]
    folder, report = at(make.make_v4(tmp_path), 3.5e9, num_ant=2, ant_rel_positions=positions), ImportReport()
    assert read(folder, report).one_radio() == Radio(carrier=3.5e9)
    (reason,) = (reason for reason in report.examples if "ant_rel_positions" in reason)
    assert reason.endswith("give --radio")
    assert report.examples[reason] == ["town_v4"]


@pytest.mark.parametrize("version", [3, 4])
def test_array_and_grid_of_saved_channel_parameters_come_in(tmp_path: Path, version: int) -> None:
    antenna = {"spacing": 0.7, "radiation_pattern": "isotropic", "rotation": [0, 0, 0]}
    ofdm = {"subcarriers": 512, "selected_subcarriers": list(range(0, 512, 8))}
    if version == 3:  # shape along x, y, z; bandwidth in GHz
        shape, bandwidth = {"shape": [1, 16, 1]}, {"bandwidth": 0.05}
        folder = make.make_v3(tmp_path, bs_antenna=antenna | shape, OFDM=ofdm | bandwidth)
    else:
        saved = {"bs_antenna": antenna | {"shape": [16, 1]}, "ofdm": ofdm | {"bandwidth": 50e6}}
        folder = make.make_v4(tmp_path)
        make.change_params(folder, lambda document: document.update(saved))
    assert read(folder).one_radio() == Radio(ULA(16, 0.7), OFDM(64, 8 * 50e6 / 512))


@pytest.mark.parametrize(
    ("chosen", "grid"),
    [([0], OFDM(100, 1e5)), ([4, 6, 8], OFDM(3, 2e5, 4e5)), ([0, 1, 5], Subcarriers([0.0, 1e5, 5e5]))],
)
def test_selected_subcarriers_are_the_grid(tmp_path: Path, chosen: list[int], grid: Any) -> None:
    folder = make.make_v4(tmp_path)
    ofdm = {"subcarriers": 100, "bandwidth": 10e6, "selected_subcarriers": chosen}
    make.change_params(folder, lambda document: document.update(ofdm=ofdm))
    assert read(folder).one_radio() == Radio(grid=grid)


def test_a_saved_panel_gives_the_channel_of_the_format(tmp_path: Path) -> None:
    """Element n is n % 4 along y and n // 4 upwards; its phase grows with both."""
    folder = make.make_v4(tmp_path, seed=7)
    antenna = {"shape": [4, 2], "spacing": 0.6}
    make.change_params(folder, lambda document: document.update(bs_antenna=antenna))
    links = read(folder)
    radio = links.one_radio()
    assert isinstance(radio.array, Array)
    rays = {key: values.reshape(-1, 3).astype(np.float32).astype(float) for key, values in make.town(7).rays.items()}
    azimuth, zenith = np.deg2rad(rays["aod_az"])[..., None], np.deg2rad(rays["aod_el"])[..., None]
    n = np.arange(8)
    phase = 2 * np.pi * 0.6 * (n % 4 * np.sin(zenith) * np.sin(azimuth) + n // 4 * np.cos(zenith))
    wave = np.sqrt(10 ** (rays["power"] / 10)) * np.exp(1j * np.deg2rad(rays["phase"]))
    channel = np.nansum(wave[..., None] * np.exp(1j * phase), axis=1)[~np.isnan(rays["power"]).all(1)]
    csi = links.paths.csi(radio, links.bearing).numpy()[..., 0]
    assert (abs(csi - channel).max(1) / abs(channel).max(1)).max() < 1e-4


@pytest.mark.parametrize(
    "antenna", [{"shape": [8, 1], "rotation": [0, 0, -135]}, {"shape": [8, 1], "radiation_pattern": "halfwave-dipole"},
                [{"shape": [8, 1]}, {"shape": [4, 1]}]],
)  # fmt: skip
def test_saved_arrays_that_a_radio_cannot_have_are_counted(tmp_path: Path, antenna: Any) -> None:
    folder, report = make.make_v4(tmp_path), ImportReport()
    make.change_params(folder, lambda document: document.update(bs_antenna=antenna))
    assert read(folder, report).one_radio() == Radio()
    assert any("bs_antenna" in reason for reason in report.left_out)


@pytest.mark.skipif(not REAL.exists(), reason="the real scenarios are not here")
def test_the_real_scenarios_say_their_carrier() -> None:
    assert read(REAL / "santaclara_28ghz", bs=(1,), pixels=8).one_radio() == Radio()
    assert read(REAL / "v4_tiny_synthetic", pixels=8).one_radio() == Radio(carrier=3.5e9)
