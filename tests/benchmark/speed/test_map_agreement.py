"""Links beside maps: a small town, and what the comparison says of known differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tracer import needs_tracer

from uniair.benchmark.speed.map_agreement import _compared, run
from uniair.errors import InputError

SITES = (
    "site,x_m,y_m,height_m,azimuth_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz\nA,400,400,30,0,46,3500,100,30\n"
)


def test_differences_are_of_cells_that_both_reach() -> None:
    links = np.array([-80.0, -90.0, np.nan, -100.0])
    maps = np.array([-79.0, -93.0, -70.0, np.nan])
    found = _compared(links, maps, np.array([True, False, True, False]))
    assert [found[key] for key in ("cells", "links_reach", "maps_reach", "both_reach")] == [4, 3, 3, 2]
    assert found["all"]["median_db"] == pytest.approx(-1)
    assert found["in sight"] == {"count": 1, "median_db": 1, "apart_db": 1, "apart_90_db": 1}
    assert found["in shadow"]["apart_db"] == pytest.approx(3)


@needs_tracer
def test_they_agree_in_a_small_town(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sites.csv").write_text(SITES)
    wanted = {"file": "procedural:7", "sites": str(tmp_path / "sites.csv"), "side": 200.0}
    found = run(**wanted, cells=60, rays=200_000)
    assert found["both_reach"] > 40
    assert abs(found["in sight"]["median_db"]) < 1
    assert "60 open cells of 5 m" in capsys.readouterr().out
    with pytest.raises(InputError, match="--cells 99999"):
        run(**wanted, cells=99_999)
