"""Progress of work that takes more than a second: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

EVERY = 30.0  # s between lines where there is no terminal
Item = TypeVar("Item")


class Progress:
    """How far some work is, on stderr; a context manager.

    Args:
        total: of what `update` counts; None where that isn't known.
        unit: of it, in the singular.
        about: what is going on.
        done: of an earlier run.
        show: False: say nothing.
        form: of the bar, as tqdm's `bar_format`.
    """

    def __init__(
        self, total: float | None, unit: str, about: str = "", done: float = 0, show: bool = True,
        form: str | None = None,
    ) -> None:  # fmt: skip
        self.total, self.unit, self.about, self.done, self.show = total, unit, about, done, show
        self.before, self.began = done, time.monotonic()
        self.said = self.began
        self.bar: Any = tqdm(
            total=total, unit=unit, desc=about or None, initial=done, leave=None, delay=1.0, bar_format=form,
            disable=not (show and sys.stderr.isatty()), dynamic_ncols=True,
        )  # fmt: skip

    def update(self, count: float = 1) -> None:
        """So much more is done."""
        self.done += count
        if not self.bar.disable:
            self.bar.update(count)
        elif self.show and time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            print(self.line(self.said - self.began), file=sys.stderr, flush=True)

    def describe(self, about: str) -> None:
        """Something else is going on."""
        self.about = about
        self.bar.set_description(about)

    def line(self, seconds: float) -> str:
        """How far it is after so many seconds: done of total, rate, time left."""
        rate = (self.done - self.before) / seconds
        pace = f"{rate:.3g} {self.unit}s/s" if rate >= 1 or not rate else f"{1 / rate:.3g} s/{self.unit}"
        much = f"{self.done:,.0f}" if self.total is None else f"{self.done:,.0f} of {self.total:,.0f}"
        line = f"{self.about + ': ' if self.about else ''}{much} {self.unit}s, {pace}"
        if self.total is None or not rate:
            return line
        return f"{line}, {tqdm.format_interval((self.total - self.done) / rate)} left"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def track(
    items: Iterable[Item], unit: str, about: str = "", show: bool = True, total: int | None = None
) -> Iterator[Item]:
    """The items one by one, showing how many are done.

    Args:
        total: their number, where `items` doesn't know it.
    """
    known = len(items) if isinstance(items, Sized) else total
    with Progress(known, unit, about, show=show) as progress:
        for item in items:
            yield item
            progress.update()
