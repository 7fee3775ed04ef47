"""A real headless Chromium against the real server: what the tests of its pages have in common."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IDLE = "main[aria-busy=false]"
LOOKS: dict[str, dict[str, Any]] = {
    "wide": {"device_scale_factor": 2},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2},
}


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install 'uniair[dev]'")
    if CHROMIUM is None:
        pytest.skip("chromium is missing: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # no sandbox: containers and root have none to give
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@contextmanager
def serving(predictor: Any, token: str | None = None) -> Iterator[str]:
    """The address of a server, in a thread."""
    import uvicorn

    from uniair.serve.app import create_app

    app = create_app(predictor, token=token, warm=False)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@dataclass
class Visit:
    """A page with what went wrong on it, what it asked, and where its server is."""

    page: Any
    address: str
    wrong: list[str] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def note(self) -> None:
        """Until every answer is there and drawn."""
        self.page.wait_for_timeout(30)
        self.page.wait_for_selector(IDLE)

    def drawn(self) -> None:
        """Until what changed at once is drawn."""
        self.page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def open(self, place: str = "") -> None:
        self.page.goto(self.address + place)
        self.note()

    @property
    def chosen(self) -> tuple[int, int]:
        """Station and link."""
        station, link = re.findall(r"\d+", self.page.url.split("#")[1])
        return int(station), int(link)

    def texts(self, selector: str) -> list[str]:
        """What is read there; numbers are tied to their units by spaces that do not break."""
        return [text.replace("\xa0", " ") for text in self.page.locator(selector).all_inner_texts()]

    def row(self, question: str) -> list[str]:
        return self.texts(f"#answers tbody tr:has(th:has-text('{question}')) > *")

    def answer(self, question: str) -> str:
        """What the model says, without what is said of the answer below it."""
        return self.row(question)[1].split("\n")[0]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen metres of the site are."""
        box = self.page.locator("#map").bounding_box()
        size = self.get("site")["size"]
        return box["x"] + x / size * box["width"], box["y"] + (1 - y / size) * box["height"]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=6)
        self.page.mouse.up()
        self.note()

    def told(self, *keys: str) -> list[dict[str, Any]]:
        """The buildings that the model is told of once these keys are pressed."""

        def believed(request: Any) -> bool:
            return bool(request.url == self.address + "los" and "buildings" in request.post_data_json)

        with self.page.expect_request(believed) as request:
            for key in keys:
                self.page.keyboard.press(key)
        buildings: list[dict[str, Any]] = request.value.post_data_json["buildings"]
        return buildings

    def get(self, path: str) -> Any:
        import httpx2 as httpx

        return httpx.get(self.address + path).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        import httpx2 as httpx

        return httpx.post(self.address + path, json=body, timeout=30).raise_for_status().json()


@contextmanager
def visiting(browser: Any, address: str, **options: Any) -> Iterator[Visit]:
    context = browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **options})
    context.set_default_timeout(60_000)  # a condition that comes true late on a busy machine is still true
    visit = Visit(context.new_page(), address)
    visit.page.on("console", lambda message: visit.wrong.append(message.text))
    visit.page.on("pageerror", lambda error: visit.wrong.append(str(error)))

    def note(request: Any) -> None:
        if not request.url.startswith((address, "data:")):
            visit.wrong.append(f"a request left the origin: {request.url}")
        if request.method == "POST":
            visit.asked.append((request.url.removeprefix(address), json.loads(request.post_data)))

    visit.page.on("request", note)
    yield visit
    context.close()


def fits(page: Any) -> None:
    """Nothing reaches beyond the window, and the map has the screen's own pixels."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OUTSIDE) == []
    map_ = "document.querySelector('#map')"
    assert page.evaluate(f"{map_}.width / {map_}.clientWidth / devicePixelRatio") == pytest.approx(1, abs=0.01)


# what scrolls by itself may be wider than the window
OUTSIDE = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll')
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
