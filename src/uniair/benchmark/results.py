"""The results page: every figure's JSON as one page of tables and figures, never typed by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniair.benchmark.benchmark import Benchmark
from uniair.benchmark.catalogue import FIGURES, Entry
from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.releases.earlier import FIRST

HEAD = """# Results

Made by `uniair bench results` from the JSON files in [results/](results/); nothing here is typed by hand. Each section
says on what data, with how many seeds and with which budget it was run; "paper" is paper 1, on its own data set WAIR-D.
"""


def run(out: str = "runs/bench", page: str = "docs/results.md") -> dict[str, Any]:
    """Writes the page and says what is on it.

    Args:
        out: folder of the runs.
        page: the page to write.
    """
    written = write_results(FIGURES, Path(out), Path(page))
    print(f"{page}: {', '.join(written)}")
    return {"page": page, "figures": written}


def write_results(figures: Mapping[str, Entry], runs: Path, page: Path) -> list[str]:
    """Copies the results under `runs` beside `page` (`results/NAME.json`, `.svg`) and writes the page from all there.

    Returns:
        The names of the figures on the page.

    Raises:
        InputError: there is no result yet, or one that is not a result.
    """
    folder = page.parent / page.stem
    for name in figures:
        if (runs / name / "result.json").exists():
            for found, kept in (("result.json", f"{name}.json"), ("figure.svg", f"{name}.svg")):
                with atomic_path(folder / kept) as temporary:
                    shutil.copyfile(runs / name / found, temporary)
    there = [name for name in figures if (folder / f"{name}.json").exists()]
    if not there:
        raise InputError(f"{runs}: no result.json of any figure; run uniair bench all --out {runs} first")
    write_text(page, HEAD + "".join(_section(figures[name], name, folder) for name in there))
    return there


def _section(entry: Entry, name: str, folder: Path) -> str:
    benchmark: Benchmark = entry.load()
    path = folder / f"{name}.json"
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        made = f"`uniair bench {name} --budget {result['budget']} --seeds {result['seeds']}"
        made += f" --dtype {result['dtype']}`" if result.get("dtype", "float32") != "float32" else "`"
        if "weights" in result:
            made += f", preset `{result['preset']}`, weights {result['weights']}"
            made += ", those of the first version, which knew one radio" if result["weights"] == FIRST else ""
        tables = "".join(f"**{heading}**\n\n{table.markdown()}\n\n" for heading, table in benchmark.tables(result))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a result of uniair bench {name} ({error!r}); run it again") from error
    paper = f"The paper: {benchmark.paper}\n\n" if benchmark.paper else ""
    return f"\n## {entry.title}\n\n{made}.\n\n{paper}{tables}![{entry.title}]({folder.name}/{name}.svg)\n"
