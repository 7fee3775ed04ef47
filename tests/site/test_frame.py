"""A turned station: what the model reads of it, and likelihoods back on the site's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import uniair
from tests.site.make import station_links, town
from uniair.data.links.loader import batch_of
from uniair.site import frame
from uniair.site.site import Site, Station
from uniair.training.heads import embed


@pytest.mark.parametrize("bearing", [0.0, 0.5, np.pi / 2])
def test_positions_are_read_as_links_are(bearing: float, tmp_path: Path) -> None:
    station = Station("bs0", (30.0, 75.0, 6.0), bearing)
    site = Site(tmp_path, town(), (station,), "small", "")
    links = station_links(site.area, station, users=7)
    one, two = frame.view(site, 0).environment(links.ue), batch_of(links).environment
    for name in ("map", "bs", "ue", "size", "area"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert one.los is None


@pytest.mark.parametrize("bearing", [0.0, np.pi / 2])
def test_likelihoods_lie_on_the_sites_grid(bearing: float, tmp_path: Path) -> None:
    station = Station("bs0", (30.0, 75.0, 6.0), bearing)
    site, model = Site(tmp_path, town(), (station,), "small", ""), uniair.build("tiny")
    links = station_links(site.area, station, users=3)
    grid, log = frame.log_likelihood(model, site, 0, batch_of(links).csi, step=7.5)
    assert log.shape == (3, len(grid), len(grid))
    inside = site.area.inside_building(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)).reshape(log[0].shape)
    blocked = torch.isinf(log[0]).numpy()
    assert (blocked == inside).mean() > 0.98  # but for cells whose middle lies on a wall
    row, column = np.argwhere(~blocked)[5]
    here = frame.view(site, 0).environment(np.array([[grid[column], grid[row], 1.5]]))
    channel = embed(model, batch_of(links), "channel")
    both = [uniair.zero_shot.similarity(model, channel, _with_los(here, los)) for los in (0.0, 1.0)]
    expected = torch.logsumexp(torch.cat(both, 1) / model.temperature, 1)
    assert torch.allclose(log[:, row, column], expected, atol=1e-3)


def _with_los(env: uniair.Environment, los: float) -> uniair.Environment:
    return uniair.Environment(map=env.map, bs=env.bs, ue=env.ue, size=env.size, los=torch.full((1,), los))
