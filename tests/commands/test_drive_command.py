"""`uniair site --sites --measured`: a log laid over a plan, offsets and walls found again, killed runs, bad logs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.site.make import synthetic_paths
from tests.tracer import needs_tracer

from uniair import cli
from uniair.commands import site as command
from uniair.propagation.coverage import received
from uniair.propagation.paths import LOS, Paths
from uniair.propagation.ray_tracing import RayTracing, trace_scene
from uniair.site import drive_tracing, planning, survey
from uniair.site.site import Site
from uniair.site.survey import Ground, Survey

HEADER = "site,x_m,y_m,height_m,azimuth_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz,rows,columns,pattern,pci"
SECTORS = [f"A,400,400,20,{azimuth},46,3500,100,30,2,2,tr38901,{pci}" for azimuth, pci in ((90, 301), (270, 302))]
OFFSETS = {301: 4.0, 302: -2.5}  # dB by which the sectors of the log are stronger
REFLECTED = {"concrete": 1.0, "wood": 0.4, "metal": 2.5}  # of the closed form's echoes
QUICK = RayTracing(samples=5_000)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """Two sectors of a mast in 200 m of a generated town."""
    (tmp_path / "sites.csv").write_text("\n".join([HEADER, *SECTORS]))
    return survey.crop(wanted(tmp_path))


def wanted(folder: Path) -> Survey:
    return Survey("procedural:7", (), side=200.0, ue=20, sites=str(folder / "sites.csv"), ray_tracing=QUICK)


def line(folder: Path, *more: str) -> list[str]:
    return ["site", "procedural:7", "--sites", str(folder / "sites.csv"), "--measured", str(folder / "log.csv"),
            "--side", "200", "--ue", "20", "--materials", "wood,metal", "--out", str(folder / "plan"), "--json",
            *more]  # fmt: skip


def closed_form(area: Any, bs: Any, ue: Any, material: str) -> Paths:
    """A mast's paths whose echoes know the walls."""
    paths = synthetic_paths(area, bs[0], ue)
    return replace(paths, gain=paths.gain * np.where(paths.interactions == LOS, 1.0, REFLECTED[material]))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No tracer: paths in closed form; the material of each call."""
    traced: list[str] = []

    def trace(scene: Any, bs: Any, ue: Any, config: RayTracing) -> Paths:
        traced.append(config.building_material)
        return closed_form(scene, bs, ue, config.building_material)

    monkeypatch.setattr(survey, "build_scene", lambda area, config: area)
    monkeypatch.setattr(survey, "trace_scene", trace)
    monkeypatch.setattr(planning, "check_materials", lambda config: None)
    monkeypatch.setattr(drive_tracing, "check_materials", lambda config: None)
    monkeypatch.setattr(drive_tracing, "defined", lambda name, carrier: True)
    monkeypatch.setattr(planning, "tracer", lambda config: "stub")
    return traced


def places(ground: Ground, count: int) -> np.ndarray:
    """Where somebody drove, [N, 3] m."""
    return ground.area.drop(count, 1.5, np.random.default_rng(1))


def write_log(folder: Path, ground: Ground, ue: np.ndarray, paths: Paths, noise: float = 0.0) -> None:
    """What a receiver would log whose cables and walls the plan does not know."""
    rng, rows = np.random.default_rng(2), ["x,y,PCI,SS-RSRP"]
    plan = ue[:, :2] + ground.corner
    for sector in ground.sectors:
        rsrp = received(paths, sector).rsrp + OFFSETS[sector.pci or 0] + rng.normal(0, noise, len(ue))
        heard = zip(plan[np.isfinite(rsrp)], rsrp[np.isfinite(rsrp)], strict=True)
        rows += [f"{x:.3f},{y:.3f},{sector.pci},{value:.2f}" for (x, y), value in heard]
    (folder / "log.csv").write_text("\n".join([*rows, "400,400,9,-90", ",,301,-90"]))


def told(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    printed = capsys.readouterr().out
    return printed, json.loads(printed.splitlines()[-1])


def test_a_log_beside_a_plan(
    tmp_path: Path, ground: Ground, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ue = places(ground, 500)
    paths = closed_form(ground.area, [ground.sources[0].position], ue, "wood")
    write_log(tmp_path, ground, ue, paths, noise=2.0)
    asked = line(tmp_path, "--cell", "0", "--export", str(tmp_path / "gis"))
    assert cli.main(asked) == 0
    printed, said = told(capsys)
    drive = said["drive_test"]
    assert drive["left_out"] == {"without a position": 1, "of cells that the plan does not have": 1}
    assert (drive["walls"]["planned"], drive["walls"]["chosen"]) == ("concrete", "wood")
    assert [one["offset_db"] for one in drive["sectors"]] == pytest.approx([4.0, -2.5], abs=0.5)
    assert drive["calibrated"]["median_absolute_db"] < 2 < drive["planned"]["median_absolute_db"]
    assert drive["calibrated"]["count"] == drive["planned"]["count"] > 100
    # what was planned stays beside it
    assert cli.main([*line(tmp_path)[:4], *line(tmp_path)[6:10], "--out", str(tmp_path / "plain"), "--cell", "0",
                     "--json"]) == 0  # fmt: skip
    assert told(capsys)[1]["coverage"] == said["coverage"]
    assert drive["coverage"] != said["coverage"]
    assert "drive test: calibrated on log.csv: 20 users outdoors" in printed
    assert "drive test: walls: wood instead of concrete" in printed
    card = (tmp_path / "plan/card.md").read_text()
    assert "## Drive test" in card
    assert "| A-1, as planned |" in card
    assert Site.read(tmp_path / "plan").about["drive_test"] == drive

    with (tmp_path / "gis/drive_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == drive["measured"]
    one = next(row for row in rows if row["half"] == "tested")
    for state in ("planned", "calibrated"):
        left = float(one["measured_dbm"]) - float(one[f"{state}_dbm"])
        assert float(one[f"{state}_residual_db"]) == pytest.approx(left, abs=0.011)
    assert {row["planned_dbm"] for row in rows if row["half"] == "between"} == {""}

    users = {}
    for folder in ("gis", "gis/calibrated"):
        with (tmp_path / folder / "users.csv").open() as file:
            users[folder] = [float(row["rsrp_dbm_A-1"]) for row in csv.DictReader(file)]
    here = closed_form(ground.area, [ground.sources[0].position], ground.users(20, 0), "wood")
    again = received(here, ground.sectors[0]).rsrp + drive["sectors"][0]["offset_db"]
    assert users["gis/calibrated"] == pytest.approx(again, abs=0.02)

    # the same command traces nothing; another log's spots are their own
    done = list(calls)
    assert cli.main(asked) == 0
    assert told(capsys)[1]["drive_test"] == drive
    assert calls == done
    write_log(tmp_path, ground, ue[:400], paths.select(np.arange(400)))
    assert cli.main(asked) == 0
    assert len(calls) > len(done)
    assert told(capsys)[1]["drive_test"]["calibrated"]["median_absolute_db"] < 0.01


def test_a_killed_run_goes_on(
    tmp_path: Path,
    ground: Ground,
    calls: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ue = places(ground, 400)
    write_log(tmp_path, ground, ue, closed_form(ground.area, [ground.sources[0].position], ue, "wood"))
    asked = line(tmp_path, "--cell", "0")
    assert cli.main(asked) == 0
    whole, count = told(capsys)[1]["drive_test"], len(calls)
    trace: Any = vars(survey)["trace_scene"]
    killed = [str(tmp_path / "killed") if part == str(tmp_path / "plan") else part for part in asked]
    calls.clear()

    def dies(*given: Any) -> Paths:
        if len(calls) == 3:
            raise KeyboardInterrupt
        return trace(*given)

    with monkeypatch.context() as patch:
        patch.setattr(survey, "trace_scene", dies)
        assert cli.main(killed) == 130
    assert not (tmp_path / "killed/site.json").exists()
    capsys.readouterr()
    assert cli.main(killed) == 0
    assert told(capsys)[1]["drive_test"] == whole
    assert len(calls) == count  # what was done is not done again


def test_offsets_alone_and_a_sector_without_enough(
    tmp_path: Path, ground: Ground, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ue = places(ground, 300)
    write_log(tmp_path, ground, ue, closed_form(ground.area, [ground.sources[0].position], ue, "concrete"))
    text = (tmp_path / "log.csv").read_text().splitlines()
    (tmp_path / "log.csv").write_text("\n".join([row for row in text if ",302," not in row] + [
        row for row in text if ",302," in row][:9]))  # fmt: skip
    asked = [part if part != "wood,metal" else "concrete" for part in line(tmp_path, "--rays", "1", "--cell", "0")]
    assert cli.main(asked) == 0
    printed, said = told(capsys)
    assert set(calls) == {"concrete"}
    assert [one["offset_db"] for one in said["drive_test"]["sectors"]] == [4.0, None]
    assert "walls: concrete, as planned; no other was tried" in printed
    assert "A-2 is not calibrated: " in printed
    before, after = (
        {one["sector"]: one["median_rsrp_dbm"] for one in found["sectors"]}
        for found in (said["coverage"], said["drive_test"]["coverage"])
    )
    assert after["A-1"] == pytest.approx(before["A-1"] + 4, abs=0.011)
    assert after["A-2"] == before["A-2"]


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        (["x,y,pci", "400,400,301"], [], "log.csv: no column rsrp, dBm of a resource element"),
        (["x,y,pci,rsrp", "400,400,7,-90"], [], "1 of cells that the plan does not have"),
        (["x,y,pci,rsrp", *(f"{380 + i},{372},301,-90" for i in range(40))], [], "fewer than 4, which leaves no half"),
        (["x,y,pci,rsrp"], [], "columns of different lengths, or empty"),
        ([], ["--columns", "beam=PCI"], "--columns beam=…: of a drive test"),
        ([], ["--transmit_power", "3"], "--transmit_power, --first_beam, --axes: of --sites the RSRP alone"),
    ],
)
def test_bad_logs_are_one_line_and_write_nothing(
    rows: list[str], more: list[str], says: str, tmp_path: Path, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text("\n".join(rows or ["x,y,pci,rsrp", "400,400,301,-90"]))
    refused(line(tmp_path, *more), says, tmp_path / "plan", capsys)


def refused(asked: list[str], says: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(asked) == 2
    message = capsys.readouterr().err.strip()
    assert says in message
    assert len(message.splitlines()) == 1
    assert not out.exists()


def test_what_asks_for_a_log_without_one(tmp_path: Path, ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    plain = [*line(tmp_path)[:4], "--out", str(tmp_path / "plan")]
    refused([*plain, "--materials", "wood"], "--materials: walls are calibrated on", tmp_path / "plan", capsys)
    refused([*plain, "--cells", "3=A-1"], "--columns, --cells: say what --measured", tmp_path / "plan", capsys)
    bs = ["site", "procedural:7", "--bs", "400,400", "--materials", "wood", "--out", str(tmp_path / "plan")]
    refused(bs, "--materials: walls are calibrated on", tmp_path / "plan", capsys)


@needs_tracer
def test_another_material_and_4_db_are_found_again(
    tmp_path: Path, ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "OVER_ROOFS", QUICK)
    ue, wood = places(ground, 260), drive_tracing.with_walls(wanted(tmp_path), "wood")
    config = replace(wood.ray_tracing, frequency=3.5e9)
    scene = survey.scene_of(ground.area, wood, 3.5e9)
    write_log(tmp_path, ground, ue, trace_scene(scene, np.array([ground.sources[0].position]), ue, config))
    refused([*line(tmp_path)[:-5], "--materials", "cheese", "--out", str(tmp_path / "plan")],
            "material 'cheese' is none of ITU-R P.2040's", tmp_path / "plan", capsys)  # fmt: skip
    assert cli.main(line(tmp_path, "--cell", "20", "--rays", "20000")) == 0
    drive = told(capsys)[1]["drive_test"]
    assert drive["walls"]["chosen"] == drive["walls"]["best"] == "wood"
    assert [one["offset_db"] for one in drive["sectors"]] == pytest.approx([4.0, -2.5], abs=0.5)
    assert drive["calibrated"]["median_absolute_db"] < 0.5
    assert len(list((tmp_path / "plan/maps").glob("*-wood.npz"))) == 2
    assert drive["coverage"]["streets"]["median_rsrp_dbm"] is not None
