"""What is known of a site without asking anybody: its place, stations, links and coverage."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from uniair.radio import ULA, Antennas
from uniair.serve.bodies import reply
from uniair.serve.coverage_answers import PREDICTIONS, Coverage
from uniair.serve.naming import NotHereError
from uniair.serve.predictor import Predictor
from uniair.serve.schema import Station
from uniair.site import planning
from uniair.site.site import Site

UNASKED = "no model was asked about this plan, so that nothing answers here; /coverage has what was traced"
KINDS = {"tif": "image/tiff", "gpkg": "application/geopackage+sqlite3", "geojson": "application/geo+json",
         "kml": "application/vnd.google-earth.kml+xml", "csv": "text/csv; charset=utf-8"}  # fmt: skip


async def unasked() -> Response:
    """Answers for a model that was not asked about the site."""
    raise HTTPException(409, UNASKED)


def add_site(app: FastAPI, here: Site, predictor: Predictor | None, coverage: Coverage | None) -> None:
    """Where the site is, what stands in it, and its links where a model was asked about them."""

    @app.get("/site", tags=["site"])
    async def site() -> dict[str, Any]:
        """The site: stations, and where a model was asked, their radio, tasks that heads answer, and their figures."""
        place, size = here.georeference, here.area.size
        corners = np.array([[0.0, 0.0], [size, 0.0], [0.0, size], [size, size]])
        asked = predictor is not None
        remarks = [] if predictor is None else predictor.remarks(here.radio)
        return {
            "name": here.area.name, "size": size, "attribution": here.area.attribution,
            "georeference": None if place is None else vars(place),
            "corners_deg": None if place is None else place.to_degrees(corners).round(8).tolist(),
            "model": here.model if asked else None,
            "radio": here.radio.to_json() if asked else None, "radio_text": str(here.radio) if asked else "",
            "remarks": planning.remarks(here) if here.planned else remarks,
            "stations": [
                {"name": s.name, "x": s.position[0], "y": s.position[1], "height": s.position[2], "bearing": s.bearing,
                 "downtilt": s.downtilt} | ({} if predictor is None else _asked(predictor, number))
                for number, s in enumerate(here.stations)
            ],
            "tasks": {} if predictor is None else predictor.tasks(), "figures": here.figures,
            "assistant": predictor is not None and predictor.router is not None,
            "forecaster": predictor is not None and predictor.forecaster is not None,
            "coverage": coverage is not None, "feedback": None if predictor is None else predictor.codes.about(),
            "calibrated": predictor is not None and predictor.calibration is not None, "plan": here.planned,
        }  # fmt: skip

    @app.get("/site/buildings", tags=["site"])
    async def buildings() -> dict[str, Any]:
        """Outlines, holes and heights of the site's buildings, and the streets of its extract."""
        area = here.area
        return {
            "buildings": [
                {"id": number, "outline": [list(corner) for corner in outline.exterior.coords[:-1]],
                 "holes": [[list(corner) for corner in hole.coords[:-1]] for hole in outline.interiors],
                 "height": float(height)}
                for number, (outline, height) in enumerate(zip(area.footprints, area.heights, strict=True))
            ],
            "streets": [{"name": s.name, "kind": s.kind, "line": s.line.round(2).tolist()} for s in here.streets],
        }  # fmt: skip

    if predictor is None:
        for path in ("/site/links", "/site/links/{station}/{link}"):
            app.add_api_route(path, unasked, include_in_schema=False, response_class=Response)
        return

    @app.get("/site/links", tags=["site"])
    async def links(request: Request, station: Station = 0) -> Response:
        """The traced or measured links of a station; a link's number is its place in the lists."""
        known = predictor.station_links(predictor.station(station))
        return reply(request, {
            "ue": known.links.ue, **known.labels, "tested": known.tested,
        })  # fmt: skip

    @app.get("/site/links/{station}/{link}", tags=["site"])
    async def link(request: Request, station: Station, link: int) -> Response:
        """One link: labels, its CSI in beams and delays, dB, its rays, and the paths that the model read from it."""
        return reply(request, predictor.link_details(predictor.station(station), link), "csi_db")


def _asked(predictor: Predictor, station: int) -> dict[str, Any]:
    """A station's radio and beams, and what of it lies within what the weights learned from."""
    radio = predictor.site.radio_of(station)
    return {"radio_text": str(radio), "beams": _beams(radio.array), "within": predictor.scope(radio, station).verdicts,
            "remarks": predictor.remarks(radio, station)}  # fmt: skip


def _beams(array: Antennas) -> dict[str, Any]:
    """Where the beams of an array look along it, and whether the last one is beside the first."""
    return {"cosines": array.beam_cosines()[:, 0].round(6).tolist(),
            "cyclic": isinstance(array, ULA) and array.codebook is None}  # fmt: skip


def add_coverage(app: FastAPI, coverage: Coverage | None) -> None:
    """What the sectors give: figures, users, maps, rays, files."""

    def there() -> Coverage:
        if coverage is None:
            raise NotHereError("coverage: the site's folder keeps none; give the same uniair site command again, and "
                               "trace (what was measured alone has none)")  # fmt: skip
        return coverage

    @app.get("/coverage", tags=["coverage"])
    async def about(request: Request) -> Response:
        """Sectors, the layers of the map with their classes and colours, figures, and names of the files."""
        return reply(request, there().about())

    @app.get("/coverage/users", tags=["coverage"])
    async def users(request: Request, sector: Station | None = None, prediction: str = PREDICTIONS[0]) -> Response:
        """All users in lists, with RSRP (dBm) of their best server or of one sector, SINR (dB), throughput (Mbit/s).

        As planned; `prediction=calibrated` gives them as a drive test calibrates the plan.
        """
        return reply(request, there().users(sector, prediction))

    @app.get("/coverage/users/{user}", tags=["coverage"])
    async def user(request: Request, user: int) -> Response:
        """One user, and what each sector gives them."""
        return reply(request, there().user(user))

    @app.get("/coverage/map", tags=["coverage"])
    async def cells(
        request: Request, layer: str = "rsrp", sector: Station | None = None, prediction: str = PREDICTIONS[0]
    ) -> Response:
        """A layer of the map: best (server), rsrp, sinr or throughput; rsrp of one sector where that is given.

        As planned; `prediction=calibrated` gives it as a drive test calibrates the plan.
        """
        return reply(request, await asyncio.to_thread(there().map, layer, sector, prediction), "values")

    @app.get("/coverage/rays", tags=["coverage"])
    async def rays(request: Request, user: int, sector: Station | None = None) -> Response:
        """The traced paths from a sector, or the best server, to a user: corners in m, gains, delays, events."""
        return reply(request, await asyncio.to_thread(there().rays, user, sector))

    @app.get("/coverage/drive_test", tags=["coverage"])
    async def drive_test(request: Request, sector: Station | None = None) -> Response:
        """A drive test's measurements, one a spot and sector: dBm measured, and predicted as planned and calibrated."""
        return reply(request, there().drive_test(sector))

    @app.get("/coverage/export", tags=["coverage"], response_class=Response,
             responses={200: {"content": {"application/zip": {}}, "description": "A zip."}})  # fmt: skip
    async def everything() -> Response:
        """All files for a GIS: GeoTIFF, GeoPackage, GeoJSON, KML, CSV; as planned, and as a drive test calibrates."""
        return _file("coverage.zip", await asyncio.to_thread(there().export), "application/zip")

    @app.get("/coverage/export/{name:path}", tags=["coverage"], response_class=Response)
    async def one_file(name: str) -> Response:
        """One of the files that /coverage names."""
        data = await asyncio.to_thread(there().export, name)
        return _file(name.replace("/", "-"), data, KINDS.get(name.rpartition(".")[2], "application/octet-stream"))


def _file(name: str, data: bytes, kind: str) -> Response:
    return Response(data, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
