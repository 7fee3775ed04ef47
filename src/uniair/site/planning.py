"""From a file of sites to a folder with its links and coverage; no model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uniair
from uniair.data.links.links import Links
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.files import write_text
from uniair.propagation.radio_map import Cells, SectorMap, sector_map
from uniair.propagation.ray_tracing import check_materials
from uniair.radio import Radio
from uniair.site import gis, site_coverage, survey
from uniair.site.site import Site
from uniair.site.site_coverage import MapCoverage, Planning, UserCoverage
from uniair.site.steps import Steps
from uniair.site.survey import Ground, Survey

TRACED, MAPPED = 0.06, 3e-6  # rough seconds a link and a ray on two cores
CARD = "card.md"


def make(wanted: Survey, planning: Planning, out: Path, steps: Steps, export: Path | None = None) -> Site:
    """Traces the masts, maps the sectors, and writes figures and card.

    The same folder goes on with other tilts, powers, panels, patterns and ways to count: its paths serve them all.

    Args:
        export: folder for files that a GIS opens; None: none.

    Raises:
        InputError: see `survey.crop` and `note_recipe`; the tracer can't run here, or knows no walls at a carrier.
    """
    ground = survey.crop(wanted)
    for carrier in dict.fromkeys(sector.carrier for sector in ground.sectors):
        check_materials(replace(wanted.ray_tracing, frequency=carrier))
    cells = Cells.over(ground.area, planning.cell) if planning.cell else None
    made = survey.recipe(
        wanted, tracer=f"sionna-rt {version('sionna-rt')}", maps={"cell": planning.cell, "rays": planning.rays}
    )  # fmt: skip
    survey.note_recipe(out, made)
    users = len(ground.traced(wanted.ue, wanted.seed))
    maps = 0 if cells is None else MAPPED * planning.rays * len(ground.sectors)
    steps.expect(TRACED * users * len(ground.sources) + maps + 2)
    trace(out, ground, wanted, steps)
    radio = Radio(carrier=ground.sectors[0].carrier)
    site = Site(out, ground.area, ground.stations, "", "", ground.area.georeference, radio=radio)
    found = site_coverage.of_users(ground, ground.users(wanted.ue, wanted.seed), links_of(site), planning)
    grid = None if cells is None else _maps(out, ground, wanted, cells, planning, steps)
    own = ground.own
    site.about.update(
        recipe=made, remarks=list(ground.remarks), seconds=round(steps.seconds(), 1), corner=list(ground.corner),
        links={name: len(links) for name, links in links_of(site).items()}, measured={}, uniair=uniair.__version__,
        coverage=site_coverage.summary(ground, found, grid, planning), planning=asdict(planning),
        users={"count": len(found.points), "file": None if own is None else Path(str(wanted.users)).name,
               "left_out": {} if own is None else dict(own.left_out), "highest": _highest(found)},
    )  # fmt: skip
    site.write()
    write_text(out / CARD, "\n".join(_card(site, planning)) + "\n")
    if export is not None:
        steps.bar.set_description("export")
        gis.export(export, ground, found, grid)
    steps.finish()
    return site


def trace(out: Path, ground: Ground, wanted: Survey, steps: Steps) -> None:
    """Traces the links that are not there yet."""
    done = 0

    def run() -> None:
        nonlocal done
        for count in survey.trace_links(out / "links", ground, wanted):
            steps.bar.update(TRACED * count)
            done += count

    steps.once("trace", "tracing", 0.0, run)
    users = len(ground.traced(wanted.ue, wanted.seed))
    steps.bar.update(TRACED * (users * len(ground.sources) - done))


def links_of(site: Site) -> dict[str, Links]:
    """The traced links by the name of their source; a source that reaches nobody is missing."""
    start = len(site.area.name) + 1
    found = {name[start:]: links for name, links in zip(site.links.areas, site.links, strict=True)}
    return {name: links for name, links in found.items() if len(links)}


def _maps(out: Path, ground: Ground, wanted: Survey, cells: Cells, planning: Planning, steps: Steps) -> MapCoverage:
    """One map a sector, kept in the folder, and the coverage that follows."""
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
        key = f"map-{ground.sources.index(ground.source(number)):03d}-{sector.digest()}"
        path = out / "maps" / f"{key}.npz"
        steps.once(key, f"{sector.name}: map", MAPPED * planning.rays, partial(run, number, path))
        maps.append(site_coverage.load_map(path))
    return site_coverage.of_maps(ground.area, ground.sectors, cells, maps, planning)


def _highest(found: UserCoverage) -> float:
    return max(round(float(found.points[:, 2].max()), 2), UE_HEIGHT)


def remarks(site: Site) -> list[str]:
    """What to know about how a site was read, and what of its place was guessed or left out."""
    reading, users = site.area.reading, site.about["users"]
    left = [f"{count:,} users of {users['file']} left out: {reason}" for reason, count in users["left_out"].items()]
    return [*site.about["remarks"], *left, *(f"map: {line}" for line in (reading.lines() if reading else ()))]


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


def require_plain(trace: bool, measured: str | None) -> None:
    """Raises `InputError` for what needs a model, or a trace."""
    if measured is not None:
        raise InputError("--measured: heads learn for --bs alone so far; leave it out with --sites")
    if not trace:
        raise InputError("--trace false leaves nothing of --sites; leave it out")
