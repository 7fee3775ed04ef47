"""A server that follows a registry, over real sockets: releases change under load, and no request notices."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="fastapi is missing: pip install 'uniair[serve]'")
pytest.importorskip("tuf", reason="tuf is missing: pip install 'uniair[registry]'")

from tests.site.make import PLACES, town

import uniair
from uniair.commands.serve import _followed
from uniair.edge.artefact import describe
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.head import Head
from uniair.radio import Radio
from uniair.releases import node
from uniair.releases.keys import Keys
from uniair.releases.node import Node
from uniair.releases.release import Artefact, Release
from uniair.releases.repository import DAYS, Registry
from uniair.serve import likelihood_grids
from uniair.serve.app import create_app
from uniair.serve.applications import FORECASTER, SITE, Applications, Releases, Served
from uniair.serve.following import Following, first, forecaster_of, site_of
from uniair.serve.predictor import Predictor
from uniair.serve.stream import Stream
from uniair.site.site import Site, Station
from uniair.tasks.registry import TASKS
from uniair.training.checkpoint import digest, save_model
from uniair.training.heads import Adaptation, save_head

httpx = pytest.importorskip("httpx2", reason="httpx2 is missing: pip install 'uniair[serve]'")
testclient = pytest.importorskip("fastapi.testclient")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is missing: pip install 'uniair[serve]'")
CSI = np.random.default_rng(0).standard_normal((1, 2, *Radio().shape)).astype(np.float32)


class Cloud:
    """A registry of sites that differ in their beam heads; a node that follows it, and its server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, Keys(folder / "keys")
        self.registry = Registry(folder / "registry")
        self.root = self.registry.create(self.keys)
        self.node = Node.trust((folder / "registry").resolve().as_uri(), self.root)
        torch.manual_seed(0)
        self.prepare: Any = None
        self.forecaster = WMLM(ForecastPreset(width=32)).eval()

    def publish(self, seed: int) -> Release:
        folder = self.folder / f"site-{seed}"
        model = uniair.load("small")
        site = Site(folder, town(), (Station("bs0", (*PLACES[0], 6.0)),), "small", digest(model))
        torch.manual_seed(seed)
        save_head(site.head("beam", "channel", 0), Head(TASKS["beam"].widths), Adaptation("beam", "channel"), model,
                  Radio(), {})  # fmt: skip
        site.write()
        return self.registry.publish("street", describe(str(folder)), self.keys, "0")

    def make(self, releases: Releases, before: Any) -> Any:
        # maps of likelihood take seconds to prepare; what waits for them is tested with a preparation of its own
        warm, served = self.prepare is not None, Predictor(site_of(self.node, releases[SITE]), None, self.forecaster)
        app = create_app(served, warm=warm, before=before)
        if self.prepare is not None:
            app.state.service.prepare = self.prepare
        return app


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv(node.HOME, str(tmp_path / "node"))
    return Cloud(tmp_path)


@pytest.fixture
def served(cloud: Cloud) -> Iterator[tuple[Following, str]]:
    cloud.publish(1)
    following = Following(cloud.node, {SITE: first(cloud.node, "street")[0]}, cloud.make, every=0.2)
    server = uvicorn.Server(uvicorn.Config(following, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield following, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def wait_until(there: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def answers_by(client: Any, address: str, release: str) -> bool:
    return bool(client.get(f"{address}/health").json()["release"] == release)


def beam(client: Any, address: str) -> tuple[int, int]:
    """Status, and the beam that the head of the release chooses."""
    body = {"csi": {"real": CSI[:, 0].tolist(), "imag": CSI[:, 1].tolist()}}
    answer = client.post(f"{address}/beam", json=body)
    return answer.status_code, answer.json()["answers"][0]["beam"]


def test_releases_change_under_load_and_no_request_is_dropped(cloud: Cloud, served: tuple[Following, str]) -> None:
    following, address = served
    first_model = weakref.ref(following.answering.app.state.service.predictor.model)
    answers: list[tuple[int, int]] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not done.is_set():
                answers.append(beam(client, address))
                time.sleep(0.01)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    with httpx.Client(timeout=30) as client:
        step = {"session": "car", "power": [float(v) for v in np.arange(64) + 1.0]}
        there = Stream(cloud.forecaster)
        said: list[int] = []
        for thread in asking:
            thread.start()
        for version in (1, 2, 3):
            if version == 2:
                cloud.publish(2)
            elif version == 3:
                cloud.registry.rollback("street", 1, cloud.keys)
            wait_until(partial(answers_by, client, address, f"street@{version}"))
            metrics = client.get(f"{address}/metrics").text
            assert f'uniair_release{{release="street@{version}",weights="' in metrics
            assert metrics.count("uniair_release{") == 1
            said.append(beam(client, address)[1])
            # a vehicle's forecasts go on where they were
            forecast = client.post(f"{address}/forecast", json=step).json()["probabilities"]
            expected = there.push({"power": np.array(step["power"])}).probability
            np.testing.assert_allclose(forecast, expected, atol=1e-5)
        done.set()
        for thread in asking:
            thread.join()
        counted = client.get(f"{address}/metrics").text
    assert {status for status, _ in answers} == {200}
    assert said[0] == said[2] != said[1]
    assert {chosen for _, chosen in answers} == set(said)
    assert f'uniair_requests_total{{method="POST",route="/beam",status="200"}} {len(answers) + 3}.0' in counted
    wait_until(lambda: following.answering.taken == 0)
    wait_until(lambda: first_model() is None)  # the memory of what has left is given back


def test_what_can_not_be_used_is_left_and_said(cloud: Cloud, served: tuple[Following, str]) -> None:
    following, address = served

    def failures() -> float:
        (line,) = [line for line in httpx.get(f"{address}/metrics").text.splitlines()
                   if line.startswith("uniair_registry_failures_total ")]  # fmt: skip
        return float(line.split()[1])

    folder = cloud.folder / "registry"
    lie = cloud.publish(2)
    (weights,) = (folder / "targets" / "street" / "2").rglob("*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    wait_until(lambda: failures() > 0)
    assert httpx.get(f"{address}/health").json()["release"] == "street@1"
    assert not cloud.node.has(lie)
    weights.write_bytes(whole)  # mended: it is asked again
    wait_until(lambda: httpx.get(f"{address}/health").json()["release"] == "street@2")
    model = Artefact("model", "0" * 16, None, "no site", {"config.json": cloud.root})
    cloud.registry.publish("street", model, cloud.keys, "0")
    before = failures()
    wait_until(lambda: failures() > before)
    wait_until(lambda: following.refused == {"street@3"})
    time.sleep(0.5)
    assert failures() == before + 1, "a release that can't be used is tried once"
    cloud.publish(4)
    cloud.registry.refresh(cloud.keys, {**DAYS, "timestamp": -1})  # before a look sees it, or after: never again
    with httpx.Client(timeout=30) as client:
        before = failures()
        wait_until(lambda: failures() > before)
        assert beam(client, address)[0] == 200


def test_a_site_brings_the_model_that_it_names(cloud: Cloud) -> None:
    towers = cloud.registry.publish("towers", describe("small"), cloud.keys, "0")
    cloud.node.pull("towers")  # the keeper is a node too
    cloud.publish(1)
    site = Site.read(cloud.folder / "site-1")
    replace(site, model=f"registry:{towers}").write()
    cloud.registry.publish("street", describe(str(site.folder)), cloud.keys, "0")
    for release in cloud.node.refresh():
        if cloud.node.has(release):
            for path in sorted(cloud.node.path(release).rglob("*"), reverse=True):
                path.unlink()
            cloud.node.path(release).rmdir()
    release, why = first(cloud.node, "street")
    assert (str(release), why) == ("street@2", "")
    assert not cloud.node.has(towers)
    assert site_of(cloud.node, release).model == "registry:towers@1"
    assert cloud.node.has(towers)
    away = Node(cloud.node.folder, (cloud.folder / "nowhere").as_uri())
    release, why = first(away, "street")
    assert str(release) == "street@2"
    assert "not to be reached" in why
    with pytest.raises(InputError, match="not to be reached"):
        first(away, "lane")


def test_a_new_release_answers_once_it_is_warm_and_never_if_that_fails(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.publish(1)

    async def live() -> None:
        following = Following(cloud.node, {SITE: first(cloud.node, "street")[0]}, cloud.make, every=60)
        begin = following.answering
        await begin.running.__aenter__()
        warm = asyncio.Event()
        cloud.prepare = warm.wait
        cloud.publish(2)
        looking = asyncio.create_task(following.look())
        while "street@2" not in {str(one) for one in cloud.node.releases() if cloud.node.has(one)}:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert following.answering is begin
        begin.taken = 1  # as a request that the old one still works at
        warm.set()
        while following.answering is begin:
            await asyncio.sleep(0.02)
        assert begin.app.state.ready, "the old one ends what it took"
        begin.taken = 0
        assert await looking
        assert (str(following.answering.releases[SITE]), begin.app.state.ready) == ("street@2", False)

        async def breaks() -> None:
            raise ZeroDivisionError

        cloud.prepare = breaks
        cloud.publish(3)
        assert not await following.look()
        assert "ZeroDivisionError" in caplog.records[-1].fields["reason"]
        assert str(following.answering.releases[SITE]) == "street@2"
        assert following.answering.app.state.ready
        assert not await following.look(), "it is tried once"
        await following.answering.running.__aexit__(None, None, None)

    asyncio.run(live())


def test_a_followed_forecaster_takes_over_and_vehicles_go_on(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the same shape goes on with the streams, another begins anew; what can't be used hinders nothing else."""
    embedded: list[int] = []
    embed = likelihood_grids.LikelihoodGrids._embedded
    monkeypatch.setattr(likelihood_grids.LikelihoodGrids, "_embedded", lambda *a: embedded.append(1) or embed(*a))

    def publish(seed: int, **preset: Any) -> WMLM:
        torch.manual_seed(seed)
        model, folder = WMLM(ForecastPreset(width=32, **preset)).eval(), cloud.folder / f"beams-{seed}"
        save_model(model, folder)
        cloud.registry.publish("beams", describe(str(folder)), cloud.keys, "0")
        return model

    def forecast(client: Any, power: float) -> Any:
        answer = client.post("/forecast", json={"session": "car", "power": (np.arange(64) + power).tolist()})
        assert answer.status_code == 200
        return np.array(answer.json()["probabilities"])

    def look(following: Following, client: Any, forecaster: str, site: str = "street@1") -> None:
        assert client.portal.call(following.look)
        health = client.get("/health").json()
        assert (health["forecaster"], health["release"]) == (forecaster, site)

    cloud.publish(1)
    own = Stream(publish(1))
    releases = {name: first(cloud.node, given)[0] for name, given in ((SITE, "street"), (FORECASTER, "beams"))}
    begun = Served(site_of(cloud.node, releases[SITE]), forecaster_of(releases[FORECASTER]), releases)
    applications = Applications(
        begun, lambda site, forecaster: Predictor(site, None, forecaster),
        lambda served, before: create_app(served, warm=False, before=before),
        {SITE: partial(site_of, cloud.node), FORECASTER: forecaster_of},
    )  # fmt: skip
    following = Following(cloud.node, releases, applications, every=60)
    left = [weakref.ref(following.answering.app.state.service.sessions.model)]
    with testclient.TestClient(following) as client:
        following.answering.app.state.service.predictor.prepare(0)
        for power in (1.0, 5.0):
            wanted = own.push({"power": np.arange(64) + power}).probability
            np.testing.assert_allclose(forecast(client, power), wanted, atol=1e-5)
        own.answer_by(publish(2, dropout=0.0))
        look(following, client, "beams@2")
        metrics = client.get("/metrics").text
        assert 'uniair_release{release="beams@2",weights=""} 1.0' in metrics
        assert metrics.count("uniair_release{") == 2
        wanted = own.push({"power": np.arange(64) + 9.0}).probability
        np.testing.assert_allclose(forecast(client, 9.0), wanted, atol=1e-5)
        following.answering.app.state.service.predictor.prepare(0)
        assert len(embedded) == 1, "what the site has prepared stays"
        left.append(weakref.ref(following.answering.app.state.service.sessions.model))

        anew = Stream(publish(3, future=2))
        look(following, client, "beams@3")
        wanted = anew.push({"power": np.arange(64) + 9.0}).probability
        np.testing.assert_allclose(forecast(client, 9.0), wanted, atol=1e-5)
        cloud.publish(2)
        publish(4, future=2)
        cloud.registry.publish("beams", describe(str(cloud.folder / "site-1")), cloud.keys, "0")
        caplog.clear()
        look(following, client, "beams@3", "street@2")
        (line,) = [one.fields["reason"] for one in caplog.records if "reason" in getattr(one, "fields", {})]
        assert "beams@5: a release of kind site, not a forecaster" in line

        # both are wrong at once: both are said, once
        cloud.registry.publish("street", describe(str(cloud.folder / "beams-4")), cloud.keys, "0")
        plan = describe(str(cloud.folder / "site-2"))
        cloud.registry.publish("beams", plan, cloud.keys, "0")
        caplog.clear()
        assert not client.portal.call(following.look)
        said = [one.fields["reason"] for one in caplog.records if "reason" in getattr(one, "fields", {})]
        assert [line.split(":")[0] for line in said] == ["street@3", "beams@6"]
        assert "uniair_registry_failures_total 3.0" in client.get("/metrics").text
        assert not client.portal.call(following.look)
        assert "uniair_registry_failures_total 3.0" in client.get("/metrics").text
    gc.unfreeze()
    gc.collect()
    assert left[1]() is None, "a forecaster that has left is given back"


def test_a_plan_takes_over_from_no_site_where_forecasts_are_followed(cloud: Cloud) -> None:
    cloud.publish(1)
    site = site_of(cloud.node, cloud.node.pull("street")[0])
    release = replace(cloud.node.releases()[-1], name="beams", kind="forecaster")
    plan = replace(site, weights="")
    made: list[Any] = []
    applications = Applications(
        Served(site, cloud.forecaster, {SITE: release, FORECASTER: release}), lambda *_: pytest.fail("loaded"),
        lambda served, before: made.append(served) or SimpleNamespace(state=SimpleNamespace()), {SITE: lambda _: plan},
    )  # fmt: skip
    before = SimpleNamespace(state=SimpleNamespace(served=applications.begun, service=None))
    with pytest.raises(InputError, match="no model was asked about this plan"):
        applications({SITE: replace(release, version=2), FORECASTER: release}, before)  # type: ignore[arg-type]
    assert before.state.served is applications.begun
    alone = replace(applications, begun=replace(applications.begun, releases={SITE: release}))
    before.state.served = alone.begun
    assert alone({SITE: replace(release, version=2)}, before).state.served.site is plan  # type: ignore[arg-type]
    assert made == [plan]


@pytest.mark.parametrize(
    ("site", "follow", "line"),
    [
        ("runs/site", 60.0, "give SITE, or --forecaster, as registry:NAME"),
        ("registry:street@1", 60.0, "without a version"),
        ("registry:street", 0.1, "give 1 s or more"),
        ("registry:street", float("nan"), "give 1 s or more"),
        ("registry:street", 60.0, "this node trusts no registry"),
    ],
)
def test_what_can_not_be_followed(
    site: str, follow: float, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(node.HOME, str(tmp_path / "node"))
    options = type("Options", (), {"site": site, "follow": follow, "forecaster": None, "learn": None})()
    with pytest.raises(InputError, match=line):
        _followed(options)


def test_learning_goes_on_from_one_forecaster(cloud: Cloud) -> None:
    given = {"site": "runs/site", "follow": 60.0, "forecaster": "registry:beams", "learn": None}
    options: Any = type("Options", (), given)()
    assert _followed(options)[1] == {FORECASTER: "beams"}
    options.learn = "state"
    with pytest.raises(InputError, match="--learn: goes on from one forecaster, and registry:beams changes"):
        _followed(options)
    options.forecaster, options.site = "registry:beams@2", "registry:street"
    assert _followed(options)[1] == {SITE: "street"}
