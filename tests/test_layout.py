"""The two wings never import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "uniair"
WAVES = ("area", "propagation", "data")
LEARNING = ("models", "tasks", "losses", "metrics")


def imported(path: Path) -> set[str]:
    """First-level parts of `uniair` that a file imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module == "uniair":
            names = [f"uniair.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("uniair.")}
    return found


def files(part: str) -> list[Path]:
    return sorted((SOURCE / part).glob("*.py")) or [SOURCE / f"{part}.py"]


@pytest.mark.parametrize(("wing", "other"), [(WAVES, LEARNING), (LEARNING, WAVES)])
def test_wings_meet_in_training_and_benchmark_alone(wing: tuple[str, ...], other: tuple[str, ...]) -> None:
    for part in wing:
        for path in files(part):
            assert not imported(path) & {*other, "training", "benchmark", "commands"}, path


def test_the_waves_flow_one_way() -> None:
    for path in files("area"):
        assert not imported(path) & {"propagation", "data"}, path
    for path in files("propagation"):
        assert "data" not in imported(path), path
