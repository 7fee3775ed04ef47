"""What a report warns of depends on what the weights read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from uniair.site import report


@pytest.mark.parametrize("heights", [True, False])
def test_low_buildings_are_warned_of_where_weights_read_no_heights(
    heights: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "reads_any_radio", lambda _: heights)
    monkeypatch.setattr(report, "_users", lambda _: "")
    area = SimpleNamespace(
        heights=np.array([3.0, 12.0, 2.0]), obstacles=np.array([True, True, False]), size=200.0, footprints=[0, 1, 2]
    )
    about = {"links": {"bs0": 9}, "measured": {}, "recipe": {"survey": {"seed": 0}, "seeds": 1}, "seconds": 60.0}
    site: Any = SimpleNamespace(area=area, about=about, model="any")
    assert (" 1 buildings are lower than 7 m" in report._about(site)) is not heights
