"""A forecaster of several sites: what learns, what is kept, what is refused."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import geometric_links
from tests.data.drives.moving import BEAMS, drives

pytest.importorskip("flwr", reason="a federation needs flwr: pip install 'uniair[federated]'")
pytest.importorskip("peft", reason="LoRA needs peft: pip install 'uniair[llm]'")

from uniair.cli import main
from uniair.data.drives.drive import Drive, write_drives
from uniair.errors import InputError
from uniair.federation.aggregate import Arrays, aggregated
from uniair.federation.agreement import Federation, read
from uniair.federation.forecast_agreement import CARD, ForecastAgreement, ForecastSite
from uniair.federation.head_agreement import HeadAgreement
from uniair.federation.simulation import simulate, sites_of_drives
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.training.checkpoint import digest, save_model
from uniair.training.forecast_adaptation import OnSite, closed
from uniair.training.forecasting import load_forecaster

PLAN = Federation(task="forecast", rounds=4, steps=8, batch=16, part="all", learning_rate=4e-3)
KEPT = "federated-forecast-all-0"


def silent(_: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def model() -> WMLM:
    torch.manual_seed(0)
    return WMLM(ForecastPreset(width=32, beams=BEAMS, dropout=0.0)).eval()


@pytest.fixture(scope="module")
def sites() -> dict[str, list[Drive]]:
    return {f"street{n}": drives(5, scenario=f"street{n}") for n in (1, 2, 3)}


@pytest.fixture(scope="module")
def begun(model: WMLM) -> tuple[ForecastAgreement, Arrays]:
    return ForecastAgreement.of(model, PLAN, "a test")


def test_sites_learn_one_forecaster_and_a_killed_federation_goes_on_to_the_same(
    model: WMLM, sites: dict[str, list[Drive]], begun: tuple[ForecastAgreement, Arrays], tmp_path: Path
) -> None:
    agreement, start = begun
    rounds = simulate(agreement, start, model, sites, tmp_path / "whole", silent)
    before = [ForecastSite(name, agreement, model, own).figures(start)["top1"] for name, own in sites.items()]
    after = [found["top1"] for found in rounds.about()["figures"].values()]
    assert np.mean(after) > np.mean(before) + 0.1
    assert rounds.about()["steps"] == sum(len(drive) for own in sites.values() for drive in own[2:])

    def killed(line: str) -> None:
        if line.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(agreement, start, model, sites, tmp_path / "killed", killed)
    simulate(agreement, start, model, sites, tmp_path / "killed", silent)
    whole, again = (tmp_path / name / KEPT / "model.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == again.read_bytes()
    kept = load_forecaster(whole.parent, lambda: pytest.fail("no tower is read"))
    assert digest(kept) != digest(model)
    card = json.loads((whole.parent / CARD).read_text())
    assert (card["rounds"], card["begun"], list(card["sites"])) == (4, "a test", list(sites))


def test_the_mean_of_sites_that_are_alike_is_what_one_learns(
    model: WMLM, sites: dict[str, list[Drive]], begun: tuple[ForecastAgreement, Arrays]
) -> None:
    agreement, start = begun
    alone = ForecastSite("street1", agreement, model, sites["street1"]).learn(start, 1)
    rounds = simulate(replace(agreement, federation=replace(PLAN, rounds=1, sites=1)), start, model,
                      {"street1": sites["street1"]}, None, silent)  # fmt: skip
    for have, want in zip(rounds.arrays, alone, strict=True):
        assert have.shape == want.shape
    plan = replace(PLAN, rounds=1, sites=1)
    first = ForecastSite("street1", replace(agreement, federation=plan), model, sites["street1"]).learn(start, 1)
    for have, want in zip(rounds.arrays, first, strict=True):
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("part", ["lora", "head"])
def test_parts_alone_travel_and_the_rest_stays(
    model: WMLM, sites: dict[str, list[Drive]], part: str, tmp_path: Path
) -> None:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for value in model.parameters():  # heads begin at 0, through which blocks learn nothing
            value.add_(0.02 * torch.randn_like(value))
    agreement, start = ForecastAgreement.of(model, replace(PLAN, part=part, rounds=1, steps=2, rank=2), "")
    total = sum(p.numel() for p in model.parameters())
    assert 0 < sum(each.size for each in start) < total
    simulate(agreement, start, model, sites, tmp_path, silent)
    kept = load_forecaster(agreement.kept_at(tmp_path), lambda: pytest.fail("no tower is read"))
    same = [torch.equal(one, two) for one, two in zip(kept.parameters(), model.parameters(), strict=True)]
    assert any(same)
    assert not all(same)
    assert read(json.dumps(agreement.to_json()), HeadAgreement, ForecastAgreement) == agreement


@pytest.mark.parametrize("part", ["lora", "head"])
def test_the_mean_of_what_sites_send_is_the_mean_of_their_forecasters(model: WMLM, part: str) -> None:
    """Of both of LoRA's factors it would not be: the mean of products is not the product of means."""
    agreement, start = ForecastAgreement.of(model, replace(PLAN, part=part, rank=2), "")
    draw = np.random.default_rng(0)
    sites = [[each + draw.normal(0, 0.3, each.shape).astype(np.float32) for each in start] for _ in range(3)]
    shares = [10, 20, 70]

    def weights(arrays: Arrays) -> dict[str, torch.Tensor]:
        return closed(agreement.model(arrays, model), agreement.config).state_dict()

    found = weights(aggregated("mean", 0, list(zip(sites, shares, strict=True))))
    each = [weights(arrays) for arrays in sites]
    moved = 0
    for name, begun in model.state_dict().items():
        if not begun.is_floating_point():
            continue
        wanted = torch.stack([0.01 * share * one[name] for share, one in zip(shares, each, strict=True)]).sum(0)
        torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-6)
        moved += int((wanted - begun).abs().max() > 0.01)
    assert moved >= 2


def test_a_site_begins_from_the_same_fixed_factor_as_all_others(model: WMLM) -> None:
    agreement, start = ForecastAgreement.of(model, replace(PLAN, part="lora", rank=2), "")
    one, other = (dict(agreement.model(start, copy.deepcopy(model)).named_parameters()) for _ in range(2))
    fixed = [name for name in one if ".lora_A." in name]
    assert len(fixed) == len(start)
    for name in fixed:
        assert torch.equal(one[name], other[name])
        assert one[name].abs().max() > 0
        assert not one[name].requires_grad
    for values in start:  # the other factors, which change nothing yet
        assert not values.any()


def test_what_does_not_fit_is_refused(
    model: WMLM, sites: dict[str, list[Drive]], begun: tuple[ForecastAgreement, Arrays]
) -> None:
    agreement, start = begun
    torch.manual_seed(1)
    other = WMLM(model.preset).eval()
    odd: list[tuple[Any, Any, str]] = [
        (other, sites["street1"], r"digest \w{16}, the federation's"),
        (model, geometric_links(seed=0, areas=1, per_area=24), "this site has links; give a folder of drives"),
        (model, sites["street1"][2:4], "2 of 2 drives to learn from and 0 held out"),
        (model, drives(5, beams=BEAMS * 2), "32 beams, the forecaster 16"),
    ]
    for known, own, reason in odd:
        lines: list[str] = []
        with pytest.raises(InputError, match="0 sites are there"):
            simulate(
                replace(agreement, federation=replace(PLAN, sites=1)), start, known, {"a": own}, None, lines.append
            )
        assert lines[0].startswith("refused a: ")
        assert re.search(reason, lines[0]), lines
    with pytest.raises(InputError, match="NaN or infinite"):
        agreement.check([np.full_like(each, np.nan) for each in start], model)
    with pytest.raises(InputError, match="parameters of a forecaster of other widths"):
        agreement.check(start[:1], model)
    heads = Federation(task="los")
    with pytest.raises(InputError, match="a head is learned from links"):
        HeadAgreement(heads, "", "", "tiny", (1, 1), None, {}).examples(sites["street1"])  # type: ignore[arg-type]
    for wrong in ({"inputs": "channel"}, {"epsilon": 8.0}, {"part": "nothing"}, {"rank": 0}):
        with pytest.raises(InputError):
            replace(PLAN, **wrong)
    assert Federation(task="forecast").peak == OnSite().optimisation.learning_rate
    with pytest.raises(InputError, match="drives of 3 scenarios, 4 are needed"):
        sites_of_drives([drive for own in sites.values() for drive in own], 4)


def test_the_command_makes_a_forecaster(
    model: WMLM, sites: dict[str, list[Drive]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(model, tmp_path / "base")
    for name, own in sites.items():
        write_drives(tmp_path / "drives" / f"drives-{name}.safetensors", own)
    line = ["federate", "simulate", str(tmp_path / "drives"), "--model", str(tmp_path / "base"), "--out"]
    plan = ["--federation.task", "forecast", "--federation.rounds", "1", "--federation.steps", "2"]
    assert main([*line, str(tmp_path / "out"), *plan]) == 0
    said = capsys.readouterr().out
    assert "round 1 of 1: 3 sites, 216 steps, top1" in said
    assert (tmp_path / "out" / "federated-forecast-lora-0" / "config.json").is_file()
    assert main([*line, str(tmp_path / "no"), *plan, "--head", "some"]) == 2
    assert "a forecaster begins from --model" in capsys.readouterr().err
