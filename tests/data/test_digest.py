"""Data is told from other data by what it holds, not by where it lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.conftest import geometric_links
from tests.data.drives.moving import drive
from uniair.data.digest import data_digest


def test_one_value_another_shape_or_another_order_is_other_data() -> None:
    links, one = geometric_links(seed=1, areas=1), drive()
    same = geometric_links(seed=1, areas=1)
    assert data_digest(links) == data_digest(same)
    gain = links.paths.gain.copy()
    gain[3] *= 1.001
    others = [
        replace(links, los=~links.los), replace(links, paths=replace(links.paths, gain=gain)), [links], [links, same],
        replace(links, bs=links.bs.reshape(3, -1)), replace(links, bs=links.bs.astype(np.float64)), [one, one],
        replace(links, areas=("elsewhere/0",)), one, replace(one, beam=np.roll(one.beam, 1)),
    ]  # fmt: skip
    assert len({data_digest(data) for data in (links, *others)}) == len(others) + 1
    here, there = (data_digest(replace(one, root=Path(folder))) for folder in ("here", "there"))
    assert here == there
