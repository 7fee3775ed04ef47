from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.drives.moving import BEAMS, drives

import uniair
from uniair.benchmark import restored_powers
from uniair.benchmark.benchmark import Setup, perform
from uniair.benchmark.restored_powers import AHEAD, RESTORED_POWERS, between, figures, hidden, moving_on, windows
from uniair.data.drives.drive import write_drives
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset


def test_a_street_that_moves_evenly_is_told_by_its_pace_and_by_both_ends() -> None:
    beams = torch.arange(32.0)
    power = torch.exp(-0.5 * ((beams - (4 + 2 * torch.arange(12.0))[:, None]) / 1.2) ** 2)[None]
    on = moving_on(power[:, :6], 5)
    assert on.argmax(2).tolist() == [[16, 18, 20, 22, 24]]
    torch.testing.assert_close(on, power[:, 6:11], atol=1e-6, rtol=0.0)
    out = moving_on(power[:, 6:12], 5)[0]
    assert out.argmax(1).tolist() == [28, 30, 31, 31, 31]
    assert not out[-1, :10].any()  # what moves in from before the first beam is the weakest
    line = between(torch.zeros(1, 3), torch.ones(1, 3), 3)
    torch.testing.assert_close(line[0, :, 0], torch.tensor([0.25, 0.5, 0.75]))
    assert figures(power, power)["top1"] == 1


def test_what_is_asked_for_is_not_told() -> None:
    steps = windows(drives(6), 10, 0)
    assert steps["power"].shape[1:] == (restored_powers.LENGTH, BEAMS)
    asked = slice(6, 8)
    told = hidden(steps, asked)
    assert told["power"][:, asked].isnan().all()
    assert (told["beam"][:, asked] == -1).all()
    assert not steps["power"].isnan().any()
    with pytest.raises(InputError, match="no held-out drive has 14 measured steps in a row"):
        windows(drives(6, steps=8), 10, 0)


def test_no_window_reaches_over_a_gap() -> None:
    whole = [replace(one, timed=True) for one in drives(6)]
    late = np.where(np.arange(24) < 12, 0, 100.0)
    assert len(windows(whole, 100, 0)["power"]) == 3 * 6
    with pytest.raises(InputError, match="measured steps in a row"):
        windows([replace(one, time=one.time + late) for one in whole], 100, 0)


def test_every_method_is_measured_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = WMLM(ForecastPreset(width=32, beams=BEAMS)).eval()
    monkeypatch.setattr(restored_powers, "load_forecaster", lambda _: model)
    write_drives(tmp_path / "drives" / "drives-street.safetensors", drives(10, scenario="street"))
    setup = Setup(uniair.build("tiny"), tmp_path / "out", {"drives": tmp_path / "drives"}, seeds=2)
    found = perform("restored", RESTORED_POWERS, setup)
    assert list(found["restored"]) == ["WMLM", "the last one", "between the last and the next one"]
    assert list(found["rolled_out"]["WMLM"]) == [str(k + 1) for k in range(AHEAD)]
    moving, last = (
        found["rolled_out"][name]["8"]["nmse_db"]["mean"] for name in ("moving on as before", "the last one")
    )
    assert moving < last  # these drives keep their pace
    monkeypatch.setattr(restored_powers, "windows", lambda *_: pytest.fail("measured again"))
    assert perform("restored", RESTORED_POWERS, setup) == found
    for _, table in RESTORED_POWERS.tables(found):
        assert all(len(row) == len(table.head) for row in table.rows)
