"""The loop itself: schedule, optimisers, state, log, threads, and several processes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import geometric_links
from tests.data.drives.moving import BEAMS, drives
from torch import Tensor, nn

import uniair
from uniair.data.drives.passages import Passages
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.instruct import Design
from uniair.models.presets import PRESETS
from uniair.tasks.registry import TASKS
from uniair.training import instruction
from uniair.training.distributed import ALONE, World, threads, world
from uniair.training.forecast_adaptation import OnSite, adapt_on_site
from uniair.training.heads import Adaptation, HeadTraining, fit
from uniair.training.loop import Optimisation, parameters, run
from uniair.training.supervised import train_vit

QUICK = Optimisation(steps=8, learning_rate=0.1, save_every=4, log_every=1)


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


def towards(model: nn.Module, target: float = 1.0) -> Callable[[int], dict[str, Tensor | float]]:
    def loss(number: int) -> dict[str, Tensor | float]:
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
        return {"total": (model(x) - target).square().mean(), "samples_per_s": 16}

    return loss


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]


def test_the_schedules() -> None:
    plan = Optimisation(steps=100, cycles=2, warmup=0.1)
    rates = np.array([plan.share(step) for step in range(100)])
    assert rates[0] < 0.2
    assert rates[5] == pytest.approx(1.0)
    assert rates[49] < 0.01
    assert rates[50] < 0.2
    assert rates[55] == pytest.approx(1.0)
    whole = replace(plan, cycles=1, schedule="whole_cosine")
    assert [whole.share(step) for step in (0, 4, 50)] == pytest.approx([0.1, 0.5, 0.5])
    steady = replace(plan, cycles=1, schedule="constant")
    assert [steady.share(step) for step in (9, 10, 99)] == pytest.approx([10 / 11, 1.0, 1.0])
    assert replace(steady, warmup=0.0).share(0) == 1.0


def test_muon_trains_the_matrices_and_adamw_the_rest() -> None:
    model = uniair.build("tiny")
    adamw, muon = QUICK.optimisers(parameters(model))
    parts = [{id(p) for group in optimiser.param_groups for p in group["params"]} for optimiser in (adamw, muon)]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == {id(p) for p in model.parameters()}
    assert id(model.epnn.blocks[0].qkv.weight) in parts[1]
    assert {id(model.epnn.patches.weight), id(model.log_temperature), id(model.epnn.unknown)} <= parts[0]
    (only,) = replace(QUICK, matrix_rate=0.0).optimisers(parameters(model))  # the paper's
    assert sum(len(group["params"]) for group in only.param_groups) == len(list(model.parameters()))
    (heads,) = replace(QUICK, matrix_rate=0.0, adamw="heads").optimisers(parameters(line()))
    assert heads.defaults["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"precision": "float8"}, "choose float32 or bfloat16"), ({"schedule": "linear"}, "whole_cosine or constant"),
     ({"adamw": "sgd"}, "towers or heads"), ({"accumulate": 0}, "accumulate 0"), ({"save_every": 0}, "save_every 0")],
)  # fmt: skip
def test_settings_that_there_are_not(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Optimisation(**wrong)  # type: ignore[arg-type]


def test_the_log_has_terms_rates_and_the_gradients_norm(tmp_path: Path) -> None:
    model = line()
    run(model, towards(model), QUICK, out=tmp_path)
    found = lines(tmp_path)
    assert [one["step"] for one in found] == list(range(1, 9))
    assert set(found[0]) == {"step", "lr", "total", "gradient_norm", "samples_per_s"}
    first, norm = line(), 0.0
    value = towards(first)(0)["total"]
    assert isinstance(value, Tensor)
    value.backward()  # type: ignore[no-untyped-call]
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in first.parameters() if p.grad is not None))
    assert found[0]["gradient_norm"] == pytest.approx(norm, rel=1e-4)  # before it was clipped
    assert found[-1]["total"] < found[0]["total"]


def test_a_killed_run_goes_on_and_other_settings_do_not(tmp_path: Path) -> None:
    whole, killed, model = line(), line(), line()
    run(whole, towards(whole), QUICK, out=tmp_path / "whole", settings={"data": {"links": 3}})

    def dies(number: int) -> dict[str, Tensor | float]:
        if number == 6:
            raise KeyboardInterrupt
        return towards(killed)(number)

    with pytest.raises(KeyboardInterrupt):
        run(killed, dies, QUICK, out=tmp_path / "part", settings={"data": {"links": 3}})
    run(model, towards(model), QUICK, out=tmp_path / "part", settings={"data": {"links": 3}})
    assert torch.equal(whole.weight, model.weight)
    untimed = [[{k: v for k, v in one.items() if k != "samples_per_s"} for one in lines(tmp_path / name)]
               for name in ("whole", "part")]  # fmt: skip
    assert untimed[0] == untimed[1]
    with pytest.raises(InputError, match=r"holds a run with other settings \(data\.links\); give another --out"):
        run(model, towards(model), QUICK, out=tmp_path / "part", settings={"data": {"links": 4}})
    with pytest.raises(InputError, match="weights of another model"):
        run(nn.Linear(5, 1), towards(model), QUICK, out=tmp_path / "part", settings={"data": {"links": 3}})
    assert not [path for path in (tmp_path / "part").iterdir() if path.name.endswith(".part")]


def test_states_of_other_versions_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    model = line()
    (tmp_path / "step-0000004").mkdir()
    with pytest.raises(InputError, match=r"step-0000004: the state of another version"):
        run(model, towards(model), QUICK, out=tmp_path)
    (tmp_path / "step-0000004").rmdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "state.safetensors", {"uniair": json.dumps({"step": 3})})
    with pytest.raises(InputError, match="the state of another version"):
        run(model, towards(model), QUICK, out=tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="remove it to start again"):
        run(model, towards(model), QUICK, out=tmp_path)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_stops_before_it_is_saved(tmp_path: Path, accumulate: int) -> None:
    model, plan = line(), replace(QUICK, log_every=100, accumulate=accumulate)

    def loss(number: int) -> dict[str, Tensor | float]:
        return towards(model, math.nan if number == 5 * accumulate else 1.0)(number)

    with pytest.raises(InputError, match="step 8: the loss is not finite") as refused:
        run(model, loss, plan, out=tmp_path)
    assert "\n" not in str(refused.value)
    assert not model.weight.isfinite().all()
    assert all(value.isfinite().all() for value in load_file(tmp_path / "state.safetensors").values())


def test_the_best_parameters_are_chosen(tmp_path: Path) -> None:
    model, figures, seen = line(), iter([2.0, 1.0, 3.0, 4.0]), []

    def validate() -> dict[str, float]:
        assert not model.training
        seen.append(model.weight.detach().clone())
        return {"validation": next(figures)}

    run(model, towards(model), replace(QUICK, save_every=2), validate=validate, best="validation")
    assert torch.equal(model.weight, seen[1])
    assert not torch.equal(model.weight, seen[-1])


def test_small_models_train_on_one_thread_and_the_setting_comes_back() -> None:
    before, model, seen = torch.get_num_threads(), line(), []

    def loss(number: int) -> dict[str, Tensor | float]:
        seen.append(torch.get_num_threads())
        return towards(model)(number)

    with threads(3):
        run(model, loss, replace(QUICK, steps=1))
        assert torch.get_num_threads() == 3
        wide = nn.Sequential(nn.Linear(4, 100_000), nn.Linear(100_000, 1))
        model = wide  # type: ignore[assignment]
        run(wide, loss, replace(QUICK, steps=1, matrix_rate=0.0))
    assert seen == [1, 3]
    assert torch.get_num_threads() == before


def test_every_process_gets_as_many_rows() -> None:
    rows = torch.arange(7)
    shares = [World(rank, 3, torch.device("cpu")).share(rows).tolist() for rank in range(3)]
    assert shares == [[0, 3], [1, 4], [2, 5]]
    assert World(1, 8, torch.device("cpu")).share(rows).tolist() == rows.tolist()
    assert torch.equal(ALONE.share(rows), rows)


def trained(here: World, out: Path) -> dict[str, nn.Module]:
    """A head, a network from scratch, a forecaster's heads, and AI²MMUM."""
    links = geometric_links(seed=3, areas=1, per_area=96)
    batch = batch_of(links)
    torch.manual_seed(here.rank if here.size == 1 else 7)
    z = torch.randn(96, 32, generator=torch.Generator().manual_seed(0))
    beams, los = (TASKS[name].target(batch) for name in ("beam", "los"))
    head = fit(TASKS["beam"], z, beams, HeadTraining(epochs=1, steps=20, batch=32), world=here)
    network = train_vit([TASKS["los"]], batch.csi, [los], PRESETS["tiny"], 5, 0, here)
    torch.manual_seed(0)
    base = WMLM(ForecastPreset(width=32, beams=BEAMS, past=3, future=2, context=6, dropout=0.0)).eval()
    config = OnSite(part="head", batch=8, length=4, replay=0.0, optimisation=replace(OnSite.optimisation, steps=3))
    adapted, _ = adapt_on_site(base, Passages(tuple(drives(5)), 6), config, world=here)
    torch.manual_seed(0)
    asked = instruction.questions(uniair.build("tiny"), "town", links, ("channel", "environment"), Adaptation())
    plan = replace(instruction.InstructTraining.optimisation, save_every=2, log_every=1)
    model = instruction.build(Design(backbone="none", embedding=32))
    instruction.train(model, asked, instruction.InstructTraining(1, 16, plan), out, world=here)
    return {"head": head, "network": network, "adapted": adapted, "instruct": model}


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", "localhost:0", __file__, str(tmp_path / "two"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, model in trained(ALONE, tmp_path / "one").items():
        two = load_file(tmp_path / "two" / f"{name}.safetensors")
        for key, value in model.state_dict().items():
            near = 1e-2 if name == "network" else 1e-4  # Muon works in bfloat16, which makes much of a last bit
            torch.testing.assert_close(two[key], value, atol=near, rtol=1e-3, msg=f"{name}: {key}")
    assert len(lines(tmp_path / "two")) == len(lines(tmp_path / "one"))


if __name__ == "__main__":
    with world() as here:
        folder = Path(sys.argv[1])
        for name, model in trained(here, folder).items():
            path = folder / f"{name}-{here.rank}.safetensors"
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
        here.wait()
        if here.main:
            for path in folder.glob("*-0.safetensors"):
                other = path.with_name(path.name.replace("-0", "-1"))
                for key, value in load_file(path).items():
                    assert torch.equal(load_file(other)[key], value), f"{path.name}: {key}"
                path.rename(path.with_name(path.name.replace("-0", "")))
