"""Writes one small scenario in every layout that DeepSense 6G is published in.

    python tests/data/deepsense/make.py FOLDER

The same seed writes the same bytes and the same measurements in every layout.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BS = (33.41820833, -111.92610278)
METRES_PER_DEGREE = 111_195.0
STEPS = (7, 5)  # of the two drives
STALE, FIRST_NAN, LOST, NO_FIX = 1, 3, 5, 9  # rows with a stale label, NaN beams, no power at all, GPS (0, 0)
# headers as published; scenario 9 has a column without a name
SCENARIO_9 = (
    "index,unit1_rgb,unit1_pwr_60ghz,unit1_loc,unit1_lidar,unit1_lidar_SCR,unit1_radar,unit2_loc,unit2_loc_cal,,"
    "unit1_beam_index,seq_index,time_stamp[UTC],unit2_direction,unit2_num_sat,unit2_sat_used,unit2_fix_type,unit2_DGPS,"
    "unit2_PDOP,unit2_HDOP"
)
SCENARIO_31 = (
    "index,unit1_rgb,unit1_pwr_60ghz,unit1_lidar,unit1_radar,unit1_loc,unit2_loc,unit1_beam,unit1_max_pwr,time_stamp,"
    "seq_index,unit2_spd_over_grnd_kmph,unit2_num_sats,unit2_altitude,unit2_geo_sep,unit2_mode_fix_type,unit2_pdop,"
    "unit2_hdop,unit2_vdop,unit2_interpolated_position"
)


@dataclass(frozen=True)
class Measured:
    """What was measured, whatever the layout: N rows.

    Attributes:
        power: [N, 64] as the files hold it, NaN beams in row `FIRST_NAN`, NaN alone in row `LOST`.
        label: [N] as the CSV holds it: from 1, stale in row `STALE`, the first NaN in row `FIRST_NAN`.
        beam: [N] the truth, from 0; -1 in row `LOST`.
        ue: [N, 2] latitude and longitude, (0, 0) in row `NO_FIX`.
        sequence: [N].
        time: [N] s from midnight of the first day; the second drive passes midnight UTC.
        index: [N] from 1, with a gap within the first drive.
    """

    power: NDArray[np.float64]
    label: NDArray[np.int64]
    beam: NDArray[np.int64]
    ue: NDArray[np.float64]
    sequence: NDArray[np.int64]
    time: NDArray[np.float64]
    index: NDArray[np.int64]


def measure(seed: int, beams: int = 64) -> Measured:
    rng = np.random.default_rng(seed)
    rows = sum(STEPS)
    sequence = np.repeat([1, 3], STEPS)
    beam = np.concatenate([np.sort(rng.choice(beams, n, replace=False)) for n in STEPS])
    power = (
        0.1 + 0.6 * np.exp(-0.5 * ((np.arange(beams) - beam[:, None]) / 4.0) ** 2) + rng.uniform(0, 0.01, (rows, beams))
    )
    power = power.round(8)
    beam = power.argmax(1)
    label = beam + 1
    label[STALE] = label[STALE] % beams + 1
    blank = (beam[FIRST_NAN] + 20) % beams
    power[FIRST_NAN, blank] = np.nan
    label[FIRST_NAN] = blank + 1  # argmax takes NaN for the highest
    power[LOST], label[LOST], beam[LOST] = np.nan, 1, -1
    along = np.concatenate([np.linspace(-30, 30, n) for n in STEPS])
    ue = np.add(BS, np.column_stack([along, np.full(rows, 15.0)]) / METRES_PER_DEGREE).round(8)
    ue[NO_FIX] = 0
    time = np.concatenate([60_305.799 + 0.1 * np.arange(STEPS[0]), 86_399.75 + 0.1 * np.arange(STEPS[1])]).round(3)
    index = np.arange(1, rows + 1) + (np.arange(rows) > 2) * 4
    return Measured(power, label, beam, ue, sequence, time, index)


def clock(seconds: float, variant: str) -> str:
    """Time stamp of scenario 9 (`['16-45-05-799']`) or 31 (`16:45:05-799000`)."""
    milliseconds = round(seconds * 1000) % 86_400_000
    minutes, rest = divmod(milliseconds, 60_000)
    parts = (minutes // 60, minutes % 60, rest // 1000)
    if variant == "9":
        return "['{:02d}-{:02d}-{:02d}-{:03d}']".format(*parts, rest % 1000)
    return "{:02d}:{:02d}:{:02d}-{:06d}".format(*parts, rest % 1000 * 1000)


def write_lines(path: Path, values: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{value:.8f}\n" for value in values), encoding="ascii")


def write_sensors(unit: Path, number: int, seed: int, matlab: bool = False) -> dict[str, str]:
    """Image, point cloud and radar cube of a step; their references."""
    rng = np.random.default_rng([seed, number])
    ending = ("mat", "mat") if matlab else ("ply", "npy")
    names = {
        "rgb": f"camera_data/image_BS2_{number}_16_45_05.jpg" if matlab else f"camera_data/image_{number}.jpg",
        "lidar": f"lidar_data/{'L' if matlab else 'l'}idar_data_{number}.{ending[0]}",
        "radar": f"radar_data/{'data' if matlab else 'radar_data'}_{number}.{ending[1]}",
    }
    for name in names.values():
        (unit / name).parent.mkdir(parents=True, exist_ok=True)
    shades = np.full((540, 960, 3), rng.integers(20, 230, 3), dtype=np.uint8)
    Image.fromarray(shades).save(unit / names["rgb"], quality=80)
    cube = (rng.integers(-9, 9, (4, 256, 250)) + 1j * rng.integers(-9, 9, (4, 256, 250))).astype(np.complex64)
    if matlab:
        from scipy.io import savemat

        savemat(unit / names["lidar"], {"data": np.column_stack([np.full(216, 10.0 + number), np.zeros(216)])})
        savemat(unit / names["radar"], {"data": cube[:, :8, :8]})
    else:
        np.save(unit / names["radar"], cube[:, : None if number == 1 else 8])  # one of full size, for the suite's speed
        write_ply(unit / names["lidar"], rng.uniform(-20, 20, (30, 3)).round(4))
    return {name: f"./unit1/{file}" for name, file in names.items()}


def write_ply(path: Path, points: NDArray[np.float64]) -> None:
    """x, y, z as double and the intensity as ushort, in ASCII."""
    header = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property double {axis}\n" for axis in "xyz") + "property ushort intensity\nend_header\n"
    body = "".join(f"{x} {y} {z} {i}\n" for i, (x, y, z) in enumerate(points))
    path.write_text(header + body, encoding="ascii")


def make_folder(root: Path, seed: int, variant: str = "9", beams: int = 64) -> Path:
    """A scenario's folder as unpacked, in the columns of scenario 9 or 31; returns its CSV."""
    m = measure(seed, beams)
    write_lines(root / "unit1/GPS_data/gps_location.txt", np.array(BS))
    rows = []
    for i in range(len(m.index)):
        number = int(m.index[i])
        power, gps = f"unit1/mmWave_data/mmWave_power_{number}.txt", f"unit2/GPS_data/gps_location_{number}.txt"
        write_lines(root / power, m.power[i])
        write_lines(root / gps, m.ue[i])
        row = {"index": number, "unit1_pwr_60ghz": f"./{power}", "unit1_loc": "./unit1/GPS_data/gps_location.txt"}
        row |= {f"unit1_{k}": name for k, name in write_sensors(root / "unit1", number, seed, variant == "9").items()}
        row |= {"unit2_loc": f"./{gps}", "seq_index": m.sequence[i]}
        if variant == "9":
            calibrated = f"unit2/GPS_data_calibrated/gps_location_{number}.txt"
            write_lines(root / calibrated, m.ue[i])
            write_lines(root / gps, m.ue[i] + 1e-4)
            row |= {"unit2_loc_cal": f"./{calibrated}", "unit1_beam_index": m.label[i], "unit2_sat_used": "G8 G10"}
            row |= {"time_stamp[UTC]": clock(m.time[i], "9"), "unit1_lidar_SCR": row["unit1_lidar"]}
        else:
            row |= {"unit1_beam": m.label[i], "time_stamp": clock(m.time[i], "31"), "unit1_max_pwr": m.power[i].max()}
        rows.append(row)
    path = root / f"scenario{variant}{'' if variant == '9' else '_dev'}.csv"
    write_csv(path, (SCENARIO_9 if variant == "9" else SCENARIO_31).split(","), rows)
    return path


def make_gathered(root: Path, seed: int, number: int = 1, calibrated: bool = False) -> Path:
    """The arrays gathered from a scenario, `scenarioN_*_1-M.npy`; returns their folder."""
    m = measure(seed)
    count = len(m.index)
    arrays = {
        "seq_index": m.sequence,
        "unit1_pwr_60ghz": m.power,
        "unit2_loc": m.ue,
        "unit1_loc": np.tile(BS, (count, 1)),
    }
    if calibrated:
        arrays |= {"unit2_loc_cal": m.ue, "unit2_loc": m.ue + 1e-4}
    root.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(root / f"scenario{number}_{name}_1-{count}.npy", values)
    return root


def make_challenge(root: Path, seed: int, labelled: bool = True) -> Path:
    """The challenge of 2022: windows of five steps of the first drive, one power and label each; returns the CSV."""
    m = measure(seed)
    scenario = root / "scenario32"
    write_lines(scenario / "unit1/GPS_data/gps_location.txt", np.array(BS))
    prefix = "./scenario32"
    files = [write_sensors(scenario / "unit1", i + 1, seed) for i in range(STEPS[0])]
    rows = []
    for i in range(STEPS[0] - 4):
        row = {"index": i + 1, "unit1_loc": f"{prefix}/unit1/GPS_data/gps_location.txt"}
        for step in range(5):
            row |= {f"unit1_{k}_{step + 1}": prefix + name[1:] for k, name in files[i + step].items()}
        for step in range(2):
            gps = f"unit2/GPS_data/GPS_location_{i + step + 1}.txt"
            write_lines(scenario / gps, m.ue[i + step])
            row[f"unit2_loc_{step + 1}"] = f"{prefix}/{gps}"
        if labelled:
            power = f"unit1/mmWave_data/mmWave_power_{i + 5}.txt"
            write_lines(scenario / power, m.power[i + 4])
            row |= {"unit1_pwr_60ghz": f"{prefix}/{power}", "unit1_beam": m.label[i + 4]}
        rows.append(row)
    path = root / f"ml_challenge_{'dev' if labelled else 'test'}_multi_modal.csv"
    write_csv(path, list(rows[0]), rows)
    return path


def write_csv(path: Path, header: list[str], rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make_folder(folder / "scenario9", 0, "9")
    make_folder(folder / "scenario31", 0, "31")
    make_gathered(folder / "gathered", 0)
    make_challenge(folder / "challenge", 0)
