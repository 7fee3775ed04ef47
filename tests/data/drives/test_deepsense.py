"""DeepSense 6G: every layout gives the same drives, corruption is mended and reported, damage is one clear line."""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from uniair.data.drives import deepsense, sensors
from uniair.data.drives.drive import Drive, read_drives, write_drives
from uniair.data.import_report import ImportReport
from uniair.errors import InputError

from .deepsense import make

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "deepsense"
# samples, drives and different best beams of each gathered scenario
REAL_COUNTS = {
    "scenario1": (2422, 29, 61),
    "scenario2": (2974, 33, 60),
    "scenario3": (1487, 52, 60),
    "scenario4": (1867, 72, 61),
    "scenario5": (2300, 29, 61),
    "scenario6": (915, 12, 58),
    "scenario7": (856, 62, 59),
}
M = make.measure(0)
KEPT = np.arange(len(M.beam)) != make.LOST


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: every layout of seed 0."""
    root = tmp_path_factory.mktemp("deepsense")
    make.make_folder(root / "nine" / "scenario9", 0, "9")
    make.make_folder(root / "thirty-one", 0, "31")
    make.make_gathered(root / "gathered", 0)
    make.make_challenge(root / "challenge", 0)
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of scenario 31 to break."""
    return Path(shutil.copytree(made / "thirty-one", tmp_path / "scenario31"))


def everything(source: Path, beams: int = 64) -> tuple[list[Drive], ImportReport]:
    report = ImportReport()
    return list(deepsense.read(source, report, beams=beams)), report


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def edit(folder: Path, change: Callable[[list[list[str]]], Any]) -> None:
    """Changes the rows (header first) of the folder's CSV."""
    path = next(folder.glob("*.csv"))
    table = rows(path)
    change(table)
    path.write_text("\n".join(",".join(row) for row in table) + "\n", encoding="utf-8")


def drop_columns(table: list[list[str]], *names: str) -> None:
    gone = {table[0].index(name) for name in names}
    table[:] = [[cell for i, cell in enumerate(row) if i not in gone] for row in table]


def fails(source: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        everything(source)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


# layouts


@pytest.mark.parametrize("layout", ["nine", "nine/scenario9", "nine/scenario9/scenario9.csv", "thirty-one", "gathered"])
def test_every_layout_gives_the_same_drives(made: Path, layout: str) -> None:
    drives, report = everything(made / layout)
    number = {"nine": "9", "thir": "31", "gath": "1"}[layout[:4]]
    assert [drive.name for drive in drives] == [f"scenario{number}/00001", f"scenario{number}/00003"]
    for drive, sequence in zip(drives, (1, 3), strict=True):
        kept = KEPT & (M.sequence == sequence)
        np.testing.assert_array_equal(drive.power, M.power[kept])
        np.testing.assert_array_equal(drive.beam, M.beam[kept])
        np.testing.assert_array_equal(drive.ue, np.where(M.ue[kept] == 0, np.nan, M.ue[kept]))
        np.testing.assert_array_equal(drive.bs, np.tile(make.BS, (kept.sum(), 1)))
        assert drive.timed == (layout != "gathered")
        if drive.timed:
            np.testing.assert_allclose(drive.time, M.time[kept], atol=1e-6)
        else:
            np.testing.assert_array_equal(
                drive.time, (np.flatnonzero(kept) - np.flatnonzero(M.sequence == sequence)[0])
            )
        assert set(drive.files) == (set() if layout == "gathered" else {"camera", "lidar", "radar"})
    assert report.found == {"drives": 2, "samples": 11}
    assert report.left_out[deepsense.LOST] == report.left_out[deepsense.PARTIAL] == 1
    assert report.left_out[deepsense.NO_POSITION] == 1
    assert report.left_out[deepsense.CONTRADICTED] == (0 if layout == "gathered" else 2)


def test_corrupt_labels_are_recomputed_and_named(made: Path) -> None:
    drives, report = everything(made / "thirty-one")
    assert report.examples[deepsense.CONTRADICTED] == ["scenario31/00001 step 1"]  # the first of the drive's two
    beam = drives[0].beam
    assert beam[make.STALE] + 1 != M.label[make.STALE]
    assert beam[make.FIRST_NAN] + 1 != M.label[make.FIRST_NAN]
    assert (np.delete(beam + 1, [make.STALE, make.FIRST_NAN]) == M.label[[0, 2, 4, 6]]).all()
    assert any("beam label" in reason and count == 2 for reason, count in report.left_out.items())


def test_the_challenge_gives_windows(made: Path, tmp_path: Path) -> None:
    drives, report = everything(made / "challenge")
    assert [drive.name for drive in drives] == [f"scenario32/window-0000{i}" for i in (1, 2, 3)]
    assert [drive.beam.tolist() for drive in drives] == [
        [-1] * 4 + [M.beam[4]],
        [-1] * 4 + [M.label[5] - 1],  # its power is lost
        [-1] * 4 + [M.beam[6]],
    ]
    for i, drive in enumerate(drives):
        assert np.isnan(drive.power[:4]).all()
        assert np.isfinite(drive.position).all(1).tolist() == [True, True, False, False, False]
        np.testing.assert_array_equal(drive.ue[:2], M.ue[i : i + 2])
        assert [name.split("_")[-1] for name in drive.files["camera"]] == [f"{i + k}.jpg" for k in range(1, 6)]
        assert drive.has("radar").all()
        assert drive.camera([0], (8, 8)).shape == (1, 8, 8, 3)
    assert report.left_out == {deepsense.UNCHECKED: 1}
    make.make_challenge(tmp_path, 0, labelled=False)
    drives, report = everything(tmp_path)
    assert all((drive.beam == -1).all() for drive in drives)
    assert report.left_out == {deepsense.UNLABELLED: 3}


def test_gathered_positions_are_the_calibrated_ones_and_several_scenarios_come_in_order(tmp_path: Path) -> None:
    make.make_gathered(tmp_path, 1, number=10)
    make.make_gathered(tmp_path, 0, number=3, calibrated=True)
    (tmp_path / "scenario3.csv").write_text("index\n")
    drives, report = everything(tmp_path)
    assert [drive.scenario for drive in drives] == ["scenario3"] * 2 + ["scenario10"] * 2
    np.testing.assert_array_equal(drives[0].ue, M.ue[KEPT & (M.sequence == 1)])
    assert report.examples[deepsense.UNREAD] == ["scenario3.csv"]


def test_shuffled_rows_come_back_in_the_order_of_their_index(folder: Path) -> None:
    want, _ = everything(folder)
    edit(folder, lambda table: table.append(table.pop(2)))
    got, _ = everything(folder)
    assert [drive.time.tolist() for drive in got] == [drive.time.tolist() for drive in want]


def test_without_sequences_drives_split_at_gaps_in_time(folder: Path) -> None:
    edit(folder, lambda table: drop_columns(table, "seq_index"))
    drives, report = everything(folder)
    assert [len(drive) for drive in drives] == [6, 5]
    assert report.left_out[deepsense.NO_SEQUENCE] == 1
    edit(folder, lambda table: drop_columns(table, "time_stamp"))
    drives, report = everything(folder)
    assert [len(drive) for drive in drives] == [11]
    assert drives[0].time.tolist() == [i - 1 for i in M.index[KEPT]]
    assert report.left_out[deepsense.NO_TIME] == 1


def test_time_stamps_that_run_backwards_are_counts_instead(folder: Path) -> None:
    edit(folder, lambda table: table[3].__setitem__(table[0].index("time_stamp"), "16:45:00-000000"))
    drives, report = everything(folder)
    assert [drive.timed for drive in drives] == [False, True]
    assert drives[0].time.tolist() == [0, 1, 2, 7, 8, 10]
    assert report.examples[deepsense.NO_TIME] == ["scenario31/00001"]


def test_a_csv_without_labels_and_positions_is_read(folder: Path) -> None:
    edit(folder, lambda table: drop_columns(table, "unit1_beam", "unit1_loc", "unit2_loc", "index", "unit1_rgb"))
    drives, report = everything(folder)
    assert [drive.beam.tolist() for drive in drives] == [M.beam[KEPT & (M.sequence == s)].tolist() for s in (1, 3)]
    assert np.isnan(drives[0].position).all()
    assert not drives[0].has("camera").any()
    assert deepsense.CONTRADICTED not in report.left_out
    assert report.left_out[deepsense.NO_POSITION] == 24


def test_missing_labels_and_files_are_reported(folder: Path) -> None:
    edit(folder, lambda table: table[1].__setitem__(table[0].index("unit1_beam"), "nan"))
    (folder / "unit1/camera_data/image_1.jpg").unlink()
    (folder / "unit1/mmWave_data/mmWave_power_12.txt").unlink(missing_ok=True)
    (folder / "unit2/GPS_data/gps_location_2.txt").unlink()
    drives, report = everything(folder)
    assert drives[0].beam[0] == M.beam[0]
    assert report.left_out[deepsense.NO_LABEL] == 1
    assert report.examples["camera file missing: left empty"] == ["./unit1/camera_data/image_1.jpg"]
    assert drives[0].files["camera"][0] == ""
    assert drives[0].has("camera").tolist() == [False] + [True] * 5
    assert np.isnan(drives[0].ue[1]).all()
    assert report.left_out[deepsense.LOST] == 2
    with pytest.raises(InputError, match="step 0 has no camera file"):
        drives[0].camera([0, 1])


# positions


def test_position_is_the_local_tangent_plane(made: Path) -> None:
    drive = everything(made / "gathered")[0][0]

    def centred(degrees: np.ndarray) -> np.ndarray:
        """Earth-centred metres of latitude and longitude, WGS 84, height 0."""
        a, e2 = 6378137.0, 6.69437999014e-3
        latitude, longitude = np.deg2rad(degrees).T
        n = a / np.sqrt(1 - e2 * np.sin(latitude) ** 2)
        c = np.cos(latitude)
        return n[:, None] * np.column_stack([c * np.cos(longitude), c * np.sin(longitude), (1 - e2) * np.sin(latitude)])

    latitude, longitude = np.deg2rad(make.BS)
    east = [-np.sin(longitude), np.cos(longitude), 0]
    north = [-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)]
    step = np.random.default_rng(0).uniform(-2e-3, 2e-3, (len(drive), 2))  # up to 200 m
    drive = replace(drive, ue=drive.bs + step)
    exact = (centred(drive.ue) - centred(drive.bs)) @ np.array([east, north]).T
    assert np.abs(exact).max() > 100
    np.testing.assert_allclose(drive.position, exact, atol=0.01)


# sensors


def test_sensors_load_when_asked(made: Path) -> None:
    drive = everything(made / "thirty-one")[0][0]
    whole = drive.camera([0, 2])
    assert whole.shape == (2, 540, 960, 3)
    assert whole.dtype == np.uint8
    colour = np.random.default_rng([0, 1]).integers(20, 230, 3)
    assert np.abs(whole[0].mean((0, 1)) - colour).max() < 3
    small = drive.camera(np.array([0]), size=(128, 224))
    assert small.shape == (1, 128, 224, 3)
    assert np.abs(small[0].mean((0, 1)) - colour).max() < 3
    assert drive.camera([]).shape == (0, 0, 0, 3)
    cloud = drive.lidar(0)
    assert cloud.shape == (30, 3)
    assert cloud.dtype == np.float32
    assert np.abs(cloud).max() < 20
    cube = drive.radar(0)
    assert cube.shape == (4, 256, 250)
    assert cube.dtype == np.complex64


def test_matlab_sensors_of_scenario_9(made: Path) -> None:
    drive = everything(made / "nine")[0][0]
    sweep = drive.lidar(0)
    assert sweep.shape == (216, 3)
    np.testing.assert_allclose(np.linalg.norm(sweep, axis=1), 11, rtol=1e-6)
    np.testing.assert_allclose(sweep[[0, -1]], [[0, -11, 0], [0, 11, 0]], atol=1e-5)
    assert drive.radar(1).dtype == np.complex64


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64, np.float64, np.uint8, np.int16])
def test_matlab_arrays_are_read_as_scipy_reads_them(tmp_path: Path, dtype: Any, compressed: bool) -> None:
    values = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(dtype)
    values = values * dtype(1 + 2j) if np.iscomplexobj(values) else values
    savemat(tmp_path / "a.mat", {"other": np.ones(3), "data": values, "s": "text"}, do_compression=compressed)
    if np.iscomplexobj(values):
        np.testing.assert_array_equal(sensors.radar_cube(tmp_path / "a.mat"), loadmat(tmp_path / "a.mat")["data"])
    else:
        savemat(tmp_path / "a.mat", {"data": values[0]}, do_compression=compressed)
        np.testing.assert_array_equal(sensors.points(tmp_path / "a.mat"), values[0, :, :3].astype(np.float32))


def test_matlab_files_of_another_kind(tmp_path: Path) -> None:
    for name, content in (("none", {"x": 1.0}), ("text", {"data": "text"}), ("struct", {"data": {"a": 1}})):
        savemat(tmp_path / f"{name}.mat", content)
        for load in (sensors.points, sensors.radar_cube):
            with pytest.raises(InputError, match=name):
                load(tmp_path / f"{name}.mat")
    (tmp_path / "hdf.mat").write_bytes(b"MATLAB 7.3".ljust(124) + b"\x00\x02IM" + b"\x89HDF" * 9)
    with pytest.raises(InputError, match="version 5 to 7"):
        sensors.points(tmp_path / "hdf.mat")


@pytest.mark.parametrize("order", ["little", "big"])
def test_binary_ply(tmp_path: Path, order: str) -> None:
    path = tmp_path / "cloud.ply"
    points = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    kind = np.dtype([("i", "u1"), ("x", "f4"), ("y", "f4"), ("z", "f8")]).newbyteorder(
        "<" if order == "little" else ">"
    )
    table = np.zeros(7, kind)
    table["x"], table["y"], table["z"] = points.T
    header = f"ply\nformat binary_{order}_endian 1.0\ncomment by hand\nelement vertex 7\nproperty uchar i\n"
    header += "property float x\nproperty float y\nproperty double z\nelement face 0\n"
    header += "property list uchar int vertex_indices\nend_header\n"
    path.write_bytes(header.encode() + table.tobytes())
    np.testing.assert_array_equal(sensors.points(path), points)


def test_plyfile_reads_the_same(tmp_path: Path) -> None:
    plyfile = pytest.importorskip("plyfile")
    make.write_ply(tmp_path / "cloud.ply", np.random.default_rng(0).normal(size=(9, 3)))
    vertex = plyfile.PlyData.read(tmp_path / "cloud.ply")["vertex"]
    want = np.column_stack([vertex[axis] for axis in "xyz"]).astype(np.float32)
    np.testing.assert_array_equal(sensors.points(tmp_path / "cloud.ply"), want)


@pytest.mark.parametrize(
    "name", ["camera_data/image_1.jpg", "lidar_data/lidar_data_1.ply", "radar_data/radar_data_1.npy"]
)
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "text"])
def test_damaged_sensor_files_are_named(folder: Path, name: str, damage: str) -> None:
    drive = everything(folder)[0][0]
    path = folder / "unit1" / name
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"<html>404"}.get(damage, content))
    if damage == "gone":
        path.unlink()
    load: dict[str, Callable[[], Any]] = {
        "camera_data": lambda: drive.camera([0]),
        "lidar_data": lambda: drive.lidar(0),
        "radar_data": lambda: drive.radar(0),
    }
    with pytest.raises(InputError, match=path.name) as caught:
        load[name.split("/")[0]]()
    assert "\n" not in str(caught.value)


def test_radar_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "radar.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickle"):
        sensors.radar_cube(path)


# streaming


def test_drives_stream(folder: Path) -> None:
    (folder / "unit1/mmWave_data/mmWave_power_16.txt").write_text("broken")  # of the second drive
    drives = deepsense.read(folder, ImportReport())
    assert next(drives).name == "scenario31/00001"
    with pytest.raises(InputError, match="mmWave_power_16"):
        next(drives)


def test_reading_opens_no_sensor_file(folder: Path) -> None:
    for name in ("camera_data", "lidar_data", "radar_data"):
        for path in (folder / "unit1" / name).iterdir():
            path.write_bytes(b"")
    assert len(everything(folder)[0]) == 2


# kept


@pytest.mark.parametrize("layout", ["nine", "challenge", "gathered"])
def test_round_trip(made: Path, tmp_path: Path, layout: str) -> None:
    drives, _ = everything(made / layout)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    write_drives(one, drives)
    write_drives(two, iter(everything(made / layout)[0]))
    assert one.read_bytes() == two.read_bytes()
    for have, want in zip(read_drives(one), drives, strict=True):
        assert (have.name, have.timed, have.files, have.root) == (want.name, want.timed, want.files, want.root)
        for name in ("time", "power", "beam", "bs", "ue", "los"):
            assert getattr(have, name).dtype == getattr(want, name).dtype
            assert getattr(have, name).tobytes() == getattr(want, name).tobytes()
    if layout == "nine":
        shutil.copytree(made / "nine" / "scenario9" / "unit1", tmp_path / "moved" / "unit1")
        assert read_drives(one, tmp_path / "moved")[0].camera([0], (4, 4)).shape == (1, 4, 4, 3)


def test_files_that_cannot_be_kept_or_read(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "drives.safetensors"
    nine, gathered = everything(made / "nine")[0], everything(made / "gathered")[0]
    for drives in ([], [nine[0], gathered[0]], [gathered[0], replace(gathered[1], power=gathered[1].power[:, :32])]):
        with pytest.raises(InputError, match="one codebook and one folder"):
            write_drives(path, drives)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="no such file"):
        read_drives(path)
    write_drives(path, nine)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(60):
        broken = bytearray(content)
        if trial < 20:
            del broken[int(rng.integers(len(content))) :]
        for _ in range(int(rng.integers(1, 8))):
            if broken:
                broken[int(rng.integers(min(len(broken), 3000)))] = int(rng.integers(256))
        path.write_bytes(broken)
        try:
            read_drives(path)
        except InputError as error:
            refused += 1
            assert path.name in str(error)  # noqa: PT017
    assert refused > 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": np.zeros(3)}, "shape"),
        ({"time": np.array([2.0, 1, 0, 3, 4, 5])}, "runs backwards"),
        ({"power": -np.ones((6, 64))}, "dB"),
        ({"beam": np.full(6, 64, dtype=np.int32)}, "expected 0 to 63"),
        ({"beam": np.full(6, -1, dtype=np.int32)}, "highest power"),
        ({"ue": np.full((6, 2), 111.0)}, "latitude"),
        ({"files": {"camera": ("a",) * 5}}, "5 camera files"),
        ({"files": {"camera": ("../a",) * 6}}, "outside"),
        ({"name": "scenario 9"}, "scenario/sequence"),
    ],
)
def test_the_contract_is_checked(made: Path, change: dict[str, Any], words: str) -> None:
    drive = everything(made / "gathered")[0][0]
    with pytest.raises(InputError, match=words):
        replace(drive, **change).validate("here")


# bad input


def test_sources_that_are_none(tmp_path: Path, folder: Path) -> None:
    fails(tmp_path / "nowhere", "no such")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "no CSV", "unpack")
    fails(folder / "unit1/mmWave_data/mmWave_power_1.txt", "not a CSV")
    shutil.copy(folder / "scenario31_dev.csv", folder / "scenario31_dev_labelled.csv")
    fails(folder, "give the one to read")
    (folder / "scenario31_dev_labelled.csv").unlink()
    shutil.copytree(folder, folder.parent / "scenario31_again")
    fails(folder.parent, "twice")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.clear(), "empty CSV"),
        (lambda table: table.__delitem__(slice(1, None)), "empty CSV"),
        (lambda table: drop_columns(table, "unit1_pwr_60ghz"), "unit1_pwr_60ghz"),
        (lambda table: table[4].pop(), "line 5"),
        (lambda table: table[4].__setitem__(0, "four"), "four"),
        (lambda table: table[4].__setitem__(10, "nan"), "whole number"),
        (lambda table: table[4].__setitem__(7, "two"), "two"),
        (lambda table: table[4].__setitem__(2, "../../secret.txt"), "leads out"),
        (lambda table: table[4].__setitem__(1, "/etc/passwd"), "leads out"),
    ],
)
def test_broken_csv(folder: Path, change: Callable[[list[list[str]]], Any], words: str) -> None:
    edit(folder, change)
    fails(folder, "scenario31_dev.csv", words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("unit1/mmWave_data/mmWave_power_1.txt", "0.5\n" * 63, "holds 63 powers, expected 64"),
        ("unit1/mmWave_data/mmWave_power_1.txt", "half\n" * 64, "not a text file of numbers"),
        ("unit2/GPS_data/gps_location_1.txt", "33.4\n", "two lines"),
        ("unit2/GPS_data/gps_location_1.txt", "north\nwest\n", "not a text file of numbers"),
    ],
)
def test_broken_text_files(folder: Path, name: str, content: str, words: str) -> None:
    (folder / name).write_text(content)
    fails(folder, Path(name).name, words)


@pytest.mark.parametrize(("content", "words"), [("-60\n" * 64, "dB"), ("inf\n" * 64, "infinite")])
def test_powers_that_are_not_linear(folder: Path, content: str, words: str) -> None:
    (folder / "unit1/mmWave_data/mmWave_power_1.txt").write_text(content)
    fails(folder, "scenario31/00001", words)


def test_positions_off_the_earth(folder: Path) -> None:
    (folder / "unit2/GPS_data/gps_location_1.txt").write_text("-111.9\n33.4\n")
    fails(folder, "latitude and longitude")


def test_a_scenario_without_any_power(folder: Path) -> None:
    shutil.rmtree(folder / "unit1/mmWave_data")
    fails(folder, "no step with a measured power")


@pytest.mark.parametrize("unit", ["unit1/mmWave_data", "unit2"])
def test_what_was_not_unpacked_is_named(folder: Path, unit: str) -> None:
    shutil.rmtree(folder / unit)
    if unit == "unit2":
        drives, report = everything(folder)
        assert np.isnan(drives[0].ue).all()
        assert report.examples[deepsense.NO_POSITION_FILE][0].startswith("./unit2/GPS_data/gps_location_")
        assert report.left_out[deepsense.NO_POSITION_FILE] > 10
    else:
        fails(folder, r"./unit1/mmWave_data/mmWave_power_1.txt is missing, unpack its folder too")


def test_a_table_made_on_windows(folder: Path) -> None:
    before, _ = everything(folder)
    path = next(folder.glob("*.csv"))
    path.write_text(path.read_text().replace("./unit", ".\\unit").replace("_data/", "_data\\"))
    after, report = everything(folder)
    assert [drive.beam.tolist() for drive in after] == [drive.beam.tolist() for drive in before]
    assert after[0].files == before[0].files
    assert deepsense.NO_POSITION_FILE not in report.left_out


@pytest.mark.parametrize(
    "header",
    [
        "abs_index,timestamp,seq_index,unit1_gps1,unit1_pwr1,unit1_pwr2,unit1_overall-beam,unit2_gps1",
        "x1_unique_id,x1_unit1_gps1,x1_unit1_rgb5,x1_unit2_gps1,y1_unit1_overall-beam",
    ],
)
def test_vehicles_with_several_arrays_are_named(tmp_path: Path, header: str) -> None:
    (tmp_path / "scenario36.csv").write_text(header + "\n" + ",".join("1" for _ in header.split(",")) + "\n")
    fails(tmp_path, "several arrays and cameras each")


def test_another_codebook(tmp_path: Path) -> None:
    make.make_folder(tmp_path, 2, "31", beams=32)
    fails(tmp_path, "holds 32 powers, expected 64")
    drives, _ = everything(tmp_path, beams=32)
    assert drives[0].power.shape == (6, 32)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("seq_index", np.ones(11), "expected numbers (12,)"),
        ("seq_index", np.full(12, np.nan), "whole number"),
        ("unit1_pwr_60ghz", np.ones((12, 63)), "expected numbers (12, 64)"),
        ("unit1_pwr_60ghz", np.full((12, 64), -50.0), "dB"),
        ("unit1_pwr_60ghz", np.full((12, 64), np.nan), "no step"),
        ("unit1_pwr_60ghz", np.array(1.0), "expected numbers"),
        ("unit2_loc", np.ones((12, 3)), "expected numbers (12, 2)"),
        ("unit2_loc", np.array([["a", "b"]] * 12), "expected numbers"),
        ("unit2_loc", np.array([[1.0, None]] * 12, dtype=object), "pickle"),
        ("unit1_loc", np.full((12, 2), 500.0), "latitude"),
    ],
)
def test_broken_gathered_arrays(tmp_path: Path, name: str, values: Any, words: str) -> None:
    make.make_gathered(tmp_path, 0)
    np.save(tmp_path / f"scenario1_{name}_1-12.npy", values, allow_pickle=True)
    fails(tmp_path, words)


def test_truncated_missing_and_doubled_gathered_arrays(tmp_path: Path) -> None:
    path = make.make_gathered(tmp_path, 0) / "scenario1_unit1_pwr_60ghz_1-12.npy"
    content = path.read_bytes()
    for length in (0, 40, 200, len(content) - 8):
        path.write_bytes(content[:length])
        fails(tmp_path, path.name, "truncated")
    path.unlink()
    fails(tmp_path, "unit1_pwr_60ghz", "missing")
    path.write_bytes(content)
    (tmp_path / "scenario1_unit1_pwr_60ghz_1-11.npy").write_bytes(content)
    fails(tmp_path, "keep one")


def test_mutated_sources_are_read_or_refused(made: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    read = refused = 0
    for layout in ("nine/scenario9", "thirty-one", "gathered", "challenge"):
        copy = Path(shutil.copytree(made / layout, tmp_path / layout.replace("/", "-")))
        targets = sorted(path for path in copy.rglob("*") if path.is_file())
        tables = [path for path in targets if path.suffix == ".csv"]
        for trial in range(50):
            path = (tables or targets)[0] if trial % 3 == 0 and tables else targets[int(rng.integers(len(targets)))]
            content = path.read_bytes()
            broken = bytearray(content)
            reach = min(len(broken), 4000)
            for _ in range(int(rng.integers(1, 6))):
                at = int(rng.integers(reach))
                match int(rng.integers(4)):
                    case 0:
                        broken[at] = int(rng.integers(256))
                    case 1:
                        broken[at : at + int(rng.integers(1, 30))] = b""
                    case 2:
                        broken[at:at] = broken[:20]
                    case _:
                        broken[at] = ord(rng.choice(list(",\n0-9./e")))
                reach = max(1, min(len(broken), reach))
            path.write_bytes(broken)
            try:
                drives, _ = everything(copy)
                for drive in drives[:2]:
                    for load in (lambda d: d.camera([0], (16, 16)), lambda d: d.lidar(0), lambda d: d.radar(0)):
                        if drive.root and all(drive.has(sensor)[0] for sensor in ("camera", "lidar", "radar")):
                            load(drive)
                read += 1
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017
                refused += 1
            path.write_bytes(content)
    assert read > 20
    assert refused > 20


# the real thing


@pytest.mark.skipif(not REAL.exists(), reason="needs the gathered arrays of DeepSense 6G")
def test_the_seven_scenarios_are_read_whole() -> None:
    start = time.perf_counter()
    drives, report = everything(REAL)
    assert time.perf_counter() - start < 10
    samples, count, beams = Counter[str](), Counter[str](), {name: set[int]() for name in REAL_COUNTS}
    for drive in drives:
        samples[drive.scenario] += len(drive)
        count[drive.scenario] += 1
        beams[drive.scenario].update(drive.beam.tolist())
        distance = np.linalg.norm(drive.position, axis=1)
        assert distance.min() > 5
        assert distance.max() < 80
    assert {name: (samples[name], count[name], len(beams[name])) for name in REAL_COUNTS} == REAL_COUNTS
    assert report.found == {"drives": 289, "samples": 12821}
    assert report.left_out == {deepsense.UNREAD: 3}


@pytest.mark.skipif(not REAL.exists(), reason="needs the gathered arrays of DeepSense 6G")
def test_labels_of_scenario_5_elsewhere_are_mirrored_not_corrupt() -> None:
    drives, _ = everything(REAL)
    beam = np.concatenate([drive.beam for drive in drives if drive.scenario == "scenario5"])
    table = [row for part in ("train", "test") for row in rows(REAL / f"scenario5_img_pos_beam_{part}.csv")[1:]]
    assert len(table) == 1610
    assert all(int(row[-1]) == 64 - beam[int(row[0]) - 1] for row in table)
