"""The HTTP service of a site: what each path answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import uniair
from uniair.errors import InputError
from uniair.serve import schema
from uniair.serve.batching import BusyError
from uniair.serve.bodies import first_line, reply
from uniair.serve.limits import Guard, Limits
from uniair.serve.openapi import ABOUT, WRONG, describe, parameters, questions, request_body
from uniair.serve.predictor import Predictor
from uniair.serve.schema import Station
from uniair.serve.service import Lanes, Service
from uniair.serve.site_links import NotHereError
from uniair.serve.telemetry import Metrics

PAGE = Path(__file__).parent / "page"


def create_app(
    predictor: Predictor,
    limits: Limits = Limits(),
    token: str | None = None,
    hosts: frozenset[str] | None = None,
    threads: int = 1,
    warm: bool = True,
) -> FastAPI:
    """The application.

    Args:
        predictor: what computes.
        limits: what a request may ask for.
        token: that requests must carry; None: none.
        hosts: names that it answers for; None: any.
        threads: of each lane within the model.
        warm: whether the likelihood maps of all stations are prepared at the start, in the background.
    """
    metrics = Metrics()
    lanes = Lanes(predictor, limits, metrics, threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        preparing = asyncio.create_task(service.prepare()) if warm else None
        app.state.ready = True
        yield
        app.state.ready = False
        if preparing is not None:
            preparing.cancel()
        await lanes.close()

    app = FastAPI(
        title="UniAir", version=uniair.__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description=ABOUT, responses={code: {"model": schema.Problem, "description": what} for code, what in WRONG},
    )  # fmt: skip
    app.state.ready, app.state.metrics, app.state.lanes = False, metrics, lanes
    service = Service(predictor, lanes, limits)
    _add_routes(app, service, metrics)
    app.add_middleware(Guard, limits=limits, metrics=metrics, token=token, hosts=hosts)
    for kind, answer in FAULTS.items():
        app.add_exception_handler(kind, answer)
    return app


def _add_routes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    predictor = service.predictor

    @app.get("/health", tags=["server"])
    async def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @app.get("/ready", tags=["server"])
    async def ready() -> dict[str, bool]:
        """Whether it takes requests: 503 before it can, and while it goes down."""
        if not app.state.ready:
            raise HTTPException(503, "not ready", headers={"Retry-After": "1"})
        return {"ready": True}

    @app.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Counters in Prometheus's text format."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/site", tags=["site"])
    async def site() -> dict[str, Any]:
        """The site: stations and their radio, tasks that heads answer, and figures on streets that heads never saw."""
        here, place = predictor.site, predictor.site.georeference
        return {
            "name": here.area.name, "size": here.area.size, "attribution": here.area.attribution,
            "georeference": None if place is None else vars(place), "model": here.model,
            "radio": here.radio.to_json(), "radio_text": str(here.radio), "remarks": predictor.remarks(here.radio),
            "stations": [
                {"name": s.name, "x": s.position[0], "y": s.position[1], "height": s.position[2], "bearing": s.bearing}
                for s in here.stations
            ],
            "tasks": predictor.tasks(), "figures": here.figures, "assistant": predictor.router is not None,
            "forecaster": predictor.forecaster is not None,
        }  # fmt: skip

    @app.get("/site/buildings", tags=["site"])
    async def buildings() -> dict[str, Any]:
        """Outlines, holes and heights of the site's buildings."""
        area = predictor.site.area
        return {
            "buildings": [
                {"id": number, "outline": [list(corner) for corner in outline.exterior.coords[:-1]],
                 "holes": [[list(corner) for corner in hole.coords[:-1]] for hole in outline.interiors],
                 "height": float(height)}
                for number, (outline, height) in enumerate(zip(area.footprints, area.heights, strict=True))
            ]
        }  # fmt: skip

    @app.get("/site/links", tags=["site"])
    async def links(request: Request, station: Station = 0) -> Response:
        """The traced or measured links of a station; a link's number is its place in the lists."""
        known = predictor.station_links(predictor.station(station))
        return reply(request, {
            "ue": known.links.ue, **known.labels, "tested": known.tested,
        })  # fmt: skip

    @app.get("/site/links/{station}/{link}", tags=["site"])
    async def link(request: Request, station: Station, link: int) -> Response:
        """One link: labels, and its CSI in beams and delays, dB."""
        return reply(request, predictor.link_details(predictor.station(station), link), "csi_db")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        """The page."""
        if not (PAGE / "index.html").is_file():
            raise HTTPException(404, "no page is installed; the API is described in /openapi.json")
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False))
    for path, question in questions().items():
        name, task = path.removeprefix("/"), question.task
        app.add_api_route(
            path, getattr(service, name) if task is None else service.by_head(task), methods=["POST"], tags=["ask"],
            response_class=Response, name=name,
            description=None if task is None else f"By the station's light head: {task.tells}.",
            openapi_extra={"requestBody": request_body(question.body, question.example),
                           "parameters": parameters(question.body)},
            responses={200: {"model": question.answer, "description": (question.answer.__doc__ or "").strip()}},
        )  # fmt: skip
    app.openapi = partial(describe, app)  # type: ignore[method-assign]


def _problem(status: int, line: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"detail": line}, status, headers)


def _fault(answer: Callable[[Any], JSONResponse]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(_: Request, error: Exception) -> Response:
        return answer(error)

    return handler


FAULTS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    InputError: _fault(lambda e: _problem(404 if isinstance(e, NotHereError) else 400, " ".join(str(e).split()))),
    BusyError: _fault(lambda e: _problem(503, str(e), {"Retry-After": "1"})),
    HTTPException: _fault(lambda e: _problem(e.status_code, e.detail, e.headers)),
    RequestValidationError: _fault(lambda e: _problem(422, first_line(e.errors()))),
}
