"""Run every zero-shot task with the packaged model on the packaged links of cities that it never saw.

Prints a table with the chance or majority rate beside each figure and writes a self-contained HTML report with
pictures. Give --links to run it on a links folder of your own.

Example:
  uniair demo --out report
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.benchmark.demo_report import write_report
from uniair.data.links import shards
from uniair.data.links.store import SAMPLE
from uniair.evaluation.zero_shot_suite import untrained, zero_shot_suite


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--out", type=str, default="report", help="folder for the report")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
    parser.add_argument("--links", type=str, default="sample", help="links folder; `sample` is the packaged one")
    parser.add_argument("--seed", type=int, default=0, help="picks the links that the report shows")


def run(options: Any) -> dict[str, Any]:
    """Measures, prints, draws."""
    start = time.perf_counter()
    model = uniair.load(options.model)
    links = shards.read(SAMPLE if options.links == "sample" else Path(options.links))
    places = ", ".join(sorted(set(links.places)))
    print(f"UniAir {options.model} ({model.parameter_counts()['total']:,} parameters), zero-shot, nothing tuned")
    print(f"{len(links):,} links in {len(links.areas)} areas of {places}\n")
    result = zero_shot_suite(model, links, progress=True)
    plain = zero_shot_suite(untrained(model), links, progress=True)
    print(f"{'':48}{'model':>10}  {'untrained':>10}   reference")
    for key, figure in result.figures.items():
        name, value, reference = figure.text()
        print(f"{name:48}{value:>10}  {plain.figures[key].text()[1]:>10}   {reference}")
    path = Path(options.out) / "index.html"
    print("\ndrawing the report …", flush=True)
    write_report(path, model, options.model, links, result, plain, options.seed)
    seconds = time.perf_counter() - start
    print(f"{path} written; {seconds:.0f} s in all")
    return {"report": str(path), "links": result.links, "figures": result.values(), "untrained": plain.values()}
