"""Adversarial fine-tuning: what it moves, what it leaves to the bit, and that a killed run goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import uniair
from uniair.attack import Loss, attacked
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, Radio
from uniair.training import hardening
from uniair.training.checkpoint import load_model
from uniair.training.hardening import TUNED, Hardening, harden, moved

PLAN = Hardening(weakest=-15, strongest=-5, steps=25, learning_rate=3e-3, areas=2, links_per_area=6)


def build(radios: str = "one") -> UniversalModel:
    torch.manual_seed(0)
    return UniversalModel(replace(PRESETS["tiny"], radios=radios)).eval()


def test_attacked_channels_move_less_and_all_but_the_channel_tower_stays_to_the_bit(links: Links) -> None:
    model = build()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    hardened = harden(model, links.split(), PLAN)
    batch = batch_of(links)
    power = torch.full((len(batch),), -10.0, dtype=torch.float64)

    def off(now: UniversalModel) -> dict[str, float]:
        found = moved(model, now, batch, power, 5, torch.Generator().manual_seed(9))
        return {name: float(value.detach()) for name, value in found.items()}

    was, now = off(model), off(hardened)
    assert was["clean"] == pytest.approx(0, abs=1e-6)
    assert now["attacked"] < 0.7 * was["attacked"]
    assert now["clean"] < 0.5 * was["attacked"]
    for name, parameter in hardened.named_parameters():
        assert parameter.requires_grad
        assert torch.equal(parameter, before[name]) != name.startswith(TUNED) or not parameter.any(), name
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    env = batch.environment
    assert torch.equal(hardened.encode_environment(env), model.encode_environment(env))


def test_weights_of_any_radio_are_hardened_on_drawn_ones(links: Links) -> None:
    hardened = harden(build(radios="any"), links.split(), replace(PLAN, steps=2, ascent=1))
    assert hardened.preset.radios == "any"


def test_a_stopped_run_goes_on_bit_for_bit_and_writes_weights_as_any_other(
    links: Links, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, steps=6, ascent=1)
    usual = Hardening.optimisation
    monkeypatch.setattr(Hardening, "optimisation", lambda plan: replace(usual(plan), save_every=2, log_every=1))
    whole = harden(build(), links.split(), plan, tmp_path / "whole")
    drawn, count = hardening.moved, 0

    def stopped(*arguments: object) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return drawn(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hardening, "moved", stopped)
    with pytest.raises(KeyboardInterrupt):
        harden(build(), links.split(), plan, tmp_path / "stopped")
    monkeypatch.setattr(hardening, "moved", drawn)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    harden(build(), links.split(), plan, tmp_path / "stopped")
    again = load_model(tmp_path / "stopped")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="other settings"):
        harden(build(), links.split(), replace(plan, seed=1), tmp_path / "stopped")


def test_the_command_hardens_and_says_what_is_wrong(
    links: Links, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from uniair.training.checkpoint import save_model

    save_model(build(), tmp_path / "model")
    shards.write_shard(tmp_path / "train" / "links-00000.safetensors", links)
    shards.write_manifest(tmp_path / "train", {}, "")
    given = ["harden", str(tmp_path / "train"), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert main([*given, "--plan.steps", "2", "--plan.areas", "2"]) == 0
    assert "1 − cosine: attacked channels" in capsys.readouterr().out
    assert uniair.load(str(tmp_path / "out")).preset == uniair.load(str(tmp_path / "model")).preset
    shards.write_shard(tmp_path / "as many" / "links-00000.safetensors", links)
    shards.write_manifest(tmp_path / "as many", {"seed": 1}, "")
    assert main([given[0], str(tmp_path / "as many"), *given[2:], "--plan.steps", "2", "--plan.areas", "2"]) == 2
    assert "holds a run with other settings (data)" in capsys.readouterr().err
    other = replace(links, radios=tuple(Radio(grid=OFDM(64, 240e3)) for _ in links.radios))
    shards.write_shard(tmp_path / "other" / "links-00000.safetensors", other)
    shards.write_manifest(tmp_path / "other", {}, "")
    given[1], given[5] = str(tmp_path / "other"), str(tmp_path / "refused")
    refused = (
        (["--plan.areas", "2"], "links of another radio than the weights'"),
        (["--plan.weakest", "nan"], "plan.weakest"),
        (["--plan.weakest", "-10"], "the weakest first"),
        (["--plan.steps", "0"], "at least 1"),
    )
    for more, says in refused:
        assert main([*given, *more]) == 2
        message = capsys.readouterr().err
        assert says in message
        assert message.strip().count("\n") <= message.count("steps")  # one line beside the progress
    assert not (tmp_path / "refused" / "model.safetensors").exists()


def test_powers_are_drawn_between_the_two(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def noted(loss: Loss, clean: Tensor, power_db: Tensor, steps: int, draw: torch.Generator) -> Tensor:
        seen.append(power_db)
        return attacked(loss, clean, power_db, steps, draw)

    monkeypatch.setattr(hardening, "attacked", noted)
    harden(build(), links.split(), replace(PLAN, steps=3, ascent=1))
    power = np.concatenate([one.numpy() for one in seen])
    assert -15 <= power.min() < -12
    assert -8 < power.max() <= -5
