"""The house: a module imports from its own floor or a lower one, no imports go in a circle, and no two share a name."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from uniair.cli import COMMANDS, MODULES

SOURCE = Path(__file__).parents[1] / "src" / "uniair"
# ground floor first; parts of one floor do not import each other
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("files", "folder_lock", "memory", "metrics", "losses", "noise", "attack", "progress", "radio", "complex_arrays"),
    ("releases",),
    ("angle_delay",),
    ("area", "environment", "link_budget"),
    ("propagation",),
    ("models", "data.links", "data.drives"),
    ("tasks", "data"),
    ("evaluation",),
    ("explanation",),
    ("training",),
    ("federation",),
    ("site",),
    ("edge",),
    ("serve",),
    ("benchmark.speed",),
    ("benchmark",),
    ("commands",),
    ("cli",),
)
SHARED_DATA = ("data.import_report", "data.matlab", "data.recipe", "data.statistics")  # below links and drives
LEARNING, DATA = ("models", "tasks"), ("data", "area", "propagation")
NAMED = (28e9, 720e3, 46.08e6)  # paper 1's carrier, spacing of subcarriers and band, Hz
# what has them of its own: the radio; the grid that the models know, which copies of it in NumPy alone say again; which
# file of a data set is of which carrier; a table of radios
NAMES_THEM = {
    "radio", "angle_delay", "edge.candidate_paths", "edge.receiver", "data.links.wair_d", "benchmark.radios",
}  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module by its dotted name below `uniair`."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if not name.endswith("__init__"):
            found[name] = path
    return found


@cache
def imported(name: str) -> frozenset[str]:
    """The modules that a module imports, lazily or not."""
    known, found = modules(), set()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "uniair":
            below = (node.module or "").removeprefix("uniair").lstrip(".")
            for alias in node.names:
                whole = f"{below}.{alias.name}".lstrip(".")
                found.add(whole if whole in known else below)
        assert not (isinstance(node, ast.Import) and any(a.name.startswith("uniair.") for a in node.names)), name
    return frozenset(found & known.keys())


def part(name: str) -> str:
    """The part of the house that a module belongs to."""
    if name in SHARED_DATA:
        return "propagation"
    parts = name.split(".")
    whole = ".".join(parts[:2])
    return whole if any(whole in floor for floor in FLOORS) else parts[0]


def floor(name: str) -> int:
    """The floor of a module, 0 at the ground."""
    return next(number for number, parts in enumerate(FLOORS) if part(name) in parts)


def test_a_module_imports_from_its_own_floor_or_a_lower_one() -> None:
    upward = [f"{name} → {other}" for name in modules() for other in imported(name) if floor(other) > floor(name)]
    assert not upward, upward


def test_the_parts_of_a_floor_do_not_import_each_other() -> None:
    across = [
        f"{name} → {other}"
        for name in modules()
        for other in imported(name)
        if floor(name) == floor(other) and part(name) != part(other) and other not in SHARED_DATA
    ]
    assert not across, across


def test_commands_do_not_import_each_other() -> None:
    commands = {f"commands.{MODULES.get(name, name.replace(' ', '_'))}" for name in COMMANDS}
    assert commands < modules().keys()
    met = [f"{name} → {other}" for name in commands for other in imported(name) & commands]
    assert not met, met


def test_the_two_wings_meet_above_them() -> None:
    for name in modules():
        own = name.split(".")[0]
        for wing, other in ((LEARNING, DATA), (DATA, LEARNING)):
            if own in wing:
                met = {o for o in imported(name) if o.split(".")[0] in other}
                assert not met, f"{name} → {met}"


def test_no_imports_go_in_a_circle() -> None:
    list(TopologicalSorter({name: imported(name) for name in modules()}).static_order())  # a circle raises


def test_no_two_modules_have_one_name() -> None:
    # a command's module is named as the command, whatever it calls
    names = Counter(name.split(".")[-1] for name in modules() if not name.startswith("commands."))
    folders = {path.parent.name for path in modules().values()} - {SOURCE.name}
    twice = {name for name, count in names.items() if count > 1}
    assert not twice, twice
    # a folder's main concept may bear its name: area/area.py
    alike = {
        name for name in modules() if name.split(".")[-1] in folders and name.split(".")[-2:-1] != name.split(".")[-1:]
    }
    assert not {name for name in alike if not name.startswith("commands.")}, alike


def test_paper_1_s_radio_is_named_once() -> None:
    named = {
        name
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in NAMED
    }
    assert named == NAMES_THEM
