"""A small site with two stations, the second one's array at 30°, what answers about it, a plan, and a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.serve.browsing import Visit, chromium, serving, visiting
from tests.site.make import add_code, make_site
from tests.site.make_plan import make_plan

from uniair.models.router import Route
from uniair.site.site import Site
from uniair.tasks.registry import TASKS

QUESTIONS = {"Where is this user?": "position", "Which beam should serve this user?": "beam"}


class ByHeart:
    """Stands in for the router: reading English is tested elsewhere. What it does not know, its own words decide."""

    def route(self, instruction: str) -> Route:
        task = QUESTIONS.get(instruction)
        return Route(task, {} if task else dict.fromkeys(TASKS, 0.2))

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        return [1.0] * len(words)


@pytest.fixture(scope="session")
def served_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("served") / "site", stations=2)
    add_code(site, 0)
    return site


def lacking(path: str, http: Any) -> dict[str, Any]:
    """What an example lacks to be answered by the served site."""
    if path == "/feedback/decode":
        return {"code": http.get("/site").json()["feedback"][0]["code"]}
    return {"power": [0.5] * 64} if path == "/forecast" else {}


@pytest.fixture(scope="session")
def predictor(served_site: Site) -> Any:
    import torch

    from uniair.models.forecast import WMLM, ForecastPreset
    from uniair.serve.predictor import Predictor

    torch.manual_seed(0)
    forecaster = WMLM(ForecastPreset(width=32)).eval()
    out = Predictor(served_site, ByHeart(), forecaster)  # type: ignore[arg-type]
    out.calibration = None  # that of the weights is no matter of these tests; those about one bring their own
    return out


@pytest.fixture(scope="session")
def http(predictor: Any) -> Iterator[Any]:
    pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
    from fastapi.testclient import TestClient

    from uniair.serve.app import create_app
    from uniair.serve.limits import Limits

    with TestClient(create_app(predictor, Limits(body=2_000_000, samples=100), warm=False)) as client:
        yield client


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_plan(tmp_path_factory.mktemp("planned") / "plan")


@pytest.fixture(scope="session")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_plan(tmp_path_factory.mktemp("driven") / "plan", drive=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(predictor: Any) -> Iterator[str]:
    with serving(predictor) as url:
        yield url


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    """A page that must stay without a console message, an error or a foreign request."""
    with visiting(browser, address) as visit:
        visit.open()
        yield visit
        assert visit.wrong == []
