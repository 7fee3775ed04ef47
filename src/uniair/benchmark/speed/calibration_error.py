"""Calibration on drive tests that the tracer itself made, with other walls, more power and noisy rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.propagation.coverage import received
from uniair.propagation.ray_tracing import require_sionna
from uniair.site import survey
from uniair.site.calibration import LEARNED, DriveTest, blocks_of, calibrate, choose_walls, halves
from uniair.site.drive_log import RSRP, DriveLog, to_spots
from uniair.site.drive_tracing import MATERIALS, MOST, with_walls
from uniair.site.site_coverage import everyone
from uniair.site.survey import OVER_ROOFS, Ground, Survey

NEAR = 0.5  # dB, of an offset that is called recovered
Predicted = Mapping[str, NDArray[np.float64]]


def predicted(ground: Ground, wanted: Survey, places: NDArray[np.float64], material: str) -> NDArray[np.float64]:
    """RSRP of each sector at places [N, 3] with walls of a material: [S, N] dBm; NaN where no path reaches."""
    walls = with_walls(wanted, material)
    paths = {}
    for source in ground.sources:
        scene = survey.scene_of(ground.area, walls, source.radio.carrier)
        parts = [places[i : i + survey.CHUNK] for i in range(0, len(places), survey.CHUNK)]
        found = [survey.links_of(scene, ground, source, part, walls) for part in parts]
        paths[source.name] = everyone(type(found[0]).concatenate(found), places)
    return np.stack([received(paths[ground.source(i).name], sector).rsrp for i, sector in enumerate(ground.sectors)])


def drive(
    ground: Ground, places: NDArray[np.float64], known: Predicted, walls: str, offset: float, noise: float, seed: int
) -> DriveTest:
    """A log of rows at the places, as walls of a material and so much more power would give, and what it calibrates.

    Args:
        known: material → predictions at the places, the planned one first.
        noise: of a row, dB.
        seed: of the noise; halves are those of seed 0.
    """
    truth = known[walls]
    rsrp = truth + offset + np.random.default_rng([seed, 0x10C]).normal(0, noise, truth.shape)
    sector, place = np.nonzero(np.isfinite(rsrp) & (rsrp >= RSRP[0]) & (rsrp <= RSRP[1]))
    spots, mean, rows = to_spots(places[place], sector, rsrp[sector, place], len(truth))
    log = DriveLog("log", spots, mean, rows, len(sector), {})
    number = {tuple(one): i for i, one in enumerate(places.tolist())}
    of = [number[tuple(one)] for one in spots.tolist()]
    here = {name: values[:, of] for name, values in known.items()}
    half = halves(log, MOST, 0)
    learned, planned = half == LEARNED, next(iter(known))
    part = {name: values[:, learned] for name, values in here.items()}
    found = choose_walls(log.rsrp[:, learned], part, planned, blocks_of(spots)[learned], 0)
    traced = np.where(half >= 0, 0.0, np.nan)
    names = tuple(one.name for one in ground.sectors)
    return calibrate(log, names, half, found, here[planned] + traced, here[found.chosen] + traced)


def summed_up(tests: list[DriveTest], walls: str, offset: float) -> dict[str, Any]:
    """How often the walls were found, and how far the offsets of all sectors are off, dB."""
    off = np.concatenate([one.offsets[np.isfinite(one.offsets)] for one in tests]) - offset
    bounds = [value for one in tests for value in one.offset_bounds if value is not None]
    said = [value for one in tests for value in one.offset_errors if value is not None]
    learned = [int(np.isfinite(one.residuals(LEARNED)[1][i]).sum()) for one in tests for i in range(len(one.names))]
    return {
        "logs": len(tests), "walls_found": float(np.mean([one.walls.chosen == walls for one in tests])),
        "offsets": len(off), "mean_db": float(off.mean()), "rms_db": float(np.sqrt((off**2).mean())),
        "largest_db": float(np.abs(off).max()), "recovered": float((np.abs(off) <= NEAR).mean()),
        "said_db": float(np.sqrt(np.mean(np.square(said)))) if said else None,
        "bound_db": float(np.mean(bounds)), "spots": float(np.mean(learned)),
    }  # fmt: skip


def run(
    file: str, sites: str, side: float = 600.0, positions: int = 900, offset: float = 4.0, noise: float = 6.0,
    logs: int = 60, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measures and prints.

    Args:
        file: footprints, as for uniair site.
        sites: table of masts and sectors, see docs/site.md; planned with walls of concrete.
        side: of the square, m.
        positions: where each sector is measured once.
        offset: dB by which all sectors send more than planned.
        noise: of a row, dB, standard deviation.
        logs: with noise drawn anew, for each material of the log.
        seed: of the positions, and of heights that the file does not give.
    """
    if logs < 1 or not (noise >= 0 and np.isfinite([noise, offset]).all()):
        raise InputError(f"--logs {logs}, --noise {noise:g}, --offset {offset:g}: give a log or more, and decibels")
    require_sionna()
    wanted = Survey(file, (), side=side, ue=1, seed=seed, ray_tracing=OVER_ROOFS, sites=sites)
    ground = survey.crop(wanted)
    places = ground.area.drop(positions, UE_HEIGHT, np.random.default_rng(seed))
    places = places[survey.by_neighbourhood(places[:, :2])]
    known = {name: predicted(ground, wanted, places, name) for name in MATERIALS}
    rows: dict[str, Any] = {}
    print(f"{'walls of the log':18}{'noise':>7}{'walls found':>13}{'offset off by, rms':>20}{'largest':>9}"
          f"{f'within {NEAR:g} dB':>15}{'bound':>8}")  # fmt: skip
    for walls in MATERIALS:
        for each, count in ((0.0, 1), (noise, logs)):
            tests = [drive(ground, places, known, walls, offset, each, number) for number in range(count)]
            one = rows[f"{walls}, {each:g} dB"] = summed_up(tests, walls, offset)
            print(f"{walls:18}{each:5g} dB{100 * one['walls_found']:11.0f} %{one['rms_db']:17.2f} dB"
                  f"{one['largest_db']:6.2f} dB{100 * one['recovered']:13.0f} %{one['bound_db']:5.2f} dB")  # fmt: skip
    return {"positions": positions, "offset_db": offset, "noise_db": noise, "rows": rows}
