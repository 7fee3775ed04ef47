from __future__ import annotations

import numpy as np
import pytest
import torch

import uniair
from uniair.data.links.links import Links
from uniair.data.links.loader import AreaBatches, batch_of, symmetric
from uniair.losses import contrastive, covariance, wrong_hypotheses
from uniair.radio import Radio
from uniair.tasks.alignment import WRONG, Alignment, indistinguishable, with_bare, with_wrong


def test_contrastive_loss_is_the_mean_of_both_cross_entropies() -> None:
    similarity = torch.tensor([[0.9, 0.1], [0.3, 0.5]])
    t = torch.tensor(0.5)
    logits = similarity / t
    by_hand = 0.0
    for matrix in (logits, logits.T):
        by_hand -= float(torch.log(matrix.exp().diagonal() / matrix.exp().sum(1)).mean()) / 2
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert abs(float(contrastive(similarity, t, none)) - by_hand) < 1e-6
    assert float(contrastive(similarity, t, ~torch.eye(2, dtype=torch.bool))) == 0.0


def test_a_wrong_hypothesis_as_similar_as_the_true_one_costs_log_2() -> None:
    true, wrong = torch.tensor([0.3, 0.4]), torch.tensor([[0.3, 0.9]])
    valid = torch.tensor([[True, False]])
    assert abs(float(wrong_hypotheses(true, wrong, torch.tensor(0.1), valid)) - np.log(2)) < 1e-6


def test_covariances_are_alike_whatever_the_phase_and_unlike_across() -> None:
    turns = torch.arange(8)
    path = torch.polar(torch.ones(1, 8, 16), (0.7 * turns[:, None] + 0.3 * torch.arange(16)).expand(1, 8, 16))
    beside = torch.polar(torch.ones(1, 8, 16), ((0.7 + torch.pi / 4) * turns[:, None] + 0.3 * torch.arange(16))[None])
    assert float(covariance(1j * path, 3 * path)) == pytest.approx(0, abs=1e-6)
    # another direction, a null of the array away, at the same delay: one of both covariances differs altogether
    assert float(covariance(beside, path)) == pytest.approx(0.5, abs=1e-5)


def test_indistinguishable_pairs_are_those_that_agree_in_all_that_is_known(links: Links) -> None:
    env = batch_of(links).environment
    n = len(env)
    everything = {name: torch.ones(n, dtype=torch.bool) for name in ("map", "bs", "ue", "los")}
    assert not indistinguishable(env, everything).any()
    no_ue = everything | {"ue": torch.zeros(n, dtype=torch.bool)}
    same = indistinguishable(env, no_ue)
    for i in range(n):
        for j in range(n):
            alike = env.area[i] == env.area[j] and (env.bs[i] == env.bs[j]).all() and env.los[i] == env.los[j]
            assert bool(same[i, j]) == (bool(alike) and i != j)


def test_wrong_hypotheses_differ_from_the_true_one_in_one_thing(links: Links) -> None:
    env = batch_of(links).environment
    n = len(env)
    known = {name: torch.ones(n, dtype=torch.bool) for name in ("map", "bs", "ue", "los")}
    known["los"][0] = False
    out, flags, valid = with_wrong(env, known, np.random.default_rng(0))
    assert len(out) == 4 * n
    assert all(len(f) == 4 * n for f in flags.values())
    assert not valid[WRONG.index("los"), 0]
    assert valid.sum() == 3 * n - 1
    los, scale, shifted = (slice(k * n, (k + 1) * n) for k in (1, 2, 3))
    assert (out.los[los] == 1 - env.los).all()
    assert (out.ue[los] == env.ue).all()
    ratio = out.size[scale] / env.size
    assert ((ratio - 1).abs() > 0.05).all()
    torch.testing.assert_close(out.ue[scale, :2] / out.size[scale, None], env.ue[:, :2] / env.size[:, None])
    assert (out.map[out.area[shifted]] != env.map[env.area]).flatten(1).any(1).all()
    assert (out.bs[shifted] == env.bs).all()


def test_symmetries_keep_the_channel_in_step_with_the_map(links: Links) -> None:
    """The direct path's delay and direction must follow from the moved positions."""
    for symmetry in range(8):
        moved = symmetric(links, np.full(len(links.areas), symmetry))
        line = moved.ue - moved.bs
        cosine = line[:, 0] / np.linalg.norm(line, axis=1)
        direct = moved.paths.offsets[:-1][moved.los]
        seen = np.sin(moved.paths.aod_zenith[direct]) * np.cos(moved.paths.aod_azimuth[direct])
        np.testing.assert_allclose(seen, cosine[moved.los], atol=1e-4)
        pixel = (moved.ue[:, 1::-1] / moved.sizes[moved.area][:, None] * 64).astype(int).clip(0, 63)
        before = (links.ue[:, 1::-1] / links.sizes[links.area][:, None] * 64).astype(int).clip(0, 63)
        agree = moved.maps[moved.area, pixel[:, 0], pixel[:, 1]] == links.maps[links.area, before[:, 0], before[:, 1]]
        assert agree.mean() > 0.9  # a position on a pixel's border may round to its neighbour


def test_mirroring_across_the_array_leaves_the_csi_alone(links: Links) -> None:
    """A linear array along x can't tell y from −y."""
    mirrored = symmetric(links, np.full(len(links.areas), 2))
    torch.testing.assert_close(batch_of(mirrored).csi, batch_of(links).csi, atol=1e-9, rtol=1e-4)
    assert (mirrored.maps != links.maps).any()


def test_batches_group_areas_and_are_a_function_of_the_seed(links: Links) -> None:
    draw = AreaBatches(links.split(), areas=3, links_per_area=5)
    one, two = draw(np.random.default_rng(4)), draw(np.random.default_rng(4))
    assert torch.equal(one.csi, two.csi)
    assert len(one.csi) == 15
    assert len(one.environment.map) == 3


def test_the_loss_reaches_every_parameter(links: Links) -> None:
    torch.manual_seed(0)
    model = uniair.build("tiny")
    rng = np.random.default_rng(0)
    batch = batch_of(links, Radio(calibrated=True))  # paper 1's alone would tell the towers nothing
    task = Alignment(unknown_map=0.5, unknown_both=0.3, unknown_bs=0.2, unknown_ue=0.2)
    terms = task.loss(model, batch, rng)
    terms["total"].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    silent = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
    assert not [name for name in silent if "unknown" not in name and "class_token" not in name], silent


def test_los_is_also_asked_of_each_map_without_positions(links: Links) -> None:
    env = batch_of(links).environment
    n, areas = len(env), len(env.map)
    known = {name: torch.ones(n, dtype=torch.bool) for name in ("map", "bs", "ue", "los")}
    known["map"] = env.area != 1  # a map is known to all of its hypotheses or to none
    wrong, flags, _ = with_wrong(env, known, np.random.default_rng(0))
    out, told = with_bare(wrong, flags, env)
    extra = slice(4 * n, None)
    assert len(out) == 4 * n + 2 * areas
    assert out.area[extra].tolist() == [a for a in range(areas) for _ in range(2)]
    assert out.los[extra].tolist() == [0.0, 1.0] * areas
    assert not told["bs"][extra].any()
    assert not told["ue"][extra].any()
    assert told["los"][extra].all()
    assert told["map"][extra].tolist() == [a != 1 for a in range(areas) for _ in range(2)]
    first = [int((env.area == a).nonzero()[0]) for a in range(areas)]
    assert out.size[extra].tolist() == [float(env.size[i]) for i in first for _ in range(2)]


def test_each_part_of_the_loss_can_be_left_out(links: Links) -> None:
    torch.manual_seed(0)
    model = uniair.build("tiny").train()
    batch = batch_of(links)
    whole = Alignment().loss(model, batch, np.random.default_rng(0))
    bare = Alignment(bare_los=0.0).loss(model, batch, np.random.default_rng(0))
    assert "bare_los" in whole
    assert "bare_los" not in bare
    assert float((whole["total"] - whole["bare_los"]).detach()) == pytest.approx(
        float(bare["total"].detach()), rel=1e-4
    )
    assert "hypotheses" not in Alignment(hypotheses=False).loss(model, batch, np.random.default_rng(0))
