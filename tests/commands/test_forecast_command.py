from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.data.drives.moving import drive, drives

from uniair import cli
from uniair.data.drives.drive import write_drives

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
            ["train", "--drives", "{folder}", "--out", "{folder}/run", "--anchor", "beam"],
            "nothing to align among power",
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
