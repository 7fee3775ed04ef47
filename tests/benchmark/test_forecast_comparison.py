from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.data.drives.moving import BEAMS, drive, drives

from uniair.benchmark.forecast_comparison import RETIMED, Comparison, summary, tables
from uniair.data.drives.passages import Augmentation
from uniair.errors import InputError
from uniair.models.forecast import ForecastPreset
from uniair.training import forecasting
from uniair.training.checkpoint import digest
from uniair.training.forecast_adaptation import OnlineLearning
from uniair.training.forecast_split import Setting, settings
from uniair.training.forecasting import ForecastTraining
from uniair.training.loop import Optimisation

PLAN = Optimisation(steps=10, matrix_rate=0.0, save_every=5)
SHORT = ForecastTraining(batch=4, length=4, optimisation=PLAN)


def comparison(out: Path, seeds: int = 2) -> Comparison:
    return Comparison(
        tuple(drives(5) + drives(5, scenario="scenario6")), out, seeds=seeds,
        preset=ForecastPreset(width=32, context=5), training=SHORT,
        online=OnlineLearning(batch=4, length=4, optimisation=replace(OnlineLearning.optimisation, steps=1)),
    )  # fmt: skip


def test_deepsense_is_divided_as_packaged_and_leaves_whole_sites_out() -> None:
    some = [drive(f"scenario{s}/{n:05d}", 9) for s in (1, 2, 3, 6) for n in range(1, 9)]
    found = settings(some)
    assert [one.name for one in found] == ["S4", "S2 → 1, 2", "S3 → 3", "S3 → 6"]
    assert "scenario1/00001" in {d.name for d in found[0].train}
    for one in found:
        parts = [{d.name for d in part} for part in (one.train, one.validation, one.test, one.unseen)]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert not {d.scenario for d in one.unseen} & {d.scenario for d in (*one.train, *one.validation, *one.test)}


def test_other_drives_leave_scenarios_out() -> None:
    found = settings(drives(5, scenario="munich") + drives(5, scenario="canyon"))
    assert [one.name for one in found] == ["S2", "S1 → munich", "S1 → canyon"]
    assert [len(part) for part in (found[0].train, found[0].validation, found[0].test)] == [6, 2, 2]


def test_a_comparison_resumes_and_shows_every_method(tmp_path: Path) -> None:
    made = comparison(tmp_path)
    result = made.run(["persistence", "nearest positions", "GRU", "WMLM", "WMLM, adapted online"])
    parts = result["settings"]["S1 → 1"]
    assert set(parts) == {"held out", "unseen", "held out, afterwards"}
    assert set(parts["held out, afterwards"]) == {"WMLM, adapted online"}
    assert set(parts["unseen"]) == {"persistence", "nearest positions", "GRU", "WMLM", "WMLM, adapted online"}
    assert set(parts["unseen"]["WMLM"]["3"]) == {"top1", "top2", "top3", "dba", "share", "nmse_db"}
    assert (tmp_path / "fig4d.svg").stat().st_size > 1000
    assert (tmp_path / "fig4e.svg").stat().st_size > 1000
    assert any("WMLM" in row[0] for _, table in tables(result) for row in table.rows)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert made.run(["persistence", "nearest positions", "GRU", "WMLM", "WMLM, adapted online"]) == result
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    with pytest.raises(InputError, match="holds runs with another training; give another --out"):
        replace(made, training=replace(SHORT, batch=8)).run(["persistence"])


def test_what_adapts_online_begins_from_the_better_recurrent_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Comparison, "adapted", lambda self, model, setting: {"began": digest(model)})
    made = comparison(tmp_path, seeds=1)
    setting = settings(made.drives)[1]
    began = made.methods()[f"{RETIMED}, adapted online"](setting, 0)["began"]
    assert began == digest(made.gru(setting, 0, Augmentation())) != digest(made.gru(setting, 0))


def test_any_modality_is_an_anchor_in_the_settings_that_are_named(tmp_path: Path) -> None:
    made = comparison(tmp_path, seeds=1)
    made = replace(made, anchors=("none", "position", "power+position"), named=("S1 -> 6",))
    assert made.seen.modalities == ("power", "beam", "position")
    methods = [f"anchor {one}" for one in made.anchors]
    result = made.run(methods)
    assert list(result["settings"]) == ["S1 → 6"]
    assert list(result["settings"]["S1 → 6"]["unseen"]) == methods
    replace(made, align_steps=20).run(methods[1:])
    assert len(list((tmp_path / "runs").glob("*anchor_position-power-beam-position-20-steps-0.json"))) == 1
    assert len(list((tmp_path / "runs").iterdir())) == 5
    with pytest.raises(InputError, match="--align_steps 9: there is no stage 1; give --anchors"):
        replace(made, anchors=("none",), align_steps=9)
    with pytest.raises(InputError, match="no setting 'S3'; choose from 'S2', 'S1 → 1', 'S1 → 6'"):
        replace(made, named=("S3",)).run(methods)
    with pytest.raises(InputError, match="no drive has camera files"):
        replace(made, anchors=("camera",))
    with pytest.raises(InputError, match="anchor 'beam': the beam's index is read off its power"):
        replace(made, anchors=("beam",))


def test_the_first_stage_has_a_length_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[tuple[str, int]] = []
    real = forecasting.run

    def counted(model: Any, loss: Any, plan: Optimisation, **more: Any) -> Any:
        stages.append(("first" if more["settings"]["alignment"] else "second", plan.steps))
        return real(model, loss, plan, **more)

    monkeypatch.setattr(forecasting, "run", counted)
    made = replace(comparison(tmp_path), anchors=("power",), align_steps=7, budget="full")
    for one in (made, replace(made, align_steps=0), replace(made, budget="quick")):
        one.wmlm(settings(one.drives)[1], 0, one.seen, anchor="power")
    assert stages == [("first", 7), ("second", 10), ("first", 10), ("second", 10), ("first", 2), ("second", 2)]


def test_each_language_model_has_runs_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="a language model needs pip install 'uniair[llm]'")
    from uniair.models.backbone import load_backbone

    plan = replace(SHORT, optimisation=replace(PLAN, steps=5))
    for seed in (0, 1, 1):
        made = replace(comparison(tmp_path, 1), language=load_backbone("tiny", seed), training=plan)
        assert "reprogrammed LM" in made.run(["reprogrammed LM"])["settings"]["S2"]["held out"]
    assert len(list((tmp_path / "runs").glob("S2-reprogrammed_LM-*"))) == 2


def test_means_and_spreads() -> None:
    runs = [
        {"a": {"1": {"top1": 0.2}}, "b": {"1": {"top1": 0.4}}},
        {"a": {"1": {"top1": 0.4}}, "b": {"1": {"top1": 0.6}}},
    ]
    found = summary(runs)["1"]["top1"]
    assert found["mean"] == pytest.approx(0.4)
    assert found["spread"] == pytest.approx(0.1)
    assert found["by_scenario"] == pytest.approx({"a": 0.3, "b": 0.5})


def test_hidden_modalities_are_reported_beside_the_whole(tmp_path: Path) -> None:
    made = comparison(tmp_path, seeds=1)
    preset = ForecastPreset(width=32, beams=BEAMS, context=5, modalities=("power", "beam", "position"))
    setting: Setting = settings(made.drives)[0]
    model = made.wmlm(setting, 0, preset=preset, augmentation=Augmentation(0.0, 0.0, 0.0))
    found = made.with_losses(model, setting)
    assert set(found) == {"held out", "held out, without power", "held out, without position"}
    assert found["held out"] != found["held out, without power"]


def test_wrong_options_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--budget 'long': choose quick or full"):
        replace(comparison(tmp_path), budget="long")
    with pytest.raises(InputError, match="no method 'oracle'; choose from persistence"):
        comparison(tmp_path).run(["oracle"])
    assert not (tmp_path / "runs").exists()
