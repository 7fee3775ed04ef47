"""Attacks: margins of the answers, every attack and defence, a run that goes on, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair.attack import attacked
from uniair.benchmark import attack_defences, attacked_answers, attacks
from uniair.benchmark.adaptive_attacks import past_a_detector, suspicion, through_noise
from uniair.benchmark.attack_defences import detected, signals_of, told_apart
from uniair.benchmark.attacked_answers import BEAM, LOS, POSITION, USER, Victims, answers, embedded
from uniair.benchmark.attacked_forecasts import forecasts_under_attack, heard
from uniair.benchmark.attacks import ATTACKS, AttackBudget
from uniair.benchmark.benchmark import Setup, perform
from uniair.cli import main
from uniair.data.links import shards
from uniair.errors import InputError
from uniair.evaluation.smoothing import Smoothing, noisy_copies
from uniair.explanation.doubt import Doubt, Signals
from uniair.models.presets import PRESETS
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot
from uniair.training.checkpoint import save_model

QUICK = AttackBudget(areas=2, links=5, train=1, steps=1, restarts=1, powers=(-20, 0), copies=4, windows=6)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for name, seed, place in (("links", 3, "town"), ("train", 4, "elsewhere")):
        links = geometric_links(seed=seed, areas=2, per_area=18, place=place)
        shards.write_shard(tmp_path / name / "links-00000.safetensors", links)
        shards.write_manifest(tmp_path / name, {"made": name}, "")
    return {name: tmp_path / name for name in ("links", "train")}


def test_margins_are_of_the_answers_that_the_model_gives() -> None:
    links, model = geometric_links(seed=5, areas=1, per_area=18), uniair.load("small")
    victims = Victims.of_area(links, 5, np.random.default_rng(0))
    assert victims is not None
    batch = victims.batch
    assert len(batch) == 5
    assert torch.equal(victims.attacker, victims.attacker[:1].expand(5, -1, -1))
    assert not (batch.csi == victims.attacker).all(2).all(1).any()  # who attacks is no victim
    assert (batch.environment.bs == batch.environment.bs[:1]).all()
    z, asked = embedded(model, batch.csi, batch).detach(), answers(model, batch)
    torch.testing.assert_close(z, model.encode_channel(batch.csi, batch.radio), atol=1e-5, rtol=1e-4)
    odds = zero_shot.los_odds(model, batch.csi, batch.environment, batch.radio)
    sign = 2 * batch.environment.los - 1
    torch.testing.assert_close(asked[LOS].margin(z), sign * odds, atol=1e-3, rtol=1e-3)
    found = zero_shot.rank(model, batch.csi, batch.environment, batch.radio).argmax(1) == torch.arange(5)
    assert torch.equal(asked[USER].outcome(z) > 0, found)
    restored = model.reconstruct_channel(model.encode_channel(batch.csi))
    strongest = [torch.fft.ifft(csi, dim=1).abs().square().sum(-1).argmax(1) for csi in (restored, batch.csi)]
    assert torch.equal(asked[BEAM].outcome(z) > 0, strongest[0] == strongest[1])
    env = batch.environment
    size = float(env.size[0])
    grid, log = zero_shot.position_log_likelihood(
        model, batch.csi, env.map[0].numpy(), env.bs[0].numpy(), size, size / 40, float(env.ue[:, 2].median())
    )
    row, column = np.unravel_index(log.flatten(1).argmax(1).numpy(), log.shape[1:])
    error = np.hypot(grid[column] - env.ue[:, 0].numpy(), grid[row] - env.ue[:, 1].numpy())
    np.testing.assert_allclose(asked[POSITION].outcome(z).numpy(), error, atol=1e-3)
    assert all(torch.isfinite(answer.margin(z)).all() for answer in asked.values())
    few = links.select(np.flatnonzero((links.bs == links.bs[0]).all(1))[:2])
    assert Victims.of_area(few, 5, np.random.default_rng(0)) is None


def test_scores_of_made_data_are_told_apart_as_they_should_be() -> None:
    clean = np.arange(100.0)
    assert told_apart(clean, clean + 1000) == (1.0, 1.0)
    assert told_apart(clean, clean - 1000) == (0.0, 0.0)
    assert told_apart(clean, clean) == (0.5, 0.05)
    rng = np.random.default_rng(0)
    auroc, _ = told_apart(rng.normal(0, 1, 20000), rng.normal(1, 1, 20000))
    assert auroc == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=0.01)  # Φ(1 / √2)

    def columns(restored: float, seed: int) -> dict[str, list[float]]:
        rng = np.random.default_rng(seed)
        one = {name: rng.normal(0, 1, 200).tolist() for name in ("certainty", "fit", "outside")}
        return one | {"restored": rng.normal(restored, 1, 200).tolist()}

    areas = [{"": columns(0, 1), "-20": columns(1, 2), "0": columns(4, 3)}]
    found = detected([areas], [areas])
    assert 0.7 < found["restored"]["-20"]["auroc"]["mean"] < 0.82 < 0.99 < found["restored"]["0"]["auroc"]["mean"]
    assert found["fit"]["0"]["auroc"]["mean"] == pytest.approx(0.5, abs=0.1)
    assert found["fitted"]["0"]["auroc"]["mean"] > 0.98
    assert "fitted" not in detected([areas], [None])


def test_every_attack_and_defence_has_its_row_and_a_stopped_run_goes_on(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(attacks.BUDGETS, "quick", QUICK)
    monkeypatch.setattr(attacked_answers, "CELLS", 8)
    hardened = uniair.build("tiny")
    with torch.no_grad():
        hardened.cfenn.class_token.add_(1)
    save_model(hardened, tmp_path / "hardened")
    setup = Setup(uniair.build("tiny"), tmp_path / "out", folders, seeds=1)
    result = perform("attack", ATTACKS, setup, hardened=tmp_path / "hardened")
    assert list(result["answers"]) == ["as they are", "fine-tuned"]
    for rows in result["answers"].values():
        assert set(rows) == {"clean", "noise", "random waveform", "white box", "learned waveform"}
        assert list(rows["white box"]) == ["-20", "0"]
        assert rows["white box"]["0"][LOS]["mean"] <= rows["clean"][""][LOS]["mean"]
    assert (result["areas"], result["links"], result["left_out"]) == (2, 10, 0)
    (heading, table), (_, other), (_, defences), (_, detector) = ATTACKS.tables(result)
    assert "10 links in 2 areas" in heading
    assert len(table.rows) == len(other.rows) == 9
    assert len(defences.rows) == 2 * 4
    assert len(detector.rows) == 2 * (4 + 1)
    certified = result["defences"]["as they are"]["certified"]
    assert certified["0"]["mean"] <= certified["-20"]["mean"]

    def again(*_: object) -> None:
        pytest.fail("measured again")

    monkeypatch.setattr(attacks, "_area", again)
    monkeypatch.setattr(attacks, "_learned", again)
    monkeypatch.setattr(attacks, "forecasts_under_attack", again)
    assert perform("attack", ATTACKS, setup, hardened=tmp_path / "hardened") == result
    with pytest.raises(InputError, match="another hardened"):
        perform("attack", ATTACKS, setup)


def test_without_training_places_nothing_is_learned(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(attacks.BUDGETS, "quick", replace(QUICK, areas=1, powers=(0,)))
    monkeypatch.setattr(attacked_answers, "CELLS", 8)
    setup = Setup(uniair.build("tiny"), tmp_path / "out", {"links": folders["links"]}, seeds=1)
    result = perform("attack", ATTACKS, setup)
    assert "learned waveform" not in result["answers"]["as they are"]
    assert "fitted" not in result["detector"]["as they are"]
    assert result["slipped"] == {}


def test_an_attacker_who_knows_the_detector_is_noticed_less() -> None:
    links, model = geometric_links(seed=5, areas=1, per_area=18), uniair.load("small")
    victims = Victims.of_area(links, 5, np.random.default_rng(0))
    assert victims is not None
    batch, draw = victims.batch, torch.Generator().manual_seed(0)
    margin = answers(model, batch)[LOS].margin
    detector = Doubt((0.0, -8.0, 0.5, 0.0), (5.0, 4.0, 0.2, 1.0), (-1.0, 2.0, -1.0, 0.1), 0.3)
    columns = [torch.tensor(column) for column in signals_of(model, batch.csi, batch).values()]
    told = suspicion(model, batch, detector)
    torch.testing.assert_close(
        told(batch.csi).detach().double(), detector.log_odds(Signals(*columns)), atol=2e-3, rtol=2e-3
    )
    naive = attacked(lambda csi: -margin(embedded(model, csi, batch)), batch.csi, -10.0, 10, draw)
    aware = attacked(past_a_detector(model, batch, margin, detector), batch.csi, -10.0, 10, draw)
    with torch.no_grad():
        assert float((told(aware) - told(naive)).mean()) < -0.5


def test_an_attack_through_the_noise_turns_copies_that_the_other_does_not() -> None:
    """Right where one number is large, or by chance another is: its slope at the clean channel leads astray."""
    draw = torch.Generator().manual_seed(0)
    clean = torch.ones(200, 1, 2, dtype=torch.complex64)

    def margin(csi: torch.Tensor) -> torch.Tensor:
        # beside the clean channel it falls along the second entry alone, further out along the first
        bait = 8 * csi[:, 0, 1].real * torch.exp(-30 * (csi - 1).abs().square().sum((1, 2)))
        return 2 * csi[:, 0, 0].real + bait

    def right_copies(csi: torch.Tensor) -> float:
        copies = noisy_copies(csi, 0.0, 200, torch.Generator().manual_seed(1))
        return float(torch.stack([margin(one) > 0 for one in copies]).float().mean())

    naive = attacked(lambda csi: -margin(csi), clean, -20.0, 10, draw)
    aware = attacked(through_noise(margin, clean, 0.0, draw), clean, -20.0, 10, draw)
    assert right_copies(aware) < right_copies(naive) - 0.02


def test_of_a_majority_that_is_wrong_nothing_is_certified() -> None:
    csi = torch.randn(3, 4, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    smoothing = Smoothing(copies=50)
    wanted = torch.tensor([True, False, True])
    found = attack_defences.smoothed(lambda x: wanted[: len(x)], csi, smoothing, torch.Generator().manual_seed(0))
    assert found["right"] == [1, 0, 1]
    assert found["certified_db"][1] == -1000
    assert found["certified_db"][0] == found["certified_db"][2] > -30


def test_forecasts_bear_noise_and_not_the_attack() -> None:
    steps = heard(40, seed=0)
    assert (steps["power"] > 0).all()
    found = forecasts_under_attack((-20.0,), 40, 5, seed=0)
    assert found["white box"]["-20"] < found["noise"]["-20"] - 0.1
    assert found["noise"]["-20"] <= found["clean"][""] + 0.05


def test_bad_input_is_one_line(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    links = geometric_links(seed=3, areas=2, per_area=18)
    clocked = replace(links, radios=tuple(replace(radio, clock="first_path") for radio in links.radios))
    few = geometric_links(seed=3, areas=1, per_area=3)
    for name, made in (("clocked", clocked), ("few", few)):
        shards.write_shard(tmp_path / name / "links-00000.safetensors", made)
        shards.write_manifest(tmp_path / name, {}, "")
    save_model(UniversalModel(replace(PRESETS["tiny"], radios="one")), tmp_path / "tiny")
    for given, says in (
        ([], "attack needs --links"),
        (["--links", "nowhere"], "no such file"),
        (["--links", "links", "--train", "links"], "places in both"),
        (["--links", "links", "--hardened", "nowhere"], "neither a packaged model"),
        (["--links", "clocked"], "absolute clock"),
        (["--links", "few"], "no base station with three users"),
    ):
        assert main(["bench", "attack", "--model", "tiny", *given, "--out", "out"]) == 2, given
        message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("uniair")]
        assert len(message) == 1
        assert says in message[0]
        assert not (tmp_path / "out" / "attack" / "result.json").exists()
