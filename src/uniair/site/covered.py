"""A site's coverage as its folder keeps it: what the report shows, the service answers and the exports hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uniair.errors import InputError
from uniair.files import atomic_path
from uniair.propagation.radio_map import Cells
from uniair.site.calibration import HALVES, Candidate, DriveTest, Walls, rounded
from uniair.site.drive_log import DriveLog
from uniair.site.site_coverage import MapCoverage, Planning, Served, UserCoverage
from uniair.site.survey import Ground

FORMAT = "uniair-coverage/1"
COVERAGE = "coverage.safetensors"
SERVED = ("best", "rsrp", "sinr", "throughput")
CALIBRATED, DRIVEN = "calibrated.", "drive."  # before the names of the arrays of these
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Covered:
    """What the sectors of a site give, whoever asks.

    Attributes:
        sectors: each as a planner's table has it (`Sector.described`), with its `number`, `x_m`, `y_m`, `height_m`, and
            where it is calibrated, `offset_db`: by how much it is stronger here than its power says.
        sources: whose links hold each sector's paths, by the name of their area after the site's.
        planning: how it was counted.
        users: everybody.
        maps: of the open ground; None: no maps were made.
        drive_test: that the plan was measured in; None: in none.
        calibrated: the same with the walls and offsets that the drive test asks for, whose paths are kept in `drive/`
            where the walls are other ones; None: it asks for none.
    """

    sectors: tuple[Mapping[str, Any], ...]
    sources: tuple[str, ...]
    planning: Planning
    users: UserCoverage
    maps: MapCoverage | None = None
    drive_test: DriveTest | None = None
    calibrated: Covered | None = None

    @classmethod
    def of(
        cls,
        ground: Ground,
        users: UserCoverage,
        maps: MapCoverage | None,
        planning: Planning,
        offsets: NDArray[np.float64] | None = None,
    ) -> Covered:
        """That of a ground.

        Args:
            offsets: [S] dB that `users` and `maps` have; NaN of sectors that are as planned, None where all are.
        """
        rows = []
        for number, (sector, station) in enumerate(zip(ground.sectors, ground.stations, strict=True)):
            x, y, z = (round(value, 3) for value in station.position)
            rows.append({**sector.described(), "number": number, "x_m": x, "y_m": y, "height_m": z})
            if offsets is not None:
                known = np.isfinite(offsets[number])
                rows[number]["offset_db"] = rounded(offsets[number]) if known else None
        sources = tuple(ground.source(number).name for number in range(len(rows)))
        return cls(tuple(rows), sources, planning, users, maps)

    @property
    def names(self) -> list[str]:
        """Of the sectors, in their order."""
        return [str(sector["sector"]) for sector in self.sectors]

    def write(self, folder: Path) -> None:
        """Writes it into a site's folder in one step."""
        arrays, note = _packed(self)
        with atomic_path(folder / COVERAGE) as temporary:
            save_file(arrays, temporary, {"uniair": json.dumps(note | {"format": FORMAT})})

    @classmethod
    def read(cls, folder: Path) -> Covered | None:
        """What a site's folder keeps; None where it keeps none.

        Raises:
            InputError: broken, or of another version.
        """
        path = folder / COVERAGE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                note = json.loads(file.metadata()["uniair"])
                names = list(file.keys())  # it is no dict
                arrays = {name: file.get_tensor(name) for name in names}
            if note["format"] != FORMAT:
                raise InputError(f"{path}: of format {note['format']!r}, this version reads {FORMAT!r}; {AGAIN}")
            return _of_arrays(note, arrays)
        except (SafetensorError, ValueError, TypeError, LookupError, AttributeError, OSError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: not a site's coverage ({type(error).__name__}: {error}); {AGAIN}") from error


AGAIN = "give the same uniair site command again"


def _packed(covered: Covered) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and note of a file."""
    users, maps, test, again = covered.users, covered.maps, covered.drive_test, covered.calibrated
    arrays: Arrays = {"points": users.points, "spots": users.spots, "floor": users.floor}
    arrays |= {f"layer.{name}": values for name, values in users.layers.items()}
    arrays |= {f"users.{name}": getattr(users.served, name) for name in SERVED}
    note: dict[str, Any] = {
        "sectors": list(covered.sectors), "sources": covered.sources, "planning": asdict(covered.planning),
        "cells": None if maps is None else asdict(maps.cells), "drive_test": None, "calibrated": None,
    }  # fmt: skip
    if maps is not None:
        arrays |= {"map.rsrp": maps.rsrp, **{f"cells.{name}": getattr(maps.served, name) for name in SERVED}}
    arrays = {
        name: np.ascontiguousarray(values.astype(np.float32) if _halved(name, values) else values)
        for name, values in arrays.items()
    }
    if test is not None:
        log = test.log
        arrays |= {DRIVEN + name: np.ascontiguousarray(values) for name, values in (
            ("spots", log.spots), ("rsrp", log.rsrp), ("rows", log.rows), ("half", test.half),
            ("offsets", test.offsets), ("planned", test.planned), ("calibrated", test.calibrated),
        )}  # fmt: skip
        note["drive_test"] = {
            "log": {"name": log.name, "given": log.given, "left_out": dict(log.left_out), "remarks": log.remarks},
            "walls": asdict(test.walls), "offset_errors": test.offset_errors,
            "offset_bounds": test.offset_bounds,
        }  # fmt: skip
    if again is not None:
        more, note["calibrated"] = _packed(again)
        arrays |= {CALIBRATED + name: values for name, values in more.items()}
    return arrays, note


def _halved(name: str, values: NDArray[Any]) -> bool:
    """What single precision is enough for; spots are looked up among the links, so that they keep theirs."""
    return values.dtype == np.float64 and name not in ("points", "spots")


def _of_arrays(note: dict[str, Any], arrays: Arrays) -> Covered:
    sectors, users = len(note["sectors"]), len(arrays["points"])

    def taken(name: str, *shape: int) -> NDArray[Any]:
        values = arrays[name]
        if values.shape != shape:
            raise ValueError(f"{name} of shape {list(values.shape)}, not {list(shape)}")
        return values.astype(np.float64) if values.dtype == np.float32 else values

    def served(of: str, *shape: int) -> Served:
        found = Served(*(taken(f"{of}.{name}", *shape) for name in SERVED))
        if not ((found.best >= -1) & (found.best < sectors)).all():
            raise ValueError(f"{of}.best names a sector that is not there")
        return found

    layers = {name[6:]: taken(name, sectors, users) for name in arrays if name.startswith("layer.")}
    everyone = UserCoverage(
        taken("points", users, 3), taken("floor", users), layers, served("users", users), taken("spots", users, 3)
    )
    maps = None
    if note["cells"] is not None:
        cells = Cells(**note["cells"] | {"corner": tuple(note["cells"]["corner"])})
        size = cells.rows, cells.columns
        maps = MapCoverage(cells, taken("map.rsrp", sectors, *size), served("cells", *size))
    if len(note["sources"]) != sectors:
        raise ValueError(f"{len(note['sources'])} sources of {sectors} sectors")
    test = None if note["drive_test"] is None else _drive_test(note, arrays)
    again = None if note["calibrated"] is None else _of_arrays(note["calibrated"], _under(CALIBRATED, arrays))
    planning = Planning(**note["planning"])
    return Covered(tuple(note["sectors"]), tuple(note["sources"]), planning, everyone, maps, test, again)


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _drive_test(note: dict[str, Any], arrays: Arrays) -> DriveTest:
    found, names = _under(DRIVEN, arrays), tuple(sector["sector"] for sector in note["sectors"])
    count, test = len(found["spots"]), note["drive_test"]
    shapes = {"spots": (count, 3), "half": (count,), "offsets": (len(names),)}
    shapes |= dict.fromkeys(("rsrp", "rows", "planned", "calibrated"), (len(names), count))
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise ValueError(f"{DRIVEN}{name} of shape {list(found[name].shape)}, not {list(shape)}")
    if not np.isin(found["half"], list(HALVES)).all():
        raise ValueError(f"{DRIVEN}half names none of {', '.join(HALVES.values())}")
    log = DriveLog(rsrp=found["rsrp"], spots=found["spots"], rows=found["rows"],
                   **test["log"] | {"remarks": tuple(test["log"]["remarks"])})  # fmt: skip
    candidates = tuple(Candidate(**one) for one in test["walls"]["candidates"])
    return DriveTest(
        log, names, found["half"], Walls(**test["walls"] | {"candidates": candidates}), found["offsets"],
        tuple(test["offset_errors"]), tuple(test.get("offset_bounds", (None,) * len(names))),
        found["planned"], found["calibrated"],
    )  # fmt: skip
