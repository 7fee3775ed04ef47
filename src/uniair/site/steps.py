"""The steps of making a site: a result that is there is not made again, and a bar shows how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniair.files import write_text
from uniair.progress import bar

FORMAT = "{desc:28}{percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left"


@dataclass(frozen=True)
class Steps:
    """Results of steps in a folder, and the bar that shows how far they are."""

    folder: Path
    bar: Any

    def once(self, key: str, about: str, weight: float, compute: Callable[[], Any]) -> Any:
        """What `compute` returns, as JSON; kept in `runs/KEY.json` with the seconds that it took."""
        path = self.folder / "runs" / f"{key}.json"
        if not path.exists():
            self.bar.set_description(about)
            start = time.perf_counter()
            result = compute()
            write_text(path, json.dumps({"seconds": time.perf_counter() - start, "result": result}) + "\n")
        self.bar.update(weight)
        return json.loads(path.read_text(encoding="utf-8"))["result"]

    def seconds(self) -> float:
        """What all steps took, in this run and those before it."""
        runs = (self.folder / "runs").glob("*.json")
        return float(sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in runs))

    def expect(self, work: float) -> None:
        """Rough seconds of all steps together, once they are known."""
        self.bar.total = max(round(work), 1)
        self.bar.refresh()

    def finish(self) -> None:
        """All is done, whatever it was expected to take."""
        self.bar.update((self.bar.total or 0) - self.bar.n)


@contextmanager
def begin(folder: Path, about: str) -> Iterator[Steps]:
    """A bar from the first moment on, before it is known how much there is to do."""
    with bar(1, "second", about, form=FORMAT) as shown:
        yield Steps(folder, shown)
