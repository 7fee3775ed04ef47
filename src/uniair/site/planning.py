"""From a file of sites to a folder with its links and coverage, a drive test's calibration, and a model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import uniair
from uniair.area.streets import read_streets
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.files import write_text
from uniair.propagation.radio_map import Cells, SectorMap, sector_map
from uniair.propagation.ray_tracing import check_materials, tracer
from uniair.site import (
    drive_figure,
    drive_summary,
    drive_tracing,
    gis,
    plan_answers,
    plan_answers_report,
    plan_report,
    site_coverage,
    site_recipe,
    survey,
)
from uniair.site.calibration import DriveTest
from uniair.site.covered import Covered
from uniair.site.drive_tracing import Measurements
from uniair.site.measured import Terms
from uniair.site.site import REPORT, Site
from uniair.site.site_coverage import MapCoverage, Numbers, Planning, UserCoverage
from uniair.site.station_answers import Questions
from uniair.site.steps import Steps
from uniair.site.survey import Ground, Survey
from uniair.site.traced_links import OVER_ROOFS, traced
from uniair.training.checkpoint import digest

MAPPED = 3e-6  # rough seconds a ray on two cores
CARD = "card.md"


def make(
    wanted: Survey,
    planning: Planning,
    out: Path,
    steps: Steps,
    export: Path | None = None,
    measurements: Measurements | None = None,
    questions: Questions | None = None,
) -> Site:
    """Traces the masts, maps the sectors, lays a drive test's log over them, asks a model, writes figures and report.

    The same folder goes on with other tilts, powers, panels, patterns, logs, models and ways to count: its paths serve
    them all. What was calibrated on a log stands beside what was planned, and never in its place.

    Args:
        export: folder for files that a GIS opens; None: none.
        measurements: of a drive test; None: there are none.
        questions: to a model; None: none is asked. One that can't read the sectors' radios is not asked, which is said.

    Raises:
        InputError: see `survey.crop`, `note_recipe` and `drive_tracing.prepare`; the tracer can't run here, or knows
            no walls at a carrier.
    """
    ground = survey.crop(wanted)
    drive = None if measurements is None else drive_tracing.prepare(ground, wanted, measurements)
    model, unasked = (None, "") if questions is None else plan_answers.readable(questions, ground)
    for carrier in dict.fromkeys(sector.carrier for sector in ground.sectors):
        check_materials(replace(wanted.ray_tracing, frequency=carrier))
    cells = Cells.over(ground.area, planning.cell) if planning.cell else None
    maps = {"cell": planning.cell, "rays": planning.rays}
    made = site_recipe.recipe(wanted, tracer=tracer(wanted.ray_tracing), maps=maps)
    site_recipe.note_recipe(out, made)
    once = OVER_ROOFS * len(ground.traced(wanted.ue, wanted.seed)) * len(ground.sources)
    once += 0 if cells is None else MAPPED * planning.rays * len(ground.sectors)
    again = once if drive is not None and len(drive.materials) > 1 else 0.0
    asking = 0.0 if model is None or questions is None else plan_answers.work(ground, questions)
    steps.expect(once + again + (0 if drive is None else OVER_ROOFS * drive.links(ground)) + asking + 2)
    streets = read_streets(wanted.place, ground.area)
    stations, name, weights = ground.stations, "", ""
    if model is not None and questions is not None:
        stations, name = plan_answers.stations(model, ground, questions, planning), questions.model
        weights = digest(model)
    radio = plan_answers.first_radio(stations, ground)
    site = Site(out, ground.area, stations, name, weights, ground.area.georeference, radio=radio, streets=streets)
    covered, links = _covered(out, ground, wanted, cells, planning, steps)
    own, users = ground.own, covered.users
    site.about.update(
        recipe=made, remarks=list(ground.remarks), corner=list(ground.corner), links=links, measured={},
        uniair=uniair.__version__, planning=asdict(planning),
        coverage=site_coverage.summary(ground, users, covered.maps, planning),
        users={"count": len(users.points), "file": None if own is None else Path(str(wanted.users)).name,
               "left_out": {} if own is None else dict(own.left_out), "highest": _highest(users)},
    )  # fmt: skip
    more: list[plan_report.Section] = []
    if drive is not None:
        test = drive_tracing.run(out, ground, wanted, drive, steps)
        calibrated = _calibrated(out, ground, wanted, cells, planning, test, steps) if test.changed else None
        covered = replace(covered, drive_test=test, calibrated=calibrated)
        said = site.about["drive_test"] = drive_summary.summary(test)
        if calibrated is not None:
            said["coverage"] = site_coverage.summary(ground, calibrated.users, calibrated.maps, planning)
        more.append(drive_figure.section(test, said, drive_lines(said, planning)))
    site.about["model"] = None
    if model is not None and questions is not None:
        said = site.about["model"] = plan_answers.ask(model, site, covered, questions, steps)
        more += plan_answers_report.sections(site, said)
    elif unasked:
        site.about["remarks"].append(unasked)
    site.about["seconds"] = round(steps.seconds(), 1)
    steps.bar.set_description("report")
    write_text(out / CARD, "\n".join(_card(site, planning)) + "\n")
    plan_report.write(out / REPORT, site, covered, remarks(site), LIMITS, more)
    covered.write(out)
    site.write()
    if export is not None:
        steps.bar.set_description("export")
        gis.export(export, ground.area, covered)
    steps.finish()
    return site


def _covered(
    out: Path, ground: Ground, wanted: Survey, cells: Cells | None, planning: Planning, steps: Steps
) -> tuple[Covered, dict[str, int]]:
    """Coverage as planned, and how many users each source reaches."""
    links = traced(out / "links", "trace", "tracing", ground, wanted, steps, OVER_ROOFS)
    users = site_coverage.of_users(ground, ground.users(wanted.ue, wanted.seed), links, planning)
    maps = None if cells is None else _maps(out, ground, wanted, cells, planning, steps)
    return Covered.of(ground, users, maps, planning), {name: len(of) for name, of in links.items()}


def _calibrated(
    out: Path,
    ground: Ground,
    wanted: Survey,
    cells: Cells | None,
    planning: Planning,
    test: DriveTest,
    steps: Steps,
) -> Covered:
    """Coverage with the walls and offsets that a drive test asks for; sectors without an offset stay as planned."""
    offsets = np.nan_to_num(test.offsets)
    material = test.walls.chosen
    if material == test.walls.planned:
        folder, key, label = out / "links", "trace", ""
    else:
        folder, key, label = out / "drive" / f"users-{material}", f"trace-{material}", f"-{material}"
    again = drive_tracing.with_walls(wanted, material)
    links = traced(folder, key, f"tracing, walls of {material}", ground, again, steps, OVER_ROOFS)
    users = site_coverage.of_users(ground, ground.users(wanted.ue, wanted.seed), links, planning, offsets)
    maps = None if cells is None else _maps(out, ground, again, cells, planning, steps, label, offsets)
    return Covered.of(ground, users, maps, planning, test.offsets)


def _maps(
    out: Path,
    ground: Ground,
    wanted: Survey,
    cells: Cells,
    planning: Planning,
    steps: Steps,
    label: str = "",
    offsets: Numbers | None = None,
) -> MapCoverage:
    """One map a sector, kept in the folder, and the coverage that follows.

    Args:
        label: that tells maps with other walls from those as planned.
        offsets: see `of_maps`.
    """
    maps: list[SectorMap] = []
    scenes: dict[float, Any] = {}

    def run(number: int, path: Path) -> None:
        sector = ground.sectors[number]
        if sector.carrier not in scenes:
            scenes.clear()  # one at a time: a scene takes memory
            scenes[sector.carrier] = survey.scene_of(ground.area, wanted, sector.carrier)
        config = replace(wanted.ray_tracing, frequency=sector.carrier)
        position = ground.stations[number].position
        site_coverage.save_map(path, sector_map(scenes[sector.carrier], sector, position, cells, config, planning.rays))

    for number, sector in enumerate(ground.sectors):
        # a changed sector has a new one; names come from a file, and are none of a file's
        key = f"map-{ground.sources.index(ground.source(number)):03d}-{sector.digest()}{label}"
        path = out / "maps" / f"{key}.npz"
        steps.once(key, f"{sector.name}: map", MAPPED * planning.rays, partial(run, number, path))
        maps.append(site_coverage.load_map(path))
    return site_coverage.of_maps(ground.area, ground.sectors, cells, maps, planning, offsets)


def _highest(found: UserCoverage) -> float:
    return max(round(float(found.points[:, 2].max()), 2), UE_HEIGHT)


def remarks(site: Site) -> list[str]:
    """What to know about how a site was read, and what of its place was guessed or left out."""
    reading, users = site.area.reading, site.about["users"]
    left = [f"{count:,} users of {users['file']} left out: {reason}" for reason, count in users["left_out"].items()]
    return [*site.about["remarks"], *left, *(f"map: {line}" for line in (reading.lines() if reading else ()))]


def drive_lines(found: Mapping[str, Any], planning: Planning) -> list[str]:
    """What a drive test says, and the coverage with what was calibrated on it."""
    calibrated = found.get("coverage")
    again = [] if calibrated is None else site_coverage.lines(calibrated, planning)
    return [*drive_summary.lines(found), *(f"calibrated on {found['log']}: {line}" for line in again)]


def _card(site: Site, planning: Planning) -> list[str]:
    """The site's card in Markdown."""
    coverage: Mapping[str, Any] = site.about["coverage"]
    out = [f"# {site.area.name}: coverage", "", *(f"- {line}" for line in site_coverage.lines(coverage, planning)), ""]
    head = ("sector", "azimuth", "power", "users reached", "best server of", "in sight", "median RSRP")
    out += [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for one in coverage["sectors"]:
        median = "" if one["median_rsrp_dbm"] is None else f"{one['median_rsrp_dbm']:.1f} dBm"
        cells = (one["sector"], f"{one['azimuth_deg']:g}°", f"{one['power_dbm']:g} dBm", f"{one['reached']:,}",
                 f"{one['best_server']:,}", f"{one['los']:,}", median)  # fmt: skip
        out.append(f"| {' | '.join(cells)} |")
    if (said := site.about.get("model")) is not None:
        out += ["", f"## What {site.model} answers", "", *(f"- {line}" for line in plan_answers.lines(said)), ""]
        out += ["\n\n".join(found.markdown() for _, found in plan_answers_report.tables(site, said))]
    if (drive := site.about.get("drive_test")) is not None:
        out += ["", "## Drive test", "", *(f"- {line}" for line in drive_lines(drive, planning)), ""]
        out += [drive_summary.table(drive).markdown()]
    out += ["", "## Limits", "", *(f"- {line}" for line in (*LIMITS, *remarks(site)))]
    return [*out, "", "## Source", "", site.area.attribution]


LIMITS = (
    "Traced over flat ground with one wall material, no trees, cars or people. RSRP is the power of all paths, fading "
    "averaged out, to a user who takes in both polarisations.",
    "Users inside buildings get what arrives before the nearest outer wall, less the entry loss of TR 38.901, 7.4.3: a "
    "model, and its median.",
    "SINR takes the other sectors' beams to point anywhere as often as anywhere else; throughput is TR 36.942's "
    "attenuated Shannon with TR 38.803's numbers, on one layer, for a user alone in its sector.",
    "Maps take each path in its own best beam, which is up to a decibel more than links have, and average over a cell.",
)


def require_plain(trace: bool, measured: bool, terms: Terms) -> None:
    """Raises `InputError` for what a plan has no use for, or what needs a drive test."""
    if not trace:
        raise InputError("--trace false leaves nothing of --sites; leave it out")
    if terms.transmit_power is not None or terms.first_beam is not None or terms.axes:
        raise InputError(
            "--transmit_power, --first_beam, --axes: of --sites the RSRP alone is measured, whose power the file says; "
            "leave them out"
        )
    if not measured and (terms.columns or terms.cells):
        raise InputError("--columns, --cells: say what --measured calls them; give it, or leave them out")
