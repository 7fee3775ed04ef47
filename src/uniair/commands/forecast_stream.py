"""Answer step by step along drives, as a forecaster at a base station does, and say how long a step takes.

Without options: the packaged WMLM on the packaged drives of the digital twin, which it did not learn from.

With --learn STATE it learns along the drives from the powers measured next, and prints how often the model that it
began with was right, and how often the one that answered: a shadow learns beside it and answers once it is ahead by a
test; where it falls behind, the first one answers again. STATE is one file; killed at any moment, the same command goes
on from there to the same end. uniair serve --learn does the same beside its answers. --keep FOLDER writes what answers
in the end, as uniair forecast train does, to be published or served elsewhere.

Example:
  uniair forecast stream
  uniair forecast stream --drives runs/drives --model runs/wmlm
  uniair forecast stream --drives runs/drives --scenarios [scenario1] --learn runs/street.safetensors
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser

from uniair.commands.drives import (
    check_drives,
    drives_of,
    forecaster,
    packaged_or_given,
)
from uniair.commands.learning import check_learning, learned_in, learning_options
from uniair.data.drives.drive import Drive
from uniair.data.drives.windows import segments
from uniair.errors import InputError
from uniair.evaluation.tables import Table
from uniair.models.forecast import WMLM
from uniair.progress import track
from uniair.serve.stream import Stream
from uniair.training.checkpoint import save_model
from uniair.training.drive_events import events_of, steps_of
from uniair.training.forecasting import PACKAGED, SAMPLE
from uniair.training.learning_stream import StreamLearning

PARTS = 10  # rows of the table at most


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    packaged_or_given(parser)
    learning_options(parser)
    parser.add_argument("--keep", type=str | None, default=None, metavar="FOLDER",
                        help="of what learned: write the forecaster that answers in the end")  # fmt: skip
    parser.add_argument("--learning", type=StreamLearning, default=StreamLearning(), help="how it learns, and the test")


def run(options: Any) -> dict[str, Any]:
    """Streams the drives one after the other and prints a line each; where it learns, a table."""
    folder = Path(options.drives or SAMPLE)
    drives, model = drives_of(folder, options.scenarios), forecaster(Path(options.model or PACKAGED), options.tower)
    check_drives(folder, drives, model.preset)
    check_learning(options, "keep")
    if options.learn is not None:
        return _learn(drives, model, options)
    stream = Stream(model)
    took: list[float] = []
    hits: list[bool] = []
    for drive in drives:
        starts = {begin for begin, _ in segments(drive)}
        for t, step in enumerate(steps_of(drive, drives, model.preset)):
            if t in starts:
                stream.reset()
            began = time.perf_counter()
            answer = stream.push(step)
            took.append(1e3 * (time.perf_counter() - began))
            if t + 1 < len(drive) and t + 1 not in starts and drive.beam[t + 1] >= 0:
                hits.append(bool(answer.beams[0] == drive.beam[t + 1]))
        print(f"{drive.name}  {len(drive)} steps, next beams after the last: {answer.beams.tolist()}")
    if not hits:
        raise InputError(f"{folder}: no step is followed by one whose beam is known; there is nothing to compare with")
    result = {"steps": len(took), "top1": float(np.mean(hits)), "median_ms": float(np.median(took)),
              "p99_ms": float(np.quantile(took, 0.99))}  # fmt: skip
    print(f"{result['steps']:,} steps, next beam right {result['top1']:.1%}, {result['median_ms']:.2f} ms per step "
          f"(99 %: {result['p99_ms']:.2f})")  # fmt: skip
    return result


def _learn(drives: Sequence[Drive], model: WMLM, options: Any) -> dict[str, Any]:
    """Learns along the drives, and says what that was worth."""
    with learned_in(options, model, options.model is None, options.learning, drives) as kept:
        stream, events = kept.stream, events_of(drives, model.preset)
        stream.resume(events)
        done, every = stream.counts.steps, sum(map(len, drives))
        for session, step in track(events, "step", "learning", total=every + len(drives), done=done):
            if step is None:
                stream.end(session)
            else:
                kept.push(session, step)
        kept.close()
    timed, status = all(drive.timed for drive in drives), stream.status()
    rows = stream.history.parts(PARTS)
    print(_table(rows, status["all"], timed).text())
    print(f"{options.learn}: {status['steps']:,} steps, {status['windows']:,} windows scored, "
          f"{status['unscored']:,} unscored; {status['promotions']} promotions, {status['rollbacks']} rollbacks, "
          f"{status['restarts']} restarts; answers now: {status['answers']}")  # fmt: skip
    print(f"right forecasts by which the answers were ever behind the model that it began with, by step: "
          f"{' / '.join(map(str, status['behind']))}")  # fmt: skip
    if options.keep is not None:
        save_model(stream.answering, Path(options.keep))
        print(f"{options.keep}: what answers now, {status['answering']}")
    return {"state": options.learn, **status, "rows": rows}


def _table(rows: Sequence[dict[str, Any]], every: dict[str, Any], timed: bool) -> Table:
    """Top-1 of each next step over the stream, of the model that it began with, of what answered and of the shadow."""
    names = ("begun", "answering", "shadow")

    def cells(top1: Sequence[float | None]) -> str:
        return " / ".join("–" if value is None else f"{value:.3f}" for value in top1)

    out, steps, seconds = [], 0, 0.0
    for row in rows:
        steps, seconds = steps + row["steps"], seconds + row["seconds"]
        until = [f"{steps:,}", *([f"{seconds / 60:.1f}"] if timed else [])]
        answers = "begun" if row["answers"] == 0 else f"learned ({row['answers']})"
        out.append([*until, *(cells(row["top1"][name]) for name in names), answers])
    out.append(["all", *([""] if timed else []), *(cells(every["top1"][name]) for name in names), ""])
    return Table(["until step", *(["min"] if timed else []), "began with", "answered", "shadow", "answers"], out)
