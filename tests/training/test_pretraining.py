from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair import metrics
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.evaluation.zero_shot_suite import zero_shot_suite
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel
from uniair.tasks.alignment import Alignment
from uniair.training.checkpoint import load_model, save_model
from uniair.training.distributed import World
from uniair.training.loop import Optimisation
from uniair.training.pretraining import Batches, check_split, pretrain

ALONE = World(0, 1, torch.device("cpu"))
QUICK = Optimisation(steps=6, save_every=2, log_every=1, learning_rate=1e-3, seed=3)
TINY = PRESETS["tiny"]


def run(links: Links, other: Links, out: Path, steps: Optimisation = QUICK) -> UniversalModel:
    return pretrain(
        TINY, links.split(), {"validation": other}, Alignment(), Batches(areas=3, links_per_area=6), steps, out, ALONE
    )


def weights(model: UniversalModel) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters())


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["total"] for line in lines if "total" in line]


def test_the_same_seed_gives_the_same_weights(links: Links, other_links: Links, tmp_path: Path) -> None:
    a, b = run(links, other_links, tmp_path / "a"), run(links, other_links, tmp_path / "b")
    assert weights(a) == weights(b)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    c = run(links, other_links, tmp_path / "c", replace(QUICK, seed=4))
    assert weights(a) != weights(c)


def test_a_stopped_run_resumes_bit_for_bit(
    links: Links, other_links: Links, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(links, other_links, tmp_path / "whole")
    calls = []
    original = Alignment.loss

    def dies(self: Alignment, *args: object) -> dict[str, torch.Tensor]:
        calls.append(1)
        if len(calls) == 6:  # after the checkpoint of step 4 and one step more
            raise KeyboardInterrupt
        return original(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Alignment, "loss", dies)
        with pytest.raises(KeyboardInterrupt):
            run(links, other_links, tmp_path / "cut")
    resumed = run(links, other_links, tmp_path / "cut")
    assert weights(whole) == weights(resumed)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_a_run_that_is_killed_resumes_to_the_same_weights(links: Links, other_links: Links, tmp_path: Path) -> None:
    for name, part in (("train", links), ("held", other_links)):
        shards.write_shard(tmp_path / name / "links-00000.safetensors", part)
        shards.write_manifest(tmp_path / name, {}, "test")

    def words(out: str) -> list[str]:
        return [
            "pretrain", "--train", str(tmp_path / "train"), "--validation", str(tmp_path / "held"),
            "--out", str(tmp_path / out), "--preset", "tiny", "--steps", "16", "--save_every", "4",
            "--batches.areas", "3", "--batches.links_per_area", "6", "--seed", "1",
        ]  # fmt: skip

    # what is killed is a process of its own; what runs to its end, before and after, needs none
    assert main(words("whole")) == 0
    command = [sys.executable, "-m", "uniair.cli", *words("killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("state.safetensors")) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "killed" / "state.safetensors").exists()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    assert main(words("killed")) == 0
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert a == b
    card = json.loads((tmp_path / "whole" / "card.json").read_text())
    assert card["places"] == {"train": ["town"], "validation": ["elsewhere"]}


def test_other_settings_do_not_go_on_with_an_old_run(links: Links, other_links: Links, tmp_path: Path) -> None:
    run(links, other_links, tmp_path)
    with pytest.raises(InputError, match=r"other settings \(optimisation.learning_rate\)"):
        run(links, other_links, tmp_path, replace(QUICK, learning_rate=1e-4))


def test_a_place_on_both_sides_is_refused(links: Links) -> None:
    with pytest.raises(InputError, match="town"):
        check_split(links.areas, links.areas)


def test_bfloat16_trains(links: Links, other_links: Links, tmp_path: Path) -> None:
    run(links, other_links, tmp_path / "half", replace(QUICK, steps=2, precision="bfloat16"))
    run(links, other_links, tmp_path / "full", replace(QUICK, steps=2))
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "full"), rel=0.02)


def test_checkpoints_round_trip_and_refuse_another_preset(tmp_path: Path, links: Links) -> None:
    torch.manual_seed(0)
    model = uniair.build("tiny")
    save_model(model, tmp_path)
    assert weights(load_model(tmp_path, expect="tiny")) == weights(model)
    assert uniair.load(str(tmp_path)).preset == model.preset
    with pytest.raises(InputError, match="preset 'tiny', not 'small'"):
        load_model(tmp_path, expect="small")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"width": 64}))
    with pytest.raises(InputError, match="weights of another preset"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_model(tmp_path / "nowhere")


def test_training_teaches_what_holds_in_another_town(tmp_path: Path) -> None:
    """Some seconds of `tiny` on twelve areas must beat chance in another town by far."""
    train = geometric_links(seed=5, areas=12, per_area=24)
    held = geometric_links(seed=6, areas=4, per_area=24, place="elsewhere")
    steps = Optimisation(steps=80, save_every=80, log_every=40, learning_rate=2e-3, seed=0)
    batches = Batches(areas=4, links_per_area=12)
    # not watched while it trains: the figures are asked for once, below
    model = pretrain(replace(TINY, radios="one"), train.split(), {}, Alignment(), batches, steps, tmp_path, ALONE)
    figures = zero_shot_suite(model, held).figures
    assert figures["top1"].reference is not None
    assert figures["top1"].value > 3 * figures["top1"].reference
    majority = figures["los_geometry"].reference
    assert majority == metrics.majority(held.los)
    assert figures["los"].value > majority


@pytest.mark.parametrize("processes", [2])
def test_torchrun_trains_on_several_processes(links: Links, other_links: Links, tmp_path: Path, processes: int) -> None:
    for name, part in (("train", links), ("held", other_links)):
        shards.write_shard(tmp_path / name / "links-00000.safetensors", part)
        shards.write_manifest(tmp_path / name, {}, "test")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes),
        "-m", "uniair.cli", "pretrain", "--train", str(tmp_path / "train"), "--validation", str(tmp_path / "held"),
        "--out", str(tmp_path / "out"), "--preset", "tiny", "--steps", "4", "--log_every", "1",
        "--batches.areas", "3", "--batches.links_per_area", "6",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(losses(tmp_path / "out")) == 4
    load_model(tmp_path / "out")


def test_links_without_a_map_are_refused(links: Links, other_links: Links, tmp_path: Path) -> None:
    bare = replace(links, mapped=np.zeros(len(links.areas), dtype=bool))
    with pytest.raises(InputError, match="needs areas with a map"):
        pretrain(
            TINY,
            bare.split(),
            {"validation": other_links},
            Alignment(),
            Batches(2, 4),
            Optimisation(steps=1),
            tmp_path,
            ALONE,
        )
