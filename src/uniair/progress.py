"""Progress of work that takes more than a second: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

EVERY = 30.0  # s between lines where there is no terminal
BEAT = 1.0  # s after which is looked whether there is something to say, however long one step takes
LINE = "{desc}{n:.0f} of {total_fmt} {unit}s, {rate_fmt}, {remaining} left"
Item = TypeVar("Item")


class Lines:
    """Takes a terminal's place: of what a bar says it prints a line when one is due."""

    def __init__(self) -> None:
        self.said = time.monotonic()

    def write(self, text: str) -> None:
        """What the bar says now."""
        if text.strip() and time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            print(" ".join(text.split()), file=sys.stderr)

    def flush(self) -> None:
        """Lines wait for nothing."""
        sys.stderr.flush()


def _beat(shown: tqdm[Any]) -> None:
    """Looks at a bar until it is closed, so that it also moves on while a single step takes minutes."""
    while not shown.disable:
        time.sleep(BEAT)
        if not shown.disable:
            shown.refresh()


def track(
    items: Iterable[Item], unit: str, about: str = "", *, total: float | None = None, done: float = 0,
    show: bool = True, form: str | None = None,
) -> tqdm[Item]:  # fmt: skip
    """The items one by one, showing on stderr how far they are.

    Args:
        unit: of what is counted, in the singular.
        about: what is going on.
        total: of all, where the items don't know it.
        done: in an earlier run.
        form: of the bar, as tqdm's `bar_format`.
    """
    how: dict[str, Any] = {"leave": None, "delay": 1.0, "bar_format": form, "dynamic_ncols": True}
    if not sys.stderr.isatty():
        known = total is not None or hasattr(items, "__len__")
        line = LINE if form is None else form.replace("|{bar}|", ",")  # a line has no room for a bar
        how = {"leave": False, "miniters": 1, "bar_format": line if known else None, "file": Lines()}
    desc = f"{about}: " if about else None
    shown = tqdm(items, desc, total, unit=unit, initial=done, disable=not show, **how)
    if show:
        threading.Thread(target=_beat, args=(shown,), daemon=True).start()
    return shown


def bar(total: float, unit: str, about: str = "", done: float = 0, form: str | None = None) -> tqdm[Any]:
    """The same for what is counted by its `update`."""
    nothing: tuple[Any, ...] = ()
    return track(nothing, unit, about, total=total, done=done, form=form)
