from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.data.drives.moving import BEAMS, drive, drives

from uniair.data.drives.passages import Passages
from uniair.data.drives.windows import cut
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.sequence_baselines import Persistence
from uniair.tasks.beam_forecast import Forecasting, figures, forecasts, los_figures
from uniair.training.checkpoint import save_model
from uniair.training.distributed import World, world
from uniair.training.forecasting import (
    ForecastTraining,
    load_forecaster,
    tensors,
    train,
    validation,
)
from uniair.training.loop import Optimisation

PRESET = ForecastPreset(width=32, beams=BEAMS, context=5, dropout=0.0)
SHORT = ForecastTraining(
    batch=8, length=4, optimisation=Optimisation(steps=6, matrix_rate=0.0, save_every=3, log_every=1)
)
WORLD = World(0, 1, torch.device("cpu"))


def fresh(seed: int = 0) -> WMLM:
    torch.manual_seed(seed)
    return WMLM(PRESET)


def run(out: Path | None, here: World = WORLD, config: ForecastTraining = SHORT) -> WMLM:
    model = train(fresh(), Passages(tuple(drives(4)), 7), config, here, out)
    assert isinstance(model, WMLM)
    return model


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["total"] for line in lines if "total" in line]


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    halfway = 0

    class KilledError(RuntimeError):
        pass

    def stop(_: object) -> float:
        nonlocal halfway
        halfway += 1
        if halfway == 2:
            raise KilledError
        return -float(halfway)

    with pytest.raises(KilledError):
        train(fresh(), Passages(tuple(drives(4)), 7), SHORT, WORLD, tmp_path / "part", stop)
    resumed = run(tmp_path / "part")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert losses(tmp_path / "whole") == losses(tmp_path / "part")


def test_two_processes_train_the_same_model_as_one(tmp_path: Path) -> None:
    alone = run(tmp_path / "one")
    save_model(alone, tmp_path / "one")
    options = ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, __file__, str(tmp_path / "two")]
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], atol=1e-5, rtol=1e-5)


def test_training_learns_to_beat_persistence_and_survives_the_disk(tmp_path: Path) -> None:
    plan = replace(SHORT.optimisation, steps=100, learning_rate=5e-3, save_every=50)
    config = replace(SHORT, batch=16, task=Forecasting(hidden=0.0, lost=0.0), optimisation=plan)
    windows = cut([drive(f"s/{n}", 14, 100 + n, back=bool(n % 2)) for n in range(4)])
    steps = tensors(windows.steps())
    model = train(fresh(), Passages(tuple(drives(8, 14)), 7), config, WORLD, tmp_path, validation(windows, steps))
    found = figures(forecasts(model, steps, 5), steps, 5)
    kept = figures(forecasts(Persistence(BEAMS, 3), steps, 5), steps, 5)
    for horizon in ("1", "2", "3"):
        assert found[horizon]["top1"] > kept[horizon]["top1"] + 0.2
    assert isinstance(model, WMLM)
    save_model(model, tmp_path)
    again = figures(forecasts(load_forecaster(tmp_path), steps, 5), steps, 5)
    assert again == found


def test_other_settings_and_damaged_files_are_refused(tmp_path: Path) -> None:
    save_model(run(tmp_path), tmp_path)
    with pytest.raises(InputError, match=r"holds a run with other settings \(batch\); give another --out"):
        run(tmp_path, config=replace(SHORT, batch=4))
    with pytest.raises(InputError, match="batch 8: not divisible among 3 processes"):
        run(None, World(0, 3, torch.device("cpu")))
    (tmp_path / "state.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="remove it to start again"):
        run(tmp_path)
    (tmp_path / "config.json").write_text('{"width": 64}')
    with pytest.raises(InputError, match="weights of another forecaster"):
        load_forecaster(tmp_path)
    (tmp_path / "config.json").write_text('{"colour": 1}')
    with pytest.raises(InputError, match=r"unknown entries \['colour'\]"):
        load_forecaster(tmp_path)
    with pytest.raises(InputError, match="no such file; give the folder of uniair forecast train"):
        load_forecaster(tmp_path / "nowhere")


def test_line_of_sight_is_learned_from_drives_that_say_it() -> None:
    """A wall hides the lower half of the beams; the others know nothing of it."""
    some = [replace(one, los=(one.beam >= BEAMS // 2).astype(np.int8)) for one in drives(10)]
    config = replace(SHORT, optimisation=replace(SHORT.optimisation, steps=60, learning_rate=3e-3))
    model = train(fresh(), Passages(tuple(some[:8]), 7), config, WORLD)
    windows = cut(some[8:])
    steps = tensors(windows.steps())
    found = los_figures(forecasts(model, steps, windows.past), steps, windows.past)
    assert found["accuracy"] > 0.9 > found["majority"]
    unlabelled = tensors(cut(drives(10)[8:]).steps())
    assert los_figures(forecasts(model, unlabelled, windows.past), unlabelled, windows.past) == {}


if __name__ == "__main__":
    with world() as here:
        save_model(run(Path(sys.argv[1]), here), Path(sys.argv[1]))
