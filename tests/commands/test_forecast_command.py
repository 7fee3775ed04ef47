from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.drives.moving import BEAMS, drive, drives, hidden

from uniair import cli
from uniair.commands.drives import replayed
from uniair.data.drives.drive import Drive, RestoredDrive, read_drives, write_drives
from uniair.data.drives.step_paths import StepPaths
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.propagation.paths import Paths
from uniair.serve.stream import Stream
from uniair.training.checkpoint import digest, save_model
from uniair.training.forecasting import load_forecaster
from uniair.training.learning_stream import StreamLearning

SMALL = ["--preset.width", "32", "--preset.context", "5", "--training.batch", "4", "--training.length", "4",
         "--training.optimisation.steps", "4", "--training.optimisation.save_every", "2"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_drives(tmp_path / "drives" / "drives-a.safetensors", drives(5, scenario="a"))
    write_drives(tmp_path / "drives" / "drives-b.safetensors", [*drives(4, scenario="b"), drive("b/short", 3)])
    return tmp_path / "drives"


def last(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_train_evaluate_and_stream(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert cli.main(["forecast", "train", "--drives", str(folder), "--out", str(out), "--json", *SMALL]) == 0
    assert last(capsys)["parameters"]["total"] > 0  # type: ignore[index]
    assert cli.main(["forecast", "evaluate", "--drives", str(folder), "--model", str(out), "--json"]) == 0
    assert set(last(capsys)["scenarios"]) == {"a", "b"}  # type: ignore[call-overload]
    assert cli.main(["forecast", "stream", "--drives", str(folder), "--model", str(out), "--json",
                     "--scenarios", "[a]"]) == 0  # fmt: skip
    assert last(capsys)["steps"] == 5 * 24


def test_drives_of_which_none_validates_or_none_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scenario in "ab":
        some = [drive(f"{scenario}/{n:05d}", seed=n) for n in range(1, 5)]
        write_drives(tmp_path / "all" / f"drives-{scenario}.safetensors", some)
        write_drives(tmp_path / "none" / f"drives-{scenario}.safetensors", some[1:])
    train, compare = (["forecast", name, "--out", str(tmp_path / name), *SMALL] for name in ("train", "compare"))
    assert cli.main([*train, "--drives", str(tmp_path / "none")]) == 2
    assert "S2: no drive validates; those whose number is one over a multiple of five do" in capsys.readouterr().err
    compare += ["--drives", str(tmp_path / "all"), "--seeds", "1", "--json"]
    compare += ["--methods", '["GRU, drives reversed and retimed too, adapted online"]']
    assert cli.main(compare) == 0
    found = last(capsys)["settings"]
    assert {name: list(parts) for name, parts in found.items()} == {"S1 → a": ["unseen"]}  # type: ignore[attr-defined]


def test_a_run_goes_on_with_what_it_began_with_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["forecast", "train", "--drives", str(folder), "--out", str(tmp_path / "run"), *SMALL]
    assert cli.main(train) == 0
    before = digest(load_forecaster(tmp_path / "run"))
    assert cli.main(train) == 0
    for more, changed in ((["--leave_out", "[b]"], "drives"), (["--augmentation.mirror", "0.5"], "augmentation.mirror"),
                          (["--preset.dropout", "0.2"], "preset.dropout"), (["--anchor", "power", "--preset.modalities",
                          "[power,position]"], "anchor")):  # fmt: skip
        capsys.readouterr()
        assert cli.main([*train, *more]) == 2
        assert changed in (said := capsys.readouterr().err)
        assert "holds a run with other settings" in said
    assert digest(load_forecaster(tmp_path / "run")) == before


def test_a_stream_begins_anew_after_a_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = WMLM(ForecastPreset(width=32, beams=BEAMS))
    assert model.around is not None
    with torch.no_grad():  # beams stay as they are
        model.around.bias.view(4, 2, -1)[:, 0, BEAMS - 1] = 5.0
    save_model(model, tmp_path / "model")

    def streamed(name: str, *some: Drive) -> dict[str, object]:
        write_drives(tmp_path / name / "drives-a.safetensors", some)
        command = ["forecast", "stream", "--drives", str(tmp_path / name), "--model", str(tmp_path / "model"), "--json"]
        assert cli.main(command) == 0
        return last(capsys)

    every = [replace(drive(f"a/{n:05d}", seed=n), timed=True) for n in range(6)]
    cut = [replace(one, time=one.time + np.where(np.arange(24) < 9, 0, 100.0)) for one in every]
    halves = [replace(one.first_steps(9), name=f"{one.name}-begin") for one in every]
    rest = [replace(one, **{key: getattr(one, key)[9:] for key in ("time", "power", "beam", "bs", "ue", "los")},
                    name=f"{one.name}-end") for one in every]  # fmt: skip
    found, apart = streamed("cut", *cut), streamed("apart", *halves, *rest)
    assert 0 < float(str(found["top1"])) < 1
    assert (found["steps"], found["top1"]) == (apart["steps"], apart["top1"])
    write_drives(tmp_path / "short" / "drives-a.safetensors", [drive("a/00001", 1)])
    capsys.readouterr()
    assert (
        cli.main(["forecast", "stream", "--drives", str(tmp_path / "short"), "--model", str(tmp_path / "model")]) == 2
    )
    assert "nothing to compare with" in capsys.readouterr().err


def test_a_stream_learns_from_and_into_one_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, state = tmp_path / "run", tmp_path / "state.safetensors"
    assert cli.main(["forecast", "train", "--drives", str(folder), "--out", str(out), *SMALL]) == 0
    earlier = tmp_path / "earlier"
    write_drives(earlier / "drives-b.safetensors", read_drives(folder / "drives-b.safetensors"))
    write_drives(earlier / "drives-c.safetensors", [drive(f"c/{n:05d}", seed=10 + n) for n in range(3)])
    learn = ["forecast", "stream", "--drives", str(folder), "--model", str(out), "--learn", str(state), "--json",
             "--earlier", str(earlier), "--learning.batch", "4", "--learning.length", "4"]  # fmt: skip
    capsys.readouterr()
    assert cli.main(learn) == 0
    said = capsys.readouterr().out
    found = json.loads(said.splitlines()[-1])
    assert "began with" in said
    assert f"{earlier}: 5 of 8 drives are forecast here, so not replayed" in said
    # of 24 steps 20 are forecast from, 3 of them beyond the end; of 3 steps none
    assert (found["steps"], found["windows"], found["unscored"]) == (9 * 24 + 3, 9 * 17, 9 * 3)
    assert sum(row["steps"] for row in found["rows"]) == found["steps"]
    whole = state.read_bytes()
    assert cli.main([*learn, "--keep", str(tmp_path / "kept")]) == 0
    assert last(capsys) == found
    assert digest(load_forecaster(tmp_path / "kept")) == found["answering"]
    assert cli.main(["forecast", "stream", "--keep", str(tmp_path / "no")]) == 2
    assert "nothing is learned; give --learn too" in capsys.readouterr().err
    assert state.read_bytes() == whole
    for more, line in (["--scenarios", "[b]"], "not the first of these"), (["--learning.level", "2"], "give a level"):
        assert cli.main([*learn, *more]) == 2
        assert line in capsys.readouterr().err
    state.write_bytes(whole[:-9])
    assert cli.main(learn) == 2
    assert "truncated or not a safetensors file" in capsys.readouterr().err
    assert state.read_bytes() == whole[:-9]


def test_drives_that_are_forecast_are_not_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every, preset = [drive(f"a/{n:05d}", seed=n) for n in range(5)], ForecastPreset(beams=BEAMS)
    write_drives(tmp_path / "drives-a.safetensors", every)
    kept = replayed(tmp_path, preset, StreamLearning(), [replace(one, name=f"b{one.name}") for one in every[:2]])
    assert kept is not None
    assert [one.name for one in kept.drives] == [one.name for one in every[2:]]
    assert replayed(tmp_path, preset, StreamLearning(), every) is None
    said = f"{tmp_path}: {{}} of 5 drives are forecast here, so not replayed\n"
    assert capsys.readouterr().out == said.format(2) + said.format(5)


def test_positions_and_losses_of_sight_are_learned_evaluated_and_streamed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drives(tmp_path / "drives" / "drives-a.safetensors", [hidden(one) for one in drives(7, scenario="a")])
    given, out = ["--drives", str(tmp_path / "drives")], tmp_path / "run"
    wanted = ["--preset.tasks", "[position,blockage]", "--preset.warning", "4", *SMALL]
    assert cli.main(["forecast", "train", *given, "--out", str(out), *wanted]) == 0
    assert cli.main(["forecast", "evaluate", *given, "--model", str(out), "--json"]) == 0
    said = last(capsys)
    assert set(said["position"]["a"]) >= {"ade", "fde"}  # type: ignore[index]
    assert 0 < said["blockage"]["4"]["auprc"] <= 1  # type: ignore[index]
    assert said["blockage"]["events"] > 0  # type: ignore[index]
    assert said["blockage"]["warned"]["events"] > 0  # type: ignore[index]
    stream = Stream(load_forecaster(out))
    answer = stream.push({"power": np.ones(16)})
    assert answer.position is not None
    assert answer.lost is not None
    assert answer.position.shape == (3, 2)
    assert (np.diff(answer.lost) >= 0).all()
    # drives without a loss: not scored, and not learned from
    write_drives(tmp_path / "clear" / "drives-a.safetensors", drives(7, scenario="a"))
    clear = ["--drives", str(tmp_path / "clear")]
    assert cli.main(["forecast", "evaluate", *clear, "--model", str(out), "--json"]) == 0
    assert "sight is lost 0 times" in last(capsys)["blockage"]["not_measured"]  # type: ignore[index]
    assert cli.main(["forecast", "train", *clear, "--out", str(tmp_path / "no"), *wanted]) == 2
    line = capsys.readouterr().err.strip()
    assert "sight is lost 0 times in the training drives" in line
    assert "\n" not in line
    assert not (tmp_path / "no").exists() or not list((tmp_path / "no").glob("*.safetensors"))


def test_a_forecaster_may_read_csi_through_the_towers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    held = []
    for number, one in enumerate(drives(5, steps=12, scenario="c")):
        names = tuple("" if step == 3 else f"{number}-{step}.npy" for step in range(12))
        for name in filter(None, names):
            csi = rng.standard_normal((32, 64)) + 1j * rng.standard_normal((32, 64))
            csi += 3 * np.exp(1j * rng.uniform(0, 1) * np.arange(64))  # a path, so that there is something to be heard
            np.save(tmp_path / name, csi.astype(np.complex64))
        held.append(replace(one, files={"csi": names}, root=tmp_path))
    write_drives(tmp_path / "with" / "drives-c.safetensors", held)
    given, out = ["--drives", str(tmp_path / "with")], tmp_path / "run"
    wanted = ["--preset.modalities", "[beam,csi]", *SMALL]
    assert cli.main(["forecast", "train", *given, "--out", str(out), *wanted]) == 0
    assert "tower" in json.loads((out / "config.json").read_text())
    assert cli.main(["forecast", "evaluate", *given, "--model", str(out)]) == 0
    assert cli.main(["forecast", "stream", *given, "--model", str(out), "--json"]) == 0
    assert last(capsys)["steps"] == 5 * 12
    assert cli.main(["forecast", "adapt", *given, "--model", str(out), "--out", str(tmp_path / "adapted"),
                     "--adaptation.part", "head", "--adaptation.optimisation.steps", "1"]) == 0  # fmt: skip
    assert json.loads((tmp_path / "adapted" / "config.json").read_text())["tower"]
    capsys.readouterr()
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"tower": "of another model"}))
    assert cli.main(["forecast", "evaluate", *given, "--model", str(out)]) == 2
    assert "reads CSI through other towers (of another model); give those as --tower" in capsys.readouterr().err
    assert cli.main(["forecast", "train", "--drives", str(folder), "--out", str(out), *wanted]) == 2
    assert "no drive has csi files" in capsys.readouterr().err


def test_csi_is_made_from_paths_of_the_carrier_that_was_learned(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for where, carriers in (("with", (28e9,)), ("other", (60e9,)), ("both", (28e9, 60e9))):
        held = []
        for number, one in enumerate(drives(5, steps=12, scenario="c")):
            names = tuple("" if step == 3 else f"paths-{where}/{number}-{step}.safetensors" for step in range(12))
            for name in filter(None, names):
                angles = rng.uniform(0.3, 1.2, (4, 2)).astype(np.float32)
                gain = (rng.standard_normal(2) + 1j * rng.standard_normal(2)).astype(np.complex64)
                paths = Paths(np.array([0, 2]), gain, np.float32([1e-7, 2e-7]), *angles, np.zeros(2, dtype=np.int32))
                (tmp_path / f"paths-{where}").mkdir(exist_ok=True)
                StepPaths(paths, carriers[number % len(carriers)], 0.3, np.zeros(3)).write(tmp_path / name)
            held.append(replace(one, files={"paths": names}, root=tmp_path))
        write_drives(tmp_path / where / "drives-c.safetensors", held)
    wanted = ["--preset.modalities", "[beam,csi]", *SMALL]
    out = str(tmp_path / "run")
    assert cli.main(["forecast", "train", "--drives", str(tmp_path / "with"), "--out", out, *wanted]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["carrier"] == 28e9
    assert cli.main(["forecast", "evaluate", "--drives", str(tmp_path / "with"), "--model", out]) == 0
    capsys.readouterr()
    assert cli.main(["forecast", "evaluate", "--drives", str(tmp_path / "other"), "--model", out]) == 2
    assert "CSI at 60 GHz for a model of 28 GHz" in capsys.readouterr().err
    assert cli.main(["forecast", "train", "--drives", str(tmp_path / "both"), "--out", out, *wanted]) == 2
    assert "drives at 28 and 60 GHz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train"], "required: drives, out; see uniair forecast train --help"),
        (["train", "--drives", "{folder}", "--out", "{folder}/run", "--earlier", "x"], "--earlier"),
        (["train", "--drives", "{folder}", "--out", "{folder}/run", "--preset.beams", "8"], "beams"),
        (["stream", "--out", "{folder}/run"], "--out"),
        (["train", "--drives", "{folder}", "--out", "{folder}/run", "--size", "7b"], "--size '7b': choose 2m, 20m"),
        (["train", "--drives", "{folder}", "--out", "{folder}/run", "--leave_out", "[c]"], "no c; it has a, b"),
        (["train", "--drives", "{folder}/none", "--out", "{folder}/run"], "no drives; make them with uniair import"),
        (
            ["train", "--drives", "{folder}", "--out", "{folder}/run", "--anchor", "power"],
            "nothing to align among power",
        ),
        (["train", "--drives", "{folder}", "--out", "{folder}/run", "--align_steps", "9"], "give an --anchor"),
        (
            ["compare", "--drives", "{folder}", "--out", "{folder}/run", "--anchors", "[lidar]"],
            "no drive has lidar files; leave it out of the anchors",
        ),
        (
            ["compare", "--drives", "{folder}", "--out", "{folder}/run", "--settings", "[S9]"],
            "no setting 'S9'; choose from 'S2', 'S1 → a', 'S1 → b'",
        ),
        (["evaluate", "--drives", "{folder}"], "16 beams for a model of 64; train one for them"),
        (["stream", "--drives", "{folder}"], "16 beams for a model of 64; train one for them"),
        (["adapt", "--drives", "{folder}", "--out", "{folder}/run"], "16 beams for a model of 64; train one for them"),
        (["stream", "--drives", "{folder}", "--model", "{folder}"], "no such file; give the folder of uniair forecast"),
        (["compare", "--drives", "{folder}", "--out", "{folder}/run", "--budget", "long"], "choose quick or full"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert cli.main(["forecast", *(a.format(folder=folder) for a in arguments)]) == 2
    said = capsys.readouterr().err.strip()
    assert line in said
    assert "\n" not in said
    assert not list(folder.glob("run/**/*.safetensors"))


def holed(one: Drive, step: int = 9) -> Drive:
    power, beam = one.power.copy(), one.beam.copy()
    power[step], beam[step] = np.nan, -1
    return replace(one, power=power, beam=beam)


def test_lost_powers_are_restored_and_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some, out = [holed(one) for one in drives(3, scenario="a", beams=64)], tmp_path / "restored"
    write_drives(tmp_path / "drives" / "drives-a.safetensors", some)
    restore = ["forecast", "restore", "--drives", str(tmp_path / "drives"), "--out", str(out), "--json"]
    assert cli.main([*restore, "--ahead", "2"]) == 0
    told = last(capsys)
    assert (told["restored"], told["rolled_out"]) == (3, 6)
    found = read_drives(out / "drives-a.safetensors")
    assert all(isinstance(one, RestoredDrive) and one.made.sum() == 5 for one in found)
    assert cli.main([*restore, "--ahead", "2"]) == 0  # once more over its own files
    assert cli.main(["data", "check", str(out)]) == 0
    assert "9 steps whose power a forecaster made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--out", "{folder}"], "the measured drives lie there; give another folder"),
        (["--out", "{folder}/drives-b.safetensors/.."], "the measured drives lie there"),
        (["--ahead", "-1"], "-1 steps ahead: give 0 or more"),
        ([], "no step is lost; there is nothing to make, but for --ahead"),
        (["--out", "{folder}/../other"], "holds drives-c.safetensors, which this run does not write"),
        (["--model", "{folder}"], "no such file; give the folder of uniair forecast"),
    ],
)
def test_what_cannot_be_restored_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], line: str
) -> None:
    folder = tmp_path / "drives"
    write_drives(folder / "drives-a.safetensors", drives(3, scenario="a", beams=64))
    write_drives(tmp_path / "other" / "drives-c.safetensors", drives(3, scenario="c", beams=64))
    more = [word.format(folder=folder) for word in more]
    more = more if "--out" in more else [*more, "--out", str(tmp_path / "out")]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    assert cli.main(["forecast", "restore", "--drives", str(folder), *more]) == 2
    said = capsys.readouterr().err.strip()
    assert line in said
    assert "\n" not in said
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
