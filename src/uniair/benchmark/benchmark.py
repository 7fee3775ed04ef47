"""What every benchmark is made of: runs that resume, one JSON, one table, one figure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniair.benchmark.runs import Runs
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.evaluation.tables import Table
from uniair.files import atomic_path, write_text
from uniair.folder_lock import alone_in
from uniair.models.universal import UniversalModel
from uniair.training.checkpoint import digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = {
    "links": "uniair trace --config recipes/trace-test.yaml --root FOOTPRINTS --out runs/test",
    "dense": "uniair trace --config recipes/trace-dense.yaml --root FOOTPRINTS --out runs/dense",
    "deepmimo": "uniair import deepmimo SCENARIOS --out runs/deepmimo",
    "train": "uniair trace --config recipes/trace-train.yaml --root FOOTPRINTS --out runs/train",
    "train_mixed": "uniair trace --config recipes/trace-train-mixed.yaml --root FOOTPRINTS --out runs/train-mixed",
    "validation": "uniair trace --config recipes/trace-validation.yaml --root FOOTPRINTS --out runs/validation",
    "validation_mixed": "uniair trace --config recipes/trace-validation-mixed.yaml --root FOOTPRINTS "
    "--out runs/validation-mixed",
    "masts": "uniair trace --config recipes/trace-test-masts.yaml --root FOOTPRINTS --out runs/test-masts",
    "mixed": "uniair trace --config recipes/trace-test-mixed.yaml --root FOOTPRINTS --out runs/test-mixed",
    "carriers": "uniair trace --config recipes/trace-test-carriers.yaml --root FOOTPRINTS --out runs/test-carriers",
    "drives": "uniair import deepsense DEEPSENSE --out runs/drives",
    "blocked": "uniair twin --sites blocked --out runs/twin-blocked, and uniair import twin runs/twin-blocked "
    "--out runs/blocked",
}
DRIVES = {"drives", "blocked"}


def check_budget(budget: str, seeds: int) -> None:
    """Raises `InputError` where a benchmark can't be run so."""
    if budget not in ("quick", "full"):
        raise InputError(f"--budget {budget!r}: choose quick or full")
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: give at least 1")


@dataclass(frozen=True)
class Setup:
    """What a benchmark runs on, and where its runs are kept.

    Attributes:
        model: frozen, in eval mode.
        out: the benchmark's own folder.
        folders: folders of links or drives by their name in `DATA`; those that were not given are absent.
        budget: `quick` shows the shape in minutes; `full` is what is reported.
        seeds: repetitions of whatever is drawn at random.
    """

    model: UniversalModel
    out: Path
    folders: Mapping[str, Path]
    budget: str = "quick"
    seeds: int = 3

    def __post_init__(self) -> None:
        check_budget(self.budget, self.seeds)

    @property
    def full(self) -> bool:
        """Whether the full budget was asked for."""
        return self.budget == "full"

    def store(self, name: str) -> Store:
        """The links folder of that name.

        Raises:
            InputError: it was not given, or is no links folder.
        """
        if name not in self.folders:
            raise InputError(f"{self.out.name} needs --{name}, a folder: {DATA[name]}")
        return Store(self.folders[name])

    def note(self, **settings: Any) -> None:
        """Notes what the runs in `out` are made with, beside the model and the budget: see `Runs.note`."""
        Runs(self.out).note({"weights": digest(self.model), "budget": self.budget} | settings)

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """See `Runs.once`."""
        return Runs(self.out).once(key, compute)


@dataclass(frozen=True)
class Benchmark:
    """A figure or table: `uniair bench NAME`.

    Attributes:
        paper: what the paper shows there, in words and figures; empty where it has nothing of the kind.
        needs: names of the folders in `DATA` that it reads.
        run: makes the result, which is plain JSON; keyword-only parameters beside the setup are options of its own.
        tables: of a result: heading and table.
        draw: a result onto a figure of matplotlib.
        may_use: names of the folders in `DATA` that it can do without.
    """

    paper: str
    needs: tuple[str, ...]
    run: Callable[..., dict[str, Any]]
    tables: Callable[[dict[str, Any]], Sequence[tuple[str, Table]]]
    draw: Callable[[dict[str, Any], Figure], None]
    may_use: tuple[str, ...] = ()

    @property
    def asks_model(self) -> bool:
        """Whether the frozen model takes part; forecasters on drives are trained on the spot."""
        return not set(self.needs) <= DRIVES


def perform(name: str, benchmark: Benchmark, setup: Setup, **options: Any) -> dict[str, Any]:
    """Runs a benchmark and writes `result.json`, `figure.svg` and `figure.png` into the setup's folder.

    Args:
        options: of the benchmark's own, see `Benchmark.run`.
    """
    from matplotlib.figure import Figure

    about = {"benchmark": name, "budget": setup.budget, "seeds": setup.seeds}
    if benchmark.asks_model:
        about |= {"preset": setup.model.preset.name, "weights": digest(setup.model), "radio": str(setup.model.radio)}
    result = about | benchmark.run(setup, **options)
    write_text(setup.out / "result.json", json.dumps(result, indent=1) + "\n")
    figure = Figure(figsize=(8, 4), layout="constrained")
    benchmark.draw(result, figure)
    for kind, plain in (("svg", {"Date": None}), ("png", {"Software": None})):
        with atomic_path(setup.out / f"figure.{kind}") as temporary:
            figure.savefig(temporary, format=kind, dpi=150, metadata=plain)
    return result


def show(name: str, title: str, benchmark: Benchmark, setup: Setup, **options: Any) -> dict[str, Any]:
    """Performs a benchmark and prints its tables."""
    began = time.perf_counter()
    with alone_in(setup.out):
        result = perform(name, benchmark, setup, **options)
    print(f"\n{title}" + (f"\nThe paper: {benchmark.paper}" if benchmark.paper else ""))
    for heading, table in benchmark.tables(result):
        print(f"\n{heading}\n{table.text()}")
    print(f"\n{setup.out}/figure.svg, figure.png and result.json, {time.perf_counter() - began:.0f} s")
    return result
