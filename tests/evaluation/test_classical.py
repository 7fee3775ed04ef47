"""Classical methods on channels whose answer is known."""

from __future__ import annotations

import numpy as np
import torch
from tests.conftest import geometric_links

from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.evaluation import classical
from uniair.radio import OFDM
from uniair.tasks.registry import TASKS


def with_line_of_sight(per_area: int) -> Links:
    links = geometric_links(seed=4, areas=1, per_area=per_area)
    return links.select(links.los)


def test_geometry_finds_users_in_line_of_sight() -> None:
    links = with_line_of_sight(80)
    batch = batch_of(links)
    error = np.linalg.norm(classical.geometry(batch) - links.ue[:, :2], axis=1)
    mirrored = np.abs(classical.geometry(batch)[:, 0] - links.ue[:, 0])  # along the array nothing is ambiguous
    assert np.median(mirrored) < 2
    assert np.median(error) < 15
    bare = Batch(batch.csi, type(batch.environment)(**{**vars(batch.environment), "map": None, "area": None}))
    assert np.isfinite(classical.geometry(bare)).all()


def test_fingerprints_find_what_they_have_seen() -> None:
    batch = batch_of(with_line_of_sight(60))
    found = classical.fingerprint(batch, batch, neighbours=1)
    np.testing.assert_allclose(found, batch.environment.ue[:, :2].numpy(), atol=1e-3)


def test_the_nearest_positions_vote_for_a_beam() -> None:
    batch = batch_of(with_line_of_sight(60))
    beams = TASKS["beam"].target(batch)
    assert torch.equal(classical.lookup_beams(batch, beams, batch, neighbours=1).argmax(1), beams)


def test_a_threshold_tells_one_path_from_many() -> None:
    draw = torch.Generator().manual_seed(0)
    delay = torch.rand(200, 8, generator=draw, dtype=torch.float64) * 8e-7
    gain = torch.randn(200, 8, generator=draw, dtype=torch.complex64)
    direct = torch.arange(200) % 2 == 0
    gain[direct, 1:] *= 0.05
    csi = (gain.unsqueeze(-1) * OFDM().response(delay)).sum(1)[:, None].expand(-1, 32, -1)
    env = batch_of(geometric_links(seed=1, areas=1, per_area=4)).environment
    batch = Batch(csi, type(env)(los=direct.float(), size=torch.ones(200)))
    hit = classical.los_threshold(batch, batch).argmax(1) == direct
    assert hit.float().mean() > 0.9
    alone = Batch(csi[:1], type(env)(los=direct[:1].float(), size=torch.ones(1)))
    assert (classical.los_threshold(alone, batch).argmax(1) == int(direct[0])).all()  # one class seen
    features = classical.los_features(csi)
    assert features[direct.numpy(), 0].mean() < features[~direct.numpy(), 0].mean()
