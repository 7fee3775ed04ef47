"""Writes a small plan without ray tracing: two masts with five sectors in a village with streets, users on two floors.

python tests/site/make_plan.py FOLDER [drive]
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from tests.area.make import degrees, rectangle
from tests.site.make import synthetic_paths
from uniair.area.area import Area
from uniair.models.learned import Learned
from uniair.models.presets import PRESETS
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.propagation.coverage import received
from uniair.propagation.paths import Paths
from uniair.propagation.radio_map import Cells, SectorMap
from uniair.propagation.sector import Sector
from uniair.site import drive_tracing, planning, survey
from uniair.site.drive_tracing import Measurements
from uniair.site.site import Site
from uniair.site.site_coverage import Planning
from uniair.site.station_answers import Questions
from uniair.site.steps import begin
from uniair.site.survey import Survey
from uniair.training.checkpoint import save_model
from uniair.training.heads import HeadTraining

SIDE, USERS, INDOORS, DRIVEN = 160.0, 60, 20, 250
STRONGER = 4.0  # dB of North's sectors in the log of a drive test; West's are as planned, but for one that is silent
SILENT = "West-2"
HOUSES = [
    (-70, -60, 30, 22),
    (-20, -66, 26, 20),
    (30, -60, 24, 34),
    (-66, 0, 24, 40),
    (-10, 8, 34, 22),
    (44, 12, 20, 50),
]
STREETS = [("Main Street", "primary", [(-120, -28), (0, -24), (120, -20)]),
           ("Mill Lane", "residential", [(-30, -90), (-34, -26), (-30, 90)]),
           ("", "footway", [(36, -20), (34, 80)]), ("Dream Road", "proposed", [(-80, -80), (80, 80)])]  # fmt: skip
HEADER = ("site,x_m,y_m,latitude,longitude,height_m,azimuth_deg,mechanical_tilt_deg,power_dbm,carrier_mhz,"
          "bandwidth_mhz,spacing_khz,rows,columns,polarisation,pattern,pci")  # fmt: skip
MASTS = [("North", (0.0, -25.0), 25, (0, 120, 240)), ("West", (-36.0, 50.0), 12, (90, 200))]


LEARNED = Learned((1.0, 71.0), (0.5, 100.0), (4.0, 346.0), (3.0, 20.0), (1.5, 30.0), (120.0, 600.0))


def village(path: Path) -> None:
    """An OpenStreetMap extract of `HOUSES` and `STREETS`."""
    nodes, ways = [], []
    outlines = [
        (rectangle(*house)[:-1], {"building": "yes", "height": f"{8 + 2 * i}"}) for i, house in enumerate(HOUSES)
    ]
    lines = [(line, {"highway": kind, **({"name": name} if name else {})}) for name, kind, line in STREETS]
    for number, (line, tags) in enumerate([*outlines, *lines]):
        refs = []
        for point in line:
            lon, lat = degrees(point)
            nodes.append(f'<node id="{len(nodes) + 1}" lat="{lat:.9f}" lon="{lon:.9f}"/>')
            refs.append(len(nodes))
        refs += refs[:1] if "building" in tags else []
        inner = "".join(f'<nd ref="{ref}"/>' for ref in refs) + "".join(
            f'<tag k="{k}" v="{v}"/>' for k, v in tags.items()
        )
        ways.append(f'<way id="{number + 1}">{inner}</way>')
    path.write_text("\n".join(['<osm version="0.6">', *nodes, *ways, "</osm>"]))


def sites(
    path: Path, metres: bool = False, polarisation: str = "slanted", tilt: float = 4.0, masts: Any = MASTS
) -> None:
    """The table of masts."""
    rows = []
    for name, place, height, azimuths in masts:
        lon, lat = degrees(place)
        where = f"{place[0]},{place[1]},," if metres else f",,{lat:.9f},{lon:.9f}"
        rows += [
            f"{name},{where},{height},{azimuth},{tilt:g},43,3500,100,30,4,4,{polarisation},tr38901,{azimuth}"
            for azimuth in azimuths
        ]
    path.write_text("\n".join([HEADER, *rows]))


def trace(area: Area, bs: Any, ue: Any, config: Any) -> Paths:
    """Direct path, ground reflection and echo in closed form; every seventh user is reached by nothing."""
    found = synthetic_paths(area, np.asarray(bs[0]), ue)
    link = found.link_of_path
    kept = link % 7 != 3
    return Paths.from_rows(len(ue), link[kept], **{name: getattr(found, name)[kept] for name in Paths.PER_PATH})


def sector_map(scene: Area, sector: Sector, position: Any, cells: Cells, config: Any, samples: int) -> SectorMap:
    """A map of the same closed form; the far corner is reached by nothing."""
    centres = cells.centres.reshape(-1, 3)
    found = received(synthetic_paths(scene, np.asarray(position), centres), sector)
    lost = centres[:, :2].sum(1) < scene.size / 3
    shape = cells.rows, cells.columns
    rsrp, mean = (np.where(lost, np.nan, values).reshape(shape) for values in (found.rsrp, found.mean_rsrp))
    return SectorMap(rsrp, mean)


def log(path: Path, wanted: Survey) -> None:
    """What somebody measured who drove through the village; every seventh place lies where no path leads to."""
    ground = survey.crop(wanted)
    assert ground.area.georeference is not None
    places, rows = ground.area.drop(DRIVEN, 1.5, np.random.default_rng(5)), ["lon,lat,PCI,SS-RSRP"]
    degree = ground.area.georeference.to_degrees(places)
    for number, sector in enumerate(ground.sectors):
        if sector.name != SILENT:
            paths = synthetic_paths(ground.area, np.asarray(ground.source(number).position), places)
            rsrp = received(paths, sector).rsrp + STRONGER * (sector.mast == "North")
            name = sector.pci if sector.mast == "North" else sector.name
            rows += [f"{lon:.8f},{lat:.8f},{name},{value:.2f}" for (lon, lat), value in zip(degree, rsrp, strict=True)]
    path.write_text("\n".join([*rows, ",,0,-80"]))


def weights(folder: Path, radios: str) -> Path:
    """Untrained ones of preset tiny, of `any` radio or `one`, in a folder."""
    torch.manual_seed(0)
    model = UniversalModel(replace(PRESETS["tiny"], radios=radios), learned=LEARNED if radios == "any" else None)
    save_model(model.eval(), folder)
    return folder


def asked(model: Path, **more: object) -> Questions:
    """Few steps of everything that learns."""
    return replace(Questions(str(model), 0, 1, HeadTraining(epochs=1, steps=10), curve=False), **more)  # type: ignore[arg-type]


def make_plan(
    folder: Path, hole: float = -90.0, drive: bool = False, questions: Questions | None = None, users: int = USERS,
    tilt: float = 4.0, masts: Any = MASTS,
) -> Site:  # fmt: skip
    """The plan in `folder`, as `uniair site --sites` makes it, with the tracer's two questions answered here.

    Args:
        drive: lay a log over it.
        questions: to a model; None: none is asked. The paths know one gain each, so that panels are vertical then.
        users: in the street.
        tilt: of all sectors, mechanical, degrees.
        masts: as `MASTS` has them.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        here = Path(name)
        village(here / "village.osm")
        sites(here / "sites.csv", polarisation="slanted" if questions is None else "vertical", tilt=tilt, masts=masts)
        for module, what, stub in (
            (survey, "build_scene", lambda area, config: area), (survey, "trace_scene", trace),
            (planning, "sector_map", sector_map), (planning, "check_materials", lambda config: None),
            (planning, "tracer", lambda config: "stub"), (drive_tracing, "check_materials", lambda config: None),
        ):  # fmt: skip
            stack.enter_context(patch.object(module, what, stub))
        wanted = Survey(str(here / "village.osm"), (), side=SIDE, ue=users, sites=str(here / "sites.csv"),
                        indoor=INDOORS, centre="{:.9f},{:.9f}".format(*degrees((0.0, 0.0))))  # fmt: skip
        measurements = None
        if drive:
            log(here / "log.csv", wanted)
            measurements = Measurements(here / "log.csv", materials=("concrete",))
        with begin(folder, "plan") as steps, warnings.catch_warnings():
            warnings.simplefilter("ignore", RadioWarning)  # as in `making.make`
            how = Planning(hole=hole, cell=5.0, rays=1)
            return planning.make(wanted, how, folder, steps, measurements=measurements, questions=questions)


if __name__ == "__main__":
    print(make_plan(Path(sys.argv[1]), drive=sys.argv[2:] == ["drive"]).folder / "report.html")
