"""The outdoor-to-indoor loss of TR 38.901, 7.4.3, against its own tables worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from uniair.errors import InputError
from uniair.propagation.entry_loss import entry_loss, wall_loss


def test_walls_at_3_5_and_28_ghz() -> None:
    # 3.5 GHz: glass 2.7, coated glass 24.05, concrete 19 dB; 28 GHz: glass 7.6, coated 31.4, concrete 117 dB
    assert wall_loss(3.5e9) == pytest.approx(5 - 10 * np.log10(0.3 * 10**-0.27 + 0.7 * 10**-1.9))
    assert wall_loss(3.5e9) == pytest.approx(12.69, abs=0.01)
    assert wall_loss(3.5e9, "high") == pytest.approx(26.85, abs=0.01)
    assert wall_loss(28e9) == pytest.approx(5 + 7.6 - 10 * np.log10(0.3), abs=0.001)
    assert wall_loss(28e9, "high") == pytest.approx(5 + 31.4 - 10 * np.log10(0.7), abs=0.001)


def test_rooms_add_half_a_decibel_a_metre() -> None:
    found = entry_loss(np.array([0.0, 10.0]), 3.5e9)
    assert found == pytest.approx([wall_loss(3.5e9), wall_loss(3.5e9) + 5])
    with pytest.raises(InputError, match="walls 'paper' are none of low, high"):
        entry_loss(np.zeros(1), 3.5e9, "paper")
