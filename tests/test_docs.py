"""What the documentation says, run: the code of its pages, its command lines, its links, and the site itself."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from uniair.cli import COMMANDS, main
from uniair.models.head import Head
from uniair.propagation.ray_tracing import find_llvm
from uniair.site import report
from uniair.tasks.registry import TASKS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
RUN = [DOCS / "index.md", *sorted((DOCS / "concepts").glob("*.md")), *TUTORIALS]
TOLD = [ROOT / "README.md", *PAGES]

BLOCK = re.compile(r"(?:^<!-- (?P<note>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
SETS = re.compile(r"export (?P<name>\w+)=(?P<value>\$PWD/\w+|\w+)")
NEEDS = {"LLVM": find_llvm() is not None and find_spec("sionna") is not None, "Ray": find_spec("ray") is not None}
LIMIT = 900  # s that a block of commands may take on a busy machine


@dataclass(frozen=True)
class Block:
    """Fenced code. `note` is the comment on the line before: `not run: WHY`, or `needs: LLVM, Ray`."""

    language: str
    code: str
    note: str
    line: int

    @property
    def missing(self) -> list[str]:
        """What it needs and this machine lacks."""
        wanted = self.note.removeprefix("needs: ").split(", ") if self.note.startswith("needs: ") else []
        return [name for name in wanted if not NEEDS[name]]


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield Block(found["language"], found["code"], found["note"] or "", text.count("\n", 0, found.start("code")))


def test_every_note_is_understood() -> None:
    for page in RUN:
        text = page.read_text(encoding="utf-8")
        for note in re.findall(r"<!-- (.+) -->", text):
            assert re.fullmatch(r"not run: \w.+|needs: (LLVM|Ray)(, (LLVM|Ray))*", note), f"{page.name}: {note}"
        assert text.count("<!--") == sum(bool(block.note) for block in blocks(page)), f"{page.name}: a stray comment"


@pytest.mark.parametrize("page", RUN, ids=[page.stem for page in RUN])
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python blocks of a page share one namespace; commands run in tutorials alone, in the same folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "ACROSS", 25)  # sites are reported with wide cells
    names: dict[str, Any] = {"__name__": page.stem}
    skipped = []
    for block in blocks(page):
        if block.note.startswith("not run: "):
            continue
        if block.missing:
            skipped += block.missing
        elif block.language == "python":
            # padded, so that a traceback gives the page's own lines
            exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
        elif block.language == "sh" and page in TUTORIALS:
            with monkeypatch.context() as environment:
                _commands(block, page, tmp_path, environment)
    if skipped:
        pytest.skip(f"the rest ran; some blocks need {', '.join(sorted(set(skipped)))}")


def _commands(block: Block, page: Path, folder: Path, environment: pytest.MonkeyPatch) -> None:
    """Line by line, `uniair` in this process, since most of a quick command are imports. A block whose lines hang
    together by variables or jobs of their shell, or by its syntax, is run by one shell as it stands.
    """
    # Ray's workers would give way to everything else that runs
    for name, value in (("OMP_NUM_THREADS", "1"), ("RAY_worker_niceness", "0")):
        environment.setenv(name, os.environ.get(name, value))
    lines = [SETS.sub("", line) for line in _lines(block.code)]
    if re.search(r"[$&;<\\]", "".join(lines)) or any(line.startswith((" ", "\t")) for line in lines):
        _shell(block.code, block, page, folder)
        return
    for line in _lines(block.code):
        if found := SETS.fullmatch(line):
            environment.setenv(found["name"], found["value"].replace("$PWD", str(folder)))
        elif line.startswith("uniair ") and not re.search(r"[|>]", line):
            assert main(shlex.split(line, comments=True)[1:]) == 0, f"{page.name}, line {block.line}: {line}"
        else:
            _shell(line, block, page, folder)


def _shell(code: str, block: Block, page: Path, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], cwd=folder, env=os.environ | {"PATH": path}, capture_output=True,
        text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{page.name}, line {block.line}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Every command line that a page gives: of its blocks of commands, and in line as `uniair …`."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(page) if block.language == "sh" for line in _lines(block.code)]
    lines += [" ".join(line.split()) for line in re.findall(r"`(uniair [^`]+)`", BLOCK.sub("", text))]
    for line in lines:
        for part in re.split(r"\s(?:&&|\||>)\s", line):
            words = shlex.split(part, comments=True)
            if "uniair.cli" in words:  # under torchrun
                words = ["uniair", *words[words.index("uniair.cli") + 1 :]]
            if words[:1] == ["uniair"]:
                yield line, [word for word in words[1:] if word not in ("…", "...")]


def _lines(code: str) -> list[str]:
    return [line for line in code.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("page", TOLD, ids=[str(page.relative_to(ROOT)) for page in TOLD])
def test_command_lines_are_read_by_the_real_parser(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # for the recipes
    for line, words in commands(page):
        if words in ([], ["--help"], ["--version"]) or words[0] == "COMMAND":
            continue
        if not {words[0], " ".join(words[:2])} & COMMANDS.keys():
            # a family, `uniair instruct`, by its name alone
            assert len(words) == 1, f"{line}: no such command"
            assert any(name.startswith(f"{words[0]} ") for name in COMMANDS), f"{line}: no such command"
            continue
        options = [word for word in words if word not in ("--help", "--print_config")]
        try:
            refused = main([*options, "--print_config"])
        except SystemExit as left:  # it printed the options as it read them
            refused = int(left.code or 0)
        assert not refused, f"{line}: {capsys.readouterr().err}"


def test_every_command_has_a_place() -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    told = {name for name in COMMANDS if f"`uniair {name}`" in page}
    assert told == set(COMMANDS)


def test_figures_on_the_pages_of_concepts_are_those_of_the_cards() -> None:
    cards = (DOCS / "model-card.md").read_text(encoding="utf-8") + (DOCS / "results.md").read_text(encoding="utf-8")
    for name in ("trust", "zero-shot"):
        figures = re.findall(r"\d+\.\d+ (?:%|m)(?!\w)", (DOCS / "concepts" / f"{name}.md").read_text(encoding="utf-8"))
        assert figures, name
        assert all(figure in cards for figure in figures), (name, figures)
    table = (DOCS / "concepts" / "heads.md").read_text(encoding="utf-8")
    for task in TASKS.values():
        sizes = f"{' → '.join(map(str, task.widths))} | {Head(task.widths).parameter_count():,} |"
        assert sizes in table, task.about


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DOCS)) for page in PAGES])
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name = target.partition("#")[0]
        assert not name or (page.parent / name).exists(), target


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="the site needs mkdocs: pip install 'uniair[docs]'")
def test_the_site_builds_without_a_warning_and_stands_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    commands_page = (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    assert all(f"uniair {name}" in commands_page for name in COMMANDS)
    assert "--areas_per_shard" in commands_page
    for page in tmp_path.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?:https?:)?//[^>]+>", html)
        fetched += re.findall(r"<link[^>]+href=[\"']?(?:https?:)?//[^>]+>", html)
        assert not fetched, f"{page.name}: fetches from elsewhere"
    assert not list(tmp_path.rglob("*.py"))
