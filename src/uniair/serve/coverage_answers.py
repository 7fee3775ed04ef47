"""What `uniair serve` tells of a site's coverage: sectors, users, maps, rays and files. No model is asked."""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.ray_geometry import Surfaces
from uniair.serve.drawn_rays import rays_of
from uniair.serve.naming import NotHereError, number_of
from uniair.site import gis, planning, site_coverage, traced_links
from uniair.site.calibration import HALVES
from uniair.site.covered import AGAIN, COVERAGE, Covered
from uniair.site.map_layers import Scale, residuals, scales, sector_colours
from uniair.site.site import NOTE, Site

NOBODY = -1  # a best server that there is none of
PREDICTIONS = ("planned", "calibrated")


class Coverage:
    """Answers about the coverage of one site. Methods are safe in several threads.

    Raises:
        InputError: the folder keeps a broken coverage, or one of another run than what it says of it.
    """

    def __init__(self, site: Site, covered: Covered) -> None:
        names = [one["sector"] for one in (site.about.get("coverage") or {}).get("sectors", ())]
        if names != covered.names or (covered.drive_test is None) != (site.about.get("drive_test") is None):
            raise InputError(f"{site.folder}: {NOTE} and {COVERAGE} are of different runs; {AGAIN}")
        self.site, self.covered = site, covered
        self.surfaces = Surfaces.of(site.area)
        self._exporting = threading.Lock()

    @classmethod
    def of(cls, site: Site) -> Coverage | None:
        """That of a site; None where its folder keeps none, because nothing was traced or by an older version."""
        covered = Covered.read(site.folder)
        return None if covered is None else cls(site, covered)

    def about(self) -> dict[str, Any]:
        """Sectors, layers with their colours, figures in sentences, a drive test's too, and the names of the files."""
        covered, figures = self.covered, self.site.about["coverage"]
        users, maps = covered.users, covered.maps
        told = ("reached", "best_server", "los", "median_rsrp_dbm")
        sectors = [
            {**sector, "colour": colour, **{key: one[key] for key in told}}
            for sector, colour, one in zip(covered.sectors, sector_colours(covered), figures["sectors"], strict=True)
        ]
        driven = None if covered.drive_test is None else {
            "log": covered.drive_test.log.name, "calibrated": covered.calibrated is not None,
            "lines": planning.drive_lines(self.site.about["drive_test"], covered.planning), **_scale(residuals()),
        }  # fmt: skip
        return {
            "sectors": sectors, "layers": list(map(_scale, scales(covered))), "drive_test": driven,
            "hole_dbm": covered.planning.hole, "load": covered.planning.load,
            "lines": site_coverage.lines(figures, covered.planning),
            "users": {"outdoors": int((users.floor < 0).sum()), "indoors": int((users.floor >= 0).sum())},
            "cells": None if maps is None else {"side": maps.cells.side, "rows": maps.cells.rows,
                                                "columns": maps.cells.columns, "corner": maps.cells.corner},
            "files": gis.names(self.site.area, covered), "limits": planning.LIMITS,
        }  # fmt: skip

    def sector(self, sector: int | str | None) -> int | None:
        """The number of a sector, from that or its name; None is the best server of each."""
        return None if sector is None else number_of(sector, self.covered.names, "sector")

    def predicted(self, prediction: str) -> Covered:
        """The coverage as planned, or as a drive test calibrates it.

        Raises:
            NotHereError: neither, or nothing was calibrated.
        """
        if prediction not in PREDICTIONS:
            raise NotHereError(f"prediction {prediction[:40]}: is none of {', '.join(PREDICTIONS)}")
        found = self.covered if prediction == PREDICTIONS[0] else self.covered.calibrated
        if found is None:
            raise NotHereError("prediction calibrated: no drive test calibrates this plan; give uniair site --measured")
        return found

    def users(self, sector: int | str | None, prediction: str = PREDICTIONS[0]) -> dict[str, Any]:
        """All users: where, and what the best server, or one sector, gives them; a user's number is its place."""
        users, number = self.predicted(prediction).users, self.sector(sector)
        rsrp = users.served.rsrp if number is None else users.layers["rsrp"][number]
        return {
            "ue": users.points.round(2), "floor": users.floor, "best": users.served.best, "rsrp": rsrp.round(2),
            "sinr": users.served.sinr.round(2), "throughput": (users.served.throughput / 1e6).round(2),
        }  # fmt: skip

    def user(self, user: int) -> dict[str, Any]:
        """One user: what each sector gives, in the units of the exported tables."""
        users = self.covered.users
        self._check(user)
        rows = []
        for number, name in enumerate(self.covered.names):
            row: dict[str, Any] = {"sector": name}
            for layer, (column, factor, digits) in gis.LAYERS.items():
                value = users.layers[layer][number, user]
                if not np.isfinite(value) or (layer == "beam" and value < 0):
                    row[column] = None
                else:
                    row[column] = bool(value) if layer == "los" else round(float(value) * factor, digits or None)
            rows.append(row)
        best = int(users.served.best[user])
        return {
            "user": user, "ue": users.points[user].round(2), "floor": int(users.floor[user]),
            "best_server": None if best == NOBODY else self.covered.names[best], "sectors": rows,
            "sinr_db": _number(users.served.sinr[user]),
            "throughput_mbps": _number(users.served.throughput[user] / 1e6),
        }  # fmt: skip

    def map(self, layer: str, sector: int | str | None, prediction: str = PREDICTIONS[0]) -> dict[str, Any]:
        """A layer's cells, row 0 in the south: `values` [rows, columns], null in buildings; in `best` −1 is nobody.

        RSRP may be that of one sector, whoever serves.

        Raises:
            NotHereError: no maps were made, or there is no such layer or prediction.
        """
        maps, number = self.predicted(prediction).maps, self.sector(sector)
        if maps is None:
            raise NotHereError("map: this site has none; uniair site --sites makes them, unless --cell is 0")
        if layer not in ("best", "rsrp", "sinr", "throughput"):
            raise NotHereError(f"layer {layer[:40]}: is none of best, rsrp, sinr, throughput")
        if number is not None and layer != "rsrp":
            raise InputError(f"sector: {layer} is of the best server; leave sector out, or ask for rsrp")
        served = maps.served
        values = {
            "best": np.where(np.isnan(served.throughput), np.nan, served.best),
            "rsrp": served.rsrp if number is None else maps.rsrp[number],
            "sinr": served.sinr,
            "throughput": served.throughput / 1e6,
        }[layer]
        return {"layer": layer, "values": np.asarray(values, dtype=np.float64).round(2)}

    def drive_test(self, sector: int | str | None) -> dict[str, Any]:
        """Measurements of a drive test, one a spot and sector, in lists, dBm; predictions where paths were traced.

        Raises:
            NotHereError: no log was laid over the plan, or there is no such sector.
        """
        test, number = self.covered.drive_test, self.sector(sector)
        if test is None:
            raise NotHereError(
                "drive_test: no log was laid over this plan; uniair site --sites does so with --measured LOG"
            )
        of, spot = np.nonzero(test.log.measured)
        if number is not None:
            of, spot = of[of == number], spot[of == number]
        values = {"measured": test.log.rsrp, "planned": test.planned, "calibrated": test.calibrated}
        return {
            "log": test.log.name, "spot": spot, "place": test.log.spots[spot].round(2), "sector": of,
            "half": [HALVES[half] for half in test.half[spot].tolist()], "rows": test.log.rows[of, spot],
            **{name: found[of, spot].round(2) for name, found in values.items()},
        }  # fmt: skip

    def rays(self, user: int, sector: int | str | None) -> dict[str, Any]:
        """The traced paths between a user and a sector, or its best server; of users inside, to the wall before them.

        Raises:
            NotHereError: no such user or sector.
        """
        self._check(user)
        users, number = self.covered.users, self.sector(sector)
        number = int(users.served.best[user]) if number is None else number
        spot, point = users.spots[user], users.points[user]
        about: dict[str, Any] = {"user": user, "ue": point.round(2), "spot": spot.round(2)}
        about["sector"] = None if number == NOBODY else self.covered.names[number]
        row = None if number == NOBODY else self._rows.get(self.covered.sources[number], {}).get(_key(spot))
        if row is None:
            return about | {"rays": [], "not_drawn": 0}
        one = self._links[self.covered.sources[number]].select(np.array([row]))
        return about | rays_of(self.surfaces, one.bs[0], spot, one.paths)

    def export(self, name: str | None = None) -> bytes:
        """One of the files, or all of them in a zip; they are made when they are first asked for.

        Raises:
            InputError: pyogrio or rasterio is missing.
            NotHereError: no such file.
        """
        if name is not None and name not in gis.names(self.site.area, self.covered):
            raise NotHereError(f"{name[:60]}: the files are {', '.join(gis.names(self.site.area, self.covered))}")
        with self._exporting:
            files = self._files
        if name is not None:
            return files[name]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, data in files.items():
                archive.writestr(file, data)
        return packed.getvalue()

    # within

    @cached_property
    def _files(self) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory(prefix="uniair-") as folder:
            files = gis.export(Path(folder), self.site.area, self.covered)
            return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}

    @cached_property
    def _links(self) -> dict[str, Links]:
        return traced_links.links_of(self.site.folder / "links", self.site.area.name)

    @cached_property
    def _rows(self) -> dict[str, dict[bytes, int]]:
        """Rows of each source's links by where they end."""
        return {name: {_key(place): row for row, place in enumerate(of.ue)} for name, of in self._links.items()}

    def _check(self, user: int) -> None:
        count = len(self.covered.users.points)
        if not 0 <= user < count:
            raise NotHereError(f"user {user}: there are 0 to {count - 1}")


def _key(place: NDArray[np.floating]) -> bytes:
    return place.astype(np.float32).tobytes()


def _scale(scale: Scale) -> dict[str, Any]:
    return {"name": scale.name, "title": scale.title, "unit": scale.unit, "edges": scale.edges,
            "colours": scale.colours, "texts": scale.texts()}  # fmt: skip


def _number(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None


def required(site: Site) -> Coverage:
    """The coverage of a site that nothing else is known of.

    Raises:
        InputError: its folder keeps none.
    """
    found = Coverage.of(site)
    if found is None:
        raise InputError(f"{site.folder}: neither a model's heads nor coverage are kept there; {AGAIN}")
    return found
