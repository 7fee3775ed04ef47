from __future__ import annotations

import numpy as np
import pytest
import torch

from uniair.errors import InputError
from uniair.evaluation.faults import building_moved, drifted, jammed, move_building, silenced
from uniair.radio import OFDM, ULA, Radio

RADIO = Radio(ULA(16), OFDM(32, 720e3))


def channels(n: int = 200) -> torch.Tensor:
    return torch.randn(n, 16, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_drift_is_one_error_a_port_of_the_spread_that_was_asked() -> None:
    csi = channels()
    ratio = drifted(csi, 20.0, 1.0, rng()) / csi
    torch.testing.assert_close(ratio, ratio[:1, :, :1].expand_as(ratio), atol=1e-4, rtol=1e-4)
    many = drifted(torch.ones(1, 20_000, 1, dtype=torch.complex64), 20.0, 1.0, rng())[0, :, 0]
    assert float(many.angle().rad2deg().std()) == pytest.approx(20, rel=0.03)
    assert float((20 * many.abs().log10()).std()) == pytest.approx(1, rel=0.03)
    torch.testing.assert_close(drifted(csi, 0.0, 0.0, rng()), csi)


def test_a_jammer_is_one_direction_of_the_power_that_was_asked() -> None:
    csi = channels()
    sent = jammed(csi, RADIO, 6.0, rng()) - csi
    ratio = sent.abs().square().mean((1, 2)) / csi.abs().square().mean((1, 2))
    assert 10 * np.log10(float(ratio.mean())) == pytest.approx(6, abs=0.1)
    values = torch.linalg.svdvals(sent.transpose(1, 2).reshape(-1, 16))
    assert float(values[1] / values[0]) < 1e-3  # of rank one over the ports
    subcarriers = torch.linalg.svdvals(sent[0])
    assert float(subcarriers[1] / subcarriers[0]) < 1e-3
    assert not torch.allclose(sent[0, :, 0], sent[0, :, 1])  # noise over the band


def test_a_blocked_panel_is_silent_side_by_side() -> None:
    csi = channels(3)
    out = silenced(csi, 0.25, rng())
    gone = (out == 0).all(2).all(0)
    assert int(gone.sum()) == 4
    assert np.ptp(np.flatnonzero(gone.numpy())) == 3
    torch.testing.assert_close(out[:, ~gone], csi[:, ~gone])
    assert int((silenced(csi, 0.999, rng()) == 0).all(2).all(0).sum()) == 15
    with pytest.raises(InputError, match="between 0 and 1"):
        silenced(csi, 1.0, rng())


def test_one_building_moves_and_no_other() -> None:
    heights = np.zeros((20, 20), dtype=np.float32)
    heights[8:11, 8:10], heights[2:4, 14:16] = 7, 12
    for seed in range(8):
        moved = building_moved(heights, 3, rng(seed))
        assert moved.sum() == heights.sum()
        kept = [np.array_equal(moved[part], heights[part]) for part in (np.s_[8:11, 8:10], np.s_[2:4, 14:16])]
        assert kept.count(False) == 1 or moved.sum() < heights.sum()
    assert building_moved(heights, 40, rng()).sum() in (24 * 7 / 4, 48.0, 42.0)  # it left the map
    with pytest.raises(InputError, match="without a building"):
        building_moved(np.zeros((4, 4)), 1, rng())


def test_moving_a_building_keeps_its_ground_its_height_and_the_others() -> None:
    for high, other in ((1, 1), (12.5, 7.0)):  # occupancy, and heights
        known = np.zeros((20, 20), dtype=np.uint8 if high == 1 else np.float32)
        known[2:5, 2:5] = high
        known[10:12, 10:15] = other
        building = np.zeros(known.shape, dtype=bool)
        building[2:5, 2:5] = True
        moved = move_building(known, building, (3, 1))
        assert moved.dtype == known.dtype
        assert moved.sum() == known.sum()
        assert (moved[5:8, 3:6] == high).all()
        assert (moved[10:12, 10:15] == other).all()
        assert not moved[2:5, 2].any()
        onto = move_building(known, building, (8, 8))  # half of it meets the other
        assert (onto[10:12, 10:13] == max(high, other)).all()
        assert (onto[12, 10:13] == high).all()
