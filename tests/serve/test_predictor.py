from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.serve.conftest import ByHeart
from tests.site.make import make_site, town

from uniair.data.links.loader import batch_of
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.radio import ULA, Radio
from uniair.serve.naming import NotHereError
from uniair.serve.predictor import Predictor, Received
from uniair.serve.sessions import BusyError, Sessions
from uniair.serve.views import Hypotheses
from uniair.site.frame import log_likelihood, view
from uniair.site.site import Site
from uniair.tasks import zero_shot
from uniair.tasks.answers import Declined
from uniair.tasks.registry import TASKS
from uniair.training.heads import load_head

UE = np.array([[10.0, 140.0, 1.5], [75.0, 35.0, 1.5], [149.0, 1.0, 2.0]])


def received(predictor: Predictor, csi: torch.Tensor, radio: Radio = Radio()) -> Received:
    """One request's channels, embedded."""
    return Received(csi, radio, predictor.model.encode_channel(csi, radio))


@pytest.mark.parametrize("station", [0, 1])
def test_a_view_turns_as_the_training_data_were_turned_and_back(predictor: Predictor, station: int) -> None:
    here, there = predictor.views[station], view(predictor.site, station).environment(UE)
    np.testing.assert_allclose(here.turned(UE), there.ue, atol=1e-4)
    np.testing.assert_array_equal(here.map, there.map[0])
    np.testing.assert_allclose(here.bs, there.bs[0])
    assert here.size == pytest.approx(float(there.size[0]))
    np.testing.assert_allclose(here.back(here.turned(UE)[:, :2]), UE[:, :2], atol=1e-4)


@pytest.mark.parametrize("station", [0, 1])
def test_a_links_csi_is_that_which_the_heads_learned_from(predictor: Predictor, station: int) -> None:
    batch = batch_of(predictor.station_links(station).links)
    torch.testing.assert_close(predictor.csi(station, 7), batch.csi[7:8])


@pytest.mark.parametrize("station", [0, 1])
def test_zero_shot_answers_are_the_models_own(predictor: Predictor, station: int) -> None:
    links = predictor.station_links(station).links
    batch, model = batch_of(links), predictor.model
    z = predictor.encode([Received(batch.csi[:2], Radio()), Received(batch.csi[2:5], Radio())])
    torch.testing.assert_close(torch.cat(z), model.encode_channel(batch.csi[:5]), atol=1e-5, rtol=1e-4)
    env = batch.environment
    some = Environment(map=env.map, bs=env.bs[:5], ue=env.ue[:5], size=env.size[:5], area=env.area[:5])
    asked, ue = Received(batch.csi[:5], Radio(), torch.cat(z)), links.ue[:5]
    both = Hypotheses(predictor.views[station], 10, np.tile(ue, (2, 1)), np.repeat([0, 1], 5))
    alone = Hypotheses(predictor.views[station], 5, ue)
    told, candidates = predictor.embed([both, alone])
    np.testing.assert_allclose(
        predictor.los(asked, told, alone.apart), zero_shot.los(model, batch.csi[:5], some), atol=1e-3
    )
    np.testing.assert_allclose(
        predictor.rank(asked, candidates, alone.apart), zero_shot.rank(model, batch.csi[:5], some), atol=1e-3
    )


@pytest.mark.parametrize("station", [0, 1])
def test_heads_answer_in_the_sites_frame(predictor: Predictor, station: int) -> None:
    batch, site = batch_of(predictor.station_links(station).links), predictor.site
    z = predictor.model.encode_channel(batch.csi[:6])
    head, *_ = load_head(site.head("position", "channel", station), predictor.model, "position")
    with torch.inference_mode():
        turned = head(z)
    found = predictor.answer("position", "channel", z, station)
    back = predictor.views[station].back(turned.numpy())
    records = found.records()
    np.testing.assert_allclose([[r["x_m"], r["y_m"]] for r in records], back, atol=1e-3)
    # the error in the site's frame is that in the array's, so the figures hold
    truth = predictor.station_links(station).links.ue[:6, :2]
    np.testing.assert_allclose(
        np.linalg.norm(back - truth, axis=1),
        np.linalg.norm(turned.numpy() - TASKS["position"].target(batch)[:6].numpy(), axis=1), atol=1e-3,
    )  # fmt: skip


def test_a_beam_points_where_its_codebook_entry_does(predictor: Predictor) -> None:
    for station, bearing in ((0, 0.0), (1, np.radians(30.0))):
        z = predictor.model.encode_channel(predictor.csi(station, 0))
        (record,) = predictor.answer("beam", "channel", z, station).records()
        for azimuth in record["azimuths_rad"]:
            assert np.cos(azimuth - bearing) == pytest.approx(record["direction_cosine"], abs=1e-6)


def test_the_likelihood_map_is_zero_shots(predictor: Predictor) -> None:
    csi = predictor.csi(0, 4)
    axis, log = log_likelihood(predictor.model, predictor.site, 0, csi, step=10.0)
    found = predictor.likelihood(received(predictor, csi), predictor.views[0], 0, 10.0)
    want = log[0].double().numpy() / np.log(10)
    np.testing.assert_array_equal(np.isnan(found["log10"]), ~np.isfinite(want))
    np.testing.assert_allclose(found["log10"], np.where(np.isfinite(want), want - want.max(), np.nan), atol=2e-3)
    np.testing.assert_array_equal(found["x"], axis)
    row, column = np.unravel_index(np.argmax(want), want.shape)
    assert found["best"] == [axis[column], axis[row]]


def test_the_likelihood_map_of_a_turned_station_is_in_the_sites_frame(predictor: Predictor) -> None:
    found = predictor.likelihood(received(predictor, predictor.csi(1, 4)), predictor.views[1], 1, 5.0)
    x, y = np.meshgrid(found["x"], found["y"])
    inside = town().inside_building(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    assert (np.isnan(found["log10"]) == inside).mean() > 0.99  # but for cells on a wall
    assert np.nanmax(found["log10"]) == 0


def test_another_map_is_believed(predictor: Predictor) -> None:
    own = [{"outline": list(f.exterior.coords[:-1]), "holes": []} for f in predictor.site.area.footprints]
    tall = [{**one, "height": float(h)} for one, h in zip(own, predictor.site.area.heights, strict=True)]
    np.testing.assert_array_equal(predictor.view(0, tall).plan, predictor.site.map)
    np.testing.assert_array_equal(predictor.view(0, own).plan > 0, predictor.site.map > 0)  # walls without a height
    fewer = predictor.view(0, tall[1:])
    assert fewer.plan.sum() < predictor.site.map.sum()
    z = received(predictor, predictor.csi(0, 4))
    a, b = (predictor.likelihood(z, here, 0, 10.0)["log10"] for here in (predictor.views[0], fewer))
    assert np.isnan(a).sum() > np.isnan(b).sum()
    with pytest.raises(InputError, match=r"buildings\[1\]: not an outline"):
        predictor.view(0, [own[0], {"outline": [[0, 0], [1, 1]]}])
    everywhere = predictor.view(0, [{"outline": [[-9, -9], [200, -9], [200, 200], [-9, 200]]}])
    with pytest.raises(InputError, match="no outdoor position"):
        predictor.likelihood(z, everywhere, 0, 10.0)
    with pytest.raises(InputError, match="give at least"):
        predictor.likelihood(z, predictor.views[0], 0, 0.5)


def test_links_say_what_heads_did_not_learn_from(predictor: Predictor) -> None:
    known = predictor.station_links(0)
    assert 0.1 < known.tested.mean() < 0.4
    details = predictor.link_details(0, 3)
    assert details["csi_db"].shape == (32, 64)
    assert details["csi_db"].max() == 0
    # the strongest row is the best beam of the codebook, as the labels have it
    assert int((10 ** (details["csi_db"] / 10)).sum(1).argmax()) == details["beam"] == known.labels["beam"][3]
    assert details["truth"]["first_path_ns"] == pytest.approx(details["truth"]["direct_ns"], rel=1e-3)


def test_questions_are_answered_by_the_sites_heads(predictor: Predictor) -> None:
    csi, ue = predictor.csi(1, 2), predictor.link(1, 2).ue
    asked = Received(csi, Radio())
    said = predictor.ask("Where is this user?", 1, asked, ue)
    assert not isinstance(said, Declined)
    want = predictor.answer("position", "channel", predictor.model.encode_channel(csi), 1)
    assert said.to_json() == want.to_json()
    beam = predictor.ask("Which beam should serve this user?", 1, asked, ue)
    assert not isinstance(beam, Declined)
    declined = predictor.ask("Which beam should serve this user?", 1, asked, None)
    assert isinstance(declined, Declined)
    assert "ue" in declined.missing
    assert isinstance(predictor.ask("What is the weather?", 1), Declined)


def test_what_is_not_there_is_said(predictor: Predictor) -> None:
    for call in (
        lambda: predictor.station(2), lambda: predictor.csi(0, 80), lambda: predictor.view(-1, None),
        lambda: predictor.inputs("position", 0, ["environment"]),
    ):  # fmt: skip
        with pytest.raises(NotHereError):
            call()
    with pytest.raises(InputError, match="outside the site"):
        Hypotheses(predictor.views[0], 1, np.array([[151.0, 3.0, 1.5]]))
    odd: list[Any] = [predictor.csi(0, 1), torch.full((1, 32, 64), torch.nan + 0j), np.ones((1, 3))]
    good, bad, none = predictor.encode([Received(csi, Radio()) for csi in odd])
    assert isinstance(good, torch.Tensor)
    assert isinstance(bad, InputError)
    assert isinstance(none, InputError)


def test_a_site_without_a_head_or_of_other_weights(served_site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="other weights of small"):
        Predictor(replace(served_site, weights="0" * 16))
    with pytest.raises(InputError, match="its outputs stand for the ports of its array"):
        Predictor(replace(served_site, radio=Radio(ULA(17))))
    note = (served_site.folder / "site.json").read_text()
    (tmp_path / "site.json").write_text(note)
    (tmp_path / "links").symlink_to(served_site.folder / "links")
    bare = Predictor(Site.read(tmp_path))
    assert bare.tasks() == {}
    assert bare.station_links(0).tested.all()
    with pytest.raises(NotHereError, match="no such head"):
        bare.inputs("beam", 0, ["channel", "environment"])
    with pytest.raises(NotHereError, match="reads no instructions"):
        bare.ask("Where is this user?", 0, Received(bare.csi(0, 0), Radio()))
    headless = Predictor(Site.read(tmp_path), ByHeart())  # type: ignore[arg-type]
    with pytest.raises(NotHereError, match="position from channel"):
        headless.ask("Where is this user?", 0, Received(headless.csi(0, 0), Radio()))


def test_a_site_of_another_version_is_refused(served_site: Site, tmp_path: Path) -> None:
    note = (served_site.folder / "site.json").read_text()
    (tmp_path / "site.json").write_text(note.replace("uniair-site/1", "uniair-site/9"))
    with pytest.raises(InputError, match=r"of format 'uniair-site/9', this version reads 'uniair-site/1'"):
        Site.read(tmp_path)


def test_a_forecaster_that_says_more_is_answered_with(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    testclient = pytest.importorskip("fastapi.testclient")
    from uniair.serve.app import create_app
    from uniair.serve.client import Client

    preset = ForecastPreset(width=32, modalities=("power", "position"), tasks=("position", "blockage"), warning=4)
    monkeypatch.setattr(predictor, "forecaster", WMLM(preset).eval())
    with testclient.TestClient(create_app(predictor, warm=False)) as http:
        said = Client(http=http).forecast("car", power=np.full(64, 0.1), position=[3.0, 20.0])
    assert said["position"].shape == (3, 2)
    assert said["lost"].shape == (4,)
    assert (np.diff(said["lost"]) >= 0).all()


def test_sessions_end_when_idle_and_are_few(predictor: Any) -> None:
    now = [0.0]
    open_ = Sessions(predictor.forecaster, most=2, idle=10.0, clock=lambda: now[0])
    power = np.random.default_rng(0).uniform(size=64)
    first = open_.push("a", {"power": power})
    again = open_.push("a", {"power": power})
    assert first.beams.shape == (3,)
    now[0] = 5.0
    open_.push("b", {"beam": 3})
    with pytest.raises(BusyError, match="2 sessions"):
        open_.push("c", {"beam": 3})
    now[0] = 11.0
    open_.push("c", {"beam": 3})
    assert len(open_) == 2
    now[0] = 16.0
    np.testing.assert_array_equal(open_.push("a", {"power": power}).probability, first.probability)
    assert again.probability.shape == (3, 64)


def test_a_view_may_be_of_another_map(served_site: Site) -> None:
    empty = view(served_site, 1, np.zeros((256, 256), dtype=np.uint8))
    assert not empty.map.any()
    assert empty.size == pytest.approx(150 * (np.cos(np.pi / 6) + 0.5))


def test_a_site_of_measurements_alone_has_no_links_but_answers(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", stations=1)
    shutil.rmtree(site.folder / "links")
    bare = Predictor(Site.read(site.folder))
    with pytest.raises(NotHereError, match="no links of it"):
        bare.station_links(0)
    assert bare.answer("path_loss", "environment", torch.zeros(1, 128), 0) is not None
