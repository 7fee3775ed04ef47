from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import uniair
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.link_budget import excess_loss
from uniair.models.presets import preset
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks import zero_shot


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def one_radio() -> UniversalModel:
    torch.manual_seed(0)
    return UniversalModel(replace(preset("tiny"), radios="one")).eval()


def test_los_ignores_the_environments_own_answer(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    env = batch.environment
    p = uniair.zero_shot.los(model, batch.csi, env)
    assert p.shape == (len(links),)
    flipped = Environment(map=env.map, bs=env.bs, ue=env.ue, los=1 - env.los, size=env.size, area=env.area)
    torch.testing.assert_close(p, zero_shot.los(model, batch.csi, flipped))
    assert ((p > 0) & (p < 1)).all()


def test_the_power_of_a_calibrated_radio_multiplies_the_odds_of_los(one_radio: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    odds = zero_shot.los_odds(one_radio, batch.csi, batch.environment)
    torch.testing.assert_close(torch.sigmoid(odds), zero_shot.los(one_radio, batch.csi, batch.environment))
    torch.testing.assert_close(zero_shot.with_power(odds, torch.full((len(links),), zero_shot.EVEN)), odds)
    known = zero_shot.los(one_radio, batch.csi, batch.environment, Radio(calibrated=True))
    torch.testing.assert_close(known, torch.sigmoid(zero_shot.with_power(odds, excess_loss(batch.csi))))
    weaker = zero_shot.los(one_radio, batch.csi / 10, batch.environment, Radio(calibrated=True))
    torch.testing.assert_close(
        torch.logit(weaker.double()), torch.logit(known.double()) - 20 * zero_shot.NATS_PER_DB, atol=1e-2, rtol=1e-2
    )
    with pytest.raises(InputError, match="needs the CSI"):
        zero_shot.los(one_radio, one_radio.encode_channel(batch.csi), batch.environment, Radio(calibrated=True))


@pytest.mark.parametrize(
    ("radio", "used"),
    [
        (Radio(ULA(32, pattern="tr38901"), calibrated=True), False),  # its gain towards the user is not known
        (Radio(grid=OFDM(64, 1.44e6), calibrated=True), True),  # delays wrap, but the positions are known
        (Radio(clock="first_path", calibrated=True), True),
    ],
)
def test_power_counts_where_it_tells_something(
    one_radio: UniversalModel, links: Links, radio: Radio, used: bool
) -> None:
    batch = batch_of(links, radio)
    env = batch.environment
    plain = torch.sigmoid(zero_shot.los_odds(one_radio, batch.csi, env, radio))
    assert torch.equal(zero_shot.los(one_radio, batch.csi, env, radio), plain) != used
    nowhere = env.without("bs", "ue")  # the length of the first path is then not known either
    without = torch.sigmoid(zero_shot.los_odds(one_radio, batch.csi, nowhere, radio))
    torch.testing.assert_close(zero_shot.los(one_radio, batch.csi, nowhere, radio), without)


def test_a_clock_at_the_first_path_is_told_to_the_places(links: Links) -> None:
    """A line-of-sight channel is as near to its own place as by an absolute clock, if told which clock it is."""
    small, radio = uniair.load("small"), Radio(clock="first_path")
    clear = links.select(links.los)
    csi, env = batch_of(clear, radio).csi, batch_of(clear).environment
    absolute = zero_shot.similarity(small, batch_of(clear).csi, env).diagonal()
    told = zero_shot.similarity(small, csi, env, radio).diagonal()
    untold = zero_shot.similarity(small, csi, env).diagonal()  # as if its clock were absolute
    assert float(told.mean()) > float(absolute.mean()) - 0.2
    assert float(told.mean()) > float(untold.mean()) + 0.2
    own = zero_shot.similarity(small, csi, [env, env.without("los")], radio)
    torch.testing.assert_close(own[:, 0], told, atol=1e-4, rtol=0)
    assert zero_shot.los(small, csi, env.without("bs"), radio).shape == (len(clear),)
    _, likelihood = zero_shot.position_likelihood(
        small, csi[:1], clear.maps[0], clear.bs[0], float(clear.sizes[0]), step=10.0, radio=radio
    )
    assert float(likelihood.sum()) == pytest.approx(1, abs=1e-4)


def test_weights_of_one_clock_are_asked_with_each_candidate_s_own(one_radio: UniversalModel, links: Links) -> None:
    """Where the first path is put where it was, a line-of-sight channel is that of an absolute clock again."""
    clear, radio = links.select(links.los), Radio(clock="first_path")
    csi, env = batch_of(clear, radio).csi, batch_of(clear).environment
    absolute = zero_shot.similarity(one_radio, batch_of(clear).csi, env)
    searched = zero_shot.similarity(one_radio, csi, env, radio)
    # each channel beside its own place is what it was, to the step in which lengths are tried
    assert float((searched.diagonal() - absolute.diagonal()).abs().median()) < 0.1
    own = zero_shot.similarity(one_radio, csi, [env, env.without("los")], radio)
    torch.testing.assert_close(own[:, 0], searched.diagonal(), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="not its embedding"):
        zero_shot.rank(one_radio, one_radio.encode_channel(csi, radio), env, radio)


@pytest.mark.parametrize("radio", [Radio(ULA(16)), Radio(UPA(2, 8), OFDM(100, 240e3))], ids=str)
def test_every_question_takes_any_radio(model: UniversalModel, links: Links, radio: Radio) -> None:
    batch = batch_of(links.select(np.arange(6)), radio)
    env = batch.environment
    assert zero_shot.los(model, batch.csi, env, radio).shape == (6,)
    assert zero_shot.rank(model, batch.csi, env, radio).shape == (6, 6)
    assert zero_shot.scale(model, batch.csi, env, radio=radio).shape == (6, 3)
    restored, normalised = zero_shot.feedback(model, batch.csi, search=2, radio=radio)
    assert restored.shape == normalised.shape == (6, *radio.shape)
    with pytest.raises(InputError, match="shape"):
        zero_shot.los(model, batch.csi, env)  # of another radio than was said


def test_rank_over_shared_candidates_and_over_one_candidate_each(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    every = zero_shot.rank(model, batch.csi[:5], batch.environment)
    assert every.shape == (5, len(links))
    torch.testing.assert_close(every.sum(1), torch.ones(5))
    each = zero_shot.rank(model, batch.csi, [batch.environment, zero_shot.scaled(batch.environment, 1.2)])
    assert each.shape == (len(links), 2)
    similarity = zero_shot.similarity(model, batch.csi, batch.environment).diagonal()
    torch.testing.assert_close(similarity, zero_shot.similarity(model, batch.csi, [batch.environment])[:, 0])


def test_an_embedding_stands_for_its_channel(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    z = model.encode_channel(batch.csi)
    torch.testing.assert_close(
        zero_shot.los(model, z, batch.environment), zero_shot.los(model, batch.csi, batch.environment)
    )


def test_rank_refuses_what_does_not_fit(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    with pytest.raises(InputError, match="hypotheses"):
        zero_shot.rank(model, batch.csi[:5], [batch.environment])
    with pytest.raises(InputError, match="no candidate"):
        zero_shot.rank(model, batch.csi[:5], [])


def test_scaled_keeps_the_picture(links: Links) -> None:
    env = batch_of(links).environment
    larger = zero_shot.scaled(env, 1.2)
    np.testing.assert_allclose(larger.ue[:, :2] / larger.size[:, None], env.ue[:, :2] / env.size[:, None], rtol=1e-5)
    np.testing.assert_allclose(larger.ue[:, 2], env.ue[:, 2])
    assert larger.map is env.map


def test_position_likelihood_is_a_distribution_over_open_ground(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    size = float(links.sizes[0])
    grid, p = zero_shot.position_likelihood(model, batch.csi[:2], links.maps[0], links.bs[0], size, step=6.0)
    assert p.shape == (2, len(grid), len(grid))
    torch.testing.assert_close(p.sum(dim=(1, 2)), torch.ones(2))
    pixel = (grid / size * 64).astype(int)
    assert (p[:, links.maps[0][np.ix_(pixel, pixel)] > 0] == 0).all()
    with pytest.raises(InputError, match="step"):
        zero_shot.position_likelihood(model, batch.csi[:1], links.maps[0], links.bs[0], size, step=-1.0)
    with pytest.raises(InputError, match="built over"):
        zero_shot.position_likelihood(model, batch.csi[:1], np.ones((64, 64)), links.bs[0], size)
    for wrong in (links.maps, links.maps[0][:32]):
        with pytest.raises(InputError, match="expected \\[pixels, pixels\\]"):
            zero_shot.position_likelihood(model, batch.csi[:1], wrong, links.bs[0], size)


def test_what_is_built_is_the_same_to_places_and_to_maps(model: UniversalModel, links: Links) -> None:
    """Shares below a half and kerbs are open ground, where a user may stand."""
    batch, size = batch_of(links), float(links.sizes[0])
    ways = (links.maps[0], np.where(links.maps[0] > 0, 0.9, 0.3))
    one, other = (zero_shot.position_likelihood(model, batch.csi[:2], way, links.bs[0], size, 12.0)[1] for way in ways)
    torch.testing.assert_close(one, other)
    kerbs = np.where(links.maps[0] > 0, 20.0, 0.2)
    tall = zero_shot.position_likelihood(model, batch.csi[:2], kerbs, links.bs[0], size, 12.0)[1]
    assert torch.equal(tall > 0, one > 0)


def test_a_scale_needs_a_side(model: UniversalModel, links: Links) -> None:
    with pytest.raises(InputError, match="side in metres"):
        zero_shot.scale(model, batch_of(links).csi[:2], Environment(los=[1, 1]))


def test_log_likelihoods_of_two_stations_add_up_and_candidates_are_shared(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    place = (links.maps[0], links.bs[0], float(links.sizes[0]), 6.0)
    grid, log = zero_shot.position_log_likelihood(model, batch.csi[:2], *place)
    _, p = zero_shot.position_likelihood(model, batch.csi[:2], *place)
    torch.testing.assert_close(torch.softmax(log.flatten(1), 1).view_as(p), p)
    assert torch.isneginf(log[:, p[0] == 0]).all()
    # one CSI at one cell by hand
    row, column = np.argwhere(np.isfinite(log[1].numpy()))[7]
    at = np.array([[grid[column], grid[row], 1.5]] * 2, dtype=np.float32)
    size = np.full(2, links.sizes[0])
    env = Environment(map=links.maps[:1], bs=links.bs[[0, 0]], ue=at, los=np.array([0, 1]), size=size)
    cosine = zero_shot.similarity(model, batch.csi[1:2], env)
    torch.testing.assert_close(
        torch.logsumexp(cosine / model.temperature, 1)[0], log[1, row, column], atol=1e-4, rtol=1e-5
    )


def test_a_coarse_first_pass_changes_little_and_asks_everything_where_all_is_likely(
    model: UniversalModel, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(links)
    place = (links.maps[0], links.bs[0], float(links.sizes[0]), 3.0)
    z = model.encode_channel(batch.csi[:1])
    _, exact = zero_shot.position_log_likelihood(model, z, *place)
    monkeypatch.setattr(zero_shot, "MARGIN", 1e9)
    _, all_asked = zero_shot.position_log_likelihood(model, z, *place, coarse=12.0)
    torch.testing.assert_close(all_asked, exact, atol=1e-4, rtol=1e-5)
    monkeypatch.setattr(zero_shot, "MARGIN", 1e-3)
    asked = []
    encode = model.encode_environment
    monkeypatch.setattr(model, "encode_environment", lambda env: asked.append(len(env)) or encode(env))
    _, quick = zero_shot.position_log_likelihood(model, z, *place, coarse=12.0)
    assert sum(asked) < 0.5 * 2 * torch.isfinite(exact).sum()
    assert (torch.isfinite(quick) == torch.isfinite(exact)).all()
    with pytest.raises(InputError, match="coarse"):
        zero_shot.position_log_likelihood(model, z, *place, coarse=1.0)


def test_places_told_another_carrier_than_the_radio_are_refused(model: UniversalModel, links: Links) -> None:
    batch = batch_of(links)
    elsewhere = replace(batch.environment, carrier=np.full(len(links), 3.5e9))
    with pytest.raises(InputError, match=r"carrier 3.5 GHz, but the radio's is 28 GHz"):
        zero_shot.los(model, batch.csi, elsewhere)
    lower = replace(batch.radio, carrier=3.5e9)
    told = zero_shot.los(model, batch.csi, elsewhere, lower)
    torch.testing.assert_close(told, zero_shot.los(model, batch.csi, replace(elsewhere, carrier=None), lower))
    code = model.encode_channel(batch.csi, lower)  # does not say at which carrier it was seen
    torch.testing.assert_close(zero_shot.los(model, code, elsewhere), told)
