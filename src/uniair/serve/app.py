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
from uniair.serve.bodies import first_line
from uniair.serve.coverage_answers import Coverage, required
from uniair.serve.learning_thread import LearningThread
from uniair.serve.limits import Guard, Limits
from uniair.serve.naming import NotHereError
from uniair.serve.openapi import ABOUT, WRONG, describe, method_of, parameters, questions, request_body
from uniair.serve.predictor import Predictor
from uniair.serve.service import Lanes
from uniair.serve.site_routes import add_coverage, add_site, unasked
from uniair.serve.telemetry import Metrics
from uniair.serve.written_channels import ChannelService
from uniair.site.site import Site

PAGE = Path(__file__).parent / "page"


def create_app(
    served: Predictor | Site,
    limits: Limits = Limits(),
    token: str | None = None,
    hosts: frozenset[str] | None = None,
    threads: int = 1,
    warm: bool = True,
    before: FastAPI | None = None,
    learning: LearningThread | None = None,
) -> FastAPI:
    """The application.

    Args:
        served: what computes; a site by itself where no model was asked, whose coverage is shown alone.
        limits: what a request may ask for.
        token: that requests must carry; None: none.
        hosts: names that it answers for; None: any.
        threads: of each lane within the model.
        warm: whether the likelihood maps of all stations are prepared at the start, in the background.
        before: the application that this one takes over from, whose counters and forecasts go on.
        learning: what learns from the forecasts' steps; the same as of `before`.

    Raises:
        InputError: a site without a model keeps no coverage.
    """
    metrics = Metrics() if before is None else before.state.metrics
    predictor = None if isinstance(served, Site) else served
    site = served if isinstance(served, Site) else served.site
    coverage = required(site) if predictor is None else Coverage.of(site)
    service = None
    if predictor is not None:
        service = ChannelService(predictor, Lanes(predictor, limits, metrics, threads), limits, learning)
    if learning is not None and before is None:
        learning.show(metrics)
    if service is not None and before is not None:
        service.go_on(before.state.service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        preparing = asyncio.create_task(service.prepare()) if warm and service is not None else None
        app.state.ready, app.state.preparing = True, preparing
        yield
        app.state.ready = False
        if preparing is not None:
            preparing.cancel()
        if service is not None:
            await service.lanes.close()

    app = FastAPI(
        title="UniAir", version=uniair.__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description=ABOUT, responses={code: {"model": schema.Problem, "description": what} for code, what in WRONG},
    )  # fmt: skip
    app.state.ready, app.state.metrics, app.state.lanes = False, metrics, None if service is None else service.lanes
    app.state.service, app.state.about = service, {}
    _add_server(app, metrics, learning)
    add_site(app, site, predictor, coverage)
    add_coverage(app, coverage)
    _add_questions(app, service)
    app.add_middleware(Guard, limits=limits, metrics=metrics, token=token, hosts=hosts)
    for kind, answer in FAULTS.items():
        app.add_exception_handler(kind, answer)
    return app


def _add_server(app: FastAPI, metrics: Metrics, learning: LearningThread | None) -> None:
    """How the server is, and the pages."""

    @app.get("/health", tags=["server"])
    async def health() -> dict[str, str]:
        """The process lives; which releases answer where a registry is followed; which forecaster where it learns."""
        forecaster = {} if learning is None else {"forecaster": learning.answers()}
        return {"status": "ok", **app.state.about, **forecaster}

    @app.get("/ready", tags=["server"])
    async def ready() -> dict[str, bool]:
        """Whether it takes requests: 503 before it can, and while it goes down."""
        if not app.state.ready:
            raise HTTPException(503, "not ready", headers={"Retry-After": "1"})
        return {"ready": True}

    @app.get("/learning", tags=["server"])
    async def learned() -> dict[str, Any]:
        """How beam forecasts learn on site: what answers, and how often it, the model that it began with and the shadow
        that learns were right.
        """
        if learning is None:
            raise NotHereError("this server does not learn: start it with --learn STATE")
        return learning.status()

    @app.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Counters in Prometheus's text format."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        """The page."""
        return _page("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """What openapi.json says, for people; nothing of it comes from elsewhere."""
        return _page("docs.html")

    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False))


def _page(name: str) -> Response:
    if not (PAGE / name).is_file():
        raise HTTPException(404, "no page is installed; the API is described in /openapi.json")
    return FileResponse(PAGE / name)


def _add_questions(app: FastAPI, service: ChannelService | None) -> None:
    """What is asked of the model and of heads, with a body."""
    for path, question in questions().items():
        name, task = method_of(path), question.task
        if service is None:
            answered: Any = unasked
        else:
            answered = getattr(service, name) if task is None else service.by_head(task)
        app.add_api_route(
            path, answered, methods=["POST"], tags=["ask"], response_class=Response, name=name,
            description=(getattr(ChannelService, name).__doc__ or "") if task is None else (
                f"By the station's light head: {task.tells}."
            ),
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
