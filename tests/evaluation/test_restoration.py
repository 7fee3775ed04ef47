from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.drives.moving import BEAMS, drive, drives

from uniair.data.drives.drive import Drive, RestoredDrive, read_drives, write_drives
from uniair.data.drives.drive_statistics import drives_statistics
from uniair.data.drives.passages import Passages
from uniair.data.drives.sensing import Sensing, measured
from uniair.data.drives.windows import frames, read_folder
from uniair.errors import InputError
from uniair.evaluation.restoration import Made, restore
from uniair.models.forecast import WMLM, ForecastPreset, impute, roll_out
from uniair.training.forecast_adaptation import OnSite, adapt_on_site


@pytest.fixture(scope="module")
def model() -> WMLM:
    """Has learned how lobes move."""
    torch.manual_seed(0)
    plan = OnSite(part="all", batch=16, length=8, replay=0.0)
    plan = replace(plan, task=replace(plan.task, lost=0.2),
                   optimisation=replace(plan.optimisation, steps=60, learning_rate=3e-2))  # fmt: skip
    begun = WMLM(ForecastPreset(width=32, beams=BEAMS)).eval()
    return adapt_on_site(begun, Passages(tuple(drives(6)), 8 + begun.preset.future), plan)[0]


def lost(one: Drive, *steps: int, label: bool = False) -> Drive:
    """The drive with the powers of some steps lost."""
    power, beam = one.power.copy(), one.beam.copy()
    power[list(steps)] = np.nan
    if not label:
        beam[list(steps)] = -1
    return replace(one, power=power, beam=beam)


def restored(model: WMLM, one: Drive, ahead: int = 0, made: Made | None = None) -> RestoredDrive:
    return restore(model, one, ahead, frames([one])[one.scenario], Sensing(), made)


def same(one: Drive, other: Drive) -> bool:
    return type(one) is type(other) and all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name), equal_nan=f.name in ("power", "ue", "true"))
        if isinstance(getattr(one, f.name), np.ndarray) else getattr(one, f.name) == getattr(other, f.name)
        for f in fields(Drive)
    )  # fmt: skip


def test_lost_powers_are_made_and_marked_and_the_rest_stays(model: WMLM) -> None:
    whole = drive(steps=24, seed=9)
    holed, made = lost(whole, 8, 9, 15), Made()
    found = restored(model, holed, made=made)
    assert np.flatnonzero(found.made).tolist() == [8, 9, 15]
    assert made == Made(restored=3)
    kept = found.made == 0
    assert np.array_equal(found.power[kept], whole.power[kept])
    steps = {name: torch.from_numpy(v)[None] for name, v in
             measured(holed, np.arange(24), frames([holed])["scenario1"], Sensing()).items()}  # fmt: skip
    assert np.array_equal(found.power[[8, 9, 15]].astype(np.float32), impute(model, steps)[0, [8, 9, 15]].numpy())
    assert np.abs(found.beam - whole.beam)[[8, 9, 15]].max() <= 2  # as it learned, not at random
    found.validate("here")
    assert same(found.as_measured(), holed)


def test_steps_after_the_end_are_rolled_out(model: WMLM) -> None:
    one = replace(drive(steps=12), time=100 + 0.1 * np.arange(12), timed=True, true=np.zeros((12, 2)),
                  files={"camera": tuple(f"{i}.png" for i in range(12))})  # fmt: skip
    made = Made()
    found = restored(model, one, 3, made)
    assert found.made.tolist() == 12 * [0] + 3 * [2]
    assert found.time[11:] == pytest.approx([101.1, 101.2, 101.3, 101.4])
    assert np.isnan(found.ue[12:]).all()
    assert found.true is not None
    assert np.isnan(found.true[12:]).all()
    assert found.files["camera"][11:] == ("11.png", "", "", "")
    assert found.los[12:].tolist() == [-1, -1, -1]
    steps = {name: torch.from_numpy(v)[None] for name, v in
             measured(one, np.arange(12), frames([one])["scenario1"], Sensing()).items()}  # fmt: skip
    assert np.array_equal(found.power[12:].astype(np.float32), roll_out(model, steps, 3)[0].numpy())
    assert same(found.validate("here").as_measured(), one)  # type: ignore[attr-defined]
    assert made == Made(rolled_out=3)


def test_what_cannot_be_made_is_left_and_counted(model: WMLM) -> None:
    made = Made()
    early = restored(model, lost(drive(), 0, 1, 10), made=made)
    assert np.flatnonzero(early.made).tolist() == [10]
    gap = drive(steps=20)
    gap = lost(replace(gap, time=np.arange(20.0) + 50 * (np.arange(20) >= 10)), 10, 12)
    assert np.flatnonzero(restored(model, gap, made=made).made).tolist() == [12]  # a part begins anew after a gap
    known = lost(drive(), 7, label=True)
    assert not restored(model, known, made=made).made.any()
    dead = lost(replace(drive(steps=20), time=np.arange(20.0) + 50 * (np.arange(20) >= 15)), *range(15, 20))
    assert len(restored(model, dead, 2, made)) == 20
    assert (made.restored, made.early, made.labelled, made.ended) == (2, 2 + 1 + 5, 1, ["scenario1/00001"])
    with pytest.raises(InputError, match="-1 steps ahead"):
        restored(model, drive(), -1)
    with pytest.raises(InputError, match="knows no receiver's unit of power"):
        restored(WMLM(ForecastPreset(width=32, beams=BEAMS, modalities=("position",))), drive())


def test_a_file_keeps_what_was_made_and_nothing_learns_from_it(model: WMLM, tmp_path: Path) -> None:
    some = [lost(one, 9) for one in drives(3)]
    path = tmp_path / "drives-scenario1.safetensors"
    write_drives(path, [restored(model, one, 2) for one in some])
    again = read_drives(path)
    assert all(isinstance(one, RestoredDrive) for one in again)
    assert [np.flatnonzero(one.made).tolist() for one in again if isinstance(one, RestoredDrive)] == 3 * [[9, 24, 25]]
    assert all(same(one, other) for one, other in zip(read_folder(tmp_path), some, strict=True))
    told = drives_statistics(tmp_path)
    assert told.as_json()["samples"] == 3 * 24
    assert told.scenarios["scenario1"].lost == 3
    assert told.findings["made"]["count"] == 9
    with pytest.raises(InputError, match="all restored or none"):
        write_drives(path, [restored(model, some[0]), some[1]])
    for made, line in (([3] * 24, "made says for each step 0, 1 or 2"), ([2] + 23 * [0], "rolled out before its end")):
        odd = replace(restored(model, some[0]), made=np.array(made, dtype=np.int8))
        with pytest.raises(InputError, match=line):
            odd.validate("here")
