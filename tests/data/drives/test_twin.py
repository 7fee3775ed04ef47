"""The twin's physics against closed forms; its files as the reader of measured drives sees them; and resumption."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from tests.tracer import needs_tracer
from uniair.commands import twin as command
from uniair.data.drives import deepsense, twin_campaign
from uniair.data.drives import twin as twins
from uniair.data.drives.drive import Drive
from uniair.data.drives.traffic import Traffic
from uniair.data.drives.twin import (
    ALL_SITES,
    BLOCKED_SITES,
    SITES,
    VIEW,
    Site,
    Twin,
    _gps,
    geodetic,
    received_power,
    record,
)
from uniair.data.drives.twin_campaign import run
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.propagation.paths import Paths, free_space_gain
from uniair.propagation.ray_tracing import RayTracing
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, UPA, Radio

TRACING = RayTracing(frequency=60e9, depth=1, diffraction=False, samples=2_000, probe_users=0)
SMALL = Twin(
    SITES[:2],
    drives=2,
    least_steps=3,
    most_steps=4,
    frame=(48, 32),
    samples=2,
    gps_lost=0.2,
    paths=False,
    ray_tracing=TRACING,
)


def element_gain(azimuth: np.ndarray) -> np.ndarray:
    """Power gain of an element of the twin's array on level ground; azimuth from the boresight, rad."""
    direction = np.stack([np.sin(azimuth), np.cos(azimuth), np.zeros(len(azimuth))], axis=1)
    return ULA(16, pattern="tr38901").amplitude(torch.from_numpy(direction)).square().numpy()


def line(azimuth: np.ndarray, distance: np.ndarray) -> Paths:
    """Links of a direct path each, level with the BS."""
    gain = [free_space_gain(d, 60e9) for d in distance]
    flat = np.full(len(azimuth), np.pi / 2)
    return Paths.from_rows(
        len(azimuth), np.arange(len(azimuth)), gain=np.array(gain), delay=distance / SPEED_OF_LIGHT,
        aod_azimuth=azimuth, aod_zenith=flat, aoa_azimuth=azimuth + np.pi, aoa_zenith=flat,
        interactions=np.zeros(len(azimuth)),
    )  # fmt: skip


def measured(azimuth: np.ndarray, distance: np.ndarray, boresight: float, setting: Twin) -> np.ndarray:
    return received_power(setting, line(azimuth, distance), boresight, np.random.default_rng(0))


# physics


def test_the_best_beam_points_at_the_vehicle() -> None:
    boresight = 2.2
    off = np.deg2rad(np.linspace(-50, 50, 41))
    power = measured(boresight + off, np.full(41, 15.0), boresight, Twin(eirp=30))
    directions = Twin().directions
    assert directions[0] == -directions[-1] == -63 / 80
    wanted = np.argmin(np.abs(directions - np.sin(-off)[:, None]), axis=1)  # to the right of the boresight: higher
    assert np.abs(power.argmax(1) - wanted).max() <= 1
    assert (power.argmax(1) == wanted).mean() > 0.8  # where two beams are as good, noise decides


def test_power_is_friis_with_the_gains_of_array_and_element() -> None:
    setting = Twin(eirp=30, ray_tracing=TRACING)
    sine = setting.directions[32]
    distance = np.array([5.0, 10.0, 20.0, 40.0])
    azimuth = 1.0 - np.arcsin(np.full(4, sine))
    power = measured(azimuth, distance, 1.0, setting)[:, 32]
    friis = (SPEED_OF_LIGHT / 60e9 / (4 * np.pi * distance)) ** 2
    milliwatt = 10 ** (30 / 10) * friis * 16 * element_gain(azimuth - 1.0)
    np.testing.assert_allclose(10 * np.log10(power / 1e9 / milliwatt), 0, atol=0.05)
    np.testing.assert_allclose(np.diff(10 * np.log10(power)), -20 * np.log10(2), atol=0.05)


def test_the_noise_floor_is_thermal() -> None:
    setting = Twin(noise_figure=8.0)
    empty = Paths.from_rows(
        200, np.zeros(0, dtype=np.int64), **{name: np.zeros(0) for name in Paths.PER_PATH}
    )  # a blocked UE that nothing reflects
    power = received_power(setting, empty, 0.0, np.random.default_rng(1))
    dbm = 10 * np.log10(power.mean() / 1e9)
    assert dbm == pytest.approx(-174 + 10 * np.log10(20e6) + 8, abs=0.1)
    spread = power.std() / power.mean()
    assert spread == pytest.approx(1 / np.sqrt(64), rel=0.05)  # exponential a subcarrier


# sites and positions


@pytest.mark.parametrize("site", ALL_SITES["all"], ids=lambda site: str(site.scenario))
def test_a_window_is_what_the_camera_sees(site: Site) -> None:
    for lane in site.lanes:
        ends = site.place(np.array(site.window(lane)), lane.offset) - site.antenna[:2]
        off = np.angle(np.exp(1j * (np.arctan2(ends[:, 1], ends[:, 0]) - site.boresight)))
        np.testing.assert_allclose(np.sort(off), [-VIEW, VIEW], atol=1e-9)


def test_geodetic_undoes_the_readers_plane() -> None:
    xy = np.random.default_rng(0).uniform(-150, 150, (50, 2))
    origin = (48.137, 11.575)
    ue = geodetic(xy, origin)
    n = len(ue)
    drive = Drive(
        "a/b", np.linspace(0, 1, n), False, np.ones((n, 2)), np.zeros(n, np.int32), np.tile(origin, (n, 1)), ue,
        np.zeros(n, np.int8),
    )  # fmt: skip
    np.testing.assert_allclose(drive.position, xy, atol=1e-6)


def test_gps_errs_as_it_should() -> None:
    setting, site = Twin(gps_error=1.2, gps_memory=3.0, gps_lost=0.05), SITES[0]
    rng = np.random.default_rng(0)
    fixes = np.stack([_gps(setting, site, np.zeros((100, 2)), rng) for _ in range(400)])
    lost = (fixes == 0).all(2)
    assert lost.mean() == pytest.approx(0.05, abs=0.015)
    starts = lost & ~np.pad(lost, ((0, 0), (1, 0)))[:, :-1]
    assert 3 < lost.sum() / starts.sum() < 6  # runs of about five steps
    drive = Drive("a/b", np.linspace(0, 1, 100), False, np.ones((100, 2)), np.zeros(100, np.int32),
                  np.tile(geodetic(site.antenna[:2], site.origin), (100, 1)), fixes[0],
                  np.zeros(100, np.int8))  # fmt: skip
    errors = np.stack([replace(drive, ue=fix).position + site.antenna[:2] for fix in fixes])
    errors = np.where(lost[..., None], np.nan, errors)
    assert np.nanstd(errors) == pytest.approx(1.2, rel=0.05)
    both = errors[:, :-20] * errors[:, 20:]
    assert np.nanmean(both) / np.nanvar(errors) == pytest.approx(np.exp(-2 / 3), abs=0.08)  # 20 steps are 2 s of 3


# drives


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: two drives at each of two sites."""
    out = tmp_path_factory.mktemp("twin") / "made"
    run(SMALL, out)
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(folder: Path) -> tuple[list[Drive], ImportReport]:
    report = ImportReport()
    return list(deepsense.read(folder, report)), report


@needs_tracer
def test_beams_follow_the_vehicle_down_the_street() -> None:
    setting = Twin(least_steps=8, most_steps=40, clear=1.0, eirp=20, frame=(48, 32), samples=1, ray_tracing=TRACING)
    site = SITES[0]
    made = record(setting, site, 1)
    assert made.los.mean() > 0.8  # parked cars are lower than the roof
    line = made.ue - site.antenna
    distance = np.linalg.norm(line, axis=1)
    sine = -np.sin(np.arctan2(line[:, 1], line[:, 0]) - site.boresight) * np.hypot(*line[:, :2].T) / distance
    wanted = np.argmin(np.abs(setting.directions - sine[:, None]), axis=1)
    error = np.abs(made.power.argmax(1) - wanted)[made.los]
    assert np.mean(error <= 2) > 0.9
    assert np.ptp(made.power.argmax(1)) > 50
    assert made.pictures.shape == (len(made.ue), 32, 48, 3)


@needs_tracer
@pytest.mark.parametrize(("kind", "sees"), [("car", True), ("bus", False), ("truck", False)])
def test_what_is_high_blocks_between_station_and_user(monkeypatch: pytest.MonkeyPatch, kind: str, sees: bool) -> None:
    site = BLOCKED_SITES[0]
    (far,), near = site.own_lanes, site.lanes[0]
    assert abs(far.offset - site.bs[1]) > abs(near.offset - site.bs[1])
    beside = Traffic(("car", kind), (0, 0), (far, near), np.full((2, 2), site.bs[0]), np.zeros((2, 2)))
    monkeypatch.setattr(twins, "drive_through", lambda *_: beside)
    assert (record(replace(SMALL, sites=(site,)), site, 0).los == sees).all()


def test_the_ue_drives_beyond_what_is_high() -> None:
    for site in (one for one in BLOCKED_SITES if one.own_lanes):
        away = {lane: abs(lane.offset - site.bs[1]) for lane in site.lanes}
        assert min(away[lane] for lane in site.own_lanes) > min(away.values())
        assert site.heavy is not None


@needs_tracer
def test_a_folder_without_true_positions_is_what_it_was(tmp_path: Path) -> None:
    made = twin_campaign._recipe(replace(SMALL, true_positions=False))["twin"]
    assert not {"true_positions", "paths"} & set(made)
    assert all(not {"own_lanes", "heavy"} & set(site) for site in made["sites"])
    assert twin_campaign.columns(replace(SMALL, true_positions=False)) == twin_campaign.COLUMNS


@needs_tracer
def test_the_reader_of_measured_drives_reads_it(folder: Path) -> None:
    drives, report = everything(folder)
    assert [drive.name for drive in drives] == [f"scenario{s}/0000{d}" for s in (101, 102) for d in (1, 2)]
    assert set(report.left_out) <= {deepsense.NO_POSITION}
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    for number, drive in enumerate(drives):
        assert drive.timed
        np.testing.assert_allclose(np.diff(drive.time), 0.1, atol=1e-6)
        if number % 2:
            continue
        site, truth = SITES[number // 2], record(SMALL, SITES[number // 2], 0)
        np.testing.assert_allclose(drive.power, truth.power, rtol=1e-5)
        np.testing.assert_array_equal(drive.los, truth.los)
        away = drive.position - (truth.ue - site.antenna)[:, :2]
        assert np.nanmax(np.abs(away), initial=0) < 5
        np.testing.assert_allclose(drive.true_position, (truth.ue - site.antenna)[:, :2], atol=0.01)
        assert drive.camera([0]).shape == (1, 32, 48, 3)
        assert np.abs(drive.camera([0])[0] - truth.pictures[0].astype(float)).mean() < 20
    for name in ("scenario101", "scenario102"):
        row, held = card["scenarios"][name], [drive for drive in drives if drive.scenario == name]
        beams = np.concatenate([drive.beam for drive in held])
        assert row["best_beam_histogram"] == np.bincount(beams, minlength=64).tolist()
        assert (row["drives"], row["steps"]) == (2, len(beams))
        assert row["sight_lost"] == sum(int((np.diff(drive.los) == -1).sum()) for drive in held)
        assert row["los_share"] == pytest.approx(np.concatenate([drive.los for drive in held]).mean())


@needs_tracer
def test_paths_give_any_radios_csi_and_change_nothing_else(folder: Path, tmp_path: Path) -> None:
    run(replace(SMALL, paths=True), tmp_path / "made")
    plain, made = tree(folder), tree(tmp_path / "made")
    written = {name for name in made if "paths_data" in name}
    changed = {name for name in plain if made[name] != plain[name]}
    assert set(made) - set(plain) == written
    assert changed == {"recipe.json", "card.json", "scenario101/scenario101.csv", "scenario102/scenario102.csv"}
    drives, _ = everything(tmp_path / "made")
    assert sum(drive.has("csi").sum() for drive in drives) == len(written) > 0
    clear = next(drive for drive in drives if drive.los.any())
    step = int(np.flatnonzero(clear.los)[0])
    beams = np.fft.fft(clear.csi(step), n=1024, axis=0)  # turns as much an antenna as the direction's sine
    best = int((np.abs(beams) ** 2).sum(1).argmax())
    sine = -2 * np.where(best > 512, best - 1024, best) / 1024
    assert sine == pytest.approx(SMALL.directions[clear.beam[step]], abs=0.08)
    kept = clear.paths(step)
    np.testing.assert_array_equal(kept.csi(), clear.csi(step))
    panel = Radio(UPA(2, 8), OFDM(16, 1e6), carrier=60e9)
    assert kept.csi(panel).shape == (16, 16)
    # a moment later a car's phase has turned by about its Doppler shift
    first = int(kept.paths.delay.argmin())
    towards = np.array([np.cos(kept.paths.aoa_azimuth[first]), np.sin(kept.paths.aoa_azimuth[first])])
    shift = 60e9 / 299_792_458 * kept.velocity[:2] @ towards * np.sin(kept.paths.aoa_zenith[first])
    alone = replace(kept, paths=kept.paths.strongest(1))
    turned = np.angle((alone.csi(after=1e-5) / alone.csi()).mean())
    assert turned == pytest.approx(2 * np.pi * shift * 1e-5, abs=1e-2)
    with pytest.raises(InputError, match="60 GHz for a radio at 28 GHz"):
        kept.csi(Radio())
    with pytest.raises(InputError, match="another twin"):
        run(SMALL, tmp_path / "made")
    file = clear.file("paths", step)
    for broken, says in ((file.read_bytes()[:-9], "damaged"), (b"", "damaged")):
        file.write_bytes(broken)
        with pytest.raises(InputError, match=says):
            clear.paths(step)


@needs_tracer
@pytest.mark.parametrize("fails_at", [4, 31])
def test_a_killed_run_ends_with_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    calls = 0
    lines = twin_campaign._lines

    def dies(*arguments: object) -> str:  # amid the files of a drive
        nonlocal calls
        calls += 1
        if calls > fails_at:
            raise KeyboardInterrupt
        return lines(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(twin_campaign, "_lines", dies)
    out = tmp_path / "made"
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, out)
    monkeypatch.undo()
    (out / "scenario101" / ".scenario101.csv.host.1.part").write_text("cut", encoding="utf-8")
    run(SMALL, out)
    assert tree(out) == tree(folder)


@needs_tracer
def test_more_drives_leave_the_first_as_they_are(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    run(replace(SMALL, drives=1), out)
    before = tree(out)
    run(SMALL, out)
    after = tree(out)
    assert after == tree(folder)
    same = [name for name in before if not name.endswith((".csv", "card.json"))]
    assert len(same) > 10
    assert all(before[name] == after[name] for name in same)


# bad input


@needs_tracer
def test_a_carrier_without_walls_or_cars_leaves_nothing_behind(tmp_path: Path) -> None:
    for carrier, says in ((7e8, "concrete is not defined at 0.7 GHz"), (2e11, "metal is not defined at 200 GHz")):
        with pytest.raises(InputError, match=says):
            run(replace(SMALL, ray_tracing=replace(SMALL.ray_tracing, frequency=carrier)), tmp_path / "made")
        assert not (tmp_path / "made").exists()


@needs_tracer
def test_another_twins_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"another twin.*--out"):
        run(replace(SMALL, seed=1), folder)
    out = Path(shutil.copytree(folder, tmp_path / "made"))
    (out / "scenario101/scenario101.csv").write_text("index,other\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"scenario101\.csv: not a table"):
        run(SMALL, out)
    (out / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"recipe\.json: not valid JSON"):
        run(SMALL, out)
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (damaged / "scenario102/unit1/label_data/label_1.txt").unlink()
    with pytest.raises(InputError, match=r"scenario102\.csv: a blockage label is missing"):
        run(SMALL, damaged)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sites": ()}, "one site or more"),
        ({"sites": (SITES[0], SITES[0])}, "number of its own"),
        ({"drives": 0}, "drives is 0"),
        ({"least_steps": 30, "most_steps": 20}, "30 to 20 steps"),
        ({"antennas": 8}, "raise oversampling"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_the_command_takes_a_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = ArgumentParser(exit_on_error=False)
    command.arguments(parser)
    asked: list[Twin] = []

    def make(setting: Twin, out: Path) -> dict[str, object]:
        asked.append(setting)
        return {"seed": setting.seed, "scenarios": {}}

    monkeypatch.setattr(twin_campaign, "run", make)
    options = parser.instantiate(parser.parse_args(["--out", str(tmp_path), "--scene", "munich", "--drives", "3"]))
    command.run(options)
    assert asked[0] == Twin(tuple(site for site in SITES if site.scene == "munich"), drives=3)
    command.run(parser.instantiate(parser.parse_args(["--out", str(tmp_path), "--sites", "blocked"])))
    assert asked[1] == Twin(BLOCKED_SITES)
    with pytest.raises(InputError, match="--sites 'odd': choose open, blocked, all"):
        command.run(parser.instantiate(parser.parse_args(["--out", str(tmp_path), "--sites", "odd"])))
    options = parser.instantiate(parser.parse_args(["--out", str(tmp_path), "--scene", "atlantis"]))
    with pytest.raises(InputError, match=r"atlantis.*munich"):
        command.run(options)
