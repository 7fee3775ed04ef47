"""Lays the log of a drive test over a plan: its spots are traced with each wall material, one half after the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniair.propagation.coverage import received
from uniair.propagation.ray_tracing import RayTracing, check_materials, defined
from uniair.site.calibration import LEARNED, TESTED, DriveTest, blocks_of, calibrate, choose_walls, halves
from uniair.site.drive_log import DriveLog, read_drive_log
from uniair.site.measured import Terms
from uniair.site.site_coverage import everyone
from uniair.site.steps import Steps
from uniair.site.survey import Ground, Source, Survey
from uniair.site.traced_links import OVER_ROOFS, traced

MOST = 500  # spots of each half that are traced
# what outer walls are made of, of the materials of ITU-R P.2040; the others are of floors, ceilings and rooms
MATERIALS = ("concrete", "brick", "wood", "glass", "marble", "metal")


@dataclass(frozen=True)
class Measurements:
    """What a plan is measured against.

    Attributes:
        log: file of a drive test.
        terms: what it does not say itself.
        materials: of walls that are tried beside the planned one; None: those of outer walls, as far as they are
            defined at the plan's carriers.
    """

    log: Path
    terms: Terms = Terms()
    materials: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Drive:
    """A log that is ready to be traced.

    Attributes:
        log: what was measured.
        half: int8 [N] what each spot is for.
        materials: of walls that are tried, the planned one first.
    """

    log: DriveLog
    half: NDArray[np.int8]
    materials: tuple[str, ...]

    def links(self, ground: Ground) -> int:
        """How many are traced."""
        learned, tested = (int((self.half == half).sum()) for half in (LEARNED, TESTED))
        other = int(len(self.materials) > 1)
        return (learned * len(self.materials) + tested * (1 + other)) * len(_sources(ground, self.log))


def prepare(ground: Ground, wanted: Survey, given: Measurements) -> Drive:
    """Reads a log, divides its streets, and looks whether the materials are defined; writes nothing.

    Raises:
        InputError: see `read_drive_log` and `halves`; a material that is none, or not defined at a carrier.
    """
    log, materials = read_drive_log(given.log, ground, given.terms), given.materials
    half = halves(log, MOST, wanted.seed)
    carriers = dict.fromkeys(sector.carrier for sector in ground.sectors)
    planned = wanted.ray_tracing.building_material
    for material in materials or ():
        for carrier in carriers:
            check_materials(_with(wanted, material, carrier))
    tried = [name for name in MATERIALS if all(defined(name, carrier) for carrier in carriers)]
    remarks = log.remarks
    if materials is None and len(tried) < len(MATERIALS):
        missing = ", ".join(name for name in MATERIALS if name not in tried)
        remarks += (f"walls that ITU-R P.2040 does not define at the plan's carriers are not tried: {missing}",)
    chosen = tried if materials is None else materials
    return Drive(replace(log, remarks=remarks), half, tuple(dict.fromkeys([planned, *chosen])))


def run(out: Path, ground: Ground, wanted: Survey, drive: Drive, steps: Steps) -> DriveTest:
    """Traces the spots in the folder of a plan, as far as that is not done, and calibrates.

    The learned spots are traced with every material, the tested ones with the planned and the chosen alone.
    """
    log, half = drive.log, drive.half
    planned, learned = drive.materials[0], half == LEARNED

    def predicted(material: str, of: int) -> NDArray[np.float64]:
        return predict(out, ground, with_walls(wanted, material), log, np.flatnonzero(half == of), steps)

    by_material = {material: predicted(material, LEARNED) for material in drive.materials}
    walls = choose_walls(log.rsrp[:, learned], by_material, planned, blocks_of(log.spots)[learned], wanted.seed)

    def everywhere(material: str) -> NDArray[np.float64]:
        rsrp = np.full(log.rsrp.shape, np.nan)
        rsrp[:, learned], rsrp[:, half == TESTED] = by_material[material], predicted(material, TESTED)
        return rsrp

    names = tuple(sector.name for sector in ground.sectors)
    return calibrate(log, names, half, walls, everywhere(planned), everywhere(walls.chosen))


def predict(
    out: Path, ground: Ground, wanted: Survey, log: DriveLog, chosen: NDArray[np.int64], steps: Steps
) -> NDArray[np.float64]:
    """RSRP of each sector in the chosen spots: [S, n] dBm; NaN where no path reaches, and of sectors on masts of which
    none was measured.
    """
    spots, material = log.spots[chosen], wanted.ray_tracing.building_material
    sources = _sources(ground, log)
    what = ",".join(source.name for source in sources).encode() + spots.astype(np.float64).tobytes()
    key = f"drive-{material}-{hashlib.sha256(what).hexdigest()[:16]}"
    links = traced(
        out / "drive" / key, key, f"drive test: {material}", replace(ground, sources=sources), wanted, steps,
        OVER_ROOFS, spots,
    )  # fmt: skip
    paths = {source.name: everyone(links.get(source.name), spots) for source in ground.sources}
    return np.stack(
        [received(paths[ground.source(number).name], sector).rsrp for number, sector in enumerate(ground.sectors)]
    )


def _sources(ground: Ground, log: DriveLog) -> tuple[Source, ...]:
    """What must be traced: the masts of which a sector was measured, at its carrier."""
    measured = [ground.source(int(number)) for number in np.flatnonzero(log.measured.any(1))]
    return tuple(source for source in ground.sources if source in measured)


def with_walls(wanted: Survey, material: str) -> Survey:
    """The survey with walls of another material."""
    return replace(wanted, ray_tracing=replace(wanted.ray_tracing, building_material=material))


def _with(wanted: Survey, material: str, carrier: float) -> RayTracing:
    return replace(wanted.ray_tracing, building_material=material, frequency=carrier)
