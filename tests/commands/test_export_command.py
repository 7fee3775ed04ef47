"""Through the command's own functions and, where it is registered, the command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import uniair
from uniair.commands import export
from uniair.edge.runner import Runner
from uniair.errors import InputError
from uniair.training.checkpoint import save_model


def asked(**options: Any) -> SimpleNamespace:
    given = dict.fromkeys(("site", "to", "model", "forecaster", "radio", "feedback")) | {"int8": False} | options
    return SimpleNamespace(**given)


def test_a_model_without_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(uniair.build("tiny"), tmp_path / "run")
    card = export.run(asked(model=str(tmp_path / "run"), to=str(tmp_path / "edge")))
    assert card["stations"] == []
    assert card["int8"] == []
    assert "largest difference from torch" in capsys.readouterr().out
    assert Runner(tmp_path / "edge").card["embedding"] == 32


def test_a_model_for_ones_own_radio(tmp_path: Path) -> None:
    save_model(uniair.build("tiny"), tmp_path / "run")
    radio = '{"array": {"kind": "upa", "rows": 2, "columns": 8}}'
    card = export.run(asked(model=str(tmp_path / "run"), to=str(tmp_path / "edge"), radio=radio))
    assert (card["csi"], card["radio_text"][:12]) == ([16, 64], "UPA of 2 × 8")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "give --to"),
        ({"to": "x", "site": "somewhere", "model": "small"}, "not both"),
        ({"to": "x", "site": "somewhere", "radio": "{}"}, "its own radio: give SITE or --radio"),
        ({"to": "x", "radio": "nowhere.json"}, "neither a file with a radio nor JSON"),
        ({"to": "x", "site": "nowhere"}, "no such file; give a folder that uniair site made"),
        ({"to": "x", "model": "medium"}, "neither a packaged model"),
        ({"to": "x", "forecaster": "nowhere"}, "no such file; give the folder of uniair forecast train"),
    ],
)
def test_bad_input_is_one_line(options: dict[str, str], line: str) -> None:
    with pytest.raises(InputError, match=line) as error:
        export.run(asked(**options))
    assert "\n" not in str(error.value)


def test_a_site_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_text('{"format": "uniair-site/9"}', encoding="utf-8")
    with pytest.raises(InputError, match="uniair-site/9"):
        export.run(asked(site=str(tmp_path), to=str(tmp_path / "edge")))
    assert not (tmp_path / "edge").exists()
