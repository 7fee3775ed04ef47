"""Users of several BSs, BS dropout, and that a network finds what the embeddings hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links
from torch import Tensor

from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.models.fusion import Attention, Concatenation
from uniair.training.multi_station import Users, drop_stations, fit_fusion, locate


def three_stations(count: int = 60) -> Links:
    """Each UE three times, linked to each of three BSs, in random order; user 0 hears the first BS alone."""
    rng = np.random.default_rng(0)
    links = geometric_links(seed=3, areas=1, per_area=3 * count)
    ue = links.ue[np.tile(np.arange(count), 3)]
    stations = np.array([[10, 20, 6], [80, 30, 6], [50, 90, 8]], dtype=np.float32)
    links = replace(links, ue=ue, bs=stations[np.repeat(np.arange(3), count)])
    kept = np.setdiff1d(np.arange(3 * count), [count, 2 * count])
    return links.select(rng.permutation(kept))


def test_users_are_matched_by_position() -> None:
    links = three_stations()
    users = Users.of(links)
    assert users.link.shape == (60, 3)
    assert users.everywhere.sum() == 59
    for bs in range(3):
        there = users.link[:, bs] >= 0
        at = users.link[there, bs]
        np.testing.assert_allclose(links.ue[at], users.ue[there], atol=0.011)
        np.testing.assert_array_equal(links.bs[at], np.tile(users.stations[bs], (len(at), 1)))
    used = users.link[users.link >= 0]
    assert sorted(used) == list(range(len(links)))  # each link once
    twice = Users.of(links.select(np.concatenate([np.arange(len(links)), [5]])))
    assert twice.link.tolist() == users.link.tolist()  # the first counts
    with pytest.raises(InputError, match="point the same way"):
        Users.of(replace(links, bearing=np.arange(len(links), dtype=np.float32)))
    with pytest.raises(InputError, match="2 areas"):
        Users.of(geometric_links(seed=3, areas=2))


def test_dropout_leaves_one_of_those_that_are_there() -> None:
    present = torch.tensor([[True, True, True], [False, True, False], [True, False, True]]).repeat(4000, 1)
    kept = drop_stations(present, 0.3, torch.Generator().manual_seed(0))
    assert not (kept & ~present).any()
    assert kept.any(1).all()
    share = kept[0::3].float().mean(0)
    torch.testing.assert_close(share, torch.full((3,), 0.7 + 0.3**3 / 3), atol=0.02, rtol=0)
    assert (drop_stations(present, 1.0, torch.Generator().manual_seed(0)).sum(1) == 1).all()


def answers(users: Users, links: int, width: int = 16) -> Tensor:
    """Embeddings from which the way from BS to UE can be read, whatever the BS."""
    draw = torch.Generator().manual_seed(1)
    code = torch.randn(2, width, generator=draw)
    out = torch.zeros(links, width)
    for user, row in enumerate(users.link):
        for bs, link in enumerate(row):
            if link >= 0:
                way = torch.from_numpy(users.ue[user, :2] - users.stations[bs, :2]) / 50
                out[link] = torch.tanh(way @ code)
    return out


@pytest.mark.parametrize("fusion", ["concatenation", "attention"])
def test_any_combination_can_be_asked_for(fusion: str) -> None:
    links = three_stations(200)
    users = Users.of(links)
    z, order = answers(users, len(links)), np.random.default_rng(0).permutation(200)  # users are sorted by position
    learn, test = order[:160], order[160:]

    def trained(epochs: int) -> Concatenation | Attention:
        torch.manual_seed(0)
        network: Concatenation | Attention = Concatenation(3, 16) if fusion == "concatenation" else Attention(16)
        return fit_fusion(network, z, users, learn, epochs=epochs, seed=0)

    network = trained(150)
    truth = torch.from_numpy(users.ue[test, :2])
    blind = (truth - torch.from_numpy(users.ue[learn, :2]).mean(0)).norm(dim=1).median()
    for some in (None, (0,), (1, 2)):
        error = (locate(network, z, users, test, some) - truth).norm(dim=1).median()
        assert error < 0.5 * blind, some
    once, again = trained(3), trained(3)
    assert torch.equal(locate(once, z, users, test), locate(again, z, users, test))


def test_bad_input_is_refused() -> None:
    users = Users.of(three_stations())
    alone = np.flatnonzero(~users.everywhere)
    z = torch.zeros(178, 16)
    with pytest.raises(InputError, match="0 labelled UEs"):
        fit_fusion(Concatenation(3, 16), z, users, np.arange(0), epochs=1, seed=0)
    with pytest.raises(InputError, match="NaN"):
        fit_fusion(Concatenation(3, 16), z.fill_(torch.nan), users, np.arange(5), epochs=1, seed=0)
    with pytest.raises(InputError, match="1 of 1 UEs hear none"):
        locate(Concatenation(3, 16), z, users, alone, (1, 2))
